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
        let title = |id: &TaskId| self.pipeline.tasks[id.0].title();
        let own: BTreeMap<TaskId, f64> = tasks.iter().filter_map(|id| Some((*id, self.seconds(self.last.get(&title(id))?)?))).collect();
        let mut of_stage: BTreeMap<&str, Mean> = BTreeMap::new();
        let mut of_kind: BTreeMap<&str, Mean> = BTreeMap::new();
        for (id, seconds) in &own {
            of_stage.entry(&self.pipeline.tasks[id.0].stage).or_default().add(*seconds);
            if let Some(kind) = self.kind_of(*id) {
                of_kind.entry(kind).or_default().add(*seconds);
            }
        }
        let mut expected = BTreeMap::new();
        for id in tasks {
            let guess = own.get(id).copied().or_else(|| of_stage.get(self.pipeline.tasks[id.0].stage.as_str()).and_then(Mean::value));
            let seconds = match (guess, self.kind_of(*id)) {
                (Some(seconds), _) => seconds,
                (None, None) => UNKNOWN,
                (None, Some(kind)) => {
                    let mean = of_kind.entry(kind).or_insert_with(|| self.mean_of_kind(kind));
                    mean.value().unwrap_or(UNKNOWN)
                }
            };
            expected.insert(*id, seconds);
        }
        expected
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
