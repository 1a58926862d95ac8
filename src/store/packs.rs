//! Packs: append-only files for what is too small to be a file of its own: small blobs, what items gave, records.
//!
//! A file each would cost half a millisecond. Each process that writes appends to one pack, which it holds a kernel lock on.
//! Entries stand one after the other, each with its checksum, so that an entry is only found when everything before it is
//! whole too, or known to be damaged. A pack whose tail a crash tore is not appended to any more.
//! What lies where is remembered in the index, which takes an entry only after the pack was synced; a pack that is longer than
//! the index knows is read on from there. Does not know what entries mean.

use super::index::{Entry, Index};
use super::pack::{FULL, MAGIC, OpenPacks, Spot, Tag, encode, scan};
use super::{files, lock};
use crate::content::Digest;
use rustix::fs::FlockOperation;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// So many entries, or so long, may wait for a sync: what a power cut may take back. A kill takes nothing that was appended.
const BATCH: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(2);
/// More than so many entries that the index has are not remembered beside it.
const FRESH: usize = 1 << 16;
/// So often a payload is looked for whose pack is gone: packs are collected while others read.
pub(super) const TRIES: usize = 3;
/// The end of a pack's name.
pub(super) const SUFFIX: &str = ".pack";

/// The packs of one store.
pub(super) struct Packs {
    folder: PathBuf,
    index: Arc<Index>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Whether the index has been brought up to what the packs hold.
    caught_up: bool,
    /// Packs by their number in the index.
    files: HashMap<i64, Arc<Path>>,
    /// Packs of others and their lengths when last looked at.
    lengths: BTreeMap<String, u64>,
    writer: Option<Writer>,
}

/// The pack this process appends to.
struct Writer {
    name: String,
    path: Arc<Path>,
    file: File,
    end: u64,
    /// Up to here the index knows the pack; 0 for a new one.
    indexed: u64,
    /// Appended, and not in the index yet, or not long since: what a run has just made is what it reads most.
    fresh: HashMap<(Tag, Digest), Vec<Spot>>,
    waiting: Vec<Entry>,
    synced: Instant,
}

impl Packs {
    pub(super) fn new(folder: PathBuf, index: Arc<Index>) -> Self {
        Self { folder, index, inner: Mutex::default() }
    }

    /// Appends entries with one write; the answer is where their payloads lie, in order.
    pub(super) fn append(&self, entries: &[(Tag, Digest, &[u8])]) -> io::Result<Vec<Spot>> {
        let mut inner = lock(&self.inner);
        self.catch_up(&mut inner)?;
        if inner.writer.as_ref().is_some_and(|writer| writer.end >= FULL) {
            self.settle(&mut inner)?;
            inner.writer = None;
        }
        if inner.writer.is_none() {
            inner.writer = Some(self.begin(&inner)?);
        }
        let Some(writer) = &mut inner.writer else { return Err(io::Error::other("no pack")) };
        let spots = writer.append(entries)?;
        if writer.waiting.len() >= BATCH || writer.synced.elapsed() >= PATIENCE {
            self.settle(&mut inner)?;
        }
        Ok(spots)
    }

    /// Makes everything appended so far durable, and the index know of it.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.settle(&mut lock(&self.inner))
    }

    /// The payloads with this key and where they lie, in no order. Where a pack is gone since it was last looked at, what it held was
    /// moved to another: looks again.
    pub(super) fn read(&self, tag: Tag, key: &Digest) -> io::Result<Vec<(Spot, Vec<u8>)>> {
        let mut tries = TRIES;
        loop {
            let mut found = Vec::new();
            let mut gone = false;
            for spot in self.find(tag, key)? {
                match spot.read()? {
                    Some(bytes) => found.push((spot, bytes)),
                    None => gone = true,
                }
            }
            tries -= 1;
            if !gone || tries == 0 {
                return Ok(found);
            }
            self.refresh()?;
        }
    }

    /// Where the payloads with this key lie, in no order.
    pub(super) fn find(&self, tag: Tag, key: &Digest) -> io::Result<Vec<Spot>> {
        Ok(self.find_all(tag, std::slice::from_ref(key))?.remove(key).unwrap_or_default())
    }

    /// The same for many keys at once.
    pub(super) fn find_all(&self, tag: Tag, keys: &[Digest]) -> io::Result<HashMap<Digest, Vec<Spot>>> {
        let mut inner = lock(&self.inner);
        self.catch_up(&mut inner)?;
        let mut found: HashMap<Digest, Vec<Spot>> = HashMap::new();
        if let Some(writer) = inner.writer.as_ref().filter(|writer| !writer.fresh.is_empty()) {
            for key in keys {
                if let Some(spots) = writer.fresh.get(&(tag, *key)) {
                    found.insert(*key, spots.clone());
                }
            }
        }
        // Of a blob, or of what an item gave, any will do; of records all.
        let rest: Vec<Digest> = keys.iter().filter(|key| tag == Tag::Record || !found.contains_key(key)).copied().collect();
        if inner.files.is_empty() || rest.is_empty() {
            return Ok(found);
        }
        let entries = self.entries(&mut inner, tag, &rest)?;
        for (_, entry) in entries {
            if let Some(file) = inner.files.get(&entry.pack) {
                let spot = Spot { file: file.clone(), at: entry.at, length: entry.length };
                let spots = found.entry(entry.key).or_default();
                if !spots.contains(&spot) {
                    spots.push(spot);
                }
            }
        }
        Ok(found)
    }

    /// Where a payload with each of these keys lies, in their order: of several any will do. For many keys.
    pub(super) fn find_each(&self, tag: Tag, keys: &[Digest]) -> io::Result<Vec<Option<Spot>>> {
        let mut inner = lock(&self.inner);
        self.catch_up(&mut inner)?;
        let fresh = |key: &Digest| inner.writer.as_ref()?.fresh.get(&(tag, *key))?.first().cloned();
        let mut found: Vec<Option<Spot>> = keys.iter().map(fresh).collect();
        let rest: Vec<usize> = (0..keys.len()).filter(|at| found[*at].is_none()).collect();
        if inner.files.is_empty() || rest.is_empty() {
            return Ok(found);
        }
        let wanted: Vec<Digest> = rest.iter().map(|at| keys[*at]).collect();
        let entries = self.entries(&mut inner, tag, &wanted)?;
        for (at, entry) in entries {
            if let Some(file) = inner.files.get(&entry.pack) {
                found[rest[at]].get_or_insert_with(|| Spot { file: file.clone(), at: entry.at, length: entry.length });
            }
        }
        Ok(found)
    }

    /// What the index knows of these keys, each with the place of its key; looks again where another process moved it to a pack that is not
    /// known here.
    fn entries(&self, inner: &mut Inner, tag: Tag, keys: &[Digest]) -> io::Result<Vec<(usize, Entry)>> {
        let entries = self.index.entries(tag, keys);
        if entries.iter().all(|(_, entry)| inner.files.contains_key(&entry.pack)) {
            return Ok(entries);
        }
        inner.caught_up = false;
        self.catch_up(inner)?;
        Ok(self.index.entries(tag, keys))
    }

    /// The same as [`Self::find_each`], of packs that are there now.
    pub(super) fn find_each_there(&self, tag: Tag, keys: &[Digest]) -> io::Result<Vec<Option<Spot>>> {
        let mut tries = TRIES;
        loop {
            let found = self.find_each(tag, keys)?;
            tries -= 1;
            if tries == 0 || !OpenPacks::of(found.iter().flatten()).is_any_gone() {
                return Ok(found);
            }
            self.refresh()?;
        }
    }

    /// The records at the last keys of a pipeline's tasks, with their keys and spots.
    pub(super) fn last_records(&self, pipeline: &str) -> io::Result<Vec<(Digest, Spot)>> {
        let mut inner = lock(&self.inner);
        self.catch_up(&mut inner)?;
        let spot = |entry: Entry| {
            let file = inner.files.get(&entry.pack)?.clone();
            Some((entry.key, Spot { file, at: entry.at, length: entry.length }))
        };
        Ok(self.index.last_records(pipeline).into_iter().filter_map(spot).collect())
    }

    /// What [`Self::find_all`] finds, of packs that are there now.
    pub(super) fn find_there(&self, tag: Tag, keys: &[Digest]) -> io::Result<HashMap<Digest, Vec<Spot>>> {
        let mut tries = TRIES;
        loop {
            let found = self.find_all(tag, keys)?;
            let files: HashSet<&Path> = found.values().flatten().map(|spot| &*spot.file).collect();
            tries -= 1;
            if tries == 0 || files.into_iter().all(|file| file.exists()) {
                return Ok(found);
            }
            self.refresh()?;
        }
    }

    /// Names the packs with their lengths: as long as it stays, no entry came or went. None where this process appends to one.
    pub(super) fn digest(&self) -> io::Result<Option<Digest>> {
        let mut inner = lock(&self.inner);
        self.catch_up(&mut inner)?;
        if inner.writer.is_some() {
            return Ok(None);
        }
        let lines: String = inner.lengths.iter().map(|(name, length)| format!("{name} {length}\n")).collect();
        Ok(Some(Digest::of(lines.as_bytes())))
    }

    /// Looks again at what other processes appended.
    pub(super) fn refresh(&self) -> io::Result<()> {
        let mut inner = lock(&self.inner);
        inner.caught_up = false;
        self.catch_up(&mut inner)
    }

    /// Forgets what was read, for an index that was emptied.
    pub(super) fn forget(&self) {
        let mut inner = lock(&self.inner);
        inner.files.clear();
        (inner.caught_up, inner.lengths) = (false, BTreeMap::new());
    }

    fn catch_up(&self, inner: &mut Inner) -> io::Result<()> {
        if inner.caught_up {
            return Ok(());
        }
        let mine = |name: &str| inner.writer.as_ref().is_some_and(|writer| writer.name == name);
        let there: Vec<(String, PathBuf, u64)> =
            self.list()?.into_iter().filter_map(|(name, path)| fs::metadata(&path).ok().map(|file| (name, path, file.len()))).collect();
        let lengths: BTreeMap<String, u64> =
            there.iter().filter(|(name, ..)| !mine(name)).map(|(name, _, length)| (name.clone(), *length)).collect();
        if lengths == inner.lengths && !inner.files.is_empty() {
            inner.caught_up = true;
            return Ok(());
        }
        let mut known = self.index.packs();
        for (name, path, length) in there {
            let before = known.remove(&name);
            if mine(&name) {
                // Its entries go to the index when they have been synced.
                continue;
            }
            let number = match before {
                Some((number, read)) if read == length => number,
                Some((number, read)) if read < length => {
                    let (entries, end) = scan(&path, read)?;
                    self.index.take_pack(&name, &entries, end);
                    number
                }
                // A power cut took back what the index had seen: it is begun anew.
                other => {
                    if let Some((number, _)) = other {
                        self.index.forget_pack(number);
                    }
                    let (entries, end) = scan(&path, 0)?;
                    self.index.take_pack(&name, &entries, end)
                }
            };
            inner.files.insert(number, path.into());
        }
        for (number, _) in known.into_values() {
            self.index.forget_pack(number);
            inner.files.remove(&number);
        }
        (inner.caught_up, inner.lengths) = (true, lengths);
        Ok(())
    }

    /// The packs there are, by name.
    pub(super) fn list(&self) -> io::Result<BTreeMap<String, PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries?,
        };
        let mut packs = BTreeMap::new();
        for entry in entries {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str().filter(|name| name.ends_with(SUFFIX)) {
                packs.insert(name.to_owned(), entry.path());
            }
        }
        Ok(packs)
    }

    /// A pack to append to: one that nobody holds and that has room, else a new one.
    fn begin(&self, inner: &Inner) -> io::Result<Writer> {
        for (name, path) in self.list()?.into_iter().rev() {
            let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
            if file.metadata()?.len() >= FULL || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            // Collected meanwhile by somebody who held the lock.
            if !path.exists() {
                continue;
            }
            let Some((number, read)) = self.index.packs().remove(&name) else { continue };
            let (entries, end) = scan(&path, read)?;
            self.index.take_pack(&name, &entries, end);
            let Some(known) = inner.files.get(&number).filter(|_| end > 0 && end == file.metadata().map_or(0, |file| file.len())) else {
                continue;
            };
            return Ok(Writer { indexed: end, ..Writer::new(name, known.clone(), file, end) });
        }
        let mut new = tempfile::Builder::new().prefix("pack-").suffix(SUFFIX).rand_bytes(12).tempfile_in(&self.folder)?;
        io::Write::write_all(&mut new, MAGIC)?;
        let (file, path) = new.keep().map_err(|error| error.error)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        files::sync_folder(&self.folder)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        Ok(Writer::new(name, path.into(), file, MAGIC.len() as u64))
    }

    fn settle(&self, inner: &mut Inner) -> io::Result<()> {
        let Some(writer) = inner.writer.as_mut().filter(|writer| !writer.waiting.is_empty()) else { return Ok(()) };
        writer.file.sync_data()?;
        crate::crash::crash_point!("pack-synced");
        let number = self.index.extend_pack(&writer.name, writer.indexed, &writer.waiting, writer.end);
        inner.files.insert(number, writer.path.clone());
        writer.indexed = writer.end;
        writer.waiting.clear();
        if writer.fresh.len() > FRESH {
            writer.fresh.clear();
        }
        writer.synced = Instant::now();
        Ok(())
    }
}

impl Drop for Packs {
    /// What is not settled now is found by whoever reads on.
    fn drop(&mut self) {
        let _ = self.sync();
    }
}

impl Writer {
    fn new(name: String, path: Arc<Path>, file: File, end: u64) -> Self {
        Self { name, path, file, end, indexed: 0, fresh: HashMap::new(), waiting: Vec::new(), synced: Instant::now() }
    }

    fn append(&mut self, entries: &[(Tag, Digest, &[u8])]) -> io::Result<Vec<Spot>> {
        let mut bytes = Vec::new();
        let mut spots = Vec::with_capacity(entries.len());
        for (tag, key, payload) in entries {
            let (at, length) = encode(*tag, key, payload, &mut bytes)?;
            spots.push(Spot { file: self.path.clone(), at: self.end + at, length });
        }
        if let Err(error) = self.file.write_all_at(&bytes, self.end) {
            // Half an entry is no entry, but the next writer should not have to find that out.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        self.end += bytes.len() as u64;
        for ((tag, key, _), spot) in entries.iter().zip(&spots) {
            self.waiting.push(Entry { tag: *tag, key: *key, pack: 0, at: spot.at, length: spot.length });
            self.fresh.entry((*tag, *key)).or_default().push(spot.clone());
        }
        Ok(spots)
    }
}

#[cfg(test)]
mod tests;
