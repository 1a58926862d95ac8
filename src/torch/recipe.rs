//! `model.json`: all that is needed to build a classifier again and feed it, and how its kept epoch did.

use crate::arrays::Arrays;
use crate::backbones::Backbone;
use crate::pixels::Scaling;
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tomograph::content::Digest;
use tomograph::stages::classifier_train::{ClassifierTrain, Input, Normalise, Pooling, Task, Uncertain};

/// What every `classifier` is called.
const ARCHITECTURE: &str = "classifier";

/// What `model.json` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    /// `classifier`.
    pub(crate) architecture: String,
    pub(crate) backbone: String,
    /// Height and width in pixels.
    pub(crate) input: [usize; 2],
    pub(crate) normalise: Normalise,
    pub(crate) scaling: Scaling,
    /// Units of the layers between pooling and softmax.
    pub(crate) dense: Vec<u32>,
    pub(crate) dropout: f64,
    pub(crate) bn_momentum: f64,
    /// Names of classes or labels in the order of the outputs; of two classes, the positive one is the last.
    pub(crate) classes: Vec<String>,
    #[serde(default)]
    pub(crate) task: Task,
    #[serde(default)]
    pub(crate) uncertain: Uncertain,
    #[serde(default)]
    pub(crate) channels: Input,
    #[serde(default)]
    pub(crate) pooling: Pooling,
    /// Of a head that learnt from features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) features: Option<OnFeatures>,
    /// The kept epoch, counted from 1, and the params of the training that chose it.
    pub(crate) epoch: u64,
    /// Figures of the validation set at that epoch.
    pub(crate) validation: Validation,
    /// `test` where test images picked the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) selected_on: Option<String>,
}

/// What a head learnt from, where that was no images.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnFeatures {
    /// Digest of the weights that gave the features.
    pub(crate) weights: Digest,
    /// Whether the backbone is kept with the head, so that the model takes images too.
    pub(crate) backbone: bool,
}

/// Figures of the validation set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Validation {
    pub(crate) loss: Option<f64>,
    pub(crate) accuracy: Option<f64>,
    pub(crate) auc: Option<f64>,
}

impl Recipe {
    /// The recipe of a training on such arrays, before any epoch. `weights` says whether something is on that port.
    pub(crate) fn of(params: &ClassifierTrain, arrays: &Arrays, weights: bool) -> Result<Self> {
        Ok(Self {
            architecture: ARCHITECTURE.to_owned(),
            backbone: params.backbone.clone(),
            input: [arrays.size[1], arrays.size[2]],
            normalise: params.normalise,
            scaling: Backbone::named(&params.backbone)?.scaling,
            dense: params.dense.clone(),
            dropout: params.dropout,
            bn_momentum: params.bn_momentum,
            classes: arrays.classes.clone(),
            task: params.task,
            uncertain: params.uncertain,
            channels: params.input,
            pooling: params.pooling,
            features: arrays.origin.as_ref().map(|origin| OnFeatures { weights: origin.weights, backbone: weights }),
            epoch: 0,
            validation: Validation::default(),
            selected_on: None,
        })
    }

    /// Reads a `model.json`.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        // Looked at first: another architecture need not have our fields.
        let rough: serde_json::Value = serde_json::from_slice(bytes).context("it is not JSON")?;
        let architecture = rough["architecture"].as_str().unwrap_or("thing without `architecture`");
        ensure!(architecture == ARCHITECTURE, "the model is a {architecture}, where a classifier is wanted");
        serde_json::from_value(rough).context("it is of another version")
    }

    /// Whether the backbone's variables are part of the model.
    pub(crate) fn has_backbone(&self) -> bool {
        self.features.as_ref().is_none_or(|on| on.backbone)
    }
}
