//! Published paths: each has one publisher, and none is a source of the same pipeline.

use super::diagnostic::{Diagnostic, Problems, quoted};
use super::document::{Document, StageDecl};
use super::model::{Pipeline, Source};
use super::params::{Checker, Place, look_up};
use super::template::{joined, parse};
use super::wiring::Stage;
use std::collections::BTreeMap;
use std::ops::Range;

/// Checks what a stage publishes; false where something is wrong.
pub(crate) fn check(checker: &mut Checker<'_, '_>, decl: &StageDecl<'_>, stage: &Stage, problems: &mut Problems) -> bool {
    let mut right = true;
    for (port, path) in &decl.table.publish {
        if !stage.outputs.is_empty() && !stage.outputs.iter().any(|out| out.name == *port.get_ref()) {
            let known = stage.outputs.iter().map(|out| out.name.as_str());
            let unknown = Diagnostic::error(port.span(), format!("stage `{}` has no output `{}`", decl.name, port.get_ref()));
            problems.push(unknown.suggest(port.get_ref(), known));
            right = false;
        }
        right &= checker.string(path.get_ref(), &path.span(), Place::Path, problems);
        let text = path.get_ref();
        if !stays_inside(text) {
            let message = "a published path is relative to the project root and stays inside it";
            problems.push(Diagnostic::error(path.span(), message));
            right = false;
        }
    }
    right
}

fn stays_inside(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && path.split('/').all(|part| part != ".." && part != ".")
}

/// What a task publishes, placeholders replaced.
pub(crate) fn paths(document: &Document<'_>, decl: &StageDecl<'_>, axes: &[usize], cell: &[u32]) -> BTreeMap<String, String> {
    let mut paths = BTreeMap::new();
    for (port, path) in &decl.table.publish {
        let fragments = parse(path.get_ref()).unwrap_or_default();
        paths.insert(port.get_ref().clone(), joined(&fragments, &|fragment| look_up(document, axes, cell, fragment)));
    }
    paths
}

struct Published<'a> {
    stage: &'a str,
    task: String,
    span: Range<usize>,
}

/// Finds paths with two publishers, and sources that are published.
pub(crate) fn collisions(document: &Document<'_>, pipeline: &Pipeline, problems: &mut Problems) {
    let mut by_path: BTreeMap<String, Published<'_>> = BTreeMap::new();
    let stages: BTreeMap<&str, &StageDecl<'_>> = document.stages.iter().map(|decl| (decl.name.as_str(), decl)).collect();
    for task in pipeline.tasks.iter().filter(|task| !task.publish.is_empty()) {
        let Some(decl) = stages.get(task.stage.as_str()) else { continue };
        for (port, path) in &task.publish {
            let Some((_, written)) = decl.table.publish.iter().find(|(name, _)| name.get_ref() == port) else { continue };
            let path = path.trim_end_matches('/').to_owned();
            if !stays_inside(&path) {
                let message = format!("{} publishes `{path}`, which is outside the project root", task.title());
                problems.push(Diagnostic::error(written.span(), message));
                continue;
            }
            let published = Published { stage: &task.stage, task: task.title(), span: written.span() };
            if let Some(other) = by_path.get(&path) {
                twice(task.cell.keys().cloned().collect(), &path, written.get_ref(), &published, other, problems);
                continue;
            }
            for source in pipeline.sources.iter().filter(|source| source.taken.is_none() && overlaps(&path, &source.path)) {
                is_source(document, source, &path, &published, problems);
            }
            by_path.insert(path, published);
        }
    }
    // A folder that one stage replaces as a whole can't hold what another publishes.
    for (path, published) in &by_path {
        let above = path.match_indices('/').filter_map(|(at, _)| by_path.get(&path[..at]).map(|other| (&path[..at], other)));
        for (folder, other) in above {
            let message = format!("`{path}` lies inside `{folder}`, which {} publishes", other.task);
            problems.push(Diagnostic::error(published.span.clone(), message).also(other.span.clone(), "published here"));
        }
    }
}

fn twice(axes: Vec<String>, path: &str, written: &str, published: &Published<'_>, other: &Published<'_>, problems: &mut Problems) {
    if published.stage == other.stage && published.span == other.span {
        let unnamed: Vec<String> = axes.into_iter().filter(|axis| !written.contains(&format!("{{{axis}"))).collect();
        let message = format!("`{}` and `{}` both publish `{path}`", other.task, published.task);
        let wanted: Vec<String> = unnamed.iter().map(|axis| format!("{{{axis}}}")).collect();
        problems.push(Diagnostic::error(published.span.clone(), message).help(format!("name the axes in the path: {}", quoted(&wanted))));
    } else {
        let message = format!("`{path}` is published twice: by {} and by {}", other.task, published.task);
        problems.push(Diagnostic::error(published.span.clone(), message).also(other.span.clone(), "also published here"));
    }
}

fn is_source(document: &Document<'_>, source: &Source, path: &str, published: &Published<'_>, problems: &mut Problems) {
    let message = format!("{} publishes `{path}`, which source `{}` reads", published.task, source.name);
    let mut diagnostic = Diagnostic::error(published.span.clone(), message).help("connect the stages instead: then the order is known");
    if let Some(decl) = document.sources.iter().find(|decl| decl.name == source.name) {
        diagnostic = diagnostic.also(decl.table.path.as_ref().map_or(decl.span.clone(), toml::Spanned::span), "read here");
    }
    problems.push(diagnostic);
}

/// Whether a published path and a source's path or glob have files in common.
fn overlaps(published: &str, source: &str) -> bool {
    let published: Vec<&str> = published.split('/').collect();
    let source: Vec<&str> = source.trim_start_matches("./").trim_end_matches('/').split('/').collect();
    // Part by part; where either ends, the rest of the other lies inside it.
    for (part, pattern) in published.iter().zip(&source) {
        match *pattern {
            "**" => return true,
            pattern if part_matches(part, pattern) => {}
            _ => return false,
        }
    }
    true
}

/// Whether a name matches a pattern of `*` and `?`; a bracket counts as a match of anything.
fn part_matches(name: &str, pattern: &str) -> bool {
    let mut pattern = pattern.chars();
    match pattern.next() {
        None => name.is_empty(),
        Some('[') => true,
        Some('*') => {
            let rest = pattern.as_str();
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| part_matches(&name[at..], rest))
        }
        Some(wanted) => {
            let mut name = name.chars();
            name.next().is_some_and(|found| wanted == '?' || wanted == found) && part_matches(name.as_str(), pattern.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_seen_through_globs_and_folders() {
        assert!(overlaps("results/a.csv", "results/a.csv") && overlaps("results/a.csv", "results") && overlaps("data", "data/x"));
        assert!(overlaps("results/a.csv", "results/*.csv") && overlaps("results/deep/a.csv", "results/**/*.csv"));
        assert!(!overlaps("results/a.png", "results/*.csv") && !overlaps("results/a.csv", "result") && !overlaps("a", "b"));
    }
}
