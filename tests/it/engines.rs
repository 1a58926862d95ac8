//! Two engines on one store at once: each task is done once, neither waits for ever, readers never wait.

use crate::numbers::{PIPELINE, TASKS, space};
use crate::space::{Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn trials() -> Vec<Trial> {
    trials![each_task_is_done_once, a_killed_engines_task_is_taken_over, readers_do_not_wait_for_a_run]
}

fn start(space: &Space) -> Child {
    space.command(TOMOGRAPH).args(["run", PIPELINE]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A project whose task `total` takes as long as the file `slow` is there.
fn slow() -> Space {
    let space = space();
    space.replace("tools/total.sh", "echo total", "echo $$ >> pid\nwhile [ -e slow ]; do sleep 0.02; done\necho total");
    space.write("slow", "");
    space
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn each_task_is_done_once() {
    let space = slow();
    let engines = [start(&space), start(&space)];
    wait("`total` to start", || space.path("pid").exists());
    // Who only reads is not kept waiting.
    space.run("plan numbers.toml").success();
    space.run("log numbers.toml").success();
    fs::remove_file(space.path("slow")).unwrap();
    for engine in engines {
        let output = engine.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut ran: Vec<String> = space.read("ran.txt").lines().map(str::to_owned).collect();
    ran.sort();
    assert_eq!(ran, ["gather", "scale 1", "scale 2", "scale 3", "total"]);
    assert_eq!(space.run("run numbers.toml --json").success().tasks("cached"), TASKS);
}

fn a_killed_engines_task_is_taken_over() {
    let space = slow();
    let mut first = start(&space);
    wait("`total` to start", || space.path("pid").exists());
    let mut second = start(&space);
    first.kill().unwrap();
    first.wait().unwrap();
    wait("the second engine to start `total`", || space.read("pid").lines().count() == 2);
    fs::remove_file(space.path("slow")).unwrap();
    assert!(second.wait().unwrap().success());
    assert_eq!(space.read("ran.txt").lines().filter(|line| *line == "total").count(), 1);
}

fn readers_do_not_wait_for_a_run() {
    let space = slow();
    let mut engine = start(&space);
    wait("`total` to start", || space.path("pid").exists());
    for line in [
        "plan numbers.toml",
        "why numbers.toml gather",
        "history numbers.toml",
        "log numbers.toml",
        "graph numbers.toml",
        "cache size",
        "cache verify",
    ] {
        space.run(line).success();
    }
    assert!(engine.try_wait().unwrap().is_none(), "the run was over before anybody read");
    fs::remove_file(space.path("slow")).unwrap();
    assert!(engine.wait().unwrap().success());
}
