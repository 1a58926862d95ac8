//! Files that survive a crash, and errors of the disk in words.
//!
//! Knows paths and bytes, not what they mean.

use anyhow::anyhow;
use rustix::io::Errno;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Something in the store is not what it was when written. The command line exits with 4.
#[derive(Debug, thiserror::Error)]
#[error("the store is damaged: {} {what}: `tomograph cache verify --repair` mends it, then run again", path.display())]
pub struct Damaged {
    /// The damaged file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// Replaces the file at `path` by `bytes`, whole or not at all: a temporary file beside it, synced and renamed.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".tomograph-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Makes the folder that will hold `path`; true where it was not there.
pub(super) fn make_parent(path: &Path) -> io::Result<bool> {
    let folder = path.parent().unwrap_or(Path::new("."));
    match fs::create_dir(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the names in a folder survive a crash.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// An error of the disk, with the store it happened in and what to do.
pub(super) fn trouble(root: &Path, error: io::Error) -> anyhow::Error {
    let shown = root.display();
    let is_closed = |folder: &Path| rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_err();
    if is_refusal(&error) && [root, &root.join("tmp")].into_iter().any(is_closed) {
        return anyhow!(read_only(root, &error));
    }
    let text = match errno(&error) {
        // The store itself can be written: it is something in it.
        _ if is_refusal(&error) => format!(
            "no right to something in the store {shown}: look whose it is (`find {shown} ! -user $USER`), and whether a program took away \
             its own right to what it wrote"
        ),
        Some(Errno::NOSPC | Errno::DQUOT) => {
            format!("no space left for the store {shown}: free some, or give it another place in tomograph.local.toml")
        }
        _ if error.kind() == io::ErrorKind::InvalidInput && errno(&error).is_none() => {
            return anyhow!("cannot use {shown} as a store: {error}; name an empty folder or one that is not there yet");
        }
        Some(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP) => format!(
            "the file system of the store {shown} has no locks, and two runs at once would harm each other: name a place on a local disk in tomograph.local.toml (`store = \"/data/store\"`)"
        ),
        Some(Errno::NOTDIR) => format!("cannot use {shown} as a store: a file stands where a folder should be"),
        _ => format!("cannot use the store {shown}"),
    };
    anyhow::Error::new(error).context(text)
}

pub(super) fn read_only(root: &Path, error: &io::Error) -> String {
    let reason = error.to_string().to_lowercase();
    let reason = reason.split(" (os error").next().unwrap_or_default();
    format!("the store {} is read-only ({reason}): make it writable for this user, or name another in tomograph.local.toml", root.display())
}

/// Whether the system refused for lack of a right.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(errno(error), Some(Errno::ROFS | Errno::ACCESS | Errno::PERM))
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_can_be_written_is_not_called_read_only() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        let refused = || io::Error::from_raw_os_error(Errno::ACCESS.raw_os_error());
        let told = |root: &Path| format!("{:#}", trouble(root, refused()));
        assert!(told(folder.path()).starts_with("no right to something in the store"), "{}", told(folder.path()));
        // One that is not there cannot be written.
        assert!(told(&folder.path().join("gone")).contains("is read-only (permission denied)"));
    }
}
