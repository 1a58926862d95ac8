//! The form that papers print: a row per network, the seeds beside each other, the best marked.
//!
//! One grid per combination of the other axes and role. A run that failed is a hole with its class, one that never was a dash.

use super::render::{escape_part, show_bare, title};
use super::{Cell, Report, Row};
use anyhow::{Context as _, Result};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// A grid of figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// What all its runs share, axis by axis.
    pub place: Vec<(String, String)>,
    pub role: String,
    /// What the rows are called.
    pub axis: String,
    /// What the groups of columns are called; one without a name where nothing is repeated.
    pub blocks: Vec<String>,
    pub metrics: Vec<String>,
    /// How many are marked, and by which figure.
    pub best: usize,
    pub by: String,
    /// Name of the row, and what stands in each block.
    pub lines: Vec<(String, Vec<Option<Slot>>)>,
}

/// A run's place in a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// One per metric.
    pub cells: Vec<Cell>,
    pub failed: Option<String>,
    /// Whether it is among the best of its block, where others are not; of equal ones at the edge, all are.
    pub best: bool,
}

/// The axis that labels give.
const LABEL: &str = "from";

/// The grids of a report, controls left out: rows are the values of `axis`, and the `best` of each block are marked.
pub fn grids(report: &Report, axis: &str, best: usize) -> Vec<Grid> {
    let kept = report.axes.len() - report.averaged;
    let Some(at_row) = report.axes[..kept].iter().position(|one| one == axis) else { return Vec::new() };
    let mut grids: Vec<Grid> = Vec::new();
    let rows: Vec<&Row> = report.rows().filter(|row| !row.control).collect();
    // A run that is on no value of the axis, such as a program beside the networks, is a row by its label.
    let at_label = report.axes[..kept].iter().position(|one| one == LABEL);
    let name = |row: &Row| match at_label {
        Some(at) if row.place[at_row].is_empty() => row.place[at].clone(),
        _ => row.place[at_row].clone(),
    };
    let rest = |row: &Row, hidden: Option<usize>| -> Vec<(String, String)> {
        let pairs = report.axes[..kept].iter().cloned().zip(row.place.iter().cloned()).enumerate();
        pairs.filter(|(at, (_, value))| *at != at_row && Some(*at) != hidden && !value.is_empty()).map(|(_, pair)| pair).collect()
    };
    // Labels that tell nothing apart are no part of a grid's place.
    let mut seen = BTreeSet::new();
    let alone = rows.iter().all(|row| seen.insert((name(row), rest(row, at_label), row.role.clone(), row.place[kept..].to_vec())));
    let place = |row: &Row| rest(row, at_label.filter(|_| alone));
    // Failed runs have no role: they stand in every grid of their place, so these must be there first.
    for row in rows.iter().filter(|row| row.failed.is_none()).chain(rows.iter().filter(|row| row.failed.is_some())) {
        let place = place(row);
        let known = |grid: &&mut Grid| grid.place == place && (row.failed.is_some() || grid.role == row.role);
        if grids.iter_mut().find(known).is_none() {
            grids.push(Grid {
                place,
                role: row.role.clone(),
                axis: axis.to_owned(),
                blocks: Vec::new(),
                metrics: report.metrics.clone(),
                best,
                by: report.by_name().to_owned(),
                lines: Vec::new(),
            });
        }
    }
    for grid in &mut grids {
        let own: Vec<&&Row> =
            rows.iter().filter(|row| place(row) == grid.place && (row.failed.is_some() || row.role == grid.role)).collect();
        let block = |row: &Row| -> String {
            let pairs = report.axes[kept..].iter().zip(&row.place[kept..]).filter(|(_, value)| !value.is_empty());
            pairs.map(|(axis, value)| format!("{axis} {value}")).collect::<Vec<_>>().join(", ")
        };
        // The first row may lack some: of a sweep's chosen networks each has the seeds in which it was chosen.
        let mut repeated = own.clone();
        repeated.sort_by(|one, other| by_value(&one.place[kept..], &other.place[kept..]));
        for row in repeated {
            let name = block(row);
            if !grid.blocks.contains(&name) {
                grid.blocks.push(name);
            }
        }
        for row in own {
            let (name, at) = (name(row), grid.blocks.iter().position(|one| *one == block(row)).unwrap_or(0));
            let slot = Slot { cells: row.cells.clone(), failed: row.failed.clone(), best: false };
            match grid.lines.iter_mut().find(|(other, _)| *other == name) {
                Some((_, slots)) => slots[at] = Some(slot),
                None => {
                    let mut slots = vec![None; grid.blocks.len()];
                    slots[at] = Some(slot);
                    grid.lines.push((name, slots));
                }
            }
        }
        grid.mark(report.by, report.less_is_better());
    }
    grids
}

/// The order of an axis: numbers by size, then words.
fn by_value(one: &[String], other: &[String]) -> Ordering {
    let number = |text: &String| text.parse::<f64>().ok();
    let compare = |(one, other): (&String, &String)| match (number(one), number(other)) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => one.cmp(other),
    };
    one.iter().zip(other).map(compare).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

impl Grid {
    fn mark(&mut self, by: usize, less_is_better: bool) {
        let of = |slot: &Option<Slot>| match slot.as_ref().and_then(|slot| slot.cells.get(by)) {
            Some(Cell::Value { value, .. }) => Some(if less_is_better { -value } else { *value }),
            _ => None,
        };
        for block in 0..self.blocks.len() {
            let mut values: Vec<f64> = self.lines.iter().filter_map(|(_, slots)| of(&slots[block])).collect();
            values.sort_by(|a, b| b.total_cmp(a));
            // Where all would be marked, no mark says anything.
            let Some(edge) = values.get(self.best.wrapping_sub(1)).copied().filter(|_| values.len() > self.best) else { continue };
            for (_, slots) in &mut self.lines {
                let is_best = of(&slots[block]).is_some_and(|value| value >= edge);
                if let Some(slot) = slots[block].as_mut() {
                    slot.best = is_best;
                }
            }
        }
    }

    /// What it shows, in a sentence.
    pub fn caption(&self) -> String {
        let place: Vec<String> = self.place.iter().map(|(axis, value)| format!("{axis} {value}")).collect();
        let on = match self.role.as_str() {
            "" => "no run ended".to_owned(),
            "all" => "measured on all rows".to_owned(),
            role => format!("measured on the {role} set"),
        };
        let marks = self.lines.iter().flat_map(|(_, slots)| slots).flatten().any(|slot| slot.best);
        let marked = match self.best {
            _ if !marks => String::new(),
            best => {
                let each = if self.blocks.len() > 1 { " of each" } else { "" };
                format!("; bold: the {best} with the best {}{each}", title(&self.by))
            }
        };
        let text = format!("{}{}{on}{marked}.", place.join(", "), if place.is_empty() { "" } else { ": " });
        text.chars().take(1).flat_map(char::to_uppercase).chain(text.chars().skip(1)).collect()
    }

    fn markdown(&self, digits: usize) -> String {
        let mut titles = vec![self.axis.clone()];
        for block in &self.blocks {
            titles.extend(self.metrics.iter().map(|metric| [block.as_str(), &title(metric)].join(" ").trim().to_owned()));
        }
        let mut text = format!("{}\n\n| {} |\n|---|{}\n", self.caption(), titles.join(" | "), "---:|".repeat(titles.len() - 1));
        for (name, slots) in &self.lines {
            let values = slots.iter().flat_map(|slot| {
                self.texts(slot.as_ref(), digits).into_iter().map(|(text, best)| if best { format!("**{text}**") } else { text })
            });
            text.push_str(&format!("| {name} | {} |\n", values.collect::<Vec<_>>().join(" | ")));
        }
        text
    }

    /// The texts of a block, and whether each is bold.
    fn texts(&self, slot: Option<&Slot>, digits: usize) -> Vec<(String, bool)> {
        let mut texts = match slot {
            Some(Slot { failed: Some(class), .. }) => vec![(format!("failed: {class}"), false)],
            Some(slot) => slot.cells.iter().map(|cell| (show_bare(cell, digits), slot.best)).collect(),
            None => vec![("–".to_owned(), false)],
        };
        texts.resize(self.metrics.len(), ("–".to_owned(), false));
        texts
    }

    fn latex(&self, digits: usize) -> String {
        let (width, blocks) = (self.metrics.len(), self.blocks.len());
        let columns = "r".repeat(width * blocks);
        let mut text = format!("% {}\n\\begin{{tabular}}{{l{columns}}}\n\\toprule\n", self.caption());
        if blocks > 1 {
            let heads = self.blocks.iter().map(|block| format!("\\multicolumn{{{width}}}{{c}}{{{}}}", escape_part(block)));
            text.push_str(&format!(" & {} \\\\\n", heads.collect::<Vec<_>>().join(" & ")));
            text.push_str(
                &(0..blocks)
                    .map(|at| format!("\\cmidrule(lr){{{}-{}}}", 2 + at * width, 1 + (at + 1) * width))
                    .collect::<Vec<_>>()
                    .join(" "),
            );
            text.push('\n');
        }
        let titles: Vec<String> = self.metrics.iter().map(|metric| escape_part(&title(metric))).collect();
        text.push_str(&format!("{} & {} \\\\\n\\midrule\n", escape_part(&self.axis), vec![titles.join(" & "); blocks].join(" & ")));
        for (name, slots) in &self.lines {
            let values = slots.iter().map(|slot| match slot {
                Some(Slot { failed: Some(class), .. }) => {
                    format!("\\multicolumn{{{width}}}{{c}}{{failed: {}}}", escape_part(class))
                }
                slot => {
                    let texts = self.texts(slot.as_ref(), digits).into_iter().map(|(text, best)| {
                        let text = escape_part(&text).replace('–', "--");
                        if best { format!("\\textbf{{{text}}}") } else { text }
                    });
                    texts.collect::<Vec<_>>().join(" & ")
                }
            });
            text.push_str(&format!("{} & {} \\\\\n", escape_part(name), values.collect::<Vec<_>>().join(" & ")));
        }
        text + "\\bottomrule\n\\end{tabular}\n"
    }
}

impl Grid {
    /// `paper.md`, `paper.tex` (booktabs) and `paper.csv` of these grids; the CSV has a column per block and figure.
    pub fn files(grids: &[Self], digits: usize) -> Result<[(&'static str, Vec<u8>); 3]> {
        let markdown: Vec<String> = grids.iter().map(|grid| grid.markdown(digits)).collect();
        let latex: Vec<String> = grids.iter().map(|grid| grid.latex(digits)).collect();
        Ok([("paper.md", markdown.join("\n").into_bytes()), ("paper.tex", latex.join("\n").into_bytes()), ("paper.csv", table(grids)?)])
    }
}

fn table(grids: &[Grid]) -> Result<Vec<u8>> {
    let Some(first) = grids.first() else { return Ok(Vec::new()) };
    let mut axes: Vec<&String> = Vec::new();
    let mut blocks: Vec<&String> = Vec::new();
    for grid in grids {
        axes.extend(grid.place.iter().map(|(axis, _)| axis));
        blocks.extend(&grid.blocks);
    }
    let mut seen = BTreeSet::new();
    axes.retain(|axis| seen.insert(*axis));
    seen.clear();
    blocks.retain(|block| seen.insert(*block));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut header: Vec<String> = axes.iter().map(|axis| (*axis).clone()).collect();
    header.extend(["role".to_owned(), first.axis.clone()]);
    let within = |block: &str, name: &str| if block.is_empty() { name.to_owned() } else { format!("{block} {name}") };
    for block in &blocks {
        header.extend(first.metrics.iter().map(|metric| within(block, metric)));
        header.extend([within(block, "best"), within(block, "failed")]);
    }
    writer.write_record(&header)?;
    for grid in grids {
        for (name, slots) in &grid.lines {
            let value = |axis: &String| grid.place.iter().find(|(one, _)| one == axis).map(|(_, value)| value.clone()).unwrap_or_default();
            let mut record: Vec<String> = axes.iter().map(|axis| value(axis)).collect();
            record.extend([grid.role.clone(), name.clone()]);
            for block in &blocks {
                let at = grid.blocks.iter().position(|one| one == *block);
                let slot = at.and_then(|at| slots[at].as_ref());
                for metric in 0..first.metrics.len() {
                    record.push(match slot.map(|slot| &slot.cells[metric]) {
                        Some(Cell::Value { value, .. }) => format!("{value:.6}"),
                        _ => String::new(),
                    });
                }
                record.push(slot.map_or("", |slot| if slot.best { "yes" } else { "no" }).to_owned());
                record.push(slot.and_then(|slot| slot.failed.clone()).unwrap_or_default());
            }
            writer.write_record(&record)?;
        }
    }
    writer.into_inner().context("cannot write the table")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{names, run, runs};
    use super::*;

    fn made(best: usize) -> Vec<Grid> {
        let mut runs = runs();
        runs.push(run(&[("backbone", "nas"), ("seed", "1")], Some(0.9)));
        runs.push(run(&[("backbone", "old"), ("seed", "1")], None));
        grids(&Report::new(&runs, &names(&["auc", "recall"]), &names(&["seed"]), 0).by("auc"), "backbone", best)
    }

    #[test]
    fn seeds_stand_beside_each_other_and_the_best_are_bold() {
        let grids = made(1);
        assert_eq!((grids.len(), &grids[0].blocks[..]), (1, &names(&["seed 1", "seed 2"])[..]));
        let text = grids[0].markdown(2);
        let wanted = [
            "Measured on the test set; bold: the 1 with the best AUC of each.",
            "",
            "| backbone | seed 1 AUC | seed 1 Recall | seed 2 AUC | seed 2 Recall |",
            "|---|---:|---:|---:|---:|",
            // Of equal ones both are marked.
            "| mobilenet | **0.90** | **0.50** | 0.80 | 0.50 |",
            "| vgg_16 | 0.70 | 0.50 | failed: memory | – |",
            "| nas | **0.90** | **0.50** | – | – |",
            "| old | – | 0.50 | – | – |",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
        assert!(!made(0)[0].markdown(2).contains("**"));
    }

    #[test]
    fn latex_groups_the_columns_of_a_seed() {
        let text = made(1)[0].latex(2);
        for line in [
            r"\begin{tabular}{lrrrr}",
            r" & \multicolumn{2}{c}{seed 1} & \multicolumn{2}{c}{seed 2} \\",
            r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}",
            r"backbone & AUC & Recall & AUC & Recall \\",
            r"mobilenet & \textbf{0.90} & \textbf{0.50} & 0.80 & 0.50 \\",
            r"vgg\_16 & 0.70 & 0.50 & \multicolumn{2}{c}{failed: memory} \\",
            r"nas & \textbf{0.90} & \textbf{0.50} & -- & -- \\",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }

    #[test]
    fn seeds_stand_in_their_order_whichever_the_first_row_has() {
        let at = |backbone, seed| run(&[("backbone", backbone), ("seed", seed)], Some(0.5));
        let all = [at("nas", "2"), at("nas", "10"), at("vgg", "1"), at("vgg", "2")];
        let made = grids(&Report::new(&all, &names(&["auc"]), &names(&["seed"]), 0), "backbone", 3);
        assert_eq!(made[0].blocks, names(&["seed 1", "seed 2", "seed 10"]));
        let has: Vec<Vec<bool>> = made[0].lines.iter().map(|(_, slots)| slots.iter().map(Option::is_some).collect()).collect();
        assert_eq!(has, [[false, true, true], [true, true, false]]);
    }

    #[test]
    fn other_axes_and_roles_have_grids_of_their_own() {
        let place = |region| [("backbone", "nas"), ("region", region)];
        let mut other = run(&place("all"), Some(0.8));
        if let Ok(metrics) = &mut other.outcome {
            metrics.role = "validation".to_owned();
        }
        let mut failed = run(&place("lungs"), None);
        failed.outcome = Err("exit".to_owned());
        let all = [run(&place("all"), Some(0.7)), other, failed];
        let made = grids(&Report::new(&all, &names(&["auc"]), &[], 0), "backbone", 3);
        let told: Vec<(&str, &str)> = made.iter().map(|grid| (grid.place[0].1.as_str(), grid.role.as_str())).collect();
        assert_eq!(told, [("all", "test"), ("all", "validation"), ("lungs", "")]);
        let text = String::from_utf8(table(&made).unwrap()).unwrap();
        assert_eq!(
            text,
            "region,role,backbone,auc,best,failed\nall,test,nas,0.700000,no,\nall,validation,nas,0.800000,no,\nlungs,,nas,,no,exit\n"
        );
    }
}
