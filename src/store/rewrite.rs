//! Packs looked at byte by byte, and written anew without some of their entries.
//!
//! A pack is never changed: what is to stay of it goes to a new one, synced before the old one is removed. No pack is
//! rewritten while a run lives, since a run knows places in packs; who only reads and finds its pack gone looks again.
//! Does not know why an entry stays or goes.

use super::index::Entry;
use super::pack::{CHECK, FULL, HEAD, MAGIC, Tag, encode};
use super::packs::SUFFIX;
use super::{Scratch, Store, files};
use crate::content::Digest;
use anyhow::Result;
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes of a pack that are no whole entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Whether it ends the pack as the beginning of an entry would: a crash leaves such a tail, or it is being written.
    pub(super) is_torn_tail: bool,
}

/// What became of packs that were to be rewritten.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    /// Bytes that the packs are shorter by.
    pub(super) freed: u64,
    /// Left alone: a process appends to them.
    pub(super) in_use: Vec<PathBuf>,
}

/// Shows every whole entry of a pack with its payload, also behind damage; the answer is what is no entry.
pub(super) fn inspect(bytes: &[u8], see: &mut dyn FnMut(Entry, &[u8])) -> Vec<Stretch> {
    let mut bad = Vec::new();
    let mut at = MAGIC.len().min(bytes.len());
    if !bytes.starts_with(MAGIC) {
        bad.push(Stretch { from: 0, to: at as u64, is_torn_tail: MAGIC.starts_with(bytes) });
    }
    while at < bytes.len() {
        if let Some((entry, end)) = whole(bytes, at) {
            see(entry, &bytes[at + HEAD..end - CHECK]);
            at = end;
            continue;
        }
        // Its own length says where the next one starts, unless it is the length that is wrong.
        let framed = framed(bytes, at);
        let next = framed.filter(|next| *next == bytes.len() || whole(bytes, *next).is_some());
        let next = next.or_else(|| (at + 1..bytes.len()).find(|start| whole(bytes, *start).is_some())).unwrap_or(bytes.len());
        let is_torn_tail = next == bytes.len() && framed.is_none() && is_beginning(&bytes[at..]);
        bad.push(Stretch { from: at as u64, to: next as u64, is_torn_tail });
        at = next;
    }
    bad
}

/// Where the entry at `at` would end, going by its length.
fn framed(bytes: &[u8], at: usize) -> Option<usize> {
    let head = bytes.get(at..at + HEAD)?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    let end = at + HEAD + length as usize + CHECK;
    (u64::from(length) < FULL && end <= bytes.len()).then_some(end)
}

/// The whole entry at `at`, and where it ends.
fn whole(bytes: &[u8], at: usize) -> Option<(Entry, usize)> {
    let tag = Tag::of(*bytes.get(at)?)?;
    let end = framed(bytes, at)?;
    let (body, check) = bytes[at..end].split_at(end - at - CHECK);
    let mut key = [0; 32];
    key.copy_from_slice(&body[5..HEAD]);
    let length = u32::try_from(body.len() - HEAD).ok()?;
    let is_whole = blake3::hash(body).as_bytes()[..CHECK] == *check;
    is_whole.then_some((Entry { tag, key: Digest(key), pack: 0, at: (at + HEAD) as u64, length }, end))
}

/// Whether a write that was cut short leaves these bytes: the beginning of an entry, or nothing but zeros.
fn is_beginning(bytes: &[u8]) -> bool {
    Tag::of(bytes[0]).is_some() || bytes.iter().all(|byte| *byte == 0)
}

impl Store {
    /// Copies what `keep` wants of these packs to new ones and removes them; `keep` sees each entry's payload. Nobody may run meanwhile:
    /// the caller holds [`Store::stop_runs`].
    pub(super) fn rewrite(&self, packs: &[PathBuf], keep: &dyn Fn(&Path, &Entry, &[u8]) -> bool) -> Result<Rewritten> {
        let scratch = self.scratch()?;
        self.rewrite_in(&scratch, packs, keep).map_err(|error| self.trouble(error))
    }

    fn rewrite_in(&self, scratch: &Scratch, packs: &[PathBuf], keep: &dyn Fn(&Path, &Entry, &[u8]) -> bool) -> io::Result<Rewritten> {
        let folder = self.root.join("packs");
        let mut done = Rewritten::default();
        let mut old = Vec::new();
        let mut new: Option<New> = None;
        for path in packs {
            let file = match File::options().read(true).write(true).open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file?,
            };
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::AGAIN) => {
                    done.in_use.push(path.clone());
                    continue;
                }
                locked => locked?,
            }
            let bytes = fs::read(path)?;
            let modified = file.metadata()?.modified()?;
            let mut failed = None;
            inspect(&bytes, &mut |entry, payload| {
                if failed.is_none() && keep(path, &entry, payload) {
                    failed = New::put(&mut new, scratch, &folder, &entry, payload, modified, &mut done.freed).err();
                }
            });
            if let Some(error) = failed {
                return Err(error);
            }
            done.freed = done.freed.wrapping_add(bytes.len() as u64);
            old.push((path, file));
        }
        if let Some(new) = new {
            done.freed = done.freed.wrapping_sub(new.finish(&folder)?);
        }
        files::sync_folder(&folder)?;
        old.iter().try_for_each(|(path, _)| fs::remove_file(path))?;
        files::sync_folder(&folder)?;
        drop(old);
        self.packs.refresh()?;
        Ok(done)
    }
}

/// A pack that is being made.
struct New {
    file: tempfile::NamedTempFile,
    buffer: Vec<u8>,
    length: u64,
    /// The youngest of the packs whose entries it has: age says what may go.
    modified: SystemTime,
}

impl New {
    fn put(
        new: &mut Option<Self>,
        scratch: &Scratch,
        folder: &Path,
        entry: &Entry,
        payload: &[u8],
        modified: SystemTime,
        freed: &mut u64,
    ) -> io::Result<()> {
        if new.as_ref().is_some_and(|new| new.length >= FULL)
            && let Some(full) = new.take()
        {
            *freed = freed.wrapping_sub(full.finish(folder)?);
        }
        let new = match new {
            Some(new) => new,
            None => {
                let file = tempfile::Builder::new().prefix("pack-").suffix(SUFFIX).rand_bytes(12).tempfile_in(scratch.path())?;
                new.insert(Self { file, buffer: MAGIC.to_vec(), length: MAGIC.len() as u64, modified })
            }
        };
        let before = new.buffer.len();
        encode(entry.tag, &entry.key, payload, &mut new.buffer)?;
        new.length += (new.buffer.len() - before) as u64;
        new.modified = new.modified.max(modified);
        if new.buffer.len() >= 1 << 20 {
            new.file.write_all(&new.buffer)?;
            new.buffer.clear();
        }
        Ok(())
    }

    /// Makes it durable and gives it its name; the answer is its length.
    fn finish(mut self, folder: &Path) -> io::Result<u64> {
        self.file.write_all(&self.buffer)?;
        self.file.as_file().set_modified(self.modified)?;
        self.file.as_file().sync_all()?;
        let name = self.file.path().file_name().unwrap_or_default().to_owned();
        self.file.persist_noclobber(folder.join(name)).map_err(|error| error.error)?;
        Ok(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;

    fn key(number: usize) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    fn pack() -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for number in 0..3 {
            encode(Tag::Item, &key(number), format!("payload {number}").as_bytes(), &mut bytes).unwrap();
        }
        bytes
    }

    fn look(bytes: &[u8]) -> (Vec<Digest>, Vec<Stretch>) {
        let mut keys = Vec::new();
        let bad = inspect(bytes, &mut |entry, _| keys.push(entry.key));
        (keys, bad)
    }

    #[test]
    fn any_flipped_bit_costs_one_entry_and_is_seen() {
        let whole = pack();
        assert_eq!(look(&whole), ((0..3).map(key).collect(), vec![]));
        let entry = (whole.len() - MAGIC.len()) / 3;
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (keys, bad) = look(&bytes);
            assert_eq!(bad.len(), 1, "bit {bit}");
            let lost = (bit / 8).checked_sub(MAGIC.len()).map(|at| at / entry);
            let left: Vec<Digest> = (0..3).filter(|number| Some(*number) != lost).map(key).collect();
            assert_eq!(keys, left, "bit {bit}");
        }
    }

    #[test]
    fn a_tail_that_was_cut_is_torn_and_not_damaged() {
        let whole = pack();
        let entry = (whole.len() - MAGIC.len()) / 3;
        for length in 1..whole.len() {
            let (keys, bad) = look(&whole[..length]);
            let entries = length.saturating_sub(MAGIC.len()) / entry;
            assert_eq!(keys.len(), entries, "{length}");
            let is_even = length >= MAGIC.len() && (length - MAGIC.len()).is_multiple_of(entry);
            assert_eq!(bad.iter().map(|one| one.is_torn_tail).collect::<Vec<_>>(), if is_even { vec![] } else { vec![true] }, "{length}");
        }
    }

    #[test]
    fn a_rewritten_pack_has_what_was_kept_and_readers_find_it() {
        let (folder, store) = new_store();
        let put = |store: &Store, numbers: std::ops::Range<usize>| {
            numbers.for_each(|number| store.put_item(&key(number), format!("payload {number}").as_bytes()).unwrap());
        };
        put(&store, 0..10);
        let reader = Store::open(store.root(), &folder.path().join("index")).unwrap();
        let other_host = Store::open(store.root(), &folder.path().join("elsewhere")).unwrap();
        let keys: Vec<Digest> = (0..20).map(key).collect();
        assert_eq!((reader.items(&keys).unwrap().len(), other_host.items(&keys).unwrap().len()), (10, 10));
        let gc = Store::open(store.root(), &folder.path().join("index")).unwrap();
        let packs: Vec<PathBuf> = gc.packs.list().unwrap().into_values().collect();
        assert_eq!(gc.rewrite(&packs, &|_, _, _| false).unwrap().in_use, packs, "somebody appends to it");
        drop(store);
        let done = gc.rewrite(&packs, &|_, entry, _| entry.key != key(3)).unwrap();
        assert_eq!((done.in_use.len(), done.freed), (0, (HEAD + CHECK + "payload 3".len()) as u64));
        assert!(!packs[0].exists());
        for store in [&gc, &reader, &other_host] {
            let found = store.items(&keys).unwrap();
            assert_eq!((found.len(), found.contains_key(&key(3))), (9, false));
        }
        put(&reader, 10..12);
        assert_eq!(reader.items(&keys).unwrap().len(), 11);
        gc.rewrite(&gc.packs.list().unwrap().into_values().collect::<Vec<_>>(), &|_, _, _| false).unwrap();
        assert_eq!(reader.items(&keys).unwrap().len(), 11, "held by the reader, who writes now");
    }
}
