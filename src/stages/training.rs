//! Params that trainings share: optimiser, schedule, augmentation, precision. Declared here, done by `tomograph-torch`.
//!
//! What was added after a kind's first revision is left out of the key while it has its default, so that old keys hold.

use super::backbones;
use crate::stage::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether a param is what it would be unsaid.
pub(super) fn unsaid<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How gradients move the weights, each by Keras' formula.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OptimiserName {
    /// Adam (Kingma and Ba, 2014).
    #[default]
    Adam,
    /// Adam with decoupled weight decay (Loshchilov and Hutter, 2017).
    Adamw,
    /// Stochastic gradient descent, with `momentum` and `nesterov`.
    Sgd,
}

/// How the learning rate changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// What becomes of the learning rate over the training.
    pub shape: Shape,
    /// Steps in which the rate first climbs from 0 to `learning_rate`.
    pub warmup: u64,
    /// Least rate, as a share of `learning_rate`, 0 to 1.
    pub floor: f64,
    /// `plateau`: what the rate is multiplied by, above 0 and below 1. Unset: 0.1.
    pub factor: Option<f64>,
    /// `plateau`: epochs in a row without a better `score` after which it is. Unset: 10.
    pub patience: Option<u64>,
}

/// The shape of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// It stays.
    #[default]
    Constant,
    /// Half a cosine from `learning_rate` down to `floor` at the last step (Keras' `CosineDecay`).
    Cosine,
    /// It is multiplied by `factor` where `patience` epochs brought no better `score` (Keras' `ReduceLROnPlateau`).
    Plateau,
}

impl Schedule {
    /// What the rate is multiplied by at a plateau.
    pub fn factor(&self) -> f64 {
        self.factor.unwrap_or(0.1)
    }

    /// Epochs without a better score that make a plateau.
    pub fn patience(&self) -> u64 {
        self.patience.unwrap_or(10)
    }

    /// What types cannot say.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, message: &str| {
            if !holds {
                problems.push(Problem::of("schedule", message));
            }
        };
        must((0.0..=1.0).contains(&self.floor), "`floor` must be 0 to 1");
        must(self.floor == 0.0 || self.shape != Shape::Constant, "`floor` says nothing where `shape` is \"constant\"");
        let plateau = self.shape == Shape::Plateau || (self.factor.is_none() && self.patience.is_none());
        must(plateau, "`factor` and `patience` are of `shape = \"plateau\"`");
        must(self.factor() > 0.0 && self.factor() < 1.0, "`factor` must be above 0 and below 1");
        must(self.patience() > 0, "`patience` must be above 0");
        problems
    }
}

/// How training images are changed at random, anew in every epoch. What an image becomes follows from `seed`, the epoch and its item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Mirror half of the images left to right. A mirrored chest has its heart on the wrong side.
    pub flip: bool,
    /// Turn by up to this many degrees either way, 0 to 180.
    pub rotate: f64,
    /// Move by up to this share of the side, along each axis, 0 to 1. What comes in from outside is black.
    pub shift: f64,
    /// Enlarge or shrink by up to this share, 0 to below 1.
    pub scale: f64,
    /// Add up to this share of the whole range of grey, either way, 0 to 1; values are cut at black and white.
    pub brightness: f64,
    /// Standard deviation of the Gaussian noise added to each pixel, as a share of the range of grey, 0 to 1.
    pub noise: f64,
}

impl Augment {
    /// What types cannot say.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let limits =
            [("rotate", self.rotate, 180.0), ("shift", self.shift, 1.0), ("brightness", self.brightness, 1.0), ("noise", self.noise, 1.0)];
        for (name, value, limit) in limits {
            if !(0.0..=limit).contains(&value) {
                problems.push(Problem::of("augment", format!("`{name}` must be 0 to {limit}")));
            }
        }
        if !(0.0..1.0).contains(&self.scale) {
            problems.push(Problem::of("augment", "`scale` must be at least 0 and below 1"));
        }
        problems
    }
}

/// Numbers that a network computes in. Weights, batch statistics, head and loss stay in single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single precision throughout; no TF32 on a GPU.
    #[default]
    F32,
    /// The trunk in bfloat16. Needs a processor or a GPU that has it.
    Bf16,
    /// The trunk in half precision, with the loss scaled so that small gradients survive. Needs a device that has it.
    F16,
}

/// What each class counts in the loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// Every image counts the same.
    #[default]
    None,
    /// Inversely to the class's share of the training images, so that the mean weight is 1; with labels, positives against negatives.
    Balanced,
    /// A weight for each class by its name, as `{ given = { well = 1.0, ill = 2.5 } }`; with labels, of its positives.
    Given(BTreeMap<String, f64>),
}

impl ClassWeights {
    /// What types cannot say.
    pub fn check(&self) -> Vec<Problem> {
        match self {
            Self::Given(weights) if weights.values().any(|weight| !(weight.is_finite() && *weight >= 0.0)) => {
                vec![Problem::of("class_weights", "must be numbers of at least 0")]
            }
            _ => Vec::new(),
        }
    }
}

/// Which layers of the backbone learn; the head always does. Frozen layers run as in use: their batch normalisation has the statistics of
/// the weights it started from, and does not update them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Trains {
    /// All.
    #[default]
    All,
    /// None of the backbone.
    Head,
    /// The last so many blocks of the backbone, as `{ last = 2 }`.
    Last(u32),
    /// A layer and all behind it, by the layer's name in Keras, as `{ from = "conv_pw_12_relu" }`.
    From(String),
}

/// The problem of a backbone that is not there.
pub(super) fn unknown_backbone(name: &str) -> Option<Problem> {
    let unknown = backbones::find(name).is_none();
    unknown.then(|| Problem::of("backbone", format!("there is no backbone `{name}`; there are: {}", backbones::names())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        let said = |problems: Vec<Problem>| problems.into_iter().map(|one| one.message).collect::<Vec<_>>();
        assert!(said(Schedule::default().check()).is_empty() && said(Augment::default().check()).is_empty());
        let odd = Schedule { floor: 0.1, factor: Some(2.0), ..Schedule::default() };
        assert_eq!(said(odd.check()).len(), 3);
        let odd = Augment { rotate: 200.0, scale: 1.0, ..Augment::default() };
        assert_eq!(said(odd.check()), ["`rotate` must be 0 to 180", "`scale` must be at least 0 and below 1"]);
        assert_eq!(said(ClassWeights::Given([("a".to_owned(), -1.0)].into()).check()), ["must be numbers of at least 0"]);
    }
}
