//! The rows of the table of `images.import`: which files each names, and what is carried over.

use super::{ImagesImport, MASK};
use crate::content::{FileRef, Quoting};
use crate::stage::{Item, ItemFile, Items as _, Packer, Part, Values, item_name};
use crate::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::HashMap;

/// Where the named columns stand.
struct Columns {
    file: usize,
    masks: Vec<usize>,
    item: Option<usize>,
    /// All columns but the file's, the masks' and the item's, under the names that the index uses; without a place they are empty.
    carried: Vec<(String, Option<usize>)>,
}

impl Columns {
    fn carry(&self, row: &[String], packer: &mut Packer) -> Values {
        let named: Vec<(&str, &str)> =
            self.carried.iter().map(|(name, at)| (name.as_str(), at.map(|at| row[at].as_str()).unwrap_or_default())).collect();
        packer.pack(&Values::default(), &named)
    }
}

impl ImagesImport {
    /// An item for each row of the table.
    pub(super) fn rows(&self, files: &Part, part: &Part, table: &Table) -> Result<Vec<Item>> {
        let columns = self.columns(table)?;
        ensure!(!table.rows.is_empty(), "the table has a header but no rows");
        let level = files.tree.level.max(part.tree.level);
        let folder = part.tree.only_file().ok().and_then(|path| path.rsplit_once('/')).map_or("", |(folder, _)| folder);
        let (mut items, mut missing) = (Vec::with_capacity(table.rows.len()), Vec::new());
        let (mut seen, mut masked, mut packer) = (HashMap::with_capacity(table.rows.len()), HashMap::new(), Packer::default());
        for (number, row) in table.rows.iter().enumerate() {
            let value = row[columns.file].as_str();
            ensure!(!value.is_empty(), "row {} has no value in column `{}`", number + 1, self.file);
            let Some((path, file)) = find(files, folder, value) else {
                missing.push((number, columns.file));
                continue;
            };
            let masks = match self.masks(files, folder, row, &columns) {
                Ok(masks) => masks,
                Err(Lacking::File(at)) => {
                    missing.push((number, at));
                    continue;
                }
                Err(Lacking::Half(named, empty)) => {
                    let [named, empty] = [named, empty].map(|at| &table.columns[at]);
                    bail!("row {} names a mask in column `{named}` and none in `{empty}`: name all of its masks, or none", number + 1);
                }
            };
            for mask in &masks {
                if let Some(earlier) = masked.insert(mask.path.clone(), number) {
                    bail!("rows {} and {} name the same mask: each image has its own", earlier + 1, number + 1);
                }
                ensure!(mask.path != path, "row {} names one file as the image and as its mask", number + 1);
            }
            let name = columns.item.map_or(path.as_str(), |at| row[at].as_str());
            ensure!(!name.is_empty(), "row {} has no value in column `{}`", number + 1, table.columns[columns.item.unwrap_or(0)]);
            let item = item_name(level, name);
            if let Some(earlier) = seen.insert(item.clone(), number) {
                let by = columns.item.map_or(&self.file, |at| &table.columns[at]);
                bail!("rows {} and {} name the same image (column `{by}`): each must stand there once", earlier + 1, number + 1);
            }
            let files = std::iter::once(ItemFile { port: "files".to_owned(), path, file }).chain(masks).collect();
            items.push(Item { item, files, row: columns.carry(row, &mut packer), level });
        }
        if let Some((row, at)) = missing.first() {
            bail!(lacks(files, level.is_identified(), *row, &table.columns[*at], &table.rows[*row][*at], missing.len()));
        }
        Ok(items)
    }

    /// The masks that a row names.
    fn masks(&self, files: &Part, folder: &str, row: &[String], columns: &Columns) -> Result<Vec<ItemFile>, Lacking> {
        let (empty, named): (Vec<usize>, Vec<usize>) = columns.masks.iter().partition(|at| row[**at].is_empty());
        match (named.first(), empty.first()) {
            (Some(named), Some(empty)) => return Err(Lacking::Half(*named, *empty)),
            (None, _) => return Ok(Vec::new()),
            _ => {}
        }
        let mask = |at: usize| {
            let (path, file) = find(files, folder, &row[at]).ok_or(Lacking::File(at))?;
            Ok(ItemFile { port: MASK.to_owned(), path, file })
        };
        named.into_iter().map(mask).collect()
    }

    fn columns(&self, table: &Table) -> Result<Columns> {
        for (at, name) in table.columns.iter().enumerate() {
            let twice = |name: &str| format!("the table names {name} twice");
            let quoting = || Quoting { quoting: twice(&format!("the column `{name}`")), without: twice("a column") };
            ensure!(name.is_empty() || table.position(name) == Some(at), quoting());
        }
        let wanted = |param: &str, name: &str| table.column(name).with_context(|| format!("param `{param}`"));
        // A column that the user named must be there; one of the usual name may be.
        let usual = |param: &'static str, name: &str| match name == param {
            true => Ok((param, table.position(name))),
            false => wanted(param, name).map(|at| (param, Some(at))),
        };
        let item = match &self.item {
            Some(name) => Some(wanted("item", name)?),
            None => table.position("item"),
        };
        let named = [usual("subject", &self.subject)?, usual("session", &self.session)?, usual("view", &self.view)?];
        let masks: Vec<usize> = self.mask.iter().map(|name| wanted("mask", name)).collect::<Result<_>>()?;
        let file = wanted("file", &self.file)?;
        let is_other = |at: usize, name: &str| {
            let is_taken = at == file || masks.contains(&at) || named.iter().any(|(_, place)| *place == Some(at));
            !name.is_empty() && name != "item" && !is_taken && !Self::WRITES.contains(&name)
        };
        let others = table.columns.iter().enumerate().filter(|(at, name)| is_other(*at, name)).map(|(at, name)| (name.clone(), Some(at)));
        let carried = others.chain(named.map(|(name, at)| (name.to_owned(), at))).collect();
        Ok(Columns { file, masks, item, carried })
    }
}

/// What is wrong with the masks of a row: a column whose file is not in the source, or one with a mask and one without.
enum Lacking {
    File(usize),
    Half(usize, usize),
}

/// What is said where files that the table names are not in the source.
fn lacks(files: &Part, identified: bool, row: usize, column: &str, value: &str, count: usize) -> String {
    let what = match identified {
        true => "the file it names (name withheld) is not in the source".to_owned(),
        false => format!("there is no {value} in the source"),
    };
    let more = if count > 1 { format!("; {} more rows likewise", count - 1) } else { String::new() };
    let is_image = |path: &String| {
        let end = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        ["png", "jpg", "jpeg", "bmp"].contains(&end.as_str())
    };
    let none = match files.tree.files.keys().any(is_image) {
        true => "",
        false => " (the source holds no PNG, JPEG or BMP file at all)",
    };
    format!("row {}, column `{column}`: {what}{more}{none}", row + 1)
}

/// The file that a row names: from the root of the source, else from the table's folder.
fn find(files: &Part, folder: &str, value: &str) -> Option<(String, FileRef)> {
    let from_root = tidy(value)?;
    let at = |path: String| files.tree.files.get(&path).cloned().map(|file| (path, file));
    at(from_root).or_else(|| tidy(&format!("{folder}/{value}")).and_then(at))
}

/// A path with `/` only and without `.` and `..`; none where it leaves the root.
fn tidy(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
