//! How a run stops and ends: what is left out then, and the summary.
//!
//! Part of the loop in `run`.

use super::retry::Failed;
use super::start::Starter;
use super::{Loop, State, Summary, children, is_damage};
use crate::pipeline::TaskId;
use std::time::{Duration, Instant};

/// Why a run stopped where somebody wanted it, and what a task says that ran then.
pub(super) const INTERRUPTED: &str = "interrupted";

impl Loop<'_> {
    /// Starts nothing more and ends what runs.
    pub(super) fn stop(&mut self, start: &Starter<'_, '_, '_>, because: &'static str) {
        start.cancel();
        self.stopped.get_or_insert(because);
        for id in self.queue.drain() {
            self.skip(id, because);
        }
        for (id, failed) in self.give_up_resting() {
            match failed {
                Some(Failed { error, seconds, log }) => self.fail(id, &error, seconds, log),
                None => self.skip(id, because),
            }
        }
    }

    /// Leaves a task out that ran when the run stopped.
    pub(super) fn interrupt(&mut self, id: TaskId, because: &str) {
        self.told.remove(&id);
        self.making.retain(|_, maker| *maker != id);
        let because = if because == INTERRUPTED { because.to_owned() } else { format!("{INTERRUPTED}, since {because}") };
        self.skip(id, &because);
    }

    /// Something that concerns the whole run went wrong, such as that its journal cannot be written: it ends, in order, and the first such
    /// error is told above all else.
    pub(super) fn trouble(&mut self, error: &anyhow::Error) {
        self.summary.damaged |= is_damage(error);
        self.summary.trouble.get_or_insert_with(|| format!("{error:#}"));
    }

    /// Ends the journal, and says what the run came to.
    pub(super) fn finish(mut self, started: Instant, spent: &children::Spent) -> Summary {
        // Queued are those that came to be ready after it had stopped.
        let is_open = |id: &&TaskId| matches!(self.states[id.0], State::Wanted | State::Queued);
        let open: Vec<TaskId> = self.planner.wanted.iter().filter(is_open).copied().collect();
        if let (None, Some(first)) = (self.stopped, open.first()) {
            let title = self.title(*first);
            self.trouble(&anyhow::anyhow!(
                "{title} was neither run nor left out, though nothing stopped the run: this is a bug in tomograph"
            ));
        }
        open.into_iter().for_each(|id| self.skip(id, "the run was stopped"));
        match self.planner.tested(&self.met) {
            Ok(tested) => self.summary.tested = tested,
            Err(error) => self.trouble(&error),
        }
        self.summary.starts = spent.starts.iter().map(Duration::as_secs_f64).collect();
        self.summary.starts.sort_by(f64::total_cmp);
        self.summary.seconds = started.elapsed().as_secs_f64();
        self.summary.engine_seconds = self.summary.seconds - spent.working.as_secs_f64();
        let summary = &self.summary;
        let ended = self.journal.end(&serde_json::json!({
            "cached": summary.cached, "ran": summary.ran, "failed": summary.failed, "skipped": summary.skipped,
            "waiting": summary.waiting, "quarantined": summary.quarantined, "interrupted": summary.interrupted,
            "unpublished": summary.unpublished,
            "engine_seconds": summary.engine_seconds, "starts": summary.starts,
        }));
        if let Err(error) = ended {
            self.trouble(&error);
        }
        self.summary
    }
}
