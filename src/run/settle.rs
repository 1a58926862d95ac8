//! How a task ends: known, failed or skipped, told to the journal, to who watches, and to those that follow.
//!
//! Part of the loop in `run`.

use super::moves::Published;
use super::quarantine::judge;
use super::{Ended, Event, Loop, State};
use crate::content::Digest;
use crate::pipeline::TaskId;
use crate::plan::reason::Reason;
use crate::plan::{Known, Outcome};
use crate::store::RunTask;
use anyhow::{Result, bail};
use std::path::PathBuf;

impl Loop<'_> {
    /// A task's result is known: judges its quarantine, publishes, and lets its followers know.
    pub(super) fn settle(&mut self, id: TaskId, known: Known, ended: Ended, seconds: f64, log: Option<PathBuf>) {
        if let Err(error) = self.try_to_settle(id, known, ended, seconds, log.clone()) {
            self.summary.damaged |= super::is_damage(&error);
            self.fail(id, &error, seconds, log);
        }
    }

    fn try_to_settle(&mut self, id: TaskId, known: Known, ended: Ended, seconds: f64, log: Option<PathBuf>) -> Result<()> {
        let record = &known.record;
        self.making.remove(&known.key);
        let verdict = judge(self.planner, id, record, &self.outcomes, &self.options.decisions)?;
        self.summary.quarantined += verdict.open;
        self.summary.accepted += verdict.accepted;
        if let Some(error) = verdict.error {
            self.fail(id, &super::failure::Quarantined(error).into(), seconds, log);
            return Ok(());
        }
        match self.publish(id, &known) {
            Ok(Published::Done) => {}
            // A cached result that is to be published, and whose bytes that takes are gone, is made again.
            Ok(Published::Gone) if ended == Ended::Cached => {
                self.revived.insert(id, Reason::GoneToPublish);
                self.outcomes[id.0] = Outcome::Known(Box::new(known));
                self.ready.push_back(id);
                return Ok(());
            }
            Ok(Published::Gone) => bail!("what it made is gone from the store"),
            Err(error) => return Err(error),
        }
        self.met.extend(self.planner.enter_meetings(id, &known, &self.outcomes)?);
        let title = self.title(id);
        let compared = self.again.compared.get(&id).cloned();
        let written = match (self.told.remove(&id), ended) {
            (Some((key, reasons)), _) => self.tell(id, Some(key), ended, seconds, compared.as_deref().unwrap_or_default(), reasons),
            (None, Ended::Cached) => {
                self.journal.cached(title.clone(), &known.record.kind, known.key);
                Ok(())
            }
            (None, _) => self.journal.task(&title, &known.record.kind, Some(&known.key), ended.word(), seconds, ""),
        };
        // The result stands all the same; the run ends.
        if let Err(error) = written {
            self.trouble(&error);
        }
        match ended {
            Ended::Cached => {
                self.summary.cached += 1;
                self.summary.items_cached += known.record.items;
            }
            _ => self.summary.ran += 1,
        }
        (self.watch)(Event::Ended { task: title, outcome: ended, seconds, message: compared, log });
        self.states[id.0] = State::Done;
        self.outcomes[id.0] = Outcome::Known(Box::new(known));
        self.release(id);
        Ok(())
    }

    /// The first failed task that a task needs and can't do without.
    pub(super) fn failed_need(&self, id: TaskId) -> Option<String> {
        let has_any = self.summary.failed + self.summary.skipped > 0;
        has_any.then(|| self.planner.failed_need(id, &self.outcomes)).flatten().map(|need| self.title(need))
    }

    /// Leaves a task out where something that it needs waits; says whether it did.
    pub(super) fn waits_for_an_effect(&mut self, id: TaskId) -> bool {
        if self.summary.waiting == 0 {
            return false;
        }
        let waiting = self.planner.needs_of(id).into_iter().find(|need| self.states[need.0] == State::Waiting);
        if let Some(need) = waiting {
            self.wait(id, &format!("after {}", self.title(need)));
        }
        waiting.is_some()
    }

    /// Leaves a task out where it acts on the world and nobody asked for that; says whether it did.
    pub(super) fn is_an_effect_unasked_for(&mut self, id: TaskId) -> bool {
        let unasked = self.planner.pipeline.tasks[id.0].effect && !self.options.effects.contains(&id);
        if unasked {
            self.summary.effects.push(self.title(id));
            self.wait(id, "it acts on the world");
        }
        unasked
    }

    fn wait(&mut self, id: TaskId, because: &str) {
        let title = self.title(id);
        let _ = self.journal.task(&title, self.kind(id), None, Ended::Waiting.word(), 0.0, because);
        self.summary.waiting += 1;
        self.states[id.0] = State::Waiting;
        let message = Some(because.to_owned());
        (self.watch)(Event::Ended { task: title, outcome: Ended::Waiting, seconds: 0.0, message, log: None });
        self.release(id);
    }

    fn tell(&self, id: TaskId, key: Option<Digest>, ended: Ended, seconds: f64, message: &str, reasons: Vec<String>) -> Result<()> {
        self.journal.write(RunTask {
            task: self.title(id),
            kind: self.kind(id).to_owned(),
            key,
            outcome: ended.word().to_owned(),
            seconds,
            message: message.to_owned(),
            reasons,
            ended: crate::store::now(),
        })
    }

    pub(super) fn fail(&mut self, id: TaskId, error: &anyhow::Error, seconds: f64, log: Option<PathBuf>) {
        let title = self.title(id);
        let message = super::failure::told(error, self.planner.takes_people(id));
        let (key, reasons) = self.told.remove(&id).unzip();
        let _ = self.tell(id, key, Ended::Failed, seconds, &message, reasons.unwrap_or_default());
        self.summary.failed += 1;
        self.summary.failures.push((title.clone(), message.clone(), log.clone()));
        self.states[id.0] = State::Failed;
        self.outcomes[id.0] = Outcome::Failed(super::failure::class(error).to_owned());
        (self.watch)(Event::Ended { task: title, outcome: Ended::Failed, seconds, message: Some(message), log });
        self.making.retain(|_, maker| *maker != id);
        self.release(id);
    }

    pub(super) fn skip(&mut self, id: TaskId, because: &str) {
        let title = self.title(id);
        let _ = self.journal.task(&title, self.kind(id), None, Ended::Skipped.word(), 0.0, because);
        self.summary.skipped += 1;
        self.states[id.0] = State::Skipped;
        self.outcomes[id.0] = self.planner.hole_after(id, &self.outcomes);
        let message = Some(because.to_owned());
        (self.watch)(Event::Ended { task: title, outcome: Ended::Skipped, seconds: 0.0, message, log: None });
        self.release(id);
    }
}
