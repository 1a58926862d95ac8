//! `tomograph plan`: what would run, why, and how long that may take.

mod details;

use super::across;
use super::exit::{Exit, print};
use super::grid::{count, duration};
use super::progress::hashing;
use super::project::{Kept, Project, Selection};
use super::reveal::{self, Reveal};
use super::run::effects;
use crate::pipeline::TaskId;
use crate::plan::forecast::{Forecast, Sum};
use crate::plan::{Planner, State};
use crate::stage::Kind;
use anyhow::Result;
use clap::Args;
use details::Details;
use std::collections::BTreeSet;
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
/// works item by item takes that for each item that nobody has treated before. Of an effect it says
/// what it acts through and what it brought last; nothing is asked outside this machine.
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
    #[arg(short = 'j', long, value_name = "N")]
    jobs: Option<usize>,
    /// One JSON object a line: task, state (cached, run, later, waiting), reasons, seconds (null where nothing is known)
    #[arg(long)]
    json: bool,
}

/// At most this many cached tasks of a stage are listed one by one.
const LISTED: usize = 12;

pub(super) fn plan(args: &PlanArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let project = Kept::new(Project::open(&args.selection, kinds)?);
    let only = project.find(&args.selection.only)?;
    let reveals = args.reveal.is_allowed()?;
    let mut planner = project.planner(&only, &hashing(args.json))?;
    planner.reveals = reveals;
    let planner = ManuallyDrop::new(planner);
    if args.selection.is_whole() {
        planner.refuse_to_publish()?;
    }
    across::warn(&project, &planner, args.json)?;
    let (plan, outcomes) = planner.plan_with_outcomes(&effects(&project, &planner, args.effects, &args.selection.only)?)?;
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
    let states = |wanted: &str| plan.iter().filter(|(_, state)| words(state).0 == wanted).count();
    let waiting = match states("waiting") {
        0 => String::new(),
        waiting => format!(", {waiting} waiting for an effect (--effects, or --only with its name, runs it)"),
    };
    text.push_str(&format!("{} cached, {} will run, {} decided later{waiting}\n", states("cached"), states("run"), states("later")));
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
        let (word, reasons) = words(state);
        let seconds = if word == "cached" { Some(0.0) } else { forecast.tasks.get(id).copied().flatten() };
        let task = planner.pipeline.tasks[id.0].title();
        let mut object = serde_json::json!({"task": task, "state": word, "reasons": reasons, "seconds": seconds});
        details.add_to(*id, &mut object);
        text.push_str(&object.to_string());
        text.push('\n');
    }
    text
}

/// A line for each task, with more where it has more reasons; of many, only those that are not cached.
fn listing(planner: &Planner, plan: &[(TaskId, State)], forecast: &Forecast, details: &Details) -> String {
    let many = plan.iter().filter(|(_, state)| matches!(state, State::Cached)).count() > LISTED;
    let mut rows: Vec<[String; 4]> = Vec::new();
    for (id, state) in plan.iter().filter(|(_, state)| !many || !matches!(state, State::Cached)) {
        let title = planner.pipeline.tasks[id.0].title();
        let took = forecast.tasks.get(id).copied().flatten().map(|seconds| format!("~{}", duration(seconds))).unwrap_or_default();
        let (word, reasons) = match (state, words(state).1) {
            (State::Cached, reasons) => ("cached", reasons),
            (State::Run(_), reasons) => ("will run", reasons),
            (State::Waiting(_), reasons) => ("waiting", reasons),
            (State::Later(_), reasons) => ("later", reasons.iter().map(|reason| format!("decided {reason}")).collect()),
        };
        let lines = reasons.iter().flat_map(|reason| reason.lines()).map(str::to_owned).chain(details.lines(*id));
        let mut first = Some([title, word.to_owned(), took]);
        let mut row = |reason: String| {
            let [title, word, took] = first.take().unwrap_or_default();
            rows.push([title, word, took, reason]);
        };
        let before = lines.map(&mut row).count();
        if before == 0 {
            row(String::new());
        }
    }
    let width = |column: usize, most: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).min(most);
    let (title, word, took) = (width(0, 60), width(1, 60), width(2, 60));
    let mut text = String::new();
    for row in &rows {
        // Without any duration there is no column for them.
        let known = if took == 0 { String::new() } else { format!("{:>took$}  ", row[2]) };
        text.push_str(format!("{:<title$}  {:<word$}  {known}{}", row[0], row[1], row[3]).trim_end());
        text.push('\n');
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
pub(super) fn words(state: &State) -> (&'static str, Vec<String>) {
    match state {
        State::Cached => ("cached", Vec::new()),
        State::Run(reasons) => ("run", reasons.iter().map(ToString::to_string).collect()),
        State::Later(after) if after.len() > 3 => ("later", vec![format!("after {} and {} more", after[..2].join(", "), after.len() - 2)]),
        State::Later(after) => ("later", vec![format!("after {}", after.join(", "))]),
        State::Waiting(effects) => ("waiting", vec![format!("for {}", effects.join(", "))]),
    }
}
