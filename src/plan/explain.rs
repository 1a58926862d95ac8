//! Why a task must run: its key manifest against the last one, or the nearest, that the store has.

use super::Planner;
use super::key::KeyManifest;
use super::reason::{Leaves, Reason, sum_up, tell_revisions, tree_difference};
use crate::content::{Digest, Level};
use crate::pipeline::{Action, Edge, Origin, Task, TaskId};
use crate::stage::show_coordinates;
use crate::store::Store;
use anyhow::Result;
use std::cell::Cell;
use std::sync::{Arc, PoisonError};

/// A task that never ran is compared with so many others of its stage.
const COMPARED: usize = 64;

/// So many inputs of a task that changed are looked into.
const DESCRIBED: usize = 32;

/// The key manifest behind a key, if the store has it.
pub fn stored_manifest(store: &Store, key: &Digest) -> Result<Option<KeyManifest>> {
    let Some(record) = store.records(key)?.into_iter().next() else { return Ok(None) };
    let Some(bytes) = store.read_blob(&record.key_manifest)? else { return Ok(None) };
    Ok(serde_json::from_slice(&bytes).ok())
}

impl Planner<'_> {
    /// Why a task with this manifest is not in the store: the difference to its last key, else to the nearest of its kind.
    pub fn reasons(&self, id: TaskId, manifest: &KeyManifest) -> Result<Vec<Reason>> {
        let (task, last) = (&self.pipeline.tasks[id.0], self.last());
        if let Some(key) = last.get(&task.title())
            && let Some(old) = stored_manifest(self.store, key)?
        {
            return Ok(self.differences(task, &Leaves::of(&old), &Leaves::of(manifest)));
        }
        let prefix = format!("{}[", task.stage);
        let cells = last.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        let mut others = last.get_key_value(&task.stage).into_iter().chain(cells).take(COMPARED).peekable();
        if others.peek().is_none() {
            return Ok(vec![Reason::FirstRun]);
        }
        let new = Leaves::of(manifest);
        let mut nearest: Option<(usize, &String, Arc<Leaves>)> = None;
        for (other, key) in others {
            let Some(old) = self.leaves(key)? else { continue };
            let most = nearest.as_ref().map_or(usize::MAX, |(count, ..)| *count);
            let count = old.distance(&new, most);
            if count < most {
                nearest = Some((count, other, old));
            }
        }
        let Some((_, other, old)) = nearest else { return Ok(vec![Reason::FirstRun]) };
        Ok(std::iter::once(Reason::ComparedWith(other.clone())).chain(self.differences(task, &old, &new)).collect())
    }

    /// Of the manifest behind a key, which many tasks may be compared with.
    fn leaves(&self, key: &Digest) -> Result<Option<Arc<Leaves>>> {
        if let Some(known) = self.compared.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Ok(known.clone());
        }
        let leaves = stored_manifest(self.store, key)?.map(|manifest| Arc::new(Leaves::of(&manifest)));
        self.compared.lock().unwrap_or_else(PoisonError::into_inner).insert(*key, leaves.clone());
        Ok(leaves)
    }

    pub(super) fn differences(&self, task: &Task, old: &Leaves, new: &Leaves) -> Vec<Reason> {
        let described = Cell::new(0);
        let describe = |path: &str, before, after| {
            described.set(described.get() + 1);
            // Of many parts only the first are told.
            if described.get() > DESCRIBED { Vec::new() } else { self.describe(task, path, before, after) }
        };
        let mut reasons = sum_up(old.difference(new, &describe));
        if let Action::Kind { kind, .. } = &task.action {
            tell_revisions(&mut reasons, kind.revisions);
        }
        reasons
    }

    /// What changed in the part at `path` (`inputs.PORT[AT]`: its coordinates, or its number where it has none) of a task.
    fn describe(&self, task: &Task, path: &str, before: Option<Digest>, after: Option<Digest>) -> Vec<String> {
        let edge = path.strip_prefix("inputs.").and_then(|rest| {
            let (port, at) = rest.strip_suffix(']')?.split_once('[')?;
            let edges = task.inputs.get(port)?;
            let gathered = edges.iter().find(|edge| !edge.coordinates.is_empty() && show_coordinates(&edge.coordinates) == at);
            gathered.or_else(|| edges.get(at.parse::<usize>().ok()?))
        });
        let mut details = Vec::new();
        if let Some(edge) = edge {
            details.push(match &edge.origin {
                Origin::Source { source, .. } => format!("source {}", self.pipeline.sources[source.0].title()),
                Origin::Task { task, port } => format!("{}.{port}", self.pipeline.tasks[task.0].title()),
            });
        }
        let level = edge.map_or(Level::Identified, |edge| match edge.origin {
            Origin::Source { source, .. } => self.source_level(source),
            Origin::Task { task, .. } => self.level(task),
        });
        let level = if self.reveals { Level::Released } else { level };
        if let (Some(before), Some(after)) = (self.manifest_of(edge, before), self.manifest_of(edge, after)) {
            details.extend(tree_difference(&before, &after, level));
        }
        details
    }

    /// The manifest with this digest: of what an edge brings now, or one that the store has.
    fn manifest_of(&self, edge: Option<&Edge>, digest: Option<Digest>) -> Option<Vec<u8>> {
        let digest = digest?;
        let now = edge.and_then(|edge| match &edge.origin {
            Origin::Source { source, inside } => {
                let found = self.sources[source.0].as_ref().filter(|found| found.digest(inside.as_deref()) == Some(digest));
                found.and_then(|found| found.manifest(inside.as_deref()))
            }
            Origin::Task { .. } => None,
        });
        now.or_else(|| self.store.read_blob(&digest).ok()?)
    }
}
