//! Programs that write where they should only read: their inputs in the store, and the sources.

use crate::Need;
use crate::numbers::{PIPELINE, space as numbers};
use crate::space::{Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_program_that_writes_to_its_input_is_named: [Need::Root],
        a_program_that_touches_its_input_does_no_harm,
        a_program_may_do_what_it_likes_to_its_folder,
        a_program_that_writes_to_a_source_is_named,
    ]
}

/// Numbers enough that their table is lent and not copied; `scale` does this first where `by` is 2 and `harm` is there.
fn space(harm: &str) -> Space {
    let space = numbers();
    space.write("numbers/d.txt", (0..20_000).map(|number| format!("{number}\n")).collect::<String>());
    space.replace("tools/scale.sh", "awk", &format!("[ \"$1\" = 2 ] && [ -e harm ] && {{ {harm}; }}\nawk"));
    space.write("harm", "");
    space
}

fn total() -> String {
    format!("sum\n{}\n", 6 * ((0..20_000_u64).sum::<u64>() + 42))
}

/// Whether files of the store are shared with a program's copy until one side writes: then nobody can harm the store.
fn is_shared(space: &Space) -> bool {
    let mut copy = space.command("cp");
    copy.args(["--reflink=always", "cache/VERSION", "cache/tmp/copy"]);
    space.finish(&mut copy).code == Some(0)
}

fn a_program_that_writes_to_its_input_is_named() {
    let space = space("echo 1000000 >> \"$2\"");
    let output = space.run("run numbers.toml -j 1 --json");
    if is_shared(&space) {
        output.success();
    } else {
        output.exits(1).says(&["sh (or one that ran beside it) wrote to its input", "table.tsv", "set aside"]);
        assert_eq!(fs::read_dir(space.path("cache/damaged")).unwrap().count(), 1);
    }
    fs::remove_file(space.path("harm")).unwrap();
    space.run("run numbers.toml --json").success();
    assert_eq!(space.read("results/total.tsv"), total(), "the harm reached nobody else");
}

fn a_program_that_touches_its_input_does_no_harm() {
    let space = space("touch \"$2\"; chmod 600 \"$2\"");
    space.run("run numbers.toml -j 1").success();
    assert_eq!(space.read("results/total.tsv"), total());
    let blobs = fs::read_dir(space.path("cache/blobs")).unwrap().flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    assert!(blobs.map(|blob| blob.unwrap().metadata().unwrap().permissions().mode()).all(|mode| mode & 0o777 == 0o444));
}

fn a_program_may_do_what_it_likes_to_its_folder() {
    let space =
        space("awk -v by=2 'NR == 1 { print; next } { print $1 * by }' \"$2\" > \"$2.new\"; mv \"$2.new\" \"$3\"; rm \"$2\"; exit 0");
    space.run("run numbers.toml -j 1").success();
    assert_eq!(space.read("results/total.tsv"), total());
    assert_eq!(space.run("run numbers.toml --json").success().tasks("ran"), [""; 0]);
}

fn a_program_that_writes_to_a_source_is_named() {
    let space = numbers();
    space.write("harm", "");
    space.replace("tools/gather.sh", "echo gather", "[ -e harm ] && { rm harm; echo 7 >> \"$1/b.txt\"; }\necho gather");
    let output = space.finish(space.command(TOMOGRAPH).args(["run", PIPELINE]));
    output.exits(1).says(&["gather", "source `numbers`", "b.txt", "run again"]);
    space.run("run numbers.toml").success();
    assert_eq!(space.read("results/total.tsv"), "sum\n294\n");
}
