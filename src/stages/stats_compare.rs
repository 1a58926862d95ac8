//! `stats.compare`: whether models that were asked about the same patients differ by more than chance.

mod entrants;
mod lines;
mod splits;

use self::entrants::{Contest, Entrants, LABEL};
use self::lines::Lines;
use self::splits::Splits;
use super::runs::{Ranked, ranked};
use crate::content::Level;
use crate::report::Place;
use crate::stage::{Artifact, Context, Params, Part, Port, Problem, Whole};
use crate::stats::{Measured, PerPatient};
use anyhow::{Context as _, Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Holds models against each other that were asked about the same images of the same patients.
///
/// The reference is the model that port `choice` ranks first, which validation chose; the others of the same place (region and seed, say) are
/// compared with it. Without a choice every pair is compared. `table` has the figure of each model and its difference to the reference, both
/// with 95 % intervals: patients are drawn with all their images, the same ones for all models, and the interval lies between the 2.5th
/// and the 97.5th percentile. `p` is two-sided; `p_holm` is corrected (Holm) for all comparisons of the same figure in the table.
///
/// Images of a patient are alike, and tests that take them for independent find differences that are not there. So AUCs are compared by
/// Obuchowski's test and decisions by Durkalski's, which are DeLong's and McNemar's for clustered images; in the latter every patient
/// counts once, by the share of the images decided rightly. With `patient`, DeLong's and McNemar's exact test hold one score per patient
/// against each other. `unit = "image"` takes images for independent all the same, and `counted` says so in every row.
///
/// Decisions are those at the model's threshold on port `thresholds` (from it on the answer is yes; with `patient` the threshold of
/// patients), else those above one half.
///
/// `splits` has each model over the repeated splits: all its values, their range, mean and standard deviation. None of these is an interval:
/// three seeds say little of other patients, whom the intervals of `table` are about. Differences over splits are tested by the corrected
/// resampled t test, which port `splits` makes possible. Its reference is the model with the best mean rank by validation.
///
/// Models on different patients or images are an error, and so are scores that are no number. A run that failed is a row with the class of
/// its failure; what cannot be tested (one class, one patient) is a row that says why.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StatsCompare {
    /// Axis whose values are compared. Unset: `backbone` where the predictions have it, else their only axis that does not repeat. A run
    /// that is not on it, such as a program beside the networks, takes part by its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    axis: Option<String>,
    /// Axes that only repeat the same experiment: each of their values is a split of its own.
    #[serde(default = "super::laid_out::over")]
    over: Vec<String>,
    /// What is compared: `auc`; `accuracy`, `sensitivity` or `specificity` of the decisions.
    #[serde(default = "figures")]
    figures: Vec<Measured>,
    /// One score per patient, from the scores of the patient's images. Unset: images are compared, in the clustered forms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patient: Option<PerPatient>,
    /// What is taken for independent.
    #[serde(default)]
    unit: Unit,
    /// The positive class; any other counts as negative. Unset: the last of two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    positive: Option<String>,
    /// How often patients are drawn for the intervals, at most 100000; 0 gives none.
    #[serde(default = "draws")]
    draws: u32,
    /// What the draws follow from.
    #[serde(default = "bootstrap_seed")]
    bootstrap_seed: u64,
    /// From people's data, figures that rest on fewer patients of a class than this are not shown.
    #[serde(default = "super::laid_out::min_count")]
    min_count: u64,
}

/// What is taken for independent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    /// Patients, with all their images.
    #[default]
    Patient,
    /// Images, as if each were of another patient: intervals are then too narrow and p too small.
    Image,
}

fn figures() -> Vec<Measured> {
    vec![Measured::Auc, Measured::Accuracy]
}

fn draws() -> u32 {
    2000
}

fn bootstrap_seed() -> u64 {
    1
}

impl Params for StatsCompare {
    const KIND: &'static str = "stats.compare";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::one("predictions", &[Artifact::Predictions], "of the models, gathered; one that failed is shown as such").many().with_holes(),
        Port::one("choice", &[Artifact::Table], "what validation chose (`classifier.select`): its first is the reference")
            .many()
            .with_holes(),
        Port::one("thresholds", &[Artifact::Table], "of the models (`classifier.select`), for decisions").many().with_holes(),
        Port::one("splits", &[Artifact::Split], "the splits, for the corrected test: how many patients trained and tested")
            .many()
            .with_holes(),
    ];
    const OUTPUTS: &'static [Port] = &[
        Port::one("table", &[Artifact::Table], "comparison.tsv: a row per model and figure, or pair and figure, of one split"),
        Port::one("splits", &[Artifact::Table], "splits.tsv: a row per model and figure over all splits; no row where nothing is repeated"),
        Port::one("figure", &[Artifact::Figure], "difference-FIGURE.svg: every difference with its interval"),
    ];
    // It tells of no patient alone, and hides what rests on few.
    const AT_MOST: Level = Level::Released;

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.figures.is_empty() {
            problems.push(Problem::of("figures", "names nothing to compare"));
        }
        if self.figures.iter().enumerate().any(|(at, figure)| self.figures[..at].contains(figure)) {
            problems.push(Problem::of("figures", "names a figure twice"));
        }
        if self.axis.as_ref().is_some_and(|axis| self.over.contains(axis)) {
            problems.push(Problem::of("axis", "is also in `over`: an axis is compared or repeated"));
        }
        if self.patient.is_some() && self.unit == Unit::Image {
            problems.push(Problem::of("unit", "is `image`, but with `patient` there is one score per patient: leave one of them out"));
        }
        if self.draws > 100_000 {
            problems.push(Problem::of("draws", "must be at most 100000"));
        }
        problems
    }
}

impl Whole for StatsCompare {
    fn run(&self, cx: &Context) -> Result<()> {
        let entrants = Entrants::read(cx, self)?;
        let (ranked, chosen_on_test) = ranked(cx.inputs.many("choice"), &|column| entrants.is_axis(column))?;
        if let Some(remark) = &chosen_on_test {
            cx.warn(&remark.text);
        }
        ensure!(
            ranked.is_empty() || ranked.iter().any(|one| one.place.contains_key(&entrants.axis)),
            "port `choice` says nothing of axis `{}`: connect the choice among its values, or none, and every pair is compared",
            entrants.axis
        );
        let choice = match cx.inputs.many("choice").is_empty() {
            true => None,
            false => Some(Choice { axis: &entrants.axis, ranked, on: if chosen_on_test.is_some() { "test" } else { "validation" } }),
        };
        let least = if cx.inputs.identified() { self.min_count } else { 0 };
        let mut lines = Lines::new(self, choice.as_ref(), least);
        let contests = entrants.contests();
        for (number, contest) in contests.iter().enumerate() {
            lines.add(contest, &entrants.thresholds)?;
            cx.progress(number as u64 + 1, contests.len() as u64, "places");
        }
        let Lines { lines, warnings, .. } = lines.corrected();
        warnings.iter().for_each(|text| cx.warn(text));
        if !lines.iter().any(|line| line.comparison.is_some()) {
            cx.warn("no two models could be compared");
        }
        let splits = Splits::of(&lines, choice.as_ref(), test_per_train(cx.inputs.many("splits"))?);
        cx.write("table", "comparison.tsv", &lines::table(&lines, choice.as_ref(), &entrants.axis).to_tsv())?;
        cx.write("splits", "splits.tsv", &splits.table(&entrants.axis).to_tsv())?;
        let picture = |figure: &Measured| (format!("difference-{figure}.svg"), lines::forest(&lines, *figure));
        self.figures.iter().map(picture).try_for_each(|(name, svg)| cx.write("figure", &name, svg.as_bytes()))
    }
}

/// What validation (or test data) made of the models.
pub(super) struct Choice<'c> {
    axis: &'c str,
    ranked: Vec<Ranked>,
    /// The set that chose.
    on: &'static str,
}

impl Choice<'_> {
    /// The model that is the best of a place, if anything was chosen there.
    fn best(&self, contest: &Contest) -> Result<Option<&str>> {
        let at: Place = contest.place.iter().chain(&contest.split).map(|(axis, value)| (axis.clone(), value.clone())).collect();
        let first = self.ranked_at(&at).filter(|one| one.counts && one.rank == Some(1));
        let names: BTreeSet<&str> = first.filter_map(|one| one.place.get(self.axis)).map(String::as_str).collect();
        ensure!(names.len() < 2, "port `choice` names several models that are the best here: {names:?}");
        Ok(names.into_iter().next())
    }

    /// The model with the best mean rank over all splits of a place, among those that always took part; of equal ones the first by name.
    fn best_over(&self, place: &Place) -> Option<&str> {
        let mut ranks: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for one in self.ranked_at(place) {
            if let (Some(name), Some(rank)) = (one.place.get(self.axis), one.rank.filter(|rank| *rank > 0)) {
                ranks.entry(name).or_default().push(rank);
            }
        }
        let most = ranks.values().map(Vec::len).max()?;
        let mean = |ranks: &[usize]| ranks.iter().sum::<usize>() as f64 / ranks.len() as f64;
        let always = ranks.iter().filter(|(_, ranks)| ranks.len() == most);
        always.min_by(|a, b| mean(a.1).total_cmp(&mean(b.1)).then(a.0.cmp(b.0))).map(|(name, _)| *name)
    }

    /// Rows that say nothing else of the axes of a place.
    fn ranked_at(&self, at: &Place) -> impl Iterator<Item = &Ranked> {
        let same = |one: &Ranked, axis: &str, value: &String| axis == LABEL || one.place.get(axis).is_none_or(|own| own == value);
        self.ranked.iter().filter(move |one| at.iter().all(|(axis, value)| same(one, axis, value)))
    }
}

/// Patients who tested over patients who trained, the mean of all splits; none where no split is connected.
fn test_per_train(parts: &[Part]) -> Result<Option<f64>> {
    let mut shares = Vec::new();
    for part in parts.iter().filter(|part| part.hole.is_none()) {
        let table = crate::table::Table::from_tsv(&part.tree.read("split.tsv")?).context("port `splits`: split.tsv")?;
        let (set, subject) = (table.column("set")?, table.position("subject"));
        let patients = |wanted: &str| {
            let own = table.rows.iter().filter(|row| row[set] == wanted);
            let (unknown, known): (Vec<_>, Vec<_>) =
                own.map(|row| subject.map_or("", |at| row[at].as_str())).partition(|one| one.is_empty());
            (unknown.len() + known.into_iter().collect::<BTreeSet<&str>>().len()) as f64
        };
        let (train, test) = (patients("train"), patients("test"));
        ensure!(train > 0.0 && test > 0.0, "port `splits`: a split without train or test rows");
        shares.push(test / train);
    }
    Ok((!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64))
}

#[cfg(test)]
mod tests;
