//! Sources: their files hashed by content, with the stamps that tell later whether one moved.
//!
//! Knows the store's memo; does not know what reads the files.

use super::FEW;
use super::sidecar::{Beside, set_apart};
use crate::content::{Digest, FileRef, Level, Tree};
use crate::pipeline::{Origin, Source, Taken, TaskId};
use crate::store::sources::{Found, Walked, walk, walk_next};
use crate::store::{Hashed, Looker, Stamp, Store, Unreadable};
use anyhow::{Context as _, Result};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

/// So many files of a source are worth sharing out in the pool.
const MANY: usize = 1024;

/// The files of a source as they were when it was looked at.
pub(super) struct SourceTree {
    /// By path inside the source.
    pub(super) files: Vec<(String, FileRef)>,
    pub(super) level: Level,
    /// In the order of the files; empty for what another pipeline left, which can't move.
    stamps: Vec<Stamp>,
    /// The folders that were read, where a file that comes or goes changes one of their stamps for sure.
    folders: Option<Box<[(PathBuf, Stamp)]>>,
    /// The keys of results that it is: of what another pipeline left, or what lies beside its files tells of.
    pub(super) keys: BTreeSet<Digest>,
    /// Digest of the whole, once somebody asked.
    digest: OnceLock<Digest>,
    /// What only those tasks ask for that run: a pipeline may have thousands of sources.
    asked: OnceLock<Box<Asked>>,
}

/// What is made of a source when first asked.
#[derive(Default)]
struct Asked {
    /// The whole.
    tree: OnceLock<Arc<Tree>>,
    /// The files and folders inside it that references named so far.
    parts: Mutex<HashMap<String, Option<SourcePart>>>,
}

/// What a reference names of a source.
#[derive(Clone)]
pub(super) struct SourcePart {
    pub(super) tree: Arc<Tree>,
    pub(super) digest: Digest,
}

/// A source whose files are found and not hashed yet.
enum Looked {
    /// Not asked for, or nothing is there.
    Nothing,
    /// Files with the folders that were read, and the sidecars that were among them.
    Files(Walked, Vec<PathBuf>),
    Taken(Box<SourceTree>),
}

/// Looks at those of the sources that are to be `read`: none of the others, and of those where nothing is at the path or nothing is left of
/// what is taken. The files of all are hashed together.
pub(super) fn look(
    store: &Store,
    root: &Path,
    sources: &[Source],
    read: &[bool],
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<Vec<Option<SourceTree>>> {
    let find = |looker: &mut Looker, (source, read): (&Source, &bool)| match read {
        true => Looked::at(store, root, source, looker),
        false => Ok(Looked::Nothing),
    };
    let (beside, begun) = (Beside::default(), SystemTime::now());
    // A folder with thousands of files takes as long to list as the files to look at: one thread lists, the others look.
    let mut folders: Vec<&str> = sources.iter().zip(read).filter(|(_, read)| **read).filter_map(|(source, _)| folder_of(source)).collect();
    folders.dedup();
    let list = || folders.iter().for_each(|folder| drop(beside.folder(root, &root.join(folder))));
    let find_all = || sources.par_iter().zip(read).with_min_len(FEW).map_init(Looker::default, find).collect::<Result<Vec<Looked>>>();
    let looked = rayon::join(list, find_all).1?;
    let files: Vec<(&Path, Option<Stamp>)> =
        looked.iter().flat_map(Looked::files).map(|found| (found.place.as_path(), found.stamp)).collect();
    let hashed = store.hash_found(&files, progress).map_err(|error| unreadable(error, sources, &looked))?;
    let mut rest = hashed.as_slice();
    let mut with_digests = Vec::with_capacity(looked.len());
    for one in looked {
        let (own, others) = rest.split_at(one.files().len());
        rest = others;
        with_digests.push((one, own));
    }
    let make = |((looked, hashed), source): ((Looked, &[Hashed]), &Source)| match looked {
        Looked::Nothing => Ok(None),
        Looked::Taken(taken) => Ok(Some(*taken)),
        Looked::Files(walked, among) => SourceTree::of_files(root, source, walked, hashed, among, (&beside, begun)).map(Some),
    };
    with_digests.into_par_iter().zip(sources).with_min_len(FEW).map(make).collect()
}

/// The folder in which a source lies, where it is a file or a folder at a path.
fn folder_of(source: &Source) -> Option<&str> {
    source.path.trim_end_matches('/').rsplit_once('/').map(|(folder, _)| folder).filter(|_| source.taken.is_none())
}

impl Looked {
    fn at(store: &Store, root: &Path, source: &Source, looker: &mut Looker) -> Result<Self> {
        if let Some(taken) = &source.taken {
            let tree = taken_tree(store, taken)?;
            return Ok(tree.map_or(Self::Nothing, |(key, Tree { files, level })| {
                Self::Taken(Box::new(SourceTree::new(files.into_iter().collect(), level, BTreeSet::from([key]))))
            }));
        }
        let Some(walked) = walk_next(looker, root, &source.path).with_context(|| format!("source `{}`", source.title()))? else {
            return Ok(Self::Nothing);
        };
        let (files, among) = set_apart(source, walked.files);
        Ok(Self::Files(Walked { files, ..walked }, among))
    }

    fn files(&self) -> &[Found] {
        match self {
            Self::Files(walked, _) => &walked.files,
            Self::Nothing | Self::Taken(_) => &[],
        }
    }
}

impl SourceTree {
    /// Of what was found from `begun` on.
    fn of_files(
        root: &Path,
        source: &Source,
        walked: Walked,
        hashed: &[Hashed],
        among: Vec<PathBuf>,
        (beside, begun): (&Beside, SystemTime),
    ) -> Result<Self> {
        let Walked { files, folders } = walked;
        let stamps = hashed.iter().map(|hashed| hashed.stamp).collect();
        let file = |(Found { name, place, .. }, hashed): (Found, &Hashed)| {
            (name, FileRef { digest: hashed.digest, size: hashed.size, place: place.into() })
        };
        let files: Vec<(String, FileRef)> = match files.len() < MANY {
            true => files.into_iter().zip(hashed).map(file).collect(),
            false => files.into_par_iter().zip(hashed).with_min_len(MANY).map(file).collect(),
        };
        let (level, keys) = beside.apply(root, source, among, &files)?;
        let folders = folders.iter().all(|(_, stamp)| stamp.tells_of_files(begun)).then(|| folders.into());
        Ok(Self { stamps, folders, ..Self::new(files, level, keys) })
    }

    fn new(files: Vec<(String, FileRef)>, level: Level, keys: BTreeSet<Digest>) -> Self {
        Self { files, level, stamps: Vec::new(), folders: None, keys, digest: OnceLock::new(), asked: OnceLock::new() }
    }

    fn asked(&self) -> &Asked {
        self.asked.get_or_init(Box::default)
    }

    /// All of it.
    fn tree(&self) -> &Arc<Tree> {
        self.asked().tree.get_or_init(|| Arc::new(Tree { files: self.files.iter().cloned().collect(), level: self.level }))
    }

    /// Digest of the part that a reference names.
    pub(super) fn digest(&self, inside: Option<&str>) -> Option<Digest> {
        match inside {
            None => Some(*self.digest.get_or_init(|| Tree::digest_of(self.files.iter().map(|(path, file)| (path.as_str(), file))))),
            Some(_) => self.part(inside).map(|part| part.digest),
        }
    }

    /// The manifest of the part that a reference names.
    pub(super) fn manifest(&self, inside: Option<&str>) -> Option<Vec<u8>> {
        match inside {
            None => Some(Tree::manifest_of(self.files.iter().map(|(path, file)| (path.as_str(), file)))),
            Some(_) => self.part(inside).map(|part| part.tree.manifest()),
        }
    }

    /// The part of the source that a reference names, made once.
    pub(super) fn part(&self, inside: Option<&str>) -> Option<SourcePart> {
        let Some(inside) = inside else {
            return Some(SourcePart { tree: self.tree().clone(), digest: self.digest(None)? });
        };
        let mut parts = self.asked().parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.get(inside) {
            return part.clone();
        }
        let found = self.inside(inside).map(Arc::new).map(|tree| SourcePart { digest: tree.digest(), tree });
        parts.insert(inside.to_owned(), found.clone());
        found
    }

    /// One file, or one folder inside it.
    fn inside(&self, inside: &str) -> Option<Tree> {
        if let Some(file) = self.file(inside) {
            let name = inside.rsplit('/').next().unwrap_or(inside);
            return Some(Tree { files: BTreeMap::from([(name.to_owned(), file.clone())]), level: self.level });
        }
        let folder = format!("{}/", inside.trim_end_matches('/'));
        let below = |(path, file): &(String, FileRef)| path.strip_prefix(&folder).map(|path| (path.to_owned(), file.clone()));
        let files: BTreeMap<String, FileRef> = self.files.iter().filter_map(below).collect();
        (!files.is_empty()).then_some(Tree { files, level: self.level })
    }

    fn file(&self, path: &str) -> Option<&FileRef> {
        Some(&self.files[self.position(path)?].1)
    }

    fn position(&self, path: &str) -> Option<usize> {
        self.files.binary_search_by(|(own, _)| own.as_str().cmp(path)).ok()
    }

    /// What a message says of the first file that moved since the source was looked at, or came since; of one file or folder `inside` it,
    /// where only that counts.
    pub(super) fn moved(&self, store: &Store, root: &Path, source: &Source, inside: Option<&str>) -> Option<String> {
        if let Some(at) = inside.and_then(|inside| self.position(inside)) {
            return self.moved_at(at);
        }
        let folder = inside.map(|inside| format!("{}/", inside.trim_end_matches('/'))).unwrap_or_default();
        // Sorted, so that the files of a folder stand together.
        let first = self.files.partition_point(|(path, _)| *path < folder);
        let count = self.files[first..].partition_point(|(path, _)| path.starts_with(&folder));
        let files = &self.files[first..first + count];
        let stamps = self.stamps.get(first..first + count).unwrap_or_default();
        let look = || store.moved(files.iter().map(|(_, file)| &*file.place.file).zip(stamps));
        let is_as_it_was = |(folder, then): &(PathBuf, Stamp)| Stamp::of(folder).is_ok_and(|now| now == *then);
        let are_as_they_were = || self.folders.as_ref().is_some_and(|folders| folders.iter().all(is_as_it_was));
        let walk = || (source.taken.is_none() && !are_as_they_were()).then(|| walk(root, &source.path));
        // Who has few does not wait for the pool.
        let (moved, walked) = if files.len() < MANY { (look(), walk()) } else { rayon::join(look, walk) };
        if let Some(first) = moved.first() {
            let (path, _) = files.iter().find(|(_, file)| *file.place.file == **first)?;
            return Some(self.told_of(path, first));
        }
        // A file that stands in the way of the walk is one that came, or is about to go again.
        let Ok(walked) = walked? else { return Some("what it holds changed".to_owned()) };
        let (found, _) = set_apart(source, walked.unwrap_or_default());
        // Both are sorted.
        let mut known = files.iter().map(|(path, _)| path.as_str()).peekable();
        let mut is_known = |name: &str| {
            while known.next_if(|path| *path < name).is_some() {}
            known.peek() == Some(&name)
        };
        let mut found = found.iter().map(|file| file.name.as_str()).filter(|name| name.starts_with(&folder));
        let added = found.find(|name| !is_known(name))?;
        Some(format!("{} was added", self.tree().shown(added)))
    }

    /// The same of the one file at `place`, where it is of this source.
    pub(super) fn moved_file(&self, place: &Path) -> Option<String> {
        self.moved_at(self.at(place)?)
    }

    fn moved_at(&self, at: usize) -> Option<String> {
        let ((path, file), then) = (&self.files[at], self.stamps.get(at)?);
        let place = &*file.place.file;
        (!Stamp::of(place).is_ok_and(|now| now == *then)).then(|| self.told_of(path, place))
    }

    /// Of a file that is not what it was.
    fn told_of(&self, path: &str, place: &Path) -> String {
        let became = if place.try_exists().is_ok_and(|there| !there) { "went away" } else { "changed" };
        format!("{} {became}", self.tree().shown(path))
    }

    /// Which of its files lies at `place`: the path inside a source is how its place ends.
    fn at(&self, place: &Path) -> Option<usize> {
        let bytes = place.as_os_str().as_bytes();
        let starts = std::iter::once(0).chain(bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at + 1));
        let mut found = starts.filter_map(|start| self.position(std::str::from_utf8(&bytes[start..]).ok()?));
        found.find(|at| *self.files[*at].1.place.file == *place)
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
fn unreadable(error: anyhow::Error, sources: &[Source], looked: &[Looked]) -> anyhow::Error {
    let Some(Unreadable { at, reason, .. }) = error.downcast_ref() else { return error };
    let mut at = *at;
    for (source, files) in sources.iter().zip(looked.iter().map(Looked::files)) {
        let Some(file) = files.get(at) else {
            at -= files.len();
            continue;
        };
        let name = if source.phi { format!("file {} of {}", at + 1, files.len()) } else { file.name.clone() };
        return super::Unready(format!("source `{}`: cannot read {name}: {reason}", source.title())).into();
    }
    error
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
