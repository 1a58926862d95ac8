//! `tomograph run`: runs what must run.

use super::across;
use super::exit::{Exit, Wrong, print, remark};
use super::progress::{Screen, hashing};
use super::project::{Kept, Project, Selection, worker};
use super::reading::number_of_jobs;
use super::reveal::{self, Reveal};
use crate::pipeline::TaskId;
use crate::plan::Planner;
use crate::run::{Options, Summary};
use crate::stage::Kind;
use crate::store::{NamedRun, check_name, now};
use anyhow::{Context as _, Result};
use clap::Args;
use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Run what must run, and publish what the stages say
///
/// Only tasks whose key is not in the store run. A run can be stopped at any moment (ctrl-C, kill, power) and run again: what had
/// ended is kept, and a training goes on from its last state.
///
/// `tomograph run study.toml --name submission-1 --note 'as sent'` names the run and keeps what it reached; `--again 'train[seed=1]'`
/// repeats a training and says whether it gave the same bytes. Exit codes: 0 done, 1 a task or a publication failed, 2 the pipeline or the
/// command line is wrong, 3 done but items are in quarantine that nobody has accepted, 4 the store is damaged, 130 interrupted.
#[derive(Args, Default)]
pub(super) struct RunArgs {
    #[command(flatten)]
    selection: Selection,
    /// Threads of the pool, and processors for CPU kinds and commands [default: all]
    #[arg(short = 'j', long, value_name = "N", value_parser = number_of_jobs)]
    jobs: Option<usize>,
    /// Run this although its result is known, and say whether the bytes are the same: a stage, or cells of it
    #[arg(long, value_name = "REF")]
    again: Vec<String>,
    /// Stop at the first failure; else independent branches go on
    #[arg(long)]
    fail_fast: bool,
    /// Publish although only a part of the pipeline is run, or values are laid over it
    #[arg(long)]
    publish: bool,
    /// Overwrite published files that somebody else has changed
    #[arg(long)]
    overwrite: bool,
    /// Run effects too: stages that act on the world, such as by sending. Else only those that --only names run, and what follows waits
    #[arg(long)]
    effects: bool,
    /// Run this effect although its result is known: what it brings now holds from now on
    #[arg(long, value_name = "REF")]
    refresh: Vec<String>,
    /// Use no GPU
    #[arg(long)]
    cpu: bool,
    /// Name this run once it is done, and keep all that it reached; say @NAME wherever a run is asked for
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Words to find this run by in `tomograph history`
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    reveal: Reveal,
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
    let project = Kept::new(Project::open_to_plan(&args.selection, kinds)?);
    crate::run::size_pool(jobs(args, &project))?;
    let only = project.find(&args.selection.only)?;
    let reveals = args.reveal.is_allowed()?;
    if let Some(name) = &args.name {
        refuse_taken(&project, name)?;
    }
    let _stay = stay(&project)?;
    let planner = ManuallyDrop::new(project.planner(&only, &hashing(args.json))?);
    if args.publish || args.selection.is_whole() {
        planner.refuse_to_publish()?;
    }
    across::warn(&project, &planner, args.json)?;
    let mut summary = carry_out(&project, &planner, args)?;
    if reveals {
        reveal::failures(&project, &planner, &mut summary)?;
    }
    if !args.json {
        print(&closing(&summary))?;
    }
    let exit = exit_of(&summary);
    if let Some(name) = &args.name {
        match exit {
            Exit::Done | Exit::Quarantined => give_name(&project, &summary.run, name, args.note.as_deref())?,
            _ if args.json => {}
            _ => print(&format!("the run is not named {name}, since it was not done: run again\n"))?,
        }
    }
    Ok(exit)
}

/// From the first look at the store on, nothing there moves. Waits while packs are written anew.
fn stay(project: &Project) -> Result<Option<std::fs::File>> {
    if !project.store.is_writable() {
        return Ok(None);
    }
    if let Some(stay) = project.store.try_stay()? {
        return Ok(Some(stay));
    }
    remark("waiting: the store is being cleaned or mended");
    project.store.stay().map(Some)
}

/// Processors to use: `-j`, else what tomograph.local.toml or the machine says.
fn jobs(args: &RunArgs, project: &Project) -> usize {
    args.jobs.filter(|jobs| *jobs > 0).unwrap_or(project.jobs)
}

/// Runs what a planner has planned, showing how far it is.
pub(super) fn carry_out(project: &Project, planner: &Planner, args: &RunArgs) -> Result<Summary> {
    let again: BTreeSet<TaskId> = project.find(&args.again)?.into_iter().collect();
    if let Some(other) = again.iter().find(|id| !planner.wanted.contains(id)) {
        let title = project.pipeline.tasks[other.0].title();
        return Err(Wrong(format!("--again names {title}, which is not part of what --only names")).into());
    }
    let refreshed = project.find(&args.refresh)?;
    for id in &refreshed {
        let task = &project.pipeline.tasks[id.0];
        let title = task.title();
        if !task.effect {
            return Err(Wrong(format!("--refresh names {title}, which is no effect: `--again` repeats it")).into());
        }
        if !planner.wanted.contains(id) {
            return Err(Wrong(format!("--refresh names {title}, which is not part of what --only names")).into());
        }
    }
    let mut effects = effects(project, planner, args.effects, &args.selection.only)?;
    effects.extend(again.iter().chain(&refreshed).copied());
    let mut about = serde_json::json!({
        "name": project.pipeline.name, "only": args.selection.only, "set": args.selection.set, "axis": args.selection.axis,
        "note": args.note, "host": rustix::system::uname().nodename().to_string_lossy(),
    });
    project.store.keep_texts(&project.texts, &mut about)?;
    let options = Options {
        jobs: jobs(args, project),
        memory: project.memory,
        gpus: project.gpus.clone(),
        cpu_slots: project.cpu_slots,
        // One folder for every user of the machine.
        locks: Some(std::env::temp_dir().join("tomograph-locks")),
        user: super::quarantine::user(),
        again: again.into_iter().chain(refreshed).collect(),
        effects,
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
        about,
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    listen_for_interrupts(interrupted.clone())?;
    let mut screen = Screen::new(args.json, planner.wanted.len() as u64);
    let summary = crate::run::run(planner, &options, &interrupted, &mut |event| screen.show(event))?;
    screen.finish(&summary);
    Ok(summary)
}

/// The effects that may run: all, or those that `--only` names.
pub(super) fn effects(project: &Project, planner: &Planner, all: bool, only: &[String]) -> Result<BTreeSet<TaskId>> {
    match all {
        true => Ok(planner.wanted.iter().copied().filter(|id| project.pipeline.tasks[id.0].effect).collect()),
        false => Ok(project.find(only)?.into_iter().collect()),
    }
}

/// A name is never taken from another run in silence.
fn refuse_taken(project: &Project, name: &str) -> Result<()> {
    check_name(name).map_err(|error| Wrong(error.to_string()))?;
    match project.store.named_runs(&project.pipeline_id)?.into_iter().find(|named| named.name == name) {
        Some(named) => Err(taken(&named.name, &named.run)),
        None => Ok(()),
    }
}

fn taken(name: &str, run: &str) -> anyhow::Error {
    Wrong(format!("the run {run} is named {name}: choose another name, or take it away with `tomograph history PIPELINE --forget {name}`"))
        .into()
}

fn give_name(project: &Project, run: &str, name: &str, note: Option<&str>) -> Result<()> {
    let past = project.store.run(&project.pipeline_id, run)?;
    let named = NamedRun {
        version: NamedRun::VERSION,
        name: name.to_owned(),
        pipeline: project.pipeline_id.clone(),
        run: run.to_owned(),
        note: note.unwrap_or_default().to_owned(),
        named: now(),
        keys: past.tasks.into_iter().filter_map(|task| task.key).chain(past.reached).collect(),
    };
    if project.store.name_run(&named)? { Ok(()) } else { Err(taken(name, "that ended just now")) }
}

/// Two signals that are closer are one: `timeout` and other wrappers signal their child and then its whole process group.
const ONE_INTERRUPT: Duration = Duration::from_millis(100);

/// Ends the program at the second interrupt; the first lets the run put things away.
fn listen_for_interrupts(interrupted: Arc<AtomicBool>) -> Result<()> {
    let mut first = None;
    #[expect(clippy::exit, reason = "the user asks a second time: nothing needs putting away by hand")]
    let handler = move || {
        interrupted.store(true, Ordering::Relaxed);
        if is_second(&mut first, Instant::now()) {
            std::process::exit(Exit::Interrupted as i32);
        }
    };
    ctrlc::set_handler(handler).context("cannot listen for interrupts")
}

/// Whether a signal is an interrupt after the `first`.
fn is_second(first: &mut Option<Instant>, now: Instant) -> bool {
    now.duration_since(*first.get_or_insert(now)) > ONE_INTERRUPT
}

fn environment() -> std::collections::BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

pub(super) fn exit_of(summary: &Summary) -> Exit {
    if summary.interrupted {
        Exit::Interrupted
    } else if summary.damaged {
        Exit::Damaged
    } else if summary.failed + summary.unpublished > 0 || summary.trouble.is_some() {
        Exit::Failed
    } else if summary.quarantined > 0 {
        Exit::Quarantined
    } else {
        Exit::Done
    }
}

pub(super) fn closing(summary: &Summary) -> String {
    let mut text = summary.trouble.iter().map(|trouble| format!("error: {trouble}\n")).collect::<String>();
    for (task, message, log) in &summary.failures {
        text.push_str(&format!("failed: {task}: {message}\n"));
        if let Some(log) = log {
            text.push_str(&format!("        log: {}\n", log.display()));
        }
    }
    text.push_str(&format!("{} cached, {} ran, {} failed, {} skipped", summary.cached, summary.ran, summary.failed, summary.skipped));
    if summary.waiting > 0 {
        text.push_str(&format!(", {} waiting", summary.waiting));
    }
    if summary.unpublished > 0 {
        text.push_str(&format!(", {} not published", summary.unpublished));
    }
    if summary.quarantined > 0 {
        text.push_str(&format!(", {} items in quarantine", summary.quarantined));
    }
    if summary.accepted > 0 {
        text.push_str(&format!(", {} accepted in quarantine", summary.accepted));
    }
    text.push_str(&format!(" in {:.2} s\n", summary.seconds));
    text.push_str(&super::ledger::of_run(&summary.tested));
    if let Some(first) = summary.effects.first() {
        let more = if summary.effects.len() > 1 { format!(" and {} more", summary.effects.len() - 1) } else { String::new() };
        text.push_str(&format!("{first}{more} would act on the world: run with --effects, or name what may with --only\n"));
    }
    if summary.interrupted {
        text.push_str("interrupted: run again to go on from here\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_in_quick_succession_are_one_interrupt() {
        let (mut first, begun) = (None, Instant::now());
        let heard = [0, 1, 100, 101, 5000].map(|after| is_second(&mut first, begun + Duration::from_millis(after)));
        assert_eq!(heard, [false, false, false, true, true]);
    }
}
