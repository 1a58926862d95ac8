//! `tomograph try`: one kind on plain files, without a pipeline, in a store that goes away.

use super::exit::{Exit, Wrong, print};
use super::grid::{bytes, count};
use super::project::Project;
use super::run::{RunArgs, carry_out, closing, exit_of};
use crate::pipeline::{Diagnostic, Files, Overlay, Severity, load};
use crate::run::publish::{Publication, export};
use crate::stage::{Artifact, Count, Kind, Port};
use crate::store::Store;
use anyhow::{Context as _, Result};
use clap::Args;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Try one kind on plain files, without a pipeline
///
/// Nothing is kept but what FOLDER then holds: a folder per output. Files count as holding no people's data, so their names may be
/// shown, and what is made of them is written out: do not try kinds on people's data.
#[derive(Args)]
pub(super) struct TryArgs {
    /// The kind, such as `images.prepare`; `tomograph kinds` lists them
    kind: String,
    /// What to connect: images=FOLDER as `tomograph export` writes it; more than once for a port that takes many
    #[arg(long = "in", value_name = "PORT=PATH")]
    inputs: Vec<String>,
    /// A param: size=64
    #[arg(long, value_name = "PARAM=VALUE")]
    set: Vec<String>,
    /// A new or empty folder for the outputs
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Use no GPU
    #[arg(long)]
    cpu: bool,
}

/// Name of the only stage.
const STAGE: &str = "try";

pub(super) fn attempt(args: &TryArgs, kinds: &'static [Kind]) -> Result<Exit> {
    if std::fs::read_dir(&args.out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Wrong(format!("{} is not empty: name a new folder", args.out.display())).into());
    }
    let text = text(args, kinds)?;
    let set = args.set.iter().map(|one| {
        let (name, value) = split(one, "--set", "size=64")?;
        Ok((format!("stage.{STAGE}.params.{name}"), value.to_owned()))
    });
    let overlay = Overlay { set: set.collect::<Result<_>>()?, axis: Vec::new() };
    let none = |_: &str| Err("no file is read here".to_owned());
    let loaded = load(&text, &Files { name: STAGE, path: "", read: &none }, kinds, &overlay);
    let errors: Vec<String> =
        loaded.problems.iter().filter(|problem| problem.severity == Severity::Error).map(|problem| plainly(problem, args)).collect();
    let Some(pipeline) = loaded.pipeline.filter(|_| errors.is_empty()) else { return Err(Wrong(errors.join("\nerror: ")).into()) };

    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let store = Store::open(&folder.path().join("store"), &folder.path().join("index"))?;
    let root = std::env::current_dir().context("cannot tell the current folder")?;
    let project = Project::alone(root, pipeline, store);
    let planner = project.planner(&[], &|_, _| ())?;
    let summary = carry_out(&project, &planner, &RunArgs::plain(Path::new(STAGE), args.cpu))?;
    if summary.failed + summary.unpublished == 0 && summary.trouble.is_none() && !summary.interrupted {
        print(&write_out(&project, args)?)?;
    } else {
        print(&closing(&summary))?;
    }
    Ok(exit_of(&summary))
}

/// What the command line comes to, as a pipeline.
fn text(args: &TryArgs, kinds: &[Kind]) -> Result<String> {
    let kind = kinds.iter().find(|kind| kind.name == args.kind);
    let mut sources = String::new();
    let mut ports: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for input in &args.inputs {
        let (name, path) = split(input, "--in", "images=FOLDER")?;
        let place = std::path::absolute(path).with_context(|| format!("cannot find {path}"))?;
        if !place.exists() {
            return Err(Wrong(format!("--in {input}: there is nothing at {path}")).into());
        }
        let parts = ports.entry(name).or_default();
        let source = format!("{name}-{}", parts.len() + 1);
        let kept = kind.and_then(|kind| kind.input(name)).and_then(|port| artifact(port, &place));
        let kept = kept.map(|artifact| format!("type = \"{artifact}\"\n")).unwrap_or_default();
        let _ = write!(sources, "[source.{source}]\npath = {}\nphi = false\n{kept}", quoted(&place.display().to_string()));
        parts.push(source);
    }
    let mut inputs = String::new();
    for (name, parts) in ports {
        let many = parts.len() > 1 || kind.and_then(|kind| kind.input(name)).is_some_and(|port| port.count == Count::Many);
        let labels = || parts.iter().enumerate().map(|(number, part)| format!("{} = \"{part}\"", number + 1)).collect::<Vec<_>>();
        let value = if many { format!("{{ {} }}", labels().join(", ")) } else { format!("\"{}\"", parts[0]) };
        let _ = writeln!(inputs, "{} = {value}", quoted(name));
    }
    Ok(format!(
        "[pipeline]\nname = \"{STAGE}\"\n{sources}[stage.{STAGE}]\nkind = {}\npolicy = {{ max_quarantine = \"100%\" }}\n\
         [stage.{STAGE}.inputs]\n{inputs}",
        quoted(&args.kind)
    ))
}

/// What a path is read as on a port; nothing for files as they are, and for one file that is read as a table.
fn artifact(port: &Port, path: &Path) -> Option<Artifact> {
    let tables = port.holds.iter().any(|artifact| [Artifact::Table, Artifact::Cohort].contains(artifact));
    let plain = port.holds.contains(&Artifact::Files) || tables && path.is_file() && path.extension().is_some();
    (!plain).then_some(port.holds[0])
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn split<'a>(text: &'a str, flag: &str, example: &str) -> Result<(&'a str, &'a str)> {
    text.split_once('=').ok_or_else(|| Wrong(format!("{flag} {text} has no `=`; write it as {flag} {example}")).into())
}

/// A problem in the words of this command line.
fn plainly(problem: &Diagnostic, args: &TryArgs) -> String {
    let help = problem.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{}{help}", problem.message)
        .replace(&format!("stage.{STAGE}.params."), "")
        .replace(&format!("stage `{STAGE}`"), &format!("`{}`", args.kind))
}

/// Copies every output out, and says what it is.
fn write_out(project: &Project, args: &TryArgs) -> Result<String> {
    let mut text = String::new();
    let task = &project.pipeline.tasks[0];
    let key = project.store.last_keys(&project.pipeline_id)?.remove(STAGE).context("the store has no result")?;
    let record = project.store.records(&key)?.into_iter().next().context("the store has no result")?;
    for output in task.outputs.iter() {
        let Some(held) = record.outputs.get(&output.port) else { continue };
        let tree = project.store.tree(&held.manifest, held.level)?.context("the store has no result")?;
        let to = args.out.join(&output.port);
        let what = Publication { task: STAGE, kind: &record.kind, key: &key, port: &output.port, tree: &tree, to: "" };
        export(&project.store, &project.root, &what, &to)?;
        let _ = writeln!(text, "{}: {}, {}, {}", to.display(), output.artifact, count(held.files, "file"), bytes(held.bytes));
    }
    if record.items > 0 {
        let _ = writeln!(text, "{}, {} in quarantine", count(record.items, "item"), record.quarantined);
    }
    Ok(text)
}
