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
    /// The backbone, such as mobilenet: `tomograph backbones` lists them
    backbone: String,
    /// Keras weights: HDF5 of Keras 2 or 3, .keras or .safetensors; with or without the classifier of ImageNet
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
    let mut command = worker_command()?;
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
    hand_over(command)
}

/// A command line for `tomograph-torch`, to be filled.
pub(super) fn worker_command() -> Result<Command> {
    let worker =
        worker().context("the program tomograph-torch is missing: it is neither beside tomograph nor on PATH; `make build` makes both")?;
    Ok(Command::new(worker))
}

/// Becomes that program.
pub(super) fn hand_over(mut command: Command) -> Result<Exit> {
    Err(command.exec()).with_context(|| format!("cannot start {}", command.get_program().display()))
}
