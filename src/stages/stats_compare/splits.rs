//! What is said of each model over all splits: values, their range and spread, and the corrected test of differences. No intervals: splits
//! of the same patients say little of others.

use super::Choice;
use super::lines::{Corrected, Line, axes, corrected, number, values};
use crate::report::Place;
use crate::stats::{Measured, mean_and_sd, resampled};
use crate::table::Table;
use std::collections::BTreeSet;

/// A figure of a model over all splits.
#[derive(Clone, Debug, Default)]
struct Over {
    place: Place,
    name: String,
    figure: String,
    /// Split and value.
    values: Vec<(String, f64)>,
    /// How it became the one that others are held against; empty where it is not.
    reference: String,
    against: Option<String>,
    differences: Vec<(String, f64)>,
    p: Option<f64>,
    corrected: Corrected,
    note: String,
}

/// All of them.
pub(super) struct Splits(Vec<Over>);

const TEST: &str = "corrected resampled t (Nadeau and Bengio)";

impl Splits {
    /// `test_per_train` is how many patients tested for one that trained.
    pub(super) fn of(lines: &[Line], choice: Option<&Choice>, test_per_train: Option<f64>) -> Self {
        let mut found: Vec<Over> = Vec::new();
        let repeated: Vec<&Line> = lines.iter().filter(|line| !line.split.is_empty() && line.figure.is_some()).collect();
        let mut groups: Vec<(&Place, Measured, Vec<&str>)> = Vec::new();
        for line in &repeated {
            let Some(figure) = line.figure else { continue };
            match groups.iter_mut().find(|(place, other, _)| **place == line.place && *other == figure) {
                Some((.., names)) if names.contains(&line.name.as_str()) => {}
                Some((.., names)) => names.push(&line.name),
                None => groups.push((&line.place, figure, vec![&line.name])),
            }
        }
        for (place, figure, names) in groups {
            let own: Vec<&Line> = repeated.iter().copied().filter(|line| line.place == *place && line.figure == Some(figure)).collect();
            let best = choice.map(|choice| choice.best_over(place));
            for (at, name) in names.iter().enumerate() {
                let hidden = own.iter().any(|line| line.name == *name && line.hidden);
                let alone = Over {
                    place: place.clone(),
                    name: (*name).to_owned(),
                    figure: figure.to_string(),
                    values: if hidden { Vec::new() } else { by_split(&own, name) },
                    reference: choice
                        .filter(|_| best == Some(Some(*name)))
                        .map(|choice| format!("mean {} rank", choice.on))
                        .unwrap_or_default(),
                    note: if hidden { "rests on too few patients to be shown".to_owned() } else { String::new() },
                    ..Over::default()
                };
                let others: Vec<&str> = match best {
                    None => names[..at].to_vec(),
                    Some(best) => best.filter(|best| best != name).into_iter().collect(),
                };
                match others.is_empty() || hidden {
                    true => found.push(alone),
                    false => found.extend(others.into_iter().map(|other| alone.clone().against(other, &own, test_per_train))),
                }
            }
        }
        let figures: BTreeSet<String> = found.iter().map(|one| one.figure.clone()).collect();
        for figure in figures {
            let mut own: Vec<&mut Over> = found.iter_mut().filter(|one| one.figure == figure).collect();
            let held = corrected(&own.iter().map(|one| one.p).collect::<Vec<_>>());
            own.iter_mut().zip(held).for_each(|(one, held)| one.corrected = held);
        }
        Self(found)
    }

    /// A row each.
    pub(super) fn table(&self, axis: &str) -> Table {
        let places = axes(self.0.iter().map(|one| &one.place));
        let fixed = [
            axis,
            "figure",
            "splits",
            "values",
            "lowest",
            "highest",
            "mean",
            "sd",
            "reference",
            "against",
            "differences",
            "mean_difference",
            "sd_of_differences",
            "test",
            "p",
            "p_holm",
            "comparisons",
            "note",
        ];
        let mut table = Table::new(places.iter().map(|axis| axis.as_str()).chain(fixed));
        let list =
            |values: &[(String, f64)]| values.iter().map(|(split, value)| format!("{split}: {value:.6}")).collect::<Vec<_>>().join("; ");
        let spread = |values: &[(String, f64)]| mean_and_sd(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>());
        for one in &self.0 {
            let end = |pick: fn(f64, f64) -> f64| one.values.iter().map(|(_, value)| *value).reduce(pick);
            let (own, differences) = (spread(&one.values), spread(&one.differences));
            let mut row = values(&one.place, &places);
            row.extend([one.name.clone(), one.figure.clone(), one.values.len().to_string(), list(&one.values)]);
            row.extend([end(f64::min), end(f64::max), own.map(|(mean, _)| mean), own.and_then(|(_, sd)| sd)].map(number));
            row.extend([one.reference.clone(), one.against.clone().unwrap_or_default(), list(&one.differences)]);
            row.extend([differences.map(|(mean, _)| mean), differences.and_then(|(_, sd)| sd)].map(number));
            row.push(if one.p.is_some() { TEST } else { "" }.to_owned());
            row.extend([one.p, one.corrected.p].map(number));
            row.push(if one.corrected.tests > 0 { one.corrected.tests.to_string() } else { String::new() });
            row.push(one.note.clone());
            table.rows.push(row);
        }
        table
    }
}

impl Over {
    fn against(mut self, other: &str, lines: &[&Line], test_per_train: Option<f64>) -> Self {
        let others = by_split(lines, other);
        let shared = self.values.iter().filter_map(|(split, value)| {
            let (_, other) = others.iter().find(|(own, _)| own == split)?;
            Some((split.clone(), value - other))
        });
        self.differences = shared.collect();
        let differences: Vec<f64> = self.differences.iter().map(|(_, value)| *value).collect();
        self.p = test_per_train.and_then(|share| resampled(&differences, share));
        self.note = match (differences.len(), test_per_train) {
            (0 | 1, _) => format!("not tested: both are on {} splits", differences.len()),
            (_, None) => "not tested: port `splits` is not connected".to_owned(),
            _ if self.p.is_none() => "not tested: no variance to hold the difference against".to_owned(),
            _ => String::new(),
        };
        self.against = Some(other.to_owned());
        self
    }
}

/// A model's value on each split that has one.
fn by_split(lines: &[&Line], name: &str) -> Vec<(String, f64)> {
    let mut found: Vec<(String, f64)> = Vec::new();
    for line in lines.iter().filter(|line| line.name == name && !line.hidden) {
        let split = line.split.values().cloned().collect::<Vec<_>>().join(" ");
        if let (Some(value), false) = (line.value.value, found.iter().any(|(own, _)| *own == split)) {
            found.push((split, value));
        }
    }
    found
}
