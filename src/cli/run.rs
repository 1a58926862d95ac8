//! `tomograph run`: runs what must run.

use super::across;
use super::exit::{Exit, print};
use super::progress::{Screen, hashing};
use super::project::{Project, Selection, worker};
use crate::plan::Planner;
use crate::run::{Options, Summary};
use crate::stage::Kind;
use anyhow::{Context as _, Result};
use clap::Args;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Run what must run, and publish what the stages say
///
/// Only tasks whose key is not in the store run. A run can be stopped at any moment (ctrl-C, kill, power) and run again: what had
/// ended is kept, and a training goes on from its last state. Exit codes: 0 done, 1 a task failed, 2 the pipeline or the
/// command line is wrong, 3 done but items are in quarantine that nobody has accepted, 4 the store is damaged, 130 interrupted.
#[derive(Args, Default)]
pub(super) struct RunArgs {
    #[command(flatten)]
    selection: Selection,
    /// Threads of the pool, and processors for CPU kinds and commands [default: all]
    #[arg(short = 'j', long, value_name = "N")]
    jobs: Option<usize>,
    /// Stop at the first failure; else independent branches go on
    #[arg(long)]
    fail_fast: bool,
    /// Publish although only a part of the pipeline is run, or values are laid over it
    #[arg(long)]
    publish: bool,
    /// Overwrite published files that somebody else has changed
    #[arg(long)]
    overwrite: bool,
    /// Run effects (stages that act on the world) too; no kind has any yet
    #[arg(long)]
    effects: bool,
    /// Use no GPU
    #[arg(long)]
    cpu: bool,
    /// One JSON object a line: task, progress, summary
    #[arg(long)]
    json: bool,
}

impl RunArgs {
    /// A pipeline as it is, with nothing else asked for.
    pub(super) fn plain(pipeline: &Path, cpu: bool) -> Self {
        Self { selection: Selection::plain(pipeline), cpu, ..Self::default() }
    }
}

pub(super) fn run(args: &RunArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let project = Project::open(&args.selection, kinds)?;
    let only = project.find(&args.selection.only)?;
    let planner = project.planner(&only, &hashing(args.json))?;
    across::warn(&project, &planner, args.json)?;
    let summary = carry_out(&project, &planner, args)?;
    if !args.json {
        print(&closing(&summary))?;
    }
    Ok(exit_of(&summary))
}

/// Runs what a planner has planned, showing how far it is.
pub(super) fn carry_out(project: &Project, planner: &Planner, args: &RunArgs) -> Result<Summary> {
    let options = Options {
        jobs: args.jobs.filter(|jobs| *jobs > 0).unwrap_or(project.jobs),
        memory: project.memory,
        gpus: project.gpus.clone(),
        cpu_slots: project.cpu_slots,
        fail_fast: args.fail_fast,
        cpu: args.cpu,
        publish: args.publish || args.selection.is_whole(),
        overwrite: args.overwrite,
        program: std::env::current_exe().context("cannot tell where this program is")?,
        worker: worker(),
        state_every: project.state_every,
        decisions: super::quarantine::decisions(&project.root)?,
        environment: environment(),
        pipeline_id: project.pipeline_id.clone(),
        about: serde_json::json!({
            "name": project.pipeline.name, "only": args.selection.only, "set": args.selection.set, "axis": args.selection.axis,
        }),
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    listen_for_interrupts(interrupted.clone())?;
    let mut screen = Screen::new(args.json, planner.wanted.len() as u64);
    let summary = crate::run::run(planner, &options, &interrupted, &mut |event| screen.show(event))?;
    screen.finish(&summary);
    Ok(summary)
}

/// Ends the program at the second interrupt; the first lets the run put things away.
fn listen_for_interrupts(interrupted: Arc<AtomicBool>) -> Result<()> {
    #[expect(clippy::exit, reason = "the user asks a second time: nothing needs putting away by hand")]
    let handler = move || {
        if interrupted.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
    };
    ctrlc::set_handler(handler).context("cannot listen for interrupts")
}

fn environment() -> std::collections::BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

pub(super) fn exit_of(summary: &Summary) -> Exit {
    if summary.interrupted {
        Exit::Interrupted
    } else if summary.damaged {
        Exit::Damaged
    } else if summary.failed > 0 {
        Exit::Failed
    } else if summary.quarantined > 0 {
        Exit::Quarantined
    } else {
        Exit::Done
    }
}

pub(super) fn closing(summary: &Summary) -> String {
    let mut text = String::new();
    for (task, message, log) in &summary.failures {
        text.push_str(&format!("failed: {task}: {message}\n"));
        if let Some(log) = log {
            text.push_str(&format!("        log: {}\n", log.display()));
        }
    }
    text.push_str(&format!("{} cached, {} ran, {} failed, {} skipped", summary.cached, summary.ran, summary.failed, summary.skipped));
    if summary.quarantined > 0 {
        text.push_str(&format!(", {} items in quarantine", summary.quarantined));
    }
    if summary.accepted > 0 {
        text.push_str(&format!(", {} accepted in quarantine", summary.accepted));
    }
    text.push_str(&format!(" in {:.2} s\n", summary.seconds));
    if summary.interrupted {
        text.push_str("interrupted: run again to go on from here\n");
    }
    text
}
