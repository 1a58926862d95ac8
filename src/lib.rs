//! TOML job graphs for medical-imaging experiments. The map of the code is in `ARCHITECTURE.md`.

pub mod arrays;
pub mod cli;
pub mod cohort;
pub mod content;
mod crash;
pub mod dicom;
pub mod few;
pub mod image;
#[cfg(test)]
mod law;
pub mod mapped;
pub mod npy;
pub mod panics;
pub mod phantom;
pub mod pipeline;
pub mod plan;
pub mod report;
pub mod run;
pub mod stage;
pub mod stages;
pub mod stats;
pub mod store;
pub mod table;
