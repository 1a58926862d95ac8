//! What a run found in the store stays there while it lives, though garbage is collected beside it (DESIGN rule 16).
//!
//! Two rules of the run, and one of the collector, make that so. A run says in its journal which results it relies on, before it reads
//! them. A blob that it relies on without a key, because it wrote the same bytes or met the same item again, is touched unless it is
//! younger than the run. Both happen under a shared lock on the file `collecting`. The collector holds that lock alone while it reads
//! what journals gained, looks at the age of a few blobs and removes those that are neither named nor young: so either it sees what
//! the run said, or the run sees that the blob is gone, and makes it.

use super::lock;
use rustix::fs::{AtFlags, CWD, FlockOperation, Timespec, Timestamps, UTIME_NOW, utimensat};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

/// The lock, and since when this process's run lives.
pub(super) struct Hold {
    path: PathBuf,
    shared: Mutex<Holders>,
    /// Blobs that changed later than this are safe anyway; [`changed`] of the run's journal when it began.
    since: AtomicI64,
}

#[derive(Default)]
struct Holders {
    count: usize,
    file: Option<File>,
}

impl Hold {
    pub(super) fn new(root: &Path) -> Self {
        Self { path: root.join("collecting"), shared: Mutex::default(), since: AtomicI64::new(i64::MAX) }
    }

    /// A run has begun with this journal.
    pub(super) fn begin(&self, journal: &Metadata) {
        self.since.store(changed(journal), Ordering::Relaxed);
    }

    /// While the answer lives, nothing is removed. Threads share one lock.
    pub(super) fn shared(&self) -> io::Result<Shared<'_>> {
        let mut holders = lock(&self.shared);
        if holders.count == 0 {
            if holders.file.is_none() {
                holders.file = Some(self.open()?);
            }
            if let Some(file) = &holders.file {
                rustix::fs::flock(file, FlockOperation::LockShared)?;
            }
        }
        holders.count += 1;
        Ok(Shared(self))
    }

    /// While the answer lives, no run names or touches anything. Waits for those that do.
    pub(super) fn alone(&self) -> io::Result<File> {
        let file = self.open()?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// Whether a blob of this length is at `place`, and stays there as long as the run of this process lives.
    pub(super) fn keep(&self, place: &Path, size: u64) -> bool {
        let there = || fs::metadata(place).ok().filter(|there| there.len() == size);
        let Some(found) = there() else { return false };
        if changed(&found) >= self.since.load(Ordering::Relaxed) {
            return true;
        }
        // In a store that cannot be written nothing is collected.
        let Ok(_shared) = self.shared() else { return true };
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let _ = utimensat(CWD, place, &Timestamps { last_access: now, last_modification: now }, AtFlags::empty());
        there().is_some()
    }

    fn open(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(&self.path)
    }
}

/// A share of the lock.
pub(super) struct Shared<'h>(&'h Hold);

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        let mut holders = lock(&self.0.shared);
        holders.count -= 1;
        if holders.count == 0
            && let Some(file) = &holders.file
            && rustix::fs::flock(file, FlockOperation::Unlock).is_err()
        {
            // Closing it unlocks it too.
            holders.file = None;
        }
    }
}

/// When a file last changed in any way, in nanoseconds since 1970, by the clock of its file system.
pub(super) fn changed(file: &Metadata) -> i64 {
    file.ctime().saturating_mul(1_000_000_000).saturating_add(file.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_relied_on_is_younger_than_the_run() {
        let (_folder, store) = new_store();
        let file = store.put_bytes(&[1; 20_000]).unwrap();
        store.sync().unwrap();
        let place = file.place.own().unwrap();
        let age = || changed(&fs::metadata(place).unwrap());
        let before = age();
        // File systems step by up to 10 ms.
        std::thread::sleep(Duration::from_millis(20));
        let log = store.begin_run("p", &serde_json::Value::Null).unwrap();
        store.put_bytes(&[1; 20_000]).unwrap();
        let touched = age();
        assert!(touched > before, "the blob is older than the run that met it");
        std::thread::sleep(Duration::from_millis(20));
        store.put_bytes(&[1; 20_000]).unwrap();
        assert_eq!(age(), touched, "it is young enough now");
        assert!(!store.hold.keep(place, 19_999) && !store.hold.keep(Path::new("nowhere"), 1));
        drop(log);
    }

    #[test]
    fn threads_share_the_lock_and_a_collector_waits_for_all() {
        let (_folder, store) = new_store();
        let (one, two) = (store.hold.shared().unwrap(), store.hold.shared().unwrap());
        drop(one);
        let other = store.hold.open().unwrap();
        assert!(rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive).is_err());
        drop(two);
        rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
        drop(other);
        drop(store.hold.alone().unwrap());
        drop(store.hold.shared().unwrap());
    }
}
