//! The registry of backbones: a row per network and the function that builds its trunk.
//!
//! A trunk's variables carry the names of the Keras layers that own them, so that loading Keras weights needs no table.

mod mobilenet;

use crate::layers::{Chain, Layer};
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
    /// Creates the trunk's variables under a path; the number is batch normalisation's momentum as Keras counts it.
    pub(crate) build: fn(&Path, f64) -> Chain,
    /// Layers with variables that Keras adds with `include_top=True`.
    pub(crate) top_layers: &'static [&'static str],
    /// Creates those: last feature map → logits of the 1000 ImageNet classes.
    pub(crate) top: fn(&Path) -> Layer,
}

/// Every backbone there is. The names are those of [`tomograph::stages::backbones`].
pub(crate) static BACKBONES: &[Backbone] = &[mobilenet::MOBILENET];

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
}
