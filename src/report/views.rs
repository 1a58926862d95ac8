//! Figures beside those of all images at the likelier class: of patients, at the threshold of validation, of subgroups.
//!
//! Each is a run of its own, with what it is of as further coordinates, so that it is laid out as any run is. Small subgroups of people
//! are withheld here.

use super::{Metric, Metrics, Run};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Figures of some rows, as `metrics.json` lists them.
#[derive(Clone, Debug, Deserialize)]
pub struct View {
    /// `image` or `patient`.
    pub unit: String,
    /// How the scores of a patient's images became one.
    #[serde(default)]
    pub patient: Option<String>,
    /// `fixed`, `likelier` or `validation`.
    pub cut: String,
    #[serde(default)]
    pub threshold: Option<f64>,
    #[serde(default)]
    pub group: Option<Name>,
    pub n: u64,
    /// Subjects behind the rows; images where none is known.
    pub clusters: u64,
    /// Of them, those with a row of each class.
    #[serde(default)]
    pub clusters_of_class: Vec<u64>,
    pub metrics: Vec<Metric>,
}

/// A subgroup's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Name {
    pub column: String,
    /// Empty where unknown.
    pub value: String,
}

/// Axes that the coordinates of a view have beside those of its run.
pub const UNIT: &str = "unit";
pub const CUT: &str = "cut";
pub const GROUP: &str = "group";
/// All of them, in the order in which they are shown.
pub(super) const AXES: [&str; 3] = [GROUP, UNIT, CUT];
/// The figure that says where a view decides.
pub const THRESHOLD: &str = "threshold";

/// What a run's figures are of all rows: one run per unit and threshold, the usual one first. None where there is nothing but that.
pub fn decisions(run: &Run) -> Vec<Run> {
    let Ok(metrics) = &run.outcome else { return Vec::new() };
    let views: Vec<&View> = metrics.views.iter().filter(|view| view.group.is_none()).collect();
    if views.is_empty() {
        return Vec::new();
    }
    let fixed = views.iter().any(|view| view.cut != "likelier");
    let mut usual = run.clone();
    usual.coordinates.extend(place("image", if fixed { "fixed" } else { "likelier" }));
    if let Ok(own) = &mut usual.outcome {
        own.metrics.extend(fixed.then(|| threshold(0.5)));
    }
    std::iter::once(usual).chain(views.into_iter().map(|view| with(run, metrics, view))).collect()
}

/// What a run's figures are of subgroups: of patients where they are measured, at the threshold of validation where one arrived. Of
/// people (`least` above 0) a subgroup is withheld where it, or those of a class in it, are fewer; and the next smallest of its column
/// where it would be the only one, since it is what the others leave of the whole.
pub fn groups(run: &Run, least: u64) -> Vec<Run> {
    let Ok(metrics) = &run.outcome else { return Vec::new() };
    let views = || metrics.views.iter().filter_map(|view| Some((view.group.as_ref()?, view)));
    let unit = if views().any(|(_, view)| view.unit == "patient") { "patient" } else { "image" };
    let of_unit = || views().filter(move |(_, view)| view.unit == unit);
    let validated = of_unit().any(|(_, view)| view.cut == "validation");
    let shown: Vec<(&Name, &View)> = of_unit().filter(|(_, view)| (view.cut == "validation") == validated).collect();
    let withheld = withheld(&shown, least);
    let group = |(name, view): (&Name, &View)| {
        let mut made = with(run, metrics, view);
        let value = if view.group.as_ref().is_some_and(|name| name.value.is_empty()) { "unknown" } else { &name.value };
        made.coordinates.insert(GROUP.to_owned(), format!("{}={value}", name.column));
        if let Ok(own) = &mut made.outcome {
            own.withheld = withheld.contains(name);
        }
        made
    };
    shown.into_iter().map(group).collect()
}

fn withheld<'v>(views: &[(&'v Name, &'v View)], least: u64) -> BTreeSet<&'v Name> {
    let mut columns: BTreeMap<&str, Vec<(&Name, &View)>> = BTreeMap::new();
    views.iter().for_each(|(name, view)| columns.entry(&name.column).or_default().push((name, view)));
    let few = |view: &View| view.clusters < least || view.clusters_of_class.iter().any(|count| (1..least).contains(count));
    let mut found = BTreeSet::new();
    for mut groups in columns.into_values() {
        groups.sort_by_key(|(_, view)| (!few(view), view.clusters));
        let small = groups.iter().filter(|(_, view)| few(view)).count();
        found.extend(groups.iter().take(if small == 1 { 2 } else { small }).map(|(name, _)| *name));
    }
    found
}

fn with(run: &Run, metrics: &Metrics, view: &View) -> Run {
    let unit = view.patient.as_ref().map_or_else(|| view.unit.clone(), |how| format!("{} ({how})", view.unit));
    let mut coordinates = run.coordinates.clone();
    coordinates.extend(place(&unit, &view.cut));
    let figures = view.metrics.iter().cloned().chain(view.threshold.map(threshold)).collect();
    let own = Metrics { n: view.n, metrics: figures, views: Vec::new(), ..metrics.clone() };
    Run { coordinates, outcome: Ok(own) }
}

fn place(unit: &str, cut: &str) -> [(String, String); 2] {
    [(UNIT.to_owned(), unit.to_owned()), (CUT.to_owned(), cut.to_owned())]
}

fn threshold(value: f64) -> Metric {
    Metric { name: THRESHOLD.to_owned(), value: Some(value), n: None, low: None, high: None }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{names, run};
    use super::super::{Cell, Report};
    use super::*;

    fn seen(toml: &str) -> Run {
        let mut made = run(&[("backbone", "nas")], Some(0.9));
        if let Ok(metrics) = &mut made.outcome {
            let auc = r#"[{"name": "auc", "value": 0.8, "low": 0.7, "high": 0.9}]"#;
            metrics.views = serde_json::from_str(&toml.replace("AUC", &format!(r#""metrics": {auc}"#))).unwrap();
        }
        made
    }

    fn told(runs: &[Run]) -> Vec<String> {
        let report = Report::new(runs, &names(&["auc", THRESHOLD]), &[], 0);
        let cell = |cell: &Cell| match cell {
            Cell::Value { value, .. } => value.to_string(),
            Cell::Missing => "-".to_owned(),
            _ => "*".to_owned(),
        };
        let row = |row: &super::super::Row| {
            let n = row.n.map_or_else(|| "*".to_owned(), |n| n.to_string());
            row.place.iter().cloned().chain([n]).chain(row.cells.iter().map(cell)).collect::<Vec<_>>().join(" ")
        };
        report.rows().map(row).collect()
    }

    #[test]
    fn patients_and_thresholds_are_runs_beside_the_usual_one() {
        let made = seen(
            r#"[{"unit": "image", "cut": "validation", "threshold": 0.4, "n": 87, "clusters": 40, AUC},
                {"unit": "patient", "patient": "mean", "cut": "fixed", "threshold": 0.5, "n": 40, "clusters": 40, AUC}]"#,
        );
        let wanted = ["nas image fixed 87 0.9 0.5", "nas image validation 87 0.8 0.4", "nas patient (mean) fixed 40 0.8 0.5"];
        assert_eq!(told(&decisions(&made)), wanted);
        assert!(decisions(&run(&[], Some(0.9))).is_empty() && groups(&made, 0).is_empty());
        let many = seen(r#"[{"unit": "patient", "patient": "max", "cut": "likelier", "n": 40, "clusters": 40, AUC}]"#);
        assert_eq!(told(&decisions(&many)), ["nas image likelier 87 0.9 -", "nas patient (max) likelier 40 0.8 -"]);
    }

    #[test]
    fn small_subgroups_are_withheld_and_so_is_what_tells_of_them() {
        let view = |column: &str, value: &str, clusters: u64, of_class: [u64; 2]| {
            let one = |unit: &str, n: u64| {
                format!(
                    r#"{{"unit": "{unit}", "cut": "fixed", "group": {{"column": "{column}", "value": "{value}"}}, "n": {n}, "clusters": {clusters}, "clusters_of_class": {of_class:?}, AUC}}"#
                )
            };
            format!("{}, {}", one("image", clusters * 2), one("patient", clusters))
        };
        let made = seen(&format!(
            "[{}, {}, {}, {}, {}, {}]",
            view("sex", "F", 20, [10, 10]),
            view("sex", "M", 18, [9, 9]),
            view("sex", "", 2, [1, 1]),
            view("site", "a", 6, [2, 4]),
            view("site", "b", 6, [0, 6]),
            view("site", "c", 4, [4, 0]),
        ));
        let all = told(&groups(&made, 0));
        assert_eq!(
            all[..3],
            ["nas sex=F patient fixed 20 0.8 -", "nas sex=M patient fixed 18 0.8 -", "nas sex=unknown patient fixed 2 0.8 -"]
        );
        let some = told(&groups(&made, 5));
        // The unknown, and so that nobody can take the others from the whole, the next smallest; of the sites a has few of either class.
        let wanted =
            ["sex=F patient fixed 20 0.8 -", "sex=M patient fixed * * *", "sex=unknown patient fixed * * *", "site=a patient fixed * * *"];
        assert_eq!(some[..4], wanted.map(|text| format!("nas {text}")));
        assert_eq!(some[4..], ["nas site=b patient fixed 6 0.8 -", "nas site=c patient fixed * * *"]);
    }
}
