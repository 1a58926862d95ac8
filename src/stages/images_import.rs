//! `images.import`: pictures in a folder and a table that describes them become images with an index, and masks beside them.

mod rows;

use crate::image::{Grey, Mask, Unusable, file_names};
use crate::stage::{Artifact, Aside, Each, Inputs, Item, ItemFile, Items, Made, Map, Params, Port, Problem, Row};
use anyhow::{Context as _, Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reads PNG, JPEG and BMP pictures that a table (CSV or TSV) names, one row per picture.
///
/// Every picture becomes a grey PNG of its own depth (8 or 16 bits); colour becomes luma (ITU-R BT.709), EXIF and colour profiles are
/// ignored. Every column of the table is carried into `index.tsv`. A file that no row names is ignored; a file that is not an image is
/// set aside with the class `unreadable`, `truncated` or `large` (more than 100 million pixels).
///
/// With `mask` the output `masks` has a mask for each image whose row names one; rows that name none give an image alone, and a warning
/// counts them. Of several columns (left and right lung apart) a row names all or none, and the masks are united. An image is set aside
/// together with its mask, with the class `mask`, where the mask cannot be read, is empty or full, has another size than the image, is
/// in colour, or has other values than 0 and 255 while `mask_threshold` is unset. One mask for two images is an error.
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
    /// Columns with the path of each image's mask (PNG, JPEG or BMP; 255 inside, 0 outside), such as `["mask"]`, or
    /// `["mask_left", "mask_right"]` where the two lungs are apart. Paths as in `file`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mask: Vec<String>,
    /// Value from which on a pixel of a mask is inside, 1 to 255: for masks with other values than 0 and 255, such as 0 and 1, or JPEG.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mask_threshold: Option<u8>,
}

/// Marks the files of an item that are masks; the image itself stands under `files`.
const MASK: &str = "mask";
/// The output of masks.
const MASKS: &str = "masks";

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
    const OUTPUTS: &'static [Port] = &[
        Port::one("images", &[Artifact::Images], "a grey PNG per row of the table"),
        Port::one(MASKS, &[Artifact::Masks], "a mask per row that names one; only with the param `mask`"),
    ];

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.mask.iter().enumerate().any(|(at, column)| *column == self.file || self.mask[..at].contains(column)) {
            problems.push(Problem::of("mask", "must name each column once, and not the one of `file`"));
        }
        if self.mask_threshold == Some(0) {
            problems.push(Problem::of("mask_threshold", "must be from 1 to 255: from 0 on every pixel would be inside"));
        }
        if self.mask_threshold.is_some() && self.mask.is_empty() {
            problems.push(Problem::of("mask_threshold", "says how masks are read, and param `mask` names no column of masks"));
        }
        problems
    }

    fn unfilled(&self) -> Vec<&'static str> {
        if self.mask.is_empty() { vec![MASKS] } else { Vec::new() }
    }
}

impl Items for ImagesImport {
    // The rows come from `table`, so it is an item port: no item depends on the whole of it.
    const ITEMS: &'static [&'static str] = &["files", "table"];
    const WRITES: &'static [&'static str] = &["file", "subject", "session", "view", "width", "height"];

    fn items(&self, inputs: &Inputs) -> Result<Vec<Item>> {
        let (files, part) = (inputs.one("files")?, inputs.one("table")?);
        ensure!(!files.tree.files.is_empty(), "the source on port `files` holds no file");
        let name = part.tree.only_file().map_or_else(|_| "the table".to_owned(), |path| part.tree.shown(path));
        self.rows(files, part, &part.table()?).context(name)
    }

    fn finish(&self, rows: &mut Vec<Row>, _: &mut Vec<Aside>) -> Result<()> {
        for row in rows.iter_mut() {
            if row.values.get("subject").is_none_or(str::is_empty) {
                row.values.set("subject", &row.item);
            }
        }
        name_files(rows);
        Ok(())
    }

    fn remarks(&self, rows: &[Row]) -> Vec<String> {
        let masks = rows.iter().filter(|row| row.port.is_some()).count();
        match rows.len() - 2 * masks {
            0 => Vec::new(),
            _ if self.mask.is_empty() => Vec::new(),
            lacking => vec![format!("{lacking} of {} images have no mask: their rows name none", rows.len() - masks)],
        }
    }
}

impl Map for ImagesImport {
    fn each(&self, item: &Item, _: &Inputs) -> Result<Each> {
        let (image, mask) = match self.decode(item)? {
            Ok(decoded) => decoded,
            Err(bad) => return Ok(Each::Quarantined { class: bad.class.to_owned(), reason: bad.reason }),
        };
        let row = vec![("width".to_owned(), image.width.to_string()), ("height".to_owned(), image.height.to_string())];
        let file = item.file("files")?;
        let mask = mask.map(|mask| anyhow::Ok(Made { port: Some(MASKS.to_owned()), ..made(file, mask.encode_png()?, row.clone()) }));
        let image = made(file, image.encode_png()?, row);
        Ok(Each::Made(std::iter::once(Ok(image)).chain(mask).collect::<Result<_>>()?))
    }
}

/// A row with one PNG. Its path says only what was decoded, because an item's name is not in its key; [`name_files`] gives it its own.
pub(super) fn made(from: &ItemFile, png: Vec<u8>, mut row: Vec<(String, String)>) -> Made {
    let path = format!("{}.png", from.file.digest);
    row.push(("file".to_owned(), path.clone()));
    Made { row, files: vec![(path, png)], ..Made::default() }
}

/// Names each row's only file after its item; an item's rows of several outputs give files of the same name. Rows are sorted by item.
pub(super) fn name_files(rows: &mut [Row]) {
    debug_assert!(rows.is_sorted_by_key(|row| &row.item));
    let are_of_one_item = |one: &Row, next: &Row| one.item == next.item;
    let names = file_names(rows.chunk_by(are_of_one_item).map(|rows| rows[0].item.as_str()), "png");
    for (rows, name) in rows.chunk_by_mut(are_of_one_item).zip(&names) {
        for row in rows {
            for (path, _) in &mut row.files {
                path.clone_from(name);
            }
            row.values.set("file", name);
        }
    }
}

impl ImagesImport {
    /// The image, and its mask where there is one.
    fn decode(&self, item: &Item) -> Result<Result<(Grey, Option<Mask>), Unusable>> {
        let image = item.read("files")?;
        let masks = item.files.iter().filter(|file| file.port == MASK).map(|file| file.file.read());
        let masks = masks.collect::<std::io::Result<Vec<_>>>().with_context(|| format!("cannot read the mask of item {}", item.item))?;
        let decoded = || {
            let (image, mut united) = (Grey::decode(&image)?, None::<Mask>);
            for mask in &masks {
                let mask = Mask::decode(mask, self.mask_threshold)?;
                match &mut united {
                    Some(united) => united.unite(&mask)?,
                    None => united = Some(mask),
                }
            }
            united.iter().try_for_each(|mask| mask.check(image.width, image.height))?;
            Ok((image, united))
        };
        Ok(decoded())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Level;
    use crate::stages::testing::{World, chain, params};
    use crate::table::Table;
    use std::sync::Arc;

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
        Arc::make_mut(&mut world.inputs.0.get_mut("table").unwrap()[0].tree).level = Level::Identified;
        let error = chain(world.map(&params::<ImagesImport>("")));
        assert!(error.ends_with(": row 2, column `file`: the file it names (name withheld) is not in the source"), "{error}");
        assert!(error.starts_with("file ") && !error.contains("labels"), "{error}");
        Arc::make_mut(&mut world.connect("table", &[("labels.csv", b"file,item\na/1.png,Meyer\n")]).tree).level = Level::Identified;
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

    /// Images `a` and `b` of 2 x 1 pixels, the masks given, and a table.
    fn masked(masks: &[(&str, &[u8])], table: &str) -> World {
        let (one, two) = (png(1), png(2));
        let mut files: Vec<(&str, &[u8])> = vec![("a.png", &one), ("b.png", &two)];
        files.extend(masks);
        let mut world = World::new();
        world.connect("files", &files);
        world.connect("table", &[("labels.csv", table.as_bytes())]);
        world
    }

    fn grey(width: u32, pixels: &[u16]) -> Vec<u8> {
        Grey { width, height: pixels.len() as u32 / width, depth: 8, pixels: pixels.to_vec() }.encode_png().unwrap()
    }

    #[test]
    fn masks_are_beside_their_images_under_the_same_item() {
        let (left, right) = (grey(2, &[0, 255]), grey(2, &[0, 0]));
        let world = masked(&[("l.png", &left), ("r.png", &right)], "file,patient,l,r\na.png,p,l.png,r.png\nb.png,q,,\n");
        let kind = params::<ImagesImport>("subject = 'patient'\nmask = ['l', 'r']");
        let (outputs, remarks) = world.maps(&kind).unwrap();
        let index = |port: &str| String::from_utf8(outputs[port].read("index.tsv").unwrap()).unwrap();
        let header = "item\tfile\tsubject\tsession\tview\twidth\theight\n";
        assert_eq!(index("masks"), format!("{header}a.png\ta.png\tp\t\t\t2\t1\n"));
        assert_eq!(index("images"), format!("{header}a.png\ta.png\tp\t\t\t2\t1\nb.png\tb.png\tq\t\t\t2\t1\n"));
        assert_eq!(Grey::decode(&outputs["masks"].read("a.png").unwrap()).unwrap().pixels, [0, 255]);
        assert_eq!(remarks, ["1 of 2 images have no mask: their rows name none"]);
        // Left and right the other way round give the same.
        let other = params::<ImagesImport>("subject = 'patient'\nmask = ['r', 'l']");
        assert_eq!(world.maps(&other).unwrap().0["masks"].digest(), outputs["masks"].digest());
        let (unasked, remarks) = world.maps(&params::<ImagesImport>("")).unwrap();
        assert!(!unasked.contains_key("masks") && remarks.is_empty());
    }

    #[test]
    fn a_bad_mask_takes_its_image_aside() {
        let aside = |mask: &[u8], toml: &str| {
            let world = masked(&[("m.png", mask)], "file,mask\na.png,m.png\nb.png,\n");
            let outputs = world.maps(&params::<ImagesImport>(&format!("mask = ['mask']\n{toml}"))).unwrap().0;
            let table = Table::from_tsv(&outputs["images"].read("quarantine.tsv").unwrap()).unwrap();
            table.rows.into_iter().map(|row| row[2..].join(": ")).collect::<Vec<_>>()
        };
        assert_eq!(aside(&grey(2, &[0, 0]), ""), ["mask: the mask is empty: no pixel is inside"]);
        assert_eq!(aside(&grey(2, &[255, 255]), ""), ["mask: the mask is full: every pixel is inside"]);
        assert_eq!(aside(&grey(1, &[0, 255]), ""), ["mask: the mask has 1 x 2 pixels, its image 2 x 1"]);
        let odd = "mask: 1 of 2 pixels of the mask are neither 0 nor 255, the first of them 7";
        assert_eq!(aside(&grey(2, &[7, 255]), ""), [odd]);
        assert_eq!(aside(&grey(2, &[7, 255]), "mask_threshold = 128"), [""; 0]);
        assert_eq!(aside(b"none", ""), ["mask: the mask: not a PNG, JPEG or BMP file"]);
        // The image's own name in the column of masks.
        assert_eq!(aside(&png(2), "")[0][..26], odd[..26]);
    }

    #[test]
    fn masks_of_other_rows_and_halves_are_mistakes() {
        let mask = grey(2, &[0, 255]);
        let error = |table: &str, toml: &str| chain(masked(&[("m.png", &mask)], table).maps(&params::<ImagesImport>(toml)));
        let one = "mask = ['mask']";
        assert_eq!(
            error("file,mask\na.png,m.png\nb.png,m.png\n", one),
            "labels.csv: rows 1 and 2 name the same mask: each image has its own"
        );
        assert_eq!(error("file,mask\na.png,a.png\n", one), "labels.csv: row 1 names one file as the image and as its mask");
        assert_eq!(error("file,mask\na.png,x.png\n", one), "labels.csv: row 1, column `mask`: there is no x.png in the source");
        assert_eq!(
            error("file,l,r\na.png,m.png,\n", "mask = ['l', 'r']"),
            "labels.csv: row 1 names a mask in column `l` and none in `r`: name all of its masks, or none"
        );
        assert_eq!(error("file\na.png\n", one), "labels.csv: param `mask`: there is no column `mask`; the columns are file");
        let problem = |toml: &str| params::<ImagesImport>(toml).check().remove(0).message;
        assert_eq!(problem("mask = ['a', 'a']"), "must name each column once, and not the one of `file`");
        assert!(problem("mask_threshold = 9").contains("names no column"));
        assert!(problem("mask = ['m']\nmask_threshold = 0").contains("every pixel"));
    }
}
