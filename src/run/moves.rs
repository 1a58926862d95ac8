//! Starts queued tasks: those that have room, and inputs whose bytes are there. And publishing.
//!
//! Part of the loop in `run`: decides, but carries nothing out.

use super::publish::{Outcome as Put, Publication, ensure_allowed, publish, to_publish};
use super::resources::Dimensions;
use super::start::Starter;
use super::{Ended, Event, Loop, State};
use crate::content::{Digest, Tree};
use crate::pipeline::{Edge, Origin, TaskId};
use crate::plan::reason::Reason;
use crate::plan::{Known, Outcome};
use crate::stage::{Coordinates, Inputs, Part};
use crate::store::Act;
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The inputs of a task, or the tasks whose bytes are gone.
enum Found {
    Inputs(Inputs),
    Gone(Vec<TaskId>),
}

/// Whether a task is ours to do.
enum Claim {
    Mine,
    /// Another engine is doing it.
    Others,
    /// Another engine did it after this one looked.
    Done(Box<Known>),
}

impl<'a> Loop<'a> {
    /// Starts every queued task that fits, the most urgent first.
    pub(super) fn start_what_fits<'scope>(&mut self, start: &Starter<'scope, '_, 'a>) -> Result<()>
    where
        'a: 'scope,
    {
        self.rank_queue();
        self.resources.ask_anew();
        let (mut blocked, mut place) = (Dimensions::default(), None);
        while let Some(next) = self.queue.after(place).filter(|_| !self.resources.is_closed(blocked, self.queue.wants_device())) {
            place = Some(next);
            let id = next.1;
            let Some(room) = self.resources.enter(&self.planner.pipeline.tasks[id.0], &mut blocked) else { continue };
            let Some(queued) = self.queue.remove(id) else { continue };
            match self.claim(id, &queued.key) {
                Ok(Claim::Mine) => {}
                Ok(Claim::Others) => {
                    self.resources.leave(&room);
                    self.leave_to_other(id, queued);
                    continue;
                }
                Ok(Claim::Done(known)) => {
                    self.resources.leave(&room);
                    self.revived.remove(&id);
                    self.settle(id, *known, Ended::Cached, 0.0, None);
                    continue;
                }
                Err(error) => {
                    self.resources.leave(&room);
                    self.fail(id, &error, 0.0, None);
                    continue;
                }
            }
            match self.gather_inputs(id) {
                Ok(Found::Inputs(inputs)) => {
                    self.states[id.0] = State::Running;
                    self.running += 1;
                    let title = self.title(id);
                    (self.watch)(Event::Started { task: title });
                    start.start(self.planner, self.options, id, queued, inputs, room.slot.clone());
                    self.rooms.insert(id, room);
                }
                Ok(Found::Gone(needs)) => {
                    self.resources.leave(&room);
                    self.planner.store.release(&queued.key);
                    self.making.remove(&queued.key);
                    self.states[id.0] = State::Wanted;
                    self.revive(id, &needs);
                }
                Err(error) => {
                    self.resources.leave(&room);
                    self.planner.store.release(&queued.key);
                    self.summary.damaged |= super::is_damage(&error);
                    self.fail(id, &error, 0.0, None);
                }
            }
        }
        let said = self.resources.asked_by_all();
        if said != self.said
            && let Some(text) = &said
        {
            (self.watch)(Event::Remark { text: text.clone() });
        }
        self.said = said;
        Ok(())
    }

    /// Makes sure that no other engine on this store does the task, and that none has done it meanwhile (DESIGN rule 8).
    fn claim(&self, id: TaskId, key: &Digest) -> Result<Claim> {
        let store = self.planner.store;
        if !store.claim(key)? {
            return Ok(Claim::Others);
        }
        match self.planner.standing(*key) {
            Ok(_) if self.is_again(id) => Ok(Claim::Mine),
            Ok(None) => Ok(Claim::Mine),
            Ok(Some(known)) => {
                store.release(key);
                Ok(Claim::Done(Box::new(known)))
            }
            Err(error) => {
                store.release(key);
                Err(error)
            }
        }
    }

    /// An error, before anything starts, for every need that no setting of this machine meets.
    pub(super) fn refuse_unmet_needs(&mut self) -> Result<()> {
        let open = self.planner.wanted.iter().filter(|id| matches!(self.states[id.0], State::Wanted | State::Queued));
        let unmet: BTreeSet<String> =
            open.filter_map(|id| self.resources.unmet(&self.planner.pipeline.tasks[id.0], self.options.cpu)).collect();
        if unmet.is_empty() {
            return Ok(());
        }
        let text = unmet.into_iter().collect::<Vec<_>>().join("\n");
        // It is as if this run had never begun.
        self.planner.store.forget_run(&self.options.pipeline_id, self.journal.id());
        Err(super::Unmet(text).into())
    }

    /// Cached results whose bytes are gone are made again, since `id` needs them (DESIGN rule 6).
    fn revive(&mut self, id: TaskId, needs: &[TaskId]) {
        // One that has failed or waits, since another needed it, is not made, and releases nothing any more.
        let has_ended = |need: &TaskId| matches!(self.states[need.0], State::Failed | State::Skipped | State::Waiting);
        let open: Vec<TaskId> = needs.iter().copied().filter(|need| !has_ended(need)).collect();
        self.waiting[id.0].extend(&open);
        if open.is_empty() {
            self.ready.push_back(id);
        }
        for need in &open {
            if self.states[need.0] == State::Done {
                self.states[need.0] = State::Wanted;
                self.summary.cached = self.summary.cached.saturating_sub(1);
                (self.watch)(Event::Revived);
                self.revived.insert(*need, Reason::Gone { needed_by: self.title(id) });
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
        for (port, part) in self.planner.filled_parts(id)? {
            inputs.insert(port.to_owned(), vec![part]);
        }
        Ok(if gone.is_empty() { Found::Inputs(Inputs(inputs)) } else { Found::Gone(gone) })
    }

    fn part(&self, edge: &Edge) -> Result<Arrived> {
        let part =
            |tree: Arc<Tree>, hole: Option<String>| Arrived::Part(Part { coordinates: Coordinates::clone(&edge.coordinates), tree, hole });
        Ok(match &edge.origin {
            Origin::Source { source, inside } => match self.planner.source_tree(*source, inside.as_deref()) {
                Some(tree) => part(tree, None),
                None => Arrived::Unconnected,
            },
            Origin::Task { task, port } => match &self.outcomes[task.0] {
                Outcome::Known(known) => {
                    let output = known.output(port)?;
                    match self.planner.store.tree(&output.manifest, self.planner.level(*task))? {
                        Some(tree) => part(tree.into(), None),
                        None => Arrived::Gone(*task),
                    }
                }
                Outcome::Failed(class) => part(Arc::default(), Some(class.clone())),
                Outcome::Open => anyhow::bail!("{} has not ended", self.title(*task)),
            },
        })
    }

    /// Publishes what a task's stage says, after every run, cached or not. What cannot be published is told and takes nothing from the
    /// result, which stands.
    pub(super) fn publish(&mut self, id: TaskId, known: &Known) -> Result<Published> {
        let task = &self.planner.pipeline.tasks[id.0];
        if !self.options.publish {
            return Ok(Published::Done);
        }
        for (port, path) in &task.publish {
            let look = || to_publish(self.planner, id, known, (port, path), self.options.overwrite);
            let Some(tree) = look()? else { return Ok(Published::Gone) };
            let what = Publication { task: &task.title(), kind: &known.record.kind, key: &known.key, port, tree: &tree, to: path };
            match self.publish_one(id, &what) {
                Ok(Put::Unchanged) => {}
                Ok(Put::Written(_)) => (self.watch)(Event::Published { path: path.clone() }),
                // Collected since it was looked at: no journal had named it yet.
                Err(error) if !super::is_damage(&error) && look()?.is_none() => return Ok(Published::Gone),
                Err(error) => self.tell_unpublished(id, path, &error),
            }
        }
        Ok(Published::Done)
    }

    fn publish_one(&self, id: TaskId, what: &Publication<'_>) -> Result<Put> {
        let (store, root) = (self.planner.store, &self.planner.root);
        // Said before it is done, but not of what is refused.
        if ensure_allowed(root, what, &root.join(what.to)).is_ok() && self.planner.reads_people(id) {
            store.audit_once(&self.publication(what))?;
        }
        let put = || publish(store, root, what, self.options.overwrite);
        if self.running == 0 {
            return put();
        }
        // The pool may be at work on items that take long, and the loop waits for nothing of theirs.
        let apart = self.apart.get_or_init(|| rayon::ThreadPoolBuilder::new().num_threads(2).build().ok());
        apart.as_ref().map_or_else(put, |apart| apart.install(put))
    }

    fn tell_unpublished(&mut self, id: TaskId, path: &str, error: &anyhow::Error) {
        let (task, message) = (self.title(id), super::failure::told(error, self.planner.takes_people(id)));
        self.summary.damaged |= super::is_damage(error);
        self.summary.unpublished += 1;
        self.summary.failures.push((format!("publish {path} of task {task}"), message.clone(), None));
        (self.watch)(Event::Unpublished { task, path: path.to_owned(), message });
    }

    fn publication(&self, what: &Publication<'_>) -> Act {
        let user = ["USER", "LOGNAME"].iter().find_map(|name| self.options.environment.get(*name));
        Act {
            when: crate::store::now(),
            who: user.cloned().unwrap_or_else(|| "unknown".to_owned()),
            act: "publish".to_owned(),
            task: what.task.to_owned(),
            port: what.port.to_owned(),
            key: *what.key,
            manifest: what.tree.digest(),
            to: what.to.to_owned(),
        }
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
