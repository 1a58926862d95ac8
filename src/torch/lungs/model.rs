//! A U-Net with its variables, and the file that says how to build it again.

use super::net::Shape;
use crate::job::Job;
use crate::network::{Mode, Network};
use crate::pixels::Layout;
use crate::seeds::derive;
use crate::weights::{Named, assign, from_bytes, to_bytes, variables};
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, nn, no_grad};
use tomograph::stage::Part;

/// What `model.json` says of a segmentation network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recipe {
    /// `unet`.
    pub(crate) architecture: String,
    pub(crate) shape: Shape,
    /// Side of the input in pixels.
    pub(crate) side: u32,
    /// The kept epoch, counted from 1.
    pub(crate) epoch: u64,
    /// Mean Dice of the validation images at that epoch, at the network's size.
    pub(crate) validation_dice: Option<f64>,
}

/// A network that says how likely each pixel is lung.
pub(crate) struct Unet {
    pub(crate) recipe: Recipe,
    pub(crate) device: Device,
    /// Numbers that it computes in.
    pub(crate) kind: Kind,
    pub(crate) variables: Named,
    pub(super) network: Network,
    /// Owns the variables.
    _store: nn::VarStore,
}

impl Unet {
    /// Fresh variables that follow from `seed`.
    pub(crate) fn new(recipe: Recipe, seed: u64, device: Device) -> Self {
        let store = nn::VarStore::new(device);
        tch::manual_seed(derive(&[seed, u64::MAX]));
        let network = Network::new(&store.root(), recipe.shape.graph(), None);
        Self { recipe, device, kind: Kind::Float, variables: variables(&store), network, _store: store }
    }

    /// Lays it in memory so that it learns fastest here.
    pub(crate) fn lay_to_learn(&mut self) {
        self.network.lay(Layout::to_learn(&self.network.graph, self.device));
    }

    /// Logits `[n, 1, side, side]` in single precision, of grey images of 0 to 255.
    pub(crate) fn logits(&self, images: &Tensor, mode: Mode) -> Tensor {
        let images = (images / 255.0).to_kind(self.kind);
        self.network.forward(&images, mode).to_kind(Kind::Float)
    }

    /// The probability of each pixel, `[n, 1, side, side]`, on the CPU.
    pub(crate) fn shares(&self, images: &Tensor) -> Tensor {
        no_grad(|| self.logits(&images.to_device(self.device), Mode::Infer).sigmoid().to_device(Device::Cpu))
    }

    /// Writes `model.safetensors` and `model.json` to an output port.
    pub(crate) fn save(&self, job: &Job, port: &str) -> Result<()> {
        job.cx.write(port, "model.safetensors", &to_bytes(&self.variables, None)?)?;
        let mut recipe = serde_json::to_vec_pretty(&self.recipe)?;
        recipe.push(b'\n');
        job.cx.write(port, "model.json", &recipe)
    }

    /// The network of a `model` artifact.
    pub(crate) fn load(part: &Part, device: Device) -> Result<Self> {
        #[derive(Deserialize)]
        struct About {
            architecture: String,
        }
        let bytes = part.tree.read("model.json")?;
        let about: About = serde_json::from_slice(&bytes).context("model.json")?;
        ensure!(about.architecture == "unet", "the model is a {}, where a U-Net (of lungs.train) is wanted", about.architecture);
        let recipe: Recipe = serde_json::from_slice(&bytes).context("model.json")?;
        ensure!(
            recipe.side > 0 && recipe.side.is_multiple_of(recipe.shape.stride()),
            "model.json: a side of {} is no multiple of {}",
            recipe.side,
            recipe.shape.stride()
        );
        let unet = Self::new(recipe, 0, device);
        let (values, _) = from_bytes(&part.tree.read("model.safetensors")?).context("model.safetensors")?;
        assign(&unet.variables, &values).context("model.safetensors")?;
        Ok(unet)
    }
}
