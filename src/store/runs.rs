//! Journals of runs: one file of JSON lines a run, from which each task's last key is known, and what is kept for the run's sake.

use super::clock::{now, stamp_after, utc};
use super::files::{make_parent, trouble};
use super::hold::Hold;
use super::index::{Index, Last};
use super::{Store, lock};
use crate::content::Digest;
use anyhow::Result;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

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

/// A run, as its journal has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Name of its journal: sorts by time.
    pub id: String,
    /// Start, as [`utc`] writes it.
    pub started: String,
    /// What the command line said.
    pub about: serde_json::Value,
    /// Tasks in the order in which they ended.
    pub tasks: Vec<RunTask>,
    /// Keys of other results that it relied on.
    pub reached: Vec<Digest>,
    /// Wall time; none for a run that was killed or is not over.
    pub seconds: Option<f64>,
    /// The summary, likewise.
    pub summary: Option<serde_json::Value>,
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
        let inner = Inner { journal, last: Vec::new() };
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

    /// Keys at which tasks of a kind were last done, in any pipeline, newest run first, at most 64: for a task never seen.
    pub fn last_of_kind(&self, kind: &str) -> Result<Vec<Digest>> {
        self.catch_up_all()?;
        Ok(self.index.last_of_kind(kind).into_iter().map(|last| last.key).collect())
    }

    /// The runs of a pipeline, oldest first.
    pub fn runs(&self, pipeline: &str) -> Result<Vec<Run>> {
        let paths = files_of(&self.journals(pipeline)).map_err(|error| trouble(self.root(), error))?;
        paths.iter().map(|path| self.read_run(path)).collect()
    }

    /// Names of a pipeline's runs, oldest first, without a look at what they did.
    pub fn run_ids(&self, pipeline: &str) -> Result<Vec<String>> {
        let paths = files_of(&self.journals(pipeline)).map_err(|error| trouble(self.root(), error))?;
        Ok(paths.iter().map(|path| stem(path)).collect())
    }

    /// One run of a pipeline.
    pub fn run(&self, pipeline: &str, id: &str) -> Result<Run> {
        self.read_run(&self.journals(pipeline).join(format!("{id}.jsonl")))
    }

    fn read_run(&self, path: &Path) -> Result<Run> {
        let mut run = Run {
            id: stem(path),
            started: String::new(),
            about: serde_json::Value::Null,
            tasks: Vec::new(),
            reached: Vec::new(),
            seconds: None,
            summary: None,
        };
        for line in read_journal(path).map_err(|error| trouble(self.root(), error))? {
            match line {
                Line::Begin { started, about, .. } => (run.started, run.about) = (started, about),
                Line::Task(task) => run.tasks.push(task),
                Line::Reached { keys } => run.reached.extend(keys),
                Line::End { seconds, summary, .. } => (run.seconds, run.summary) = (Some(seconds), Some(summary)),
            }
        }
        Ok(run)
    }

    /// Removes the journal of a run in which nothing was done.
    pub fn forget_run(&self, pipeline: &str, id: &str) {
        let _ = fs::remove_file(self.journals(pipeline).join(format!("{id}.jsonl")));
    }

    fn journals(&self, pipeline: &str) -> PathBuf {
        self.root().join("runs").join(folder_of(pipeline))
    }

    /// Brings the journals of all pipelines into the index; the answer is how many pipelines there are.
    pub(super) fn catch_up_all(&self) -> Result<u64> {
        let mut pipelines = 0;
        for folder in files_of(&self.root().join("runs")).map_err(|error| trouble(self.root(), error))? {
            let journals = files_of(&folder).map_err(|error| trouble(self.root(), error))?;
            if let Some(pipeline) = journals.iter().find_map(|path| pipeline_of(path)) {
                self.catch_up(&pipeline)?;
                pipelines += 1;
            }
        }
        Ok(pipelines)
    }

    /// Brings journals into the index that grew since it looked: of killed runs, and of other hosts.
    pub(super) fn catch_up(&self, pipeline: &str) -> Result<()> {
        let seen = self.index.seen(pipeline);
        for path in files_of(&self.journals(pipeline)).map_err(|error| trouble(self.root(), error))? {
            let run = stem(&path);
            let Ok(size) = fs::metadata(&path).map(|file| file.len()) else { continue };
            if seen.get(&run) != Some(&size) {
                let lines = read_journal(&path).map_err(|error| trouble(self.root(), error))?;
                let tasks: Vec<Last> = lines.into_iter().filter_map(|line| last_of(line, &run)).collect();
                self.index.take_journal(pipeline, &run, size, &tasks);
            }
        }
        Ok(())
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
    last: Vec<Last>,
}

impl RunLog {
    /// Name of the run: UTC time and process id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Says what became of a task: `cached`, `ran`, `failed`, `skipped` or `waiting`. The key of one that was cached or ran is
    /// its last key from now on. `message` says why it failed or was skipped.
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

    /// The same, with everything that there is to say.
    pub fn write(&self, task: RunTask) -> Result<()> {
        let mut inner = lock(&self.inner);
        let cached = task.outcome == "cached";
        let line = Line::Task(task);
        if let Some(journal) = &mut inner.journal {
            // What was cached may be lost by a kill: lines of thousands of such tasks are written together.
            let mut write = || {
                write_line(journal, &line)?;
                if cached { Ok(()) } else { journal.flush() }
            };
            write().map_err(|error| trouble(&self.root, error))?;
        }
        inner.last.extend(last_of(line, &self.id));
        Ok(())
    }

    /// Says on which other results the run relies, by their keys.
    pub fn reach(&self, keys: Vec<Digest>) -> Result<()> {
        let mut inner = lock(&self.inner);
        match &mut inner.journal {
            Some(journal) if !keys.is_empty() => write_line(journal, &Line::Reached { keys }).map_err(|error| trouble(&self.root, error)),
            _ => Ok(()),
        }
    }

    /// Makes every line visible to others. What is found in the store after that, of the results it names, stays there.
    pub fn flush(&self) -> Result<()> {
        let mut inner = lock(&self.inner);
        let Some(journal) = inner.journal.as_mut().filter(|journal| !journal.buffer().is_empty()) else { return Ok(()) };
        let mut flush = || -> io::Result<()> {
            let _shared = self.hold.shared()?;
            journal.flush()
        };
        flush().map_err(|error| trouble(&self.root, error))
    }

    /// Ends the journal.
    pub fn end(&self, summary: &serde_json::Value) -> Result<()> {
        let mut inner = lock(&self.inner);
        let Some(journal) = &mut inner.journal else { return Ok(()) };
        let mut end = || -> io::Result<u64> {
            write_line(journal, &Line::End { ended: now(), seconds: self.begun.elapsed().as_secs_f64(), summary: summary.clone() })?;
            journal.flush()?;
            Ok(journal.get_ref().metadata()?.len())
        };
        let size = end().map_err(|error| trouble(&self.root, error))?;
        self.index.take_journal(&self.pipeline, &self.id, size, &std::mem::take(&mut inner.last));
        Ok(())
    }
}

fn write_line(journal: &mut BufWriter<File>, line: &Line) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    journal.write_all(&bytes)
}

/// The pipeline that a journal's first line names.
fn pipeline_of(journal: &Path) -> Option<String> {
    let mut first = String::new();
    BufReader::new(File::open(journal).ok()?).read_line(&mut first).ok()?;
    match serde_json::from_str(&first) {
        Ok(Line::Begin { pipeline, .. }) => Some(pipeline),
        _ => None,
    }
}

/// Lines of a journal; one that was cut short by a kill is left out.
fn read_journal(path: &Path) -> io::Result<Vec<Line>> {
    let bytes = fs::read(path)?;
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

fn last_of(line: Line, run: &str) -> Option<Last> {
    match line {
        Line::Task(RunTask { task, kind, key: Some(key), outcome, .. }) if ["cached", "ran", "accepted"].contains(&outcome.as_str()) => {
            Some(Last { task, kind, key, run: run.to_owned() })
        }
        _ => None,
    }
}

/// What a pipeline's folder is called.
pub(super) fn folder_of(pipeline: &str) -> String {
    Digest::of(pipeline.as_bytes()).short()
}

pub(super) fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// What lies in a folder, sorted by name; nothing where it is absent.
pub(super) fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<PathBuf>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    paths.sort_unstable();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn the_last_key_is_that_of_the_last_success() {
        let (_folder, store) = new_store();
        let keys: Vec<Digest> = (0..4_u8).map(|number| Digest::of(&[number])).collect();
        let log = store.begin_run("p.toml", &json!({ "only": [] })).unwrap();
        log.task("a", "k.one", Some(&keys[0]), "ran", 1.5, "").unwrap();
        log.task("b", "k.two", Some(&keys[1]), "failed", 0.1, "no file").unwrap();
        log.end(&json!({ "ran": 1 })).unwrap();
        let log = store.begin_run("p.toml", &json!(null)).unwrap();
        log.task("a", "k.one", Some(&keys[2]), "cached", 0.0, "").unwrap();
        // This one is killed: no end.
        drop(log);
        store.begin_run("q.toml", &json!(null)).unwrap().task("a", "k.one", Some(&keys[3]), "ran", 0.0, "").unwrap();
        let expected = BTreeMap::from([("a".to_owned(), keys[2])]);
        assert_eq!(store.last_keys("p.toml").unwrap(), expected);
        assert_eq!(store.last_of_kind("k.one").unwrap(), [keys[3], keys[2]]);
        assert_eq!(store.last_of_kind("k.two").unwrap(), []);
        // A new index learns it from the journals.
        let other = tempfile::tempdir().unwrap();
        let again = Store::open(store.root(), other.path()).unwrap();
        assert_eq!(again.last_of_kind("k.one").unwrap(), [keys[3], keys[2]]);
        assert_eq!(again.last_keys("p.toml").unwrap(), expected);
        let runs = again.runs("p.toml").unwrap();
        assert_eq!(runs.iter().map(|run| run.tasks.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((&runs[0].summary, &runs[1].summary, &runs[0].about), (&Some(json!({ "ran": 1 })), &None, &json!({ "only": [] })));
        assert_eq!((runs[0].tasks[1].message.as_str(), runs[0].tasks[0].seconds), ("no file", 1.5));
    }

    #[test]
    fn a_torn_line_is_left_out() {
        let (_folder, store) = new_store();
        let log = store.begin_run("p", &json!(null)).unwrap();
        log.task("a", "k", Some(&Digest::of(b"1")), "ran", 0.0, "").unwrap();
        let path = store.journals("p").join(format!("{}.jsonl", log.id()));
        File::options().append(true).open(path).unwrap().write_all(b"{\"event\":\"task\",\"task\":\"b").unwrap();
        assert_eq!(store.last_keys("p").unwrap().len(), 1);
    }
}
