//! Reading image stacks that others wrote: `.npy` files `[n, h, w]` of whole numbers 0 to 65535, whatever type holds them.

use crate::content::FileRef;
use crate::mapped::Mapped;
use crate::npy::Header;
use anyhow::{Context as _, Result, bail, ensure};

/// The images of a file, mapped into memory.
pub struct Stack {
    bytes: Mapped,
    start: usize,
    value: Value,
    /// Images, height and width in pixels.
    pub count: usize,
    pub height: u32,
    pub width: u32,
}

/// A type that can hold pixels, little-endian.
#[derive(Clone, Copy)]
enum Value {
    U8,
    U16,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Stack {
    /// Opens a file; errors say what is wrong with it and do not name it.
    pub fn open(file: &FileRef) -> Result<Self> {
        let header = Header::read(&mut file.open().context("it cannot be read")?).context("it is no array of NumPy's format")?;
        let value = match header.dtype.as_str() {
            "|u1" => Value::U8,
            "<u2" => Value::U16,
            "<i2" => Value::I16,
            "<i4" => Value::I32,
            "<i8" => Value::I64,
            "<f4" => Value::F32,
            "<f8" => Value::F64,
            "|O" => {
                bail!("it holds pickled Python objects; save a plain array: `numpy.save(path, array.astype('uint16'), allow_pickle=False)`")
            }
            other => bail!("its type is `{other}`; pixels are whole numbers or floats, such as uint16 (`<u2`)"),
        };
        ensure!(!header.fortran, "it is in Fortran order; save it in C order: `numpy.save(path, numpy.ascontiguousarray(array))`");
        let &[count, height, width] = header.shape.as_slice() else { bail!("its shape is {:?}; grey images are [n, h, w]", header.shape) };
        ensure!(header.bytes() == Some(file.size), "it is not as long as its shape {:?} says: it is cut short or damaged", header.shape);
        ensure!(height > 0 && width > 0, "its images have no pixels: the shape is {:?}", header.shape);
        let bytes = Mapped::stretch(&file.place.file, file.place.at.unwrap_or(0), file.size).context("it cannot be read")?;
        let side = |side: u64| u32::try_from(side).context("images as large as that");
        let (start, count) = (usize::try_from(header.start)?, usize::try_from(count)?);
        Ok(Self { bytes, start, value, count, height: side(height)?, width: side(width)? })
    }

    /// Pixels of an image, row by row. A value that no 16-bit image can hold is an error; parts of whole numbers are rounded.
    pub fn image(&self, number: usize) -> Result<Vec<u16>> {
        fn pixels<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Result<Vec<u16>> {
            let (values, _) = bytes.as_chunks::<N>();
            let pixel = |bytes: &[u8; N]| {
                let value = value(*bytes).round();
                ensure!((0.0..=65_535.0).contains(&value), "it has a value that no image stores: 0 to 65535 are wanted");
                Ok(value as u16)
            };
            values.iter().map(pixel).collect()
        }
        let length = self.height as usize * self.width as usize * self.value.bytes();
        let bytes = self.bytes.get(self.start + number * length..self.start + (number + 1) * length).context("an image past the end")?;
        match self.value {
            Value::U8 => Ok(bytes.iter().map(|value| u16::from(*value)).collect()),
            Value::U16 => Ok(bytes.as_chunks::<2>().0.iter().map(|value| u16::from_le_bytes(*value)).collect()),
            Value::I16 => pixels(bytes, |value| f64::from(i16::from_le_bytes(value))),
            Value::I32 => pixels(bytes, |value| f64::from(i32::from_le_bytes(value))),
            Value::I64 => pixels(bytes, |value| i64::from_le_bytes(value) as f64),
            Value::F32 => pixels(bytes, |value| f64::from(f32::from_le_bytes(value))),
            Value::F64 => pixels(bytes, f64::from_le_bytes),
        }
    }
}

impl Value {
    fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Digest;
    use ndarray::{Array2, Array3, ShapeBuilder as _, array};
    use ndarray_npy::{WritableElement, WriteNpyExt as _};

    fn file(folder: &tempfile::TempDir, bytes: &[u8]) -> FileRef {
        let digest = Digest::of(bytes);
        let place = folder.path().join(digest.to_string());
        std::io::Write::write_all(&mut std::fs::File::create(&place).unwrap(), bytes).unwrap();
        FileRef { digest, size: bytes.len() as u64, place: place.into() }
    }

    fn bytes<T: WritableElement>(array: &Array3<T>) -> Vec<u8> {
        let mut bytes = Vec::new();
        array.write_npy(&mut bytes).unwrap();
        bytes
    }

    fn second(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let stack = Stack::open(&file(&folder, bytes));
        match stack.and_then(|stack| stack.image(1)) {
            Ok(pixels) => format!("{pixels:?}"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn every_type_gives_the_same_pixels() {
        let values = array![[[0u16, 1]], [[300, 65_535]]];
        let wanted = "[300, 65535]";
        assert_eq!(second(&bytes(&values)), wanted);
        assert_eq!(second(&bytes(&values.mapv(i32::from))), wanted);
        assert_eq!(second(&bytes(&values.mapv(i64::from))), wanted);
        assert_eq!(second(&bytes(&values.mapv(f32::from))), wanted);
        assert_eq!(second(&bytes(&values.mapv(|value| f64::from(value) - 0.25))), wanted);
        assert_eq!(second(&bytes(&array![[[0u8, 1]], [[3, 255]]])), "[3, 255]");
        assert_eq!(second(&bytes(&array![[[0i16, 1]], [[3, 255]]])), "[3, 255]");
    }

    #[test]
    fn each_mistake_is_one_sentence() {
        let says = |bytes: &[u8], part: &str| assert!(second(bytes).contains(part), "{}", second(bytes));
        let good = bytes(&Array3::<u16>::zeros((2, 3, 4)));
        says(&good[..good.len() - 1], "cut short or damaged");
        says(b"PK\x03\x04 an .npz", "no array of NumPy's format");
        says(&bytes(&Array3::<u16>::zeros((2, 3, 4).f())), "Fortran order");
        says(&bytes(&Array3::<u32>::zeros((2, 3, 4))), "its type is `<u4`");
        says(&bytes(&array![[[0i16]], [[-5]]]), "a value that no image stores");
        says(&bytes(&array![[[0.0f32]], [[f32::NAN]]]), "a value that no image stores");
        let mut flat = Vec::new();
        Array2::<u16>::zeros((2, 3)).write_npy(&mut flat).unwrap();
        says(&flat, "its shape is [2, 3]");
        let pickled = String::from_utf8_lossy(&good[..80]).replace("'<u2'", "'|O' ");
        let mut odd = good.clone();
        odd[10..80].copy_from_slice(&pickled.as_bytes()[pickled.len() - 70..]);
        says(&odd, "pickled");
    }
}
