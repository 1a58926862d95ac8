//! Whether what a program left is the artifact it declared: files, columns, shapes, as `tomograph kinds --types` lists them.
//!
//! What a program wrote may be people's data: a message gives lines, columns and counts, never a value or a file's name.

mod arrays;

use crate::stage::Artifact;
use crate::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use rayon::prelude::*;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

/// The sets of a split.
const SETS: [&str; 3] = ["train", "validation", "test"];

/// What a program that treats one item writes.
const ITEM_IMAGE: &str = "item.png";
const ITEM_STUDY: &str = "item.dcm";

/// The name of the file that an artifact of one file has on a port, and images and studies where a program treats one item; others
/// are folders.
pub(super) fn file_name(artifact: Artifact, port: &str, per_item: bool) -> Option<String> {
    match artifact {
        Artifact::Images | Artifact::Masks if per_item => Some(ITEM_IMAGE.to_owned()),
        Artifact::Studies if per_item => Some(ITEM_STUDY.to_owned()),
        Artifact::Table | Artifact::Cohort | Artifact::History | Artifact::Predictions | Artifact::Receipt => Some(format!("{port}.tsv")),
        // Who reads metrics knows the name.
        Artifact::Metrics => Some("metrics.json".to_owned()),
        Artifact::Certificate => Some(format!("{port}.json")),
        Artifact::Figure => Some(format!("{port}.svg")),
        Artifact::Files | Artifact::Studies | Artifact::Images | Artifact::Masks | Artifact::Split | Artifact::Arrays => None,
        Artifact::Model | Artifact::Models | Artifact::Report => None,
    }
}

/// Checks the folder of an output port.
pub(super) fn check(artifact: Artifact, port: &str, folder: &Path) -> Result<()> {
    let file = file_name(artifact, port, false).unwrap_or_default();
    match artifact {
        Artifact::Files | Artifact::Report => Ok(()),
        Artifact::Table | Artifact::Receipt => table(folder, &file, &[]).map(drop),
        Artifact::Cohort => {
            let table = table(folder, &file, &["item", "subject", "session", "label"])?;
            each_item_once(&table).context(file)
        }
        Artifact::Split => split(folder),
        Artifact::History => {
            let table = table(folder, &file, &["epoch"])?;
            numbers(&table, "epoch", |epoch| epoch >= 0.0 && epoch.fract() == 0.0, "a whole number").context(file)
        }
        Artifact::Predictions => predictions(folder, &file),
        Artifact::Metrics => metrics(&json(folder, &file)?).context(file),
        Artifact::Certificate => json(folder, &file).map(drop),
        Artifact::Figure => {
            let text = String::from_utf8(read(folder, &file)?).ok().filter(|text| text.contains("<svg"));
            text.map(drop).with_context(|| format!("{file} is no SVG"))
        }
        Artifact::Studies => studies(folder),
        Artifact::Images | Artifact::Masks => images(folder, artifact == Artifact::Masks),
        Artifact::Arrays => arrays::check(folder),
        Artifact::Model => model(folder),
        Artifact::Models => {
            let parts = table(folder, "parts.tsv", &["part"])?;
            let at = parts.column("part")?;
            ensure!(!parts.rows.is_empty(), "parts.tsv has no row");
            parts.rows.iter().enumerate().try_for_each(|(row, values)| {
                let part = place(folder, &values[at]).filter(|part| part.is_dir()).context("its folder is missing");
                part.and_then(|part| model(&part)).with_context(|| format!("part of line {} of parts.tsv", row + 2))
            })
        }
    }
}

fn read(folder: &Path, name: &str) -> Result<Vec<u8>> {
    std::fs::read(folder.join(name)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => anyhow::anyhow!("there is no {name}"),
        _ => anyhow::anyhow!("{name} cannot be read: {error}"),
    })
}

fn json(folder: &Path, name: &str) -> Result<Value> {
    serde_json::from_slice(&read(folder, name)?).map_err(|error| anyhow::anyhow!("{name} is no JSON: line {}", error.line()))
}

/// A table with these columns, each column once.
pub(super) fn table(folder: &Path, name: &str, wanted: &[&str]) -> Result<Table> {
    let table = Table::from_tsv(&read(folder, name)?).with_context(|| format!("{name} is no table of tab-separated values"))?;
    let mut seen = BTreeSet::new();
    let twice = table.columns.iter().find(|column| column.is_empty() || !seen.insert(column.as_str()));
    ensure!(twice.is_none(), "{name} has a column without a name, or two of the same name");
    wanted.iter().try_for_each(|column| table.column(column).map(drop)).with_context(|| name.to_owned())?;
    Ok(table)
}

/// Width and height.
type Size = (u32, u32);

/// Checks what a program left for one item: an image, a mask or a DICOM file. Gives the size of an image, and the bytes.
pub(super) fn item(folder: &Path, artifact: Artifact) -> Result<(Option<Size>, Vec<u8>)> {
    if artifact == Artifact::Studies {
        let bytes = read(folder, ITEM_STUDY)?;
        ensure!(bytes.get(128..132) == Some(b"DICM"), "{ITEM_STUDY} is no DICOM file");
        return Ok((None, bytes));
    }
    let bytes = read(folder, ITEM_IMAGE)?;
    let size = picture(&bytes, artifact == Artifact::Masks).context(ITEM_IMAGE)?;
    Ok((Some(size), bytes))
}

fn each_item_once(table: &Table) -> Result<()> {
    let at = table.column("item")?;
    let unnamed = table.rows.iter().position(|row| row[at].is_empty());
    ensure!(unnamed.is_none(), "line {} has no `item`", unnamed.unwrap_or_default() + 2);
    table.index_by("item").map(drop)
}

/// Every value of a column is a number that is right.
fn numbers(table: &Table, column: &str, right: impl Fn(f64) -> bool, what: &str) -> Result<()> {
    let at = table.column(column)?;
    let wrong = table.rows.iter().position(|row| !row[at].parse().is_ok_and(&right));
    ensure!(wrong.is_none(), "line {}: `{column}` is not {what}", wrong.unwrap_or_default() + 2);
    Ok(())
}

fn split(folder: &Path) -> Result<()> {
    let split = table(folder, "split.tsv", &["item", "subject", "label", "set"])?;
    each_item_once(&split).context("split.tsv")?;
    let (subject, set) = (split.column("subject")?, split.column("set")?);
    let mut sets: HashMap<&str, &str> = HashMap::new();
    for (number, row) in split.rows.iter().enumerate() {
        let (subject, set) = (row[subject].as_str(), row[set].as_str());
        ensure!(SETS.contains(&set), "split.tsv: line {}: `set` is none of {}", number + 2, SETS.join(", "));
        if subject.is_empty() {
            continue;
        }
        let other = sets.insert(subject, set).filter(|other| *other != set);
        ensure!(other.is_none(), "split.tsv: line {}: this subject is in `{set}` and in `{}`", number + 2, other.unwrap_or_default());
    }
    Ok(())
}

fn predictions(folder: &Path, file: &str) -> Result<()> {
    let table = table(folder, file, &["item", "subject", "label", "predicted"])?;
    let scores: Vec<&String> = table.columns.iter().filter(|column| column.starts_with("score_")).collect();
    ensure!(!scores.is_empty(), table.lacks(&format!("{file} has no column `score_CLASS`")));
    scores
        .into_iter()
        .try_for_each(|column| numbers(&table, column, |score| (0.0..=1.0).contains(&score), "a number from 0 to 1"))
        .context(file.to_owned())
}

fn metrics(metrics: &Value) -> Result<()> {
    ensure!(metrics["role"].is_string(), "there is no text `role`: train, validation, test or all");
    ensure!(metrics["n"].is_u64(), "there is no whole number `n`: the rows it was measured on");
    let list = metrics["metrics"].as_array().context("there is no list `metrics`")?;
    for (number, metric) in list.iter().enumerate() {
        ensure!(metric["name"].is_string(), "metric {} of the list has no `name`", number + 1);
        for key in ["value", "low", "high"] {
            let value = metric.get(key).unwrap_or(&Value::Null);
            ensure!(value.is_null() || value.is_number(), "metric {} of the list: `{key}` is no number", number + 1);
        }
    }
    Ok(())
}

fn model(folder: &Path) -> Result<()> {
    ensure!(json(folder, "model.json")?.is_object(), "model.json is no object");
    let mut length = [0; 8];
    let read =
        File::open(folder.join("model.safetensors")).and_then(|mut file| Ok((file.read_exact(&mut length)?, file.metadata()?.len()).1));
    let size = read.map_err(|_| anyhow::anyhow!("there is no model.safetensors"))?;
    ensure!(u64::from_le_bytes(length) <= size.saturating_sub(8), "model.safetensors is cut short, or is no safetensors file");
    Ok(())
}

/// A file of an index, which stays inside the folder.
fn place(folder: &Path, path: &str) -> Option<PathBuf> {
    let inside = !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| folder.join(path))
}

/// Line number and place of the file of every row of `index.tsv`.
fn files_of(folder: &Path, index: &Table) -> Result<Vec<(usize, PathBuf)>> {
    each_item_once(index).context("index.tsv")?;
    let at = index.column("file")?;
    let file = |(number, row): (usize, &Vec<String>)| {
        let place = place(folder, &row[at]).filter(|place| place.is_file());
        place.map(|place| (number + 2, place)).with_context(|| format!("index.tsv: the `file` of line {} is not there", number + 2))
    };
    index.rows.iter().enumerate().map(file).collect()
}

fn studies(folder: &Path) -> Result<()> {
    let index = table(folder, "index.tsv", &["item", "file", "subject", "session"])?;
    files_of(folder, &index)?.into_par_iter().try_for_each(|(line, place)| {
        let mut head = [0; 132];
        let is_dicom = File::open(place).and_then(|mut file| file.read_exact(&mut head)).is_ok() && &head[128..] == b"DICM";
        ensure!(is_dicom, "index.tsv: the file of line {line} is no DICOM file");
        Ok(())
    })
}

/// Grey PNGs of 8 or 16 bits, as large as the index says; masks of 8 bits, 0 or 255.
fn images(folder: &Path, masks: bool) -> Result<()> {
    let index = table(folder, "index.tsv", &["item", "file", "subject", "session", "view", "width", "height"])?;
    let sizes = ["width", "height"].map(|column| index.column(column));
    let [Ok(width), Ok(height)] = sizes else { bail!("index.tsv has no size") };
    files_of(folder, &index)?.into_par_iter().zip(&index.rows).try_for_each(|((line, place), row)| {
        let wrong = || format!("index.tsv: the file of line {line}");
        let (wide, high) = picture(&std::fs::read(&place).with_context(wrong)?, masks).with_context(wrong)?;
        let right = row[width].parse() == Ok(wide) && row[height].parse() == Ok(high);
        ensure!(right, "{}: it is {wide} by {high}, and the index has other numbers", wrong());
        Ok(())
    })
}

/// Width and height of a grey PNG of 8 or 16 bits; of a mask of 8 bits, 0 or 255.
fn picture(bytes: &[u8], mask: bool) -> Result<Size> {
    // The header: 8 bytes of signature, then the chunk IHDR with width, height, depth and colour.
    ensure!(bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.len() > 26, "it is no PNG");
    let number = |at: usize| bytes[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    let (width, height, depth, colour) = (number(16), number(20), bytes[24], bytes[25]);
    ensure!(colour == 0 && (depth == 8 || depth == 16 && !mask), "it is no grey image of {} bits", if mask { "8" } else { "8 or 16" });
    if mask {
        let pixels =
            image::load_from_memory_with_format(bytes, image::ImageFormat::Png).map_err(|_| anyhow::anyhow!("it cannot be decoded"))?;
        let odd = pixels.to_luma8().into_raw().into_iter().find(|value| *value != 0 && *value != 255);
        ensure!(odd.is_none(), "a mask holds 0 and 255 only, and this one has other values");
    }
    Ok((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn with(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
            use std::io::Write as _;
            let place = self.0.path().join(name);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            File::create(place).unwrap().write_all(bytes.as_ref()).unwrap();
            self
        }

        fn says(&self, artifact: Artifact) -> String {
            check(artifact, "out", self.0.path()).map_or_else(|error| format!("{error:#}"), |()| "right".to_owned())
        }
    }

    fn one(name: &str, bytes: impl AsRef<[u8]>, artifact: Artifact) -> String {
        Folder::new().with(name, bytes).says(artifact)
    }

    fn png(pixels: &[u8], width: u32) -> Vec<u8> {
        let image = image::GrayImage::from_raw(width, pixels.len() as u32 / width, pixels.to_vec()).unwrap();
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn tables_have_their_columns() {
        assert_eq!(Folder::new().says(Artifact::Table), "there is no out.tsv");
        assert_eq!(one("out.tsv", "a\tb\n1\t2\n", Artifact::Table), "right");
        assert_eq!(one("out.tsv", "a\ta\n", Artifact::Table), "out.tsv has a column without a name, or two of the same name");
        assert_eq!(
            one("out.tsv", "a\tb\n1\n", Artifact::Table),
            "out.tsv is no table of tab-separated values: line 2 has 1 fields, the header 2"
        );
        assert_eq!(one("out.tsv", "item\tsubject\tsession\tlabel\tage\na\tp\t\till\t50\n", Artifact::Cohort), "right");
        assert_eq!(one("out.tsv", "item\tlabel\n", Artifact::Cohort), "out.tsv: there is no column `subject`; the columns are item, label");
        assert_eq!(
            one("out.tsv", "item\tsubject\tsession\tlabel\na\t\t\t\na\t\t\t\n", Artifact::Cohort),
            "out.tsv: rows 1 and 2 have the same `item`"
        );
        assert_eq!(one("out.tsv", "epoch\tloss\n1\t0.5\n", Artifact::History), "right");
        assert_eq!(one("out.tsv", "epoch\n1\n1.5\n", Artifact::History), "out.tsv: line 3: `epoch` is not a whole number");
    }

    #[test]
    fn a_split_has_no_subject_in_two_sets() {
        let split = |rows: &str| one("split.tsv", format!("item\tsubject\tlabel\tset\n{rows}"), Artifact::Split);
        assert_eq!(split("a\tp\t1\ttrain\nb\tp\t1\ttrain\nc\tq\t0\ttest\n"), "right");
        assert_eq!(split("a\tp\t1\ttrain\nb\tp\t1\ttest\n"), "split.tsv: line 3: this subject is in `test` and in `train`");
        assert_eq!(split("a\tp\t1\ttraining\n"), "split.tsv: line 2: `set` is none of train, validation, test");
    }

    #[test]
    fn scores_and_figures_are_numbers() {
        let predictions = |text: &str| one("out.tsv", text, Artifact::Predictions);
        assert_eq!(predictions("item\tsubject\tlabel\tpredicted\tscore_ill\na\tp\till\till\t0.75\n"), "right");
        assert!(predictions("item\tsubject\tlabel\tpredicted\n").starts_with("out.tsv has no column `score_CLASS`"));
        assert_eq!(
            predictions("item\tsubject\tlabel\tpredicted\tscore_ill\na\tp\till\till\t75\n"),
            "out.tsv: line 2: `score_ill` is not a number from 0 to 1"
        );
        let metrics = |text: &str| one("metrics.json", text, Artifact::Metrics);
        assert_eq!(
            metrics(r#"{"role": "test", "n": 3, "metrics": [{"name": "auc", "value": null}, {"name": "f1", "value": 0.5}]}"#),
            "right"
        );
        assert_eq!(metrics(r#"{"role": "test", "n": 3, "metrics": [{"value": 1}]}"#), "metrics.json: metric 1 of the list has no `name`");
        assert_eq!(metrics("{\n"), "metrics.json is no JSON: line 2");
        assert_eq!(one("out.svg", "<svg/>", Artifact::Figure), "right");
        assert_eq!(one("out.svg", "x", Artifact::Figure), "out.svg is no SVG");
    }

    #[test]
    fn images_are_what_the_index_says() {
        let index = "item\tfile\tsubject\tsession\tview\twidth\theight\na\ta.png\tp\ts\tPA\t2\t1\n";
        let images = |bytes: &[u8], artifact| Folder::new().with("index.tsv", index).with("a.png", bytes).says(artifact);
        assert_eq!(images(&png(&[0, 7], 2), Artifact::Images), "right");
        assert_eq!(images(&png(&[0, 255], 2), Artifact::Masks), "right");
        let file = "index.tsv: the file of line 2: ";
        assert_eq!(images(&png(&[0, 1], 2), Artifact::Masks), format!("{file}a mask holds 0 and 255 only, and this one has other values"));
        assert_eq!(images(&png(&[0, 7], 1), Artifact::Images), format!("{file}it is 1 by 2, and the index has other numbers"));
        assert_eq!(images(b"GIF89a", Artifact::Images), format!("{file}it is no PNG"));
        assert_eq!(one("index.tsv", index, Artifact::Images), "index.tsv: the `file` of line 2 is not there");
        assert_eq!(one("index.tsv", index.replace("a.png", "../a.png"), Artifact::Images), "index.tsv: the `file` of line 2 is not there");
        let studies = "item\tfile\tsubject\tsession\na\tp/s/1.dcm\tp\ts\n";
        let dicom = [vec![0; 128], b"DICM".to_vec()].concat();
        assert_eq!(Folder::new().with("index.tsv", studies).with("p/s/1.dcm", dicom).says(Artifact::Studies), "right");
        assert_eq!(
            Folder::new().with("index.tsv", studies).with("p/s/1.dcm", "x").says(Artifact::Studies),
            "index.tsv: the file of line 2 is no DICOM file"
        );
    }

    #[test]
    fn a_model_is_whole() {
        let tensors = [2_u64.to_le_bytes().as_slice(), b"{}"].concat();
        let model = |folder: Folder| folder.with("m/model.json", "{}").with("model.json", "{}");
        assert_eq!(model(Folder::new()).with("model.safetensors", &tensors).says(Artifact::Model), "right");
        assert_eq!(model(Folder::new()).says(Artifact::Model), "there is no model.safetensors");
        assert!(model(Folder::new()).with("model.safetensors", &tensors[..9]).says(Artifact::Model).contains("cut short"));
        let models = model(Folder::new()).with("parts.tsv", "part\tseed\nm\t1\n").with("m/model.safetensors", &tensors);
        assert_eq!(models.says(Artifact::Models), "right");
        assert_eq!(models.with("parts.tsv", "part\nn\n").says(Artifact::Models), "part of line 2 of parts.tsv: its folder is missing");
    }

    #[test]
    fn no_value_reaches_a_message() {
        let secret = "DOE^JOHN";
        let table = format!("item\tsubject\tlabel\tset\n{secret}\t{secret}\t{secret}\t{secret}\n");
        let index = format!("item\tfile\tsubject\tsession\tview\twidth\theight\n{secret}\t{secret}.png\t{secret}\t\t\t1\t1\n");
        let said = [one("split.tsv", table, Artifact::Split), one("index.tsv", index, Artifact::Images)];
        assert!(said.iter().all(|text| !text.contains(secret) && text != "right"), "{said:?}");
    }
}
