//! The charts of `report.html`: a picture per question, a colour per network, a line per run.

use super::super::runs::{Controls, place, predicted};
use crate::report::curves::{precision_recall, reliability, roc};
use crate::report::page::{Section, gallery, heading, note};
use crate::report::svg::{Chart, Series, matrix};
use crate::report::{Place, Predictions};
use crate::stage::{Context, Part, show_coordinates};
use crate::stats::Confusion;
use crate::table::Table;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;

const UNIT: (f64, f64) = (0.0, 1.0);
/// So many times what nine of ten losses are not above is off the chart: one training that explodes would flatten all others.
const HIGH: f64 = 4.0;

/// What was said of the rows by one run, or why nothing was.
pub(super) struct Scored {
    place: Place,
    outcome: Result<Predictions, String>,
}

impl Scored {
    /// Reads port `predictions`; tables of labels that may hold together have no curves here.
    pub(super) fn read(cx: &Context) -> Result<Vec<Self>> {
        let mut scored = Vec::new();
        for part in cx.inputs.many("predictions") {
            match &part.hole {
                Some(class) => scored.push(Self { place: place(part), outcome: Err(class.clone()) }),
                None => scored.extend(predicted(part)?.into_iter().map(|(place, found)| Self { place, outcome: Ok(found) })),
            }
        }
        Ok(scored)
    }
}

/// Draws, and keeps what it drew for files.
pub(super) struct Charts<'p> {
    rows: &'p str,
    over: &'p [String],
    least: u64,
    controls: Controls,
    /// Name and picture.
    pub(super) files: Vec<(String, String)>,
}

/// A curve of scores: points for a class, or none.
type Curve<'c> = dyn Fn(&[f64], &[bool]) -> Option<Vec<(f64, f64)>> + 'c;

impl<'p> Charts<'p> {
    pub(super) fn new(rows: &'p str, over: &'p [String], least: u64, controls: Controls) -> Self {
        Self { rows, over, least, controls, files: Vec::new() }
    }

    /// Curves, calibration and confusion matrices.
    pub(super) fn of_scores(&mut self, scored: &[Scored], unconnected: bool) -> Vec<Section> {
        let parts = [("curves", "ROC and precision–recall"), ("calibration", "Calibration"), ("confusion", "Confusion")];
        if scored.is_empty() {
            let why =
                if unconnected { "nothing is connected to port `predictions`" } else { "the predictions are of labels, not of classes" };
            return parts.into_iter().map(|(id, title)| Section::left_out(id, title, why)).collect();
        }
        let mut groups: BTreeMap<String, Vec<&Scored>> = BTreeMap::new();
        for one in scored {
            groups.entry(self.group(&one.place)).or_default().push(one);
        }
        let names: Vec<String> = {
            let mut names: Vec<String> = scored.iter().map(|one| self.name(&one.place)).collect();
            names.sort();
            names.dedup();
            names
        };
        let (mut curves, mut calibration, mut confusion) = (String::new(), String::new(), String::new());
        let least = self.least;
        for (group, runs) in &groups {
            if groups.len() > 1 {
                [&mut curves, &mut calibration, &mut confusion].into_iter().for_each(|body| body.push_str(&heading(group)));
            }
            let both = [
                self.draw("roc", "ROC", ["1 − specificity", "sensitivity"], group, runs, &names, &roc),
                self.draw("precision-recall", "Precision–recall", ["recall", "precision"], group, runs, &names, &precision_recall),
            ];
            curves.push_str(&gallery(&both.concat()));
            let bins = move |scores: &[f64], positive: &[bool]| {
                let points = reliability(scores, positive, least);
                (!points.is_empty()).then_some(points)
            };
            let pictures = self.draw("calibration", "Calibration", ["mean score", "share of positives"], group, runs, &names, &bins);
            calibration.push_str(&gallery(&pictures));
            confusion.push_str(&self.matrices(group, runs));
            for (class, run) in runs.iter().filter_map(|run| Some((run.outcome.as_ref().err()?, *run))) {
                curves.push_str(&note(&format!("{}: failed, {class}.", told(&run.place))));
            }
        }
        if self.least > 0 {
            let hidden = format!("What rests on fewer than {} rows is not drawn.", self.least);
            [&mut curves, &mut calibration, &mut confusion].into_iter().for_each(|body| body.push_str(&note(&hidden)));
        }
        calibration.push_str(&note("Ten bins of equal width; on the diagonal, a score is the share of positives that have it."));
        confusion.push_str(&note("Rows: what is true; columns: what was decided, at the likelier class."));
        parts.into_iter().zip([curves, calibration, confusion]).map(|((id, title), body)| Section { id, title, body }).collect()
    }

    /// A chart per class; of two classes only of the last.
    #[expect(clippy::too_many_arguments, reason = "what a chart shows, and of whom")]
    fn draw(
        &mut self,
        file: &str,
        title: &str,
        labels: [&str; 2],
        group: &str,
        runs: &[&Scored],
        names: &[String],
        curve: &Curve<'_>,
    ) -> Vec<String> {
        let Some(classes) = runs.iter().find_map(|run| Some(&run.outcome.as_ref().ok()?.classes)) else { return Vec::new() };
        let mut pictures = Vec::new();
        for (class, class_name) in classes.iter().enumerate().skip(usize::from(classes.len() == 2)) {
            let series: Vec<Series> = runs
                .iter()
                .filter_map(|run| {
                    let predictions = run.outcome.as_ref().ok().filter(|found| found.classes == *classes)?;
                    let (scores, positive) = predictions.of_class(class);
                    let positives = positive.iter().filter(|one| **one).count() as u64;
                    let few = positives.min(positive.len() as u64 - positives) < self.least;
                    let points = curve(&scores, &positive).filter(|_| !few)?;
                    let name = self.name(&run.place);
                    let colour = names.iter().position(|one| *one == name).unwrap_or(0);
                    Some(Series { name, points, colour, marks: file == "calibration" })
                })
                .collect();
            if series.is_empty() {
                continue;
            }
            let chart = Chart {
                title: format!("{title}: {class_name}"),
                labels: labels.map(str::to_owned),
                ranges: [UNIT, UNIT],
                size: (350.0, 330.0),
                legend: series.iter().any(|one| !one.name.is_empty()),
                series,
                diagonal: file != "precision-recall",
            };
            pictures.push(self.keep(&[file, group, if classes.len() == 2 { "" } else { class_name }], chart.svg()));
        }
        pictures
    }

    fn matrices(&mut self, group: &str, runs: &[&Scored]) -> String {
        let mut pictures = Vec::new();
        let mut hidden = 0;
        for run in runs {
            let Ok(found) = &run.outcome else { continue };
            let pairs = found.truth.iter().enumerate().map(|(row, truth)| (*truth, found.decision(row)));
            let counts = Confusion::of(found.classes.len(), pairs).counts;
            // One count can be worked out from the others.
            if counts.iter().flatten().any(|count| (1..self.least).contains(count)) {
                hidden += 1;
                continue;
            }
            let own: Place = run.place.iter().filter(|(axis, _)| *axis == self.rows || self.over.contains(axis)).map(pair).collect();
            let title = told(&own);
            pictures.push(self.keep(&["confusion", group, &title], matrix(&title, &found.classes, &counts)));
        }
        let mut text = gallery(&pictures);
        if hidden > 0 {
            text.push_str(&note(&format!("{hidden} left out, with counts below {}.", self.least)));
        }
        text
    }

    /// Curves of every training, as small multiples with the same axes.
    pub(super) fn of_trainings(&mut self, parts: &[Part]) -> Result<Section> {
        let (id, title) = ("training", "Training");
        if parts.is_empty() {
            return Ok(Section::left_out(id, title, "nothing is connected to port `histories`"));
        }
        let mut histories: Vec<(String, Table)> = Vec::new();
        let mut body = String::new();
        for part in parts {
            let name = told(&place(part));
            match &part.hole {
                Some(class) => body.push_str(&note(&format!("{name}: failed, {class}."))),
                None => {
                    let table = part.table().with_context(|| format!("the history of [{}]", show_coordinates(&part.coordinates)))?;
                    histories.push((name, table));
                }
            }
        }
        for measure in ["loss", "auc", "accuracy", "dice", "iou"] {
            let columns = [format!("train_{measure}"), format!("validation_{measure}")];
            let lines = |table: &Table| -> Vec<Series> {
                let line = |(colour, column): (usize, &String)| {
                    let (at, epoch) = (table.position(column)?, table.position("epoch")?);
                    let point =
                        |row: &Vec<String>| Some((row[epoch].parse().ok()?, row[at].parse().ok().filter(|one: &f64| one.is_finite())?));
                    let points: Vec<(f64, f64)> = table.rows.iter().filter_map(point).collect();
                    let name = column.split('_').next().unwrap_or_default().to_owned();
                    (!points.is_empty()).then_some(Series { name, points, colour, marks: table.rows.len() == 1 })
                };
                columns.iter().enumerate().filter_map(line).collect()
            };
            let drawn: Vec<(&String, Vec<Series>)> =
                histories.iter().map(|(name, table)| (name, lines(table))).filter(|(_, lines)| !lines.is_empty()).collect();
            let all = || drawn.iter().flat_map(|(_, lines)| lines).flat_map(|line| &line.points);
            let last = all().map(|(epoch, _)| *epoch).fold(1.0, f64::max);
            let top = all().map(|(_, value)| *value).fold(0.0, f64::max);
            if drawn.is_empty() {
                continue;
            }
            body.push_str(&heading(&format!("{measure}, by epoch")));
            let high = if measure == "loss" { typical(all().map(|(_, value)| *value).collect()) * HIGH } else { f64::INFINITY };
            let vertical = if measure == "loss" && top > 0.0 { (0.0, high.min(top * 1.05)) } else { UNIT };
            let pictures: Vec<String> = drawn
                .into_iter()
                .map(|(name, series)| {
                    let chart = Chart {
                        title: name.clone(),
                        labels: ["epoch".to_owned(), measure.to_owned()],
                        ranges: [(if last > 1.0 { 1.0 } else { 0.0 }, last), vertical],
                        size: (200.0, 130.0),
                        series,
                        diagonal: false,
                        legend: false,
                    };
                    self.keep(&["training", measure, name], chart.svg())
                })
                .collect();
            body.push_str(&gallery(&pictures));
            if top > high {
                body.push_str(&note(&format!("A few are far above the others: what is above {high:.3} stands at the upper edge.")));
            }
        }
        body.push_str(&note("Blue: the training set; orange: the validation set. Axes are the same in all."));
        Ok(Section { id, title, body })
    }

    /// What stands beside what: the coordinates that neither repeat nor are a network.
    fn group(&self, place: &Place) -> String {
        let rest: Place = place.iter().filter(|(axis, _)| *axis != self.rows && !self.over.contains(axis)).map(pair).collect();
        let control = rest.iter().any(|(axis, value)| self.controls.get(axis).is_some_and(|values| values.contains(value)));
        told(&rest) + if control { " (control)" } else { "" }
    }

    fn name(&self, place: &Place) -> String {
        place.get(self.rows).cloned().unwrap_or_default()
    }

    /// Keeps a picture under a name made of words.
    fn keep(&mut self, words: &[&str], svg: String) -> String {
        let word = |text: &&str| -> String {
            let letters = text.chars().map(|one| if one.is_ascii_alphanumeric() || one == '.' { one.to_ascii_lowercase() } else { '-' });
            letters.collect::<String>().split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
        };
        let name = words.iter().map(word).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
        let alike = self.files.iter().filter(|(other, _)| *other == name || other.starts_with(&format!("{name}~"))).count();
        self.files.push((if alike == 0 { name } else { format!("{name}~{alike}") }, svg.clone()));
        svg
    }
}

/// What nine of ten are not above; infinite where there is nothing, or nothing above 0.
fn typical(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * 9 / 10).copied().filter(|value| *value > 0.0).unwrap_or(f64::INFINITY)
}

fn pair((axis, value): (&String, &String)) -> (String, String) {
    (axis.clone(), value.clone())
}

/// `nas, seed 1`: words as they are, numbers with their axis.
fn told(place: &Place) -> String {
    let word = |(axis, value): (&String, &String)| match value.parse::<f64>() {
        Ok(_) => format!("{axis} {value}"),
        Err(_) => value.clone(),
    };
    place.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_high_loss_does_not_make_the_axis() {
        let mut losses: Vec<f64> = (0..95).map(|at| f64::from(at) / 100.0).collect();
        assert!(typical(losses.clone()) * HIGH > 0.95, "a training as it should be is shown whole");
        losses.extend([600.0, 1000.0]);
        assert_eq!(typical(losses), 0.87);
        assert_eq!((typical(Vec::new()), typical(vec![0.0; 20]), typical(vec![2.0])), (f64::INFINITY, f64::INFINITY, 2.0));
    }
}
