//! Pipelines of an odd size, and sources in odd places: each is defined, and says what it is.

use crate::space::Space;
use libtest_mimic::Trial;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        ten_thousand_stages_in_a_row,
        ten_thousand_stages_in_a_circle,
        of_many_mistakes_the_first_are_drawn,
        a_sweep_too_large_to_be_meant,
        a_source_in_the_store,
        a_source_that_holds_the_store,
        a_link_into_a_store,
        links_out_of_the_project_are_followed,
        links_in_a_circle,
    ]
}

/// A pipeline of `count` stages, each after the one before; the first after `first`.
fn chain(count: usize, first: &str) -> String {
    let mut text = String::from("[pipeline]\nname = \"x\"\n[source.raw]\npath = \"raw\"\nphi = false\n");
    let mut before = first.to_owned();
    for number in 0..count {
        let _ = writeln!(
            text,
            "[stage.s{number}]\ncommand = [\"sh\", \"x.sh\", \"{{inputs.a}}\", \"{{outputs.t}}\"]\ninputs = {{ a = \"{before}\" }}\n\
             outputs = {{ t = \"table\" }}\npublish = {{ t = \"results/{number}.tsv\" }}"
        );
        before = format!("s{number}");
    }
    text
}

fn ten_thousand_stages_in_a_row() {
    let space = Space::new();
    space.write("x.toml", chain(10_000, "raw"));
    space.run("check x.toml").success().says(&["10000 stages, 10000 tasks"]);
}

fn ten_thousand_stages_in_a_circle() {
    let space = Space::new();
    space.write("x.toml", chain(10_000, "s9999"));
    space.run("check x.toml").exits(2).says(&["stages wait for each other in a circle"]);
}

fn of_many_mistakes_the_first_are_drawn() {
    let space = Space::new();
    space.write("x.toml", chain(300, "raw").replace("\"x.sh\"", "\"{nope}\""));
    let output = space.run("check x.toml").exits(2).says(&["… and 200 more", "x.toml: 300 errors"]);
    assert_eq!(output.stderr.matches("unknown placeholder").count(), 100);
    assert_eq!(space.run("check x.toml --json").exits(2).objects().len(), 300);
}

fn a_sweep_too_large_to_be_meant() {
    let space = Space::new();
    let numbers = (0..320).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    let text = |head: &str, over: &str| {
        format!(
            "[pipeline]\nname = \"x\"\n{head}\n[axes]\na = [{numbers}]\nb = [{numbers}]\nc = [{numbers}]\nfew = [1, 2, 3]\n\
             [stage.s]\nover = [{over}]\ncommand = [\"sh\", \"x.sh\", \"{{outputs.t}}\"]\noutputs = {{ t = \"table\" }}\n"
        )
    };
    let says = |text: String, words: &[&str]| {
        space.write("x.toml", text);
        space.run("check x.toml").exits(2).says(words).says(&["x.toml:", "max_tasks = "]);
    };
    says(text("", "\"a\", \"b\""), &["has 102400 tasks, more than the 100000 it may have; stage `s` has 102400", "max_tasks = 102400"]);
    says(text("", "\"a\", \"b\", \"c\""), &["stage `s` has 32768000 cells"]);
    says(text("max_tasks = 2", "\"few\""), &["has 3 tasks, more than the 2"]);
    space.write("x.toml", text("max_tasks = 3", "\"few\""));
    space.run("check x.toml").success().says(&["1 stages, 3 tasks"]);
}

/// A pipeline that copies the tree at `path`.
fn copying(path: &str) -> Space {
    let space = Space::new();
    space.write(
        "x.toml",
        format!(
            "[pipeline]\nname = \"x\"\n[source.raw]\npath = \"{path}\"\nphi = false\n[stage.s]\ncommand = [\"sh\", \"-c\", \"find -L $0 -type f -exec cat {{{{}}}} + > $1\", \
             \"{{inputs.a}}\", \"{{outputs.t}}\"]\ninputs = {{ a = \"raw\" }}\noutputs = {{ t = \"table\" }}\npublish = {{ t = \"results/out.tsv\" }}\n"
        ),
    );
    space
}

fn a_source_in_the_store() {
    for path in ["cache/blobs", "./cache", "cache/blobs/*/*", "data/../cache/blobs"] {
        let space = copying(path);
        fs::create_dir(space.path("data")).unwrap();
        for line in ["check x.toml", "run x.toml"] {
            space.run(line).exits(2).says(&["x.toml:4:8", "source `raw` points into the store", "tomograph export"]);
        }
    }
    // Wherever the store is.
    let space = copying("elsewhere/blobs");
    space.run("check x.toml").success();
    space.write("tomograph.local.toml", "store = \"elsewhere\"\n");
    space.run("check x.toml").exits(2).says(&["points into the store"]);
}

fn a_source_that_holds_the_store() {
    for path in [".", "**/*.png", "data"] {
        let space = copying(path);
        symlink(space.root(), space.path("data")).unwrap();
        space.replace("x.toml", "publish = { t = \"results/out.tsv\" }\n", "");
        space.run("check x.toml").exits(2).says(&["source `raw` holds the store", "tomograph.local.toml"]);
    }
    copying("*.tsv").run("check x.toml").success();
}

fn a_link_into_a_store() {
    let space = copying("data");
    space.write("data/a.tsv", "a\n");
    space.run("run x.toml").success();
    symlink(space.path("cache/blobs"), space.path("data/blobs")).unwrap();
    let output = space.run("run x.toml").says(&["source `raw`", "a link in it leads into a store of tomograph"]);
    assert!(output.code.is_some_and(|code| code != 0));
}

fn links_out_of_the_project_are_followed() {
    let space = copying("data");
    let outside = space.home().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("a.tsv"), "a\n1\n").unwrap();
    symlink(&outside, space.path("data")).unwrap();
    space.run("run x.toml").success();
    assert_eq!(space.read("results/out.tsv"), "a\n1\n");
    // What counts is the content behind the link, not where it lies.
    fs::rename(&outside, space.home().join("moved")).unwrap();
    fs::remove_file(space.path("data")).unwrap();
    symlink(space.home().join("moved"), space.path("data")).unwrap();
    assert_eq!(space.run("run x.toml --json").success().tasks("cached"), ["s"]);
    fs::write(space.home().join("moved/a.tsv"), "a\n2\n").unwrap();
    assert_eq!(space.run("run x.toml --json").success().tasks("ran"), ["s"]);
    fs::remove_dir_all(space.home().join("moved")).unwrap();
    let output = space.run("run x.toml").says(&["source `raw`", "a link that leads nowhere"]);
    assert!(output.code.is_some_and(|code| code != 0));
}

fn links_in_a_circle() {
    let space = copying("data");
    space.write("data/a.tsv", "a\n");
    symlink(space.path("data"), space.path("data/again")).unwrap();
    let output = space.run("run x.toml").says(&["source `raw`", "leads back to a folder that holds it"]);
    assert!(output.code.is_some_and(|code| code != 0));
    fs::remove_file(space.path("data/again")).unwrap();
    symlink("loop", space.path("data/loop")).unwrap();
    let output = space.run("run x.toml").says(&["source `raw`"]);
    assert!(output.code.is_some_and(|code| code != 0));
    fs::remove_file(space.path("data/loop")).unwrap();
    space.run("run x.toml").success();
}
