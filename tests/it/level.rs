//! Levels: what may leave the store, what lies beside it, and what it is where it comes back.

use crate::numbers::{self, ran};
use crate::space::Space;
use libtest_mimic::Trial;
use std::time::Duration;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        what_is_identified_is_refused_before_anything_runs,
        what_comes_back_keeps_its_level,
        an_edited_file_is_not_what_lies_beside_it_tells_of,
        what_is_renamed_with_what_lies_beside_it_keeps_its_level,
        what_lies_beside_and_is_none_is_named,
        a_folder_and_a_part_of_it_come_back,
        what_is_pseudonymous_stays_inside_the_project,
        a_source_that_turns_out_to_hold_people_closes_its_old_results,
        a_file_added_while_a_task_runs_is_named,
    ]
}

/// Takes `results/total.tsv` as a source that could hold people's data, and publishes what it makes of it.
const BACK: &str = r#"[pipeline]
name = "back"

[source.total]
path = "results/total.tsv"
phi  = true

[stage.copy]
command = ["sh", "-c", "cat $0 > $1", "{inputs.total}", "{outputs.table}"]
inputs  = { total = "total" }
outputs = { table = "table" }
publish = { table = "results/copy.tsv" }
"#;

const BESIDE: &str = "results/total.tsv.tomograph.json";

fn published() -> Space {
    let space = numbers::space();
    space.write("back.toml", BACK);
    space.run("run numbers.toml").success();
    space
}

/// Says that what was published is pseudonymous, as it is once an audit can prove it.
fn pseudonymous() -> Space {
    let space = published();
    space.replace(BESIDE, "\"released\"", "\"pseudonymous\"");
    space
}

fn what_is_identified_is_refused_before_anything_runs() {
    let space = numbers::space();
    space.replace("numbers.toml", "phi  = false", "phi  = true");
    for line in ["plan numbers.toml", "run numbers.toml", "run numbers.toml --only total --publish"] {
        let remedy = "`dicom.audit` or `review.release`";
        space.run(line).exits(2).says(&["total publishes `results/total.tsv`", "identified data", "never leaves the store", remedy]);
    }
    assert!(ran(&space).is_empty(), "nothing ran");
    // A run that publishes nothing may make it.
    space.run("run numbers.toml --only total").success();
    space.run("export numbers.toml total out").exits(1).says(&["identified data, which never leaves the store"]);
    assert!(!space.path("out").exists() && !space.path("results").exists());
}

fn what_comes_back_keeps_its_level() {
    let space = published();
    let output = space.run("run back.toml --json").success();
    assert_eq!(output.tasks("ran"), ["copy"]);
    assert_eq!(space.read("results/copy.tsv"), "sum\n252\n");
    let key = space.run("show numbers.toml total --json").success().objects()[0]["key"].clone();
    let shown = space.run("show back.toml copy --json").success().objects();
    assert_eq!((&shown[0]["level"], &shown[0]["sources"]["total"][0]), (&"released".into(), &key), "level and lineage come along");
    // What lies beside speaks of the file, and is no part of it: a folder of both is the same thing.
    space.replace("back.toml", "results/total.tsv", "results/total*");
    assert_eq!(space.run("run back.toml --json").success().tasks("cached"), ["copy"]);
    std::fs::remove_file(space.path(BESIDE)).unwrap();
    space.run("plan back.toml").exits(2).says(&["copy publishes `results/copy.tsv`", "identified data"]);
}

fn an_edited_file_is_not_what_lies_beside_it_tells_of() {
    let space = published();
    space.write("results/total.tsv", "sum\n253\n");
    for line in ["plan back.toml", "run back.toml"] {
        let output = space.run(line).exits(2).says(&["source `total`", "is not what the .tomograph.json beside it tells of", "remove"]);
        assert!(!output.text().contains("file total.tsv"), "its name may be a patient's\n{}", output.text());
    }
    std::fs::remove_file(space.path(BESIDE)).unwrap();
    space.replace("back.toml", "phi  = true", "phi  = false");
    space.run("run back.toml").success();
    assert_eq!(space.read("results/copy.tsv"), "sum\n253\n");
}

fn what_is_renamed_with_what_lies_beside_it_keeps_its_level() {
    let space = pseudonymous();
    let rename = |from: &str, to: &str| {
        for end in ["", ".tomograph.json"] {
            std::fs::rename(space.path(format!("{from}{end}")), space.path(format!("{to}{end}"))).unwrap();
        }
    };
    rename("results/total.tsv", "results/sum.tsv");
    space.write("back.toml", BACK.replace("total.tsv", "sum.tsv").replace("phi  = true", "phi  = false"));
    space.run("run back.toml").success();
    assert!(space.read("results/copy.tsv.tomograph.json").contains("\"level\": \"pseudonymous\""));
    let outside = space.home().join("out");
    space.run_args(&["export", "back.toml", "copy", outside.to_str().unwrap()]).exits(1).says(&["stays inside the project"]);
    space.run("whence results/sum.tsv").success().says(&["results/sum.tsv: total.table, pseudonymous"]);
    space.write("results/sum.tsv", "sum\n253\n");
    space.run("plan back.toml").exits(2).says(&["is not what the .tomograph.json beside it tells of"]);
    space.run("whence results/sum.tsv").exits(2).says(&["results/sum.tsv was edited after total left it"]);
    space.write("results/sum.tsv.tomograph.json", "{}");
    space.run("whence results/sum.tsv").exits(2).says(&["results/sum.tsv.tomograph.json is not as this program writes them"]);
    // A folder likewise, and what is in it.
    space.run("export numbers.toml scale[by=2] kept/two").success();
    rename("kept/two", "kept/deux");
    for path in ["kept/deux", "kept/deux/table.tsv", "kept", "kept/*/*.tsv"] {
        space.write("back.toml", BACK.replace("results/total.tsv", path));
        space.run("plan back.toml").success();
    }
}

fn what_lies_beside_and_is_none_is_named() {
    let space = published();
    space.write(BESIDE, "{}");
    space.run("plan back.toml").exits(2).says(&["source `total`", "a .tomograph.json beside or in it is not as this program writes them"]);
    space.replace("back.toml", "phi  = true", "phi  = false");
    space.run("plan back.toml").exits(2).says(&[BESIDE]);
}

fn a_folder_and_a_part_of_it_come_back() {
    let space = published();
    space.run("export numbers.toml scale[by=2] kept/two").success();
    let publishing = |path: &str, code: i32| {
        space.write("back.toml", BACK.replace("results/total.tsv", path));
        let output = space.run("plan back.toml").exits(code);
        assert_eq!(output.stderr.contains("identified data"), code == 2, "{}", output.text());
    };
    // The folder, a file in it, both folders, and a glob.
    ["kept/two", "kept/two/table.tsv", "kept", "kept/*/*.tsv"].into_iter().for_each(|path| publishing(path, 0));
    // A file of somebody else in it is what `phi` says.
    space.write("kept/two/mine.tsv", "x\n");
    ["kept/two", "kept", "kept/*/*.tsv"].into_iter().for_each(|path| publishing(path, 2));
    publishing("kept/two/table.tsv", 0);
    publishing("kept/two/mine.tsv", 2);
}

fn what_is_pseudonymous_stays_inside_the_project() {
    let space = pseudonymous();
    space.replace("back.toml", "phi  = true", "phi  = false");
    space.run("run back.toml").success();
    assert!(space.read("results/copy.tsv.tomograph.json").contains("\"level\": \"pseudonymous\""));
    space.run("show back.toml copy").success().says(&["pseudonymous", "252"]);
    let outside = space.home().join("out");
    let refused = space.run_args(&["export", "back.toml", "copy", outside.to_str().unwrap()]).exits(1);
    refused.says(&["holds pseudonymous data, which stays inside the project", "review.release"]);
    assert!(!outside.exists());
    // A link out of the project is outside.
    std::os::unix::fs::symlink(space.home(), space.path("link")).unwrap();
    space.run("export back.toml copy link/out").exits(1).says(&["stays inside the project"]);
    space.replace("back.toml", "results/copy.tsv", "link/copy.tsv");
    space.run("run back.toml").exits(1).says(&["stays inside the project"]);
    space.run("export back.toml copy inside/out").success();
    assert!(space.read("inside/out.tomograph.json").contains("\"level\": \"pseudonymous\""));
    let acts: Vec<_> = space.run("log back.toml --audit --json").success().objects();
    assert_eq!(acts.iter().map(|act| act["act"].as_str().unwrap()).collect::<Vec<_>>(), ["publish", "export"]);
}

fn a_source_that_turns_out_to_hold_people_closes_its_old_results() {
    let space = published();
    space.run("run numbers.toml --name first").success();
    space.replace("numbers.toml", "phi  = false", "phi  = true");
    space.run("export numbers.toml total out --run @first").exits(1).says(&["identified data"]);
    for line in ["show numbers.toml total", "show numbers.toml total --run @first"] {
        let shown = space.run(line).success().says(&["people's data"]);
        assert!(!shown.stdout.contains("252"), "{}", shown.text());
    }
}

fn a_file_added_while_a_task_runs_is_named() {
    let space = numbers::space();
    space.write("tools/gather.sh", "test -e numbers/d.txt || echo 4 > numbers/d.txt\n".to_owned() + &space.read("tools/gather.sh"));
    let added = "source `numbers`: d.txt was added while the task ran, so its result was not stored; run again";
    space.run("run numbers.toml").exits(1).says(&[added]);
    space.run("run numbers.toml").success();
    assert_eq!(space.read("results/total.tsv"), "sum\n276\n");
    // The folder's own time stamp tells the same once it is old enough, and that nothing came.
    space.replace("tools/gather.sh", "d.txt || echo 4 > numbers/d.txt", "e.txt || echo 5 > numbers/e.txt");
    std::thread::sleep(Duration::from_millis(3100));
    space.run("run numbers.toml").exits(1).says(&[&added.replace("d.txt", "e.txt")]);
    std::thread::sleep(Duration::from_millis(3100));
    space.run("run numbers.toml").success();
}
