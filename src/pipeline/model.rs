//! What a checked pipeline is: sources and tasks with every axis, reference and placeholder resolved.

use crate::few::Few;
use crate::stage::{Artifact, Configured, Coordinates, Kind, Needs, Role, write_coordinates};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A checked pipeline.
pub struct Pipeline {
    /// `pipeline.name`.
    pub name: String,
    /// `pipeline.about`, in no key.
    pub about: BTreeMap<String, String>,
    /// Every cell of every source.
    pub sources: Vec<Source>,
    /// Every cell of every stage, in an order in which each follows what it needs.
    pub tasks: Vec<Task>,
    /// The globs that commands name as their code, as written.
    pub code: Vec<Code>,
    /// Every path that is published.
    pub published: Vec<Published>,
    /// The pipelines that sources are taken from, by path relative to the project root.
    pub others: BTreeMap<String, Self>,
}

/// A glob of the files that are a command's code.
pub struct Code {
    pub stage: String,
    pub glob: String,
    /// Where it is written, in the pipeline's texts.
    pub span: Range<usize>,
}

/// A published path, placeholders replaced.
pub struct Published {
    /// The task as people write it.
    pub task: String,
    pub stage: String,
    /// Relative to the project root.
    pub path: String,
    /// Where it is written, in the pipeline's texts.
    pub span: Range<usize>,
}

/// Position in [`Pipeline::sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub usize);

/// Position in [`Pipeline::tasks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub usize);

/// One cell of a source: files outside the store.
#[derive(Clone, Debug)]
pub struct Source {
    pub name: String,
    pub cell: Arc<Coordinates>,
    /// A file, a folder or a glob, relative to the project root, placeholders replaced. Empty for what is taken.
    pub path: String,
    /// Where the path is written, in the pipeline's texts.
    pub span: Range<usize>,
    /// What it takes from another pipeline, instead of files at a path.
    pub taken: Option<Box<Taken>>,
    /// Whether it holds people's data; of what is taken, whether it may.
    pub phi: bool,
    /// May be absent; what it feeds then counts as unconnected.
    pub optional: bool,
    /// `files` unless `type` says otherwise.
    pub artifact: Artifact,
}

impl Source {
    /// `imagenet[backbone=vgg16]`.
    pub fn title(&self) -> String {
        title(&self.name, &self.cell)
    }
}

/// An output of another pipeline's task: what the last successful run of that task left.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The other pipeline, as a path relative to the project root.
    pub pipeline: String,
    /// Its name in the store; `cli` fills it in, which knows the project.
    pub id: String,
    /// The task as people write it.
    pub task: String,
    pub port: String,
}

impl Taken {
    /// `train.model[seed=1] of pretrain.toml`.
    pub fn title(&self) -> String {
        let (stage, cell) =
            self.task.split_once('[').map_or((self.task.as_str(), String::new()), |(stage, cell)| (stage, format!("[{cell}")));
        format!("{stage}.{}{cell} of {}", self.port, self.pipeline)
    }

    /// The command that makes it.
    pub fn remedy(&self) -> String {
        format!("tomograph run {} --only '{}'", self.pipeline, self.task)
    }
}

/// One stage at one cell.
pub struct Task {
    pub stage: String,
    pub cell: Arc<Coordinates>,
    pub action: Action,
    /// Input port → parts, sorted by coordinates. Unread ports are not here.
    pub inputs: Few<String, Vec<Edge>>,
    /// Output ports, the main one first.
    pub outputs: Arc<[Output]>,
    /// Whether it acts on the world: it runs only when asked to.
    pub effect: bool,
    pub needs: Needs,
    pub policy: Arc<Policy>,
    /// Output port → path relative to the project root, placeholders replaced.
    pub publish: BTreeMap<String, String>,
}

impl Task {
    /// `train[backbone=vgg16,seed=1]`.
    pub fn title(&self) -> String {
        title(&self.stage, &self.cell)
    }

    /// The kind that puts nothing into this output under the task's params, if it is one.
    pub(crate) fn kind_that_leaves_empty(&self, output: &str) -> Option<&'static str> {
        match &self.action {
            Action::Kind { kind, params } => params.unfilled().contains(&output).then_some(kind.name),
            Action::Command(_) => None,
        }
    }
}

fn title(name: &str, cell: &Coordinates) -> String {
    let mut title = String::with_capacity(name.len() + 2 + 24 * cell.len());
    title.push_str(name);
    if !cell.is_empty() {
        title.push('[');
        write_coordinates(cell, &mut title);
        title.push(']');
    }
    title
}

/// What a task does.
pub enum Action {
    Kind { kind: &'static Kind, params: Arc<dyn Configured> },
    Command(Arc<Command>),
}

/// A program to start instead of a kind.
#[derive(Clone, Debug)]
pub struct Command {
    /// Arguments, the program first; each a list of pieces to be joined.
    pub argv: Vec<Vec<Piece>>,
    /// The stage's params, placeholders replaced; in the key.
    pub params: serde_json::Value,
    /// The input port whose items it treats one by one.
    pub map: Option<String>,
    /// Environment of the program; in the key.
    pub env: BTreeMap<String, String>,
    /// Globs of the files that are its code, relative to the project root; their digests are in the key.
    pub code: Vec<String>,
}

/// A piece of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// `{inputs.PORT}`: a folder, or the file itself where the artifact is one file.
    Input(String),
    /// `{outputs.PORT}`: the folder to fill, or the file to write where the artifact is one file.
    Output(String),
    ParamsFile,
    Device,
    Threads,
    State,
}

/// An argument as it was written, placeholders and all.
pub fn show_pieces(pieces: &[Piece]) -> String {
    let show = |piece: &Piece| match piece {
        Piece::Text(text) => text.replace('{', "{{").replace('}', "}}"),
        Piece::Input(port) => format!("{{inputs.{port}}}"),
        Piece::Output(port) => format!("{{outputs.{port}}}"),
        Piece::ParamsFile => "{params_file}".to_owned(),
        Piece::Device => "{device}".to_owned(),
        Piece::Threads => "{threads}".to_owned(),
        Piece::State => "{state}".to_owned(),
    };
    pieces.iter().map(show).collect()
}

/// An output port of a task.
#[derive(Clone, Debug)]
pub struct Output {
    pub port: String,
    pub artifact: Artifact,
    /// Of arrays, where it is known before anything runs.
    pub role: Option<Role>,
}

/// One part that arrives on a port.
#[derive(Clone, Debug)]
pub struct Edge {
    pub origin: Origin,
    /// Where the part stands in a gather: the gathered axes, and `from` for a label. Empty on a port that takes one.
    pub coordinates: Arc<Coordinates>,
    /// Whether a chosen list (`models`) arrives where one is taken: the task then does one part at a time.
    pub chosen: bool,
}

/// Where a part comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A source, or one file or folder inside it.
    Source { source: SourceId, inside: Option<String> },
    /// An output port of a task.
    Task { task: TaskId, port: String },
}

/// A cause of failure that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// A signal ended the process: `kill`, or the kernel when the machine's memory ran out.
    Signal,
    /// The memory of the device or the machine did not suffice.
    Oom,
    /// A program ended with another exit code than 0.
    Exit,
}

/// What decides how a task is tried; never in a key.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Further tries after a failure for one of these causes.
    pub retries: u32,
    pub retry_on: Vec<Cause>,
    /// Seconds after which the task is ended.
    pub timeout: Option<f64>,
    /// How many items may be in quarantine before the task fails; none unless set.
    pub max_quarantine: Quarantine,
    /// Environment variables a command also gets; not in the key.
    pub env: Vec<String>,
}

/// A bound on quarantined items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quarantine {
    Count(u64),
    /// Of the items, 0 to 100.
    Percent(f64),
}

impl Default for Quarantine {
    fn default() -> Self {
        Self::Count(0)
    }
}
