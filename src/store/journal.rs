//! The journal of a run that goes on: a file of JSON lines, from which later runs know each task's last key, and what is kept for this
//! one's sake.

use super::clock::{now, stamp_after, utc};
use super::files::{make_parent, trouble};
use super::hold::Hold;
use super::index::{Index, Last};
use super::runs::{files_of, stem};
use super::{Store, lock};
use crate::content::Digest;
use anyhow::Result;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

/// So many tasks that were cached stand on one line.
const TOGETHER: usize = 256;

/// A line of a journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub(super) enum Line {
    Begin {
        pipeline: String,
        started: String,
        about: serde_json::Value,
    },
    Task(RunTask),
    /// Tasks whose results were known: task, kind and key of each.
    Cached {
        ended: String,
        tasks: Vec<Last>,
    },
    /// Keys of results that the run relies on and that are no tasks of its pipeline.
    Reached {
        keys: Vec<Digest>,
    },
    End {
        ended: String,
        seconds: f64,
        summary: serde_json::Value,
    },
}

/// [`Line::Cached`], of tasks that stay where they are.
#[derive(Serialize)]
struct Cached<'a> {
    event: &'static str,
    ended: &'a str,
    tasks: &'a [Last],
}

impl Line {
    /// The last keys that it tells of.
    pub(super) fn last(self) -> Vec<Last> {
        match self {
            Self::Task(task) => task.last().into_iter().collect(),
            Self::Cached { tasks, .. } => tasks,
            Self::Begin { .. } | Self::Reached { .. } | Self::End { .. } => Vec::new(),
        }
    }
}

impl Serialize for Last {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.task, &self.kind, &self.key).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Last {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(|(task, kind, key)| Self { task, kind, key })
    }
}

/// What became of a task in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunTask {
    /// The task as people write it.
    pub task: String,
    /// Its kind, or `command`.
    pub kind: String,
    /// Its key, where it was known.
    pub key: Option<Digest>,
    /// `cached`, `ran`, `failed`, `skipped`, `waiting` or `accepted`.
    pub outcome: String,
    /// Wall time.
    pub seconds: f64,
    /// Why it failed or was skipped; else empty.
    #[serde(default)]
    pub message: String,
    /// Why it had to run; empty where it did not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// When it ended, as [`utc`] writes it.
    pub ended: String,
}

impl RunTask {
    pub(super) fn cached(Last { task, kind, key }: Last, ended: &str) -> Self {
        let (outcome, ended) = ("cached".to_owned(), ended.to_owned());
        Self { task, kind, key: Some(key), outcome, seconds: 0.0, message: String::new(), reasons: Vec::new(), ended }
    }

    /// Its last key from now on.
    fn last(self) -> Option<Last> {
        let key = self.key.filter(|_| ["cached", "ran", "accepted"].contains(&self.outcome.as_str()))?;
        Some(Last { task: self.task, kind: self.kind, key })
    }
}

impl Store {
    /// Begins the journal of a run. In a store that can only be read nothing is written, here and later.
    pub fn begin_run(&self, pipeline: &str, about: &serde_json::Value) -> Result<RunLog> {
        let moment = SystemTime::now();
        let started = utc(moment);
        let folder = self.journals(pipeline);
        let last = files_of(&folder).map_err(|error| trouble(self.root(), error))?.pop().map(|path| stem(&path));
        let mut id = format!("{}-{}", stamp_after(moment, last.as_deref()), std::process::id());
        let (mut journal, mut running) = (None, None);
        if self.is_writable() {
            running = Some(self.hold_packs().map_err(|error| trouble(self.root(), error))?);
            let create = |id: &str| -> io::Result<File> {
                let path = folder.join(format!("{id}.jsonl"));
                make_parent(&path)?;
                File::options().append(true).create_new(true).open(path)
            };
            let mut file = create(&id);
            while file.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
                id.push('x');
                file = create(&id);
            }
            let file = file.map_err(|error| trouble(self.root(), error))?;
            // Who collects garbage may look at it just now.
            rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|error| trouble(self.root(), error.into()))?;
            self.hold.begin(&file.metadata().map_err(|error| trouble(self.root(), error))?);
            let mut file = BufWriter::new(file);
            let line = Line::Begin { pipeline: pipeline.to_owned(), started, about: about.clone() };
            write_line(&mut file, &line).and_then(|()| file.flush()).map_err(|error| trouble(self.root(), error))?;
            journal = Some(file);
        }
        let inner = Inner { journal, last: Vec::new(), told: 0 };
        Ok(RunLog {
            root: self.root().to_owned(),
            index: self.index.clone(),
            hold: self.hold.clone(),
            pipeline: pipeline.to_owned(),
            id,
            begun: Instant::now(),
            inner: Mutex::new(inner),
            _running: running,
        })
    }
}

/// The journal of a run that goes on.
pub struct RunLog {
    root: PathBuf,
    index: Arc<Index>,
    hold: Arc<Hold>,
    pipeline: String,
    id: String,
    begun: Instant,
    inner: Mutex<Inner>,
    /// Packs stay where they are as long as this is held; the journal is locked too, which tells that the run lives.
    _running: Option<File>,
}

struct Inner {
    journal: Option<BufWriter<File>>,
    /// The last keys that it tells of, and how many of them stand in the journal: those that do not were cached.
    last: Vec<Last>,
    told: usize,
}

impl Inner {
    /// Writes a line, after what is still to be told.
    fn write(&mut self, line: &Line) -> io::Result<()> {
        self.tell_cached()?;
        self.journal.as_mut().map_or(Ok(()), |journal| write_line(journal, line))
    }

    /// Writes what was cached and does not stand there yet.
    fn tell_cached(&mut self) -> io::Result<()> {
        let waiting = &self.last[self.told..];
        self.told = self.last.len();
        let Some(journal) = self.journal.as_mut().filter(|_| !waiting.is_empty()) else { return Ok(()) };
        let ended = now();
        waiting.chunks(TOGETHER).try_for_each(|tasks| write_line(journal, &Cached { event: "cached", ended: &ended, tasks }))
    }
}

impl RunLog {
    /// Name of the run: UTC time and process id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Makes room for so many tasks.
    pub fn reserve(&self, tasks: usize) {
        lock(&self.inner).last.reserve(tasks);
    }

    /// Says that a task's result was known. May be lost by a kill until [`RunLog::flush`]: thousands of such tasks are written together.
    pub fn cached(&self, task: String, kind: &str, key: Digest) {
        lock(&self.inner).last.push(Last { task, kind: kind.to_owned(), key });
    }

    /// Says what became of a task; `message` says why it failed or was skipped.
    pub fn task(&self, task: &str, kind: &str, key: Option<&Digest>, outcome: &str, seconds: f64, message: &str) -> Result<()> {
        self.write(RunTask {
            task: task.to_owned(),
            kind: kind.to_owned(),
            key: key.copied(),
            outcome: outcome.to_owned(),
            seconds,
            message: message.to_owned(),
            reasons: Vec::new(),
            ended: now(),
        })
    }

    /// The same, with everything that there is to say: `cached`, `ran`, `failed`, `skipped` or `waiting`. The key of one that was
    /// cached or ran is its last key from now on.
    pub fn write(&self, task: RunTask) -> Result<()> {
        let mut inner = lock(&self.inner);
        let line = Line::Task(task);
        let written = inner.write(&line).and_then(|()| inner.journal.as_mut().map_or(Ok(()), BufWriter::flush));
        written.map_err(|error| trouble(&self.root, error))?;
        inner.last.extend(line.last());
        inner.told = inner.last.len();
        Ok(())
    }

    /// Says on which other results the run relies, by their keys.
    pub fn reach(&self, keys: Vec<Digest>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        lock(&self.inner).write(&Line::Reached { keys }).map_err(|error| trouble(&self.root, error))
    }

    /// Makes every line visible to others. What is found in the store after that, of the results it names, stays there.
    pub fn flush(&self) -> Result<()> {
        let mut inner = lock(&self.inner);
        let waits = inner.told < inner.last.len() || inner.journal.as_ref().is_some_and(|journal| !journal.buffer().is_empty());
        if !waits {
            return Ok(());
        }
        let mut flush = || -> io::Result<()> {
            let _shared = self.hold.shared()?;
            inner.tell_cached()?;
            inner.journal.as_mut().map_or(Ok(()), BufWriter::flush)
        };
        flush().map_err(|error| trouble(&self.root, error))
    }

    /// Ends the journal.
    pub fn end(&self, summary: &serde_json::Value) -> Result<()> {
        let mut inner = lock(&self.inner);
        let line = Line::End { ended: now(), seconds: self.begun.elapsed().as_secs_f64(), summary: summary.clone() };
        let mut end = || -> io::Result<Option<u64>> {
            inner.write(&line)?;
            let Some(journal) = &mut inner.journal else { return Ok(None) };
            journal.flush()?;
            Ok(Some(journal.get_ref().metadata()?.len()))
        };
        if let Some(size) = end().map_err(|error| trouble(&self.root, error))? {
            self.index.take_journal(&self.pipeline, &self.id, size, &std::mem::take(&mut inner.last));
        }
        Ok(())
    }
}

/// Writes a line of its own.
fn write_line(journal: &mut BufWriter<File>, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    journal.write_all(&bytes)
}
