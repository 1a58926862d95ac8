//! Where things are: the project's root, its settings, its store, and the pipeline that the command line names.

use super::diagnostics;
use super::exit::{Shown, Wrong};
use crate::pipeline::{Files, Loaded, Memory, Overlay, Pipeline, Severity, TaskId, load};
use crate::plan::Planner;
use crate::stage::Kind;
use crate::store::Store;
use anyhow::{Context as _, Result};
use clap::Args;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which pipeline, with what laid over it.
#[derive(Args, Clone, Debug)]
pub(super) struct Selection {
    /// The pipeline: a TOML file
    #[arg(value_name = "PIPELINE")]
    pub(super) pipeline: PathBuf,
    /// Only these tasks and all they need: a stage, or cells of it such as 'train[seed=1]'
    #[arg(long, value_name = "REF")]
    pub(super) only: Vec<String>,
    /// Lay a value over the file: stage.train.params.epochs=2
    #[arg(long, value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,
    /// Other values for an axis: seed=1,2
    #[arg(long, value_name = "NAME=V,V")]
    pub(super) axis: Vec<String>,
}

impl Selection {
    /// A pipeline as it stands in its file.
    pub(super) fn plain(pipeline: &Path) -> Self {
        Self { pipeline: pipeline.to_owned(), only: Vec::new(), set: Vec::new(), axis: Vec::new() }
    }

    /// Whether this is the pipeline as written: only such a run publishes.
    pub(super) fn is_whole(&self) -> bool {
        self.only.is_empty() && self.set.is_empty() && self.axis.is_empty()
    }

    pub(super) fn overlay(&self) -> Result<Overlay> {
        let split = |text: &String, example: &str| {
            let (name, value) = text.split_once('=').ok_or_else(|| Wrong(format!("`{text}` has no `=`; write it as {example}")))?;
            Ok::<_, Wrong>((name.trim().to_owned(), value.to_owned()))
        };
        let set = self.set.iter().map(|text| split(text, "stage.train.params.epochs=2")).collect::<Result<_, _>>()?;
        let axis = self.axis.iter().map(|text| {
            let (name, values) = split(text, "seed=1,2")?;
            Ok::<_, Wrong>((name, values.split(',').map(|value| value.trim().to_owned()).collect()))
        });
        Ok(Overlay { set, axis: axis.collect::<Result<_, _>>()? })
    }
}

/// `tomograph.toml`: what the team shares. Cannot change a key.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shared {
    #[serde(default)]
    project: ProjectTable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectTable {
    #[serde(default)]
    id: String,
}

/// `tomograph.local.toml`: this machine. Cannot change a key.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Local {
    /// Where the store is; `cache` in the project's root unless set.
    store: Option<PathBuf>,
    /// Threads of the pool; as many as there are processors unless set.
    jobs: Option<usize>,
    /// Memory that running tasks may claim together (bytes, or text such as "16GiB"); nine tenths of the machine's unless set.
    memory: Option<Memory>,
    #[serde(default)]
    devices: Devices,
    /// Seconds between two writes of a training's state.
    state_every: Option<f64>,
    /// Other places for sources, by name.
    #[serde(default)]
    source: BTreeMap<String, String>,
}

/// `[devices]` of `tomograph.local.toml`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Devices {
    /// Indices or UUIDs of the GPUs to use, in place of those that are found.
    gpus: Option<Vec<String>>,
    /// Torch tasks at once where there is no GPU; one unless set.
    cpu_slots: Option<usize>,
}

/// The project that a pipeline belongs to.
pub(super) struct Project {
    pub(super) root: PathBuf,
    /// Names the pipeline in the store: the project's id and the file's path inside it.
    pub(super) pipeline_id: String,
    pub(super) pipeline: Pipeline,
    pub(super) store: Store,
    pub(super) jobs: usize,
    pub(super) memory: Option<u64>,
    pub(super) gpus: Option<Vec<String>>,
    pub(super) cpu_slots: usize,
    pub(super) state_every: f64,
}

impl Project {
    /// Loads and checks the pipeline, showing its problems, and opens the store.
    pub(super) fn open(selection: &Selection, kinds: &'static [Kind]) -> Result<Self> {
        let (Place { root, inside }, loaded) = load_pipeline(&selection.pipeline, kinds, &selection.overlay()?)?;
        let shared: Shared = settings(&root.join("tomograph.toml"))?;
        let local: Local = settings(&root.join("tomograph.local.toml"))?;
        diagnostics::show(&selection.pipeline.display().to_string(), &loaded.texts, &loaded.problems);
        if loaded.problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(Shown.into());
        }
        let mut pipeline = loaded.pipeline.ok_or(Shown)?;
        settle(&mut pipeline, &shared.project.id, &local.source);
        let store = Store::open(&root.join(local.store.unwrap_or_else(|| "cache".into())), &index_folder())?;
        let jobs = local.jobs.filter(|jobs| *jobs > 0).or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
        Ok(Self {
            pipeline_id: format!("{}:{inside}", shared.project.id),
            root,
            pipeline,
            store,
            jobs,
            memory: local.memory.map(|memory| memory.0),
            gpus: local.devices.gpus,
            cpu_slots: local.devices.cpu_slots.unwrap_or(1),
            state_every: local.state_every.filter(|seconds| *seconds >= 0.0).unwrap_or(120.0),
        })
    }

    /// The tasks that references name; with none, no task (which means all of them to a planner).
    pub(super) fn find(&self, references: &[String]) -> Result<Vec<TaskId>> {
        let mut found = Vec::new();
        for reference in references {
            found.extend(self.find_one(reference)?.0);
        }
        Ok(found)
    }

    /// The tasks, and the port if one is named, of a reference.
    pub(super) fn find_one(&self, reference: &str) -> Result<(Vec<TaskId>, Option<String>)> {
        self.pipeline.find(reference).map_err(|problem| {
            let help = problem.help.map(|help| format!("; {help}")).unwrap_or_default();
            Wrong(format!("{}{help}", problem.message)).into()
        })
    }

    /// Looks at the sources and the store.
    pub(super) fn planner(&self, only: &[TaskId], progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Planner<'_>> {
        Planner::new(&self.pipeline, &self.store, &self.root, &self.pipeline_id, only, progress)
    }
}

/// Puts into a pipeline, and those it takes from, what only the project knows: other places for sources, and names in the store.
fn settle(pipeline: &mut Pipeline, project: &str, places: &BTreeMap<String, String>) {
    for source in &mut pipeline.sources {
        match &mut source.taken {
            Some(taken) => taken.id = format!("{project}:{}", taken.pipeline),
            None => {
                if let Some(place) = places.get(&source.name) {
                    source.path.clone_from(place);
                }
            }
        }
    }
    pipeline.others.values_mut().for_each(|other| settle(other, project, places));
}

/// Where a pipeline's file is.
pub(super) struct Place {
    pub(super) root: PathBuf,
    /// Its path relative to the root; the whole path where it is outside.
    pub(super) inside: String,
}

/// Reads and checks a pipeline, with the files that it names.
pub(super) fn load_pipeline(path: &Path, kinds: &'static [Kind], overlay: &Overlay) -> Result<(Place, Loaded)> {
    let file = std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    let text = read_pipeline(path)?;
    let root = root_of(&file)?;
    let inside = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
    let read = |other: &str| read_beside(&root, &inside, other);
    let files = Files { name: &path.display().to_string(), path: &inside, read: &read };
    let loaded = load(&text, &files, kinds, overlay);
    Ok((Place { root, inside }, loaded))
}

/// The text of a file that the pipeline `inside` names, relative to the root; where there is none, says which one may be meant.
fn read_beside(root: &Path, inside: &str, other: &str) -> Result<String, String> {
    let path = root.join(other);
    match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| format!("`{other}` is not UTF-8 text")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let beside = Path::new(inside).with_file_name(other);
            let meant = match root.join(&beside).is_file() {
                true => format!("; paths begin at the project root: write `{}`", beside.display()),
                false => String::new(),
            };
            Err(format!("there is no `{other}` in the project{meant}"))
        }
        Err(error) => Err(format!("`{other}`: {error}")),
    }
}

/// The text of a pipeline file.
fn read_pipeline(path: &Path) -> Result<String> {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| Wrong(format!("{} is not UTF-8 text", path.display())).into()),
        Err(error) => Err(Wrong(format!("cannot read the pipeline {}: {error}", path.display())).into()),
    }
}

/// The nearest folder upwards from the pipeline with a `tomograph.toml`, else where the command was started.
fn root_of(pipeline: &Path) -> Result<PathBuf> {
    let upwards = pipeline.ancestors().skip(1).find(|folder| folder.join("tomograph.toml").is_file());
    match upwards {
        Some(folder) => Ok(folder.to_owned()),
        None => std::env::current_dir().context("cannot tell the current folder"),
    }
}

fn settings<T: Default + serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|error| Wrong(format!("{}: {error}", path.display())).into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(Wrong(format!("cannot read {}: {error}", path.display())).into()),
    }
}

/// Where this user's caches are (`XDG_CACHE_HOME`, else `~/.cache`); the index of a store is there.
#[expect(clippy::disallowed_methods, reason = "this is cli")]
pub(super) fn index_folder() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache.or_else(home).unwrap_or_else(std::env::temp_dir).join("tomograph")
}

/// `tomograph-torch`: beside this program, else on PATH.
#[expect(clippy::disallowed_methods, reason = "this is cli")]
pub(super) fn worker() -> Option<PathBuf> {
    let name = "tomograph-torch";
    let beside = std::env::current_exe().ok()?.with_file_name(name);
    if beside.is_file() {
        return Some(beside);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}
