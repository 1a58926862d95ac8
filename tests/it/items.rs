//! The per-item cache of map kinds: what is added costs one item, what goes or gets another name costs none.

use crate::space::Space;
use crate::study;
use libtest_mimic::Trial;
use std::fs;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        an_added_file_costs_one_item,
        a_removed_file_costs_none,
        a_renamed_file_costs_none,
        equal_files_are_treated_once_a_run_later,
        other_columns_cost_none,
        a_bad_item_is_judged_once,
        a_param_reruns_every_item,
        stages_share_items,
        a_lost_file_is_made_again
    ]
}

const MANIFEST: &str = "pictures/manifest.csv";

/// The study's import and preparation, done once: 48 pictures.
fn space() -> Space {
    let space = study::without_training();
    assert_eq!(run(&space), (96, 0));
    assert_eq!(run(&space), (0, 96));
    space
}

/// Runs import and preparation: items that ran, items that were cached.
fn run(space: &Space) -> (u64, u64) {
    let summary = space.run("run study.toml --only prepare --json").success().summary();
    (summary["items_ran"].as_u64().unwrap(), summary["items_cached"].as_u64().unwrap())
}

fn index(space: &Space) -> String {
    let path = space.run("show study.toml prepare --path").success().text();
    let line = path.lines().find(|line| line.ends_with("\tindex.tsv")).unwrap();
    fs::read_to_string(line.split('\t').next().unwrap()).unwrap()
}

fn an_added_file_costs_one_item() {
    let space = space();
    space.write("pictures/new.png", study::png(true, 1000));
    space.write(MANIFEST, space.read(MANIFEST) + "new.png,p99,PA,ill\n");
    assert_eq!(run(&space), (2, 96));
    assert!(index(&space).contains("new.png\t"));
}

fn a_removed_file_costs_none() {
    let space = space();
    fs::remove_file(space.path("pictures/p00-0.png")).unwrap();
    space.replace(MANIFEST, "p00-0.png,p00,PA,ill\n", "");
    assert_eq!(run(&space), (0, 94));
    assert!(!index(&space).contains("p00-0"));
}

fn a_renamed_file_costs_none() {
    let space = space();
    fs::rename(space.path("pictures/p00-0.png"), space.path("pictures/other.png")).unwrap();
    space.replace(MANIFEST, "p00-0.png,", "other.png,");
    assert_eq!(run(&space), (0, 96));
    let index = index(&space);
    assert!(index.contains("other.png\tother.png\t") && !index.contains("p00-0"), "{index}");
}

fn equal_files_are_treated_once_a_run_later() {
    let space = space();
    fs::copy(space.path("pictures/p00-0.png"), space.path("pictures/copy.png")).unwrap();
    space.write(MANIFEST, space.read(MANIFEST) + "copy.png,p99,PA,ill\n");
    assert_eq!(run(&space), (0, 98));
    assert!(index(&space).contains("copy.png\tcopy.png\t"));
}

fn other_columns_cost_none() {
    let space = space();
    space.replace(MANIFEST, "p00-0.png,p00,PA,ill", "p00-0.png,p00,AP,ill");
    assert_eq!(run(&space), (0, 96));
    let index = index(&space);
    let row = index.lines().find(|line| line.starts_with("p00-0.png\t")).unwrap();
    assert!(row.split('\t').any(|value| value == "AP"), "{index}");
}

fn a_bad_item_is_judged_once() {
    let space = space();
    space.write("pictures/bad.png", "no picture");
    space.write(MANIFEST, space.read(MANIFEST) + "bad.png,p99,PA,ill\n");
    space.replace(
        study::PIPELINE,
        "table = \"pictures/manifest.csv\" }",
        "table = \"pictures/manifest.csv\" }\npolicy = { max_quarantine = 2 }",
    );
    let first = space.run("run study.toml --only prepare --json").exits(3).summary();
    assert_eq!((first["items_ran"].as_u64(), first["quarantined"].as_u64()), (Some(1), Some(1)));
    space.write("pictures/new.png", study::png(true, 1000));
    space.write(MANIFEST, space.read(MANIFEST) + "new.png,p99,PA,ill\n");
    let second = space.run("run study.toml --only prepare --json").exits(3).summary();
    assert_eq!((second["items_ran"].as_u64(), second["quarantined"].as_u64()), (Some(2), Some(1)));
}

fn a_param_reruns_every_item() {
    let space = space();
    space.replace(study::PIPELINE, "size = 32", "size = 16");
    assert_eq!(run(&space), (48, 48));
    space.replace(study::PIPELINE, "size = 16", "size = 32");
    assert_eq!(run(&space), (0, 96));
}

fn stages_share_items() {
    let space = space();
    let again = "\n[stage.again]\nkind = \"images.prepare\"\ninputs = { images = \"other\" }\nparams = { size = 32 }\n\n\
                 [stage.other]\nkind = \"images.import\"\ninputs = { files = \"pictures\", table = \"half\" }\n\n\
                 [source.half]\npath = \"half.csv\"\nphi = false\n";
    space.write(study::PIPELINE, space.read(study::PIPELINE) + again);
    space.write("half.csv", "file,subject\np00-0.png,a\np00-1.png,a\np01-0.png,b\n");
    let summary = space.run("run study.toml --only again --json").success().summary();
    assert_eq!((summary["ran"].as_u64(), summary["items_ran"].as_u64(), summary["items_cached"].as_u64()), (Some(2), Some(0), Some(6)));
}

fn a_lost_file_is_made_again() {
    let space = study::without_training();
    // Pictures too large for a pack.
    space.replace(study::PIPELINE, "size = 32", "size = 96");
    assert_eq!(run(&space), (96, 0));
    let listed = space.run("show study.toml prepare --path").success().text();
    let picture = listed.lines().find(|line| line.ends_with(".png")).unwrap().split('\t').next().unwrap();
    assert!(picture.contains("/blobs/"), "{picture}");
    let bytes = fs::read(picture).unwrap();
    fs::remove_file(picture).unwrap();
    space.write("pictures/new.png", study::png(true, 1000));
    space.write(MANIFEST, space.read(MANIFEST) + "new.png,p99,PA,ill\n");
    assert_eq!(run(&space), (3, 95));
    assert_eq!(fs::read(picture).unwrap(), bytes);
}
