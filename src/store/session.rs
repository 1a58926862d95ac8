//! A process's own folder under `tmp/`, and the scratch folders in it.
//!
//! The owner holds a kernel lock on the file `lock` for as long as it lives, so that anybody can tell what a dead process
//! left, on any host and in any container. The name holds process id and start time for people who look.

use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A live process's folder.
pub(super) struct Session {
    folder: PathBuf,
    count: AtomicU64,
    _lock: File,
}

impl Session {
    /// Makes one under `tmp`.
    pub(super) fn start(tmp: &Path) -> io::Result<Self> {
        let prefix = format!("{}-{}-", std::process::id(), super::Process::of("self").map_or(0, |process| process.start));
        loop {
            let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(tmp)?.keep();
            // Another process may take the folder for a leftover until the lock is held: then this one begins again.
            match lock(&folder, FlockOperation::LockExclusive) {
                Ok(Some(lock)) => return Ok(Self { folder, count: AtomicU64::new(0), _lock: lock }),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A path that nobody else uses; nothing is there yet.
    pub(super) fn fresh(&self, prefix: &str) -> PathBuf {
        self.folder.join(format!("{prefix}{}", self.count.fetch_add(1, Ordering::Relaxed)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A folder under `tmp/` that is removed when dropped.
pub struct Scratch {
    path: PathBuf,
    _session: Arc<Session>,
}

impl Scratch {
    pub(super) fn new(session: Arc<Session>) -> io::Result<Self> {
        let path = session.fresh("scratch-");
        fs::create_dir(&path)?;
        Ok(Self { path, _session: session })
    }

    /// Where it lies: on the file system of the store.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes what dead processes left. What cannot be removed now is tried again at the next start.
pub(super) fn remove_leftovers(tmp: &Path) {
    let Ok(entries) = fs::read_dir(tmp) else { return };
    for entry in entries.flatten() {
        let folder = entry.path();
        if let Ok(Some(_held)) = lock(&folder, FlockOperation::NonBlockingLockExclusive) {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

/// The lock of a session's folder, or nothing where the file was removed meanwhile.
fn lock(folder: &Path, operation: FlockOperation) -> io::Result<Option<File>> {
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    rustix::fs::flock(&file, operation)?;
    let same = fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|held| held.ino() == now.ino()));
    Ok(same.then_some(file))
}
