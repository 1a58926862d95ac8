//! What tells, without reading it, that a file is the one it was; and looking at many files.

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// What the system says of a file. Times in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode.
    pub device: u64,
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the bytes, as it says; can be set back.
    pub modified: i64,
    /// Last change of bytes or attributes; cannot be set.
    pub changed: i64,
}

impl Stamp {
    /// The stamp of the file at `path`, links followed.
    pub fn of(path: &Path) -> io::Result<Self> {
        Seen::of(path).map(|seen| seen.stamp)
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Looks at one file after the other. Of those that lie in one folder the system then looks up the names alone, which is a quarter of the work.
#[derive(Default)]
pub struct Looker {
    /// The folder of the file before, opened once there was a second one.
    folder: Vec<u8>,
    opened: Option<OwnedFd>,
}

/// A file that was looked at.
pub(super) struct Seen {
    pub(super) kind: FileType,
    pub(super) stamp: Stamp,
}

impl Looker {
    /// The stamp of the file at `path`, links followed.
    pub(super) fn stamp(&mut self, path: &Path) -> io::Result<Stamp> {
        self.look(path, AtFlags::empty()).map(|seen| seen.stamp)
    }

    /// What is at `path`: of a link, the link.
    pub(super) fn see(&mut self, path: &Path) -> io::Result<Seen> {
        self.look(path, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn look(&mut self, path: &Path, flags: AtFlags) -> io::Result<Seen> {
        // By its bytes: a slash at the end says that it is to be a folder, which parts of a path do not tell.
        let bytes = path.as_os_str().as_bytes();
        let Some(slash) = bytes.iter().rposition(|byte| *byte == b'/').filter(|slash| (1..bytes.len() - 1).contains(slash)) else {
            return Seen::at(CWD, path, flags);
        };
        let (folder, name) = (&bytes[..slash], &bytes[slash + 1..]);
        if folder != self.folder {
            (self.folder, self.opened) = (folder.to_owned(), None);
            return Seen::at(CWD, path, flags);
        }
        if self.opened.is_none() {
            self.opened = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok();
        }
        match &self.opened {
            Some(opened) => Seen::at(opened, Path::new(OsStr::from_bytes(name)), flags),
            None => Seen::at(CWD, path, flags),
        }
    }
}

impl Seen {
    /// What is at `path`: of a link, what it leads to.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Self::at(CWD, path, AtFlags::empty())
    }

    fn at(folder: impl AsFd, path: &Path, flags: AtFlags) -> io::Result<Self> {
        Ok(Self::from(&rustix::fs::statat(folder, path, flags)?))
    }

    #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "the widths differ between machines")]
    fn from(stat: &Stat) -> Self {
        let stamp = Stamp {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        };
        Self { kind: FileType::from_raw_mode(stat.st_mode), stamp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_looks_the_same_by_its_path_and_from_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for name in ["a", "b", "c/d"] {
            fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            fs::File::create(path(name)).unwrap();
        }
        std::os::unix::fs::symlink("b", path("link")).unwrap();
        let mut looker = Looker::default();
        for name in ["a", "b", "link", "c/d", "b", "link", "a"] {
            assert_eq!(looker.stamp(&path(name)).unwrap(), Stamp::of(&path(name)).unwrap(), "{name}");
        }
        assert!(looker.see(&path("link")).unwrap().kind.is_symlink() && looker.see(&path("c")).unwrap().kind.is_dir());
        assert_eq!(looker.stamp(&path("gone")).unwrap_err().kind(), io::ErrorKind::NotFound);
        looker.stamp(&path("b")).unwrap();
        assert_eq!(looker.stamp(&path("a/")).unwrap_err().kind(), io::ErrorKind::NotADirectory, "a file is no folder");
        assert!(looker.see(&path("c/")).unwrap().kind.is_dir());
        assert_eq!(looker.stamp(&path("a/x")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert!(looker.stamp(Path::new("/")).is_ok());
    }
}
