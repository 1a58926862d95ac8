//! `classifier.select`: the best of many trained models, by what the validation set says of them.

mod ranking;

use self::ranking::{Candidate, Ranked, rank};
use crate::stage::{Artifact, Context, Coordinates, Params, Part, Port, Problem, Whole, show_coordinates};
use crate::stats::{Threshold, of_sensitivity, youden};
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
    const REVISION: u32 = 1;
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
            "threshold.tsv: coordinates, model (digest), threshold of the positive class's score, and what it does on the validation images",
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

    /// A threshold per chosen model whose validation predictions are there.
    fn thresholds(&self, cx: &Context, chosen: &[&Part]) -> Result<Table> {
        let axes: Vec<&String> = chosen.first().map(|part| part.coordinates.keys().collect()).unwrap_or_default();
        let fixed = ["model", "rule", "threshold", "sensitivity", "specificity"];
        let mut table = Table::new(axes.iter().map(|axis| axis.as_str()).chain(fixed));
        for part in chosen {
            let Some(own) = cx.inputs.many("predictions").iter().find(|other| other.coordinates == part.coordinates) else { continue };
            let found = self.threshold(own).with_context(|| format!("port `predictions`, {}", show_coordinates(&part.coordinates)))?;
            let Some(found) = found else { continue };
            let rule = self.sensitivity.map_or_else(|| "youden".to_owned(), |least| format!("sensitivity {least}"));
            let values = [found.at, found.sensitivity, found.specificity].map(|value| format!("{value:?}"));
            let fixed = [part.tree.digest().to_string(), rule].into_iter().chain(values);
            table.rows.push(part.coordinates.values().map(ToString::to_string).chain(fixed).collect());
        }
        Ok(table)
    }

    /// Of two classes, by the score of the positive one, the last; none for more, and where only one class is there.
    fn threshold(&self, part: &Part) -> Result<Option<Threshold>> {
        if part.hole.is_some() {
            return Ok(None);
        }
        let table = Table::from_tsv(&part.tree.read("predictions.tsv")?).context("predictions.tsv")?;
        let scores: Vec<&String> = table.columns.iter().filter(|column| column.starts_with("score_")).collect();
        if scores.len() != 2 || table.columns.iter().any(|column| column.starts_with("truth_")) {
            return Ok(None);
        }
        let (class, score, label) = (&scores[1]["score_".len()..], table.column(scores[1])?, table.column("label")?);
        let read = |row: &Vec<String>| row[score].parse::<f64>().context("a score is no number");
        let scores = table.rows.iter().map(read).collect::<Result<Vec<f64>>>()?;
        let positive: Vec<bool> = table.rows.iter().map(|row| row[label] == class).collect();
        Ok(match self.sensitivity {
            Some(least) => of_sensitivity(&scores, &positive, least),
            None => youden(&scores, &positive),
        })
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
mod tests {
    use super::*;
    use crate::stage::Value;
    use crate::stages::testing::{World, params};

    fn at(backbone: &str, seed: i64) -> Coordinates {
        Coordinates::from([("backbone".to_owned(), Value::Text(backbone.to_owned())), ("seed".to_owned(), Value::Int(seed))])
    }

    /// AUCs by backbone and seed; none for a training that failed.
    fn world(runs: &[(&str, i64, Option<f64>)]) -> World {
        let mut world = World::new();
        let (mut models, mut predictions) = (Vec::new(), Vec::new());
        for (backbone, seed, auc) in runs {
            let json = format!(r#"{{"backbone": "{backbone}", "seed": {seed}, "validation": {{"auc": {}}}}}"#, auc.unwrap_or_default());
            let rows = "item\tsubject\tlabel\tpredicted\tscore_well\tscore_ill\n1\ta\till\t\t0.2\t0.8\n2\tb\twell\t\t0.7\t0.3\n";
            let tree = world.tree(&[("model.json", json.as_bytes()), ("model.safetensors", b"numbers")]);
            let hole = auc.is_none().then(|| "oom".to_owned());
            models.push(Part { coordinates: at(backbone, *seed), tree, hole: hole.clone() });
            let tree = world.tree(&[("predictions.tsv", rows.as_bytes())]);
            predictions.push(Part { coordinates: at(backbone, *seed), tree, hole });
        }
        world.inputs.0.insert("models".to_owned(), models);
        world.inputs.0.insert("predictions".to_owned(), predictions);
        world
    }

    fn text(outcome: &crate::stages::testing::Outcome, port: &str, path: &str) -> String {
        String::from_utf8(outcome.read(port, path)).unwrap()
    }

    #[test]
    fn the_best_of_each_seed_are_listed_with_their_thresholds() {
        let runs =
            [("a", 1, Some(0.7)), ("b", 1, Some(0.9)), ("c", 1, Some(0.8)), ("a", 2, Some(0.6)), ("b", 2, None), ("c", 2, Some(0.6))];
        let outcome = world(&runs).run(&params::<ClassifierSelect>("axis = 'backbone'\nbest = 2")).unwrap();
        let choice = "seed\tbackbone\tvalidation.auc\truns\trank\tchosen\tfailed\tselected_on\n\
            1\tb\t0.9\t1\t1\tyes\t\tvalidation\n1\tc\t0.8\t1\t2\tyes\t\tvalidation\n1\ta\t0.7\t1\t3\tno\t\tvalidation\n\
            2\ta\t0.6\t1\t1\tyes\t\tvalidation\n2\tc\t0.6\t1\t2\tyes\t\tvalidation\n2\tb\t\t0\t\tno\toom\tvalidation\n";
        assert_eq!(text(&outcome, "choice", "choice.tsv"), choice);
        assert_eq!(text(&outcome, "models", "parts.tsv"), "part\tbackbone\tseed\n001\tb\t1\n002\tc\t1\n003\ta\t2\n004\tc\t2\n");
        assert!(text(&outcome, "models", "004/model.json").contains(r#""backbone": "c", "seed": 2"#));
        assert_eq!(text(&outcome, "models", "001/model.safetensors"), "numbers");
        let thresholds = Table::from_tsv(text(&outcome, "threshold", "threshold.tsv").as_bytes()).unwrap();
        assert_eq!(thresholds.rows.len(), 4);
        assert_eq!(thresholds.rows[0][3..], ["youden", "0.8", "1.0", "1.0"]);
        assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);
    }

    #[test]
    fn seeds_are_averaged_first_and_too_few_are_said() {
        let runs =
            [("a", 1, Some(0.7)), ("b", 1, Some(0.9)), ("a", 2, Some(0.8)), ("b", 2, Some(0.5)), ("c", 1, Some(1.0)), ("c", 2, None)];
        let outcome = world(&runs).run(&params::<ClassifierSelect>("axis = 'backbone'\naverage = ['seed']")).unwrap();
        let choice = text(&outcome, "choice", "choice.tsv");
        let rows: Vec<&str> = choice.lines().skip(1).collect();
        assert_eq!(rows[0], "a\t0.75\t2\t1\tyes\t\tvalidation");
        assert_eq!(rows[1], "b\t0.7\t2\t2\tyes\t\tvalidation");
        assert_eq!(rows[2], "c\t\t1\t\tno\toom\tvalidation");
        assert_eq!(outcome.warnings, ["2 of 3 values of `backbone` have a figure, 3 were to be chosen"]);
        assert_eq!(text(&outcome, "models", "parts.tsv").lines().count(), 5);
        let unsaid = world(&runs).run(&params::<ClassifierSelect>("")).map(|_| ()).unwrap_err();
        assert!(format!("{unsaid:#}").contains("say with the param `axis`"), "{unsaid:#}");
        assert!(world(&[("a", 1, None)]).run(&params::<ClassifierSelect>("axis = 'backbone'")).is_err());
        let wrong = world(&runs).run(&params::<ClassifierSelect>("axis = 'network'")).map(|_| ()).unwrap_err();
        assert_eq!(format!("{wrong:#}"), "param `axis`: the models have no axis `network`; there are backbone, seed");
    }

    #[test]
    fn histories_decide_at_the_epoch_that_was_kept() {
        let mut world = World::new();
        let (mut models, mut runs) = (Vec::new(), Vec::new());
        for (name, accuracy) in [("a", "0.7"), ("b", "0.8")] {
            let coordinates = Coordinates::from([("backbone".to_owned(), Value::Text(name.to_owned()))]);
            let tree = world.tree(&[("model.json", br#"{"epoch": 2, "validation": {}}"#)]);
            models.push(Part { coordinates: coordinates.clone(), tree, hole: None });
            let history = format!("epoch\tvalidation_accuracy\n1\t0.9\n2\t{accuracy}\n");
            runs.push(Part { coordinates, tree: world.tree(&[("history.tsv", history.as_bytes())]), hole: None });
        }
        world.inputs.0.insert("models".to_owned(), models);
        world.inputs.0.insert("runs".to_owned(), runs);
        let outcome = world.run(&params::<ClassifierSelect>("best = 1\nby = 'validation.accuracy'")).unwrap();
        assert!(text(&outcome, "choice", "choice.tsv").contains("b\t0.8\t1\t1\tyes\t\tvalidation\n"));
    }

    #[test]
    fn a_choice_by_test_figures_is_marked() {
        let mut world = world(&[("a", 1, Some(0.9)), ("b", 1, Some(0.1))]);
        let metrics = [("a", 0.2), ("b", 0.8)].map(|(backbone, value)| {
            let json = format!(r#"{{"role": "test", "n": 9, "metrics": [{{"name": "accuracy", "value": {value}}}]}}"#);
            Part { coordinates: at(backbone, 1), tree: world.tree(&[("metrics.json", json.as_bytes())]), hole: None }
        });
        world.inputs.0.insert("runs".to_owned(), metrics.to_vec());
        let outcome = world.run(&params::<ClassifierSelect>("axis = 'backbone'\nbest = 1\nby = 'accuracy'")).unwrap();
        assert!(text(&outcome, "choice", "choice.tsv").contains("1\tb\t0.8\t1\t1\tyes\t\ttest\n"));
        assert!(outcome.warnings[0].contains("selected on test"), "{:?}", outcome.warnings);
    }
}
