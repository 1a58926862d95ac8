//! From where garbage collection starts: what the journals of runs say, and the names of runs.
//!
//! Reads journals more strictly than others do: a line that cannot be read may name what must be kept.

use crate::content::Digest;
use crate::store::journal::Line;
use crate::store::runs::{files_of, stem, texts_of};
use crate::store::{Store, utc};
use anyhow::{Result, bail};
use rustix::fs::FlockOperation;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A journal cannot be read, so that nobody knows what its run reached. The command line exits with 4.
#[derive(Debug, thiserror::Error)]
#[error(
    "the journal {} has a line that cannot be read, so what its run reached is not known and nothing is freed: restore it, or move it out of the store (the run is then forgotten), and try again",
    path.display()
)]
pub struct LostRoots {
    pub path: PathBuf,
}

/// What journals and names say.
#[derive(Debug, Default)]
pub(super) struct Roots {
    pub(super) journals: Vec<Journal>,
    /// Keys of named runs.
    pub(super) pinned: BTreeSet<Digest>,
}

/// A run.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pipeline: String,
    /// Whether its process lives.
    pub(super) live: bool,
    pub(super) named: bool,
    /// Whether all of the pipeline as written was done, and nothing failed.
    pub(super) whole: bool,
    is_narrowed: bool,
    /// When the file was made, in nanoseconds since 1970 by the clock of the file system; 0 where that cannot tell.
    pub(super) began: i64,
    /// When it last said something, RFC 3339 in UTC.
    pub(super) ended: String,
    pub(super) keys: Vec<Digest>,
    /// Blobs with the texts of the pipeline as the run read it.
    pub(super) texts: Vec<Digest>,
    /// Keys at which tasks were done.
    done: Vec<(String, Digest)>,
    /// Whole lines up to here have been read.
    read: u64,
}

impl Roots {
    /// Reads all journals and names.
    pub(super) fn read(store: &Store) -> Result<Self> {
        let mut roots = Self::default();
        roots.read_more(store)?;
        for folder in files_of(&store.root().join("names")).map_err(|error| store.trouble(error))? {
            for named in store.read_names(&folder)? {
                let run = roots.journals.iter_mut().find(|journal| journal.pipeline == named.pipeline && stem(&journal.path) == named.run);
                run.into_iter().for_each(|journal| journal.named = true);
                roots.pinned.extend(named.keys);
            }
        }
        Ok(roots)
    }

    /// Reads what live and new runs have said since; the answer is the keys that they named.
    pub(super) fn read_more(&mut self, store: &Store) -> Result<Vec<Digest>> {
        let mut keys = Vec::new();
        let known: HashMap<PathBuf, usize> = self.journals.iter().enumerate().map(|(at, one)| (one.path.clone(), at)).collect();
        for folder in files_of(&store.root().join("runs")).map_err(|error| store.trouble(error))? {
            for path in files_of(&folder).map_err(|error| store.trouble(error))? {
                if path.extension().is_none_or(|extension| extension != "jsonl") {
                    continue;
                }
                let at = known.get(&path).copied().unwrap_or_else(|| {
                    self.journals.push(Journal { path: path.clone(), ..Journal::default() });
                    self.journals.len() - 1
                });
                let journal = &mut self.journals[at];
                let before = journal.keys.len();
                match journal.read_on() {
                    // Nothing was done in it.
                    Err(error) if is_gone(&error) => {}
                    read => read?,
                }
                keys.extend(&journal.keys[before..]);
            }
        }
        Ok(keys)
    }

    /// Of each pipeline the last `count` runs, and the last `count` that did all of it.
    pub(super) fn last(&self, count: usize) -> BTreeSet<usize> {
        let mut of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, journal) in self.journals.iter().enumerate() {
            of.entry(&journal.pipeline).or_default().push(at);
        }
        let mut last = BTreeSet::new();
        for mut runs in of.into_values() {
            runs.sort_by_key(|at| self.journals[*at].path.file_name().map(std::ffi::OsStr::to_owned));
            let whole = runs.iter().rev().filter(|at| self.journals[**at].whole);
            last.extend(runs.iter().rev().take(count).chain(whole.take(count)).copied());
        }
        last
    }

    /// Runs whose journals are the last word on a task whose result is kept: other pipelines may take it.
    pub(super) fn last_words(&self, is_kept: &dyn Fn(&Digest) -> bool) -> BTreeSet<usize> {
        let mut last: HashMap<(&str, &str), (usize, &Digest)> = HashMap::new();
        let mut order: Vec<usize> = (0..self.journals.len()).collect();
        order.sort_by_key(|at| self.journals[*at].path.file_name().map(std::ffi::OsStr::to_owned));
        for at in order {
            let journal = &self.journals[at];
            last.extend(journal.done.iter().map(|(task, key)| ((journal.pipeline.as_str(), task.as_str()), (at, key))));
        }
        last.into_values().filter(|(_, key)| is_kept(key)).map(|(at, _)| at).collect()
    }
}

impl Journal {
    /// Whether it is kept whatever else is asked for.
    pub(super) fn must_stay(&self, spared: &str) -> bool {
        self.live || self.named || self.ended.as_str() >= spared
    }

    fn read_on(&mut self) -> Result<()> {
        let mut file = File::open(&self.path)?;
        let found = file.metadata()?;
        if self.read > 0 && found.len() == self.read {
            return Ok(());
        }
        // Before its lines are read: who ends meanwhile has said all.
        self.live = rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err();
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.read))?;
        file.read_to_end(&mut bytes)?;
        drop(file);
        if self.ended.is_empty() {
            self.ended = utc(found.modified()?);
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let is_torn = !line.ends_with(b"\n");
            match serde_json::from_slice::<Line>(line) {
                Ok(line) => self.take(line),
                // A kill, or a power cut, leaves half a line at the end.
                Err(_) if is_torn => break,
                Err(_) => bail!(LostRoots { path: self.path.clone() }),
            }
            self.read += line.len() as u64;
        }
        self.bytes = found.len();
        let made = found.created().ok().and_then(|made| made.duration_since(UNIX_EPOCH).ok());
        self.began = made.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(0));
        Ok(())
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Begin { pipeline, started, about } => {
                let is_given = |what: &str| about[what].as_array().is_some_and(|list| !list.is_empty()) || about[what].is_string();
                self.is_narrowed = ["only", "set", "axis", "accept"].into_iter().any(is_given);
                self.texts = texts_of(&about).into_values().collect();
                (self.pipeline, self.ended) = (pipeline, started);
            }
            Line::Task(task) => {
                self.keys.extend(task.key);
                if let Some(key) = task.key.filter(|_| ["cached", "ran", "accepted"].contains(&task.outcome.as_str())) {
                    self.done.push((task.task, key));
                }
                self.ended = std::mem::take(&mut self.ended).max(task.ended);
            }
            Line::Cached { ended, tasks } => {
                self.keys.extend(tasks.iter().map(|task| task.key));
                self.done.extend(tasks.into_iter().map(|task| (task.task, task.key)));
                self.ended = std::mem::take(&mut self.ended).max(ended);
            }
            Line::Reached { keys } => self.keys.extend(keys),
            Line::End { ended, summary, .. } => {
                let none = |what: &str| summary[what].as_u64() == Some(0);
                self.whole = !self.is_narrowed && none("failed") && none("skipped") && summary["interrupted"] == false;
                self.ended = std::mem::take(&mut self.ended).max(ended);
            }
        }
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// When a file or folder last changed, RFC 3339 in UTC; what is not there is as old as can be.
pub(super) fn age(path: &Path) -> String {
    fs::symlink_metadata(path).and_then(|there| there.modified()).map(utc).unwrap_or_default()
}
