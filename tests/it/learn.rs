//! Training as part of a pipeline: what reruns it and what must not, kills in the middle, equal weights from equal seeds.

use crate::space::{Output, Space, TOMOGRAPH};
use crate::study::{PIPELINE, png, space};
use libtest_mimic::Trial;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use tomograph::table::Table;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        an_edit_reruns_what_it_must_and_no_more,
        a_kill_in_the_middle_of_training_changes_no_bit,
        a_killed_worker_is_an_error_and_no_loss
    ]
}

fn run(space: &Space) -> Output {
    space.run("run study.toml --json").success()
}

fn stages(output: &Output, outcome: &str) -> Vec<String> {
    let mut stages: Vec<String> = output.tasks(outcome).iter().map(|task| task.split('[').next().unwrap().to_owned()).collect();
    stages.dedup();
    stages
}

/// The weights' bytes of a task.
fn weights(space: &Space, task: &str) -> Vec<u8> {
    let folder = space.path("out-model");
    space.run_args(&["export", PIPELINE, task, "out-model"]).success();
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    bytes
}

/// The pictures in one set of a seed's split.
fn pictures_in(space: &Space, seed: u32, set: &str) -> Vec<String> {
    let folder = format!("out-split-{seed}");
    space.run_args(&["export", PIPELINE, &format!("split[seed={seed}]"), &folder]).success();
    let file = std::fs::read_dir(space.path(&folder)).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| path.ends_with("split.tsv")).unwrap_or_else(|| panic!("no split.tsv in {folder}"));
    let table = Table::from_tsv(&std::fs::read(file).unwrap()).unwrap();
    std::fs::remove_dir_all(space.path(&folder)).unwrap();
    let (item, at) = (table.column("item").unwrap(), table.column("set").unwrap());
    table.rows.iter().filter(|row| row[at] == set).map(|row| row[item].clone()).collect()
}

fn an_edit_reruns_what_it_must_and_no_more() {
    let space = space();
    let first = run(&space);
    assert_eq!(first.tasks("ran").len(), 12, "{}", first.text());
    assert!(space.read("results/table.csv").lines().count() > 1);
    assert_eq!(run(&space).tasks("ran"), [""; 0]);

    // A picture that no row of the manifest names.
    space.write("pictures/stray.png", png(true, 99));
    assert_eq!(run(&space).tasks("ran"), ["import"]);

    // A test picture of seed 1 that seed 2 does not train or validate with either, if there is one.
    let (tested, other) = (pictures_in(&space, 1, "test"), pictures_in(&space, 2, "test"));
    let both = tested.iter().find(|picture| other.contains(picture)).unwrap_or(&tested[0]).clone();
    let ill = first_is_ill(&both);
    space.write(format!("pictures/{both}"), png(ill, 1000));
    let trained: Vec<String> = run(&space).tasks("ran").into_iter().filter(|task| task.starts_with("train[")).collect();
    assert!(!trained.contains(&"train[seed=1]".to_owned()), "a test picture must not retrain: {trained:?}");
    assert_eq!(trained.is_empty(), other.contains(&both));

    // A training picture of seed 1.
    let learnt = pictures_in(&space, 1, "train")[0].clone();
    let holds = |seed| ["train", "validation"].iter().any(|set| pictures_in(&space, seed, set).contains(&learnt));
    let expected: Vec<String> = [1, 2].into_iter().filter(|seed| holds(*seed)).map(|seed| format!("train[seed={seed}]")).collect();
    space.write(format!("pictures/{learnt}"), png(first_is_ill(&learnt), 1001));
    let trained: Vec<String> = run(&space).tasks("ran").into_iter().filter(|task| task.starts_with("train[")).collect();
    assert_eq!(trained, expected);

    // A param of the training.
    space.replace(PIPELINE, "learning_rate = 1e-4", "learning_rate = 1e-3");
    space.run_args(&["why", PIPELINE, "train[seed=1]"]).success().says(&["params.learning_rate: 0.0001 → 0.001"]);
    assert_eq!(stages(&run(&space), "ran"), ["evaluate", "table", "train"]);
}

fn first_is_ill(picture: &str) -> bool {
    picture[1..3].parse::<u32>().unwrap() % 2 == 0
}

fn a_kill_in_the_middle_of_training_changes_no_bit() {
    // Longer than the half second between two lines of progress, and a state after every step.
    let space = || {
        let space = space();
        space.replace(PIPELINE, "epochs = 3", "epochs = 12");
        space.write("tomograph.local.toml", "state_every = 0\n");
        space
    };
    let undisturbed = space();
    undisturbed.run_args(&["run", PIPELINE, "--only", "train[seed=1]"]).success();
    let expected = weights(&undisturbed, "train.model[seed=1]");

    let again = space();
    let mut engine = again.command(TOMOGRAPH);
    engine.args(["run", PIPELINE, "--only", "train[seed=1]", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut engine = engine.spawn().unwrap();
    let lines = BufReader::new(engine.stdout.take().unwrap()).lines().map_while(Result::ok);
    let later = |line: &String| line.contains("train[seed=1]") && line.contains("/12 loss") && !line.contains("\"done\":1,");
    let in_the_middle = lines.into_iter().any(|line| later(&line));
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert!(in_the_middle, "the training ended before it could be killed");
    assert!(std::fs::read_dir(again.path("cache/state")).unwrap().next().is_some(), "there is no state to go on from");

    let output = again.run_args(&["run", PIPELINE, "--only", "train[seed=1]", "--json"]).success();
    assert_eq!(output.tasks("ran"), ["train[seed=1]"], "{}", output.text());
    assert!(weights(&again, "train.model[seed=1]") == expected, "the weights are not those of an undisturbed training");
    assert!(std::fs::read_dir(again.path("cache/state")).unwrap().next().is_none(), "the state is no longer needed");
}

fn a_killed_worker_is_an_error_and_no_loss() {
    let space = space();
    let mut engine = space.command(TOMOGRAPH);
    engine.args(["run", PIPELINE, "--only", "train[seed=1]", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut engine = engine.spawn().unwrap();
    let lines = BufReader::new(engine.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.into_iter().any(|line| line.contains("train[seed=1]") && line.contains("epoch 1/3")), "the training never started");
    let killed = Command::new("sh").args(["-c", "kill -9 $(cat /proc/$0/task/*/children)", &engine.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = engine.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    assert_eq!(space.run_args(&["run", PIPELINE, "--only", "train[seed=1]", "--json"]).success().tasks("ran"), ["train[seed=1]"]);
}
