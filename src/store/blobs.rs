//! Blobs and manifests: bytes under the digest of their content.
//!
//! A blob gets its name only after its bytes are on disk, so a name always means whole bytes. Equal names mean equal bytes:
//! who comes second loses nothing. Names are not synced one by one; where a crash takes one back, the blob is simply gone.
//! Blobs shorter than [`SMALL`] share pack files.

use super::files::{Damaged, make_parent};
use super::hash::hash;
use super::pack::Tag;
use super::{Store, lock};
use crate::content::{Digest, FileRef, Level, Place, Tree};
use crate::crash::crash_point;
use anyhow::{Context as _, Result, bail, ensure};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Up to so many files are synced each; above, one `syncfs` is cheaper, although it waits for all that others left unwritten
/// (seconds on a busy disk).
const FEW: usize = 512;
/// Threads that sync: they wait for the disk, and the file system makes one commit of what comes together. 143 files of 20 kB
/// took 0.5 s with one thread, 30 ms with 16.
const SYNCERS: usize = 16;
/// So few files are not shared out in the pool: who waits there for a share may have to end another task's work first.
const ALONE: usize = 8;
/// Shorter blobs go into packs, in bytes. A file takes up a block of so many anyway.
pub(super) const SMALL: u64 = 16 << 10;

impl Store {
    /// Takes a finished folder in: every file becomes a blob, and the answer is their tree. The folder's files are gone after.
    ///
    /// It must lie in a [`super::Scratch`] of this store and nobody may write to it any more. Links and special files are an
    /// error that names the path inside the folder; empty folders leave no trace.
    pub fn put_folder(&self, folder: &Path, level: Level) -> Result<Tree> {
        self.check_writable()?;
        let mut found = Vec::new();
        list(folder, "", level, &mut found).context("cannot take the outputs in")?;
        let hashed: Result<Vec<(String, FileRef, PathBuf)>> =
            found.into_par_iter().with_min_len(ALONE).map(|(name, path)| self.take(name, path)).collect();
        let hashed = hashed?;
        crash_point!("blob-written");
        let mut moves: BTreeMap<Digest, PathBuf> = BTreeMap::new();
        let mut tree = Tree { files: BTreeMap::new(), level };
        for (name, mut file, path) in hashed {
            if file.size < SMALL {
                let bytes = fs::read(&path).map_err(|error| self.trouble(error))?;
                file = self.put_bytes(&bytes)?;
            } else if !self.hold.keep(&file.place.file, file.size) {
                moves.insert(file.digest, path);
            }
            tree.files.insert(name, file);
        }
        self.name_blobs(&moves)?;
        Ok(tree)
    }

    /// Writes bytes as a blob. It is at its place, and durable, after [`Store::sync`]; a small one is at its place at once.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<FileRef> {
        let digest = Digest::of(bytes);
        let size = bytes.len() as u64;
        if size < SMALL {
            if let Some(place) = self.packed(&digest)? {
                return Ok(FileRef { digest, size, place });
            }
            self.check_writable()?;
            let spots = self.packs.append(&[(Tag::Blob, digest, bytes)]).map_err(|error| self.trouble(error))?;
            return Ok(FileRef { digest, size, place: spots[0].place() });
        }
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

    /// Where a blob lies in a pack, if it does.
    fn packed(&self, digest: &Digest) -> Result<Option<Place>> {
        let mut found = self.packs.find_there(Tag::Blob, std::slice::from_ref(digest)).map_err(|error| self.trouble(error))?;
        Ok(found.remove(digest).and_then(|spots| spots.first().map(super::pack::Spot::place)))
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
            bad = Some(Damaged { path: spot.file.as_ref().clone(), what: format!("has other bytes at offset {} than it had", spot.at) });
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

    /// Hashes one file of a finished folder, made read-only; a file with another name elsewhere is copied first.
    fn take(&self, name: String, path: PathBuf) -> Result<(String, FileRef, PathBuf)> {
        let go = || -> io::Result<(FileRef, PathBuf)> {
            let mut path = path;
            if fs::symlink_metadata(&path)?.nlink() > 1 {
                let copy = self.session().map_err(io::Error::other)?.fresh("blob-");
                fs::copy(&path, &copy)?;
                path = copy;
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o444))?;
            let (digest, size) = hash(&path, &|_| {})?;
            Ok((FileRef { digest, size, place: self.blob(&digest).into() }, path))
        };
        let (file, path) = go().map_err(|error| self.trouble(error))?;
        Ok((name, file, path))
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
            match fs::rename(path, &place) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_parent(&place)?;
                    fs::rename(path, &place)
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

fn sync_each(files: &[&PathBuf]) -> io::Result<()> {
    let sync = |files: &[&PathBuf]| files.iter().try_for_each(|path| File::open(path)?.sync_data());
    if files.len() == 1 {
        return sync(files);
    }
    std::thread::scope(|scope| {
        let share = files.len().div_ceil(SYNCERS).max(1);
        let threads: Vec<_> = files.chunks(share).map(|files| scope.spawn(move || sync(files))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a sync was interrupted"))))
    })
}

pub(super) fn has_size(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|there| there.len() == size)
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
mod tests {
    use super::super::Scratch;
    use super::super::tests::new_store;
    use super::*;

    fn folder_of(store: &Store, files: &[(&str, &str)]) -> Scratch {
        let scratch = store.scratch().unwrap();
        for (name, text) in files {
            let path = scratch.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        scratch
    }

    fn count_blobs(store: &Store) -> usize {
        let folders = fs::read_dir(store.root().join("blobs")).unwrap();
        folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
    }

    /// Text that is no small blob.
    fn long(text: &str) -> String {
        format!("{text:20000}")
    }

    #[test]
    fn a_folder_goes_in_and_comes_back() {
        let (_folder, store) = new_store();
        let files = [("index.tsv", "item\n"), ("a/one.png", &long("1")), ("a/two.png", &long("2")), ("b/one.png", &long("1"))];
        let tree = store.put_folder(folder_of(&store, &files).path(), Level::Identified).unwrap();
        assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["a/one.png", "a/two.png", "b/one.png", "index.tsv"]);
        for (name, text) in files {
            assert_eq!(tree.read(name).unwrap(), text.as_bytes());
            match tree.files[name].place.own() {
                Some(path) => assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o444),
                None => assert_eq!(name, "index.tsv"),
            }
        }
        let manifest = store.put_tree(&tree).unwrap();
        store.sync().unwrap();
        assert_eq!((manifest, count_blobs(&store)), (tree.digest(), 2));
        assert_eq!(store.tree(&manifest, Level::Identified).unwrap().unwrap(), tree);
        assert_eq!(store.put_folder(folder_of(&store, &files).path(), Level::Identified).unwrap(), tree);
        assert_eq!(count_blobs(&store), 2);
        let own = store.own_file(&tree.files["index.tsv"]).unwrap();
        assert_eq!((fs::read(&own).unwrap(), count_blobs(&store)), (b"item\n".to_vec(), 3));
    }

    #[test]
    fn a_tree_with_a_lost_or_shortened_blob_is_gone_until_it_is_put_again() {
        let (_folder, store) = new_store();
        let files: Vec<(String, String)> = (0..100).map(|at| (format!("{at}"), long(&format!("text {at}")))).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let tree = store.put_folder(folder_of(&store, &files).path(), Level::Released).unwrap();
        let manifest = store.put_tree(&tree).unwrap();
        store.sync().unwrap();
        fs::remove_file(&tree.files["7"].place.file).unwrap();
        assert_eq!(store.tree(&manifest, Level::Released).unwrap(), None);
        File::create(&tree.files["7"].place.file).unwrap();
        assert_eq!(store.tree(&manifest, Level::Released).unwrap(), None);
        store.put_folder(folder_of(&store, &files).path(), Level::Released).unwrap();
        assert_eq!(store.tree(&manifest, Level::Released).unwrap(), Some(tree));
        assert_eq!(store.tree(&Digest::of(b"never"), Level::Released).unwrap(), None);
    }

    #[test]
    fn links_in_outputs_are_named_and_shared_files_are_copied() {
        let (outside, store) = new_store();
        let scratch = folder_of(&store, &[("a/x", "1")]);
        std::os::unix::fs::symlink("x", scratch.path().join("a/y")).unwrap();
        let error = store.put_folder(scratch.path(), Level::Released).unwrap_err();
        assert!(format!("{error:#}").contains("`a/y` is a link"), "{error:#}");

        let theirs = outside.path().join("theirs");
        File::create(&theirs).unwrap().write_all(b"mine").unwrap();
        let scratch = store.scratch().unwrap();
        fs::hard_link(&theirs, scratch.path().join("x")).unwrap();
        let tree = store.put_folder(scratch.path(), Level::Released).unwrap();
        File::create(&theirs).unwrap().write_all(b"changed").unwrap();
        assert_eq!(tree.read("x").unwrap(), b"mine");
    }

    #[test]
    fn bytes_get_their_name_only_by_a_sync() {
        let (_folder, store) = new_store();
        let file = store.put_bytes(long("row").as_bytes()).unwrap();
        assert!(!file.place.file.exists());
        assert_eq!(store.read_blob(&file.digest).unwrap().unwrap(), long("row").as_bytes());
        std::thread::scope(|scope| {
            for at in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    (0..50).for_each(|number| drop(store.put_bytes(long(&format!("{}", number * (at % 2))).as_bytes()).unwrap()));
                    store.sync().unwrap();
                });
            }
        });
        assert!(file.place.file.exists());
        assert_eq!(count_blobs(&store), 51);
    }

    #[test]
    fn a_blob_with_other_bytes_is_damage() {
        let (_folder, store) = new_store();
        let file = store.put_bytes(long("right").as_bytes()).unwrap();
        store.sync().unwrap();
        fs::remove_file(&file.place.file).unwrap();
        File::create(&file.place.file).unwrap().write_all(b"wrong").unwrap();
        assert!(store.read_blob(&file.digest).unwrap_err().downcast_ref::<Damaged>().is_some());
        let file = store.put_bytes(b"no manifest").unwrap();
        assert!(store.tree(&file.digest, Level::Released).unwrap_err().downcast_ref::<Damaged>().is_some());
    }
}
