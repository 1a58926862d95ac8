//! What stands at the beginning of an `.npy` file (NumPy's format, versions 1 to 3).

use anyhow::{Context as _, Result, ensure};
use std::io::Read;

/// A header holds a type, an order and a shape: more than this is none.
const LONGEST: u64 = 1 << 16;

/// Type, order and shape of an array, and where its values begin.
#[derive(Debug, PartialEq)]
pub struct Header {
    /// As NumPy writes it: `<u2`, `<f4`, `<i8`.
    pub dtype: String,
    /// Whether the first axis varies fastest.
    pub fortran: bool,
    pub shape: Vec<u64>,
    /// Offset of the first value, in bytes.
    pub start: u64,
}

impl Header {
    /// Reads it from the file's beginning, and no further than it reaches.
    pub fn read(file: &mut impl Read) -> Result<Self> {
        const NONE: &str = "the beginning is no .npy header";
        let mut head = [0; 8];
        file.read_exact(&mut head).context(NONE)?;
        ensure!(head.starts_with(b"\x93NUMPY"), NONE);
        let mut length = [0; 4];
        let width = match head[6] {
            1 => 2,
            2 | 3 => 4,
            _ => anyhow::bail!(NONE),
        };
        file.read_exact(&mut length[..width]).context(NONE)?;
        let length = u64::from(u32::from_le_bytes(length));
        ensure!(length <= LONGEST, NONE);
        let mut text = String::new();
        file.take(length).read_to_string(&mut text).context(NONE)?;
        ensure!(text.len() as u64 == length, NONE);
        Self::parse(&text, 8 + width as u64 + length).context(NONE)
    }

    fn parse(text: &str, start: u64) -> Option<Self> {
        let value = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        let dtype = value("descr")?.strip_prefix('\'')?.split('\'').next()?.to_owned();
        let fortran = value("fortran_order")?.starts_with("True");
        let shape = value("shape")?.strip_prefix('(')?.split(')').next()?;
        let shape = shape.split(',').map(str::trim).filter(|length| !length.is_empty()).map(|length| length.parse().ok());
        Some(Self { dtype, fortran, shape: shape.collect::<Option<_>>()?, start })
    }

    /// Bytes of one value; 0 where the type says no number.
    pub fn width(&self) -> u64 {
        self.dtype.get(2..).and_then(|width| width.parse().ok()).unwrap_or(0)
    }

    /// Length of the whole file, where it can be counted.
    pub fn bytes(&self) -> Option<u64> {
        self.shape.iter().try_fold(self.width(), |product, length| product.checked_mul(*length))?.checked_add(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;
    use ndarray_npy::WriteNpyExt as _;

    #[test]
    fn what_numpy_writes_is_read_and_what_is_cut_short_is_not() {
        let mut bytes = Vec::new();
        Array3::<u16>::zeros((2, 4, 3)).write_npy(&mut bytes).unwrap();
        let header = Header::read(&mut bytes.as_slice()).unwrap();
        assert_eq!((header.dtype.as_str(), header.fortran, header.shape.as_slice()), ("<u2", false, [2, 4, 3].as_slice()));
        assert_eq!(header.bytes(), Some(bytes.len() as u64));
        for length in [0, 7, 9, 40] {
            assert!(Header::read(&mut &bytes[..length]).is_err(), "{length}");
        }
        assert!(Header::read(&mut b"\x93NUMPY\x02\x00\xff\xff\xff\xff".as_slice()).is_err());
    }
}
