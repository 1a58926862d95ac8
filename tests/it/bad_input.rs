//! What users get wrong and machines break: one clear error that names the thing and the place, the documented exit code,
//! nothing half-written, and the next run goes on. That nothing panics is checked by [`Space::finish`] for every test.

use crate::numbers;
use crate::space::{Output, Space, TOMOGRAPH};
use crate::study::{PIPELINE, png, without_training};
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::fs;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        no_pipeline,
        wrong_command_lines,
        too_many_jobs,
        nobody_hears,
        no_source,
        a_folder_without_images,
        a_table_without_the_column,
        a_row_without_its_file,
        a_file_that_is_no_image,
        one_label_only,
        a_patient_with_both_labels,
        a_split_too_small_for_both_labels,
        a_command_that_fails,
        a_command_that_writes_nothing,
        a_program_that_is_not_there,
        a_source_that_changes_meanwhile,
    ]
}

/// Runs a study that must fail in `stage` with these words; then mends it, and everything is done.
fn fails(space: &Space, stage: &str, words: &[&str], mend: impl FnOnce(&Space)) -> Output {
    let output = space.run("run study.toml").exits(1).says(words).says(&[stage]);
    // One mistake, one message, whatever the number of cells that make it.
    let failures = output.stdout.lines().filter_map(|line| line.strip_prefix("failed: ")?.split_once(": "));
    let messages: BTreeSet<&str> = failures.map(|(_, message)| message).collect();
    assert_eq!(messages.len(), 1, "{}", output.text());
    mend(space);
    space.run("run study.toml --json").success();
    output
}

fn no_pipeline() {
    Space::new().run("run nothing.toml").exits(2).says(&["nothing.toml"]);
}

fn wrong_command_lines() {
    let space = numbers::space();
    space.run("run").exits(2);
    space.run("jump numbers.toml").exits(2).says(&["jump"]);
    space.run("run numbers.toml --only scael").exits(2).says(&["scael", "scale"]);
    space.run("run numbers.toml --only scale[by=7]").exits(2).says(&["by=7"]);
    space.run("run numbers.toml --set stage.scale.parms.x=1").exits(2).says(&["parms"]);
    space.run("run numbers.toml --axis bye=1").exits(2).says(&["bye", "by"]);
    space.run("why numbers.toml scael").exits(2).says(&["scael"]);
    space.run("kinds images.improt").exits(2).says(&["images.improt", "images.import"]);
    assert!(!space.path("ran.txt").exists(), "nothing may have run");
}

fn too_many_jobs() {
    let space = numbers::space();
    space.run("run numbers.toml -j 100000").exits(2).says(&["100000", "1024"]);
    space.run("plan numbers.toml -j many").exits(2).says(&["whole number"]);
    space.write("tomograph.local.toml", "jobs = 34000\n");
    space.run("run numbers.toml").exits(2).says(&["tomograph.local.toml", "34000", "1024"]);
    space.write("tomograph.local.toml", "jobs = 1024\n");
    space.run("run numbers.toml").success();
}

/// What cannot be said on standard error is not said: exit codes stay, and what can run runs.
fn nobody_hears() {
    let space = numbers::space();
    let deaf = |line: &str| {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        space.command(TOMOGRAPH).args(line.split(' ')).stderr(full).output().unwrap()
    };
    assert_eq!(deaf("run nothing.toml").status.code(), Some(2));
    let code = space.read("numbers.toml");
    space.write("numbers.toml", format!("{code}\n[source.idle]\npath = \"numbers\"\nphi = false\n"));
    assert_eq!(deaf("run numbers.toml").status.code(), Some(0), "a warning is not heard, and the pipeline runs");
    space.write("numbers.toml", format!("{code}\n[source.idle]\nphi = false\n"));
    assert_eq!(deaf("check numbers.toml").status.code(), Some(2));
}

fn no_source() {
    let space = numbers::space();
    fs::rename(space.path("numbers"), space.path("elsewhere")).unwrap();
    let output = space.run("run numbers.toml").says(&["source `numbers`", "`numbers`"]);
    assert!(matches!(output.code, Some(1 | 2)), "{}", output.text());
    assert!(!space.path("ran.txt").exists());
    fs::rename(space.path("elsewhere"), space.path("numbers")).unwrap();
    space.run("run numbers.toml").success();
}

fn a_folder_without_images() {
    let space = without_training();
    let manifest = space.read("pictures/manifest.csv");
    fs::rename(space.path("pictures"), space.path("kept")).unwrap();
    fs::create_dir(space.path("pictures")).unwrap();
    let output = space.run("run study.toml").says(&["source `pictures`"]);
    assert!(matches!(output.code, Some(1 | 2)), "{}", output.text());
    space.write("pictures/manifest.csv", manifest);
    fails(&space, "import", &["p00-0.png"], |space| {
        fs::remove_dir_all(space.path("pictures")).unwrap();
        fs::rename(space.path("kept"), space.path("pictures")).unwrap();
    });
}

fn a_table_without_the_column() {
    let space = without_training();
    space.replace("pictures/manifest.csv", "file,subject", "path,subject");
    let mend = |space: &Space| space.replace("pictures/manifest.csv", "path,subject", "file,subject");
    fails(&space, "import", &["no column `file`", "path, subject, view, label"], mend);
}

fn a_row_without_its_file() {
    let space = without_training();
    fs::remove_file(space.path("pictures/p03-1.png")).unwrap();
    fails(&space, "import", &["p03-1.png"], |space| space.write("pictures/p03-1.png", png(false, 7)));
}

fn a_file_that_is_no_image() {
    let space = without_training();
    space.write("pictures/p03-1.png", "no image");
    let mend = |space: &Space| {
        // Accepted by policy: then it is set aside, and the exit code says so.
        space.replace(PIPELINE, "\"pictures/manifest.csv\" }", "\"pictures/manifest.csv\" }\npolicy = { max_quarantine = 1 }");
        let output = space.run("run study.toml --json").exits(3);
        assert_eq!(output.summary()["quarantined"], 1, "{}", output.text());
        space.run("run study.toml --json").exits(3);
        space.write("pictures/p03-1.png", png(false, 7));
    };
    fails(&space, "import", &["1 item", "unreadable", "max_quarantine"], mend);
}

fn one_label_only() {
    let space = without_training();
    let manifest = space.read("pictures/manifest.csv");
    space.write("pictures/manifest.csv", manifest.replace(",well", ",ill"));
    fails(&space, "cohort", &["ill"], |space| space.write("pictures/manifest.csv", &manifest));
}

fn a_patient_with_both_labels() {
    let space = without_training();
    space.replace("pictures/manifest.csv", "p03-1.png,p03,PA,well", "p03-1.png,p03,PA,ill");
    let mend = |space: &Space| space.replace("pictures/manifest.csv", "p03-1.png,p03,PA,ill", "p03-1.png,p03,PA,well");
    fails(&space, "cohort", &["more than one label"], mend);
}

fn a_split_too_small_for_both_labels() {
    let space = without_training();
    let manifest = space.read("pictures/manifest.csv");
    let few: String =
        manifest.lines().filter(|line| !line.ends_with("ill") || line.starts_with("p00")).map(|line| format!("{line}\n")).collect();
    space.write("pictures/manifest.csv", few);
    fails(&space, "split", &["ill"], |space| space.write("pictures/manifest.csv", &manifest));
}

fn a_command_that_fails() {
    let space = numbers::space();
    space.replace("tools/scale.sh", "awk", "[ \"$1\" = 2 ] && { echo broken >&2; exit 7; }\nawk");
    let output = space.run("run numbers.toml --json").exits(1);
    assert_eq!(output.tasks("failed"), ["scale[by=2]"]);
    assert_eq!(output.tasks("skipped"), ["total"]);
    assert_eq!(output.tasks("ran"), ["gather", "scale[by=1]", "scale[by=3]"], "independent branches go on");
    space.run("run numbers.toml").exits(1).says(&["scale[by=2]", "7", "broken"]);
    assert!(!space.path("results/total.tsv").exists());
    space.replace("tools/scale.sh", "exit 7;", "true;");
    space.run("run numbers.toml").success();
}

fn a_command_that_writes_nothing() {
    let space = numbers::space();
    let code = space.read("tools/total.sh");
    space.write("tools/total.sh", "true\n");
    space.run("run numbers.toml").exits(1).says(&["total", "table"]);
    space.write("tools/total.sh", code);
    space.run("run numbers.toml").success();
}

fn a_program_that_is_not_there() {
    let space = numbers::space();
    space.replace("numbers.toml", "\"sh\", \"tools/total.sh\"", "\"no-such-program\", \"tools/total.sh\"");
    space.run("run numbers.toml").exits(1).says(&["total", "no-such-program"]);
}

fn a_source_that_changes_meanwhile() {
    let space = numbers::space();
    space.replace("tools/gather.sh", "echo gather", "[ -e edit ] && { rm edit; echo 5 > numbers/a.txt; }\necho gather");
    space.write("edit", "");
    space.run("run numbers.toml").exits(1).says(&["source `numbers`", "a.txt"]);
    space.run("run numbers.toml").success();
    assert_eq!(space.read("results/total.tsv"), "sum\n276\n");
}
