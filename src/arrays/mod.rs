//! Arrays on disk: `.npy` files written row by row, so that a set larger than memory can be packed.
//!
//! Knows nothing of splits or stages.

mod stack;

pub use stack::Stack;

use crate::content::{Digest, FileRef, Place};
use crate::mapped::Mapped;
use crate::npy::Header;
use anyhow::{Context as _, Result, ensure};
use ndarray_npy::{write_npy, write_zeroed_npy};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Type of the values of `X.npy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 0 to 65535; the values of 8-bit images are multiplied by 257.
    Uint16,
    /// 0 to 1: the 16-bit value divided by 65535. Twice as large.
    Float32,
}

/// An `X.npy` of images, `[n, h, w]` in C order, whose rows may be written in any order and from several threads.
pub struct ImageArray {
    file: File,
    /// Where the first value lies, in bytes.
    start: u64,
    height: u32,
    width: u32,
    dtype: Dtype,
}

impl ImageArray {
    /// Creates the file, all zeros; `n` may be 0.
    pub fn create(place: &Path, (n, height, width): (usize, u32, u32), dtype: Dtype) -> Result<Self> {
        let shape = (n, height as usize, width as usize);
        let file = File::create(place).context("cannot create X.npy")?;
        match dtype {
            Dtype::Uint16 => write_zeroed_npy::<u16, _>(&file, shape),
            Dtype::Float32 => write_zeroed_npy::<f32, _>(&file, shape),
        }
        .context("cannot write X.npy")?;
        let mut array = Self { file, start: 0, height, width, dtype };
        array.start = array.file.metadata().context("X.npy")?.len() - n as u64 * array.row_bytes();
        Ok(array)
    }

    /// Writes row `at`: `h * w` values, 0 to 65535, row by row.
    pub fn put(&self, at: usize, pixels: &[u16]) -> Result<()> {
        ensure!(pixels.len() as u64 == u64::from(self.height) * u64::from(self.width), "an image of another size");
        let bytes: Vec<u8> = match self.dtype {
            Dtype::Uint16 => pixels.iter().flat_map(|value| value.to_ne_bytes()).collect(),
            Dtype::Float32 => pixels.iter().flat_map(|value| (f32::from(*value) / 65_535.0).to_ne_bytes()).collect(),
        };
        self.file.write_all_at(&bytes, self.start + at as u64 * self.row_bytes()).context("cannot write X.npy")
    }

    fn row_bytes(&self) -> u64 {
        let value = match self.dtype {
            Dtype::Uint16 => 2,
            Dtype::Float32 => 4,
        };
        u64::from(self.height) * u64::from(self.width) * value
    }
}

/// Writes `y.npy`: `[n]` int64.
pub fn write_labels(place: &Path, labels: Vec<i64>) -> Result<()> {
    write_npy(place, &ndarray::Array1::from(labels)).context("cannot write y.npy")
}

/// Writes an `X.npy` of features, `[n, f]` float32, from the rows' values.
pub fn write_features(place: &Path, rows: &[Vec<f32>]) -> Result<()> {
    let length = rows.first().map_or(0, Vec::len);
    ensure!(rows.iter().all(|row| row.len() == length), "rows of features of several lengths");
    let values = ndarray::Array2::from_shape_vec((rows.len(), length), rows.concat()).context("features")?;
    write_npy(place, &values).context("cannot write X.npy")
}

/// The rows of an `X.npy`, each as if it were a file of its own.
pub fn rows(file: &FileRef) -> Result<(Header, Vec<FileRef>)> {
    let header = Header::read(&mut file.open().context("cannot read it")?)?;
    ensure!(header.bytes() == Some(file.size) && !header.fortran, "it is cut short, or not in C order");
    let begin = file.place.at.unwrap_or(0);
    let bytes = Mapped::stretch(&file.place.file, begin, file.size).context("cannot read it")?;
    let values: u64 = header.shape.iter().skip(1).product();
    let (count, length) = (header.shape.first().copied().unwrap_or(0), values * header.width());
    let row = |number: u64| {
        let from = header.start + number * length;
        let digest = Digest::of(&bytes[from as usize..(from + length) as usize]);
        FileRef { digest, size: length, place: Place { file: file.place.file.clone(), at: Some(begin + from) } }
    };
    let rows = (0..count).into_par_iter().map(row).collect();
    Ok((header, rows))
}

/// Writes `y.npy` of several labels an image: `[n, k]` float32, image by image; 1, 0, -1 where uncertain, NaN where blank.
pub fn write_entries(place: &Path, entries: Vec<f32>, labels: usize) -> Result<()> {
    let shape = (entries.len() / labels.max(1), labels);
    write_npy(place, &ndarray::Array2::from_shape_vec(shape, entries).context("y.npy")?).context("cannot write y.npy")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, array};
    use ndarray_npy::read_npy;

    #[test]
    fn rows_written_out_of_order_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("X.npy");
        let array = ImageArray::create(&place, (3, 1, 2), Dtype::Uint16).unwrap();
        array.put(2, &[5, 6]).unwrap();
        array.put(0, &[257, 65_535]).unwrap();
        assert!(array.put(1, &[1]).is_err());
        assert_eq!(read_npy::<_, Array3<u16>>(&place).unwrap(), array![[[257, 65_535]], [[0, 0]], [[5, 6]]]);
        ImageArray::create(&place, (1, 1, 2), Dtype::Float32).unwrap().put(0, &[0, 65_535]).unwrap();
        assert_eq!(read_npy::<_, Array3<f32>>(&place).unwrap(), array![[[0.0, 1.0]]]);
        ImageArray::create(&place, (0, 7, 5), Dtype::Uint16).unwrap();
        assert_eq!(read_npy::<_, Array3<u16>>(&place).unwrap().dim(), (0, 7, 5));
    }
}
