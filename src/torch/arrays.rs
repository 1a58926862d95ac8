//! Arrays as `dataset.pack` writes them: mapped into memory, copied batch by batch.

use anyhow::{Context as _, Result, bail, ensure};
use ndarray::{ArrayView1, ArrayView3, ArrayView4, Axis};
use ndarray_npy::{ViewNpyError, ViewNpyExt};
use serde::Deserialize;
use tch::{Device, Tensor};
use tomograph::mapped::Mapped;
use tomograph::stage::Part;
use tomograph::stages::classifier_train::Normalise;
use tomograph::table::Table;

/// Grey images with a class each.
pub(crate) struct Arrays {
    pixels: Mapped,
    wide: bool,
    /// Images, and height and width in pixels.
    pub(crate) size: [usize; 3],
    /// Class index of each image.
    pub(crate) classes_of: Vec<i64>,
    /// Item of each image.
    pub(crate) items: Vec<String>,
    /// Subject of each image; empty where unknown.
    pub(crate) subjects: Vec<String>,
    /// Class names; for two classes the positive one is the last.
    pub(crate) classes: Vec<String>,
    /// `train`, `validation`, `test` or `all`.
    pub(crate) role: String,
}

#[derive(Deserialize)]
struct About {
    role: String,
    classes: Vec<String>,
}

impl Arrays {
    /// Maps the part of a port, and checks that its files fit together and that its role is one of `roles`: what a command
    /// made has no role at `check`, so test data is kept from a training here too.
    pub(crate) fn open(part: &Part, port: &str, roles: &[&str]) -> Result<Self> {
        let arrays = Self::read(part).with_context(|| format!("port `{port}`"))?;
        let role = &arrays.role;
        ensure!(roles.contains(&role.as_str()), "port `{port}` takes arrays of role {}; these have role {role}", roles.join(" or "));
        Ok(arrays)
    }

    fn read(part: &Part) -> Result<Self> {
        let tree = &part.tree;
        let about: About = serde_json::from_slice(&tree.read("role.json")?).context("role.json")?;
        let file = tree.file("X.npy")?;
        let pixels = Mapped::stretch(&file.place.file, file.place.at.unwrap_or(0), file.size).context("X.npy")?;
        let (wide, size) = match view::<u16>(&pixels)? {
            Some(view) => (false, view.dim()),
            None => match view::<f32>(&pixels)? {
                Some(view) => (true, view.dim()),
                None => bail!("X.npy is neither uint16 nor float32"),
            },
        };
        let labels = tree.read("y.npy")?;
        let classes_of = match ArrayView1::<i64>::view_npy(&labels) {
            Ok(labels) => labels.to_vec(),
            // The bytes were read into memory as they came; a copy is aligned.
            Err(ViewNpyError::MisalignedData) => ndarray_npy::ReadNpyExt::read_npy(labels.as_slice())
                .map(|labels: ndarray::Array1<i64>| labels.to_vec())
                .context("y.npy is not [n] of int64")?,
            Err(error) => return Err(error).context("y.npy is not [n] of int64"),
        };
        let rows = Table::from_tsv(&tree.read("rows.tsv")?).context("rows.tsv")?;
        let (item, subject) = (rows.column("item")?, rows.column("subject")?);
        let count = size.0;
        ensure!(
            classes_of.len() == count && rows.rows.len() == count,
            "X.npy has {count} images, y.npy {} labels, rows.tsv {} rows",
            classes_of.len(),
            rows.rows.len()
        );
        ensure!(about.classes.len() >= 2, "a classifier needs at least two classes; role.json names {}", about.classes.len());
        if let Some(row) = classes_of.iter().position(|class| !(0..about.classes.len() as i64).contains(class)) {
            bail!("row {row} has class {} of {}", classes_of[row], about.classes.len());
        }
        let column = |at: usize| rows.rows.iter().map(|row| row[at].clone()).collect();
        Ok(Self {
            wide,
            size: [count, size.1, size.2],
            classes_of,
            items: column(item),
            subjects: column(subject),
            classes: about.classes,
            role: about.role,
            pixels,
        })
    }

    /// How many images there are.
    pub(crate) fn len(&self) -> usize {
        self.size[0]
    }

    /// The images of `rows` as `[rows, 1, h, w]` float32 of 0 to 255.
    pub(crate) fn batch(&self, rows: &[usize], normalise: Normalise, device: Device) -> Result<Tensor> {
        let [_, height, width] = self.size;
        let mut values = Vec::with_capacity(rows.len() * height * width);
        if self.wide {
            let images = view::<f32>(&self.pixels)?.context("X.npy changed")?;
            for row in rows {
                let full = 1.0;
                push(&mut values, images.index_axis(Axis(0), *row).iter().copied(), normalise, full);
            }
        } else {
            let images = view::<u16>(&self.pixels)?.context("X.npy changed")?;
            for row in rows {
                let full = f32::from(u16::MAX);
                push(&mut values, images.index_axis(Axis(0), *row).iter().map(|value| f32::from(*value)), normalise, full);
            }
        }
        let shape = [rows.len() as i64, 1, height as i64, width as i64];
        Ok(Tensor::from_slice(&values).view(shape).to_device(device))
    }

    /// The classes of `rows` as `[rows]` int64.
    pub(crate) fn targets(&self, rows: &[usize], device: Device) -> Tensor {
        let targets: Vec<i64> = rows.iter().map(|row| self.classes_of[*row]).collect();
        Tensor::from_slice(&targets).to_device(device)
    }
}

fn view<'a, T>(bytes: &'a [u8]) -> Result<Option<ArrayView3<'a, T>>>
where
    ArrayView3<'a, T>: ViewNpyExt<'a>,
{
    match ViewNpyExt::view_npy(bytes) {
        Ok(view) => Ok(Some(view)),
        Err(ViewNpyError::WrongDescriptor(_)) => Ok(None),
        Err(error) => Err(error).context("X.npy is not [n, h, w]"),
    }
}

fn push(values: &mut Vec<f32>, pixels: impl Iterator<Item = f32> + Clone, normalise: Normalise, full: f32) {
    let (low, high) = match normalise {
        Normalise::MinMax => {
            pixels.clone().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
        }
        Normalise::FullRange => (0.0, full),
    };
    // A flat image becomes 0 everywhere.
    let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
    values.extend(pixels.map(|value| (value - low) * scale));
}

/// RGB images of a `.npy` file, `[n, h, w, 3]` uint8 or float32 of 0 to 255, as `[n, 3, h, w]` float32.
pub(crate) fn rgb(bytes: &[u8]) -> Result<Tensor> {
    let (shape, values): (_, Vec<f32>) = match ArrayView4::<u8>::view_npy(bytes) {
        Ok(view) => (view.dim(), view.iter().map(|value| f32::from(*value)).collect()),
        Err(ViewNpyError::WrongDescriptor(_)) => match ArrayView4::<f32>::view_npy(bytes) {
            Ok(view) => (view.dim(), view.iter().copied().collect()),
            Err(ViewNpyError::WrongDescriptor(_)) => bail!("the array is neither uint8 nor float32"),
            Err(error) => return Err(error).context("not an array [n, h, w, 3]"),
        },
        Err(error) => return Err(error).context("not an array [n, h, w, 3]"),
    };
    ensure!(shape.3 == 3, "the array is [{}, {}, {}, {}], where [n, h, w, 3] is wanted", shape.0, shape.1, shape.2, shape.3);
    let shape = [shape.0 as i64, shape.1 as i64, shape.2 as i64, 3];
    Ok(Tensor::from_slice(&values).view(shape).permute([0, 3, 1, 2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_stretched_to_its_own_range_or_the_full_one() {
        let image = [1000.0f32, 3000.0, 2000.0];
        let mut values = Vec::new();
        push(&mut values, image.iter().copied(), Normalise::MinMax, 65535.0);
        assert_eq!(values, [0.0, 255.0, 127.5]);
        values.clear();
        push(&mut values, [7.0f32; 3].iter().copied(), Normalise::MinMax, 65535.0);
        push(&mut values, [65535.0f32].iter().copied(), Normalise::FullRange, 65535.0);
        assert_eq!(values, [0.0, 0.0, 0.0, 255.0]);
    }
}
