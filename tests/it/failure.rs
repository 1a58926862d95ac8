//! What becomes of tasks that fail: what is tried again, what goes on, what is skipped, what is kept, and how long anything may take.

use crate::space::{Output, Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::process::Stdio;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_killed_program_is_tried_again,
        an_exit_code_is_final_unless_named,
        what_ran_out_of_memory_is_tried_again,
        after_the_last_try_the_failure_stands,
        independent_branches_go_on,
        fail_fast_starts_nothing_more,
        what_fail_fast_ends_has_not_failed,
        what_rests_when_the_run_stops_has_failed,
        a_timeout_ends_all_that_was_started,
        a_timeout_ends_a_map_kind,
        an_interrupt_ends_the_run_in_order,
        two_interrupts_leave_nothing_running,
        a_failure_is_tried_again_by_the_next_run,
    ]
}

const PIPELINE: &str = "work.toml";

/// One command that runs `work.sh`, with this policy.
fn space(policy: &str, body: &str) -> Space {
    let space = Space::new();
    space.write(
        PIPELINE,
        format!(
            "[pipeline]\nname = \"work\"\n\n[stage.work]\ncommand = [\"sh\", \"work.sh\", \"{{outputs.table}}\"]\noutputs = {{ table = \"table\" }}\npolicy = {policy}\n"
        ),
    );
    space.write("work.sh", format!("echo try >> tries.txt\n{body}\nprintf 'n\\n1\\n' > \"$1\"\n"));
    space
}

fn tries(space: &Space) -> usize {
    space.read("tries.txt").lines().count()
}

fn log_of(output: &Output) -> String {
    let line = output.text().lines().find_map(|line| Some(line.split_once("log: ")?.1.to_owned())).unwrap();
    std::fs::read_to_string(line).unwrap()
}

fn a_killed_program_is_tried_again() {
    let space = space("{ retries = 1 }", "[ -e once ] || { touch once; echo first; kill -9 $$; }");
    let output = space.run("run work.toml").success().says(&["retry 1/1 of work", "signal: 9"]);
    assert_eq!(tries(&space), 2, "{}", output.text());
    space.run("log work.toml").success().says(&["work: retried", "work: ran"]);
    assert_eq!(space.run("run work.toml --json").success().tasks("cached"), ["work"]);
}

fn an_exit_code_is_final_unless_named() {
    let body = "[ -e once ] || { touch once; exit 3; }";
    let space = self::space("{ retries = 5 }", body);
    space.run("run work.toml").exits(1).says(&["exit status: 3"]);
    assert_eq!(tries(&space), 1);
    let space = self::space("{ retries = 5, retry_on = [\"exit\"] }", body);
    let output = space.run("run work.toml --json").success();
    assert_eq!((tries(&space), output.summary()["retried"].as_u64()), (2, Some(1)));
    space.replace(PIPELINE, "\"exit\"", "\"exti\"");
    space.run("check work.toml").exits(2).says(&["exti", "exit"]);
}

fn what_ran_out_of_memory_is_tried_again() {
    let space =
        space("{ retries = 1 }", "[ -e once ] || { touch once; echo 'CUDA out of memory. Tried to allocate 2.00 GiB' >&2; exit 1; }");
    space.run("run work.toml").success().says(&["retry 1/1 of work", "CUDA out of memory"]);
    assert_eq!(tries(&space), 2);
}

fn after_the_last_try_the_failure_stands() {
    let space = space("{ retries = 1 }", "echo number $(wc -l < tries.txt); [ -e mended ] || kill -9 $$");
    let output = space.run("run work.toml").exits(1).says(&["failed: work", "signal: 9"]);
    assert_eq!(tries(&space), 2);
    let log = log_of(&output);
    assert!(log.contains("number 1") && log.contains("number 2"), "the log has both tries: {log}");
    // Nothing was cached.
    space.write("mended", "");
    assert_eq!(space.run("run work.toml --json").success().tasks("ran"), ["work"]);
}

/// A stage that fails, one after it, and one beside them.
const BRANCHES: &str = r#"[pipeline]
name = "branches"

[stage.bad]
command = ["sh", "bad.sh", "{outputs.table}"]
outputs = { table = "table" }

[stage.after]
command = ["sh", "good.sh", "{inputs.table}", "{outputs.table}"]
inputs  = { table = "bad" }
outputs = { table = "table" }

[stage.beside]
command = ["sh", "good.sh", "", "{outputs.table}"]
outputs = { table = "table" }
"#;

fn branches() -> Space {
    let space = Space::new();
    space.write("branches.toml", BRANCHES);
    space.write("bad.sh", "exit 1\n");
    space.write("good.sh", "echo good >> good.txt\nprintf 'n\\n1\\n' > \"$2\"\n");
    space
}

fn independent_branches_go_on() {
    let space = branches();
    let output = space.run("run branches.toml -j 1 --json").exits(1);
    assert_eq!((output.tasks("failed"), output.tasks("skipped")), (vec!["bad".to_owned()], vec!["after".to_owned()]));
    assert_eq!(output.tasks("ran"), ["beside"]);
    space.write("bad.sh", "printf 'n\\n1\\n' > \"$1\"\n");
    let output = space.run("run branches.toml --json").success();
    assert_eq!((output.tasks("ran"), output.tasks("cached")), (vec!["after".to_owned(), "bad".to_owned()], vec!["beside".to_owned()]));
}

fn fail_fast_starts_nothing_more() {
    let space = branches();
    let output = space.run("run branches.toml -j 1 --json --fail-fast").exits(1);
    assert_eq!((output.tasks("failed"), output.tasks("skipped")), (vec!["bad".to_owned()], vec!["after".to_owned(), "beside".to_owned()]));
    assert!(!space.path("good.txt").exists());
}

fn what_fail_fast_ends_has_not_failed() {
    let space = branches();
    space.write("bad.sh", "sleep 0.5; exit 1\n");
    space.write("good.sh", "sleep 600\n");
    let output = space.run("run branches.toml -j 2 --json --fail-fast").exits(1).says(&["interrupted, since another task failed"]);
    assert_eq!((output.tasks("failed"), output.tasks("skipped")), (vec!["bad".to_owned()], vec!["after".to_owned(), "beside".to_owned()]));
}

fn what_rests_when_the_run_stops_has_failed() {
    let space = branches();
    space.replace("branches.toml", "[stage.after]", "[stage.bad.policy]\nretries = 9\n\n[stage.after]");
    // It rests from the second on, for three.
    space.write("bad.sh", "kill -9 $$\n");
    space.write("good.sh", "sleep 2; exit 1\n");
    let output = space.run("run branches.toml -j 2 --json --fail-fast").exits(1).says(&["signal: 9"]);
    assert_eq!((output.tasks("failed"), output.tasks("skipped")), (vec!["bad".to_owned(), "beside".to_owned()], vec!["after".to_owned()]));
}

fn a_timeout_ends_all_that_was_started() {
    // The second leads a group of its own; so does the third, whose parent has ended.
    let orphan = "(setsid sh -c 'echo $$ > orphan; exec sleep 600' &)";
    let body = format!("[ -e mended ] || {{ sleep 600 & echo $! > pid; setsid sleep 600 & echo $! > other; {orphan}; wait; }}");
    let space = space("{ timeout = 2, retries = 3 }", &body);
    space.run("run work.toml").exits(1).says(&["policy.timeout", "2 s"]);
    assert_eq!(tries(&space), 1, "a timeout is no cause to try again");
    for pid in ["pid", "other", "orphan"].map(|name| space.read(name).trim().to_owned()) {
        crate::crash::wait("what the program started to end", || !crate::crash::alive(&pid));
    }
    space.write("mended", "");
    space.replace(PIPELINE, "timeout = 2", "timeout = 30");
    assert_eq!(space.run("run work.toml --json").success().tasks("ran"), ["work"]);
}

fn a_timeout_ends_a_map_kind() {
    let space = crate::study::without_training();
    let policy = "inputs = { images = \"import\" }\npolicy = { timeout = 0.000001 }";
    space.replace(crate::study::PIPELINE, "inputs = { images = \"import\" }", policy);
    let output = space.run("run study.toml --json").exits(1);
    assert_eq!(output.tasks("failed"), ["prepare"], "{}", output.text());
    space.run("run study.toml").exits(1).says(&["policy.timeout"]);
    space.replace(crate::study::PIPELINE, "timeout = 0.000001", "timeout = \"1h\"");
    assert_eq!(space.run("run study.toml --json").success().tasks("failed"), [""; 0]);
}

/// Runs a program that starts another and waits, interrupts the engine so often, and says what it printed.
fn interrupted(times: usize) -> (Space, String) {
    let space = space("{ retries = 3 }", "[ -e mended ] || { setsid sleep 600 & echo $! > pid.new; mv pid.new pid; wait; }");
    let mut engine = space.command(TOMOGRAPH).args(["run", PIPELINE]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    crate::crash::wait("the command to start", || space.path("pid").exists());
    let id = engine.id().to_string();
    for time in 0..times {
        // Two at once would count as one.
        std::thread::sleep(std::time::Duration::from_millis(if time > 0 { 150 } else { 0 }));
        assert!(space.command("kill").args(["-INT", &id]).status().unwrap().success());
    }
    let mut said = String::new();
    std::io::Read::read_to_string(&mut engine.stdout.take().unwrap(), &mut said).unwrap();
    assert_eq!(engine.wait().unwrap().code(), Some(130), "{said}");
    let pid = space.read("pid").trim().to_owned();
    crate::crash::wait("what the program started to end", || !crate::crash::alive(&pid));
    space.write("mended", "");
    assert_eq!(space.run("run work.toml --json").success().tasks("ran"), ["work"]);
    (space, said)
}

fn an_interrupt_ends_the_run_in_order() {
    let (_space, said) = interrupted(1);
    assert!(said.contains("interrupted: run again") && said.contains("0 failed, 1 skipped") && !said.contains("failed: "), "{said}");
}

fn two_interrupts_leave_nothing_running() {
    let _ = interrupted(2);
}

fn a_failure_is_tried_again_by_the_next_run() {
    let space = space("{}", "[ -e go ] || exit 1");
    for count in 1..3 {
        space.run("run work.toml").exits(1);
        assert_eq!(tries(&space), count);
    }
    // What the failure hung on is in no key: it is tried, not remembered.
    space.write("go", "");
    assert_eq!(space.run("run work.toml --json").success().tasks("ran"), ["work"]);
}
