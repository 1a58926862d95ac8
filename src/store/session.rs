//! A process's own folder under `tmp/`, and the scratch folders in it.
//!
//! The owner holds a kernel lock on the file `lock` for as long as it lives, so that anybody can tell what a dead process
//! left, on any host and in any container. The name holds process id and start time for people who look.

use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
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
        let _ = remove_all(&self.folder);
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
        let _ = remove_all(&self.path);
    }
}

/// Removes what dead processes left. What cannot be removed now is tried again at the next start.
pub(super) fn remove_leftovers(tmp: &Path) {
    let Ok(entries) = fs::read_dir(tmp) else { return };
    for entry in entries.flatten() {
        let folder = entry.path();
        if let Ok(Some(_held)) = lock(&folder, FlockOperation::NonBlockingLockExclusive) {
            let _ = remove_all(&folder);
        }
    }
}

/// Removes a folder with all that is in it, also where a program left folders that nobody may write to.
pub(super) fn remove_all(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_all(folder);
            fs::remove_dir_all(folder)
        }
        done => done,
    }
}

/// Gives the owner back the rights to a folder and those in it; links are not followed. What is not ours stays as it is.
fn open_all(folder: &Path) {
    if !fs::symlink_metadata(folder).is_ok_and(|there| there.is_dir()) {
        return;
    }
    let _ = open_folder(folder);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        open_all(&entry.path());
    }
}

/// Gives the owner the right to change what is in a folder.
pub(super) fn open_folder(folder: &Path) -> io::Result<()> {
    let mode = fs::metadata(folder)?.permissions().mode() & 0o7777;
    fs::set_permissions(folder, fs::Permissions::from_mode(mode | 0o700))
}

/// The lock of a session's folder, or nothing where the file was removed meanwhile.
fn lock(folder: &Path, operation: FlockOperation) -> io::Result<Option<File>> {
    let path = folder.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    rustix::fs::flock(&file, operation)?;
    let same = fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|held| held.ino() == now.ino()));
    Ok(same.then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_nobody_may_write_to_are_removed_and_links_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let (folder, other) = (place.path().join("left"), place.path().join("other"));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::create_dir(&other).unwrap();
        for file in [folder.join("a/b/x"), other.join("kept")] {
            File::create(file).unwrap();
        }
        std::os::unix::fs::symlink(&other, folder.join("a/link")).unwrap();
        for closed in [folder.join("a/b"), folder.join("a"), other.clone()] {
            fs::set_permissions(closed, fs::Permissions::from_mode(0o500)).unwrap();
        }
        remove_all(&folder).unwrap();
        assert!(!folder.exists() && other.join("kept").exists());
        assert_eq!(fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o500);
        open_folder(&other).unwrap();
    }
}
