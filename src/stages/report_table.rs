//! `report.table`: metrics of many runs become a table.

use crate::content::Level;
use crate::report::{Metrics, Report, Run, csv, latex, markdown};
use crate::stage::{Artifact, Context, Params, Part, Port, Problem, Whole, show_coordinates};
use crate::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Lays out the metrics of many runs: one row per run with its coordinates, then mean ± standard deviation over repetitions.
///
/// A run that failed stays in the table with the class of its failure and counts in no mean.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportTable {
    /// Figures, in this order. Unset: those of accuracy, precision, recall, f1, sensitivity, specificity, auc, dice and iou
    /// that any run has.
    #[serde(default)]
    metrics: Option<Vec<String>>,
    /// Axes that only repeat the same experiment: means are taken over them.
    #[serde(default = "over")]
    over: Vec<String>,
    /// Digits after the point in Markdown and LaTeX, 0 to 9; the CSV has six.
    #[serde(default = "digits")]
    digits: usize,
    /// From people's data, figures and counts of fewer rows than this are not shown.
    #[serde(default = "min_count")]
    min_count: u64,
}

const USUAL: [&str; 7] = ["accuracy", "precision", "recall", "f1", "sensitivity", "specificity", "auc"];
/// The same for masks.
const OF_MASKS: [&str; 2] = ["dice", "iou"];

fn over() -> Vec<String> {
    vec!["seed".to_owned()]
}

fn digits() -> usize {
    3
}

fn min_count() -> u64 {
    5
}

impl Params for ReportTable {
    const KIND: &'static str = "report.table";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] =
        &[Port::one("runs", &[Artifact::Metrics], "metrics of the runs, gathered; one that failed is shown as such").many().with_holes()];
    const OUTPUTS: &'static [Port] = &[
        Port::one("table", &[Artifact::Table], "table.csv: a row per run, then mean and sd per group"),
        Port::one("report", &[Artifact::Report], "table.md to read, table.tex (booktabs) to print"),
    ];
    // It hides small counts, and what gives them away.
    const AT_MOST: Level = Level::Released;

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.digits > 9 {
            problems.push(Problem::of("digits", "must be 0 to 9"));
        }
        if self.metrics.as_ref().is_some_and(Vec::is_empty) {
            problems.push(Problem::of("metrics", "names no figure"));
        }
        problems
    }
}

impl Whole for ReportTable {
    fn run(&self, cx: &Context) -> Result<()> {
        let runs: Vec<Run> = cx.inputs.many("runs").iter().map(read).collect::<Result<Vec<_>>>()?.concat();
        ensure!(!runs.is_empty(), "nothing is connected to port `runs`");
        let min_count = if cx.inputs.level() > Level::Released { self.min_count } else { 0 };
        let report = Report::new(&runs, &self.columns(&runs)?, &self.over, min_count);
        cx.write("table", "table.csv", &csv(&report)?)?;
        cx.write("report", "table.md", markdown(&report, self.digits).as_bytes())?;
        cx.write("report", "table.tex", latex(&report, self.digits).as_bytes())
    }
}

impl ReportTable {
    fn columns(&self, runs: &[Run]) -> Result<Vec<String>> {
        let found = runs.iter().filter_map(|run| run.outcome.as_ref().ok()).flat_map(|metrics| &metrics.metrics);
        let there: BTreeSet<&str> = found.map(|metric| metric.name.as_str()).collect();
        let Some(metrics) = &self.metrics else {
            let usual = USUAL.iter().filter(|name| there.is_empty() || there.contains(*name));
            let of_masks = OF_MASKS.iter().filter(|name| there.contains(*name));
            return Ok(usual.chain(of_masks).map(|&name| name.to_owned()).collect());
        };
        match metrics.iter().find(|name| !there.is_empty() && !there.contains(name.as_str())) {
            Some(name) => bail!("no run has the metric `{name}`; there are {}", there.into_iter().collect::<Vec<_>>().join(", ")),
            None => Ok(metrics.clone()),
        }
    }
}

/// The run of a part; the runs of a chosen list, which has a folder per part beside `parts.tsv`.
fn read(part: &Part) -> Result<Vec<Run>> {
    let coordinates: BTreeMap<String, String> = part.coordinates.iter().map(|(axis, value)| (axis.clone(), value.to_string())).collect();
    if let Some(class) = &part.hole {
        return Ok(vec![Run { coordinates, outcome: Err(class.clone()) }]);
    }
    let metrics = |path: &str| -> Result<Metrics> {
        let metrics = part.tree.read(path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        metrics.with_context(|| format!("the metrics of [{}]", show_coordinates(&part.coordinates)))
    };
    if !part.tree.files.contains_key("parts.tsv") {
        return Ok(vec![Run { coordinates, outcome: Ok(metrics("metrics.json")?) }]);
    }
    let list = Table::from_tsv(&part.tree.read("parts.tsv")?)?;
    let at_part = list.column("part")?;
    let run = |row: &Vec<String>| {
        let mut coordinates = coordinates.clone();
        let own = list.columns.iter().zip(row).filter(|(column, _)| *column != "part");
        coordinates.extend(own.map(|(column, value)| (column.clone(), value.clone())));
        Ok(Run { coordinates, outcome: Ok(metrics(&format!("{}/metrics.json", row[at_part]))?) })
    };
    list.rows.iter().map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Tree;
    use crate::stage::Value;
    use crate::stages::testing::{World, chain, params};

    fn world() -> World {
        let mut world = World::new();
        let json = br#"{"role":"test","n":40,"classes":["a","b"],"metrics":[{"name":"auc","value":0.9375,"n":40,"low":0.8,"high":null},
            {"name":"loss","value":0.5}],"confusion":[[20,0],[2,18]]}"#;
        let first = world.tree(&[("metrics.json", json)]);
        let part = |seed: i64, tree: Tree, hole: Option<&str>| Part {
            coordinates: [("seed".to_owned(), Value::Int(seed))].into(),
            tree,
            hole: hole.map(str::to_owned),
        };
        let parts = vec![part(1, first, None), part(2, Tree::default(), Some("out-of-memory"))];
        world.inputs.0.insert("runs".to_owned(), parts);
        world
    }

    #[test]
    fn runs_and_holes_become_a_table() {
        let outcome = world().run(&params::<ReportTable>("")).unwrap();
        let csv = "seed,role,runs,n,auc,auc_low,auc_high,failed\n1,test,1,40,0.937500,,,\n2,,0,,,,,out-of-memory\n";
        let means = "mean,test,1,,0.937500,,,\nsd,test,1,,,,,\n";
        assert_eq!(String::from_utf8(outcome.read("table", "table.csv")).unwrap(), format!("{csv}{means}"));
        let text = String::from_utf8(outcome.read("report", "table.md")).unwrap();
        assert!(text.contains("| 2             |     | failed: out-of-memory |\n"), "{text}");
    }

    #[test]
    fn a_metric_that_nobody_has_is_named() {
        let error = chain(world().run(&params::<ReportTable>("metrics = ['dice']")));
        assert_eq!(error, "no run has the metric `dice`; there are auc, loss");
    }
}
