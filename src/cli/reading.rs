//! Reads a pipeline with all that stands beside it: the project's root and settings, and the files that the pipeline names.
//!
//! The one place that hands texts to `pipeline`, which reads no file.

use super::exit::Wrong;
use crate::pipeline::{Diagnostic, Files, Loaded, Memory, Overlay, Pipeline, load};
use crate::run::MOST_JOBS;
use crate::stage::Kind;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Deserializer};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

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
    let file = std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))?;
    let text = read_pipeline(path)?;
    let root = root_of(&file)?;
    let inside = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
    let read = |other: &str| read_beside(&root, &inside, other);
    let files = Files { name: &path.display().to_string(), path: &inside, read: &read };
    let shared: Shared = settings(&root.join("tomograph.toml"))?;
    let local: Local = settings(&root.join("tomograph.local.toml"))?;
    let place = Place { root: root.clone(), inside: inside.clone() };
    let (mut loaded, done) = std::thread::scope(|scope| {
        let working = scope.spawn(|| work(&place, &shared, &local));
        let loaded = load(&text, &files, kinds, overlay);
        (loaded, working.join())
    });
    let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if let Some(pipeline) = &mut loaded.pipeline {
        settle(pipeline, &shared.project.id, &local.source);
        loaded.problems.extend(sources_in_the_store(pipeline, &root, &local.store_in(&root)));
    }
    Ok((Reading { place, shared, local, loaded }, done))
}

/// A source that points into the store would read what tomograph itself wrote; one that holds the store would change with every run.
fn sources_in_the_store(pipeline: &Pipeline, root: &Path, store: &Path) -> Vec<Diagnostic> {
    let mut problems: Vec<Diagnostic> = Vec::new();
    let store = real(store);
    // Thousands of cells of a swept source lie in one folder, which is looked at with the first of them; what stands for it is the name
    // under which it holds the store. Of the others none is followed if it is a link: the walk refuses one that leads into a store.
    let mut folders: HashMap<(usize, &str), Option<OsString>> = HashMap::new();
    for source in pipeline.sources.iter().filter(|source| source.taken.is_none()) {
        let (folder, name) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
        let is_plain = !matches!(name, "" | "." | "..") && !name.contains(['*', '?', '[']);
        match folders.entry((source.span.start, folder)) {
            Entry::Occupied(known) if is_plain && known.get().as_deref() != Some(OsStr::new(name)) => continue,
            Entry::Occupied(_) => {}
            Entry::Vacant(new) => {
                let place = real(&root.join(folder));
                new.insert(store.strip_prefix(place).ok().and_then(|rest| Some(rest.components().next()?.as_os_str().to_owned())));
            }
        }
        let wild = |part: &Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
        let place = root.join(&source.path);
        let is_glob = place.components().any(|part| wild(&part)) && !place.exists();
        let fixed = if is_glob { place.components().take_while(|part| !wild(part)).collect() } else { place };
        let fixed = real(&fixed);
        let wrong =
            |message: &str| Diagnostic::error(source.span.clone(), format!("source `{}` {message} {}", source.title(), store.display()));
        let help = "what a pipeline made is taken with `from` and `artifact`, or copied out by `tomograph export`";
        let problem = if fixed.starts_with(&store) {
            wrong("points into the store").help(help)
        } else if store.starts_with(&fixed) && (!is_glob || source.path.contains("**")) {
            wrong("holds the store")
                .help("name a folder beside it, or say another place for the store in tomograph.local.toml: `store = \"…\"`")
        } else {
            continue;
        };
        if !problems.iter().any(|one| one.span == problem.span) {
            problems.push(problem);
        }
    }
    problems
}

/// A path with its links followed as far as it exists.
fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| Some((above.canonicalize().ok()?, path.strip_prefix(above).ok()?)));
    found.map_or_else(|| path.to_owned(), |(above, rest)| if rest.as_os_str().is_empty() { above } else { above.join(rest) })
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
