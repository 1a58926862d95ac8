//! How much a store holds, and of what.

use super::pack::{CHECK, HEAD, MAGIC, Tag, inspect};
use super::{Store, runs};
use crate::content::Digest;
use anyhow::Result;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

/// A number of things and the bytes they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Amount {
    pub count: u64,
    pub bytes: u64,
}

impl Amount {
    pub(super) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What a store holds. Counts of `state` are of folders, one a key; all others of files or entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Size {
    /// Files of large blobs.
    pub blobs: Amount,
    /// Pack files, with all that is in them.
    pub packs: Amount,
    /// In packs: small blobs, what items gave, records.
    pub small: Amount,
    pub items: Amount,
    pub records: Amount,
    /// In packs: stretches that are no entry, and second copies of an entry.
    pub dead: Amount,
    pub state: Amount,
    pub logs: Amount,
    /// Journals.
    pub runs: Amount,
    pub damaged: Amount,
}

impl Size {
    /// Bytes of all files.
    pub fn total(&self) -> u64 {
        [self.blobs, self.packs, self.state, self.logs, self.runs, self.damaged].iter().map(|one| one.bytes).sum()
    }
}

impl Store {
    /// Counts everything; reads the packs, and of the rest only names and lengths.
    pub fn size(&self) -> Result<Size> {
        let count = || -> io::Result<Size> {
            let mut size = Size {
                blobs: files_below(&self.root.join("blobs"))?,
                logs: files_below(&self.root.join("logs"))?,
                runs: files_below(&self.root.join("runs"))?,
                damaged: files_below(&self.root.join("damaged"))?,
                ..Size::default()
            };
            for folder in runs::files_of(&self.root.join("state"))? {
                size.state.add(files_below(&folder)?.bytes);
            }
            let mut seen: HashSet<(Tag, Digest, u32)> = HashSet::new();
            for path in self.packs.list()?.into_values() {
                let bytes = match fs::read(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    bytes => bytes?,
                };
                size.packs.add(bytes.len() as u64);
                let bad = inspect(&bytes, 0, &mut |entry, _| {
                    let length = (HEAD + CHECK) as u64 + u64::from(entry.length);
                    // Variants of a record share their key.
                    let is_new = seen.insert((entry.tag, entry.key, entry.length));
                    match entry.tag {
                        _ if !is_new => size.dead.add(length),
                        Tag::Blob => size.small.add(length),
                        Tag::Item => size.items.add(length),
                        Tag::Record => size.records.add(length),
                    }
                });
                bad.iter().filter(|stretch| stretch.to > MAGIC.len() as u64).for_each(|one| size.dead.add(one.to - one.from));
            }
            Ok(size)
        };
        count().map_err(|error| self.trouble(error))
    }
}

/// The files below a folder. What goes meanwhile is not counted.
pub(super) fn files_below(folder: &Path) -> io::Result<Amount> {
    let mut amount = Amount::default();
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(amount),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let below = files_below(&entry.path())?;
            amount = Amount { count: amount.count + below.count, bytes: amount.bytes + below.bytes };
        } else if let Ok(file) = entry.metadata() {
            amount.add(file.len());
        }
    }
    Ok(amount)
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;

    #[test]
    fn everything_is_counted_once() {
        let (folder, store) = new_store();
        store.put_bytes(b"small").unwrap();
        store.put_bytes(&[7; 20_000]).unwrap();
        store.put_item(&crate::content::Digest::of(b"item"), b"{}").unwrap();
        store.sync().unwrap();
        let other = super::Store::open(store.root(), folder.path()).unwrap();
        other.put_item(&crate::content::Digest::of(b"item"), b"{}").unwrap();
        let size = store.size().unwrap();
        assert_eq!((size.blobs.count, size.blobs.bytes, size.small.count, size.items.count), (1, 20_000, 1, 1));
        assert_eq!((size.packs.count, size.dead.count, size.records.count), (2, 1, 0));
        assert_eq!(size.total(), 20_000 + size.packs.bytes);
    }
}
