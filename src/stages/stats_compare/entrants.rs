//! Who takes part: predictions by model, brought together where they are of the same split and place.

use super::{StatsCompare, Unit};
use crate::report::{Place, Predictions};
use crate::stage::{Context, Part};
use crate::stages::runs::{place, predicted};
use crate::stats::{Answers, Clusters, Counts, Measured, Paired, PerPatient, same_of_all};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::{BTreeSet, HashMap};

/// The axis that labels give.
pub(super) const LABEL: &str = "from";

/// The axis that is compared where nothing is said.
const USUAL: &str = "backbone";

/// One model on one split.
pub(super) struct Entrant {
    /// All its coordinates.
    at: Place,
    pub(super) name: String,
    /// Else the class of its failure.
    pub(super) outcome: Result<Predictions, String>,
}

/// All that takes part.
pub(super) struct Entrants {
    pub(super) axis: String,
    over: Vec<String>,
    entrants: Vec<Entrant>,
    /// By the coordinates of the model they are of.
    pub(super) thresholds: Vec<(Place, f64)>,
}

/// Models that are held against each other.
pub(super) struct Contest<'e> {
    /// What they share, but for the repeated axes.
    pub(super) place: Place,
    /// Values of the repeated axes.
    pub(super) split: Place,
    pub(super) entrants: Vec<&'e Entrant>,
}

/// Models of a contest on the same rows.
pub(super) struct Panel {
    pub(super) paired: Paired,
    /// Rows of one patient.
    patients: Clusters,
    /// Whether it is known who is on the images.
    pub(super) known: bool,
}

impl Entrants {
    /// Reads the ports `predictions` and `thresholds`.
    pub(super) fn read(cx: &Context, params: &StatsCompare) -> Result<Self> {
        let mut found: Vec<(Place, Result<Predictions, String>)> = Vec::new();
        for part in cx.inputs.many("predictions") {
            match &part.hole {
                Some(class) => found.push((place(part), Err(class.clone()))),
                None => {
                    let own = predicted(part)?;
                    ensure!(!own.is_empty(), "port `predictions` has labels that may hold together: only classes are compared");
                    found.extend(own.into_iter().map(|(place, predictions)| (place, Ok(predictions))));
                }
            }
        }
        ensure!(found.iter().any(|(_, outcome)| outcome.is_ok()), "port `predictions`: no run has any");
        let axis = params.axis(&found)?;
        let name = |at: &Place| at.get(&axis).or_else(|| at.get(LABEL)).cloned().unwrap_or_default();
        let entrants = found.into_iter().map(|(at, outcome)| Entrant { name: name(&at), at, outcome }).collect();
        let mut read = Self { axis, over: params.over.clone(), entrants, thresholds: Vec::new() };
        for part in cx.inputs.many("thresholds").iter().filter(|part| part.hole.is_none()) {
            let own = read.thresholds_of(part, params.patient).context("port `thresholds`")?;
            read.thresholds.extend(own);
        }
        Ok(read)
    }

    pub(super) fn is_axis(&self, column: &str) -> bool {
        self.entrants.iter().any(|one| one.at.contains_key(column))
    }

    /// Those of images, or of patients where they have one score each.
    fn thresholds_of(&self, part: &Part, patient: Option<PerPatient>) -> Result<Vec<(Place, f64)>> {
        let table = part.table()?;
        let value = match patient {
            None => table.column("threshold")?,
            Some(how) => {
                let columns = table.position("patient").zip(table.position("patient_threshold"));
                let (said, value) = columns.with_context(|| {
                    format!("has thresholds of images only: give the stage that makes them the param `patient = \"{how}\"` too")
                })?;
                if let Some(row) = table.rows.iter().find(|row| row[said] != how.to_string()) {
                    bail!("its thresholds of patients are of the `{}` of their scores, and param `patient` is `{how}`", row[said]);
                }
                value
            }
        };
        let row = |row: &Vec<String>| {
            let own = table.columns.iter().zip(row).filter(|(column, _)| self.is_axis(column));
            let mut at: Place = place(part).into_iter().chain(own.map(|(axis, value)| (axis.clone(), value.clone()))).collect();
            at.remove(LABEL);
            let value = row[value].parse::<f64>().ok().filter(|value| !value.is_nan()).context("a threshold is no number")?;
            Ok((at, value))
        };
        // Of a model whose validation set has one class there is none.
        table.rows.iter().filter(|row| !row[value].is_empty()).map(row).collect()
    }

    /// Those of one split and place together, in the order of their first.
    pub(super) fn contests(&self) -> Vec<Contest<'_>> {
        let split = |one: &Entrant| -> Place {
            one.at.iter().filter(|(axis, _)| self.over.contains(axis)).map(|(axis, value)| (axis.clone(), value.clone())).collect()
        };
        let rest = |one: &Entrant, labelled: bool| -> Place {
            let own = one.at.iter().filter(|(axis, _)| **axis != self.axis && !self.over.contains(axis) && (labelled || *axis != LABEL));
            own.map(|(axis, value)| (axis.clone(), value.clone())).collect()
        };
        // A label that tells nothing apart is no part of a place.
        let mut seen = BTreeSet::new();
        let labelled = !self.entrants.iter().all(|one| seen.insert((one.name.clone(), rest(one, false), split(one))));
        let mut contests: Vec<Contest> = Vec::new();
        for one in &self.entrants {
            let (place, split) = (rest(one, labelled), split(one));
            match contests.iter_mut().find(|contest| contest.place == place && contest.split == split) {
                Some(contest) => contest.entrants.push(one),
                None => contests.push(Contest { place, split, entrants: vec![one] }),
            }
        }
        contests
    }
}

impl StatsCompare {
    fn axis(&self, found: &[(Place, Result<Predictions, String>)]) -> Result<String> {
        let axes: BTreeSet<&str> = found
            .iter()
            .flat_map(|(at, _)| at.keys())
            .map(String::as_str)
            .filter(|axis| !self.over.iter().any(|over| over == axis))
            .collect();
        let list = || axes.iter().copied().collect::<Vec<_>>().join(", ");
        if let Some(axis) = &self.axis {
            ensure!(axes.contains(axis.as_str()), "param `axis`: the predictions have no axis `{axis}`; there are {}", list());
            return Ok(axis.clone());
        }
        if axes.contains(USUAL) {
            return Ok(USUAL.to_owned());
        }
        let others: Vec<&str> = axes.iter().copied().filter(|axis| *axis != LABEL).collect();
        match (others.as_slice(), axes.contains(LABEL)) {
            ([axis], _) => Ok((*axis).to_owned()),
            ([], true) => Ok(LABEL.to_owned()),
            ([], false) => bail!("port `predictions` has one model: gather several, such as `test.predictions[*]`, or give each a label"),
            _ => bail!("the predictions have the axes {}: say with the param `axis` which one is compared", list()),
        }
    }

    /// Models with predictions on the same rows; an error where they are of other patients or images.
    pub(super) fn panel(&self, contest: &Contest, thresholds: &[(Place, f64)]) -> Result<Option<Panel>> {
        let there: Vec<(&Entrant, &Predictions)> =
            contest.entrants.iter().filter_map(|one| Some((*one, one.outcome.as_ref().ok()?))).collect();
        let Some((first, base)) = there.first() else { return Ok(None) };
        ensure!(!base.items.is_empty(), "the predictions of {} have no row whose label is known", first.name);
        let class = self.class(&base.classes)?;
        let truth: Vec<bool> = base.truth.iter().map(|truth| *truth == class).collect();
        let order = index(base).with_context(|| first.name.clone())?;
        let mut scores = Vec::with_capacity(there.len());
        for (entrant, own) in &there {
            ensure!(own.classes == base.classes, "{} and {} know other classes", first.name, entrant.name);
            index(own).with_context(|| entrant.name.clone())?;
            same_rows((&first.name, base), (&entrant.name, own))?;
            let mut column = vec![0.0; base.items.len()];
            for (row, item) in own.items.iter().enumerate() {
                let at = order[item.as_str()];
                ensure!(own.truth[row] == base.truth[at], "{} and {} have other labels for the same image", first.name, entrant.name);
                column[at] = own.scores[row][class];
            }
            scores.push(column);
        }
        let known = base.subjects.iter().any(|subject| !subject.is_empty());
        let patients = Clusters::of(&base.subjects);
        let (clusters, patients, positive) = match self.patient {
            Some(rule) => {
                let positive = same_of_all(&patients, &truth).map_err(|differ| {
                    let what = "have images of both classes, so that one score per patient has no one label";
                    anyhow::anyhow!("{differ} patients {what}: leave out `patient`, and images are compared in the clustered forms")
                })?;
                scores.iter_mut().for_each(|column| *column = rule.of(&patients, column));
                (apart(positive.len()), apart(positive.len()), positive)
            }
            None if self.unit == Unit::Image => (apart(truth.len()), patients, truth),
            None => (patients.clone(), patients, truth),
        };
        let model = |((entrant, _), scores): (&(&Entrant, &Predictions), Vec<f64>)| {
            let own = thresholds.iter().find(|(at, _)| at.iter().all(|(axis, value)| entrant.at.get(axis) == Some(value)));
            let decided = scores.iter().map(|score| own.map_or(*score > 0.5, |(_, least)| score >= least)).collect();
            Answers { scores, decided }
        };
        let models = there.iter().zip(scores).map(model).collect();
        Ok(Some(Panel { paired: Paired { clusters, positive, models }, patients, known }))
    }

    /// Place of the positive class.
    fn class(&self, classes: &[String]) -> Result<usize> {
        match &self.positive {
            Some(name) => {
                let found = classes.iter().position(|class| class == name);
                found.with_context(|| format!("param `positive`: there is no class `{name}`; there are {}", classes.join(", ")))
            }
            None if classes.len() == 2 => Ok(1),
            None => bail!("there are the classes {}: say with the param `positive` which one counts", classes.join(", ")),
        }
    }
}

impl Panel {
    /// What a figure rests on, in patients.
    pub(super) fn counts(&self, figure: Measured) -> Counts {
        self.paired.counts(figure, &self.patients)
    }
}

/// Each row alone.
fn apart(rows: usize) -> Clusters {
    Clusters::of(&vec![String::new(); rows])
}

/// Rows by item.
fn index(predictions: &Predictions) -> Result<HashMap<&str, usize>> {
    let found: HashMap<&str, usize> = predictions.items.iter().enumerate().map(|(row, item)| (item.as_str(), row)).collect();
    let twice = predictions.items.len() - found.len();
    ensure!(twice == 0, "{twice} rows have the item of an earlier one");
    Ok(found)
}

/// An error, with counts alone, where two models were not asked about the same patients, or images.
fn same_rows((one_name, one): (&str, &Predictions), (other_name, other): (&str, &Predictions)) -> Result<()> {
    let told = |what: &str, first: BTreeSet<&String>, second: BTreeSet<&String>| {
        let shared = first.intersection(&second).count();
        if shared == first.len() && shared == second.len() {
            return Ok(());
        }
        let alone = [(one_name, first.len() - shared), (other_name, second.len() - shared)];
        let alone = alone.map(|(name, count)| format!("{count} only in {name}")).join(", ");
        bail!(
            "{one_name} and {other_name} were not asked about the same {what}: {shared} are in both, {alone}; only models on the same \
             patients can be compared"
        )
    };
    told("patients", one.subjects.iter().collect(), other.subjects.iter().collect())?;
    told("images", one.items.iter().collect(), other.items.iter().collect())
}
