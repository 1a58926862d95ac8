//! Ports that the engine fills: `ledger` (how often test data was met) and `lineage` (the pipeline itself, as far as it led here).
//!
//! What they bring is in the key like any input. Beside it, `lineage` brings `records.json`, which is in no key and no digest: where and
//! when the ancestors were made. A page may print it, and two pages that differ in nothing else count as equal.

use super::tested::LEDGER;
use super::{Outcome, Planner};
use crate::content::{Digest, FileRef, Level, Place, Tree};
use crate::pipeline::{Action, Origin, TaskId};
use crate::stage::{Coordinates, Part};
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

const LINEAGE: &str = "lineage";

/// What the engine brings on one port.
pub(super) struct Filled {
    port: &'static str,
    /// In the key.
    file: (&'static str, Vec<u8>),
    /// In no key.
    aside: Option<(&'static str, Vec<u8>)>,
}

impl Filled {
    /// Names it in the key.
    fn digest(&self) -> Digest {
        let (name, bytes) = &self.file;
        let file = FileRef { digest: Digest::of(bytes), size: bytes.len() as u64, place: Place::default() };
        Tree { files: BTreeMap::from([((*name).to_owned(), file)]), level: Level::Released }.digest()
    }
}

impl Planner<'_> {
    /// The ports of a task that the engine fills.
    pub(super) fn filled_ports(&self, id: TaskId) -> impl Iterator<Item = &'static str> {
        let ports = match &self.pipeline.tasks[id.0].action {
            Action::Kind { kind, .. } => kind.inputs,
            Action::Command(_) => &[],
        };
        ports.iter().filter(|port| port.filled).map(|port| port.name)
    }

    /// What the engine brings to a task whose needs are all known: port and digest. Kept until the task starts.
    pub(super) fn fill(&self, id: TaskId, outcomes: &[Outcome]) -> Result<Vec<(&'static str, Digest)>> {
        let mut filled = Vec::new();
        for port in self.filled_ports(id) {
            let before = self.before(id);
            filled.extend(match port {
                LEDGER => {
                    let shown = self.ledger_shown(&before, outcomes)?;
                    shown.map(|bytes| Filled { port, file: ("ledger.tsv", bytes), aside: None })
                }
                _ => {
                    let (lineage, records) = self.lineage(&before, outcomes)?;
                    Some(Filled { port: LINEAGE, file: ("lineage.json", lineage), aside: Some(("records.json", records)) })
                }
            });
        }
        let digests = filled.iter().map(|one| (one.port, one.digest())).collect();
        if !filled.is_empty() {
            self.filled.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(filled));
        }
        Ok(digests)
    }

    /// The parts that were promised when the task was judged.
    pub fn filled_parts(&self, id: TaskId) -> Result<Vec<(&'static str, Part)>> {
        let Some(filled) = self.filled.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned() else { return Ok(Vec::new()) };
        let mut parts = Vec::with_capacity(filled.len());
        for one in filled.iter() {
            let mut files = BTreeMap::new();
            for (name, bytes) in std::iter::once(&one.file).chain(&one.aside) {
                files.insert((*name).to_owned(), self.store.put_bytes(bytes)?);
            }
            parts.push((
                one.port,
                Part { coordinates: Coordinates::new(), tree: Tree { files, level: Level::Released }.into(), hole: None },
            ));
        }
        self.store.sync_large()?;
        Ok(parts)
    }

    /// Everything that a task is made from.
    fn before(&self, id: TaskId) -> BTreeSet<TaskId> {
        let mut before = BTreeSet::new();
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            open.extend(self.inputs_of(next).filter(|need| before.insert(*need)));
        }
        before
    }

    /// The pipeline as far as these tasks go, and the records of their keys.
    fn lineage(&self, before: &BTreeSet<TaskId>, outcomes: &[Outcome]) -> Result<(Vec<u8>, Vec<u8>)> {
        let (mut stages, mut sources): (Vec<(String, Value)>, BTreeMap<String, Value>) = (Vec::new(), BTreeMap::new());
        let mut records = serde_json::Map::new();
        for id in before {
            let task = &self.pipeline.tasks[id.0];
            let (key, failed) = match &outcomes[id.0] {
                Outcome::Known(known) => (Some(known.key), None),
                Outcome::Failed(class) => (None, Some(class)),
                Outcome::Open => (None, None),
            };
            if let Outcome::Known(known) = &outcomes[id.0] {
                let record = &known.record;
                records.insert(
                    known.key.to_string(),
                    json!({
                        "started": record.started, "seconds": record.seconds, "host": record.host, "device": record.device,
                        "threads": record.threads, "build": record.build, "warnings": record.warnings, "quarantined": record.quarantined,
                    }),
                );
            }
            let mut after = BTreeSet::new();
            for edge in task.inputs.values().flatten() {
                match &edge.origin {
                    Origin::Task { task, .. } => drop(after.insert(self.pipeline.tasks[task.0].stage.clone())),
                    Origin::Source { source, inside } => {
                        let own = &self.pipeline.sources[source.0];
                        let part = self.sources[source.0].as_ref().and_then(|found| found.part(inside.as_deref()));
                        after.insert(own.name.clone());
                        let inside = inside.as_ref().map(|inside| format!("/{inside}")).unwrap_or_default();
                        let digest = part.map(|part| part.digest);
                        sources.insert(own.title() + &inside, json!({ "name": own.name, "phi": own.phi, "digest": digest }));
                    }
                }
            }
            let at = match stages.iter().position(|(name, _)| *name == task.stage) {
                Some(at) => at,
                None => {
                    let (kind, params) = match &task.action {
                        Action::Kind { kind, params } => (kind.name.to_owned(), params.params()),
                        Action::Command(command) => ("command".to_owned(), command.params.clone()),
                    };
                    stages.push((
                        task.stage.clone(),
                        json!({ "name": task.stage, "kind": kind, "params": params, "after": [], "tasks": [] }),
                    ));
                    stages.len() - 1
                }
            };
            let stage = &mut stages[at].1;
            let named: Vec<&str> = stage["after"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let after: BTreeSet<String> = after.into_iter().chain(named.into_iter().map(str::to_owned)).collect();
            stage["after"] = json!(after);
            let cell: BTreeMap<&String, String> = task.cell.iter().map(|(axis, value)| (axis, value.to_string())).collect();
            if let Some(tasks) = stage["tasks"].as_array_mut() {
                tasks.push(json!({ "task": task.title(), "cell": cell, "key": key, "failed": failed }));
            }
        }
        let lineage = json!({
            "pipeline": self.pipeline.name,
            "about": self.pipeline.about,
            "sources": sources,
            "stages": stages.into_iter().map(|(_, stage)| stage).collect::<Vec<_>>(),
        });
        Ok((serde_json::to_vec(&lineage)?, serde_json::to_vec(&Value::Object(records))?))
    }
}
