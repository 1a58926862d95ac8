//! `tomograph weights`: the files that Keras publishes for the backbones, which are here, and fetching those that are not.

mod fetch;

use super::exit::{Exit, Wrong, print};
use super::features::{hand_over, worker_command};
use super::grid::{bytes, grid};
use super::reading::{Local, root_of, settings};
use crate::stages::backbones::{self, BACKBONES};
use crate::stages::published::{BASE, Published, PublishedFile};
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use fetch::{Wanted, check, fetch};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// List and fetch the weights that Keras publishes for the backbones
///
/// The files are trained on ImageNet and lie in the folder `weights` of the project as BACKBONE.h5,
/// with the classifier of ImageNet as BACKBONE_top.h5, so that a pipeline sweeps them as one source:
///
///     [source.imagenet]
///     over = ["backbone"]
///     path = "weights/{backbone}.h5"
///     phi  = false
///
/// Files from elsewhere, saved by Keras 2 or 3, may lie there under the same names.
///
/// In tomograph.local.toml, `[weights]` may have `folder`, another folder; `from`, the address of a
/// mirror, below which the files have the paths that `list --json` shows; and, where a mirror has
/// other files, `md5 = { vgg16 = "…" }`.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct WeightsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(ListArgs),
    Get(GetArgs),
    Convert(ConvertArgs),
}

/// List the published files: address, checksum, and whether they are here
///
/// `size` is about four bytes for each parameter. `here` says whether the folder has a file of that name; with --verify whether it
/// is the published one.
#[derive(Args)]
struct ListArgs {
    /// Read the files that are here and compare their checksums
    #[arg(long)]
    verify: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Fetch weights, and verify them
///
/// A download that breaks off goes on where it stopped when the command is given again. A file appears under its name only once
/// its checksum is right; Keras publishes none for mobilenet and mobilenetv2, of which the length is compared. A file that is
/// here is not fetched again; one that is not the published one is an error, unless --overwrite says to replace it.
#[derive(Args)]
struct GetArgs {
    /// Backbones: `tomograph backbones` lists them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// With the classifier of ImageNet, as BACKBONE_top.h5
    #[arg(long)]
    top: bool,
    /// Address below which the files are, instead of Keras' own
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// Replace a file that is not the published one
    #[arg(long)]
    overwrite: bool,
}

/// Write Keras weights as safetensors
///
/// The variables have the names of Keras' layers and libtorch's order of the axes, as in the models of `classifier.train`. The file
/// serves wherever the Keras file does: as source of a port `weights`, and with `tomograph features`.
#[derive(Args)]
struct ConvertArgs {
    /// The backbone
    #[arg(value_name = "NAME")]
    backbone: String,
    /// Keras weights: HDF5 of Keras 2 or 3, or .keras
    weights: PathBuf,
    /// Where the safetensors go
    output: PathBuf,
    /// With the classifier of ImageNet, which the file must have
    #[arg(long)]
    top: bool,
}

/// `[weights]` of `tomograph.local.toml`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WeightsTable {
    folder: Option<PathBuf>,
    from: Option<String>,
    /// Checksums of a mirror's own files, by their names here without `.h5`.
    #[serde(default)]
    md5: BTreeMap<String, String>,
}

pub(super) fn weights(args: &WeightsArgs) -> Result<Exit> {
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    let root = root_of(&here.join("any"))?;
    let local: Local = settings(&root.join("tomograph.local.toml"))?;
    let folder = root.join(local.weights.folder.as_deref().unwrap_or(Path::new("weights")));
    match &args.command {
        Command::List(args) => list(args, &local.weights, &folder),
        Command::Get(args) => get(args, &local.weights, &folder),
        Command::Convert(args) => convert(args),
    }
}

/// The name of a file here, without `.h5`.
fn stem(backbone: &str, top: bool) -> String {
    format!("{backbone}{}", if top { "_top" } else { "" })
}

/// The checksum that a file must have, where one is known.
fn sum<'a>(table: &'a WeightsTable, stem: &str, file: &PublishedFile) -> Option<&'a str> {
    table.md5.get(stem).map(String::as_str).or(file.md5)
}

fn list(args: &ListArgs, table: &WeightsTable, folder: &Path) -> Result<Exit> {
    let mut rows = vec![["backbone", "size", "md5", "here", "file"].map(str::to_owned).to_vec()];
    let mut text = String::new();
    for facts in BACKBONES {
        let Some(published) = Published::of(facts.name) else { continue };
        let sum = sum(table, facts.name, &published.trunk);
        let place = folder.join(format!("{}.h5", facts.name));
        let here = match (place.is_file(), args.verify, sum) {
            (false, ..) => "no",
            (true, true, Some(sum)) if check(&place, sum)?.is_some() => "another file",
            (true, true, None) => "yes, no checksum",
            (true, ..) => "yes",
        };
        if args.json {
            let row = serde_json::json!({
                "backbone": facts.name, "path": published.trunk.path, "md5": sum, "bytes": facts.parameters * 4, "here": here,
                "place": place, "with_top": { "path": published.whole.path, "md5": published.whole.md5 },
            });
            let _ = writeln!(text, "{row}");
        }
        let size = format!("~{}", bytes(facts.parameters * 4));
        rows.push([facts.name, &size, sum.unwrap_or("—"), here, published.trunk.name()].map(str::to_owned).to_vec());
    }
    if !args.json {
        text = grid(&rows, "");
        let _ = write!(text, "\n`tomograph weights get NAME` fetches one to {}.\n", folder.display());
    }
    print(&text)?;
    Ok(Exit::Done)
}

fn get(args: &GetArgs, table: &WeightsTable, folder: &Path) -> Result<Exit> {
    for name in &args.names {
        if Published::of(name).is_none() {
            return Err(Wrong(format!("there is no backbone `{name}`; there are {}", backbones::names())).into());
        }
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let base = args.from.as_deref().or(table.from.as_deref()).unwrap_or(BASE).trim_end_matches('/');
    for published in args.names.iter().filter_map(|name| Published::of(name)) {
        let file = if args.top { &published.whole } else { &published.trunk };
        let stem = stem(published.backbone, args.top);
        let place = folder.join(format!("{stem}.h5"));
        let wanted = Wanted { address: format!("{base}/{}", file.path), md5: sum(table, &stem, file), place: &place };
        let shown = place.display();
        if place.is_file() && !args.overwrite {
            if let Some(found) = wanted.md5.map(|sum| check(&place, sum)).transpose()?.flatten() {
                anyhow::bail!(
                    "{shown} is not the published file: its MD5 is {found}, not {}; --overwrite replaces it",
                    wanted.md5.unwrap_or_default()
                );
            }
            print(&format!("{}: {shown} is here\n", published.backbone))?;
            continue;
        }
        let size = fetch(&wanted).with_context(|| format!("{}: {}", published.backbone, wanted.address))?;
        let known = if wanted.md5.is_some() { "" } else { "; Keras publishes no checksum for it" };
        print(&format!("{}: {shown}, {}{known}\n", published.backbone, bytes(size)))?;
    }
    Ok(Exit::Done)
}

fn convert(args: &ConvertArgs) -> Result<Exit> {
    let mut command = worker_command()?;
    command.arg("convert").arg(&args.backbone).arg("--weights").arg(&args.weights).arg("--output").arg(&args.output);
    if args.top {
        command.arg("--top");
    }
    hand_over(command)
}
