//! What the store holds for tasks of a pipeline as it stands: the result of now, or an older one.

use super::history::find_run;
use super::progress::hashing;
use super::project::Project;
use crate::content::Digest;
use crate::pipeline::TaskId;
use crate::plan::{Judgement, Outcome, Unready};
use crate::store::Record;
use anyhow::Result;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What there is of a task.
pub(super) enum Standing {
    /// What the pipeline and its sources, as they are, come to.
    Current(Arc<Record>),
    /// Left by the last run; the pipeline or a source is another one now, or a source is not there.
    Old(Arc<Record>),
    /// It never succeeded.
    Nothing,
}

impl Standing {
    /// Its word in `--json`.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Current(_) => "current",
            Self::Old(_) => "old",
            Self::Nothing => "none",
        }
    }

    pub(super) fn record(&self) -> Option<&Record> {
        match self {
            Self::Current(record) | Self::Old(record) => Some(record),
            Self::Nothing => None,
        }
    }
}

/// What there is of each of `tasks`. `quiet` hides the progress of hashing.
pub(super) fn standing(project: &Project, tasks: &[TaskId], quiet: bool) -> Result<Vec<Standing>> {
    let last = project.store.last_keys(&project.pipeline_id)?;
    let mut outcomes = vec![Outcome::Open; project.pipeline.tasks.len()];
    match project.planner(tasks, &hashing(quiet)) {
        Ok(planner) => {
            for id in planner.in_order() {
                if let Some(Judgement::Hit(known)) = planner.judge(id, &outcomes)? {
                    outcomes[id.0] = Outcome::Known(Box::new(known));
                }
            }
        }
        // Results can be looked at without the sources they were made from.
        Err(error) if error.is::<Unready>() => {}
        Err(error) => return Err(error),
    }
    let old = |key: Option<&Digest>| -> Result<Standing> {
        let Some(key) = key else { return Ok(Standing::Nothing) };
        Ok(project.store.records(key)?.into_iter().next().map_or(Standing::Nothing, Standing::Old))
    };
    tasks
        .iter()
        .map(|id| match &outcomes[id.0] {
            Outcome::Known(known) => Ok(Standing::Current(known.record.clone())),
            Outcome::Open | Outcome::Failed(_) => old(last.get(&project.pipeline.tasks[id.0].title())),
        })
        .collect()
}

/// What a past run found or made of each of `tasks`.
pub(super) fn of_run(project: &Project, tasks: &[TaskId], run: &str) -> Result<Vec<Standing>> {
    let run = find_run(project, run)?;
    let done = run.tasks.iter().filter(|task| ["cached", "ran", "accepted"].contains(&task.outcome.as_str()));
    let keys: BTreeMap<&str, Digest> = done.filter_map(|task| Some((task.task.as_str(), task.key?))).collect();
    let record = |id: &TaskId| -> Result<Standing> {
        let Some(key) = keys.get(project.pipeline.tasks[id.0].title().as_str()) else { return Ok(Standing::Nothing) };
        Ok(project.store.records(key)?.into_iter().next().map_or(Standing::Nothing, Standing::Current))
    };
    tasks.iter().map(record).collect()
}
