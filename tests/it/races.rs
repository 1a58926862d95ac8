//! What is edited while it is read or used: a result, or an item's result, never stands under the key of other bytes.

use crate::Need;
use crate::numbers::{PIPELINE, ran, space};
use crate::space::{Output, Space, TOMOGRAPH};
use crate::study::png;
use libtest_mimic::Trial;
use std::fs;

const STRACE: Need = Need::Program("strace", "strace");

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        code_that_is_edited_meanwhile,
        a_stage_that_writes_what_another_reads_as_a_source,
        of_a_source_only_what_is_read_counts,
        an_item_that_changes_meanwhile_is_not_kept,
        what_all_items_read_changes_meanwhile,
        a_file_that_goes_before_it_is_read: [STRACE],
    ]
}

fn code_that_is_edited_meanwhile() {
    let space = space();
    space.replace("tools/total.sh", "echo total", "[ -e edit ] && { rm edit; echo '# edited' >> tools/total.sh; }\necho total");
    space.write("edit", "");
    space.run("run numbers.toml").exits(1).says(&["total: `tools/total.sh`, which `code` names, changed while the task ran", "run again"]);
    ran(&space);
    assert_eq!(space.run("run numbers.toml --json").success().tasks("ran"), ["total"]);
}

fn a_stage_that_writes_what_another_reads_as_a_source() {
    let space = space();
    let late = "\n[source.made]\npath = \"made.tsv\"\nphi  = false\n\n[stage.late]\ncommand = [\"cp\", \"{inputs.made}\", \"{outputs.table}\"]\n\
                inputs  = { made = \"made\", after = \"gather\" }\noutputs = { table = \"table\" }\npublish = { table = \"results/late.tsv\" }\n";
    space.write(PIPELINE, space.read(PIPELINE) + late);
    space.write("made.tsv", "n\n1\n");
    space.replace("tools/gather.sh", "echo gather", "printf 'n\\n2\\n' > made.tsv\necho gather");
    // Its key was made from what had been there before.
    space.run("run numbers.toml").exits(1).says(&["late: source `made`: made.tsv changed while the task ran"]);
    assert!(!space.path("results/late.tsv").exists());
    space.run("run numbers.toml").success();
    assert_eq!(space.read("results/late.tsv"), "n\n2\n");
}

fn of_a_source_only_what_is_read_counts() {
    let space = Space::new();
    let stage = |name: &str, inside: &str, edit: &str| {
        format!(
            "[stage.{name}]\ncommand = [\"sh\", \"-c\", \"{edit}; printf 'n\\\\n1\\\\n' > $2\", \"x\", \"{{inputs.r}}\", \
             \"{{outputs.table}}\"]\ninputs  = {{ r = \"raw/{inside}\" }}\noutputs = {{ table = \"table\" }}\n\n"
        )
    };
    let pipeline = |edit: &str| {
        format!(
            "[pipeline]\nname = \"x\"\n\n[source.raw]\npath = \"raw\"\nphi = false\n\n{}{}",
            stage("one", "a.txt", edit),
            stage("few", "folder", edit)
        )
    };
    for name in ["a.txt", "b.txt", "c.txt", "folder/d.txt", "folder/e.txt"] {
        space.write(format!("raw/{name}"), name);
    }
    space.write("x.toml", pipeline("echo 1 >> raw/b.txt; rm -f raw/c.txt; touch raw/new.txt"));
    space.run("run x.toml -j 1").success();
    space.write("x.toml", pipeline("touch raw/folder/new.txt"));
    space.run("run x.toml -j 1 --only few").exits(1).says(&["few: source `raw`: folder/new.txt was added while the task ran"]);
    space.write("x.toml", pipeline("rm raw/folder/d.txt"));
    space.run("run x.toml -j 1 --only few").exits(1).says(&["few: source `raw`: folder/d.txt went away while the task ran"]);
    space.write("x.toml", pipeline("rm raw/a.txt"));
    space.run("run x.toml -j 1 --only one").exits(1).says(&["one: source `raw`: a.txt went away while the task ran"]);
}

/// A program for each of three images outside the store; the first time that it runs and `edit` is there, it does `edit`'s work first.
fn images_outside(edit: &str) -> Space {
    let space = crate::per_item::space("cp \"$1\" \"$2\"\n", 3);
    space.run("run x.toml --only import").success();
    space.run("export x.toml import pictures-made").success();
    for entry in fs::read_dir(space.path("pictures-made")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "json") {
            fs::remove_file(path).unwrap();
        }
    }
    let text = space.read("x.toml").replace("path = \"pictures\"", "path = \"pictures-made\"\ntype = \"images\"");
    let (head, rest) = text.split_once("[stage.import]").unwrap();
    let copy = rest.split_once("[stage.copy]").unwrap().1.replace("images = \"import\"", "images = \"pictures\"");
    space.write("y.toml", format!("{head}[stage.copy]{}", copy.replace("code    = [\"tools/x.sh\"]", "")));
    space.write("tools/x.sh", format!("[ -e edit ] && {{ rm edit; {edit}; }}\necho one >> ran.txt\ncp \"$1\" \"$2\"\n"));
    space.write("edit", "");
    space
}

fn an_item_that_changes_meanwhile_is_not_kept() {
    let space = images_outside("cp other.png pictures-made/0.png");
    space.write("other.png", png(false, 77));
    let before = fs::read(space.path("pictures-made/0.png")).unwrap();
    space.run("run y.toml -j 1").exits(1).says(&["copy: ", "source `pictures`: 0.png changed while the task ran", "run again"]);
    // Put back, it must not be found as what was made of the other one.
    space.write("pictures-made/0.png", &before);
    space.run("run y.toml").success();
    space.run("export y.toml copy out").success();
    assert!(fs::read(space.path("out/0.png")).unwrap() == before);
}

fn what_all_items_read_changes_meanwhile() {
    let space = images_outside("echo 2 > offset.txt");
    space.run("run y.toml -j 1").exits(1).says(&["source `offset`: offset.txt changed while the task ran"]);
    ran(&space);
    space.write("offset.txt", "1\n");
    space.run("run y.toml").success();
    assert_eq!(ran(&space).len(), 3, "none was kept under the offset of before");
}

/// `tomograph run` with something done to what it asks of the system, in the words of strace(1), where that concerns the file `path`.
fn tampered(space: &Space, path: &str, calls: &str, what: &str) -> Output {
    let mut command = space.command("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(space.path(path));
    command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{what}"), TOMOGRAPH, "run", PIPELINE]);
    space.finish(&mut command)
}

fn a_file_that_goes_before_it_is_read() {
    let space = space();
    let output = tampered(&space, "numbers/b.txt", "openat", "error=ENOENT");
    output.exits(2).says(&["source `numbers`: cannot read b.txt: No such file"]);
    assert!(ran(&space).is_empty());
    space.run("run numbers.toml").success();
}
