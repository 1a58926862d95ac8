//! The project of a pipeline, opened: its store, and what this machine gives it. And the tasks that the command line names.

use super::diagnostics;
use super::exit::{Shown, Wrong};
use super::history::Runs;
use super::reading::{Local, Place, Reading, Shared, beside, load_pipeline_while};
use crate::pipeline::{Overlay, Pipeline, Severity, TaskId};
use crate::plan::Planner;
use crate::stage::Kind;
use crate::store::Store;
use anyhow::Result;
use clap::Args;
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// Which pipeline, with what laid over it.
#[derive(Args, Clone, Debug, Default)]
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
        self.only.is_empty() && self.is_plain()
    }

    /// Whether nothing is laid over the file.
    pub(super) fn is_plain(&self) -> bool {
        self.set.is_empty() && self.axis.is_empty()
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

/// The project that a pipeline belongs to.
pub(super) struct Project {
    pub(super) root: PathBuf,
    /// Names the pipeline in the store: the project's id and the file's path inside it.
    pub(super) pipeline_id: String,
    /// Path of its file, relative to the root.
    pub(super) path: String,
    pub(super) pipeline: Pipeline,
    /// Path relative to the root → text, of its file and of every one that it names.
    pub(super) texts: BTreeMap<String, String>,
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
        Self::open_while(selection, kinds, |_, _, _| None)
    }

    /// The same, while the store is opened and read for who will look at every task.
    pub(super) fn open_to_plan(selection: &Selection, kinds: &'static [Kind]) -> Result<Self> {
        Self::open_while(selection, kinds, open_early)
    }

    fn open_while(
        selection: &Selection,
        kinds: &'static [Kind],
        open_early: impl FnOnce(&Place, &Shared, &Local) -> Option<Result<Store>> + Send,
    ) -> Result<Self> {
        let (reading, store) = load_pipeline_while(&selection.pipeline, kinds, &selection.overlay()?, open_early)?;
        let Reading { place, shared, local, loaded, texts } = reading;
        diagnostics::show(&selection.pipeline.display().to_string(), &loaded.texts, &loaded.problems);
        if loaded.problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(Shown.into());
        }
        let pipeline = loaded.pipeline.ok_or(Shown)?;
        let store = store.unwrap_or_else(|| Store::open(&local.store_in(&place.root), &index_folder()))?;
        let pipeline_id = pipeline_id(&place, &shared);
        Ok(Self::of(place, pipeline_id, pipeline, texts, store, local))
    }

    /// A pipeline without a project around it, in a store of its own.
    pub(super) fn alone(root: PathBuf, pipeline: Pipeline, store: Store) -> Self {
        let (place, id) = (Place { root, inside: String::new() }, pipeline.name.clone());
        Self::of(place, id, pipeline, BTreeMap::new(), store, Local::default())
    }

    fn of(place: Place, pipeline_id: String, pipeline: Pipeline, texts: BTreeMap<String, String>, store: Store, local: Local) -> Self {
        let jobs = local.jobs.filter(|jobs| *jobs > 0).or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
        Self {
            pipeline_id,
            root: place.root,
            path: place.inside,
            pipeline,
            texts,
            store,
            jobs,
            memory: local.memory.map(|memory| memory.0),
            gpus: local.devices.gpus,
            cpu_slots: local.devices.cpu_slots.unwrap_or(1),
            state_every: local.state_every.filter(|seconds| *seconds >= 0.0).unwrap_or(120.0),
        }
    }

    /// Its runs.
    pub(super) fn runs(&self) -> Runs<'_> {
        Runs { store: &self.store, pipeline_id: &self.pipeline_id, path: &self.path }
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
        find_one(&self.pipeline, reference)
    }

    /// Looks at the sources and the store.
    pub(super) fn planner(&self, only: &[TaskId], progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Planner<'_>> {
        Planner::new(&self.pipeline, &self.store, &self.root, &self.pipeline_id, only, progress)
    }
}

/// The tasks of a pipeline, and the port if one is named, of a reference.
pub(super) fn find_one(pipeline: &Pipeline, reference: &str) -> Result<(Vec<TaskId>, Option<String>)> {
    pipeline.find(reference).map_err(|problem| {
        let help = problem.help.map(|help| format!("; {help}")).unwrap_or_default();
        Wrong(format!("{}{help}", problem.message)).into()
    })
}

/// Opens the store, if there is one, and reads what most commands ask of it, while the pipeline is read.
fn open_early(place: &Place, shared: &Shared, local: &Local) -> Option<Result<Store>> {
    let root = local.store_in(&place.root);
    // A pipeline with mistakes makes no store.
    let store = root.join("VERSION").exists().then(|| Store::open(&root, &index_folder()))?;
    Some(store.inspect(|store| store.prefetch(&pipeline_id(place, shared))))
}

/// The store of a pipeline, its name there, and the path of its file; none where nothing has run in the project yet. The file may have
/// mistakes, or be gone.
pub(super) fn store_of(pipeline: &Path) -> Result<Option<(Store, String, String)>> {
    let (place, shared, local) = beside(pipeline)?;
    let root = local.store_in(&place.root);
    let store = root.join("VERSION").exists().then(|| Store::open(&root, &index_folder())).transpose()?;
    Ok(store.map(|store| (store, pipeline_id(&place, &shared), place.inside)))
}

/// Names a pipeline in the store.
fn pipeline_id(Place { inside, .. }: &Place, shared: &Shared) -> String {
    format!("{}:{inside}", shared.project.id)
}

/// A project, or what was made from it, in use until the program ends: the system takes the memory back at once, where giving back what
/// ten thousand tasks hold takes longer than judging them.
pub(super) struct Kept(ManuallyDrop<Project>);

impl Kept {
    pub(super) fn new(project: Project) -> Self {
        Self(ManuallyDrop::new(project))
    }
}

impl Deref for Kept {
    type Target = Project;

    fn deref(&self) -> &Project {
        &self.0
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.store.close();
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
