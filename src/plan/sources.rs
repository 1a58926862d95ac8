//! Sources: their files hashed by content, with the stamps that tell later whether one moved.
//!
//! Knows the store's memo; does not know what reads the files.

use super::sidecar::{Beside, set_apart};
use crate::content::{Digest, FileRef, Level, Tree};
use crate::pipeline::{Origin, Source, Taken, TaskId};
use crate::store::sources::walk;
use crate::store::{Hashed, Stamp, Store, Unreadable};
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The files of a source as they were when it was looked at.
pub(super) struct SourceTree {
    pub(super) tree: Arc<Tree>,
    /// In the order of the tree's files; empty for what another pipeline left, which can't move.
    stamps: Vec<Stamp>,
    /// The keys of results that it is: of what another pipeline left, or what lies beside its files tells of.
    pub(super) keys: BTreeSet<Digest>,
    /// The place of each of its files → where its stamp stands; made when first asked.
    places: OnceLock<HashMap<PathBuf, usize>>,
    /// What references named so far.
    parts: Mutex<HashMap<Option<String>, Option<SourcePart>>>,
}

/// What a reference names of a source.
#[derive(Clone)]
pub(super) struct SourcePart {
    pub(super) tree: Arc<Tree>,
    pub(super) digest: Digest,
}

impl SourceTree {
    /// Looks at a source: `None` where nothing is at its path, or nothing is left of what it takes.
    pub(super) fn look(
        store: &Store,
        root: &Path,
        source: &Source,
        beside: &Beside,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Option<Self>> {
        if let Some(taken) = &source.taken {
            return Ok(taken_tree(store, taken)?.map(|(key, tree)| Self::new(tree, Vec::new(), BTreeSet::from([key]))));
        }
        let Some(files) = walk(root, &source.path).with_context(|| format!("source `{}`", source.title()))? else { return Ok(None) };
        let (files, among) = set_apart(source, files);
        let places: Vec<PathBuf> = files.iter().map(|(_, place)| place.clone()).collect();
        let hashed = store.hash_files(&places, progress).map_err(|error| unreadable(error, source, &files))?;
        let mut files: Vec<_> = files.into_iter().zip(hashed).collect();
        files.sort_unstable_by(|((one, _), _), ((other, _), _)| one.cmp(other));
        let stamps = files.iter().map(|(_, hashed)| hashed.stamp).collect();
        let file = |((path, place), hashed): ((String, PathBuf), Hashed)| {
            (path, FileRef { digest: hashed.digest, size: hashed.size, place: place.into() })
        };
        let mut tree = Tree { files: files.into_iter().map(file).collect(), level: Level::of_people(source.phi) };
        let keys = beside.apply(root, source, among, &mut tree)?;
        Ok(Some(Self::new(tree, stamps, keys)))
    }

    fn new(tree: Tree, stamps: Vec<Stamp>, keys: BTreeSet<Digest>) -> Self {
        Self { tree: Arc::new(tree), stamps, keys, places: OnceLock::new(), parts: Mutex::default() }
    }

    /// The part of the source that a reference names, made once.
    pub(super) fn part(&self, inside: Option<&str>) -> Option<SourcePart> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.get(&inside.map(str::to_owned)) {
            return part.clone();
        }
        let tree = match inside {
            None => Some(self.tree.clone()),
            Some(inside) => self.inside(inside).map(Arc::new),
        };
        let part = tree.map(|tree| SourcePart { digest: tree.digest(), tree });
        parts.insert(inside.map(str::to_owned), part.clone());
        part
    }

    /// One file, or one folder inside it.
    fn inside(&self, inside: &str) -> Option<Tree> {
        if let Some(file) = self.tree.files.get(inside) {
            let name = inside.rsplit('/').next().unwrap_or(inside);
            return Some(Tree { files: BTreeMap::from([(name.to_owned(), file.clone())]), level: self.tree.level });
        }
        let folder = format!("{}/", inside.trim_end_matches('/'));
        let files: BTreeMap<String, FileRef> = self
            .tree
            .files
            .iter()
            .filter_map(|(path, file)| path.strip_prefix(&folder).map(|path| (path.to_owned(), file.clone())))
            .collect();
        (!files.is_empty()).then_some(Tree { files, level: self.tree.level })
    }

    /// What a message says of the first file that moved since the source was looked at, or came since.
    pub(super) fn moved(&self, store: &Store, root: &Path, source: &Source) -> Option<String> {
        let moved = store.moved(self.tree.files.values().map(|file| &*file.place.file).zip(&self.stamps));
        if let Some(first) = moved.first() {
            let (path, _) = self.tree.files.iter().find(|(_, file)| *file.place.file == **first)?;
            return Some(format!("{} changed", self.tree.shown(path)));
        }
        if source.taken.is_some() {
            return None;
        }
        // A file that stands in the way of the walk is one that came, or is about to go again.
        let Ok(walked) = walk(root, &source.path) else { return Some("what it holds changed".to_owned()) };
        let (files, _) = set_apart(source, walked.unwrap_or_default());
        let (added, _) = files.iter().find(|(path, _)| !self.tree.files.contains_key(path))?;
        Some(format!("{} was added", self.tree.shown(added)))
    }

    /// The same of the one file at `place`, where it is of this source.
    pub(super) fn moved_file(&self, place: &Path) -> Option<String> {
        let files = || self.tree.files.values().zip(&self.stamps).enumerate();
        let places = self.places.get_or_init(|| files().map(|(at, (file, _))| (file.place.file.clone(), at)).collect());
        let at = *places.get(place)?;
        if Stamp::of(place).is_ok_and(|now| now == self.stamps[at]) {
            return None;
        }
        self.tree.files.keys().nth(at).map(|path| format!("{} changed", self.tree.shown(path)))
    }
}

/// What the last successful run of another pipeline's task left on a port, with its key, where its bytes are still there.
fn taken_tree(store: &Store, taken: &Taken) -> Result<Option<(Digest, Tree)>> {
    let Some(key) = store.last_keys(&taken.id)?.remove(&taken.task) else { return Ok(None) };
    for record in store.records(&key)? {
        let Some(output) = record.outputs.get(&taken.port) else { continue };
        if let Some(tree) = store.tree(&output.manifest, output.level)? {
            return Ok(Some((key, tree)));
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

impl super::Planner<'_> {
    /// Keys of the results that sources are.
    pub fn taken(&self) -> Vec<Digest> {
        self.sources.iter().flatten().flat_map(|source| source.keys.iter().copied()).collect()
    }

    /// Of the sources that a task reads, those that are results: their keys.
    pub fn taken_by(&self, id: TaskId) -> BTreeMap<String, BTreeSet<Digest>> {
        let mut taken = BTreeMap::new();
        for edge in self.pipeline.tasks[id.0].inputs.values().flatten() {
            if let Origin::Source { source, .. } = edge.origin
                && let Some(found) = self.sources[source.0].as_ref().filter(|found| !found.keys.is_empty())
            {
                taken.insert(self.pipeline.sources[source.0].title(), found.keys.clone());
            }
        }
        taken
    }
}
