//! What the commands say, word for word.

use crate::numbers::{PIPELINE, space};
use libtest_mimic::Trial;
use snapbox::str;

pub(crate) fn trials() -> Vec<Trial> {
    trials![a_plan_and_its_reasons, a_run_off_a_terminal, a_task_that_fails, a_reference_to_nothing]
}

fn a_plan_and_its_reasons() {
    let space = space();
    let _ = space.run("plan numbers.toml").success().stdout_eq(str![]);
    let _ = space.run("run numbers.toml").success();
    let _ = space.run("plan numbers.toml").success().stdout_eq(str![]);
    space.write("numbers/a.txt", "9\n");
    let _ = space.run("plan numbers.toml").success().stdout_eq(str![]);
    let _ = space.run("why numbers.toml total").success().stdout_eq(str![]);
}

fn a_run_off_a_terminal() {
    let space = space();
    let _ = space.run("run numbers.toml -j 1").success().stdout_eq(str![]).stderr_eq(str![]);
}

fn a_task_that_fails() {
    let space = space();
    space.write("tools/scale.sh", "echo broken >&2\nexit 7\n");
    let _ = space.run("run numbers.toml -j 1 --fail-fast").exits(1).stderr_eq(str![]);
}

fn a_reference_to_nothing() {
    let space = space();
    let _ = space.run(&format!("why {PIPELINE} totl")).exits(2).stderr_eq(str![]);
}
