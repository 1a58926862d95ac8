//! Tables of results: runs with their metrics, and mean and standard deviation over repetitions.
//!
//! Knows nothing of stages or files; the layouts are in `render` (a run a row) and `paper` (a network a row, seeds beside each other).

pub mod curves;
pub mod flow;
pub mod forest;
pub mod page;
mod paper;
mod predictions;
mod remark;
mod render;
pub mod svg;
pub mod tables;
pub mod tensorboard;
pub mod views;

pub use paper::{Grid, grids};
pub use predictions::Predictions;
pub use remark::{Remark, TestData, against_controls, failures, met_before, selected_on_test};
pub use render::{csv, latex, markdown};

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The metrics of one evaluation, as `metrics.json` has them.
#[derive(Clone, Debug, Deserialize)]
pub struct Metrics {
    /// The rows they were measured on: train, validation, test or all.
    pub role: String,
    /// How many rows.
    pub n: u64,
    pub metrics: Vec<Metric>,
    /// `test` where test images picked the model.
    #[serde(default)]
    pub selected_on: Option<String>,
    /// The same at other thresholds, of patients and of subgroups.
    #[serde(default)]
    pub views: Vec<views::View>,
    /// Whether nothing of them may be shown.
    #[serde(skip)]
    pub withheld: bool,
}

/// One figure.
#[derive(Clone, Debug, Deserialize)]
pub struct Metric {
    pub name: String,
    /// None where it is undefined, such as the AUC of one class.
    #[serde(default)]
    pub value: Option<f64>,
    /// Rows it rests on, where they are fewer than all.
    #[serde(default)]
    pub n: Option<u64>,
    /// Ends of the 95 % interval.
    #[serde(default)]
    pub low: Option<f64>,
    #[serde(default)]
    pub high: Option<f64>,
}

/// One cell of a sweep: its coordinates as text, and its metrics or the class of its failure.
#[derive(Clone, Debug)]
pub struct Run {
    pub coordinates: Place,
    pub outcome: Result<Metrics, String>,
}

/// What a figure's place in the table shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A value with its interval.
    Value { value: f64, interval: Option<(f64, f64)> },
    /// Mean and sample standard deviation; no deviation of one value.
    Mean { mean: f64, sd: Option<f64> },
    /// Not measured, or undefined.
    Missing,
    /// Rests on too few rows to be shown.
    Hidden,
}

/// A row: a run, or the mean of a group of runs.
#[derive(Clone, Debug)]
pub struct Row {
    /// One value per axis of [`Report::axes`]; the averaged ones are empty in a mean.
    pub place: Vec<String>,
    pub role: String,
    /// Rows measured, in a run; none where it failed or there are too few to be told.
    pub n: Option<u64>,
    /// Whether it is of too few to show anything, or would tell of such.
    pub withheld: bool,
    /// How many runs: 1, or those that a mean is of.
    pub runs: usize,
    /// One per metric.
    pub cells: Vec<Cell>,
    /// Why there are no figures.
    pub failed: Option<String>,
    /// Whether it was run to see how far one comes without what counts.
    pub control: bool,
    /// Whether others are held against it: the chosen one of its place.
    pub reference: bool,
    /// The figure that marks the best, less that of the reference.
    pub difference: Option<f64>,
}

/// Coordinates, or some of them, as text.
pub type Place = BTreeMap<String, String>;

/// Runs that differ only in the averaged axes, and their mean.
#[derive(Clone, Debug)]
pub struct Group {
    pub runs: Vec<Row>,
    pub mean: Option<Row>,
}

/// A table of runs, ready to be laid out.
#[derive(Clone, Debug)]
pub struct Report {
    /// Axes by name, those of views after the others, those that are averaged last.
    pub axes: Vec<String>,
    /// How many of `axes`, at the end, are averaged.
    pub averaged: usize,
    pub metrics: Vec<String>,
    /// In the order of their first run.
    pub groups: Vec<Group>,
    /// Counts below this are not shown.
    pub min_count: u64,
    /// Position in `metrics` of the figure that marks the best and is held against the reference and the controls.
    pub by: usize,
}

/// Figures of which less is better.
const LESS_IS_BETTER: [&str; 4] = ["brier", "ece", "expected_calibration_error", "loss"];

impl Report {
    /// Arranges runs: `over` are the axes to average, `metrics` the figures in order. Figures that rest on fewer than `min_count` rows are
    /// hidden; 0 hides none.
    pub fn new(runs: &[Run], metrics: &[String], over: &[String], min_count: u64) -> Self {
        let known: BTreeSet<&String> = runs.iter().flat_map(|run| run.coordinates.keys()).collect();
        let (averaged, mut kept): (Vec<&String>, Vec<&String>) = known.into_iter().partition(|axis| over.contains(axis));
        // What a view is of stands beside its figures.
        kept.sort_by_key(|axis| views::AXES.iter().position(|own| own == axis));
        let axes: Vec<String> = kept.iter().chain(&averaged).map(|axis| (*axis).clone()).collect();
        let mut order: Vec<(Vec<String>, Vec<Row>)> = Vec::new();
        for run in runs {
            let row = Row::of(run, &axes, metrics, min_count);
            let mut key = row.place[..kept.len()].to_vec();
            // A failed run has no role: it stands with the runs of its place, whatever they were measured on.
            if let Ok(metrics) = &run.outcome {
                key.push(metrics.role.clone());
            }
            match order.iter_mut().find(|(other, _)| other.starts_with(&key) || key.starts_with(other)) {
                Some((other, rows)) => {
                    if key.len() > other.len() {
                        *other = key;
                    }
                    rows.push(row);
                }
                None => order.push((key, vec![row])),
            }
        }
        let groups = order.into_iter().map(|(_, runs)| {
            let mean = if averaged.is_empty() { None } else { Some(mean(&runs, kept.len())) };
            Group { runs, mean }
        });
        Self { groups: groups.collect(), averaged: averaged.len(), axes, metrics: metrics.to_vec(), min_count, by: 0 }
    }

    /// The figure that marks the best; the first where nobody has it.
    pub fn by(mut self, name: &str) -> Self {
        self.by = self.metrics.iter().position(|metric| metric == name).unwrap_or(0);
        self
    }

    /// Marks runs as controls: those with one of these values on one of these axes.
    pub fn with_controls(mut self, controls: &BTreeMap<String, Vec<String>>) -> Self {
        let axes = self.axes.clone();
        self.rows_mut(|row| {
            let pairs = axes.iter().zip(&row.place);
            row.control = pairs.into_iter().any(|(axis, value)| controls.get(axis).is_some_and(|values| values.contains(value)));
        });
        self
    }

    /// Marks the runs at these places as references, and holds every run against the one that differs from it on axis `free` alone.
    pub fn with_references(mut self, places: &[Place], free: &str) -> Self {
        let (axes, by) = (self.axes.clone(), self.by);
        let free = axes.iter().position(|axis| axis == free);
        let is_at = |row: &Row, place: &Place| {
            place.iter().all(|(axis, value)| axes.iter().position(|one| one == axis).is_none_or(|at| row.place[at] == *value))
        };
        let mut found: Vec<(Vec<String>, String, f64)> = Vec::new();
        let rest = |row: &Row| -> Vec<String> {
            row.place.iter().enumerate().filter(|(at, _)| Some(*at) != free).map(|(_, value)| value.clone()).collect()
        };
        self.rows_mut(|row| {
            row.reference = row.failed.is_none() && !row.control && places.iter().any(|place| is_at(row, place));
            if let (true, Some(Cell::Value { value, .. })) = (row.reference, row.cells.get(by)) {
                found.push((rest(row), row.role.clone(), *value));
            }
        });
        self.rows_mut(|row| {
            let reference = found.iter().find(|(place, role, _)| *place == rest(row) && *role == row.role);
            if let (false, Some((.., reference)), Some(Cell::Value { value, .. })) = (row.reference, reference, row.cells.get(by)) {
                row.difference = Some(value - reference);
            }
        });
        self
    }

    fn rows_mut(&mut self, change: impl FnMut(&mut Row)) {
        self.groups.iter_mut().flat_map(|group| &mut group.runs).for_each(change);
    }

    /// Every run, without the means.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.groups.iter().flat_map(|group| &group.runs)
    }

    /// The name of the figure that marks the best.
    pub fn by_name(&self) -> &str {
        self.metrics.get(self.by).map_or("", String::as_str)
    }

    /// Whether less of that figure is better.
    pub fn less_is_better(&self) -> bool {
        LESS_IS_BETTER.contains(&self.by_name())
    }

    /// Whether anything is held against a reference.
    pub fn has_references(&self) -> bool {
        self.rows().any(|row| row.reference)
    }

    /// The role that all runs share, if they do.
    pub fn role(&self) -> Option<&str> {
        let mut roles = self.groups.iter().flat_map(|group| &group.runs).filter(|run| run.failed.is_none()).map(|run| run.role.as_str());
        let first = roles.next()?;
        roles.all(|role| role == first).then_some(first)
    }
}

impl Row {
    fn blank() -> Self {
        Self {
            place: Vec::new(),
            role: String::new(),
            n: None,
            withheld: false,
            runs: 0,
            cells: Vec::new(),
            failed: None,
            control: false,
            reference: false,
            difference: None,
        }
    }

    fn of(run: &Run, axes: &[String], metrics: &[String], min_count: u64) -> Self {
        let place = axes.iter().map(|axis| run.coordinates.get(axis).cloned().unwrap_or_default()).collect();
        match &run.outcome {
            Ok(found) => {
                let cell = |name: &String| cell(found, name, min_count);
                let n = Some(found.n).filter(|n| *n >= min_count && !found.withheld);
                Self {
                    withheld: found.withheld,
                    place,
                    role: found.role.clone(),
                    n,
                    runs: 1,
                    cells: metrics.iter().map(cell).collect(),
                    failed: None,
                    ..Self::blank()
                }
            }
            Err(class) => {
                let cells = vec![Cell::Missing; metrics.len()];
                Self { place, role: String::new(), n: None, runs: 0, cells, failed: Some(class.clone()), ..Self::blank() }
            }
        }
    }
}

fn cell(found: &Metrics, name: &str, min_count: u64) -> Cell {
    if found.withheld {
        return Cell::Hidden;
    }
    let Some(metric) = found.metrics.iter().find(|metric| metric.name == name) else { return Cell::Missing };
    match metric.value {
        _ if metric.n.unwrap_or(found.n) < min_count => Cell::Hidden,
        Some(value) => Cell::Value { value, interval: metric.low.zip(metric.high) },
        None => Cell::Missing,
    }
}

/// Mean and sample standard deviation over the runs that did not fail.
fn mean(runs: &[Row], kept: usize) -> Row {
    let good: Vec<&Row> = runs.iter().filter(|run| run.failed.is_none()).collect();
    let cell = |at: usize| {
        if good.iter().any(|run| run.cells[at] == Cell::Hidden) {
            return Cell::Hidden;
        }
        let values: Vec<f64> =
            good.iter().filter_map(|run| if let Cell::Value { value, .. } = run.cells[at] { Some(value) } else { None }).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        match values.len() {
            0 => Cell::Missing,
            1 => Cell::Mean { mean, sd: None },
            _ => Cell::Mean { mean, sd: Some((squares / (count - 1.0)).sqrt()) },
        }
    };
    let place = runs[0].place.iter().enumerate().map(|(at, value)| if at < kept { value.clone() } else { String::new() }).collect();
    Row {
        place,
        role: good.first().map(|run| run.role.clone()).unwrap_or_default(),
        n: None,
        runs: good.len(),
        cells: (0..runs[0].cells.len()).map(cell).collect(),
        ..Row::blank()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn run(place: &[(&str, &str)], auc: Option<f64>) -> Run {
        let metrics = Metrics {
            role: "test".to_owned(),
            n: 87,
            metrics: vec![
                Metric { name: "auc".to_owned(), value: auc, n: None, low: auc.map(|auc| auc - 0.1), high: auc.map(|auc| auc + 0.05) },
                Metric { name: "recall".to_owned(), value: Some(0.5), n: Some(4), low: None, high: None },
            ],
            selected_on: None,
            views: Vec::new(),
            withheld: false,
        };
        let coordinates = place.iter().map(|(axis, value)| ((*axis).to_owned(), (*value).to_owned())).collect();
        Run { coordinates, outcome: Ok(metrics) }
    }

    pub(super) fn runs() -> Vec<Run> {
        let mut failed = run(&[("backbone", "vgg_16"), ("seed", "2")], None);
        failed.outcome = Err("memory".to_owned());
        vec![
            run(&[("backbone", "mobilenet"), ("seed", "1")], Some(0.9)),
            run(&[("backbone", "mobilenet"), ("seed", "2")], Some(0.8)),
            run(&[("backbone", "vgg_16"), ("seed", "1")], Some(0.7)),
            failed,
        ]
    }

    pub(super) fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn means_are_taken_over_the_runs_that_ended() {
        let report = Report::new(&runs(), &names(&["auc", "recall"]), &names(&["seed"]), 0);
        assert_eq!((report.axes.join(" "), report.averaged, report.groups.len()), ("backbone seed".to_owned(), 1, 2));
        let means: Vec<&Row> = report.groups.iter().filter_map(|group| group.mean.as_ref()).collect();
        let Cell::Mean { mean, sd: Some(sd) } = means[0].cells[0] else { panic!("{:?}", means[0].cells) };
        assert!((mean - 0.85).abs() < 1e-12 && (sd - 0.005f64.sqrt()).abs() < 1e-12);
        assert_eq!((means[1].runs, &means[1].cells[0]), (1, &Cell::Mean { mean: 0.7, sd: None }));
    }

    #[test]
    fn runs_are_held_against_the_chosen_one_of_their_place() {
        let chosen = Place::from([("backbone".to_owned(), "mobilenet".to_owned())]);
        let report =
            Report::new(&runs(), &names(&["recall", "auc"]), &names(&["seed"]), 0).by("auc").with_references(&[chosen], "backbone");
        let told: Vec<(bool, Option<i64>)> =
            report.rows().map(|row| (row.reference, row.difference.map(|one| (one * 100.0).round() as i64))).collect();
        assert_eq!(told, [(true, None), (true, None), (false, Some(-20)), (false, None)]);
    }

    #[test]
    fn figures_of_few_rows_are_hidden_where_asked() {
        let report = Report::new(&runs(), &names(&["recall"]), &[], 5);
        assert!(report.groups.iter().all(|group| group.mean.is_none()));
        assert_eq!(report.groups[0].runs[0].cells, [Cell::Hidden]);
    }
}
