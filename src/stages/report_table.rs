//! `report.table`: metrics of many runs become a table.

use super::laid_out::{Further, LaidOut, Settings};
use super::runs::Controls;
use crate::content::Level;
use crate::report::{Grid, Report, csv, latex, markdown};
use crate::stage::{Artifact, Context, Params, Port, Problem, Whole};
use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lays out the metrics of many runs, in the form that papers print and in an honest one.
///
/// The honest form has a row per run with its coordinates, value and interval, and the difference to the run that validation chose, then
/// mean ± standard deviation over repetitions. The paper's form has a row per network and the seeds beside each other, the best of each
/// seed marked; controls are left out of it. A run that failed stays in both with the class of its failure and counts in no mean.
///
/// Runs on images from which the lungs are taken, or all but the frame, are controls: where the interval of one meets that of the real
/// thing, a warning stands on top, and where there is none, a line says so. Whether a difference is more than chance, `stats.compare` says.
///
/// Where `classifier.evaluate` measured more, further tables follow: `decisions` (by image and by patient, at 0.5 and at the threshold
/// that validation chose) and `groups` (by subgroup, of patients and at that threshold where there are such). The paper's form stays as
/// papers print it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportTable {
    /// Figures, in this order. Unset: those of accuracy, precision, recall, f1, sensitivity, specificity, auc, dice and iou
    /// that any run has.
    #[serde(default)]
    metrics: Option<Vec<String>>,
    /// Axes that only repeat the same experiment: means are taken over them, and the paper's form has them side by side.
    #[serde(default = "super::laid_out::over")]
    over: Vec<String>,
    /// Axis whose values are the rows of the paper's form.
    #[serde(default = "super::laid_out::rows")]
    rows: String,
    /// Figure that marks the best, is held against the chosen run and against the controls. The first in the table where no run has it.
    #[serde(default = "super::laid_out::by")]
    by: String,
    /// How many are marked for each seed of the paper's form, where there are more; of equal ones at the edge all are.
    #[serde(default = "super::laid_out::best")]
    best: usize,
    /// Axis and values that make a run a control.
    #[serde(default = "super::runs::controls")]
    controls: Controls,
    /// Digits after the point in Markdown and LaTeX, 0 to 9; the CSV has six.
    #[serde(default = "super::laid_out::digits")]
    digits: usize,
    /// From people's data, figures and counts of fewer rows than this are not shown, nor subgroups of fewer people, or with fewer of a
    /// class.
    #[serde(default = "super::laid_out::min_count")]
    min_count: u64,
}

impl Params for ReportTable {
    const KIND: &'static str = "report.table";
    const REVISION: u32 = 3;
    const REVISIONS: &'static [(u32, &'static str)] = &[
        (2, "the paper's form, differences to the chosen run, controls, how often the test data was met"),
        (3, "seeds of the paper's form in their order"),
    ];
    const INPUTS: &'static [Port] = &[
        Port::one("runs", &[Artifact::Metrics], "metrics of the runs, gathered; one that failed is shown as such").many().with_holes(),
        Port::one("validation", &[Artifact::Predictions], "what the trainings say of the validation set: its figures are shown too")
            .many()
            .with_holes(),
        Port::one("choice", &[Artifact::Table], "what validation chose (`classifier.select`): other runs are held against its first")
            .many()
            .with_holes(),
        Port::one("ledger", &[Artifact::Table], "how many models ever met the test data: more than are in the table is a warning").filled(),
    ];
    const OUTPUTS: &'static [Port] = &[
        Port::one("table", &[Artifact::Table], "table.csv: a row per run, then mean and sd per group"),
        Port::one(
            "report",
            &[Artifact::Report],
            "table.md to read, table.tex (booktabs) to print; paper.csv, paper.md, paper.tex: the paper's form; where there is more than all images at 0.5, decisions and groups as .csv and .tex",
        ),
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
        let LaidOut { report, grids, remarks, further, .. } = Settings {
            metrics: self.metrics.as_deref(),
            over: &self.over,
            rows: &self.rows,
            by: &self.by,
            best: self.best,
            controls: &self.controls,
            min_count: self.min_count,
        }
        .lay_out(cx)?;
        remarks.iter().filter(|remark| remark.warning).for_each(|remark| cx.warn(&remark.text));
        cx.write("table", "table.csv", &csv(&report)?)?;
        let beside: Vec<(&str, &Report)> = further.iter().map(|one| (one.told, &one.report)).collect();
        cx.write("report", "table.md", markdown(&report, &beside, &remarks, self.digits).as_bytes())?;
        cx.write("report", "table.tex", latex(&report, &remarks, self.digits).as_bytes())?;
        for Further { name, report, .. } in &further {
            cx.write("report", &format!("{name}.csv"), &csv(report)?)?;
            cx.write("report", &format!("{name}.tex"), latex(report, &[], self.digits).as_bytes())?;
        }
        if grids.is_empty() {
            return Ok(());
        }
        Grid::files(&grids, self.digits)?.into_iter().try_for_each(|(name, bytes)| cx.write("report", name, &bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Tree;
    use crate::stage::Part;
    use crate::stage::Value;
    use crate::stages::testing::{World, chain, params};

    fn world() -> World {
        let mut world = World::new();
        let json = br#"{"role":"test","n":40,"classes":["a","b"],"metrics":[{"name":"auc","value":0.9375,"n":40,"low":0.8,"high":null},
            {"name":"loss","value":0.5}],"confusion":[[20,0],[2,18]]}"#;
        let first = world.tree(&[("metrics.json", json)]);
        let part = |seed: i64, tree: Tree, hole: Option<&str>| Part {
            coordinates: [("seed".to_owned(), Value::Int(seed))].into(),
            tree: tree.into(),
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
        assert!(text.starts_with("**Warning:** 1 of 2 runs failed: out-of-memory.\n"), "{text}");
        assert!(text.ends_with("Note: no shortcut control was run.\n"), "{text}");
        assert_eq!(outcome.warnings, ["1 of 2 runs failed: out-of-memory"]);
    }

    #[test]
    fn validation_and_what_it_chose_stand_beside_the_test_figures() {
        let mut world = World::new();
        let at = |backbone: &str| [("backbone".to_owned(), Value::Text(backbone.to_owned()))].into();
        let part = |backbone: &str, tree: Tree| Part { coordinates: at(backbone), tree: tree.into(), hole: None };
        let metrics = |auc: f64| format!(r#"{{"role":"test","n":40,"metrics":[{{"name":"auc","value":{auc}}}]}}"#);
        let predictions = "item\tsubject\tlabel\tpredicted\tscore_a\tscore_b\n1\ts\ta\ta\t0.9\t0.1\n2\tt\tb\ta\t0.6\t0.4\n";
        let runs =
            ["nas", "vgg"].iter().zip([0.8, 0.75]).map(|(name, auc)| part(name, world.tree(&[("metrics.json", metrics(auc).as_bytes())])));
        let runs: Vec<Part> = runs.collect();
        let validation =
            ["nas", "old", "vgg"].iter().map(|name| part(name, world.tree(&[("predictions.tsv", predictions.as_bytes())]))).collect();
        world.inputs.0.insert("runs".to_owned(), runs);
        world.inputs.0.insert("validation".to_owned(), validation);
        let choice = b"backbone\tvalidation.auc\truns\trank\tchosen\tfailed\tselected_on\nvgg\t0.8\t1\t2\tyes\t\tvalidation\nnas\t0.9\t1\t1\tyes\t\tvalidation\nold\t\t0\t\tno\texit\tvalidation\n";
        let _ = world.connect("choice", &[("choice.tsv", choice)]);
        let outcome = world.run(&params::<ReportTable>("metrics = ['auc', 'accuracy']")).unwrap();
        let table = String::from_utf8(outcome.read("table", "table.csv")).unwrap();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[0],
            "backbone,role,runs,n,auc,auc_low,auc_high,accuracy,accuracy_low,accuracy_high,failed,reference,auc_difference"
        );
        assert_eq!(lines[1], "nas,validation,1,2,1.000000,,,0.500000,,,,yes,");
        assert_eq!(lines[5], "vgg,test,1,40,0.750000,,,,,,,,-0.050000");
        let paper = String::from_utf8(outcome.read("report", "paper.md")).unwrap();
        assert_eq!(outcome.warnings, [""; 0]);
        assert!(paper.contains("Measured on the validation set") && paper.contains("| old | 1.000 | 0.500 |"), "{paper}");
    }

    #[test]
    fn a_choice_that_test_data_made_is_a_warning() {
        let mut world = world();
        let _ = world.connect("choice", &[("choice.tsv", b"seed\trank\tchosen\tselected_on\n1\t1\tyes\ttest\n")]);
        let warnings = world.run(&params::<ReportTable>("")).unwrap().warnings;
        assert!(warnings.iter().any(|text| text.contains("what is called chosen is selected on test")), "{warnings:?}");
    }

    #[test]
    fn a_metric_that_nobody_has_is_named() {
        let error = chain(world().run(&params::<ReportTable>("metrics = ['dice']")));
        assert_eq!(error, "no run has the metric `dice`; there are auc, loss");
    }
}
