//! Takes garbage out: entries of packs first, then blobs, logs and state, journals last. A kill between any two leaves less to do.

use super::roots::age;
use super::{Contents, Garbage};
use crate::content::Digest;
use crate::crash::crash_point;
use crate::store::Store;
use crate::store::hold::changed;
use crate::store::session;
use anyhow::Result;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// So many blobs are removed while no run may name or touch one.
const BATCH: usize = 128;

/// What was done.
#[derive(Debug, Default)]
pub struct Collected {
    pub bytes: u64,
    /// Packs that a process held: they are left for later.
    pub in_use: Vec<PathBuf>,
}

impl Store {
    pub(super) fn sweep(&self, garbage: Garbage, contents: &dyn Contents) -> Result<Collected> {
        let mut done = Collected::default();
        if !garbage.packs.is_empty() {
            let dead: HashMap<&Path, &[u64]> = garbage.packs.iter().map(|(path, dead)| (path.as_path(), dead.as_slice())).collect();
            let mut paths: Vec<PathBuf> = garbage.packs.iter().map(|(path, _)| path.clone()).collect();
            paths.sort_by_cached_key(|path| age(path));
            let keep = |path: &Path, at: u64| dead.get(path).is_none_or(|dead| dead.binary_search(&at).is_err());
            let rewritten = self.rewrite(&paths, &|path, entry, _| keep(path, entry.at))?;
            done.bytes += rewritten.freed;
            done.in_use = rewritten.in_use;
        }
        crash_point!("gc-packs");
        let Garbage { blobs, others, journals, limit, mut mark, mut roots, live, _alone: alone, .. } = garbage;
        for batch in blobs.chunks(BATCH) {
            let _nobody_else = self.hold.alone().map_err(|error| self.trouble(error))?;
            if live {
                let named: Vec<Digest> = roots.read_more(self)?;
                mark.keys(&named, contents)?;
            }
            for (_, path) in batch.iter().filter(|(digest, _)| !mark.has_blob(digest)) {
                done.bytes += remove_older(path, limit).map_err(|error| self.trouble(error))?;
            }
            crash_point!("gc-blobs");
        }
        for path in others {
            done.bytes += remove_all(&path).map_err(|error| self.trouble(error))?;
        }
        crash_point!("gc-logs");
        for path in journals {
            done.bytes += remove_all(&path).map_err(|error| self.trouble(error))?;
        }
        drop(alone);
        Ok(done)
    }
}

/// Removes a file unless it changed at `limit` or later; the answer is how long it was.
fn remove_older(path: &Path, limit: i64) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(file) if changed(&file) < limit => unless_gone(fs::remove_file(path)).map(|()| file.len()),
        Ok(_) => Ok(0),
        Err(error) => unless_gone(Err(error)).map(|()| 0),
    }
}

/// Removes a file, or a folder with all in it; the answer is how many bytes it had.
fn remove_all(path: &Path) -> io::Result<u64> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(0) };
    let bytes = if there.is_dir() { crate::store::size::files_below(path)?.bytes } else { there.len() };
    unless_gone(if there.is_dir() { session::remove_all(path) } else { fs::remove_file(path) })?;
    Ok(bytes)
}

fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
