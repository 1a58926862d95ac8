//! Which tasks meet test data, with which models: what the ledger is told, and whom a task waits for that shows it.
//!
//! Test data is what a reference to arrays of role `test` or `all` brings; arrays made from such (features) count as what they were made
//! from. A task that gives such arrays does not meet them, whatever else takes them does.

use super::{Known, Outcome, Planner, stored_manifest};
use crate::content::Digest;
use crate::pipeline::{Action, Edge, Origin, TaskId};
use crate::stage::{Artifact, Role};
use crate::store::{Ledger, Meeting};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

/// Name of the port that shows the ledger.
pub(super) const LEDGER: &str = "ledger";

/// How often some test data was met.
#[derive(Clone, Debug)]
pub struct Tested {
    /// Where it comes from, as a reference.
    pub name: String,
    /// Manifest of the data.
    pub data: Digest,
    /// Different models that met it in this store.
    pub models: usize,
    /// When the first did, RFC 3339 in UTC.
    pub first: String,
}

impl Planner<'_> {
    /// Whether a task meets test data.
    pub fn meets_test_data(&self, id: TaskId) -> bool {
        self.test_edges(id).next().is_some()
    }

    fn test_edges(&self, id: TaskId) -> impl Iterator<Item = &Edge> {
        let task = &self.pipeline.tasks[id.0];
        let passes_on = task.outputs.iter().any(|output| output.artifact == Artifact::Arrays);
        task.inputs.values().flatten().filter(move |edge| !passes_on && self.is_test(edge))
    }

    fn is_test(&self, edge: &Edge) -> bool {
        let Origin::Task { task, port } = &edge.origin else { return false };
        let output = self.pipeline.tasks[task.0].outputs.iter().find(|output| output.port == *port);
        output.is_some_and(|output| matches!(output.role, Some(Role::Test | Role::All)))
    }

    /// The task and port that test data first came from.
    fn root_of<'e>(&'e self, edge: &'e Edge) -> Option<(TaskId, &'e str)> {
        let mut edge = edge;
        loop {
            let Origin::Task { task, port } = &edge.origin else { return None };
            let Action::Kind { kind, .. } = &self.pipeline.tasks[task.0].action else { return Some((*task, port)) };
            let from = kind.output(port).and_then(|port| port.role_of).and_then(|input| self.pipeline.tasks[task.0].inputs.get(input));
            match from.and_then(|edges| edges.first()).filter(|edge| self.is_test(edge)) {
                Some(before) => edge = before,
                None => return Some((*task, port)),
            }
        }
    }

    /// What a task with this result met: data with its name, and models.
    fn meetings(&self, id: TaskId, known: &Known, outcomes: &[Outcome]) -> Result<Vec<(String, Meeting)>> {
        let digest = |edge: &Edge| match &edge.origin {
            Origin::Source { source, inside } => self.sources[source.0].as_ref()?.digest(inside.as_deref()),
            Origin::Task { task, port } => match &outcomes[task.0] {
                Outcome::Known(known) => known.output(port).ok().map(|output| output.manifest),
                Outcome::Open | Outcome::Failed(_) => None,
            },
        };
        let mut models = BTreeSet::new();
        for (port, edge) in self.model_edges(id) {
            if !edge.chosen {
                models.extend(digest(edge));
                continue;
            }
            for part in &known.record.parts {
                let manifest = stored_manifest(self.store, part)?;
                models.extend(manifest.iter().flat_map(|manifest| manifest.inputs.get(port)).flatten().filter_map(|part| part.digest));
            }
        }
        if models.is_empty() {
            models.insert(known.key);
        }
        let mut met = BTreeMap::new();
        for (task, port) in self.test_edges(id).filter_map(|edge| self.root_of(edge)) {
            let Outcome::Known(root) = &outcomes[task.0] else { continue };
            let title = self.pipeline.tasks[task.0].title();
            let (stage, cell) = title.split_at(title.find('[').unwrap_or(title.len()));
            met.insert(root.output(port)?.manifest, format!("{stage}.{port}{cell}"));
        }
        let meeting =
            |data: &Digest, model: &Digest| Meeting { data: *data, model: *model, key: known.key, when: known.record.started.clone() };
        Ok(met.iter().flat_map(|(data, name)| models.iter().map(move |model| (name.clone(), meeting(data, model)))).collect())
    }

    /// Inputs that bring models, of a task that makes none.
    fn model_edges(&self, id: TaskId) -> Vec<(&str, &Edge)> {
        let task = &self.pipeline.tasks[id.0];
        if task.outputs.iter().any(|output| output.artifact == Artifact::Model) {
            return Vec::new();
        }
        let gives = |edge: &Edge| match &edge.origin {
            Origin::Source { source, .. } => Some(self.pipeline.sources[source.0].artifact),
            Origin::Task { task, port } => {
                self.pipeline.tasks[task.0].outputs.iter().find(|output| output.port == *port).map(|output| output.artifact)
            }
        };
        let edges = task.inputs.iter().flat_map(|(port, edges)| edges.iter().map(move |edge| (port.as_str(), edge)));
        edges.filter(|(_, edge)| matches!(gives(edge), Some(Artifact::Model | Artifact::Models))).collect()
    }

    /// Tells the ledger what a task with this result met, where it does not know it; the answer is the data and its name.
    pub fn enter_meetings(&self, id: TaskId, known: &Known, outcomes: &[Outcome]) -> Result<BTreeMap<Digest, String>> {
        if !self.meets_test_data(id) {
            return Ok(BTreeMap::new());
        }
        let meetings = self.meetings(id, known, outcomes)?;
        let new: Vec<Meeting> = self.with_ledger(|ledger| {
            meetings.iter().filter(|(_, meeting)| ledger.add(meeting)).map(|(_, meeting)| meeting.clone()).collect()
        })?;
        if !new.is_empty() && self.store.is_writable() {
            self.store.enter(&new)?;
        }
        Ok(meetings.into_iter().map(|(name, meeting)| (meeting.data, name)).collect())
    }

    /// How often this data was met.
    pub fn tested(&self, data: &BTreeMap<Digest, String>) -> Result<Vec<Tested>> {
        self.with_ledger(|ledger| {
            let tested = data.iter().filter_map(|(data, name)| {
                let met = ledger.met(data)?;
                Some(Tested { name: name.clone(), data: *data, models: met.models.len(), first: met.first.clone() })
            });
            let mut tested: Vec<Tested> = tested.collect();
            tested.sort_by(|one, other| one.name.cmp(&other.name));
            tested
        })
    }

    fn with_ledger<T>(&self, work: impl FnOnce(&mut Ledger) -> T) -> Result<T> {
        let mut held = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(self.store.ledger()?);
        }
        Ok(work(held.get_or_insert_default()))
    }

    /// What port `ledger` of a task shows: a line per test data that was met on the way to it, with how many models met it ever, and how
    /// many of them on the way. No time: results hold none. None where nothing was met.
    pub(super) fn ledger_shown(&self, before: &BTreeSet<TaskId>, outcomes: &[Outcome]) -> Result<Option<Vec<u8>>> {
        let mut here: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
        // A plan has not told the ledger what it found.
        for id in self.wanted.iter().filter(|id| self.meets_test_data(**id)) {
            let Outcome::Known(known) = &outcomes[id.0] else { continue };
            for (_, meeting) in self.meetings(*id, known, outcomes)? {
                self.with_ledger(|ledger| ledger.add(&meeting))?;
                if before.contains(id) {
                    here.entry(meeting.data).or_default().insert(meeting.model);
                }
            }
        }
        let mut text = "data\tmodels\there\n".to_owned();
        for (data, own) in &here {
            let models = self.with_ledger(|ledger| ledger.met(data).map_or(0, |met| met.models.len()))?;
            text.push_str(&format!("{data}\t{models}\t{}\n", own.len()));
        }
        Ok((!here.is_empty()).then(|| text.into_bytes()))
    }

    /// Tasks that meet test data and must have ended before a task that shows the ledger is judged: else what it shows would depend on
    /// who was first. Those that follow from such a task are not among them.
    pub(super) fn testers(&self) -> BTreeSet<TaskId> {
        if !self.wanted.iter().any(|id| self.shows_ledger(*id)) {
            return BTreeSet::new();
        }
        let mut after: BTreeSet<TaskId> = BTreeSet::new();
        let mut testers = BTreeSet::new();
        // Each task stands after those it needs.
        for id in &self.wanted {
            let follows = !after.is_empty() && self.inputs_of(*id).any(|need| after.contains(&need));
            if follows || self.shows_ledger(*id) {
                after.insert(*id);
            } else if self.meets_test_data(*id) {
                testers.insert(*id);
            }
        }
        testers
    }
}
