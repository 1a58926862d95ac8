//! `tomograph export`: copies a result out of the store.

use super::exit::{Exit, Wrong, print};
use super::grid::{bytes, count};
use super::past::Past;
use super::project::{Project, Selection, find_one};
use super::results::{Standing, standing};
use super::tensorboard;
use crate::run::publish::{Publication, ensure_allowed, export as copy_out};
use crate::stage::{Artifact, Kind};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use std::path::PathBuf;

/// Copy a result out of the store into a new folder
///
/// TASK names one task and perhaps one of its outputs (else its main one): 'train[seed=1].model'. Beside FOLDER lies
/// FOLDER.tomograph.json, which says by key, level and digests what the files are: where they are a source, they keep that level. People's
/// data never leaves the store; what is pseudonymous stays inside the project.
///
/// For example, `tomograph export study.toml table paper/table --run @submission-1` takes the table as it was sent, and
/// `tomograph export study.toml 'train[seed=1].history' runs/1 --as tensorboard` writes what `tensorboard --logdir runs` shows.
#[derive(Args)]
pub(super) struct ExportArgs {
    /// The pipeline: a TOML file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// One task and perhaps an output: 'train[seed=1].model'
    #[arg(value_name = "TASK[.PORT]")]
    task: String,
    /// A folder that is not there yet, or empty
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// As this run had it: @NAME, @last, @prev, or the beginning of its line in `tomograph history`
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// In another format: a history as event files for TensorBoard, with what the training's log says of its speed
    #[arg(long = "as", value_name = "FORMAT")]
    format: Option<Format>,
}

/// What a result may be turned into on its way out.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Tensorboard,
}

pub(super) fn export(args: &ExportArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let project = Project::open(&Selection::plain(&args.pipeline), kinds)?;
    let past = args.run.as_ref().map(|run| Past::find(&project, run, kinds)).transpose()?;
    let pipeline = past.as_ref().map_or(&project.pipeline, Past::pipeline);
    let (tasks, port) = find_one(pipeline, &args.task)?;
    let &[id] = tasks.as_slice() else {
        let names: Vec<String> = tasks.iter().take(3).map(|id| pipeline.tasks[id.0].title()).collect();
        let more = if tasks.len() > names.len() { ", …" } else { "" };
        return Err(Wrong(format!("{} is {} tasks ({}{more}): name one", args.task, tasks.len(), names.join(", "))).into());
    };
    let task = &pipeline.tasks[id.0];
    let history = task.outputs.iter().find(|output| args.format.is_some() && output.artifact == Artifact::History);
    let port = match (port, history.or(task.outputs.first())) {
        (Some(port), _) => port,
        (None, Some(main)) => main.port.clone(),
        (None, None) => bail!("{} has no outputs", task.title()),
    };
    let found = match &past {
        Some(past) => past.standing(&[id])?.pop(),
        None => standing(&project, &[id], false)?.pop(),
    };
    let record = match found {
        Some(Standing::Current(record)) => record,
        Some(Standing::Old(_)) => {
            bail!("what there is of {} is of an earlier run: run it again first (`tomograph why` says what changed)", task.title())
        }
        Some(Standing::Nothing) | None => bail!("{} has no result yet: run it first", task.title()),
    };
    let held = record.outputs.get(&port).with_context(|| format!("the record of {} has no output `{port}`", task.title()))?;
    let Some(tree) = project.store.tree(&held.manifest, held.level)? else {
        bail!("the files of {}.{port} are no longer in the store: run `tomograph run --only '{}'`", task.title(), task.title());
    };
    let title = task.title();
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let tree = match args.format {
        // People's data stays in the store, turned into whatever.
        Some(Format::Tensorboard) if !tree.is_identified() => {
            tensorboard::convert(&project, &record, &tree, scratch.path()).with_context(|| format!("{title}.{port}"))?
        }
        _ => tree,
    };
    let what = Publication { task: &title, kind: &record.kind, key: &record.key, port: &port, tree: &tree, to: "" };
    ensure_allowed(&project.root, &what, &args.folder).with_context(|| format!("cannot export {title}"))?;
    // Said first: nothing leaves unsaid.
    super::audit::tell(&project, "export", &record, &title, &port, held, &args.folder.display().to_string())?;
    copy_out(&project.store, &project.root, &what, &args.folder)?;
    let (files, size) = (tree.files.len() as u64, tree.files.values().map(|file| file.size).sum());
    print(&format!("{}: {}, {}\n", args.folder.display(), count(files, "file"), bytes(size)))?;
    Ok(Exit::Done)
}
