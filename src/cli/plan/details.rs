//! What `tomograph plan` says of a task beside why it runs: of what works item by item, how many items wait, or why they cannot be told; of an
//! effect, what it acts through and what it brought last.

use super::super::grid::count;
use super::super::project::Project;
use super::super::show::moment;
use crate::pipeline::{Action, Task, TaskId, show_pieces};
use crate::plan::{Outcome, Planner, State};
use crate::run::{told, untreated};
use crate::store::{Damaged, Record};
use crate::table::Table;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A longer command line is cut.
const LINE: usize = 100;

/// Of the tasks of a plan.
pub(super) struct Details {
    /// Items that nobody has treated before, and all, of those that will run.
    items: BTreeMap<TaskId, (u64, u64)>,
    /// Why tasks will fail that cannot even tell their items.
    fails: BTreeMap<TaskId, String>,
    effects: BTreeMap<TaskId, Effect>,
}

/// What is known of an effect without asking anybody.
struct Effect {
    target: String,
    /// When it ran last, and what it left: port → what is counted of it.
    last: Option<(String, BTreeMap<String, String>)>,
}

impl Details {
    pub(super) fn of(project: &Project, planner: &Planner, plan: &[(TaskId, State)], outcomes: &[Outcome]) -> Result<Self> {
        let mut details = Self { items: BTreeMap::new(), fails: BTreeMap::new(), effects: BTreeMap::new() };
        for (id, state) in plan {
            let task = &project.pipeline.tasks[id.0];
            if matches!(state, State::Run(_)) {
                match untreated(planner, *id, outcomes) {
                    Ok(items) => details.items.extend(items.map(|items| (*id, items))),
                    Err(error) if error.chain().any(|cause| cause.is::<Damaged>()) => return Err(error),
                    Err(error) => drop(details.fails.insert(*id, told(&error, planner.takes_people(*id)))),
                }
            }
            if task.effect && !matches!(state, State::Cached) {
                details.effects.insert(*id, Effect::of(project, task)?);
            }
        }
        Ok(details)
    }

    /// Items that wait, by task.
    pub(super) fn untreated(&self) -> BTreeMap<TaskId, u64> {
        self.items.iter().map(|(id, (untreated, _))| (*id, *untreated)).collect()
    }

    /// What people read of a task.
    pub(super) fn lines(&self, id: TaskId) -> Vec<String> {
        let some = self.items.get(&id).filter(|(untreated, all)| untreated < all);
        let items = some.map(|(untreated, all)| format!("{untreated} of {} not treated before", count(*all, "item")));
        let effect = self.effects.get(&id).into_iter().flat_map(|effect| {
            let last = match &effect.last {
                None => "never ran".to_owned(),
                Some((when, counts)) => {
                    let counts: Vec<String> = counts.iter().map(|(port, counted)| format!("{port}: {counted}")).collect();
                    format!("last {}: {}", moment(when), counts.join(", "))
                }
            };
            [format!("acts through {}", effect.target), last]
        });
        let fails = self.fails.get(&id).map(|why| format!("will fail: {why}"));
        items.into_iter().chain(fails).chain(effect).collect()
    }

    /// The same for programs.
    pub(super) fn add_to(&self, id: TaskId, object: &mut Value) {
        if let Some((untreated, all)) = self.items.get(&id) {
            object["items"] = json!({ "untreated": untreated, "all": all });
        }
        if let Some(why) = self.fails.get(&id) {
            object["fails"] = json!(why);
        }
        if let Some(effect) = self.effects.get(&id) {
            let last = effect.last.as_ref().map(|(when, counts)| json!({ "when": when, "counts": counts }));
            object["effect"] = json!({ "target": effect.target, "last": last });
        }
    }
}

impl Effect {
    fn of(project: &Project, task: &Task) -> Result<Self> {
        let target = match &task.action {
            Action::Kind { kind, .. } => kind.name.to_owned(),
            Action::Command(command) => command.argv.iter().map(|pieces| show_pieces(pieces)).collect::<Vec<_>>().join(" "),
        };
        let cut = target.char_indices().nth(LINE).map(|(at, _)| format!("{}…", &target[..at]));
        let key = project.store.known_last_keys(&project.pipeline_id).remove(&task.title());
        let records = key.map(|key| project.store.records(&key)).transpose()?.unwrap_or_default();
        let last = records.first().map(|record| Ok::<_, anyhow::Error>((record.started.clone(), counts(project, record)?))).transpose()?;
        Ok(Self { target: cut.unwrap_or(target), last })
    }
}

/// Rows of tables, files of the rest.
fn counts(project: &Project, record: &Record) -> Result<BTreeMap<String, String>> {
    let mut counts = BTreeMap::new();
    for (port, held) in &record.outputs {
        let tree = project.store.tree(&held.manifest, held.level)?;
        let table =
            tree.and_then(|tree| Table::from_tsv(&tree.read(tree.only_file().ok().filter(|path| path.ends_with(".tsv"))?).ok()?).ok());
        let counted = table.map_or_else(|| count(held.files, "file"), |table| count(table.rows.len() as u64, "row"));
        counts.insert(port.clone(), counted);
    }
    Ok(counts)
}
