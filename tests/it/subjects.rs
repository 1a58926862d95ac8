//! What holds a person's data: listed by `cache subject`, and known to the index by hashes alone.

use crate::space::Space;
use crate::study::{PIPELINE, without_training};
use libtest_mimic::Trial;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_subject_is_found_in_rows_and_in_what_was_made_of_them,
        an_index_made_anew_finds_the_same,
        the_index_knows_people_by_hashes_alone
    ]
}

/// The study, with a program whose results no table tells apart, and one that gives people other names.
fn space() -> Space {
    let space = without_training();
    let text = space.read(PIPELINE)
        + r#"
[stage.figure]
command = ["sh", "-c", "cat $0/index.tsv | wc -l > $1/lines", "{inputs.images}", "{outputs.made}"]
inputs  = { images = "prepare" }
outputs = { made = "files" }

[stage.renamed]
command = ["sh", "-c", "cut -f1,2 $0 | sed 's/p\\([0-9]*\\)$/q\\1/' > $1", "{inputs.cohort}", "{outputs.table}"]
inputs  = { cohort = "cohort" }
outputs = { table = "table" }

[stage.beside]
command = ["sh", "-c", "printf 'a\\n1\\n' > $0", "{outputs.table}"]
outputs = { table = "table" }
"#;
    space.write(PIPELINE, text);
    space.run("run study.toml").success();
    space
}

fn traces(space: &Space, subject: &str) -> Value {
    space.run(&format!("cache subject {subject} --json")).success().objects().remove(0)
}

/// Task and port → whether it only follows, and the number of blobs.
fn results(traces: &Value) -> BTreeMap<String, (bool, usize)> {
    let one = |trace: &Value| {
        let name = format!("{}.{}", trace["task"].as_str().unwrap(), trace["port"].as_str().unwrap());
        (name, (trace["follows"].as_bool().unwrap(), trace["blobs"].as_array().unwrap().len()))
    };
    traces["results"].as_array().unwrap().iter().map(one).collect()
}

fn a_subject_is_found_in_rows_and_in_what_was_made_of_them() {
    let space = space();
    let traces = traces(&space, "p07");
    let found = results(&traces);
    // Two pictures of 48, the index, and the manifest.
    assert_eq!((found["import.images"], found["prepare.images"]), ((false, 4), (false, 4)), "{found:?}");
    assert!(found["figure.made"].0, "no table tells who is in it\n{found:?}");
    assert!(!found["renamed.table"].0, "the item is the same under another name\n{found:?}");
    assert!(!found.contains_key("beside.table"), "{found:?}");
    for seed in [1, 2] {
        let sets = ["train", "validation", "test"].iter().filter(|set| found.contains_key(&format!("pack[seed={seed}].{set}"))).count();
        assert_eq!(sets, 1, "one set has the person\n{found:?}");
    }
    assert_eq!((traces["items"].as_u64(), traces["sources"].as_array().unwrap().len()), (Some(4), 2), "{traces}");
    space.run("cache subject p07").success().says(&["import.images", "made from it", "4 kept results of items"]);
    space.run("cache subject p99").success().says(&["no table of a result names this subject"]);
    assert_eq!(results(&self::traces(&space, "q07")).get("import.images"), Some(&(false, 4)), "also under the other name");
}

fn an_index_made_anew_finds_the_same() {
    let space = space();
    let before = traces(&space, "p03");
    space.run("cache reindex").success();
    assert_eq!(traces(&space, "p03"), before);
    fs::remove_dir_all(space.home().join(".cache")).unwrap();
    assert_eq!(traces(&space, "p03"), before);
    // A key that somebody took away: hashes of another are of no use, and forgotten.
    fs::remove_file(space.path("cache/secret")).unwrap();
    assert_eq!(traces(&space, "p03"), before);
}

fn the_index_knows_people_by_hashes_alone() {
    let space = space();
    traces(&space, "p03");
    let index = space.home().join(".cache/tomograph");
    let files: Vec<_> = fs::read_dir(index).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(files.iter().any(|bytes| bytes.windows(6).any(|part| part == b"people")), "it was written");
    for person in ["p03", "p03-1.png"] {
        assert!(!files.iter().any(|bytes| bytes.windows(person.len()).any(|part| part == person.as_bytes())), "{person}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(space.path("cache/secret")).unwrap().permissions().mode() & 0o777, 0o600);
}
