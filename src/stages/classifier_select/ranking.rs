//! Who wins a contest. Knows nothing of models or files.

use crate::stage::{Coordinates, Value};
use anyhow::{Result, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// A run that may be chosen.
pub(super) struct Candidate {
    pub(super) coordinates: Coordinates,
    /// Else the class of its failure.
    pub(super) figure: Result<f64, String>,
}

/// A contest.
pub(super) struct Ranked {
    /// Where: the axes that neither compete nor are averaged.
    pub(super) at: Coordinates,
    /// The best first, then those that take no part.
    pub(super) rows: Vec<Row>,
    /// Value of the axis, and the places of its runs, the best first.
    pub(super) chosen: Vec<(String, Vec<usize>)>,
}

/// A value of the axis.
pub(super) struct Row {
    pub(super) value: String,
    /// Mean over its runs; none where one is missing.
    pub(super) figure: Option<f64>,
    /// Runs with a figure.
    pub(super) runs: usize,
    /// From 1.
    pub(super) rank: Option<usize>,
    pub(super) failed: Option<String>,
}

/// The contests, sorted by where they are.
pub(super) fn rank(candidates: &[Candidate], axis: &str, average: &[String], best: usize, higher: bool) -> Result<Vec<Ranked>> {
    let axes: BTreeSet<&String> = candidates.iter().flat_map(|one| one.coordinates.keys()).collect();
    for (param, name) in std::iter::once(("axis", axis)).chain(average.iter().map(|name| ("average", name.as_str()))) {
        let list: Vec<&str> = axes.iter().map(|axis| axis.as_str()).collect();
        ensure!(list.contains(&name), "param `{param}`: the models have no axis `{name}`; there are {}", list.join(", "));
    }
    let mut contests: BTreeMap<Coordinates, BTreeMap<&Value, Vec<usize>>> = BTreeMap::new();
    for (place, one) in candidates.iter().enumerate() {
        let mut at = one.coordinates.clone();
        at.retain(|name, _| name != axis && !average.contains(name));
        contests.entry(at).or_default().entry(&one.coordinates[axis]).or_default().push(place);
    }
    let contest = |(at, values): (Coordinates, BTreeMap<&Value, Vec<usize>>)| {
        // A value that some of the averaged runs lack would be compared on fewer.
        let most = values.values().map(Vec::len).max().unwrap_or_default();
        let mut rows: Vec<(Row, Vec<usize>)> =
            values.into_iter().map(|(value, runs)| (row(candidates, value, &runs, most), runs)).collect();
        rows.sort_by(|(a, _), (b, _)| {
            let (x, y) = (a.figure.unwrap_or_default(), b.figure.unwrap_or_default());
            let better = if higher { y.total_cmp(&x) } else { x.total_cmp(&y) };
            a.figure.is_none().cmp(&b.figure.is_none()).then(better).then_with(|| a.value.cmp(&b.value))
        });
        let mut chosen = Vec::new();
        for (place, (row, runs)) in rows.iter_mut().enumerate().filter(|(_, (row, _))| row.figure.is_some()) {
            row.rank = Some(place + 1);
            if place < best {
                chosen.push((row.value.clone(), runs.clone()));
            }
        }
        Ranked { at, rows: rows.into_iter().map(|(row, _)| row).collect(), chosen }
    };
    Ok(contests.into_iter().map(contest).collect())
}

fn row(candidates: &[Candidate], value: &Value, runs: &[usize], most: usize) -> Row {
    let figures: Vec<f64> = runs.iter().filter_map(|place| candidates[*place].figure.as_ref().ok().copied()).collect();
    let missing = runs.len() < most;
    let failed = runs.iter().find_map(|place| candidates[*place].figure.as_ref().err().cloned());
    let failed = failed.or_else(|| missing.then(|| "missing".to_owned()));
    let figure = failed.is_none().then(|| figures.iter().sum::<f64>() / figures.len().max(1) as f64);
    Row { value: value.to_string(), figure, runs: figures.len(), rank: None, failed }
}
