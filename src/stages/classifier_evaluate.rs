//! `classifier.evaluate`: declared here, done by `tomograph-torch`.

use crate::stage::{Artifact, Needs, Params, Port, Problem, Role};
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
    ];
    const OUTPUTS: &'static [Port] = &[
        Port::one("metrics", &[Artifact::Metrics], "figures with their intervals; confusion matrix"),
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
        problems
    }
}
