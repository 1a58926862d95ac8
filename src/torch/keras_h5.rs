//! Reads Keras' weight files: what layers they have, and the numbers of each when asked.
//!
//! Knows two layouts. The older one (`model.save_weights("x.h5")` of Keras 2, the files of `keras.applications`, `model.save`
//! to HDF5) lists the layers of the root group, or of `model_weights`, in the attribute `layer_names`, split into
//! `layer_names0`, `layer_names1`, … where it is long; each layer's group lists its datasets in `weight_names`, which is an
//! empty array of numbers where there are none. The newer one (`x.weights.h5` of Keras 3, and the file of that kind inside
//! `x.keras`, a zip) has a group per layer below `layers`, called by its class and counted; its datasets are counted too.
//!
//! Safetensors as [`crate::convert`] and trainings write them are read too: under our names, in our order.
//!
//! Which layer belongs where is for [`crate::keras_load`] to say: nothing here knows a network.

use crate::weights::{Named, from_bytes};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use hdf5_pure::{AttrValue, DType, File, Group};
use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use tomograph::content::FileRef;

/// A weight file, open.
pub(crate) struct Layers {
    pub(crate) layout: Layout,
    /// The layers that have weights, in the order of the file.
    pub(crate) layers: Vec<Found>,
    source: Source,
}

/// Where the numbers are.
enum Source {
    Hdf5(File),
    /// Safetensors as we write them, read whole.
    Ours(Named),
}

/// How a file says which layer is which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// By names, in Keras' order.
    Named,
    /// By class, counted in Keras' order.
    Counted,
}

/// A layer of a file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// `block1_conv1`; in the newer layout `conv2d_7`.
    pub(crate) name: String,
    pub(crate) weights: Vec<Weight>,
}

/// A weight of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Weight {
    /// `kernel`, `block1_conv1_W_1`, `0`: what the file calls it, without folder and `:0`.
    pub(crate) leaf: String,
    pub(crate) shape: Vec<i64>,
    /// Path of the dataset.
    place: String,
}

const BROKEN: &str = "not a weights file (Keras HDF5, .keras or .safetensors), or cut short";

impl Layers {
    /// Opens a file of a tree.
    pub(crate) fn read_blob(file: &FileRef) -> Result<Self> {
        // What shares a file with others is too short to be one.
        Self::read(file.place.own().context(BROKEN)?)
    }

    /// Opens a file. Errors do not name it: the caller knows what it may call it.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        ensure!(!path.is_dir(), "it is a folder, where a weights file is wanted");
        let mut mark = Vec::new();
        std::fs::File::open(path).context("it cannot be opened")?.take(9).read_to_end(&mut mark).context("it cannot be read")?;
        ensure!(!mark.is_empty(), "the file is empty");
        // Eight bytes of length, then JSON.
        if mark.get(8) == Some(&b'{') {
            let (named, _) = from_bytes(&std::fs::read(path).context("it cannot be read")?)?;
            return Ok(Self { layout: Layout::Named, layers: Vec::new(), source: Source::Ours(named) });
        }
        let file = match mark.starts_with(b"PK\x03\x04") {
            true => File::from_bytes(unzipped(path)?).context(BROKEN)?,
            false => File::open_streaming(path).context(BROKEN)?,
        };
        for root in ["layers", "_layer_checkpoint_dependencies"] {
            if let Ok(group) = file.group(root) {
                let layers = counted(&group, root)?;
                return Ok(Self { layout: Layout::Counted, layers, source: Source::Hdf5(file) });
            }
        }
        let (root, prefix) = match file.group("model_weights") {
            Ok(group) => (group, "model_weights/"),
            Err(_) => (file.root(), ""),
        };
        let mut layers = Vec::new();
        let attributes = root.attrs().context(BROKEN)?;
        for name in texts(&attributes, "layer_names").context(BROKEN)? {
            let weights = named(&root, &name, prefix).with_context(|| damaged(&name))?;
            if !weights.is_empty() {
                layers.push(Found { name, weights });
            }
        }
        Ok(Self { layout: Layout::Named, layers, source: Source::Hdf5(file) })
    }

    /// The variables of a safetensors file.
    pub(crate) fn ours(&self) -> Option<&Named> {
        match &self.source {
            Source::Ours(named) => Some(named),
            Source::Hdf5(_) => None,
        }
    }

    /// The numbers of a weight, in Keras' order of the axes. `layer` and `name` are what messages call them.
    pub(crate) fn numbers(&self, weight: &Weight, layer: &str, name: &str) -> Result<Vec<f32>> {
        let Source::Hdf5(file) = &self.source else { bail!("layer {layer} is in a file of another kind") };
        let dataset = file.dataset(&weight.place).with_context(|| damaged(layer))?;
        let kind = dataset.dtype().with_context(|| damaged(layer))?;
        ensure!(matches!(kind, DType::F32 | DType::F64), "layer {layer}: its {name} is of {kind} in the file, where float32 is wanted");
        let numbers = dataset.read_f32().with_context(|| damaged(layer))?;
        let count: i64 = weight.shape.iter().product();
        ensure!(numbers.len() as i64 == count, "layer {layer}: its {name} has {} numbers in the file, not {count}", numbers.len());
        let wrong = numbers.iter().filter(|number| !number.is_finite()).count();
        ensure!(wrong == 0, "layer {layer}: {wrong} of the {count} numbers of its {name} are not finite");
        Ok(numbers)
    }
}

fn damaged(layer: &str) -> String {
    format!("layer {layer} cannot be read: the file is cut short or damaged")
}

/// The weights inside a `.keras` file.
fn unzipped(path: &Path) -> Result<Vec<u8>> {
    const INNER: &str = "model.weights.h5";
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path)?).context("not a whole .keras file (zip)")?;
    let mut inner = archive.by_name(INNER).with_context(|| format!("it is a zip without {INNER}, not a .keras file"))?;
    let mut bytes = Vec::with_capacity(usize::try_from(inner.size())?);
    inner.read_to_end(&mut bytes).with_context(|| format!("{INNER} cannot be read: the file is cut short or damaged"))?;
    Ok(bytes)
}

/// The layers of the newer layout.
fn counted(root: &Group, prefix: &str) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for name in root.groups().context(BROKEN)? {
        let read = || -> Result<Vec<Weight>> {
            // A layer without weights may lack the group.
            let Ok(vars) = root.group(&format!("{name}/vars")) else { return Ok(Vec::new()) };
            let mut leaves = vars.datasets()?;
            leaves.sort_by_key(|leaf| leaf.parse().unwrap_or(usize::MAX));
            let weight = |leaf: String| weight(&vars, &leaf, format!("{prefix}/{name}/vars/{leaf}"));
            leaves.into_iter().map(weight).collect()
        };
        let weights = read().with_context(|| damaged(&name))?;
        if !weights.is_empty() {
            found.push(Found { name, weights });
        }
    }
    ensure!(!found.is_empty(), "the file has no layers with weights");
    Ok(found)
}

/// The weights of a layer of the older layout.
fn named(root: &Group, layer: &str, prefix: &str) -> Result<Vec<Weight>> {
    let group = root.group(layer)?;
    let of = |name: String| weight(&group, &name, format!("{prefix}{layer}/{name}"));
    texts(&group.attrs()?, "weight_names")?.into_iter().map(of).collect()
}

fn weight(group: &Group, name: &str, place: String) -> Result<Weight> {
    let shape = group.dataset(name)?.shape()?.iter().map(|side| *side as i64).collect();
    let leaf = name.rsplit('/').next().unwrap_or(name);
    let leaf = leaf.split(':').next().unwrap_or(leaf).to_owned();
    Ok(Weight { leaf, shape, place })
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
