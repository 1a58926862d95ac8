//! Paths of a pipeline that cannot be right where the project lies: globs that are none, and what reads the store or writes into it.

use crate::pipeline::{Code, Diagnostic, Pipeline};
use crate::store::sources::{OPTIONS, check_glob};
use glob::Pattern;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

const BESIDE: &str = "name a folder beside it, or say another place for the store in tomograph.local.toml: `store = \"…\"`";

/// Endings of files that a store holds while tasks run.
const IN_A_STORE: [&str; 10] = ["", ".csv", ".json", ".jsonl", ".lock", ".log", ".npy", ".png", ".tsv", ".txt"];

/// All that is wrong with the paths of a pipeline in `root`.
pub(super) fn wrong(pipeline: &Pipeline, root: &Path, store: &Path) -> Vec<Diagnostic> {
    let store = real(store);
    let mut problems = globs(pipeline, root);
    problems.extend(sources_in_the_store(pipeline, root, &store));
    problems.extend(code_in_the_store(pipeline, root, &store));
    problems.extend(published_into_the_store(pipeline, root, &store));
    problems.extend(published_code(pipeline));
    problems
}

/// Globs that are none.
fn globs(pipeline: &Pipeline, root: &Path) -> Vec<Diagnostic> {
    let sources = pipeline.sources.iter().filter(|source| source.taken.is_none()).map(|source| (&source.path, &source.span));
    let code = pipeline.code.iter().map(|code| (&code.glob, &code.span));
    let mut seen = HashSet::new();
    let mut problems = Vec::new();
    for (glob, span) in sources.chain(code) {
        if let Err(error) = check_glob(root, glob)
            && seen.insert(span.start)
        {
            let wrong = Diagnostic::error(span.clone(), format!("`{glob}` names no files: {error:#}"));
            problems.push(
                wrong.help("`*`, `?` and `[0-9]` stand for characters of a name, and `**` for any folders; a bracket is written `[[]`"),
            );
        }
    }
    problems
}

/// Each glob of the code once, with the first stage that names it.
fn globs_of_code(pipeline: &Pipeline) -> impl Iterator<Item = &Code> {
    let mut seen = HashSet::new();
    pipeline.code.iter().filter(move |code| seen.insert(code.glob.as_str()))
}

/// Code that holds the store would change while the task runs.
fn code_in_the_store(pipeline: &Pipeline, root: &Path, store: &Path) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for code in globs_of_code(pipeline) {
        let (fixed, is_glob) = fixed(root, &code.glob);
        let wrong = |message: &str| {
            let message = format!("the code of stage `{}`, `{}`, {message} {}", code.stage, code.glob, store.display());
            Diagnostic::error(code.span.clone(), message)
        };
        if fixed.starts_with(store) {
            problems.push(wrong("points into the store").help("code is what people write, and lies in the project"));
        } else if store.starts_with(&fixed) && (!is_glob || matches_in(root, &code.glob, store)) {
            problems.push(wrong("holds the store").help(BESIDE));
        }
    }
    problems
}

/// Whether a glob takes files such as a store has: `**/*.py` takes none.
fn matches_in(root: &Path, glob: &str, store: &Path) -> bool {
    let root = Pattern::escape(&real(root).to_string_lossy());
    let inside: Vec<&str> = glob.split('/').filter(|part| *part != ".").collect();
    let Ok(pattern) = Pattern::new(&Path::new(&root).join(inside.join("/")).to_string_lossy()) else { return false };
    let below = ["x/x", "x/x/x"].iter().flat_map(|name| IN_A_STORE.map(|ending| format!("{name}{ending}")));
    below.chain(["VERSION", "claims", "audit.jsonl"].map(str::to_owned)).any(|name| pattern.matches_path_with(&store.join(name), OPTIONS))
}

/// What is published into the store would be damage to it.
fn published_into_the_store(pipeline: &Pipeline, root: &Path, store: &Path) -> Vec<Diagnostic> {
    let mut problems: Vec<Diagnostic> = Vec::new();
    let mut folders: HashMap<&str, PathBuf> = HashMap::new();
    for published in &pipeline.published {
        let (folder, name) = published.path.rsplit_once('/').unwrap_or(("", &published.path));
        let place = folders.entry(folder).or_insert_with(|| real(&root.join(folder))).join(name);
        if place.starts_with(store) && !problems.iter().any(|one| one.span.as_ref() == Some(&published.span)) {
            let message = format!("{} publishes `{}`, which is inside the store {}", published.task, published.path, store.display());
            problems.push(Diagnostic::error(published.span.clone(), message).help("publish it elsewhere, such as under `results/`"));
        }
    }
    problems
}

/// Code that a run publishes would be another after every run.
fn published_code(pipeline: &Pipeline) -> Vec<Diagnostic> {
    let published: Vec<_> = pipeline.published.iter().map(|one| (one, format!("{}.tomograph.json", one.path))).collect();
    let mut problems = Vec::new();
    for code in globs_of_code(pipeline) {
        let named = Named::by(&code.glob);
        let clash = published.iter().find_map(|(published, beside)| {
            let (path, task) = (&published.path, &published.task);
            let what = if named.has(path) {
                format!("{task} publishes `{path}`")
            } else if named.has(beside) {
                format!("`{beside}` lies beside what {task} publishes")
            } else {
                return None;
            };
            Some((what, published.span.clone()))
        });
        if let Some((what, span)) = clash {
            let message = format!("stage `{}` names `{}` as its code, and {what}", code.stage, code.glob);
            let help = "every run would change the code: name fewer files, or publish elsewhere";
            problems.push(Diagnostic::error(code.span.clone(), message).also(span, "published here").help(help));
        }
    }
    problems
}

/// What a glob names: a path and all below it, or what a pattern matches.
enum Named {
    Below(Vec<String>),
    Matching(Pattern, Vec<String>),
    /// Nothing inside the project, or no glob, which is said elsewhere.
    Nothing,
}

impl Named {
    fn by(glob: &str) -> Self {
        let is_wild = |part: &String| part.contains(['*', '?', '[']);
        let parts: Vec<String> = glob.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect();
        let fixed: Vec<String> = parts.iter().take_while(|part| !is_wild(part)).cloned().collect();
        match Pattern::new(&parts.join("/")) {
            _ if glob.starts_with('/') => Self::Nothing,
            _ if fixed.len() == parts.len() => Self::Below(parts),
            Ok(pattern) => Self::Matching(pattern, fixed),
            Err(_) => Self::Nothing,
        }
    }

    /// Whether a published file is among them, or some of them are in a published folder.
    fn has(&self, published: &str) -> bool {
        let path: Vec<&str> = published.split('/').collect();
        let inside = |parts: &[String]| parts.len() >= path.len() && parts.iter().zip(&path).all(|(one, other)| one == other);
        match self {
            Self::Below(parts) => inside(parts) || parts.iter().zip(&path).all(|(one, other)| one == other),
            Self::Matching(pattern, fixed) => inside(fixed) || pattern.matches_with(published, OPTIONS),
            Self::Nothing => false,
        }
    }
}

/// The folder that a path begins at, with its links followed: the path itself unless it is a glob; and whether it is one.
fn fixed(root: &Path, path: &str) -> (PathBuf, bool) {
    let wild = |part: &Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let place = root.join(path);
    let is_glob = Path::new(path).components().any(|part| wild(&part)) && !place.exists();
    let fixed = if is_glob { root.join(Path::new(path).components().take_while(|part| !wild(part)).collect::<PathBuf>()) } else { place };
    (real(&fixed), is_glob)
}

/// A source that points into the store would read what tomograph itself wrote; one that holds the store would change with every run.
fn sources_in_the_store(pipeline: &Pipeline, root: &Path, store: &Path) -> Vec<Diagnostic> {
    let mut problems: Vec<Diagnostic> = Vec::new();
    // Thousands of cells of a swept source lie in one folder, which is looked at with the first of them; what stands for it is the name
    // under which it holds the store. Of the others none is followed if it is a link: the walk refuses one that leads into a store.
    let mut folders: HashMap<(usize, &str), Option<OsString>> = HashMap::new();
    for source in pipeline.sources.iter().filter(|source| source.taken.is_none()) {
        let (folder, name) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
        let is_plain = !matches!(name, "" | "." | "..") && !name.contains(['*', '?', '[']);
        match folders.entry((source.span.start, folder)) {
            Entry::Occupied(known) if is_plain && known.get().as_deref() != Some(OsStr::new(name)) => continue,
            Entry::Occupied(_) => {}
            Entry::Vacant(new) => {
                let place = real(&root.join(folder));
                new.insert(store.strip_prefix(place).ok().and_then(|rest| Some(rest.components().next()?.as_os_str().to_owned())));
            }
        }
        let (fixed, is_glob) = fixed(root, &source.path);
        let wrong =
            |message: &str| Diagnostic::error(source.span.clone(), format!("source `{}` {message} {}", source.title(), store.display()));
        let help = "what a pipeline made is taken with `from` and `artifact`, or copied out by `tomograph export`";
        let problem = if fixed.starts_with(store) {
            wrong("points into the store").help(help)
        } else if store.starts_with(&fixed) && (!is_glob || source.path.contains("**")) {
            wrong("holds the store").help(BESIDE)
        } else {
            continue;
        };
        if !problems.iter().any(|one| one.span == problem.span) {
            problems.push(problem);
        }
    }
    problems
}

/// A path with its links followed as far as it exists.
fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| Some((above.canonicalize().ok()?, path.strip_prefix(above).ok()?)));
    found.map_or_else(|| path.to_owned(), |(above, rest)| if rest.as_os_str().is_empty() { above } else { above.join(rest) })
}
