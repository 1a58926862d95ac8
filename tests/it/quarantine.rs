//! Items set aside: bounds on their number, what is listed, and decisions that accept them.

use crate::space::{Output, Space, TOMOGRAPH};
use crate::study::{PIPELINE, without_training};
use libtest_mimic::Trial;
use std::fs;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_bound_is_a_number_or_a_share,
        a_plan_says_what_a_run_then_does,
        what_is_set_aside_is_listed_once,
        what_is_accepted_makes_no_exit_code,
        a_decision_is_for_what_was_decided,
        decisions_on_nothing_are_errors,
        identified_items_are_listed_without_their_names,
    ]
}

/// 48 pictures of which two are none, and this policy for the import.
fn space(policy: &str) -> Space {
    let space = without_training();
    space.write("pictures/p03-1.png", "no image");
    space.write("pictures/p05-0.png", "no image");
    policy_is(&space, "\"pictures/manifest.csv\" }", policy);
    space
}

fn policy_is(space: &Space, after: &str, policy: &str) {
    space.replace(PIPELINE, after, &format!("{after}\npolicy = {policy}"));
}

fn accept(space: &Space, items: &[&str], reason: &str) -> Output {
    let arguments = [&["quarantine", PIPELINE, "--accept"][..], items, &["--reason", reason][..]].concat();
    space.finish(space.command(TOMOGRAPH).args(arguments).env("USER", "ana"))
}

fn a_bound_is_a_number_or_a_share() {
    let space = space("{ max_quarantine = 1 }");
    space.run("run study.toml").exits(1).says(&["2 of 48 items", "max_quarantine allows 1", "2 unreadable", "tomograph quarantine"]);
    for (from, to, code) in [("1", "2", 3), ("2", "\"4%\"", 1), ("\"4%\"", "\"4.2%\"", 3)] {
        space.replace(PIPELINE, &format!("max_quarantine = {from} "), &format!("max_quarantine = {to} "));
        let output = space.run("run study.toml --json").exits(code);
        assert_eq!(output.summary()["quarantined"], 2, "{}", output.text());
        assert!(output.tasks("cached").contains(&"import".to_owned()) || code == 1, "policy is in no key\n{}", output.text());
    }
}

fn a_plan_says_what_a_run_then_does() {
    let space = space("{ max_quarantine = 2 }");
    space.run("run study.toml").exits(3);
    space.run("plan study.toml").success().says(&["0 will run, 0 decided later\n"]);
    space.replace(PIPELINE, "max_quarantine = 2", "max_quarantine = 1");
    let words = "2 of 48 items are in quarantine and max_quarantine allows 1";
    space.run("plan study.toml").success().says(&["import", "will fail", words, "skipped", "without import", "1 will fail"]);
    space.run("why study.toml prepare").success().says(&["prepare: will be skipped", "import: cached, but will fail", words]);
    space.run("graph study.toml").success().says(&["1 will fail"]);
    let plan = space.run("plan study.toml --json").success().objects();
    let run = space.run("run study.toml --json").exits(1).says(&[words]);
    for (state, outcome) in [("cached", "cached"), ("fails", "failed"), ("skipped", "skipped")] {
        let named = |object: &&serde_json::Value| object["state"] == state;
        let mut planned: Vec<&str> = plan.iter().filter(named).map(|object| object["task"].as_str().unwrap()).collect();
        planned.sort_unstable();
        assert_eq!(planned, run.tasks(outcome), "{state}");
    }
}

fn what_is_set_aside_is_listed_once() {
    let space = space("{ max_quarantine = 9 }");
    let nothing = space.run("quarantine study.toml").success();
    assert_eq!(nothing.stdout, "task\titem\tkind\tclass\treason\taccepted\n");
    nothing.says(&["no result yet"]);
    space.run("run study.toml").exits(3).says(&["2 items in quarantine"]);
    let output = space.run("quarantine study.toml").success();
    let rows: Vec<Vec<&str>> = output.stdout.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    // The lists of later stages carry these on; they are named where they were set aside.
    assert_eq!(
        rows.iter().map(|row| row[..4].join(" ")).collect::<Vec<_>>(),
        ["import p03-1.png images.import unreadable", "import p05-0.png images.import unreadable"]
    );
    let objects = space.run("quarantine study.toml --json").success().objects();
    assert_eq!(objects.iter().map(|one| one["item"].as_str().unwrap()).collect::<Vec<_>>(), ["p03-1.png", "p05-0.png"]);
    assert!(objects.iter().all(|one| one["accepted"].is_null() && !one["reason"].as_str().unwrap().is_empty()), "{objects:?}");
}

fn what_is_accepted_makes_no_exit_code() {
    let space = space("{ max_quarantine = 1 }");
    space.run("run study.toml").exits(1);
    accept(&space, &["p03-1.png"], "lost when the disk broke").success().says(&["accepted p03-1.png", "decisions.tsv", "commit"]);
    let lines = "item\tkind\tclass\treason\twho\np03-1.png\timages.import\tunreadable\tlost when the disk broke\tana\n";
    assert_eq!(space.read("decisions.tsv"), lines);
    let output = space.run("run study.toml --json").exits(3);
    assert_eq!((&output.summary()["quarantined"], &output.summary()["accepted"]), (&1.into(), &1.into()));
    accept(&space, &["p03-1.png", "p05-0.png"], "as the other").success();
    assert_eq!(space.read("decisions.tsv").lines().count(), 3, "nothing is decided twice");
    space.replace(PIPELINE, "max_quarantine = 1", "max_quarantine = 0");
    let output = space.run("run study.toml --json").success();
    assert_eq!(output.tasks("ran"), [""; 0], "decisions are in no key");
    space.run("quarantine study.toml").success().says(&["lost when the disk broke", "as the other"]);
    accept(&space, &["p05-0.png"], "again").success().says(&["before"]);
}

fn a_decision_is_for_what_was_decided() {
    let space = space("{ max_quarantine = 9 }");
    space.run("run study.toml").exits(3);
    accept(&space, &["p03-1.png", "p05-0.png"], "known").success();
    space.run("run study.toml").success();
    space.write("pictures/p07-1.png", "no image either");
    let output = space.run("run study.toml --json").exits(3);
    assert_eq!(output.summary()["quarantined"], 1, "what is new is judged anew\n{}", output.text());
    space.write("decisions.tsv", space.read("decisions.tsv").replace("unreadable", "truncated"));
    assert_eq!(space.run("run study.toml --json").exits(3).summary()["quarantined"], 3, "another class is another matter");
}

fn decisions_on_nothing_are_errors() {
    let space = space("{ max_quarantine = 9 }");
    space.run("run study.toml").exits(3);
    accept(&space, &["p05-0.png", "p03-2.png"], "known").exits(2).says(&["p03-2.png", "not in quarantine", "p03-1.png"]);
    assert!(!space.path("decisions.tsv").exists(), "all or none");
    accept(&space, &["p05-0.png"], " ").exits(2).says(&["--reason"]);
    space.run("quarantine study.toml --accept p05-0.png").exits(2).says(&["--reason"]);
    fs::write(space.path("decisions.tsv"), "item\tkind\n").unwrap();
    space.run("run study.toml").exits(2).says(&["decisions.tsv", "class"]);
}

fn identified_items_are_listed_without_their_names() {
    let space = Space::new();
    let text = "[pipeline]\nname = \"phi\"\n\n[source.pacs]\npath = \"pacs\"\nphi = true\n\n[stage.import]\nkind = \"dicom.import\"\ninputs = { files = \"pacs\" }\npolicy = { max_quarantine = \"100%\" }\n";
    space.write("phi.toml", text);
    space.write("pacs/DOE_JOHN.dcm", [&[0; 128][..], b"DICM", b"DOE^JOHN and nothing that is DICOM"].concat());
    let output = space.run("run phi.toml");
    assert!(!output.text().contains("DOE"), "{}", output.text());
    let output = space.run("quarantine phi.toml").success();
    assert!(output.stdout.lines().count() == 2 && !output.text().contains("DOE"), "{}", output.text());
    let item = output.stdout.lines().nth(1).unwrap().split('\t').nth(1).unwrap().to_owned();
    let text = ["quarantine", "phi.toml", "--accept", &item, "--reason", "a test"];
    space.run_args(&text).success();
    assert!(!space.read("decisions.tsv").contains("DOE"));
}
