//! `tomograph-torch`: everything that needs libtorch. Started by `tomograph`, seldom by people.

mod arrays;
mod augment;
mod backbones;
mod classifier;
mod convert;
mod evaluate;
mod failure;
mod features;
mod feed;
mod fit;
mod graph;
mod image_features;
mod items;
mod job;
#[cfg(test)]
mod keras_files;
mod keras_h5;
mod keras_load;
mod layers;
mod loss;
mod lungs;
mod network;
mod noise;
mod optimiser;
#[cfg(test)]
mod parity;
mod pixels;
mod precision;
mod predict;
mod predicted;
mod pretrained;
mod recipe;
mod schedule;
mod seeds;
mod speed;
mod state;
#[cfg(test)]
mod steps;
mod train;
mod training;
mod variables;
mod weights;
mod work;

use clap::Parser;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tomograph::run::order::BUILD;

/// Trains and applies networks for tomograph
#[derive(Parser)]
#[command(name = "tomograph-torch", version = BUILD)]
enum Command {
    /// Do one work order of the engine
    Work {
        /// The order, a JSON file
        order: PathBuf,
    },
    /// Pooled features of images, or their ImageNet classes
    Features(features::Features),
    /// Weights as safetensors
    Convert(convert::Convert),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::Work { order } => work::work(&order),
        Command::Features(args) => told(|| features::features(&args)),
        Command::Convert(args) => told(|| convert::convert(&args)),
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Does what people asked for, and says what went wrong.
fn told(work: impl FnOnce() -> anyhow::Result<()>) -> bool {
    let done = failure::guarded(work);
    if let Err(error) = &done {
        let _ = writeln!(std::io::stderr(), "error: {}", failure::line(error, None));
    }
    done.is_ok()
}
