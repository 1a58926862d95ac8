//! Tasks that wait for room, and which is tried first: the one that begins the longest expected path to the end, ties in the
//! pipeline's order.
//!
//! Durations are looked up once, and only where something has to run at all.

use super::{Loop, State};
use crate::content::Digest;
use crate::pipeline::TaskId;
use crate::plan::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// A queued task.
pub(super) struct Queued {
    pub(super) key: Digest,
    pub(super) manifest: Vec<u8>,
    pub(super) reasons: Vec<Reason>,
    /// Tries that failed already, and the items that they treated.
    pub(super) tries: u32,
    pub(super) treated: u64,
}

/// The queued tasks.
#[derive(Default)]
pub(super) struct Queue {
    tasks: BTreeMap<TaskId, Queued>,
    /// Task → its place, once known; a task that is not here comes last.
    ranks: Option<BTreeMap<TaskId, usize>>,
    /// The queued tasks by place.
    order: BTreeSet<Place>,
    /// Which tasks of the pipeline take a device, and how many of those are queued.
    on_device: BTreeSet<TaskId>,
    waiting_for_device: usize,
}

/// Where a task stands in the queue.
pub(super) type Place = (usize, TaskId);

impl Queue {
    /// An empty queue for a pipeline in which these tasks take a device.
    pub(super) fn new(on_device: BTreeSet<TaskId>) -> Self {
        Self { on_device, ..Self::default() }
    }

    /// Whether any queued task takes a device.
    pub(super) fn wants_device(&self) -> bool {
        self.waiting_for_device > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(super) fn insert(&mut self, id: TaskId, queued: Queued) {
        self.order.insert(self.place(id));
        if self.tasks.insert(id, queued).is_none() && self.on_device.contains(&id) {
            self.waiting_for_device += 1;
        }
    }

    pub(super) fn remove(&mut self, id: TaskId) -> Option<Queued> {
        self.order.remove(&self.place(id));
        let queued = self.tasks.remove(&id);
        if queued.is_some() && self.on_device.contains(&id) {
            self.waiting_for_device -= 1;
        }
        queued
    }

    /// The first task after a place, or the first of all.
    pub(super) fn after(&self, place: Option<Place>) -> Option<Place> {
        let from = place.map_or(Bound::Unbounded, Bound::Excluded);
        self.order.range((from, Bound::Unbounded)).next().copied()
    }

    /// Empties the queue.
    pub(super) fn drain(&mut self) -> Vec<TaskId> {
        self.order.clear();
        self.waiting_for_device = 0;
        std::mem::take(&mut self.tasks).into_keys().collect()
    }

    fn place(&self, id: TaskId) -> Place {
        (self.ranks.as_ref().and_then(|ranks| ranks.get(&id)).copied().unwrap_or(usize::MAX), id)
    }

    fn rank(&mut self, ranks: BTreeMap<TaskId, usize>) {
        self.ranks = Some(ranks);
        self.order = self.tasks.keys().map(|id| self.place(*id)).collect();
    }
}

impl Loop<'_> {
    /// Gives every task that may still run its place, when the first is queued.
    pub(super) fn rank_queue(&mut self) {
        if self.queue.ranks.is_some() || self.queue.tasks.is_empty() {
            return;
        }
        let open = |id: &TaskId| matches!(self.states[id.0], State::Wanted | State::Queued);
        let open: BTreeSet<TaskId> = self.planner.wanted.iter().copied().filter(open).collect();
        let mut paths = vec![0.0; self.states.len()];
        for (id, seconds) in self.planner.expected(&open) {
            paths[id.0] = seconds;
        }
        lengthen(&mut paths, &self.followers);
        self.queue.rank(ranked(open, &paths));
    }
}

/// Seconds of each task → seconds from its start to the end of the longest path that it begins.
fn lengthen(seconds: &mut [f64], followers: &[Vec<TaskId>]) {
    // Each task stands before those that follow it.
    for at in (0..seconds.len()).rev() {
        let after = followers[at].iter().filter(|follower| follower.0 > at).map(|follower| seconds[follower.0]);
        seconds[at] += after.fold(0.0, f64::max);
    }
}

fn ranked(tasks: BTreeSet<TaskId>, paths: &[f64]) -> BTreeMap<TaskId, usize> {
    let mut tasks: Vec<TaskId> = tasks.into_iter().collect();
    // Stable: ties stay in the pipeline's order.
    tasks.sort_by(|a, b| paths[b.0].total_cmp(&paths[a.0]));
    tasks.into_iter().enumerate().map(|(rank, id)| (id, rank)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_path_comes_first_and_ties_stay_in_order() {
        // 0 → 3 → 4, 1 alone, 2 alone.
        let followers = [vec![TaskId(3)], vec![], vec![], vec![TaskId(4)], vec![]];
        let order = |seconds: [f64; 5]| {
            let mut paths = seconds;
            lengthen(&mut paths, &followers);
            let mut queue = Queue::default();
            for at in 0..5 {
                queue.insert(TaskId(at), Queued { key: Digest::of(b""), manifest: Vec::new(), reasons: Vec::new(), tries: 0, treated: 0 });
            }
            queue.rank(ranked((0..5).map(TaskId).collect(), &paths));
            let places = std::iter::successors(queue.after(None), |place| queue.after(Some(*place)));
            (places.map(|(_, id)| id.0).collect::<Vec<_>>(), paths[0])
        };
        assert_eq!(order([1.0; 5]), (vec![0, 3, 1, 2, 4], 3.0));
        assert_eq!(order([1.0, 9.0, 3.0, 1.0, 1.0]), (vec![1, 0, 2, 3, 4], 3.0));
        assert_eq!(order([0.0; 5]), (vec![0, 1, 2, 3, 4], 0.0));
    }
}
