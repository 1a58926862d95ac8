//! Machines that refuse: a store that may not be written, a disk that is full.

use crate::Need;
use crate::numbers::{PIPELINE, TASKS, space};
use crate::space::{Output, Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_read_only_store_loses_nothing: [Need::Root, Need::Program("setpriv", "util-linux")],
        folders_that_a_program_closes_leave_nothing_behind: [Need::Root, Need::Program("setpriv", "util-linux")],
        a_full_disk_under_a_command_loses_nothing: [Need::Root, Need::Program("unshare", "util-linux")],
        a_full_disk_under_the_journal_is_told_with_the_rest: [Need::Root, Need::Program("unshare", "util-linux")],
        a_full_disk_under_a_kind_loses_nothing: [Need::Root, Need::Program("unshare", "util-linux")],
    ]
}

/// The user that owns nothing.
const NOBODY: &str = "65534";

fn shell(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Gives a project and its home to the user that owns nothing.
pub(crate) fn give_to_nobody(space: &Space) {
    let folder = space.root().parent().unwrap().to_owned();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    shell(Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).args([space.root(), space.home()]));
}

/// Runs the engine as a user without rights of root, from a copy that this user can reach.
///
/// Another program makes the copy: what this one holds open for writing, so does for a moment every child that another thread is just
/// starting, and the kernel runs no file that somebody may write to ("Text file busy").
pub(crate) fn run_as_nobody(space: &Space, line: &str) -> Output {
    let program = space.home().join("tomograph");
    if !program.exists() {
        shell(Command::new("cp").arg(TOMOGRAPH).arg(&program));
    }
    let mut command = space.command("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]).arg(program).args(line.split_whitespace());
    space.finish(&mut command)
}

fn a_read_only_store_loses_nothing() {
    let space = space();
    let change = |rights: &str| shell(Command::new("chmod").args(["-R", rights]).arg(space.path("cache")));
    give_to_nobody(&space);
    run_as_nobody(&space, "run numbers.toml").success();
    change("a-w");
    run_as_nobody(&space, "plan numbers.toml").success();

    space.write("numbers/c.txt", "40\n");
    let refused = run_as_nobody(&space, "run numbers.toml").says(&["cache", "denied"]);
    assert!(refused.code.is_some_and(|code| code != 0), "{}", refused.text());
    assert_eq!(space.read("results/total.tsv"), "sum\n252\n");

    change("u+w");
    let output = run_as_nobody(&space, "run numbers.toml --json").success();
    assert_eq!(output.tasks("ran"), TASKS);
    assert_eq!(space.read("results/total.tsv"), "sum\n258\n");
    space.write("numbers/c.txt", "39\n");
    assert_eq!(run_as_nobody(&space, "run numbers.toml --json").success().tasks("cached"), TASKS, "what was there is still there");
}

fn folders_that_a_program_closes_leave_nothing_behind() {
    let space = Space::new();
    let stage = "command = [\"sh\", \"tools/x.sh\", \"{outputs.out}\"]\ninputs = { raw = \"raw\" }\noutputs = { out = \"files\" }\n";
    let source = "[source.raw]\npath = \"raw\"\nphi = false\n";
    space.write("x.toml", format!("[pipeline]\nname = \"x\"\n{source}[stage.x]\n{stage}code = [\"tools/x.sh\"]\n"));
    space.write("raw/a.txt", "1\n");
    space.write("tools/x.sh", "mkdir -p \"$1/a\" && seq 9000 > \"$1/a/large\" && echo 1 > \"$1/a/small\" && chmod 500 \"$1/a\"\n");
    give_to_nobody(&space);
    run_as_nobody(&space, "run x.toml").success();
    run_as_nobody(&space, "export x.toml x out").success();
    assert_eq!(space.read("out/a/small"), "1\n");
    let left: Vec<_> = fs::read_dir(space.path("cache/tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Runs a pipeline with its store on a disk of `size`, then once more with room: what the first run said, and the second.
fn on_a_small_disk(space: &Space, pipeline: &str, size: &str) -> (String, String) {
    fs::create_dir_all(space.path("cache")).unwrap();
    let script = r#"mount -t tmpfs -o "size=$2,mode=700" tmpfs cache || exit 99
        "$0" run "$1" -j 1; echo "ended with $?"
        mount -o remount,size=200m cache || exit 99
        "$0" run "$1" --json"#;
    // The mount is in a namespace of its own and goes away with it.
    let output = space.finish(space.command("unshare").args(["-m", "sh", "-c", script, TOMOGRAPH, pipeline, size])).success();
    let (first, second) = output.stdout.split_once("ended with 1\n").unwrap_or_else(|| panic!("not 1\n{}", output.text()));
    assert!(second.contains("\"failed\":0"), "{}", output.text());
    (first.to_lowercase() + &output.stderr.to_lowercase(), second.to_owned())
}

fn a_full_disk_under_a_command_loses_nothing() {
    let space = space();
    // Three tables of a megabyte (one of them twice) on two and a half.
    let many: String = (0..150_000).map(|number| format!("{number}\n")).collect();
    space.write("numbers/d.txt", many);
    let (first, second) = on_a_small_disk(&space, PIPELINE, "2500k");
    assert!(first.contains("no space left"), "the reason is not said: {first}");
    assert!(second.contains("\"cached\":3"), "what fitted is kept: {second}");
    let sum: u64 = 6 * ((0..150_000).sum::<u64>() + 42);
    assert_eq!(space.read("results/total.tsv"), format!("sum\n{sum}\n"));
}

fn a_full_disk_under_the_journal_is_told_with_the_rest() {
    let space = space();
    // So many that are skipped that what the journal says of them does not fit into the page that it has.
    space.replace(PIPELINE, "by = [1, 2, 3]", &format!("by = {:?}", (1..=60).collect::<Vec<u32>>()));
    let fill = "[ -e cache/filler ] || { cat /dev/zero > cache/filler; exit 1; }\necho gather";
    space.replace("tools/gather.sh", "echo gather", fill);
    let (first, _) = on_a_small_disk(&space, PIPELINE, "1500k");
    assert!(first.starts_with("error: "), "what ended the run comes first: {first}");
    for words in ["no space left", "failed: gather: ", "0 cached, 0 ran, 1 failed, 61 skipped"] {
        assert!(first.contains(words), "{words} is not said: {first}");
    }
}

fn a_full_disk_under_a_kind_loses_nothing() {
    let space = crate::study::without_training();
    let (first, _) = on_a_small_disk(&space, crate::study::PIPELINE, "100k");
    assert!(first.contains("no space left") && first.contains("import"), "the reason is not said: {first}");
    assert_eq!(space.run("run study.toml --json").success().tasks("failed"), [""; 0], "on another disk");
}
