//! `tomograph plan`: what would run, why, and how long that may take.

mod details;

use super::across;
use super::exit::{Exit, print};
use super::grid::{count, duration};
use super::progress::hashing;
use super::project::{Kept, Project, Selection};
use super::quarantine::decisions;
use super::reading::number_of_jobs;
use super::reveal::{self, Reveal};
use super::run::effects;
use crate::pipeline::{Pipeline, TaskId};
use crate::plan::forecast::{Forecast, Sum};
use crate::plan::{Planner, State};
use crate::stage::Kind;
use anyhow::Result;
use clap::Args;
use details::Details;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::mem::ManuallyDrop;

/// Show what would run, why, and how long it may take, without starting anything
///
/// For example, after an edit of the learning rate, `tomograph plan pipelines/demo.toml` says
///
///     train[seed=1]     will run  ~58.2 s  params.learning_rate: 0.001 → 0.0005
///     evaluate[seed=1]  later     ~1.1 s   decided after train[seed=1]
///
/// Every task is cached, will run (with its reasons), or is decided later: after a task that runs
/// first, since what follows it stays cached if it gives the same bytes as before. Times are those
/// of earlier runs: of the same task, else of the other cells of its stage, else of its kind; what
/// works item by item takes that for each item that nobody has treated before. What is cached with more
/// items in quarantine than policy allows will fail, and what follows it is skipped. Of an effect it says
/// what it acts through and what it brought last; nothing is asked outside this machine. Of a stage
/// with very many tasks in one state the first hundred are listed.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    selection: Selection,
    /// Plan as if effects were run too: stages that act on the world
    #[arg(long)]
    effects: bool,
    #[command(flatten)]
    reveal: Reveal,
    /// Say too how long it may take with so many processors
    #[arg(short = 'j', long, value_name = "N", value_parser = number_of_jobs)]
    jobs: Option<usize>,
    /// One JSON object a line: task, state (cached, run, later, waiting, fails, skipped), reasons, seconds (null where nothing is known), fails (why, where that is sure)
    #[arg(long)]
    json: bool,
}

/// At most this many cached tasks are listed one by one.
const LISTED: usize = 12;

/// At most this many tasks of a stage in one state are listed one by one.
const OF_A_STAGE: usize = 100;

pub(super) fn plan(args: &PlanArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let project = Kept::new(Project::open_to_plan(&args.selection, kinds)?);
    let only = project.find(&args.selection.only)?;
    let reveals = args.reveal.is_allowed()?;
    let mut planner = project.planner(&only, &hashing(args.json))?;
    planner.reveals = reveals;
    let planner = ManuallyDrop::new(planner);
    if args.selection.is_whole() {
        planner.refuse_to_publish()?;
    }
    across::warn(&project, &planner, args.json)?;
    let with = effects(&project, &planner, args.effects, &args.selection.only)?;
    let (plan, outcomes) = crate::run::plan(&planner, &with, args.selection.is_whole(), &decisions(&project.root)?)?;
    let details = Details::of(&project, &planner, &plan, &outcomes)?;
    let all_cached = plan.iter().all(|(_, state)| matches!(state, State::Cached));
    if reveals {
        plan.iter().try_for_each(|(id, state)| reveal::tell_reasons(&project, &planner, *id, state))?;
    }
    let forecast = planner.forecast(&plan, &details.untreated());
    if args.json {
        return print(&objects(&planner, &plan, &forecast, &details)).map(|()| Exit::Done);
    }
    let mut text = listing(&planner, &plan, &forecast, &details);
    let states = |wanted: &str| plan.iter().filter(|(_, state)| word(state) == wanted).count();
    let waiting = match states("waiting") {
        0 => String::new(),
        waiting => format!(", {waiting} waiting for an effect (--effects, or --only with its name, runs it)"),
    };
    let failing = match (states("fails"), states("skipped")) {
        (0, _) => String::new(),
        (fails, skipped) => format!(", {fails} will fail, {skipped} skipped"),
    };
    let (cached, run, later) = (states("cached"), states("run"), states("later"));
    text.push_str(&format!("{cached} cached, {run} will run, {later} decided later{waiting}{failing}\n"));
    text.push_str(&sums(&forecast));
    if let Some(jobs) = args.jobs.filter(|jobs| *jobs > 0 && !all_cached) {
        text.push_str(&walls(&planner, &plan, &forecast, jobs));
    }
    print(&text)?;
    Ok(Exit::Done)
}

fn objects(planner: &Planner, plan: &[(TaskId, State)], forecast: &Forecast, details: &Details) -> String {
    let mut text = String::new();
    for (id, state) in plan {
        let (word, reasons) = words(planner.pipeline, state);
        let seconds = if word == "cached" { Some(0.0) } else { forecast.tasks.get(id).copied().flatten() };
        let task = planner.pipeline.tasks[id.0].title();
        let mut object = serde_json::json!({"task": task, "state": word, "reasons": reasons, "seconds": seconds});
        details.add_to(*id, &mut object);
        if let State::Fails(why) = state {
            object["fails"] = why.as_str().into();
        }
        text.push_str(&object.to_string());
        text.push('\n');
    }
    text
}

/// A line for each task, with more where it has more reasons; of many, only those that are not cached, and of very many the first.
fn listing(planner: &Planner, plan: &[(TaskId, State)], forecast: &Forecast, details: &Details) -> String {
    let many = plan.iter().filter(|(_, state)| matches!(state, State::Cached)).count() > LISTED;
    let mut rows: Vec<(String, &str, String, String)> = Vec::new();
    let mut met: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (id, state) in plan.iter().filter(|(_, state)| !many || !matches!(state, State::Cached)) {
        let task = &planner.pipeline.tasks[id.0];
        let count = met.entry((&task.stage, word(state))).or_default();
        *count += 1;
        if *count > OF_A_STAGE {
            continue;
        }
        let title = task.title();
        let took = forecast.tasks.get(id).copied().flatten().map(|seconds| format!("~{}", duration(seconds))).unwrap_or_default();
        let word = will(word(state));
        let decided = if matches!(state, State::Later(_)) { "decided " } else { "" };
        let mut first = Some((title, word, took));
        let mut row = |reason: String| {
            let (title, word, took) = first.take().unwrap_or_default();
            rows.push((title, word, took, reason));
        };
        for reason in words(planner.pipeline, state).1 {
            reason.lines().enumerate().for_each(|(at, line)| row(format!("{}{line}", if at == 0 { decided } else { "" })));
        }
        details.lines(*id).into_iter().for_each(&mut row);
        if first.is_some() {
            rows.push(first.map(|(title, word, took)| (title, word, took, String::new())).unwrap_or_default());
        }
    }
    let width = |cell: fn(&(String, &str, String, String)) -> usize| rows.iter().map(cell).max().unwrap_or(0).min(60);
    let (title, took) = (width(|row| row.0.chars().count()), width(|row| row.2.chars().count()));
    let word = width(|row| row.1.len());
    let mut text = String::new();
    for (own, state, seconds, reason) in &rows {
        let start = text.len();
        let _ = write!(text, "{own:<title$}  {state:<word$}  ");
        if took > 0 {
            // Without any duration there is no column for them.
            let _ = write!(text, "{seconds:>took$}  ");
        }
        text.push_str(reason);
        text.truncate(start + text[start..].trim_end().len());
        text.push('\n');
    }
    for ((stage, word), count) in met.into_iter().filter(|(_, count)| *count > OF_A_STAGE) {
        let word = will(word);
        let _ = writeln!(text, "… and {} more of {stage}: {word} (--json lists every task)", count - OF_A_STAGE);
    }
    text
}

/// `about 2 min 10 s of work, and up to 12 min 00 s more for what is decided later; of 2 tasks nothing is known`.
fn sums(forecast: &Forecast) -> String {
    let known = |sum: &Sum| sum.tasks > sum.unknown;
    let unknown = forecast.sure.unknown + forecast.later.unknown;
    let mut parts = Vec::new();
    if known(&forecast.sure) {
        parts.push(format!("about {} of work", duration(forecast.sure.seconds)));
    }
    if known(&forecast.later) {
        let more = if parts.is_empty() { "" } else { " more" };
        parts.push(format!("up to {}{more} for what is decided later", duration(forecast.later.seconds)));
    }
    match (parts.is_empty(), unknown) {
        (true, 0) => String::new(),
        (true, _) => "how long is unknown: nothing like it ran here before\n".to_owned(),
        (false, 0) => parts.join(", and ") + "\n",
        (false, _) => format!("{}; of {} nothing is known\n", parts.join(", and "), count(unknown as u64, "task")),
    }
}

fn walls(planner: &Planner, plan: &[(TaskId, State)], forecast: &Forecast, jobs: usize) -> String {
    if forecast.tasks.values().all(Option::is_none) {
        return String::new();
    }
    let sure: BTreeSet<TaskId> = plan.iter().filter(|(_, state)| matches!(state, State::Run(_))).map(|(id, _)| *id).collect();
    let (least, most) = (planner.wall(forecast, &sure, jobs), planner.wall(forecast, &forecast.tasks.keys().copied().collect(), jobs));
    let span = if forecast.later.tasks == 0 { duration(least) } else { format!("{} to {}", duration(least), duration(most)) };
    format!("with -j {jobs} over in about {span}\n")
}

/// A state's word in `--json` and its reasons.
pub(super) fn words(pipeline: &Pipeline, state: &State) -> (&'static str, Vec<String>) {
    let title = |id: &TaskId| pipeline.tasks[id.0].title();
    let reasons = match state {
        State::Cached => Vec::new(),
        State::Run(reasons) => reasons.iter().map(ToString::to_string).collect(),
        State::Later(after) if after.len() > 3 => {
            vec![format!("after {}, {} and {} more", title(&after[0]), title(&after[1]), after.len() - 2)]
        }
        State::Later(after) => vec![format!("after {}", after.iter().map(title).collect::<Vec<String>>().join(", "))],
        State::Waiting { effects, reasons } if reasons.is_empty() => vec![format!("for {}", effects.join(", "))],
        State::Waiting { reasons, .. } => {
            std::iter::once("it acts on the world".to_owned()).chain(reasons.iter().map(ToString::to_string)).collect()
        }
        State::Fails(why) => vec![why.clone()],
        State::Skipped(need) => vec![format!("without {}", title(need))],
    };
    (word(state), reasons)
}

/// A state's word for people.
fn will(word: &str) -> &str {
    match word {
        "run" => "will run",
        "fails" => "will fail",
        word => word,
    }
}

fn word(state: &State) -> &'static str {
    match state {
        State::Cached => "cached",
        State::Run(_) => "run",
        State::Later(_) => "later",
        State::Waiting { .. } => "waiting",
        State::Fails(_) => "fails",
        State::Skipped(_) => "skipped",
    }
}
