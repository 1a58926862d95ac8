//! Carries out CPU kinds that work item by item, in the rayon pool.
//!
//! Gives trees of blobs; records, keys and scheduling are others' business.

use super::children::Children;
use super::guard::{Guard, Limits};
use super::items::{Items, Treated};
use super::quarantine::quarantine_of;
use super::task::{Job, Made};
use super::turns;
use crate::content::{Level, Tree};
use crate::crash::panic_point;
use crate::panics::caught;
use crate::stage::{Aside, Configured, Each, Inputs, Item, Kind, MapWork, Note, Part, QUARANTINE, Row, Work};
use crate::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The file of a map's output that lists its rows.
const INDEX: &str = "index.tsv";
/// Progress is told so many times at most.
const STEPS: u64 = 500;

/// Treats one item, here or in a guarded child.
pub(super) type Treat<'t> = dyn Fn(&Item, &Inputs) -> Result<Each> + Sync + 't;

/// Does the work of a `Map` kind.
pub(super) fn carry_out(job: &Job, kind: &Kind, params: &dyn Configured, children: &Children) -> Result<Made> {
    match kind.work {
        Work::Map { items, writes, guarded } => {
            let map = params.as_map().with_context(|| format!("{} declares no items", kind.name))?;
            let each: Box<Treat> = if guarded {
                let children = children.clone();
                let start = Arc::new(move |command| children.start_unlisted(command));
                let whole = whole_ports(&job.inputs, items);
                let guard = Guard::new(job.program.clone(), kind.name, &params.params(), &whole, Limits::default(), start);
                Box::new(move |item, _| guard.each(item, &|| job.check()))
            } else {
                Box::new(move |item, whole| unguarded(map, item, whole))
            };
            let what = What { name: kind.name, revision: kind.revision, params: &params.params(), level: job.level };
            let done = treat(job, &what, map, items, &*each)?;
            output(job, &what, map, kind, writes, items, done)
        }
        Work::Whole | Work::Torch { .. } => bail!("{} does not work item by item on the CPU", kind.name),
    }
}

/// The outputs of a map kind, from its rows: the main one, and those others that a row belongs to.
pub(super) fn output(job: &Job, what: &What, map: &dyn MapWork, kind: &Kind, writes: &[&str], ports: &[&str], done: Done) -> Result<Made> {
    let (items, items_ran, quarantined) = (done.count, done.count - done.known, done.quarantined);
    let mut rows: BTreeMap<&str, Vec<Row>> = BTreeMap::from([(kind.outputs[0].name, Vec::new())]);
    for row in done.rows {
        let port = kind.outputs.iter().find(|port| row.port.as_deref().is_none_or(|name| name == port.name));
        let port = port.with_context(|| format!("{} gave a row for an output that it does not have", kind.name))?;
        rows.entry(port.name).or_default().push(row);
    }
    let mut outputs = BTreeMap::new();
    for (port, rows) in rows {
        let scratch = job.store.scratch()?;
        let tree = if port == kind.outputs[0].name && map.assemble(&job.inputs, &rows, scratch.path())? {
            let mut tree = job.store.put_folder(scratch.path(), what.level).with_context(|| format!("output `{port}`"))?;
            set_aside(job, ports, &done.aside, &mut tree)?;
            tree
        } else {
            gather(job, writes, ports, rows, &done.aside, what.level).with_context(|| format!("output `{port}`"))?
        };
        outputs.insert(port.to_owned(), tree);
    }
    Ok(Made { outputs, items, items_ran, quarantined, ..Made::default() })
}

/// Takes a folder per output port into the store; every output must have a file.
pub(super) fn take_outputs<'p>(job: &Job, ports: impl Iterator<Item = &'p str>, folder: &std::path::Path, level: Level) -> Result<Made> {
    let mut outputs = BTreeMap::new();
    for port in ports {
        let tree = job.store.put_folder(&folder.join(port), level).with_context(|| format!("output `{port}`"))?;
        ensure!(!tree.files.is_empty(), "output `{port}` is empty: nothing was written there");
        outputs.insert(port.to_owned(), tree);
    }
    Ok(Made { outputs, ..Made::default() })
}

pub(super) fn whole_ports(inputs: &Inputs, items: &[&str]) -> Inputs {
    Inputs(inputs.0.iter().filter(|(port, _)| !items.contains(&port.as_str())).map(|(port, parts)| (port.clone(), parts.clone())).collect())
}

/// A panic in an item's own bytes is a verdict on the item, as in a guarded child.
fn unguarded(map: &dyn MapWork, item: &Item, whole: &Inputs) -> Result<Each> {
    let each = || {
        panic_point!("item", item.row);
        map.each(item, whole)
    };
    caught(each).unwrap_or_else(|_| {
        Ok(Each::Quarantined { class: "crash".into(), reason: "the program that reads it panicked on this item".into() })
    })
}

/// What treats items, as far as their keys and names of problems go.
pub(super) struct What<'a> {
    /// Kind, or `command`.
    pub(super) name: &'a str,
    pub(super) revision: u32,
    pub(super) params: &'a serde_json::Value,
    /// Of what is made.
    pub(super) level: Level,
}

/// All items, treated.
pub(super) struct Done {
    pub(super) rows: Vec<Row>,
    pub(super) aside: Vec<Aside>,
    pub(super) count: u64,
    /// Of them, those treated before.
    pub(super) known: u64,
    pub(super) quarantined: u64,
}

/// Treats every item that was not treated before, by turns with other tasks.
pub(super) fn treat(job: &Job, what: &What, map: &dyn MapWork, item_ports: &[&str], each: &Treat) -> Result<Done> {
    let known = Known::look(job, what, map, item_ports)?;
    let (done, count) = (AtomicU64::new(0), known.items.len() as u64);
    let step = count / STEPS + 1;
    let treat = |(at, item): &(usize, &Item)| -> Result<Treated> {
        job.check()?;
        let treated = match known.get(*at) {
            Some(treated) => treated,
            None => known.keep(*at, each(item, &known.whole).with_context(|| format!("item {}", item.item))?)?,
        };
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done % step == 0 || done == count {
            job.note(Note::Progress { done, of: count, text: String::new() });
        }
        Ok(treated)
    };
    let numbered: Vec<(usize, &Item)> = known.items.iter().enumerate().collect();
    let treated = turns::each(&numbered, treat);
    known.done(job, treated)
}

/// The items of one task, and what is known of them from before.
pub(super) struct Known<'j> {
    what: &'j What<'j>,
    map: &'j dyn MapWork,
    /// Sorted by name.
    pub(super) items: Vec<Item>,
    /// The whole ports.
    whole: Inputs,
    cache: Items<'j>,
}

impl<'j> Known<'j> {
    /// Looks every item up.
    pub(super) fn look(job: &'j Job<'j>, what: &'j What<'j>, map: &'j dyn MapWork, item_ports: &[&str]) -> Result<Self> {
        let whole = whole_ports(&job.inputs, item_ports);
        let mut items = map.items(&job.inputs)?;
        items.sort_by(|a, b| a.item.cmp(&b.item));
        let cache = Items::look(job.store, what, &map.reads(), &items, &whole)?;
        let cache = if job.anew { cache.anew() } else { cache };
        let (count, known) = (items.len(), cache.known());
        if known > 0 {
            job.note(Note::Log(format!("{known} of {count} items were treated before")));
        }
        Ok(Self { what, map, items, whole, cache })
    }

    /// What is known of the item at `at`.
    pub(super) fn get(&self, at: usize) -> Option<Treated> {
        self.cache.get(at, &self.items[at])
    }

    /// Keeps what became of the item at `at`.
    pub(super) fn keep(&self, at: usize, each: Each) -> Result<Treated> {
        self.cache.keep(at, &self.items[at], each)
    }

    /// All items are treated, in their order, or treating them failed: what was kept stays either way.
    pub(super) fn done(self, job: &Job, treated: Result<Vec<Treated>>) -> Result<Done> {
        self.cache.finish()?;
        let (mut rows, mut aside) = (Vec::new(), Vec::new());
        for (item, treated) in self.items.iter().zip(treated?) {
            match treated {
                Treated::Rows(made) => rows.extend(made),
                Treated::Aside { class, reason } => {
                    aside.push(Aside { item: item.item.clone(), kind: self.what.name.into(), class, reason });
                }
            }
        }
        rows.sort_by(|a, b| a.item.cmp(&b.item));
        self.map.finish(&mut rows, &mut aside)?;
        self.map.remarks(&rows).into_iter().for_each(|remark| job.note(Note::Warning(remark)));
        let quarantined = aside.len() as u64;
        Ok(Done { rows, aside, count: self.items.len() as u64, known: self.cache.known() as u64, quarantined })
    }
}

/// The output's tree: every row's files, `index.tsv`, and `quarantine.tsv` where an item was set aside here or before.
pub(super) fn gather(job: &Job, writes: &[&str], ports: &[&str], rows: Vec<Row>, aside: &[Aside], level: Level) -> Result<Tree> {
    let mut columns: Vec<String> = std::iter::once("item").chain(writes.iter().copied()).map(str::to_owned).collect();
    let carried: BTreeSet<&String> = rows.iter().flat_map(|row| row.values.keys()).filter(|column| !columns.contains(column)).collect();
    columns.extend(carried.into_iter().cloned().collect::<Vec<_>>());
    let mut table = Table::new(columns);
    let mut tree = Tree { files: BTreeMap::new(), level };
    for mut row in rows {
        let values = table.columns[1..].iter().map(|column| row.values.remove(column).unwrap_or_default());
        table.rows.push(std::iter::once(row.item.clone()).chain(values).collect());
        for (path, file) in row.files {
            let digest = file.digest;
            let other = tree.files.insert(path, file);
            ensure!(other.is_none_or(|other| other.digest == digest), "item {} would overwrite a file of another item", row.item);
        }
    }
    table.index_by("item").context("two rows of the output have the same item")?;
    tree.files.insert(INDEX.to_owned(), job.store.put_bytes(&table.to_tsv())?);

    set_aside(job, ports, aside, &mut tree)?;
    Ok(tree)
}

/// Adds `quarantine.tsv` where an item was set aside, here or on the way to an item port.
fn set_aside(job: &Job, ports: &[&str], aside: &[Aside], tree: &mut Tree) -> Result<()> {
    let mut lines: BTreeSet<Aside> = aside.iter().cloned().collect();
    for part in job.inputs.many(ports[0]) {
        lines.extend(quarantine_of(&part.tree)?);
    }
    for part in ports[1..].iter().flat_map(|port| job.inputs.many(port)) {
        let others = quarantine_of(&part.tree)?;
        if !others.is_empty() {
            // What the leading port does not have is none of this output's business.
            let leading = items_listed(job.inputs.many(ports[0]))?;
            lines.extend(others.into_iter().filter(|line| leading.contains(&line.item)));
        }
    }
    if !lines.is_empty() {
        let mut table = Table::new(["item", "kind", "class", "reason"]);
        table.rows = lines.into_iter().map(|line| vec![line.item, line.kind, line.class, line.reason]).collect();
        tree.files.insert(QUARANTINE.to_owned(), job.store.put_bytes(&table.to_tsv())?);
    }
    Ok(())
}

/// The items that the indexes of these parts list.
fn items_listed(parts: &[Part]) -> Result<BTreeSet<String>> {
    let mut items = BTreeSet::new();
    for part in parts.iter().filter(|part| part.tree.files.contains_key(INDEX)) {
        let index = Table::from_tsv(&part.tree.read(INDEX)?).context(INDEX)?;
        let at = index.column("item").context(INDEX)?;
        items.extend(index.rows.into_iter().map(|mut row| std::mem::take(&mut row[at])));
    }
    Ok(items)
}
