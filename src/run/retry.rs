//! Tries a task again that failed for a cause which its policy names (`retries`, `retry_on`), after a rest that grows.
//!
//! Part of the loop in `run`. A task that rests holds no room, and its result is as little cached as that of any failed one.

use super::failure::{Failure, told};
use super::queue::Queued;
use super::{Event, Loop};
use crate::pipeline::TaskId;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The first rest; each further one is four times as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(60);

/// How long a task waits that another engine is doing.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A task that waits for its next try.
pub(super) struct Resting {
    until: Instant,
    id: TaskId,
    queued: Queued,
    /// How the try before ended; none where another engine does the task.
    failed: Option<Failed>,
}

/// A try that failed: why, after how many seconds, and where its log is.
pub(super) struct Failed {
    pub(super) error: anyhow::Error,
    pub(super) seconds: f64,
    pub(super) log: Option<PathBuf>,
}

impl Loop<'_> {
    /// Whether a failed task may be tried again.
    pub(super) fn may_try_again(&self, id: TaskId, error: &anyhow::Error, queued: &Queued) -> bool {
        let policy = &self.planner.pipeline.tasks[id.0].policy;
        let named = Failure::cause_of(error).is_some_and(|cause| policy.retry_on.contains(&cause));
        named && queued.tries < policy.retries
    }

    /// Has a failed task rest from now on, to be tried again.
    pub(super) fn try_again(&mut self, id: TaskId, mut queued: Queued, failed: Failed) {
        let (policy, Failed { error, seconds, .. }) = (&self.planner.pipeline.tasks[id.0].policy, &failed);
        queued.tries += 1;
        let (title, message, rest) = (self.title(id), told(error, self.planner.takes_people(id)), rest(queued.tries));
        let _ = self.journal.task(&title, self.kind(id), Some(&queued.key), "retried", *seconds, &message);
        self.summary.retried += 1;
        (self.watch)(Event::Retried { task: title, message, number: queued.tries, of: policy.retries, rest });
        self.states[id.0] = super::State::Queued;
        self.resting.push(Resting { until: Instant::now() + rest, id, queued, failed: Some(failed) });
    }

    /// Another engine on this store does the task: it is asked for again soon.
    pub(super) fn leave_to_other(&mut self, id: TaskId, queued: Queued) {
        self.resting.push(Resting { until: Instant::now() + ASK_AGAIN, id, queued, failed: None });
    }

    /// Queues the tasks that have rested; says how long the loop may sleep.
    pub(super) fn wake_rested(&mut self, longest: Duration) -> Duration {
        let now = Instant::now();
        let (rested, resting) = std::mem::take(&mut self.resting).into_iter().partition(|one: &Resting| one.until <= now);
        self.resting = resting;
        for Resting { id, queued, .. } in rested {
            self.queue.insert(id, queued);
        }
        self.resting.iter().map(|one| one.until - now).fold(longest, Duration::min)
    }

    /// Those that rest, no longer to be tried, and how they failed.
    pub(super) fn give_up_resting(&mut self) -> Vec<(TaskId, Option<Failed>)> {
        let resting = std::mem::take(&mut self.resting);
        self.summary.items_ran += resting.iter().map(|one| one.queued.treated).sum::<u64>();
        resting.into_iter().map(|one| (one.id, one.failed)).collect()
    }
}

fn rest(number: u32) -> Duration {
    FIRST.saturating_mul(4_u32.saturating_pow(number - 1)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_to_a_minute() {
        let rests = [1, 2, 3, 6, 40].map(|number| rest(number).as_millis());
        assert_eq!(rests, [200, 800, 3_200, 60_000, 60_000]);
    }
}
