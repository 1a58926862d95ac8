//! What is chosen, with which thresholds.

use super::*;
use crate::stage::Value;
use crate::stages::testing::{World, params};

fn at(backbone: &str, seed: i64) -> Coordinates {
    Coordinates::from([("backbone".to_owned(), Value::Text(backbone.to_owned())), ("seed".to_owned(), Value::Int(seed))])
}

/// AUCs by backbone and seed; none for a training that failed.
fn world(runs: &[(&str, i64, Option<f64>)]) -> World {
    let mut world = World::new();
    let (mut models, mut predictions) = (Vec::new(), Vec::new());
    for (backbone, seed, auc) in runs {
        let json = format!(r#"{{"backbone": "{backbone}", "seed": {seed}, "validation": {{"auc": {}}}}}"#, auc.unwrap_or_default());
        let rows = "item\tsubject\tlabel\tpredicted\tscore_well\tscore_ill\n1\ta\till\t\t0.2\t0.8\n2\tb\twell\t\t0.7\t0.3\n";
        let tree = world.tree(&[("model.json", json.as_bytes()), ("model.safetensors", b"numbers")]);
        let hole = auc.is_none().then(|| "oom".to_owned());
        models.push(Part { coordinates: at(backbone, *seed), tree: tree.into(), hole: hole.clone() });
        let tree = world.tree(&[("predictions.tsv", rows.as_bytes())]);
        predictions.push(Part { coordinates: at(backbone, *seed), tree: tree.into(), hole });
    }
    world.inputs.0.insert("models".to_owned(), models);
    world.inputs.0.insert("predictions".to_owned(), predictions);
    world
}

fn text(outcome: &crate::stages::testing::Outcome, port: &str, path: &str) -> String {
    String::from_utf8(outcome.read(port, path)).unwrap()
}

#[test]
fn the_best_of_each_seed_are_listed_with_their_thresholds() {
    let runs = [("a", 1, Some(0.7)), ("b", 1, Some(0.9)), ("c", 1, Some(0.8)), ("a", 2, Some(0.6)), ("b", 2, None), ("c", 2, Some(0.6))];
    let outcome = world(&runs).run(&params::<ClassifierSelect>("axis = 'backbone'\nbest = 2")).unwrap();
    let choice = "seed\tbackbone\tvalidation.auc\truns\trank\tchosen\tfailed\tselected_on\n\
        1\tb\t0.9\t1\t1\tyes\t\tvalidation\n1\tc\t0.8\t1\t2\tyes\t\tvalidation\n1\ta\t0.7\t1\t3\tno\t\tvalidation\n\
        2\ta\t0.6\t1\t1\tyes\t\tvalidation\n2\tc\t0.6\t1\t2\tyes\t\tvalidation\n2\tb\t\t0\t\tno\toom\tvalidation\n";
    assert_eq!(text(&outcome, "choice", "choice.tsv"), choice);
    assert_eq!(text(&outcome, "models", "parts.tsv"), "part\tbackbone\tseed\n001\tb\t1\n002\tc\t1\n003\ta\t2\n004\tc\t2\n");
    assert!(text(&outcome, "models", "004/model.json").contains(r#""backbone": "c", "seed": 2"#));
    assert_eq!(text(&outcome, "models", "001/model.safetensors"), "numbers");
    let thresholds = Table::from_tsv(text(&outcome, "threshold", "threshold.tsv").as_bytes()).unwrap();
    assert_eq!(thresholds.rows.len(), 4);
    assert_eq!(thresholds.rows[0][3..], ["youden", "0.8", "1.0", "1.0"]);
    assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);
}

#[test]
fn patients_have_a_threshold_of_their_own() {
    let mut world = world(&[("a", 1, Some(0.7))]);
    let rows = "item\tsubject\tlabel\tpredicted\tscore_well\tscore_ill\n1\ta\till\t\t0.1\t0.9\n2\ta\till\t\t0.7\t0.3\n3\tb\twell\t\t0.6\t0.4\n4\tb\twell\t\t0.8\t0.2\n";
    let thresholds = |rows: &str, world: &mut World, toml: &str| {
        let tree = world.tree(&[("predictions.tsv", rows.as_bytes())]);
        world.inputs.0.insert("predictions".to_owned(), vec![Part { coordinates: at("a", 1), tree: tree.into(), hole: None }]);
        let outcome = world.run(&params::<ClassifierSelect>(&format!("axis = 'backbone'\nbest = 1\n{toml}")))?;
        Ok::<_, anyhow::Error>(Table::from_tsv(&outcome.read("threshold", "threshold.tsv")).unwrap())
    };
    let mean = thresholds(rows, &mut world, "patient = 'mean'").unwrap();
    assert_eq!(mean.columns[7..], ["patient", "patient_threshold", "patient_sensitivity", "patient_specificity"]);
    assert_eq!(mean.rows[0][3..], ["youden", "0.9", "0.5", "1.0", "mean", "0.6", "1.0", "1.0"]);
    let least = thresholds(rows, &mut world, "patient = 'max'\nsensitivity = 1.0").unwrap();
    assert_eq!(least.rows[0][3..], ["sensitivity 1", "0.3", "1.0", "0.5", "max", "0.9", "1.0", "1.0"]);
    // Without subjects there are images alone; with one class nothing.
    let nobody = rows.replace("\ta\t", "\t\t").replace("\tb\t", "\t\t");
    assert_eq!(thresholds(&nobody, &mut world, "patient = 'mean'").unwrap().rows[0][7..], ["mean", "", "", ""]);
    let ill = rows.replace("\twell\t", "\till\t");
    assert_eq!(thresholds(&ill, &mut world, "patient = 'mean'").unwrap().rows[0][3..], ["youden", "", "", "", "mean", "", "", ""]);
    let mixed = thresholds(&rows.replace("2\ta\till", "2\ta\twell"), &mut world, "patient = 'mean'").unwrap_err();
    assert!(format!("{mixed:#}").contains("1 of the patients have images of several classes"), "{mixed:#}");
    let none = thresholds(&rows.replace("0.4\n", "NaN\n"), &mut world, "").unwrap_err();
    assert!(format!("{none:#}").contains("row 3 has a score that is no number"), "{none:#}");
}

#[test]
fn seeds_are_averaged_first_and_too_few_are_said() {
    let runs = [("a", 1, Some(0.7)), ("b", 1, Some(0.9)), ("a", 2, Some(0.8)), ("b", 2, Some(0.5)), ("c", 1, Some(1.0)), ("c", 2, None)];
    let outcome = world(&runs).run(&params::<ClassifierSelect>("axis = 'backbone'\naverage = ['seed']")).unwrap();
    let choice = text(&outcome, "choice", "choice.tsv");
    let rows: Vec<&str> = choice.lines().skip(1).collect();
    assert_eq!(rows[0], "a\t0.75\t2\t1\tyes\t\tvalidation");
    assert_eq!(rows[1], "b\t0.7\t2\t2\tyes\t\tvalidation");
    assert_eq!(rows[2], "c\t\t1\t\tno\toom\tvalidation");
    assert_eq!(outcome.warnings, ["2 of 3 values of `backbone` have a figure, 3 were to be chosen"]);
    assert_eq!(text(&outcome, "models", "parts.tsv").lines().count(), 5);
    let unsaid = world(&runs).run(&params::<ClassifierSelect>("")).map(|_| ()).unwrap_err();
    assert!(format!("{unsaid:#}").contains("say with the param `axis`"), "{unsaid:#}");
    assert!(world(&[("a", 1, None)]).run(&params::<ClassifierSelect>("axis = 'backbone'")).is_err());
    let wrong = world(&runs).run(&params::<ClassifierSelect>("axis = 'network'")).map(|_| ()).unwrap_err();
    assert_eq!(format!("{wrong:#}"), "param `axis`: the models have no axis `network`; there are backbone, seed");
}

#[test]
fn histories_decide_at_the_epoch_that_was_kept() {
    let mut world = World::new();
    let (mut models, mut runs) = (Vec::new(), Vec::new());
    for (name, accuracy) in [("a", "0.7"), ("b", "0.8")] {
        let coordinates = Coordinates::from([("backbone".to_owned(), Value::Text(name.to_owned()))]);
        let tree = world.tree(&[("model.json", br#"{"epoch": 2, "validation": {}}"#)]);
        models.push(Part { coordinates: coordinates.clone(), tree: tree.into(), hole: None });
        let history = format!("epoch\tvalidation_accuracy\n1\t0.9\n2\t{accuracy}\n");
        runs.push(Part { coordinates, tree: world.tree(&[("history.tsv", history.as_bytes())]).into(), hole: None });
    }
    world.inputs.0.insert("models".to_owned(), models);
    world.inputs.0.insert("runs".to_owned(), runs);
    let outcome = world.run(&params::<ClassifierSelect>("best = 1\nby = 'validation.accuracy'")).unwrap();
    assert!(text(&outcome, "choice", "choice.tsv").contains("b\t0.8\t1\t1\tyes\t\tvalidation\n"));
}

#[test]
fn a_choice_by_test_figures_is_marked() {
    let mut world = world(&[("a", 1, Some(0.9)), ("b", 1, Some(0.1))]);
    let metrics = [("a", 0.2), ("b", 0.8)].map(|(backbone, value)| {
        let json = format!(r#"{{"role": "test", "n": 9, "metrics": [{{"name": "accuracy", "value": {value}}}]}}"#);
        Part { coordinates: at(backbone, 1), tree: world.tree(&[("metrics.json", json.as_bytes())]).into(), hole: None }
    });
    world.inputs.0.insert("runs".to_owned(), metrics.to_vec());
    let outcome = world.run(&params::<ClassifierSelect>("axis = 'backbone'\nbest = 1\nby = 'accuracy'")).unwrap();
    assert!(text(&outcome, "choice", "choice.tsv").contains("1\tb\t0.8\t1\t1\tyes\t\ttest\n"));
    assert!(outcome.warnings[0].contains("selected on test"), "{:?}", outcome.warnings);
}
