//! `tomograph accept`: holds a result that was made under an earlier key valid for the present one.

use super::exit::{Exit, Wrong, print};
use super::grid::count;
use super::progress::hashing;
use super::project::{Project, Selection};
use crate::content::Digest;
use crate::pipeline::{Task, TaskId};
use crate::plan::key::KeyManifest;
use crate::plan::reason::{Reason, difference};
use crate::plan::{Judgement, Known, Outcome, Planner, stored_manifest};
use crate::stage::Kind;
use crate::store::{Accepted, Published, Record, RunTask, now};
use anyhow::{Result, bail};
use clap::Args;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Hold the present result valid although its script or its kind's revision is another one now
///
/// For example, after a script was only reformatted, `tomograph why study.toml mine` says
///
///     command.code.tools/mine.py: 3f0c… → 91aa…
///
/// and `tomograph accept study.toml mine --reason 'reformatted'` keeps the result: nothing runs.
/// Who accepted what, when, why and from which key is kept with the result, and `why`, `log` and
/// `show` say it. Params and inputs that differ cannot be accepted. `tomograph run study.toml --again
/// mine` takes it back: what the present script makes stands from then on.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct AcceptArgs {
    /// The pipeline: a TOML file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// A stage, or cells of it such as 'train[seed=1]'
    #[arg(value_name = "REF")]
    reference: String,
    /// Why the result still holds
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(super) fn accept(args: &AcceptArgs, kinds: &'static [Kind]) -> Result<Exit> {
    if args.reason.trim().is_empty() {
        return Err(Wrong("say why the result still holds: --reason TEXT".to_owned()).into());
    }
    let project = Project::open(&Selection::plain(&args.pipeline), kinds)?;
    let asked: BTreeSet<TaskId> = project.find_one(&args.reference)?.0.into_iter().collect();
    let only: Vec<TaskId> = asked.iter().copied().collect();
    let planner = project.planner(&only, &hashing(false))?;
    let last = project.store.last_keys(&project.pipeline_id)?;
    let mut outcomes = vec![Outcome::Open; project.pipeline.tasks.len()];
    let (mut accepted, mut text) = (Vec::new(), String::new());
    for id in &planner.wanted {
        let task = &project.pipeline.tasks[id.0];
        match planner.judge(*id, &outcomes)? {
            None if asked.contains(id) => return Err(Wrong(waits(&planner, *id, &outcomes)).into()),
            None => {}
            Some(Judgement::Hit(known)) => {
                if asked.contains(id) {
                    text.push_str(&format!("{}: cached already, nothing to accept\n", task.title()));
                }
                outcomes[id.0] = Outcome::Known(Box::new(known));
            }
            Some(Judgement::Miss { key, manifest }) if asked.contains(id) => {
                let record = valid(&project, task, last.get(&task.title()), &manifest, args)?;
                let record = Record { key, ..record };
                outcomes[id.0] = Outcome::Known(Box::new(Known { key, record: Arc::new(record.clone()) }));
                accepted.push((record, manifest));
            }
            Some(Judgement::Miss { .. }) => {}
        }
    }
    let journal = project.store.begin_run(&project.pipeline_id, &serde_json::json!({ "accept": args.reference, "note": args.reason }))?;
    for (mut record, manifest) in accepted {
        record.key_manifest = project.store.put_bytes(&manifest.bytes())?.digest;
        if let Published::Differs(_) = project.store.publish(&record)? {
            bail!("{} was run meanwhile and gave other bytes: nothing to accept", record.task);
        }
        text.push_str(&format!("{}: accepted, nothing has to run for it\n", record.task));
        journal.write(RunTask {
            task: record.task,
            kind: record.kind.to_string(),
            key: Some(record.key),
            outcome: "accepted".to_owned(),
            seconds: 0.0,
            message: args.reason.clone(),
            reasons: Vec::new(),
            ended: now(),
        })?;
    }
    journal.end(&serde_json::json!({}))?;
    print(&text)?;
    Ok(Exit::Done)
}

/// The last result of a task, made ready for another key, where only what may be accepted differs.
fn valid(project: &Project, task: &Task, last: Option<&Digest>, manifest: &KeyManifest, args: &AcceptArgs) -> Result<Record> {
    let title = task.title();
    let old = last.map(|key| stored_manifest(&project.store, key)).transpose()?.flatten();
    let (Some(from), Some(old)) = (last.copied(), old) else {
        return Err(Wrong(format!("{title} has no result yet that could be accepted: run it")).into());
    };
    let differences = difference(&old, manifest, &|_, _, _| Vec::new());
    let refused: Vec<String> = differences.iter().filter(|reason| !may_be_accepted(reason)).map(ToString::to_string).collect();
    if !refused.is_empty() {
        return Err(Wrong(format!(
            "{title}: {}: only another `code`, command line or revision can be accepted, so it must run",
            refused.join("; ")
        ))
        .into());
    }
    let Some(record) = project.store.records(&from)?.into_iter().next() else { bail!("the last result of {title} is gone: run it") };
    // What was accepted before was made under a key before that.
    let before = record.accepted.clone();
    let from = before.as_ref().map_or(from, |earlier| earlier.from);
    let accepted = Accepted { by: super::quarantine::user(), when: now(), reason: args.reason.clone(), from, before };
    Ok(Record { task: title, accepted: Some(Box::new(accepted)), ..record.as_ref().clone() })
}

/// What a person can judge without the data: how it is done, not what it is done with.
fn may_be_accepted(reason: &Reason) -> bool {
    let Reason::Changed { path, .. } = reason else { return false };
    ["revision", "format"].contains(&path.as_str())
        || ["command.code", "command.argv", "command.env"].iter().any(|part| path.starts_with(part))
}

fn waits(planner: &Planner, id: TaskId, outcomes: &[Outcome]) -> String {
    let title = |id: TaskId| planner.pipeline.tasks[id.0].title();
    let open: Vec<TaskId> = planner.needs_of(id).into_iter().filter(|need| matches!(outcomes[need.0], Outcome::Open)).collect();
    let first = open.first().map(|need| title(*need)).unwrap_or_default();
    let more = if open.len() > 1 { format!(" and {} must", count(open.len() as u64 - 1, "other task")) } else { " must".to_owned() };
    format!("{} is decided after others: {first}{more} be run or accepted first", title(id))
}

/// What is said of an accepted result, with the reasons of all that it rests on, the last first.
pub(super) fn told(accepted: &Accepted) -> String {
    let one = |accepted: &Accepted| format!("by {} on {}: {}", accepted.by, super::show::moment(&accepted.when), accepted.reason);
    let earlier = std::iter::successors(accepted.before.as_deref(), |one| one.before.as_deref());
    let earlier: String = earlier.map(|earlier| format!("; before that {}", one(earlier))).collect();
    format!("accepted {} (made under key {}){earlier}", one(accepted), accepted.from.short())
}
