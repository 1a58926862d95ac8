//! A past run, with the pipeline as that run read it: stages may have got other names since, and axes other values.
//!
//! A run of an earlier version kept no texts, and a text of then may have no meaning for the kinds of now: its tasks are then looked for
//! in the pipeline as it stands.

use super::exit::remark;
use super::project::{Project, Selection};
use super::results::{Standing, levels_now};
use crate::content::{Digest, Level};
use crate::pipeline::{Files, Pipeline, Source, TaskId, load};
use crate::plan::{as_written, levels};
use crate::stage::Kind;
use crate::store::{Record, Run};
use anyhow::Result;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A run that is over, or not.
pub(super) struct Past<'p> {
    project: &'p Project,
    pub(super) run: Run,
    then: Option<Pipeline>,
}

impl<'p> Past<'p> {
    /// The run that `@NAME`, `@last`, `@prev` or the beginning of an id means.
    pub(super) fn find(project: &'p Project, reference: &str, kinds: &'static [Kind]) -> Result<Self> {
        let run = project.runs().find(reference)?;
        let then = match project.store.texts_of_run(&run)? {
            Some(texts) if texts == project.texts && overlay(&run).is_plain() => None,
            Some(texts) => pipeline_of(project, &run, &texts, kinds)?,
            None => None,
        };
        Ok(Self { project, run, then })
    }

    /// The pipeline as the run had it.
    pub(super) fn pipeline(&self) -> &Pipeline {
        self.then.as_ref().unwrap_or(&self.project.pipeline)
    }

    /// What the run found or made of each of `tasks`.
    pub(super) fn standing(&self, tasks: &[TaskId]) -> Result<Vec<Standing>> {
        let done = self.run.tasks.iter().filter(|task| ["cached", "ran", "accepted"].contains(&task.outcome.as_str()));
        let keys: BTreeMap<&str, (Digest, &str)> =
            done.filter_map(|task| Some((task.task.as_str(), (task.key?, task.ended.as_str())))).collect();
        let record = |id: &TaskId| -> Result<Standing> {
            let Some((key, ended)) = keys.get(self.pipeline().tasks[id.0].title().as_str()) else { return Ok(Standing::Nothing) };
            let records = self.project.store.records(key)?;
            // What the run met as accepted may have been made since.
            let is_later = |record: &Record| record.started.as_str() > *ended && records.iter().any(|one| one.accepted.is_some());
            let met = records.iter().find(|record| !is_later(record)).or(records.first());
            Ok(met.cloned().map_or(Standing::Nothing, Standing::Current))
        };
        let levels = self.levels(tasks)?;
        tasks.iter().zip(levels).map(|(id, level)| Ok(record(id)?.at_least(level))).collect()
    }

    /// How strict each of `tasks` is by what is known of the sources now: somebody may have learnt since that one holds people's data.
    fn levels(&self, tasks: &[TaskId]) -> Result<Vec<Level>> {
        let Some(then) = &self.then else { return levels_now(self.project, tasks) };
        let now = &self.project.pipeline;
        let sources = raised(then, now);
        let least = levels(then, &|id| sources[id.0]);
        let titles: BTreeMap<String, TaskId> = now.tasks.iter().enumerate().map(|(at, task)| (task.title(), TaskId(at))).collect();
        let still: Vec<Option<TaskId>> = tasks.iter().map(|id| titles.get(&then.tasks[id.0].title()).copied()).collect();
        let known: Vec<TaskId> = still.iter().flatten().copied().collect();
        let mut known = if known.is_empty() { Vec::new() } else { levels_now(self.project, &known)? }.into_iter();
        let level =
            |(id, still): (&TaskId, &Option<TaskId>)| still.and_then(|_| known.next()).map_or(least[id.0], |now| now.max(least[id.0]));
        Ok(tasks.iter().zip(&still).map(level).collect())
    }
}

/// How strict the sources of then are by what is written, then and now. One that is there no more, under its name or at its place, may be
/// any that is there.
fn raised(then: &Pipeline, now: &Pipeline) -> Vec<Level> {
    let known: Vec<(&Source, Level)> = now.sources.iter().zip(as_written(now)).collect();
    let mut names: BTreeMap<&str, Level> = BTreeMap::new();
    for (source, level) in &known {
        let name = names.entry(&source.name).or_default();
        *name = (*level).max(*name);
    }
    let strict: Vec<&(&Source, Level)> = known.iter().filter(|(_, level)| *level > Level::Released).collect();
    let strictest = strict.iter().map(|(_, level)| *level).max().unwrap_or_default();
    let level = |(source, level): (&Source, Level)| {
        let here = strict.iter().filter(|(other, _)| share_files(source, other)).map(|(_, level)| *level).max();
        level.max(here.unwrap_or_default()).max(names.get(source.name.as_str()).copied().unwrap_or(strictest))
    };
    then.sources.iter().zip(as_written(then)).map(level).collect()
}

/// Whether two sources may have a file in common.
fn share_files(one: &Source, other: &Source) -> bool {
    let fixed = |source: &Source| -> Vec<String> {
        let parts = source.path.split('/').filter(|part| !matches!(*part, "" | "."));
        parts.take_while(|part| !part.contains(['*', '?', '['])).map(str::to_owned).collect()
    };
    match (&one.taken, &other.taken) {
        (None, None) => fixed(one).iter().zip(&fixed(other)).all(|(one, other)| one == other),
        (Some(one), Some(other)) => (&one.pipeline, &one.task) == (&other.pipeline, &other.task),
        _ => false,
    }
}

/// What the run laid over the file.
fn overlay(run: &Run) -> Selection {
    let texts = |name: &str| run.about[name].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    Selection { pipeline: PathBuf::new(), only: Vec::new(), set: texts("set"), axis: texts("axis") }
}

/// The pipeline that the texts of then say; none where they have mistakes by now.
fn pipeline_of(project: &Project, run: &Run, texts: &BTreeMap<String, String>, kinds: &'static [Kind]) -> Result<Option<Pipeline>> {
    let path = project.path.as_str();
    let read = |other: &str| texts.get(other).cloned().ok_or_else(|| format!("`{other}` was not read by this run"));
    let Some(own) = texts.get(path) else { return Ok(None) };
    let loaded = load(own, &Files { name: path, path, read: &read }, kinds, &overlay(run).overlay()?);
    if loaded.pipeline.is_none() {
        let first = loaded.problems.first().map(|problem| format!(" ({})", problem.message)).unwrap_or_default();
        remark(&format!(
            "warning: this version cannot read the pipeline as it was in run {}{first}: what it is now is used instead",
            run.id
        ));
    }
    Ok(loaded.pipeline)
}
