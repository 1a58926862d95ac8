//! What a running kind may see of the world.

use super::Coordinates;
use crate::content::{Level, Tree};
use crate::table::Table;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One artifact on an input port.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Where it stands in a gather: the gathered axes, and `from` for a label. Empty on a port that takes one.
    pub coordinates: Coordinates,
    /// Its files. Empty where the port has holes and this cell failed.
    pub tree: Arc<Tree>,
    /// Why the part is missing, on a port with holes.
    pub hole: Option<String>,
}

impl Part {
    /// The part's only TSV file, or its `index.tsv`, as a table.
    pub fn table(&self) -> Result<Table> {
        let path = match self.tree.files.contains_key("index.tsv") {
            true => "index.tsv",
            false => self.tree.only_file()?,
        };
        let bytes = self.tree.read(path)?;
        let table = if path.ends_with(".tsv") { Table::from_tsv(&bytes) } else { Table::from_delimited(&bytes) };
        table.with_context(|| format!("in {}", self.tree.shown(path)))
    }
}

/// Parts by port, sorted by coordinates.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(pub BTreeMap<String, Vec<Part>>);

impl Inputs {
    /// The part of a port that takes one.
    pub fn one(&self, port: &str) -> Result<&Part> {
        self.optional(port)?.with_context(|| format!("nothing is connected to port `{port}`"))
    }

    /// The part of a port that may be unconnected.
    pub fn optional(&self, port: &str) -> Result<Option<&Part>> {
        match self.many(port) {
            [] => Ok(None),
            [part] => Ok(Some(part)),
            parts => bail!("port `{port}` has {} parts where one is wanted", parts.len()),
        }
    }

    /// All parts of a port.
    pub fn many(&self, port: &str) -> &[Part] {
        self.0.get(port).map_or(&[], Vec::as_slice)
    }

    /// That of the part which is closest to people.
    pub fn level(&self) -> Level {
        self.0.values().flatten().map(|part| part.tree.level).max().unwrap_or_default()
    }

    /// Whether any part holds what must enter no message.
    pub fn identified(&self) -> bool {
        self.level().is_identified()
    }
}

/// Something worth showing or keeping from a running task.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// `done` of `of` (items, steps) is done; `text` is shown beside it ("epoch 2/10 loss 0.31").
    Progress { done: u64, of: u64, text: String },
    /// Something a person should know; kept in the log.
    Warning(String),
    /// A line for the log.
    Log(String),
}

/// All a running [`super::Whole`] kind may see.
pub struct Context<'a> {
    /// What is connected.
    pub inputs: &'a Inputs,
    /// The task's own coordinates.
    pub coordinates: &'a Coordinates,
    /// Threads it may use.
    pub threads: usize,
    /// Folder that holds a folder per output port, all there and empty at the start.
    pub outputs: &'a Path,
    /// Takes notes.
    pub note: &'a (dyn Fn(Note) + Sync),
}

impl Context<'_> {
    /// The folder to fill for an output port.
    pub fn output(&self, port: &str) -> PathBuf {
        self.outputs.join(port)
    }

    /// Writes one file of an output port.
    pub fn write(&self, port: &str, path: &str, bytes: &[u8]) -> Result<()> {
        let place = self.output(port).join(path);
        if let Some(folder) = place.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make a folder for output `{port}`"))?;
        }
        #[expect(clippy::disallowed_methods, reason = "outputs are written to scratch; the engine publishes them whole")]
        std::fs::write(&place, bytes).with_context(|| {
            let shown = if self.inputs.identified() { "a file" } else { path };
            format!("cannot write {shown} of output `{port}`")
        })
    }

    /// Shows how far the work is.
    pub fn progress(&self, done: u64, of: u64, text: impl Into<String>) {
        (self.note)(Note::Progress { done, of, text: text.into() });
    }

    /// Warns.
    pub fn warn(&self, text: impl Into<String>) {
        (self.note)(Note::Warning(text.into()));
    }
}
