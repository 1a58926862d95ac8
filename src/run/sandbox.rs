//! The folders in which commands find their inputs and leave their outputs, one for each that runs at a time.
//!
//! Making and removing files and folders is what a short command would wait for most; file systems also take the longer to make a file
//! the more were removed just before. So a folder is lent to one command after the other, each time under a path that nobody had before:
//! what an earlier command left behind, out of its process group, does not find it. Small things in it are not removed but put away until
//! the run has ended. Knows nothing of what they are.

use crate::store::{Scratch, Store};
use anyhow::{Context as _, Result};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Smaller files are put away.
const SMALL: u64 = 64 << 10;
/// When so many things are put away, they are removed: what a kill leaves is removed by the next run before it begins.
const MOST: usize = 1 << 14;
/// The folder of what is put away.
const AWAY: &str = "away";

/// Those that no command has now.
#[derive(Default)]
pub(super) struct Sandboxes(Mutex<Vec<Sandbox>>);

/// The folder of one command.
pub(super) struct Sandbox {
    /// Holds the two folders: that of commands, and that of what was put away.
    scratch: Scratch,
    path: PathBuf,
    mode: u32,
    /// How many commands had it.
    uses: usize,
    /// How many things are put away.
    away: usize,
    /// Folders that are in it, with the mode that they had when they were made. Empty between commands. One whose name starts with a
    /// point holds what is lent.
    folders: BTreeMap<String, u32>,
}

impl Sandboxes {
    /// Lends an empty folder for some work.
    pub(super) fn lend<T>(&self, store: &Store, work: impl FnOnce(&mut Sandbox) -> Result<T>) -> Result<T> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut sandbox = match free {
            Some(used) => used,
            None => Sandbox::new(store)?,
        };
        let done = work(&mut sandbox);
        // One that cannot be made as it was is not used again.
        if sandbox.clear().is_ok() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(sandbox);
        }
        done
    }
}

impl Drop for Sandboxes {
    fn drop(&mut self) {
        // What is left goes with the folders.
        for sandbox in self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let away: Vec<DirEntry> = fs::read_dir(sandbox.scratch.path().join(AWAY)).into_iter().flatten().flatten().collect();
            away.par_iter().with_min_len(64).for_each(|entry| drop(remove(entry)));
        }
    }
}

impl Sandbox {
    fn new(store: &Store) -> Result<Self> {
        let scratch = store.scratch()?;
        let path = scratch.path().join("0");
        let make = || fs::create_dir(scratch.path().join(AWAY)).and_then(|()| make(&path));
        let mode = make().context("cannot make a folder in the store")?;
        Ok(Self { scratch, path, mode, uses: 0, away: 0, folders: BTreeMap::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// An empty folder in it.
    pub(super) fn folder(&mut self, name: String) -> Result<PathBuf> {
        let folder = self.path.join(&name);
        if let Entry::Vacant(new) = self.folders.entry(name) {
            new.insert(make(&folder).context("cannot make a folder in the store")?);
        }
        Ok(folder)
    }

    fn clear(&mut self) -> io::Result<()> {
        let made = std::mem::take(&mut self.folders);
        if mode_of(&self.path)? != self.mode {
            return Err(io::Error::other("its mode was changed"));
        }
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            match entry.file_name().to_str().and_then(|name| made.get_key_value(name)) {
                Some((name, mode)) if mode_of(&entry.path())? == *mode => {
                    let is_lent = name.starts_with('.');
                    fs::read_dir(entry.path())?.try_for_each(|inner| self.put_away(&inner?, is_lent))?;
                    self.folders.insert(name.clone(), *mode);
                }
                _ => self.put_away(&entry, false)?,
            }
        }
        self.uses += 1;
        let path = self.scratch.path().join(self.uses.to_string());
        fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }

    /// Folders are put away where they are lent: others may hold anything.
    fn put_away(&mut self, entry: &DirEntry, is_lent: bool) -> io::Result<()> {
        let there = entry.metadata()?;
        if there.is_dir() && !is_lent || there.is_file() && there.len() >= SMALL {
            return remove(entry);
        }
        let away = self.scratch.path().join(AWAY);
        if self.away == MOST {
            fs::remove_dir_all(&away)?;
            fs::create_dir(&away)?;
            self.away = 0;
        }
        self.away += 1;
        fs::rename(entry.path(), away.join(self.away.to_string()))
    }
}

fn remove(entry: &DirEntry) -> io::Result<()> {
    if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }
}

/// Makes a folder; the answer is its mode.
fn make(folder: &Path) -> io::Result<u32> {
    fs::create_dir(folder)?;
    mode_of(folder)
}

/// With the bits that say that it is a folder.
fn mode_of(folder: &Path) -> io::Result<u32> {
    fs::symlink_metadata(folder).map(|folder| folder.mode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn whatever_a_command_does_to_its_folder_the_next_one_finds_it_as_it_should_be() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("cache"), root.path()).unwrap();
        let all = Sandboxes::default();
        let mess = [
            |_: &Path| (),
            |folder: &Path| drop(File::create(folder.join("out/left")).unwrap()),
            |folder: &Path| File::create(folder.join("out/large")).unwrap().write_all(&[1; 70_000]).unwrap(),
            |folder: &Path| fs::create_dir_all(folder.join("out/deep/deeper")).unwrap(),
            |folder: &Path| fs::remove_dir(folder.join("out")).unwrap(),
            |folder: &Path| fs::rename(folder.join("out"), folder.join("other")).unwrap(),
            |folder: &Path| {
                fs::remove_dir(folder.join("out")).unwrap();
                std::os::unix::fs::symlink("/", folder.join("out")).unwrap();
            },
            |folder: &Path| fs::set_permissions(folder.join("out"), fs::Permissions::from_mode(0o500)).unwrap(),
            |folder: &Path| fs::set_permissions(folder, fs::Permissions::from_mode(0o500)).unwrap(),
            |folder: &Path| fs::remove_dir_all(folder).unwrap(),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for make in mess.iter().chain(&mess) {
            let work = |sandbox: &mut Sandbox| {
                let out = sandbox.folder("out".to_owned())?;
                assert_eq!(fs::read_dir(sandbox.path())?.count(), 1);
                assert_eq!(fs::read_dir(&out)?.count(), 0);
                assert_ne!(mode_of(&out)? & 0o200, 0);
                make(sandbox.path());
                Ok(seen.insert(out))
            };
            assert!(all.lend(&store, work).unwrap(), "its path is new");
        }
        assert!(Path::new("/usr").exists(), "a link is removed, not what it leads to");
        drop(all);
        drop(store);
        assert_eq!(fs::read_dir(root.path().join("cache/tmp")).unwrap().count(), 0);
    }
}
