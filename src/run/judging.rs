//! Judges tasks whose inputs are all there: found in the store, or queued with the reasons why not.
//!
//! Part of the loop in `run`.

use super::queue::Queued;
use super::{Ended, Loop, State, is_damage};
use crate::pipeline::TaskId;
use crate::plan::Judgement;
use crate::plan::reason::Reason;
use anyhow::{Context as _, Result};

impl Loop<'_> {
    /// Judges all that waits for nothing, and what that readies.
    pub(super) fn judge_all(&mut self) -> Result<()> {
        let planner = self.planner;
        for id in &planner.wanted {
            let needs = planner.needs_of(*id);
            needs.iter().for_each(|need| self.followers[need.0].push(*id));
            self.waiting[id.0] = needs.into_iter().collect();
        }
        self.ready.extend(planner.wanted.iter().filter(|id| self.waiting[id.0].is_empty()));
        self.judge_ready()
    }

    /// Judges until nothing is left that can be judged: a cached result readies its followers at once.
    pub(super) fn judge_ready(&mut self) -> Result<()> {
        while !self.ready.is_empty() {
            let mut ready: Vec<TaskId> = std::mem::take(&mut self.ready).into();
            ready.retain(|id| self.states[id.0] == State::Wanted && self.waiting[id.0].is_empty());
            // None of them waits for another, so that all can be judged before the first is dealt with; in the pool as long as no task
            // works there, since the loop would wait for it.
            let judged = match self.running {
                0 => self.planner.judge_all(&ready, &self.outcomes),
                _ => ready.iter().map(|id| self.planner.judge(*id, &self.outcomes)).collect(),
            };
            for (id, judged) in ready.iter().zip(judged) {
                if self.states[id.0] == State::Wanted && self.waiting[id.0].is_empty() {
                    self.deal_with(*id, judged)?;
                }
            }
        }
        Ok(())
    }

    /// Takes what the store said of a task whose inputs are all there.
    fn deal_with(&mut self, id: TaskId, judged: Result<Option<Judgement>>) -> Result<()> {
        if let Some(failed) = self.failed_need(id) {
            self.skip(id, &format!("{failed} failed"));
            return Ok(());
        }
        if self.waits_for_an_effect(id) {
            return Ok(());
        }
        let gone = self.revived.get(&id).cloned();
        let (key, manifest) = match judged {
            Ok(Some(Judgement::Hit(known))) if gone.is_none() && !self.is_again(id) => {
                self.settle(id, known, Ended::Cached, 0.0, None);
                return Ok(());
            }
            Ok(Some(Judgement::Hit(known))) => {
                if self.is_again(id) {
                    self.again.standing.insert(id, known.clone());
                }
                let manifest = self.planner.manifest(id, &self.outcomes)?.context("the task's inputs are known")?;
                (known.key, manifest)
            }
            Ok(Some(Judgement::Miss { key, manifest })) => (key, *manifest),
            Ok(None) => anyhow::bail!("{} was judged before its inputs were known", self.title(id)),
            Err(error) => {
                self.summary.damaged |= is_damage(&error);
                self.fail(id, &error, 0.0, None);
                return Ok(());
            }
        };
        if self.is_an_effect_unasked_for(id) {
            return Ok(());
        }
        // Of what was not cached this was asked before anything began.
        let unmet = gone.as_ref().and_then(|_| self.resources.unmet(&self.planner.pipeline.tasks[id.0], self.options.cpu));
        if let Some(unmet) = unmet {
            self.fail(id, &anyhow::anyhow!(unmet), 0.0, None);
            return Ok(());
        }
        if let Some(first) = self.making.get(&key).filter(|first| **first != id) {
            // Of cells with equal keys one runs.
            let first = *first;
            self.waiting[id.0].insert(first);
            self.followers[first.0].push(id);
            return Ok(());
        }
        let reasons = match gone {
            Some(reason) => vec![reason],
            None if self.again.standing.contains_key(&id) => vec![Reason::Again],
            None => self.planner.reasons(id, &manifest)?,
        };
        self.making.insert(key, id);
        self.states[id.0] = State::Queued;
        self.queue.insert(id, Queued { key, manifest: manifest.bytes(), reasons, tries: 0, treated: 0 });
        Ok(())
    }
}
