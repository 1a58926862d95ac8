//! The registry of backbones: a row per network and the function that builds its trunk.
//!
//! A trunk's layers carry the names that Keras gives them, so that loading Keras weights needs no table.

mod densenet;
mod efficientnet;
mod inception_resnet_v2;
mod inception_v3;
mod mobilenet;
mod mobilenet_v2;
mod nasnet;
mod resnet;
mod vgg;
mod xception;

use crate::graph::{AUTO, Activation, Graph, Op, X};
use crate::network::Network;
use crate::pixels::Scaling;
use anyhow::{Context as _, Result};
use tch::nn::Path;

/// A trunk without its classifier, and what a caller must know to use it.
pub(crate) struct Backbone {
    /// The `keras.applications` function's name in lower case.
    pub(crate) name: &'static str,
    /// Channels of the last feature map.
    pub(crate) features: i64,
    /// Side in pixels that Keras takes unless told otherwise.
    pub(crate) default_side: u32,
    /// How Keras scales pixels for these weights.
    pub(crate) scaling: Scaling,
    /// Writes down the layers from the input to the last feature map.
    pub(crate) trunk: fn(&mut Graph) -> X,
    /// Writes down those that Keras adds with `include_top=True`: last feature map → logits of the 1000 ImageNet classes.
    pub(crate) top: fn(&mut Graph, X) -> X,
}

/// Every backbone there is. The names are those of [`tomograph::stages::backbones`].
pub(crate) static BACKBONES: &[Backbone] = &[
    mobilenet::MOBILENET,
    mobilenet_v2::MOBILENET_V2,
    vgg::VGG16,
    vgg::VGG19,
    resnet::RESNET50,
    resnet::RESNET101,
    resnet::RESNET152,
    resnet::RESNET50_V2,
    resnet::RESNET101_V2,
    resnet::RESNET152_V2,
    densenet::DENSENET121,
    densenet::DENSENET169,
    densenet::DENSENET201,
    xception::XCEPTION,
    inception_v3::INCEPTION_V3,
    inception_resnet_v2::INCEPTION_RESNET_V2,
    nasnet::NASNET_MOBILE,
    efficientnet::B0,
    efficientnet::B1,
    efficientnet::B2,
    efficientnet::B3,
    efficientnet::B4,
    efficientnet::B5,
    efficientnet::B6,
    efficientnet::B7,
];

impl Backbone {
    /// The backbone of that name, or an error that lists the names there are.
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        BACKBONES.iter().find(|one| one.name == name).with_context(|| {
            let names: Vec<&str> = BACKBONES.iter().map(|one| one.name).collect();
            format!("there is no backbone `{name}`; there are {}", names.join(", "))
        })
    }

    /// Smallest side in pixels that Keras accepts.
    pub(crate) fn min_side(&self) -> u32 {
        tomograph::stages::backbones::find(self.name).map_or(1, |facts| facts.min_side)
    }

    /// The layers, with those of the classifier or without.
    pub(crate) fn graph(&self, top: bool) -> Graph {
        let mut graph = Graph::default();
        let x = (self.trunk)(&mut graph);
        if top {
            graph.begin_top();
            (self.top)(&mut graph, x);
        }
        graph
    }

    /// The trunk with fresh variables under `path`. `momentum`, where given, is that of every batch normalisation.
    pub(crate) fn build(&self, path: &Path, momentum: Option<f64>) -> Network {
        Network::new(path, self.graph(false), momentum)
    }
}

/// The classifier of most networks: the mean of each channel, then a dense layer.
fn pooled_top(g: &mut Graph, x: X, pool: Option<&str>) -> X {
    let x = g.same(pool.unwrap_or(AUTO), x, Op::GlobalAverage { keep: false });
    g.dense("predictions", x, 1000, Activation::Linear)
}
