//! Which tasks wait for which, and in what order they can be judged.

use super::tested::LEDGER;
use super::{Planner, origin_task};
use crate::pipeline::{Pipeline, TaskId};
use std::collections::BTreeSet;

impl Planner<'_> {
    /// The tasks that a task takes from, as often as it does.
    pub(super) fn inputs_of(&self, id: TaskId) -> impl Iterator<Item = TaskId> {
        self.pipeline.tasks[id.0].inputs.values().flatten().filter_map(origin_task)
    }

    /// Whether a task shows the ledger.
    pub(super) fn shows_ledger(&self, id: TaskId) -> bool {
        self.filled_ports(id).any(|port| port == LEDGER)
    }

    /// Those that must have ended before a task that shows the ledger.
    pub(super) fn testers_before(&self, id: TaskId) -> impl Iterator<Item = TaskId> {
        let testers = self.shows_ledger(id).then(|| self.testers.get_or_init(|| self.testers()));
        testers.into_iter().flatten().copied()
    }

    /// The tasks that a task takes from, and those that must have ended because it shows the ledger; in order.
    pub fn needs_of(&self, id: TaskId) -> Vec<TaskId> {
        let mut needs: Vec<TaskId> = self.inputs_of(id).chain(self.testers_before(id)).collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    /// The wanted tasks, each after those it needs.
    pub fn in_order(&self) -> Vec<TaskId> {
        // In the pipeline's order each follows what it takes from; what shows the ledger, and what follows that, comes last.
        let mut late = BTreeSet::new();
        for id in &self.wanted {
            if self.shows_ledger(*id) || (!late.is_empty() && self.inputs_of(*id).any(|need| late.contains(&need))) {
                late.insert(*id);
            }
        }
        self.wanted.iter().filter(|id| !late.contains(id)).chain(&late).copied().collect()
    }
}

/// `only` and everything it needs; all tasks where `only` is empty.
pub(super) fn wanted(pipeline: &Pipeline, only: &[TaskId]) -> BTreeSet<TaskId> {
    if only.is_empty() {
        return (0..pipeline.tasks.len()).map(TaskId).collect();
    }
    let mut wanted = BTreeSet::new();
    let mut open = only.to_vec();
    while let Some(id) = open.pop() {
        if wanted.insert(id) {
            open.extend(pipeline.tasks[id.0].inputs.values().flatten().filter_map(origin_task));
        }
    }
    wanted
}
