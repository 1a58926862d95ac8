//! What leaves the store: files put in place whole, beside a `NAME.tomograph.json` that says what they are.

use super::publish::Publication;
use crate::content::{Digest, FileRef};
use crate::plan::Sidecar;
use crate::store::{Damaged, Scratch, Store, digest_of};
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What lies beside an output whose files are called `files` outside.
pub(super) fn sidecar_of(what: &Publication<'_>, files: BTreeMap<String, Digest>) -> Sidecar {
    Sidecar {
        tomograph: 1,
        task: what.task.to_owned(),
        kind: what.kind.to_owned(),
        port: what.port.to_owned(),
        key: *what.key,
        level: what.tree.level,
        manifest: what.tree.digest(),
        files,
        replaces: BTreeMap::new(),
    }
}

/// Puts files in place whole: written apart, synced, renamed.
pub(super) struct Put<'s> {
    store: &'s Store,
    /// Where they are written: in the store, whose next start removes what a kill leaves. Without it, beside the target.
    scratch: Option<Scratch>,
}

impl<'s> Put<'s> {
    pub(super) fn of(store: &'s Store) -> Self {
        Self { store, scratch: store.scratch().ok() }
    }

    /// Puts a blob in place, hashed on its way: a disk may have changed it, and what lies beside it outside says its digest.
    pub(super) fn blob(&self, blob: &FileRef, to: &Path) -> Result<()> {
        let differs = AtomicBool::new(false);
        let put = self.file(to, |file| {
            clone(blob, file)?;
            if digest_of(file)? == blob.digest {
                return Ok(());
            }
            differs.store(true, Ordering::Relaxed);
            Err(io::Error::other("its bytes are not those that were stored"))
        });
        match differs.into_inner() {
            true => Err(self.damaged(blob).into()),
            false => put,
        }
    }

    /// Takes a blob with other bytes than those of its name out of the way: as one that is gone, the next run makes it again.
    fn damaged(&self, blob: &FileRef) -> Damaged {
        let place = self.store.blob(&blob.digest);
        let is_aside = blob.place.own() == Some(&*place) && self.store.set_aside(&place).is_ok();
        let what =
            if is_aside { "did not have the bytes of its name and was moved to `damaged/`" } else { "does not have the bytes it had" };
        Damaged { path: blob.place.file.to_path_buf(), what: what.to_owned() }
    }

    pub(super) fn bytes(&self, bytes: &[u8], to: &Path) -> Result<()> {
        self.file(to, |mut file| file.write_all(bytes))
    }

    fn file(&self, to: &Path, fill: impl Fn(&File) -> io::Result<()>) -> Result<()> {
        let put = || -> io::Result<()> {
            let folder = to.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder)?;
            if let Some(scratch) = &self.scratch {
                match write_and_rename(scratch.path(), to, &fill) {
                    Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
                    done => return done,
                }
            }
            write_and_rename(folder, to, &fill)
        };
        put().with_context(|| match fs::metadata(to).is_ok_and(|there| there.is_dir()) {
            true => format!("{} is a folder where a file belongs: move it away", to.display()),
            false => format!("cannot write {}", to.display()),
        })
    }
}

fn write_and_rename(folder: &Path, to: &Path, fill: &impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    // Readable as the user's other files are: the umask takes away what it should.
    let temporary = tempfile::Builder::new().prefix(".tomograph-").permissions(fs::Permissions::from_mode(0o666)).tempfile_in(folder)?;
    fill(temporary.as_file())?;
    temporary.as_file().sync_data()?;
    temporary.persist(to).map(drop).map_err(|error| error.error)
}

/// Gives `to` the bytes of `from`: shared until one is written where the file system can, else copied.
pub(super) fn clone(from: &FileRef, mut to: &File) -> io::Result<()> {
    let shared = from.place.own().is_some_and(|path| File::open(path).is_ok_and(|from| rustix::fs::ioctl_ficlone(to, &from).is_ok()));
    if !shared {
        io::copy(&mut from.open()?, &mut to)?;
    }
    Ok(())
}
