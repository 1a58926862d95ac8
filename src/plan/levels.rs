//! Levels: how close what each task gives is to people, from the graph and its sources as they are now (DESIGN rule 13).
//!
//! What a record says counts for results that no task of the pipeline stands for any more; here it is never asked.

use super::{Planner, Unready};
use crate::content::Level;
use crate::pipeline::{Action, Edge, Origin, Pipeline, Source, SourceId, Task, TaskId};
use anyhow::Result;
use std::collections::BTreeMap;

/// What to do about identified data that somebody wants to take out.
pub const REMEDY: &str = "take out what a `report.*` made of it, or what `dicom.audit` or `review.release` passed on";

impl Planner<'_> {
    /// That of what a task gives.
    pub fn level(&self, id: TaskId) -> Level {
        self.levels[id.0]
    }

    /// That of a source: as it was looked at, or as strict as it may be.
    pub fn source_level(&self, id: SourceId) -> Level {
        self.found_level(id).unwrap_or_else(|| Level::of_people(self.pipeline.sources[id.0].phi))
    }

    /// That of a source as it was looked at, if anything is there.
    pub fn found_level(&self, id: SourceId) -> Option<Level> {
        self.sources[id.0].as_ref().map(|found| found.level)
    }

    /// Whether a task takes in what is of people.
    pub fn reads_people(&self, id: TaskId) -> bool {
        taken_in(self.pipeline, id, &self.levels, &|source| self.source_level(source)) > Level::Released
    }

    /// Whether a task takes in what no message may hold.
    pub fn takes_people(&self, id: TaskId) -> bool {
        taken_in(self.pipeline, id, &self.levels, &|source| self.source_level(source)).is_identified()
    }

    /// An error, before anything starts, that names all that the wanted tasks publish and that may not leave the store.
    pub fn refuse_to_publish(&self) -> Result<()> {
        let mut refused = Vec::new();
        for id in self.wanted.iter().filter(|id| self.level(**id).is_identified()) {
            let task = &self.pipeline.tasks[id.0];
            let told = |(port, path): (&String, &String)| {
                format!(
                    "{} publishes `{path}`, but output `{port}` holds identified data, which never leaves the store: {REMEDY}",
                    task.title()
                )
            };
            refused.extend(task.publish.iter().map(told));
        }
        if refused.is_empty() { Ok(()) } else { Err(Unready(refused.join("\n")).into()) }
    }

    /// What is taken from another pipeline is as strict as it would be now, and as it was when it was made.
    pub(super) fn raise_taken(&mut self) {
        if self.pipeline.others.is_empty() {
            return;
        }
        for ((found, source), level) in self.sources.iter_mut().zip(&self.pipeline.sources).zip(as_written(self.pipeline)) {
            if let Some(found) = found.as_mut().filter(|_| source.taken.is_some()) {
                found.level = found.level.max(level);
            }
        }
    }

    pub(super) fn find_levels(&self) -> Vec<Level> {
        levels(self.pipeline, &|source| self.source_level(source))
    }
}

/// How strict each source is by what is written: `phi`, or what the task of the other pipeline gives that it is taken from.
pub fn as_written(pipeline: &Pipeline) -> Vec<Level> {
    let given = |other: &Pipeline| -> BTreeMap<String, Level> {
        let sources = as_written(other);
        other.tasks.iter().map(Task::title).zip(levels(other, &|id| sources[id.0])).collect()
    };
    let others: BTreeMap<&str, BTreeMap<String, Level>> =
        pipeline.others.iter().map(|(path, other)| (path.as_str(), given(other))).collect();
    let level = |source: &Source| match &source.taken {
        None => Level::of_people(source.phi),
        Some(taken) => others.get(taken.pipeline.as_str()).and_then(|tasks| tasks.get(&taken.task)).copied().unwrap_or(Level::Identified),
    };
    pipeline.sources.iter().map(level).collect()
}

/// What every task gives: the strictest of what it takes in, and no stricter than its kind gives anything.
pub fn levels(pipeline: &Pipeline, of_source: &dyn Fn(SourceId) -> Level) -> Vec<Level> {
    let mut levels = Vec::with_capacity(pipeline.tasks.len());
    for (at, task) in pipeline.tasks.iter().enumerate() {
        let at_most = match &task.action {
            Action::Kind { kind, .. } => kind.at_most,
            Action::Command(_) => Level::Identified,
        };
        levels.push(taken_in(pipeline, TaskId(at), &levels, of_source).min(at_most));
    }
    levels
}

/// The strictest of what a task takes in, all before it being known.
fn taken_in(pipeline: &Pipeline, id: TaskId, levels: &[Level], of_source: &dyn Fn(SourceId) -> Level) -> Level {
    let of = |edge: &Edge| match edge.origin {
        Origin::Source { source, .. } => of_source(source),
        Origin::Task { task, .. } => levels[task.0],
    };
    pipeline.tasks[id.0].inputs.values().flatten().map(of).max().unwrap_or_default()
}
