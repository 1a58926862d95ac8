//! How long tasks are expected to take, from what they and their like took before.
//!
//! Only a guess, in no key: it decides what starts first, and what people are told.

use super::Planner;
use crate::content::Digest;
use crate::pipeline::{Action, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// Seconds of a task of which nothing is known.
const UNKNOWN: f64 = 1.0;

impl Planner<'_> {
    /// Expected seconds of each of these tasks: those of its own last result, else the mean of its stage's other cells, else of its
    /// kind (programs of commands have little in common), else a second.
    pub fn expected(&self, tasks: &BTreeSet<TaskId>) -> BTreeMap<TaskId, f64> {
        self.known_durations(tasks).into_iter().map(|(id, seconds)| (id, seconds.unwrap_or(UNKNOWN))).collect()
    }

    /// The same, and none where nothing is known.
    pub fn known_durations(&self, tasks: &BTreeSet<TaskId>) -> BTreeMap<TaskId, Option<f64>> {
        let mut of_stage: BTreeMap<&str, Mean> = BTreeMap::new();
        let mut of_kind: BTreeMap<&str, Mean> = BTreeMap::new();
        let mut known = BTreeMap::new();
        for id in tasks {
            let task = &self.pipeline.tasks[id.0];
            let own = || self.last().get(&task.title()).and_then(|key| self.seconds(key));
            let cells = || of_stage.entry(&task.stage).or_insert_with(|| self.mean_of_stage(&task.stage)).value();
            let alike = || of_kind.entry(self.kind_of(*id)?).or_insert_with_key(|kind| self.mean_of_kind(kind)).value();
            known.insert(*id, (if self.last().is_empty() { None } else { own() }).or_else(cells).or_else(alike));
        }
        known
    }

    /// Of at most 64 cells, in this pipeline.
    fn mean_of_stage(&self, stage: &str) -> Mean {
        let first = format!("{stage}[");
        let cells = self.last().range(first.clone()..).take_while(|(title, _)| title.starts_with(&first));
        let mut mean = Mean::default();
        cells.take(64).filter_map(|(_, key)| self.seconds(key)).for_each(|seconds| mean.add(seconds));
        mean
    }

    fn kind_of(&self, id: TaskId) -> Option<&'static str> {
        match &self.pipeline.tasks[id.0].action {
            Action::Kind { kind, .. } => Some(kind.name),
            Action::Command(_) => None,
        }
    }

    /// In any pipeline of the store. What cannot be read is as if it were not there.
    fn mean_of_kind(&self, kind: &str) -> Mean {
        let mut mean = Mean::default();
        for key in self.store.last_of_kind(kind).unwrap_or_default() {
            self.seconds(&key).into_iter().for_each(|seconds| mean.add(seconds));
        }
        mean
    }

    fn seconds(&self, key: &Digest) -> Option<f64> {
        self.store.records(key).ok()?.last().map(|record| record.seconds)
    }
}

#[derive(Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, seconds: f64) {
        self.sum += seconds;
        self.count += 1;
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}
