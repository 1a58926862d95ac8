//! Quarantine, judged: what a task itself set aside, and what of it a person has accepted.
//!
//! A decision is for an item, set aside by a kind with a class: where the item is set aside for something else, it is judged anew.
//! Decisions stand in [`DECISIONS`] beside `tomograph.toml`; they are an input of no kind and in no key.

use crate::content::Tree;
use crate::pipeline::{Origin, Quarantine, TaskId};
use crate::plan::{Outcome, Planner};
use crate::stage::{Aside, QUARANTINE};
use crate::store::{OutputRecord, Record, Store};
use crate::table::Table;
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Where decisions stand, in the project's root.
pub const DECISIONS: &str = "decisions.tsv";

/// Somebody's word that an item may stay in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub item: String,
    pub kind: String,
    pub class: String,
    pub reason: String,
    pub who: String,
}

/// What has been decided, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions(pub Vec<Decision>);

impl Decisions {
    /// Reads [`DECISIONS`].
    pub fn from_tsv(bytes: &[u8]) -> Result<Self> {
        let rows = columns(bytes, ["item", "kind", "class", "reason", "who"])?;
        Ok(Self(rows.into_iter().map(|[item, kind, class, reason, who]| Decision { item, kind, class, reason, who }).collect()))
    }

    /// Writes it.
    pub fn to_tsv(&self) -> Vec<u8> {
        let mut table = Table::new(["item", "kind", "class", "reason", "who"]);
        let row = |one: &Decision| [&one.item, &one.kind, &one.class, &one.reason, &one.who].map(Clone::clone).to_vec();
        table.rows = self.0.iter().map(row).collect();
        table.to_tsv()
    }

    /// The decision on what was set aside, if there is one.
    pub fn on(&self, aside: &Aside) -> Option<&Decision> {
        self.0.iter().find(|one| one.item == aside.item && one.kind == aside.kind && one.class == aside.class)
    }
}

/// What a task itself set aside: what its outputs list and its inputs do not. None where the list is gone from the store.
pub fn set_aside(planner: &Planner, id: TaskId, record: &Record, outcomes: &[Outcome]) -> Result<Option<BTreeSet<Aside>>> {
    let mut aside = BTreeSet::new();
    if record.quarantined == 0 {
        return Ok(Some(aside));
    }
    for output in record.outputs.values() {
        let Some(listed) = listed(planner.store, output)? else { return Ok(None) };
        aside.extend(listed);
    }
    for edge in planner.pipeline.tasks[id.0].inputs.values().flatten() {
        if let Origin::Task { task, port } = &edge.origin
            && let Outcome::Known(known) = &outcomes[task.0]
        {
            for line in listed(planner.store, known.output(port)?)?.unwrap_or_default() {
                aside.remove(&line);
            }
        }
    }
    Ok(Some(aside))
}

/// What an output lists, without a look at its other files.
fn listed(store: &Store, output: &OutputRecord) -> Result<Option<Vec<Aside>>> {
    let Some(manifest) = store.read_blob(&output.manifest)? else { return Ok(None) };
    let tree = Tree::from_manifest(&manifest, output.level).context("what a task gave is no list of files")?;
    let Some(file) = tree.files.get(QUARANTINE) else { return Ok(Some(Vec::new())) };
    store.read_blob(&file.digest)?.map(|bytes| parse(&bytes)).transpose()
}

/// What a tree's `quarantine.tsv` says; nothing where there is none.
pub(super) fn quarantine_of(tree: &Tree) -> Result<Vec<Aside>> {
    if tree.files.contains_key(QUARANTINE) { parse(&tree.read(QUARANTINE)?) } else { Ok(Vec::new()) }
}

fn parse(bytes: &[u8]) -> Result<Vec<Aside>> {
    let rows = columns(bytes, ["item", "kind", "class", "reason"]).context(QUARANTINE)?;
    Ok(rows.into_iter().map(|[item, kind, class, reason]| Aside { item, kind, class, reason }).collect())
}

fn columns<const N: usize>(bytes: &[u8], names: [&str; N]) -> Result<Vec<[String; N]>> {
    let table = Table::from_tsv(bytes)?;
    let mut at = [0; N];
    for (position, name) in at.iter_mut().zip(names) {
        *position = table.column(name)?;
    }
    Ok(table.rows.into_iter().map(|row| at.map(|position| row[position].clone())).collect())
}

/// A task's quarantine against its policy and the decisions.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Items that nobody has accepted, and those that somebody has.
    pub(super) open: u64,
    pub(super) accepted: u64,
    /// Why the task fails for it.
    pub(super) error: Option<String>,
}

/// Judges a result's quarantine, anew at every run, since neither policy nor decisions are in a key.
pub(super) fn judge(planner: &Planner, id: TaskId, record: &Record, outcomes: &[Outcome], decisions: &Decisions) -> Result<Verdict> {
    if record.quarantined == 0 {
        return Ok(Verdict::default());
    }
    let task = &planner.pipeline.tasks[id.0];
    let aside = set_aside(planner, id, record, outcomes)?.unwrap_or_default();
    let accepted = aside.iter().filter(|one| decisions.on(one).is_some()).count() as u64;
    let open = record.quarantined.saturating_sub(accepted);
    let (exceeds, allowed) = match task.policy.max_quarantine {
        Quarantine::Count(count) => (open > count, count.to_string()),
        Quarantine::Percent(percent) => (open as f64 * 100.0 > percent * record.items as f64, format!("{percent} %")),
    };
    let mut classes: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    for one in aside.iter().filter(|one| decisions.on(one).is_none()) {
        classes.entry(&one.class).or_insert((0, &one.item)).0 += 1;
    }
    let list: Vec<String> = classes.iter().map(|(class, (count, first))| format!("{count} {class} (first: {first})")).collect();
    let error = format!(
        "{open} of {} items are in quarantine and max_quarantine allows {allowed}: {}; mend them, accept them (see `tomograph quarantine`), or set policy.max_quarantine in stage `{}`",
        record.items,
        list.join(", "),
        task.stage
    );
    Ok(Verdict { open, accepted, error: exceeds.then_some(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_for_one_item_kind_and_class() {
        let decision = |item: &str| Decision {
            item: item.into(),
            kind: "dicom.import".into(),
            class: "truncated".into(),
            reason: "known\tloss".into(),
            who: "ana".into(),
        };
        let decisions = Decisions(vec![decision("a"), decision("b")]);
        assert_eq!(Decisions::from_tsv(&decisions.to_tsv()).unwrap(), decisions);
        let aside =
            |item: &str, class: &str| Aside { item: item.into(), kind: "dicom.import".into(), class: class.into(), reason: "r".into() };
        assert_eq!(decisions.on(&aside("b", "truncated")).map(|one| one.who.as_str()), Some("ana"));
        assert!(decisions.on(&aside("b", "crash")).is_none() && decisions.on(&aside("c", "truncated")).is_none());
        assert!(Decisions::from_tsv(b"item\tkind\n").unwrap_err().to_string().contains("class"));
    }
}
