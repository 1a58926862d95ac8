//! `classifier.select`: the best of many trained models, by what the validation set says of them.

mod ranking;
mod thresholds;

use self::ranking::{Candidate, Ranked, rank};
use crate::stage::{Artifact, Context, Coordinates, Params, Part, Port, Problem, Whole, show_coordinates};
use crate::stats::PerPatient;
use crate::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;

/// Chooses trained models by a figure of the validation set, so that test data need not be looked at to choose.
///
/// The values of `axis` compete, each with the mean of its figures over the axes of `average`; every combination of the other axes has a
/// contest of its own (with `axis = "backbone"` and the seeds in the gather: the best backbones of each seed). Of equal figures the
/// value whose name comes first wins. A value of which a training failed, or has no figure, takes no part, and the table says so; where
/// fewer than `best` take part, all of them are chosen, with a warning.
///
/// The figures are those of the validation images at the kept epoch, from the models themselves or from the histories on port `runs`. With
/// metrics on that port they are those, which is how the paper's code chose: by test figures. The choice is then marked, and a warning
/// says so.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassifierSelect {
    /// Axis whose values compete, such as `backbone`. Unset: the only one that the gather on `models` has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    axis: Option<String>,
    /// How many are chosen.
    #[serde(default = "best")]
    best: usize,
    /// Figure that decides: `validation.auc` or `validation.accuracy` (the higher the better) or `validation.loss` (the lower), or, of metrics
    /// on port `runs`, the name of any of theirs.
    #[serde(default = "by")]
    by: String,
    /// Axes over which the figure is averaged before anything is compared, such as `seed`.
    #[serde(default)]
    average: Vec<String>,
    /// Least sensitivity of the thresholds, above 0 and at most 1. Unset: the thresholds are those with the greatest sum of sensitivity and
    /// specificity (Youden).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sensitivity: Option<f64>,
    /// Gives thresholds of patients too, for the `mean` of their images' scores, the highest (`max`), or that of their `first` image:
    /// what `classifier.evaluate` with the same `patient` decides by. Unset: thresholds of images only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patient: Option<PerPatient>,
}

fn best() -> usize {
    3
}

fn by() -> String {
    "validation.auc".to_owned()
}

/// Figures that `model.json` has.
const VALIDATION: [&str; 3] = ["auc", "accuracy", "loss"];
/// Names the parts of a list and gives their coordinates.
const PARTS: &str = "parts.tsv";

impl Params for ClassifierSelect {
    const KIND: &'static str = "classifier.select";
    const REVISION: u32 = 2;
    const REVISIONS: &'static [(u32, &'static str)] = &[(2, "a row of thresholds for a chosen model that has none, too")];
    const INPUTS: &'static [Port] = &[
        Port::one("models", &[Artifact::Model], "trained classifiers, gathered over `axis`").many().with_holes(),
        Port::one("runs", &[Artifact::History, Artifact::Metrics], "of the same trainings: what to choose by, if not what the models say")
            .many()
            .with_holes(),
        Port::one("predictions", &[Artifact::Predictions], "of the validation images, by the same runs: for `threshold`")
            .many()
            .with_holes(),
    ];
    const OUTPUTS: &'static [Port] = &[
        Port::one("choice", &[Artifact::Table], "choice.tsv: a row per value of the axis, with figure, rank and whether it is chosen"),
        Port::one("models", &[Artifact::Models], "the chosen models: what takes one model does each of them"),
        Port::one(
            "threshold",
            &[Artifact::Table],
            "threshold.tsv: coordinates, model (digest), threshold of the positive class's score, and what it does on the validation images (and patients); empty where there is none",
        ),
    ];

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.best == 0 {
            problems.push(Problem::of("best", "must be above 0"));
        }
        if let Some(axis) = self.axis.as_ref().filter(|axis| self.average.contains(axis)) {
            problems.push(Problem::of("average", format!("must not name `{axis}`, whose values compete")));
        }
        if self.sensitivity.is_some_and(|least| !(least > 0.0 && least <= 1.0)) {
            problems.push(Problem::of("sensitivity", "must be above 0 and at most 1"));
        }
        problems
    }
}

impl Whole for ClassifierSelect {
    fn run(&self, cx: &Context) -> Result<()> {
        let models = cx.inputs.many("models");
        let axis = self.axis(models)?;
        let runs = cx.inputs.many("runs");
        let mut marks = Vec::new();
        let mut candidates = Vec::with_capacity(models.len());
        for part in models {
            let figure = self.figure(part, runs, &mut marks).with_context(|| show_coordinates(&part.coordinates))?;
            candidates.push(Candidate { coordinates: part.coordinates.clone(), figure });
        }
        let ranked = rank(&candidates, &axis, &self.average, self.best, !self.by.ends_with("loss"))?;
        marks.dedup();
        for mark in &marks {
            cx.warn(format!(
                "the choice is made on {mark} images, so their figures of what is chosen are no test any more: selected on {mark}"
            ));
        }
        for short in ranked.iter().filter(|one| one.chosen.len() < self.best) {
            let of = if short.at.is_empty() { String::new() } else { format!(" of [{}]", show_coordinates(&short.at)) };
            cx.warn(format!(
                "{} of {} values of `{}`{of} have a figure, {} were to be chosen",
                short.chosen.len(),
                short.rows.len(),
                axis,
                self.best
            ));
        }
        ensure!(ranked.iter().any(|one| !one.chosen.is_empty()), "no training has a figure `{}` to choose by", self.by);
        cx.write("choice", "choice.tsv", &self.choice(&axis, &ranked, marks.first().map(String::as_str)).to_tsv())?;
        let chosen: Vec<&Part> =
            ranked.iter().flat_map(|one| one.chosen.iter().flat_map(|(_, runs)| runs)).map(|at| &models[*at]).collect();
        list(cx, &chosen)?;
        cx.write("threshold", "threshold.tsv", &self.thresholds(cx, &chosen)?.to_tsv())
    }
}

impl ClassifierSelect {
    /// The axis whose values compete.
    fn axis(&self, models: &[Part]) -> Result<String> {
        if let Some(axis) = &self.axis {
            return Ok(axis.clone());
        }
        let axes: Vec<&String> = models.first().map(|part| part.coordinates.keys().collect()).unwrap_or_default();
        match axes.as_slice() {
            [axis] => Ok((*axis).clone()),
            [] => bail!("port `models` has one model: gather several, such as `train.model[backbone=*]`"),
            _ => bail!("the models have the axes {axes:?}: say with the param `axis` which one competes"),
        }
    }

    /// What decides about a model; else why there is nothing.
    fn figure(&self, part: &Part, runs: &[Part], marks: &mut Vec<String>) -> Result<Result<f64, String>> {
        if let Some(class) = &part.hole {
            return Ok(Err(class.clone()));
        }
        let model: serde_json::Value = serde_json::from_slice(&part.tree.read("model.json")?).context("model.json")?;
        let mut mark = model["selected_on"].as_str().map(str::to_owned);
        let own = runs.iter().find(|other| other.coordinates == part.coordinates);
        ensure!(own.is_some() || runs.is_empty(), "port `runs` has nothing of this training");
        let figure = match own {
            Some(Part { hole: Some(class), .. }) => return Ok(Err(class.clone())),
            Some(own) if own.tree.files.contains_key("metrics.json") => {
                let json: serde_json::Value = serde_json::from_slice(&own.tree.read("metrics.json")?).context("metrics.json")?;
                mark = json["role"].as_str().filter(|role| *role != "validation").map(str::to_owned).or(mark);
                let all = json["metrics"].as_array().context("metrics.json has no `metrics`")?;
                let found = all.iter().find(|one| one["name"] == self.by.as_str());
                found.with_context(|| format!("param `by`: the metrics on port `runs` have no `{}`", self.by))?["value"].as_f64()
            }
            Some(own) => {
                let history = Table::from_tsv(&own.tree.read("history.tsv")?).context("history.tsv")?;
                let column = history.column(&self.by.replacen("validation.", "validation_", 1)).context("param `by`: port `runs`")?;
                let (at, kept) = (history.column("epoch")?, model["epoch"].to_string());
                let row = history.rows.iter().find(|row| row[at] == kept);
                row.context("the history lacks the model's epoch")?[column].parse().ok()
            }
            None => {
                let by = self.by.strip_prefix("validation.").unwrap_or(&self.by);
                ensure!(
                    VALIDATION.contains(&by),
                    "param `by` is {}, but models know validation.{}",
                    self.by,
                    VALIDATION.join(", validation.")
                );
                model["validation"][by].as_f64()
            }
        };
        marks.extend(mark.filter(|mark| !marks.contains(mark)));
        Ok(figure.filter(|value| value.is_finite()).ok_or_else(|| "no figure".to_owned()))
    }

    fn choice(&self, axis: &str, ranked: &[Ranked], mark: Option<&str>) -> Table {
        let axes: Vec<&String> = ranked.first().map(|one| one.at.keys().collect()).unwrap_or_default();
        let fixed = [axis, self.by.as_str(), "runs", "rank", "chosen", "failed", "selected_on"];
        let mut table = Table::new(axes.iter().map(|axis| axis.as_str()).chain(fixed));
        for one in ranked {
            for row in &one.rows {
                let rank = row.rank.map_or_else(String::new, |rank| rank.to_string());
                let chosen = row.rank.is_some_and(|rank| rank <= self.best);
                let figure = row.figure.map_or_else(String::new, |value| format!("{value:?}"));
                let fixed = [row.value.clone(), figure, row.runs.to_string(), rank, if chosen { "yes" } else { "no" }.to_owned()];
                let rest = [row.failed.clone().unwrap_or_default(), mark.unwrap_or("validation").to_owned()];
                table.rows.push(one.at.values().map(ToString::to_string).chain(fixed).chain(rest).collect());
            }
        }
        table
    }
}

/// Writes the chosen models as a list: a folder each, and the table that names them.
fn list(cx: &Context, chosen: &[&Part]) -> Result<()> {
    let axes: Vec<&String> = chosen.first().map(|part| part.coordinates.keys().collect()).unwrap_or_default();
    let mut table = Table::new(std::iter::once("part").chain(axes.iter().map(|axis| axis.as_str())));
    for (number, part) in (1..).zip(chosen) {
        let name = format!("{number:03}");
        for (path, file) in &part.tree.files {
            let place = cx.output("models").join(&name).join(path);
            let copy = || -> std::io::Result<u64> {
                std::fs::create_dir_all(place.parent().unwrap_or(&place))?;
                std::io::copy(&mut file.open()?, &mut File::create(&place)?)
            };
            copy().with_context(|| format!("cannot copy {} of [{}]", part.tree.shown(path), show_coordinates(&part.coordinates)))?;
        }
        table.rows.push(std::iter::once(name).chain(coordinates(&part.coordinates)).collect());
        cx.progress(number, chosen.len() as u64, "models");
    }
    cx.write("models", PARTS, &table.to_tsv())
}

fn coordinates(at: &Coordinates) -> impl Iterator<Item = String> + '_ {
    at.values().map(ToString::to_string)
}

#[cfg(test)]
mod tests;
