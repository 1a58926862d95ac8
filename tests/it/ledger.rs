//! The ledger: how many models ever met some test data, told by `run`, `show`, `whence` and the table. Programs stand for trainings.

use crate::space::Space;
use crate::study;
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        every_model_that_met_the_test_data_counts_once,
        more_models_than_the_table_shows_are_a_warning,
        gc_forgets_nothing_of_it,
        a_second_run_runs_nothing,
        a_filled_port_cannot_be_connected,
    ]
}

const STAGES: &str = r#"[stage.train]
over    = ["backbone"]
command = ["sh", "train.sh", "{backbone}", "{inputs.arrays}", "{outputs.model}"]
inputs  = { arrays = "pack.train" }
outputs = { model = "model" }

[stage.test]
command = ["sh", "test.sh", "{inputs.model}", "{inputs.arrays}", "{outputs.metrics}"]
inputs  = { model = "train", arrays = "pack.test" }
outputs = { metrics = "metrics" }

[stage.table]
kind    = "report.table"
inputs  = { runs = "test[*]" }
publish = { table = "results/table.csv", report = "results/table" }
"#;

fn space() -> Space {
    let space = study::without_training();
    let text = space.read(study::PIPELINE).replace("seed = [1, 2]", "seed = [1, 2]\nbackbone = [\"nas\", \"vgg\"]");
    space.write(study::PIPELINE, text + STAGES);
    space.write("train.sh", "printf '{\"of\": \"%s\"}\\n' \"$1\" > \"$3/model.json\"\nprintf '\\002\\000\\000\\000\\000\\000\\000\\000{}' > \"$3/model.safetensors\"\n");
    space.write(
        "test.sh",
        "printf '{\"role\": \"test\", \"n\": 12, \"metrics\": [{\"name\": \"auc\", \"value\": 0.75, \"low\": 0.7, \"high\": 0.8}]}' > \"$3\"\n",
    );
    space
}

fn every_model_that_met_the_test_data_counts_once() {
    let space = space();
    let first = "different models evaluated in this store, the first on 20";
    let output = space.run("run study.toml").success();
    let output = output.says(&[&format!("test data pack.test[seed=1]: 2 {first}"), &format!("test data pack.test[seed=2]: 2 {first}")]);
    assert_eq!(output.stdout.matches("test data").count(), 2, "{}", output.text());
    assert!(
        space
            .read("results/table/table.md")
            .contains("Note: 2 different models were ever evaluated on the same test data in this store.\n")
    );
    space.run("show study.toml test[backbone=nas,seed=1]").success().says(&[&format!(": 2 {first}")]);
    assert!(!space.run("show study.toml train").success().stdout.contains("test data"), "a training meets none");
    let told = space.run("whence results/table.csv").success();
    assert_eq!(told.stdout.matches(&format!(": 2 {first}")).count(), 4, "{}", told.text());
    // Another way to evaluate the same models is no other model.
    space.replace(study::PIPELINE, "\"test.sh\", \"{inputs.model}\"", "\"./test.sh\", \"{inputs.model}\"");
    let output = space.run("run study.toml --json").success();
    let told: Vec<u64> =
        output.objects().iter().filter(|one| one["event"] == "ledger").map(|one| one["models"].as_u64().unwrap()).collect();
    assert_eq!(told, [2, 2]);
    assert_eq!(output.outcomes()["test[backbone=nas,seed=1]"], "ran");
}

fn more_models_than_the_table_shows_are_a_warning() {
    let space = space();
    let _ = space.run("run study.toml").success();
    let warned = "4 different models were ever evaluated on the same test data in this store, and 2 of them stand behind this table";
    space.replace(study::PIPELINE, "[\"nas\", \"vgg\"]", "[\"nas\", \"old\", \"inception\"]");
    space.replace(study::PIPELINE, "over    = [\"backbone\"]", "over    = [\"backbone\"]\nskip    = [{ backbone = \"nas\" }]");
    let _ = space.run("run study.toml").success().says(&[warned, "test data pack.test[seed=2]: 4 different models"]);
    assert!(space.read("results/table/table.md").starts_with(&format!("**Warning:** {warned}")));
    // Another pipeline on the same test data is found in the table too, and `why` says that.
    let other = space
        .read(study::PIPELINE)
        .replace("[\"nas\", \"old\", \"inception\"]", "[\"dense\"]")
        .replace("skip    = [{ backbone = \"nas\" }]", "");
    space.write("other.toml", other.replace("results/", "elsewhere/"));
    let _ = space.run("run other.toml").success();
    space.run("plan study.toml").success().says(&["table", "inputs.ledger"]);
    let output = space.run("run study.toml --json").success();
    assert_eq!(output.tasks("ran"), ["table"]);
    assert!(space.read("results/table/table.md").starts_with("**Warning:** 5 different models"));
}

fn gc_forgets_nothing_of_it() {
    let space = space();
    let _ = space.run("run study.toml").success();
    std::fs::remove_dir_all(space.path("cache/runs")).unwrap();
    std::fs::remove_dir_all(space.path("cache/packs")).unwrap();
    std::fs::create_dir(space.path("cache/packs")).unwrap();
    std::fs::create_dir(space.path("cache/runs")).unwrap();
    space.replace(study::PIPELINE, "[\"nas\", \"vgg\"]", "[\"old\"]");
    let _ = space.run("run study.toml").success().says(&["test data pack.test[seed=1]: 3 different models"]);
}

fn a_second_run_runs_nothing() {
    let space = space();
    let _ = space.run("run study.toml").success();
    assert_eq!(space.run("run study.toml --json").success().tasks("ran"), [""; 0]);
    assert_eq!(space.run("plan study.toml --json").success().stdout.matches("\"run\"").count(), 0);
    // What was tested beside the table counts, whoever ends first.
    space.replace(study::PIPELINE, "runs = \"test[*]\"", "runs = \"test[backbone=nas,seed=*]\"");
    let _ =
        space.run("run study.toml").success().says(&["2 different models were ever evaluated", "and 1 of them stand behind this table"]);
    assert_eq!(space.run("run study.toml --json").success().tasks("ran"), [""; 0]);
}

fn a_filled_port_cannot_be_connected() {
    let space = space();
    space.replace(study::PIPELINE, "runs = \"test[*]\"", "runs = \"test[*]\", ledger = \"cohort\"");
    space.run("check study.toml").exits(2).says(&["port `ledger` is filled by the engine", "leave it out"]);
}
