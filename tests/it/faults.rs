//! What the system refuses: locks, hard links, and any call at any moment. `strace` answers in its place, so that nothing has to break.
//!
//! A call that fails is defined: the task or the run fails and says so, and the next run ends as if nothing had been.

use crate::Need;
use crate::laws::try_all;
use crate::numbers::{PIPELINE, TASKS, ran, space};
use crate::space::{Output, Space, TOMOGRAPH};
use libtest_mimic::Trial;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

const STRACE: Need = Need::Program("strace", "strace");

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_store_without_locks_is_refused: [STRACE],
        a_store_without_hard_links_lends_copies: [STRACE],
        what_cannot_be_synced_is_not_stored: [STRACE],
        any_call_may_fail_at_any_moment: [STRACE],
    ]
}

/// A command whose calls of these names are answered otherwise, in the words of strace(1).
fn tampered(space: &Space, calls: &str, what: &str, line: &str) -> Output {
    let mut command = space.command("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{what}"), TOMOGRAPH]);
    space.finish(command.args(line.split(' ')))
}

fn a_store_without_locks_is_refused() {
    for error in ["ENOLCK", "ENOSYS", "EOPNOTSUPP"] {
        let space = space();
        let refused = tampered(&space, "flock", &format!("error={error}"), "run numbers.toml");
        refused.exits(1).says(&["the file system of the store", "has no locks", "tomograph.local.toml"]);
        assert!(ran(&space).is_empty(), "nothing may have run");
        tampered(&space, "flock", &format!("error={error}"), "doctor").exits(1).says(&["has no locks", "local disk"]);
        space.run("run numbers.toml").success();
        // Who only reads needs none, and who frees frees nothing.
        tampered(&space, "flock", &format!("error={error}"), "plan numbers.toml").success();
        tampered(&space, "flock", &format!("error={error}"), "cache gc --spare 0s --keep-last 1").exits(1).says(&["has no locks"]);
        assert_eq!(space.run("run numbers.toml --json").success().tasks("cached"), TASKS);
    }
}

fn a_store_without_hard_links_lends_copies() {
    let space = space();
    // A table large enough to be lent.
    space.write("numbers/d.txt", (0..20_000).map(|number| format!("{number}\n")).collect::<String>());
    space.replace("tools/scale.sh", "awk", "stat -c %h \"$2\" >> links.txt; awk");
    tampered(&space, "link,linkat", "error=EPERM", "run numbers.toml").success();
    assert_eq!(space.read("links.txt"), "1\n1\n1\n", "a file of its own");
    assert_eq!(space.read("results/total.tsv"), format!("sum\n{}\n", 6 * ((0..20_000_u64).sum::<u64>() + 42)));
    space.run("cache verify").success().says(&["all whole"]);
}

fn what_cannot_be_synced_is_not_stored() {
    let space = space();
    // Zeros, so that some blobs are files.
    space.replace("tools/gather.sh", "*.txt;", "*.txt; seq 9500 | sed 's/.*/0/';");
    for calls in ["fsync", "fdatasync"] {
        tampered(&space, calls, "error=EIO", "run numbers.toml").exits(1).says(&["Input/output error"]);
    }
    assert_eq!(space.run("run numbers.toml --json").success().tasks("failed"), [""; 0]);
    space.run("cache verify").success().says(&["all whole"]);
}

/// What the engine asks of the system for its files and children.
const CALLS: [&str; 19] = [
    "write",
    "pwrite64",
    "read",
    "pread64",
    "openat",
    "mkdir,mkdirat",
    "rename,renameat,renameat2",
    "link,linkat",
    "fsync,fdatasync",
    "flock",
    "fcntl",
    "ftruncate",
    "statx",
    "unlink,unlinkat",
    "rmdir",
    "getdents64",
    "chmod,fchmod,fchmodat",
    "copy_file_range",
    "clone3",
];

const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EACCES", "EMFILE"];

fn any_call_may_fail_at_any_moment() {
    // Zeros, so that some blobs are files.
    let space = || {
        let space = space();
        space.replace("tools/gather.sh", "*.txt;", "*.txt; seq 9500 | sed 's/.*/0/';");
        space
    };
    let law = |(call, error, when): (usize, usize, u32)| -> Result<(), TestCaseError> {
        let (space, calls) = (space(), CALLS[call]);
        let mut command = space.command("strace");
        // Of the engine alone: programs are left to themselves when they begin.
        command.args(["-f", "-b", "execve", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:error={}:when={when}", ERRORS[error])]).args([TOMOGRAPH, "run", PIPELINE, "-j", "2"]);
        let output = space.finish(&mut command);
        prop_assert!(output.code.is_some_and(|code| code != 4), "nothing is damaged by what fails\n{}", output.text());
        space.run("cache verify").success().says(&["all whole"]);
        let rest = space.run("run numbers.toml --json").success();
        prop_assert_eq!(space.read("results/total.tsv"), "sum\n252\n", "{}\n{}", output.text(), rest.text());
        prop_assert_eq!(space.run("run numbers.toml --json").success().tasks("cached"), TASKS);
        Ok(())
    };
    // Each of the threads that a run begins with.
    let threads = CALLS.iter().position(|calls| *calls == "clone3").unwrap();
    (1..9).for_each(|when| law((threads, 0, when)).unwrap());
    try_all(30, &(0..CALLS.len(), 0..ERRORS.len(), 1_u32..30), law);
}
