//! Whether what a task reads is still what its key says: its sources, and the code of a command (DESIGN rule 2).
//!
//! Nothing keeps people from editing while a task runs. So both are looked at again afterwards, of a map kind after each item, and what
//! was made of other bytes is not kept.

use super::key::KeyManifest;
use super::{Planner, Unready};
use crate::content::{Digest, FileRef};
use crate::pipeline::{Action, Command, Origin, SourceId, TaskId};
use crate::store::sources::walk;
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

impl Planner<'_> {
    /// Says which file read by a task is the first that moved since its key was made, or came since. `manifest` is the key's.
    pub fn moved(&self, id: TaskId, manifest: &[u8]) -> Result<Option<String>> {
        for (source, inside) in self.parts_of(id) {
            let (found, written) = (self.sources[source.0].as_ref(), &self.pipeline.sources[source.0]);
            if let Some(moved) = found.and_then(|found| found.moved(self.store, &self.root, written, inside)) {
                return Ok(Some(format!("source `{}`: {moved}", written.title())));
            }
        }
        self.moved_code(id, manifest)
    }

    /// The same of these files, such as an item's, and of the code.
    pub fn moved_among(&self, id: TaskId, manifest: &[u8], files: &mut dyn Iterator<Item = &FileRef>) -> Result<Option<String>> {
        let sources: BTreeSet<SourceId> = self.parts_of(id).into_iter().map(|(source, _)| source).collect();
        for file in files.filter(|file| !file.place.file.starts_with(self.store.root())) {
            for source in &sources {
                let found = self.sources[source.0].as_ref();
                if let Some(moved) = found.and_then(|found| found.moved_file(&file.place.file)) {
                    return Ok(Some(format!("source `{}`: {moved}", self.pipeline.sources[source.0].title())));
                }
            }
        }
        self.moved_code(id, manifest)
    }

    /// The sources that a task reads, and what inside them: no other file counts.
    fn parts_of(&self, id: TaskId) -> BTreeSet<(SourceId, Option<&str>)> {
        let edges = self.pipeline.tasks[id.0].inputs.values().flatten();
        let parts = edges.filter_map(|edge| match &edge.origin {
            Origin::Source { source, inside } => Some((*source, inside.as_deref())),
            Origin::Task { .. } => None,
        });
        parts.collect()
    }

    fn moved_code(&self, id: TaskId, manifest: &[u8]) -> Result<Option<String>> {
        let task = &self.pipeline.tasks[id.0];
        let Action::Command(command) = &task.action else { return Ok(None) };
        if command.code.is_empty() {
            return Ok(None);
        }
        let then: KeyManifest = serde_json::from_slice(manifest).context("the task's key manifest")?;
        let then = then.command.map(|command| command.code).unwrap_or_default();
        // What cannot be read any more is another one, too.
        let now = self.code_of(&task.stage, command).unwrap_or_default();
        let mut paths = then.keys().chain(now.keys());
        Ok(paths.find(|path| then.get(*path) != now.get(*path)).map(|path| format!("`{path}`, which `code` names, changed")))
    }

    /// Path relative to the root → digest, of every file that `code` names.
    pub(super) fn code_of(&self, stage: &str, command: &Command) -> Result<BTreeMap<String, Digest>> {
        let mut code = BTreeMap::new();
        for pattern in &command.code {
            let none = || Unready(format!("stage `{stage}`: `code` names `{pattern}`, which matches nothing in {}", self.root.display()));
            let files = walk(&self.root, pattern)?.filter(|files| !files.is_empty()).ok_or_else(none)?;
            let places: Vec<PathBuf> = files.into_iter().map(|file| file.place).collect();
            for (place, hashed) in places.iter().zip(self.store.hash_files(&places, &|_, _| ())?) {
                let path = place.strip_prefix(&self.root).unwrap_or(place);
                code.insert(path.to_string_lossy().into_owned(), hashed.digest);
            }
        }
        Ok(code)
    }
}
