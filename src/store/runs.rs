//! Past runs, as their journals tell of them: what each did, and each task's last key.

use super::Store;
use super::files::trouble;
use super::index::Last;
use super::journal::{Line, RunTask};
use crate::content::Digest;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

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

/// Path → the blob with the text, of every file of the pipeline as a run read it; empty for runs of earlier versions.
pub(super) fn texts_of(about: &serde_json::Value) -> BTreeMap<String, Digest> {
    let texts = about[TEXTS].as_object().into_iter().flatten();
    texts.filter_map(|(path, digest)| Some((path.clone(), serde_json::from_value(digest.clone()).ok()?))).collect()
}

/// Where they stand in what a run says of itself.
const TEXTS: &str = "texts";

impl Store {
    /// Keeps the texts of a pipeline, path → text, and has what a run says of itself name them. In a store that can only be read nothing is
    /// written.
    pub fn keep_texts(&self, texts: &BTreeMap<String, String>, about: &mut serde_json::Value) -> Result<()> {
        if !self.is_writable() {
            return Ok(());
        }
        let kept = texts.iter().map(|(path, text)| Ok((path.clone(), self.put_bytes(text.as_bytes())?.digest)));
        about[TEXTS] = serde_json::json!(kept.collect::<Result<BTreeMap<String, Digest>>>()?);
        self.sync_large()
    }

    /// The texts of the pipeline as a run read it, path → text; none where they are not, or no longer, in the store.
    pub fn texts_of_run(&self, run: &Run) -> Result<Option<BTreeMap<String, String>>> {
        let mut texts = BTreeMap::new();
        for (path, digest) in texts_of(&run.about) {
            let Some(text) = self.read_blob(&digest)?.and_then(|bytes| String::from_utf8(bytes).ok()) else { return Ok(None) };
            texts.insert(path, text);
        }
        Ok(Some(texts).filter(|texts| !texts.is_empty()))
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
                Line::Cached { ended, tasks } => run.tasks.extend(tasks.into_iter().map(|task| RunTask::cached(task, &ended))),
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

    pub(super) fn journals(&self, pipeline: &str) -> PathBuf {
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
                let tasks: Vec<Last> = lines.into_iter().flat_map(Line::last).collect();
                self.index.take_journal(pipeline, &run, size, &tasks);
            }
        }
        Ok(())
    }
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
    use std::io::Write as _;

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
