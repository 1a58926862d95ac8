//! Items that `tomograph-torch` treats: an image's features are computed once, whatever split, row or seed it comes in by.

use crate::space::{Output, Space, TOMOGRAPH};
use crate::study::{PIPELINE, png, space};
use libtest_mimic::Trial;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        an_image_meets_a_backbone_once,
        features_do_not_depend_on_their_neighbours,
        a_kill_costs_the_images_at_hand,
        test_features_reach_no_training,
        images_too_small_for_a_backbone_are_refused
    ]
}

const FEATURES: &str = r#"
[stage.features]
kind   = "classifier.features"
inputs = { arrays = "pack.all", weights = "start" }
params = { backbone = "mobilenet", batch = 8 }
"#;

/// The study up to its arrays, and the features of all images from a model that was trained for a step.
pub(crate) fn with_features() -> Space {
    let space = space();
    let text = space.read(PIPELINE);
    let first = text.replace("seed = [1, 2]", "seed = [1]").replace("epochs = 3", "epochs = 1");
    space.write("start.toml", first.split("[stage.evaluate]").next().unwrap());
    space.run("run start.toml").success();
    space.run_args(&["export", "start.toml", "train.model", "start"]).success();
    std::fs::remove_dir_all(space.path("cache")).unwrap();
    let source = "[source.start]\npath = \"start\"\ntype = \"model\"\nphi  = false\n\n[stage.import]";
    let text = text.split("[stage.train]").next().unwrap().replace("[stage.import]", source);
    space.write(PIPELINE, text + FEATURES);
    space
}

fn ran(output: &Output) -> u64 {
    output.summary()["items_ran"].as_u64().unwrap()
}

fn an_image_meets_a_backbone_once() {
    let space = with_features();
    let run = || space.run("run study.toml --json").success();
    assert_eq!(run().tasks("ran").iter().filter(|task| task.starts_with("features")).count(), 1, "all images are the same for both seeds");

    // Other arrays of the same images.
    space.replace(PIPELINE, "arrays = \"pack.all\"", "arrays = \"pack.train\"");
    let again = run();
    assert_eq!((again.tasks("ran").len(), ran(&again)), (2, 0), "{}", again.text());

    // One image changes: it is imported, prepared and met by the backbone, and no other.
    space.replace(PIPELINE, "arrays = \"pack.train\"", "arrays = \"pack.all\"");
    run();
    space.write("pictures/p03-1.png", png(false, 777));
    let changed = run();
    assert_eq!(ran(&changed), 3, "{}", changed.text());
    assert!(run().tasks("ran").is_empty());
}

/// The rows of `X.npy`, from an export.
fn rows(space: &Space, folder: &str) -> Vec<Vec<f32>> {
    space.run_args(&["export", PIPELINE, "features[seed=1]", folder]).success();
    let array: ndarray::Array2<f32> = ndarray_npy::read_npy(space.path(folder).join("X.npy")).unwrap();
    array.outer_iter().map(|row| row.to_vec()).collect()
}

fn features_do_not_depend_on_their_neighbours() {
    let space = with_features();
    space.run("run study.toml --axis seed=1").success();
    let together = rows(&space, "together");
    assert_eq!((together.len(), together[0].len()), (48, 1024));
    assert_ne!(together[0], together[1]);
    // Without the first picture every other stands elsewhere in its batch, and the last batch is filled up.
    let manifest = space.read("pictures/manifest.csv");
    let first = manifest.lines().nth(1).unwrap().to_owned() + "\n";
    space.replace("pictures/manifest.csv", &first, "");
    std::fs::remove_dir_all(space.path("cache")).unwrap();
    let output = space.run("run study.toml --axis seed=1 --json").success();
    assert!(ran(&output) > 47, "everything is made anew");
    assert!(rows(&space, "fewer") == together[1..], "an image's features depend on its place or its neighbours");
}

fn a_kill_costs_the_images_at_hand() {
    let space = with_features();
    space.run("run study.toml --only pack").success();
    space.replace(PIPELINE, "batch = 8", "batch = 1");
    let mut engine = space.command(TOMOGRAPH);
    engine.args(["run", PIPELINE, "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut engine = engine.spawn().unwrap();
    let lines = BufReader::new(engine.stdout.take().unwrap()).lines().map_while(Result::ok);
    let begun = lines.into_iter().any(|line| line.contains("features[seed=1]") && line.contains("\"of\":48"));
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert!(begun, "the features were through before the engine could be killed");
    let output = space.run("run study.toml --json").success();
    assert!((1..48).contains(&ran(&output)), "{}", output.text());
}

fn test_features_reach_no_training() {
    let space = with_features();
    let train = "\n[stage.head]\nkind = \"classifier.train\"\ninputs = { train = \"features\", validation = \"features\" }\nparams = { backbone = \"mobilenet\", seed = 1 }\n";
    space.replace(PIPELINE, "arrays = \"pack.all\"", "arrays = \"pack.test\"");
    let text = space.read(PIPELINE);
    space.write(PIPELINE, text + train);
    space.run("check study.toml").exits(2).says(&["gives arrays of role `test`", "test data must not reach a training"]);
}

fn images_too_small_for_a_backbone_are_refused() {
    let space = with_features();
    space.replace(PIPELINE, "params = { size = 32 }", "params = { size = 31 }");
    space.run("run study.toml --axis seed=1").exits(1).says(&["the images are 31 × 31 pixels, but mobilenet needs at least 32"]);
    space.replace(PIPELINE, "batch = 8", "batch = 5000");
    space.run("check study.toml").exits(2).says(&["must be 1 to 4096"]);
}
