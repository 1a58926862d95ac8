//! Two engines on one machine, each with a store of its own: devices and memory are handed out once.

use crate::space::{Output, Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_second_engine_waits_for_the_only_device_and_says_for_whom,
        a_second_engine_takes_another_device,
        shares_of_a_device_add_up_across_engines,
        memory_is_claimed_from_the_machine,
        a_killed_engine_holds_nothing,
        a_waiting_run_can_be_interrupted
    ]
}

const TEXT: &str = r#"[pipeline]
name = "work"

[axes]
n = [1, 2]

[stage.work]
over    = ["n"]
command = ["sh", "work.sh", "{outputs.table}"]
outputs = { table = "table" }
needs   = NEEDS
"#;

/// The script sees its device as `$CUDA_VISIBLE_DEVICES`.
fn space(needs: &str, local: &str, body: &str) -> Space {
    let space = Space::new();
    space.write("work.toml", TEXT.replace("NEEDS", needs));
    space.write("tomograph.local.toml", local);
    space.write("work.sh", format!("set -e\n{body}\nprintf 'a\\n1\\n' > \"$1\"\n"));
    space
}

/// An engine on the machine of `machine`: there it shares what is to be shared.
fn start(space: &Space, machine: &Space) -> Child {
    let mut command = space.command(TOMOGRAPH);
    command.args(["run", "work.toml"]).env("TMPDIR", machine.home()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn end(engine: Child) -> (bool, String) {
    let output = engine.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs the same work with two engines at once; both must end well.
fn both(needs: &str, local: &str, body: &str) -> String {
    let machine = Space::new();
    let body = body.replace("MEET", machine.root().to_str().unwrap());
    let spaces = [space(needs, local, &body), space(needs, local, &body)];
    let engines = [start(&spaces[0], &machine), start(&spaces[1], &machine)];
    let ended = engines.map(end);
    assert!(ended.iter().all(|(well, _)| *well), "{ended:?}");
    ended.map(|(_, text)| text).concat()
}

/// Fails if two of these run at once on the same device.
const ALONE: &str = "mkdir MEET/busy$CUDA_VISIBLE_DEVICES; sleep 0.4; rmdir MEET/busy$CUDA_VISIBLE_DEVICES";

/// Fails unless tasks of both engines run at once.
const TOGETHER: &str =
    "touch MEET/$$; n=0; until [ $(ls MEET | grep -c '^[0-9]') -ge 2 ]; do n=$((n + 1)); [ $n -gt 1500 ] && exit 1; sleep 0.01; done";

fn a_second_engine_waits_for_the_only_device_and_says_for_whom() {
    let text = both("{ gpu = 1 }", "[devices]\ngpus = [\"0\"]\n", ALONE);
    assert!(text.contains(" waits: GPU 0 is in use by process "), "{text}");
    assert!(text.contains("(unknown)"), "the user's name, where there is one\n{text}");
}

fn a_second_engine_takes_another_device() {
    let text = both("{ gpu = 1 }", "jobs = 1\n[devices]\ngpus = [\"0\", \"1\"]\n", &format!("{TOGETHER}; {ALONE}"));
    assert!(!text.contains("waits"), "{text}");
}

fn shares_of_a_device_add_up_across_engines() {
    both("{ gpu = 0.5 }", "jobs = 1\n[devices]\ngpus = [\"0\"]\n", TOGETHER);
    both("{ gpu = 0.6 }", "[devices]\ngpus = [\"0\"]\n", ALONE);
}

fn memory_is_claimed_from_the_machine() {
    let text = both("{ memory = \"600MiB\" }", "memory = \"1GiB\"\n", ALONE);
    assert!(text.contains("too much of the 1 GiB of memory that tasks may claim is in use by process "), "{text}");
}

/// The engine of a space whose tasks never end has begun one.
fn endless(machine: &Space) -> (Space, Child) {
    let first = space("{ gpu = 1 }", "[devices]\ngpus = [\"0\"]\n", &format!("touch {}/begun; sleep 600", machine.root().display()));
    let engine = start(&first, machine);
    wait("the first engine to begin", || machine.path("begun").exists());
    (first, engine)
}

fn a_killed_engine_holds_nothing() {
    let machine = Space::new();
    let (_first, mut engine) = endless(&machine);
    let second = space("{ gpu = 1 }", "[devices]\ngpus = [\"0\"]\n", "");
    let mut command = second.command(TOMOGRAPH);
    let said = std::fs::File::create(second.path("said")).unwrap();
    let mut waiting = command.args(["run", "work.toml"]).env("TMPDIR", machine.home()).stderr(said).spawn().unwrap();
    wait("the second engine to wait", || second.read("said").contains("waits: GPU 0 is in use by process"));
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert!(waiting.wait().unwrap().success(), "{}", second.read("said"));
}

fn a_waiting_run_can_be_interrupted() {
    let machine = Space::new();
    let (_first, mut engine) = endless(&machine);
    let second = space("{ gpu = 1 }", "[devices]\ngpus = [\"0\"]\n", "");
    let mut timed = second.command("timeout");
    timed.args(["--foreground", "-s", "INT", "3", TOMOGRAPH, "run", "work.toml", "--json"]).env("TMPDIR", machine.home());
    let output: Output = second.finish(&mut timed);
    engine.kill().unwrap();
    engine.wait().unwrap();
    let remarks = output.objects().iter().filter(|one| one["event"] == "remark").count();
    assert_eq!((remarks, output.tasks("skipped").len()), (1, 2), "{}", output.text());
}
