//! Cohorts: which images of which patients with which label, and who trains on what.
//!
//! Works on tables; knows nothing of stages or files.

mod label;
mod split;

pub use label::{By, Labelled, Labelling, label};
pub use split::{Fractions, Placed, SETS, place, proof};

use crate::table::Table;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;

/// Row numbers by value of a column, of rows that have one.
fn rows_by(table: &Table, column: usize) -> BTreeMap<&str, Vec<usize>> {
    let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, row) in table.rows.iter().enumerate() {
        if !row[column].is_empty() {
            rows.entry(row[column].as_str()).or_default().push(number);
        }
    }
    rows
}

/// Fails where two rows have the same item, or a row has none.
fn each_item_once(table: &Table, what: &str) -> Result<usize> {
    let at = table.column("item")?;
    for (number, row) in table.rows.iter().enumerate() {
        ensure!(!row[at].is_empty(), "row {} of {what} has no item", number + 1);
    }
    table.index_by("item").map_err(|error| error.context(what.to_owned()))?;
    Ok(at)
}
