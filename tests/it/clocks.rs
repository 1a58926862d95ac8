//! Clocks that jump, and files whose times say nothing: what counts is content, and a later run is a later run.

use crate::Need;
use crate::numbers::{PIPELINE, TASKS, space};
use crate::space::{Output, Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::process::Command;

const FAKETIME: Need = Need::Program("faketime", "faketime");

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        files_of_odd_times_fool_nobody,
        equal_size_and_time_are_not_equal_content,
        a_clock_set_back_runs_nothing_and_misses_nothing: [FAKETIME],
        the_last_run_is_the_last_though_the_clock_was_set_back: [FAKETIME],
        a_clock_that_runs_backwards_meanwhile_harms_nothing: [FAKETIME],
        what_an_effect_brought_last_holds_though_the_clock_was_set_back: [FAKETIME],
    ]
}

fn run(space: &Space) -> Vec<String> {
    space.run("run numbers.toml --json").success().tasks("ran")
}

/// Gives a file a time, as `touch -d` reads it.
fn touch(space: &Space, path: &str, time: &str) {
    assert!(Command::new("touch").args(["-d", time]).arg(space.path(path)).status().unwrap().success());
}

fn files_of_odd_times_fool_nobody() {
    let space = space();
    run(&space);
    for time in ["2100-01-01", "1971-01-01", "2100-01-01"] {
        touch(&space, "numbers/c.txt", time);
        assert_eq!(run(&space), [""; 0], "{time}");
        // Another content under the same odd time.
        let number: u32 = space.read("numbers/c.txt").trim().parse().unwrap();
        space.write("numbers/c.txt", format!("{}\n", number + 1));
        touch(&space, "numbers/c.txt", time);
        assert_eq!(run(&space), TASKS, "{time}");
    }
}

fn equal_size_and_time_are_not_equal_content() {
    let space = space();
    // At once after a run, too: within a tick of the clock.
    for number in 40..44 {
        space.write("numbers/c.txt", format!("{number}\n"));
        touch(&space, "numbers/c.txt", "2020-02-02 02:02:02");
        space.run("run numbers.toml").success();
        assert_eq!(space.read("results/total.tsv"), format!("sum\n{}\n", 6 * (3 + number)));
    }
}

/// `tomograph` by another clock, as `faketime` reads it. Clocks that only measure stretches go on as they are.
fn by(space: &Space, clock: &[&str], line: &str) -> Output {
    let mut command = space.command("faketime");
    command.args(clock).arg(TOMOGRAPH).args(line.split(' ')).env("NO_FAKE_STAT", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    space.finish(&mut command)
}

fn a_clock_set_back_runs_nothing_and_misses_nothing() {
    for first in ["2001-01-01", "2100-01-01"] {
        let space = space();
        by(&space, &[first], "run numbers.toml").success();
        assert_eq!(run(&space), [""; 0]);
        for (number, clock) in [(40, "2001-01-01"), (41, "2100-01-01"), (42, "1999-01-01")] {
            space.write("numbers/c.txt", format!("{number}\n"));
            assert_eq!(by(&space, &[clock], "run numbers.toml --json").success().tasks("ran"), TASKS);
            assert_eq!(by(&space, &[clock], "run numbers.toml --json").success().tasks("cached"), TASKS);
            assert_eq!(run(&space), [""; 0]);
            assert_eq!(space.read("results/total.tsv"), format!("sum\n{}\n", 6 * (3 + number)));
        }
        space.run("cache verify").success().says(&["all whole"]);
    }
}

fn the_last_run_is_the_last_though_the_clock_was_set_back() {
    let space = space();
    by(&space, &["2100-01-01"], "run numbers.toml --note first").success();
    for (number, note) in [(40, "second"), (41, "third")] {
        space.write("numbers/c.txt", format!("{number}\n"));
        by(&space, &["2001-01-01"], &format!("run numbers.toml --note {note}")).success();
    }
    let notes = |output: &Output| output.objects().iter().map(|run| run["note"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(notes(&space.run("history numbers.toml --json").success()), ["first", "second", "third"]);
    // `why` compares with what was last, and what was last is kept.
    space.write("numbers/c.txt", "42\n");
    space.run("why numbers.toml gather").success().says(&["inputs.files: source numbers; changed c.txt"]);
    space.write("numbers/c.txt", "41\n");
    space.run("cache gc --keep-last 1 --spare 0s").success();
    assert_eq!(run(&space), [""; 0]);
    let mut totals = space.command(TOMOGRAPH);
    space.finish(totals.args(["show", PIPELINE, "total", "--run", "@last"])).success().says(&["264"]);
}

fn a_clock_that_runs_backwards_meanwhile_harms_nothing() {
    let space = space();
    // A thousand times as fast, towards the past.
    let clock = ["-f", "+0 x-1000"];
    space.replace("tools/scale.sh", "awk", "sleep 0.05; awk");
    let ran = by(&space, &clock, "run numbers.toml --json").success();
    assert_eq!(ran.tasks("ran"), TASKS);
    for object in ran.objects().iter().filter(|object| object["event"] == "task") {
        assert!((0.0..60.0).contains(&object["seconds"].as_f64().unwrap()), "{object}");
    }
    assert_eq!(by(&space, &clock, "run numbers.toml --json").success().tasks("cached"), TASKS);
    assert_eq!(run(&space), [""; 0]);
    by(&space, &clock, "cache verify").success().says(&["all whole"]);
    by(&space, &clock, "cache gc").success();
    assert_eq!(run(&space), [""; 0]);
}

fn what_an_effect_brought_last_holds_though_the_clock_was_set_back() {
    let space = crate::effects::space();
    space.run("run effects.toml --effects").success();
    for answer in ["refused", "stored", "refused"] {
        space.write("answer.tsv", format!("state\n{answer}\n"));
        by(&space, &["2001-01-01"], "run effects.toml --refresh send").success();
        space.run("run effects.toml").success();
        space.run("show effects.toml after").success().says(&[answer]);
    }
}
