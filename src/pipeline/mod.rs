//! TOML texts → a checked pipeline: every task and every source cell, typed and joined.
//!
//! Reads no file and knows no store: `cli` hands it the texts and the registry of kinds. A text goes through
//! `document` (syntax), `wiring` (references, ports, order), `expand` (cells) and `tasks` (params and parts);
//! each collects every problem it finds, and a later step is quiet about what follows from an earlier mistake.

mod axes;
mod cells;
mod diagnostic;
mod document;
mod expand;
mod find;
mod model;
mod overlay;
mod params;
mod publish;
mod reference;
mod schema;
mod tables;
mod tasks;
mod template;
mod values;
mod wiring;

#[cfg(test)]
mod tests;

pub use diagnostic::{Diagnostic, Severity};
pub use model::{
    Action, Cause, Command, Edge, Origin, Output, Piece, Pipeline, Policy, Quarantine, Source, SourceId, Task, TaskId, show_pieces,
};
pub use schema::schema_text;
pub use tables::Memory;

use crate::stage::Kind;
use diagnostic::Problems;
use document::Document;
use wiring::Wiring;

/// What the command line lays over a file.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// Dotted path, and a TOML value or else a bare string.
    pub set: Vec<(String, String)>,
    /// Axis, and the values it shall have; those that are not in the file are added.
    pub axis: Vec<(String, Vec<String>)>,
}

/// A text that was read.
pub struct Loaded {
    /// There, unless the problems hold an error.
    pub pipeline: Option<Pipeline>,
    /// Errors and warnings by place in the text.
    pub problems: Vec<Diagnostic>,
}

/// Reads and checks a pipeline: the pipeline, or all of its problems at once. Warnings come in both cases.
pub fn load(text: &str, kinds: &'static [Kind], overlay: &Overlay) -> Loaded {
    let mut problems = Problems::default();
    let pipeline = build(text, kinds, overlay, &mut problems);
    let failed = problems.errors() > 0;
    let problems = problems.sorted().into_iter().map(|problem| overlay::relocate(text, overlay, problem)).collect();
    Loaded { pipeline: pipeline.filter(|_| !failed), problems }
}

fn build(text: &str, kinds: &'static [Kind], overlay: &Overlay, problems: &mut Problems) -> Option<Pipeline> {
    let document = document::read(text, overlay, problems)?;
    let wiring = wiring::wire(text, &document, kinds, problems);
    let cells = expand::expand(&document, &wiring, !overlay.axis.is_empty(), problems);
    let mut builder = tasks::Builder::new(text, &document, &wiring, &cells);
    let sources = builder.sources(problems);
    let tasks = builder.tasks(problems);
    if problems.errors() > 0 {
        // What is unused is not said here: a wrong name leaves the right one unused.
        return None;
    }
    unused(&document, &wiring, &builder, problems);
    let pipeline = Pipeline { name: document.name.clone(), about: document.about.clone(), sources, tasks };
    publish::collisions(&document, &pipeline, problems);
    Some(pipeline)
}

/// Warns of axes, params and sources that nothing names.
fn unused(document: &Document<'_>, wiring: &Wiring, builder: &tasks::Builder<'_, '_>, problems: &mut Problems) {
    let mut warn = |span, what: &str, name: &str| problems.push(Diagnostic::warning(span, format!("nothing uses {what} `{name}`")));
    for (number, axis) in document.axes.iter().enumerate() {
        let swept = wiring.sources.iter().any(|axes| axes.contains(&number));
        let used = swept || wiring.stages.iter().any(|stage| stage.axes.contains(&number) || stage.over.contains(&number));
        if !used && !builder.seen_axes.contains(&number) {
            warn(axis.span.clone(), "axis", &axis.name);
        }
    }
    for key in document.params.keys().filter(|key| !builder.seen_params.contains(key.get_ref().as_ref())) {
        warn(key.span(), "param", key.get_ref());
    }
    for (_, source) in document.sources.iter().enumerate().filter(|(number, _)| !wiring.used.contains(number)) {
        warn(source.span.clone(), "source", &source.name);
    }
}
