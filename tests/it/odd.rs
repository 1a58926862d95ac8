//! Pipelines of an odd size, and sources in odd places: each is defined, and says what it is.

use crate::numbers::{self, PIPELINE, TASKS};
use crate::space::{Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        ten_thousand_stages_in_a_row,
        ten_thousand_stages_in_a_circle,
        of_many_mistakes_the_first_are_drawn,
        a_sweep_too_large_to_be_meant,
        a_source_in_the_store,
        a_source_that_holds_the_store,
        code_that_would_never_settle,
        what_is_read_is_not_published,
        a_glob_that_is_none,
        a_link_into_a_store,
        links_out_of_the_project_are_followed,
        links_in_a_circle,
        odd_names_of_files_arrive_as_they_are,
        a_project_may_lie_in_an_odd_place,
        what_is_written_may_have_an_odd_name,
        a_pipeline_that_is_no_text,
        a_store_of_another_layout_is_refused_and_left_alone,
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

fn code_that_would_never_settle() {
    let space = numbers::space();
    let text = space.read(PIPELINE);
    let with = |code: &str| {
        space.write(PIPELINE, text.replace("[\"tools/total.sh\"]", &format!("[\"{code}\"]")));
        space.run("check numbers.toml")
    };
    for (code, why) in [
        ("**/*", "holds the store"),
        (".", "holds the store"),
        ("cache/VERSION", "points into the store"),
        ("results/total.tsv", "total publishes `results/total.tsv`"),
        ("results", "total publishes `results/total.tsv`"),
        ("*/*.tsv", "total publishes `results/total.tsv`"),
        ("results/*.json", "`results/total.tsv.tomograph.json` lies beside what total publishes"),
    ] {
        with(code).exits(2).says(&["numbers.toml:29:12", "stage `total`", why]);
    }
    for code in ["tools/*", "./tools", "**/*.sh", "results-old/*"] {
        with(code).success();
    }
}

fn what_is_read_is_not_published() {
    let space = numbers::space();
    let text = space.read(PIPELINE);
    let to = |path: &str| space.write(PIPELINE, text.replace("results/total.tsv", path));
    for (path, why) in [
        (PIPELINE, "which is this pipeline"),
        ("tomograph.toml", "which is the project's settings"),
        ("tomograph.local.toml", "which is this machine's settings"),
        ("cache/x.tsv", "which is inside the store"),
    ] {
        to(path);
        space.run("check numbers.toml").exits(2).says(&["numbers.toml:30:21", &format!("total publishes `{path}`"), why]);
    }
    to("tools/total.sh");
    space.run("check numbers.toml").exits(2).says(&["stage `total` names `tools/total.sh` as its code"]);
    space.write(PIPELINE, &text);
    space.write("more.toml", "[pipeline]\nname = \"more\"\nbase = \"numbers.toml\"\n[stage.total]\npublish.table = \"numbers.toml\"\n");
    space.run("check more.toml").exits(2).says(&["more.toml:5:17", "which is the base of this pipeline"]);
}

fn a_glob_that_is_none() {
    for path in ["data/[", "data/a**", "data/*/../x"] {
        copying(path).run("check x.toml").exits(2).says(&["x.toml:4:8", &format!("`{path}` names no files")]);
    }
    let space = copying("data/[");
    space.write("data/[", "a\n");
    space.run("run x.toml").success();
    let space = numbers::space();
    space.replace(PIPELINE, "[\"tools/total.sh\"]", "[\"tools/total.sh\", \"tools/[\"]");
    space.run("check numbers.toml").exits(2).says(&["numbers.toml:29:30", "`tools/[` names no files"]);
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

fn odd_names_of_files_arrive_as_they_are() {
    let space = numbers::space();
    for name in ["two words.txt", "quote\"s and 'more'.txt", "-rf.txt", "ü.txt", "$HOME.txt"] {
        space.write(format!("numbers/{name}"), "1\n");
    }
    space.run("run numbers.toml").success();
    assert_eq!(space.read("results/total.tsv"), format!("sum\n{}\n", 6 * (42 + 5)));
    // A manifest has a line per file: such a name is refused, with what finds it.
    space.write("numbers/line\nend.txt", "1\n");
    space.run("run numbers.toml").exits(1).says(&[r"a name with a newline in it: find it with `find numbers -name $'*\n*'`"]);
    fs::remove_file(space.path("numbers/line\nend.txt")).unwrap();
    // What a terminal would obey is written out.
    space.write("numbers/\u{1b}[2J\r.txt", "1\n");
    for line in ["plan numbers.toml", "why numbers.toml gather"] {
        let output = space.run(line).success().says(&[r"added \u001b[2J\r.txt"]);
        assert!(!output.text().contains(['\u{1b}', '\r']), "{line}");
    }
    fs::remove_file(space.path("numbers/\u{1b}[2J\r.txt")).unwrap();
    // A name that is no text is refused with its place.
    fs::write(space.path(OsString::from_vec(b"numbers/\xff.txt".to_vec())), "1\n").unwrap();
    space.run("run numbers.toml").exits(1).says(&["source `numbers`"]);
}

fn a_project_may_lie_in_an_odd_place() {
    let space = numbers::space();
    space.run("run numbers.toml").success();
    let mut place: PathBuf = space.root();
    let names = ["two words", "quote\"s and 'more'", "$HOME `id` ; -x", "line\nend", "\u{fc}\u{1fa7b}", "-rf"];
    for (number, name) in names.into_iter().enumerate() {
        let next = space.root().with_file_name(name);
        fs::rename(&place, &next).unwrap();
        place = next;
        let run = |line: &str| space.finish(space.command(TOMOGRAPH).current_dir(&place).args(line.split(' ')));
        assert_eq!(run("run numbers.toml --json").success().tasks("cached"), TASKS, "{name:?}");
        fs::write(place.join("numbers/c.txt"), format!("{number}\n")).unwrap();
        run("plan numbers.toml").success();
        assert_eq!(run("run numbers.toml --json").success().tasks("ran"), TASKS, "{name:?}");
        for line in ["show numbers.toml total --path", "export numbers.toml total out", "cache verify", "log numbers.toml total", "doctor"]
        {
            run(line).success();
        }
        fs::remove_dir_all(place.join("out")).unwrap();
    }
    // What cannot be written as text cannot be handed to a program as text.
    let next = space.root().with_file_name(OsString::from_vec(b"\xff".to_vec()));
    fs::rename(&place, &next).unwrap();
    fs::write(next.join("numbers/c.txt"), "99\n").unwrap();
    let run = |line: &str| space.finish(space.command(TOMOGRAPH).current_dir(&next).args(line.split(' ')));
    run("plan numbers.toml").success();
    run("run numbers.toml").exits(1).says(&["gather: the store's path is not UTF-8", "tomograph.local.toml"]);
    let elsewhere = space.home().join("store");
    fs::write(next.join("tomograph.local.toml"), format!("store = \"{}\"\n", elsewhere.display())).unwrap();
    run("run numbers.toml").success();
}

fn what_is_written_may_have_an_odd_name() {
    let space = numbers::space();
    space.replace(PIPELINE, "\"results/total.tsv\"", "\"results/two words/it's \\\"$1\\\" \\u00fc.tsv\"");
    fs::rename(space.path(PIPELINE), space.path("my \"pipeline\"\n.toml")).unwrap();
    let run = |command: &str| space.run_args(&[command, "my \"pipeline\"\n.toml"]);
    run("run").success();
    assert_eq!(space.read("results/two words/it's \"$1\" \u{fc}.tsv"), "sum\n252\n");
    for command in ["check", "plan", "history", "log", "graph", "run"] {
        run(command).success();
    }
}

fn a_pipeline_that_is_no_text() {
    let space = numbers::space();
    for bytes in [&b"[pipeline]\nname = \"\xff\"\n"[..], b"\xff\xfe[\0p\0", b"\0\0\0", b"\xef\xbb\xbf"] {
        space.write("odd.toml", bytes);
        space.run("check odd.toml").exits(2).says(&["odd.toml"]);
    }
}

fn a_store_of_another_layout_is_refused_and_left_alone() {
    let space = numbers::space();
    space.run("run numbers.toml").success();
    space.write("cache/VERSION", "tomograph store 9, BLAKE4\n");
    let listed = || {
        let mut find = space.command("find");
        space.finish(find.args(["cache", "-printf", "%p %s %T@\\n"])).success().stdout
    };
    let before = listed();
    for line in [
        "run numbers.toml",
        "plan numbers.toml",
        "why numbers.toml total",
        "show numbers.toml total",
        "export numbers.toml total out",
        "log numbers.toml",
        "history numbers.toml",
        "graph numbers.toml",
        "quarantine numbers.toml",
        "cache size",
        "cache verify --repair",
        "cache gc",
        "cache reindex",
    ] {
        space.run(line).exits(1).says(&["has layout \"tomograph store 9, BLAKE4\"", "use the tomograph that made it, or another place"]);
    }
    assert_eq!(listed(), before);
}
