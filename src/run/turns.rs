//! Items of several tasks in one pool, by turns.
//!
//! The pool's threads take what waits in its common queue in the order in which it came, but prefer what they have begun to split: a task
//! that gave all its items at once would keep those of another out until its end. So each task's own thread gives a few at a time.

use anyhow::{Result, anyhow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// For so long a thread should be busy with what it is given: items that take less are given together.
const TURN: Duration = Duration::from_millis(4);
/// As many items are given at once at most.
const MOST: usize = 256;

/// Treats every item in the pool; results are in the order of the items. After an error no further item is begun, and
/// that of the first item that failed is the answer.
///
/// Not to be called on a thread of the pool.
pub(super) fn each<T: Sync, R: Send>(items: &[T], treat: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let treat = &treat;
    let most = 2 * rayon::current_num_threads();
    let mut results: Vec<Option<R>> = Vec::new();
    results.resize_with(items.len(), || None);
    let mut failed: Option<(usize, anyhow::Error)> = None;
    rayon::in_place_scope(|scope| {
        let (sender, ended) = channel();
        let (mut next, mut running, mut share) = (0, 0, 1);
        loop {
            while running < most && next < items.len() && failed.is_none() {
                let (start, end) = (next, items.len().min(next + share));
                let sender = sender.clone();
                scope.spawn(move |_| {
                    let begun = Instant::now();
                    let work = || items[start..end].iter().map(treat).collect::<Result<Vec<R>>>();
                    let made = catch_unwind(AssertUnwindSafe(work))
                        .unwrap_or_else(|_| Err(anyhow!("an item panicked: this is a bug in tomograph")));
                    let _ = sender.send((start, made, begun.elapsed()));
                });
                (next, running) = (end, running + 1);
            }
            let Some((start, made, took)) = (running > 0).then(|| ended.recv().ok()).flatten() else { return };
            running -= 1;
            match made {
                Ok(made) => results[start..].iter_mut().zip(made).for_each(|(place, one)| *place = Some(one)),
                Err(error) if failed.as_ref().is_none_or(|(first, _)| start < *first) => failed = Some((start, error)),
                Err(_) => {}
            }
            share = match took {
                short if short < TURN / 2 => (share * 2).min(MOST),
                long if long > TURN => (share / 2).max(1),
                _ => share,
            };
        }
    });
    failed.map_or_else(|| Ok(results.into_iter().flatten().collect()), |(_, error)| Err(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[test]
    fn results_are_in_order_and_the_first_error_ends_it() {
        let items: Vec<usize> = (0..10_000).collect();
        assert_eq!(each(&items, |item| Ok(item * 2)).unwrap(), items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert!(each(&[] as &[u8], |item| Ok(*item)).unwrap().is_empty());
        let seen = AtomicUsize::new(0);
        let error = each(&items, |item| {
            seen.fetch_add(1, Ordering::Relaxed);
            if *item < 40 { Ok(()) } else { Err(anyhow!("item {item}")) }
        });
        assert!(error.unwrap_err().to_string().starts_with("item ") && seen.into_inner() < items.len());
        // Two at once, of which the second fails sooner.
        let two = each(&[40, 0], |wait| -> Result<()> {
            std::thread::sleep(Duration::from_millis(*wait));
            Err(anyhow!("after {wait}"))
        });
        assert_eq!(two.unwrap_err().to_string(), "after 40");
        assert!(each(&items, |_| -> Result<()> { panic!("on purpose") }).unwrap_err().to_string().contains("panicked"));
    }

    #[test]
    fn a_small_task_ends_before_a_large_one_that_began_first() {
        let (begun, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        let waited = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Goes on until the small one has ended, or gives up.
                each(&[(); 200_000], |()| {
                    begun.store(true, Ordering::Relaxed);
                    if !ended.load(Ordering::Relaxed) {
                        waited.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_micros(200));
                    }
                    Ok(())
                })
            });
            scope.spawn(|| {
                while !begun.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
                each(&[(); 20], |()| Ok(())).unwrap();
                ended.store(true, Ordering::Relaxed);
            });
        });
        assert!(waited.into_inner() < 100_000, "the small task waited for the large one");
    }
}
