//! Sources: their files hashed by content, with the stamps that tell later whether one moved.
//!
//! Knows the store's memo; does not know what reads the files.

use crate::content::{FileRef, Tree};
use crate::pipeline::{Source, Taken};
use crate::store::sources::walk;
use crate::store::{Stamp, Store, Unreadable};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of a source as they were when it was looked at.
pub(super) struct SourceTree {
    pub(super) tree: Tree,
    stamps: BTreeMap<String, (PathBuf, Stamp)>,
}

impl SourceTree {
    /// Looks at a source: `None` where nothing is at its path, or nothing is left of what it takes.
    pub(super) fn look(store: &Store, root: &Path, source: &Source, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Option<Self>> {
        if let Some(taken) = &source.taken {
            return Ok(taken_tree(store, taken)?.map(|tree| Self { tree, stamps: BTreeMap::new() }));
        }
        let Some(files) = walk(root, &source.path).with_context(|| format!("source `{}`", source.title()))? else { return Ok(None) };
        let places: Vec<PathBuf> = files.iter().map(|(_, place)| place.clone()).collect();
        let hashed = store.hash_files(&places, progress).map_err(|error| unreadable(error, source, &files))?;
        let mut tree = Tree { files: BTreeMap::new(), identified: source.phi };
        let mut stamps = BTreeMap::new();
        for ((path, place), hashed) in files.into_iter().zip(hashed) {
            tree.files.insert(path.clone(), FileRef { digest: hashed.digest, size: hashed.size, place: place.clone().into() });
            stamps.insert(path, (place, hashed.stamp));
        }
        Ok(Some(Self { tree, stamps }))
    }

    /// The part of the source that a reference names: all of it, one file, or one folder inside it.
    pub(super) fn inside(&self, inside: Option<&str>) -> Option<Tree> {
        let Some(inside) = inside else { return Some(self.tree.clone()) };
        if let Some(file) = self.tree.files.get(inside) {
            let name = inside.rsplit('/').next().unwrap_or(inside);
            return Some(Tree { files: BTreeMap::from([(name.to_owned(), file.clone())]), identified: self.tree.identified });
        }
        let folder = format!("{}/", inside.trim_end_matches('/'));
        let files: BTreeMap<String, FileRef> = self
            .tree
            .files
            .iter()
            .filter_map(|(path, file)| path.strip_prefix(&folder).map(|path| (path.to_owned(), file.clone())))
            .collect();
        (!files.is_empty()).then_some(Tree { files, identified: self.tree.identified })
    }

    /// What a message may call the first file that moved since the source was looked at.
    pub(super) fn moved(&self, store: &Store) -> Option<String> {
        let moved = store.moved(self.stamps.values().map(|(place, stamp)| (place.as_path(), stamp)));
        let first = moved.first()?;
        let (path, _) = self.stamps.iter().find(|(_, (place, _))| place == first)?;
        Some(self.tree.shown(path))
    }
}

/// What the last successful run of another pipeline's task left on a port, where its bytes are still there.
fn taken_tree(store: &Store, taken: &Taken) -> Result<Option<Tree>> {
    let Some(key) = store.last_keys(&taken.id)?.remove(&taken.task) else { return Ok(None) };
    for record in store.records(&key)? {
        let Some(output) = record.outputs.get(&taken.port) else { continue };
        if let Some(tree) = store.tree(&output.manifest, output.identified)? {
            return Ok(Some(tree));
        }
    }
    Ok(None)
}

/// Names the file that could not be read, where its name may be shown.
fn unreadable(error: anyhow::Error, source: &Source, files: &[(String, PathBuf)]) -> anyhow::Error {
    let Some(Unreadable { at, of, reason }) = error.downcast_ref() else { return error };
    let name = files.get(*at).filter(|_| !source.phi).map_or_else(|| format!("file {} of {of}", at + 1), |(path, _)| path.clone());
    super::Unready(format!("source `{}`: cannot read {name}: {reason}", source.title())).into()
}
