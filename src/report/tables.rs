//! Tables of a page: sorted by a click on a column's head.

use super::render::{show_bare, show_plain, title};
use super::{Cell, Grid, Report, Row};
use maud::{PreEscaped, html};

/// A cell of a table.
#[derive(Clone, Debug, Default)]
pub struct Td {
    pub text: String,
    /// A second line, smaller.
    pub small: String,
    /// What it is sorted by, where that is not the text.
    pub by: Option<String>,
    pub class: &'static str,
}

impl Td {
    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// A column's name, and whether it holds words: those stand to the left.
pub type Column = (String, bool);

/// A table with a caption; `groups` are names over so many columns each.
pub fn table(caption: &str, groups: &[(String, usize)], columns: &[Column], rows: &[Vec<Td>]) -> String {
    let word = |at: usize| columns.get(at).is_some_and(|(_, words)| *words).then_some("word");
    html! {
        @if !caption.is_empty() { p.caption { (caption) } }
        div.wide tabindex="0" {
            table.sortable aria-label=(caption) {
                thead {
                    @if !groups.is_empty() {
                        tr { @for (name, width) in groups { th.group colspan=(width) scope="colgroup" { (name) } } }
                    }
                    tr { @for (at, (name, _)) in columns.iter().enumerate() { th scope="col" class=[word(at)] { button type="button" { (name) } } } }
                }
                tbody {
                    @for row in rows {
                        tr {
                            @for (at, cell) in row.iter().enumerate() {
                                td class={ (word(at).unwrap_or_default()) " " (cell.class) } data-v=[&cell.by] {
                                    (cell.text)
                                    @if !cell.small.is_empty() { small { (cell.small) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    .into_string()
}

/// The honest form: a row per run with value, interval and difference to the chosen, then a table of the means.
pub fn honest(report: &Report, caption: &str, digits: usize) -> String {
    let with_role = report.role().is_none();
    let against = report.has_references();
    let head = |figures_of: &str| {
        let mut columns: Vec<Column> = report.axes.iter().map(|axis| (axis.clone(), true)).collect();
        if with_role {
            columns.push(("set".to_owned(), true));
        }
        columns.push((figures_of.to_owned(), false));
        columns.extend(report.metrics.iter().map(|metric| (title(metric), false)));
        columns
    };
    let line = |row: &Row| {
        let mut cells: Vec<Td> = row.place.iter().map(Td::text).collect();
        if with_role {
            cells.push(Td::text(&row.role));
        }
        cells.push(match (row.n, &row.failed) {
            (Some(n), _) => Td::text(n.to_string()),
            _ if row.withheld => Td { text: "*".to_owned(), by: Some(String::new()), ..Td::default() },
            (None, None) => Td { text: format!("<{}", report.min_count), by: Some("0".to_owned()), ..Td::default() },
            (None, Some(_)) => Td::default(),
        });
        let first = cells.len();
        cells.extend(row.cells.iter().map(|cell| figure(cell, digits)));
        if let (Some(class), Some(cell)) = (&row.failed, cells.get_mut(first)) {
            *cell = Td { text: format!("failed: {class}"), by: Some(String::new()), class: "failed", ..Td::default() };
        }
        if against {
            cells.push(match row.difference {
                _ if row.reference => Td { text: "chosen".to_owned(), by: Some("0".to_owned()), ..Td::default() },
                Some(difference) => Td { text: format!("{difference:+.digits$}"), by: Some(difference.to_string()), ..Td::default() },
                None => Td::default(),
            });
        }
        cells
    };
    let mut columns = head("n");
    if against {
        columns.push((format!("{} to the chosen", title(report.by_name())), false));
    }
    let rows: Vec<Vec<Td>> = report.rows().map(line).collect();
    let mut text = table(caption, &[], &columns, &rows);
    let means: Vec<&Row> = report.groups.iter().filter_map(|group| group.mean.as_ref()).collect();
    if report.groups.iter().any(|group| group.runs.len() > 1) && !means.is_empty() {
        let kept = report.axes.len() - report.averaged;
        let mut columns = head("runs");
        columns.drain(kept..report.axes.len());
        let rows: Vec<Vec<Td>> = means
            .iter()
            .map(|row| {
                let mut cells: Vec<Td> = row.place[..kept].iter().map(Td::text).collect();
                if with_role {
                    cells.push(Td::text(&row.role));
                }
                cells.push(Td::text(row.runs.to_string()));
                cells.extend(row.cells.iter().map(|cell| figure(cell, digits)));
                cells
            })
            .collect();
        let caption = format!("Mean and standard deviation (±) over {}.", report.axes[kept..].join(" and "));
        text.push_str(&table(&caption, &[], &columns, &rows));
    }
    text
}

fn figure(cell: &Cell, digits: usize) -> Td {
    let by = match cell {
        Cell::Value { value, .. } | Cell::Mean { mean: value, .. } => value.to_string(),
        Cell::Missing | Cell::Hidden => String::new(),
    };
    let plain = show_plain(cell, digits);
    let (text, small) = match (cell, plain.split_once(" (")) {
        (Cell::Value { .. }, Some((value, interval))) => (value.to_owned(), interval.trim_end_matches(')').to_owned()),
        _ => (plain, String::new()),
    };
    Td { text, small, by: Some(by), class: "" }
}

/// The paper's form.
pub fn paper(grid: &Grid, digits: usize) -> String {
    let many = grid.blocks.len() > 1;
    let mut groups = vec![(String::new(), 1)];
    groups.extend(grid.blocks.iter().map(|block| (block.clone(), grid.metrics.len())));
    let mut columns: Vec<Column> = vec![(grid.axis.clone(), true)];
    columns.extend(grid.blocks.iter().flat_map(|_| grid.metrics.iter().map(|metric| (title(metric), false))));
    let rows: Vec<Vec<Td>> = grid
        .lines
        .iter()
        .map(|(name, slots)| {
            let mut cells = vec![Td::text(name)];
            for slot in slots {
                let mut block: Vec<Td> = match slot {
                    Some(slot) if slot.failed.is_none() => {
                        let class = if slot.best { "best" } else { "" };
                        slot.cells.iter().map(|cell| Td { text: show_bare(cell, digits), class, ..figure(cell, digits) }.plain()).collect()
                    }
                    _ => vec![Td { text: "–".to_owned(), by: Some(String::new()), ..Td::default() }; grid.metrics.len()],
                };
                if let (Some(class), Some(first)) = (slot.as_ref().and_then(|slot| slot.failed.as_ref()), block.first_mut()) {
                    *first = Td { text: format!("failed: {class}"), by: Some(String::new()), class: "failed", ..Td::default() };
                }
                cells.append(&mut block);
            }
            cells
        })
        .collect();
    table(&grid.caption(), if many { &groups } else { &[] }, &columns, &rows)
}

impl Td {
    fn plain(self) -> Self {
        Self { small: String::new(), ..self }
    }
}

/// A digest, short, with the whole of it where the pointer rests.
pub fn digest(whole: &str) -> String {
    html! { code title=(whole) { (whole.chars().take(12).collect::<String>()) } }.into_string()
}

/// Rows whose cells are HTML.
pub fn raw_table(caption: &str, columns: &[Column], rows: &[Vec<(String, String)>]) -> String {
    html! {
        @if !caption.is_empty() { p.caption { (caption) } }
        div.wide tabindex="0" {
            table.sortable aria-label=(caption) {
                thead { tr { @for (name, words) in columns { th scope="col" class=[words.then_some("word")] { button type="button" { (name) } } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for ((cell, by), (_, words)) in row.iter().zip(columns) {
                                td class=[words.then_some("word")] data-v=(by) { (PreEscaped(cell)) }
                            }
                        }
                    }
                }
            }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{names, runs};
    use super::*;

    #[test]
    fn figures_sort_by_their_value_and_holes_by_nothing() {
        let report = Report::new(&runs(), &names(&["auc", "recall"]), &names(&["seed"]), 0).by("auc");
        let text = honest(&report, "c", 2);
        assert!(text.contains("data-v=\"0.9\">0.90<small>0.80–0.95</small>"), "{text}");
        assert!(text.contains("class=\" failed\" data-v=\"\">failed: memory"), "{text}");
        assert!(text.contains("standard deviation (±) over seed") && text.contains("0.85 ± 0.07"), "{text}");
        let text = paper(&super::super::grids(&report, "backbone", 1)[0], 2);
        assert!(text.contains("<th class=\"group\" colspan=\"2\" scope=\"colgroup\">seed 1</th>"), "{text}");
        assert!(text.contains("class=\" best\" data-v=\"0.9\">0.90<"), "{text}");
    }
}
