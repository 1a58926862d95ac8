//! A number in a table: CSV, TSV, or the Markdown and LaTeX that reports write.

use super::super::exit::Wrong;
use crate::table::Table;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Rows with the names of their columns; a file may hold several tables.
type Rows = Vec<(Vec<String>, Vec<String>)>;

/// The number at a row (from 1, headers not counted) and a column (a name, or a number from 1), and what else stands in its row.
pub(super) fn cell(file: &Path, bytes: &[u8], row: &str, column: &str) -> Result<Value> {
    let wrong = |what: String| Wrong(format!("{}: {what}", file.display()));
    let text = || std::str::from_utf8(bytes).context("not UTF-8");
    let of_table = |table: Table| table.rows.into_iter().map(|row| (table.columns.clone(), row)).collect();
    let rows: Result<Rows> = match file.extension().and_then(|end| end.to_str()) {
        Some("csv") => Table::from_delimited(bytes).map(of_table),
        Some("tsv") => Table::from_tsv(bytes).map(of_table),
        Some("md") => text().map(markdown),
        Some("tex") => text().map(latex),
        _ => return Err(wrong("rows and columns are those of a .csv, .tsv, .md or .tex file".to_owned()).into()),
    };
    let rows = rows.with_context(|| format!("cannot read {}", file.display()))?;
    let numbered = |text: &str, count: usize| text.parse::<usize>().ok().filter(|number| (1..=count).contains(number)).map(|at| at - 1);
    let at_row =
        numbered(row, rows.len()).ok_or_else(|| wrong(format!("there is no row {row}: below the header are rows 1 to {}", rows.len())))?;
    let (columns, row) = &rows[at_row];
    let at_column = columns
        .iter()
        .position(|name| name == column)
        .or_else(|| numbered(column, columns.len()))
        .ok_or_else(|| wrong(format!("there is no column {column}: there are {}", columns.join(", "))))?;
    let named: BTreeMap<&str, &str> = columns.iter().map(String::as_str).zip(row.iter().map(String::as_str)).collect();
    let value = row.get(at_column).cloned().unwrap_or_default();
    Ok(json!({ "row": at_row + 1, "column": columns[at_column], "value": value, "values": named }))
}

fn markdown(text: &str) -> Rows {
    let mut rows: Rows = Vec::new();
    let mut header = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().replace("**", "")).collect();
        if cells.iter().all(|cell| cell.starts_with(['-', ':']) && cell.trim_matches(['-', ':']).is_empty()) {
            header = rows.pop().map(|(_, names)| names).unwrap_or_default();
        } else {
            rows.push((header.clone(), cells));
        }
    }
    rows
}

fn latex(text: &str) -> Rows {
    let mut rows: Rows = Vec::new();
    let (mut groups, mut header, mut in_head) = (Vec::new(), Vec::new(), false);
    for line in text.lines() {
        match line.trim() {
            "\\toprule" => (groups, header, in_head) = (Vec::new(), Vec::new(), true),
            "\\midrule" => in_head = false,
            line => {
                let Some(line) = line.strip_suffix("\\\\") else { continue };
                // An empty first cell was trimmed away.
                let first = if line.starts_with('&') { " " } else { "" };
                let cells: Vec<String> = format!("{first}{line}").split(" & ").flat_map(spread).collect();
                if !in_head {
                    rows.push((header.clone(), cells));
                } else if cells.first().is_some_and(String::is_empty) {
                    groups = cells;
                } else {
                    let named = |(at, name): (usize, &String)| {
                        let group = groups.get(at).map_or("", String::as_str);
                        if group.is_empty() { name.clone() } else { format!("{group} {name}") }
                    };
                    header = cells.iter().enumerate().map(named).collect();
                }
            }
        }
    }
    rows
}

/// A cell of LaTeX as plain text, once for each column that it spans.
fn spread(cell: &str) -> Vec<String> {
    let spans = cell.trim().strip_prefix("\\multicolumn{").and_then(|rest| {
        let (count, rest) = rest.split_once('}')?;
        let (_, text) = rest.split_once("}{")?;
        Some((count.parse::<usize>().ok()?, text.strip_suffix('}')?))
    });
    let plain = |text: &str| {
        let text = text.trim().strip_prefix("\\textbf{").and_then(|bold| bold.strip_suffix('}')).unwrap_or(text.trim());
        text.replace("$\\pm$", "±").replace("$<$", "<").replace("--", "–").replace('\\', "")
    };
    match spans {
        Some((count, text)) => vec![plain(text); count],
        None => vec![plain(cell)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, text: &str, row: &str, column: &str) -> String {
        match cell(Path::new(name), text.as_bytes(), row, column) {
            Ok(found) => format!("{} {}", found["column"].as_str().unwrap(), found["value"].as_str().unwrap()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn markdown_may_hold_several_tables() {
        let text = "Words.\n\n| a | b |\n|---|---:|\n| x | **1** |\n\nMore.\n\n| a | c |\n|---|:--|\n| y | 2 |\n";
        assert_eq!([at("t.md", text, "1", "b"), at("t.md", text, "2", "c")], ["b 1", "c 2"]);
        assert_eq!(at("t.md", text, "2", "b"), "t.md: there is no column b: there are a, c");
    }

    #[test]
    fn latex_columns_are_named_with_their_group() {
        let text = "% c\n\\begin{tabular}{lrr}\n\\toprule\n & \\multicolumn{2}{c}{seed 1} & \\multicolumn{2}{c}{seed 2} \\\\\n\\cmidrule(lr){2-3} \\cmidrule(lr){4-5}\nnet & AUC & F1 & AUC & F1 \\\\\n\\midrule\nvgg\\_16 & \\textbf{0.9} & 0.8 & \\multicolumn{2}{c}{failed: memory} \\\\\n\\bottomrule\n\\end{tabular}\n";
        assert_eq!(at("t.tex", text, "1", "seed 1 AUC"), "seed 1 AUC 0.9");
        assert_eq!(at("t.tex", text, "1", "seed 2 F1"), "seed 2 F1 failed: memory");
        assert_eq!(at("t.tex", text, "1", "1"), "net vgg_16");
        assert_eq!(at("t.txt", text, "1", "1"), "t.txt: rows and columns are those of a .csv, .tsv, .md or .tex file");
    }
}
