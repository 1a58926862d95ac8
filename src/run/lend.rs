//! Inputs as a program finds them: files and folders in scratch, whose bytes it may read and must not change.
//!
//! Large blobs are shared with the program's copy where the file system can share bytes until one side writes; elsewhere they are lent by
//! a read-only hard link, and looked at again when the program has ended, because a program that runs as root writes through 0444. Small
//! ones are copied. What lies outside the store is linked by name: sources are looked at after every task anyway.

use super::sidecar::clone;
use super::task::Job;
use crate::content::{Digest, FileRef};
use crate::stage::Part;
use crate::table::Table;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Shorter files are copied: that costs no more than a link and two looks at it.
const SMALL: u64 = 64 << 10;
/// So many parts are laid out by several threads.
const MANY: usize = 256;

/// Blobs that a program could write to.
#[derive(Default)]
pub(super) struct Lent(Vec<Link>);

struct Link {
    blob: PathBuf,
    digest: Digest,
    stamp: Stamp,
    /// What a message may call it.
    shown: String,
}

/// What tells that nobody wrote to a file. Links to it come and go, so its change time says nothing.
#[derive(PartialEq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    mode: u32,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self { inode: file.ino(), size: file.len(), modified: (file.mtime(), file.mtime_nsec()), mode: file.mode() })
    }
}

impl Lent {
    /// Lays out what arrives on a port in an empty folder and says where the program finds it: one part is a folder, or the file itself where it is a single
    /// one; a gather is a folder per part beside `parts.tsv`.
    pub(super) fn lay_out(&mut self, job: &Job, parts: &[Part], folder: &Path) -> Result<PathBuf> {
        let gathered = parts.len() != 1 || parts.iter().any(|part| !part.coordinates.is_empty());
        if !gathered {
            let part = &parts[0];
            self.lay_out_part(job, part, folder)?;
            let only = part.tree.only_file().ok().filter(|path| !path.contains('/'));
            return Ok(only.map_or(folder.to_owned(), |path| folder.join(path)));
        }
        let axes: Vec<&String> = parts.iter().flat_map(|part| part.coordinates.keys()).collect::<BTreeSet<_>>().into_iter().collect();
        let mut table = Table::new(std::iter::once("part".to_owned()).chain(axes.iter().map(|axis| (*axis).clone())));
        let name = |at: usize| format!("{:03}", at + 1);
        for (at, part) in parts.iter().enumerate() {
            let values = axes.iter().map(|axis| part.coordinates.get(*axis).map(ToString::to_string).unwrap_or_default());
            table.rows.push(std::iter::once(name(at)).chain(values).collect());
        }
        let lay_out = |share: &[usize]| -> Result<Self> {
            let mut lent = Self::default();
            for at in share {
                let folder = folder.join(name(*at));
                fs::create_dir(&folder).context("cannot make a folder in the store")?;
                lent.lay_out_part(job, &parts[*at], &folder)?;
            }
            Ok(lent)
        };
        let all: Vec<usize> = (0..parts.len()).collect();
        if parts.len() < MANY {
            self.0.extend(lay_out(&all)?.0);
        } else {
            // Not in the pool: who waits there may wait for an item of another task.
            let share = parts.len().div_ceil(std::thread::available_parallelism().map_or(1, Into::into));
            let lent: Result<Vec<Self>> = std::thread::scope(|scope| {
                let threads: Vec<_> = all.chunks(share).map(|share| scope.spawn(|| lay_out(share))).collect();
                let done =
                    threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("laying out the inputs was interrupted")));
                done.collect()
            });
            self.0.extend(lent?.into_iter().flat_map(|lent| lent.0));
        }
        #[expect(clippy::disallowed_methods, reason = "scratch: gone with the task")]
        fs::write(folder.join("parts.tsv"), table.to_tsv()).context("cannot write parts.tsv")?;
        Ok(folder.to_owned())
    }

    fn lay_out_part(&mut self, job: &Job, part: &Part, folder: &Path) -> Result<()> {
        for (path, file) in &part.tree.files {
            let place = folder.join(path);
            if let Some(parent) = place.parent().filter(|parent| *parent != folder) {
                fs::create_dir_all(parent).context("cannot make a folder in the store")?;
            }
            let shown = part.tree.shown(path);
            if file.place.file.starts_with(job.store.root()) {
                self.lend(file, &place, &shown).with_context(|| format!("cannot copy {shown}"))?;
            } else {
                std::os::unix::fs::symlink(&file.place.file, &place).with_context(|| format!("cannot link {shown}"))?;
            }
        }
        Ok(())
    }

    fn lend(&mut self, file: &FileRef, place: &Path, shown: &str) -> io::Result<()> {
        let Some(blob) = file.place.own().filter(|_| file.size >= SMALL) else { return clone(file, &File::create_new(place)?) };
        let copy = File::create_new(place)?;
        if rustix::fs::ioctl_ficlone(&copy, File::open(blob)?).is_ok() {
            return Ok(());
        }
        fs::remove_file(place)?;
        if fs::hard_link(blob, place).is_err() {
            return clone(file, &File::create_new(place)?);
        }
        let stamp = Stamp::of(blob)?;
        self.0.push(Link { blob: blob.to_owned(), digest: file.digest, stamp, shown: shown.to_owned() });
        Ok(())
    }

    /// To be called when the program has ended, however it did: an error where it wrote to the store. What it wrote to is set aside, so
    /// that it is made again when it is needed.
    pub(super) fn give_back(self, job: &Job, program: &str) -> Result<()> {
        let mut damaged = Vec::new();
        for link in self.0 {
            if Stamp::of(&link.blob).is_ok_and(|now| now == link.stamp) {
                continue;
            }
            if link.is_whole(job)? {
                // Touched, or its rights were changed: no harm was done.
                fs::set_permissions(&link.blob, fs::Permissions::from_mode(0o444)).context("cannot make a blob read-only again")?;
            } else {
                job.store.set_aside(&link.blob)?;
                damaged.push(link.shown);
            }
        }
        if let Some(first) = damaged.first() {
            let others = if damaged.len() > 1 { format!(" and {} others", damaged.len() - 1) } else { String::new() };
            bail!(
                "{program} (or one that ran beside it) wrote to its input {first}{others}: what is in the store is set aside as damaged and made again when it is needed; let the program write to a copy"
            );
        }
        Ok(())
    }
}

impl Link {
    fn is_whole(&self, job: &Job) -> Result<bool> {
        if !self.blob.exists() {
            // Another task that had it too has set it aside.
            return Ok(false);
        }
        Ok(job.store.hash_files(std::slice::from_ref(&self.blob), &|_, _| ())?.iter().all(|hashed| hashed.digest == self.digest))
    }
}
