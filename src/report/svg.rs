//! Charts as SVG: lines on two axes, and counts in a grid. They follow the reader's light or dark, in a page and as files of their own.
//!
//! Own code, since chart crates write fixed colours and fonts into every element, which neither a dark page nor a printer can change.
//! Knows nothing of what is drawn.

use std::fmt::Write as _;

/// Colours by class name, so that the reader's theme decides; the first eight are told apart by everybody (Okabe and Ito).
pub const STYLE: &str = ".ch{font:11px system-ui,sans-serif}.ch text{fill:var(--ink,#333)}.ch .ax{stroke:var(--rule,#888);fill:none}\
.ch .gr{stroke:var(--faint,#e2e2e2)}.ch .di{stroke:var(--rule,#888);stroke-dasharray:3 3}.ch .ln{fill:none;stroke-width:1.6}\
.ch .thin{stroke-width:1;opacity:.75}.ch .bx{fill:var(--box,#eef3f8);stroke:var(--rule,#888)}.ch .bad{stroke:var(--warn,#c0392b);stroke-width:2}\
.ch .ht{fill:var(--heat,#0072b2)}.ch .wt{fill:var(--soft,#666)}\
.k0{stroke:#0072b2;fill:#0072b2}.k1{stroke:#d55e00;fill:#d55e00}.k2{stroke:#009e73;fill:#009e73}.k3{stroke:#cc79a7;fill:#cc79a7}\
.k4{stroke:#e69f00;fill:#e69f00}.k5{stroke:#56b4e9;fill:#56b4e9}.k6{stroke:#9467bd;fill:#9467bd}.k7{stroke:#8c8c2b;fill:#8c8c2b}\
@media screen and (prefers-color-scheme:dark){.k0{stroke:#4aa8e8;fill:#4aa8e8}.k1{stroke:#ff8a3d;fill:#ff8a3d}.k2{stroke:#2fc99a;fill:#2fc99a}\
.k6{stroke:#b48ede;fill:#b48ede}.k7{stroke:#bdbd4a;fill:#bdbd4a}}";

const DARK: &str =
    "@media(prefers-color-scheme:dark){svg.ch{--ink:#ddd;--rule:#888;--faint:#333;--box:#1d2733;--soft:#aaa;background:#16191d}}";

/// How many colours there are; lines beyond them are dashed.
const COLOURS: usize = 8;

/// A line.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// In the legend; lines with equal names have one entry.
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Which colour.
    pub colour: usize,
    /// Whether points are marked.
    pub marks: bool,
}

/// Lines on two axes.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    /// What the axes show.
    pub labels: [String; 2],
    /// Ends of the axes.
    pub ranges: [(f64, f64); 2],
    /// Of the whole picture without its legend, in pixels.
    pub size: (f64, f64),
    pub series: Vec<Series>,
    /// Whether the line of chance or of agreement is drawn, from corner to corner.
    pub diagonal: bool,
    pub legend: bool,
}

/// `<`, `&` and quotes as XML wants them.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// An SVG made here, as a file that stands alone.
pub fn alone(svg: &str) -> String {
    let (head, rest) = svg.split_at(svg.find('>').map_or(0, |at| at + 1));
    format!("{head}<style>{STYLE}{DARK}</style>{rest}\n")
}

/// The first tag of a picture.
pub(super) fn open(title: &str, (width, height): (f64, f64)) -> String {
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"ch\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>"
    )
}

impl Chart {
    /// The picture.
    pub fn svg(&self) -> String {
        let small = self.size.0 < 260.0;
        let (left, top, right, bottom) = (if small { 34.0 } else { 46.0 }, 22.0, 10.0, if small { 20.0 } else { 36.0 });
        let (wide, high) = (self.size.0 - left - right, self.size.1 - top - bottom);
        let at = |axis: usize, value: f64| {
            let (from, to) = self.ranges[axis];
            let share = ((value - from) / (to - from)).clamp(-0.02, 1.02);
            if axis == 0 { left + share * wide } else { top + (1.0 - share) * high }
        };
        let mut names: Vec<(&str, usize)> = Vec::new();
        for series in &self.series {
            if !names.iter().any(|(name, _)| *name == series.name) {
                names.push((&series.name, series.colour));
            }
        }
        let longest = names.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) as f64;
        let columns = ((self.size.0 - 12.0) / (longest * 6.2 + 34.0)).floor().max(1.0) as usize;
        let lines = if self.legend { names.len().div_ceil(columns) } else { 0 };
        let mut text = open(&self.title, (self.size.0, self.size.1 + 16.0 * lines as f64 + if lines > 0 { 6.0 } else { 0.0 }));
        let start = if small { 4.0 } else { left };
        let fitted = fitted(&self.title, self.size.0 - start - 4.0);
        let _ = write!(text, "<text x=\"{start}\" y=\"14\" font-weight=\"600\"{fitted}>{}</text>", escape(&self.title));
        for (axis, _) in self.ranges.iter().enumerate() {
            self.axis(&mut text, axis, if small { 3 - axis } else { 5 }, &at, (left, top, wide, high));
        }
        if !small {
            let (x, y) = (left + wide / 2.0, top + high + 31.0);
            let _ = write!(text, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" class=\"wt\">{}</text>", escape(&self.labels[0]));
            let y = top + high / 2.0;
            let label = escape(&self.labels[1]);
            let _ = write!(text, "<text transform=\"translate(11 {y:.1}) rotate(-90)\" text-anchor=\"middle\" class=\"wt\">{label}</text>");
        }
        if self.diagonal {
            let ((x1, x2), (y1, y2)) = (self.ranges[0], self.ranges[1]);
            let (x1, x2, y1, y2) = (at(0, x1), at(0, x2), at(1, y1), at(1, y2));
            let _ = write!(text, "<line class=\"di\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
        }
        for series in &self.series {
            let points: Vec<String> = series.points.iter().map(|(x, y)| format!("{:.1},{:.1}", at(0, *x), at(1, *y))).collect();
            let thin = if self.series.len() > 4 { " thin" } else { "" };
            let (key, dash) = (series.colour % COLOURS, dash(series.colour));
            let _ = write!(text, "<polyline class=\"k{key} ln{thin}\" style=\"fill:none\"{dash} points=\"{}\"/>", points.join(" "));
            for (x, y) in series.points.iter().filter(|_| series.marks) {
                let _ = write!(text, "<circle class=\"k{key}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>", at(0, *x), at(1, *y));
            }
        }
        for (place, (name, colour)) in names.iter().enumerate().take(if self.legend { names.len() } else { 0 }) {
            let x = 6.0 + (place % columns) as f64 * (longest * 6.2 + 34.0);
            let y = self.size.1 + 10.0 + (place / columns) as f64 * 16.0;
            let (key, dash, name) = (colour % COLOURS, dash(*colour), escape(name));
            let _ = write!(text, "<line class=\"k{key} ln\"{dash} x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>", x + 18.0);
            let _ = write!(text, "<text x=\"{:.1}\" y=\"{:.1}\">{name}</text>", x + 23.0, y + 4.0);
        }
        text + "</svg>"
    }

    fn axis(&self, text: &mut String, axis: usize, ticks: usize, at: &dyn Fn(usize, f64) -> f64, frame: (f64, f64, f64, f64)) {
        let (left, top, wide, high) = frame;
        for (value, shown) in steps(self.ranges[axis], ticks) {
            let place = at(axis, value);
            let _ = match axis {
                0 => write!(
                    text,
                    "<line class=\"gr\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{top}\" y2=\"{:.1}\"/><text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{shown}</text>",
                    top + high,
                    top + high + 14.0
                ),
                _ => write!(
                    text,
                    "<line class=\"gr\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{place:.1}\" y2=\"{place:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{shown}</text>",
                    left + wide,
                    left - 4.0,
                    place + 4.0
                ),
            };
        }
        let (x, y) = if axis == 0 { (left + wide, top + high) } else { (left, top) };
        let _ = write!(text, "<line class=\"ax\" x1=\"{left}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{y:.1}\"/>", top + high);
    }
}

/// About how many pixels a title takes.
pub(super) fn wide(title: &str) -> f64 {
    title.chars().count() as f64 * 6.6
}

/// Squeezes a title that is about longer than this many pixels.
fn fitted(title: &str, room: f64) -> String {
    if wide(title) > room { format!(" textLength=\"{room:.0}\" lengthAdjust=\"spacingAndGlyphs\"") } else { String::new() }
}

fn dash(colour: usize) -> &'static str {
    ["", " stroke-dasharray=\"6 3\"", " stroke-dasharray=\"2 2\""][(colour / COLOURS).min(2)]
}

/// Round values within a range, about so many, with as many digits as they need.
pub(super) fn steps((from, to): (f64, f64), about: usize) -> Vec<(f64, String)> {
    let rough = (to - from) / about.max(1) as f64;
    if !rough.is_finite() || rough <= 0.0 {
        return Vec::new();
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|one| one * power).find(|one| *one >= rough * 0.999).unwrap_or(rough);
    let digits = [1.0, 10.0, 100.0, 1000.0].iter().position(|times| ((step * times).round() - step * times).abs() < 1e-6).unwrap_or(4);
    let (first, last) = ((from / step - 1e-9).ceil() as i64, (to / step + 1e-9).floor() as i64);
    (first..=last).map(|at| at as f64 * step).map(|value| (value, format!("{value:.digits$}"))).collect()
}

/// Counts `[truth][decision]` in a grid, darker the larger their share of the row.
pub fn matrix(title: &str, classes: &[String], counts: &[Vec<u64>]) -> String {
    let (side, left, top) = (58.0, 70.0, 38.0);
    let width = left + side * classes.len() as f64 + 8.0;
    let mut text = open(title, (width.max(wide(title) + 8.0), top + side * classes.len() as f64 + 8.0));
    let cut = |name: &str| escape(&name.chars().take(10).collect::<String>());
    let _ = write!(text, "<text x=\"4\" y=\"13\" font-weight=\"600\">{}</text>", escape(title));
    for (at, class) in classes.iter().enumerate() {
        let place = at as f64 * side + side / 2.0;
        let _ = write!(text, "<text x=\"{:.1}\" y=\"31\" text-anchor=\"middle\" class=\"wt\">{}</text>", left + place, cut(class));
        let _ = write!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" class=\"wt\">{}</text>",
            left - 5.0,
            top + place + 4.0,
            cut(class)
        );
    }
    for (row, counts) in counts.iter().enumerate() {
        let all = counts.iter().sum::<u64>().max(1) as f64;
        for (column, count) in counts.iter().enumerate() {
            let (x, y) = (left + column as f64 * side, top + row as f64 * side);
            let share = *count as f64 / all * 0.75;
            let _ = write!(
                text,
                "<rect class=\"ht\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{side}\" height=\"{side}\" fill-opacity=\"{share:.2}\"/>"
            );
            let _ = write!(text, "<rect class=\"ax\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{side}\" height=\"{side}\"/>");
            let (x, y) = (x + side / 2.0, y + side / 2.0 + 4.0);
            let _ = write!(text, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{count}</text>");
        }
    }
    text + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let shown = |range, about| steps(range, about).into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ");
        assert_eq!(shown((0.0, 1.0), 5), "0.0 0.2 0.4 0.6 0.8 1.0");
        assert_eq!(shown((1.0, 50.0), 2), "25 50");
        assert_eq!(shown((0.31, 0.74), 2), "0.50");
        assert_eq!(shown((1.0, 1.0), 5), "");
    }

    #[test]
    fn a_chart_has_a_legend_entry_per_name_and_nothing_unescaped() {
        let series = |name: &str, colour| Series { name: name.to_owned(), points: vec![(0.0, 0.0), (1.0, 1.0)], colour, marks: true };
        let chart = Chart {
            title: "a <b> & \"c\"".to_owned(),
            labels: ["x".to_owned(), "y".to_owned()],
            ranges: [(0.0, 1.0), (0.0, 1.0)],
            size: (300.0, 300.0),
            series: vec![series("nas", 0), series("nas", 0), series("vgg", 9)],
            diagonal: true,
            legend: true,
        };
        let small = Chart { title: "a network of a long name, seed 1".to_owned(), size: (200.0, 130.0), ..chart.clone() }.svg();
        assert!(small.contains("textLength=\"192\"") && small.contains("seed 1</text>"), "{small}");
        let svg = chart.svg();
        assert!(!svg.contains("textLength"));
        assert_eq!((svg.matches(">nas</text>").count(), svg.matches("<polyline").count(), svg.matches("<circle").count()), (1, 3, 6));
        assert!(svg.contains("a &lt;b&gt; &amp; &quot;c&quot;") && !svg.contains("<b>"), "{svg}");
        assert!(svg.contains("stroke-dasharray=\"6 3\""), "a ninth line has a dash");
        let file = alone(&svg);
        assert!(file.starts_with("<svg xmlns=") && file.contains("><style>.ch{"), "{file}");
    }

    #[test]
    fn a_matrix_shows_every_count() {
        let svg = matrix("m", &["a".to_owned(), "b".to_owned()], &[vec![20, 0], vec![2, 18]]);
        assert!([">20</text>", ">0</text>", ">2</text>", ">18</text>"].iter().all(|count| svg.contains(count)), "{svg}");
    }
}
