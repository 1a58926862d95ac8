//! What would run: a state for every task, wave by wave, as `tomograph plan` shows it.

use super::reason::Reason;
use super::{Judgement, Known, Outcome, Planner, State, origin, origin_task};
use crate::pipeline::{Action, TaskId};
use anyhow::Result;
use std::collections::BTreeSet;

/// Wanted tasks in the pipeline's order.
pub type States = Vec<(TaskId, State)>;

/// A task that fails for what is known of it: why, and the class that a port with holes sees.
pub(super) type Fails<'f> = dyn Fn(TaskId, &Known, &[Outcome]) -> Result<Option<(String, &'static str)>> + 'f;

impl Planner<'_> {
    /// What would run, with these effects: a state for every wanted task, in the pipeline's order, and what is known of each task of the
    /// pipeline. `fails` judges what is cached.
    pub fn plan(&self, effects: &BTreeSet<TaskId>, fails: &Fails) -> Result<(States, Vec<Outcome>)> {
        let mut outcomes = vec![Outcome::Open; self.pipeline.tasks.len()];
        let mut states: Vec<Option<State>> = vec![None; self.pipeline.tasks.len()];
        let mut failing = false;
        for wave in self.waves() {
            for (id, judged) in wave.iter().zip(self.judge_all(&wave, &outcomes)) {
                let task = &self.pipeline.tasks[id.0];
                if failing && let Some(need) = self.failed_need(*id, &outcomes) {
                    outcomes[id.0] = self.hole_after(*id, &outcomes);
                    states[id.0] = Some(State::Skipped(need));
                    continue;
                }
                let state = match judged? {
                    None => self.undecided(*id, &states, &outcomes),
                    Some(Judgement::Miss { manifest, .. }) if task.effect && !effects.contains(id) => {
                        State::Waiting { effects: vec![task.title()], reasons: self.reasons(*id, &manifest)? }
                    }
                    Some(Judgement::Miss { manifest, .. }) => State::Run(self.reasons(*id, &manifest)?),
                    Some(Judgement::Hit(known)) => {
                        let failed = fails(*id, &known, &outcomes)?;
                        let (outcome, state) = match failed {
                            Some((why, class)) => {
                                failing = true;
                                (Outcome::Failed(class.to_owned()), State::Fails(why))
                            }
                            None => (Outcome::Known(Box::new(known)), State::Cached),
                        };
                        outcomes[id.0] = outcome;
                        state
                    }
                };
                states[id.0] = Some(state);
            }
        }
        self.revive(&mut states, &outcomes)?;
        let state = |id: &TaskId| states[id.0].take().map(|state| (*id, state));
        Ok((self.wanted.iter().filter_map(state).collect(), outcomes))
    }

    /// A task that waits for effects, or for tasks that run first.
    fn undecided(&self, id: TaskId, states: &[Option<State>], outcomes: &[Outcome]) -> State {
        let needs = self.needs_of(id);
        let effects = needs.iter().filter_map(|need| match &states[need.0] {
            Some(State::Waiting { effects, .. }) => Some(effects),
            _ => None,
        });
        let effects: BTreeSet<&String> = effects.flatten().collect();
        if !effects.is_empty() {
            return State::Waiting { effects: effects.into_iter().cloned().collect(), reasons: Vec::new() };
        }
        State::Later(needs.into_iter().filter(|need| matches!(outcomes[need.0], Outcome::Open)).collect())
    }

    /// The first failed task that a task needs and can't do without.
    pub fn failed_need(&self, id: TaskId, outcomes: &[Outcome]) -> Option<TaskId> {
        let task = &self.pipeline.tasks[id.0];
        for (port, edges) in &task.inputs {
            let holes = match &task.action {
                Action::Kind { kind, .. } => kind.input(port).is_some_and(|port| port.holes),
                Action::Command(_) => false,
            };
            let needs = edges.iter().filter_map(origin_task);
            let failed: Vec<TaskId> = needs.filter(|need| matches!(outcomes[need.0], Outcome::Failed(_))).collect();
            // A port with holes can miss some parts, but not all of them.
            if let Some(first) = failed.first().filter(|_| !holes || failed.len() == edges.len()) {
                return Some(*first);
            }
        }
        None
    }

    /// What a skipped task leaves: what follows a failure is a hole of its class.
    pub fn hole_after(&self, id: TaskId, outcomes: &[Outcome]) -> Outcome {
        let class = self.needs_of(id).into_iter().find_map(|need| match &outcomes[need.0] {
            Outcome::Failed(class) => Some(class.clone()),
            _ => None,
        });
        Outcome::Failed(class.unwrap_or_else(|| "stopped".to_owned()))
    }

    /// The wanted tasks, each after those it needs, cut into stretches in which none needs another.
    fn waves(&self) -> Vec<Vec<TaskId>> {
        let mut waves: Vec<Vec<TaskId>> = Vec::new();
        let order = self.in_order();
        // Of tasks that are not wanted it does not matter: as if first.
        let mut place = vec![0; self.pipeline.tasks.len()];
        order.iter().enumerate().for_each(|(at, id)| place[id.0] = at + 1);
        for id in order {
            let last_need = self.inputs_of(id).chain(self.testers_before(id)).map(|need| place[need.0]).max().unwrap_or(0);
            match waves.last_mut().filter(|wave| last_need < place[wave[0].0]) {
                Some(wave) => wave.push(id),
                None => waves.push(vec![id]),
            }
        }
        waves
    }

    /// A cached task whose bytes are gone must run again where a task that runs needs them.
    fn revive(&self, states: &mut [Option<State>], outcomes: &[Outcome]) -> Result<()> {
        for id in self.wanted.iter().rev() {
            if !matches!(states[id.0], Some(State::Run(_))) {
                continue;
            }
            for (need, port) in self.pipeline.tasks[id.0].inputs.values().flatten().filter_map(origin) {
                let Outcome::Known(known) = &outcomes[need.0] else { continue };
                let output = known.output(port)?;
                if matches!(states[need.0], Some(State::Cached)) && self.store.tree(&output.manifest, output.level)?.is_none() {
                    states[need.0] = Some(State::Run(vec![Reason::Gone { needed_by: self.pipeline.tasks[id.0].title() }]));
                }
            }
        }
        Ok(())
    }
}
