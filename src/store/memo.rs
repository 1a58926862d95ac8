//! Digests of files outside the store, through a memory of what was hashed before.
//!
//! The memory answers where device, inode, size, mtime and ctime are as they were. It never enters a key.

use super::hash::hash;
use super::stamp::{Looker, Stamp};
use super::{Store, lock};
use crate::content::Digest;
use anyhow::Result;
use rayon::prelude::*;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file last changed less than this before it was read is hashed again next time.
///
/// A later change is seen only when the clock of the file system has gone on. Linux steps by up to 10 ms, FAT by 2 s, and
/// servers' clocks differ a little from ours.
const YOUNG: Duration = Duration::from_secs(3);
/// A file that changes while it is read is tried so often.
const TRIES: usize = 3;
/// So few files are not shared out in the pool.
const FEW: usize = 64;

/// What was hashed, by device and inode.
pub(super) type Memo = HashMap<(u64, u64), (Stamp, Digest)>;

/// A file outside the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Taken before the first byte was read.
    pub stamp: Stamp,
}

/// A file could not be hashed. The message gives its place, not its name, which may be a patient's.
#[derive(Debug, thiserror::Error)]
#[error("file {} of {of} cannot be read: {reason}", at + 1)]
pub struct Unreadable {
    /// Place in the list that was asked for, from 0.
    pub at: usize,
    /// Length of that list.
    pub of: usize,
    /// What the system says.
    pub reason: String,
}

impl Stamp {
    /// Whether the folder, looked at from `moment` on, has another stamp as soon as a file in it comes or goes. Some file systems keep no
    /// times of folders: FAT has none of its root.
    pub fn tells_of_files(&self, moment: SystemTime) -> bool {
        self.modified != 0 && !self.is_young(moment)
    }

    /// Whether the file or folder may change after `moment` without a change of stamp.
    fn is_young(&self, moment: SystemTime) -> bool {
        let limit = moment.checked_sub(YOUNG).and_then(|limit| limit.duration_since(UNIX_EPOCH).ok()).map_or(0, |limit| limit.as_nanos());
        i128::from(self.modified.max(self.changed)) >= i128::try_from(limit).unwrap_or(i128::MAX)
    }
}

impl Store {
    /// Digests of files outside the store, in the order of `files`. `progress(done, total)` counts the bytes to be read.
    ///
    /// The error is an [`Unreadable`], which gives the place of the file in `files`.
    pub fn hash_files(&self, files: &[PathBuf], progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Vec<Hashed>> {
        let files: Vec<(&Path, Option<Stamp>)> = files.iter().map(|path| (path.as_path(), None)).collect();
        self.hash_found(&files, progress)
    }

    /// The same of files that were looked at just now, with what was seen of them.
    pub fn hash_found(&self, files: &[(&Path, Option<Stamp>)], progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Vec<Hashed>> {
        let failed = |at: usize, error: &io::Error| Unreadable { at, of: files.len(), reason: error.to_string() };
        // Not locked meanwhile: a thread of the pool may take up other work that adds to it.
        let memo = self.memo();
        let look = |looker: &mut Looker, (at, (path, seen)): (usize, &(&Path, Option<Stamp>))| {
            let stamp = seen.map_or_else(|| looker.stamp(path), Ok).map_err(|error| failed(at, &error))?;
            let before = memo.get(&(stamp.device, stamp.inode)).filter(|(before, _)| *before == stamp);
            Ok((stamp, before.map(|(_, digest)| *digest)))
        };
        let looked = files.par_iter().with_min_len(FEW).enumerate().map_init(Looker::default, look);
        let known: Vec<(Stamp, Option<Digest>)> = looked.collect::<Result<_, Unreadable>>()?;
        drop(memo);
        let missing: Vec<usize> = (0..files.len()).filter(|at| known[*at].1.is_none()).collect();
        let mut anew = Vec::new();
        if !missing.is_empty() {
            let total = missing.iter().map(|at| known[*at].0.size).sum();
            let done = AtomicU64::new(0);
            progress(0, total);
            let read = |bytes: u64| progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
            let hash = |at: usize| hash_still(files[at].0, &read).map_err(|error| failed(at, &error));
            let hashed = missing.into_par_iter().map(hash).collect::<Result<Vec<(Hashed, Trust)>, Unreadable>>()?;
            self.remember(&hashed);
            anew = hashed;
        }
        let mut anew = anew.into_iter().map(|(hashed, _)| hashed);
        let answer = |(stamp, digest): (Stamp, Option<Digest>)| match digest {
            Some(digest) => Some(Hashed { digest, size: stamp.size, stamp }),
            None => anew.next(),
        };
        Ok(known.into_iter().filter_map(answer).collect())
    }

    /// Of `files` with the stamps they had, those that changed or went since.
    pub fn moved<'a>(&self, files: impl IntoIterator<Item = (&'a Path, &'a Stamp)>) -> Vec<&'a Path> {
        let files: Vec<(&Path, &Stamp)> = files.into_iter().collect();
        let moved =
            |looker: &mut Looker, (path, stamp): (&'a Path, &Stamp)| (!looker.stamp(path).is_ok_and(|now| now == *stamp)).then_some(path);
        // Who has few does not wait for the pool.
        match files.len() <= FEW {
            true => {
                let mut looker = Looker::default();
                files.into_iter().filter_map(|file| moved(&mut looker, file)).collect()
            }
            false => files.into_par_iter().with_min_len(FEW).map_init(Looker::default, moved).flatten_iter().collect(),
        }
    }

    /// What was hashed: read from the index by who asks first, or before that.
    pub(super) fn memo(&self) -> Arc<Memo> {
        if let Some(known) = &*self.memo.read().unwrap_or_else(PoisonError::into_inner) {
            return known.clone();
        }
        let early = || lock(&self.early_memo).take()?.join().ok();
        let read = || Arc::new(early().unwrap_or_else(|| self.index.read_memo()));
        self.memo.write().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(read).clone()
    }

    /// Has it read beside what else is to be done before somebody asks.
    pub(super) fn read_memo_early(&self) {
        let index = self.index.clone();
        *lock(&self.early_memo) = std::thread::Builder::new().spawn(move || index.read_memo()).ok();
    }

    /// As if nothing had been read of it.
    pub(super) fn forget_memo(&self) {
        lock(&self.early_memo).take();
        *self.memo.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn remember(&self, hashed: &[(Hashed, Trust)]) {
        let trusted = hashed.iter().filter(|(_, trust)| *trust == Trust::Later);
        let trusted: Vec<(Stamp, Digest)> = trusted.map(|(hashed, _)| (hashed.stamp, hashed.digest)).collect();
        if let Some(memo) = &mut *self.memo.write().unwrap_or_else(PoisonError::into_inner) {
            Arc::make_mut(memo).extend(trusted.iter().map(|(stamp, digest)| ((stamp.device, stamp.inode), (*stamp, *digest))));
        }
        self.index.write_memo(&trusted);
    }
}

/// Whether a digest may be taken for the file's as long as its stamp stays.
#[derive(Clone, Copy, PartialEq)]
enum Trust {
    Later,
    Now,
}

/// Hashes a file that must not change meanwhile.
fn hash_still(path: &Path, read: &dyn Fn(u64)) -> io::Result<(Hashed, Trust)> {
    for _ in 0..TRIES {
        let stamp = Stamp::of(path)?;
        let begun = SystemTime::now();
        let (digest, size) = hash(path, read)?;
        if size == stamp.size && Stamp::of(path)? == stamp {
            let trust = if stamp.is_young(begun) { Trust::Now } else { Trust::Later };
            return Ok((Hashed { digest, size, stamp }, trust));
        }
    }
    Err(io::Error::other("it changes while it is read"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;
    use std::fs;
    use std::io::Write as _;

    fn write(path: &Path, bytes: &[u8]) {
        fs::File::create(path).unwrap().write_all(bytes).unwrap();
    }

    fn digest(store: &Store, path: &Path) -> Digest {
        store.hash_files(&[path.to_owned()], &|_, _| {}).unwrap()[0].digest
    }

    #[test]
    fn answers_are_in_order_and_progress_reaches_the_end() {
        let (folder, store) = new_store();
        let files: Vec<PathBuf> = (0..200).rev().map(|at| folder.path().join(format!("{at}"))).collect();
        files.iter().for_each(|path| write(path, path.as_os_str().as_encoded_bytes()));
        let reached = AtomicU64::new(0);
        let total: u64 = files.iter().map(|path| path.as_os_str().len() as u64).sum();
        let hashed = store.hash_files(&files, &|done, of| {
            assert_eq!(of, total);
            reached.fetch_max(done, Ordering::Relaxed);
        });
        for (path, hashed) in files.iter().zip(hashed.unwrap()) {
            assert_eq!(hashed.digest, Digest::of(path.as_os_str().as_encoded_bytes()));
        }
        assert_eq!(reached.into_inner(), total);
    }

    #[test]
    fn the_memo_answers_until_the_stamp_changes() {
        let (folder, store) = new_store();
        let path = folder.path().join("x");
        write(&path, b"one");
        let stamp = Stamp::of(&path).unwrap();
        // A digest that no reading could give shows where the answer comes from.
        let wrong = Hashed { digest: Digest::of(b"from the memo"), size: 3, stamp };
        *store.memo.write().unwrap() = Some(Arc::default());
        store.remember(&[(wrong, Trust::Later)]);
        assert_eq!(digest(&store, &path), wrong.digest);
        // And from the index, in another process.
        let again = Store::open(store.root(), &folder.path().join("index")).unwrap();
        assert_eq!(digest(&again, &path), wrong.digest);
        // Same length, and the time set back: the change time gives it away.
        std::thread::sleep(Duration::from_millis(30));
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        write(&path, b"two");
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        let now = Stamp::of(&path).unwrap();
        assert_eq!((now.modified, now.size, now.inode), (stamp.modified, stamp.size, stamp.inode));
        assert_eq!(digest(&again, &path), Digest::of(b"two"));
        assert_eq!(store.moved([(path.as_path(), &stamp)]), [path.as_path()]);
        assert_eq!(store.moved([(path.as_path(), &now)]), Vec::<&Path>::new());
    }

    #[test]
    fn a_young_entry_is_not_trusted() {
        let (folder, store) = new_store();
        let path = folder.path().join("x");
        write(&path, b"one");
        digest(&store, &path);
        assert!(store.memo().is_empty() && store.index.read_memo().is_empty());
        let stamp = Stamp::of(&path).unwrap();
        let changed = UNIX_EPOCH + Duration::from_nanos(stamp.modified.max(stamp.changed).cast_unsigned());
        assert!(stamp.is_young(changed) && stamp.is_young(changed + YOUNG));
        assert!(!stamp.is_young(changed + YOUNG + Duration::from_nanos(1)));
        let later = changed + YOUNG + Duration::from_nanos(1);
        assert!(stamp.tells_of_files(later) && !stamp.tells_of_files(changed));
        assert!(!Stamp { modified: 0, ..stamp }.tells_of_files(later), "of a folder without a time");
        // A clock that runs ahead of ours.
        assert!(stamp.is_young(changed - Duration::from_secs(60)) && stamp.is_young(UNIX_EPOCH));
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_no_input() {
        let (folder, store) = new_store();
        let path = folder.path().join("x");
        write(&path, b"one");
        let grow = |_, _| drop(fs::File::options().append(true).open(&path).unwrap().write_all(b"more"));
        let error = store.hash_files(std::slice::from_ref(&path), &grow).unwrap_err();
        assert_eq!(error.to_string(), "file 1 of 1 cannot be read: it changes while it is read");
        // It was let be in time.
        let calls = AtomicU64::new(0);
        let once = |done, total| {
            if calls.fetch_add(1, Ordering::Relaxed) < 2 {
                grow(done, total);
            }
        };
        assert_eq!(store.hash_files(std::slice::from_ref(&path), &once).unwrap()[0].size, fs::metadata(&path).unwrap().len());
    }

    #[test]
    fn an_unreadable_file_is_told_by_its_place() {
        let (folder, store) = new_store();
        let files = [folder.path().join("x"), folder.path().join("DOE^JOHN")];
        write(&files[0], b"one");
        let error = store.hash_files(&files, &|_, _| {}).unwrap_err();
        assert_eq!(error.downcast_ref::<Unreadable>().unwrap().at, 1);
        assert_eq!(format!("{error:#}"), "file 2 of 2 cannot be read: No such file or directory (os error 2)");
    }
}
