//! `kill -9` of the engine at any moment that can be seen from outside: the next run repeats at most what had not ended.

use crate::numbers::{PIPELINE, TASKS, space};
use crate::space::{Output, Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

pub(crate) fn trials() -> Vec<Trial> {
    trials![a_kill_after_any_event_repeats_only_what_had_not_ended, a_kill_after_any_time_leaves_what_a_clean_run_leaves]
}

/// The rest of a run that was killed: everything is there, and what it is is what a clean run gives.
fn rest(space: &Space) -> Output {
    let output = space.run("run numbers.toml --json").success();
    assert_eq!(output.outcomes().len(), TASKS.len(), "{}", output.text());
    assert_eq!(space.read("results/total.tsv"), "sum\n252\n", "{}", output.text());
    assert_eq!(space.run("run numbers.toml --json").success().tasks("cached"), TASKS);
    output
}

fn a_kill_after_any_event_repeats_only_what_had_not_ended() {
    for seen in 0..=TASKS.len() {
        let space = space();
        let mut engine = space.command(TOMOGRAPH).args(["run", PIPELINE, "--json", "-j", "2"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(engine.stdout.take().unwrap()).lines().map_while(Result::ok);
        let tasks = lines.filter(|line| line.contains("\"event\":\"task\"")).take(seen);
        let ended: BTreeSet<String> =
            tasks.map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap()["task"].as_str().unwrap().to_owned()).collect();
        engine.kill().unwrap();
        engine.wait().unwrap();
        let output = rest(&space);
        let ran: BTreeSet<String> = output.tasks("ran").into_iter().collect();
        assert!(ran.is_disjoint(&ended), "after {seen} tasks {ended:?} had ended\n{}", output.text());
    }
}

fn a_kill_after_any_time_leaves_what_a_clean_run_leaves() {
    for milliseconds in [0, 3, 7, 13, 19, 29, 41, 59] {
        let space = space();
        let mut engine = space.command(TOMOGRAPH).args(["run", PIPELINE]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        engine.kill().unwrap();
        engine.wait().unwrap();
        rest(&space);
    }
}
