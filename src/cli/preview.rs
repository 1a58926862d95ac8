//! What an artifact holds, in a few lines: the first rows of a table, shapes of arrays, figures, a model's summary.
//!
//! Of identified data only counts and digests are shown, never a value, a file name, or what may be one.

use super::grid::{bytes, count, grid};
use crate::content::Tree;
use crate::npy::Header;
use crate::stage::Artifact;
use crate::table::Table;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Read as _;

/// Rows and files that are shown before the rest is only counted.
const ROWS: usize = 8;
/// A cell is cut after so many characters, a row after so many.
const CELL: usize = 28;
const LINE: usize = 140;
/// A larger table is counted, not read.
const LARGE: u64 = 64 << 20;

/// What `tree` holds, line by line, each indented.
pub(super) fn preview(artifact: Artifact, tree: &Tree) -> Result<String> {
    let mut text = String::new();
    for (path, file) in &tree.files {
        let shown = match path.rsplit('.').next().unwrap_or_default() {
            "tsv" | "csv" if file.size <= LARGE => table(artifact, tree, path),
            "npy" => array(tree, path),
            "safetensors" => tensors(tree, path),
            "json" if file.size <= LARGE => json(tree, path),
            _ => continue,
        };
        // Names of our own making are no patient's, and only those are among the four kinds of file above in an import's output.
        text.push_str(&shown.with_context(|| format!("in {}", tree.shown(path)))?);
    }
    if text.is_empty() || matches!(artifact, Artifact::Files | Artifact::Report | Artifact::Figure) {
        text = files(tree);
    }
    Ok(text)
}

/// The first files with their sizes; digests where names may be patients'.
fn files(tree: &Tree) -> String {
    let rows: Vec<Vec<String>> = tree.files.iter().take(ROWS).map(|(path, file)| vec![tree.shown(path), bytes(file.size)]).collect();
    grid(&rows, "  ") + &rest(tree.files.len(), "file")
}

fn rest(all: usize, one: &str) -> String {
    match all.saturating_sub(ROWS) {
        0 => String::new(),
        more => format!("  … and {}\n", count(more as u64, &format!("more {one}"))),
    }
}

fn table(artifact: Artifact, tree: &Tree, path: &str) -> Result<String> {
    let content = tree.read(path)?;
    let table = if path.ends_with(".tsv") { Table::from_tsv(&content)? } else { Table::from_delimited(&content)? };
    let mut text = format!("  {}: {}\n", tree.shown(path), count(table.rows.len() as u64, "row"));
    if tree.is_identified() || artifact == Artifact::Arrays {
        let columns = count(table.columns.len() as u64, "column");
        // Where a file has no header, these are values.
        let _ = match tree.is_identified() {
            true => writeln!(text, "    {columns}"),
            false => writeln!(text, "    columns {}", table.columns.join(", ")),
        };
        return Ok(text);
    }
    // As many columns as fit, the first always.
    let cut = |cell: &String| match cell.char_indices().nth(CELL) {
        Some((at, _)) => format!("{}…", &cell[..at]),
        None => cell.clone(),
    };
    let rows: Vec<Vec<String>> =
        std::iter::once(&table.columns).chain(table.rows.iter().take(ROWS)).map(|row| row.iter().map(cut).collect()).collect();
    let (mut fit, mut width) = (0, 4);
    while fit < table.columns.len() {
        width += 2 + rows.iter().map(|row| row[fit].chars().count()).max().unwrap_or(0);
        if width > LINE && fit > 0 {
            break;
        }
        fit += 1;
    }
    let narrow: Vec<Vec<String>> = rows.into_iter().map(|row| row.into_iter().take(fit).collect()).collect();
    text.push_str(&grid(&narrow, "    "));
    if fit < table.columns.len() {
        let _ = writeln!(text, "    … and columns {}", table.columns[fit..].join(", "));
    }
    text.push_str(&rest(table.rows.len(), "row").replace("  …", "    …"));
    Ok(text)
}

/// `X.npy: [663, 224, 224] uint16`, from the header alone.
fn array(tree: &Tree, path: &str) -> Result<String> {
    let file = tree.file(path)?;
    let header = Header::read(&mut file.open()?)?;
    let shape: Vec<String> = header.shape.iter().map(u64::to_string).collect();
    Ok(format!("  {}: [{}] {}, {}\n", tree.shown(path), shape.join(", "), type_name(&header.dtype), bytes(file.size)))
}

/// What NumPy calls a type in words.
fn type_name(dtype: &str) -> &str {
    match dtype {
        "|u1" => "uint8",
        "<u2" => "uint16",
        "<i4" => "int32",
        "<i8" => "int64",
        "<f4" => "float32",
        "<f8" => "float64",
        "|b1" => "bool",
        other => other,
    }
}

/// Number of tensors and of numbers in them, from the header alone.
fn tensors(tree: &Tree, path: &str) -> Result<String> {
    let mut file = tree.file(path)?.open()?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length).min(LARGE)).read_to_end(&mut header)?;
    let header: Value = serde_json::from_slice(&header).context("it is not a safetensors file")?;
    let shapes: Vec<&Vec<Value>> =
        header.as_object().into_iter().flatten().filter_map(|(_, tensor)| tensor.get("shape")?.as_array()).collect();
    let numbers: u64 = shapes.iter().map(|shape| shape.iter().filter_map(Value::as_u64).product::<u64>()).sum();
    let size = bytes(tree.file(path)?.size);
    Ok(format!("  {}: {}, {numbers} numbers, {size}\n", tree.shown(path), count(shapes.len() as u64, "tensor")))
}

/// Figures as a table, a confusion matrix, and the rest as `name: value`.
fn json(tree: &Tree, path: &str) -> Result<String> {
    let value: Value = serde_json::from_slice(&tree.read(path)?)?;
    let mut text = format!("  {}\n", tree.shown(path));
    if tree.is_identified() {
        let _ = writeln!(text, "    holds {}", count(value.as_object().map_or(0, serde_json::Map::len) as u64, "field"));
        return Ok(text);
    }
    let Some(object) = value.as_object() else {
        let _ = writeln!(text, "    {}", plain(&value));
        return Ok(text);
    };
    let classes = object.get("classes").and_then(Value::as_array);
    for (name, value) in object {
        match (name.as_str(), value) {
            ("confusion", Value::Array(lines)) => text.push_str(&confusion(lines, classes)),
            (_, Value::Array(rows)) if !rows.is_empty() && rows.iter().all(Value::is_object) => text.push_str(&records(rows)),
            _ => {
                let _ = writeln!(text, "    {name}: {}", plain(value));
            }
        }
    }
    Ok(text)
}

/// A list of objects as a table; columns in the order of the first.
fn records(rows: &[Value]) -> String {
    let columns: Vec<String> = rows[0].as_object().into_iter().flat_map(|row| row.keys().cloned()).collect();
    let cells = rows.iter().map(|row| columns.iter().map(|column| plain(row.get(column).unwrap_or(&Value::Null))).collect());
    grid(&std::iter::once(columns.clone()).chain(cells).collect::<Vec<Vec<String>>>(), "    ")
}

fn confusion(lines: &[Value], classes: Option<&Vec<Value>>) -> String {
    let name = |at: usize| classes.and_then(|classes| classes.get(at)).map_or_else(|| at.to_string(), plain);
    let mut rows = vec![vec!["is \\ taken for".to_owned()]];
    rows[0].extend((0..lines.len()).map(name));
    for (at, line) in lines.iter().enumerate() {
        rows.push(std::iter::once(name(at)).chain(line.as_array().into_iter().flatten().map(plain)).collect());
    }
    grid(&rows, "    ")
}

/// A value on one line: numbers to four places, strings bare.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            // Four places of a share; small ones (a learning rate) in full.
            if number.abs() < 0.001 { number.to_string() } else { format!("{number:.4}") }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Digest, FileRef, Level};
    use std::fs::File;
    use std::io::Write as _;

    fn tree(folder: &tempfile::TempDir, files: &[(&str, &[u8])], level: Level) -> Tree {
        let place = |name: &str| folder.path().join(name);
        let files = files.iter().map(|(name, bytes)| {
            File::create(place(name)).unwrap().write_all(bytes).unwrap();
            ((*name).to_owned(), FileRef { digest: Digest::of(bytes), size: bytes.len() as u64, place: place(name).into() })
        });
        Tree { files: files.collect(), level }
    }

    #[test]
    fn metrics_are_a_table_and_a_matrix() {
        let folder = tempfile::tempdir().unwrap();
        let json = br#"{"role":"test","n":4,"classes":["no","yes"],"metrics":[{"name":"auc","value":0.87654,"n":4},{"name":"f1","value":null,"n":4}],"confusion":[[2,0],[1,1]]}"#;
        let shown = preview(Artifact::Metrics, &tree(&folder, &[("metrics.json", json)], Level::Released)).unwrap();
        for wanted in ["    role: test\n", "    auc   0.8765  4\n", "    f1    -       4\n", "no", "is \\ taken for"] {
            assert!(shown.contains(wanted), "{wanted:?} is missing in\n{shown}");
        }
    }

    #[test]
    fn a_table_shows_its_first_rows_unless_it_is_identified() {
        let folder = tempfile::tempdir().unwrap();
        let mut text = "item\tlabel\n".to_owned();
        (0..20).for_each(|row| text.push_str(&format!("DOE{row}\tyes\n")));
        let open = preview(Artifact::Cohort, &tree(&folder, &[("cohort.tsv", text.as_bytes())], Level::Released)).unwrap();
        assert!(
            open.contains("cohort.tsv: 20 rows") && open.contains("DOE7") && !open.contains("DOE8") && open.contains("12 more rows"),
            "{open}"
        );
        let closed = preview(Artifact::Cohort, &tree(&folder, &[("cohort.tsv", text.as_bytes())], Level::Identified)).unwrap();
        assert!(closed.contains("20 rows") && closed.contains("2 columns") && !closed.contains("label"), "{closed}");
    }

    #[test]
    fn arrays_and_models_are_summed_up() {
        let folder = tempfile::tempdir().unwrap();
        let header = b"{'descr': '<u2', 'fortran_order': False, 'shape': (3, 2, 2), }\n";
        let npy = [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header, &[0; 24]].concat();
        let tensors = br#"{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"__metadata__":{}}"#;
        let safetensors = [&(tensors.len() as u64).to_le_bytes()[..], tensors, &[0; 24]].concat();
        let tree = tree(&folder, &[("X.npy", &npy), ("model.safetensors", &safetensors), ("x.bin", b"1")], Level::Released);
        let shown = preview(Artifact::Model, &tree).unwrap();
        assert!(shown.contains("X.npy: [3, 2, 2] uint16") && shown.contains("1 tensor, 6 numbers"), "{shown}");
        assert!(preview(Artifact::Files, &tree).unwrap().contains("x.bin"));
    }
}
