//! Who looked at people's data and what left the store: kept in a chain, and nothing shown that should not be.

use crate::space::{Space, TOMOGRAPH};
use crate::{Need, numbers};
use libtest_mimic::Trial;
use snapbox::str;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        exports_are_kept_in_a_chain,
        what_is_published_from_peoples_data_is_said_once,
        peoples_data_is_shown_on_a_terminal_only: [Need::Program("script", "bsdutils")],
    ]
}

fn exports_are_kept_in_a_chain() {
    let space = numbers::space();
    let _ = space.run("run numbers.toml").success();
    let _ = space.run("log numbers.toml --audit").success().says(&["0 lines"]);
    let export = |folder: &str| {
        let mut command = space.command(TOMOGRAPH);
        space.finish(command.env("USER", "ada").args(["export", numbers::PIPELINE, "total", folder])).success()
    };
    for folder in ["one", "two", "three"] {
        let _ = export(folder);
    }
    let _ = space.run("log numbers.toml --audit").success().stdout_eq(str![[r#"
[MOMENT]  ada  export  total.table  [DIGEST]  one
[MOMENT]  ada  export  total.table  [DIGEST]  two
[MOMENT]  ada  export  total.table  [DIGEST]  three
3 lines, each follows from the one before

"#]]);
    // It is the store's, whatever has become of the pipeline.
    let pipeline = space.read("numbers.toml");
    space.write("numbers.toml", "[stage.");
    let _ = space.run("log numbers.toml --audit").success().says(&["each follows from the one before"]);
    space.write("numbers.toml", pipeline);
    let text = space.read("cache/audit.jsonl").replace("\"two\"", "\"elsewhere\"");
    space.write("cache/audit.jsonl", text);
    let _ = space.run("log numbers.toml --audit").exits(4).says(&["line 2 is not as it was written"]);
    let _ = export("four");
    let _ = space.run("log numbers.toml --audit").exits(4);
    std::fs::remove_file(space.path("cache/audit.jsonl")).unwrap();
    let _ = space.run("log numbers.toml --audit").exits(4).says(&["of 3 lines that were written 0 are there"]);
}

/// A score of people's data, and a table of it that may be published.
fn people() -> Space {
    let space = Space::new();
    space.write("DOE^JANE.txt", "0.5\n");
    space.write(
        "tools/score.sh",
        "cat \"$2\" > /dev/null\nprintf '{\"role\":\"test\",\"n\":9,\"classes\":[\"no\",\"yes\"],\"metrics\":[{\"name\":\"auc\",\"value\":0.8765}]}' > \"$1\"\n",
    );
    space.write(
        "people.toml",
        r#"[pipeline]
name = "people"

[source.data]
path = "*.txt"
phi  = true

[stage.score]
command = ["sh", "tools/score.sh", "{outputs.metrics}", "{inputs.data}/DOE^JANE.txt"]
inputs  = { data = "data" }
outputs = { metrics = "metrics" }
code    = ["tools/score.sh"]

[stage.table]
kind    = "report.table"
inputs  = { runs = { mine = "score.metrics" } }
publish = { table = "results/table.csv" }
"#,
    );
    space
}

fn what_is_published_from_peoples_data_is_said_once() {
    let space = people();
    for _ in 0..2 {
        let _ = space.run("run people.toml").success();
    }
    let acts = space.run("log people.toml --audit --json").success().objects();
    assert_eq!((acts.len(), &acts[0]["act"], &acts[0]["to"]), (1, &"publish".into(), &"results/table.csv".into()), "{acts:?}");
    // What never leaves leaves no line.
    let _ = space.run("export people.toml score out").exits(1).says(&["never leaves the store"]);
    assert_eq!(space.run("log people.toml --audit --json").success().objects().len(), 1);
}

fn peoples_data_is_shown_on_a_terminal_only() {
    let space = people();
    let _ = space.run("run people.toml").success();
    for command in ["show people.toml score", "log people.toml score", "diff people.toml @last @last", "graph people.toml --cells"] {
        let shown = space.run(command).success();
        assert!(!shown.stdout.contains("0.8765") && !shown.stdout.contains("JANE"), "{}", shown.text());
    }
    let _ = space.run("show people.toml score --reveal").exits(2).says(&["on a terminal only"]);
    let mut script = space.command("script");
    let shown = space.finish(script.args(["-qec", &format!("{TOMOGRAPH} show people.toml score --reveal"), "/dev/null"])).success();
    assert!(shown.stdout.contains("0.8765"), "{}", shown.text());
    let _ = space.run("log people.toml --audit").success().says(&["reveal", "score.metrics"]);
}
