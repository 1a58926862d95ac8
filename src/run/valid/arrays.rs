//! Whether a folder holds arrays: `X.npy`, `y.npy`, `rows.tsv` and `role.json` that agree with one another.

use super::{SETS, json, table};
use crate::npy::Header;
use anyhow::{Context as _, Result, ensure};
use std::fs::File;
use std::path::Path;

/// Checks types, order, shapes and lengths; not the values.
pub(super) fn check(folder: &Path) -> Result<()> {
    let rows = table(folder, "rows.tsv", &["row", "item", "subject", "label"])?;
    let at = rows.column("row")?;
    let odd = rows.rows.iter().enumerate().position(|(number, row)| row[at].parse() != Ok(number));
    ensure!(odd.is_none(), "rows.tsv: line {}: `row` does not count from 0", odd.unwrap_or_default() + 2);
    let count = rows.rows.len() as u64;

    let x = header(folder, "X.npy")?;
    ensure!(["<u2", "<f4"].contains(&x.dtype.as_str()), "X.npy holds `{}`; it must be uint16 (`<u2`) or float32 (`<f4`)", x.dtype);
    ensure!([2, 3].contains(&x.shape.len()), "X.npy has the shape {:?}; it must be [n, h, w] or [n, f]", x.shape);
    ensure!(!x.fortran, "X.npy is in Fortran order; it must be in C order");
    ensure!(x.shape[0] == count, "X.npy has {} rows and rows.tsv {count}", x.shape[0]);

    let y = header(folder, "y.npy")?;
    ensure!(
        y.dtype == "<i8" && y.shape.len() == 1,
        "y.npy holds `{}` of shape {:?}; it must be int64 (`<i8`) of shape [n]",
        y.dtype,
        y.shape
    );
    ensure!(y.shape[0] == count, "y.npy has {} rows and rows.tsv {count}", y.shape[0]);

    let role = json(folder, "role.json")?;
    let known = role["role"].as_str().is_some_and(|role| role == "all" || SETS.contains(&role));
    ensure!(known, "role.json: `role` is none of {}, all", SETS.join(", "));
    let classes = role["classes"].as_array().is_some_and(|classes| classes.iter().all(serde_json::Value::is_string));
    ensure!(classes, "role.json: there is no list of texts `classes`");
    Ok(())
}

/// The header of an `.npy` file, once the file is as long as it says.
fn header(folder: &Path, name: &str) -> Result<Header> {
    let mut file = File::open(folder.join(name)).map_err(|_| anyhow::anyhow!("there is no {name}"))?;
    let size = file.metadata().with_context(|| format!("{name} cannot be read"))?.len();
    let header = Header::read(&mut file).with_context(|| format!("{name} is no array of NumPy's format"))?;
    ensure!(header.bytes() == Some(size), "{name} is not as long as its shape {:?} says", header.shape);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, Array3, ShapeBuilder as _};
    use ndarray_npy::write_npy;
    use std::io::Write as _;

    fn folder(rows: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| File::create(folder.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
        let lines: String = (0..rows).map(|row| format!("{row}\ti{row}\tp\till\n")).collect();
        write("rows.tsv", format!("row\titem\tsubject\tlabel\n{lines}"));
        write("role.json", r#"{"role": "test", "classes": ["ill", "well"]}"#.to_owned());
        write_npy(folder.path().join("X.npy"), &Array3::<u16>::zeros((2, 4, 3))).unwrap();
        write_npy(folder.path().join("y.npy"), &Array1::<i64>::zeros(2)).unwrap();
        folder
    }

    fn said(folder: &tempfile::TempDir) -> String {
        check(folder.path()).map_or_else(|error| format!("{error:#}"), |()| "right".to_owned())
    }

    #[test]
    fn the_files_agree() {
        assert_eq!(said(&folder(2)), "right");
        assert_eq!(said(&folder(3)), "X.npy has 2 rows and rows.tsv 3");
        let wrong = folder(2);
        write_npy(wrong.path().join("y.npy"), &Array1::<i32>::zeros(2)).unwrap();
        assert_eq!(said(&wrong), "y.npy holds `<i4` of shape [2]; it must be int64 (`<i8`) of shape [n]");
        write_npy(wrong.path().join("X.npy"), &Array1::<u16>::zeros(2)).unwrap();
        assert_eq!(said(&wrong), "X.npy has the shape [2]; it must be [n, h, w] or [n, f]");
        write_npy(wrong.path().join("X.npy"), &Array3::<f64>::zeros((2, 1, 1))).unwrap();
        assert_eq!(said(&wrong), "X.npy holds `<f8`; it must be uint16 (`<u2`) or float32 (`<f4`)");
        write_npy(wrong.path().join("X.npy"), &Array3::<f32>::zeros((2, 4, 3).f())).unwrap();
        assert_eq!(said(&wrong), "X.npy is in Fortran order; it must be in C order");
        File::options().write(true).open(wrong.path().join("X.npy")).unwrap().set_len(150).unwrap();
        assert_eq!(said(&wrong), "X.npy is not as long as its shape [2, 4, 3] says");
        File::create(wrong.path().join("X.npy")).unwrap().write_all(b"\x93NUMPY\x01\x00\xff\xff").unwrap();
        assert_eq!(said(&wrong), "X.npy is no array of NumPy's format: the beginning is no .npy header");
    }
}
