//! What must hold of the source text itself: module docs, file length, the direction of imports, and that `ARCHITECTURE.md`
//! and `tests/it/main.rs` name what is there.
//!
//! Reads text, not syntax: comments and strings are blanked first, which is enough for the rules here.

use libtest_mimic::Trial;
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        every_file_says_what_it_is_for,
        files_are_short,
        imports_go_down,
        the_import_rule_sees_every_form_of_import,
        architecture_names_what_is_there,
        dependencies_have_reasons,
        no_registry_is_named,
        no_test_file_is_forgotten
    ]
}

/// Lines a file may have.
const LINES: usize = 400;

/// Files that may be longer, with the reason.
const LONG: &[(&str, &str)] = &[];

/// Modules that know nothing of ours.
const BOTTOM: &[&str] = &["content", "crash", "few", "law", "mapped", "npy", "panics", "table"];

/// Folders of domain code: nothing of ours but the bottom.
const DOMAINS: &[&str] = &["arrays", "cohort", "deid", "dicom", "image", "mids", "phantom", "report", "stats"];

/// What else of ours a top-level module may import, beside itself and the bottom. A module that is not here is domain code.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("lib", &[]),
    ("cli", &["stages", "run", "plan", "pipeline", "stage", "store", "report"]),
    ("run", &["plan", "pipeline", "stage", "store"]),
    ("plan", &["pipeline", "stage", "store"]),
    ("pipeline", &["stage"]),
    ("stages", &["stage", "arrays", "cohort", "deid", "dicom", "image", "mids", "phantom", "report", "stats"]),
    ("stage", &[]),
    ("store", &[]),
    ("mapped", &["content"]),
    ("table", &["content"]),
    // The second program: the declarations of its kinds, the work order, and arithmetic it shares.
    ("torch", &["stages", "stage", "run::order", "arrays", "cohort", "image", "report", "stats"]),
];

fn every_file_says_what_it_is_for() {
    let silent: Vec<String> = rust_files("src")
        .into_iter()
        .chain(rust_files("tests/it"))
        .filter(|path| !read(path).starts_with("//! "))
        .map(|path| format!("{path}:1: a file starts with a line of `//!` that says what it does"))
        .collect();
    report(&silent);
}

fn files_are_short() {
    let mut wrong = Vec::new();
    for path in rust_files("src") {
        let lines = read(&path).lines().count();
        let listed = LONG.iter().any(|(long, _)| *long == path);
        if lines > LINES && !listed {
            wrong.push(format!("{path}:{LINES}: {lines} lines; split it, or list it in tests/it/tidy.rs with the reason"));
        }
        if lines <= LINES && listed {
            wrong.push(format!("{path}:{lines}: no longer long; take it off the list in tests/it/tidy.rs"));
        }
    }
    for (path, reason) in LONG {
        if !root().join(path).is_file() || reason.is_empty() {
            wrong.push(format!("{path}: listed in tests/it/tidy.rs, but is not there or has no reason"));
        }
    }
    report(&wrong);
}

fn imports_go_down() {
    let mut wrong = Vec::new();
    for path in rust_files("src") {
        let module = path.trim_start_matches("src/").split(['/', '.']).next().unwrap().to_owned();
        for (line, import) in imports(&path, &read(&path)) {
            if !allowed(&module, &import) {
                wrong.push(format!("{path}:{line}: `{module}` may not import `{}`: imports go down only", import.join("::")));
            }
        }
    }
    report(&wrong);
}

fn the_import_rule_sees_every_form_of_import() {
    let text = "use crate::run;\nuse crate::{\n    content::{Digest, Tree},\n    cli::Args,\n};\n// use crate::torch;\nfn f() {\n    crate::plan::go(\"crate::dicom\");\n}\nuse super::super::store::Store;\n#[cfg(test)]\nmod tests {\n    use super::*;\n    use super::super::super::image;\n}\n";
    let seen: Vec<(usize, String)> = imports("src/run/order.rs", text).into_iter().map(|(line, path)| (line, path.join("::"))).collect();
    let expected = [(1, "run"), (3, "content"), (4, "cli::Args"), (8, "plan::go"), (10, "store::Store"), (13, "run::order"), (14, "image")];
    assert_eq!(seen, expected.map(|(line, path)| (line, path.to_owned())));
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    assert!(
        allowed("run", &path("plan::Plan")) && allowed("dicom", &path("content::Tree")) && allowed("torch", &path("run::order::Reply"))
    );
    assert!(!allowed("dicom", &path("stage::Item")) && !allowed("store", &path("plan::Plan")) && !allowed("torch", &path("run::Loop")));
}

fn architecture_names_what_is_there() {
    let text = read("ARCHITECTURE.md");
    let mut wrong = Vec::new();
    let paths = Regex::new(r"\b(src|tests|scripts|pipelines)/[A-Za-z0-9_./-]*[A-Za-z0-9_/]").unwrap();
    for (number, line) in text.lines().enumerate() {
        for path in paths.find_iter(line).map(|one| one.as_str()) {
            if !root().join(path).exists() {
                wrong.push(format!("ARCHITECTURE.md:{}: there is no {path}", number + 1));
            }
        }
    }
    let modules: BTreeSet<String> = rust_files("src").iter().map(|path| path.split('/').nth(1).unwrap().to_owned()).collect();
    for module in modules {
        let name = if module.ends_with(".rs") { format!("`src/{module}`") } else { format!("`src/{module}/`") };
        if !text.contains(&name) {
            wrong.push(format!("ARCHITECTURE.md: {name} is not named"));
        }
    }
    report(&wrong);
}

fn dependencies_have_reasons() {
    let text = read("ARCHITECTURE.md");
    let cargo: toml::Table = read("Cargo.toml").parse().unwrap();
    let mut wrong = Vec::new();
    for section in ["dependencies", "dev-dependencies"] {
        for name in cargo[section].as_table().unwrap().keys() {
            let start = format!("| `{name}` | ");
            if !text.lines().any(|line| line.strip_prefix(&start).is_some_and(|reason| reason.len() > 10)) {
                wrong.push(format!("ARCHITECTURE.md: no line `{start}reason |` for a direct dependency"));
            }
        }
    }
    report(&wrong);
}

fn no_registry_is_named() {
    let hosts = [["crates", ".io"], ["pypi", ".org"], ["pythonhosted", ".org"], ["download.pytorch", ".org"], ["npmjs", ".com"]]
        .map(|one| one.concat());
    let mut wrong = Vec::new();
    for path in files(&root()) {
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        for (number, line) in text.lines().enumerate().filter(|_| path != "Cargo.lock") {
            for host in hosts.iter().filter(|host| line.contains(host.as_str())) {
                wrong.push(format!("{path}:{}: names {host}: leave it to the package manager's own settings", number + 1));
            }
        }
    }
    report(&wrong);
}

fn no_test_file_is_forgotten() {
    let main = read("tests/it/main.rs");
    let mut wrong = Vec::new();
    for path in rust_files("tests/it") {
        let Some(name) = path.strip_prefix("tests/it/").and_then(|name| name.strip_suffix(".rs")) else { continue };
        if name != "main" && read(&path).contains("fn trials()") && !main.contains(&format!("{name}::trials()")) {
            wrong.push(format!("{path}: tests/it/main.rs does not run its tests"));
        }
    }
    report(&wrong);
}

fn report(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rust_files(folder: &str) -> Vec<String> {
    files(&root().join(folder)).into_iter().filter(|path| path.ends_with(".rs")).collect()
}

/// Files below a folder, relative to the root, sorted; leaves out what is built, cached or git's.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        match path.is_dir() {
            true if !["target", "cache", "results", ".git", ".venv"].contains(&name.as_str()) => found.extend(files(&path)),
            true => {}
            false => found.push(name),
        }
    }
    found.sort();
    found
}

fn allowed(module: &str, import: &[String]) -> bool {
    let to = import[0].as_str();
    if to == module || BOTTOM.contains(&to) && !BOTTOM.contains(&module) {
        return true;
    }
    let may = MAY_IMPORT.iter().find(|(name, _)| *name == module).map(|(_, may)| *may);
    assert!(may.is_some() || DOMAINS.contains(&module) || BOTTOM.contains(&module), "tests/it/tidy.rs does not know the module `{module}`");
    may.unwrap_or_default().iter().any(|may| match may.split_once("::") {
        Some((outer, inner)) => to == outer && import.get(1).is_some_and(|name| name == inner),
        None => to == *may,
    })
}

/// What a file imports of ours: line, and path from the root of the library (its first two names at most).
fn imports(path: &str, text: &str) -> Vec<(usize, Vec<String>)> {
    let text = blank(text);
    let mut own: Vec<String> = path.trim_start_matches("src/").trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    own.retain(|name| name != "mod");
    let starts = Regex::new(r"(?<from>\bcrate|\btomograph|\bsuper(::super)*)::").unwrap();
    let names = Regex::new(r"^(?<first>[a-z_][a-z0-9_]*)(::(?<second>\w+))?").unwrap();
    let tests = text.find("#[cfg(test)]").unwrap_or(text.len());
    let mut found = Vec::new();
    for start in starts.captures_iter(&text) {
        let (at, from) = (start.get(0).unwrap(), &start["from"]);
        let base: &[String] = match from.matches("super").count() {
            0 if own[0] == "torch" && from == "crate" => &own[..1],
            0 => &[],
            ups => {
                let depth = own.len() + usize::from(at.start() > tests);
                &own[..depth.saturating_sub(ups).min(own.len())]
            }
        };
        for (place, name) in branches(&text, at.end()) {
            let line = text[..place].matches('\n').count() + 1;
            let mut import = base.to_vec();
            if let Some(names) = names.captures(name) {
                import.push(names["first"].to_owned());
                import.extend(names.name("second").map(|second| second.as_str().to_owned()));
            }
            import.truncate(2);
            if !import.is_empty() {
                found.push((line, import));
            }
        }
    }
    found
}

/// The paths that follow `crate::`: one, or those of a group in braces, with their places.
fn branches(text: &str, at: usize) -> Vec<(usize, &str)> {
    if !text[at..].starts_with('{') {
        return vec![(at, &text[at..])];
    }
    let (mut depth, mut found, mut fresh) = (0, Vec::new(), true);
    for (offset, character) in text[at..].char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            _ if fresh && depth == 1 && !character.is_whitespace() => {
                found.push((at + offset, &text[at + offset..]));
                fresh = false;
            }
            _ => {}
        }
    }
    found
}

/// The text with comments and strings replaced by blanks; lines stay where they are.
fn blank(text: &str) -> String {
    let pattern = Regex::new(r##"//[^\n]*|r#"[\s\S]*?"#|"(\\[\s\S]|[^"\\])*"|'(\\.|[^'\\])'"##).unwrap();
    pattern
        .replace_all(text, |found: &regex::Captures| found[0].chars().map(|one| if one == '\n' { '\n' } else { ' ' }).collect::<String>())
        .into_owned()
}
