//! TOML texts → a checked pipeline: every task and every source cell, typed and joined.
//!
//! Reads no file and knows no store: `cli` hands it the texts and the registry of kinds.

mod model;

pub use model::{Action, Command, Edge, Origin, Output, Piece, Pipeline, Policy, Quarantine, Source, SourceId, Task, TaskId, show_pieces};
