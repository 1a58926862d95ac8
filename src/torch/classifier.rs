//! A classifier: a backbone, a dense head, and the file that says how to build both again.
//!
//! Knows nothing of training.

use crate::arrays::Arrays;
use crate::backbones::Backbone;
use crate::feed::Feed;
use crate::graph::{Padding, Start};
use crate::job::Job;
use crate::layers::{Layer, convolve, dense, kernel, pads};
use crate::network::{Mode, Network};
use crate::pixels::{Scaling, channels_last};
use crate::predicted::Predicted;
use crate::pretrained::load_trunk;
use crate::seeds::derive;
use crate::weights::{Named, assign, from_bytes, to_bytes, variables};
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn, no_grad};
use tomograph::stage::Part;
use tomograph::stages::classifier_train::{ClassifierTrain, Input, Load, Normalise, Pooling, Task, Uncertain};
use tomograph::stages::training::Trains;

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
            task: params.task,
            uncertain: params.uncertain,
            channels: params.input,
            pooling: params.pooling,
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
    /// What the backbone computes in.
    pub(crate) kind: Kind,
    /// One grey channel → three, where that is learnt.
    mix: Option<Mix>,
    trunk: Network,
    /// Layers of the backbone, from the first, that do not learn.
    frozen: usize,
    head: Vec<Layer>,
    /// Owns the variables.
    _store: nn::VarStore,
}

impl Classifier {
    /// A network whose variables follow from `seed` but for what the port `weights` brings.
    pub(crate) fn new(recipe: Recipe, seed: u64, weights: Option<(&Part, Load)>, device: Device) -> Result<Self> {
        let backbone = Backbone::named(&recipe.backbone)?;
        let least = backbone.min_side() as usize;
        let [height, width] = recipe.input;
        ensure!(
            height >= least && width >= least,
            "the images are {height} × {width} pixels, but {} needs at least {least}: set `size` of images.prepare",
            backbone.name
        );
        let store = nn::VarStore::new(device);
        tch::manual_seed(derive(&[seed, u64::MAX]));
        let trunk = backbone.build(&store.root(), Some(recipe.bn_momentum));
        // All of a model is loaded once the head is there too.
        let (all, weights) = match weights {
            Some((part, Load::All)) if part.tree.files.contains_key("model.json") => (Some(part), None),
            Some((part, _)) => (None, Some(part)),
            None => (None, None),
        };
        if let Some(part) = weights {
            load_trunk(part, "weights", backbone, &variables(&store))?;
        }
        let mut head = Vec::new();
        let mut inward = backbone.features;
        for (number, units) in (1..).zip(&recipe.dense) {
            head.push(dense(&(store.root() / format!("dense_{number}")), inward, i64::from(*units)));
            inward = i64::from(*units);
        }
        head.push(dense(&(store.root() / "predictions"), inward, recipe.classes.len() as i64));
        let mix = (recipe.channels == Input::Learned).then(|| mix(&(store.root() / "input_mix")));
        let variables = variables(&store);
        if let Some(part) = all {
            take(&recipe, &variables, part).context("port `weights`")?;
        }
        Ok(Self { variables, recipe, device, kind: Kind::Float, mix, trunk, frozen: 0, head, _store: store })
    }

    /// Lets only some of the backbone's layers learn.
    pub(crate) fn freeze(&mut self, trains: &Trains) -> Result<()> {
        let names = self.trunk.names();
        self.frozen = match trains {
            Trains::All => 0,
            Trains::Head => names.len(),
            Trains::Last(blocks) => {
                let ends = self.trunk.blocks();
                ends.len().checked_sub(*blocks as usize + 1).map_or(0, |at| ends[at].1)
            }
            Trains::From(layer) => names.iter().position(|name| name == layer).with_context(|| {
                let near = names.iter().min_by_key(|name| strsim::damerau_levenshtein(name, layer)).copied().unwrap_or_default();
                let ends: Vec<&str> = self.trunk.blocks().into_iter().map(|(name, _)| name).collect();
                let name = &self.recipe.backbone;
                format!(
                    "param `trains`: {name} has no layer `{layer}`; the nearest name is `{near}`, and blocks end with {}",
                    ends.join(", ")
                )
            })?,
        };
        for name in self.trunk.frozen_variables(self.frozen) {
            if let Some(variable) = self.variables.get(&name) {
                let _ = variable.set_requires_grad(false);
            }
        }
        Ok(())
    }

    /// Whether any batch normalisation learns statistics.
    pub(crate) fn has_statistics(&self) -> bool {
        // The running figures say that a layer has them, and they want no gradient: its offset does.
        let learns = |name: &str| self.variables.get(name).is_some_and(|variable| variable.requires_grad());
        self.variables.keys().filter_map(|name| name.strip_suffix(".running_mean")).any(|layer| learns(&format!("{layer}.bias")))
    }

    /// Logits `[n, classes]` in single precision of `[n, 1, h, w]` grey images of 0 to 255.
    pub(crate) fn logits(&self, images: &Tensor, train: bool) -> Tensor {
        let xs = match &self.mix {
            Some(mix) => mix(&channels_last(&(images / 255.0))),
            None => self.recipe.scaling.apply(images),
        };
        let xs = xs.to_kind(self.kind);
        let mode = if train { Mode::Train { frozen: self.frozen } } else { Mode::Infer };
        let maps = self.trunk.forward(&xs, mode);
        let mut xs = match self.recipe.pooling {
            Pooling::Average => maps.mean_dim([2i64, 3].as_slice(), false, Kind::Float),
            Pooling::Max => maps.amax([2i64, 3].as_slice(), false).to_kind(Kind::Float),
        };
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

    /// What it says of every image. `tell` hears how many are done.
    pub(crate) fn predict(&self, arrays: &Arrays, batch: usize, tell: &dyn Fn(usize)) -> Result<Predicted> {
        let (rows, normalise) = (arrays.len(), self.recipe.normalise);
        let job = |at: u64| {
            let first = at as usize * batch;
            (first < rows).then(|| (first..rows.min(first + batch)).collect::<Vec<_>>())
        };
        let feed = Feed { job: &job, prepare: &|rows: Vec<usize>| arrays.batch(&rows, normalise), threads: 1 };
        let logits = feed.run(0, |ahead| {
            let mut found = Vec::new();
            for step in 0..rows.div_ceil(batch) {
                let images = ahead.next()?.to_device(self.device);
                found.push(no_grad(|| self.logits(&images, false)));
                tell(rows.min((step + 1) * batch));
            }
            Ok(found)
        })?;
        Predicted::of(&Tensor::cat(&logits, 0), arrays)
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
        let (recipe, values) = read(part)?;
        let classifier = Self::new(recipe, 0, None, device)?;
        assign(&classifier.variables, &values).context("model.safetensors")?;
        Ok(classifier)
    }
}

/// The recipe and the values of a `model` artifact.
fn read(part: &Part) -> Result<(Recipe, Named)> {
    let recipe: Recipe = serde_json::from_slice(&part.tree.read("model.json")?).context("model.json")?;
    ensure!(recipe.architecture == "classifier", "the model is a {}, where a classifier is wanted", recipe.architecture);
    let (values, _) = from_bytes(&part.tree.read("model.safetensors")?).context("model.safetensors")?;
    Ok((recipe, values))
}

/// Grey `[n, 1, h, w]` → `[n, 3, h, w]`.
type Mix = Box<dyn Fn(&Tensor) -> Tensor>;

/// Keras `Conv2D(3, 3, padding="same")` on one channel.
fn mix(path: &nn::Path) -> Mix {
    let weight = kernel(path, "weight", &[3, 1, 3, 3], Start::Glorot);
    let bias = path.zeros("bias", &[3]);
    Box::new(move |xs| convolve(xs, &weight, Some(&bias), 1, pads(Padding::Same, xs, [3, 3], 1), 1))
}

/// Copies another classifier into the variables of a new one.
fn take(recipe: &Recipe, variables: &Named, part: &Part) -> Result<()> {
    let (other, values) = read(part)?;
    ensure!(other.backbone == recipe.backbone, "the model's backbone is {}, where {} is wanted", other.backbone, recipe.backbone);
    ensure!(
        other.classes == recipe.classes && other.task == recipe.task,
        "the model knows the classes {:?}, the images have {:?}: set `load` to \"trunk\"",
        other.classes,
        recipe.classes
    );
    assign(variables, &values).context("set `load` to \"trunk\", or the same `dense` and `input` as the model has")
}
