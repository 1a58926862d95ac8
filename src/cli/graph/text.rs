//! A graph in text: layers of stages for a terminal, and Graphviz' language.

use super::super::grid::grid;
use super::picture::{Arrow, Look, Node, Picture};
use crate::pipeline::{Origin, Pipeline, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Layers from the top down; each stage takes from layers above its own.
pub(super) fn text(picture: &Picture, cells: bool) -> String {
    let layers = picture.layers();
    let mut order: Vec<usize> = (0..picture.nodes.len()).collect();
    order.sort_by_key(|at| layers[*at]);
    let (mut rows, mut below, mut shown) = (Vec::new(), Vec::new(), 0);
    for at in order {
        let node = &picture.nodes[at];
        // Sources are the layer above the first, without a number.
        let layer = if layers[at] == shown { String::new() } else { layers[at].to_string() };
        shown = layers[at];
        let state = match (node.is_source, node.people) {
            (true, true) => "source of people's data".to_owned(),
            (true, false) => "source".to_owned(),
            _ => node.summary(),
        };
        rows.push(vec![layer, node.name.clone(), node.counts(), state, node.does.clone(), inputs(picture, at)]);
        below.push(if cells { lines(node) } else { String::new() });
    }
    let mut text = format!("{}: {}\n\n", picture.name, picture.heading());
    // The table is laid out as a whole, then cells are put under their stages.
    for (line, under) in grid(&rows, "").lines().zip(below) {
        let _ = write!(text, "{line}\n{under}");
    }
    if let Some(note) = &picture.note {
        let _ = writeln!(text, "\nnothing is known of what would run:\n{note}");
    }
    text
}

fn lines(node: &Node) -> String {
    let rows: Vec<Vec<String>> =
        node.cells.iter().map(|cell| vec![cell.title.clone(), cell.look.word().to_owned(), cell.reasons.join("; ")]).collect();
    grid(&rows, "      ")
}

/// `train ← pack.train, validation ← pack.validation`.
fn inputs(picture: &Picture, at: usize) -> String {
    let mut ports: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for arrow in picture.arrows.iter().filter(|arrow| arrow.to == at) {
        ports.entry(&arrow.port).or_default().push(origin(picture, arrow));
    }
    ports.into_iter().map(|(port, from)| format!("{port} ← {}", from.join(" + "))).collect::<Vec<_>>().join(", ")
}

fn origin(picture: &Picture, arrow: &Arrow) -> String {
    let from = &picture.nodes[arrow.from];
    match (arrow.out.as_str(), from.is_source) {
        ("", _) => from.name.clone(),
        (out, true) => format!("{}/{out}", from.name),
        (out, false) => format!("{}.{out}", from.name),
    }
}

/// Graphviz: a node per stage, or per task with `cells`.
pub(super) fn dot(picture: &Picture, pipeline: &Pipeline, wanted: &BTreeSet<TaskId>, cells: bool) -> String {
    let mut text = format!("digraph {} {{\n", quoted(&picture.name));
    text.push_str("  rankdir=TB;\n  node [shape=box, style=\"rounded,filled\", fontname=\"monospace\", fillcolor=white];\n");
    text.push_str("  edge [fontname=\"monospace\", fontsize=10];\n");
    for node in &picture.nodes {
        if node.is_source {
            let people = if node.people { "\npeople's data" } else { "" };
            let label = quoted(&format!("{}{people}", node.name));
            let _ = writeln!(text, "  {} [label={label}, shape=cylinder, tooltip={}];", quoted(&id(node)), quoted(&node.does));
            continue;
        }
        if cells {
            for cell in &node.cells {
                let tip = quoted(&format!("{}: {}\n{}", cell.title, cell.look.word(), cell.reasons.join("\n")));
                let _ = writeln!(text, "  {} [fillcolor=\"{}\", tooltip={tip}];", quoted(&cell.title), colour(cell.look));
            }
            continue;
        }
        let label = quoted(&format!("{}  {}\n{}", node.name, node.counts(), node.does));
        let tip = quoted(&node.summary());
        let _ = writeln!(text, "  {} [label={label}, fillcolor=\"{}\", tooltip={tip}];", quoted(&id(node)), colour(node.look()));
    }
    if cells {
        for (from, to, label) in edges(pipeline, wanted) {
            let _ = writeln!(text, "  {} -> {} [label={}];", quoted(&from), quoted(&to), quoted(&label));
        }
    } else {
        for arrow in &picture.arrows {
            let label = if arrow.out.is_empty() || arrow.out == arrow.port {
                arrow.port.clone()
            } else {
                format!("{} → {}", arrow.out, arrow.port)
            };
            let ends = [arrow.from, arrow.to].map(|at| quoted(&id(&picture.nodes[at])));
            let _ = writeln!(text, "  {} -> {} [label={}];", ends[0], ends[1], quoted(&label));
        }
    }
    text.push_str("}\n");
    text
}

/// A source and a stage never share a name, so the name will do.
fn id(node: &Node) -> String {
    node.name.clone()
}

fn edges(pipeline: &Pipeline, wanted: &BTreeSet<TaskId>) -> BTreeSet<(String, String, String)> {
    let mut found = BTreeSet::new();
    for task in wanted.iter().map(|id| &pipeline.tasks[id.0]) {
        for (port, edge) in task.inputs.iter().flat_map(|(port, edges)| edges.iter().map(move |edge| (port, edge))) {
            let (from, label) = match &edge.origin {
                Origin::Source { source, .. } => (pipeline.sources[source.0].name.clone(), port.clone()),
                Origin::Task { task, port: out } if out == port => (pipeline.tasks[task.0].title(), port.clone()),
                Origin::Task { task, port: out } => (pipeline.tasks[task.0].title(), format!("{out} → {port}")),
            };
            found.insert((from, task.title(), label));
        }
    }
    found
}

fn colour(look: Look) -> &'static str {
    match look {
        Look::Cached => "#dff3e4",
        Look::Run => "#ffe8bf",
        Look::Later | Look::Skipped => "#e3e9f2",
        Look::Fails => "#f9d6d5",
        Look::Unknown => "#ffffff",
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
