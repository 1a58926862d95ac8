//! `tomograph plan`: what would run, and why.

use super::across;
use super::exit::{Exit, print};
use super::progress::hashing;
use super::project::{Project, Selection};
use crate::plan::State;
use crate::stage::Kind;
use anyhow::Result;
use clap::Args;

/// Show what would run, and why, without starting anything
///
/// Every task is cached, runs (with its reasons), or is decided later: after a task that runs first, since what follows it stays
/// cached if it gives the same bytes as before.
#[derive(Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    selection: Selection,
    /// One JSON object a line: task, state, reasons
    #[arg(long)]
    json: bool,
}

/// At most this many cached tasks of a stage are listed one by one.
const LISTED: usize = 12;

pub(super) fn plan(args: &PlanArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let project = Project::open(&args.selection, kinds)?;
    let only = project.find(&args.selection.only)?;
    let planner = project.planner(&only, &hashing(args.json))?;
    across::warn(&project, &planner, args.json)?;
    let plan = planner.plan()?;
    let title = |id: &crate::pipeline::TaskId| project.pipeline.tasks[id.0].title();
    if args.json {
        let mut text = String::new();
        for (id, state) in &plan {
            let (word, reasons) = words(state);
            text.push_str(&serde_json::json!({"task": title(id), "state": word, "reasons": reasons}).to_string());
            text.push('\n');
        }
        print(&text)?;
        return Ok(Exit::Done);
    }
    let width = plan.iter().map(|(id, _)| title(id).chars().count()).max().unwrap_or(0).min(60);
    let many = plan.iter().filter(|(_, state)| matches!(state, State::Cached)).count() > LISTED;
    let mut text = String::new();
    for (id, state) in &plan {
        if many && matches!(state, State::Cached) {
            continue;
        }
        let (word, reasons) = words(state);
        let indent = format!("\n{:width$}          ", "");
        let line = format!("{:<width$}  {word:<6}  {}", title(id), reasons.join("\n").replace('\n', &indent));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let count = |wanted: &str| plan.iter().filter(|(_, state)| words(state).0 == wanted).count();
    text.push_str(&format!("{} cached, {} to run, {} decided later\n", count("cached"), count("run"), count("later")));
    print(&text)?;
    Ok(Exit::Done)
}

/// A state's word in `--json` and its reasons.
pub(super) fn words(state: &State) -> (&'static str, Vec<String>) {
    match state {
        State::Cached => ("cached", Vec::new()),
        State::Run(reasons) => ("run", reasons.iter().map(ToString::to_string).collect()),
        State::Later(after) if after.len() > 3 => ("later", vec![format!("after {} and {} more", after[..2].join(", "), after.len() - 2)]),
        State::Later(after) => ("later", vec![format!("after {}", after.join(", "))]),
    }
}
