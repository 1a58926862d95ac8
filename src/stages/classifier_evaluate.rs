//! `classifier.evaluate`: declared here, done by `tomograph-torch`.

use crate::stage::{Artifact, Needs, Params, Port, Problem, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Meets a trained classifier with test images: what it says of each, and how often it is right.
///
/// For two classes precision, recall, F1, sensitivity and specificity are those of the positive class, the last one of the
/// arrays, at the likelier class; for more they are the mean over classes, each against the rest. A figure without a
/// denominator, such as the AUC of a set with one class, is null, with a warning.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassifierEvaluate {
    /// Images per step. Lower it where memory runs out.
    #[serde(default = "batch")]
    pub batch: u32,
}

fn batch() -> u32 {
    32
}

impl Params for ClassifierEvaluate {
    const KIND: &'static str = "classifier.evaluate";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::one("model", &[Artifact::Model], "a trained classifier"),
        Port::one("arrays", &[Artifact::Arrays], "images it has not learnt from, or all; features for a model that learnt from such")
            .with_roles(&[Role::Test, Role::All]),
    ];
    const OUTPUTS: &'static [Port] = &[
        Port::one("metrics", &[Artifact::Metrics], "accuracy, precision, recall, f1, sensitivity, specificity, auc; confusion matrix"),
        Port::one("predictions", &[Artifact::Predictions], "a row per image"),
    ];
    const NEEDS: Needs = Needs { cpus: 2, memory: 0, gpu: 0.0 };

    fn check(&self) -> Vec<Problem> {
        match self.batch {
            0 => vec![Problem::of("batch", "must be above 0")],
            _ => Vec::new(),
        }
    }
}
