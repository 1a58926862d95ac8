//! `tomograph log`: what ran, why, where, how long, how to run it again, and where its log is.

use super::accept;
use super::exit::{Exit, print};
use super::grid::{count, duration};
use super::history::{note, outcome, overrides};
use super::past::Past;
use super::project::{Project, Selection, find_one, store_of};
use super::reveal::{self, Names, Reveal, end_of, keys_of};
use super::show::moment;
use crate::pipeline::TaskId;
use crate::plan::Planner;
use crate::stage::Kind;
use crate::store::{Record, Run, RunTask};
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Executions that are listed; older ones are only counted.
const LISTED: usize = 20;

/// Say what ran: why, where, how long, how to run it again, and where its log is
///
/// For example, `tomograph log pipelines/demo.toml 'train[seed=1]'` prints
///
///     2026-11-23 19:12:20 UTC  train[seed=1]: ran in 58.2 s on ward-7, cpu, 2 threads
///         because params.learning_rate: 0.001 → 0.0005
///         again   tomograph run pipelines/demo.toml --only 'train[seed=1]' --again 'train[seed=1]'
///         log     cache/logs/3f/3f0c….log
///
/// Without TASK: what became of every task in the last run, or in the one named by --run. With TASK
/// (a stage, or cells of it): every time one of them ran or failed. `tomograph history` lists the
/// runs.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct LogArgs {
    /// The pipeline: a TOML file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// A stage, or cells of it such as 'train[seed=1]'; also one that the pipeline no longer has
    #[arg(value_name = "TASK")]
    task: Option<String>,
    /// Of this run only: @NAME, @last, @prev, or the beginning of its line in `tomograph history`
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Who looked at people's data in this store, and what left it; checks that no line was edited (else exit code 4)
    #[arg(long, conflicts_with_all = ["task", "run"])]
    audit: bool,
    #[command(flatten)]
    reveal: Reveal,
    /// One JSON object a line and execution
    #[arg(long)]
    json: bool,
}

pub(super) fn log(args: &LogArgs, kinds: &'static [Kind]) -> Result<Exit> {
    // The audit is the store's: it is shown though the pipeline has mistakes, or is gone.
    let open = || Project::open(&Selection::plain(&args.pipeline), kinds);
    if args.audit {
        let store = store_of(&args.pipeline)?.map_or_else(|| open().map(|project| project.store), |(store, ..)| Ok(store))?;
        return super::audit::show(&store, args.json);
    }
    let project = open()?;
    let past = args.run.as_ref().map(|run| Past::find(&project, run, kinds)).transpose()?;
    let pipeline = past.as_ref().map_or(&project.pipeline, Past::pipeline);
    let titles: Option<BTreeSet<String>> = match &args.task {
        None => None,
        Some(task) => Some(match find_one(pipeline, task) {
            Ok((tasks, _)) => tasks.into_iter().map(|id| pipeline.tasks[id.0].title()).collect(),
            Err(error) => Some(no_more(&project, task)?).filter(|titles| !titles.is_empty()).ok_or(error)?,
        }),
    };
    let runs = match (&past, &titles) {
        (Some(past), _) => vec![past.run.clone()],
        (None, Some(_)) => project.store.runs(&project.pipeline_id)?,
        (None, None) => {
            let last = project.store.run_ids(&project.pipeline_id)?.pop();
            last.map(|id| project.store.run(&project.pipeline_id, &id)).transpose()?.into_iter().collect()
        }
    };
    let revealed = if args.reveal.is_allowed()? { Some(Revealed::of(&project)?) } else { None };
    let told = Told { project: &project, pipeline: &args.pipeline, revealed };
    print(&match &titles {
        _ if runs.is_empty() && args.json => String::new(),
        _ if runs.is_empty() => "no run yet\n".to_owned(),
        _ if args.json => told.objects(&runs, titles.as_ref())?,
        Some(titles) => told.of_tasks(&runs, titles)?,
        None => told.of_runs(&runs)?,
    })?;
    Ok(Exit::Done)
}

/// The tasks of past runs that are called so, or are of a stage that is, where the pipeline has none any more.
fn no_more(project: &Project, task: &str) -> Result<BTreeSet<String>> {
    let titles = project.store.runs(&project.pipeline_id)?.into_iter().flat_map(|run| run.tasks).map(|one| one.task);
    Ok(titles.filter(|title| title == task || title.strip_prefix(task).is_some_and(|cell| cell.starts_with('['))).collect())
}

struct Told<'a> {
    project: &'a Project,
    pipeline: &'a Path,
    revealed: Option<Revealed<'a>>,
}

/// What names the files that messages withhold.
struct Revealed<'a> {
    /// None where a source is not there.
    planner: Option<Planner<'a>>,
    /// Of all runs.
    tasks: Vec<RunTask>,
}

impl<'a> Revealed<'a> {
    fn of(project: &'a Project) -> Result<Self> {
        let tasks = project.store.runs(&project.pipeline_id)?.into_iter().flat_map(|run| run.tasks).collect();
        Ok(Self { planner: project.planner(&[], &|_, _| ()).ok(), tasks })
    }
}

impl Told<'_> {
    /// Every task of a run.
    fn of_runs(&self, runs: &[Run]) -> Result<String> {
        let mut text = String::new();
        for run in runs {
            let took = run.seconds.map(|seconds| format!(" in {}", duration(seconds))).unwrap_or_default();
            let _ = writeln!(text, "run {} of {}: {}{took}", run.id, moment(&run.started), outcome(run));
            if let Some(note) = note(run) {
                let _ = writeln!(text, "  {note}");
            }
            for task in run.tasks.iter().filter(|task| task.outcome != "cached") {
                text.push_str(&self.one(run, task, &task.task)?);
            }
            let cached = run.tasks.iter().filter(|task| task.outcome == "cached").count();
            if cached > 0 {
                let _ = writeln!(text, "  {} cached", count(cached as u64, "task"));
            }
        }
        Ok(text)
    }

    /// Every time one of the tasks did something.
    fn of_tasks(&self, runs: &[Run], titles: &BTreeSet<String>) -> Result<String> {
        let all = runs.iter().flat_map(|run| run.tasks.iter().map(move |task| (run, task))).filter(|(_, task)| titles.contains(&task.task));
        let (cached, done): (Vec<_>, Vec<_>) = all.partition(|(_, task)| task.outcome == "cached");
        let mut text = match done.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!("{} earlier\n", count(more as u64, "time")),
        };
        for (run, task) in done.iter().rev().take(LISTED).rev() {
            text.push_str(&self.one(run, task, &format!("{}  {}", moment(&task.ended), task.task))?);
        }
        if let Some((_, last)) = cached.last() {
            let _ = writeln!(text, "cached {}, last {}", count(cached.len() as u64, "time"), moment(&last.ended));
        }
        if text.is_empty() {
            text.push_str("never ran\n");
        }
        Ok(text)
    }

    fn one(&self, run: &Run, task: &RunTask, title: &str) -> Result<String> {
        let mut text = format!("  {title}: {}", task.outcome);
        let worked = ["ran", "failed"].contains(&task.outcome.as_str());
        let record = self.record(task)?;
        if worked {
            let _ = write!(text, " in {}{}", duration(task.seconds), place(run, record.as_deref()));
        }
        text.push('\n');
        if !task.message.is_empty() {
            let _ = writeln!(text, "      {}", task.message.replace('\n', "\n      "));
        }
        for reason in &task.reasons {
            let _ = writeln!(text, "      because {}", reason.replace('\n', "\n      "));
        }
        if let Some(accepted) = record.as_ref().filter(|_| task.outcome == "accepted").and_then(|record| record.accepted.as_ref()) {
            let _ = writeln!(text, "      {}", accept::told(accepted));
        }
        if worked {
            let _ = writeln!(text, "      again   {}", self.again(run, task));
        }
        if let Some(log) = self.log_of(task) {
            let _ = writeln!(text, "      log     {}", log.display());
        }
        if let Some(revealed) = &self.revealed {
            let id = self.project.pipeline.tasks.iter().position(|one| one.title() == task.task).map(TaskId);
            let names = Names::of(revealed.planner.as_ref(), self.project, id, &keys_of(revealed.tasks.iter(), &task.task))?;
            let shown = names.in_words(&text) + &self.log_of(task).map(|log| end_of(&log)).unwrap_or_default();
            if shown != text {
                reveal::tell(self.project, &task.task, "log", task.key, &shown)?;
                text = shown;
            }
        }
        Ok(text)
    }

    fn record(&self, task: &RunTask) -> Result<Option<Arc<Record>>> {
        let Some(key) = task.key.filter(|_| ["ran", "accepted"].contains(&task.outcome.as_str())) else { return Ok(None) };
        let records = self.project.store.records(&key)?;
        // Made and accepted ones may stand under one key.
        let told = records.iter().find(|record| record.accepted.is_some() == (task.outcome == "accepted"));
        Ok(told.or(records.first()).cloned())
    }

    fn log_of(&self, task: &RunTask) -> Option<PathBuf> {
        task.key.map(|key| self.project.store.log_path(&key)).filter(|path| path.exists())
    }

    /// A command line that does it once more, as it was then.
    fn again(&self, run: &Run, task: &RunTask) -> String {
        let mut words =
            vec!["tomograph".to_owned(), "run".to_owned(), self.pipeline.display().to_string(), "--only".to_owned(), task.task.clone()];
        if task.outcome == "ran" {
            words.extend(["--again".to_owned(), task.task.clone()]);
        }
        let mut laid = overrides(&run.about).into_iter();
        while let (Some(option), Some(value)) = (laid.next(), laid.next()) {
            if option != "--only" {
                words.extend([option, value]);
            }
        }
        words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }

    fn objects(&self, runs: &[Run], titles: Option<&BTreeSet<String>>) -> Result<String> {
        let mut text = String::new();
        for run in runs {
            for task in run.tasks.iter().filter(|task| titles.is_none_or(|titles| titles.contains(&task.task))) {
                let record = self.record(task)?;
                let of = |value: fn(&Record) -> Value| record.as_deref().map(value);
                let object = json!({
                    "run": run.id,
                    "task": task.task,
                    "kind": task.kind,
                    "key": task.key,
                    "outcome": task.outcome,
                    "ended": task.ended,
                    "seconds": task.seconds,
                    "message": task.message,
                    "reasons": task.reasons,
                    "host": of(|record| json!(record.host)),
                    "device": of(|record| json!(record.device)),
                    "threads": of(|record| json!(record.threads)),
                    "accepted": of(|record| json!(record.accepted)),
                    "again": self.again(run, task),
                    "log": self.log_of(task).map(|log| log.display().to_string()),
                });
                text.push_str(&(object.to_string() + "\n"));
            }
        }
        Ok(text)
    }
}

/// ` on ward-7, cpu, 2 threads`; of what failed only the host is known.
fn place(run: &Run, record: Option<&Record>) -> String {
    match (record, run.about["host"].as_str()) {
        (Some(record), _) => format!(" on {}, {}, {}", record.host, record.device, count(record.threads as u64, "thread")),
        (None, Some(host)) => format!(" on {host}"),
        (None, None) => String::new(),
    }
}

/// A word as a shell reads it back.
pub(super) fn quoted(word: &str) -> String {
    let plain = |one: char| one.is_ascii_alphanumeric() || "-_./=,:@+%".contains(one);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}
