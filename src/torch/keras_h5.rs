//! Reads weights from Keras' legacy HDF5 files (`model.save_weights("x.h5")`, the files of `keras.applications`).
//!
//! The root group (or `model_weights` in a file of a whole model) names its layers in the attribute `layer_names`, split
//! into `layer_names0`, `layer_names1`, … where it is long; each layer's group names its datasets in `weight_names`, which
//! is an empty array of numbers where there are none. Knows nothing of particular networks.

use crate::weights::{Named, assign};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use hdf5_pure::{AttrValue, File, Group};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tch::Tensor;
use tomograph::content::FileRef;

/// The layers of a file that have weights: layer → leaf (`kernel`, `gamma`, …) → values as Keras has them.
pub(crate) struct Layers(BTreeMap<String, BTreeMap<String, Values>>);

const BROKEN: &str = "not a Keras weights file (HDF5), or cut short";

struct Values {
    shape: Vec<i64>,
    floats: Vec<f32>,
}

impl Layers {
    /// Reads every weight of a file of a tree.
    pub(crate) fn read_blob(file: &FileRef) -> Result<Self> {
        // What shares a file with others is too short to be one.
        Self::read(file.place.own().context(BROKEN)?)
    }

    /// Reads every weight of a file. Errors do not name the file: the caller knows what it may call it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let file = File::open_streaming(path).context(BROKEN)?;
        let root = match file.group("model_weights") {
            Ok(group) => group,
            Err(_) => file.root(),
        };
        let attributes = root.attrs().context(BROKEN)?;
        let names = texts(&attributes, "layer_names").context(BROKEN)?;
        let mut layers = BTreeMap::new();
        for layer in names {
            let weights =
                read_layer(&root, &layer).with_context(|| format!("layer {layer} cannot be read: the file is cut short or damaged"))?;
            if !weights.is_empty() {
                layers.insert(layer, weights);
            }
        }
        Ok(Self(layers))
    }

    /// Fills the variables of a network whose layers are called like Keras'. Layers named in `aside` are left out.
    ///
    /// `network` is what messages call it. Nothing is changed unless every layer fits.
    pub(crate) fn load(self, network: &str, variables: &Named, aside: &[String]) -> Result<()> {
        let mut wanted: BTreeMap<&str, Vec<(&str, &Tensor)>> = BTreeMap::new();
        for (name, variable) in variables {
            let (layer, leaf) = name.split_once('.').with_context(|| format!("variable {name} belongs to no layer"))?;
            wanted.entry(layer).or_default().push((leaf, variable));
        }
        let mut values = Named::new();
        for (layer, leaves) in &wanted {
            let Some(found) = self.0.get(*layer) else {
                bail!("the file has no layer {layer}, which {network} has: it is of another network, or without its top");
            };
            for (leaf, variable) in leaves {
                values.insert(format!("{layer}.{leaf}"), take(network, layer, leaf, found, variable)?);
            }
            ensure!(
                found.len() == leaves.len(),
                "layer {layer} has the weights {} in the file, but {} in {network}",
                found.keys().cloned().collect::<Vec<_>>().join(", "),
                leaves.iter().map(|(leaf, variable)| keras_leaf(layer, leaf, variable)).collect::<Vec<_>>().join(", ")
            );
        }
        if let Some(extra) = self.0.keys().find(|layer| !wanted.contains_key(layer.as_str()) && !aside.contains(layer)) {
            bail!("the file has a layer {extra}, which {network} has not: it is of another network");
        }
        assign(variables, &values)
    }
}

#[cfg(test)]
impl Layers {
    /// Layers whose values follow from (layer, leaf, shape as Keras has it), for every variable of a network.
    pub(crate) fn made(variables: &Named, value: impl Fn(&str, &str, &[i64]) -> Vec<f32>) -> Self {
        let mut layers: BTreeMap<String, BTreeMap<String, Values>> = BTreeMap::new();
        for (name, variable) in variables {
            let (layer, leaf) = name.split_once('.').unwrap();
            let leaf = keras_leaf(layer, leaf, variable);
            let shape = keras_order(leaf, variable.dim()).iter().map(|axis| variable.size()[*axis]).collect::<Vec<_>>();
            let floats = value(layer, leaf, &shape);
            layers.entry(layer.to_owned()).or_default().insert(leaf.to_owned(), Values { shape, floats });
        }
        Self(layers)
    }

    /// Without a layer, for tests of what is missing.
    pub(crate) fn without(mut self, layer: &str) -> Self {
        self.0.remove(layer);
        self
    }
}

/// The values of one variable, in our layout.
fn take(network: &str, layer: &str, leaf: &str, found: &BTreeMap<String, Values>, variable: &Tensor) -> Result<Tensor> {
    let keras = keras_leaf(layer, leaf, variable);
    // Keras 3 calls a depthwise kernel `kernel`.
    let value = found.get(keras).or_else(|| found.get("kernel").filter(|_| keras == "depthwise_kernel"));
    let value = value.with_context(|| format!("layer {layer} has no {keras} in the file, but {network} has one"))?;
    let size = variable.size();
    let order = keras_order(keras, size.len());
    let shape: Vec<i64> = order.iter().map(|axis| size[*axis]).collect();
    ensure!(value.shape == shape, "layer {layer}: its {keras} is {:?} in the file, but {shape:?} in {network}", value.shape);
    let tensor = Tensor::from_slice(&value.floats).view(shape.as_slice());
    let mut back = vec![0i64; order.len()];
    for (keras, ours) in order.iter().enumerate() {
        back[*ours] = keras as i64;
    }
    Ok(tensor.permute(back.as_slice()).contiguous())
}

/// Our axes in the order in which Keras has them.
fn keras_order(leaf: &str, dims: usize) -> &'static [usize] {
    match (leaf, dims) {
        ("kernel", 4) => &[2, 3, 1, 0],
        ("depthwise_kernel", 4) => &[2, 3, 0, 1],
        ("kernel", 2) => &[1, 0],
        _ => &[0],
    }
}

/// What Keras calls our variable `leaf` of a layer.
fn keras_leaf(layer: &str, leaf: &str, variable: &Tensor) -> &'static str {
    let normalises = variable.dim() == 1 && (layer.ends_with("bn") || layer.contains("batch_norm"));
    match leaf {
        "running_mean" => "moving_mean",
        "running_var" => "moving_variance",
        "weight" if normalises => "gamma",
        "bias" if normalises => "beta",
        "bias" => "bias",
        // Depthwise kernels are [c, 1, k, k]; no other convolution here takes one channel.
        _ if variable.dim() == 4 && variable.size()[1] == 1 => "depthwise_kernel",
        _ => "kernel",
    }
}

fn read_layer(root: &Group, layer: &str) -> Result<BTreeMap<String, Values>> {
    let group = root.group(layer)?;
    let mut weights = BTreeMap::new();
    for name in texts(&group.attrs()?, "weight_names")? {
        let dataset = group.dataset(&name)?;
        let shape: Vec<i64> = dataset.shape()?.iter().map(|side| *side as i64).collect();
        let floats = dataset.read_f32()?;
        ensure!(floats.len() as i64 == shape.iter().product::<i64>(), "{name} has {} values for {shape:?}", floats.len());
        let leaf = name.rsplit('/').next().unwrap_or(&name);
        let leaf = leaf.split(':').next().unwrap_or(leaf);
        weights.insert(leaf.to_owned(), Values { shape, floats });
    }
    Ok(weights)
}

/// An attribute that lists names, whole or in numbered chunks.
fn texts(attributes: &HashMap<String, AttrValue>, name: &str) -> Result<Vec<String>> {
    let list = |value: &AttrValue| -> Vec<String> { value.as_strings().map(<[String]>::to_vec).unwrap_or_default() };
    if let Some(value) = attributes.get(name) {
        return Ok(list(value));
    }
    let chunks: Vec<&AttrValue> = (0..).map_while(|number| attributes.get(&format!("{name}{number}"))).collect();
    match chunks.is_empty() {
        true => Err(anyhow!("there is no attribute {name}")),
        false => Ok(chunks.into_iter().flat_map(list).collect()),
    }
}
