//! `tomograph log`: what ran, when, how long, and where its log is.

use super::exit::{Exit, print};
use super::grid::{count, duration, grid};
use super::project::{Project, Selection};
use super::show::moment;
use crate::stage::Kind;
use crate::store::{Run, RunTask};
use anyhow::Result;
use clap::Args;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Runs and executions that are listed; older ones are only counted.
const LISTED: usize = 20;

/// Show what ran, when and how long, and where its log is
///
/// Without TASK, the pipeline's runs, and what became of each task in the last one. With TASK (a stage, or cells of it), every time
/// one of them ran or failed, with the place of its log.
#[derive(Args)]
pub(super) struct LogArgs {
    /// The pipeline: a TOML file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// A stage, or cells of it such as 'train[seed=1]'
    #[arg(value_name = "TASK")]
    task: Option<String>,
}

pub(super) fn log(args: &LogArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let project = Project::open(&Selection::plain(&args.pipeline), kinds)?;
    let titles: Option<BTreeSet<String>> = match &args.task {
        None => None,
        Some(task) => Some(project.find_one(task)?.0.into_iter().map(|id| project.pipeline.tasks[id.0].title()).collect()),
    };
    let runs = project.store.runs(&project.pipeline_id)?;
    print(&match titles {
        _ if runs.is_empty() => "no run yet\n".to_owned(),
        None => of_pipeline(&project, &runs),
        Some(titles) => of_tasks(&project, &runs, &titles),
    })?;
    Ok(Exit::Done)
}

/// The runs, and the tasks of the last one.
fn of_pipeline(project: &Project, runs: &[Run]) -> String {
    let mut text = earlier(runs.len(), "run");
    let mut rows = vec![["run", "began", "cached", "ran", "failed", "skipped", "took", ""].map(str::to_owned).to_vec()];
    for run in runs.iter().rev().take(LISTED).rev() {
        let tasks = |outcome: &str| run.tasks.iter().filter(|task| task.outcome == outcome).count().to_string();
        let took = run.seconds.map(duration).unwrap_or_default();
        let end = if run.seconds.is_none() { "not ended: killed, or running now" } else { "" };
        let [cached, ran, failed, skipped] = ["cached", "ran", "failed", "skipped"].map(tasks);
        rows.push(vec![run.id.clone(), moment(&run.started), cached, ran, failed, skipped, took, end.to_owned()]);
    }
    text.push_str(&grid(&rows, ""));
    if let Some(last) = runs.last() {
        let _ = writeln!(text, "\nthe last run");
        let cached = last.tasks.iter().filter(|task| task.outcome == "cached").count();
        last.tasks.iter().filter(|task| task.outcome != "cached").for_each(|task| text.push_str(&one(project, task, &task.task)));
        if cached > 0 {
            let _ = writeln!(text, "  {} cached", count(cached as u64, "task"));
        }
    }
    text
}

/// Every time one of the tasks did something.
fn of_tasks(project: &Project, runs: &[Run], titles: &BTreeSet<String>) -> String {
    let all = runs.iter().flat_map(|run| &run.tasks).filter(|task| titles.contains(&task.task));
    let (cached, done): (Vec<&RunTask>, Vec<&RunTask>) = all.partition(|task| task.outcome == "cached");
    let mut text = earlier(done.len(), "time");
    for task in done.iter().rev().take(LISTED).rev() {
        text.push_str(&one(project, task, &format!("{}  {}", moment(&task.ended), task.task)));
    }
    if let Some(last) = cached.last() {
        let _ = writeln!(text, "cached {}, last {}", count(cached.len() as u64, "time"), moment(&last.ended));
    }
    if text.is_empty() {
        text.push_str("never ran\n");
    }
    text
}

fn earlier(all: usize, one: &str) -> String {
    match all.saturating_sub(LISTED) {
        0 => String::new(),
        more => format!("{} earlier\n", count(more as u64, one)),
    }
}

fn one(project: &Project, task: &RunTask, title: &str) -> String {
    let mut text = format!("  {title}: {}", task.outcome);
    if ["ran", "failed"].contains(&task.outcome.as_str()) {
        let _ = write!(text, " in {}", duration(task.seconds));
    }
    text.push('\n');
    if !task.message.is_empty() {
        let _ = writeln!(text, "    {}", task.message.replace('\n', "\n    "));
    }
    let log = task.key.map(|key| project.store.log_path(&key)).filter(|path| path.exists());
    if let Some(log) = log {
        let _ = writeln!(text, "    log {}", log.display());
    }
    text
}
