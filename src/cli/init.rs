//! `tomograph init`: a small pipeline to begin with, and what a project needs beside it.

use super::exit::{Exit, Wrong, print};
use super::reading::root_of;
use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Write a small, commented pipeline to begin with
///
/// Writes NAME.toml here, and where there is no project yet its `tomograph.toml` and `.gitignore`. Nothing that is there is changed.
#[derive(Args)]
pub(super) struct InitArgs {
    /// Name of the pipeline: small letters, digits, `_` and `-`
    name: String,
    /// What it begins with
    #[arg(long, value_enum, default_value_t = Template::Images)]
    template: Template,
}

#[derive(Clone, Copy, ValueEnum)]
enum Template {
    /// Pictures with a CSV table, to a table of results
    Images,
    /// A folder of DICOM, to images
    Dicom,
    /// Programs of your own
    Command,
}

const IGNORED: &str =
    "# Of tomograph: the store, what is published, and what is only of this machine.\n/cache\n/results\n/tomograph.local.toml\n";

pub(super) fn init(args: &InitArgs) -> Result<Exit> {
    let name = &args.name;
    let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.starts_with('-') || !name.bytes().all(is_name) {
        return Err(Wrong(format!("`{name}` is no name: names are made of small letters, digits, `_` and `-`")).into());
    }
    let here = std::env::current_dir().context("cannot tell the current folder")?;
    let file = here.join(format!("{name}.toml"));
    let root = root_of(&file)?;
    let text = match args.template {
        Template::Images => include_str!("templates/images.toml"),
        Template::Dicom => include_str!("templates/dicom.toml"),
        Template::Command => include_str!("templates/command.toml"),
    };
    let shown = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
    let text = text.replace("@NAME@.toml", &shown).replace("@NAME@", name);
    let script = matches!(args.template, Template::Command).then(|| root.join(format!("tools/{name}.sh")));
    // All or nothing: whoever has one of these keeps it.
    if let Some(there) = std::iter::once(&file).chain(&script).find(|path| path.exists()) {
        return Err(Wrong(format!("{} is there already: take another name", there.display())).into());
    }
    let mut wrote = vec![write(&file, &text)?];
    if let Some(script) = &script {
        wrote.push(write(script, include_str!("templates/command.sh"))?);
    }
    let project = root.join("tomograph.toml");
    if !project.exists() {
        let text = format!(
            "# The project's root: paths in pipelines begin here. What the team shares stands in this file; what is only of this machine\n\
             # (another place for the store: `store = \"/data/store\"`) in tomograph.local.toml.\n[project]\nid = \"{name}\"\n"
        );
        wrote.push(write(&project, &text)?);
        let ignore = root.join(".gitignore");
        if ignore.exists() {
            wrote.push("left .gitignore as it is: let it have /cache, /results and /tomograph.local.toml".to_owned());
        } else {
            wrote.push(write(&ignore, IGNORED)?);
        }
    }
    print(&format!("{}\nNext: read {shown}, then `tomograph check {shown}`\n", wrote.join("\n")))?;
    Ok(Exit::Done)
}

/// Writes a new file, and says so.
fn write(path: &Path, text: &str) -> Result<String> {
    let shown: PathBuf = path.file_name().map(PathBuf::from).unwrap_or_default();
    let make = || {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::File::create_new(path)?.write_all(text.as_bytes())
    };
    make().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(format!("wrote {}", shown.display()))
}
