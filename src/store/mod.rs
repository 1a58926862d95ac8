//! The store: blobs under their digests, records under their keys, journals of runs, and a memory of what was hashed.
//!
//! Blobs, records and journals are the truth; the SQLite index beside them only remembers. Nothing is edited once it has
//! its name: bytes are written under `tmp/`, synced, then renamed, or appended to a pack. Readers never lock. Knows nothing of stages or pipelines.
//! ```text
//! VERSION          layout and hash
//! blobs/ab/DIGEST  bytes, 0444, of some length
//! packs/NAME.pack  shorter blobs, what items gave, and records: what a key gave
//! runs/PIPELINE/TIME-PID.jsonl        one journal a run
//! names/PIPELINE/NAME.json            runs that have a name, and every key they reached
//! audit.jsonl      who looked at people's data, and what left the store
//! audit.last       how many lines that has, and the digest of the last
//! audit.cut        lines of it that a kill cut short
//! ledger.jsonl     which models met which test data, and when
//! logs/ab/KEY.log  what a task printed
//! live/RUN         processes that a live run has started; the run holds a lock on it
//! damaged/DIGEST   bytes that were found not to be what their name says; DIGEST.seen once those who read them were looked for
//! state/KEY/       what an unfinished task resumes from
//! claims           locked byte by byte: who does which task
//! running          locked by every run: packs stay where they are meanwhile
//! collecting       locked by a run while it says what it relies on, and by a collector while it removes
//! tmp/SESSION/     of a live process, which holds a lock on its `lock`
//! ```

mod audit;
mod beside;
mod blobs;
mod claims;
mod clock;
mod files;
mod foreseen;
mod gc;
mod hash;
mod hold;
mod index;
mod items;
mod journal;
mod ledger;
mod live;
mod memo;
mod names;
mod pack;
mod packs;
mod records;
mod rewrite;
mod runs;
mod session;
mod size;
pub mod sources;
mod stamp;
mod subjects;
mod trees;
mod verify;

pub use audit::{Act, Audit};
pub use blobs::{SMALL, ensure_plain};
pub use clock::{now, utc};
pub use files::{Damaged, replace};
pub use gc::{Collected, Contents, Freed, Garbage, GcOptions, LostRoots, Said};
pub use hash::digest_of;
pub use journal::{RunLog, RunTask};
pub use ledger::{Ledger, Meeting, Met};
pub use live::{Left, Live, Process, Started, left_at};
pub use memo::{Hashed, Unreadable};
pub use names::{NamedRun, check_name};
pub use records::{Accepted, OutputRecord, Published, Record};
pub use runs::Run;
pub use session::Scratch;
pub use size::{Amount, Size};
pub use stamp::{Looker, Stamp};
pub use subjects::{Trace, Traces};
pub use verify::{Finding, Repaired, Verified};

use crate::content::Digest;
use anyhow::{Context as _, Result, bail};
use foreseen::Foreseen;
use hold::Hold;
use index::Index;
use memo::Memo;
use packs::Packs;
use session::Session;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

/// A store that another version of this program made.
#[derive(Debug, thiserror::Error)]
#[error("the store {} has layout {layout:?}, this program knows {:?}: use the tomograph that made it, or another place", root.display(), VERSION.trim())]
pub struct OtherLayout {
    root: PathBuf,
    layout: String,
}

const VERSION: &str = "tomograph store 2, BLAKE3\n";
const FOLDERS: [&str; 7] = ["blobs", "packs", "tmp", "runs", "names", "logs", "state"];
/// What git may have in the folder before it becomes a store.
const KNOWN: [&str; 4] = ["VERSION", "CACHEDIR.TAG", ".gitignore", "README.md"];

/// A store on this machine's disk.
pub struct Store {
    root: PathBuf,
    /// Why it cannot be written.
    refusal: Option<String>,
    session: Mutex<Option<Arc<Session>>>,
    pending: Mutex<BTreeMap<Digest, PathBuf>>,
    flushing: Mutex<()>,
    packs: Packs,
    hold: Arc<Hold>,
    claims: Mutex<Option<fs::File>>,
    foreseen: Foreseen,
    index: Arc<Index>,
    memo: RwLock<Option<Arc<Memo>>>,
    /// Reads the memo, until somebody asks.
    early_memo: Mutex<Option<JoinHandle<Memo>>>,
}

impl Store {
    /// Opens or creates a store at `root` (0700), with its index for this host and store under `index_folder`.
    ///
    /// A store that cannot be written opens for reading; the first write then fails with an error that names it. What
    /// processes that no longer live left under `tmp/` is removed. A folder with other things in it is refused.
    pub fn open(root: &Path, index_folder: &Path) -> Result<Self> {
        let root = std::path::absolute(root).with_context(|| format!("cannot find the store {}", root.display()))?;
        let refusal = match prepare(&root) {
            Ok(()) => None,
            Err(error) if files::is_refusal(&error) => Some(files::read_only(&root, &error)),
            Err(error) => return Err(files::trouble(&root, error)),
        };
        let version = root.join("VERSION");
        match fs::read_to_string(&version) {
            Ok(text) if text.trim() == VERSION.trim() => {}
            Ok(text) => bail!(OtherLayout { root, layout: text.trim().to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && refusal.is_some() => {}
            Err(error) => return Err(files::trouble(&root, error)),
        }
        if refusal.is_none() {
            session::remove_leftovers(&root.join("tmp"));
        }
        let identity = fs::metadata(&version).map(|file| format!("{}:{}", file.dev(), file.ino())).unwrap_or_default();
        let index = Arc::new(Index::open(index_folder, &root, &identity));
        Ok(Self {
            root: root.clone(),
            refusal,
            session: Mutex::default(),
            pending: Mutex::default(),
            flushing: Mutex::default(),
            packs: Packs::new(root.join("packs"), index.clone()),
            hold: Arc::new(Hold::new(&root)),
            claims: Mutex::default(),
            foreseen: Foreseen::default(),
            index,
            memo: RwLock::default(),
            early_memo: Mutex::default(),
        })
    }

    /// Where it lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether it was found writable when it was opened.
    pub fn is_writable(&self) -> bool {
        self.refusal.is_none()
    }

    /// Does what dropping it does for others: what was written is synced, and its folder under `tmp/` goes. For a program that ends without
    /// giving its memory back piece by piece.
    pub fn close(&self) {
        // What is not synced now is found by whoever reads on.
        let _ = self.packs.sync();
        lock(&self.session).take();
    }

    /// A new empty folder under `tmp/`, removed when dropped.
    pub fn scratch(&self) -> Result<Scratch> {
        Scratch::new(self.session()?).map_err(|error| self.trouble(error))
    }

    /// Moves a blob aside that somebody wrote to: as if it were gone, but kept to be looked at.
    pub fn set_aside(&self, blob: &Path) -> Result<()> {
        let folder = self.root.join("damaged");
        let aside = || -> io::Result<()> {
            fs::create_dir_all(&folder)?;
            match fs::rename(blob, folder.join(blob.file_name().unwrap_or_default())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        };
        aside().map_err(|error| self.trouble(error))
    }

    fn named(&self, folder: &str, digest: &Digest, suffix: &str) -> PathBuf {
        let name = digest.to_string();
        self.root.join(folder).join(&name[..2]).join(name + suffix)
    }

    fn trouble(&self, error: io::Error) -> anyhow::Error {
        files::trouble(&self.root, error)
    }

    fn check_writable(&self) -> Result<()> {
        self.refusal.as_ref().map_or(Ok(()), |refusal| bail!("{refusal}"))
    }

    /// This process's folder under `tmp/`, made at the first write.
    fn session(&self) -> Result<Arc<Session>> {
        self.check_writable()?;
        let mut session = lock(&self.session);
        if let Some(session) = &*session {
            return Ok(session.clone());
        }
        let new = Arc::new(Session::start(&self.root.join("tmp")).map_err(|error| self.trouble(error))?);
        Ok(session.insert(new).clone())
    }
}

/// The folders and VERSION, made where absent.
fn prepare(root: &Path) -> io::Result<()> {
    match fs::read_dir(root) {
        Ok(entries) if !root.join("VERSION").exists() => {
            for entry in entries {
                let name = entry?.file_name();
                // The last is VERSION, while another process writes it.
                let ours = |name: &str| FOLDERS.contains(&name) || KNOWN.contains(&name) || name.starts_with(".tomograph-");
                if !name.to_str().is_some_and(ours) {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "the folder is no store and holds other things"));
                }
            }
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?,
        Err(error) => return Err(error),
    }
    // Closed to others; what its owner took from himself stays taken.
    let mode = fs::metadata(root)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        fs::set_permissions(root, fs::Permissions::from_mode(mode & 0o700))?;
    }
    for folder in FOLDERS {
        match fs::create_dir(root.join(folder)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    if !root.join("VERSION").exists() {
        files::replace(&root.join("VERSION"), VERSION.as_bytes())?;
    }
    rustix::fs::access(root.join("tmp"), rustix::fs::Access::WRITE_OK)?;
    Ok(())
}

/// Waits until no other process holds a lock on the file; the lock goes with the file.
fn lock_file(file: &fs::File) -> io::Result<()> {
    Ok(rustix::fs::flock(file, rustix::fs::FlockOperation::LockExclusive)?)
}

/// A poisoned lock guards data that is still whole: every change here is a single call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Level;

    /// A store in a temporary folder, which lasts as long as the first value.
    pub(super) fn new_store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("cache"), &folder.path().join("index")).unwrap();
        (folder, store)
    }

    #[test]
    fn a_store_is_private_and_opens_again() {
        let (folder, store) = new_store();
        assert_eq!(fs::metadata(store.root()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_to_string(store.root().join("VERSION")).unwrap(), VERSION);
        Store::open(store.root(), &folder.path().join("index")).unwrap();
    }

    #[test]
    fn a_folder_with_other_things_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("work");
        fs::create_dir(&place).unwrap();
        fs::File::create(place.join("thesis.tex")).unwrap();
        let error = Store::open(&place, folder.path()).err().unwrap();
        assert!(error.to_string().contains("cannot use") && error.to_string().contains("other things"), "{error}");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
    }

    #[test]
    fn a_store_of_another_layout_is_refused() {
        let (folder, store) = new_store();
        fs::remove_file(store.root().join("VERSION")).unwrap();
        replace(&store.root().join("VERSION"), b"tomograph store 9, BLAKE4\n").unwrap();
        let error = Store::open(store.root(), folder.path()).err().unwrap();
        assert!(error.is::<OtherLayout>() && error.to_string().contains("store 9"), "{error}");
        // A line end more or less is no other layout.
        replace(&store.root().join("VERSION"), VERSION.trim().as_bytes()).unwrap();
        Store::open(store.root(), folder.path()).unwrap();
    }

    #[test]
    fn a_store_that_cannot_be_written_still_reads() {
        let (_folder, mut store) = new_store();
        let file = store.put_bytes(b"x").unwrap();
        store.sync().unwrap();
        let refused = io::Error::from_raw_os_error(rustix::io::Errno::ROFS.raw_os_error());
        store.refusal = Some(files::read_only(store.root(), &refused));
        assert_eq!(store.read_blob(&file.digest).unwrap().unwrap(), b"x");
        assert_eq!(store.put_bytes(b"x").unwrap(), file);
        let key = Digest::of(b"key");
        let errors = [
            store.put_bytes(b"y").err(),
            store.scratch().err(),
            store.state(&key).err(),
            store.log_file(&key).err(),
            store.put_folder(Path::new("/"), Level::Released).err(),
        ];
        for error in errors {
            let expected = format!("the store {} is read-only (read-only file system): make it", store.root().display());
            assert!(error.as_ref().unwrap().to_string().starts_with(&expected), "{error:?}");
        }
        let log = store.begin_run("p", &serde_json::Value::Null).unwrap();
        log.task("import", "images.import", Some(&key), "cached", 0.0, "").unwrap();
        log.end(&serde_json::Value::Null).unwrap();
        assert_eq!(fs::read_dir(store.root().join("runs")).unwrap().count(), 0);
    }

    #[test]
    fn rights_that_are_missing_make_a_store_read_only() {
        let (folder, store) = new_store();
        let root = store.root().to_owned();
        for place in [root.join("tmp"), root.clone()] {
            fs::set_permissions(place, fs::Permissions::from_mode(0o500)).unwrap();
        }
        let root_writes_anyway = fs::File::create(root.join("probe")).is_ok();
        let again = Store::open(&root, folder.path()).unwrap();
        assert_eq!(again.is_writable(), root_writes_anyway);
        for place in [root.clone(), root.join("tmp")] {
            fs::set_permissions(place, fs::Permissions::from_mode(0o700)).unwrap();
        }
    }

    #[test]
    fn leftovers_of_the_dead_go_and_those_of_the_living_stay() {
        let (folder, store) = new_store();
        let scratch = store.scratch().unwrap();
        let dead = store.root().join("tmp/1-1-dead");
        fs::create_dir_all(dead.join("scratch-0/deep")).unwrap();
        fs::File::create(dead.join("lock")).unwrap();
        let other = Store::open(store.root(), folder.path()).unwrap();
        assert!(!dead.exists() && scratch.path().exists());
        let path = scratch.path().to_owned();
        drop((other, scratch));
        assert!(!path.exists());
        drop(store);
        assert_eq!(fs::read_dir(folder.path().join("cache/tmp")).unwrap().count(), 0);
    }
}
