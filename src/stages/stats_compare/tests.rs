//! Whole runs of the kind on small tables.

use super::*;
use crate::content::{Level, Tree};
use crate::stage::{Coordinates, Value};
use crate::stages::testing::{World, chain, params};
use crate::table::Table;
use std::sync::Arc;

fn at(backbone: &str, seed: i64) -> Coordinates {
    [("backbone".to_owned(), Value::Text(backbone.to_owned())), ("seed".to_owned(), Value::Int(seed))].into()
}

/// Twelve patients with two images each, the first half of them ill; a model is the better the higher its `skill`.
fn rows(seed: i64, skill: f64) -> Vec<[String; 5]> {
    let row = |row: i64| {
        let (patient, ill) = (row / 2, row < 12);
        let noise = ((row * 7919 + seed * 104_729 + (skill * 1000.0) as i64 * 31) % 97) as f64 / 97.0;
        let score = skill * f64::from(ill) + (1.0 - skill) * noise;
        let label = if ill { "ill" } else { "well" };
        [format!("i{row:02}"), format!("s{seed}p{patient}"), label.to_owned(), format!("{:.4}", 1.0 - score), format!("{score:.4}")]
    };
    (0..24).map(row).collect()
}

fn tsv(rows: &[[String; 5]]) -> Vec<u8> {
    let mut table = Table::new(["item", "subject", "label", "predicted", "score_well", "score_ill"]);
    table.rows =
        rows.iter().map(|[item, subject, label, no, yes]| [item, subject, label, "", no, yes].map(str::to_owned).to_vec()).collect();
    table.to_tsv()
}

impl World {
    fn predicts(&mut self, backbone: &str, seed: i64, rows: &[[String; 5]]) {
        let tree = self.tree(&[("predictions.tsv", &tsv(rows))]);
        self.add("predictions", at(backbone, seed), tree, None);
    }

    fn add(&mut self, port: &str, coordinates: Coordinates, tree: Tree, hole: Option<&str>) {
        self.inputs.0.entry(port.to_owned()).or_default().push(Part { coordinates, tree: tree.into(), hole: hole.map(str::to_owned) });
    }
}

const MODELS: [(&str, f64); 3] = [("nas", 0.35), ("old", 0.05), ("vgg", 0.45)];

/// Three models on two splits; validation ranks nas first on both, then vgg.
fn world() -> World {
    let mut world = World::new();
    for seed in [1, 2] {
        for (name, skill) in MODELS {
            world.predicts(name, seed, &rows(seed, skill));
        }
    }
    let choice = "backbone\tvalidation.auc\truns\trank\tchosen\tfailed\tselected_on\nnas\t0.9\t1\t1\tyes\t\tvalidation\nvgg\t0.8\t1\t2\tyes\t\tvalidation\nold\t0.7\t1\t3\tno\t\tvalidation\n";
    for seed in [1, 2] {
        let tree = world.tree(&[("choice.tsv", choice.as_bytes())]);
        world.add("choice", [("seed".to_owned(), Value::Int(seed))].into(), tree, None);
    }
    let split = "item\tsubject\tset\n1\ta\ttrain\n2\tb\ttrain\n3\tb\ttrain\n4\tc\ttest\n";
    let tree = world.tree(&[("split.tsv", split.as_bytes())]);
    world.add("splits", Coordinates::new(), tree, None);
    world
}

/// The values of a column where others have given values.
fn find(table: &Table, wanted: &[(&str, &str)], column: &str) -> Vec<String> {
    let is = |row: &&Vec<String>| wanted.iter().all(|(name, value)| row[table.column(name).unwrap()] == *value);
    table.rows.iter().filter(is).map(|row| row[table.column(column).unwrap()].clone()).collect()
}

fn compared(world: &World, text: &str) -> Table {
    world.run(&params::<StatsCompare>(text)).unwrap().table("table", "comparison.tsv")
}

#[test]
fn models_are_held_against_the_one_that_validation_chose() {
    let outcome = world().run(&params::<StatsCompare>("draws = 300")).unwrap();
    assert_eq!(outcome.warnings, [""; 0]);
    let table = outcome.table("table", "comparison.tsv");
    assert_eq!(table.columns[..4], ["seed", "backbone", "figure", "counted"]);
    assert_eq!(table.rows.len(), 2 * 2 * 3);
    assert_eq!(find(&table, &[("reference", "validation")], "backbone"), ["nas"; 4]);
    assert_eq!(find(&table, &[("figure", "auc"), ("reference", "")], "against"), ["nas"; 4]);
    assert_eq!(find(&table, &[("seed", "1"), ("figure", "auc")], "test")[1], "Obuchowski (clustered DeLong)");
    assert_eq!(find(&table, &[("figure", "auc"), ("backbone", "old")], "comparisons"), ["4"; 2]);
    assert_eq!(find(&table, &[("figure", "auc")], "counted")[0], "images, by patient");
    assert_eq!(find(&table, &[("figure", "accuracy")], "counted")[0], "patients, by the share of their images");
    let number =
        |column: &str| -> f64 { find(&table, &[("seed", "1"), ("figure", "auc"), ("backbone", "old")], column)[0].parse().unwrap() };
    assert!((number("value") - 0.5).abs() < 0.3 && number("difference") < -0.1, "{}", number("difference"));
    assert!(number("difference_low") < number("difference") && number("difference") < number("difference_high"));
    assert!(number("p") > 0.0 && number("p_holm") >= number("p"));
    let svg = String::from_utf8(outcome.read("figure", "difference-auc.svg")).unwrap();
    assert!(svg.contains("old − nas") && svg.contains("seed=2") && !svg.contains("nas − "), "{svg}");
}

#[test]
fn over_splits_there_are_values_and_a_corrected_test_but_no_interval() {
    let world = world();
    let splits = |world: &World| world.run(&params::<StatsCompare>("draws = 0\nfigures = ['auc']")).unwrap().table("splits", "splits.tsv");
    let table = splits(&world);
    assert!(!table.columns.iter().any(|column| column.contains("_low") || column.contains("_high")), "{:?}", table.columns);
    assert_eq!(find(&table, &[("backbone", "nas")], "reference"), ["mean validation rank"]);
    let old = |column: &str| find(&table, &[("backbone", "old")], column)[0].clone();
    assert_eq!((old("splits"), old("against"), old("comparisons"), old("note")), ("2".into(), "nas".into(), "2".into(), String::new()));
    let values: Vec<f64> = old("values").split("; ").map(|one| one[3..].parse().unwrap()).collect();
    assert!(old("values").starts_with("1: ") && old("lowest").parse::<f64>().unwrap() == values[0].min(values[1]), "{}", old("values"));
    // One patient tested for two who trained.
    let differences: Vec<f64> = old("differences").split("; ").map(|one| one[3..].parse().unwrap()).collect();
    let wanted = crate::stats::resampled(&differences, 0.5).unwrap();
    assert!((old("p").parse::<f64>().unwrap() - wanted).abs() < 1e-4, "{} {wanted}", old("p"));
    let mut without = super::tests::world();
    without.inputs.0.remove("splits");
    assert_eq!(find(&splits(&without), &[("backbone", "old")], "note"), ["not tested: port `splits` is not connected"]);
    // One split: nothing over splits.
    without.inputs.0.values_mut().for_each(|parts| parts.retain(|part| part.coordinates.get("seed") == Some(&Value::Int(1))));
    without.inputs.0.values_mut().flatten().for_each(|part| drop(part.coordinates.remove("seed")));
    assert!(splits(&without).rows.is_empty());
}

#[test]
fn without_a_choice_every_pair_is_compared() {
    let mut world = world();
    world.inputs.0.remove("choice");
    let table = compared(&world, "draws = 0\nfigures = ['auc']");
    let pairs = find(&table, &[("seed", "1")], "against");
    assert_eq!(pairs, ["", "nas", "nas", "old"]);
    assert_eq!(find(&table, &[("backbone", "vgg")], "comparisons"), ["6"; 4]);
}

#[test]
fn what_counts_as_one_is_said() {
    let world = world();
    let auc = |text: &str, column: &str| {
        find(&compared(&world, text), &[("seed", "1"), ("backbone", "vgg"), ("figure", "auc")], column)[0].clone()
    };
    for (text, counted, n, test) in [
        ("patient = 'mean'", "patients, by the mean of their images", "12", "DeLong"),
        ("patient = 'max'", "patients, by the max of their images", "12", "DeLong"),
        ("unit = 'image'", "images as if independent", "24", "DeLong"),
        ("", "images, by patient", "24", "Obuchowski (clustered DeLong)"),
    ] {
        let found = ["counted", "n", "test", "patients"].map(|column| auc(&format!("draws = 0\n{text}"), column));
        assert_eq!(found, [counted, n, test, "12"].map(str::to_owned));
    }
    let decisions = compared(&world, "draws = 0\npatient = 'first'\nfigures = ['specificity']");
    assert_eq!(find(&decisions, &[("backbone", "vgg")], "test"), ["McNemar, exact"; 2]);
    assert_eq!(find(&decisions, &[("backbone", "vgg")], "n"), ["6"; 2]);
    let warnings = world.run(&params::<StatsCompare>("draws = 0\nunit = 'image'")).unwrap().warnings;
    assert!(warnings[0].contains("some are of the same patient"), "{warnings:?}");
}

#[test]
fn models_on_different_patients_are_refused_with_counts() {
    let refused = |change: &dyn Fn(&mut Vec<[String; 5]>)| {
        let mut world = World::new();
        world.predicts("nas", 1, &rows(1, 0.3));
        let mut other = rows(1, 0.4);
        change(&mut other);
        world.predicts("vgg", 1, &other);
        chain(world.run(&params::<StatsCompare>("")))
    };
    let told = "only models on the same patients can be compared";
    assert_eq!(
        refused(&|rows| rows.iter_mut().for_each(|row| row[1].insert(0, 'x'))),
        format!(
            "[seed=1]: cannot compare: nas and vgg were not asked about the same patients: 0 are in both, 12 only in nas, 12 only in vgg; {told}"
        )
    );
    assert!(refused(&|rows| rows.truncate(20)).contains("10 are in both, 2 only in nas, 0 only in vgg"));
    assert!(refused(&|rows| rows.truncate(23)).contains("the same images: 23 are in both, 1 only in nas"));
    assert!(refused(&|rows| rows[0][2] = "well".to_owned()).contains("nas and vgg have other labels for the same image"));
    assert!(refused(&|rows| rows[1][0] = "i00".to_owned()).contains("vgg: 1 rows have the item of an earlier one"));
    assert!(refused(&|rows| rows[3][4] = "NaN".to_owned()).contains("row 4 has a score that is no number"));
    assert_eq!(refused(&|rows| rows.reverse()), "");
}

#[test]
fn what_cannot_be_tested_is_a_row_that_says_why() {
    let noted = |text: &str, change: &dyn Fn(&mut [String; 5])| {
        let mut world = World::new();
        for (name, skill) in [("nas", 0.3), ("vgg", 0.4)] {
            let mut rows = rows(1, skill);
            rows.iter_mut().for_each(change);
            world.predicts(name, 1, &rows);
        }
        let table = compared(&world, &format!("draws = 50\n{text}"));
        ["value", "value_low", "p", "note"].map(|column| find(&table, &[("backbone", "vgg")], column)[0].clone())
    };
    let [value, low, p, note] = noted("figures = ['auc']", &|row| row[2] = "ill".to_owned());
    assert_eq!([value, low, p, note], ["", "", "", "one class only"].map(str::to_owned));
    assert_eq!(noted("figures = ['specificity']", &|row| row[2] = "ill".to_owned())[3], "no negative");
    let [value, low, p, note] = noted("figures = ['auc']", &|row| row[1] = "same".to_owned());
    assert!(!value.is_empty() && low.is_empty() && p.is_empty() && note.starts_with("not tested: fewer than two patients"), "{note}");
    // Nobody known: every image counts alone. Constant and equal: no difference.
    let [_, _, p, note] = noted("figures = ['auc']", &|row| (row[1], row[3], row[4]) = (String::new(), "0.5".into(), "0.5".into()));
    assert_eq!((p.as_str(), note.as_str()), ("1.000000", ""));
    let error = chain(World::new().run(&params::<StatsCompare>("")));
    assert_eq!(error, "port `predictions`: no run has any");
}

#[test]
fn failed_runs_and_absent_references_are_rows() {
    let mut world = world();
    world.add("predictions", at("wide", 1), Tree::default(), Some("memory"));
    world.inputs.0.get_mut("predictions").unwrap().retain(|part| part.coordinates != at("nas", 2));
    let outcome = world.run(&params::<StatsCompare>("draws = 0\nfigures = ['auc']")).unwrap();
    let table = outcome.table("table", "comparison.tsv");
    assert_eq!(find(&table, &[("backbone", "wide")], "failed"), ["memory"]);
    assert_eq!(find(&table, &[("seed", "2")], "note"), ["the reference nas has no predictions here"; 2]);
    assert_eq!(outcome.warnings, ["[seed=2]: the reference nas has no predictions here", "1 runs failed: memory"]);
    let splits = outcome.table("splits", "splits.tsv");
    assert_eq!(find(&splits, &[("backbone", "vgg")], "note"), ["not tested: both are on 1 splits"]);
    // A choice among other things.
    let tree = world.tree(&[("choice.tsv", b"seed\trank\n1\t1\n")]);
    world.inputs.0.insert("choice".to_owned(), vec![Part { coordinates: Coordinates::new(), tree: tree.into(), hole: None }]);
    assert!(chain(world.run(&params::<StatsCompare>(""))).contains("port `choice` says nothing of axis `backbone`"));
}

#[test]
fn a_choice_by_test_data_is_told() {
    let mut world = world();
    let choice = b"seed\tbackbone\trank\tchosen\tselected_on\n1\tvgg\t1\tyes\ttest\n2\tnas\t1\tyes\ttest\n";
    let tree = world.tree(&[("choice.tsv", choice)]);
    world.inputs.0.insert("choice".to_owned(), vec![Part { coordinates: Coordinates::new(), tree: tree.into(), hole: None }]);
    let outcome = world.run(&params::<StatsCompare>("draws = 0")).unwrap();
    assert!(outcome.warnings[0].contains("selected on test"), "{:?}", outcome.warnings);
    assert_eq!(find(&outcome.table("table", "comparison.tsv"), &[("reference", "test"), ("figure", "auc")], "backbone"), ["vgg", "nas"]);
}

#[test]
fn decisions_are_those_at_the_thresholds() {
    let mut world = world();
    let sensitivity = |world: &World| {
        let table = compared(world, "draws = 0\nfigures = ['sensitivity']");
        ["vgg", "nas"].map(|name| find(&table, &[("seed", "1"), ("backbone", name)], "value")[0].clone())
    };
    let [before, other] = sensitivity(&world);
    let tree = world.tree(&[("threshold.tsv", b"backbone\tmodel\tthreshold\nvgg\tabc\t0.0\n")]);
    world.add("thresholds", [("seed".to_owned(), Value::Int(1))].into(), tree, None);
    assert_eq!(sensitivity(&world), ["1.000000".to_owned(), other]);
    assert_ne!(before, "1.000000");
}

#[test]
fn decisions_about_patients_are_those_at_the_thresholds_of_patients() {
    let with = |table: &str| {
        let mut world = world();
        let tree = world.tree(&[("threshold.tsv", table.as_bytes())]);
        world.add("thresholds", [("seed".to_owned(), Value::Int(1))].into(), tree, None);
        world
    };
    let params = params::<StatsCompare>("draws = 0\nfigures = ['sensitivity']\npatient = 'mean'");
    let world = with("backbone\tmodel\tthreshold\tpatient\tpatient_threshold\nvgg\tabc\t1.0\tmean\t0.0\n");
    let table = world.run(&params).unwrap().table("table", "comparison.tsv");
    assert_eq!(find(&table, &[("seed", "1"), ("backbone", "vgg")], "value"), ["1.000000"]);
    let refused = |table: &str| chain(with(table).run(&params));
    assert!(refused("backbone\tmodel\tthreshold\nvgg\tabc\t0.0\n").contains("param `patient = \"mean\"`"));
    let other = refused("backbone\tmodel\tthreshold\tpatient\tpatient_threshold\nvgg\tabc\t1.0\tmax\t0.0\n");
    assert!(other.contains("of the `max` of their scores, and param `patient` is `mean`"), "{other}");
}

#[test]
fn what_rests_on_few_patients_is_not_shown() {
    let mut world = world();
    world.inputs.0.values_mut().flatten().for_each(|part| Arc::make_mut(&mut part.tree).level = Level::Identified);
    let shown = |world: &World, least: u64| {
        let outcome = world.run(&params::<StatsCompare>(&format!("draws = 0\nmin_count = {least}"))).unwrap();
        let table = outcome.table("table", "comparison.tsv");
        let splits = outcome.table("splits", "splits.tsv");
        (find(&table, &[("figure", "auc")], "value").concat(), find(&splits, &[("figure", "auc")], "values").concat(), table)
    };
    assert!(!shown(&world, 6).0.is_empty());
    let (values, splits, table) = shown(&world, 7);
    assert_eq!((values, splits), (String::new(), String::new()));
    assert!(find(&table, &[("figure", "auc")], "note").iter().all(|note| note == "rests on too few patients to be shown"));
    assert!(find(&table, &[("figure", "auc")], "n").concat().is_empty() && find(&table, &[("figure", "auc")], "p").concat().is_empty());
    // All twelve count for decisions.
    assert!(!find(&table, &[("figure", "accuracy")], "value").concat().is_empty());
}

#[test]
fn a_program_takes_part_by_its_label() {
    let mut world = world();
    for part in world.inputs.0.get_mut("predictions").unwrap() {
        part.coordinates.insert("from".to_owned(), Value::Text("chosen".to_owned()));
    }
    let tree = world.tree(&[("predictions.tsv", &tsv(&rows(1, 0.2)))]);
    let place = [("from".to_owned(), Value::Text("mine".to_owned())), ("seed".to_owned(), Value::Int(1))];
    world.add("predictions", place.into(), tree, None);
    let table = compared(&world, "draws = 0\nfigures = ['auc']");
    assert!(table.position("from").is_none());
    assert_eq!(find(&table, &[("backbone", "mine")], "against"), ["nas"]);
}

#[test]
fn params_that_make_no_sense_are_told() {
    let problems = |text: &str| params::<StatsCompare>(text).check().into_iter().map(|one| one.param).collect::<Vec<_>>();
    assert_eq!(problems("figures = []"), ["figures"]);
    assert_eq!(
        problems("figures = ['auc', 'auc']\naxis = 'seed'\npatient = 'max'\nunit = 'image'\ndraws = 100001"),
        ["figures", "axis", "unit", "draws"]
    );
    let mut world = World::new();
    world.predicts("nas", 1, &rows(1, 0.3));
    assert!(chain(world.run(&params::<StatsCompare>("positive = 'sick'"))).contains("there is no class `sick`; there are well, ill"));
    assert!(chain(world.run(&params::<StatsCompare>("axis = 'net'"))).contains("no axis `net`; there are backbone"));
    assert_eq!(world.run(&params::<StatsCompare>("draws = 0")).unwrap().warnings, ["no two models could be compared"]);
}
