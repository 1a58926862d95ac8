//! A threshold per chosen model, from what it says of the validation images, and of the patients they are of.

use super::ClassifierSelect;
use crate::report::Predictions;
use crate::stage::{Context, Part, show_coordinates};
use crate::stats::{Clusters, PerPatient, Sample, Threshold, of_sensitivity, youden};
use crate::table::Table;
use anyhow::{Context as _, Result, anyhow};

/// The threshold of images, and of patients where they are asked for.
#[derive(Default)]
struct Found {
    image: Option<Threshold>,
    patient: Option<Threshold>,
}

impl ClassifierSelect {
    /// A row per chosen model; its thresholds are empty where there are none. No row where no predictions are connected.
    pub(super) fn thresholds(&self, cx: &Context, chosen: &[&Part]) -> Result<Table> {
        let axes = chosen.first().map(|part| part.coordinates.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
        let fixed = ["model", "rule", "threshold", "sensitivity", "specificity"].map(str::to_owned);
        let of_patients = ["patient", "patient_threshold", "patient_sensitivity", "patient_specificity"].map(str::to_owned);
        let of_patients = of_patients.into_iter().filter(|_| self.patient.is_some());
        let mut table = Table::new(axes.into_iter().chain(fixed).chain(of_patients));
        let rule = self.sensitivity.map_or_else(|| "youden".to_owned(), |least| format!("sensitivity {least}"));
        for part in chosen {
            let Some(own) = cx.inputs.many("predictions").iter().find(|other| other.coordinates == part.coordinates) else { continue };
            let found = self.find(own).with_context(|| format!("port `predictions`, {}", show_coordinates(&part.coordinates)))?;
            let mut row: Vec<String> = part.coordinates.values().map(ToString::to_string).collect();
            row.extend([part.tree.digest().to_string(), rule.clone()]);
            row.extend(texts(found.image));
            if let Some(how) = self.patient {
                row.push(how.to_string());
                row.extend(texts(found.patient));
            }
            table.rows.push(row);
        }
        Ok(table)
    }

    /// Of two classes, by the score of the positive one, the last; none for more, and where only one class is there.
    fn find(&self, part: &Part) -> Result<Found> {
        if part.hole.is_some() {
            return Ok(Found::default());
        }
        let table = part.table()?;
        let predictions = Predictions::of(&table)?.and_then(|mut found| found.pop()).map(|(_, found)| found);
        let Some(predictions) = predictions.filter(|found| found.classes.len() == 2) else { return Ok(Found::default()) };
        let cut = |scores: &[f64], truth: &[usize]| {
            let positive: Vec<bool> = truth.iter().map(|class| *class == 1).collect();
            match self.sensitivity {
                Some(least) => of_sensitivity(scores, &positive, least),
                None => youden(scores, &positive),
            }
        };
        let image = cut(&predictions.of_class(1).0, &predictions.truth);
        let patient = match self.patient {
            Some(how) => patients(&predictions, how)?.and_then(|(scores, truth)| cut(&scores, &truth)),
            None => None,
        };
        Ok(Found { image, patient })
    }
}

/// The score and the class of each patient; none where no subject is known.
fn patients(predictions: &Predictions, how: PerPatient) -> Result<Option<(Vec<f64>, Vec<usize>)>> {
    let clusters = Clusters::of(&predictions.subjects);
    if !clusters.are_subjects() {
        return Ok(None);
    }
    let sample = Sample::of(&clusters, &predictions.scores, &predictions.truth).per_patient(how);
    let sample = sample.map_err(|mixed| anyhow!("param `patient`: {mixed} of the patients have images of several classes"))?;
    Ok(Some((sample.scores_of(1), sample.truth().to_vec())))
}

fn texts(found: Option<Threshold>) -> [String; 3] {
    found.map_or_else(Default::default, |one| [one.at, one.sensitivity, one.specificity].map(|value| format!("{value:?}")))
}
