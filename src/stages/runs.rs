//! What `report.*` read: runs with their metrics, validation figures, and what validation chose.

use crate::report::{Metric, Metrics, Place, Predictions, Remark, Run, TestData};
use crate::stage::{Part, show_coordinates};
use crate::stats::{Confusion, auc};
use crate::table::Table;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;

/// Axis → values that make a run a control, as they are printed.
pub(super) type Controls = BTreeMap<String, Vec<String>>;

/// What `images.mask` leaves where a classifier must not succeed, and anything labelled so.
pub(super) fn controls() -> Controls {
    let texts = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
    BTreeMap::from([("from".to_owned(), texts(&["control"])), ("region".to_owned(), texts(&["outside", "frame"]))])
}

/// The coordinates of a part as text.
pub(super) fn place(part: &Part) -> Place {
    part.coordinates.iter().map(|(axis, value)| (axis.clone(), value.to_string())).collect()
}

/// The run of a part; the runs of a chosen list, which has a folder per part beside `parts.tsv`.
pub(super) fn measured(part: &Part) -> Result<Vec<Run>> {
    let coordinates = place(part);
    if let Some(class) = &part.hole {
        return Ok(vec![Run { coordinates, outcome: Err(class.clone()) }]);
    }
    let metrics = |path: &str| -> Result<Metrics> {
        let metrics = part.tree.read(path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        metrics.with_context(|| format!("the metrics of [{}]", show_coordinates(&part.coordinates)))
    };
    if !part.tree.files.contains_key("parts.tsv") {
        return Ok(vec![Run { coordinates, outcome: Ok(metrics("metrics.json")?) }]);
    }
    let list = Table::from_tsv(&part.tree.read("parts.tsv")?)?;
    let at_part = list.column("part")?;
    let run = |row: &Vec<String>| {
        let mut coordinates = coordinates.clone();
        let own = list.columns.iter().zip(row).filter(|(column, _)| *column != "part");
        coordinates.extend(own.map(|(column, value)| (column.clone(), value.clone())));
        Ok(Run { coordinates, outcome: Ok(metrics(&format!("{}/metrics.json", row[at_part]))?) })
    };
    list.rows.iter().map(run).collect()
}

/// The predictions of a part, each with its coordinates; none of labels that may hold together.
pub(super) fn predicted(part: &Part) -> Result<Vec<(Place, Predictions)>> {
    let table = part.table().and_then(|table| Predictions::of(&table));
    let found = table.with_context(|| format!("the predictions of [{}]", show_coordinates(&part.coordinates)))?;
    let with = |(own, predictions): (Place, Predictions)| (place(part).into_iter().chain(own).collect(), predictions);
    Ok(found.unwrap_or_default().into_iter().map(with).collect())
}

/// Validation figures of a part with predictions.
pub(super) fn validated(part: &Part) -> Result<Vec<Run>> {
    if let Some(class) = &part.hole {
        return Ok(vec![Run { coordinates: place(part), outcome: Err(class.clone()) }]);
    }
    let run = |(coordinates, predictions): (Place, Predictions)| Run { coordinates, outcome: Ok(figures(&predictions)) };
    Ok(predicted(part)?.into_iter().map(run).collect())
}

/// The figures that `classifier.evaluate` gives, at the likelier class and without intervals.
fn figures(predictions: &Predictions) -> Metrics {
    let (classes, n) = (predictions.classes.len(), predictions.truth.len());
    let confusion = Confusion::of(classes, predictions.truth.iter().enumerate().map(|(row, truth)| (*truth, predictions.decision(row))));
    let of_class = |class: usize| {
        let (scores, positive) = predictions.of_class(class);
        auc(&scores, &positive)
    };
    let area = match classes {
        2 => of_class(1),
        _ => (0..classes).map(of_class).sum::<Option<f64>>().map(|sum| sum / classes as f64),
    };
    let named = [
        ("accuracy", confusion.accuracy()),
        ("precision", confusion.precision()),
        ("recall", confusion.recall()),
        ("f1", confusion.f1()),
        ("sensitivity", confusion.sensitivity()),
        ("specificity", confusion.specificity()),
        ("auc", area),
    ];
    let metric = |(name, value): (&str, Option<f64>)| Metric { name: name.to_owned(), value, n: None, low: None, high: None };
    Metrics {
        role: "validation".to_owned(),
        n: n as u64,
        metrics: named.into_iter().map(metric).collect(),
        selected_on: None,
        views: Vec::new(),
        withheld: false,
    }
}

/// What port `ledger` says.
pub(super) fn test_data(part: Option<&Part>) -> Result<Vec<TestData>> {
    let Some(part) = part else { return Ok(Vec::new()) };
    let table = part.table().context("the ledger")?;
    let (models, here) = (table.column("models")?, table.column("here")?);
    table.rows.iter().map(|row| Ok(TestData { models: row[models].parse()?, here: row[here].parse()? })).collect()
}

/// A row of a table of choices.
pub(super) struct Ranked {
    /// Its coordinates: those of the part, and the columns that are axes.
    pub(super) place: Place,
    /// 1 is the best: as column `rank` says, else the number of the row among those that count. None where it took no part.
    pub(super) rank: Option<usize>,
    /// `yes` or 1 in column `chosen`, where there is one.
    pub(super) counts: bool,
}

/// What port `choice` says of those that it chose from, and a warning where it was test data that chose. Columns that are no axis do not
/// matter.
pub(super) fn ranked(parts: &[Part], is_axis: &dyn Fn(&str) -> bool) -> Result<(Vec<Ranked>, Option<Remark>)> {
    let (mut found, mut remark) = (Vec::new(), None);
    for part in parts.iter().filter(|part| part.hole.is_none()) {
        let table = part.table().with_context(|| format!("the choice of [{}]", show_coordinates(&part.coordinates)))?;
        let (rank, counts) = (table.position("rank"), table.position("chosen"));
        let on_test = |at: usize| table.rows.iter().any(|row| row[at] == "test");
        if table.position("selected_on").is_some_and(on_test) {
            remark = Some(Remark::warning("what is called chosen is selected on test: the images that it is measured on chose it"));
        }
        let mut number = 0;
        for row in &table.rows {
            let counts = counts.is_none_or(|at| ["yes", "1", "true"].contains(&row[at].as_str()));
            number += usize::from(counts);
            let own = table.columns.iter().zip(row).filter(|(column, _)| is_axis(column));
            let place = place(part).into_iter().chain(own.map(|(column, value)| (column.clone(), value.clone()))).collect();
            found.push(Ranked { place, rank: rank.map_or(Some(number), |at| row[at].parse().ok()), counts });
        }
    }
    Ok((found, remark))
}

/// The best of what validation chose, and a warning where it was test data that chose.
pub(super) fn chosen(parts: &[Part], runs: &[Run]) -> Result<(Vec<Place>, Option<Remark>)> {
    let (ranked, remark) = ranked(parts, &|column| runs.iter().any(|run| run.coordinates.contains_key(column)))?;
    Ok((ranked.into_iter().filter(|one| one.counts && one.rank == Some(1)).map(|one| one.place).collect(), remark))
}
