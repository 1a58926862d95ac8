//! What is said of each model on one split: its figures, and what holds it against another.

use super::entrants::{Contest, Panel};
use super::{Choice, StatsCompare, Unit};
use crate::report::Place;
use crate::report::forest::{Forest, Row};
use crate::report::svg::alone;
use crate::stats::{Comparison, Counts, Estimate, Measured, holm};
use crate::table::Table;
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;

/// A figure of a model, and perhaps its difference to another's.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) split: Place,
    pub(super) name: String,
    /// None of a run that failed.
    pub(super) figure: Option<Measured>,
    /// What counts as one.
    counted: String,
    /// None where the run failed or too few patients are behind it.
    counts: Option<Counts>,
    pub(super) hidden: bool,
    pub(super) value: Estimate,
    pub(super) reference: bool,
    pub(super) against: Option<String>,
    pub(super) comparison: Option<Comparison>,
    corrected: Corrected,
    note: String,
    failed: String,
}

/// A p among others.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Corrected {
    pub(super) p: Option<f64>,
    /// How many they are.
    pub(super) tests: usize,
}

/// Lines of all places.
pub(super) struct Lines<'p> {
    params: &'p StatsCompare,
    choice: Option<&'p Choice<'p>>,
    /// Fewer patients than this are not shown.
    least: u64,
    pub(super) lines: Vec<Line>,
    pub(super) warnings: Vec<String>,
}

impl<'p> Lines<'p> {
    pub(super) fn new(params: &'p StatsCompare, choice: Option<&'p Choice<'p>>, least: u64) -> Self {
        Self { params, choice, least, lines: Vec::new(), warnings: Vec::new() }
    }

    /// Compares the models of a contest.
    pub(super) fn add(&mut self, contest: &Contest, thresholds: &[(Place, f64)]) -> Result<()> {
        let at = told(&contest.place, &contest.split);
        let of = |what: String| if at.is_empty() { what } else { format!("[{at}]: {what}") };
        let panel = self.params.panel(contest, thresholds).with_context(|| of("cannot compare".to_owned()))?;
        let there: Vec<&str> = contest.entrants.iter().filter(|one| one.outcome.is_ok()).map(|one| one.name.as_str()).collect();
        let best = self.choice.map(|choice| choice.best(contest)).transpose().with_context(|| of("no reference".to_owned()))?;
        let reference = best.flatten().map(|name| (name.to_owned(), there.iter().position(|one| *one == name)));
        let pairs: Vec<(usize, usize)> = match (&best, &reference) {
            (None, _) => (0..there.len()).flat_map(|later| (0..later).map(move |earlier| (later, earlier))).collect(),
            (_, Some((_, Some(reference)))) => (0..there.len()).filter(|one| one != reference).map(|one| (one, *reference)).collect(),
            _ => Vec::new(),
        };
        let missing = match &reference {
            Some((name, None)) => format!("the reference {name} has no predictions here"),
            None if best.is_some() => "nothing was chosen here".to_owned(),
            _ => String::new(),
        };
        if let (Some((_, None)), false) = (&reference, there.is_empty()) {
            self.warnings.push(of(missing.clone()));
        }
        let line = |name: &str| Line {
            place: contest.place.clone(),
            split: contest.split.clone(),
            name: name.to_owned(),
            note: missing.clone(),
            ..Line::default()
        };
        if let Some(panel) = panel {
            for figure in &self.params.figures {
                let (values, compared) = panel.paired.compare(*figure, &pairs, self.params.draws, self.params.bootstrap_seed);
                let counts = panel.counts(*figure);
                for (model, name) in there.iter().enumerate() {
                    let is_reference = reference.as_ref().is_some_and(|(_, place)| *place == Some(model));
                    let alone = Line {
                        figure: Some(*figure),
                        counted: self.counted(&panel, *figure),
                        counts: Some(counts),
                        value: values[model],
                        reference: is_reference,
                        ..line(name)
                    };
                    let own = pairs.iter().zip(&compared).filter(|((first, _), _)| *first == model);
                    let mut lines: Vec<Line> = own
                        .map(|((_, second), comparison)| Line {
                            against: Some(there[*second].to_owned()),
                            comparison: Some(*comparison),
                            ..alone.clone()
                        })
                        .collect();
                    if lines.is_empty() {
                        lines.push(alone);
                    }
                    self.lines.extend(lines.into_iter().map(|line| line.shown(self.least)));
                }
            }
        }
        let failed = contest.entrants.iter().filter_map(|one| Some((one.name.as_str(), one.outcome.as_ref().err()?)));
        self.lines.extend(failed.map(|(name, class)| Line { failed: class.clone(), note: String::new(), ..line(name) }));
        Ok(())
    }

    /// What counts as one, in a few words.
    fn counted(&self, panel: &Panel, figure: Measured) -> String {
        match (self.params.patient, self.params.unit) {
            _ if !panel.known => "images (patients unknown)".to_owned(),
            (Some(rule), _) => format!("patients, by the {rule} of their images"),
            (None, Unit::Image) => "images as if independent".to_owned(),
            _ if panel.paired.independent() => "patients, one image each".to_owned(),
            _ if figure == Measured::Auc => "images, by patient".to_owned(),
            _ => "patients, by the share of their images".to_owned(),
        }
    }

    /// With what belongs to all lines together: corrected p, and warnings.
    pub(super) fn corrected(mut self) -> Self {
        for figure in &self.params.figures {
            let mut own: Vec<&mut Line> = self.lines.iter_mut().filter(|line| line.figure == Some(*figure)).collect();
            let found = corrected(&own.iter().map(|line| line.comparison.and_then(|one| one.p)).collect::<Vec<_>>());
            own.iter_mut().zip(found).for_each(|(line, found)| line.corrected = found);
        }
        let failed: Vec<&str> = self.lines.iter().map(|line| line.failed.as_str()).filter(|class| !class.is_empty()).collect();
        if !failed.is_empty() {
            let classes: BTreeSet<&str> = failed.iter().copied().collect();
            self.warnings.push(format!("{} runs failed: {}", failed.len(), classes.into_iter().collect::<Vec<_>>().join(", ")));
        }
        let alike = |line: &Line| line.counts.is_some_and(|counts| counts.clusters < counts.rows);
        if self.params.unit == Unit::Image && self.lines.iter().any(alike) {
            self.warnings.push(
                "images are taken for independent, but some are of the same patient: intervals are too narrow, p are too small".to_owned(),
            );
        }
        self
    }
}

/// Holm's correction of those p that there are.
pub(super) fn corrected(p: &[Option<f64>]) -> Vec<Corrected> {
    let there: Vec<f64> = p.iter().flatten().copied().collect();
    let mut held = holm(&there).into_iter();
    p.iter().map(|one| one.map_or_else(Corrected::default, |_| Corrected { p: held.next(), tests: there.len() })).collect()
}

impl Line {
    /// With a note where something is missing; without its figures where it rests on too few patients.
    fn shown(mut self, least: u64) -> Self {
        let Some(counts) = self.counts else { return self };
        if counts.least < least {
            let note = "rests on too few patients to be shown".to_owned();
            return Self { hidden: true, counts: None, value: Estimate::default(), comparison: None, note, ..self };
        }
        let untested = self.comparison.is_some_and(|one| one.p.is_none());
        let note = match self.figure {
            Some(Measured::Auc) if self.value.value.is_none() => "one class only",
            Some(Measured::Sensitivity) if self.value.value.is_none() => "no positive",
            Some(Measured::Specificity) if self.value.value.is_none() => "no negative",
            _ if untested && counts.least < 2 => "not tested: fewer than two patients of a class",
            _ if untested => "not tested: no variance to hold the difference against",
            _ => return self,
        };
        self.note = if self.note.is_empty() { note.to_owned() } else { format!("{}; {note}", self.note) };
        self
    }
}

/// `region=all, seed=1`.
fn told(place: &Place, split: &Place) -> String {
    place.iter().chain(split).map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(", ")
}

/// Six digits; small ones of p as powers of ten.
pub(super) fn number(value: Option<f64>) -> String {
    match value {
        Some(value) if value != 0.0 && value.abs() < 1e-4 => format!("{value:.2e}"),
        Some(value) => format!("{value:.6}"),
        None => String::new(),
    }
}

/// Names of axes that any of the places has, sorted.
pub(super) fn axes<'l>(places: impl Iterator<Item = &'l Place>) -> Vec<&'l String> {
    places.flat_map(Place::keys).collect::<BTreeSet<&String>>().into_iter().collect()
}

/// Values of a place, empty where it has none.
pub(super) fn values(place: &Place, axes: &[&String]) -> Vec<String> {
    axes.iter().map(|axis| place.get(*axis).cloned().unwrap_or_default()).collect()
}

/// A row per line.
pub(super) fn table(lines: &[Line], choice: Option<&Choice>, axis: &str) -> Table {
    let (places, splits) = (axes(lines.iter().map(|line| &line.place)), axes(lines.iter().map(|line| &line.split)));
    let fixed = [
        axis,
        "figure",
        "counted",
        "n",
        "patients",
        "value",
        "value_low",
        "value_high",
        "reference",
        "against",
        "difference",
        "difference_low",
        "difference_high",
        "test",
        "p",
        "p_holm",
        "comparisons",
        "note",
        "failed",
    ];
    let mut table = Table::new(places.iter().chain(&splits).map(|axis| axis.as_str()).chain(fixed));
    for line in lines {
        let count = |count: fn(&Counts) -> u64| line.counts.as_ref().map(|counts| count(counts).to_string()).unwrap_or_default();
        let estimate = |one: Estimate| {
            let (low, high) = one.interval.unzip();
            [one.value, low, high].map(number)
        };
        let mut row = values(&line.place, &places);
        row.extend(values(&line.split, &splits));
        row.extend([line.name.clone(), line.figure.map(|figure| figure.to_string()).unwrap_or_default(), line.counted.clone()]);
        row.extend([count(|counts| counts.rows), count(|counts| counts.clusters)]);
        row.extend(estimate(line.value));
        row.push(if line.reference { choice.map_or("", |choice| choice.on) } else { "" }.to_owned());
        row.push(line.against.clone().unwrap_or_default());
        row.extend(estimate(line.comparison.map(|one| one.difference).unwrap_or_default()));
        row.push(line.comparison.map_or("", |one| one.test).to_owned());
        row.extend([number(line.comparison.and_then(|one| one.p)), number(line.corrected.p)]);
        row.push(if line.corrected.tests > 0 { line.corrected.tests.to_string() } else { String::new() });
        row.extend([line.note.clone(), line.failed.clone()]);
        table.rows.push(row);
    }
    table
}

/// The differences of a figure, as a file that stands alone.
pub(super) fn forest(lines: &[Line], figure: Measured) -> String {
    let mut groups: Vec<(String, Vec<Row>)> = Vec::new();
    for line in lines.iter().filter(|line| line.figure == Some(figure)) {
        let (Some(against), Some(difference)) = (&line.against, line.comparison.map(|one| one.difference)) else { continue };
        let Some(value) = difference.value else { continue };
        let (heading, name) = (told(&line.place, &line.split), format!("{} − {against}", line.name));
        let row = Row { name, value, interval: difference.interval };
        match groups.last_mut().filter(|(last, _)| *last == heading) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((heading, vec![row])),
        }
    }
    let title = format!("{figure}: differences with 95 % intervals");
    alone(&Forest { title, label: "difference".to_owned(), groups }.svg())
}
