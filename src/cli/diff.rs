//! `tomograph diff`: what differs between two runs: params, inputs and figures, task by task.

use super::exit::{Exit, print};
use super::grid::{count, grid};
use super::project::{Project, Selection};
use super::reveal::{self, Reveal};
use crate::content::{Digest, Level};
use crate::plan::reason::{Reason, difference, sum_up, tree_difference};
use crate::plan::stored_manifest;
use crate::stage::Kind;
use crate::store::{Record, Run, Store};
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// Say what differs between two runs: params, inputs and figures, task by task
///
/// For example, `tomograph diff pipelines/demo.toml @submission-1 @last` prints
///
///     changed
///       train[seed=1] and 1 more  params.learning_rate: 0.001 → 0.0005
///     figures
///       evaluate[seed=1]  auc  0.9667 → 0.9500  -0.0167
///     4 tasks follow from these, 9 are the same
///
/// A RUN is @NAME, @last, @prev, or the beginning of a line of `tomograph history`.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct DiffArgs {
    /// The pipeline: a TOML file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// The earlier run
    #[arg(value_name = "RUN", default_value = "@prev")]
    first: String,
    /// The later run
    #[arg(value_name = "RUN", default_value = "@last")]
    second: String,
    #[command(flatten)]
    reveal: Reveal,
    /// One JSON object a line and task that differs: task, change, reasons, figures
    #[arg(long)]
    json: bool,
}

/// What became of a task between two runs.
struct Change {
    task: String,
    what: What,
    reasons: Vec<String>,
    figures: Vec<Figure>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    /// Its own params, code or files are others.
    Changed,
    /// Only what it takes from other tasks is.
    Follows,
    OnlyFirst,
    OnlySecond,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Follows => "follows",
            Self::OnlyFirst => "only-first",
            Self::OnlySecond => "only-second",
        }
    }
}

/// A figure of `metrics.json` that differs; values of people's data are withheld.
struct Figure {
    name: String,
    values: Option<[Value; 2]>,
}

pub(super) fn diff(args: &DiffArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let project = Project::open(&Selection::plain(&args.pipeline), kinds)?;
    let (first, second) = (project.runs().find(&args.first)?, project.runs().find(&args.second)?);
    let reveals = args.reveal.is_allowed()?;
    let (changes, same) = compare(&project.store, &first, &second, reveals)?;
    for change in changes.iter().filter(|_| reveals) {
        let key = second.tasks.iter().find(|task| task.task == change.task).and_then(|task| task.key);
        let shown = object(change);
        reveal::tell(&project, &change.task, "differences", key, &shown)?;
    }
    print(&if args.json { changes.iter().map(object).collect() } else { told(&first, &second, &changes, same) })?;
    Ok(Exit::Done)
}

/// What differs, in the order of the second run; and how many tasks have equal keys.
fn compare(store: &Store, first: &Run, second: &Run, reveals: bool) -> Result<(Vec<Change>, usize)> {
    let keys = |run: &Run| -> BTreeMap<String, Option<Digest>> { run.tasks.iter().map(|task| (task.task.clone(), task.key)).collect() };
    let (before, after) = (keys(first), keys(second));
    let mut records: BTreeMap<Digest, Option<Arc<Record>>> = BTreeMap::new();
    let changed = before.iter().filter(|(task, key)| after.get(*task).is_some_and(|other| other != *key));
    let changed: BTreeSet<&String> = changed.map(|(task, _)| task).collect();
    for key in before.values().chain(after.values()).flatten() {
        if !records.contains_key(key) {
            records.insert(*key, store.records(key)?.into_iter().next());
        }
    }
    let outputs = |keys: &BTreeMap<String, Option<Digest>>| -> BTreeSet<Digest> {
        let records = keys.values().flatten().filter_map(|key| records[key].as_ref());
        records.flat_map(|record| record.outputs.values().map(|output| output.manifest)).collect()
    };
    let made = [outputs(&before), outputs(&after)];
    let mut changes = Vec::new();
    let only = |task: &String, what: What| Change { task: task.clone(), what, reasons: Vec::new(), figures: Vec::new() };
    changes.extend(before.keys().filter(|task| !after.contains_key(*task)).map(|task| only(task, What::OnlyFirst)));
    let mut seen = BTreeSet::new();
    for task in second.tasks.iter().map(|task| &task.task).filter(|task| seen.insert(*task)) {
        if !before.contains_key(task) {
            changes.push(only(task, What::OnlySecond));
        } else if changed.contains(task) {
            changes.push(match (before[task], after[task]) {
                (Some(old), Some(new)) => change(store, task, [old, new], [&records[&old], &records[&new]], &made, reveals)?,
                (old, _) => {
                    let reason = format!("it did not end in the {} run", if old.is_none() { "first" } else { "second" });
                    Change { reasons: vec![reason], ..only(task, What::Follows) }
                }
            });
        }
    }
    Ok((changes, before.iter().filter(|(task, key)| after.get(*task) == Some(key)).count()))
}

fn change(
    store: &Store,
    task: &str,
    keys: [Digest; 2],
    records: [&Option<Arc<Record>>; 2],
    made: &[BTreeSet<Digest>; 2],
    reveals: bool,
) -> Result<Change> {
    let figures = match records {
        [Some(old), Some(new)] => figures(store, old, new, reveals)?,
        _ => Vec::new(),
    };
    let (Some(old), Some(new)) = (stored_manifest(store, &keys[0])?, stored_manifest(store, &keys[1])?) else {
        let reasons = vec!["it failed in one of the runs, or what it was made from is no longer in the store".to_owned()];
        return Ok(Change { task: task.to_owned(), what: What::Changed, reasons, figures });
    };
    let level =
        [&old, &new].iter().flat_map(|manifest| manifest.inputs.values().flatten()).map(|part| part.level).max().unwrap_or_default();
    let level = if reveals { Level::Released } else { level };
    // Inputs that other tasks of the two runs made: those are told where they are made.
    let follow = RefCell::new(BTreeSet::new());
    let describe = |path: &str, before: Option<Digest>, after: Option<Digest>| {
        let upstream = |digest: Option<Digest>, made: &BTreeSet<Digest>| digest.is_none_or(|digest| made.contains(&digest));
        if upstream(before, &made[0]) && upstream(after, &made[1]) {
            follow.borrow_mut().insert(path.strip_suffix("[0]").unwrap_or(path).to_owned());
        }
        let manifest = |digest: Option<Digest>| store.read_blob(&digest?).ok()?;
        match (manifest(before), manifest(after)) {
            (Some(before), Some(after)) => tree_difference(&before, &after, level),
            _ => Vec::new(),
        }
    };
    let differences = difference(&old, &new, &describe);
    let follows = |reason: &&Reason| matches!(reason, Reason::Input { path, .. } if follow.borrow().contains(path));
    let told = |reasons: Vec<Reason>| -> Vec<String> { sum_up(reasons).iter().map(ToString::to_string).collect() };
    let own: Vec<String> = told(differences.iter().filter(|reason| !follows(reason)).cloned().collect());
    let (what, reasons) = match own.is_empty() {
        true => (What::Follows, told(differences)),
        false => (What::Changed, own),
    };
    Ok(Change { task: task.to_owned(), what, reasons, figures })
}

/// Figures of the `metrics.json` of equal outputs that differ.
fn figures(store: &Store, old: &Record, new: &Record, reveals: bool) -> Result<Vec<Figure>> {
    let mut differing = Vec::new();
    for (port, after) in &new.outputs {
        let Some(before) = old.outputs.get(port).filter(|before| before.manifest != after.manifest) else { continue };
        let identified = before.level.max(after.level).is_identified() && !reveals;
        let (Some(before), Some(after)) = (read_figures(store, before)?, read_figures(store, after)?) else { continue };
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for name in names {
            let values = [&before, &after].map(|figures| figures.get(name).cloned().unwrap_or_default());
            if values[0] != values[1] {
                differing.push(Figure { name: name.clone(), values: (!identified).then_some(values) });
            }
        }
    }
    Ok(differing)
}

fn read_figures(store: &Store, output: &crate::store::OutputRecord) -> Result<Option<BTreeMap<String, Value>>> {
    let Some(tree) = store.tree(&output.manifest, output.level)? else { return Ok(None) };
    if !tree.files.contains_key("metrics.json") {
        return Ok(None);
    }
    let metrics: Value = serde_json::from_slice(&tree.read("metrics.json")?).unwrap_or_default();
    let rows = metrics["metrics"].as_array().into_iter().flatten();
    Ok(Some(rows.filter_map(|row| Some((row["name"].as_str()?.to_owned(), row["value"].clone()))).collect()))
}

fn object(change: &Change) -> String {
    let figures: Vec<Value> = change
        .figures
        .iter()
        .map(|figure| match &figure.values {
            Some([first, second]) => json!({ "name": figure.name, "first": first, "second": second }),
            None => json!({ "name": figure.name, "withheld": true }),
        })
        .collect();
    json!({ "task": change.task, "change": change.what.word(), "reasons": change.reasons, "figures": figures }).to_string() + "\n"
}

fn told(first: &Run, second: &Run, changes: &[Change], same: usize) -> String {
    let mut text = format!("{} → {}\n", first.id, second.id);
    let of = |what: What| changes.iter().filter(move |change| change.what == what);
    // Cells that changed in the same way share a line.
    let mut alike: Vec<(&[String], Vec<&str>)> = Vec::new();
    for change in of(What::Changed) {
        match alike.iter_mut().find(|(reasons, _)| *reasons == change.reasons) {
            Some((_, tasks)) => tasks.push(&change.task),
            None => alike.push((&change.reasons, vec![&change.task])),
        }
    }
    let mut rows = Vec::new();
    for (reasons, tasks) in &alike {
        let mut name = some(tasks);
        for reason in *reasons {
            rows.push(vec![std::mem::take(&mut name), reason.clone()]);
        }
    }
    if !rows.is_empty() {
        text.push_str(&format!("changed\n{}", grid(&rows, "  ")));
    }
    let mut rows = Vec::new();
    for change in changes {
        let mut name = change.task.clone();
        for figure in &change.figures {
            let [values, by] = shown(figure);
            rows.push(vec![std::mem::take(&mut name), figure.name.clone(), values, by]);
        }
    }
    if !rows.is_empty() {
        text.push_str(&format!("figures\n{}", grid(&rows, "  ")));
    }
    for (what, which) in [(What::OnlyFirst, "first"), (What::OnlySecond, "second")] {
        let tasks: Vec<&str> = of(what).map(|change| change.task.as_str()).collect();
        if !tasks.is_empty() {
            text.push_str(&format!("only in the {which}: {}\n", some(&tasks)));
        }
    }
    let follow = of(What::Follows).count() as u64;
    text.push_str(&match (changes.is_empty(), follow) {
        (true, _) => format!("no difference: {} with equal keys\n", count(same as u64, "task")),
        (false, 0) => format!("{} the same\n", are(same)),
        (false, 1) => format!("1 task follows from these, {} the same\n", are(same)),
        (false, _) => format!("{follow} tasks follow from these, {} the same\n", are(same)),
    });
    text
}

fn are(number: usize) -> String {
    if number == 1 { "1 is".to_owned() } else { format!("{number} are") }
}

/// `train[seed=1] and 2 more`.
fn some(tasks: &[&str]) -> String {
    match tasks {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [one, rest @ ..] => format!("{one} and {} more", rest.len()),
    }
}

/// Both values, and the second less the first.
fn shown(figure: &Figure) -> [String; 2] {
    let Some([first, second]) = &figure.values else { return ["differs (people's data: not shown)".to_owned(), String::new()] };
    let value = |value: &Value| {
        value.as_f64().map_or_else(|| if value.is_null() { "-".to_owned() } else { value.to_string() }, |one| format!("{one:.4}"))
    };
    let by = first.as_f64().zip(second.as_f64()).map(|(first, second)| format!("{:+.4}", second - first)).unwrap_or_default();
    [format!("{} → {}", value(first), value(second)), by]
}
