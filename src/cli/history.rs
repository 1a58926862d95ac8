//! `tomograph history`: past runs, and how the command line names one of them.

use super::exit::{Exit, Wrong, print};
use super::grid::{duration, grid};
use super::project::store_of;
use super::show::moment;
use crate::store::{NamedRun, Run, Store};
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Runs that are listed unless --all.
const LISTED: usize = 20;

/// List past runs: what was laid over the file, what came of it, how long it took
///
/// For example, `tomograph history pipelines/demo.toml` prints
///
///     run                         began                    outcome          took    name          overrides
///     20261123T191122042917-4711  2026-11-23 19:11:22 UTC  14 ran           2 min   submission-1
///     20261123T201501318870-4790  2026-11-23 20:15:01 UTC  9 cached, 5 ran  58.0 s                --axis seed=3
///
/// `tomograph run --name submission-1 --note 'as sent'` names a run and keeps all that it reached.
/// Wherever a RUN is asked for, say @submission-1, @last, @prev, or the beginning of its first
/// column. `--text @prev` prints the file as it was, also where it has mistakes by now.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct HistoryArgs {
    /// The pipeline: a TOML file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// All runs, not only the last 20
    #[arg(long)]
    all: bool,
    /// Print the pipeline's file as it was in this run, with those that it names: @NAME, @last, @prev, or the beginning of its line
    #[arg(long, value_name = "RUN", conflicts_with_all = ["all", "json"])]
    text: Option<String>,
    /// Take a name away from its run, which need then not be kept
    #[arg(long, value_name = "NAME", conflicts_with_all = ["all", "json", "text"])]
    forget: Option<String>,
    /// One JSON object a line and run
    #[arg(long)]
    json: bool,
}

pub(super) fn history(args: &HistoryArgs) -> Result<Exit> {
    let Some((store, pipeline_id, path)) = store_of(&args.pipeline)? else { return nothing(args) };
    let of = Runs { store: &store, pipeline_id: &pipeline_id, path: &path };
    if let Some(name) = &args.forget {
        let name = name.trim_start_matches('@');
        if !store.forget_name(&pipeline_id, name)? {
            return Err(Wrong(format!("no run is called {name}{}", of.known()?)).into());
        }
        print(&format!("{name} names no run any more\n"))?;
        return Ok(Exit::Done);
    }
    if let Some(run) = &args.text {
        print(&of.text(&of.find(run)?)?)?;
        return Ok(Exit::Done);
    }
    let ids = store.run_ids(&pipeline_id)?;
    if ids.is_empty() {
        return nothing(args);
    }
    let first = if args.all { 0 } else { ids.len().saturating_sub(LISTED) };
    let runs = ids[first..].iter().map(|id| store.run(&pipeline_id, id)).collect::<Result<Vec<Run>>>()?;
    let names = of.names()?;
    let mut text = String::new();
    if args.json {
        for run in &runs {
            text.push_str(&(object(run, names.get(&run.id)).to_string() + "\n"));
        }
    } else {
        if first > 0 {
            text.push_str(&format!("{first} earlier (--all)\n"));
        }
        text.push_str(&table(&runs, &names));
    }
    print(&text)?;
    Ok(Exit::Done)
}

/// There is no run; perhaps because there is no such pipeline.
fn nothing(args: &HistoryArgs) -> Result<Exit> {
    if let Err(error) = std::fs::metadata(&args.pipeline) {
        return Err(Wrong(format!("cannot read the pipeline {}: {error}", args.pipeline.display())).into());
    }
    if args.text.is_some() || args.forget.is_some() {
        return Err(Wrong("there is no run yet".to_owned()).into());
    }
    print(if args.json { "" } else { "no run yet\n" })?;
    Ok(Exit::Done)
}

fn table(runs: &[Run], names: &BTreeMap<String, NamedRun>) -> String {
    let mut rows = vec![["run", "began", "outcome", "took", "name", "overrides", "note"].map(str::to_owned).to_vec()];
    for run in runs {
        let name = names.get(&run.id).map(|named| named.name.clone()).unwrap_or_default();
        let took = run.seconds.map(duration).unwrap_or_default();
        let overrides = overrides(&run.about).join(" ");
        rows.push(vec![run.id.clone(), moment(&run.started), outcome(run), took, name, overrides, note(run).unwrap_or_default()]);
    }
    // A column that nobody filled is left out.
    let filled: Vec<bool> = (0..7).map(|column| rows.iter().skip(1).any(|row| !row[column].is_empty())).collect();
    rows.iter_mut().for_each(|row| {
        let mut kept = filled.iter();
        row.retain(|_| kept.next().copied().unwrap_or(true));
    });
    grid(&rows, "")
}

fn object(run: &Run, named: Option<&NamedRun>) -> Value {
    let counts = |word: &str| run.tasks.iter().filter(|task| task.outcome == word).count();
    json!({
        "run": run.id,
        "started": run.started,
        "seconds": run.seconds,
        "ended": run.seconds.is_some(),
        "cached": counts("cached"),
        "ran": counts("ran"),
        "failed": counts("failed"),
        "skipped": counts("skipped"),
        "waiting": counts("waiting"),
        "accepted": counts("accepted"),
        "unpublished": run.summary.as_ref().map(|summary| &summary["unpublished"]),
        "interrupted": is_interrupted(run),
        "only": run.about["only"],
        "set": run.about["set"],
        "axis": run.about["axis"],
        "name": named.map(|named| &named.name),
        "note": run.about["note"],
    })
}

/// `9 cached, 5 ran`.
pub(super) fn outcome(run: &Run) -> String {
    let count = |word: &str| run.tasks.iter().filter(|task| task.outcome == word).count();
    let words = ["cached", "ran", "failed", "skipped", "waiting", "accepted"];
    let mut parts: Vec<String> = words.iter().filter(|word| count(word) > 0).map(|word| format!("{} {word}", count(word))).collect();
    let unpublished = run.summary.as_ref().and_then(|summary| summary["unpublished"].as_u64()).unwrap_or(0);
    if unpublished > 0 {
        parts.push(format!("{unpublished} not published"));
    }
    if run.seconds.is_none() {
        parts.push("not ended: killed, or running now".to_owned());
    } else if is_interrupted(run) {
        parts.push("interrupted".to_owned());
    }
    if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") }
}

fn is_interrupted(run: &Run) -> bool {
    run.summary.as_ref().is_some_and(|summary| summary["interrupted"] == true)
}

/// A run's note, in one line.
pub(super) fn note(run: &Run) -> Option<String> {
    Some(run.about["note"].as_str()?.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What a run laid over the file, as arguments: `--only`, `train`, `--axis`, `seed=3`.
pub(super) fn overrides(about: &Value) -> Vec<String> {
    let mut arguments = Vec::new();
    for (option, name) in [("--only", "only"), ("--set", "set"), ("--axis", "axis")] {
        for value in about[name].as_array().into_iter().flatten().filter_map(Value::as_str) {
            arguments.extend([option.to_owned(), value.to_owned()]);
        }
    }
    arguments
}

/// The runs of a pipeline, by its name in the store: its file may have mistakes by now, or be gone.
pub(super) struct Runs<'s> {
    pub(super) store: &'s Store,
    pub(super) pipeline_id: &'s str,
    /// Path of the file, relative to the project's root.
    pub(super) path: &'s str,
}

impl Runs<'_> {
    /// Run → its name.
    fn names(&self) -> Result<BTreeMap<String, NamedRun>> {
        Ok(self.store.named_runs(self.pipeline_id)?.into_iter().map(|named| (named.run.clone(), named)).collect())
    }

    /// The run that `@NAME`, `@last`, `@prev` or the beginning of an id means.
    pub(super) fn find(&self, reference: &str) -> Result<Run> {
        let mut ids = self.store.run_ids(self.pipeline_id)?;
        if ids.is_empty() {
            return Err(Wrong("there is no run yet".to_owned()).into());
        }
        let last = |back: usize| -> Result<Run> {
            // What was accepted was never run.
            let mut back = back;
            for id in ids.iter().rev() {
                let run = self.store.run(self.pipeline_id, id)?;
                if run.about["accept"].is_null() {
                    if back == 0 {
                        return Ok(run);
                    }
                    back -= 1;
                }
            }
            Err(Wrong(format!("there is no run {reference}: `tomograph history` lists those there are")).into())
        };
        match reference.strip_prefix('@') {
            Some("last") => return last(0),
            Some("prev") => return last(1),
            Some(name) => {
                let named = self.store.named_runs(self.pipeline_id)?.into_iter().find(|named| named.name == name);
                return match named.filter(|named| ids.contains(&named.run)) {
                    Some(named) => self.store.run(self.pipeline_id, &named.run),
                    None => Err(Wrong(format!("no run is called {name}{}", self.known()?)).into()),
                };
            }
            None => {}
        }
        ids.retain(|id| id.starts_with(reference));
        match ids.as_slice() {
            [id] => self.store.run(self.pipeline_id, id),
            [] => Err(Wrong(format!("no run begins with {reference}: `tomograph history` lists them; a name is written @NAME")).into()),
            _ => Err(Wrong(format!("{} runs begin with {reference}: give more of it", ids.len())).into()),
        }
    }

    /// The names there are, for a message about one that is not.
    fn known(&self) -> Result<String> {
        let names: Vec<String> = self.store.named_runs(self.pipeline_id)?.into_iter().map(|named| named.name).collect();
        Ok(if names.is_empty() { "; none has a name yet".to_owned() } else { format!("; there are {}", names.join(", ")) })
    }

    /// The pipeline's own file as a run read it; where it named others, all of them, each under its path.
    fn text(&self, run: &Run) -> Result<String> {
        let Some(mut texts) = self.store.texts_of_run(run)? else {
            return Err(Wrong(format!("the text of run {} is not in the store, as of runs under earlier versions", run.id)).into());
        };
        let own = texts.remove(self.path).unwrap_or_default();
        if texts.is_empty() {
            return Ok(own);
        }
        let others = texts.iter().map(|(path, text)| (path.as_str(), text));
        let all = std::iter::once((self.path, &own)).chain(others);
        Ok(all.map(|(path, text)| format!("# ==== {path}\n{}\n", text.trim_end())).collect::<Vec<_>>().join("\n"))
    }
}
