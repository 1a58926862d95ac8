//! What is measured beside all images at 0.5: the threshold of validation, patients, subgroups; and test sets and networks of which little
//! can be said.

use crate::space::Space;
use crate::study::{PIPELINE, png, space};
use libtest_mimic::Trial;
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        thresholds_patients_and_subgroups_reach_the_tables,
        a_threshold_is_of_the_model_it_was_chosen_for,
        a_patient_alone_of_one_class_with_equal_scores_has_holes,
        a_network_that_gives_no_number_is_a_hole,
        fewer_than_were_to_be_chosen_are_all_chosen,
    ]
}

/// Chooses among the seeds, and tests on the images of one.
const CHOSEN: &str = r#"
[stage.choose]
kind   = "classifier.select"
inputs = { models = "train.model[*]", predictions = "train.predictions[*]" }
params = { best = 1, patient = "mean" }

[stage.test]
kind   = "classifier.evaluate"
inputs = { model = "choose.models", threshold = "choose.threshold", arrays = "pack.test[seed=1]", groups = "split[seed=1]" }
params = { patient = "mean", by = ["sex", "scanner"], draws = 200 }

[stage.chosen]
kind    = "report.table"
inputs  = { runs = "test.metrics" }
publish = { table = "results/chosen.csv", report = "results/chosen" }

[stage.page]
kind    = "report.html"
inputs  = { runs = "test.metrics" }
publish = { report = "results/page" }
"#;

/// The study with the sex of every patient, and an old scanner that made the second picture of those who are ill.
fn with_columns(more: &str) -> Space {
    let space = space();
    let manifest = space.read("pictures/manifest.csv");
    let mut lines = manifest.lines();
    let mut text = format!("{},sex,scanner\n", lines.next().unwrap());
    for (number, line) in lines.enumerate() {
        text += &format!("{line},{},{}\n", ["F", "M"][number / 4 % 2], if number % 4 == 1 { "old" } else { "new" });
    }
    space.write("pictures/manifest.csv", text);
    let study = space.read(PIPELINE).replace("epochs = 3", "epochs = 1");
    space.write(PIPELINE, study + more);
    space
}

fn metrics(space: &Space, task: &str, path: &str) -> Value {
    let _ = std::fs::remove_dir_all(space.path("out"));
    let _ = space.run_args(&["export", PIPELINE, task, "out"]).success();
    serde_json::from_str(&space.read(format!("out/{path}"))).unwrap()
}

fn figure(view: &Value, name: &str) -> Value {
    let found = view["metrics"].as_array().unwrap().iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("{name} in {view}"))["value"].clone()
}

fn thresholds_patients_and_subgroups_reach_the_tables() {
    let space = with_columns(CHOSEN);
    let _ = space.run("run study.toml").success();
    let whole = metrics(&space, "test.metrics", "001/metrics.json");
    let views = whole["views"].as_array().unwrap();
    let of = |view: &Value| -> String {
        let group = format!("{}={}", view["group"]["column"].as_str().unwrap_or("-"), view["group"]["value"].as_str().unwrap_or("-"));
        format!("{} {} {group}", view["unit"].as_str().unwrap(), view["cut"].as_str().unwrap())
    };
    let told: Vec<String> = views.iter().map(of).collect();
    assert_eq!(told[..3], ["image validation -=-", "patient fixed -=-", "patient validation -=-"]);
    assert_eq!(
        told[3..7],
        ["fixed", "validation"]
            .map(|cut| format!("image {cut} sex=F"))
            .into_iter()
            .chain(["fixed", "validation"].map(|cut| format!("patient {cut} sex=F")))
            .collect::<Vec<_>>()
    );
    // Every image is of one sex, of one scanner; two images are a patient.
    let n = |wanted: &str| {
        views.iter().find(|view| of(view) == wanted).unwrap_or_else(|| panic!("{wanted} in {told:?}"))["n"].as_u64().unwrap()
    };
    assert_eq!((whole["n"].as_u64(), n("patient fixed -=-")), (Some(12), 6));
    assert_eq!(n("image fixed sex=F") + n("image fixed sex=M"), 12);
    assert_eq!(n("image validation scanner=new") + n("image validation scanner=old"), 12);
    assert_eq!(views[1]["patient"], "mean");
    assert!(views.iter().all(|view| view["metrics"].as_array().unwrap().iter().all(|one| one["low"].is_null() == one["high"].is_null())));
    assert_eq!(figure(&whole, "auc"), figure(&views[0], "auc"), "a threshold changes no order");
    // The threshold is the one that validation gave this very model.
    let _ = space.run_args(&["export", PIPELINE, "choose.threshold", "thresholds"]).success();
    let thresholds = space.read("thresholds/threshold.tsv");
    let row: Vec<&str> = thresholds.lines().nth(1).unwrap().split('\t').collect();
    assert_eq!(row[3].parse::<f64>().ok(), views[0]["threshold"].as_f64(), "{thresholds}");
    assert_eq!(row[7].parse::<f64>().ok(), views[2]["threshold"].as_f64(), "{thresholds}");

    let text = space.read("results/chosen/table.md");
    assert!(text.contains("| patient (mean) |") && text.contains("By subgroup.") && text.contains("| sex=F "), "{text}");
    let decisions = space.read("results/chosen/decisions.csv");
    assert_eq!((decisions.lines().count(), decisions.lines().next().unwrap().contains("unit")), (1 + 4 + 2 * 4, true), "{decisions}");
    let groups = space.read("results/chosen/groups.csv");
    assert!(groups.lines().skip(1).all(|line| line.contains("validation,") && line.contains("patient (mean)")), "{groups}");
    assert_eq!(space.read("results/chosen.csv").lines().next().unwrap().matches("threshold").count(), 0);
    let page = space.read("results/page/report.html");
    assert!(page.contains("patient (mean)") && page.contains("By subgroup."));
    assert!(space.run("run study.toml --json").success().tasks("ran").is_empty());

    // Of people, small subgroups are withheld: what is left of them is a star.
    space.replace(PIPELINE, "phi  = false", "phi  = true");
    space.replace(
        PIPELINE,
        "inputs  = { runs = \"test.metrics\" }\npublish = { table = \"results/chosen.csv\", report = \"results/chosen\" }",
        "inputs  = { runs = \"test.metrics\" }\nparams  = { min_count = 4 }\npublish = { table = \"results/chosen.csv\", report = \"results/chosen\" }",
    );
    let _ = space.run("run study.toml").success();
    let groups = space.read("results/chosen/groups.csv");
    let old: Vec<&str> = groups.lines().filter(|line| line.contains("scanner=")).collect();
    assert!(old.iter().all(|line| line.matches("0.").count() == 0), "{groups}");
}

fn a_threshold_is_of_the_model_it_was_chosen_for() {
    let other = CHOSEN.replace("model = \"choose.models\"", "model = \"train[seed=1]\"").replace("choose.threshold", "mine");
    let space = with_columns(&format!("\n[source.mine]\npath = \"mine.tsv\"\nphi  = false\n{other}"));
    let columns = "model\tthreshold\n";
    space.write("mine.tsv", format!("{columns}{}\t0.3\n", "0".repeat(64)));
    let _ = space.run("run study.toml --only test").exits(1).says(&["port `threshold`: no row is of this model"]);
    // One that somebody fixed in advance is for any.
    space.write("mine.tsv", "threshold\n0.25\n");
    let _ = space.run("run study.toml --only test").success().says(&["no threshold of patients arrives"]);
    let whole = metrics(&space, "test.metrics", "metrics.json");
    assert_eq!(whole["views"][0]["threshold"], 0.25);
    space.replace(PIPELINE, "by = [\"sex\", \"scanner\"]", "by = [\"age\"]");
    let _ = space.run("run study.toml --only test").exits(1).says(&["port `groups`: there is no column `age`"]);
}

/// The study, tested on one patient, by a split that somebody wrote by hand.
fn by_hand() -> Space {
    let more = "\n[source.hand]\npath = \"hand.tsv\"\nphi  = false\n";
    let space = space();
    let text = space.read(PIPELINE).replace("split = \"split\"", "split = \"hand\"").replace("seed = [1, 2]", "seed = [1]");
    let text = text.replace("[stage.train]\n", "[stage.train]\nover   = [\"seed\"]\n").replace("epochs = 3", "epochs = 1");
    space.write(PIPELINE, text.replace("[stage.import]", &format!("{more}\n[stage.import]")));
    let mut split = "item\tsubject\tlabel\tset\n".to_owned();
    for patient in 0..24 {
        for picture in 0..2 {
            let (label, set) =
                (["ill", "well"][patient % 2], if patient == 23 { "test" } else { ["train", "validation"][patient / 2 % 2] });
            split += &format!("p{patient:02}-{picture}.png\tp{patient:02}\t{label}\t{set}\n");
        }
    }
    space.write("hand.tsv", split);
    space
}

fn a_patient_alone_of_one_class_with_equal_scores_has_holes() {
    let space = by_hand();
    // The same picture twice: the same score.
    let picture = png(false, 7);
    space.write("pictures/p23-0.png", &picture);
    space.write("pictures/p23-1.png", &picture);
    space.replace(
        PIPELINE,
        "inputs = { model = \"train\", arrays = \"pack.test\" }",
        "inputs = { model = \"train\", arrays = \"pack.test\" }\nparams = { patient = \"max\" }",
    );
    // Where the cohort has no test set of its own making, it has no split either.
    let output = space.run_args(&["run", PIPELINE, "--only", "table", "--publish"]).success();
    let _ = output.says(&["no value on these 2 images", "no figure has an interval: these 2 images are of one subject"]);
    let table = space.read("results/table.csv");
    let header: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    let row: Vec<&str> = table.lines().nth(1).unwrap().split(',').collect();
    let at = |name: &str| row[header.iter().position(|one| *one == name).unwrap()];
    assert_eq!((at("n"), at("auc"), at("auc_low"), at("accuracy_low"), at("specificity")), ("2", "", "", "", ""), "{table}");
    assert!(["0.000000", "1.000000"].contains(&at("accuracy")), "{table}");
    let whole = metrics(&space, "evaluate.metrics", "metrics.json");
    assert_eq!((whole["clusters"].as_u64(), whole["views"][0]["n"].as_u64()), (Some(1), Some(1)));
}

fn a_network_that_gives_no_number_is_a_hole() {
    let space = space();
    let text = space.read(PIPELINE).replace("epochs = 3", "epochs = 1");
    space.write(PIPELINE, &text);
    let _ = space.run_args(&["run", PIPELINE, "--only", "train"]).success();
    for seed in ["1", "2"] {
        let _ = space.run_args(&["export", PIPELINE, &format!("train.model[seed={seed}]"), &format!("models/{seed}")]).success();
    }
    let given = "\n[source.given]\nover = [\"seed\"]\npath = \"models/{seed}\"\ntype = \"model\"\nphi  = false\n\n[stage.import]";
    space.write(PIPELINE, text.replace("\n[stage.import]", given).replace("{ model = \"train\"", "{ model = \"given\""));
    // Every number of the second is none.
    let place = space.path("models/2/model.safetensors");
    let mut bytes = std::fs::read(&place).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[start..].chunks_exact_mut(4).for_each(|value| value.copy_from_slice(&f32::NAN.to_le_bytes()));
    std::fs::write(&place, bytes).unwrap();
    // Edited, it is nobody's export any more.
    std::fs::remove_file(space.path("models/2.tomograph.json")).unwrap();
    let output = space.run("run study.toml").exits(1);
    let output = output.says(&["failed: evaluate[seed=2]", "the network gives no number for item"]);
    let table = space.read("results/table.csv");
    let row = table.lines().find(|line| line.starts_with("cnn,2,")).unwrap_or_else(|| panic!("{table}\n{}", output.text()));
    assert!(row.ends_with(",error") && table.lines().any(|line| line.starts_with("cnn,1,test,1,12,")), "{table}");
}

fn fewer_than_were_to_be_chosen_are_all_chosen() {
    let space = with_columns(&CHOSEN.replace("best = 1", "best = 3"));
    let output = space.run("run study.toml").success();
    let output = output.says(&["2 of 2 values of `seed` have a figure, 3 were to be chosen"]);
    let table = space.read("results/chosen.csv");
    let mut seeds: Vec<&str> = table.lines().skip(1).take(2).filter_map(|line| line.split(',').next()).collect();
    // The better one comes first, and which that is follows from the processor's last bits.
    seeds.sort_unstable();
    assert_eq!(seeds, ["1", "2"], "{table}\n{}", output.text());
}
