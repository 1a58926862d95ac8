//! What a reader must be told beside the figures: controls that reach them, and runs that failed.

use super::{Cell, Report, Row, Run};
use std::collections::{BTreeMap, BTreeSet};

/// A sentence for the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Whether it belongs on top: the figures may not mean what they seem to.
    pub warning: bool,
    pub text: String,
}

impl Remark {
    /// A sentence that belongs on top.
    pub fn warning(text: impl Into<String>) -> Self {
        Self { warning: true, text: text.into() }
    }

    /// A sentence that is as good at the end.
    pub fn note(text: impl Into<String>) -> Self {
        Self { warning: false, text: text.into() }
    }
}

/// Holds the real runs against the controls of the same place: a warning where a control's interval meets that of the real thing, and a
/// remark where no control was run. A figure without an interval counts as one that is infinitely narrow.
pub fn against_controls(report: &Report, controls: &BTreeMap<String, Vec<String>>) -> Vec<Remark> {
    let (ran, real): (Vec<&Row>, Vec<&Row>) = report.rows().partition(|row| row.control);
    if ran.is_empty() {
        return vec![Remark::note("no shortcut control was run")];
    }
    let rest = |row: &Row| -> Vec<(usize, String)> {
        let own = row.place.iter().cloned().enumerate();
        own.filter(|(at, _)| !controls.contains_key(&report.axes[*at])).collect()
    };
    let (mut compared, mut met) = (0, Vec::new());
    for control in &ran {
        for one in real.iter().filter(|one| one.role == control.role && rest(one) == rest(control)) {
            let (Some(own), Some(reals)) = (ends(&control.cells[report.by]), ends(&one.cells[report.by])) else { continue };
            compared += 1;
            let reaches = if report.less_is_better() { own.0 <= reals.1 } else { own.1 >= reals.0 };
            if reaches {
                met.push((control, one));
            }
        }
    }
    let mut remarks = Vec::new();
    if compared == 0 {
        remarks.push(Remark::warning("no shortcut control can be held against a run: none ended with a figure at the same place"));
    }
    if let Some((control, one)) = met.first() {
        let name = super::render::title(report.by_name());
        let more = if compared == 1 { String::new() } else { format!(", and so in {} of {compared} comparisons", met.len()) };
        remarks.push(Remark::warning(format!(
            "a shortcut control does as well as the real thing: {} has {name} {}, {} has {}; the intervals meet{more}, so these figures do not show that the classifier looks at the lungs",
            told(report, control),
            figure(&control.cells[report.by]),
            told(report, one),
            figure(&one.cells[report.by]),
        )));
    }
    remarks
}

/// How often some test data was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestData {
    /// Different models that ever met it in the store.
    pub models: u64,
    /// Of them, those behind the table.
    pub here: u64,
}

/// What the ledger says: a warning where more models met the test data than the table shows.
pub fn met_before(data: &[TestData]) -> Option<Remark> {
    let most = data.iter().max_by_key(|one| (one.models.saturating_sub(one.here), one.models))?;
    let models = |count: u64| if count == 1 { "1 model was".to_owned() } else { format!("{count} different models were") };
    let text = format!("{} ever evaluated on the same test data in this store", models(most.models));
    if most.models <= most.here {
        return Some(Remark::note(text));
    }
    let of = match data.iter().filter(|one| one.models > one.here).count() {
        _ if data.len() == 1 => String::new(),
        many => format!(" (so, or less, for {many} of {} test sets)", data.len()),
    };
    Some(Remark::warning(format!(
        "{text}, and {} of them stand behind this table{of}: of many tries the best looks better than it is",
        most.here
    )))
}

/// How many runs have figures on the very images that picked their model.
pub fn selected_on_test(runs: &[Run]) -> Option<Remark> {
    let picked = runs.iter().filter(|run| run.outcome.as_ref().is_ok_and(|metrics| metrics.selected_on.as_deref() == Some("test"))).count();
    let text = format!("{picked} of {} runs are selected on test: the images that they are measured on picked their epoch", runs.len());
    (picked > 0).then(|| Remark::warning(text))
}

/// How many runs have no figures, and the classes of their failures.
pub fn failures(report: &Report) -> Option<Remark> {
    let failed: Vec<&str> = report.rows().filter_map(|row| row.failed.as_deref()).collect();
    let classes: BTreeSet<&str> = failed.iter().copied().collect();
    let text = format!("{} of {} runs failed: {}", failed.len(), report.rows().count(), classes.into_iter().collect::<Vec<_>>().join(", "));
    (!failed.is_empty()).then(|| Remark::warning(text))
}

fn ends(cell: &Cell) -> Option<(f64, f64)> {
    match cell {
        Cell::Value { value, interval } => Some(interval.unwrap_or((*value, *value))),
        _ => None,
    }
}

fn figure(cell: &Cell) -> String {
    super::render::show_plain(cell, 3)
}

fn told(report: &Report, row: &Row) -> String {
    let pairs = report.axes.iter().zip(&row.place).filter(|(_, value)| !value.is_empty());
    format!("[{}]", pairs.map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{names, run};
    use super::*;

    fn controls() -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([("region".to_owned(), names(&["outside", "frame"]))])
    }

    fn remarks(outside: Option<f64>) -> Vec<Remark> {
        let mut runs = vec![run(&[("region", "all"), ("seed", "1")], Some(0.9))];
        runs.extend(outside.map(|auc| run(&[("region", "outside"), ("seed", "1")], Some(auc))));
        let report = super::super::Report::new(&runs, &names(&["auc"]), &names(&["seed"]), 0).by("auc").with_controls(&controls());
        against_controls(&report, &controls())
    }

    #[test]
    fn a_control_that_reaches_the_real_thing_is_a_warning() {
        assert_eq!(remarks(None), [Remark::note("no shortcut control was run")]);
        // 0.6 to 0.75, against 0.8 to 0.95.
        assert_eq!(remarks(Some(0.7)), []);
        let found = remarks(Some(0.76));
        assert!(found[0].warning, "{found:?}");
        let wanted = "[region=outside, seed=1] has AUC 0.760 (0.660–0.810), [region=all, seed=1] has 0.900 (0.800–0.950)";
        assert!(found[0].text.contains(wanted), "{found:?}");
    }

    #[test]
    fn what_test_images_picked_is_told() {
        let mut picked = run(&[("seed", "2")], Some(0.9));
        if let Ok(metrics) = &mut picked.outcome {
            metrics.selected_on = Some("test".to_owned());
        }
        let runs = [run(&[("seed", "1")], Some(0.9)), picked];
        assert_eq!(selected_on_test(&runs[..1]), None);
        assert!(selected_on_test(&runs).unwrap().text.starts_with("1 of 2 runs are selected on test"));
    }

    #[test]
    fn more_models_than_the_table_shows_are_a_warning() {
        let of = |models, here| TestData { models, here };
        assert_eq!(met_before(&[]), None);
        assert_eq!(met_before(&[of(1, 1)]), Some(Remark::note("1 model was ever evaluated on the same test data in this store")));
        let warned = met_before(&[of(3, 3), of(9, 3)]).unwrap();
        assert!(warned.warning && warned.text.starts_with("9 different models were ever evaluated"), "{warned:?}");
        assert!(warned.text.contains("and 3 of them stand behind this table (so, or less, for 1 of 2 test sets)"), "{warned:?}");
    }

    #[test]
    fn controls_without_figures_are_told() {
        let mut failed = run(&[("region", "frame")], None);
        failed.outcome = Err("memory".to_owned());
        let runs = [run(&[("region", "all")], Some(0.9)), failed];
        let report = super::super::Report::new(&runs, &names(&["auc"]), &[], 0).with_controls(&controls());
        assert!(against_controls(&report, &controls())[0].text.contains("none ended with a figure"));
        assert_eq!(failures(&report).unwrap().text, "1 of 2 runs failed: memory");
    }
}
