//! The pipeline's picture: a box per stage with how many tasks it has, from the sources down.

use super::svg::{escape, open};
use std::fmt::Write as _;

/// A box.
#[derive(Clone, Debug, Default)]
pub struct Node {
    pub name: String,
    /// A second line: the kind, or that it is a source.
    pub about: String,
    /// A third one, such as how many tasks.
    pub count: String,
    /// Names of the boxes above.
    pub after: Vec<String>,
    /// Whether something in it failed.
    pub failed: bool,
}

const WIDE: f64 = 138.0;
const HIGH: f64 = 50.0;
const ACROSS: f64 = 14.0;
const DOWN: f64 = 34.0;

/// Boxes in layers, each below all it comes after.
pub fn flow(nodes: &[Node]) -> String {
    let place = |name: &str| nodes.iter().position(|node| node.name == name);
    let mut layer = vec![0usize; nodes.len()];
    // A longest path has at most as many steps as there are boxes; a circle, which no pipeline has, ends there too.
    for _ in 0..nodes.len() {
        let before = layer.clone();
        for (at, node) in nodes.iter().enumerate() {
            layer[at] = node.after.iter().filter_map(|name| place(name)).map(|above| before[above] + 1).max().unwrap_or(0).min(nodes.len());
        }
        if layer == before {
            break;
        }
    }
    // A source stands right above the first that reads it.
    for (at, node) in nodes.iter().enumerate().filter(|(_, node)| node.after.is_empty()) {
        let readers = nodes.iter().zip(&layer).filter(|(other, _)| other.after.contains(&node.name)).map(|(_, below)| *below);
        layer[at] = readers.min().unwrap_or(1).saturating_sub(1);
    }
    let layers = layer.iter().max().map_or(0, |last| last + 1);
    let rows: Vec<Vec<usize>> = (0..layers).map(|one| (0..nodes.len()).filter(|at| layer[*at] == one).collect()).collect();
    let widest = rows.iter().map(Vec::len).max().unwrap_or(1) as f64;
    let width = widest * (WIDE + ACROSS) + ACROSS;
    let mut spots = vec![(0.0, 0.0); nodes.len()];
    for (down, row) in rows.iter().enumerate() {
        let mut row = row.clone();
        // Below the middle of what it comes after, so that lines cross little.
        let middle = |at: usize, spots: &[(f64, f64)]| {
            let above: Vec<f64> = nodes[at].after.iter().filter_map(|name| place(name)).map(|one| spots[one].0).collect();
            if above.is_empty() { width / 2.0 } else { above.iter().sum::<f64>() / above.len() as f64 }
        };
        row.sort_by(|one, other| middle(*one, &spots).total_cmp(&middle(*other, &spots)));
        let left = (width - row.len() as f64 * (WIDE + ACROSS) + ACROSS) / 2.0;
        for (across, at) in row.into_iter().enumerate() {
            spots[at] = (left + across as f64 * (WIDE + ACROSS), 6.0 + down as f64 * (HIGH + DOWN));
        }
    }
    let mut text = open("The pipeline", (width, layers as f64 * (HIGH + DOWN) - DOWN + 12.0));
    for (at, node) in nodes.iter().enumerate() {
        for above in node.after.iter().filter_map(|name| place(name)) {
            let ((x1, y1), (x2, y2)) = ((spots[above].0 + WIDE / 2.0, spots[above].1 + HIGH), (spots[at].0 + WIDE / 2.0, spots[at].1));
            let bend = (y2 - y1) / 2.0;
            let _ = write!(
                text,
                "<path class=\"ax\" d=\"M{x1:.1} {y1:.1}C{x1:.1} {:.1} {x2:.1} {:.1} {x2:.1} {y2:.1}\"/>",
                y1 + bend,
                y2 - bend
            );
        }
    }
    for (node, (x, y)) in nodes.iter().zip(&spots) {
        let bad = if node.failed { " bad" } else { "" };
        let _ = write!(text, "<rect class=\"bx{bad}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{WIDE}\" height=\"{HIGH}\" rx=\"5\"/>");
        let lines = [(&node.name, " font-weight=\"600\""), (&node.about, " class=\"wt\""), (&node.count, " class=\"wt\"")];
        for (number, (line, how)) in lines.into_iter().enumerate() {
            let cut: String = if line.chars().count() > 22 { line.chars().take(21).chain(['…']).collect() } else { line.clone() };
            let (x, y) = (x + WIDE / 2.0, y + 15.0 + 14.0 * number as f64);
            let _ = write!(text, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\"{how}>{}</text>", escape(&cut));
        }
    }
    text + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_box_stands_below_what_it_comes_after() {
        let node = |name: &str, after: &[&str]| Node {
            name: name.to_owned(),
            after: after.iter().map(|&one| one.to_owned()).collect(),
            ..Node::default()
        };
        let svg = flow(&[node("raw", &[]), node("late", &[]), node("a", &["raw"]), node("b", &["a", "late"]), node("<c>", &["raw", "b"])]);
        let down = |name: &str| {
            let (before, _) = svg.split_once(&format!(">{name}</text>")).unwrap();
            let (_, y) = before.rsplit_once(" y=\"").unwrap();
            y.split('"').next().unwrap().parse::<f64>().unwrap()
        };
        assert!(down("raw") < down("a") && down("a") < down("b") && down("b") < down("&lt;c&gt;"), "{svg}");
        assert!((down("late") - down("a")).abs() < 1e-9, "a source stands right above its reader");
        assert_eq!(svg.matches("<path").count(), 5);
    }
}
