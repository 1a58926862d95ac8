//! What lies beside a file or a folder that left a store, where it still tells of it.

use crate::cli::exit::Wrong;
use crate::content::Digest;
use crate::plan::{Said, Sidecar};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;

/// What lies beside the file, or beside a folder above it, and lists these bytes.
pub(super) fn of_file(file: &Path, digest: &Digest) -> Result<Sidecar> {
    if let Some(sidecar) = look(file, digest)? {
        return Ok(sidecar);
    }
    let (shown, beside) = (file.display(), Sidecar::path(file));
    Err(Wrong(match beside.exists() {
        true => format!("{} is not as this program writes them: put back the one that was published with {shown}", beside.display()),
        false => format!("{shown} was not published or exported by tomograph, or was moved without {}", beside.display()),
    })
    .into())
}

/// The same of the files in a folder, none of which was edited.
pub(super) fn of_folder(folder: &Path) -> Result<Sidecar> {
    let found = first_in(folder)?;
    found.ok_or_else(|| Wrong(format!("nothing in {} was published or exported by tomograph", folder.display())).into())
}

fn first_in(folder: &Path) -> Result<Option<Sidecar>> {
    let unreadable = || format!("cannot read the folder {}", folder.display());
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>).with_context(unreadable)?;
    let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = None;
    for path in paths {
        let one = if path.is_dir() { first_in(&path)? } else { look(&path, &Digest::of(&super::read(&path)?))? };
        found = found.or(one);
    }
    Ok(found)
}

fn look(file: &Path, digest: &Digest) -> Result<Option<Sidecar>> {
    let in_full = std::path::absolute(file)?;
    for above in in_full.ancestors() {
        let Some(sidecar) = Sidecar::read(&Sidecar::path(above)) else { continue };
        match sidecar.says_of(above, &in_full, digest) {
            Said::Ours => return Ok(Some(sidecar)),
            Said::Edited => {
                let what = format!("{} was edited after {} left it", file.display(), sidecar.task);
                return Err(Wrong(format!("{what}: `tomograph run --overwrite` puts back what was published")).into());
            }
            Said::Nothing => {}
        }
    }
    Ok(None)
}
