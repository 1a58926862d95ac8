//! `classifier.evaluate`: declared here, done by `tomograph-torch`; what is measured of scores is here too.

mod arriving;
mod views;

pub use arriving::{Group, Thresholds};
pub use views::{Scored, Truth, View, Views};

use crate::stage::{Artifact, Needs, Params, Port, Problem, Role};
use crate::stats::PerPatient;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Meets a trained classifier with test images: what it says of each, and how often it is right.
///
/// For two classes precision, recall, F1, sensitivity and specificity are those of the positive class, the last one of the
/// arrays, at the likelier class; for more they are the mean over classes, each against the rest. A figure without a
/// denominator, such as the AUC of a set with one class, is null, with a warning.
///
/// For two classes there are also the balanced accuracy, the average precision, the Brier score, the expected calibration error (ten bins
/// of equal width), and, by logistic recalibration, `calibration_intercept` (what is to be added to the log odds, their slope being 1;
/// 0 is right) and `calibration_slope` (1 is right, less is too sure; null where a cut of the scores tells the classes apart).
///
/// Every figure has a 95 % interval: subjects are drawn with replacement, with all their images (an image without one is drawn alone;
/// `clustered_by` says what was drawn), and the interval is that between the 2.5th and the 97.5th percentile of the figure in the draws.
/// With one subject there is none. Where a figure is at its bound in every draw, such as an AUC of 1, it has no width, and says little.
///
/// More is measured where it is asked for, each with the same figures: decisions at a threshold that validation chose (port `threshold`,
/// such as `choose.threshold` beside `model = "choose.models"`; at least that score is positive), patients instead of images (`patient`),
/// and subgroups (`by`). A threshold is of two classes; that of patients is used for patients alone.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassifierEvaluate {
    /// Images per step. Lower it where memory runs out.
    #[serde(default = "batch")]
    pub batch: u32,
    /// How often subjects are drawn for the intervals, at most 100000; 0 gives none.
    #[serde(default = "draws")]
    pub draws: u32,
    /// What the draws follow from.
    #[serde(default = "bootstrap_seed")]
    pub bootstrap_seed: u64,
    /// Shares of positives, above 0 and below 1, for which two classes get `ppv_prevalence_P` and `npv_prevalence_P`: what a decision is
    /// worth where so many of those who come are positive.
    #[serde(default)]
    pub prevalences: Vec<f64>,
    /// Measures patients too, by one score each: the `mean` of their images' scores, the highest (`max`), or that of their `first` image by
    /// item. An image without a subject counts alone; where no subject is known there are no figures per patient. Unset: images only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<PerPatient>,
    /// Measures the subgroups of these columns too, such as `["sex", "manufacturer"]`: those of the table on port `groups`, which is joined
    /// by item, else by subject. `report.*` hides small ones of people's data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
}

fn batch() -> u32 {
    32
}

fn draws() -> u32 {
    2000
}

fn bootstrap_seed() -> u64 {
    1
}

impl Params for ClassifierEvaluate {
    const KIND: &'static str = "classifier.evaluate";
    const REVISION: u32 = 2;
    const REVISIONS: &'static [(u32, &'static str)] = &[(2, "more figures, each with its interval")];
    const INPUTS: &'static [Port] = &[
        Port::one("model", &[Artifact::Model], "a trained classifier"),
        Port::one("arrays", &[Artifact::Arrays], "images it has not learnt from, or all; features for a model that learnt from such")
            .with_roles(&[Role::Test, Role::All]),
        Port::one("threshold", &[Artifact::Table], "a threshold by model, as `classifier.select` gives it; or one row, for any model")
            .optional(),
        Port::one(
            "groups",
            &[Artifact::Table, Artifact::Cohort, Artifact::Split, Artifact::Images, Artifact::Studies],
            "columns for `by`, by item or by subject",
        )
        .optional(),
    ];
    const OUTPUTS: &'static [Port] = &[
        Port::one(
            "metrics",
            &[Artifact::Metrics],
            "figures with their intervals, confusion matrix; in `views` those of other thresholds, patients and subgroups",
        ),
        Port::one("predictions", &[Artifact::Predictions], "a row per image"),
    ];
    const NEEDS: Needs = Needs { cpus: 2, memory: 0, gpu: 0.0 };

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.batch == 0 {
            problems.push(Problem::of("batch", "must be above 0"));
        }
        if self.draws > 100_000 {
            problems.push(Problem::of("draws", "must be at most 100000"));
        }
        if self.prevalences.iter().any(|share| !(*share > 0.0 && *share < 1.0)) {
            problems.push(Problem::of("prevalences", "must be above 0 and below 1"));
        }
        if self.prevalences.iter().enumerate().any(|(at, share)| self.prevalences[..at].contains(share)) {
            problems.push(Problem::of("prevalences", "names a share twice"));
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = self.by.iter().find(|column| !seen.insert(*column)) {
            problems.push(Problem::of("by", format!("names `{twice}` twice")));
        }
        problems
    }

    fn unread(&self) -> Vec<&'static str> {
        if self.by.is_empty() { vec!["groups"] } else { Vec::new() }
    }
}
