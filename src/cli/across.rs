//! Warnings about what a pipeline takes from others: results that they, as they stand now, would make anew.
//!
//! Never runs anything of another pipeline; says which command would.

use super::exit::remark;
use super::progress::hashing;
use super::project::Project;
use crate::pipeline::{Origin, Pipeline, Taken};
use crate::plan::{Judgement, Outcome, Planner, Unready};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Warns on standard error of every source of `planner`'s tasks that is absent or stale in the pipeline it is taken from.
pub(super) fn warn(project: &Project, planner: &Planner, quiet: bool) -> Result<()> {
    for warning in warnings(project, planner, quiet)? {
        remark(&format!("warning: {warning}"));
    }
    Ok(())
}

fn warnings(project: &Project, planner: &Planner, quiet: bool) -> Result<Vec<String>> {
    if project.pipeline.others.is_empty() {
        return Ok(Vec::new());
    }
    let mut read = BTreeSet::new();
    for edge in planner.wanted.iter().flat_map(|id| project.pipeline.tasks[id.0].inputs.values().flatten()) {
        if let Origin::Source { source, .. } = edge.origin {
            read.insert(source);
        }
    }
    let mut by_pipeline: BTreeMap<&str, Vec<(String, &Taken)>> = BTreeMap::new();
    for id in &read {
        let source = &project.pipeline.sources[id.0];
        if let Some(taken) = &source.taken {
            by_pipeline.entry(&taken.pipeline).or_default().push((source.title(), taken));
        }
    }
    let mut warnings = Vec::new();
    for (path, taken) in by_pipeline {
        if let Some(other) = project.pipeline.others.get(path) {
            warnings.extend(of_one(project, other, &taken, quiet)?);
        }
    }
    Ok(warnings)
}

fn of_one(project: &Project, other: &Pipeline, taken: &[(String, &Taken)], quiet: bool) -> Result<Vec<String>> {
    let Some((_, first)) = taken.first() else { return Ok(Vec::new()) };
    let mut tasks = BTreeMap::new();
    for (number, task) in other.tasks.iter().enumerate() {
        tasks.insert(task.title(), crate::pipeline::TaskId(number));
    }
    let only: Vec<_> = taken.iter().filter_map(|(_, taken)| tasks.get(&taken.task).copied()).collect();
    let last = project.store.last_keys(&first.id)?;
    let planner = match Planner::new(other, &project.store, &project.root, &first.id, &only, &hashing(quiet)) {
        Ok(planner) => planner,
        Err(error) if error.is::<Unready>() => {
            return Ok(vec![format!("cannot tell whether what is taken from {} is up to date: {error:#}", first.pipeline)]);
        }
        Err(error) => return Err(error),
    };
    let mut outcomes = vec![Outcome::Open; other.tasks.len()];
    for id in &planner.wanted {
        if let Some(Judgement::Hit(known)) = planner.judge(*id, &outcomes)? {
            outcomes[id.0] = Outcome::Known(Box::new(known));
        }
    }
    let mut warnings = Vec::new();
    for (source, taken) in taken {
        let now = tasks.get(&taken.task).and_then(|id| match &outcomes[id.0] {
            Outcome::Known(known) => Some(known.key),
            Outcome::Open | Outcome::Failed(_) => None,
        });
        let remedy = taken.remedy();
        match last.get(&taken.task) {
            None => warnings.push(format!("source `{source}` is left out: there is no {} yet; `{remedy}` makes it", taken.title())),
            Some(last) if now != Some(*last) => warnings.push(format!(
                "source `{source}` is stale: {} is of an earlier run, and {} is another now; `{remedy}` makes it anew",
                taken.title(),
                taken.pipeline
            )),
            Some(_) => {}
        }
    }
    Ok(warnings)
}
