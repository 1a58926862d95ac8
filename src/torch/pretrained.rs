//! What a trunk starts from: a Keras file, or a model of ours.

use crate::backbones::Backbone;
use crate::keras_h5::Layers;
use crate::weights::{Named, assign, from_bytes};
use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tomograph::stage::Part;

/// The part of `model.json` that says whether its trunk fits.
#[derive(Deserialize)]
struct About {
    backbone: String,
}

/// Fills a trunk's variables from the part of a port: a Keras HDF5 file, with or without top, or a `model`, whose head is left out.
/// Nothing is changed unless everything fits.
pub(crate) fn load_trunk(part: &Part, port: &str, backbone: &Backbone, trunk: &Named) -> Result<()> {
    let tree = &part.tree;
    if !tree.files.contains_key("model.json") {
        let name = tree.only_file().with_context(|| format!("port `{port}`"))?;
        let loaded = Layers::read_blob(tree.file(name)?).and_then(|layers| layers.load(backbone, false, trunk));
        return loaded.with_context(|| format!("port `{port}`: {}", tree.shown(name)));
    }
    let about: About = serde_json::from_slice(&tree.read("model.json")?).with_context(|| format!("port `{port}`: model.json"))?;
    ensure!(
        about.backbone == backbone.name,
        "port `{port}`: the model's backbone is {}, where {} is wanted",
        about.backbone,
        backbone.name
    );
    let (mut values, _) = from_bytes(&tree.read("model.safetensors")?).with_context(|| format!("port `{port}`: model.safetensors"))?;
    values.retain(|name, _| trunk.contains_key(name));
    assign(trunk, &values).with_context(|| format!("port `{port}`: model.safetensors"))
}
