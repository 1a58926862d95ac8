//! `images.import`: pictures in a folder and a table that describes them become images with an index.

use crate::image::{Grey, file_names};
use crate::stage::{Artifact, Aside, Each, Inputs, Item, ItemFile, Items, Made, Map, Params, Part, Port, Row, item_name};
use crate::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Reads PNG, JPEG and BMP pictures that a table (CSV or TSV) names, one row per picture.
///
/// Every picture becomes a grey PNG of its own depth (8 or 16 bits); colour becomes luma (ITU-R BT.709), EXIF and colour profiles are
/// ignored. Every column of the table is carried into `index.tsv`. A file that no row names is ignored; a file that is not an image is
/// set aside with the class `unreadable`, `truncated` or `large` (more than 100 million pixels).
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImagesImport {
    /// Column with each picture's path: from the root of the source, or from the folder of the table.
    #[serde(default = "file")]
    file: String,
    /// Column that names each item. Unset: the column `item` where there is one, else the picture's path inside the source. From a source
    /// with `phi = true` the item is a keyed hash of that name.
    #[serde(default)]
    item: Option<String>,
    /// Column with the patient. Where the table has no column `subject`, each image counts as a patient of its own.
    #[serde(default = "subject")]
    subject: String,
    /// Column with the examination; empty where the table has no column `session`.
    #[serde(default = "session")]
    session: String,
    /// Column with the projection (PA, AP, lateral); empty where the table has no column `view`.
    #[serde(default = "view")]
    view: String,
}

fn file() -> String {
    "file".to_owned()
}

fn subject() -> String {
    "subject".to_owned()
}

fn session() -> String {
    "session".to_owned()
}

fn view() -> String {
    "view".to_owned()
}

impl Params for ImagesImport {
    const KIND: &'static str = "images.import";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::one("files", &[Artifact::Files], "a folder with the pictures"),
        Port::one("table", &[Artifact::Table], "CSV or TSV with a row per picture; may be a file of the same source"),
    ];
    const OUTPUTS: &'static [Port] = &[Port::one("images", &[Artifact::Images], "a grey PNG per row of the table")];
}

impl Items for ImagesImport {
    // The rows come from `table`, so it is an item port: no item depends on the whole of it.
    const ITEMS: &'static [&'static str] = &["files", "table"];
    const WRITES: &'static [&'static str] = &["file", "subject", "session", "view", "width", "height"];

    fn items(&self, inputs: &Inputs) -> Result<Vec<Item>> {
        let (files, part) = (inputs.one("files")?, inputs.one("table")?);
        ensure!(!files.tree.files.is_empty(), "the source on port `files` holds no file");
        let name = part.tree.only_file().map_or_else(|_| "the table".to_owned(), |path| part.tree.shown(path));
        self.rows(files, part).context(name)
    }

    fn finish(&self, rows: &mut Vec<Row>, _: &mut Vec<Aside>) -> Result<()> {
        for row in rows.iter_mut() {
            let subject = row.values.entry("subject".to_owned()).or_default();
            if subject.is_empty() {
                subject.clone_from(&row.item);
            }
        }
        name_files(rows);
        Ok(())
    }
}

impl Map for ImagesImport {
    fn each(&self, item: &Item, _: &Inputs) -> Result<Each> {
        let image = match Grey::decode(&item.read("files")?) {
            Ok(image) => image,
            Err(bad) => return Ok(Each::Quarantined { class: bad.class.to_owned(), reason: bad.reason }),
        };
        let row = vec![("width".to_owned(), image.width.to_string()), ("height".to_owned(), image.height.to_string())];
        Ok(Each::Made(vec![made(item.file("files")?, image.encode_png()?, row)]))
    }
}

/// A row with one PNG. Its path says only what was decoded, because an item's name is not in its key; [`name_files`] gives it its own.
pub(super) fn made(from: &ItemFile, png: Vec<u8>, mut row: Vec<(String, String)>) -> Made {
    let path = format!("{}.png", from.file.digest);
    row.push(("file".to_owned(), path.clone()));
    Made { item: None, row, files: vec![(path, png)] }
}

/// Names each row's only file after its item.
pub(super) fn name_files(rows: &mut [Row]) {
    let names = file_names(rows.iter().map(|row| row.item.as_str()), "png");
    for (row, name) in rows.iter_mut().zip(names) {
        for (path, _) in &mut row.files {
            path.clone_from(&name);
        }
        row.values.insert("file".to_owned(), name);
    }
}

/// Where the named columns stand.
struct Columns {
    file: usize,
    item: Option<usize>,
    named: [(&'static str, Option<usize>); 3],
}

impl Columns {
    /// All columns but the file's and the item's, under the names that the index uses.
    fn carry(&self, table: &Table, row: &[String]) -> BTreeMap<String, String> {
        let renamed = |at: usize| self.named.iter().any(|(_, place)| *place == Some(at));
        let kept = |at: usize, name: &str| {
            !name.is_empty() && name != "item" && at != self.file && !renamed(at) && !ImagesImport::WRITES.contains(&name)
        };
        let others =
            table.columns.iter().enumerate().filter(|(at, name)| kept(*at, name)).map(|(at, name)| (name.clone(), row[at].clone()));
        let named = self.named.iter().map(|(name, at)| ((*name).to_owned(), at.map(|at| row[at].clone()).unwrap_or_default()));
        others.chain(named).collect()
    }
}

impl ImagesImport {
    /// An item for each row of the table.
    fn rows(&self, files: &Part, part: &Part) -> Result<Vec<Item>> {
        let table = part.table()?;
        let columns = self.columns(&table)?;
        ensure!(!table.rows.is_empty(), "the table has a header but no rows");
        let identified = files.tree.identified || part.tree.identified;
        let folder = part.tree.only_file().ok().and_then(|path| path.rsplit_once('/')).map_or("", |(folder, _)| folder);
        let (mut items, mut seen, mut missing) = (Vec::with_capacity(table.rows.len()), HashMap::new(), Vec::new());
        for (number, row) in table.rows.iter().enumerate() {
            let value = row[columns.file].as_str();
            ensure!(!value.is_empty(), "row {} has no value in column `{}`", number + 1, self.file);
            let Some((path, file)) = find(files, folder, value) else {
                missing.push(number);
                continue;
            };
            let name = columns.item.map_or(path.as_str(), |at| row[at].as_str());
            ensure!(!name.is_empty(), "row {} has no value in column `{}`", number + 1, table.columns[columns.item.unwrap_or(0)]);
            let item = item_name(identified, name);
            if let Some(earlier) = seen.insert(item.clone(), number) {
                let by = columns.item.map_or(&self.file, |at| &table.columns[at]);
                bail!("rows {} and {} name the same image (column `{by}`): each must stand there once", earlier + 1, number + 1);
            }
            let files = vec![ItemFile { port: "files".to_owned(), path, file }];
            items.push(Item { item, files, row: columns.carry(&table, row), identified });
        }
        if let Some(first) = missing.first() {
            bail!(self.missing(files, identified, *first, &table.rows[*first][columns.file], missing.len()));
        }
        Ok(items)
    }

    fn columns(&self, table: &Table) -> Result<Columns> {
        for (at, name) in table.columns.iter().enumerate() {
            ensure!(name.is_empty() || table.position(name) == Some(at), "the table names the column `{name}` twice");
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
        Ok(Columns { file: wanted("file", &self.file)?, item, named })
    }

    fn missing(&self, files: &Part, identified: bool, row: usize, value: &str, count: usize) -> String {
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
        format!("row {}, column `{}`: {what}{more}{none}", row + 1, self.file)
    }
}

/// The file that a row names: from the root of the source, else from the table's folder.
fn find(files: &Part, folder: &str, value: &str) -> Option<(String, crate::content::FileRef)> {
    let from_root = tidy(value)?;
    let from_table = tidy(&format!("{folder}/{value}"));
    std::iter::once(from_root).chain(from_table).find_map(|path| files.tree.files.get(&path).map(|file| (path.clone(), file.clone())))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::testing::{World, chain, params};

    fn png(shade: u16) -> Vec<u8> {
        Grey { width: 2, height: 1, depth: 8, pixels: vec![0, shade] }.encode_png().unwrap()
    }

    fn world(table: &str) -> World {
        let mut world = World::new();
        world.connect("files", &[("a/1.png", &png(1)), ("a/2.png", &png(2)), ("bad.jpg", b"no picture"), ("unnamed.png", &png(3))]);
        world.connect("table", &[("a/labels.csv", table.as_bytes())]);
        world
    }

    #[test]
    fn rows_become_images_and_what_is_no_image_is_set_aside() {
        let world = world("file,patient,label\n2.png,p1,ill\na/1.png,,well\nbad.jpg,p2,well\n");
        let tree = world.map(&params::<ImagesImport>("subject = 'patient'")).unwrap();
        let index = String::from_utf8(tree.read("index.tsv").unwrap()).unwrap();
        let header = "item\tfile\tsubject\tsession\tview\twidth\theight\tlabel\n";
        assert_eq!(index, format!("{header}a/1.png\ta/1.png\ta/1.png\t\t\t2\t1\twell\na/2.png\ta/2.png\tp1\t\t\t2\t1\till\n"));
        assert_eq!(Grey::decode(&tree.read("a/2.png").unwrap()).unwrap().pixels, [0, 2]);
        let quarantine = String::from_utf8(tree.read("quarantine.tsv").unwrap()).unwrap();
        assert!(quarantine.ends_with("bad.jpg\timages.import\tunreadable\tnot a PNG, JPEG or BMP file\n"), "{quarantine}");
    }

    #[test]
    fn an_identified_source_gives_hashed_items_and_silent_messages() {
        let mut world = world("file,item\na/1.png,Meyer\nMeyer.png,x\n");
        world.inputs.0.get_mut("table").unwrap()[0].tree.identified = true;
        let error = chain(world.map(&params::<ImagesImport>("")));
        assert!(error.ends_with(": row 2, column `file`: the file it names (name withheld) is not in the source"), "{error}");
        assert!(error.starts_with("file ") && !error.contains("labels"), "{error}");
        world.connect("table", &[("labels.csv", b"file,item\na/1.png,Meyer\n")]).tree.identified = true;
        let item = params::<ImagesImport>("").items(&world.inputs).unwrap().remove(0).item;
        assert_eq!((item.len(), item.contains("Meyer")), (24, false));
    }

    #[test]
    fn mistakes_are_named_by_row_and_column() {
        let error = |table: &str, toml: &str| chain(world(table).map(&params::<ImagesImport>(toml)));
        assert_eq!(
            error("file\nx.png\na/1.png\ny.png\n", ""),
            "a/labels.csv: row 1, column `file`: there is no x.png in the source; 1 more rows likewise"
        );
        assert_eq!(
            error("file\na/1.png\n1.png\n", ""),
            "a/labels.csv: rows 1 and 2 name the same image (column `file`): each must stand there once"
        );
        assert_eq!(
            error("file,id\na/1.png,1\na/2.png,1\n", "item = 'id'"),
            "a/labels.csv: rows 1 and 2 name the same image (column `id`): each must stand there once"
        );
        assert_eq!(error("path\n1.png\n", ""), "a/labels.csv: param `file`: there is no column `file`; the columns are path");
        assert_eq!(
            error("file\n1.png\n", "subject = 'id'"),
            "a/labels.csv: param `subject`: there is no column `id`; the columns are file"
        );
        assert_eq!(error("file\n", ""), "a/labels.csv: the table has a header but no rows");
        assert_eq!(error("file,label\n,x\n", ""), "a/labels.csv: row 1 has no value in column `file`");
        let mut empty = world("file\n1.png\n");
        empty.connect("files", &[]);
        assert_eq!(chain(empty.map(&params::<ImagesImport>(""))), "the source on port `files` holds no file");
    }
}
