//! Blobs and manifests: bytes under the digest of their content.
//!
//! A blob gets its name only after its bytes are on disk, so a name always means whole bytes. Equal names mean equal bytes:
//! who comes second loses nothing. Names are not synced one by one; where a crash takes one back, the blob is simply gone.

use super::files::{Damaged, make_parent};
use super::{Store, lock};
use crate::content::{Digest, FileRef, Tree};
use crate::crash::crash_point;
use anyhow::{Context as _, Result, bail, ensure};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Up to so many files are synced one by one; above, one `syncfs` is cheaper even though it writes what others left dirty.
const FEW: usize = 16;
/// Larger files are hashed by several threads at once.
const LARGE: u64 = 1 << 20;

impl Store {
    /// Takes a finished folder in: every file becomes a blob, and the answer is their tree. The folder's files are gone after.
    ///
    /// It must lie in a [`super::Scratch`] of this store and nobody may write to it any more. Links and special files are an
    /// error that names the path inside the folder; empty folders leave no trace.
    pub fn put_folder(&self, folder: &Path, identified: bool) -> Result<Tree> {
        self.check_writable()?;
        let mut found = Vec::new();
        list(folder, "", &mut found).context("cannot take the outputs in")?;
        let hashed: Result<Vec<(String, FileRef, PathBuf)>> = found.into_par_iter().map(|(name, path)| self.take(name, path)).collect();
        let hashed = hashed?;
        crash_point!("blob-written");
        let mut moves: BTreeMap<Digest, PathBuf> = BTreeMap::new();
        let mut tree = Tree { files: BTreeMap::new(), identified };
        for (name, file, path) in hashed {
            if !has_size(&file.place, file.size) {
                moves.insert(file.digest, path);
            }
            tree.files.insert(name, file);
        }
        self.name_blobs(&moves)?;
        Ok(tree)
    }

    /// Writes bytes as a blob. It is at its place, and durable, after [`Store::sync`].
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<FileRef> {
        let digest = Digest::of(bytes);
        let file = FileRef { digest, size: bytes.len() as u64, place: self.blob(&digest) };
        if has_size(&file.place, file.size) || lock(&self.pending).contains_key(&digest) {
            return Ok(file);
        }
        let path = self.session()?.fresh("blob-");
        let write = || -> io::Result<()> {
            let mut written = File::create_new(&path)?;
            written.write_all(bytes)?;
            written.set_permissions(fs::Permissions::from_mode(0o444))
        };
        write().map_err(|error| self.trouble(error))?;
        if let Some(twin) = lock(&self.pending).insert(digest, path) {
            let _ = fs::remove_file(twin);
        }
        Ok(file)
    }

    /// Makes every blob of [`Store::put_bytes`] and [`Store::put_tree`] so far durable and puts it at its place.
    pub fn sync(&self) -> Result<()> {
        // Held to the end: who calls second must not return before the first has finished with the second's blobs.
        let _flushing = lock(&self.flushing);
        let batch = std::mem::take(&mut *lock(&self.pending));
        crash_point!("blob-written");
        self.name_blobs(&batch).inspect_err(|_| {
            let mut pending = lock(&self.pending);
            for (digest, path) in batch.iter().filter(|(_, path)| path.exists()) {
                pending.entry(*digest).or_insert_with(|| path.clone());
            }
        })
    }

    /// Writes the tree's manifest as a blob; the answer is its digest. Durable after [`Store::sync`].
    pub fn put_tree(&self, tree: &Tree) -> Result<Digest> {
        Ok(self.put_bytes(&tree.manifest())?.digest)
    }

    /// The tree of a manifest, with places in this store; none where the manifest or one of its blobs is gone or cut short.
    pub fn tree(&self, manifest: &Digest, identified: bool) -> Result<Option<Tree>> {
        let Some(bytes) = self.read_blob(manifest)? else { return Ok(None) };
        let Some(files) = self.parse_manifest(&bytes) else {
            bail!(Damaged { path: self.blob(manifest), what: "is not a manifest".to_owned() });
        };
        let there = |file: &FileRef| has_size(&file.place, file.size);
        let whole = if files.len() < 64 { files.values().all(there) } else { files.par_iter().all(|(_, file)| there(file)) };
        Ok(whole.then_some(Tree { files, identified }))
    }

    /// The bytes of a blob, checked against its digest; none where it is gone.
    pub fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
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
            let (digest, size) = hash(&path)?;
            Ok((FileRef { digest, size, place: self.blob(&digest) }, path))
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
                return files.values().try_for_each(|path| File::open(path)?.sync_data());
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
        files.par_iter().try_for_each(|(digest, path)| name(digest, path)).map_err(|error| self.trouble(error))?;
        crash_point!("blob-renamed");
        Ok(())
    }

    fn parse_manifest(&self, bytes: &[u8]) -> Option<BTreeMap<String, FileRef>> {
        let mut files = BTreeMap::new();
        for line in std::str::from_utf8(bytes).ok()?.lines() {
            let (digest, rest) = line.split_once(' ')?;
            let (size, path) = rest.split_once(' ')?;
            let digest: Digest = digest.parse().ok()?;
            files.insert(path.to_owned(), FileRef { digest, size: size.parse().ok()?, place: self.blob(&digest) });
        }
        Some(files)
    }
}

/// Digest and length of a file's bytes.
pub(super) fn hash(path: &Path) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path)?;
    if file.metadata()?.len() >= LARGE {
        hasher.update_mmap_rayon(path)?;
    } else {
        hasher.update_reader(file)?;
    }
    Ok((Digest(*hasher.finalize().as_bytes()), hasher.count()))
}

fn has_size(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|there| there.len() == size)
}

/// The files below `folder`, by path with `/`.
fn list(folder: &Path, prefix: &str, found: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read the folder `{prefix}`"))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().with_context(|| format!("the folder `{prefix}` holds a name that is not UTF-8"))?;
        ensure!(!name.contains('\n'), "the folder `{prefix}` holds a name with a newline in it");
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(&entry.path(), &format!("{path}/"), found)?;
        } else {
            ensure!(kind.is_file(), "`{path}` is a link or a special file: outputs are files and folders");
            found.push((path, entry.path()));
        }
    }
    Ok(())
}
