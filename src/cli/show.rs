//! `tomograph show`: what a result holds, and where it lies.

use super::exit::{Exit, Wrong, print};
use super::grid::{bytes, count, duration};
use super::past::Past;
use super::preview::preview;
use super::project::{Project, Selection, find_one};
use super::results::{Standing, standing};
use super::reveal::Reveal;
use crate::content::{Digest, Level, Tree};
use crate::pipeline::{Output, Task};
use crate::stage::Kind;
use crate::store::{OutputRecord, Record};
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Show what results hold and where they lie
///
/// REF names a stage (all of its cells), cells of it, and perhaps one output: `train`, 'train[seed=1]', 'test.metrics[seed=1|2]'.
/// Tables show their first rows, arrays their shape, models their summary. Of people's data only counts are shown. A
/// result that the pipeline, as it stands now, would make anew is shown too, and says so.
#[derive(Args)]
pub(super) struct ShowArgs {
    /// The pipeline: a TOML file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// A stage, cells of it, or an output: train, 'train[seed=1]', train.model
    #[arg(value_name = "REF[.PORT]")]
    reference: String,
    /// As this run had it: @NAME, @last, @prev, or the beginning of its line in `tomograph history`
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    #[command(flatten)]
    reveal: Reveal,
    /// Only where the files lie in the store, one a line, with their names after a tab where there are several. Do not write there
    #[arg(long, conflicts_with = "reveal")]
    path: bool,
    /// One JSON object a line and output
    #[arg(long, conflicts_with = "path")]
    json: bool,
}

pub(super) fn show(args: &ShowArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let project = Project::open(&Selection::plain(&args.pipeline), kinds)?;
    let reveals = args.reveal.is_allowed()?;
    let past = args.run.as_ref().map(|run| Past::find(&project, run, kinds)).transpose()?;
    let pipeline = past.as_ref().map_or(&project.pipeline, Past::pipeline);
    let (tasks, port) = find_one(pipeline, &args.reference)?;
    let found = match &past {
        Some(past) => past.standing(&tasks)?,
        None => standing(&project, &tasks, args.json || args.path)?,
    };
    if args.path && found.iter().all(|standing| standing.record().is_none()) {
        return Err(Wrong(format!("{} has no result yet: run it first", args.reference)).into());
    }
    let mut text = String::new();
    for (id, standing) in tasks.iter().zip(&found) {
        let task = &pipeline.tasks[id.0];
        let Some(record) = standing.record() else {
            match args.json {
                true => text.push_str(&(json!({ "task": task.title(), "state": standing.word() }).to_string() + "\n")),
                false if args.path => {}
                false => text.push_str(&format!("{}: no result yet\n", task.title())),
            }
            continue;
        };
        if !args.json && !args.path {
            text.push_str(&heading(&project, task, standing, record)?);
        }
        for output in task.outputs.iter().filter(|output| port.as_ref().is_none_or(|port| *port == output.port)) {
            // An older record may lack a port that a command has now.
            let Some(held) = record.outputs.get(&output.port) else { continue };
            text.push_str(&match (args.path, args.json) {
                (true, _) => paths(&project, held)?,
                (_, true) => object(&project, task, output, standing, record, held)?,
                _ => {
                    if reveals && held.level.is_identified() {
                        super::audit::tell(&project, "reveal", record, &task.title(), &output.port, held, "")?;
                    }
                    summary(&project, output, held, reveals)?
                }
            });
        }
    }
    print(&text)?;
    Ok(Exit::Done)
}

/// The task, when and how it was made, and where its log is.
fn heading(project: &Project, task: &Task, standing: &Standing, record: &Record) -> Result<String> {
    let mut text = task.title();
    if matches!(standing, Standing::Old(_)) {
        text.push_str(" (of an earlier run: the pipeline or a source is another one now, `tomograph why` says how)");
    }
    let threads = count(record.threads as u64, "thread");
    let _ = write!(
        text,
        "\n  made {} in {} on {}, {}, {threads}",
        moment(&record.started),
        duration(record.seconds),
        record.host,
        record.device
    );
    if record.items > 0 {
        let _ = write!(text, "; {}, {} in quarantine", count(record.items, "item"), record.quarantined);
    }
    let _ = writeln!(text, "\n  key {}", record.key.short());
    for (source, keys) in &record.sources {
        let keys: Vec<String> = keys.iter().map(Digest::short).collect();
        let _ = writeln!(text, "  source {source}: made under key {}", keys.join(", "));
    }
    let log = project.store.log_path(&record.key);
    if log.exists() {
        let _ = writeln!(text, "  log {}", log.display());
    }
    if let Some(accepted) = &record.accepted {
        let _ = writeln!(text, "  {}", super::accept::told(accepted));
    }
    for warning in &record.warnings {
        let _ = writeln!(text, "  warning: {warning}");
    }
    for tested in super::ledger::of_record(&project.store.ledger()?, record) {
        let _ = writeln!(text, "  {}", tested.line());
    }
    Ok(text)
}

/// `2026-11-23 19:11:22 UTC` for RFC 3339.
pub(super) fn moment(started: &str) -> String {
    let whole = started.split('.').next().unwrap_or_default();
    format!("{} UTC", whole.trim_end_matches('Z').replace('T', " "))
}

fn summary(project: &Project, output: &Output, held: &OutputRecord, reveal: bool) -> Result<String> {
    let people = match held.level {
        Level::Identified => ", people's data",
        Level::Pseudonymous => ", pseudonymous",
        Level::Released => "",
    };
    let files = count(held.files, "file");
    let mut text = format!("  {}: {}, {files}, {}{people}\n", output.port, output.artifact, bytes(held.bytes));
    match project.store.tree(&held.manifest, held.level)? {
        Some(tree) => {
            let level = if reveal { Level::Released } else { tree.level };
            for line in preview(output.artifact, &Tree { level, ..tree })?.lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        None => text.push_str("    its files are no longer in the store; a run that needs them makes them anew\n"),
    }
    Ok(text)
}

/// Place, and the name where there are several files. Names in people's data stay in the store.
fn paths(project: &Project, held: &OutputRecord) -> Result<String> {
    let Some(tree) = project.store.tree(&held.manifest, held.level)? else { return Ok(String::new()) };
    let mut text = String::new();
    for (name, file) in &tree.files {
        let place = project.store.own_file(file)?;
        let _ = match tree.files.len() == 1 || tree.is_identified() {
            true => writeln!(text, "{}", place.display()),
            false => writeln!(text, "{}\t{name}", place.display()),
        };
    }
    Ok(text)
}

fn object(project: &Project, task: &Task, output: &Output, standing: &Standing, record: &Record, held: &OutputRecord) -> Result<String> {
    let tree = project.store.tree(&held.manifest, held.level)?;
    let files: Option<Vec<serde_json::Value>> = tree.map(|tree| {
        let files = tree.files.iter().map(|(name, file)| {
            let name = if tree.is_identified() { None } else { Some(name) };
            json!({ "name": name, "digest": file.digest, "bytes": file.size, "place": file.place })
        });
        files.collect()
    });
    let object = json!({
        "task": task.title(),
        "state": standing.word(),
        "port": output.port,
        "artifact": output.artifact.name(),
        "key": record.key,
        "manifest": held.manifest,
        "level": held.level,
        "bytes": held.bytes,
        "started": record.started,
        "seconds": record.seconds,
        "host": record.host,
        "device": record.device,
        "threads": record.threads,
        "items": record.items,
        "quarantined": record.quarantined,
        "sources": record.sources,
        "warnings": record.warnings,
        "accepted": record.accepted,
        "tested": super::ledger::of_record(&project.store.ledger()?, record),
        "files": files,
    });
    Ok(object.to_string() + "\n")
}
