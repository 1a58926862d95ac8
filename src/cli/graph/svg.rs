//! A graph as one SVG file that needs nothing else: no script, no font, light and dark.
//!
//! Letters are set in a fixed pitch, so that boxes are as wide as their text on any screen.

use super::layout::{Block, Link, Placed, layout};
use super::picture::{ALL, Arrow, Look, Node, Picture};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Width of a letter at the sizes of a name and of small print.
const NAME: f64 = 8.0;
const SMALL: f64 = 6.3;
const PAD: f64 = 12.0;
/// Heights: a row of ports, the name, the kind, the bar.
const PORTS: f64 = 18.0;
const TITLE: f64 = 22.0;
const DOES: f64 = 16.0;
const BAR: f64 = 8.0;
/// A square for a cell, with its margin.
const SQUARE: f64 = 11.0;
const MARGIN: f64 = 24.0;
const HEAD: f64 = 58.0;
/// Reasons and cells that a tooltip lists.
const TOLD: usize = 12;

const STYLE: &str = "
  svg { background: #ffffff; font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; }
  .back { fill: #ffffff; } text { fill: #1f2933; font-size: 13px; } .name { font-weight: 600; } .title { font-size: 16px; font-weight: 600; }
  .small { font-size: 10.5px; fill: #5b6773; } .count { text-anchor: end; } .port { font-size: 10.5px; fill: #5b6773; text-anchor: middle; }
  .line { fill: none; stroke: #a5b0bc; stroke-width: 1.4; } .line:hover { stroke: #1f6feb; stroke-width: 2.6; } .tip { fill: #a5b0bc; }
  .box { stroke-width: 1.4; } .rail { fill: #000000; fill-opacity: 0.08; } .rule { stroke: #000000; stroke-opacity: 0.10; }
  .cached .box { fill: #eaf7ee; stroke: #3c9d63; } .cached.fill { fill: #3c9d63; }
  .run .box { fill: #fff4de; stroke: #c98a1b; } .run.fill { fill: #e0a63a; }
  .fails .box { fill: #fdeaea; stroke: #c0504d; } .fails.fill { fill: #d0605d; }
  .later .box { fill: #eef2f8; stroke: #8493a8; stroke-dasharray: 5 3; } .later.fill { fill: #a9b6c8; }
  .unknown .box { fill: #f6f7f9; stroke: #b6bfca; } .unknown.fill { fill: #d5dbe3; }
  .source .box { fill: #f4f1fb; stroke: #8a76c4; } .people .box { fill: #fdeef0; stroke: #c4586b; }
  @media (prefers-color-scheme: dark) {
    svg { background: #12161c; } .back { fill: #12161c; } text { fill: #e4e9ef; } .small, .port { fill: #9aa7b5; }
    .line { stroke: #566271; } .line:hover { stroke: #58a6ff; } .tip { fill: #566271; }
    .rail { fill: #ffffff; } .rule { stroke: #ffffff; }
    .cached .box { fill: #14291d; stroke: #3c9d63; } .run .box { fill: #33270f; stroke: #c98a1b; }
    .fails .box { fill: #361718; stroke: #c0504d; }
    .later .box { fill: #1b222c; stroke: #6b7a8f; } .later.fill { fill: #5a6980; }
    .unknown .box { fill: #1a1f26; stroke: #4a5563; } .unknown.fill { fill: #3a4450; }
    .source .box { fill: #211b33; stroke: #8a76c4; } .people .box { fill: #34191f; stroke: #c4586b; }
  }
";

/// A node's ports, by name.
#[derive(Default)]
struct Ports {
    inlets: Vec<String>,
    outlets: Vec<String>,
}

/// The picture, with a grid of squares in each box where `cells`.
pub(super) fn svg(picture: &Picture, cells: bool) -> String {
    let ports = ports(picture);
    let blocks: Vec<Block> = picture.nodes.iter().zip(&ports).map(|(node, ports)| block(node, ports, cells)).collect();
    let at = |names: &[String], name: &str| names.iter().position(|one| one == name).unwrap_or(0);
    let links: Vec<Link> = picture
        .arrows
        .iter()
        .map(|arrow| Link {
            from: arrow.from,
            outlet: at(&ports[arrow.from].outlets, &arrow.out),
            to: arrow.to,
            inlet: at(&ports[arrow.to].inlets, &arrow.port),
        })
        .collect();
    let placed = layout(&blocks, &links);
    let heading = picture.note.as_ref().map_or_else(|| picture.heading(), |_| format!("{}; sources are missing", picture.heading()));
    let width = (placed.width + 2.0 * MARGIN).max(SMALL * heading.chars().count() as f64 + 2.0 * MARGIN).max(400.0);
    let height = placed.height + HEAD + 2.0 * MARGIN;
    let shift = (width - placed.width) / 2.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n"
    );
    let _ = writeln!(text, "<title>{}</title>\n<style>{STYLE}</style>", escaped(&format!("{}: {heading}", picture.name)));
    let _ = writeln!(text, "<rect class=\"back\" width=\"100%\" height=\"100%\"/>");
    let _ = writeln!(text, "<text class=\"title\" x=\"{MARGIN}\" y=\"32\">{}</text>", escaped(&picture.name));
    let _ = writeln!(text, "<text class=\"small\" x=\"{MARGIN}\" y=\"50\">{}</text>", escaped(&heading));
    if let Some(note) = &picture.note {
        let _ = writeln!(text, "<desc>{}</desc>", escaped(note));
    }
    let _ = writeln!(text, "<g transform=\"translate({shift:.1} {:.1})\">", HEAD + MARGIN / 2.0);
    for (arrow, route) in picture.arrows.iter().zip(&placed.routes) {
        line(&mut text, picture, arrow, route);
    }
    for (at, node) in picture.nodes.iter().enumerate() {
        draw(&mut text, node, &ports[at], &blocks[at], &placed, at, cells);
    }
    text.push_str("</g>\n");
    legend(&mut text, picture, height);
    text.push_str("</svg>\n");
    text
}

/// The ports that arrows use; a source has one outlet for each part of it that is read.
fn ports(picture: &Picture) -> Vec<Ports> {
    let mut ports: Vec<Ports> = picture.nodes.iter().map(|_| Ports::default()).collect();
    let add = |names: &mut Vec<String>, name: &String| {
        if !names.contains(name) {
            names.push(name.clone());
        }
    };
    for arrow in &picture.arrows {
        add(&mut ports[arrow.from].outlets, &arrow.out);
        add(&mut ports[arrow.to].inlets, &arrow.port);
    }
    ports
}

fn block(node: &Node, ports: &Ports, cells: bool) -> Block {
    let widths = |names: &[String]| names.iter().map(|name| SMALL * name.chars().count() as f64 + 10.0).collect::<Vec<f64>>();
    let (inlets, outlets) = (widths(&ports.inlets), widths(&ports.outlets));
    let letters = |text: &str, width: f64| text.chars().count() as f64 * width;
    let title = letters(&node.name, NAME) + if node.is_source { 0.0 } else { 18.0 + letters(&node.counts(), SMALL) };
    let mut width = [title, letters(&does(node), SMALL), 70.0].into_iter().fold(0.0, f64::max) + 2.0 * PAD;
    width = inlets.iter().sum::<f64>().max(outlets.iter().sum()).max(width);
    let mut height = TITLE + DOES;
    if shows(&ports.inlets) {
        height += PORTS;
    }
    if shows(&ports.outlets) {
        height += PORTS;
    }
    if !node.is_source {
        height += BAR;
        if cells {
            width = width.max(SQUARE * across(node) as f64 + 2.0 * PAD);
            height += SQUARE * node.cells.len().div_ceil(across(node)) as f64 + 6.0;
        }
    }
    Block { width, height, inlets, outlets }
}

/// A source that is read as a whole has nothing to say about its outlet.
fn shows(names: &[String]) -> bool {
    names.iter().any(|name| !name.is_empty())
}

/// Squares in a row: as many as the last axis may have, for few cells; else about twice as wide as high.
fn across(node: &Node) -> usize {
    let cells = node.cells.len();
    if cells <= 12 { cells.max(1) } else { ((cells as f64 * 2.0).sqrt().ceil() as usize).max(12) }
}

fn does(node: &Node) -> String {
    match (node.is_source, node.people) {
        (true, true) => "source, people's data".to_owned(),
        (true, false) => "source".to_owned(),
        _ => node.does.clone(),
    }
}

fn class(look: Look) -> &'static str {
    match look {
        Look::Cached => "cached",
        Look::Run => "run",
        Look::Later | Look::Skipped => "later",
        Look::Fails => "fails",
        Look::Unknown => "unknown",
    }
}

fn line(text: &mut String, picture: &Picture, arrow: &Arrow, route: &[(f64, f64)]) {
    let mut path = String::new();
    for (step, pair) in route.windows(2).enumerate() {
        let ((x, y), (to_x, mut to_y)) = (pair[0], pair[1]);
        if step == 0 {
            let _ = write!(path, "M{x:.1} {y:.1}");
        }
        // The point of the arrow is drawn by itself.
        if step + 2 == route.len() {
            to_y -= 6.0;
        }
        if step % 2 == 0 {
            let half = (to_y - y) / 2.0;
            let _ = write!(path, " C{x:.1} {:.1} {to_x:.1} {:.1} {to_x:.1} {to_y:.1}", y + half, to_y - half);
        } else {
            let _ = write!(path, " L{to_x:.1} {to_y:.1}");
        }
    }
    let (from, to) = (&picture.nodes[arrow.from], &picture.nodes[arrow.to]);
    let dot = if arrow.out.is_empty() {
        ""
    } else if from.is_source {
        "/"
    } else {
        "."
    };
    let tip = escaped(&format!("{}{dot}{} → {}, port {}", from.name, arrow.out, to.name, arrow.port));
    let _ = writeln!(text, "<path class=\"line\" d=\"{path}\"><title>{tip}</title></path>");
    if let Some((x, y)) = route.last() {
        let _ = writeln!(text, "<path class=\"tip\" d=\"M{x:.1} {y:.1} l-4 -7 h8 z\"/>");
    }
}

fn draw(text: &mut String, node: &Node, ports: &Ports, block: &Block, placed: &Placed, at: usize, cells: bool) {
    let (x, y) = placed.corners[at];
    let kind = match (node.is_source, node.people) {
        (true, true) => "people",
        (true, false) => "source",
        _ => class(node.look()),
    };
    let radius = if node.is_source { 16.0 } else { 6.0 };
    let _ = writeln!(text, "<g class=\"{kind}\" transform=\"translate({x:.1} {y:.1})\"><title>{}</title>", escaped(&tooltip(node)));
    let _ = writeln!(text, "<rect class=\"box\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{radius}\"/>", block.width, block.height);
    let mut top = 0.0;
    if shows(&ports.inlets) {
        row(text, &ports.inlets, &placed.inlets[at], 12.5);
        top = PORTS;
        let _ = writeln!(text, "<path class=\"rule\" d=\"M0 {top} h{:.1}\"/>", block.width);
    }
    let right = block.width - PAD;
    let _ = writeln!(text, "<text class=\"name\" x=\"{PAD}\" y=\"{:.1}\">{}</text>", top + 16.0, escaped(&node.name));
    if !node.is_source {
        let _ = writeln!(text, "<text class=\"small count\" x=\"{right:.1}\" y=\"{:.1}\">{}</text>", top + 16.0, node.counts());
    }
    let _ = writeln!(text, "<text class=\"small\" x=\"{PAD}\" y=\"{:.1}\">{}</text>", top + TITLE + 8.5, escaped(&does(node)));
    top += TITLE + DOES;
    if !node.is_source {
        bar(text, node, top - 2.0, block.width - 2.0 * PAD);
        top += BAR;
        if cells {
            squares(text, node, top);
        }
    }
    if shows(&ports.outlets) {
        let _ = writeln!(text, "<path class=\"rule\" d=\"M0 {:.1} h{:.1}\"/>", block.height - PORTS, block.width);
        row(text, &ports.outlets, &placed.outlets[at], block.height - 5.5);
    }
    text.push_str("</g>\n");
}

fn row(text: &mut String, names: &[String], places: &[f64], y: f64) {
    for (name, x) in names.iter().zip(places) {
        let _ = writeln!(text, "<text class=\"port\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escaped(name));
    }
}

/// How much of a stage is cached, runs, or is decided later.
fn bar(text: &mut String, node: &Node, y: f64, width: f64) {
    let _ = writeln!(text, "<rect class=\"rail\" x=\"{PAD}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"3\" rx=\"1.5\"/>");
    let mut x = PAD;
    for look in [Look::Cached, Look::Run] {
        let part = width * node.count(look) as f64 / node.cells.len().max(1) as f64;
        if part > 0.0 {
            let class = class(look);
            let _ = writeln!(text, "<rect class=\"{class} fill\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{part:.1}\" height=\"3\" rx=\"1.5\"/>");
        }
        x += part;
    }
}

fn squares(text: &mut String, node: &Node, top: f64) {
    let across = across(node);
    for (at, cell) in node.cells.iter().enumerate() {
        let (x, y) = (PAD + SQUARE * (at % across) as f64, top + 2.0 + SQUARE * (at / across) as f64);
        let told = cell.reasons.iter().take(TOLD).fold(String::new(), |told, reason| told + "\n" + reason);
        let tip = escaped(&format!("{}: {}{told}", cell.title, cell.look.word()));
        let class = class(cell.look);
        let _ = writeln!(
            text,
            "<rect class=\"{class} fill\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"9\" height=\"9\" rx=\"2\"><title>{tip}</title></rect>"
        );
    }
}

/// The state of a stage, then the reasons that its tasks run for, each with how many have it.
fn tooltip(node: &Node) -> String {
    if node.is_source {
        return format!("{}: {}\n{}", node.name, does(node), node.does);
    }
    let mut told = format!("{}, {}: {}", node.name, node.does, node.summary());
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for cell in &node.cells {
        cell.reasons.iter().for_each(|reason| reasons.entry(reason).or_default().push(&cell.title));
    }
    for (reason, cells) in reasons.iter().take(TOLD) {
        let more = if cells.len() > 1 { format!(" and {} more", cells.len() - 1) } else { String::new() };
        let whose = if node.cells.len() > 1 { format!("{}{more}: ", cells[0]) } else { String::new() };
        let _ = write!(told, "\n{whose}{reason}");
    }
    if reasons.len() > TOLD {
        let _ = write!(told, "\n… and {} more reasons", reasons.len() - TOLD);
    }
    told
}

/// What the colours mean, of those that are there.
fn legend(text: &mut String, picture: &Picture, height: f64) {
    let mut entries: Vec<(&str, &str)> = Vec::new();
    if picture.nodes.iter().any(|node| node.is_source && !node.people) {
        entries.push(("source", "source"));
    }
    if picture.nodes.iter().any(|node| node.people) {
        entries.push(("people", "source of people's data"));
    }
    for look in ALL {
        if picture.nodes.iter().any(|node| !node.is_source && node.look() == look) {
            entries.push((class(look), look.word()));
        }
    }
    let mut x = MARGIN;
    for (class, word) in entries {
        let (y, after) = (height - 22.0, x + 17.0);
        let _ =
            writeln!(text, "<g class=\"{class}\"><rect class=\"box\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"12\" height=\"10\" rx=\"3\"/></g>");
        let _ = writeln!(text, "<text class=\"small\" x=\"{after:.1}\" y=\"{:.1}\">{word}</text>", y + 9.0);
        x = after + SMALL * word.chars().count() as f64 + 18.0;
    }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // XML has no place for other control characters, not even escaped.
            '\n' | '\t' => safe.push(one),
            other if other.is_control() => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}
