//! `tomograph check`: every problem of a pipeline at once, and with `--print` what it comes to.

use super::diagnostics;
use super::exit::{Exit, print};
use super::reading::{Reading, load_pipeline};
use crate::pipeline::{Action, Edge, Origin, Overlay, Pipeline, Severity, Taken, show_pieces};
use crate::stage::{Kind, show_coordinates};
use anyhow::Result;
use clap::Args;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Check a pipeline without reading any data
///
/// Names, types, axes and params of the whole file are checked, and every problem is shown with its place and a suggestion. Ends
/// with 0 when the pipeline can be run, with 2 when it cannot.
#[derive(Args)]
pub(super) struct CheckArgs {
    /// The pipeline: a TOML file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// One JSON object a line: severity, message, file, line, column, label, help
    #[arg(long)]
    json: bool,
    /// Print what the file comes to, its base under it: every source and task with its params, inputs and outputs
    #[arg(long, conflicts_with = "json")]
    print: bool,
}

pub(super) fn check(args: &CheckArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let file = args.pipeline.display().to_string();
    let Reading { loaded, .. } = load_pipeline(&args.pipeline, kinds, &Overlay::default())?;
    if args.json {
        let lines: String = loaded.problems.iter().map(|problem| diagnostics::json(&file, &loaded.texts, problem) + "\n").collect();
        print(&lines)?;
    } else {
        diagnostics::show(&file, &loaded.texts, &loaded.problems);
    }
    if loaded.problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Ok(Exit::Wrong);
    }
    let Some(pipeline) = loaded.pipeline else { return Ok(Exit::Wrong) };
    if args.print {
        print(&listing(&pipeline, loaded.texts.base()))?;
    } else if !args.json {
        let stages: BTreeSet<&str> = pipeline.tasks.iter().map(|task| task.stage.as_str()).collect();
        print(&format!("{file}: {} stages, {} tasks\n", stages.len(), pipeline.tasks.len()))?;
    }
    Ok(Exit::Done)
}

/// Every source and task, as planning and running see them.
fn listing(pipeline: &Pipeline, base: Option<&str>) -> String {
    let mut text = format!("pipeline {}\n", pipeline.name);
    if let Some(base) = base {
        let _ = writeln!(text, "  laid over {base}");
    }
    for (name, value) in &pipeline.about {
        let _ = writeln!(text, "  {name}: {value}");
    }
    for source in &pipeline.sources {
        let phi = if source.phi && source.taken.is_none() { ", people's data" } else { "" };
        let optional = if source.optional { ", optional" } else { "" };
        let place = source.taken.as_deref().map_or_else(|| source.path.clone(), Taken::title);
        let _ = writeln!(text, "\nsource {}\n  {}: {place}{phi}{optional}", source.title(), source.artifact);
    }
    for task in &pipeline.tasks {
        let (does, params) = match &task.action {
            Action::Kind { kind, params } => (kind.name.to_owned(), params.params()),
            Action::Command(command) => {
                let arguments: Vec<String> = command.argv.iter().map(|argument| show_pieces(argument)).collect();
                (format!("command {}", arguments.join(" ")), command.params.clone())
            }
        };
        let _ = writeln!(text, "\ntask {}\n  {does}", task.title());
        for (name, value) in params.as_object().into_iter().flatten() {
            let _ = writeln!(text, "  {name} = {value}");
        }
        for (port, edges) in &task.inputs {
            for edge in edges {
                let _ = writeln!(text, "  {port} <- {}", origin(pipeline, edge));
            }
        }
        for output in task.outputs.iter() {
            let place = task.publish.get(&output.port).map(|path| format!(", published as {path}")).unwrap_or_default();
            let _ = writeln!(text, "  -> {}: {}{place}", output.port, output.artifact);
        }
    }
    text
}

fn origin(pipeline: &Pipeline, edge: &Edge) -> String {
    let mut shown = match &edge.origin {
        Origin::Source { source, inside: None } => pipeline.sources[source.0].title(),
        Origin::Source { source, inside: Some(inside) } => format!("{}/{inside}", pipeline.sources[source.0].title()),
        Origin::Task { task, port } => format!("{}.{port}", pipeline.tasks[task.0].title()),
    };
    if !edge.coordinates.is_empty() {
        let _ = write!(shown, " as {}", show_coordinates(&edge.coordinates));
    }
    if edge.chosen {
        shown.push_str(", one part at a time");
    }
    shown
}
