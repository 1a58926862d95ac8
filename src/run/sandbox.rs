//! The folders in which commands find their inputs and leave their outputs: a new one for each.
//!
//! New throughout: what a command has left running, out of its process group, may stand in a folder or hold it open, and then knows only
//! what nobody looks at any more. File systems take the longer to make a file the more were removed just before, so a folder with a few
//! small things stays where it is until the run has ended. Knows nothing of what they are.

use crate::store::{Scratch, Store};
use anyhow::{Context as _, Result};
use rayon::prelude::*;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A folder that holds no more than so many bytes, and so many things, stays until the end.
const SMALL: u64 = 64 << 10;
const FEW: usize = 64;
/// When so many have stayed, they are removed: what a kill leaves is removed by the next run before it begins.
const MOST: usize = 1 << 12;
/// So many are in one folder: the more a folder holds, the longer a thing takes to come and go.
const EACH: usize = 64;

/// Those of a run.
#[derive(Default)]
pub(super) struct Sandboxes(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Holds them all, once there is one.
    scratch: Option<Scratch>,
    /// How many there were.
    made: usize,
    /// Those that have stayed.
    left: Vec<PathBuf>,
}

/// The folder of one command.
pub(super) struct Sandbox(PathBuf);

impl Sandboxes {
    /// Lends an empty folder for some work.
    pub(super) fn lend<T>(&self, store: &Store, work: impl FnOnce(&Sandbox) -> Result<T>) -> Result<T> {
        let sandbox = Sandbox(self.next(store)?);
        let done = work(&sandbox);
        if is_little(&sandbox.0).unwrap_or(false) {
            self.leave(sandbox.0);
        } else {
            // What cannot be removed now goes, or stays, with all the rest.
            let _ = fs::remove_dir_all(&sandbox.0);
        }
        done
    }

    fn next(&self, store: &Store) -> Result<PathBuf> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = match inner.scratch.take() {
            Some(scratch) => scratch,
            None => store.scratch()?,
        };
        let (folder, at) = (scratch.path().join((inner.made / EACH).to_string()), inner.made % EACH);
        inner.scratch = Some(scratch);
        if at == 0 {
            make(&folder)?;
        }
        inner.made += 1;
        drop(inner);
        let path = folder.join(at.to_string());
        make(&path)?;
        Ok(path)
    }

    fn leave(&self, path: PathBuf) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.left.push(path);
        if inner.left.len() >= MOST {
            let left = std::mem::take(&mut inner.left);
            drop(inner);
            left.iter().for_each(|path| drop(fs::remove_dir_all(path)));
        }
    }
}

impl Drop for Sandboxes {
    fn drop(&mut self) {
        let scratch = &self.0.get_mut().unwrap_or_else(PoisonError::into_inner).scratch;
        let folders = scratch.iter().flat_map(|scratch| fs::read_dir(scratch.path()).into_iter().flatten().flatten());
        // What is left goes with the scratch.
        folders.collect::<Vec<_>>().par_iter().for_each(|folder| drop(fs::remove_dir_all(folder.path())));
    }
}

impl Sandbox {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes a folder in it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.0.join(name);
        make(&folder)?;
        Ok(folder)
    }
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir(folder).context("cannot make a folder in the store")
}

/// Whether a folder, with those in it, holds only a few small things.
fn is_little(folder: &Path) -> io::Result<bool> {
    let (mut bytes, mut things) = (0, 0);
    let mut folders = vec![fs::read_dir(folder)?];
    while let Some(entries) = folders.pop() {
        for entry in entries {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(fs::read_dir(entry.path())?),
                false => bytes += entry.metadata()?.len(),
            }
            things += 1;
            if bytes > SMALL || things > FEW {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    #[test]
    fn whatever_a_command_does_to_its_folder_the_next_one_has_another() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("cache"), root.path()).unwrap();
        let all = Sandboxes::default();
        let mess = [
            |_: &Path| (),
            |folder: &Path| drop(File::create(folder.join("out/left")).unwrap()),
            |folder: &Path| File::create(folder.join("out/large")).unwrap().write_all(&[1; 70_000]).unwrap(),
            |folder: &Path| (0..70).for_each(|n| fs::create_dir_all(folder.join(format!("out/deep/{n}"))).unwrap()),
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
        // Held open, so that no number of an inode is given twice.
        let (mut seen, mut held) = (std::collections::BTreeSet::new(), Vec::new());
        for make in mess.iter().cycle().take(3 * EACH) {
            let work = |sandbox: &Sandbox| {
                let out = sandbox.folder("out")?;
                assert_eq!((fs::read_dir(sandbox.path())?.count(), fs::read_dir(&out)?.count()), (1, 0));
                for folder in [sandbox.path(), &out] {
                    held.push(File::open(folder)?);
                    assert!(seen.insert(fs::metadata(folder)?.ino()), "nobody had it before");
                }
                make(sandbox.path());
                Ok(())
            };
            all.lend(&store, work).unwrap();
        }
        assert!(Path::new("/usr").exists(), "a link is removed, not what it leads to");
        drop(all);
        drop(store);
        assert_eq!(fs::read_dir(root.path().join("cache/tmp")).unwrap().count(), 0);
    }
}
