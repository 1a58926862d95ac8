//! Who runs when, and on what: devices, memory, processors, and the longest path first. Programs tell in files what they saw; that two
//! ran at once is shown by each waiting for the other, that two did not by a folder that only one can make.

use crate::space::{Output, Space, TOMOGRAPH};
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        two_tasks_get_two_devices,
        an_inherited_mask_is_all_there_is,
        a_mask_of_uuids_is_handed_on,
        two_halves_share_a_device,
        a_task_that_fails_gives_its_device_back,
        needs_that_cannot_be_met_stop_the_run_before_it_starts,
        what_is_cached_needs_nothing,
        what_is_made_again_needs_what_it_did,
        memory_of_running_tasks_stays_below_the_limit,
        a_task_with_more_threads_than_there_are_runs_alone,
        the_longest_path_starts_first,
        what_took_long_starts_first,
        a_new_cell_is_expected_to_take_what_its_stage_takes,
    ]
}

const PIPELINE: &str = "work.toml";

/// Two cells of a command, with this line (needs, say) in their stage.
const TEXT: &str = r#"[pipeline]
name = "work"

[axes]
n = [1, 2]

[stage.work]
over    = ["n"]
command = ["sh", "work.sh", "{n}", "{device}", "{outputs.table}"]
outputs = { table = "table" }
needs   = NEEDS
"#;

/// Runs a body between saying what it sees and writing its output.
fn script(body: &str) -> String {
    format!("echo \"$1 $2 $CUDA_VISIBLE_DEVICES\" >> seen.txt\n{body}\nprintf 'n\\n%s\\n' \"$1\" > \"$3\"\n")
}

/// Ends well only if two of these run at once.
const TOGETHER: &str =
    "touch here.$1; n=0; until [ -e here.1 ] && [ -e here.2 ]; do n=$((n + 1)); [ $n -gt 1000 ] && exit 1; sleep 0.01; done";

/// Ends well only if no two of these run at once.
const ALONE: &str = "mkdir busy || exit 1; sleep 0.05; rmdir busy";

fn space(needs: &str, local: &str, body: &str) -> Space {
    let space = Space::new();
    space.write(PIPELINE, TEXT.replace("NEEDS", needs));
    space.write("tomograph.local.toml", local);
    space.write("work.sh", script(body));
    space
}

/// What the programs saw, sorted: their cell, device and mask.
fn seen(space: &Space) -> Vec<String> {
    let mut lines: Vec<String> = space.read("seen.txt").lines().map(|line| line.trim_end().to_owned()).collect();
    lines.sort();
    lines
}

fn run_with_mask(space: &Space, mask: &str) -> Output {
    space.finish(space.command(TOMOGRAPH).args(["run", PIPELINE]).env("CUDA_VISIBLE_DEVICES", mask))
}

fn two_tasks_get_two_devices() {
    let space = space("{ gpu = 1 }", "[devices]\ngpus = [\"0\", \"1\"]\n", TOGETHER);
    space.run("run work.toml -j 2").success();
    assert_eq!(seen(&space), ["1 cuda:0 0", "2 cuda:0 1"]);
}

fn an_inherited_mask_is_all_there_is() {
    let space = space("{ gpu = 1 }", "[devices]\ngpus = [\"0\", \"1\"]\n", ALONE);
    run_with_mask(&space, "1").success();
    assert_eq!(seen(&space), ["1 cuda:0 1", "2 cuda:0 1"]);
    space.replace(PIPELINE, "n = [1, 2]", "n = [3]");
    run_with_mask(&space, "").exits(2).says(&["stage `work`", "gpu = 1"]);
}

fn a_mask_of_uuids_is_handed_on() {
    let space = space("{ gpu = 1 }", "[devices]\ngpus = [\"GPU-11aa\", \"GPU-22bb\"]\n", TOGETHER);
    run_with_mask(&space, "GPU-22,GPU-11aa").success();
    assert_eq!(seen(&space), ["1 cuda:0 GPU-22", "2 cuda:0 GPU-11aa"]);
}

fn two_halves_share_a_device() {
    let space = space("{ gpu = 0.5 }", "[devices]\ngpus = [\"0\", \"1\"]\n", TOGETHER);
    space.run("run work.toml -j 2").success();
    assert_eq!(seen(&space), ["1 cuda:0 0", "2 cuda:0 0"]);
}

fn a_task_that_fails_gives_its_device_back() {
    let space = space("{ gpu = 1, memory = \"600MiB\" }", "memory = \"1GiB\"\n[devices]\ngpus = [\"0\"]\n", "[ \"$1\" = 1 ] && exit 1");
    let output = space.run("run work.toml -j 2 --json").exits(1);
    assert_eq!((output.tasks("failed"), output.tasks("ran")), (vec!["work[n=1]".to_owned()], vec!["work[n=2]".to_owned()]));
}

fn needs_that_cannot_be_met_stop_the_run_before_it_starts() {
    let space = space("{ gpu = 1, memory = \"3GiB\" }", "memory = \"2GiB\"\n[devices]\ngpus = []\n", "");
    space.write(
        "work.toml",
        space.read("work.toml")
            + "\n[stage.other]\ncommand = [\"sh\", \"work.sh\", \"0\", \"\", \"{outputs.table}\"]\noutputs = { table = \"table\" }\n",
    );
    space.run("run work.toml").exits(2).says(&["stage `work`", "needs.gpu = 1", "--cpu"]);
    space.run("run work.toml --cpu").exits(2).says(&["stage `work`", "3 GiB", "2 GiB", "tomograph.local.toml"]);
    assert!(!space.path("seen.txt").exists(), "nothing may have started");
    space.run("log work.toml").success().says(&["no run yet"]);
    space.write("tomograph.local.toml", "memory = \"4GiB\"\n[devices]\ngpus = []\n");
    space.run("run work.toml --cpu").success();
    assert_eq!(seen(&space), ["0", "1 cpu", "2 cpu"]);
    space.replace(PIPELINE, "gpu = 1,", "gpu = 3,");
    space.replace(PIPELINE, "n = [1, 2]", "n = [1, 2, 3]");
    space.write("tomograph.local.toml", "[devices]\ngpus = [\"0\", \"1\"]\n");
    space.run("run work.toml").exits(2).says(&["3 GPUs", "this run has 2"]);
}

fn what_is_cached_needs_nothing() {
    let space = space("{ gpu = 1 }", "[devices]\ngpus = [\"0\"]\n", "");
    space.run("run work.toml").success();
    space.write("tomograph.local.toml", "[devices]\ngpus = []\n");
    assert_eq!(space.run("run work.toml --json").success().tasks("cached").len(), 2);
}

fn what_is_made_again_needs_what_it_did() {
    let space = Space::new();
    let text = |end: &str| {
        format!(
            "[pipeline]\nname = \"work\"\n[stage.a]\ncommand = [\"sh\", \"-c\", \"{{{{ echo h; seq 9999; }}}} > $0\", \"{{outputs.out}}\"]\n\
             outputs = {{ out = \"table\" }}\nneeds = {{ memory = \"600MiB\" }}\n[stage.b]\ncommand = [\"tail\", \"-n\", \"{end}\", \"{{inputs.in}}\"]\n\
             inputs = {{ in = \"a.out\" }}\noutputs = {{ out = \"files\" }}\n"
        )
    };
    // `b` gives nothing: that it is reached is what is tried.
    space.write(PIPELINE, text("1"));
    space.write("tomograph.local.toml", "memory = \"1GiB\"\n");
    space.run("run work.toml --only a").success();
    space.write("tomograph.local.toml", "memory = \"500MiB\"\n");
    std::fs::remove_dir_all(space.path("cache/blobs")).unwrap();
    let output = space.run("run work.toml").exits(1);
    output.says(&["failed: a: stage `a` needs 600 MiB of memory", "1 failed, 1 skipped"]);
}

fn memory_of_running_tasks_stays_below_the_limit() {
    let space = space("{ memory = \"600MiB\" }", "memory = \"1GiB\"\n", ALONE);
    space.run("run work.toml -j 2").success();
    assert_eq!(seen(&space).len(), 2);
}

fn a_task_with_more_threads_than_there_are_runs_alone() {
    let space = space("{ cpus = 8 }", "", ALONE);
    space.run("run work.toml -j 2").success();
    assert_eq!(seen(&space).len(), 2);
}

const PATHS: &str = r#"[pipeline]
name = "paths"

[stage.a-short]
command = ["sh", "work.sh", "short", "", "{outputs.table}"]
outputs = { table = "table" }

[stage.long-1]
command = ["sh", "work.sh", "long-1", "", "{outputs.table}"]
outputs = { table = "table" }

[stage.long-2]
command = ["sh", "work.sh", "long-2", "", "{outputs.table}"]
inputs  = { table = "long-1" }
outputs = { table = "table" }
"#;

fn order(space: &Space) -> Vec<String> {
    space.read("seen.txt").lines().map(|line| line.trim_end().to_owned()).collect()
}

fn the_longest_path_starts_first() {
    let space = Space::new();
    space.write("paths.toml", PATHS);
    space.write("work.sh", script(""));
    space.run("run paths.toml -j 1").success();
    assert_eq!(order(&space), ["long-1", "short", "long-2"], "a path of two before one of one; then the pipeline's order");
}

fn what_took_long_starts_first() {
    let space = Space::new();
    space.write("paths.toml", PATHS.replace("[\"sh\"", "[\"env\", \"sh\"").split("[stage.long-2]").next().unwrap());
    space.write("work.sh", script("[ \"$1\" = long-1 ] && sleep 0.3"));
    space.run("run paths.toml -j 1").success();
    assert_eq!(order(&space), ["short", "long-1"], "nothing is known yet");
    std::fs::remove_file(space.path("seen.txt")).unwrap();
    // Other keys, the same tasks.
    space.write("paths.toml", space.read("paths.toml").replace("\"env\", ", ""));
    space.run("run paths.toml -j 1").success();
    assert_eq!(order(&space), ["long-1", "short"]);
}

const CELLS: &str = r#"[pipeline]
name = "cells"

[axes]
n = [1]

[stage.cell]
over    = ["n"]
command = ["env", "sh", "work.sh", "cell", "{n}", "{outputs.table}"]
outputs = { table = "table" }

[stage.long]
command = ["env", "sh", "work.sh", "long", "", "{outputs.table}"]
outputs = { table = "table" }
"#;

fn a_new_cell_is_expected_to_take_what_its_stage_takes() {
    let space = Space::new();
    space.write("cells.toml", CELLS);
    space.write("work.sh", script("[ \"$1\" = long ] && sleep 0.3"));
    space.run("run cells.toml -j 1").success();
    assert_eq!(order(&space), ["cell 1", "long"]);
    std::fs::remove_file(space.path("seen.txt")).unwrap();
    // Another cell, of which nothing is known, and another key for the long one.
    space.write(
        "cells.toml",
        CELLS.replace("n = [1]", "n = [2]").replace("\"env\", \"sh\", \"work.sh\", \"long\"", "\"sh\", \"work.sh\", \"long\""),
    );
    space.run("run cells.toml -j 1").success();
    assert_eq!(order(&space), ["long", "cell 2"]);
}
