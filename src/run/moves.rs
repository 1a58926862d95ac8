//! Which queued task may start now: a lane with room, and inputs whose bytes are there. And publishing.
//!
//! Part of the loop in `run`: decides, but carries nothing out.

use super::devices::{self, Slot};
use super::publish::{Publication, publish};
use super::start::Starter;
use super::{Event, Loop, Options, State};
use crate::content::Tree;
use crate::pipeline::{Action, Edge, Origin, Task, TaskId};
use crate::plan::{Known, Outcome};
use crate::stage::{Inputs, Needs, Part, Work};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;

/// Room for tasks: processors for CPU kinds and commands, slots of the device pool for torch kinds.
pub(super) struct Lanes {
    processors: u32,
    used: u32,
    slots: Vec<Slot>,
    has_gpu: bool,
}

impl Lanes {
    pub(super) fn new(options: &Options) -> Self {
        let inherited = options.environment.get("CUDA_VISIBLE_DEVICES").map(String::as_str);
        let slots = devices::slots(inherited, options.cpu, 1);
        let has_gpu = slots.iter().any(|slot| slot.device != "cpu");
        Self { processors: u32::try_from(options.jobs).unwrap_or(u32::MAX), used: 0, slots, has_gpu }
    }

    /// Takes room for a task: a slot for one that works on a device, processors for others. A task that wants more
    /// processors than there are runs alone.
    fn enter(&mut self, on_device: bool, needs: Needs) -> Option<Room> {
        if on_device {
            return self.slots.pop().map(Room::Slot);
        }
        let cpus = needs.cpus.max(1);
        (self.used == 0 || self.used.saturating_add(cpus) <= self.processors).then(|| {
            self.used = self.used.saturating_add(cpus);
            Room::Processors
        })
    }

    /// Gives the room of a task back.
    pub(super) fn leave(&mut self, needs: Needs, slot: Option<Slot>) {
        match slot {
            Some(slot) => self.slots.push(slot),
            None => self.used = self.used.saturating_sub(needs.cpus.max(1)),
        }
    }
}

enum Room {
    Processors,
    Slot(Slot),
}

/// The inputs of a task, or the tasks whose bytes are gone.
enum Found {
    Inputs(Inputs),
    Gone(Vec<TaskId>),
}

impl<'a> Loop<'a> {
    /// Starts every queued task that fits, in the pipeline's order.
    pub(super) fn start_what_fits<'scope>(&mut self, start: &Starter<'scope, '_, 'a>) -> Result<()>
    where
        'a: 'scope,
    {
        let queued: Vec<TaskId> = self.queue.keys().copied().collect();
        for id in queued {
            let task = &self.planner.pipeline.tasks[id.0];
            if task.needs.gpu > 0.0 && !self.lanes.has_gpu && !self.options.cpu {
                let error = anyhow::anyhow!("it insists on a GPU (needs.gpu) and this machine has none; `--cpu` runs it on the CPU");
                self.queue.remove(&id);
                self.fail(id, &error, 0.0, None);
                continue;
            }
            let Some(room) = self.lanes.enter(on_device(task), task.needs) else { continue };
            let slot = match room {
                Room::Slot(slot) => Some(slot),
                Room::Processors => None,
            };
            let Some(queued) = self.queue.remove(&id) else { continue };
            match self.gather_inputs(id) {
                Ok(Found::Inputs(inputs)) => {
                    self.states[id.0] = State::Running;
                    self.running += 1;
                    let title = self.title(id);
                    (self.watch)(Event::Started { task: title });
                    start.start(self.planner, self.options, id, queued, inputs, slot);
                }
                Ok(Found::Gone(needs)) => {
                    self.lanes.leave(task.needs, slot);
                    self.making.remove(&queued.key);
                    self.states[id.0] = State::Wanted;
                    self.revive(id, &needs);
                }
                Err(error) => {
                    self.lanes.leave(task.needs, slot);
                    self.summary.damaged |= super::is_damage(&error);
                    self.fail(id, &error, 0.0, None);
                }
            }
        }
        Ok(())
    }

    /// Cached results whose bytes are gone are made again, since `id` needs them (DESIGN rule 6).
    fn revive(&mut self, id: TaskId, needs: &[TaskId]) {
        self.waiting[id.0].extend(needs);
        for need in needs {
            if self.states[need.0] == State::Done {
                self.states[need.0] = State::Wanted;
                self.summary.cached = self.summary.cached.saturating_sub(1);
                self.revived.insert(*need, self.title(id));
                self.ready.push_back(*need);
            }
        }
    }

    fn gather_inputs(&self, id: TaskId) -> Result<Found> {
        let mut inputs = BTreeMap::new();
        let mut gone = Vec::new();
        for (port, edges) in &self.planner.pipeline.tasks[id.0].inputs {
            let mut parts = Vec::with_capacity(edges.len());
            for edge in edges {
                match self.part(edge).with_context(|| format!("input `{port}`"))? {
                    Arrived::Part(part) => parts.push(part),
                    Arrived::Gone(task) => gone.push(task),
                    Arrived::Unconnected => {}
                }
            }
            if !parts.is_empty() {
                inputs.insert(port.clone(), parts);
            }
        }
        Ok(if gone.is_empty() { Found::Inputs(Inputs(inputs)) } else { Found::Gone(gone) })
    }

    fn part(&self, edge: &Edge) -> Result<Arrived> {
        let part = |tree: Tree, hole: Option<String>| Arrived::Part(Part { coordinates: edge.coordinates.clone(), tree, hole });
        Ok(match &edge.origin {
            Origin::Source { source, inside } => match self.planner.source_tree(*source, inside.as_deref()) {
                Some(tree) => part(tree, None),
                None => Arrived::Unconnected,
            },
            Origin::Task { task, port } => match &self.outcomes[task.0] {
                Outcome::Known(known) => {
                    let output = known.output(port)?;
                    match self.planner.store.tree(&output.manifest, output.identified)? {
                        Some(tree) => part(tree, None),
                        None => Arrived::Gone(*task),
                    }
                }
                Outcome::Failed(class) => part(Tree::default(), Some(class.clone())),
                Outcome::Open => anyhow::bail!("{} has not ended", self.title(*task)),
            },
        })
    }

    /// Publishes what a task's stage says, after every run, cached or not.
    pub(super) fn publish(&mut self, id: TaskId, known: &Known) -> Result<Published> {
        let task = &self.planner.pipeline.tasks[id.0];
        if !self.options.publish {
            return Ok(Published::Done);
        }
        for (port, path) in &task.publish {
            let output = known.output(port)?;
            let Some(tree) = self.planner.store.tree(&output.manifest, output.identified)? else { return Ok(Published::Gone) };
            let what = Publication { task: &task.title(), kind: &known.record.kind, key: &known.key, port, tree: &tree, to: path };
            if publish(self.planner.store, &self.planner.root, &what, self.options.overwrite)? != super::publish::Outcome::Unchanged {
                (self.watch)(Event::Published { path: path.clone() });
            }
        }
        Ok(Published::Done)
    }
}

/// Whether everything was published, or a cached result's bytes are gone and must be made again first.
#[derive(PartialEq)]
pub(super) enum Published {
    Done,
    Gone,
}

enum Arrived {
    Part(Part),
    Gone(TaskId),
    Unconnected,
}

/// Torch kinds take a slot of the device pool, and so does what asks for a GPU.
pub(super) fn on_device(task: &Task) -> bool {
    match &task.action {
        Action::Kind { kind, .. } => kind.work == Work::Torch || task.needs.gpu > 0.0,
        Action::Command(_) => task.needs.gpu > 0.0,
    }
}
