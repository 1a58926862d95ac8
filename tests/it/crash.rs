//! `kill -9` at every point that matters: the next run needs no help, and ends where an undisturbed one would have.

#[cfg(feature = "crash-points")]
use crate::numbers::TASKS;
use crate::numbers::{PIPELINE, space};
use crate::space::{Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn trials() -> Vec<Trial> {
    let trials = trials![
        every_crash_point_is_tried,
        a_killed_engine_takes_its_commands_along,
        a_killed_engine_takes_along_what_its_commands_started,
        what_a_killed_engine_left_ends_before_anything_starts,
        what_a_live_engine_runs_is_left_alone,
    ];
    #[cfg(feature = "crash-points")]
    let trials = trials.into_iter().chain(trials![a_crash_at_any_point_costs_nothing_but_time]).collect();
    trials
}

/// Every `crash_point!` in the source that a run of commands passes.
const POINTS: &[&str] =
    &["blob-written", "blob-synced", "blob-renamed", "record-ready", "record-written", "pack-synced", "outputs-stored", "recorded"];

fn every_crash_point_is_tried() {
    let pattern = regex::Regex::new(r#"crash_point!\("([a-z-]+)"\)"#).unwrap();
    let mut named: Vec<String> = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                named.extend(pattern.captures_iter(&text).map(|found| found[1].to_owned()));
            }
        }
    }
    named.sort();
    named.dedup();
    let mut tried: Vec<String> = POINTS.iter().chain(crate::gc::POINTS).map(|&point| point.to_owned()).collect();
    tried.sort();
    assert_eq!(named, tried, "crash points in src/ (left) and in tests/it/crash.rs (right)");
}

/// What every task gave, from the store.
#[cfg(feature = "crash-points")]
fn digests(space: &Space) -> Vec<String> {
    let lines = TASKS.map(|task| {
        let output = space.run_args(&["export", PIPELINE, task, &format!("out/{task}")]).success();
        drop(output);
        let mut text = String::new();
        for entry in fs::read_dir(space.path(format!("out/{task}"))).unwrap() {
            text += &fs::read_to_string(entry.unwrap().path()).unwrap();
        }
        format!("{task} {text}")
    });
    fs::remove_dir_all(space.path("out")).unwrap();
    lines.to_vec()
}

#[cfg(feature = "crash-points")]
fn a_crash_at_any_point_costs_nothing_but_time() {
    // Zeros, so that some blobs are large.
    let space = || {
        let space = space();
        space.replace("tools/gather.sh", "*.txt;", "*.txt; seq 9000 | sed 's/.*/0/';");
        space
    };
    let undisturbed = space();
    undisturbed.run("run numbers.toml").success();
    let expected = digests(&undisturbed);
    for point in POINTS {
        let space = space();
        space.finish(space.command(TOMOGRAPH).args(["run", PIPELINE]).env("TOMOGRAPH_CRASH", point)).killed();
        let output = space.run("run numbers.toml --json").success();
        assert_eq!(output.outcomes().len(), TASKS.len(), "after {point}\n{}", output.text());
        assert_eq!(digests(&space), expected, "after {point}");
        assert_eq!(space.read("results/total.tsv"), "sum\n252\n", "after {point}");
        assert_eq!(space.run("run numbers.toml --json").success().tasks("cached"), TASKS, "after {point}");
    }
}

fn a_killed_engine_takes_its_commands_along() {
    let space = space();
    // Where `slow` is there, the program says who it is and sleeps; the file is in no key.
    space.replace("tools/total.sh", "echo total", "[ -e slow ] && { echo $$ > pid; sleep 600; }\necho total");
    space.write("slow", "");
    let mut engine = space.command(TOMOGRAPH).args(["run", PIPELINE]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait("the command to start", || space.path("pid").exists() && !space.read("pid").is_empty());
    let command = space.read("pid").trim().to_owned();
    engine.kill().unwrap();
    engine.wait().unwrap();
    fs::remove_file(space.path("slow")).unwrap();

    let output = space.run("run numbers.toml --json").success();
    assert_eq!(output.tasks("ran"), ["total"], "what was done before the kill is kept\n{}", output.text());
    wait("the killed engine's command to end", || !alive(&command));
}

/// A program that starts another, which has not its environment, and waits for it, or, once `mended` is there, fails where that one still runs.
const PARENT: &str = "if [ -e mended ]; then
    case \"$(cut -d ' ' -f 3 /proc/$(cat pid)/stat 2>/dev/null)\" in '' | Z | X) ;; *) exit 9 ;; esac
else
    env -i sleep 600 & echo $! > pid.new; mv pid.new pid; wait
fi
echo total";

/// A space whose last program starts another and waits, an engine that runs it, and the number of the other.
fn engine_with_a_grandchild() -> (Space, Child, String) {
    let space = space();
    space.replace("tools/total.sh", "echo total", PARENT);
    let engine = space.command(TOMOGRAPH).args(["run", PIPELINE]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait("the command to start", || space.path("pid").exists());
    let pid = space.read("pid").trim().to_owned();
    let notes =
        || fs::read_dir(space.path("cache/live")).unwrap().flatten().map(|note| fs::read_to_string(note.path()).unwrap_or_default());
    // That one, not a slow one before it: it leads the group in which the other is.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let leader = stat.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap().to_owned();
    wait("the command to be noted", || notes().any(|note| note.contains(&format!("\"pid\":{leader},"))));
    (space, engine, pid)
}

fn a_killed_engine_takes_along_what_its_commands_started() {
    let (_space, mut engine, pid) = engine_with_a_grandchild();
    engine.kill().unwrap();
    engine.wait().unwrap();
    wait("what the killed engine's command had started to end", || !alive(&pid));
}

fn what_a_killed_engine_left_ends_before_anything_starts() {
    let (space, mut engine, pid) = engine_with_a_grandchild();
    // The guardian first, so that nobody is there to end what the engine started.
    let guardian = guardian_of(engine.id());
    assert!(space.command("kill").args(["-9", &guardian]).status().unwrap().success());
    wait("the guardian to end", || !alive(&guardian));
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert!(alive(&pid), "nobody ends it but the next run");
    space.write("mended", "");
    assert_eq!(space.run("run numbers.toml --json").success().tasks("ran"), ["total"]);
    assert!(!alive(&pid));
    assert_eq!(fs::read_dir(space.path("cache/live")).unwrap().count(), 0);
}

/// The child of an engine that ends its programs after it.
fn guardian_of(engine: u32) -> String {
    let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let is_guardian = |pid: &String| {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        read("stat").rsplit_once(") ").is_some_and(|(_, rest)| rest.split(' ').nth(1) == Some(&engine.to_string()))
            && read("cmdline").contains("end-after")
    };
    processes.into_iter().find(is_guardian).unwrap()
}

fn what_a_live_engine_runs_is_left_alone() {
    let (space, mut engine, pid) = engine_with_a_grandchild();
    space.write("other.toml", space.read(PIPELINE).replace("[1, 2, 3]", "[4]").replace("results/total.tsv", "results/other.tsv"));
    space.write("mended", "");
    space.replace("tools/total.sh", "exit 9", "true");
    space.run("run other.toml").success();
    assert!(alive(&pid));
    engine.kill().unwrap();
    engine.wait().unwrap();
    space.run("run numbers.toml").success();
    assert!(!alive(&pid));
}

/// Whether a process runs; a zombie does not.
pub(crate) fn alive(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits, half a minute at most.
pub(crate) fn wait(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
