//! Reads a pipeline with all that stands beside it: the project's root and settings, and the files that the pipeline names.
//!
//! The one place that hands texts to `pipeline`, which reads no file.

mod paths;

use super::exit::Wrong;
use crate::pipeline::{Files, Loaded, Memory, Overlay, Pipeline, load};
use crate::run::MOST_JOBS;
use crate::stage::Kind;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Deserializer};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `tomograph.toml`: what the team shares. Cannot change a key.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shared {
    #[serde(default)]
    pub(super) project: ProjectTable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProjectTable {
    #[serde(default)]
    pub(super) id: String,
}

/// `tomograph.local.toml`: this machine. Cannot change a key.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Local {
    /// Where the store is; `cache` in the project's root unless set.
    pub(super) store: Option<PathBuf>,
    /// Threads of the pool; as many as there are processors unless set.
    #[serde(default, deserialize_with = "jobs")]
    pub(super) jobs: Option<usize>,
    /// Memory that running tasks may claim together (bytes, or text such as "16GiB"); nine tenths of the machine's unless set.
    pub(super) memory: Option<Memory>,
    #[serde(default)]
    pub(super) devices: Devices,
    /// Seconds between two writes of a training's state.
    pub(super) state_every: Option<f64>,
    /// Where weights of backbones are, and are fetched from.
    #[serde(default)]
    pub(super) weights: super::weights::WeightsTable,
    /// Other places for sources, by name.
    #[serde(default)]
    pub(super) source: BTreeMap<String, String>,
}

/// `[devices]` of `tomograph.local.toml`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Devices {
    /// Indices or UUIDs of the GPUs to use, in place of those that are found.
    pub(super) gpus: Option<Vec<String>>,
    /// Torch tasks at once where there is no GPU; one unless set.
    pub(super) cpu_slots: Option<usize>,
}

/// `-j`.
pub(super) fn number_of_jobs(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "it is a whole number".to_owned()).and_then(not_too_many)
}

fn jobs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    not_too_many(usize::deserialize(deserializer)?).map(Some).map_err(serde::de::Error::custom)
}

fn not_too_many(jobs: usize) -> Result<usize, String> {
    if jobs > MOST_JOBS { Err(format!("{jobs} jobs are too many: {MOST_JOBS} at most")) } else { Ok(jobs) }
}

impl Local {
    /// Where the store of a project is.
    pub(super) fn store_in(&self, root: &Path) -> PathBuf {
        root.join(self.store.as_deref().unwrap_or(Path::new("cache")))
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
#[derive(Clone)]
pub(super) struct Place {
    pub(super) root: PathBuf,
    /// Its path relative to the root; the whole path where it is outside.
    pub(super) inside: String,
}

/// A pipeline that was read, and what stands beside it.
pub(super) struct Reading {
    pub(super) place: Place,
    pub(super) shared: Shared,
    pub(super) local: Local,
    pub(super) loaded: Loaded,
    /// Path relative to the root → text, of the pipeline's file and of every one that it names.
    pub(super) texts: BTreeMap<String, String>,
}

/// Reads and checks a pipeline, with the files that it names.
pub(super) fn load_pipeline(path: &Path, kinds: &'static [Kind], overlay: &Overlay) -> Result<Reading> {
    load_pipeline_while(path, kinds, overlay, |_, _, _| ()).map(|(reading, ())| reading)
}

/// The same, while a thread of its own works with what is known of the project.
pub(super) fn load_pipeline_while<T: Send>(
    path: &Path,
    kinds: &'static [Kind],
    overlay: &Overlay,
    work: impl FnOnce(&Place, &Shared, &Local) -> T + Send,
) -> Result<(Reading, T)> {
    let text = read_pipeline(path)?;
    let (place, shared, local) = beside(path)?;
    let Place { root, inside } = place.clone();
    let texts = RefCell::new(BTreeMap::from([(inside.clone(), text.clone())]));
    let read = |other: &str| {
        let text = read_beside(&root, &inside, other)?;
        texts.borrow_mut().insert(other.to_owned(), text.clone());
        Ok(text)
    };
    let files = Files { name: &path.display().to_string(), path: &inside, read: &read };
    let (mut loaded, done) = std::thread::scope(|scope| {
        let working = scope.spawn(|| work(&place, &shared, &local));
        let loaded = load(&text, &files, kinds, overlay);
        (loaded, working.join())
    });
    let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if let Some(pipeline) = &mut loaded.pipeline {
        settle(pipeline, &shared.project.id, &local.source);
        loaded.problems.extend(paths::wrong(pipeline, &root, &local.store_in(&root)));
    }
    Ok((Reading { place, shared, local, loaded, texts: texts.into_inner() }, done))
}

/// Where a pipeline's file is, and the settings that stand beside it; the file itself is not read.
pub(super) fn beside(path: &Path) -> Result<(Place, Shared, Local)> {
    let file = std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    let root = root_of(&file)?;
    let inside = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
    let (shared, local) = (settings(&root.join("tomograph.toml"))?, settings(&root.join("tomograph.local.toml"))?);
    Ok((Place { root, inside }, shared, local))
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
pub(super) fn root_of(pipeline: &Path) -> Result<PathBuf> {
    let upwards = pipeline.ancestors().skip(1).find(|folder| folder.join("tomograph.toml").is_file());
    match upwards {
        Some(folder) => Ok(folder.to_owned()),
        None => std::env::current_dir().context("cannot tell the current folder"),
    }
}

pub(super) fn settings<T: Default + serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|error| Wrong(format!("{}: {error}", path.display())).into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(Wrong(format!("cannot read {}: {error}", path.display())).into()),
    }
}
