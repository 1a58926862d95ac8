//! Published paths: each has one publisher, and none is a source of the same pipeline.

use super::diagnostic::{Diagnostic, Problems, quoted};
use super::document::{Document, StageDecl};
use super::model::{Code, Pipeline, Published, Source};
use super::params::{Checker, Place, look_up};
use super::template::{joined, parse};
use super::wiring::Stage;
use std::collections::BTreeMap;

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
        if let Some(misplaced) = misplaced(text) {
            let wrong = match misplaced {
                Misplaced::Outside => {
                    Diagnostic::error(path.span(), "a published path is relative to the project root and stays inside it")
                }
                Misplaced::Dots => {
                    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
                    let dots = Diagnostic::error(path.span(), "a published path is named without `.` and `//`");
                    if parts.is_empty() { dots.help("name a file or a folder") } else { dots.help(format!("write `{}`", parts.join("/"))) }
                }
            };
            problems.push(wrong);
            right = false;
        }
    }
    right
}

/// What is wrong with a published path.
#[derive(Clone, Copy)]
enum Misplaced {
    Outside,
    /// One file would have several names.
    Dots,
}

fn misplaced(path: &str) -> Option<Misplaced> {
    match path {
        _ if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") => Some(Misplaced::Outside),
        _ if path.trim_end_matches('/').split('/').any(|part| matches!(part, "" | ".")) => Some(Misplaced::Dots),
        _ => None,
    }
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

/// Finds paths with two publishers, and sources that are published. Gives all that is published.
pub(crate) fn collisions(document: &Document<'_>, pipeline: &Pipeline, problems: &mut Problems) -> Vec<Published> {
    let mut by_path: BTreeMap<String, Published> = BTreeMap::new();
    let stages: BTreeMap<&str, &StageDecl<'_>> = document.stages.iter().map(|decl| (decl.name.as_str(), decl)).collect();
    for task in pipeline.tasks.iter().filter(|task| !task.publish.is_empty()) {
        let Some(decl) = stages.get(task.stage.as_str()) else { continue };
        for (port, path) in &task.publish {
            let Some((_, written)) = decl.table.publish.iter().find(|(name, _)| name.get_ref() == port) else { continue };
            let path = path.trim_end_matches('/').to_owned();
            if let Some(misplaced) = misplaced(&path) {
                let what = match misplaced {
                    Misplaced::Outside => "which is outside the project root",
                    Misplaced::Dots => "and a published path is named without `.` and `//`",
                };
                problems.push(Diagnostic::error(written.span(), format!("{} publishes `{path}`, {what}", task.title())));
                continue;
            }
            let published = Published { stage: task.stage.clone(), task: task.title(), path: path.clone(), span: written.span() };
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
    by_path.into_values().collect()
}

/// The globs that commands name as their code.
pub(crate) fn code_of(document: &Document<'_>) -> Vec<Code> {
    let code = |decl: &StageDecl<'_>| {
        let globs = decl.table.code.iter().flat_map(|code| code.get_ref());
        globs.map(|glob| Code { stage: decl.name.clone(), glob: glob.get_ref().clone(), span: glob.span() }).collect::<Vec<_>>()
    };
    document.stages.iter().flat_map(code).collect()
}

/// Finds what is published over files that the pipeline is made of.
pub(crate) fn over_what_it_reads(pipeline: &Pipeline, own: &str, base: Option<&str>, problems: &mut Problems) {
    let mut texts =
        vec![(own, "this pipeline"), ("tomograph.toml", "the project's settings"), ("tomograph.local.toml", "this machine's settings")];
    texts.extend(base.map(|base| (base.trim_start_matches("./"), "the base of this pipeline")));
    texts.extend(pipeline.others.keys().map(|other| (other.as_str(), "a pipeline that a source is taken from")));
    for Published { task, path, span, .. } in &pipeline.published {
        let below = |text: &str| path.strip_prefix(text).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if let Some((_, what)) = texts.iter().find(|(text, _)| below(text)) {
            let over = Diagnostic::error(span.clone(), format!("{task} publishes `{path}`, which is {what}"));
            problems.push_first(over.help("publish it elsewhere, such as under `results/`"));
        }
    }
}

fn twice(axes: Vec<String>, path: &str, written: &str, published: &Published, other: &Published, problems: &mut Problems) {
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

fn is_source(document: &Document<'_>, source: &Source, path: &str, published: &Published, problems: &mut Problems) {
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
    let source: Vec<&str> = source.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
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
        assert!(overlaps("results/a.csv", "./results//a.csv") && overlaps("results/a.csv", "results/./"));
        assert!(!overlaps("results/a.png", "results/*.csv") && !overlaps("results/a.csv", "result") && !overlaps("a", "b"));
    }
}
