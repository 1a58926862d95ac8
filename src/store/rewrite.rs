//! Packs written anew without some of their entries.
//!
//! A pack is never changed: what is to stay of it goes to a new one, synced before the old one is removed. No pack is
//! rewritten while a run lives, since a run knows places in packs; who only reads and finds its pack gone looks again.
//! Does not know why an entry stays or goes.

use super::index::Entry;
use super::pack::{FULL, MAGIC, encode, inspect};
use super::packs::SUFFIX;
use super::{Scratch, Store, files};
use anyhow::Result;
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Packs whose ages differ by more are not put together: what is in them would look younger than it is.
const APART: Duration = Duration::from_secs(24 * 3600);

/// What became of packs that were to be rewritten.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    /// Bytes that the packs are shorter by.
    pub(super) freed: u64,
    /// Left alone: a process appends to them.
    pub(super) in_use: Vec<PathBuf>,
}

impl Store {
    /// Copies what `keep` wants of these packs, in their order, to new ones and removes them; `keep` sees each entry's payload. Nobody may run meanwhile:
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
            inspect(&bytes, 0, &mut |entry, payload| {
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
        crate::crash::crash_point!("pack-rewritten");
        old.iter().try_for_each(|(path, _)| fs::remove_file(path))?;
        files::sync_folder(&folder)?;
        drop(old);
        self.packs.refresh()?;
        Ok(done)
    }
}

fn apart(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).or_else(|_| other.duration_since(one)).unwrap_or_default()
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
        if new.as_ref().is_some_and(|new| new.length >= FULL || apart(new.modified, modified) > APART)
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
    use super::super::pack::{CHECK, HEAD, Stretch, Tag};
    use super::super::tests::new_store;
    use super::*;
    use crate::content::Digest;

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
        let bad = inspect(bytes, 0, &mut |entry, _| keys.push(entry.key));
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
        assert_eq!((reader.items_given(&keys).len(), other_host.items_given(&keys).len()), (10, 10));
        let gc = Store::open(store.root(), &folder.path().join("index")).unwrap();
        let packs: Vec<PathBuf> = gc.packs.list().unwrap().into_values().collect();
        assert_eq!(gc.rewrite(&packs, &|_, _, _| false).unwrap().in_use, packs, "somebody appends to it");
        drop(store);
        let done = gc.rewrite(&packs, &|_, entry, _| entry.key != key(3)).unwrap();
        assert_eq!((done.in_use.len(), done.freed), (0, (HEAD + CHECK + "payload 3".len()) as u64));
        assert!(!packs[0].exists());
        for store in [&gc, &reader, &other_host] {
            let found = store.items_given(&keys);
            assert_eq!((found.len(), found.contains_key(&key(3))), (9, false));
        }
        put(&reader, 10..12);
        assert_eq!(reader.items_given(&keys).len(), 11);
        gc.rewrite(&gc.packs.list().unwrap().into_values().collect::<Vec<_>>(), &|_, _, _| false).unwrap();
        assert_eq!(reader.items_given(&keys).len(), 11, "held by the reader, who writes now");
    }
}
