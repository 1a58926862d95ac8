//! What the commands say, word for word.

use crate::numbers::{PIPELINE, space};
use crate::space::Space;
use libtest_mimic::Trial;
use snapbox::str;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_plan_and_its_reasons,
        why_is_followed_through_what_ran_since,
        a_reason_of_every_sort,
        a_run_off_a_terminal,
        a_task_that_fails,
        a_reference_to_nothing,
    ]
}

fn a_plan_and_its_reasons() {
    let space = space();
    let _ = space.run("plan numbers.toml").success().stdout_eq(str![[r#"
gather       will run  first run
scale[by=1]  later     decided after gather
scale[by=2]  later     decided after gather
scale[by=3]  later     decided after gather
total        later     decided after scale[by=1], scale[by=2], scale[by=3]
0 cached, 1 will run, 4 decided later
how long is unknown: nothing like it ran here before

"#]]);
    let _ = space.run("run numbers.toml").success();
    let _ = space.run("plan numbers.toml").success().stdout_eq(str![[r#"
gather       cached
scale[by=1]  cached
scale[by=2]  cached
scale[by=3]  cached
total        cached
5 cached, 0 will run, 0 decided later

"#]]);
    space.write("numbers/a.txt", "9\n");
    let _ = space.run("plan numbers.toml").success().stdout_eq(str![[r#"
gather       will run  ~[TIME]  inputs.files: source numbers; changed a.txt
scale[by=1]  later     ~[TIME]  decided after gather
scale[by=2]  later     ~[TIME]  decided after gather
scale[by=3]  later     ~[TIME]  decided after gather
total        later     ~[TIME]  decided after scale[by=1], scale[by=2], scale[by=3]
0 cached, 1 will run, 4 decided later
about [TIME] of work, and up to [TIME] more for what is decided later

"#]]);
    let _ = space.run("why numbers.toml total").success().stdout_eq(str![[r#"
total: decided later
  after scale[by=1], scale[by=2], scale[by=3]
scale[by=1]: decided later
  after gather
gather: must run
  inputs.files: source numbers; changed a.txt
scale[by=2]: decided later
  after gather
scale[by=3]: decided later
  after gather

"#]]);
}

fn why_is_followed_through_what_ran_since() {
    let space = space();
    space.run("run numbers.toml").success();
    space.write("numbers/a.txt", "9\n");
    space.replace("tools/total.sh", "echo total", "[ -e broken ] && exit 1\necho total");
    space.write("broken", "");
    space.run("run numbers.toml").exits(1);
    // All that it needs is cached by now.
    let why = space.run("why numbers.toml total").success();
    why.says(&[
        "total: must run",
        "inputs.tables[by=1]: scale[by=1].table; changed",
        "scale[by=1]: cached, another result than then",
        "inputs.table: gather.table",
        "gather: cached, another result than then\n  inputs.files: source numbers; changed a.txt",
    ]);
}

/// An edit, a task, and a line that `why` then has of it.
type Sort = (fn(&Space), &'static str, &'static str);

/// Adds lines to the last stage.
fn to_total(space: &Space, lines: &str) {
    space.replace(PIPELINE, "code    = [\"tools/total.sh\"]", &format!("code    = [\"tools/total.sh\"]\n{lines}"));
}

fn a_reason_of_every_sort() {
    let sorts: &[Sort] = &[
        (|space| space.write("numbers/d.txt", "4\n"), "gather", "inputs.files: source numbers; added d.txt"),
        (|space| std::fs::remove_file(space.path("numbers/b.txt")).unwrap(), "gather", "inputs.files: source numbers; removed b.txt"),
        (
            |space| (1..6).for_each(|number| space.write(format!("numbers/{number}.txt"), "1\n")),
            "gather",
            "inputs.files: source numbers; added 1.txt; added 2.txt; added 3.txt; and 2 more",
        ),
        (
            |space| {
                space.replace(PIPELINE, "phi  = false", "phi  = true");
                space.replace(PIPELINE, "publish = { table = \"results/total.tsv\" }\n", "");
            },
            "gather",
            "inputs.files[0].level: released → identified",
        ),
        (
            |space| space.replace(PIPELINE, "[\"sh\", \"tools/total.sh\"", "[\"dash\", \"tools/total.sh\""),
            "total",
            "command.argv[0]: sh → dash",
        ),
        (|space| to_total(space, "env = { LC_ALL = \"C\" }"), "total", "command.env.LC_ALL: added C"),
        (|space| to_total(space, "params = { x = [1, 2] }"), "total", "params.x[0]: added 1"),
        (
            |space| {
                space.replace(
                    PIPELINE,
                    "{ table = \"table\" }\ncode    = [\"tools/total.sh\"]",
                    "{ table = \"table\", more = \"files\" }\ncode    = [\"tools/total.sh\"]",
                );
            },
            "total",
            "command.outputs.more: added files",
        ),
        (|space| space.replace(PIPELINE, "by = [1, 2, 3]", "by = [1, 2]"), "total", "inputs.tables: by=3 is no longer among the parts"),
        (|space| space.replace(PIPELINE, "by = [1, 2, 3]", "by = [1, 2, 4]"), "scale[by=4]", "never ran; compared with scale[by=1]"),
        (|space| space.replace(PIPELINE, "by = [1, 2, 3]", "by = [1, 2, 4]"), "scale[by=4]", "command.coordinates.by: 1 → 4"),
        (|space| space.replace("tools/total.sh", "echo total", "true; echo total"), "total", "command.code.\"tools/total.sh\": "),
    ];
    for (edit, task, line) in sorts {
        let space = space();
        space.run("run numbers.toml").success();
        edit(&space);
        let why = space.run_args(&["why", PIPELINE, task]).success();
        let found =
            why.stdout.lines().any(|one| one == format!("  {line}") || line.ends_with(' ') && one.starts_with(&format!("  {line}")));
        assert!(found, "{line:?} is not said\n{}", why.text());
        // `plan` gives the same reason.
        space.run("plan numbers.toml").success().says(&[line.trim_end()]);
    }
}

fn a_run_off_a_terminal() {
    let space = space();
    let _ = space
        .run("run numbers.toml -j 1")
        .success()
        .stdout_eq(str![[r#"
0 cached, 5 ran, 0 failed, 0 skipped in [TIME]

"#]])
        .stderr_eq(str![[r#"
[1/5] ran gather in [TIME]
[2/5] ran scale[by=1] in [TIME]
[3/5] ran scale[by=2] in [TIME]
[4/5] ran scale[by=3] in [TIME]
[4/5] published results/total.tsv
[5/5] ran total in [TIME]

"#]]);
}

fn a_task_that_fails() {
    let space = space();
    space.write("tools/scale.sh", "echo broken >&2\nexit 7\n");
    let _ = space.run("run numbers.toml -j 1 --fail-fast").exits(1).stderr_eq(str![[r#"
[1/5] ran gather in [TIME]
[2/5] failed scale[by=1]: sh ended with exit status: 7; its output is in the log
    | broken
[3/5] skipped scale[by=2]: another task failed (--fail-fast)
[4/5] skipped scale[by=3]: another task failed (--fail-fast)
[5/5] skipped total: scale[by=1] failed

"#]]);
}

fn a_reference_to_nothing() {
    let space = space();
    let _ = space.run(&format!("why {PIPELINE} totl")).exits(2).stderr_eq(str![[r#"
error: totl: there is no stage `totl`; did you mean `total`?

"#]]);
}
