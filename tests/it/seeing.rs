//! What a user can see of a pipeline and its past: graph, forecast, history, names of runs, differences, logs.

use crate::numbers::{PIPELINE, space};
use crate::space::Space;
use libtest_mimic::Trial;
use snapbox::str;
use std::path::Path;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_graph_in_layers,
        a_graph_shows_cells_when_asked,
        a_graph_of_a_part_before_its_sources_are_there,
        a_graph_for_graphviz,
        the_papers_graph_is_one_svg,
        a_plan_says_how_long,
        of_very_many_tasks_the_first_are_listed,
        past_runs_with_what_was_laid_over_them,
        a_named_run_is_kept_and_found,
        what_differs_between_two_runs,
        figures_that_differ_between_two_runs,
        a_log_says_why_where_and_how_to_repeat_it,
        a_log_names_what_failed,
        what_runs_again_says_whether_the_bytes_are_the_same,
        other_bytes_of_a_program_are_a_variant,
        items_of_what_runs_again_are_treated_again,
        a_result_is_accepted_after_a_cosmetic_edit,
        what_cannot_be_judged_without_the_data_is_not_accepted,
    ]
}

fn a_graph_in_layers() {
    let space = space();
    let _ = space.run("run numbers.toml --only scale[by=1]").success();
    let _ = space.run("graph numbers.toml").success().stdout_eq(str![[r#"
numbers: 3 stages, 5 tasks: 2 cached, 2 will run, 1 decided later

   numbers       source                numbers
1  gather   1/1  1 cached              command  files ← numbers
2  scale    1/3  1 cached, 2 will run  command  table ← gather.table
3  total    0/1  1 decided later       command  tables ← scale.table

"#]]);
}

fn a_graph_shows_cells_when_asked() {
    let space = space();
    let _ = space.run("run numbers.toml --only scale[by=1]").success();
    let _ = space.run("graph numbers.toml --cells --only scale").success().stdout_eq(str![[r#"
numbers: 2 stages, 4 tasks: 2 cached, 2 will run, 0 decided later

   numbers       source                numbers
1  gather   1/1  1 cached              command  files ← numbers
      gather  cached
2  scale    1/3  1 cached, 2 will run  command  table ← gather.table
      scale[by=1]  cached
      scale[by=2]  will run  never ran; compared with scale[by=1]; command.argv[2]: 1 → 2; command.coordinates.by: 1 → 2
      scale[by=3]  will run  never ran; compared with scale[by=1]; command.argv[2]: 1 → 3; command.coordinates.by: 1 → 3

"#]]);
}

fn a_graph_of_a_part_before_its_sources_are_there() {
    let space = space();
    std::fs::remove_dir_all(space.path("numbers")).unwrap();
    let _ = space.run("graph numbers.toml --only gather").success().stdout_eq(str![[r#"
numbers: 1 stage, 1 task

   numbers       source     numbers
1  gather   0/1  1 unknown  command  files ← numbers

nothing is known of what would run:
source `numbers`: there is nothing at `numbers` (in [ROOT])

"#]]);
    let svg = space.run("graph numbers.toml --format svg").success();
    assert!(svg.stdout.contains("sources are missing") && svg.stdout.contains("class=\"unknown\""), "{}", svg.stdout);
}

fn a_graph_for_graphviz() {
    let space = space();
    let _ = space.run("graph numbers.toml --format dot").success().stdout_eq(str![[r##"
digraph "numbers" {
  rankdir=TB;
  node [shape=box, style="rounded,filled", fontname="monospace", fillcolor=white];
  edge [fontname="monospace", fontsize=10];
  "numbers" [label="numbers", shape=cylinder, tooltip="numbers"];
  "gather" [label="gather  0/1/ncommand", fillcolor="#ffe8bf", tooltip="1 will run"];
  "scale" [label="scale  0/3/ncommand", fillcolor="#e3e9f2", tooltip="3 decided later"];
  "total" [label="total  0/1/ncommand", fillcolor="#e3e9f2", tooltip="1 decided later"];
  "numbers" -> "gather" [label="files"];
  "gather" -> "scale" [label="table"];
  "scale" -> "total" [label="table → tables"];
}

"##]]);
    let cells = space.run("graph numbers.toml --format dot --cells").success();
    assert!(cells.stdout.contains("\"scale[by=3]\" -> \"total\" [label=\"table → tables\"]"), "{}", cells.stdout);
}

/// A project with the paper's pipeline, whose stages all run one small program.
fn paper() -> Space {
    let space = Space::new();
    space.write("paper.toml", std::fs::read(Path::new("tests/pipelines/valid/paper.toml")).unwrap());
    space.write("tools/make.sh", "for folder in \"$@\"; do echo x > \"$folder/x\"; done\n");
    for file in ["data/dicom/DOE^JANE.dcm", "data/laboratory.csv", "data/montgomery/1.png"] {
        space.write(file, file);
    }
    for backbone in ["densenet121", "inception", "mobilenet", "resnet50", "vgg16", "vgg19", "xception"] {
        space.write(format!("weights/{backbone}.h5"), backbone);
    }
    space
}

fn the_papers_graph_is_one_svg() {
    let space = paper();
    let _ = space.run("run paper.toml --only label").success();
    let svg = space.run("graph paper.toml --format svg --cells").success().stdout;
    for wanted in [
        "@media (prefers-color-scheme: dark)",
        "26 stages, 174 tasks: 5 cached",
        "<title>pack.train → train, port train</title>",
        "<title>train[backbone=vgg16,region=lungs,seed=3]: decided later",
        "<title>select, command: 1 will run\nfirst run</title>",
        "source of people's data",
    ] {
        assert!(svg.contains(wanted), "{wanted:?} is not in\n{svg}");
    }
    for forbidden in ["<script", "href", "url(", "JANE"] {
        assert!(!svg.contains(forbidden), "{forbidden:?} is in\n{svg}");
    }
    let (opened, closed) = (svg.matches("<g ").count(), svg.matches("</g>").count());
    assert_eq!((opened, svg.matches("<svg").count(), svg.matches("</svg>\n").count()), (closed, 1, 1));
    // Nothing is drawn left of or above the picture, and every box has its place.
    assert!(!svg.contains("translate(-") && !svg.contains("NaN"), "{svg}");
    assert_eq!(svg.matches("class=\"box\"").count(), 26 + 4 + 5, "stages, sources, and the legend");
}

fn a_plan_says_how_long() {
    let space = space();
    let _ = space.run("run numbers.toml").success();
    space.write("numbers/a.txt", "9\n");
    let _ = space.run("plan numbers.toml --axis by=1,2,4 -j 2").success().stdout_eq(str![[r#"
gather       will run  ~[TIME]  inputs.files: source numbers; changed a.txt
scale[by=1]  later     ~[TIME]  decided after gather
scale[by=2]  later     ~[TIME]  decided after gather
scale[by=4]  later     ~[TIME]  decided after gather
total        later     ~[TIME]  decided after scale[by=1], scale[by=2], scale[by=4]
0 cached, 1 will run, 4 decided later
about [TIME] of work, and up to [TIME] more for what is decided later
with -j 2 over in about [TIME] to [TIME]

"#]]);
    let objects = space.run("plan numbers.toml --axis by=1,4 --json").success().objects();
    let seconds = |task: &str| objects.iter().find(|object| object["task"] == task).unwrap()["seconds"].clone();
    assert!(seconds("gather").as_f64().unwrap() > 0.0 && seconds("scale[by=4]").as_f64().unwrap() > 0.0, "{objects:?}");
    let cold = crate::numbers::space().run("plan numbers.toml --json").success().objects();
    assert!(cold.iter().all(|object| object["seconds"].is_null()), "{cold:?}");
}

fn of_very_many_tasks_the_first_are_listed() {
    let space = space();
    space.replace(PIPELINE, "by = [1, 2, 3]", &format!("by = {:?}", (1..=150).collect::<Vec<u32>>()));
    let plan = space.run("plan numbers.toml").success().says(&["0 cached, 1 will run, 151 decided later"]);
    assert_eq!(plan.stdout.matches("scale[by=").count(), 100 + 2, "the hundred, and two in what `total` waits for\n{}", plan.stdout);
    assert!(plan.stdout.contains("\n… and 50 more of scale: later (--json lists every task)\n"), "{}", plan.stdout);
    assert_eq!(space.run("plan numbers.toml --json").success().objects().len(), 152);
}

fn past_runs_with_what_was_laid_over_them() {
    let space = space();
    let _ = space.run("history numbers.toml").success().stdout_eq(str![[r#"
no run yet

"#]]);
    let _ = space.run("run numbers.toml").success();
    let _ = space.run_args(&["run", PIPELINE, "--axis", "by=1,4", "--only", "scale", "--note", "two\ncells"]).success();
    space.write("tools/total.sh", "exit 3\n");
    let _ = space.run("run numbers.toml").exits(1);
    let _ = space.run("history numbers.toml").success().stdout_eq(str![[r#"
run[..]began[..]outcome             took   overrides                   note
[RUN][..][MOMENT]  5 ran               [TIME]
[RUN][..][MOMENT]  2 cached, 1 ran     [TIME]  --only scale --axis by=1,4  two cells
[RUN][..][MOMENT]  4 cached, 1 failed  [TIME]

"#]]);
    let runs = space.run("history numbers.toml --json").success().objects();
    assert_eq!(
        (runs.len(), &runs[1]["axis"][0], &runs[1]["note"], &runs[2]["failed"]),
        (3, &"by=1,4".into(), &"two\ncells".into(), &1.into())
    );
}

fn a_named_run_is_kept_and_found() {
    let space = space();
    let name = |note: &str| space.run_args(&["run", PIPELINE, "--name", "submission-1", "--note", note]);
    let _ = name("as sent").success();
    let _ = name("once more").exits(2).says(&["is named submission-1", "--forget submission-1"]);
    let names = std::fs::read_dir(space.path("cache/names")).unwrap().next().unwrap().unwrap().path();
    let named: serde_json::Value = serde_json::from_slice(&std::fs::read(names.join("submission-1.json")).unwrap()).unwrap();
    assert_eq!((named["keys"].as_array().unwrap().len(), &named["note"]), (5, &"as sent".into()), "every key, of all five tasks");
    let _ = space.run("history numbers.toml --forget submission-1").success();
    let _ = name("anew").success();
    let again: serde_json::Value = serde_json::from_slice(&std::fs::read(names.join("submission-1.json")).unwrap()).unwrap();
    assert_eq!(again["keys"], named["keys"], "cached tasks are listed as those that ran");
    let _ = space.run("history numbers.toml").success().says(&["submission-1  anew"]);
    // The result of then is still at hand.
    space.write("numbers/a.txt", "9\n");
    let _ = space.run("run numbers.toml").success().says(&["published results/total.tsv"]);
    let _ = space.run("show numbers.toml total --run @submission-1").success().says(&["252"]);
    let _ = space.run("export numbers.toml total out --run @submission-1").success();
    assert_eq!((space.read("out/table.tsv").as_str(), space.read("results/total.tsv").as_str()), ("sum\n252\n", "sum\n300\n"));
    // What failed gets no name.
    space.write("tools/total.sh", "exit 3\n");
    let _ = space.run("run numbers.toml --name broken").exits(1).says(&["not named broken"]);
    let _ = space.run("run numbers.toml --name ../x").exits(2).says(&["cannot be a name"]);
    assert!(!names.join("broken.json").exists());
}

fn what_differs_between_two_runs() {
    let space = space();
    let _ = space.run("run numbers.toml --name first").success();
    space.write("numbers/a.txt", "9\n");
    space.replace("tools/total.sh", "echo total", "echo  total");
    let _ = space.run("run numbers.toml --axis by=1,2,4").success();
    let _ = space.run("diff numbers.toml @first @last").success().stdout_eq(str![[r#"
[RUN] → [RUN]
changed
  gather  inputs.files: changed a.txt
  total   command.code."tools/total.sh": [DIGEST] → [DIGEST]
          inputs.tables: by=3 is no longer among the parts
          inputs.tables: by=4 is new among the parts
only in the first: scale[by=3]
only in the second: scale[by=4]
2 tasks follow from these, 0 are the same

"#]]);
    let changes = space.run("diff numbers.toml --json").success().objects();
    let change = |task: &str| changes.iter().find(|object| object["task"] == task).unwrap()["change"].clone();
    assert_eq!(
        ["gather", "scale[by=1]", "scale[by=3]", "scale[by=4]", "total"].map(change),
        ["changed", "follows", "only-first", "only-second", "changed"]
    );
    let _ = space.run("diff numbers.toml @last @last").success().says(&["no difference: 5 tasks with equal keys"]);
    let _ = space.run("diff numbers.toml @second @last").exits(2).says(&["no run is called second; there are first"]);
    let _ = space.run("diff numbers.toml 1999 @last").exits(2).says(&["no run begins with 1999"]);
}

/// Scores of a program, of open data and of people's.
fn scored(phi: bool) -> Space {
    let space = Space::new();
    space.write("data.txt", "0.5\n");
    space.write(
        "tools/score.sh",
        "printf '{\"role\":\"test\",\"n\":9,\"classes\":[\"no\",\"yes\"],\"metrics\":[{\"name\":\"auc\",\"value\":%s},{\"name\":\"n\",\"value\":9}]}' $(cat $2) > \"$1\"\n",
    );
    let text = format!(
        "[pipeline]\nname = \"scored\"\n[source.data]\npath = \"data.txt\"\nphi = {phi}\n[stage.score]\n\
         command = [\"sh\", \"tools/score.sh\", \"{{outputs.metrics}}\", \"{{inputs.data}}\"]\ninputs = {{ data = \"data\" }}\n\
         outputs = {{ metrics = \"metrics\" }}\ncode = [\"tools/score.sh\"]\n"
    );
    space.write("scored.toml", text);
    space
}

fn figures_that_differ_between_two_runs() {
    for (phi, shown) in [(false, "0.5000 → 0.7500  +0.2500"), (true, "differs (people's data: not shown)")] {
        let space = scored(phi);
        let _ = space.run("run scored.toml").success();
        space.write("data.txt", "0.75\n");
        let _ = space.run("run scored.toml").success();
        let said = space.run("diff scored.toml").success().says(&["auc", shown]).stdout;
        assert!(phi != said.contains("0.75") && !said.contains("  n  "), "{said}");
    }
}

fn a_log_says_why_where_and_how_to_repeat_it() {
    let space = space();
    space.replace("tools/scale.sh", "awk", "echo said\nawk");
    let _ = space.run("run numbers.toml --axis by=2").success();
    space.replace("tools/scale.sh", "echo \"scale", "echo  \"scale");
    let _ = space.run("run numbers.toml --axis by=2").success();
    let _ = space.run_args(&["log", PIPELINE, "scale[by=2]"]).success().stdout_eq(str![[r#"
  [MOMENT]  scale[by=2]: ran in [TIME] on [..], cpu, 1 thread
      because first run
      again   tomograph run numbers.toml --only 'scale[by=2]' --again 'scale[by=2]' --axis by=2
      log     [ROOT]/cache/logs/[..]
  [MOMENT]  scale[by=2]: ran in [TIME] on [..], cpu, 1 thread
      because command.code."tools/scale.sh": [DIGEST] → [DIGEST]
      again   tomograph run numbers.toml --only 'scale[by=2]' --again 'scale[by=2]' --axis by=2
      log     [ROOT]/cache/logs/[..]

"#]]);
    let objects = space.run("log numbers.toml --json").success().objects();
    let again = objects.iter().find(|object| object["task"] == "scale[by=2]").unwrap()["again"].as_str().unwrap().to_owned();
    assert_eq!(again, "tomograph run numbers.toml --only 'scale[by=2]' --again 'scale[by=2]' --axis by=2");
    // The line does what it says.
    let mut shell = space.command("sh");
    shell.args(["-c", &format!("{again} --json").replacen("tomograph", crate::space::TOMOGRAPH, 1)]);
    let output = space.finish(&mut shell).success();
    assert_eq!(output.tasks("ran"), ["scale[by=2]"]);
}

fn a_log_names_what_failed() {
    let space = space();
    space.write("tools/total.sh", "echo broken\nexit 3\n");
    let _ = space.run("run numbers.toml").exits(1);
    let log = space.run("log numbers.toml --run @last --json").success().objects();
    let total = log.iter().find(|object| object["task"] == "total").unwrap();
    assert_eq!(total["again"], "tomograph run numbers.toml --only total");
    assert!(std::fs::read_to_string(total["log"].as_str().unwrap()).unwrap().contains("broken"), "{total}");
    let _ = space.run("log numbers.toml").success().says(&["4 ran, 1 failed", "because first run", "exit status: 3"]);
}

fn what_runs_again_says_whether_the_bytes_are_the_same() {
    let space = space();
    let _ = space.run("run numbers.toml").success();
    let _ = crate::numbers::ran(&space);
    let output = space.run("run numbers.toml --again scale[by=1]").success();
    let _ = output.says(&["ran scale[by=1]", "the same bytes as before", "4 cached, 1 ran"]);
    assert_eq!(crate::numbers::ran(&space), ["scale 1"]);
    let _ = space.run_args(&["log", PIPELINE, "scale[by=1]"]).success().says(&["asked for with --again", "the same bytes as before"]);
    let _ = space.run("run numbers.toml --only gather --again total").exits(2).says(&["--again names total"]);
}

fn other_bytes_of_a_program_are_a_variant() {
    let space = space();
    // A program that reads what it did not declare.
    space.write("salt.txt", "1\n");
    space.write("tools/gather.sh", format!("{{ echo number; cat '{}'; }} > \"$2\"\n", space.path("salt.txt").display()));
    let _ = space.run("run numbers.toml").success();
    space.write("salt.txt", "2\n");
    let output = space.run("run numbers.toml --again gather").success();
    let _ = output.says(&["other bytes than before (table), kept as a variant", "4 cached, 1 ran"]);
    let _ = space.run("plan numbers.toml").success().says(&["5 cached"]);
}

fn a_result_is_accepted_after_a_cosmetic_edit() {
    let space = space();
    let _ = space.run("run numbers.toml").success();
    space.replace("tools/scale.sh", "echo \"scale", "echo  \"scale");
    let mut accept = space.command(crate::space::TOMOGRAPH);
    accept.env("USER", "ada").args(["accept", PIPELINE, "scale", "--reason", "reformatted"]);
    let _ = space.finish(&mut accept).success().stdout_eq(str![[r#"
scale[by=1]: accepted, nothing has to run for it
scale[by=2]: accepted, nothing has to run for it
scale[by=3]: accepted, nothing has to run for it

"#]]);
    let output = space.run("run numbers.toml --json").success();
    assert_eq!(output.summary()["ran"], 0, "{}", output.text());
    for command in ["why", "show", "log"] {
        let _ = space.run_args(&[command, PIPELINE, "scale[by=1]"]).success().says(&["accepted by ada on", "reformatted (made under key"]);
    }
    let _ = space.run("history numbers.toml").success().says(&["3 accepted"]);
    let _ = space.run_args(&["accept", PIPELINE, "gather", "--reason", "x"]).success().says(&["cached already"]);
    // What it was compared with from now on is the key that was accepted.
    space.replace("tools/scale.sh", "echo  \"scale", "echo   \"scale");
    let _ = space.run_args(&["why", PIPELINE, "scale[by=1]"]).success().says(&["must run", "scale.sh"]);
}

fn what_cannot_be_judged_without_the_data_is_not_accepted() {
    let space = space();
    let accept = |task: &str| space.run_args(&["accept", PIPELINE, task, "--reason", "I know"]);
    let _ = accept("gather").exits(2).says(&["gather has no result yet"]);
    let _ = accept("total").exits(2).says(&["must be run or accepted first"]);
    let _ = space.run("run numbers.toml").success();
    space.write("numbers/a.txt", "9\n");
    let _ = accept("gather").exits(2).says(&["inputs.files: changed", "it must run"]);
    let _ = space.run_args(&["accept", PIPELINE, "gather", "--reason", " "]).exits(2).says(&["--reason"]);
    let output = space.run("run numbers.toml --json").success();
    assert!(output.tasks("ran").contains(&"gather".to_owned()), "{}", output.text());
}

fn items_of_what_runs_again_are_treated_again() {
    let space = crate::study::without_training();
    let _ = space.run("run study.toml").success();
    let output = space.run("run study.toml --again prepare --json").success().says(&["the same bytes as before"]);
    assert_eq!(output.tasks("ran"), ["prepare"]);
    assert!(output.summary()["items_ran"].as_u64() > Some(0), "{}", output.text());
    let log = space.run("log study.toml prepare --json").success().objects().pop().unwrap();
    assert_eq!(log["reasons"], serde_json::json!(["asked for with --again"]), "{log}");
}
