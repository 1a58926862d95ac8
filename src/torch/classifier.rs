//! A classifier: a backbone, a dense head, and the file that says how to build both again.
//!
//! Knows nothing of training.

use crate::arrays::Arrays;
use crate::backbones::Backbone;
use crate::job::Job;
use crate::keras_h5::Layers;
use crate::layers::{Layer, dense, global_average};
use crate::network::{Mode, Network};
use crate::pixels::Scaling;
use crate::seeds::derive;
use crate::weights::{Named, assign, from_bytes, to_bytes, variables};
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn, no_grad};
use tomograph::stage::Part;
use tomograph::stages::classifier_train::{ClassifierTrain, Normalise};
use tomograph::stats::{Confusion, auc};
use tomograph::table::Table;

/// What `model.json` says: all that is needed to build the network and feed it, and how the kept epoch did.
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
    /// Class names in the order of the outputs; for two, the positive one is the last.
    pub(crate) classes: Vec<String>,
    /// The kept epoch, counted from 1, and the params of the training that chose it.
    pub(crate) epoch: u64,
    /// Figures of the validation set at that epoch.
    pub(crate) validation: Validation,
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
    /// The recipe of a training on such arrays, before any epoch.
    pub(crate) fn of(params: &ClassifierTrain, arrays: &Arrays) -> Result<Self> {
        Ok(Self {
            architecture: "classifier".to_owned(),
            backbone: params.backbone.clone(),
            input: [arrays.size[1], arrays.size[2]],
            normalise: params.normalise,
            scaling: Backbone::named(&params.backbone)?.scaling,
            dense: params.dense.clone(),
            dropout: params.dropout,
            bn_momentum: params.bn_momentum,
            classes: arrays.classes.clone(),
            epoch: 0,
            validation: Validation::default(),
        })
    }
}

/// A network with its variables.
pub(crate) struct Classifier {
    pub(crate) recipe: Recipe,
    pub(crate) device: Device,
    /// Every variable by the name of its Keras layer, running statistics included.
    pub(crate) variables: Named,
    trunk: Network,
    head: Vec<Layer>,
    /// Owns the variables.
    _store: nn::VarStore,
}

impl Classifier {
    /// A network with fresh variables that follow from `seed`, the trunk's from `weights` where given.
    pub(crate) fn new(recipe: Recipe, seed: u64, weights: Option<Layers>, device: Device) -> Result<Self> {
        let backbone = Backbone::named(&recipe.backbone)?;
        let least = backbone.min_side() as usize;
        let [height, width] = recipe.input;
        ensure!(
            height >= least && width >= least,
            "the images are {height} × {width} pixels, but {} needs at least {least}",
            backbone.name
        );
        let store = nn::VarStore::new(device);
        tch::manual_seed(derive(&[seed, u64::MAX]));
        let trunk = backbone.build(&store.root(), Some(recipe.bn_momentum));
        if let Some(layers) = weights {
            layers.load(backbone, false, &variables(&store))?;
        }
        let mut head = Vec::new();
        let mut inward = backbone.features;
        for (number, units) in (1..).zip(&recipe.dense) {
            head.push(dense(&(store.root() / format!("dense_{number}")), inward, i64::from(*units)));
            inward = i64::from(*units);
        }
        head.push(dense(&(store.root() / "predictions"), inward, recipe.classes.len() as i64));
        Ok(Self { variables: variables(&store), recipe, device, trunk, head, _store: store })
    }

    /// Logits `[n, classes]` of `[n, 1, h, w]` grey images of 0 to 255.
    pub(crate) fn logits(&self, images: &Tensor, train: bool) -> Tensor {
        let mode = if train { Mode::Train { frozen: 0 } } else { Mode::Infer };
        let mut xs = global_average(&self.trunk.forward(&self.recipe.scaling.apply(images), mode));
        for (number, layer) in self.head.iter().enumerate() {
            // The authors' network drops before its first two dense layers.
            if train && number < 2 && self.recipe.dropout > 0.0 {
                xs = xs.dropout(self.recipe.dropout, true);
            }
            xs = layer(&xs);
            if number + 1 < self.head.len() {
                xs = xs.relu();
            }
        }
        xs
    }

    /// Probabilities of every image, and their cross-entropy. `tell` hears how many are done.
    pub(crate) fn predict(&self, arrays: &Arrays, batch: usize, tell: &dyn Fn(usize)) -> Result<Predicted> {
        let rows: Vec<usize> = (0..arrays.len()).collect();
        let mut predicted = Predicted { scores: Vec::with_capacity(rows.len()), loss: 0.0 };
        for rows in rows.chunks(batch) {
            let images = arrays.batch(rows, self.recipe.normalise, self.device)?;
            let logits = no_grad(|| self.logits(&images, false)).to_device(Device::Cpu).to_kind(Kind::Double);
            // In double precision, so that sure scores do not become equal ones.
            let shares = logits.log_softmax(-1, Kind::Double);
            let shares: Vec<Vec<f64>> = Vec::try_from(&shares).context("cannot read the scores")?;
            for (row, shares) in rows.iter().zip(shares) {
                ensure!(shares.iter().all(|share| !share.is_nan()), "the network gives no number for item {}", arrays.items[*row]);
                predicted.loss -= shares[arrays.classes_of[*row] as usize] / arrays.len() as f64;
                predicted.scores.push(shares.into_iter().map(f64::exp).collect());
            }
            tell(predicted.scores.len());
        }
        Ok(predicted)
    }

    /// Writes `model.safetensors` and `model.json` to an output port.
    pub(crate) fn save(&self, job: &Job, port: &str) -> Result<()> {
        job.cx.write(port, "model.safetensors", &to_bytes(&self.variables, None)?)?;
        let mut recipe = serde_json::to_vec_pretty(&self.recipe)?;
        recipe.push(b'\n');
        job.cx.write(port, "model.json", &recipe)
    }

    /// Builds the classifier of a `model` artifact.
    pub(crate) fn load(part: &Part, device: Device) -> Result<Self> {
        let recipe: Recipe = serde_json::from_slice(&part.tree.read("model.json")?).context("model.json")?;
        ensure!(recipe.architecture == "classifier", "the model is a {}, where a classifier is wanted", recipe.architecture);
        let classifier = Self::new(recipe, 0, None, device)?;
        let (values, _) = from_bytes(&part.tree.read("model.safetensors")?).context("model.safetensors")?;
        assign(&classifier.variables, &values).context("model.safetensors")?;
        Ok(classifier)
    }
}

/// What a classifier says of some arrays.
pub(crate) struct Predicted {
    /// Probability of each class, by image.
    pub(crate) scores: Vec<Vec<f64>>,
    /// Mean cross-entropy.
    pub(crate) loss: f64,
}

impl Predicted {
    /// The likelier class of an image, the first of equal ones.
    fn decision(scores: &[f64]) -> usize {
        (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best })
    }

    /// Counts by truth and decision.
    pub(crate) fn confusion(&self, arrays: &Arrays) -> Confusion {
        let decisions = self.scores.iter().map(|scores| Self::decision(scores));
        Confusion::of(arrays.classes.len(), arrays.classes_of.iter().map(|class| *class as usize).zip(decisions))
    }

    /// Area under the ROC curve: of the last class for two, else the mean of each against the rest. None where a class is absent.
    pub(crate) fn auc(&self, arrays: &Arrays) -> Option<f64> {
        let of = |class: usize| {
            let scores: Vec<f64> = self.scores.iter().map(|scores| scores[class]).collect();
            let positive: Vec<bool> = arrays.classes_of.iter().map(|one| *one as usize == class).collect();
            auc(&scores, &positive)
        };
        match arrays.classes.len() {
            2 => of(1),
            classes => Some((0..classes).map(of).sum::<Option<f64>>()? / classes as f64),
        }
    }

    /// The `predictions` artifact.
    pub(crate) fn table(&self, arrays: &Arrays) -> Table {
        let fixed = ["item", "subject", "label", "predicted"].map(str::to_owned);
        let mut table = Table::new(fixed.into_iter().chain(arrays.classes.iter().map(|class| format!("score_{class}"))));
        for (row, scores) in self.scores.iter().enumerate() {
            let class = |class: usize| arrays.classes[class].clone();
            let mut values = vec![
                arrays.items[row].clone(),
                arrays.subjects[row].clone(),
                class(arrays.classes_of[row] as usize),
                class(Self::decision(scores)),
            ];
            values.extend(scores.iter().map(|score| format!("{score:?}")));
            table.rows.push(values);
        }
        table
    }
}
