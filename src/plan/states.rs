//! What would run: a state for every task, wave by wave, as `tomograph plan` shows it.

use super::reason::Reason;
use super::{Judgement, Known, Outcome, Planner, State, origin, origin_task};
use crate::pipeline::{Action, TaskId};
use anyhow::Result;
use std::collections::BTreeSet;

/// Wanted tasks in the pipeline's order.
pub type States = Vec<(TaskId, State)>;

/// What becomes of a cached task, for what is known of it.
pub enum Fate {
    Stands,
    /// Why, and the class that a port with holes sees.
    Fails(String, &'static str),
    /// It is to be published, and its bytes are gone.
    Gone,
}

/// Says what becomes of a cached task; of others what is known so far.
pub(super) type Fates<'f> = dyn Fn(TaskId, &Known, &[Outcome]) -> Result<Fate> + 'f;

impl Planner<'_> {
    /// What would run, with these effects: a state for every wanted task, in the pipeline's order, and what is known of each task of the
    /// pipeline. `fate` judges what is cached.
    pub fn plan(&self, effects: &BTreeSet<TaskId>, fate: &Fates) -> Result<(States, Vec<Outcome>)> {
        let mut outcomes = vec![Outcome::Open; self.pipeline.tasks.len()];
        let mut states: Vec<Option<State>> = vec![None; self.pipeline.tasks.len()];
        let mut failing = false;
        for wave in self.waves() {
            for (id, judged) in wave.iter().zip(self.judge_all(&wave, &outcomes)) {
                if failing && let Some(need) = self.failed_need(*id, &outcomes) {
                    outcomes[id.0] = self.hole_after(*id, &outcomes);
                    states[id.0] = Some(State::Skipped(need));
                    continue;
                }
                let state = match judged? {
                    None => self.undecided(*id, &states, &outcomes),
                    Some(Judgement::Miss { manifest, .. }) => self.must_run(*id, self.reasons(*id, &manifest)?, effects),
                    Some(Judgement::Hit(known)) => match fate(*id, &known, &outcomes)? {
                        Fate::Stands => {
                            outcomes[id.0] = Outcome::Known(Box::new(known));
                            State::Cached
                        }
                        Fate::Fails(why, class) => {
                            failing = true;
                            outcomes[id.0] = Outcome::Failed(class.to_owned());
                            State::Fails(why)
                        }
                        // What follows is judged once it is there again.
                        Fate::Gone => self.must_run(*id, vec![Reason::GoneToPublish], effects),
                    },
                };
                states[id.0] = Some(state);
            }
        }
        self.revive(&mut states, &outcomes, effects)?;
        let state = |id: &TaskId| states[id.0].take().map(|state| (*id, state));
        Ok((self.wanted.iter().filter_map(state).collect(), outcomes))
    }

    /// A task that must run, for these reasons; an effect that nobody asked for waits.
    fn must_run(&self, id: TaskId, reasons: Vec<Reason>, effects: &BTreeSet<TaskId>) -> State {
        let task = &self.pipeline.tasks[id.0];
        match task.effect && !effects.contains(&id) {
            true => State::Waiting { effects: vec![task.title()], reasons },
            false => State::Run(reasons),
        }
    }

    /// A task that waits for effects, or for tasks that run first.
    fn undecided(&self, id: TaskId, states: &[Option<State>], outcomes: &[Outcome]) -> State {
        let open = |need: &TaskId| matches!(outcomes[need.0], Outcome::Open);
        self.after_effects(id, states).unwrap_or_else(|| State::Later(self.needs_of(id).into_iter().filter(open).collect()))
    }

    /// A task that waits for effects; none where it needs none that waits.
    fn after_effects(&self, id: TaskId, states: &[Option<State>]) -> Option<State> {
        let needs = self.needs_of(id);
        let effects = needs.iter().filter_map(|need| match &states[need.0] {
            Some(State::Waiting { effects, .. }) => Some(effects),
            _ => None,
        });
        let effects: BTreeSet<&String> = effects.flatten().collect();
        let waits = || State::Waiting { effects: effects.iter().copied().cloned().collect(), reasons: Vec::new() };
        (!effects.is_empty()).then(waits)
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

    /// A cached task whose bytes are gone must run again where a task that runs needs them. Where it is an effect that nobody asked for, all
    /// that is not cached waits for it.
    fn revive(&self, states: &mut [Option<State>], outcomes: &[Outcome], effects: &BTreeSet<TaskId>) -> Result<()> {
        let mut waits = false;
        for id in self.wanted.iter().rev() {
            if !matches!(states[id.0], Some(State::Run(_))) {
                continue;
            }
            for (need, port) in self.pipeline.tasks[id.0].inputs.values().flatten().filter_map(origin) {
                let Outcome::Known(known) = &outcomes[need.0] else { continue };
                let output = known.output(port)?;
                if matches!(states[need.0], Some(State::Cached)) && self.store.tree(&output.manifest, output.level)?.is_none() {
                    let gone = Reason::Gone { needed_by: self.pipeline.tasks[id.0].title() };
                    let state = self.must_run(need, vec![gone], effects);
                    waits |= matches!(state, State::Waiting { .. });
                    states[need.0] = Some(state);
                }
            }
        }
        for id in if waits { self.in_order() } else { Vec::new() } {
            if matches!(states[id.0], Some(State::Run(_) | State::Later(_)))
                && let Some(waiting) = self.after_effects(id, states)
            {
                states[id.0] = Some(waiting);
            }
        }
        Ok(())
    }
}
