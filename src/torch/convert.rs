//! `tomograph-torch convert`: Keras weights as safetensors, under Keras' layer names and in libtorch's order of the axes.

use crate::backbones::Backbone;
use crate::features::whole;
use crate::network::Network;
use crate::pretrained::Pretrained;
use crate::weights::{to_bytes, variables};
use anyhow::{Context as _, Result};
use std::io::Write as _;
use std::path::PathBuf;
use tch::{Device, nn};

/// What to convert.
#[derive(clap::Args)]
pub(crate) struct Convert {
    /// Network, such as mobilenet
    backbone: String,
    /// Its weights: Keras HDF5, .keras, .safetensors, or a folder with an exported model
    #[arg(long)]
    weights: PathBuf,
    /// Where to write the safetensors
    #[arg(long)]
    output: PathBuf,
    /// With the classifier of ImageNet, which the file must have
    #[arg(long)]
    top: bool,
}

/// Reads every variable of the network, and writes them.
pub(crate) fn convert(args: &Convert) -> Result<()> {
    let backbone = Backbone::named(&args.backbone)?;
    let store = nn::VarStore::new(Device::Cpu);
    let _network = Network::new(&store.root(), backbone.graph(args.top), None);
    let named = variables(&store);
    Pretrained::open(&args.weights)
        .and_then(|weights| weights.fill(backbone, args.top, &named))
        .with_context(|| args.weights.display().to_string())?;
    let bytes = to_bytes(&named, None)?;
    whole(&args.output, |file| Ok(file.write_all(&bytes)?)).with_context(|| format!("cannot write {}", args.output.display()))
}
