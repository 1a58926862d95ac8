//! What the store holds for tasks of a pipeline as it stands: the result of now, or an older one.

use super::progress::hashing;
use super::project::Project;
use crate::content::{Digest, Level};
use crate::pipeline::TaskId;
use crate::plan::{Judgement, Outcome, Unready, as_written, levels};
use crate::store::Record;
use anyhow::Result;
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

    /// A result of earlier is as strict as its task is now: somebody may have learnt since that a source holds people's data.
    pub(super) fn at_least(self, level: Level) -> Self {
        let raised = |mut record: Arc<Record>| {
            if record.outputs.values().any(|output| output.level < level) {
                Arc::make_mut(&mut record).outputs.values_mut().for_each(|output| output.level = output.level.max(level));
            }
            record
        };
        match self {
            Self::Current(record) => Self::Current(raised(record)),
            Self::Old(record) => Self::Old(raised(record)),
            Self::Nothing => Self::Nothing,
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
    let mut levels = all_as_written(project, tasks);
    match project.planner(tasks, &hashing(quiet)) {
        Ok(planner) => {
            levels = tasks.iter().map(|id| planner.level(*id)).collect();
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
    let standing = |(id, level): (&TaskId, Level)| match &outcomes[id.0] {
        Outcome::Known(known) => Ok(Standing::Current(known.record.clone())),
        Outcome::Open | Outcome::Failed(_) => Ok(old(last.get(&project.pipeline.tasks[id.0].title()))?.at_least(level)),
    };
    tasks.iter().zip(levels).map(standing).collect()
}

/// The levels that tasks have by their sources as they are now, or as they are written where one is not there.
pub(super) fn levels_now(project: &Project, tasks: &[TaskId]) -> Result<Vec<Level>> {
    match project.planner(tasks, &hashing(true)) {
        Ok(planner) => Ok(tasks.iter().map(|id| planner.level(*id)).collect()),
        Err(error) if error.is::<Unready>() => Ok(all_as_written(project, tasks)),
        Err(error) => Err(error),
    }
}

/// Strict enough for results whose sources are not there.
fn all_as_written(project: &Project, tasks: &[TaskId]) -> Vec<Level> {
    let sources = as_written(&project.pipeline);
    let all = levels(&project.pipeline, &|id| sources[id.0]);
    tasks.iter().map(|id| all[id.0]).collect()
}
