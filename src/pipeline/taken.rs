//! Sources taken from other pipelines: which task's output each cell of such a source means, and what it is.
//!
//! The other pipeline is read and checked as far as its tasks are known; nothing of it is ever run from here.

use super::cells::Cell;
use super::diagnostic::{Diagnostic, Problems};
use super::document::{Document, SourceDecl};
use super::expand;
use super::model::{Pipeline, Taken, Task};
use super::params::look_up;
use super::template::{Fragment, joined, parse};
use super::texts::Files;
use super::wiring::OutPort;
use super::{Overlay, Severity, load_in};
use crate::stage::Kind;
use std::collections::BTreeMap;
use std::ops::Range;

/// The other pipelines by the path that `from` gives.
pub(crate) type Others = BTreeMap<String, Pipeline>;

/// What a source takes.
pub(crate) struct TakenSource {
    /// What every cell of it is.
    pub output: OutPort,
    /// Cell → what it means; a cell with a mistake is not here.
    pub cells: BTreeMap<Cell, Taken>,
}

/// Reads the pipelines that sources are taken from. `above` are those that are being read.
pub(crate) fn others(
    document: &Document<'_>,
    files: &Files<'_>,
    above: &[&str],
    kinds: &'static [Kind],
    problems: &mut Problems,
) -> Others {
    let mut others = Others::new();
    for decl in &document.sources {
        let Some(from) = &decl.table.from else { continue };
        let path = from.get_ref().trim_start_matches("./");
        if others.contains_key(path) {
            continue;
        }
        match other(path, from.span(), files, above, kinds) {
            Ok(pipeline) => drop(others.insert(path.to_owned(), pipeline)),
            Err(problem) => problems.push(*problem),
        }
    }
    others
}

fn other(path: &str, span: Range<usize>, files: &Files<'_>, above: &[&str], kinds: &'static [Kind]) -> Result<Pipeline, Box<Diagnostic>> {
    let wrong = |message: String| Diagnostic::error(span.clone(), message);
    if path == files.path {
        return Err(Box::new(wrong("a pipeline takes nothing from itself".into()).help("name its stages in `inputs`")));
    }
    if above.contains(&path) {
        let circle: Vec<&str> = above.iter().copied().chain([files.path, path]).collect();
        return Err(Box::new(wrong(format!("pipelines take from each other in a circle: {}", circle.join(" → ")))));
    }
    if path.starts_with('/') || path.split('/').any(|part| part == ".." || part == "." || part.is_empty()) {
        let help = "`from` is the path of another pipeline of this project, from the project root";
        return Err(Box::new(wrong(format!("`{path}` is no path inside the project")).help(help)));
    }
    let text = (files.read)(path).map_err(|error| wrong(format!("cannot read the other pipeline: {error}")))?;
    let above: Vec<&str> = above.iter().copied().chain([files.path]).collect();
    let loaded = load_in(&text, &Files { name: path, path, read: files.read }, &above, kinds, &Overlay::default());
    loaded.pipeline.ok_or_else(|| {
        let errors: Vec<&Diagnostic> = loaded.problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
        let first = errors.first().map(|problem| format!(": {}", problem.message)).unwrap_or_default();
        Box::new(wrong(format!("`{path}` cannot be used{first}")).help(format!("`tomograph check {path}` shows what is wrong in it")))
    })
}

/// What each source that is taken from elsewhere means, cell by cell; `axes` are those of every source.
pub(crate) fn resolve(document: &Document<'_>, others: &Others, axes: &[Vec<usize>], problems: &mut Problems) -> Vec<Option<TakenSource>> {
    document.sources.iter().zip(axes).map(|(decl, axes)| source(document, decl, others, axes, problems)).collect()
}

fn source(document: &Document<'_>, decl: &SourceDecl, others: &Others, axes: &[usize], problems: &mut Problems) -> Option<TakenSource> {
    let (from, artifact) = (decl.table.from.as_ref()?, decl.table.artifact.as_ref()?);
    let path = from.get_ref().trim_start_matches("./");
    let other = others.get(path)?;
    let fragments = parse(artifact.get_ref()).ok()?;
    let mut found: Option<TakenSource> = None;
    for cell in expand::every_cell(document, axes)? {
        let known = |fragment: &Fragment| {
            matches!(fragment, Fragment::Text(_))
                || look_up(document, axes, &cell, fragment).is_some_and(|value| super::values::scalar(&value).is_some())
        };
        // A placeholder that is wrong has its message elsewhere.
        if !fragments.iter().all(|(fragment, _)| known(fragment)) {
            return None;
        }
        let reference = joined(&fragments, &|fragment| look_up(document, axes, &cell, fragment));
        let (task, output) = match named(other, path, &reference) {
            Ok(named) => named,
            Err(problem) => {
                problems.push(Diagnostic { span: Some(artifact.span()), ..*problem });
                continue;
            }
        };
        let taken = Taken { pipeline: path.to_owned(), id: String::new(), task: task.title(), port: output.name.clone() };
        let found = found.get_or_insert_with(|| TakenSource { output: output.clone(), cells: BTreeMap::new() });
        if (found.output.artifact, found.output.role) != (output.artifact, output.role) {
            let message =
                format!("the cells of source `{}` are of several kinds: `{}` and `{}`", decl.name, found.output.artifact, output.artifact);
            problems.push(Diagnostic::error(artifact.span(), message));
        }
        found.cells.insert(cell, taken);
    }
    found
}

/// The one task that a reference names in another pipeline, and its output.
fn named<'a>(other: &'a Pipeline, path: &str, reference: &str) -> Result<(&'a Task, OutPort), Box<Diagnostic>> {
    let (tasks, port) =
        other.find(reference).map_err(|problem| Diagnostic { message: format!("in `{path}`, {}", problem.message), ..problem })?;
    let task = &other.tasks[tasks[0].0];
    if tasks.len() > 1 {
        let (first, count) = (task.title(), tasks.len());
        let problem = Diagnostic::plain(format!("`{reference}` names {count} tasks of `{path}`, and one is wanted"));
        let help = format!("pick one, such as `{first}`, or sweep the source: `over = [\"AXIS\"]` and `[AXIS={{AXIS}}]` in the artifact");
        return Err(Box::new(problem.help(help)));
    }
    let output = match &port {
        Some(port) => task.outputs.iter().find(|output| output.port == *port),
        None => task.outputs.first(),
    };
    let output = output.ok_or_else(|| Diagnostic::plain(format!("`{reference}` of `{path}` gives nothing")))?;
    Ok((task, OutPort { name: output.port.clone(), artifact: output.artifact, role: output.role }))
}

/// What is wrong with the keys of a source: it has a path, or it is taken from another pipeline.
pub(crate) fn keys(decl: &SourceDecl, problems: &mut Problems) {
    let table = &decl.table;
    let Some(from) = &table.from else {
        if let Some(artifact) = &table.artifact {
            let lonely = Diagnostic::error(artifact.span(), format!("source `{}` has an `artifact` and no `from`", decl.name));
            problems.push(lonely.help("`from = \"OTHER.toml\"` says which pipeline makes it; a folder has a `path`, and perhaps a `type`"));
        }
        return;
    };
    if table.artifact.is_none() && !decl.faulty.contains("artifact") {
        let missing = Diagnostic::error(decl.span.clone(), format!("source `{}` does not say which `artifact` it takes", decl.name));
        problems.push(missing.help(format!("add `artifact = \"STAGE.PORT[AXIS=VALUE]\"`, an output of `{}`", from.get_ref())));
    }
    let foreign = [
        ("path", table.path.as_ref().map(toml::Spanned::span), "a source has a `path` or a `from`"),
        ("phi", table.phi.as_ref().map(toml::Spanned::span), "whether it holds people's data comes along with what is taken"),
        ("type", table.r#type.as_ref().map(toml::Spanned::span), "what it is comes along with what is taken"),
    ];
    for (key, span, why) in foreign {
        if let Some(span) = span {
            let message = format!("source `{}` is taken from `{}` and has no `{key}`", decl.name, from.get_ref());
            problems.push(Diagnostic::error(span, message).help(why));
        }
    }
}
