//! Why a task must run: its key manifest against the last one, or the nearest, that the store has.

use super::Planner;
use super::key::KeyManifest;
use super::reason::{Reason, difference, tell_revisions, tree_difference};
use crate::content::{Digest, Level, Tree};
use crate::pipeline::{Action, Origin, Task, TaskId};
use crate::store::Store;
use anyhow::Result;

/// The key manifest behind a key, if the store has it.
pub fn stored_manifest(store: &Store, key: &Digest) -> Result<Option<KeyManifest>> {
    let Some(record) = store.records(key)?.into_iter().next() else { return Ok(None) };
    let Some(bytes) = store.read_blob(&record.key_manifest)? else { return Ok(None) };
    Ok(serde_json::from_slice(&bytes).ok())
}

impl Planner<'_> {
    /// Why a task with this manifest is not in the store: the difference to its last key, else to the nearest of its kind.
    pub fn reasons(&self, id: TaskId, manifest: &KeyManifest) -> Result<Vec<Reason>> {
        let task = &self.pipeline.tasks[id.0];
        if let Some(old) = self.last().get(&task.title()).map(|key| stored_manifest(self.store, key)).transpose()?.flatten() {
            return Ok(self.differences(task, &old, manifest));
        }
        let prefix = format!("{}[", task.stage);
        let mut nearest: Option<(usize, Vec<Reason>)> = None;
        for (other, key) in self.last().iter().filter(|(name, _)| **name == task.stage || name.starts_with(&prefix)).take(64) {
            let Some(old) = stored_manifest(self.store, key)? else { continue };
            let differences = self.differences(task, &old, manifest);
            if nearest.as_ref().is_none_or(|(count, _)| differences.len() < *count) {
                let count = differences.len();
                nearest = Some((count, std::iter::once(Reason::ComparedWith(other.clone())).chain(differences).collect()));
            }
        }
        Ok(nearest.map_or_else(|| vec![Reason::FirstRun], |(_, reasons)| reasons))
    }

    fn differences(&self, task: &Task, old: &KeyManifest, new: &KeyManifest) -> Vec<Reason> {
        let mut reasons = difference(old, new, &|path, before, after| self.describe(task, path, before, after));
        if let Action::Kind { kind, .. } = &task.action {
            tell_revisions(&mut reasons, kind.revisions);
        }
        reasons
    }

    /// What changed in the part at `path` (`inputs.PORT[N]`) of a task.
    fn describe(&self, task: &Task, path: &str, before: Option<Digest>, after: Option<Digest>) -> Vec<String> {
        let edge = path.strip_prefix("inputs.").and_then(|rest| {
            let (port, at) = rest.trim_end_matches(']').rsplit_once('[')?;
            task.inputs.get(port)?.get(at.parse::<usize>().ok()?)
        });
        let mut details = Vec::new();
        if let Some(edge) = edge {
            details.push(match &edge.origin {
                Origin::Source { source, .. } => format!("source {}", self.pipeline.sources[source.0].title()),
                Origin::Task { task, port } => format!("{}.{port}", self.pipeline.tasks[task.0].title()),
            });
        }
        let tree = |digest: Digest| {
            let level = edge.map_or(Level::Identified, |edge| match edge.origin {
                Origin::Source { source, .. } => self.source_level(source),
                Origin::Task { task, .. } => self.level(task),
            });
            let known = edge.and_then(|edge| match &edge.origin {
                Origin::Source { source, inside } => {
                    self.source_tree(*source, inside.as_deref()).filter(|tree| tree.digest() == digest).map(|tree| (*tree).clone())
                }
                Origin::Task { .. } => None,
            });
            known.or_else(|| Tree::from_manifest(&self.store.read_blob(&digest).ok()??, level))
        };
        let tree = |digest: Digest| tree(digest).map(|tree| if self.reveals { Tree { level: Level::Released, ..tree } } else { tree });
        if let (Some(before), Some(after)) = (before.and_then(tree), after.and_then(tree)) {
            details.extend(tree_difference(&before, &after));
        }
        details
    }
}
