//! `--reveal`: file names and values of people's data on the terminal of who asks, each use said in the store's audit first.
//!
//! It ships nothing: where the output goes into a file, into another program or is JSON, it is refused.

use super::exit::Wrong;
use super::project::Project;
use crate::content::{Digest, Level, Tree};
use crate::pipeline::TaskId;
use crate::plan::reason::Reason;
use crate::plan::{Planner, State, stored_manifest};
use crate::run::Summary;
use crate::store::{Act, RunTask, now};
use anyhow::Result;
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::path::Path;

/// Lines of a log that are shown.
const LINES: usize = 20;
/// What stands before the beginning of a digest in place of a name, and how long that beginning is.
const FILE: &str = "file ";
const SHORT: usize = 12;

/// The option, of commands that hide people's data.
#[derive(Args, Clone, Copy, Default)]
pub(super) struct Reveal {
    /// Show file names and values of people's data too, on this terminal only; the store keeps who looked (`tomograph log --audit`)
    #[arg(long, conflicts_with = "json")]
    reveal: bool,
}

impl Reveal {
    /// Whether it was asked for; an error where the output goes elsewhere than to a terminal.
    pub(super) fn is_allowed(self) -> Result<bool> {
        if self.reveal && !(std::io::stdout().is_terminal() && std::io::stderr().is_terminal()) {
            let what = "--reveal shows people's data on a terminal only, and this goes into a file or another program";
            return Err(Wrong(what.to_owned()).into());
        }
        Ok(self.reveal)
    }
}

/// Says in the store's audit that somebody is about to see what belongs to a task: on a port, or of its `log`, its `reasons`, its items.
pub(super) fn tell(project: &Project, task: &str, what: &str, key: Option<Digest>, shown: &str) -> Result<()> {
    project.store.audit(&Act {
        when: now(),
        who: super::quarantine::user(),
        act: "reveal".to_owned(),
        task: task.to_owned(),
        port: what.to_owned(),
        key: key.unwrap_or_else(|| Digest::of(b"")),
        manifest: Digest::of(shown.as_bytes()),
        to: String::new(),
    })
}

/// The same of a task's reasons, where they may name people's files.
pub(super) fn tell_reasons(project: &Project, planner: &Planner, id: TaskId, state: &State) -> Result<()> {
    let (State::Run(reasons) | State::Waiting { reasons, .. }) = state else { return Ok(()) };
    let names = |reason: &&Reason| matches!(reason, Reason::Input { .. });
    let shown: Vec<String> = reasons.iter().filter(names).map(ToString::to_string).collect();
    if shown.is_empty() || !planner.takes_people(id) {
        return Ok(());
    }
    let task = project.pipeline.tasks[id.0].title();
    let last = project.store.known_last_keys(&project.pipeline_id).remove(&task);
    tell(project, &task, "reasons", last, &shown.join("\n"))
}

/// Names of files by the beginning of their digests, which stands for them in messages.
#[derive(Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    /// Of what a task takes in: its sources as they are, and the inputs of these results of it.
    pub(super) fn of(planner: Option<&Planner>, project: &Project, task: Option<TaskId>, keys: &BTreeSet<Digest>) -> Result<Self> {
        let mut names = Self::default();
        for edge in task.iter().flat_map(|id| project.pipeline.tasks[id.0].inputs.values().flatten()) {
            if let crate::pipeline::Origin::Source { source, inside } = &edge.origin
                && let Some(tree) = planner.and_then(|planner| planner.source_tree(*source, inside.as_deref()))
            {
                names.add(&tree);
            }
        }
        for key in keys {
            let Some(manifest) = stored_manifest(&project.store, key)? else { continue };
            for digest in manifest.inputs.values().flatten().filter_map(|part| part.digest) {
                let bytes = project.store.read_blob(&digest)?;
                bytes.and_then(|bytes| Tree::from_manifest(&bytes, Level::Identified)).iter().for_each(|tree| names.add(tree));
            }
        }
        Ok(names)
    }

    fn add(&mut self, tree: &Tree) {
        self.0.extend(tree.files.iter().map(|(path, file)| (file.digest.short(), path.clone())));
    }

    /// A message with names where digests stand for them.
    pub(super) fn in_words(&self, text: &str) -> String {
        let mut parts = text.split(FILE);
        let mut told = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            match part.get(..SHORT).and_then(|short| self.0.get(short)) {
                Some(name) => told.push_str(&format!("{name}{}", &part[SHORT..])),
                None => told.push_str(&format!("{FILE}{part}")),
            }
        }
        told
    }
}

/// Names what the failures of a run withheld, with the end of each log.
pub(super) fn failures(project: &Project, planner: &Planner, summary: &mut Summary) -> Result<()> {
    for (task, message, log) in &mut summary.failures {
        let id = project.pipeline.tasks.iter().position(|one| one.title() == *task).map(TaskId);
        let said = log.as_deref().map(end_of).unwrap_or_default();
        *message = Names::of(Some(planner), project, id, &BTreeSet::new())?.in_words(message) + "\n" + said.trim_end();
        let key = log.as_ref().and_then(|log| log.file_stem()?.to_str()?.parse().ok());
        if id.is_none_or(|id| planner.takes_people(id)) {
            tell(project, task, "log", key, message)?;
        }
    }
    Ok(())
}

/// Every key under which a task stands in the runs of a pipeline.
pub(super) fn keys_of<'r>(tasks: impl Iterator<Item = &'r RunTask>, title: &str) -> BTreeSet<Digest> {
    tasks.filter(|task| task.task == title).filter_map(|task| task.key).collect()
}

/// The end of a log, each line behind a bar.
pub(super) fn end_of(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("      | {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_become_names_where_they_are_known() {
        let names = Names(BTreeMap::from([("0123456789ab".to_owned(), "DOE^JANE.dcm".to_owned())]));
        let told = names.in_words("changed file 0123456789ab; added file ba9876543210; file x");
        assert_eq!(told, "changed DOE^JANE.dcm; added file ba9876543210; file x");
    }
}
