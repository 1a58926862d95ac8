//! A forest plot: a row per difference with its interval, beside the line of no difference. Knows nothing of what is compared.

use super::svg::{escape, open, steps, wide};
use std::fmt::Write as _;

/// A difference.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub value: f64,
    pub interval: Option<(f64, f64)>,
}

/// Rows under headings.
#[derive(Clone, Debug)]
pub struct Forest {
    pub title: String,
    /// What the axis shows.
    pub label: String,
    /// Heading, empty for none, and its rows.
    pub groups: Vec<(String, Vec<Row>)>,
}

/// Height of a row, width of the plot between names and figures, width of the figures, and of a letter.
const HIGH: f64 = 19.0;
const WIDE: f64 = 300.0;
const FIGURES: f64 = 170.0;
const LETTER: f64 = 6.3;

impl Forest {
    /// The picture.
    pub fn svg(&self) -> String {
        let rows = || self.groups.iter().flat_map(|(_, rows)| rows);
        let names = rows().map(|row| row.name.as_str()).chain(self.groups.iter().map(|(heading, _)| heading.as_str()));
        let left = names.map(|name| name.chars().count()).max().unwrap_or(0) as f64 * LETTER + 20.0;
        let lines = self.groups.iter().map(|(heading, rows)| rows.len() + usize::from(!heading.is_empty())).sum::<usize>();
        let (top, bottom) = (26.0, 26.0 + lines as f64 * HIGH + 4.0);
        let (from, to) = rows().fold((0.0f64, 0.0f64), |(from, to), row| {
            let (low, high) = row.interval.unwrap_or((row.value, row.value));
            (from.min(low), to.max(high))
        });
        let margin = if to > from { (to - from) * 0.05 } else { 0.5 };
        let (from, to) = (from - margin, to + margin);
        let at = |value: f64| left + (value - from) / (to - from) * WIDE;
        let mut text = open(&self.title, ((left + WIDE + FIGURES).max(wide(&self.title) + 12.0), bottom + 38.0));
        let _ = write!(text, "<text x=\"4\" y=\"14\" font-weight=\"600\">{}</text>", escape(&self.title));
        for (value, shown) in steps((from, to), 5) {
            let x = at(value);
            let _ = write!(text, "<line class=\"gr\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>");
            let _ = write!(text, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{shown}</text>", bottom + 14.0);
        }
        let zero = at(0.0);
        let _ = write!(text, "<line class=\"di\" x1=\"{zero:.1}\" x2=\"{zero:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>");
        let (middle, label) = (left + WIDE / 2.0, escape(&self.label));
        let _ = write!(text, "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"wt\">{label}</text>", bottom + 31.0);
        let mut y = top + HIGH * 0.7;
        for (heading, rows) in &self.groups {
            if !heading.is_empty() {
                let _ = write!(text, "<text x=\"4\" y=\"{y:.1}\" class=\"wt\">{}</text>", escape(heading));
                y += HIGH;
            }
            for row in rows {
                row.draw(&mut text, y, &at, left);
                y += HIGH;
            }
        }
        text + "</svg>"
    }
}

impl Row {
    fn draw(&self, text: &mut String, y: f64, at: &dyn Fn(f64) -> f64, left: f64) {
        let middle = y - 4.0;
        let _ = write!(text, "<text x=\"14\" y=\"{y:.1}\">{}</text>", escape(&self.name));
        if let Some((low, high)) = self.interval {
            let (low, high) = (at(low), at(high));
            let _ = write!(text, "<line class=\"k0 ln\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>");
        }
        let _ = write!(text, "<circle class=\"k0\" cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"3\"/>", at(self.value));
        let interval = self.interval.map(|(low, high)| format!(" ({low:+.3} to {high:+.3})")).unwrap_or_default();
        let _ = write!(text, "<text x=\"{:.1}\" y=\"{y:.1}\">{:+.3}{interval}</text>", left + WIDE + 10.0, self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_has_a_row_beside_the_line_of_none() {
        let row = |name: &str, value, interval| Row { name: name.to_owned(), value, interval };
        let forest = Forest {
            title: "AUC".to_owned(),
            label: "difference".to_owned(),
            groups: vec![
                ("seed <1>".to_owned(), vec![row("nas", -0.02, Some((-0.05, 0.01))), row("vgg", 0.1, None)]),
                (String::new(), vec![row("old", 0.0, None)]),
            ],
        };
        let svg = forest.svg();
        assert_eq!((svg.matches("<circle").count(), svg.matches("class=\"k0 ln\"").count()), (3, 1));
        assert!(svg.contains(">-0.020 (-0.050 to +0.010)</text>") && svg.contains("seed &lt;1&gt;"), "{svg}");
        let alone = Forest { groups: vec![(String::new(), vec![row("a", 0.0, None)])], ..forest }.svg();
        assert!(!alone.contains("NaN"), "{alone}");
    }
}
