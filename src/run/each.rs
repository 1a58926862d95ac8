//! Runs a `command` with `map`: one process per item, each result kept alone.
//!
//! The program sees the item's file under a name that says nothing, the whole ports and its params: neither the item's name nor its
//! row, which are in no item's key. What it gives takes the item's name and place here.

use super::command::{Surroundings, misfit, run_once};
use super::pool::{self, What};
use super::task::{Job, Made};
use crate::content::{FileRef, Quoting, Tree};
use crate::pipeline::{Command as Stage, Output, Policy};
use crate::stage::{Artifact, Aside, Each, Inputs, Item, Made as MadeItem, MapWork, Note, Part, Row, rows_of_index};
use crate::table::Table;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

/// What a program gives for one item, where the output is a table.
const ROWS: &str = "rows.tsv";

/// A command as what treats items.
struct PerItem<'a> {
    job: &'a Job<'a>,
    stage: &'a Stage,
    port: &'a str,
    output: &'a Output,
    policy: &'a Policy,
    around: &'a Surroundings<'a>,
}

/// Treats every item. `manifest` is the task's key manifest: what is in it beside the inputs is in every item's key.
pub(super) fn carry_out(
    job: &Job,
    stage: &Stage,
    port: &str,
    output: &Output,
    policy: &Policy,
    manifest: &[u8],
    around: &Surroundings,
) -> Result<Made> {
    let mut params: serde_json::Value = serde_json::from_slice(manifest).context("the task's key manifest")?;
    if let Some(manifest) = params.as_object_mut() {
        manifest.remove("inputs");
    }
    let work = PerItem { job, stage, port, output, policy, around };
    let what = What { name: "command", revision: 1, params: &params, level: job.level };
    let each = |item: &Item, whole: &Inputs| work.each(item, whole);
    let done = pool::treat(job, &what, &work, &[port], &each)?;
    let tree = match output.artifact {
        Artifact::Table => one_table(job, output, done.rows)?,
        _ => pool::gather(job, &["file", "width", "height"], &[port], done.rows, &done.aside, what.level)?,
    };
    let outputs = BTreeMap::from([(output.port.clone(), tree)]);
    Ok(Made { outputs, items: done.count, items_ran: done.count - done.known, quarantined: done.quarantined, ..Made::default() })
}

impl MapWork for PerItem<'_> {
    fn reads(&self) -> Vec<String> {
        Vec::new()
    }

    fn items(&self, inputs: &Inputs) -> Result<Vec<Item>> {
        rows_of_index(inputs, &[self.port])
    }

    fn each(&self, item: &Item, whole: &Inputs) -> Result<Each> {
        let file = &item.file(self.port)?.file;
        let tree = Tree { files: BTreeMap::from([(plain_name(file)?.to_owned(), file.clone())]), level: item.level };
        let mut inputs = whole.clone();
        inputs.0.insert(self.port.to_owned(), vec![Part { coordinates: Default::default(), tree: tree.into(), hole: None }]);
        let mut alone = self.job.with_inputs(inputs, self.job.state.clone());
        // As many processes run as the pool has threads: each has one.
        alone.threads = 1;
        // How far one item is says nothing of the task.
        alone.notes = Box::new(|note| {
            if !matches!(note, Note::Progress { .. }) {
                self.job.note(note);
            }
        });
        let outputs = std::slice::from_ref(self.output);
        let take = |folder: &Path, program: &str| {
            let place = folder.join(&self.output.port);
            let left = match self.output.artifact {
                Artifact::Table => read_rows(&place, &self.output.port),
                artifact => read_file(&place, artifact),
            };
            left.with_context(|| misfit(self.output, program))
        };
        let (file, row) = run_once(&alone, self.stage, outputs, self.policy, self.around, &take)?;
        Ok(Each::Made(vec![MadeItem { row, files: vec![file], ..MadeItem::default() }]))
    }

    fn finish(&self, rows: &mut Vec<Row>, _: &mut Vec<Aside>) -> Result<()> {
        if self.output.artifact == Artifact::Table {
            return Ok(());
        }
        for row in rows {
            // Carried over from the leading index: the item's own path, which its output takes.
            let path = row.values.get("file").context("an item without a file")?;
            let ending = row.files.first().and_then(|(name, _)| name.rsplit_once('.')).map_or("png", |(_, ending)| ending);
            let stem = path.rsplit_once('.').filter(|(_, ending)| !ending.contains('/')).map_or(path, |(stem, _)| stem);
            let path = format!("{stem}.{ending}");
            row.values.set("file", &path);
            row.files.iter_mut().for_each(|(name, _)| name.clone_from(&path));
        }
        Ok(())
    }

    fn assemble(&self, _: &Inputs, _: &[Row], _: &Path) -> Result<bool> {
        Ok(false)
    }
}

/// The name under which the program sees a file: from what is in it, since names are in no item's key.
fn plain_name(file: &FileRef) -> Result<&'static str> {
    let mut head = Vec::new();
    file.open().and_then(|file| file.take(132).read_to_end(&mut head)).context("cannot read the item's file")?;
    Ok(match &head {
        head if head.starts_with(b"\x89PNG") => "item.png",
        head if head.ends_with(b"DICM") && head.len() == 132 => "item.dcm",
        _ => "item",
    })
}

type Left = ((String, Vec<u8>), Vec<(String, String)>);

/// The one file of an image, mask or study, and what the index says of it.
fn read_file(place: &Path, artifact: Artifact) -> Result<Left> {
    let (size, bytes) = super::valid::item(place, artifact)?;
    let name = if artifact == Artifact::Studies { "item.dcm" } else { "item.png" };
    let size =
        size.into_iter().flat_map(|(width, height)| [("width".to_owned(), width.to_string()), ("height".to_owned(), height.to_string())]);
    Ok(((name.to_owned(), bytes), size.collect()))
}

/// The rows of a table that belong to one item.
fn read_rows(place: &Path, port: &str) -> Result<Left> {
    let table = super::valid::table(place, &format!("{port}.tsv"), &[])?;
    let own = table.columns.iter().find(|column| ["item", "subject", "session"].contains(&column.as_str()));
    if let Some(column) = own {
        bail!("{port}.tsv has a column `{column}`, which is added for every item: leave it out");
    }
    Ok(((ROWS.to_owned(), table.to_tsv()), Vec::new()))
}

/// All items' rows under one header, each with its item, subject and session in front.
fn one_table(job: &Job, output: &Output, rows: Vec<Row>) -> Result<Tree> {
    let mut all: Option<Table> = None;
    for row in rows {
        let (_, file) = row.files.first().with_context(|| format!("item {} gave no rows", row.item))?;
        let bytes = file.read().with_context(|| format!("cannot read what item {} gave", row.item))?;
        let table = Table::from_tsv(&bytes).with_context(|| format!("item {}", row.item))?;
        let columns: Vec<String> = ["item", "subject", "session"].map(str::to_owned).into_iter().chain(table.columns).collect();
        let all = all.get_or_insert_with(|| Table::new(columns.iter().cloned()));
        if all.columns != columns {
            // Without a header the first row stands in its place.
            let other = format!("item {} gave other columns than the first", row.item);
            let quoting = format!("{other}: {}", columns[3..].join(", "));
            bail!(Quoting { quoting, without: format!("{other}: {} of them; the first had {}", columns.len() - 3, all.columns.len() - 3) });
        }
        let of = |column: &str| row.values.get(column).unwrap_or_default().to_owned();
        let front = [row.item.clone(), of("subject"), of("session")];
        all.rows.extend(table.rows.into_iter().map(|values| front.iter().cloned().chain(values).collect()));
    }
    let table = all.unwrap_or_else(|| Table::new(["item", "subject", "session"]));
    let file = job.store.put_bytes(&table.to_tsv())?;
    Ok(Tree { files: BTreeMap::from([(format!("{}.tsv", output.port), file)]), level: job.level })
}
