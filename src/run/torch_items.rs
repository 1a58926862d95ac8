//! Hands the items of a torch kind that nobody has treated before to a child `tomograph-torch`, and keeps each as it comes.
//!
//! What came before a kill or a failure stays: the next run asks for the rest. Where nothing is missing no child is started.

use super::items::Treated;
use super::order::{Missing, Sent};
use super::pool::{Known, What, output};
use super::task::{Job, Made};
use super::torch::{Told, Worker, converse, order};
use crate::stage::{Configured, Each, Item, Kind, TorchItems};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Does the work of a torch kind that works item by item.
pub(super) fn carry_out(job: &Job, kind: &Kind, ports: TorchItems, params: &dyn Configured, worker: &Worker) -> Result<Made> {
    let map = params.as_map().with_context(|| format!("{} declares no items", kind.name))?;
    let what = What { name: kind.name, revision: kind.revision, params: &params.params(), level: job.level };
    let known = Known::look(job, &what, map, ports.items)?;
    let missing = known.missing();
    let mut treated: Vec<Option<Treated>> = missing.iter().map(|_| None).collect();
    let asked = if missing.is_empty() { Ok(()) } else { ask(job, kind, params, worker, &known, &missing, &mut treated) };
    let treated = asked.and_then(|()| {
        let silent = treated.iter().position(Option::is_none).map(|at| missing[at]);
        ensure!(silent.is_none(), "tomograph-torch said nothing of item {}", silent.map_or("", |at| &known.items[at].item));
        Ok(treated.into_iter().flatten().collect())
    });
    (job.worked)();
    let done = known.done(job, &missing, treated)?;
    output(job, &what, map, kind, ports.writes, ports.items, done)
}

/// Has a child treat the items at the places `missing`.
fn ask(
    job: &Job,
    kind: &Kind,
    params: &dyn Configured,
    worker: &Worker,
    known: &Known,
    missing: &[usize],
    treated: &mut [Option<Treated>],
) -> Result<()> {
    let scratch = job.store.scratch()?;
    let bytes = scratch.path().join("bytes");
    let file = File::create_new(&bytes).and_then(|_| File::open(&bytes)).context("cannot make a file in the store")?;
    let items: Vec<Item> = missing.iter().map(|at| known.items[*at].clone()).collect();
    let mut order = order(job, kind, params, worker, scratch.path())?;
    order.missing = Some(Missing { items, bytes });
    converse(job, worker, &order, scratch.path(), &mut |told: Told| {
        let place = told.at;
        let at = *missing.get(place).context("tomograph-torch answered with an item that it was not asked for")?;
        let each = whole(told, &file).with_context(|| format!("item {}", known.items[at].item))?;
        treated[place] = Some(known.keep(at, each)?);
        Ok(())
    })
}

/// What the child gave for an item, with the bytes of its files.
fn whole(told: Told, file: &File) -> Result<Each> {
    let Told { mut each, files, .. } = told;
    for Sent { row, path, from, size } in files {
        let Each::Made(rows) = &mut each else { bail!("an item that was set aside has a file") };
        let mut bytes = vec![0; usize::try_from(size).context("a file as large as that")?];
        file.read_exact_at(&mut bytes, from).context("cannot read what tomograph-torch wrote")?;
        rows.get_mut(row).context("a file of a row that is not there")?.files.push((path, bytes));
    }
    Ok(each)
}
