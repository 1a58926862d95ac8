//! Why an input of a task is another one although the task that makes it is cached: that one ran since, for reasons of its own.
//!
//! Looks into the journals of the last runs for the key under which the input of then was made.

use super::expect::RUNS;
use super::explain::stored_manifest;
use super::key::KeyManifest;
use super::reason::{Leaves, Reason};
use super::{Outcome, Planner, origin};
use crate::content::Digest;
use crate::pipeline::TaskId;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A cached task whose result is another one than before, and why.
pub(super) type Since = (TaskId, Vec<Reason>);

/// Task → its keys in the last runs, newest first.
type Past = HashMap<String, Vec<Digest>>;

impl Planner<'_> {
    /// Of a task's cached ancestors those that changed since its last record, the nearest first. What cannot be read is as if it were not
    /// there.
    pub fn since(&self, id: TaskId, outcomes: &[Outcome]) -> Result<Vec<Since>> {
        let Some(key) = self.last().get(&self.pipeline.tasks[id.0].title()) else { return Ok(Vec::new()) };
        let Some(then) = stored_manifest(self.store, key)? else { return Ok(Vec::new()) };
        let mut past = None;
        let (mut found, mut open, mut seen) = (Vec::new(), vec![(id, then)], BTreeSet::new());
        while let Some((id, then)) = open.pop() {
            for (need, port, before) in self.other_inputs(id, &then, outcomes)? {
                if !seen.insert(need) {
                    continue;
                }
                let keys = past.get_or_insert_with(|| self.past()).get(&self.pipeline.tasks[need.0].title());
                let Some(then) = self.that_made(keys.map_or(&[], Vec::as_slice), port, before)? else { continue };
                let Some(now) = self.manifest(need, outcomes)? else { continue };
                let reasons = self.differences(&self.pipeline.tasks[need.0], &Leaves::of(&then), &Leaves::of(&now));
                if !reasons.is_empty() {
                    found.push((need, reasons));
                    open.push((need, then));
                }
            }
        }
        Ok(found)
    }

    /// Inputs that cached tasks make, and that are others than `then`: the task, its port, and what it had given.
    fn other_inputs(&self, id: TaskId, then: &KeyManifest, outcomes: &[Outcome]) -> Result<Vec<(TaskId, &str, Digest)>> {
        let mut others = Vec::new();
        for (port, edges) in &self.pipeline.tasks[id.0].inputs {
            let parts: BTreeMap<_, _> = then.inputs.get(port).into_iter().flatten().map(|part| (&part.at, part.digest)).collect();
            for edge in edges {
                let (Some((need, from)), Some(Some(before))) = (origin(edge), parts.get(&*edge.coordinates)) else { continue };
                let Outcome::Known(known) = &outcomes[need.0] else { continue };
                if known.output(from)?.manifest != *before {
                    others.push((need, from, *before));
                }
            }
        }
        Ok(others)
    }

    /// The key manifest of that of these results which holds this output.
    fn that_made(&self, keys: &[Digest], port: &str, output: Digest) -> Result<Option<KeyManifest>> {
        for key in keys {
            let holds =
                |record: &std::sync::Arc<crate::store::Record>| record.outputs.get(port).is_some_and(|held| held.manifest == output);
            if self.store.records(key)?.iter().any(holds) {
                return stored_manifest(self.store, key);
            }
        }
        Ok(None)
    }

    fn past(&self) -> Past {
        let runs = self.store.run_ids(&self.id).unwrap_or_default();
        let mut past = Past::new();
        for run in runs.iter().rev().take(RUNS).filter_map(|run| self.store.run(&self.id, run).ok()) {
            for (task, key) in run.tasks.into_iter().filter_map(|task| Some((task.task, task.key?))) {
                let keys = past.entry(task).or_default();
                if keys.last() != Some(&key) {
                    keys.push(key);
                }
            }
        }
        past
    }
}
