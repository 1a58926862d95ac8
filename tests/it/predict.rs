//! What becomes of a trained classifier: it meets images without labels, and says when test images picked it.

use crate::space::{Output, Space};
use crate::study::{PIPELINE, png, space};
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use tomograph::table::Table;

pub(crate) fn trials() -> Vec<Trial> {
    trials![images_without_labels_are_looked_at_once, images_that_do_not_fit_the_model_are_refused, a_peek_at_the_test_set_is_marked]
}

const PREDICT: &str = r#"
[stage.predict]
kind   = "classifier.predict"
inputs = { images = "prepare", model = "train[seed=1]" }
params = { batch = 8 }
"#;

/// Scores of the positive class by item.
fn scores(space: &Space, reference: &str) -> BTreeMap<String, f64> {
    let folder = space.path("out");
    let _ = std::fs::remove_dir_all(&folder);
    space.run_args(&["export", PIPELINE, reference, "out"]).success();
    let table = Table::from_tsv(&std::fs::read(folder.join("predictions.tsv")).unwrap()).unwrap();
    let (item, score) = (table.column("item").unwrap(), table.columns.len() - 1);
    table.rows.iter().map(|row| (row[item].clone(), row[score].parse().unwrap())).collect()
}

fn items_ran(output: &Output) -> u64 {
    output.summary()["items_ran"].as_u64().unwrap()
}

fn images_without_labels_are_looked_at_once() {
    let space = space();
    let text = space.read(PIPELINE).replace("seed = [1, 2]", "seed = [1]").replace("epochs = 3", "epochs = 1");
    space.write(PIPELINE, text + PREDICT);
    space.run("run study.toml").success();
    let (all, tested) = (scores(&space, "predict"), scores(&space, "evaluate.predictions[seed=1]"));
    assert_eq!(all.len(), 48);
    assert!(!tested.is_empty() && tested.iter().all(|(item, score)| (all[item] - score).abs() < 1e-5), "{tested:?} {all:?}");

    // A picture that nobody has labelled: the cohort, and with it the training, stays as it is.
    space.write("pictures/new.png", png(true, 999));
    let manifest = space.read("pictures/manifest.csv") + "new.png,p99,PA,\n";
    space.write("pictures/manifest.csv", manifest);
    let output = space.run("run study.toml --json").success();
    assert_eq!(items_ran(&output), 3, "{}", output.text());
    assert!(!output.tasks("ran").iter().any(|task| task.starts_with("train")), "{}", output.text());
    let more = scores(&space, "predict");
    assert!(more.len() == 49 && all.iter().all(|(item, score)| more[item] == *score));
}

fn images_that_do_not_fit_the_model_are_refused() {
    let space = space();
    let text = space.read(PIPELINE).replace("seed = [1, 2]", "seed = [1]").replace("epochs = 3", "epochs = 1");
    let larger = "\n[stage.larger]\nkind = \"images.prepare\"\ninputs = { images = \"import\" }\nparams = { size = 48 }\n";
    space.write(PIPELINE, text + larger + &PREDICT.replace("\"prepare\"", "\"larger\""));
    space.run("run study.toml").exits(1).says(&["48 x 48 pixels", "the model takes 32 x 32", "images.prepare"]);
}

fn a_peek_at_the_test_set_is_marked() {
    let space = space();
    let text = space.read(PIPELINE).replace("seed = [1, 2]", "seed = [1]");
    let peeking = text.replace("validation = \"pack.validation\" }", "validation = \"pack.validation\", peek = \"pack.test\" }");
    assert_ne!(peeking, text);
    space.write(PIPELINE, peeking.replace("pack.test\" }\nparams = { backbone", "pack.validation\" }\nparams = { backbone"));
    space.run("check study.toml").exits(2).says(&["gives arrays of role `validation`", "peek"]);
    space.write(PIPELINE, peeking);
    space.run("run study.toml").success().says(&["test images pick the epoch"]);
    space.run_args(&["export", PIPELINE, "evaluate.metrics", "out"]).success();
    assert!(space.read("out/metrics.json").contains("\"selected_on\":\"test\""));
    space.write(PIPELINE, text);
    space.run("run study.toml").success();
    space.run_args(&["export", PIPELINE, "evaluate.metrics", "plain"]).success();
    assert!(!space.read("plain/metrics.json").contains("selected_on"));
}
