//! The paper's sweep: what an edit costs, what a kill leaves, what a failure does to the tables.

use crate::Need;
use crate::space::{Output, Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        an_edit_of_the_sweep_costs_what_it_must,
        a_sweep_killed_three_times_ends_as_one_that_was_not,
        a_failed_training_is_a_hole_in_the_table,
        a_program_is_one_more_row_and_goes_on_after_a_kill: [Need::Keras],
    ]
}

const TINY: &str = "sweep-tiny.toml";

/// A backbone to begin with, which the weights of all variants are copies of.
const BEGIN: &str = r#"[pipeline]
name = "begin"

[source.pictures]
path = "pictures"
phi  = false

[stage.images]
kind   = "images.import"
inputs = { files = "pictures", table = "pictures/manifest.csv" }

[stage.prepare]
kind   = "images.prepare"
inputs = { images = "images" }
params = { size = 32 }

[stage.cohort]
kind   = "cohort.label"
inputs = { index = "images" }

[stage.split]
kind   = "cohort.split"
inputs = { cohort = "cohort" }
params = { seed = 9, train = 0.5, validation = 0.5, test = 0.0 }

[stage.pack]
kind   = "dataset.pack"
inputs = { images = "prepare", split = "split" }

[stage.train]
kind   = "classifier.train"
inputs = { train = "pack.train", validation = "pack.validation" }
params = { backbone = "mobilenet", seed = 1, epochs = 1, batch = 8, dense = [4] }
"#;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A picture of 32 by 32 from where its two lungs are and some noise, 0 to 31.
pub(crate) fn drawn(number: u32, shade: impl Fn(bool, u8) -> u8) -> Vec<u8> {
    let mut state = number.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let picture = image::GrayImage::from_fn(32, 32, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let lung = [9, 22].into_iter().any(|middle: i32| {
            let (across, down) = (x as i32 - middle, y as i32 - 15 - (number % 3) as i32);
            across * across * 4 + down * down <= 100
        });
        image::Luma([shade(lung, (state >> 27) as u8)])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Dark lungs; those of the ill are less dark.
pub(crate) fn chest(number: u32, ill: bool) -> Vec<u8> {
    drawn(number, |lung, noise| {
        noise
            + if !lung {
                190
            } else if ill {
                80
            } else {
                40
            }
    })
}

/// Sixteen patients with a picture each, half of them ill.
fn space() -> Space {
    let space = Space::new();
    space.write("pipelines/base/sweep.toml", include_str!("../../pipelines/base/sweep.toml"));
    space.write(TINY, include_str!("../pipelines/sweep-tiny.toml"));
    space.write("tomograph.local.toml", "[devices]\ncpu_slots = 2\n");
    let mut manifest = "file,subject,label\n".to_owned();
    for patient in 0..16 {
        manifest += &format!("{patient:02}.png,p{patient:02},{}\n", if patient % 2 == 0 { "ill" } else { "well" });
        space.write(format!("pictures/{patient:02}.png"), chest(patient, patient % 2 == 0));
    }
    let mut others = "file,mask,subject\n".to_owned();
    for other in 0..8 {
        others += &format!("{other}.png,m{other}.png,o{other}\n");
        space.write(format!("others/{other}.png"), chest(100 + other, false));
        space.write(format!("others/m{other}.png"), drawn(100 + other, |lung, _| if lung { 255 } else { 0 }));
    }
    space.write("others/manifest.csv", others);
    space.write("pictures/manifest.csv", manifest);
    space.write("begin.toml", BEGIN);
    space.run("run begin.toml").success();
    space.run("export begin.toml train.model begin").success();
    for variant in 0..10 {
        copy(&space.path("begin"), &space.path(format!("weights/v{variant}")));
    }
    space
}

fn run(space: &Space) -> Output {
    space.run_args(&["run", TINY, "--json"]).success()
}

/// How many tasks of each stage ran.
fn ran(output: &Output) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for task in output.tasks("ran") {
        *counts.entry(task.split('[').next().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

fn trainings(output: &Output) -> usize {
    ran(output).get("train").copied().unwrap_or_default()
}

/// Rows of single runs in the table that hold a text.
fn rows(space: &Space, text: &str) -> usize {
    let table = space.read("results/table.csv");
    table.lines().filter(|line| line.contains(text) && !line.contains(",mean,") && !line.contains(",sd,")).count()
}

fn an_edit_of_the_sweep_costs_what_it_must() {
    let space = space();
    let first = run(&space);
    assert_eq!(trainings(&first), 60, "{:?}", ran(&first));
    assert_eq!((rows(&space, ",test,"), rows(&space, ",validation,")), (3 * 2 * 3, 60));
    // Each chosen one is measured by image and by patient, at both thresholds; the paper's form is as wide as it was.
    let decisions = space.read("results/report/decisions.csv");
    let of_a_seed = |line: &&str| (1..=3).any(|seed| line.contains(&format!(",{seed},test,1,")));
    assert_eq!(decisions.lines().filter(of_a_seed).count(), 3 * 2 * 3 * 4, "{decisions}");
    assert!(!space.read("results/report/paper.csv").contains("patient"));
    assert!(run(&space).tasks("ran").is_empty());

    // A backbone, and the file of its weights beside the others.
    copy(&space.path("begin"), &space.path("weights/v10"));
    space.replace(TINY, "    { id = \"v9\", units = 13 },\n", "    { id = \"v9\", units = 13 },\n    { id = \"v10\", units = 14 },\n");
    assert_eq!(trainings(&run(&space)), 6);
    space.replace(TINY, "    { id = \"v10\", units = 14 },\n", "");
    assert_eq!(trainings(&run(&space)), 0);

    // A seed.
    let text = space.read(TINY);
    space.replace(TINY, "[axes]\n", "[axes]\nseed = [1, 2, 3, 4]\n");
    assert_eq!(trainings(&run(&space)), 20);
    space.write(TINY, &text);

    // The network for lungs: what takes the image as it is stands, and the plan knows it.
    space.replace(TINY, "unet   = 20", "unet   = 19");
    let plan = space.run_args(&["plan", TINY, "--json"]).success();
    let states = |region: &str, state: &str| {
        let fits = |object: &&serde_json::Value| {
            let task = object["task"].as_str().unwrap_or_default();
            task.starts_with("train[") && task.contains(&format!("region={region}")) && object["state"] == state
        };
        plan.objects().iter().filter(fits).count()
    };
    assert_eq!((states("all", "cached"), states("lungs", "later")), (30, 30));
    let segmented = run(&space);
    assert!(trainings(&segmented) <= 30 && segmented.tasks("ran").iter().all(|task| !task.contains("region=all")), "{:?}", ran(&segmented));

    // Somebody withdraws: what never saw their pictures stands.
    for seed in 1..=3 {
        let split = std::fs::read(space.path(format!("published/{seed}/split.tsv"))).unwrap();
        space.write(format!("splits/{seed}.tsv"), split);
    }
    assert_eq!(trainings(&run(&space)), 0);
    let split = space.read("splits/1.tsv");
    let columns: Vec<&str> = split.lines().next().unwrap().split('\t').collect();
    let at = |name: &str| columns.iter().position(|column| *column == name).unwrap();
    let row = split.lines().find(|line| line.split('\t').nth(at("set")) == Some("test")).unwrap();
    let gone = row.split('\t').nth(at("subject")).unwrap().to_owned();
    let tested = |seed: i32| space.read(format!("splits/{seed}.tsv")).lines().any(|line| line.contains(&gone) && line.contains("\ttest"));
    let others = (1..=3).filter(|seed| !tested(*seed)).count();
    let manifest = space.read("pictures/manifest.csv");
    let kept: Vec<&str> = manifest.lines().filter(|line| !line.contains(&gone)).collect();
    space.write("pictures/manifest.csv", kept.join("\n") + "\n");
    let without = run(&space);
    assert_eq!(trainings(&without), 20 * others, "{:?}", ran(&without));
    assert!(!without.tasks("ran").iter().any(|task| task.starts_with("train[") && task.contains("seed=1")), "{:?}", ran(&without));

    // Another number of epochs: every training, and no segmentation.
    space.replace(TINY, "epochs = 1\n", "epochs = 2\n");
    let longer = run(&space);
    assert_eq!(trainings(&longer), 60);
    assert!(!ran(&longer).keys().any(|stage| ["segment", "masked", "unet", "pack"].contains(&stage.as_str())), "{:?}", ran(&longer));
}

/// What was published.
fn published(space: &Space) -> Vec<Vec<u8>> {
    ["results/table.csv", "results/report/paper.csv"].map(|path| std::fs::read(space.path(path)).unwrap()).to_vec()
}

fn a_sweep_killed_three_times_ends_as_one_that_was_not() {
    let arguments = ["run", TINY, "--axis", "seed=1", "--publish", "--json"];
    let undisturbed = space();
    let tasks = undisturbed.run_args(&arguments).success().tasks("ran").len();
    let again = space();
    let (seed, mut random) = crate::random();
    // Some tasks each time, and then a moment in which others are at work. What is left after the third has trainings in it.
    for kill in 1..=3 {
        let (count, moment) = (1 + random(tasks as u64 / 4) as usize, std::time::Duration::from_millis(random(400)));
        let mut engine = again.command(TOMOGRAPH).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(engine.stdout.take().unwrap()).lines().map_while(Result::ok);
        let ended = lines.filter(|line| line.contains("\"event\":\"task\"") && line.contains("\"ran\"")).take(count).count();
        std::thread::sleep(moment);
        engine.kill().unwrap();
        engine.wait().unwrap();
        assert_eq!(ended, count, "seed {seed}: the sweep ended before kill {kill}");
    }
    let output = again.run_args(&arguments).success();
    assert!((1..20).contains(&trainings(&output)), "seed {seed}: {:?}", ran(&output));
    assert!(published(&again) == published(&undisturbed), "seed {seed}: the tables differ");
    for task in ["train.model[backbone=v3,region=lungs,seed=1]", "choose.models[region=all,seed=1]"] {
        let bytes = |space: &Space| {
            space.run_args(&["export", TINY, task, "out"]).success();
            let place = space.path("out");
            let file = ["model.safetensors", "001/model.safetensors"].into_iter().find(|file| place.join(file).exists()).unwrap();
            let bytes = std::fs::read(place.join(file)).unwrap();
            std::fs::remove_dir_all(place).unwrap();
            bytes
        };
        assert!(bytes(&again) == bytes(&undisturbed), "seed {seed}: {task} differs");
    }
}

fn a_failed_training_is_a_hole_in_the_table() {
    let space = space();
    // Weights of another network.
    space.write("weights/v4/model.json", space.read("weights/v4/model.json").replace("mobilenet", "vgg16"));
    let output = space.run_args(&["run", TINY, "--axis", "seed=1", "--publish", "--json"]).exits(1);
    assert_eq!(output.tasks("failed").len(), 2, "{}", output.text());
    assert_eq!((rows(&space, "v4,"), rows(&space, ",test,"), rows(&space, ",validation,")), (2, 2 * 3, 18));
}

/// Somebody's own program, in the place of a network: what it learnt so far is in its state folder.
const MINE: &str = r#"import json, os, pickle, sys
import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score, roc_auc_score

train, test, metrics, state, params = sys.argv[1:]
params = json.load(open(params))["params"]


def read(folder):
    x = np.load(f"{folder}/X.npy").astype(float)
    return x.reshape(len(x), -1) / 65535, np.load(f"{folder}/y.npy")


x, y = read(train)
kept = f"{state}/model.pickle"
done, model = 0, SGDClassifier(loss="log_loss", random_state=1)
if os.path.exists(kept):
    done, model = pickle.load(open(kept, "rb"))
    print("went on from epoch", done)
for epoch in range(done, params["epochs"]):
    model.partial_fit(x, y, classes=[0, 1])
    with open(kept + ".part", "wb") as file:
        pickle.dump((epoch + 1, model), file)
    os.replace(kept + ".part", kept)
x, y = read(test)
score = model.predict_proba(x)[:, 1]
found = {"accuracy": accuracy_score(y, score > 0.5), "auc": roc_auc_score(y, score)}
found = [{"name": name, "value": value, "n": len(y)} for name, value in found.items()]
json.dump({"role": "test", "n": len(y), "classes": ["ill", "well"], "metrics": found}, open(metrics, "w"))
"#;

fn a_program_is_one_more_row_and_goes_on_after_a_kill() {
    let space = space();
    space.write("tools/mine.py", MINE);
    let packages = crate::keras_packages().unwrap();
    let stage = format!(
        r#"
[stage.mine]
command = ["python3", "tools/mine.py", "{{inputs.train}}", "{{inputs.test}}", "{{outputs.metrics}}", "{{state}}", "{{params_file}}"]
inputs  = {{ train = "pack.train", test = "pack.test" }}
outputs = {{ metrics = "metrics" }}
params  = {{ epochs = 3000 }}
env     = {{ PYTHONPATH = "{packages}" }}
code    = ["tools/*.py"]

[stage.table.inputs.runs]
mine = "mine.metrics[*]"
"#
    );
    let text = space.read(TINY).replace("\n[stage.table]\n", &format!("{stage}\n[stage.table]\n"));
    space.write(TINY, &text);
    let short = ["run", TINY, "--axis", "seed=1", "--axis", "backbone=v0,v1", "--publish"];
    let mut engine = space.command(TOMOGRAPH).args(short).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // As soon as it has kept something.
    let state = space.path("cache/state");
    let kept = || walk(&state).iter().any(|path| path.ends_with("model.pickle"));
    while !kept() {
        assert!(engine.try_wait().unwrap().is_none(), "the run ended before the program kept anything");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    engine.kill().unwrap();
    engine.wait().unwrap();
    space.run_args(&short).success();
    let logs: Vec<String> = walk(&space.path("cache/logs")).iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let own: Vec<&String> = logs.iter().filter(|log| log.starts_with("mine[")).collect();
    // What the engine says before and after stands around it.
    let went_on =
        |log: &String| log.contains("\nwent on from epoch ") && log.lines().last().is_some_and(|line| line.starts_with("done in"));
    assert!(own.iter().any(|log| went_on(log)), "{own:?}");
    let paper = space.read("results/report/paper.md");
    let rows = paper.lines().filter(|line| line.starts_with("| mine |")).count();
    assert_eq!(rows, 2, "a row in each of the two tables\n{paper}");
    let table = paper.split("Region all: measured on the test set").nth(1).unwrap_or_else(|| panic!("{paper}"));
    let names: Vec<&str> =
        table.lines().filter(|line| line.starts_with("| ")).skip(1).take(3).map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert!(names.contains(&"mine") && names.contains(&"v0"), "{paper}");
}

/// Every file below a folder.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let below = |path: std::path::PathBuf| if path.is_dir() { walk(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.unwrap().path())).collect()
}
