//! What `report.table` and `report.html` have in common: settings, and runs laid out by them.

use super::runs::{Controls, chosen, measured, test_data, validated};
use crate::report::views::{CUT, THRESHOLD, UNIT, decisions, groups};
use crate::report::{Grid, Remark, Report, Run, against_controls, failures, grids, met_before, selected_on_test};
use crate::stage::{Context, Part};
use anyhow::{Result, bail, ensure};
use std::collections::BTreeSet;

const USUAL: [&str; 7] = ["accuracy", "precision", "recall", "f1", "sensitivity", "specificity", "auc"];
/// The same for masks.
const OF_MASKS: [&str; 2] = ["dice", "iou"];

pub(super) fn over() -> Vec<String> {
    vec!["seed".to_owned()]
}

pub(super) fn rows() -> String {
    "backbone".to_owned()
}

pub(super) fn by() -> String {
    "auc".to_owned()
}

pub(super) fn best() -> usize {
    3
}

pub(super) fn digits() -> usize {
    3
}

pub(super) fn min_count() -> u64 {
    5
}

/// Params of both kinds, as they say them.
pub(super) struct Settings<'p> {
    pub(super) metrics: Option<&'p [String]>,
    pub(super) over: &'p [String],
    pub(super) rows: &'p str,
    pub(super) by: &'p str,
    pub(super) best: usize,
    pub(super) controls: &'p Controls,
    pub(super) min_count: u64,
}

/// Runs as they are shown.
pub(super) struct LaidOut {
    pub(super) report: Report,
    pub(super) grids: Vec<Grid>,
    pub(super) remarks: Vec<Remark>,
    /// Axis of the paper's rows.
    pub(super) rows: String,
    /// Tables beside the one of all images, each with a name for its file and a sentence.
    pub(super) further: Vec<Further>,
}

/// A table of views.
pub(super) struct Further {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) told: &'static str,
    pub(super) report: Report,
}

impl Settings<'_> {
    /// Reads the ports `runs`, `validation`, `choice` and `ledger`.
    pub(super) fn lay_out(&self, cx: &Context) -> Result<LaidOut> {
        let read = |port: &str, read: fn(&Part) -> Result<Vec<Run>>| -> Result<Vec<Run>> {
            Ok(cx.inputs.many(port).iter().map(read).collect::<Result<Vec<_>>>()?.concat())
        };
        let mut runs = read("validation", validated)?;
        runs.extend(read("runs", measured)?);
        ensure!(!runs.is_empty(), "nothing is connected to port `runs`");
        let (references, chosen_on_test) = chosen(cx.inputs.many("choice"), &runs)?;
        let columns = self.columns(&runs)?;
        let arrange = |runs: &[Run], columns: &[String]| {
            Report::new(runs, columns, self.over, self.least(cx)).by(self.by).with_controls(self.controls)
        };
        let report = arrange(&runs, &columns);
        let rows = self.rows(&report);
        let report = report.with_references(&references, &rows);
        let view = |name, title, told, runs: Vec<Run>| {
            let threshold = at_threshold(&runs).then(|| THRESHOLD.to_owned());
            let columns: Vec<String> = threshold.into_iter().chain(columns.iter().cloned()).collect();
            (!runs.is_empty()).then(|| Further { name, title, told, report: arrange(&runs, &columns).with_references(&references, &rows) })
        };
        let decisions: Vec<Run> = runs.iter().flat_map(decisions).collect();
        let groups: Vec<Run> = runs.iter().flat_map(|run| groups(run, self.least(cx))).collect();
        let further = [
            view("decisions", "Patients and thresholds", decided(&decisions), decisions),
            view("groups", "Subgroups", "By subgroup.", groups),
        ];
        let further = further.into_iter().flatten().collect();
        let mut remarks: Vec<Remark> = failures(&report).into_iter().chain(selected_on_test(&runs)).chain(chosen_on_test).collect();
        // Of masks no shortcut is asked.
        if report.metrics.iter().any(|metric| USUAL.contains(&metric.as_str())) {
            remarks.extend(against_controls(&report, self.controls));
        }
        remarks.extend(met_before(&test_data(cx.inputs.optional("ledger")?)?));
        Ok(LaidOut { grids: grids(&report, &rows, self.best), report, remarks, rows, further })
    }

    /// Counts below this are not shown; 0 where nothing is of people.
    pub(super) fn least(&self, cx: &Context) -> u64 {
        if cx.inputs.identified() { self.min_count } else { 0 }
    }

    /// The axis of the paper's rows: the one asked for, else the first that is not averaged.
    fn rows(&self, report: &Report) -> String {
        let kept = &report.axes[..report.axes.len() - report.averaged];
        kept.iter().find(|axis| *axis == self.rows).or(kept.first()).cloned().unwrap_or_default()
    }

    fn columns(&self, runs: &[Run]) -> Result<Vec<String>> {
        let found = runs.iter().filter_map(|run| run.outcome.as_ref().ok()).flat_map(|metrics| &metrics.metrics);
        let there: BTreeSet<&str> = found.map(|metric| metric.name.as_str()).collect();
        let Some(metrics) = self.metrics else {
            let usual = USUAL.iter().filter(|name| there.is_empty() || there.contains(*name));
            let of_masks = OF_MASKS.iter().filter(|name| there.contains(*name));
            return Ok(usual.chain(of_masks).map(|&name| name.to_owned()).collect());
        };
        match metrics.iter().find(|name| !there.is_empty() && !there.contains(name.as_str())) {
            Some(name) => bail!("no run has the metric `{name}`; there are {}", there.into_iter().collect::<Vec<_>>().join(", ")),
            None => Ok(metrics.to_vec()),
        }
    }
}

fn at_threshold(runs: &[Run]) -> bool {
    runs.iter().any(|run| run.coordinates.get(CUT).is_some_and(|cut| cut == "validation"))
}

/// What a table of decisions compares.
fn decided(runs: &[Run]) -> &'static str {
    let of_patients = runs.iter().any(|run| run.coordinates.get(UNIT).is_some_and(|unit| unit != "image"));
    match (of_patients, at_threshold(runs)) {
        (true, true) => "By image and by patient, at 0.5 and at the threshold that validation chose.",
        (true, false) => "By image and by patient.",
        (false, _) => "At 0.5 and at the threshold that validation chose.",
    }
}
