//! Judging: the key of a task whose inputs are known, looked up in the store.
//!
//! What tasks with the same params or the same command have in common of their keys is worked out once for all that are judged together.

use super::key::{CommandKey, KeyManifest, KeyView, PartView};
use super::{FEW, Judgement, Known, Outcome, Planner};
use crate::content::{Digest, Level};
use crate::pipeline::{Action, Command, Edge, Origin, Task, TaskId, show_pieces};
use crate::stage::Coordinates;
use crate::store::Record;
use anyhow::Result;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// What tasks have in common of their keys, once somebody asked; apart, since there may be as many as there are tasks.
type Common = OnceLock<Box<KeyManifest>>;

/// Where a part stands that is not one of several.
static NOWHERE: Coordinates = Coordinates::new();

/// The parts of a task's inputs, by port.
type Parts<'a> = BTreeMap<&'a str, Vec<PartView<'a>>>;

/// What one edge brings.
enum Part<'a> {
    Key(PartView<'a>),
    Unconnected,
    Open,
}

impl Planner<'_> {
    /// Everything the result of a task depends on; `None` while an input is open.
    pub fn manifest(&self, id: TaskId, outcomes: &[Outcome]) -> Result<Option<KeyManifest>> {
        let common = self.common(id)?;
        let Some(parts) = self.parts(id, outcomes)? else { return Ok(None) };
        Ok(Some(KeyView::new(&common, &self.pipeline.tasks[id.0].cell, parts).to_manifest()))
    }

    /// Looks a task up whose inputs are known; `None` while one is open.
    pub fn judge(&self, id: TaskId, outcomes: &[Outcome]) -> Result<Option<Judgement>> {
        self.judge_in(id, &Common::new(), outcomes)
    }

    /// Judges several tasks, in the pool where they are many; the answers are in their order.
    pub fn judge_all(&self, tasks: &[TaskId], outcomes: &[Outcome]) -> Vec<Result<Option<Judgement>>> {
        let mut groups = vec![Common::new()];
        let mut grouped: Vec<(TaskId, usize)> = Vec::with_capacity(tasks.len());
        for id in tasks {
            if grouped.last().is_some_and(|(last, _)| !self.are_alike(*last, *id)) {
                groups.push(Common::new());
            }
            grouped.push((*id, groups.len() - 1));
        }
        let judge = |(id, group): &(TaskId, usize)| self.judge_in(*id, &groups[*group], outcomes);
        if tasks.len() < FEW { grouped.iter().map(judge).collect() } else { grouped.par_iter().with_min_len(FEW).map(judge).collect() }
    }

    /// Judges a task of a group that has this in common.
    fn judge_in(&self, id: TaskId, common: &Common, outcomes: &[Outcome]) -> Result<Option<Judgement>> {
        let shared = || match common.get() {
            Some(shared) => Ok(shared),
            None => self.common(id).map(|made| common.get_or_init(|| Box::new(made))),
        };
        let task = &self.pipeline.tasks[id.0];
        if let Action::Command(_) = task.action {
            // Code that is not there is told at once. What a kind reads is written out only where it is asked for.
            shared()?;
        }
        let Some(parts) = self.parts(id, outcomes)? else { return Ok(None) };
        let view = KeyView::new(shared()?, &task.cell, parts);
        let key = view.key();
        let records = self.store.records(&key)?;
        Ok(Some(match self.best(records)? {
            Some(record) => Judgement::Hit(Known { key, record }),
            None => Judgement::Miss { key, manifest: Box::new(view.to_manifest()) },
        }))
    }

    /// Whether two tasks have all in common but their inputs and coordinates.
    fn are_alike(&self, one: TaskId, other: TaskId) -> bool {
        match (&self.pipeline.tasks[one.0].action, &self.pipeline.tasks[other.0].action) {
            (Action::Kind { params: one, .. }, Action::Kind { params: other, .. }) => {
                std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
            }
            (Action::Command(one), Action::Command(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The key manifest of a task without its inputs and coordinates.
    fn common(&self, id: TaskId) -> Result<KeyManifest> {
        let task = &self.pipeline.tasks[id.0];
        match &task.action {
            Action::Kind { kind, params } => Ok(KeyManifest::new(kind.name, kind.revision, params.params())),
            Action::Command(command) => self.common_of_command(task, command),
        }
    }

    fn common_of_command(&self, task: &Task, command: &Command) -> Result<KeyManifest> {
        let mut manifest = KeyManifest::new("command", 1, command.params.clone());
        manifest.command = Some(CommandKey {
            argv: command.argv.iter().map(|pieces| show_pieces(pieces)).collect(),
            env: command.env.clone(),
            map: command.map.clone(),
            code: self.code_of(&task.stage, command)?,
            outputs: task.outputs.iter().map(|output| (output.port.clone(), output.artifact.to_string())).collect(),
            coordinates: Coordinates::new(),
        });
        Ok(manifest)
    }

    /// What arrives at a task; `None` while something is open.
    fn parts<'p>(&'p self, id: TaskId, outcomes: &'p [Outcome]) -> Result<Option<Parts<'p>>> {
        let mut parts = Parts::new();
        for (port, edges) in &self.pipeline.tasks[id.0].inputs {
            let mut arriving = Vec::with_capacity(edges.len());
            for edge in edges {
                match self.part(edge, outcomes)? {
                    Part::Key(part) => arriving.push(part),
                    Part::Unconnected => {}
                    Part::Open => return Ok(None),
                }
            }
            if !arriving.is_empty() {
                parts.insert(port, arriving);
            }
        }
        if self.filled_ports(id).next().is_some() {
            if self.needs_of(id).iter().any(|need| self.wanted.contains(need) && matches!(outcomes[need.0], Outcome::Open)) {
                return Ok(None);
            }
            for (port, digest) in self.fill(id, outcomes)? {
                parts.insert(port, vec![PartView { at: &NOWHERE, digest: Some(digest), level: Level::Released, hole: None }]);
            }
        }
        Ok(Some(parts))
    }

    fn part<'p>(&'p self, edge: &'p Edge, outcomes: &'p [Outcome]) -> Result<Part<'p>> {
        let part = |digest, hole, level| Part::Key(PartView { at: &edge.coordinates, digest, hole, level });
        Ok(match &edge.origin {
            Origin::Source { source, inside } => {
                let found = self.sources[source.0].as_ref().and_then(|found| Some((found.digest(inside.as_deref())?, found.level)));
                found.map_or(Part::Unconnected, |(digest, level)| part(Some(digest), None, level))
            }
            Origin::Task { task, port } => match &outcomes[task.0] {
                Outcome::Open => Part::Open,
                Outcome::Known(known) => part(Some(known.output(port)?.manifest), None, self.level(*task)),
                Outcome::Failed(class) => part(None, Some(class.as_str()), Level::Released),
            },
        })
    }

    /// What is recorded under a key now, with all its bytes there.
    pub fn standing(&self, key: Digest) -> Result<Option<Known>> {
        let Some(record) = self.best(self.store.records(&key)?)? else { return Ok(None) };
        Ok(self.is_there(&record)?.then_some(Known { key, record }))
    }

    /// Of several variants the first whose blobs are all there, else the first. What was only accepted counts as long as nothing was made.
    fn best(&self, mut records: Vec<Arc<Record>>) -> Result<Option<Arc<Record>>> {
        if records.iter().any(|record| record.accepted.is_none()) {
            records.retain(|record| record.accepted.is_none());
        }
        if records.len() > 1 {
            for at in 0..records.len() {
                if self.is_there(&records[at])? {
                    return Ok(Some(records.swap_remove(at)));
                }
            }
        }
        Ok((!records.is_empty()).then(|| records.swap_remove(0)))
    }

    /// Whether every byte of a result is in the store.
    pub fn is_there(&self, record: &Record) -> Result<bool> {
        for output in record.outputs.values() {
            if self.store.tree(&output.manifest, output.level)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
