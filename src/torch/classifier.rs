//! A classifier: a backbone and a dense head, or the head alone, which then takes a backbone's features for images.
//!
//! Knows nothing of training.

use crate::arrays::Arrays;
use crate::backbones::Backbone;
use crate::feed::Feed;
use crate::graph::{Padding, Start};
use crate::job::Job;
use crate::layers::{Layer, convolve, dense, kernel, pads};
use crate::network::{Mode, Network};
use crate::pixels::{Layout, channels_last};
use crate::predicted::Predicted;
use crate::pretrained::Pretrained;
use crate::recipe::{OnFeatures, Recipe};
use crate::seeds::derive;
use crate::weights::{Named, assign, to_bytes, variables};
use anyhow::{Context as _, Result, bail, ensure};
use tch::{Device, Kind, Tensor, nn, no_grad};
use tomograph::stage::Part;
use tomograph::stages::classifier_train::{Input, Load, Pooling};
use tomograph::stages::training::Trains;

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
    /// Absent where the model is a head alone.
    trunk: Option<Network>,
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
        let trunk = recipe.has_backbone().then(|| backbone.build(&store.root(), Some(recipe.bn_momentum)));
        let of_trunk = variables(&store);
        // A head begins the same whatever is in front of it.
        tch::manual_seed(derive(&[seed, u64::MAX, 1]));
        let mut head = Vec::new();
        let mut inward = backbone.features;
        for (number, units) in (1..).zip(&recipe.dense) {
            head.push(dense(&(store.root() / format!("dense_{number}")), inward, i64::from(*units)));
            inward = i64::from(*units);
        }
        head.push(dense(&(store.root() / "predictions"), inward, recipe.classes.len() as i64));
        let mix = (recipe.channels == Input::Learned).then(|| mix(&(store.root() / "input_mix")));
        let variables = variables(&store);
        if let Some((part, load)) = weights {
            let from = Pretrained::of(part).context("port `weights`")?;
            let filled = match (load, &from) {
                (Load::All, Pretrained::Model(..)) => from.fill_classifier(&recipe, &variables),
                _ => from.fill(backbone, false, &of_trunk),
            };
            filled.context("port `weights`")?;
        }
        Ok(Self { variables, recipe, device, kind: Kind::Float, mix, trunk, frozen: 0, head, _store: store })
    }

    /// Lays the backbone in memory so that it learns fastest here, if it does.
    pub(crate) fn lay_to_learn(&mut self) {
        if let Some(trunk) = self.trunk.as_mut().filter(|trunk| self.frozen < trunk.names().len()) {
            trunk.lay(Layout::to_learn(&trunk.graph, self.device));
        }
    }

    /// Lets only some of the backbone's layers learn.
    pub(crate) fn freeze(&mut self, trains: &Trains) -> Result<()> {
        let Some(trunk) = &self.trunk else { return Ok(()) };
        let names = trunk.names();
        self.frozen = match trains {
            Trains::All => 0,
            Trains::Head => names.len(),
            Trains::Last(blocks) => {
                let ends = trunk.blocks();
                ends.len().checked_sub(*blocks as usize + 1).map_or(0, |at| ends[at].1)
            }
            Trains::From(layer) => names.iter().position(|name| name == layer).with_context(|| {
                let near = names.iter().min_by_key(|name| strsim::damerau_levenshtein(name, layer)).copied().unwrap_or_default();
                let ends: Vec<&str> = trunk.blocks().into_iter().map(|(name, _)| name).collect();
                let name = &self.recipe.backbone;
                format!(
                    "param `trains`: {name} has no layer `{layer}`; the nearest name is `{near}`, and blocks end with {}",
                    ends.join(", ")
                )
            })?,
        };
        for name in trunk.frozen_variables(self.frozen) {
            if let Some(variable) = self.variables.get(&name) {
                let _ = variable.set_requires_grad(false);
            }
        }
        Ok(())
    }

    /// The variables that a training may move: all but those of frozen layers.
    pub(crate) fn moving(&self) -> Named {
        let still = self.trunk.as_ref().map(|trunk| trunk.frozen_variables(self.frozen)).unwrap_or_default();
        let moving = self.variables.iter().filter(|(name, _)| !still.contains(*name));
        moving.map(|(name, variable)| (name.clone(), variable.shallow_clone())).collect()
    }

    /// Whether it has anything to say of such arrays.
    pub(crate) fn suits(&self, arrays: &Arrays) -> Result<()> {
        let recipe = &self.recipe;
        ensure!(recipe.classes == arrays.classes, "the model knows the classes {:?}, the images have {:?}", recipe.classes, arrays.classes);
        ensure!(
            recipe.input == arrays.size[1..],
            "the model takes images of {:?} pixels, these are {:?}: pack them at the same size",
            recipe.input,
            &arrays.size[1..]
        );
        match (&recipe.features, &arrays.origin) {
            (Some(OnFeatures { backbone: false, .. }), None) => bail!(
                "the model is a head alone, which learnt from features: give it what the same classifier.features makes of these images, \
                 or connect `weights` where it is trained, too"
            ),
            (None, Some(_)) => bail!("these are features, but the model's backbone learnt with its head: give it the images themselves"),
            (Some(on), Some(origin)) => ensure!(
                on.weights == origin.weights && recipe.backbone == origin.backbone && recipe.normalise == origin.normalise,
                "these features come from other weights, or from another backbone or `normalise`, than those that the model learnt from"
            ),
            _ => {}
        }
        Ok(())
    }

    /// Whether any batch normalisation learns statistics.
    pub(crate) fn has_statistics(&self) -> bool {
        // The running figures say that a layer has them, and they want no gradient: its offset does.
        let learns = |name: &str| self.variables.get(name).is_some_and(|variable| variable.requires_grad());
        self.variables.keys().filter_map(|name| name.strip_suffix(".running_mean")).any(|layer| learns(&format!("{layer}.bias")))
    }

    /// Logits `[n, classes]` in single precision of `[n, 1, h, w]` grey images of 0 to 255, or of their features `[n, f]`.
    pub(crate) fn logits(&self, images: &Tensor, train: bool) -> Tensor {
        let mut xs = match &self.trunk {
            Some(trunk) if images.dim() == 4 => self.pooled(trunk, images, train),
            _ => images.shallow_clone(),
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

    fn pooled(&self, trunk: &Network, images: &Tensor, train: bool) -> Tensor {
        let xs = match &self.mix {
            Some(mix) => mix(&channels_last(&(images / 255.0))),
            None => self.recipe.scaling.apply(images),
        };
        let xs = xs.to_kind(self.kind);
        let mode = if train { Mode::Train { frozen: self.frozen } } else { Mode::Infer };
        let maps = trunk.forward(&xs, mode);
        match self.recipe.pooling {
            Pooling::Average => maps.mean_dim([2i64, 3].as_slice(), false, Kind::Float),
            Pooling::Max => maps.amax([2i64, 3].as_slice(), false).to_kind(Kind::Float),
        }
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
        let Pretrained::Model(recipe, values) = Pretrained::of(part)? else { bail!("there is no model.json") };
        let classifier = Self::new(*recipe, 0, None, device)?;
        assign(&classifier.variables, &values).context("model.safetensors")?;
        Ok(classifier)
    }
}

/// Grey `[n, 1, h, w]` → `[n, 3, h, w]`.
type Mix = Box<dyn Fn(&Tensor) -> Tensor>;

/// Keras `Conv2D(3, 3, padding="same")` on one channel.
fn mix(path: &nn::Path) -> Mix {
    let weight = kernel(path, "weight", &[3, 1, 3, 3], Start::Glorot);
    let bias = path.zeros("bias", &[3]);
    Box::new(move |xs| convolve(xs, &weight, Some(&bias), 1, pads(Padding::Same, xs, [3, 3], 1), 1))
}
