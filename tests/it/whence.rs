//! Where a published file, or a number in it, comes from.

use crate::numbers::{self, ran};
use crate::space::Space;
use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_number_is_followed_to_the_sources,
        an_exported_file_of_a_folder_is_known,
        the_command_it_names_makes_it_again,
        a_number_of_an_earlier_run_keeps_its_lineage,
        a_folder_is_told_of_as_a_whole,
        the_pipeline_is_named_from_where_one_stands,
        names_of_peoples_files_are_not_told,
        what_cannot_be_told_is_a_clear_error,
    ]
}

const TABLE: &str = "results/total.tsv";

fn published() -> Space {
    let space = numbers::space();
    let _ = space.run("run numbers.toml").success();
    space
}

fn a_number_is_followed_to_the_sources() {
    let space = published();
    space.run("whence results/total.tsv:1:sum").success().says(&[
        "sum in row 1 is 252",
        "results/total.tsv: total.table, released",
        "tables ← scale[by=2].table as [by=2], ",
        "table ← gather.table, ",
        "files ← source, ",
        "1 thread",
        "made again by\n  tomograph run numbers.toml --only total --again total",
    ]);
    let told = space.run("whence results/total.tsv:1:1 --json").success().objects().remove(0);
    assert_eq!((told["cell"]["column"].as_str(), told["cell"]["value"].as_str()), (Some("sum"), Some("252")));
    let tasks: Vec<&str> = told["tasks"].as_array().unwrap().iter().map(|task| task["task"].as_str().unwrap()).collect();
    assert_eq!(tasks, ["total", "scale[by=1]", "scale[by=2]", "scale[by=3]", "gather"]);
    let whole = |task: &serde_json::Value| {
        ["key", "kind", "params", "inputs", "build", "host", "device", "threads", "started"].iter().all(|field| !task[*field].is_null())
    };
    assert!(told["tasks"].as_array().unwrap().iter().all(whole), "{told}");
    assert_eq!(told["sources"].as_array().unwrap().len(), 1);
    assert!(space.run("whence results/total.tsv --json").success().objects()[0]["cell"].is_null());
    // It reads what was, not what the pipeline is now.
    space.write(numbers::PIPELINE, "not a pipeline");
    let _ = space.run("whence results/total.tsv").success();
}

fn an_exported_file_of_a_folder_is_known() {
    let space = published();
    let _ = space.run("export numbers.toml scale[by=2] out").success();
    let name = std::fs::read_dir(space.path("out")).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let told = space.run(&format!("whence out/{name} --json")).success().objects().remove(0);
    assert_eq!((told["tasks"][0]["task"].as_str(), told["tasks"].as_array().unwrap().len()), (Some("scale[by=2]"), 2));
    assert_eq!(told["again"], "tomograph run numbers.toml --only 'scale[by=2]' --again 'scale[by=2]'");
}

fn the_command_it_names_makes_it_again() {
    let space = numbers::space();
    let _ = space.run("run numbers.toml --axis by=10,20 --publish").success();
    assert_eq!(space.read(TABLE), "sum\n1260\n");
    let told = space.run("whence results/total.tsv --json").success().objects().remove(0);
    let again = told["again"].as_str().unwrap();
    assert_eq!(again, "tomograph run numbers.toml --only total --again total --axis by=10,20");
    assert_eq!(ran(&space).len(), 4);
    let _ = space.run(again.strip_prefix("tomograph ").unwrap()).success();
    assert_eq!(ran(&space), ["total"]);
}

fn a_number_of_an_earlier_run_keeps_its_lineage() {
    let space = published();
    let before = space.run("whence results/total.tsv --json").success().objects().remove(0);
    space.write("numbers/a.txt", "9\n");
    let _ = space.run("run numbers.toml --only total").success();
    assert_eq!(space.run("whence results/total.tsv --json").success().objects()[0], before);
}

fn a_folder_is_told_of_as_a_whole() {
    let space = published();
    let _ = space.run("export numbers.toml scale[by=2] kept/out").success();
    for folder in ["kept/out", "kept"] {
        let _ = space.run(&format!("whence {folder}")).success().says(&[&format!("{folder}: scale[by=2].table, released")]);
    }
    let _ = space.run("whence kept:1:sum").exits(2).says(&["kept is a folder: name a file in it"]);
    let _ = space.run("whence tools").exits(2).says(&["nothing in tools was published or exported"]);
    let name = std::fs::read_dir(space.path("kept/out")).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    space.write(format!("kept/out/{name}"), "edited\n");
    let _ = space.run("whence kept").exits(2).says(&[&format!("kept/out/{name} was edited after scale[by=2] left it")]);
}

fn the_pipeline_is_named_from_where_one_stands() {
    let space = published();
    let mut inside = space.command(crate::space::TOMOGRAPH);
    let told = space.finish(inside.current_dir(space.path("results")).args(["whence", "total.tsv"])).success();
    let _ = told.says(&["tomograph run ../numbers.toml --only total --again total"]);
}

fn names_of_peoples_files_are_not_told() {
    let space = published();
    let told = space.run("whence results/total.tsv").success();
    let json = space.run("whence results/total.tsv --json").success();
    for name in ["a.txt", "b.txt", "c.txt"] {
        assert!(!told.stdout.contains(name) && !json.stdout.contains(name), "{name} is told");
    }
}

fn what_cannot_be_told_is_a_clear_error() {
    let space = published();
    let fails = |line: &str, words: &[&str]| drop(space.run(line).exits(2).says(words));
    fails("whence results/total.tsv:2:sum", &["there is no row 2: below the header are rows 1 to 1"]);
    fails("whence results/total.tsv:0:sum", &["there is no row 0"]);
    fails("whence results/total.tsv:1:mean", &["there is no column mean: there are sum"]);
    fails("whence results/absent.tsv:1:sum", &["cannot read results/absent.tsv"]);
    fails("whence numbers.toml", &["numbers.toml was not published or exported by tomograph", "numbers.toml.tomograph.json"]);

    std::fs::rename(space.path("cache"), space.path("elsewhere")).unwrap();
    fails("whence results/total.tsv", &["results/total.tsv is not from here", "is not in the store"]);
    std::fs::remove_dir_all(space.path("cache")).unwrap();
    std::fs::rename(space.path("elsewhere"), space.path("cache")).unwrap();

    space.write(TABLE, "sum\n253\n");
    fails("whence results/total.tsv:1:sum", &["results/total.tsv was edited after total left it", "--overwrite"]);
}
