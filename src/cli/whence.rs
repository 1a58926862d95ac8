//! `tomograph whence`: where a published or exported file, or a number in one, comes from.
//!
//! Starts from the `NAME.tomograph.json` beside the file, and follows key manifests back to the sources. Reads no pipeline: what a
//! pipeline has become since does not change where a number came from.

mod beside;
mod cell;

use super::exit::{Exit, Wrong, print};
use super::grid::{count, duration};
use super::history::overrides;
use super::ledger::{Seen, of_record};
use super::log::quoted;
use super::project::index_folder;
use super::reading::{Local, root_of, settings};
use super::show::moment;
use crate::content::Digest;
use crate::plan::Sidecar;
use crate::plan::key::{KeyManifest, PartKey};
use crate::stage::show_coordinates;
use crate::store::{Record, Run, Store};
use anyhow::Result;
use cell::cell;
use clap::Args;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Say where a published or exported file comes from, or a number in a table
///
/// For example, `tomograph whence results/table.csv:2:auc` tells of the figure in the second row: the task that made the table, with
/// its key, params, program, machine and time; the same of every task before it, down to the digests of the sources; and the command
/// that makes it again. Rows are counted from 1 below the header; a column is a name, or a number from 1.
///
/// Needs the NAME.tomograph.json that `publish` and `export` leave beside what they write. A file that was edited since is an error.
#[derive(Args)]
pub(super) struct WhenceArgs {
    /// The file, and perhaps a row and a column of it: results/table.csv:2:auc
    #[arg(value_name = "FILE[:ROW:COLUMN]")]
    file: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn whence(args: &WhenceArgs) -> Result<Exit> {
    let (file, place) = split(&args.file);
    let (sidecar, cell) = match (file.is_dir(), place) {
        (true, None) => (beside::of_folder(&file)?, None),
        (true, Some(_)) => return Err(Wrong(format!("{} is a folder: name a file in it", file.display())).into()),
        (false, place) => {
            let bytes = read(&file)?;
            let sidecar = beside::of_file(&file, &Digest::of(&bytes))?;
            (sidecar, place.map(|(row, column)| cell(&file, &bytes, row, column)).transpose()?)
        }
    };

    let root = root_of(&std::path::absolute(&file)?)?;
    let local: Local = settings(&root.join("tomograph.local.toml"))?;
    let store = Store::open(&local.store_in(&root), &index_folder())?;
    let first = made_by(&store, &sidecar, &file)?;
    let run = run_of(&store, &first)?;
    let lineage = Lineage::of(&store, first, run.as_ref(), cell.as_ref())?;
    let again = again(&lineage.steps[0].record, run.as_ref(), &root);
    let text = match args.json {
        true => json!({
            "file": file,
            "level": sidecar.level,
            "port": sidecar.port,
            "cell": cell,
            "tasks": lineage.steps.iter().map(Step::object).collect::<Vec<_>>(),
            "sources": lineage.sources,
            "again": again,
        })
        .to_string(),
        false => tell(&file, &sidecar, cell.as_ref(), &lineage, &again),
    };
    print(&(text + "\n"))?;
    Ok(Exit::Done)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| Wrong(format!("cannot read {}: {error}", file.display())).into())
}

/// Ports that the engine fills: what they bring was made by no task and lies in no source.
const FILLED: [&str; 2] = ["ledger", "lineage"];

/// The file, and the row and column after it. A name with colons that is a file is a file.
fn split(text: &str) -> (PathBuf, Option<(&str, &str)>) {
    let parts = || {
        let (rest, column) = text.rsplit_once(':')?;
        let (file, row) = rest.rsplit_once(':')?;
        Some((PathBuf::from(file), Some((row, column))))
    };
    if Path::new(text).exists() { (PathBuf::from(text), None) } else { parts().unwrap_or_else(|| (PathBuf::from(text), None)) }
}

/// The record of this project's store that the file came out of.
fn made_by(store: &Store, sidecar: &Sidecar, file: &Path) -> Result<Arc<Record>> {
    let records = store.records(&sidecar.key)?;
    let gave = |record: &&Arc<Record>| record.outputs.get(&sidecar.port).is_some_and(|held| held.manifest == sidecar.manifest);
    // What was turned into another format on its way out has other files than its record.
    let found = records.iter().find(gave).or(records.first()).cloned();
    found.ok_or_else(|| {
        let what = format!("{} is not from here: {} of key {}", file.display(), sidecar.task, sidecar.key.short());
        Wrong(format!("{what} is not in the store {}; ask where it was made", store.root().display())).into()
    })
}

/// The newest run of the record's pipeline that made its result, else the newest that met it.
fn run_of(store: &Store, record: &Record) -> Result<Option<Run>> {
    let mut met = None;
    for id in store.run_ids(&record.pipeline)?.iter().rev() {
        let run = store.run(&record.pipeline, id)?;
        match run.tasks.iter().find(|task| task.key == Some(record.key)).map(|task| task.outcome.as_str()) {
            Some("ran") => return Ok(Some(run)),
            Some(_) if met.is_none() => met = Some(run),
            _ => {}
        }
    }
    Ok(met)
}

/// A task on the way from the sources to the file.
struct Step {
    record: Arc<Record>,
    /// None where it is no longer in the store.
    manifest: Option<KeyManifest>,
    /// Port → what each of its parts is: a task's output, or a digest.
    inputs: BTreeMap<String, Vec<String>>,
    /// The test data that it met.
    tested: Vec<Seen>,
}

/// The file's task first, then what is before it, nearest first; and the digests that no task made.
struct Lineage {
    steps: Vec<Step>,
    sources: BTreeSet<Digest>,
}

impl Lineage {
    /// `cell` narrows the first task's inputs to those of its row.
    fn of(store: &Store, first: Arc<Record>, run: Option<&Run>, cell: Option<&Value>) -> Result<Self> {
        let (makers, ledger) = (Makers::of(store, run)?, store.ledger()?);
        let mut lineage = Self { steps: Vec::new(), sources: BTreeSet::new() };
        let (mut seen, mut open) = (BTreeSet::from([first.key]), VecDeque::from([first]));
        while let Some(record) = open.pop_front() {
            let bytes = store.read_blob(&record.key_manifest)?;
            let manifest: Option<KeyManifest> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let mut inputs = BTreeMap::new();
            for (port, parts) in manifest.iter().flat_map(|manifest| &manifest.inputs) {
                let mut named = Vec::new();
                if FILLED.contains(&port.as_str()) && &*record.kind != "command" {
                    named.extend(parts.iter().filter_map(|part| part.digest).map(|digest| format!("the engine, {digest}")));
                    inputs.insert(port.clone(), named);
                    continue;
                }
                let own: Vec<&PartKey> = parts.iter().filter(|part| lineage.steps.is_empty() && is_of_row(part, cell)).collect();
                if !own.is_empty() && own.len() < parts.len() {
                    named.push(format!("of {} parts those of the row:", parts.len()));
                }
                for part in if own.is_empty() { parts.iter().collect() } else { own } {
                    let maker = makers.find(part, &record);
                    named.push(part_name(part, maker.as_ref()));
                    match (maker, part.digest) {
                        (Some((maker, _)), _) if seen.insert(maker.key) => open.push_back(maker),
                        (None, Some(digest)) => drop(lineage.sources.insert(digest)),
                        _ => {}
                    }
                }
                inputs.insert(port.clone(), named);
            }
            let tested = of_record(&ledger, &record);
            lineage.steps.push(Step { record, manifest, inputs, tested });
        }
        Ok(lineage)
    }
}

/// Whether a gathered part is what a row of a table tells of: the row, or the column's name, has its coordinates. Means are of all.
fn is_of_row(part: &PartKey, cell: Option<&Value>) -> bool {
    let Some(cell) = cell else { return true };
    let column = cell["column"].as_str().unwrap_or_default();
    part.at.iter().all(|(axis, value)| match cell["values"][axis].as_str() {
        Some(own) => own.is_empty() || own.starts_with("mean") || own == "sd" || own == value.to_string(),
        // `seed 1 auc`, as the paper's form has it.
        None => {
            let said = column.split_once(&format!("{axis} ")).map(|(_, rest)| rest.split([' ', ',']).next().unwrap_or_default());
            said.is_none_or(|own| own == value.to_string())
        }
    })
}

/// Which tasks of a run gave what, in the order in which the run reached them.
struct Makers {
    by_digest: BTreeMap<Digest, Vec<(usize, Arc<Record>, String)>>,
    places: BTreeMap<Digest, usize>,
}

impl Makers {
    fn of(store: &Store, run: Option<&Run>) -> Result<Self> {
        let mut makers = Self { by_digest: BTreeMap::new(), places: BTreeMap::new() };
        // What came from other pipelines was there before anything ran.
        let keys = run.into_iter().flat_map(|run| run.reached.iter().copied().chain(run.tasks.iter().filter_map(|task| task.key)));
        for key in keys {
            let place = makers.places.len();
            if makers.places.contains_key(&key) {
                continue;
            }
            makers.places.insert(key, place);
            for record in store.records(&key)? {
                for (port, held) in &record.outputs {
                    makers.by_digest.entry(held.manifest).or_default().push((place, record.clone(), port.clone()));
                }
            }
        }
        Ok(makers)
    }

    /// The task that a part of `reader`'s input came from. Of several that gave the same bytes (one may pass on what it got) that whose
    /// cell fits, and the last before the reader.
    fn find(&self, part: &PartKey, reader: &Record) -> Option<(Arc<Record>, String)> {
        let before = self.places.get(&reader.key).copied().unwrap_or(usize::MAX);
        let found = self.by_digest.get(&part.digest?)?.iter().filter(|(place, maker, _)| *place < before && maker.key != reader.key);
        let (_, record, port) = found.max_by_key(|(place, maker, _)| (fits(&maker.task, part, &reader.task), *place))?;
        Some((record.clone(), port.clone()))
    }
}

/// Whether a task may have given a part that `reader` read: its cell has the part's coordinates, and else no other value than the reader's.
fn fits(task: &str, part: &PartKey, reader: &str) -> bool {
    let (own, readers) = (cell_of(task), cell_of(reader));
    let gathered =
        part.at.iter().filter(|(axis, _)| *axis != "from").all(|(axis, value)| own.get(axis.as_str()) == Some(&value.to_string().as_str()));
    gathered && own.iter().all(|(axis, value)| part.at.contains_key(*axis) || readers.get(axis).is_none_or(|readers| readers == value))
}

/// Axis → value, of a task as people write it.
fn cell_of(task: &str) -> BTreeMap<&str, &str> {
    let cell = task.split_once('[').map_or("", |(_, cell)| cell.trim_end_matches(']'));
    cell.split(',').filter_map(|one| one.split_once('=')).collect()
}

fn part_name(part: &PartKey, maker: Option<&(Arc<Record>, String)>) -> String {
    let at = if part.at.is_empty() { String::new() } else { format!(" as [{}]", show_coordinates(&part.at)) };
    match (maker, &part.digest, &part.hole) {
        (Some((record, port)), Some(digest), _) => format!("{}.{port}{at}, {digest}", record.task),
        (_, Some(digest), _) => format!("source{at}, {digest}"),
        (_, None, Some(class)) => format!("nothing{at}: failed, {class}"),
        (_, None, None) => format!("nothing{at}"),
    }
}

impl Step {
    /// The program of a command, or the kind and its revision.
    fn program(&self) -> String {
        match self.manifest.as_ref().map(|manifest| (&manifest.command, manifest.revision)) {
            Some((Some(command), _)) => command.argv.join(" "),
            Some((None, revision)) => format!("{}, revision {revision}", self.record.kind),
            None => self.record.kind.to_string(),
        }
    }

    fn object(&self) -> Value {
        let record = &self.record;
        json!({
            "task": record.task,
            "pipeline": record.pipeline,
            "kind": record.kind,
            "key": record.key,
            "params": self.manifest.as_ref().map(|manifest| &manifest.params),
            "revision": self.manifest.as_ref().map(|manifest| manifest.revision),
            "command": self.manifest.as_ref().and_then(|manifest| manifest.command.as_ref()),
            "inputs": self.inputs,
            "build": record.build,
            "host": record.host,
            "device": record.device,
            "threads": record.threads,
            "started": record.started,
            "seconds": record.seconds,
            "warnings": record.warnings,
            "tested": self.tested,
            "accepted": record.accepted,
        })
    }
}

/// The command that makes it again: of the run that made it, narrowed to the task.
fn again(record: &Record, run: Option<&Run>, root: &Path) -> String {
    let pipeline = record.pipeline.split_once(':').map_or(&*record.pipeline, |(_, path)| path);
    let pipeline = std::env::current_dir().map_or_else(|_| root.join(pipeline), |here| seen_from(&here, root, pipeline));
    let task = quoted(&record.task);
    let mut command = format!("tomograph run {} --only {task} --again {task}", quoted(&pipeline.display().to_string()));
    let laid_over = run.map(|run| overrides(&run.about)).unwrap_or_default();
    for pair in laid_over.chunks_exact(2).filter(|pair| pair[0] != "--only") {
        let _ = write!(command, " {} {}", pair[0], quoted(&pair[1]));
    }
    command
}

/// The path of a file of the project at `root` as one writes it in the folder `here`.
fn seen_from(here: &Path, root: &Path, path: &str) -> PathBuf {
    let whole = root.join(path);
    match (whole.strip_prefix(here), here.strip_prefix(root)) {
        (Ok(below), _) => below.to_owned(),
        (_, Ok(down)) if whole.starts_with(root) => down.components().map(|_| "..").collect::<PathBuf>().join(path),
        _ => whole,
    }
}

fn tell(file: &Path, sidecar: &Sidecar, cell: Option<&Value>, lineage: &Lineage, again: &str) -> String {
    let mut text = String::new();
    if let Some(cell) = cell {
        let value = cell["value"].as_str().unwrap_or_default();
        let _ = writeln!(text, "{} in row {} is {value}", cell["column"].as_str().unwrap_or_default(), cell["row"]);
    }
    let _ = writeln!(text, "{}: {}.{}, {}", file.display(), sidecar.task, sidecar.port, sidecar.level);
    for step in &lineage.steps {
        let record = &step.record;
        let threads = count(record.threads as u64, "thread");
        let _ = writeln!(text, "\n{}", record.task);
        let _ = writeln!(text, "  {}", step.program());
        let _ = writeln!(text, "  key {}", record.key);
        let when = format!("{} in {}", moment(&record.started), duration(record.seconds));
        let _ = writeln!(text, "  made {when} on {}, {}, {threads}, by tomograph {}", record.host, record.device, record.build);
        if let Some(params) = step.manifest.as_ref().and_then(|manifest| manifest.params.as_object()) {
            params.iter().for_each(|(name, value)| {
                let _ = writeln!(text, "  param {name} = {value}");
            });
        }
        for (port, parts) in &step.inputs {
            parts.iter().for_each(|part| {
                let _ = writeln!(text, "  {port} ← {part}");
            });
        }
        if step.manifest.is_none() {
            let _ = writeln!(text, "  what it was made from is no longer in the store");
        }
        if let Some(accepted) = &record.accepted {
            let _ = writeln!(text, "  {}", super::accept::told(accepted));
        }
        record.warnings.iter().for_each(|warning| {
            let _ = writeln!(text, "  warning: {warning}");
        });
        step.tested.iter().for_each(|seen| {
            let _ = writeln!(text, "  {}", seen.line());
        });
    }
    let _ = write!(text, "\nmade again by\n  {again}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_split_from_the_right() {
        assert_eq!(split("a.csv"), (PathBuf::from("a.csv"), None));
        assert_eq!(split("a:b.csv:2:auc"), (PathBuf::from("a:b.csv"), Some(("2", "auc"))));
        assert_eq!(split("a.csv:2"), (PathBuf::from("a.csv:2"), None));
    }

    #[test]
    fn a_pipeline_is_named_as_seen_from_where_one_stands() {
        let seen = |here: &str| seen_from(Path::new(here), Path::new("/p"), "a/b.toml").display().to_string();
        assert_eq!([seen("/p"), seen("/p/a"), seen("/p/c/d"), seen("/")], ["a/b.toml", "b.toml", "../../a/b.toml", "p/a/b.toml"]);
        assert_eq!(seen("/elsewhere"), "/p/a/b.toml");
    }

    #[test]
    fn what_a_shell_would_read_is_quoted() {
        assert_eq!(quoted("train[seed=1]"), "'train[seed=1]'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("p/a.toml"), "p/a.toml");
    }
}
