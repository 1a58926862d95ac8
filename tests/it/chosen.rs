//! Chosen lists: a kind that takes one model does one part of a list at a time, each cached alone.

use crate::study::{PIPELINE, space};
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    trials![a_list_is_done_part_by_part_and_each_part_is_cached_alone]
}

/// A program chooses (here: everything); its gathered input has the very layout of a list.
const CHOICE: &str = r#"
[stage.choose]
command = ["cp", "-rT", "{inputs.models}", "{outputs.models}"]
inputs  = { models = "train.model[*]" }
outputs = { models = "models" }

[stage.test]
kind   = "classifier.evaluate"
inputs = { model = "choose.models", arrays = "pack.test[seed=1]" }

[stage.choice]
kind    = "report.table"
inputs  = { runs = "test.metrics" }
publish = { table = "results/choice.csv" }
"#;

const ALONE: &str = r#"
[stage.alone]
kind   = "classifier.evaluate"
inputs = { model = "train[seed=2]", arrays = "pack.test[seed=1]" }
"#;

fn a_list_is_done_part_by_part_and_each_part_is_cached_alone() {
    let space = space();
    let text = space.read(PIPELINE);
    space.write(PIPELINE, format!("{text}{CHOICE}"));
    space.run("run study.toml").success();
    let table = space.read("results/choice.csv");
    let seeds: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    assert_eq!(seeds[..2], ["1", "2"], "{table}");

    // The same evaluation, written out for one of the models, has been done.
    space.write(PIPELINE, format!("{text}{CHOICE}{ALONE}"));
    let output = space.run_args(&["run", PIPELINE, "--json"]).success();
    assert_eq!(output.tasks("ran"), [""; 0], "{}", output.text());
    assert!(output.tasks("cached").contains(&"alone".to_owned()), "{}", output.text());

    // Asked for again, each part is made again: a program starts for each.
    let output = space.run_args(&["run", PIPELINE, "--json", "--only", "test", "--again", "test"]).success();
    assert_eq!(
        (output.tasks("ran"), output.summary()["starts"]["count"].as_u64()),
        (vec!["test".to_owned()], Some(2)),
        "{}",
        output.text()
    );
}
