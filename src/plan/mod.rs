//! What would run, and why: keys, looked up in the store, and reasons.
//!
//! [`Planner`] judges one task at a time, once its inputs are known; planning and running both drive it. Starts nothing.

mod expect;
mod explain;
mod filled;
pub mod forecast;
pub mod key;
mod levels;
mod moved;
mod order;
pub mod reason;
mod sidecar;
mod sources;
mod states;
mod tested;

pub use explain::stored_manifest;
pub use levels::{REMEDY, levels};
pub use sidecar::Sidecar;
pub use tested::Tested;

use crate::content::{Digest, Level, Tree};
use crate::pipeline::{Action, Command, Edge, Origin, Pipeline, SourceId, Task, TaskId};
use crate::store::{Ledger, OutputRecord, Record, Store};
use anyhow::{Context as _, Result};
use key::{CommandKey, KeyManifest, PartKey};
use rayon::prelude::*;
use reason::Reason;
use sources::SourceTree;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// So few sources or tasks are not worth sharing out in the pool.
const FEW: usize = 64;

/// What the pipeline reads is not there: nothing can start until the user mends it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unready(String);

/// A task whose result is known.
#[derive(Clone, Debug)]
pub struct Known {
    pub key: Digest,
    pub record: Arc<Record>,
}

impl Known {
    /// What the record says of an output port.
    pub fn output(&self, port: &str) -> Result<&OutputRecord> {
        let none =
            || format!("{} put nothing into its output `{port}`: see `tomograph kinds` for the params that ask for it", self.record.task);
        self.record.outputs.get(port).with_context(none)
    }
}

/// What is known of a task while others are still open.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Not known yet: the task must run, or follows one that must.
    Open,
    Known(Box<Known>),
    /// Failed or skipped, with the class that a port with holes sees.
    Failed(String),
}

/// A task whose inputs are known, judged.
pub enum Judgement {
    Hit(Known),
    Miss { key: Digest, manifest: Box<KeyManifest> },
}

/// What `plan` says of a task.
#[derive(Clone, Debug)]
pub enum State {
    Cached,
    Run(Vec<Reason>),
    /// Decided after these tasks.
    Later(Vec<String>),
    /// An effect that runs only when asked to, or what follows one: the effects.
    Waiting(Vec<String>),
}

/// A pipeline against a store: sources looked at, ready to judge tasks.
pub struct Planner<'a> {
    pub pipeline: &'a Pipeline,
    pub store: &'a Store,
    pub root: PathBuf,
    /// Tasks that are wanted, with everything they need.
    pub wanted: BTreeSet<TaskId>,
    /// Whether reasons name people's files too: only for the eyes of who asks, never for a journal.
    pub reveals: bool,
    sources: Vec<Option<SourceTree>>,
    /// What each task gives, by its place in the pipeline.
    levels: Vec<Level>,
    /// Manifests of sources that are in the store.
    kept: Mutex<BTreeSet<Digest>>,
    /// Names the pipeline in the store.
    id: String,
    /// Last keys of its tasks, for those that must run.
    last: OnceLock<BTreeMap<String, Digest>>,
    /// What the store's ledger says, once somebody asked.
    ledger: Mutex<Option<Ledger>>,
    /// What the engine brings to tasks that were judged.
    filled: Mutex<BTreeMap<TaskId, Arc<Vec<filled::Filled>>>>,
    /// See [`Planner::testers`].
    testers: OnceLock<BTreeSet<TaskId>>,
}

impl<'a> Planner<'a> {
    /// Looks at the sources of the tasks in `only` (empty: all) and of all they need. `id` names the pipeline in the store.
    ///
    /// Fails, with every missing source named, before anything starts.
    pub fn new(
        pipeline: &'a Pipeline,
        store: &'a Store,
        root: &Path,
        id: &str,
        only: &[TaskId],
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Self> {
        let wanted = order::wanted(pipeline, only);
        let mut read = BTreeSet::new();
        for edge in wanted.iter().flat_map(|task| pipeline.tasks[task.0].inputs.values().flatten()) {
            if let Origin::Source { source, .. } = edge.origin {
                read.insert(source);
            }
        }
        let beside = sidecar::Beside::default();
        let look = |(at, source)| match read.contains(&SourceId(at)) {
            true => SourceTree::look(store, root, source, &beside, progress),
            false => Ok(None),
        };
        let sources = pipeline.sources.par_iter().enumerate().with_min_len(FEW).map(look).collect::<Result<_>>()?;
        store.foresee(id)?;
        let (id, last) = (id.to_owned(), OnceLock::new());
        let mut planner = Self {
            pipeline,
            store,
            root: root.to_owned(),
            wanted,
            reveals: false,
            sources,
            levels: Vec::new(),
            kept: Mutex::default(),
            id,
            last,
            ledger: Mutex::default(),
            filled: Mutex::default(),
            testers: OnceLock::new(),
        };
        planner.refuse_missing_sources()?;
        planner.levels = planner.find_levels();
        Ok(planner)
    }

    fn last(&self) -> &BTreeMap<String, Digest> {
        self.last.get_or_init(|| self.store.known_last_keys(&self.id))
    }

    fn refuse_missing_sources(&self) -> Result<()> {
        let mut missing = BTreeSet::new();
        for (task, port, edge) in self.edges() {
            let Origin::Source { source: id, inside } = &edge.origin else { continue };
            let source = &self.pipeline.sources[id.0];
            let found = self.sources[id.0].as_ref();
            match (found, inside) {
                (None, _) if !source.optional && source.taken.is_some() => missing.extend(source.taken.iter().map(|taken| {
                    format!("source `{}`: there is no {} in the store; `{}` makes it", source.title(), taken.title(), taken.remedy())
                })),
                (None, _) if !source.optional => {
                    missing.insert(format!("source `{}`: there is nothing at {}", source.title(), self.shown(&source.path, source.phi)));
                }
                (None, _) if self.must_be_connected(task, port) => {
                    missing.insert(format!("stage `{}` needs source `{}`, which is optional and absent", task.stage, source.title()));
                }
                (Some(found), Some(inside)) if found.part(Some(inside)).is_none() => {
                    missing.insert(format!(
                        "source `{}`: there is no {inside} in {}",
                        source.title(),
                        self.shown(&source.path, source.phi)
                    ));
                }
                (Some(found), _) if found.tree.files.is_empty() => {
                    missing.insert(format!("source `{}`: there is no file in {}", source.title(), self.shown(&source.path, source.phi)));
                }
                _ => {}
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Unready(missing.into_iter().collect::<Vec<_>>().join("\n")).into())
    }

    /// The path as the user wrote it: it stands in the pipeline, so it may be shown.
    fn shown(&self, path: &str, phi: bool) -> String {
        if phi || Path::new(path).is_absolute() { format!("`{path}`") } else { format!("`{path}` (in {})", self.root.display()) }
    }

    fn must_be_connected(&self, task: &Task, port: &str) -> bool {
        match &task.action {
            Action::Kind { kind, .. } => kind.input(port).is_some_and(|port| port.count == crate::stage::Count::One),
            Action::Command(_) => true,
        }
    }

    fn edges(&self) -> impl Iterator<Item = (&Task, &str, &Edge)> {
        self.wanted.iter().flat_map(|id| {
            let task = &self.pipeline.tasks[id.0];
            task.inputs.iter().flat_map(move |(port, edges)| edges.iter().map(move |edge| (task, port.as_str(), edge)))
        })
    }

    /// The source part that an edge brings, if its source is there.
    pub fn source_tree(&self, source: SourceId, inside: Option<&str>) -> Option<Arc<Tree>> {
        Some(self.sources[source.0].as_ref()?.part(inside)?.tree)
    }

    /// Keeps the manifests of a task's sources, so that `why` can name the files that changed.
    pub fn keep_sources(&self, id: TaskId) -> Result<()> {
        for edge in self.pipeline.tasks[id.0].inputs.values().flatten() {
            let Origin::Source { source, inside } = &edge.origin else { continue };
            let Some(part) = self.sources[source.0].as_ref().and_then(|found| found.part(inside.as_deref())) else { continue };
            if !self.kept.lock().unwrap_or_else(PoisonError::into_inner).contains(&part.digest) {
                self.store.put_tree(&part.tree)?;
                self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(part.digest);
            }
        }
        Ok(())
    }

    /// Everything the result of a task depends on; `None` while an input is open.
    pub fn manifest(&self, id: TaskId, outcomes: &[Outcome]) -> Result<Option<KeyManifest>> {
        let task = &self.pipeline.tasks[id.0];
        let mut manifest = match &task.action {
            Action::Kind { kind, params } => KeyManifest::new(kind.name, kind.revision, params.params()),
            Action::Command(command) => self.command_manifest(task, command)?,
        };
        for (port, edges) in &task.inputs {
            let mut parts = Vec::with_capacity(edges.len());
            for edge in edges {
                match self.part_key(edge, outcomes)? {
                    Part::Key(part) => parts.push(part),
                    Part::Unconnected => {}
                    Part::Open => return Ok(None),
                }
            }
            if !parts.is_empty() {
                manifest.inputs.insert(port.clone(), parts);
            }
        }
        if self.filled_ports(id).next().is_some() {
            if self.needs_of(id).iter().any(|need| self.wanted.contains(need) && matches!(outcomes[need.0], Outcome::Open)) {
                return Ok(None);
            }
            for (port, digest) in self.fill(id, outcomes)? {
                let part = PartKey { at: BTreeMap::new(), digest: Some(digest), level: Level::Released, hole: None };
                manifest.inputs.insert(port.to_owned(), vec![part]);
            }
        }
        Ok(Some(manifest))
    }

    fn part_key(&self, edge: &Edge, outcomes: &[Outcome]) -> Result<Part> {
        let at = edge.coordinates.clone();
        Ok(match &edge.origin {
            Origin::Source { source, inside } => match self.sources[source.0].as_ref().and_then(|found| found.part(inside.as_deref())) {
                Some(part) => Part::Key(PartKey { at, digest: Some(part.digest), level: part.tree.level, hole: None }),
                None => Part::Unconnected,
            },
            Origin::Task { task, port } => match &outcomes[task.0] {
                Outcome::Open => Part::Open,
                Outcome::Known(known) => {
                    let output = known.output(port)?;
                    Part::Key(PartKey { at, digest: Some(output.manifest), level: self.level(*task), hole: None })
                }
                Outcome::Failed(class) => Part::Key(PartKey { at, digest: None, level: Level::Released, hole: Some(class.clone()) }),
            },
        })
    }

    fn command_manifest(&self, task: &Task, command: &Command) -> Result<KeyManifest> {
        let mut manifest = KeyManifest::new("command", 1, command.params.clone());
        manifest.command = Some(CommandKey {
            argv: command.argv.iter().map(|pieces| crate::pipeline::show_pieces(pieces)).collect(),
            env: command.env.clone(),
            map: command.map.clone(),
            code: self.code_of(&task.stage, command)?,
            outputs: task.outputs.iter().map(|output| (output.port.clone(), output.artifact.to_string())).collect(),
            coordinates: task.cell.clone(),
        });
        Ok(manifest)
    }

    /// Looks a task up whose inputs are known; `None` while one is open.
    pub fn judge(&self, id: TaskId, outcomes: &[Outcome]) -> Result<Option<Judgement>> {
        let Some(manifest) = self.manifest(id, outcomes)? else { return Ok(None) };
        let key = manifest.key();
        let records = self.store.records(&key)?;
        Ok(Some(match self.best(records)? {
            Some(record) => Judgement::Hit(Known { key, record }),
            None => Judgement::Miss { key, manifest: Box::new(manifest) },
        }))
    }

    /// Judges several tasks, in the pool where they are many; the answers are in their order.
    pub fn judge_all(&self, tasks: &[TaskId], outcomes: &[Outcome]) -> Vec<Result<Option<Judgement>>> {
        let judge = |id: &TaskId| self.judge(*id, outcomes);
        if tasks.len() < FEW { tasks.iter().map(judge).collect() } else { tasks.par_iter().with_min_len(FEW).map(judge).collect() }
    }

    /// What is recorded under a key now, with all its bytes there.
    pub fn standing(&self, key: Digest) -> Result<Option<Known>> {
        let Some(record) = self.best(self.store.records(&key)?)? else { return Ok(None) };
        Ok(self.is_there(&record)?.then_some(Known { key, record }))
    }

    /// Of several variants the first whose blobs are all there, else the first.
    fn best(&self, mut records: Vec<Arc<Record>>) -> Result<Option<Arc<Record>>> {
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

enum Part {
    Key(PartKey),
    Unconnected,
    Open,
}

fn origin(edge: &Edge) -> Option<(TaskId, &str)> {
    match &edge.origin {
        Origin::Task { task, port } => Some((*task, port)),
        Origin::Source { .. } => None,
    }
}

fn origin_task(edge: &Edge) -> Option<TaskId> {
    origin(edge).map(|(task, _)| task)
}
