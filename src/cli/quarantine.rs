//! `tomograph quarantine`: what was set aside and why, and the decisions that accept it.

use super::exit::{Exit, Wrong, print};
use super::progress::hashing;
use super::project::{Project, Selection};
use super::reveal::{self, Reveal};
use crate::pipeline::{TaskId, nearest};
use crate::plan::{Judgement, Known, Outcome, Planner};
use crate::run::{DECISIONS, Decision, Decisions, items_of, set_aside};
use crate::stage::{Aside, Kind};
use crate::store::replace;
use crate::table::Table;
use anyhow::{Context as _, Result};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// List what was set aside, and why; accept it
///
/// An item is set aside where a kind finds that its bytes are of no use: the rest goes on without it, and the run ends with exit code 3
/// (or, past `policy.max_quarantine`, the task fails). What is listed are the results that stand now, as TSV: task, item, kind, class,
/// reason, and the reason for which somebody accepted it. No name of a file and no value of identified data is shown.
///
/// With --accept, items are accepted: a line each, with your name, goes into decisions.tsv in the project's root. Commit that file. What
/// is accepted no longer counts against max_quarantine nor makes exit code 3; the item stays out of the results, and no key changes.
#[derive(Args)]
pub(super) struct QuarantineArgs {
    /// The pipeline: a TOML file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// Accept that these items are set aside, by what the column `item` says
    #[arg(long, value_name = "ITEM", num_args = 1.., requires = "reason")]
    accept: Vec<String>,
    /// Why they are accepted
    #[arg(long, value_name = "TEXT", requires = "accept")]
    reason: Option<String>,
    #[command(flatten)]
    reveal: Reveal,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Something in quarantine.
struct Found {
    task: String,
    aside: Aside,
    /// File and subject, where they are revealed.
    named: Option<[String; 2]>,
}

pub(super) fn quarantine(args: &QuarantineArgs, kinds: &'static [Kind]) -> Result<Exit> {
    let project = Project::open(&Selection::plain(&args.pipeline), kinds)?;
    let reveals = args.reveal.is_allowed()?;
    let (found, open) = find(&project, args.json, reveals)?;
    if let Some(reason) = args.reason.as_deref() {
        print(&accept(&project, &found, &args.accept, reason)?)?;
        return Ok(Exit::Done);
    }
    print(&list(&found, &decisions(&project.root)?, args.json, reveals))?;
    if open > 0 && !args.json {
        let tasks = if open == 1 { "1 task has" } else { &format!("{open} tasks have") };
        super::exit::remark(&format!("{tasks} no result yet: what they set aside is not known"));
    }
    Ok(Exit::Done)
}

/// What the results that stand now have set aside, by task in the pipeline's order, and how many tasks have none.
fn find(project: &Project, quiet: bool, reveals: bool) -> Result<(Vec<Found>, usize)> {
    let planner = project.planner(&[], &hashing(quiet))?;
    let mut outcomes = vec![Outcome::Open; project.pipeline.tasks.len()];
    let (mut found, mut open) = (Vec::new(), 0);
    for id in &planner.wanted {
        let Some(Judgement::Hit(known)) = planner.judge(*id, &outcomes)? else {
            open += 1;
            continue;
        };
        let aside = set_aside(&planner, *id, &known.record, &outcomes)?.unwrap_or_default();
        let task = project.pipeline.tasks[id.0].title();
        let named = if reveals && !aside.is_empty() { named(project, &planner, *id, &known, &outcomes)? } else { BTreeMap::new() };
        found.extend(aside.into_iter().map(|aside| Found { task: task.clone(), named: named.get(&aside.item).cloned(), aside }));
        outcomes[id.0] = Outcome::Known(Box::new(known));
    }
    Ok((found, open))
}

/// File and subject of each item that a task takes in, said in the audit first.
fn named(project: &Project, planner: &Planner, id: TaskId, known: &Known, outcomes: &[Outcome]) -> Result<BTreeMap<String, [String; 2]>> {
    let mut named = BTreeMap::new();
    for item in items_of(planner, id, outcomes)? {
        let paths: Vec<&str> = item.files.iter().map(|file| file.path.as_str()).collect();
        named.insert(item.item.clone(), [paths.join(", "), item.value("subject").to_owned()]);
    }
    if planner.takes_people(id) {
        let shown: Vec<String> = named.iter().map(|(item, [file, subject])| format!("{item}\t{file}\t{subject}")).collect();
        reveal::tell(project, &project.pipeline.tasks[id.0].title(), "items", Some(known.key), &shown.join("\n"))?;
    }
    Ok(named)
}

fn list(found: &[Found], decisions: &Decisions, json: bool, reveals: bool) -> String {
    let accepted = |one: &Found| decisions.on(&one.aside).map(|decision| decision.reason.as_str());
    if json {
        let line = |one: &Found| {
            let Aside { item, kind, class, reason } = &one.aside;
            let value = serde_json::json!({
                "task": one.task, "item": item, "kind": kind, "class": class, "reason": reason, "accepted": accepted(one),
            });
            format!("{value}\n")
        };
        return found.iter().map(line).collect();
    }
    let more: &[&str] = if reveals { &["file", "subject"] } else { &[] };
    let mut table = Table::new(["task", "item", "kind", "class", "reason", "accepted"].iter().chain(more).copied());
    table.rows.extend(found.iter().map(|one| {
        let Aside { item, kind, class, reason } = &one.aside;
        let mut row = [&one.task, item, kind, class, reason, accepted(one).unwrap_or_default()].map(str::to_owned).to_vec();
        row.extend(one.named.clone().unwrap_or_default().into_iter().take(more.len()));
        row
    }));
    String::from_utf8_lossy(&table.to_tsv()).into_owned()
}

/// Adds decisions on these items, all or none.
fn accept(project: &Project, found: &[Found], items: &[String], reason: &str) -> Result<String> {
    if reason.trim().is_empty() {
        return Err(Wrong("a decision needs a --reason that others can read".to_owned()).into());
    }
    let mut decisions = decisions(&project.root)?;
    let known: BTreeSet<&str> = found.iter().map(|one| one.aside.item.as_str()).collect();
    let who = user();
    let mut text = String::new();
    for item in items {
        if !known.contains(item.as_str()) {
            let near = nearest(item, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let help = near.unwrap_or_else(|| "`tomograph quarantine PIPELINE` lists what is".to_owned());
            return Err(Wrong(format!("item `{item}` is not in quarantine; {help}")).into());
        }
        let of_item: Vec<&Found> = found.iter().filter(|one| one.aside.item == *item).collect();
        for Found { aside, .. } in of_item {
            if decisions.on(aside).is_none() {
                decisions.0.push(Decision {
                    item: item.clone(),
                    kind: aside.kind.clone(),
                    class: aside.class.clone(),
                    reason: reason.to_owned(),
                    who: who.clone(),
                });
                text.push_str(&format!("accepted {item} ({}, {})\n", aside.kind, aside.class));
            }
        }
    }
    if text.is_empty() {
        return Ok("all of them were accepted before\n".to_owned());
    }
    let place = project.root.join(DECISIONS);
    replace(&place, &decisions.to_tsv()).with_context(|| format!("cannot write {}", place.display()))?;
    Ok(text + &format!("in {}: commit it\n", place.display()))
}

/// The decisions of a project; none where nothing has been decided.
pub(super) fn decisions(root: &Path) -> Result<Decisions> {
    let place = root.join(DECISIONS);
    let wrong = |error: &dyn std::fmt::Display| Wrong(format!("{}: {error:#}", place.display()));
    match std::fs::read(&place) {
        Ok(bytes) => Decisions::from_tsv(&bytes).map_err(|error| wrong(&error).into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Decisions::default()),
        Err(error) => Err(wrong(&error).into()),
    }
}

/// Who decides: the user's name as the system knows it.
#[expect(clippy::disallowed_methods, reason = "this is cli")]
pub(super) fn user() -> String {
    ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty())).unwrap_or_else(|| "unknown".into())
}
