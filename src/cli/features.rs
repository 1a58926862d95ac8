//! `tomograph features`: pooled features of images, by handing over to `tomograph-torch`.

use super::exit::Exit;
use super::project::worker;
use anyhow::{Context as _, Result};
use clap::Args;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

/// Compute a backbone's pooled features, or its classes with --top
///
/// Reads images as [n, h, w, 3] RGB 0..255 in a .npy file (uint8 or float32), or one image file, scales them as the Keras
/// function of that backbone does, and writes [n, features] (or [n, classes]) as float32.
#[derive(Args)]
pub(super) struct FeaturesArgs {
    /// The backbone: mobilenet
    backbone: String,
    /// Keras weights (HDF5)
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Images: X.npy, or a PNG, JPEG or BMP file
    #[arg(long, value_name = "X.npy|IMAGE")]
    input: PathBuf,
    /// Where the features go
    #[arg(long, value_name = "F.npy")]
    output: PathBuf,
    /// Classes with their probabilities instead of features; the weights must have their top
    #[arg(long)]
    top: bool,
}

pub(super) fn features(args: &FeaturesArgs) -> Result<Exit> {
    let worker =
        worker().context("the program tomograph-torch is missing: it is neither beside tomograph nor on PATH; `make build` makes both")?;
    let mut command = Command::new(&worker);
    command
        .arg("features")
        .arg(&args.backbone)
        .arg("--weights")
        .arg(&args.weights)
        .arg("--input")
        .arg(&args.input)
        .arg("--output")
        .arg(&args.output);
    if args.top {
        command.arg("--top");
    }
    Err(command.exec()).with_context(|| format!("cannot start {}", worker.display()))
}
