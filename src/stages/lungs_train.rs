//! `lungs.train`: declared here, done by `tomograph-torch`.

use super::training::{Augment, Precision, unsaid};
use crate::stage::{Artifact, Needs, Params, Port, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Trains a U-Net to find the lungs in chest images, and keeps the epoch with the best Dice on the validation set.
///
/// The network and its defaults are those of Arias-Garzón et al., Machine Learning with Applications 6:100138 (2021): blocks of
/// two 3×3 convolutions with ReLU and dropout between them, 2×2 max pooling, 2×2 transposed convolutions, skip connections, one
/// sigmoid. Images of any size are stretched to `side` × `side` and each spread from its least to its greatest value. Only rows of
/// the split's sets `train` and `validation` are read. Dice here is that of each image, over thresholded masks, averaged over
/// images; that of the authors' code counts every row of pixels alone and comes out higher. A training that was killed goes on
/// from its last state.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LungsTrain {
    /// Decides the first weights, the order of the images, dropout and augmentation.
    pub seed: u64,
    /// Side of the network's input in pixels: a multiple of 16 with five blocks.
    #[serde(default = "side")]
    pub side: u32,
    /// Filters of the first block; each further block has twice as many.
    #[serde(default = "filters")]
    pub filters: u32,
    /// Share of values dropped between the two convolutions of each contraction block, at least 0 and below 1: the network has as many blocks
    /// as numbers. The expansion blocks mirror them.
    #[serde(default = "dropout")]
    pub dropout: Vec<f64>,
    /// Batch normalisation between each convolution and its ReLU.
    #[serde(default)]
    pub batch_norm: bool,
    /// What is made small.
    #[serde(default)]
    pub loss: Loss,
    /// Passes over the training images.
    #[serde(default = "epochs")]
    pub epochs: u64,
    /// Images per step. Lower it where memory runs out. The last step of an epoch takes what is left.
    #[serde(default = "batch")]
    pub batch: u32,
    /// Adam's learning rate.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// Epochs in a row without a better Dice after which the training ends early. Unset: it never does.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub patience: Option<u64>,
    /// How training images and their masks are changed at random, together.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub augment: Augment,
    /// Numbers that the network computes in.
    #[serde(default, skip_serializing_if = "unsaid")]
    pub precision: Precision,
}

/// A loss over the network's probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// 1 less the soft Dice of each image. From fresh weights at 1e-3 it may call everything lung and stay there (seen for 26 epochs on 83
    /// pairs); the authors' Dice, which counts every pixel alone, does not have this.
    Dice,
    /// Binary cross-entropy of each pixel.
    Bce,
    /// The sum of both: as sure as the one to begin, and as close to the figure that is wanted as the other.
    #[default]
    #[serde(rename = "bce+dice")]
    BceDice,
}

fn side() -> u32 {
    224
}

fn filters() -> u32 {
    64
}

fn dropout() -> Vec<f64> {
    vec![0.1, 0.1, 0.2, 0.2, 0.3]
}

fn epochs() -> u64 {
    200
}

fn batch() -> u32 {
    32
}

fn learning_rate() -> f64 {
    1e-3
}

/// Blocks that any image would still fit through.
const DEEPEST: usize = 8;

impl Params for LungsTrain {
    const KIND: &'static str = "lungs.train";
    const REVISION: u32 = 2;
    const REVISIONS: &'static [(u32, &'static str)] = &[(2, "dropout on the CPU draws other numbers")];
    const INPUTS: &'static [Port] = &[
        Port::one("images", &[Artifact::Images], "chest images of any size"),
        Port::one("masks", &[Artifact::Masks], "their lungs, 0 or 255, matched by item; images without one are left out"),
        Port::one("split", &[Artifact::Split, Artifact::Table], "item and set: `train` is learnt from, `validation` picks the epoch"),
    ];
    const OUTPUTS: &'static [Port] =
        &[Port::one("model", &[Artifact::Model], "the kept epoch"), Port::one("history", &[Artifact::History], "a row per epoch")];
    const NEEDS: Needs = Needs { cpus: 2, memory: 0, gpu: 0.0 };

    fn check(&self) -> Vec<Problem> {
        let mut problems = self.augment.check();
        let mut must = |holds: bool, param: &'static str, message: String| {
            if !holds {
                problems.push(Problem::of(param, message));
            }
        };
        let blocks = self.dropout.len();
        must((2..=DEEPEST).contains(&blocks), "dropout", format!("must have 2 to {DEEPEST} numbers, one per block, not {blocks}"));
        must(self.dropout.iter().all(|rate| (0.0..1.0).contains(rate)), "dropout", "must be at least 0 and below 1".to_owned());
        let stride = 1 << blocks.clamp(1, DEEPEST).saturating_sub(1);
        let fits = self.side > 0 && self.side.is_multiple_of(stride);
        must(fits, "side", format!("must be a multiple of {stride}, which {blocks} blocks halve it to, not {}", self.side));
        must(self.filters > 0, "filters", "must be above 0".to_owned());
        must(self.epochs > 0, "epochs", "must be above 0".to_owned());
        must(self.batch > 0, "batch", "must be above 0".to_owned());
        must(self.patience != Some(0), "patience", "must be above 0".to_owned());
        let rate = self.learning_rate > 0.0 && self.learning_rate.is_finite();
        must(rate, "learning_rate", "must be a number above 0".to_owned());
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_papers_and_nonsense_is_named() {
        let params: LungsTrain = serde_json::from_str(r#"{"seed": 1}"#).unwrap();
        assert!(params.check().is_empty());
        assert_eq!((params.side, params.filters, params.epochs, params.batch, params.learning_rate), (224, 64, 200, 32, 1e-3));
        let params: LungsTrain = serde_json::from_str(r#"{"seed": 1, "side": 100, "filters": 0, "dropout": [0.1, 1.0, 0.1]}"#).unwrap();
        let found: Vec<String> = params.check().into_iter().map(|problem| format!("{} {}", problem.param, problem.message)).collect();
        assert_eq!(found, ["dropout must be at least 0 and below 1", "filters must be above 0"]);
        let params: LungsTrain = serde_json::from_str(r#"{"seed": 1, "side": 100}"#).unwrap();
        assert_eq!(params.check()[0].message, "must be a multiple of 16, which 5 blocks halve it to, not 100");
    }
}
