//! What would run: a state for every task, wave by wave, as `tomograph plan` shows it.

use super::reason::Reason;
use super::{Judgement, Outcome, Planner, State, origin};
use crate::pipeline::TaskId;
use anyhow::Result;
use std::collections::BTreeSet;

/// Wanted tasks in the pipeline's order.
type States = Vec<(TaskId, State)>;

impl Planner<'_> {
    /// What would run, with these effects: a state for every wanted task, in the pipeline's order.
    pub fn plan(&self, effects: &BTreeSet<TaskId>) -> Result<Vec<(TaskId, State)>> {
        self.plan_with_outcomes(effects).map(|(states, _)| states)
    }

    /// The same, with what is known of each task of the pipeline.
    pub fn plan_with_outcomes(&self, effects: &BTreeSet<TaskId>) -> Result<(States, Vec<Outcome>)> {
        let mut outcomes = vec![Outcome::Open; self.pipeline.tasks.len()];
        let mut states: Vec<Option<State>> = vec![None; self.pipeline.tasks.len()];
        for wave in self.waves() {
            for (id, judged) in wave.iter().zip(self.judge_all(&wave, &outcomes)) {
                let task = &self.pipeline.tasks[id.0];
                let state = match judged? {
                    None => self.undecided(*id, &states, &outcomes),
                    Some(Judgement::Miss { .. }) if task.effect && !effects.contains(id) => State::Waiting(vec![task.title()]),
                    Some(Judgement::Miss { manifest, .. }) => State::Run(self.reasons(*id, &manifest)?),
                    Some(Judgement::Hit(known)) => {
                        outcomes[id.0] = Outcome::Known(Box::new(known));
                        State::Cached
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
            Some(State::Waiting(effects)) => Some(effects),
            _ => None,
        });
        let effects: BTreeSet<&String> = effects.flatten().collect();
        if !effects.is_empty() {
            return State::Waiting(effects.into_iter().cloned().collect());
        }
        State::Later(needs.into_iter().filter(|need| matches!(outcomes[need.0], Outcome::Open)).collect())
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
