//! Which layer of a Keras file belongs to which layer of a network, and the numbers brought into our order.
//!
//! Keras itself goes by the order of the layers alone and ignores names. Here names are looked at first, for the sake of the
//! messages, in three ways: layers with names of their own by name; layers that Keras numbers (`conv2d_17`) by the order among
//! their class, since the numbers depend on what the process had made before; the newer layout by class and count, as Keras
//! does. Where names of the older layout do not line up but number, order and shapes of all layers do, Keras' own rule holds:
//! the files of `keras.applications` are older than some names.

use crate::backbones::Backbone;
use crate::graph::{Graph, Layer, Op};
use crate::keras_h5::{Found, Layers, Layout, Weight};
use crate::variables::Variable;
use crate::weights::{Named, assign};
use anyhow::{Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use tch::Tensor;

/// A layer of a network that has weights.
struct Wanted<'a> {
    layer: &'a Layer,
    /// Class and count, as in `conv2d_17` of the newer layout.
    counted: String,
    variables: Vec<Variable>,
}

impl Layers {
    /// Fills the variables of a backbone, with its classifier where `top` says so; else one in the file is left out. Of other
    /// variables than the backbone's nothing is said. Nothing is changed unless every layer fits.
    pub(crate) fn load(&self, backbone: &Backbone, top: bool, variables: &Named) -> Result<()> {
        let network = if top { format!("{} with its top", backbone.name) } else { backbone.name.to_owned() };
        if let Some(named) = self.ours() {
            return ours(named, &network, &backbone.graph(top), &backbone.graph(true), variables);
        }
        let whole = backbone.graph(true);
        let all = wanted(&whole);
        let mut values = Named::new();
        for (wanted, found) in self.pairs(&network, &all, top)? {
            if top || !wanted.layer.top {
                self.take(&network, wanted, found, &mut values)?;
            }
        }
        let own = variables.iter().filter(|(name, _)| values.contains_key(*name));
        assign(&own.map(|(name, variable)| (name.clone(), variable.shallow_clone())).collect(), &values)
    }

    /// Each layer of the network with its layer of the file.
    fn pairs<'a>(&'a self, network: &str, all: &'a [Wanted<'a>], top: bool) -> Result<Vec<(&'a Wanted<'a>, &'a Found)>> {
        let found = match self.layout {
            Layout::Counted => self.layers.iter().map(|found| (found.name.clone(), found)).collect(),
            Layout::Named => by_name(&self.layers, all),
        };
        let name = |wanted: &Wanted| if self.layout == Layout::Counted { wanted.counted.clone() } else { wanted.layer.name.clone() };
        let known: BTreeSet<String> = all.iter().map(name).collect();
        let missing = all.iter().find(|wanted| (top || !wanted.layer.top) && !found.contains_key(&name(wanted)));
        let extra = found.keys().find(|name| !known.contains(*name));
        if missing.is_none() && extra.is_none() {
            return Ok(all.iter().filter_map(|wanted| Some((wanted, *found.get(&name(wanted))?))).collect());
        }
        if let Some(pairs) = self.in_order(all, top) {
            return Ok(pairs);
        }
        match (missing, extra) {
            (Some(wanted), _) if wanted.layer.top => bail!("the file has no layer {}: it is without its top", wanted.layer.name),
            (Some(wanted), _) => {
                let shown = match (self.layout, wanted.layer.name == wanted.counted) {
                    (Layout::Counted, false) => format!("{} ({})", wanted.layer.name, wanted.counted),
                    _ => wanted.layer.name.clone(),
                };
                bail!("the file has no layer {shown}, which {network} has: it is of another network, or not whole")
            }
            (None, Some(extra)) => bail!("the file has a layer {extra}, which {network} has not: it is of another network"),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Keras' own rule: layer after layer, where each fits. None where they do not.
    fn in_order<'a>(&'a self, all: &'a [Wanted<'a>], top: bool) -> Option<Vec<(&'a Wanted<'a>, &'a Found)>> {
        let trunk: Vec<&Wanted> = all.iter().filter(|wanted| !wanted.layer.top).collect();
        let there = if self.layers.len() == all.len() { all.iter().collect() } else { trunk };
        if self.layout != Layout::Named || there.len() != self.layers.len() || (top && there.len() < all.len()) {
            return None;
        }
        let pairs: Vec<_> = there.into_iter().zip(&self.layers).collect();
        let fits = |wanted: &Wanted, found: &Found| {
            let shapes: Vec<&Vec<i64>> = own_weights(wanted, found).into_iter().map(|weight| &weight.shape).collect();
            shapes.into_iter().cloned().eq(wanted.variables.iter().map(Variable::keras_shape))
        };
        pairs.iter().all(|(wanted, found)| fits(wanted, found)).then_some(pairs)
    }

    /// Reads the variables of one layer into `values`.
    fn take(&self, network: &str, wanted: &Wanted, found: &Found, values: &mut Named) -> Result<()> {
        let name = &wanted.layer.name;
        let weights = own_weights(wanted, found);
        ensure!(
            weights.len() == wanted.variables.len(),
            "layer {name} has {} weights in the file ({}), but {} in {network} ({})",
            weights.len(),
            weights.iter().map(|weight| weight.leaf.as_str()).collect::<Vec<_>>().join(", "),
            wanted.variables.len(),
            wanted.variables.iter().map(|variable| variable.keras).collect::<Vec<_>>().join(", ")
        );
        for (place, variable) in wanted.variables.iter().enumerate() {
            // By name where the file names them as Keras does now, else in order, as Keras reads them.
            let known = wanted.variables.iter().all(|one| weights.iter().any(|weight| is_leaf(&weight.leaf, one)));
            let weight = weights.iter().find(|weight| known && is_leaf(&weight.leaf, variable)).unwrap_or(&weights[place]);
            let shape = variable.keras_shape();
            ensure!(
                weight.shape == shape,
                "layer {name}: its {} is {:?} in the file, but {shape:?} in {network}",
                variable.keras,
                weight.shape
            );
            let mut numbers = self.numbers(weight, name, variable.keras)?;
            if variable.keras == "variance" && matches!(wanted.layer.op, Op::Normalization) {
                fold_deviation(&mut numbers);
            }
            let tensor = Tensor::from_slice(&numbers).view(shape.as_slice()).permute(variable.back()).contiguous();
            values.insert(format!("{name}.{}", variable.ours), tensor);
        }
        Ok(())
    }
}

/// Layers that a classifier of ours has beside its backbone.
const HEAD: [&str; 3] = ["dense_", "predictions", "input_mix"];

/// Fills a network from our own file; what a classifier's head or the top has there is left out.
fn ours(named: &Named, network: &str, graph: &Graph, whole: &Graph, variables: &Named) -> Result<()> {
    let names = |graph: &Graph| -> BTreeSet<String> {
        let of = |layer: &Layer| graph.variables(layer).into_iter().map(|one| format!("{}.{}", layer.name, one.ours)).collect::<Vec<_>>();
        graph.layers.iter().flat_map(of).collect()
    };
    let (wanted, known) = (names(graph), names(whole));
    if let Some(missing) = wanted.iter().find(|name| !named.contains_key(*name)) {
        bail!("the file has no variable {missing}, which {network} has: it is of another network, or not whole");
    }
    if let Some(extra) = named.keys().find(|name| !known.contains(*name) && !HEAD.iter().any(|head| name.starts_with(head))) {
        bail!("the file has a variable {extra}, which {network} has not: it is of another network");
    }
    let own = |all: &Named| -> Named {
        all.iter().filter(|(name, _)| wanted.contains(*name)).map(|(name, one)| (name.clone(), one.shallow_clone())).collect()
    };
    assign(&own(variables), &own(named))
}

/// The layers with weights of a network, in Keras' order.
fn wanted(graph: &Graph) -> Vec<Wanted<'_>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for at in graph.order() {
        let layer = &graph.layers[at];
        let class = layer.op.class();
        let count = counts.entry(class).or_default();
        let counted = if *count == 0 { class.to_owned() } else { format!("{class}_{count}") };
        *count += 1;
        let variables = graph.variables(layer);
        if !variables.is_empty() {
            all.push(Wanted { layer, counted, variables });
        }
    }
    all
}

/// The layers of a file under the names that the network has for them: those that Keras numbers are renumbered by class.
fn by_name<'a>(layers: &'a [Found], all: &[Wanted]) -> BTreeMap<String, &'a Found> {
    let explicit: BTreeSet<&str> = all.iter().filter(|wanted| !wanted.layer.auto).map(|wanted| wanted.layer.name.as_str()).collect();
    let mut numbered: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for wanted in all.iter().filter(|wanted| wanted.layer.auto) {
        numbered.entry(wanted.layer.op.class()).or_default().push(&wanted.layer.name);
    }
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for layer in layers {
        let class = class_of(&layer.name);
        let names = numbered.get(class).filter(|_| !explicit.contains(layer.name.as_str()));
        let place = met.entry(class).or_default();
        let name = names.and_then(|names| names.get(*place));
        *place += usize::from(names.is_some());
        found.insert(name.map_or_else(|| layer.name.clone(), |name| (*name).to_owned()), layer);
    }
    found
}

/// `conv2d_17` → `conv2d`; the names that Keras 1 gave its classes count as today's.
fn class_of(name: &str) -> &str {
    let class = name.rsplit_once('_').filter(|(_, number)| number.parse::<u64>().is_ok()).map_or(name, |(class, _)| class);
    match class {
        "convolution2d" => "conv2d",
        "separableconvolution2d" => "separable_conv2d",
        "batchnormalization" => "batch_normalization",
        class => class,
    }
}

/// The weights of a layer but `Normalization`'s count of images.
fn own_weights<'a>(wanted: &Wanted, found: &'a Found) -> Vec<&'a Weight> {
    let counts = matches!(wanted.layer.op, Op::Normalization);
    found.weights.iter().filter(|weight| !(counts && weight.shape.is_empty())).collect()
}

fn is_leaf(leaf: &str, variable: &Variable) -> bool {
    // Keras 3 calls a depthwise kernel `kernel`.
    leaf == variable.keras || (leaf == "kernel" && variable.keras == "depthwise_kernel" && variable.ours == "weight")
}

/// Deviation of ImageNet's red, green and blue.
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];

/// The published weights of EfficientNet have the deviations where the variances should be, and Keras makes up for it by
/// another division by the root of each, in a layer that only `weights="imagenet"` adds. Both in one: their product.
fn fold_deviation(variance: &mut [f32]) {
    if variance.len() == 3 && variance.iter().zip(DEVIATION).all(|(found, deviation)| (found - deviation).abs() < 1e-4) {
        for (variance, deviation) in variance.iter_mut().zip(DEVIATION) {
            *variance *= deviation;
        }
    }
}
