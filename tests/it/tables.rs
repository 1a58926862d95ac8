//! Tables of a sweep: holes where cells failed, the paper's form, controls. Metrics come from a program, so that no libtorch is needed.

use crate::space::Space;
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_failed_cell_is_a_hole_with_its_class,
        what_follows_a_failure_is_a_hole_of_its_class,
        without_any_run_there_is_no_table,
        an_axis_value_without_runs_is_a_dash,
        a_control_that_reaches_the_real_thing_warns,
        a_mended_cell_fills_its_hole,
        a_number_is_followed_to_its_own_run,
    ]
}

/// The pipeline's file.
pub(crate) const PIPELINE: &str = "sweep.toml";

const TEXT: &str = r#"[pipeline]
name = "sweep"

[axes]
backbone = ["nas", "vgg"]
seed     = [1, 2]
region   = ["all", "outside"]

[stage.train]
over    = ["backbone", "seed", "region"]
command = ["sh", "tools/train.sh", "{backbone}", "{seed}", "{region}", "{outputs.table}"]
outputs = { table = "table" }
code    = ["tools/train.sh"]

[stage.score]
command = ["sh", "tools/score.sh", "{inputs.table}", "{outputs.metrics}"]
inputs  = { table = "train" }
outputs = { metrics = "metrics" }
code    = ["tools/score.sh"]

[stage.table]
kind    = "report.table"
inputs  = { runs = "score[*]" }
params  = { best = 1 }
publish = { table = "results/table.csv", report = "results/table" }
"#;

/// Gives the AUC that `aucs.txt` has for a cell; fails as it says.
const TRAIN: &str = r#"line=$(grep "^$1 $2 $3 " aucs.txt) || exit 7
set -- "$4" $line
case "$5" in
    killed) kill -9 $$ ;;
    memory) echo "out of memory" >&2; exit 1 ;;
esac
printf 'auc\n%s\n' "$5" > "$1"
"#;

/// An interval of 0.05 to both sides.
const SCORE: &str = r#"awk 'NR == 2 { printf "{\"role\": \"test\", \"n\": 90, \"metrics\": [{\"name\": \"auc\", \"value\": %s, \"low\": %.3f, \"high\": %.3f}]}\n", $1, $1 - 0.05, $1 + 0.05 }' "$1" > "$2"
"#;

const AUCS: &str = "nas 1 all 0.90\nnas 1 outside 0.60\nnas 2 all 0.91\nnas 2 outside 0.61\nvgg 1 all 0.80\nvgg 1 outside 0.55\nvgg 2 all 0.82\nvgg 2 outside 0.56\n";

/// A project with the pipeline, its programs and what they are to give.
pub(crate) fn space() -> Space {
    let space = Space::new();
    space.write(PIPELINE, TEXT);
    space.write("tools/train.sh", TRAIN);
    space.write("tools/score.sh", SCORE);
    space.write("aucs.txt", AUCS);
    space
}

fn a_failed_cell_is_a_hole_with_its_class() {
    let space = space();
    space.replace("aucs.txt", "vgg 2 all 0.82", "vgg 2 all memory");
    let output =
        space.run("run sweep.toml").exits(1).says(&["failed: train[backbone=vgg,region=all,seed=2]", "1 of 8 runs failed: memory"]);
    let table = space.read("results/table.csv");
    assert!(table.contains("vgg,all,2,,0,,,,,memory,\n"), "{table}");
    // The mean is of the run that ended.
    assert!(table.contains("vgg,all,mean,test,1,,0.800000,"), "{table}");
    let paper = space.read("results/table/paper.md");
    assert!(paper.contains("| nas | **0.900** | 0.910 |") && paper.contains("| vgg | 0.800 | failed: memory |"), "{paper}");
    assert!(space.read("results/table/paper.tex").contains(r"vgg & 0.800 & \multicolumn{1}{c}{failed: memory} \\"));
    assert!(space.read("results/table/table.md").starts_with("**Warning:** 1 of 8 runs failed: memory."), "{}", output.text());
    space.run("whence results/table.csv").success().says(&["runs ← nothing as [backbone=vgg,region=all,seed=2]: failed, memory"]);
    // A hole is in the key: the same failure leaves the same table.
    assert_eq!(space.run("run sweep.toml --json").exits(1).outcomes()["table"], "cached");
}

fn what_follows_a_failure_is_a_hole_of_its_class() {
    let space = space();
    space.replace("aucs.txt", "nas 1 all 0.90", "nas 1 all killed");
    let _ = space.run("run sweep.toml").exits(1);
    let table = space.read("results/table.csv");
    assert!(table.contains("nas,all,1,,0,,,,,signal,\n"), "{table}");
    // Of another class, it is another table.
    space.replace("aucs.txt", "nas 1 all killed\n", "");
    assert_eq!(space.run("run sweep.toml --json").exits(1).outcomes()["table"], "ran");
    assert!(space.read("results/table.csv").contains("nas,all,1,,0,,,,,exit,\n"));
}

fn without_any_run_there_is_no_table() {
    let space = space();
    space.write("aucs.txt", "");
    let output = space.run("run sweep.toml --json").exits(1);
    assert_eq!(output.outcomes()["table"], "skipped");
    assert!(!space.path("results/table.csv").exists());
}

fn an_axis_value_without_runs_is_a_dash() {
    let space = space();
    space.replace(
        PIPELINE,
        "code    = [\"tools/train.sh\"]",
        "code    = [\"tools/train.sh\"]\nskip    = [{ backbone = \"vgg\", seed = 2 }]",
    );
    let _ = space.run("run sweep.toml").success();
    assert!(space.read("results/table/paper.md").contains("| vgg | 0.800 | – |"));
    space.replace(PIPELINE, "seed = 2 }]", "seed = [1, 2] }]");
    let _ = space.run("run sweep.toml").success();
    assert!(!space.read("results/table/paper.md").contains("vgg"));
}

fn a_control_that_reaches_the_real_thing_warns() {
    let space = space();
    let _ = space.run("run sweep.toml").success();
    let text = space.read("results/table/table.md");
    assert!(!text.contains("control"), "{text}");
    let space = self::space();
    space.replace("aucs.txt", "nas 1 outside 0.60", "nas 1 outside 0.86");
    let wanted = "a shortcut control does as well as the real thing: [backbone=nas, region=outside, seed=1] has AUC 0.860 (0.810–0.910), [backbone=nas, region=all, seed=1] has 0.900 (0.850–0.950)";
    let _ = space.run("run sweep.toml").success().says(&[wanted, "and so in 1 of 4 comparisons"]);
    assert!(space.read("results/table/table.md").starts_with(&format!("**Warning:** {wanted}")));
    space.replace(PIPELINE, "region   = [\"all\", \"outside\"]", "region   = [\"all\"]");
    let _ = space.run("run sweep.toml").success();
    assert!(space.read("results/table/table.md").ends_with("Note: no shortcut control was run.\n"));
}

fn a_mended_cell_fills_its_hole() {
    let space = space();
    space.replace("aucs.txt", "vgg 2 all 0.82\n", "");
    let _ = space.run("run sweep.toml").exits(1);
    space.write("aucs.txt", AUCS);
    let output = space.run("run sweep.toml --json").success();
    assert_eq!(output.tasks("ran"), ["score[backbone=vgg,region=all,seed=2]", "table", "train[backbone=vgg,region=all,seed=2]"]);
    assert!(!space.read("results/table.csv").contains("exit"));
}

fn a_number_is_followed_to_its_own_run() {
    let space = space();
    let _ = space.run("run sweep.toml").success();
    let tasks = |place: &str| -> Vec<String> {
        let told = space.run_args(&["whence", place, "--json"]).success().objects().remove(0);
        told["tasks"].as_array().unwrap().iter().map(|task| task["task"].as_str().unwrap().to_owned()).collect()
    };
    let own = |cell: &str| vec!["table".to_owned(), format!("score[{cell}]"), format!("train[{cell}]")];
    // The second row of the table, of each form.
    assert_eq!(tasks("results/table.csv:2:auc"), own("backbone=nas,region=all,seed=2"));
    assert_eq!(tasks("results/table/table.md:2:AUC"), own("backbone=nas,region=all,seed=2"));
    assert_eq!(tasks("results/table/paper.csv:2:seed 1 auc"), own("backbone=vgg,region=all,seed=1"));
    assert_eq!(
        tasks("results/table/paper.md:1:seed 2 AUC")[1..],
        [
            "score[backbone=nas,region=all,seed=2]",
            "score[backbone=nas,region=outside,seed=2]",
            "train[backbone=nas,region=all,seed=2]",
            "train[backbone=nas,region=outside,seed=2]"
        ]
    );
    // A mean is of its group, a file of everything.
    assert_eq!(tasks("results/table.csv:9:auc").len(), 5);
    assert_eq!(tasks("results/table.csv").len(), 17);
    space.run("whence results/table.csv:2:auc").success().says(&["auc in row 2 is 0.910000", "runs ← of 8 parts those of the row:"]);
}
