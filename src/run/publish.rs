//! Publishing: what the store holds becomes files that people use, beside a `NAME.tomograph.json` that says what they are.
//!
//! Follows every run, cached or not. A file counts as ours when its content is what the file beside it lists; anything else
//! is somebody's work and stays. What leaves the store is a reflink or a copy, so that no edit reaches a blob.

use super::sidecar::{Put, sidecar_of};
use crate::content::{Digest, FileRef, Level, Tree};
use crate::pipeline::TaskId;
use crate::plan::{Known, Planner, REMEDY, Sidecar};
use crate::store::Store;
use anyhow::{Context as _, Result, bail, ensure};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

/// An output and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The task as people write it.
    pub task: &'a str,
    /// Its kind, or `command`.
    pub kind: &'a str,
    /// Key of the result.
    pub key: &'a Digest,
    /// The output port.
    pub port: &'a str,
    /// What it holds.
    pub tree: &'a Tree,
    /// Path relative to the project root: of the file where there is one, of the folder where there are several.
    pub to: &'a str,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was there already.
    Unchanged,
    /// So many files were written or taken away.
    Written(usize),
}

/// A known output, by its port and where it goes, as publishing needs it; none where its bytes are gone and some are to be written.
pub(super) fn to_publish(planner: &Planner, id: TaskId, known: &Known, (port, to): (&str, &str), overwrite: bool) -> Result<Option<Tree>> {
    let (manifest, level) = (known.output(port)?.manifest, planner.level(id));
    if let Some(tree) = planner.store.tree(&manifest, level)? {
        return Ok(Some(tree));
    }
    let Some(tree) = planner.store.listed_tree(&manifest, level)? else { return Ok(None) };
    let task = planner.pipeline.tasks[id.0].title();
    let what = Publication { task: &task, kind: &known.record.kind, key: &known.key, port, tree: &tree, to };
    // What stands there is not written again, and what is refused is not written at all.
    let writes = compare(planner.store, &planner.root, &what, overwrite).is_ok_and(|differing| !differing.write.is_empty());
    Ok((!writes).then_some(tree))
}

/// Where an output goes, and what is not yet there as it is wanted.
struct Differing<'a> {
    to: PathBuf,
    folder: PathBuf,
    wanted: BTreeMap<String, &'a FileRef>,
    write: Vec<(String, &'a FileRef)>,
    /// Files that we published and that are no longer wanted.
    stale: Vec<String>,
    /// Those of ours that stand there, with their digests.
    ours: BTreeMap<String, Digest>,
}

/// Puts an output where people want it. A missing or older file is put back; one whose content we did not publish is an
/// error unless `overwrite`, and then nothing is touched. Of a folder, files that we published and that are no longer in it
/// are taken away; files of others stay.
pub fn publish(store: &Store, root: &Path, what: &Publication<'_>, overwrite: bool) -> Result<Outcome> {
    let Differing { to, folder, wanted, write, stale, ours } = compare(store, root, what, overwrite)?;
    let beside = Sidecar::path(&to);
    let mut sidecar = sidecar_of(what, wanted.iter().map(|(path, file)| (path.clone(), file.digest)).collect());
    let put = Put::of(store);
    if !(write.is_empty() && stale.is_empty()) {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        sidecar.replaces = ours;
        put.bytes(&sidecar.to_bytes(), &beside)?;
        for path in &stale {
            take_away(&folder, path)?;
        }
        if wanted.len() != 1 {
            fs::create_dir_all(&to).with_context(|| format!("cannot make the folder {}", to.display()))?;
        }
        write.par_iter().try_for_each(|(path, file)| put.blob(file, &folder.join(path)))?;
        sidecar.replaces.clear();
    }
    if Sidecar::read(&beside).as_ref() != Some(&sidecar) {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        put.bytes(&sidecar.to_bytes(), &beside)?;
    }
    let changed = write.len() + stale.len();
    Ok(if changed == 0 { Outcome::Unchanged } else { Outcome::Written(changed) })
}

/// What publishing would write and take away; an error where it is refused. Touches nothing.
fn compare<'a>(store: &Store, root: &Path, what: &Publication<'a>, overwrite: bool) -> Result<Differing<'a>> {
    let to = root.join(what.to);
    ensure_allowed(root, what, &to)?;
    ensure!(!to.starts_with(store.root()), "that is inside the store {}", store.root().display());
    let folder = to.parent().context("a file needs a name")?.to_owned();
    let name = to.file_name().and_then(|name| name.to_str()).context("a file needs a name")?;
    let wanted: BTreeMap<String, &FileRef> = match what.tree.files.len() {
        1 => what.tree.files.values().map(|file| (name.to_owned(), file)).collect(),
        _ => what.tree.files.iter().map(|(path, file)| (format!("{name}/{path}"), file)).collect(),
    };
    let known = Sidecar::read(&Sidecar::path(&to));
    let there = look(store, &folder, name, &wanted, known.as_ref())?;

    let is_ours = |path: &str, digest: &Digest| known.as_ref().is_some_and(|known| known.lists(path, digest));
    let (mut write, mut foreign) = (Vec::new(), Vec::new());
    for (path, file) in &wanted {
        match there.get(path) {
            Some(digest) if *digest == file.digest => {}
            Some(digest) if !is_ours(path, digest) && !overwrite => foreign.push(path.as_str()),
            _ => write.push((path.clone(), *file)),
        }
    }
    if let Some(first) = foreign.first() {
        let more = if foreign.len() > 1 { format!(" (and {} more)", foreign.len() - 1) } else { String::new() };
        bail!("{}{more} has content that was not published from here: move it away, or say --overwrite", folder.join(first).display());
    }
    let ours: BTreeMap<String, Digest> = there.into_iter().filter(|(path, digest)| is_ours(path, digest)).collect();
    let stale = ours.keys().filter(|path| !wanted.contains_key(*path)).cloned().collect();
    Ok(Differing { to, folder, wanted, write, stale, ours })
}

/// Digests of the files that stand where ours go, or went.
fn look(
    store: &Store,
    folder: &Path,
    name: &str,
    wanted: &BTreeMap<String, &FileRef>,
    known: Option<&Sidecar>,
) -> Result<BTreeMap<String, Digest>> {
    let mut paths: Vec<String> = wanted.keys().cloned().collect();
    // A sidecar may have been edited: only what lies under our own name counts.
    let inside = |path: &&String| {
        let mut parts = Path::new(path.as_str()).components();
        parts.next() == Some(Component::Normal(name.as_ref())) && parts.all(|part| matches!(part, Component::Normal(_)))
    };
    paths.extend(known.iter().flat_map(|known| known.files.keys().chain(known.replaces.keys())).filter(inside).cloned());
    paths.sort_unstable();
    paths.dedup();
    paths.retain(|path| fs::metadata(folder.join(path)).is_ok_and(|there| there.is_file()));
    let places: Vec<PathBuf> = paths.iter().map(|path| folder.join(path)).collect();
    let hashed = store.hash_files(&places, &|_, _| {}).context("cannot look at what stands there")?;
    Ok(paths.into_iter().zip(hashed).map(|(path, hashed)| (path, hashed.digest)).collect())
}

/// Removes a file that we published, and the folders below `folder` that it leaves empty.
fn take_away(folder: &Path, path: &str) -> Result<()> {
    let place = folder.join(path);
    fs::remove_file(&place).with_context(|| format!("cannot remove {}", place.display()))?;
    let mut above = place.parent();
    while let Some(empty) = above.filter(|above| *above != folder && above.starts_with(folder)) {
        if fs::remove_dir(empty).is_err() {
            break;
        }
        above = empty.parent();
    }
    Ok(())
}

/// Copies a tree into a new folder `to`, with its sidecar beside it; out of the project at `root` only what is released. What fails half-way
/// leaves nothing there.
pub fn export(store: &Store, root: &Path, what: &Publication<'_>, to: &Path) -> Result<()> {
    ensure_allowed(root, what, to).with_context(|| format!("cannot export {}", what.task))?;
    let is_there = match fs::read_dir(to) {
        Ok(mut entries) => {
            ensure!(entries.next().is_none(), "{} is not empty: name a new folder", to.display());
            true
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("cannot write to {}", to.display())),
    };
    let name = to.file_name().and_then(|name| name.to_str()).context("a folder needs a name")?;
    // An empty folder may be a link, or where a disk is mounted: it is filled where it is. A new one is filled apart.
    let apart = if is_there { None } else { Some(apart(to, name).with_context(|| format!("cannot make the folder {}", to.display()))?) };
    let place = apart.as_ref().map_or(to, tempfile::TempDir::path);
    let put = Put::of(store);
    let copy =
        |(path, file): (&String, &FileRef)| put.blob(file, &place.join(path)).with_context(|| format!("cannot export {}", what.task));
    let files = what.tree.files.iter().map(|(path, file)| (format!("{name}/{path}"), file.digest)).collect();
    let beside = Sidecar::path(to);
    // What it is stands there before it: a source without a word beside it is believed to be what the pipeline says.
    let copied = what.tree.files.par_iter().try_for_each(copy).and_then(|()| put.bytes(&sidecar_of(what, files).to_bytes(), &beside));
    if apart.is_none() {
        // What others put there meanwhile stays.
        return copied.inspect_err(|_| what.tree.files.keys().for_each(|path| drop(take_away(to, path))));
    }
    copied?;
    fs::rename(place, to)
        .inspect_err(|_| drop(fs::remove_file(&beside)))
        .with_context(|| format!("cannot make the folder {}", to.display()))
}

/// A folder beside `to` that goes with the answer, unless it has got another name by then; for everyone as far as the user's mask allows.
fn apart(to: &Path, name: &str) -> io::Result<tempfile::TempDir> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    tempfile::Builder::new().prefix(&format!(".{name}.")).permissions(fs::Permissions::from_mode(0o777)).tempdir_in(folder)
}

/// What an output needs for its files to leave the store (DESIGN rule 13).
pub fn ensure_allowed(root: &Path, what: &Publication<'_>, to: &Path) -> Result<()> {
    match what.tree.level {
        Level::Released => Ok(()),
        Level::Pseudonymous => {
            // What is not there yet, or is a link, lies where its folder really is.
            let to = std::path::absolute(to)?;
            let there = to.ancestors().skip(1).find_map(|above| fs::canonicalize(above).ok());
            let root = fs::canonicalize(root)?;
            ensure!(
                there.is_some_and(|there| there.starts_with(&root)),
                "output `{}` holds pseudonymous data, which stays inside the project: name a folder in {}, or release it first \
                 (`tomograph kinds review.release`)",
                what.port,
                root.display()
            );
            Ok(())
        }
        Level::Identified => bail!("output `{}` holds identified data, which never leaves the store: {REMEDY}", what.port),
    }
}

#[cfg(test)]
mod tests;
