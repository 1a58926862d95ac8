//! The pipeline language as users meet it: every file in `tests/pipelines` and `pipelines` through `tomograph check`.
//!
//! `invalid/NAME.toml` has its expected messages in `NAME.stderr`; `SNAPSHOTS=overwrite` rewrites them, and the JSON schema.
//! `valid/KIND.toml` is the smallest example of that kind.

use crate::space::{Space, TOMOGRAPH};
use libtest_mimic::Trial;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use tomograph::stages::KINDS;

const INVALID: &str = "tests/pipelines/invalid";
const VALID: &str = "tests/pipelines/valid";
const SCHEMA: &str = "pipelines/pipeline.schema.json";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        there_are_enough_mistakes,
        every_problem_has_a_line_of_json,
        every_kind_has_an_example,
        examples_and_pipelines_have_no_problem,
        the_listing_shows_what_will_run,
        the_schema_is_up_to_date,
        the_schema_admits_what_the_language_admits,
    ];
    // One trial a file, so that one wrong message does not hide the others.
    for path in files(INVALID) {
        let name = format!("pipelines::invalid::{}", stem(&path));
        trials.push(Trial::test(crate::conformance::placed(&name), move || {
            says_what_is_expected(&path);
            Ok(())
        }));
    }
    trials
}

/// Pipelines in a folder of the repository, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
    paths.sort();
    paths
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// `tomograph check`, started in the folder of the file.
fn check(path: &Path, further: &[&str]) -> Output {
    let space = Space::new();
    let mut command = space.command(TOMOGRAPH);
    command.arg("check").arg(path.file_name().unwrap()).args(further).current_dir(path.parent().unwrap());
    command.output().unwrap()
}

fn overwrite() -> bool {
    std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite")
}

fn says_what_is_expected(path: &Path) {
    let output = check(path, &[]);
    let (found, beside) = (String::from_utf8(output.stderr).unwrap(), path.with_extension("stderr"));
    assert!(!found.contains("panicked"), "{found}");
    assert_eq!(output.status.code(), Some(2), "{found}");
    assert!(output.stdout.is_empty(), "a pipeline with errors is not described");
    if overwrite() {
        fs::write(&beside, &found).unwrap();
    }
    let expected = fs::read_to_string(&beside).unwrap_or_else(|error| panic!("{}: {error}", beside.display()));
    snapbox::assert_data_eq!(found, snapbox::Data::text(expected).raw());
}

fn there_are_enough_mistakes() {
    let names: BTreeSet<String> = files(INVALID).iter().map(|path| stem(path)).collect();
    assert!(names.len() >= 30, "{}", names.len());
    for entry in fs::read_dir(INVALID).unwrap() {
        let path = entry.unwrap().path();
        assert!(names.contains(&stem(&path)), "{} belongs to no pipeline", path.display());
    }
}

fn every_problem_has_a_line_of_json() {
    for path in files(INVALID) {
        let output = check(&path, &["--json"]);
        assert_eq!(output.status.code(), Some(2), "{}", path.display());
        assert!(output.stderr.is_empty(), "{}: nothing but JSON is wanted", path.display());
        let lines: Vec<serde_json::Value> =
            String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.iter().any(|line| line["severity"] == "error"), "{}", path.display());
        for line in &lines {
            // A mistake may be in the base, which is named from the root.
            let file = line["file"].as_str().unwrap();
            let own = Some(file) == path.file_name().and_then(|name| name.to_str());
            let text = fs::read_to_string(if own { &path } else { Path::new(file) }).unwrap_or_else(|error| panic!("{file}: {error}"));
            let at = line["line"].as_u64().unwrap() as usize;
            let width = text.lines().nth(at - 1).map_or(0, |line| line.chars().count());
            let column = line["column"].as_u64().unwrap() as usize;
            assert!(column >= 1 && column <= width + 1, "{}: {line}", path.display());
            assert!(!line["message"].as_str().unwrap().is_empty());
        }
    }
}

fn every_kind_has_an_example() {
    for kind in KINDS {
        let path = format!("{VALID}/{}.toml", kind.name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}; every kind has its smallest example there"));
        assert!(text.contains(&format!("\"{}\"", kind.name)), "{path} does not use {}", kind.name);
    }
}

fn examples_and_pipelines_have_no_problem() {
    for path in files(VALID).into_iter().chain(files("pipelines")) {
        let output = check(&path, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(0) && said.is_empty(), "{}: {said}", path.display());
    }
}

fn the_listing_shows_what_will_run() {
    let output = check(Path::new("tests/pipelines/valid/classifier.train.toml"), &["--print"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for wanted in [
        "task train[seed=2]",
        "  classifier.train",
        "  seed = 2",
        "  train <- pack[seed=2].train",
        "  -> model: model",
        "source raw",
        "  files: raw",
    ] {
        assert!(text.lines().any(|line| line == wanted), "{wanted:?} is not in\n{text}");
    }
}

fn the_schema_is_up_to_date() {
    let found = tomograph::pipeline::schema_text(KINDS);
    if overwrite() {
        fs::write(SCHEMA, &found).unwrap();
    }
    let there = fs::read_to_string(SCHEMA).unwrap();
    assert!(there == found, "{SCHEMA} is not what the Rust types say: SNAPSHOTS=overwrite cargo test --test it schema");
}

/// Keywords that came after draft 4 of JSON Schema, which editors for TOML know, and placeholders in typed params.
fn the_schema_admits_what_the_language_admits() {
    let schema: serde_json::Value = serde_json::from_str(&fs::read_to_string(SCHEMA).unwrap()).unwrap();
    walk(&schema, &mut |key, _| {
        let late = ["const", "$defs", "if", "examples", "prefixItems", "propertyNames", "exclusiveMinimum"];
        assert!(!late.contains(&key), "`{key}` is not in draft 4");
    });
    let mut kinds = BTreeSet::new();
    walk(&schema, &mut |key, value| {
        if let (true, Some(names)) = (key == "kind", value["enum"].as_array()) {
            kinds.extend(names.iter().filter_map(|name| name.as_str().map(str::to_owned)));
        }
    });
    let registered: BTreeSet<String> = KINDS.iter().map(|kind| kind.name.to_owned()).collect();
    assert_eq!(kinds, registered);
    let seed = &schema["definitions"]["classifier.train"]["properties"]["params"]["properties"]["seed"]["anyOf"];
    assert!(seed.as_array().unwrap().iter().any(|one| one["type"] == "string"), "{seed}");
}

fn walk<'a>(value: &'a serde_json::Value, visit: &mut dyn FnMut(&'a str, &'a serde_json::Value)) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                visit(key, value);
                walk(value, visit);
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| walk(value, visit)),
        _ => {}
    }
}
