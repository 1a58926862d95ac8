//! `tomograph graph`: a pipeline as a picture, with what is cached and what would run.

mod layout;
mod picture;
mod svg;
mod text;

use super::exit::{Exit, Wrong, print};
use super::progress::hashing;
use super::project::{Project, Selection};
use crate::content::Level;
use crate::pipeline::{Origin, SourceId, TaskId};
use crate::plan::Unready;
use crate::stage::Kind;
use anyhow::Result;
use clap::{Args, ValueEnum};
use picture::Picture;
use std::collections::BTreeSet;

/// Draw a pipeline: a node per stage, with how many of its tasks are cached
///
/// For example, `tomograph graph pipelines/demo.toml` prints a line per stage,
///
///     4  split  1/2   1 cached, 1 will run  cohort.split  cohort ← cohort.cohort
///
/// and `tomograph graph pipelines/demo.toml --format svg > demo.svg` draws it for a browser: point
/// at a box to read why its tasks would run. Nothing is started.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct GraphArgs {
    #[command(flatten)]
    selection: Selection,
    /// How to draw it
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Show every cell: a line, a square or a node each
    #[arg(long)]
    cells: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Layers of stages, for a terminal
    Text,
    /// A picture that needs nothing else, light or dark as the reader's screen is
    Svg,
    /// For Graphviz
    Dot,
}

/// More boxes than this make no picture that anybody can read.
const DRAWN: usize = 500;

pub(super) fn graph(args: &GraphArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let project = Project::open(&args.selection, kinds)?;
    let only = project.find(&args.selection.only)?;
    let decisions = super::quarantine::decisions(&project.root)?;
    let sources = project.pipeline.sources.len();
    let planned = project.planner(&only, &hashing(false)).and_then(|planner| {
        let levels: Vec<Option<Level>> = (0..sources).map(|number| planner.found_level(SourceId(number))).collect();
        Ok((crate::run::plan(&planner, &BTreeSet::new(), args.selection.is_whole(), &decisions)?.0, levels))
    });
    let (plan, levels) = match planned {
        Ok((plan, levels)) => (Ok(plan), levels),
        // A pipeline can be drawn before its sources are there.
        Err(error) if error.is::<Unready>() => (Err(error.to_string()), vec![None; sources]),
        Err(error) => return Err(error),
    };
    let wanted = wanted(&project, &only);
    let picture = Picture::new(&project.pipeline, &wanted, &levels, plan.as_deref().map_err(Clone::clone));
    let drawn = match args.format {
        Format::Text => text::text(&picture, args.cells),
        Format::Dot => text::dot(&picture, &project.pipeline, &wanted, args.cells),
        Format::Svg if picture.nodes.len() > DRAWN => {
            let boxes = picture.nodes.len();
            return Err(Wrong(format!("{boxes} boxes make no readable picture: name a part with --only, or use --format text")).into());
        }
        Format::Svg => svg::svg(&picture, args.cells),
    };
    print(&drawn)?;
    Ok(Exit::Done)
}

/// `only` with everything it needs; all tasks where it is empty.
fn wanted(project: &Project, only: &[TaskId]) -> BTreeSet<TaskId> {
    if only.is_empty() {
        return (0..project.pipeline.tasks.len()).map(TaskId).collect();
    }
    let mut wanted = BTreeSet::new();
    let mut open = only.to_vec();
    while let Some(id) = open.pop() {
        if wanted.insert(id) {
            let edges = project.pipeline.tasks[id.0].inputs.values().flatten();
            open.extend(edges.filter_map(|edge| match edge.origin {
                Origin::Task { task, .. } => Some(task),
                Origin::Source { .. } => None,
            }));
        }
    }
    wanted
}
