//! How long a plan may take, from how long the same tasks, or ones like them, took before.
//!
//! Starts nothing. A forecast is no promise: another machine is faster or slower. What works item by item is foreseen by the items that
//! nobody has treated before.

use super::{Planner, State};
use crate::pipeline::{Action, TaskId};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Seconds for every task that runs or may run; none where nothing like it ever ran.
pub struct Forecast {
    pub tasks: BTreeMap<TaskId, Option<f64>>,
    /// Tasks that will run.
    pub sure: Sum,
    /// Tasks that are decided later.
    pub later: Sum,
}

/// What some tasks come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    pub tasks: usize,
    /// Of those whose duration is known.
    pub seconds: f64,
    /// Tasks whose duration is not.
    pub unknown: usize,
}

impl Sum {
    fn add(&mut self, seconds: Option<f64>) {
        self.tasks += 1;
        self.seconds += seconds.unwrap_or(0.0);
        self.unknown += usize::from(seconds.is_none());
    }
}

impl Planner<'_> {
    /// What the tasks of a plan will take; `untreated` says how many items wait for those that will run, as far as that is known.
    pub fn forecast(&self, plan: &[(TaskId, State)], untreated: &BTreeMap<TaskId, u64>) -> Forecast {
        let mut forecast = Forecast { tasks: BTreeMap::new(), sure: Sum::default(), later: Sum::default() };
        let is_over = |state: &State| matches!(state, State::Cached | State::Fails(_) | State::Skipped(_));
        let open = plan.iter().filter(|(_, state)| !is_over(state)).map(|(id, _)| *id).collect();
        forecast.tasks = self.known_durations(&open);
        for (id, count) in untreated {
            forecast.tasks.insert(*id, self.seconds_an_item(*id).map(|seconds| seconds * *count as f64));
        }
        for (id, state) in plan {
            let sum = match state {
                State::Cached | State::Fails(_) | State::Skipped(_) => continue,
                State::Run(_) => &mut forecast.sure,
                State::Later(_) | State::Waiting { .. } => &mut forecast.later,
            };
            sum.add(forecast.tasks.get(id).copied().flatten());
        }
        forecast
    }

    /// Seconds until these tasks are done with so many processors and one device, the longest path first; unknown ones take none.
    pub fn wall(&self, forecast: &Forecast, tasks: &BTreeSet<TaskId>, jobs: usize) -> f64 {
        let seconds = |id: &TaskId| forecast.tasks.get(id).copied().flatten().unwrap_or(0.0);
        let mut followers: BTreeMap<TaskId, Vec<TaskId>> = BTreeMap::new();
        let mut missing: BTreeMap<TaskId, usize> = BTreeMap::new();
        for id in tasks {
            let needs: Vec<TaskId> = self.needs_of(*id).into_iter().filter(|need| tasks.contains(need)).collect();
            missing.insert(*id, needs.len());
            needs.into_iter().for_each(|need| followers.entry(need).or_default().push(*id));
        }
        // Tasks stand in the pipeline's order, so each follower is seen first.
        let mut path: BTreeMap<TaskId, f64> = BTreeMap::new();
        for id in tasks.iter().rev() {
            let below = followers.get(id).into_iter().flatten().map(|follower| path[follower]).fold(0.0, f64::max);
            path.insert(*id, below + seconds(id));
        }
        let lane = |id: &TaskId| {
            let task = &self.pipeline.tasks[id.0];
            let torch = matches!(&task.action, Action::Kind { kind, .. } if kind.work.is_torch());
            if torch || task.needs.gpu > 0.0 { None } else { Some(usize::try_from(task.needs.cpus.max(1)).unwrap_or(1).min(jobs)) }
        };
        let mut queues: [BinaryHeap<(Millis, TaskId)>; 2] = Default::default();
        let queue = |queues: &mut [BinaryHeap<(Millis, TaskId)>; 2], id: TaskId| {
            queues[usize::from(lane(&id).is_none())].push((millis(path[&id]), id));
        };
        missing.iter().filter(|(_, count)| **count == 0).for_each(|(id, _)| queue(&mut queues, *id));
        let (mut now, mut free, mut device) = (0.0, jobs.max(1), true);
        let mut running: BTreeSet<(Millis, TaskId)> = BTreeSet::new();
        loop {
            while let Some((_, id)) = queues[0].peek().copied().filter(|(_, id)| lane(id).is_some_and(|cpus| cpus <= free)) {
                queues[0].pop();
                free -= lane(&id).unwrap_or(0);
                running.insert((millis(now + seconds(&id)), id));
            }
            if let Some((_, id)) = device.then(|| queues[1].pop()).flatten() {
                device = false;
                running.insert((millis(now + seconds(&id)), id));
            }
            let Some((ended, id)) = running.pop_first() else { return now };
            now = ended as f64 / 1000.0;
            match lane(&id) {
                Some(cpus) => free += cpus,
                None => device = true,
            }
            for follower in followers.remove(&id).unwrap_or_default() {
                let left = missing.entry(follower).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    queue(&mut queues, follower);
                }
            }
        }
    }
}

/// Milliseconds: times that can be ordered.
type Millis = u64;

fn millis(seconds: f64) -> Millis {
    (seconds.max(0.0) * 1000.0).round() as u64
}
