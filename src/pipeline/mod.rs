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
mod taken;
mod tasks;
mod template;
mod texts;
mod values;
mod wiring;

#[cfg(test)]
mod tests;

pub(crate) use diagnostic::nearest;
pub use diagnostic::{Diagnostic, Severity};
pub use model::{
    Action, Cause, Code, Command, Edge, Origin, Output, Piece, Pipeline, Policy, Published, Quarantine, Source, SourceId, Taken, Task,
    TaskId, show_pieces,
};
pub use schema::schema_text;
pub use tables::Memory;
pub use texts::{Files, Texts};

use crate::stage::Kind;
use diagnostic::Problems;
use document::Document;
use values::Node;
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
    /// Errors and warnings by place in the texts.
    pub problems: Vec<Diagnostic>,
    /// What the places are in.
    pub texts: Texts,
}

/// Reads and checks a pipeline: the pipeline, or all of its problems at once. Warnings come in both cases.
pub fn load(text: &str, files: &Files<'_>, kinds: &'static [Kind], overlay: &Overlay) -> Loaded {
    load_in(text, files, &[], kinds, overlay)
}

/// Reads a pipeline while those at the paths `above` are being read, each for the sake of the next.
fn load_in(text: &str, files: &Files<'_>, above: &[&str], kinds: &'static [Kind], overlay: &Overlay) -> Loaded {
    let reading = Reading { files, above, kinds, overlay };
    let mut problems = Problems::default();
    let mut texts = Texts::of(files.name, text);
    let pipeline = document::parse(text, &mut problems).and_then(|own| {
        let Some(base) = texts::base_of(&own) else { return reading.build(text, own, None, &mut problems) };
        match (files.read)(base.get_ref()) {
            Ok(text) => texts.lay_under(base.get_ref(), &text),
            Err(error) => {
                problems.push(Diagnostic::error(base.span(), format!("cannot read the base: {error}")));
                return None;
            }
        }
        let below = texts.padded_base();
        let below = document::parse(&below, &mut problems)?;
        let root = texts::lay_over(own, below, &mut problems);
        reading.build(texts.whole(), root, texts.base(), &mut problems)
    });
    let failed = problems.errors() > 0;
    let problems = problems.sorted().into_iter().map(|problem| overlay::relocate(texts.whole(), overlay, problem)).collect();
    Loaded { pipeline: pipeline.filter(|_| !failed), problems, texts }
}

/// What a text is read with.
struct Reading<'a> {
    files: &'a Files<'a>,
    above: &'a [&'a str],
    kinds: &'static [Kind],
    overlay: &'a Overlay,
}

impl Reading<'_> {
    fn build<'i>(&'i self, text: &'i str, root: Node<'i>, base: Option<&str>, problems: &mut Problems) -> Option<Pipeline> {
        let document = document::read(text, root, self.overlay, problems)?;
        let others = taken::others(&document, self.files, self.above, self.kinds, problems);
        let wiring = wiring::wire(text, &document, &others, self.kinds, problems);
        let cells = expand::expand(&document, &wiring, !self.overlay.axis.is_empty(), problems);
        let mut builder = tasks::Builder::new(text, &document, &wiring, &cells);
        let sources = builder.sources(problems);
        let tasks = builder.tasks(problems);
        if problems.errors() > 0 {
            // What is unused is not said here: a wrong name leaves the right one unused.
            return None;
        }
        unused(&document, &wiring, &builder, problems);
        let (name, about, code) = (document.name.clone(), document.about.clone(), publish::code_of(&document));
        let mut pipeline = Pipeline { name, about, sources, tasks, code, published: Vec::new(), others };
        pipeline.published = publish::collisions(&document, &pipeline, problems);
        publish::over_what_it_reads(&pipeline, self.files.path, base, problems);
        Some(pipeline)
    }
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
