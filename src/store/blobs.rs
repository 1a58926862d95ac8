//! Blobs and manifests: bytes under the digest of their content.
//!
//! A blob gets its name only after its bytes are on disk, so a name always means whole bytes. Equal names mean equal bytes:
//! who comes second loses nothing. Names are not synced one by one; where a crash takes one back, the blob is simply gone.
//! Blobs shorter than [`SMALL`] share pack files.

use super::files::{Damaged, make_parent};
use super::hash::hash;
use super::pack::Tag;
use super::session::open_folder;
use super::{Store, lock};
use crate::content::{Digest, FileRef, Level, Place, Tree};
use crate::crash::crash_point;
use anyhow::{Context as _, Result, bail, ensure};
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::Builder;

/// Up to so many files are synced each; above, one `syncfs` is cheaper, although it waits for all that others left unwritten
/// (seconds on a busy disk).
const FEW: usize = 512;
/// Threads that sync: they wait for the disk, and the file system makes one commit of what comes together. 143 files of 20 kB
/// took 0.5 s with one thread, 30 ms with 16.
const SYNCERS: usize = 16;
/// So few files are not shared out in the pool: who waits there for a share may have to end another task's work first.
const ALONE: usize = 8;
/// Shorter blobs go into packs, in bytes. A file takes up a block of so many anyway.
pub const SMALL: u64 = 16 << 10;

impl Store {
    /// Takes a finished folder in: every file becomes a blob, and the answer is their tree. The folder's files are gone after.
    ///
    /// It must lie in a [`super::Scratch`] of this store and nobody may write to it any more. Links and special files are an
    /// error that names the path inside the folder; empty folders leave no trace.
    pub fn put_folder(&self, folder: &Path, level: Level) -> Result<Tree> {
        self.check_writable()?;
        let mut found = Vec::new();
        list(folder, "", level, &mut found).context("cannot take the outputs in")?;
        let mut moves: BTreeMap<Digest, PathBuf> = BTreeMap::new();
        let mut tree = Tree { files: BTreeMap::new(), level };
        for found in found.chunks(FEW) {
            let take = |(_, path): &(String, PathBuf)| self.take(path).map_err(|error| self.trouble(error));
            // Who has few does not wait for the pool.
            let taken: Vec<Taken> = match found.len() <= ALONE {
                true => found.iter().map(take).collect::<Result<_>>()?,
                false => found.par_iter().with_min_len(ALONE).map(take).collect::<Result<_>>()?,
            };
            crash_point!("blob-written");
            let small: Vec<&[u8]> = taken.iter().filter_map(Taken::bytes).collect();
            let mut small = self.put_small(&small)?.into_iter();
            for ((name, _), taken) in found.iter().zip(taken) {
                let file = match taken {
                    Taken::Small(_) => small.next().context("a small file that was not packed")?,
                    Taken::Large(file, path) => {
                        if !self.hold.keep(&file.place.file, file.size) {
                            moves.insert(file.digest, path);
                        }
                        file
                    }
                };
                tree.files.insert(name.clone(), file);
            }
        }
        self.name_blobs(&moves)?;
        Ok(tree)
    }

    /// Writes bytes as a blob. It is at its place, and durable, after [`Store::sync`]; a small one is at its place at once.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<FileRef> {
        if (bytes.len() as u64) < SMALL {
            return self.put_small(&[bytes])?.pop().context("a small blob that was not packed");
        }
        let digest = Digest::of(bytes);
        let file = FileRef { digest, size: bytes.len() as u64, place: self.blob(&digest).into() };
        if lock(&self.pending).contains_key(&digest) || self.hold.keep(&file.place.file, file.size) {
            return Ok(file);
        }
        let path = self.write_apart(bytes)?;
        if let Some(twin) = lock(&self.pending).insert(digest, path) {
            let _ = fs::remove_file(twin);
        }
        Ok(file)
    }

    /// Makes every blob of [`Store::put_bytes`] and [`Store::put_tree`] so far durable and puts it at its place.
    pub fn sync(&self) -> Result<()> {
        self.sync_large()?;
        self.packs.sync().map_err(|error| self.trouble(error))
    }

    /// Puts large blobs at their places, durable, so that a record of them may be appended.
    pub fn sync_large(&self) -> Result<()> {
        // Held to the end: who calls second must not return before the first has finished with the second's blobs.
        let _flushing = lock(&self.flushing);
        let batch = std::mem::take(&mut *lock(&self.pending));
        if batch.is_empty() {
            return Ok(());
        }
        crash_point!("blob-written");
        self.name_blobs(&batch).inspect_err(|_| {
            let mut pending = lock(&self.pending);
            for (digest, path) in batch.iter().filter(|(_, path)| path.exists()) {
                pending.entry(*digest).or_insert_with(|| path.clone());
            }
        })
    }

    /// A file that holds exactly the bytes of a blob, for programs and people that want one. Never write there.
    pub fn own_file(&self, file: &FileRef) -> Result<PathBuf> {
        if let Some(path) = file.place.own() {
            return Ok(path.to_owned());
        }
        let place = self.blob(&file.digest);
        if !has_size(&place, file.size) {
            let bytes = file.read().map_err(|error| self.trouble(error))?;
            let path = self.write_apart(&bytes)?;
            self.name_blobs(&BTreeMap::from([(file.digest, path)]))?;
        }
        Ok(place)
    }

    /// Writes small blobs, those that are not there, with one write; the answers are in the order of `blobs`. They are at their places at
    /// once, and durable after [`Store::sync`].
    pub(super) fn put_small(&self, blobs: &[&[u8]]) -> Result<Vec<FileRef>> {
        let blobs: Vec<(Digest, &[u8])> = blobs.iter().map(|bytes| (Digest::of(bytes), *bytes)).collect();
        let places = self.put_small_and(&blobs, None)?.into_iter();
        Ok(blobs.iter().zip(places).map(|((digest, bytes), place)| FileRef { digest: *digest, size: bytes.len() as u64, place }).collect())
    }

    /// The same with the digests of the blobs, and in the same write, behind them, what relies on them.
    pub(super) fn put_small_and(&self, blobs: &[(Digest, &[u8])], behind: Option<(Tag, Digest, &[u8])>) -> Result<Vec<Place>> {
        let digests: Vec<Digest> = blobs.iter().map(|(digest, _)| *digest).collect();
        let there = match blobs {
            [] => HashMap::new(),
            _ => self.packs.find_there(Tag::Blob, &digests).map_err(|error| self.trouble(error))?,
        };
        let mut places: HashMap<Digest, Place> =
            there.into_iter().filter_map(|(digest, spots)| Some((digest, spots.first()?.place()))).collect();
        let missing: BTreeMap<Digest, &[u8]> = blobs.iter().copied().filter(|(digest, _)| !places.contains_key(digest)).collect();
        let entries: Vec<(Tag, Digest, &[u8])> =
            missing.into_iter().map(|(digest, bytes)| (Tag::Blob, digest, bytes)).chain(behind).collect();
        if !entries.is_empty() {
            self.check_writable()?;
            let spots = self.packs.append(&entries).map_err(|error| self.trouble(error))?;
            let written = entries.iter().zip(spots).filter(|((tag, ..), _)| *tag == Tag::Blob);
            places.extend(written.map(|((_, digest, _), spot)| (*digest, spot.place())));
        }
        digests.iter().map(|digest| places.get(digest).cloned().context("a small blob that was not packed")).collect()
    }

    fn write_apart(&self, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.session()?.fresh("blob-");
        let write = || -> io::Result<()> {
            let mut written = File::create_new(&path)?;
            written.write_all(bytes)?;
            written.set_permissions(fs::Permissions::from_mode(0o444))
        };
        write().map_err(|error| self.trouble(error))?;
        Ok(path)
    }

    /// The bytes of a blob, checked against its digest; none where it is gone.
    pub fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let mut bad = None;
        for (spot, bytes) in self.packs.read(Tag::Blob, digest).map_err(|error| self.trouble(error))? {
            if Digest::of(&bytes) == *digest {
                return Ok(Some(bytes));
            }
            bad = Some(Damaged { path: spot.file.to_path_buf(), what: format!("has other bytes at offset {} than it had", spot.at) });
        }
        if let Some(bad) = bad {
            bail!(bad);
        }
        let place = lock(&self.pending).get(digest).cloned().unwrap_or_else(|| self.blob(digest));
        let read = match fs::read(&place) {
            // Named meanwhile by another thread's sync.
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::read(self.blob(digest)),
            read => read,
        };
        match read {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(Some(bytes)),
            Ok(_) => bail!(Damaged { path: place, what: "does not have the bytes of its name".to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.trouble(error)),
        }
    }

    /// Where a blob lies, or would.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.named("blobs", digest, "")
    }

    /// One file of a finished folder: the bytes of a small one; another hashed and made read-only, or, where it has another name elsewhere,
    /// a copy of it.
    fn take(&self, path: &Path) -> io::Result<Taken> {
        let there = fs::symlink_metadata(path)?;
        let mut path = path.to_owned();
        if there.nlink() > 1 && there.len() >= SMALL {
            let copy = self.session().map_err(io::Error::other)?.fresh("blob-");
            fs::copy(&path, &copy)?;
            path = copy;
        }
        let is_readable = there.mode() & 0o400 != 0;
        if there.len() >= SMALL || !is_readable {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o444))?;
        }
        if there.len() < SMALL {
            return fs::read(&path).map(Taken::Small);
        }
        let (digest, size) = hash(&path, &|_| {})?;
        Ok(Taken::Large(FileRef { digest, size, place: self.blob(&digest).into() }, path))
    }

    /// Syncs files of this file system and gives them their names as blobs.
    fn name_blobs(&self, files: &BTreeMap<Digest, PathBuf>) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let settle = || -> io::Result<()> {
            if files.len() <= FEW {
                return sync_each(&files.values().collect::<Vec<_>>());
            }
            Ok(rustix::fs::syncfs(File::open(&self.root)?)?)
        };
        settle().map_err(|error| self.trouble(error))?;
        crash_point!("blob-synced");
        let name = |digest: &Digest, path: &Path| -> io::Result<()> {
            let place = self.blob(digest);
            let give = || match fs::rename(path, &place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_parent(&place)?;
                    fs::rename(path, &place)
                }
                done => done,
            };
            match give() {
                // A program took away its own right to what it left.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    open_folder(path.parent().unwrap_or(Path::new(".")))?;
                    give()
                }
                done => done,
            }
        };
        let files: Vec<(&Digest, &PathBuf)> = files.iter().collect();
        files.par_iter().with_min_len(ALONE).try_for_each(|(digest, path)| name(digest, path)).map_err(|error| self.trouble(error))?;
        crash_point!("blob-renamed");
        Ok(())
    }
}

/// A file of a finished folder.
enum Taken {
    Small(Vec<u8>),
    /// And where its bytes lie until it has its name.
    Large(FileRef, PathBuf),
}

impl Taken {
    fn bytes(&self) -> Option<&[u8]> {
        if let Self::Small(bytes) = self { Some(bytes) } else { None }
    }
}

fn sync_each(files: &[&PathBuf]) -> io::Result<()> {
    let sync = |files: &[&PathBuf]| files.iter().try_for_each(|path| File::open(path)?.sync_data());
    if files.len() == 1 {
        return sync(files);
    }
    std::thread::scope(|scope| {
        let share = files.len().div_ceil(SYNCERS).max(1);
        let shares = files.chunks(share).map(|files| Builder::new().spawn_scoped(scope, move || sync(files)));
        let threads: Vec<_> = shares.collect::<io::Result<_>>()?;
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a sync was interrupted"))))
    })
}

pub(super) fn has_size(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|there| there.len() == size)
}

/// Whether a folder that a program had is still one, and holds nothing but files and folders: what else there is nobody may read, since it may
/// be another's, or without end.
pub fn ensure_plain(folder: &Path, level: Level) -> Result<()> {
    ensure!(
        fs::symlink_metadata(folder).is_ok_and(|there| there.is_dir()),
        "it is not the folder any more that the program was given: a program writes into that, and neither removes nor replaces it"
    );
    list(folder, "", level, &mut Vec::new())
}

/// The files below `folder`, by path with `/`. Names of people's files are withheld from messages.
fn list(folder: &Path, prefix: &str, level: Level, found: &mut Vec<(String, PathBuf)>) -> Result<()> {
    let shown =
        |path: &str, what: &str| if level.is_identified() { format!("a {what} (name withheld)") } else { format!("{what} `{path}`") };
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", shown(prefix, "folder")))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().with_context(|| format!("{} holds a name that is not UTF-8", shown(prefix, "folder")))?;
        ensure!(!name.contains('\n'), "{} holds a name with a newline in it", shown(prefix, "folder"));
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(&entry.path(), &format!("{path}/"), level, found)?;
        } else {
            ensure!(kind.is_file(), "{} is a link or a special file: outputs are files and folders", shown(&path, "file"));
            found.push((path, entry.path()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
