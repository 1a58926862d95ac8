//! Batches prepared ahead on other threads, so that a training step does not wait for its images.
//!
//! The order is that of the jobs, however many threads there are. Knows nothing of images.

use anyhow::{Context as _, Result};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Batches each thread has ready at most.
const READY: usize = 2;

/// What the threads work on: the job of a number, none after the last, and how it is done.
pub(crate) struct Feed<'a, J, B> {
    pub(crate) job: &'a (dyn Fn(u64) -> Option<J> + Sync),
    pub(crate) prepare: &'a (dyn Fn(J) -> Result<B> + Sync),
    /// Threads that prepare, at least one.
    pub(crate) threads: usize,
}

/// The batches, in order.
pub(crate) struct Ahead<B> {
    channels: Vec<Receiver<Result<B>>>,
    taken: usize,
    /// Time that the taker has waited.
    pub(crate) waited: Duration,
}

impl<J, B: Send> Feed<'_, J, B> {
    /// Prepares jobs from number `from` on while `take` takes them; ends when `take` does.
    pub(crate) fn run<T>(&self, from: u64, take: impl FnOnce(&mut Ahead<B>) -> Result<T>) -> Result<T> {
        let threads = self.threads.max(1);
        std::thread::scope(|scope| {
            let channels = (0..threads).map(|number| {
                let (sender, receiver) = sync_channel(READY);
                scope.spawn(move || {
                    let mut at = from + number as u64;
                    while let Some(job) = (self.job)(at) {
                        if sender.send((self.prepare)(job)).is_err() {
                            return;
                        }
                        at += threads as u64;
                    }
                });
                receiver
            });
            let mut ahead = Ahead { channels: channels.collect(), taken: 0, waited: Duration::ZERO };
            take(&mut ahead)
        })
    }
}

impl<B> Ahead<B> {
    /// The next batch.
    pub(crate) fn next(&mut self) -> Result<B> {
        let begun = Instant::now();
        let batch = self.channels[self.taken % self.channels.len()].recv().context("the thread that prepares batches has ended")?;
        self.taken += 1;
        self.waited += begun.elapsed();
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn batches_are_the_same_for_any_number_of_threads() {
        let taken = |threads: usize| {
            let feed = Feed { job: &|at| (at < 20).then_some(at), prepare: &|at: u64| Ok(at * at), threads };
            feed.run(3, |ahead| (3..20).map(|_| ahead.next()).collect::<Result<Vec<_>>>()).unwrap()
        };
        assert_eq!(taken(1), (3..20).map(|at| at * at).collect::<Vec<u64>>());
        assert_eq!((taken(1), taken(1)), (taken(2), taken(7)));
    }

    #[test]
    fn an_error_arrives_in_its_place_and_an_early_end_leaves_no_thread() {
        let prepare = |at: u64| if at == 2 { bail!("broken") } else { Ok(at) };
        let feed = Feed { job: &|at| Some(at), prepare: &prepare, threads: 2 };
        let found = feed.run(0, |ahead| {
            assert_eq!((ahead.next()?, ahead.next()?), (0, 1));
            ahead.next()
        });
        assert_eq!(found.unwrap_err().to_string(), "broken");
    }
}
