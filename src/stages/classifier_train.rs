//! `classifier.train`: declared here, done by `tomograph-torch`.

use super::training::{Augment, ClassWeights, OptimiserName, Precision, Schedule, Trains, unknown_backbone, unsaid};
use crate::stage::{Artifact, Needs, Params, Port, Problem, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Trains a backbone with a dense head to tell classes of images apart, and keeps the epoch that the validation set likes best.
///
/// The grey channel is repeated three times. Behind the backbone come global pooling, dense layers with ReLU, and softmax (or a
/// sigmoid per label). The defaults are those of Alzate-Grisales et al., Scientific Data 9:757 (2022): Adam, cross-entropy, no
/// augmentation. Test data reach nothing but the port `peek`. Where `weights` is connected (a Keras file, with or without top, or a model that
/// this kind trained), the backbone starts from it, else from Glorot-uniform numbers: a head trained first with `trains = "head"`
/// and then everything with `load = "all"` at a tenth of the rate is two stages. A training that was killed goes on from its
/// last state; on the CPU, with the same number of threads, its result is the same to the last bit. The figures of the training
/// set in the history are of the epoch's own steps, while the weights moved.
///
/// Arrays `[n, f]` of `classifier.features` on both ports train the head alone, in seconds. With the same `weights` connected as the
/// features were made with, the model has the backbone too: it then takes images, and a second stage can train all of it. Without, it
/// is a head that takes features.
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
    /// Learning rate of the optimiser, before `schedule`.
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
    /// Whether an image has one class, or any number of labels.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub task: Task,
    /// `labels`: what a label is taken for that the table calls uncertain (-1). Blank ones never count.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub uncertain: Uncertain,
    /// What each class counts in the loss.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub class_weights: ClassWeights,
    /// Share of the target that is spread over all classes, at least 0 and below 1.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub label_smoothing: f64,
    /// How one grey channel becomes the three that the backbone takes.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub input: Input,
    /// How the last feature map becomes one vector.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub pooling: Pooling,
    /// Which layers of the backbone learn.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub trains: Trains,
    /// What is taken from `weights` where it is a model that this kind trained.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub load: Load,
    /// How gradients move the weights.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub optimiser: OptimiserName,
    /// `adamw`: share of each weight taken off per step, times the learning rate. Unset: Keras' 0.004.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub weight_decay: Option<f64>,
    /// `sgd`: share of the last move that is repeated, at least 0 and below 1.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub momentum: f64,
    /// `sgd`: Nesterov's momentum.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub nesterov: bool,
    /// How the learning rate changes.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub schedule: Schedule,
    /// Epochs in a row without a better `score` after which the training ends early. Unset: it never does.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub patience: Option<u64>,
    /// Greatest norm that all gradients together may have; longer ones are shortened to it. Unset: any.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub clip: Option<f64>,
    /// Images that go through the network at once; gradients are summed until `batch` is reached. For memory: each part has its own
    /// batch statistics. Unset: `batch`.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub micro_batch: Option<u32>,
    /// How training images are changed at random.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub augment: Augment,
    /// Numbers that the backbone computes in, while it trains and where the validation set judges it.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub precision: Precision,
    /// Insist on equal bits from equal inputs. The CPU gives them anyway; on a GPU the training is refused, as libtorch cannot promise them
    /// there.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub deterministic: bool,
}

/// What an image may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Of one class: softmax and cross-entropy.
    #[default]
    Classes,
    /// Whatever of several labels holds (`dataset.pack` with `labels`): a sigmoid and binary cross-entropy each; blanks do not count.
    Labels,
}

/// What a label of -1 is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Uncertain {
    /// Unknown: it does not count.
    #[default]
    Ignore,
    /// Positive.
    Positive,
    /// Negative.
    Negative,
}

/// How grey becomes three channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// Three times the same, each scaled as the backbone's weights want it.
    #[default]
    Repeat,
    /// By a 3×3 convolution that learns, over grey of 0 to 1 (the published code).
    Learned,
}

/// How a feature map becomes a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The mean of each channel.
    #[default]
    Average,
    /// Its greatest value.
    Max,
}

/// What is taken from a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// The backbone; the head begins anew.
    #[default]
    Trunk,
    /// Backbone, input and head, which must have the same classes and layers.
    All,
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
    /// The loss, the lower the better.
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
    const REVISION: u32 = 5;
    const REVISIONS: &'static [(u32, &'static str)] = &[
        (2, "the history has the learning rate and the AUC of the training set"),
        (3, "a head's first weights do not depend on the backbone in front of it"),
        (4, "bf16 on the CPU: strided depthwise convolutions are computed in single precision"),
        (5, "bf16 on the CPU: depthwise convolutions of 3x3 stay in bf16, wider ones are computed in single precision"),
    ];
    const INPUTS: &'static [Port] = &[
        Port::one("train", &[Artifact::Arrays], "images to learn from, or their features").with_roles(&[Role::Train]),
        Port::one("validation", &[Artifact::Arrays], "images that pick the epoch, or their features").with_roles(&[Role::Validation]),
        Port::one("weights", &[Artifact::Files, Artifact::Model], "a Keras file or a trained model that the backbone starts from")
            .optional(),
        Port::one(
            "peek",
            &[Artifact::Arrays],
            "test images that pick the epoch in the place of the validation set, only to repeat what the paper's code did: what follows is \
             marked `selected on test`",
        )
        .with_roles(&[Role::Test])
        .optional(),
    ];
    const OUTPUTS: &'static [Port] = &[
        Port::one("model", &[Artifact::Model], "the kept epoch"),
        Port::one("history", &[Artifact::History], "a row per epoch"),
        Port::one("predictions", &[Artifact::Predictions], "the kept epoch on the validation images"),
    ];
    const NEEDS: Needs = Needs { cpus: 2, memory: 0, gpu: 0.0 };

    fn check(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = unknown_backbone(&self.backbone).into_iter().collect();
        problems.extend(self.schedule.check());
        problems.extend(self.augment.check());
        problems.extend(self.class_weights.check());
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
        must((0.0..1.0).contains(&self.label_smoothing), "label_smoothing", "must be at least 0 and below 1");
        must(self.uncertain == Uncertain::Ignore || self.task == Task::Labels, "uncertain", "says something only with `task = \"labels\"`");
        let above = |value: Option<f64>| value.is_none_or(|value| value > 0.0 && value.is_finite());
        must(above(self.clip), "clip", "must be a number above 0");
        must(above(self.weight_decay), "weight_decay", "must be a number above 0");
        let adamw = self.optimiser == OptimiserName::Adamw || self.weight_decay.is_none();
        must(adamw, "weight_decay", "says something only with `optimiser = \"adamw\"`");
        must((0.0..1.0).contains(&self.momentum), "momentum", "must be at least 0 and below 1");
        let sgd = self.optimiser == OptimiserName::Sgd || (self.momentum == 0.0 && !self.nesterov);
        must(sgd, "momentum", "and `nesterov` say something only with `optimiser = \"sgd\"`");
        must(!self.nesterov || self.momentum > 0.0 || !sgd, "nesterov", "needs a `momentum` above 0");
        must(self.patience != Some(0), "patience", "must be above 0");
        let micro = self.micro_batch.is_none_or(|micro| micro > 0 && micro <= self.batch);
        must(micro, "micro_batch", "must be above 0 and at most `batch`");
        must(self.trains != Trains::Last(0), "trains", "must be at least one block; `\"head\"` trains none");
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(json: &str) -> Vec<&'static str> {
        let params: ClassifierTrain = serde_json::from_str(json).unwrap();
        params.check().iter().map(|problem| problem.param).collect()
    }

    #[test]
    fn defaults_are_the_papers_and_nonsense_is_named() {
        let params: ClassifierTrain = serde_json::from_str(r#"{"backbone": "mobilenet", "seed": 1}"#).unwrap();
        assert!(params.check().is_empty());
        assert_eq!((params.epochs, params.learning_rate, params.dense.as_slice()), (50, 1e-4, [1024, 512, 64].as_slice()));
        assert_eq!(named(r#"{"backbone": "mobilnet", "seed": 1, "epochs": 0, "dropout": 1.0}"#), ["backbone", "epochs", "dropout"]);
        let odd = r#"{"backbone": "mobilenet", "seed": 1, "momentum": 0.9, "weight_decay": 0.1, "uncertain": "positive",
            "micro_batch": 33, "trains": {"last": 0}, "patience": 0, "learning_rate": 0}"#;
        assert_eq!(named(odd), ["learning_rate", "uncertain", "weight_decay", "momentum", "patience", "micro_batch", "trains"]);
    }

    #[test]
    fn a_param_that_came_later_is_in_no_key_until_it_is_said() {
        let keyed = |json: &str| serde_json::to_value(serde_json::from_str::<ClassifierTrain>(json).unwrap()).unwrap();
        let plain = keyed(r#"{"backbone": "mobilenet", "seed": 1}"#);
        let names: Vec<&str> = plain.as_object().unwrap().keys().map(String::as_str).collect();
        let first = "backbone seed epochs batch learning_rate epsilon dense dropout bn_momentum normalise score";
        assert_eq!(names.join(" "), first);
        let said = r#"{"backbone": "mobilenet", "seed": 1, "optimiser": "adam", "trains": "all", "schedule": {"shape": "constant"},
            "augment": {"flip": false}, "class_weights": "none"}"#;
        assert_eq!(keyed(said), plain);
        let other = r#"{"backbone": "mobilenet", "seed": 1, "trains": {"from": "conv_pw_12_relu"}, "class_weights": {"given": {"a": 2}}}"#;
        assert_eq!(keyed(other)["trains"], serde_json::json!({"from": "conv_pw_12_relu"}));
    }
}
