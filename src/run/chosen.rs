//! Chosen lists: a task that takes one model and is given a list of them does one part at a time.
//!
//! Each part is cached alone, under the very key that the same task would have with that part connected to it. What the parts
//! give is put together: tables get the parts' coordinates as columns, other artifacts become a folder per part beside
//! `parts.tsv`. Knows nothing of how a part is made.

use super::task::{Job, Made};
use crate::content::{Digest, FileRef, Tree};
use crate::pipeline::Task;
use crate::plan::key::{KeyManifest, PartKey};
use crate::stage::{Artifact, Coordinates, Inputs, Part};
use crate::store::{Record, Store};
use crate::table::Table;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;

/// Names the parts of a list and gives their coordinates.
const PARTS: &str = "parts.tsv";

/// One part of a chosen list.
pub(super) struct Chosen {
    /// Its name: a folder of the list.
    name: String,
    /// Values of the list's axes, in their order.
    at: Vec<String>,
    pub(super) inputs: Inputs,
    pub(super) manifest: KeyManifest,
}

impl Chosen {
    pub(super) fn key(&self) -> Digest {
        self.manifest.key()
    }
}

/// The port on which a list arrives where one is taken, if there is one.
pub(super) fn port(task: &Task) -> Option<&str> {
    task.inputs.iter().find(|(_, edges)| edges.iter().any(|edge| edge.chosen)).map(|(port, _)| port.as_str())
}

/// The axes of the list on `port`, and its parts, each with inputs and key manifest of its own.
pub(super) fn parts(inputs: &Inputs, port: &str, manifest: &[u8]) -> Result<(Vec<String>, Vec<Chosen>)> {
    let whole: KeyManifest = serde_json::from_slice(manifest).context("the task's key manifest")?;
    let list = inputs.one(port)?;
    let table = Table::from_tsv(&list.tree.read(PARTS)?).with_context(|| format!("input `{port}`: {PARTS}"))?;
    let at_part = table.column("part").with_context(|| format!("input `{port}`: {PARTS}"))?;
    let axes = without(&table.columns, at_part);
    let mut parts = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let name = row[at_part].clone();
        let tree = inside(&list.tree, &name);
        ensure!(!tree.files.is_empty(), "input `{port}`: {PARTS} names part `{name}`, which has no file");
        let mut manifest = whole.clone();
        let key = PartKey { at: Coordinates::new(), digest: Some(tree.digest()), level: tree.level, hole: None };
        manifest.inputs.insert(port.to_owned(), vec![key]);
        let mut inputs = inputs.clone();
        inputs.0.insert(port.to_owned(), vec![Part { coordinates: Coordinates::new(), tree: tree.into(), hole: None }]);
        parts.push(Chosen { name, at: without(row, at_part), inputs, manifest });
    }
    ensure!(!parts.is_empty(), "input `{port}`: the chosen list is empty");
    Ok((axes, parts))
}

/// What a record of a part gave, if its bytes are there.
pub(super) fn standing(store: &Store, key: &Digest) -> Result<Option<BTreeMap<String, Tree>>> {
    for record in store.records(key)? {
        if let Some(trees) = trees(store, &record)? {
            return Ok(Some(trees));
        }
    }
    Ok(None)
}

/// The trees of a record, if its bytes are there.
pub(super) fn trees(store: &Store, record: &Record) -> Result<Option<BTreeMap<String, Tree>>> {
    let mut trees = BTreeMap::new();
    for (port, output) in &record.outputs {
        let Some(tree) = store.kept_tree(&output.manifest, output.level)? else { return Ok(None) };
        trees.insert(port.clone(), tree);
    }
    Ok(Some(trees))
}

/// Puts together what the parts gave, port by port.
pub(super) fn combine(job: &Job, task: &Task, axes: &[String], parts: &[Chosen], made: &[BTreeMap<String, Tree>]) -> Result<Made> {
    let mut outputs = BTreeMap::new();
    for output in task.outputs.iter() {
        let trees: Vec<&Tree> = made
            .iter()
            .map(|trees| trees.get(&output.port).with_context(|| format!("a part gave no output `{}`", output.port)))
            .collect::<Result<_>>()?;
        let tree = match output.artifact {
            Artifact::Table | Artifact::History | Artifact::Predictions => one_table(job.store, axes, parts, &trees)?,
            _ => folders(job.store, axes, parts, &trees)?,
        };
        outputs.insert(output.port.clone(), tree);
    }
    Ok(Made { outputs, ..Made::default() })
}

/// Rows of all parts under one header, each with its part's coordinates in front.
fn one_table(store: &Store, axes: &[String], parts: &[Chosen], trees: &[&Tree]) -> Result<Tree> {
    let mut all: Option<Table> = None;
    let name = trees.first().context("no part")?.only_file()?.to_owned();
    for (part, tree) in parts.iter().zip(trees) {
        let table = Table::from_tsv(&tree.read(tree.only_file()?)?)?;
        let columns: Vec<String> = axes.iter().chain(&table.columns).cloned().collect();
        let all = all.get_or_insert_with(|| Table::new(columns.iter().cloned()));
        ensure!(all.columns == columns, "part `{}` has other columns than the first", part.name);
        all.rows.extend(table.rows.into_iter().map(|row| part.at.iter().cloned().chain(row).collect()));
    }
    let file = store.put_bytes(&all.context("no part")?.to_tsv())?;
    Ok(Tree { files: BTreeMap::from([(name, file)]), level: trees.iter().map(|tree| tree.level).max().unwrap_or_default() })
}

/// A folder per part beside `parts.tsv`.
fn folders(store: &Store, axes: &[String], parts: &[Chosen], trees: &[&Tree]) -> Result<Tree> {
    let mut table = Table::new(std::iter::once("part").chain(axes.iter().map(String::as_str)));
    let mut files: BTreeMap<String, FileRef> = BTreeMap::new();
    for (part, tree) in parts.iter().zip(trees) {
        table.rows.push(std::iter::once(part.name.clone()).chain(part.at.iter().cloned()).collect());
        files.extend(tree.files.iter().map(|(path, file)| (format!("{}/{path}", part.name), file.clone())));
    }
    files.insert(PARTS.to_owned(), store.put_bytes(&table.to_tsv())?);
    Ok(Tree { files, level: trees.iter().map(|tree| tree.level).max().unwrap_or_default() })
}

/// The files of a tree under a folder, without its name.
fn inside(tree: &Tree, folder: &str) -> Tree {
    let prefix = format!("{folder}/");
    let files = tree.files.iter().filter_map(|(path, file)| Some((path.strip_prefix(&prefix)?.to_owned(), file.clone())));
    Tree { files: files.collect(), level: tree.level }
}

fn without(row: &[String], at: usize) -> Vec<String> {
    row.iter().enumerate().filter(|(number, _)| *number != at).map(|(_, value)| value.clone()).collect()
}
