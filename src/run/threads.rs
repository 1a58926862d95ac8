//! Threads that carry out tasks, one at a time each, and are kept for the next: starting one takes a tenth of the time of a short command.
//!
//! As many as there were tasks at once. Knows nothing of tasks.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{Builder, Scope};

type Work<'scope> = Box<dyn FnOnce() + Send + 'scope>;
/// A thread waits at the other end; it is given its sender back with the work, so that nobody waits for what no one can send.
type Given<'scope> = (Work<'scope>, Thread<'scope>);
type Free<'scope> = Mutex<Vec<Thread<'scope>>>;

/// The threads of a run; they end when this is dropped and their work is done.
pub(super) struct Threads<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    free: Arc<Free<'scope>>,
}

/// A thread that waits for work.
pub(super) struct Thread<'scope>(Sender<Given<'scope>>);

impl<'scope, 'env> Threads<'scope, 'env> {
    pub(super) fn new(scope: &'scope Scope<'scope, 'env>) -> Self {
        Self { scope, free: Arc::default() }
    }

    /// The thread that has waited for the shortest time, or a new one. An error where the system starts none.
    pub(super) fn one(&self) -> io::Result<Thread<'scope>> {
        if let Some(thread) = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(thread);
        }
        let (sender, inbox) = channel();
        let free = Arc::downgrade(&self.free);
        Builder::new().spawn_scoped(self.scope, move || serve(&inbox, &free))?;
        Ok(Thread(sender))
    }
}

impl<'scope> Thread<'scope> {
    /// Gives it work, after which it waits again.
    pub(super) fn give(self, work: impl FnOnce() + Send + 'scope) {
        let inbox = self.0.clone();
        // A thread ends only when its sender is gone.
        let _ = inbox.send((Box::new(work), self));
    }
}

fn serve<'scope>(inbox: &Receiver<Given<'scope>>, free: &Weak<Free<'scope>>) {
    while let Ok((work, myself)) = inbox.recv() {
        work();
        match free.upgrade() {
            Some(free) => free.lock().unwrap_or_else(PoisonError::into_inner).push(myself),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::thread;

    #[test]
    fn a_thread_is_used_again_and_those_at_work_are_not() {
        let seen = Mutex::new(HashSet::new());
        thread::scope(|scope| {
            let threads = Threads::new(scope);
            let (say, said) = channel();
            // Two at once need two threads.
            let (open, opened) = channel::<()>();
            let say_too = say.clone();
            threads.one().unwrap().give(move || {
                opened.recv().unwrap();
                say_too.send(thread::current().id()).unwrap();
            });
            for _ in 0..10 {
                let say = say.clone();
                threads.one().unwrap().give(move || say.send(thread::current().id()).unwrap());
                seen.lock().unwrap().insert(said.recv().unwrap());
                // It says that it is done a moment before it waits again.
                while threads.free.lock().unwrap().is_empty() {
                    thread::yield_now();
                }
            }
            assert_eq!(seen.lock().unwrap().len(), 1);
            open.send(()).unwrap();
            assert!(seen.lock().unwrap().insert(said.recv().unwrap()));
        });
    }
}
