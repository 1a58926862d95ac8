//! Across files: one pipeline laid over another, and sources that are what another pipeline left.

use crate::numbers::{self, ran};
use crate::space::Space;
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_file_over_a_base_runs_as_one,
        a_mistake_in_a_base_is_shown_in_the_base,
        a_base_beside_the_file_is_suggested,
        what_another_pipeline_left_is_taken,
        what_is_missing_names_the_run_that_makes_it,
        what_is_stale_is_said_and_taken_all_the_same,
        what_is_optional_may_be_absent,
        level_comes_along,
        what_is_learnt_of_the_other_pipelines_sources_counts,
        a_graph_draws_the_level_that_came_along,
    ]
}

/// `numbers.toml` under `more.toml`, which scales by other numbers and publishes elsewhere.
fn over_a_base() -> Space {
    let space = numbers::space();
    space.write(
        "more.toml",
        "[pipeline]\nname = \"more\"\nbase = \"numbers.toml\"\n[axes]\nby = [10]\n[stage.total]\npublish.table = \"results/more.tsv\"\n",
    );
    space
}

fn a_file_over_a_base_runs_as_one() {
    let space = over_a_base();
    space.run("check more.toml --print").success().says(&["pipeline more", "laid over numbers.toml", "task scale[by=10]"]);
    space.run("run more.toml").success();
    assert_eq!(ran(&space), ["gather", "scale 10", "total"]);
    assert_eq!(space.read("results/more.tsv"), "sum\n420\n");
    // Its journal is its own, and its results are shared with the base.
    let first = space.run("run numbers.toml --json").success();
    assert_eq!(first.tasks("cached"), ["gather"]);
    assert_eq!(space.run("run more.toml --json").success().tasks("cached"), ["gather", "scale[by=10]", "total"]);
    assert_eq!(ran(&space), ["scale 1", "scale 2", "scale 3", "total"]);
    // What is laid over on the command line lies on top of both.
    space.run("run more.toml --set axes.by=[20]").success();
    assert_eq!(ran(&space), ["scale 20", "total"]);
    // A change of the base is a change of what lies over it.
    space.replace("numbers.toml", "\"sh\", \"tools/total.sh\"", "\"sh\", \"-e\", \"tools/total.sh\"");
    assert_eq!(space.run("run more.toml --json").success().tasks("ran"), ["total"]);
}

fn a_mistake_in_a_base_is_shown_in_the_base() {
    let space = over_a_base();
    space.replace("numbers.toml", "over    = [\"by\"]", "over    = [\"bye\"]");
    let _ = space.run("check more.toml").exits(2).stderr_eq(snapbox::str![[r#"
error: unknown axis `bye`
  --> numbers.toml:19:12
   |
19 | over    = ["bye"]
   |            ^^^^^
   |
   = help: did you mean `by`?

more.toml: 1 error

"#]]);
    let line = &space.run("check more.toml --json").exits(2).objects()[0];
    assert_eq!((line["file"].as_str(), line["line"].as_u64(), line["column"].as_u64()), (Some("numbers.toml"), Some(19), Some(12)));
}

fn a_base_beside_the_file_is_suggested() {
    let space = numbers::space();
    space.write("deep/base.toml", space.read("numbers.toml"));
    space.write("deep/over.toml", "[pipeline]\nbase = \"base.toml\"\n");
    space.run("check deep/over.toml").exits(2).says(&[
        "deep/over.toml:2:8",
        "there is no `base.toml` in the project",
        "write `deep/base.toml`",
    ]);
    space.replace("deep/over.toml", "base.toml", "deep/base.toml");
    space.run("run deep/over.toml").success();
}

const TAKER: &str = r#"
[pipeline]
name = "taker"

[axes]
by = [2, 3]

[source.scaled]
over     = ["by"]
from     = "numbers.toml"
artifact = "scale.table[by={by}]"

[stage.copy]
command = ["sh", "-c", "echo \"copy $2\" >> ran.txt; cp $0 $1", "{inputs.table}", "{outputs.table}", "{by}"]
inputs  = { table = "scaled" }
outputs = { table = "table" }
publish = { table = "results/copy-{by}.tsv" }

[stage.all]
command = ["sh", "-c", "cat $0/parts.tsv > $1", "{inputs.tables}", "{outputs.table}"]
inputs  = { tables = "scaled[*]" }
outputs = { table = "table" }
publish = { table = "results/all.tsv" }
"#;

fn taking() -> Space {
    let space = numbers::space();
    space.write("taker.toml", TAKER);
    space
}

fn what_another_pipeline_left_is_taken() {
    let space = taking();
    space.run("run numbers.toml").success();
    ran(&space);
    let output = space.run("run taker.toml").success();
    assert!(!output.stderr.contains("warning"), "{}", output.text());
    assert_eq!(ran(&space), ["copy 2", "copy 3"], "nothing of the other pipeline runs");
    assert_eq!(space.read("results/copy-3.tsv"), "number\n3\n6\n117\n");
    assert_eq!(space.read("results/all.tsv"), "part\tby\n001\t2\n002\t3\n", "coordinates come along");
    assert_eq!(space.run("run taker.toml --json").success().tasks("cached").len(), 3);
    space.run("check taker.toml --print").success().says(&["source scaled[by=3]", "table: scale.table[by=3] of numbers.toml"]);
    // The key is what is in it: made anew with the same bytes, nothing runs here.
    space.replace("tools/scale.sh", "awk -v", "true; awk -v");
    space.run("run numbers.toml").success();
    ran(&space);
    assert_eq!(space.run("run taker.toml --json").success().tasks("cached").len(), 3);
    space.write("numbers/a.txt", "9\n");
    space.run("run numbers.toml").success();
    space.run("why taker.toml copy[by=2]").success().says(&["source scaled[by=2]"]);
    assert_eq!(space.run("run taker.toml --json").success().tasks("ran"), ["all", "copy[by=2]", "copy[by=3]"]);
}

fn what_is_missing_names_the_run_that_makes_it() {
    let space = taking();
    for line in ["plan taker.toml", "run taker.toml"] {
        let remedy = "`tomograph run numbers.toml --only 'scale[by=2]'`";
        space.run(line).exits(2).says(&["source `scaled[by=2]`", "no scale.table[by=2] of numbers.toml", remedy, "scale[by=3]"]);
    }
    space.run_args(&["run", "numbers.toml", "--only", "scale[by=2]", "--only", "scale[by=3]"]).success();
    space.run("run taker.toml").success();
}

fn what_is_stale_is_said_and_taken_all_the_same() {
    let space = taking();
    space.run("run numbers.toml").success();
    space.write("numbers/a.txt", "9\n");
    let remedy = "`tomograph run numbers.toml --only 'scale[by=3]'` makes it anew";
    for line in ["plan taker.toml", "run taker.toml"] {
        space.run(line).success().says(&["warning: source `scaled[by=2]` is stale", remedy]);
    }
    assert_eq!(space.read("results/copy-2.tsv"), "number\n2\n4\n78\n", "what was left is taken");
    std::fs::remove_dir_all(space.path("numbers")).unwrap();
    space.run("run taker.toml").success().says(&["cannot tell whether what is taken from numbers.toml is up to date", "`numbers`"]);
}

fn what_is_optional_may_be_absent() {
    let space = taking();
    space.write("more.txt", "1\n");
    space.replace("taker.toml", "[stage.copy]", "[source.more]\npath = \"more.txt\"\nphi = false\n[stage.copy]");
    space.replace("taker.toml", "artifact =", "optional = true\nartifact =");
    // A command wants what it names; where nothing names it, it is left out.
    space.run("run taker.toml").exits(2).says(&["stage `copy` needs source `scaled[by=2]`, which is optional and absent"]);
}

fn level_comes_along() {
    let space = taking();
    space.replace("numbers.toml", "phi  = false", "phi  = true");
    space.replace("numbers.toml", "publish = { table = \"results/total.tsv\" }\n", "");
    space.run("run numbers.toml").success();
    space.run("run taker.toml").exits(2).says(&["all publishes", "identified data", "never leaves the store"]);
}

fn what_is_learnt_of_the_other_pipelines_sources_counts() {
    let space = taking();
    space.replace("numbers.toml", "publish = { table = \"results/total.tsv\" }\n", "");
    space.run("run numbers.toml").success();
    space.run("run taker.toml").success();
    std::fs::remove_dir_all(space.path("results")).unwrap();
    // What was left is as it was; what it was made from is known to be of people by now.
    space.replace("numbers.toml", "phi  = false", "phi  = true");
    space.run("run taker.toml").exits(2).says(&["all publishes", "identified data", "never leaves the store"]);
    space.run("export taker.toml copy[by=3] out").exits(1);
    let shown = space.run("show taker.toml copy[by=3]").success();
    assert!(shown.stdout.contains("people's data") && !shown.stdout.contains("117"), "{}", shown.text());
    assert!(!space.path("results").exists() && !space.path("out").exists());
}

fn a_graph_draws_the_level_that_came_along() {
    let space = taking();
    assert!(!space.run("graph taker.toml").success().stdout.contains("people"), "nothing is known of it yet");
    space.run("run numbers.toml").success();
    assert!(!space.run("graph taker.toml").success().stdout.contains("people"));
    let space = taking();
    space.replace("numbers.toml", "phi  = false", "phi  = true");
    space.replace("numbers.toml", "publish = { table = \"results/total.tsv\" }\n", "");
    space.run("run numbers.toml").success();
    space.run("graph taker.toml").success().says(&["source of people's data"]);
}
