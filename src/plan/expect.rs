//! How long tasks are expected to take, from what they and their like took before.
//!
//! Only a guess, in no key: it decides what starts first, and what people are told.

use super::Planner;
use crate::content::Digest;
use crate::pipeline::{Action, TaskId};
use crate::store::Record;
use std::collections::{BTreeMap, BTreeSet};

/// Seconds of a task of which nothing is known.
const UNKNOWN: f64 = 1.0;
/// So many runs are looked back.
pub(super) const RUNS: usize = 20;

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

    /// What an item took, in that of the task's last runs, else of its stage's cells, else of its kind, in which most items were treated:
    /// where there were few, what comes once counts for more than they do.
    pub(super) fn seconds_an_item(&self, id: TaskId) -> Option<f64> {
        let task = &self.pipeline.tasks[id.0];
        let title = task.title();
        let first = format!("{}[", task.stage);
        let cells = || self.last().range(first.clone()..).take_while(|(title, _)| title.starts_with(&first)).take(64).map(|(_, key)| *key);
        let own = self.past_keys(&title);
        let alike = || self.kind_of(id).map(|kind| self.store.last_of_kind(kind).unwrap_or_default()).unwrap_or_default();
        self.rate(own).or_else(|| self.rate(cells())).or_else(|| self.rate(alike()))
    }

    /// Keys under which a task ran in the last runs. What cannot be read is as if it were not there.
    fn past_keys(&self, title: &str) -> Vec<Digest> {
        let runs = self.store.run_ids(&self.id).unwrap_or_default();
        let runs = runs.iter().rev().take(RUNS).filter_map(|run| self.store.run(&self.id, run).ok());
        let ran = runs.flat_map(|run| run.tasks).filter(|task| task.outcome == "ran" && task.task == title);
        ran.filter_map(|task| task.key).collect()
    }

    fn rate(&self, keys: impl IntoIterator<Item = Digest>) -> Option<f64> {
        let records = keys.into_iter().filter_map(|key| self.store.records(&key).ok()?.into_iter().next_back());
        let treated = |record: &Record| record.items_ran.unwrap_or(record.items);
        let most = records.filter(|record| treated(record) > 0).max_by_key(|record| treated(record))?;
        Some(most.seconds / treated(&most) as f64)
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
