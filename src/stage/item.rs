//! Items: the rows that a map kind treats alone.

use super::{Inputs, Packer, Part, Values};
use crate::content::{FileRef, Level};
use crate::table::Table;
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The file of an output that lists the items that were set aside on the way to it: item, kind, class, reason.
pub const QUARANTINE: &str = "quarantine.tsv";

/// One row that a map kind treats alone: one DICOM file, one image.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Its name: made once, at import, and never changed. Free of people's data.
    pub item: String,
    /// Its files, by port.
    pub files: Vec<ItemFile>,
    /// Its row in the leading port's index, every column but `item`. Only those of [`super::Map::reads`] may be read by `each`.
    pub row: Values,
    /// How close the item is to people.
    pub level: Level,
}

impl Item {
    /// The item's file on `port`.
    pub fn file(&self, port: &str) -> Result<&ItemFile> {
        self.files.iter().find(|file| file.port == port).with_context(|| format!("item {} has no file on port `{port}`", self.item))
    }

    /// The bytes of the item's file on `port`.
    pub fn read(&self, port: &str) -> Result<Vec<u8>> {
        let file = self.file(port)?;
        file.file.read_whole().with_context(|| format!("cannot read the file of item {}", self.item))
    }

    /// A value of the row; empty where missing.
    pub fn value(&self, column: &str) -> &str {
        self.row.get(column).unwrap_or_default()
    }
}

/// A file of an item.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemFile {
    /// The item port it came by; where a port gives an item several files, what this one is to the kind.
    pub port: String,
    /// Its path in that port's tree; not in the item's key.
    pub path: String,
    /// Its content.
    pub file: FileRef,
}

/// What `each` makes of an item.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Each {
    /// Rows of the output, none to many.
    Made(Vec<Made>),
    /// The kind's verdict on the item's bytes: set aside, with a class (one word, such as `truncated`) and a reason free of people's data.
    Quarantined { class: String, reason: String },
}

/// One row made from an item, with its files.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// The output port it belongs to; none for the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The row's item, where it is not the one it came from (imports, and kinds that make several rows of one).
    pub item: Option<String>,
    /// Columns of [`super::Map::WRITES`] and their values; a column left out is carried over, or empty.
    pub row: Vec<(String, String)>,
    /// Path in the output's folder, and bytes. The column `file` of `row` says which is the row's main file.
    #[serde(skip)]
    pub files: Vec<(String, Vec<u8>)>,
}

/// A row of the output when all are seen together.
#[derive(Clone, Debug)]
pub struct Row {
    /// The output port it belongs to; none for the main one.
    pub port: Option<String>,
    /// Its item.
    pub item: String,
    /// Column → value: written and carried ones.
    pub values: Values,
    /// Path in the output's folder → content.
    pub files: Vec<(String, FileRef)>,
}

/// An item in quarantine: a row of `quarantine.tsv`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Aside {
    pub item: String,
    /// The kind that set it aside.
    pub kind: String,
    pub class: String,
    pub reason: String,
}

/// The item that `name` (a path inside the source, a UID, a value of a table's `item` column) gives at import: the name itself, or,
/// from an identified source, the first 24 hexadecimal digits of a keyed hash of it.
pub fn item_name(level: Level, name: &str) -> String {
    match level.is_identified() {
        false => name.to_owned(),
        true => blake3::Hash::from_bytes(blake3::derive_key("tomograph item 1", name.as_bytes())).to_hex()[..24].to_owned(),
    }
}

/// Items from the rows of the leading port's `index.tsv`; files of other item ports are matched by `item` and must be there. An item that
/// another port has in quarantine is left out: it is in this output's quarantine too.
pub fn rows_of_index(inputs: &Inputs, ports: &[&str]) -> Result<Vec<Item>> {
    let items = rows_with_files(inputs, ports)?;
    for port in ports.iter().filter(|port| !inputs.many(port).is_empty()) {
        let lacking = items.iter().find(|item| item.file(port).is_err());
        ensure!(lacking.is_none(), "port `{port}` has nothing for item {}", lacking.map_or("", |item| &item.item));
    }
    Ok(items)
}

/// The same, but an item for which another port has nothing lacks that port's file: `each` says what that means.
pub fn rows_with_files(inputs: &Inputs, ports: &[&str]) -> Result<Vec<Item>> {
    let leading = inputs.one(ports[0])?;
    let mut items = items_of(leading, ports[0])?;
    for port in &ports[1..] {
        let Some(part) = inputs.optional(port)? else { continue };
        let others: BTreeMap<String, ItemFile> =
            items_of(part, port)?.into_iter().filter_map(|item| item.files.into_iter().next().map(|file| (item.item, file))).collect();
        let aside = set_aside(part).with_context(|| format!("port `{port}`"))?;
        items.retain(|item| others.contains_key(&item.item) || !aside.contains(&item.item));
        for item in &mut items {
            item.files.extend(others.get(&item.item).cloned());
            item.level = item.level.max(part.tree.level);
        }
    }
    Ok(items)
}

/// The items that a part has in quarantine.
fn set_aside(part: &Part) -> Result<BTreeSet<String>> {
    if !part.tree.files.contains_key(QUARANTINE) {
        return Ok(BTreeSet::new());
    }
    let table = Table::from_tsv(&part.tree.read(QUARANTINE)?).context(QUARANTINE)?;
    let at = table.column("item").context(QUARANTINE)?;
    Ok(table.rows.into_iter().map(|mut row| std::mem::take(&mut row[at])).collect())
}

fn items_of(part: &Part, port: &str) -> Result<Vec<Item>> {
    let table = Table::from_tsv(&part.tree.read("index.tsv")?).with_context(|| format!("port `{port}`: index.tsv"))?;
    let at_item = table.column("item")?;
    let at_file = table.column("file")?;
    let (mut items, mut packer) = (Vec::with_capacity(table.rows.len()), Packer::default());
    for values in &table.rows {
        let path = &values[at_file];
        ensure!(!values[at_item].is_empty(), "port `{port}`: a row of index.tsv has no item");
        let file = part.tree.files.get(path).with_context(|| format!("port `{port}`: the file of item {} is missing", values[at_item]))?;
        let row: Vec<_> = table.columns.iter().zip(values).filter(|(column, _)| *column != "item").collect();
        items.push(Item {
            item: values[at_item].clone(),
            files: vec![ItemFile { port: port.to_owned(), path: path.clone(), file: file.clone() }],
            row: packer.pack(&Values::default(), &row),
            level: part.tree.level,
        });
    }
    Ok(items)
}
