//! Carries out CPU kinds that work item by item, in the rayon pool.
//!
//! Gives trees of blobs; records, keys and scheduling are others' business.

use super::children::Children;
use super::guard::{Guard, Limits};
use super::items::{Items, Treated};
use super::quarantine::quarantine_of;
use super::task::{Job, Made};
use super::turns;
use crate::content::{FileRef, Level, Tree};
use crate::crash::panic_point;
use crate::panics::caught;
use crate::stage::{Aside, Configured, Each, Inputs, Item, Kind, MapWork, Note, Part, Picker, QUARANTINE, Row, Work, columns_of};
use crate::table::{Table, Tsv};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet, HashSet};
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
    // Rows of the main output, mostly all, stay where they are.
    let (main, mut main_rows) = (kind.outputs[0].name, done.rows);
    let is_other = |row: &mut Row| row.port.as_deref().is_some_and(|port| port != main);
    let others: Vec<Row> = main_rows.extract_if(.., is_other).collect();
    let mut rows: BTreeMap<&str, Vec<Row>> = BTreeMap::from([(main, main_rows)]);
    for row in others {
        let port = kind.outputs.iter().find(|port| row.port.as_deref() == Some(port.name));
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
    let missing = known.missing();
    let (done, count) = (AtomicU64::new(known.before), known.items.len() as u64);
    let step = count / STEPS + 1;
    let treat = |at: &usize| -> Result<Treated> {
        job.check()?;
        let treated = known.keep(*at, each(&known.items[*at], &known.whole).with_context(|| format!("item {}", known.items[*at].item))?)?;
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done % step == 0 || done == count {
            job.note(Note::Progress { done, of: count, text: String::new() });
        }
        Ok(treated)
    };
    let treated = turns::each(&missing, treat);
    known.done(job, &missing, treated)
}

/// The items of one task, and what is known of them.
pub(super) struct Known<'j> {
    job: &'j Job<'j>,
    what: &'j What<'j>,
    map: &'j dyn MapWork,
    /// Sorted by name.
    pub(super) items: Vec<Item>,
    /// What became of each, as far as that is known from before.
    treated: Vec<Option<Treated>>,
    /// How many were treated before.
    before: u64,
    /// The whole ports.
    whole: Inputs,
    /// Those files of theirs that are not in the store, so that somebody may change them.
    apart: Vec<FileRef>,
    cache: Items<'j>,
}

impl<'j> Known<'j> {
    /// Looks every item up.
    pub(super) fn look(job: &'j Job<'j>, what: &'j What<'j>, map: &'j dyn MapWork, item_ports: &[&str]) -> Result<Self> {
        let whole = whole_ports(&job.inputs, item_ports);
        let mut items = map.items(&job.inputs)?;
        items.sort_by(|a, b| a.item.cmp(&b.item));
        let cache = Items::new(job.store, what, &map.reads(), &items, &whole, job.anew);
        let treated = cache.look(&items)?;
        let (count, before) = (items.len(), treated.iter().flatten().count() as u64);
        if before > 0 {
            job.note(Note::Log(format!("{before} of {count} items were treated before")));
            job.note(Note::Progress { done: before, of: count as u64, text: String::new() });
        }
        let files = whole.0.values().flatten().flat_map(|part| part.tree.files.values());
        let apart = files.filter(|file| !file.place.file.starts_with(job.store.root())).cloned().collect();
        Ok(Self { job, what, map, items, treated, before, whole, apart, cache })
    }

    /// The places of the items of which nothing is known.
    pub(super) fn missing(&self) -> Vec<usize> {
        (0..self.items.len()).filter(|at| self.treated[*at].is_none()).collect()
    }

    /// Keeps what became of the item at `at`, unless that was made of other bytes than its key says.
    pub(super) fn keep(&self, at: usize, each: Each) -> Result<Treated> {
        let files = self.items[at].files.iter().map(|file| &file.file);
        if let Some(moved) = (self.job.moved)(&mut files.chain(&self.apart))? {
            bail!("{moved} while the task ran, so what was made of it is not kept; run again");
        }
        let treated = self.cache.keep(at, &self.items[at], each)?;
        self.job.kept.fetch_add(1, Ordering::Relaxed);
        Ok(treated)
    }

    /// All items are treated, those that were `missing` as told, or treating them failed: what was kept stays either way.
    pub(super) fn done(mut self, job: &Job, missing: &[usize], treated: Result<Vec<Treated>>) -> Result<Done> {
        self.cache.finish()?;
        for (at, treated) in missing.iter().zip(treated?) {
            self.treated[*at] = Some(treated);
        }
        let count = self.items.len();
        let (mut rows, mut aside) = (Vec::with_capacity(count), Vec::new());
        for (item, treated) in self.items.into_iter().zip(self.treated) {
            match treated.with_context(|| format!("nothing became of item {}", item.item))? {
                Treated::Rows(made) => rows.extend(made),
                Treated::Aside { class, reason } => aside.push(Aside { item: item.item, kind: self.what.name.into(), class, reason }),
            }
        }
        rows.sort_by(|a: &Row, b| a.item.cmp(&b.item));
        self.map.finish(&mut rows, &mut aside)?;
        self.map.remarks(&rows).into_iter().for_each(|remark| job.note(Note::Warning(remark)));
        let quarantined = aside.len() as u64;
        Ok(Done { rows, aside, count: count as u64, known: self.before, quarantined })
    }
}

/// The output's tree: every row's files, `index.tsv`, and `quarantine.tsv` where an item was set aside here or before.
pub(super) fn gather(job: &Job, writes: &[&str], ports: &[&str], rows: Vec<Row>, aside: &[Aside], level: Level) -> Result<Tree> {
    let all = columns_of(rows.iter().map(|row| &row.values));
    let carried = all.into_iter().filter(|column| !writes.contains(column));
    let columns: Vec<String> = writes.iter().copied().chain(carried).filter(|column| *column != "item").map(str::to_owned).collect();
    let mut seen = HashSet::with_capacity(rows.len());
    ensure!(rows.iter().all(|row| seen.insert(row.item.as_str())), "two rows of the output have the same item");
    drop(seen);
    let mut index = Tsv::default();
    index.row(std::iter::once("item").chain(columns.iter().map(String::as_str)));
    let mut tree = Tree { files: BTreeMap::new(), level };
    let mut picker = Picker::new(&columns);
    // Each row goes when it is written: there may be hundreds of thousands.
    for row in rows {
        index.row(std::iter::once(row.item.as_str()).chain(picker.pick(&row.values)));
        for (path, file) in row.files {
            let digest = file.digest;
            let other = tree.files.insert(path, file);
            ensure!(other.is_none_or(|other| other.digest == digest), "item {} would overwrite a file of another item", row.item);
        }
    }
    tree.files.insert(INDEX.to_owned(), job.store.put_bytes(&index.into_bytes())?);

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
