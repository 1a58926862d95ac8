//! What a network starts from: a Keras file, safetensors, or a `model` of ours. Whoever loads weights does it here.

use crate::backbones::Backbone;
use crate::keras_h5::Layers;
use crate::recipe::Recipe;
use crate::weights::{Named, assign, from_bytes};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::Path;
use tomograph::stage::Part;

const RECIPE: &str = "model.json";
const VALUES: &str = "model.safetensors";

/// Weights that somebody trained before.
pub(crate) enum Pretrained {
    /// Keras HDF5, `.keras`, or safetensors under the backbone's names.
    File(Layers),
    /// A `model` artifact.
    Model(Box<Recipe>, Named),
}

impl Pretrained {
    /// What a part of a port has: one file, or a model.
    pub(crate) fn of(part: &Part) -> Result<Self> {
        let tree = &part.tree;
        if tree.files.contains_key(RECIPE) {
            return Self::model(&|name| tree.read(name));
        }
        let name = tree.only_file()?;
        Ok(Self::File(Layers::read_blob(tree.file(name)?).with_context(|| tree.shown(name))?))
    }

    /// A file, or a folder with an exported model.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        if path.join(RECIPE).is_file() {
            return Self::model(&|name| std::fs::read(path.join(name)).with_context(|| format!("cannot read {name}")));
        }
        Ok(Self::File(Layers::read(path)?))
    }

    fn model(read: &dyn Fn(&str) -> Result<Vec<u8>>) -> Result<Self> {
        let recipe = Recipe::read(&read(RECIPE)?).context(RECIPE)?;
        let (values, _) = from_bytes(&read(VALUES)?).context(VALUES)?;
        Ok(Self::Model(Box::new(recipe), values))
    }

    /// Fills a backbone's variables, with the classifier of ImageNet where `top` says so; a head of ours is left out. Nothing is changed
    /// unless everything fits.
    pub(crate) fn fill(&self, backbone: &Backbone, top: bool, variables: &Named) -> Result<()> {
        let (recipe, values) = match self {
            Self::File(layers) => return layers.load(backbone, top, variables),
            Self::Model(recipe, values) => (recipe, values),
        };
        ensure!(!top, "a model of tomograph has no classes of ImageNet: take the published weights with top");
        is_backbone(recipe, backbone.name)?;
        let own = values.iter().filter(|(name, _)| variables.contains_key(*name));
        assign(variables, &own.map(|(name, value)| (name.clone(), value.shallow_clone())).collect()).context(VALUES)
    }

    /// Fills every variable of the classifier of `recipe`. None but a model has them all.
    pub(crate) fn fill_classifier(&self, recipe: &Recipe, variables: &Named) -> Result<()> {
        let Self::Model(other, values) = self else { bail!("a weights file has no head of ours") };
        is_backbone(other, &recipe.backbone)?;
        ensure!(
            other.classes == recipe.classes && other.task == recipe.task,
            "the model knows the classes {:?}, the images have {:?}: set `load` to \"trunk\"",
            other.classes,
            recipe.classes
        );
        assign(variables, values).context("set `load` to \"trunk\", or the same `dense` and `input` as the model has")
    }
}

fn is_backbone(model: &Recipe, wanted: &str) -> Result<()> {
    ensure!(model.backbone == wanted, "the model's backbone is {}, where {wanted} is wanted", model.backbone);
    ensure!(model.has_backbone(), "the model is a head without its backbone: connect `weights` where it is trained, too");
    Ok(())
}
