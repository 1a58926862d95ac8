//! `classifier.train`: declared here, done by `tomograph-torch`.

use crate::stage::{Artifact, Needs, Params, Port, Problem, Role};
use crate::stages::backbones;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Trains a backbone with a dense head to tell classes of images apart, and keeps the epoch that the validation set likes best.
///
/// The grey channel is repeated three times. Behind the backbone come global average pooling, dense layers with ReLU, and
/// softmax. The loss is cross-entropy, the optimiser Adam by Keras' formula, and the defaults are those of Alzate-Grisales et
/// al., Scientific Data 9:757 (2022). No test data can be connected. Where `weights` is connected (a Keras HDF5 file, with or
/// without top), the backbone starts from it, else from Glorot-uniform numbers. A training that was killed goes on from its
/// last state; on the CPU, with the same number of threads, its result is the same to the last bit.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassifierTrain {
    /// Network behind the head, by the name of its `keras.applications` function in lower case: `mobilenet`.
    pub backbone: String,
    /// Decides the head's first weights, the order of the images and dropout.
    pub seed: u64,
    /// Passes over the training images.
    #[serde(default = "epochs")]
    pub epochs: u64,
    /// Images per step. Lower it where memory runs out. The last step of an epoch takes what is left.
    #[serde(default = "batch")]
    pub batch: u32,
    /// Adam's learning rate.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// Adam's epsilon, added to the root of the second moment.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// Units of the dense layers between pooling and softmax.
    #[serde(default = "dense")]
    pub dense: Vec<u32>,
    /// Share of values dropped before each of the first two dense layers while training (the authors' code has 0.2, their paper none).
    #[serde(default)]
    pub dropout: f64,
    /// Share of the old running mean and variance that batch normalisation keeps at each step. With 0.99, Keras' default, some
    /// 300 steps are needed until validation means anything on a network that starts from nothing.
    #[serde(default = "bn_momentum")]
    pub bn_momentum: f64,
    /// How grey values become 0 to 255 before the backbone's own preprocessing.
    #[serde(default)]
    pub normalise: Normalise,
    /// Which validation figure picks the epoch that is kept; the first of equal ones wins.
    #[serde(default)]
    pub score: Score,
}

/// How grey values become 0 to 255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Each image by its own least and greatest value.
    #[default]
    MinMax,
    /// By the whole range of the type: 0 to 65535 for uint16, 0 to 1 for float32.
    FullRange,
}

/// A figure of the validation set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// Area under the ROC curve, the higher the better; for more than two classes the mean of each against the rest.
    #[default]
    Auc,
    /// Share of images whose likeliest class is right, the higher the better.
    Accuracy,
    /// Cross-entropy, the lower the better.
    Loss,
}

fn epochs() -> u64 {
    50
}

fn batch() -> u32 {
    32
}

fn learning_rate() -> f64 {
    1e-4
}

fn epsilon() -> f64 {
    1e-7
}

fn dense() -> Vec<u32> {
    vec![1024, 512, 64]
}

fn bn_momentum() -> f64 {
    0.99
}

impl Params for ClassifierTrain {
    const KIND: &'static str = "classifier.train";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::one("train", &[Artifact::Arrays], "images to learn from").with_roles(&[Role::Train]),
        Port::one("validation", &[Artifact::Arrays], "images that pick the epoch").with_roles(&[Role::Validation]),
        Port::one("weights", &[Artifact::Files], "a Keras HDF5 file that the backbone starts from").optional(),
    ];
    const OUTPUTS: &'static [Port] = &[
        Port::one("model", &[Artifact::Model], "the kept epoch"),
        Port::one("history", &[Artifact::History], "a row per epoch"),
        Port::one("predictions", &[Artifact::Predictions], "the kept epoch on the validation images"),
    ];
    const NEEDS: Needs = Needs { cpus: 2, memory: 0, gpu: 0.0 };

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if backbones::find(&self.backbone).is_none() {
            problems.push(Problem::of("backbone", format!("there is no backbone `{}`; there are: {}", self.backbone, backbones::names())));
        }
        let mut must = |holds: bool, param: &'static str, message: &str| {
            if !holds {
                problems.push(Problem::of(param, message));
            }
        };
        must(self.epochs > 0, "epochs", "must be above 0");
        must(self.batch > 0, "batch", "must be above 0");
        must(self.learning_rate > 0.0 && self.learning_rate.is_finite(), "learning_rate", "must be a number above 0");
        must(self.epsilon > 0.0 && self.epsilon.is_finite(), "epsilon", "must be a number above 0");
        must(self.dense.iter().all(|units| *units > 0), "dense", "every layer must have units");
        must((0.0..1.0).contains(&self.dropout), "dropout", "must be at least 0 and below 1");
        must((0.0..1.0).contains(&self.bn_momentum), "bn_momentum", "must be at least 0 and below 1");
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_papers_and_nonsense_is_named() {
        let params: ClassifierTrain = serde_json::from_str(r#"{"backbone": "mobilenet", "seed": 1}"#).unwrap();
        assert!(params.check().is_empty());
        assert_eq!((params.epochs, params.learning_rate, params.dense.as_slice()), (50, 1e-4, [1024, 512, 64].as_slice()));
        let params: ClassifierTrain = serde_json::from_str(r#"{"backbone": "mobilnet", "seed": 1, "epochs": 0, "dropout": 1.0}"#).unwrap();
        assert_eq!(params.check().iter().map(|problem| problem.param).collect::<Vec<_>>(), ["backbone", "epochs", "dropout"]);
    }
}
