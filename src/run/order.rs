//! Work orders: a task made concrete enough for `tomograph-torch`, and the lines it answers with.
//!
//! The order is one JSON file; the child is started as `tomograph-torch work ORDER`, writes only the two folders named in
//! it, prints one [`Reply`] per line on standard output, and ends when its standard input closes.

use crate::stage::{Coordinates, Each, Inputs, Item, Note};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Raised when the order or the replies change shape.
pub const VERSION: u32 = 4;

/// Names this build: both programs must have the same one.
pub const BUILD: &str = env!("TOMOGRAPH_BUILD");

/// A task for another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkOrder {
    /// [`VERSION`].
    pub version: u32,
    /// [`BUILD`] of the engine.
    pub build: String,
    /// The task as people write it, for messages only.
    pub task: String,
    /// Kind and its revision.
    pub kind: String,
    pub revision: u32,
    /// Every param, as [`crate::stage::Configured::params`] gives them.
    pub params: serde_json::Value,
    /// Parts by port; `place` of each file can be read.
    pub inputs: Inputs,
    /// The task's own coordinates.
    pub coordinates: Coordinates,
    /// Holds an empty folder per output port.
    pub outputs: PathBuf,
    /// Kept under the task's key until it succeeds: state to resume from.
    pub state: PathBuf,
    /// Seconds between two writes of the state.
    pub state_every: f64,
    /// Threads of the whole process.
    pub threads: usize,
    /// `cpu`, or `cuda:0` (the child sees only its own device).
    pub device: String,
    /// Of a kind that works item by item: those to treat.
    pub missing: Option<Missing>,
}

/// Items that nobody has treated before.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    pub items: Vec<Item>,
    /// An empty file that takes the bytes of the files that items give, one after another.
    pub bytes: PathBuf,
}

/// A line of the child's standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The order is read, and the work begins.
    Ready,
    Note(Note),
    /// An item is treated.
    Item {
        /// Its place in [`Missing::items`].
        at: usize,
        each: Each,
        /// The files of its rows.
        files: Vec<Sent>,
    },
    /// Every output is written, or every item told of.
    Done,
    /// The task failed, with the whole chain of causes on one line.
    Failed {
        message: String,
        /// Memory of the device or the machine did not suffice.
        oom: bool,
    },
}

/// A file that an item gave: a stretch of [`Missing::bytes`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// Which of the item's rows it belongs to.
    pub row: usize,
    /// Its path in the output's folder.
    pub path: String,
    /// Where its bytes begin, and how many there are.
    pub from: u64,
    pub size: u64,
}
