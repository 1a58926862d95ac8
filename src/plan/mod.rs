//! What would run, and why: keys, looked up in the store, and reasons.
//!
//! [`Planner`] judges one task at a time, once its inputs are known; planning and running both drive it. Starts nothing.

mod expect;
mod explain;
mod filled;
pub mod forecast;
mod judge;
pub mod key;
mod levels;
mod moved;
mod order;
pub mod reason;
mod sidecar;
mod since;
mod sources;
mod states;
mod tested;

pub use explain::stored_manifest;
pub use levels::{REMEDY, as_written, levels};
pub use sidecar::{Said, Sidecar};
pub use states::{Fate, States};
pub use tested::Tested;

use crate::content::{Digest, Level, Tree};
use crate::pipeline::{Action, Edge, Origin, Pipeline, SourceId, Task, TaskId};
use crate::store::{Ledger, OutputRecord, Record, Store};
use anyhow::{Context as _, Result};
use key::KeyManifest;
use reason::{Leaves, Reason};
use sources::SourceTree;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    Later(Vec<TaskId>),
    /// An effect that runs only when asked to, with why it would, or what follows some: the effects.
    Waiting {
        effects: Vec<String>,
        reasons: Vec<Reason>,
    },
    /// Its result is known and policy does not allow it: why.
    Fails(String),
    /// Something it needs fails or is skipped.
    Skipped(TaskId),
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
    /// Those that were compared with tasks that never ran.
    compared: Mutex<HashMap<Digest, Option<Arc<Leaves>>>>,
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
        let mut read = vec![false; pipeline.sources.len()];
        for edge in wanted.iter().flat_map(|task| pipeline.tasks[task.0].inputs.values().flatten()) {
            if let Origin::Source { source, .. } = edge.origin {
                read[source.0] = true;
            }
        }
        let sources = sources::look(store, root, &pipeline.sources, &read, progress)?;
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
            compared: Mutex::default(),
            ledger: Mutex::default(),
            filled: Mutex::default(),
            testers: OnceLock::new(),
        };
        planner.refuse_missing_sources()?;
        planner.raise_taken();
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
                (Some(found), Some(inside)) if found.digest(Some(inside)).is_none() => {
                    missing.insert(format!(
                        "source `{}`: there is no {inside} in {}",
                        source.title(),
                        self.shown(&source.path, source.phi)
                    ));
                }
                (Some(found), _) if found.files.is_empty() => {
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
