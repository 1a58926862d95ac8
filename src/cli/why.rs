//! `tomograph why`: why a task would run, followed to where it began.

use super::exit::{Exit, Wrong, print};
use super::plan::words;
use super::progress::hashing;
use super::project::{Project, Selection};
use super::results::{Standing, standing};
use super::reveal::{self, Reveal};
use crate::pipeline::TaskId;
use crate::plan::reason::Reason;
use crate::plan::{Planner, State};
use crate::stage::Kind;
use crate::store::Accepted;
use anyhow::Result;
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Say why a task would run: what differs from its last record
///
/// For example, `tomograph why pipelines/demo.toml 'train[seed=1]'` says `params.learning_rate: 0.001 → 0.0005`.
///
/// The reasons are the difference between two key manifests, so there is a reason exactly when the key is another one. A task that
/// follows others is decided after them; their reasons are given too, back to the params and files where it began. So are those of what it
/// needs that ran since without it.
#[derive(Args)]
pub(super) struct WhyArgs {
    /// The pipeline: a TOML file
    pipeline: PathBuf,
    /// A stage, or cells of it such as 'train[seed=1]'
    task: String,
    #[command(flatten)]
    reveal: Reveal,
    /// One JSON object a line: task, state, reasons
    #[arg(long)]
    json: bool,
}

pub(super) fn why(args: &WhyArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let project = Project::open(&Selection::plain(&args.pipeline), kinds)?;
    let (tasks, _) = project.find_one(&args.task)?;
    let reveals = args.reveal.is_allowed()?;
    let mut planner = project.planner(&tasks, &hashing(args.json))?;
    planner.reveals = reveals;
    let decisions = super::quarantine::decisions(&project.root)?;
    let (states, outcomes) = crate::run::plan(&planner, &BTreeSet::new(), true, &decisions)?;
    let states: BTreeMap<TaskId, State> = states.into_iter().collect();
    let cached = tasks.iter().any(|id| matches!(states.get(id), Some(State::Cached)));
    let accepted = if cached { accepted(&project, &tasks, args.json)? } else { BTreeMap::new() };
    let mut shown = BTreeSet::new();
    let mut text = String::new();
    let mut open: Vec<TaskId> = tasks.iter().rev().copied().collect();
    while let Some(id) = open.pop() {
        if !shown.insert(id) {
            continue;
        }
        let state = states.get(&id).ok_or_else(|| Wrong(format!("there is no task {}", args.task)))?;
        if reveals {
            reveal::tell_reasons(&project, &planner, id, state)?;
        }
        text.push_str(&explain(&planner, id, state, accepted.get(&id), args.json)?);
        let runs = matches!(state, State::Run(_) | State::Later(_) | State::Waiting { .. });
        for (cached, reasons) in if runs { planner.since(id, &outcomes)? } else { Vec::new() } {
            if shown.insert(cached) {
                if reveals {
                    reveal::tell_reasons(&project, &planner, cached, &State::Run(reasons.clone()))?;
                }
                text.push_str(&since(&project.pipeline.tasks[cached.0].title(), &reasons, args.json));
            }
        }
        if is_followed(state) {
            open.extend(planner.needs_of(id).into_iter().filter(|need| !matches!(states.get(need), Some(State::Cached))).rev());
        }
    }
    print(&text)?;
    Ok(Exit::Done)
}

/// Of a cached task that ran since, and what follows it did not.
fn since(task: &str, reasons: &[Reason], json: bool) -> String {
    let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    match json {
        true => format!("{}\n", serde_json::json!({"task": task, "state": "cached", "reasons": reasons, "accepted": null})),
        false => reasons.iter().fold(format!("{task}: cached, another result than then\n"), |text, reason| format!("{text}  {reason}\n")),
    }
}

/// Whether the reason lies with what the task needs.
fn is_followed(state: &State) -> bool {
    match state {
        State::Later(_) | State::Skipped(_) => true,
        State::Waiting { reasons, .. } => reasons.is_empty(),
        State::Cached | State::Run(_) | State::Fails(_) => false,
    }
}

/// What is cached only because somebody held it valid.
fn accepted(project: &Project, tasks: &[TaskId], quiet: bool) -> Result<BTreeMap<TaskId, Accepted>> {
    let standing = standing(project, tasks, quiet)?;
    let current = tasks.iter().zip(standing).filter_map(|(id, standing)| match standing {
        Standing::Current(record) => Some((*id, record.accepted.as_deref().cloned()?)),
        Standing::Old(_) | Standing::Nothing => None,
    });
    Ok(current.collect())
}

fn explain(planner: &Planner, id: TaskId, state: &State, accepted: Option<&Accepted>, json: bool) -> Result<String> {
    let task = planner.pipeline.tasks[id.0].title();
    let (word, reasons) = words(planner.pipeline, state);
    if json {
        return Ok(format!("{}\n", serde_json::json!({"task": task, "state": word, "reasons": reasons, "accepted": accepted})));
    }
    let opening = match state {
        State::Cached if let Some(accepted) = accepted => format!("{task}: cached, {}\n", super::accept::told(accepted)),
        State::Cached => format!("{task}: cached, nothing that it depends on has changed\n"),
        State::Run(_) => format!("{task}: must run\n"),
        State::Waiting { .. } => format!("{task}: waiting; --effects runs what acts on the world, and so does --only with its name\n"),
        State::Later(_) => format!("{task}: decided later\n"),
        State::Fails(_) => format!("{task}: cached, but will fail\n"),
        State::Skipped(_) => format!("{task}: will be skipped\n"),
    };
    Ok(opening + &reasons.iter().map(|reason| format!("  {reason}\n")).collect::<String>())
}
