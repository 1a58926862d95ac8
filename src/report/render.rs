//! Layouts of a report: CSV for programs, Markdown for people, LaTeX (booktabs) for journals.

use super::{Cell, Remark, Report, Row};
use anyhow::{Context as _, Result};

/// CSV, numbers with six digits: a row per run, then for each group a row `mean` and a row `sd`, named so in the averaged columns.
pub fn csv(report: &Report) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header = report.axes.clone();
    header.extend(["role", "runs", "n"].map(str::to_owned));
    for metric in &report.metrics {
        header.extend([metric.clone(), format!("{metric}_low"), format!("{metric}_high")]);
    }
    header.push("failed".to_owned());
    if report.rows().any(|row| row.control) {
        header.push("control".to_owned());
    }
    if report.has_references() {
        header.extend(["reference".to_owned(), format!("{}_difference", report.by_name())]);
    }
    writer.write_record(&header)?;
    let runs = report.groups.iter().flat_map(|group| &group.runs);
    for row in runs {
        writer.write_record(record(report, row, "", |cell| match cell {
            Cell::Value { value, interval } => (Some(*value), *interval),
            _ => (None, None),
        }))?;
    }
    for row in report.groups.iter().filter_map(|group| group.mean.as_ref()) {
        writer.write_record(record(report, row, "mean", |cell| {
            (if let Cell::Mean { mean, .. } = cell { Some(*mean) } else { None }, None)
        }))?;
        writer.write_record(record(report, row, "sd", |cell| (if let Cell::Mean { sd, .. } = cell { *sd } else { None }, None)))?;
    }
    writer.into_inner().context("cannot write the table")
}

type Figure = (Option<f64>, Option<(f64, f64)>);

fn record(report: &Report, row: &Row, averaged: &str, figure: impl Fn(&Cell) -> Figure) -> Vec<String> {
    let text = |value: Option<f64>| value.map(|value| format!("{value:.6}")).unwrap_or_default();
    let kept = report.axes.len() - report.averaged;
    let mut record: Vec<String> = row.place.clone();
    if !averaged.is_empty() {
        record[kept..].iter_mut().for_each(|value| averaged.clone_into(value));
    }
    record.extend([row.role.clone(), row.runs.to_string(), row.n.map(|n| n.to_string()).unwrap_or_default()]);
    for cell in &row.cells {
        let (value, interval) = figure(cell);
        record.extend([text(value), text(interval.map(|ends| ends.0)), text(interval.map(|ends| ends.1))]);
    }
    record.push(row.failed.clone().unwrap_or_default());
    let mark = |holds: bool| if holds { "yes" } else { "" }.to_owned();
    if report.rows().any(|row| row.control) {
        record.push(mark(row.control));
    }
    if report.has_references() {
        record.extend([mark(row.reference), text(row.difference)]);
    }
    record
}

/// Markdown with aligned columns, so that it reads well as it is: each group's runs, then its mean ± standard deviation. Warnings stand
/// on top, other remarks below; `further` tables, each with a sentence, between.
pub fn markdown(report: &Report, further: &[(&str, &Report)], remarks: &[Remark], digits: usize) -> String {
    let mut text: String = remarks.iter().filter(|one| one.warning).map(|one| format!("**Warning:** {}.\n\n", one.text)).collect();
    text.push_str(&table(report, digits));
    further.iter().for_each(|(told, report)| text.push_str(&format!("\n{told} {}", table(report, digits))));
    remarks.iter().filter(|one| !one.warning).for_each(|one| text.push_str(&format!("\nNote: {}.\n", one.text)));
    text
}

fn table(report: &Report, digits: usize) -> String {
    let sheet = sheet(report, digits, &Style { interval: true, plus_minus: " ± ", dash: "–" });
    let widths: Vec<usize> = (0..sheet.titles.len())
        .map(|at| sheet.rows.iter().map(|row| row.1[at].chars().count()).chain([sheet.titles[at].chars().count(), 3]).max().unwrap_or(3))
        .collect();
    let line = |values: &[String]| {
        let cells = values.iter().enumerate().map(|(at, value)| {
            let space = " ".repeat(widths[at].saturating_sub(value.chars().count()));
            if at < sheet.texts { format!(" {value}{space} ") } else { format!(" {space}{value} ") }
        });
        format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
    };
    let mut text = format!("{}\n\n{}", caption(report), line(&sheet.titles));
    let rule = |(at, width): (usize, &usize)| if at < sheet.texts { "-".repeat(width + 2) } else { format!("{}:", "-".repeat(width + 1)) };
    text.push_str(&format!("|{}|\n", widths.iter().enumerate().map(rule).collect::<Vec<_>>().join("|")));
    sheet.rows.iter().for_each(|(_, row)| text.push_str(&line(row)));
    text
}

/// A LaTeX tabular for the package booktabs: the means where there are any, else the runs; remarks as comments.
pub fn latex(report: &Report, remarks: &[Remark], digits: usize) -> String {
    let sheet = sheet(report, digits, &Style { interval: false, plus_minus: r" $\pm$ ", dash: "--" });
    let means = report.averaged > 0;
    let kept = report.axes.len() - report.averaged;
    // Means do not need the columns of what was averaged.
    let shown: Vec<usize> = (0..sheet.titles.len()).filter(|at| !means || *at < kept || *at >= report.axes.len()).collect();
    let line = |values: &[String]| {
        let cells: Vec<String> = shown.iter().map(|at| escape(&values[*at])).collect();
        format!("{} \\\\\n", cells.join(" & "))
    };
    let columns: String = shown.iter().map(|at| if *at < sheet.texts { 'l' } else { 'r' }).collect();
    let told: String = remarks.iter().map(|one| format!("% {}{}\n", if one.warning { "WARNING: " } else { "" }, one.text)).collect();
    let mut text = format!("{told}% {}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{}\\midrule\n", caption(report), line(&sheet.titles));
    sheet.rows.iter().filter(|(mean, _)| *mean == means).for_each(|(_, row)| text.push_str(&line(row)));
    text.push_str("\\bottomrule\n\\end{tabular}\n");
    text
}

struct Style {
    interval: bool,
    plus_minus: &'static str,
    dash: &'static str,
}

/// Titles and rows of text, with a flag for means; the first `texts` columns are words, the others figures.
struct Sheet {
    titles: Vec<String>,
    texts: usize,
    rows: Vec<(bool, Vec<String>)>,
}

fn sheet(report: &Report, digits: usize, style: &Style) -> Sheet {
    let with_role = report.role().is_none();
    let mut titles: Vec<String> = report.axes.clone();
    if with_role {
        titles.push("role".to_owned());
    }
    let texts = titles.len();
    titles.push("n".to_owned());
    titles.extend(report.metrics.iter().map(|metric| title(metric)));
    let against = report.has_references();
    if against {
        titles.push(format!("{} to the chosen", title(report.by_name())));
    }
    let row = |row: &Row, mean: bool| {
        let mut values = row.place.clone();
        if mean {
            let kept = report.axes.len() - report.averaged;
            let runs = if row.runs == 1 { "mean of 1 run".to_owned() } else { format!("mean of {} runs", row.runs) };
            values[kept] = runs;
        }
        if with_role {
            values.push(row.role.clone());
        }
        values.push(match (row.n, &row.failed) {
            (Some(n), _) => n.to_string(),
            _ if row.withheld => "*".to_owned(),
            (None, None) if !mean => format!("<{}", report.min_count),
            _ => String::new(),
        });
        let place = values.len();
        values.extend(row.cells.iter().map(|cell| show(cell, digits, style)));
        if let (Some(class), Some(first)) = (&row.failed, values.get_mut(place)) {
            *first = format!("failed: {class}");
        }
        if against {
            values.push(match row.difference {
                _ if row.reference => "chosen".to_owned(),
                Some(difference) => format!("{difference:+.digits$}"),
                None => style.dash.to_owned(),
            });
        }
        (mean, values)
    };
    let mut rows = Vec::new();
    for group in &report.groups {
        rows.extend(group.runs.iter().map(|one| row(one, false)));
        rows.extend(group.mean.iter().map(|one| row(one, true)));
    }
    Sheet { titles, texts, rows }
}

fn show(cell: &Cell, digits: usize, style: &Style) -> String {
    match cell {
        Cell::Value { value, interval: Some((low, high)) } if style.interval => {
            format!("{value:.digits$} ({low:.digits$}–{high:.digits$})")
        }
        Cell::Value { value, .. } => format!("{value:.digits$}"),
        Cell::Mean { mean, sd: Some(sd) } => format!("{mean:.digits$}{}{sd:.digits$}", style.plus_minus),
        Cell::Mean { mean, sd: None } => format!("{mean:.digits$}"),
        Cell::Missing => style.dash.to_owned(),
        Cell::Hidden => "*".to_owned(),
    }
}

/// A figure with its interval, as plain text.
pub(super) fn show_plain(cell: &Cell, digits: usize) -> String {
    show(cell, digits, &Style { interval: true, plus_minus: " ± ", dash: "–" })
}

/// A figure alone, as plain text.
pub(super) fn show_bare(cell: &Cell, digits: usize) -> String {
    show(cell, digits, &Style { interval: false, plus_minus: " ± ", dash: "–" })
}

fn caption(report: &Report) -> String {
    let on = match report.role() {
        Some("all") => "Measured on all rows".to_owned(),
        Some(role) => format!("Measured on the {role} set"),
        None => "Measured on the rows of each role".to_owned(),
    };
    let cells = || report.groups.iter().flat_map(|group| &group.runs).flat_map(|run| &run.cells);
    let intervals =
        if cells().any(|cell| matches!(cell, Cell::Value { interval: Some(_), .. })) { "; in brackets 95 % intervals" } else { "" };
    let means = match report.axes.split_at(report.axes.len() - report.averaged) {
        (_, []) => String::new(),
        (_, over) => format!("; ± is the standard deviation over {}", over.join(" and ")),
    };
    let hidden = match cells().any(|cell| *cell == Cell::Hidden) {
        true => format!("; * rests on fewer than {} rows", report.min_count),
        false => String::new(),
    };
    format!("{on}{intervals}{means}{hidden}.")
}

pub(super) fn title(metric: &str) -> String {
    if metric.len() <= 3 {
        return metric.to_uppercase();
    }
    let mut letters = metric.replace('_', " ").chars().collect::<Vec<_>>();
    if let Some(first) = letters.first_mut() {
        *first = first.to_ascii_uppercase();
    }
    letters.into_iter().collect()
}

/// Escapes what LaTeX reads as its own, save the sign that [`latex`] puts between mean and deviation.
fn escape(text: &str) -> String {
    let plus_minus = r" $\pm$ ";
    let parts: Vec<String> = text.split(plus_minus).map(escape_part).collect();
    parts.join(plus_minus)
}

pub(super) fn escape_part(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', one]),
            '\\' => escaped.push_str(r"\textbackslash{}"),
            '~' => escaped.push_str(r"\textasciitilde{}"),
            '^' => escaped.push_str(r"\textasciicircum{}"),
            '<' => escaped.push_str("$<$"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::tests::{names, runs};
    use super::*;

    fn report(over: &[&str]) -> Report {
        Report::new(&runs(), &names(&["auc", "recall"]), &names(over), 0)
    }

    #[test]
    fn markdown_is_aligned_and_shows_what_failed() {
        let text = markdown(&report(&["seed"]), &[], &[Remark::warning("w"), Remark::note("n")], 2);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert!(text.starts_with("**Warning:** w.\n\n") && text.ends_with("\nNote: n.\n"), "{text}");
        assert_eq!(lines[0], "Measured on the test set; in brackets 95 % intervals; ± is the standard deviation over seed.");
        assert_eq!(lines[2], "| backbone  | seed           |   n |              AUC |      Recall |");
        assert_eq!(lines[3], "|-----------|----------------|----:|-----------------:|------------:|");
        assert_eq!(lines[4], "| mobilenet | 1              |  87 | 0.90 (0.80–0.95) |        0.50 |");
        assert_eq!(lines[6], "| mobilenet | mean of 2 runs |     |      0.85 ± 0.07 | 0.50 ± 0.00 |");
        assert_eq!(lines[8], "| vgg_16    | 2              |     |   failed: memory |           – |");
        assert_eq!(lines[9], "| vgg_16    | mean of 1 run  |     |             0.70 |        0.50 |");
    }

    #[test]
    fn latex_shows_means_and_escapes() {
        let text = latex(&report(&["seed"]), &[], 2);
        let wanted = [
            r"\begin{tabular}{lrrr}",
            r"\toprule",
            r"backbone & n & AUC & Recall \\",
            r"\midrule",
            r"mobilenet &  & 0.85 $\pm$ 0.07 & 0.50 $\pm$ 0.00 \\",
            r"vgg\_16 &  & 0.70 & 0.50 \\",
            r"\bottomrule",
            r"\end{tabular}",
        ];
        assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), wanted);
        assert!(latex(&report(&[]), &[], 2).contains(r"vgg\_16 & 2 &  & failed: memory & -- \\"));
    }

    #[test]
    fn csv_has_runs_then_means() {
        let text = String::from_utf8(csv(&report(&["seed"])).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "backbone,seed,role,runs,n,auc,auc_low,auc_high,recall,recall_low,recall_high,failed");
        assert_eq!(lines[1], "mobilenet,1,test,1,87,0.900000,0.800000,0.950000,0.500000,,,");
        assert_eq!(lines[4], "vgg_16,2,,0,,,,,,,,memory");
        assert_eq!(lines[5], "mobilenet,mean,test,2,,0.850000,,,0.500000,,,");
        assert_eq!(lines[6], "mobilenet,sd,test,2,,0.070711,,,0.000000,,,");
        assert_eq!(lines.len(), 9);
    }
}
