//! Arrays as `dataset.pack` writes them, or `classifier.features`: mapped into memory, copied batch by batch.

use crate::loss::settled;
use anyhow::{Context as _, Result, bail, ensure};
use ndarray::{Array1, Array2, ArrayView4};
use ndarray_npy::{ViewNpyError, ViewNpyExt};
use serde::Deserialize;
use tch::Tensor;
use tomograph::mapped::Mapped;
use tomograph::npy::Header;
use tomograph::stage::Part;
use tomograph::stages::classifier_features::{ORIGIN, Origin};
use tomograph::stages::classifier_train::{Normalise, Task, Uncertain};
use tomograph::table::Table;

/// What is true of the images.
pub(crate) enum Truth {
    /// Class index of each.
    Classes(Vec<i64>),
    /// `[n, k]`, image by image: 1 where a label holds, 0 where not, NaN where nobody knows, -1 where uncertain until [`Arrays::settle`].
    Labels(Vec<f32>),
}

/// Grey images, or their features, with a class each, or labels.
pub(crate) struct Arrays {
    pixels: Mapped,
    /// Where the first image lies in them, in bytes.
    start: usize,
    /// Whether values are float32, not uint16.
    wide: bool,
    /// Images, and their height and width in pixels.
    pub(crate) size: [usize; 3],
    /// What features they are, if they are no images any more.
    pub(crate) origin: Option<Origin>,
    /// Values of an image.
    length: usize,
    pub(crate) truth: Truth,
    /// Item of each image.
    pub(crate) items: Vec<String>,
    /// Subject of each image; empty where unknown.
    pub(crate) subjects: Vec<String>,
    /// Names of the classes (of two, the positive one is the last) or of the labels.
    pub(crate) classes: Vec<String>,
    /// `train`, `validation`, `test` or `all`.
    pub(crate) role: String,
}

#[derive(Deserialize)]
struct About {
    role: String,
    #[serde(default)]
    classes: Vec<String>,
    /// Instead of `classes`, where each image has any number of labels.
    labels: Option<Vec<String>>,
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
        let header = Header::read(&mut &pixels[..]).context("X.npy")?;
        let wide = match header.dtype.as_str() {
            "<u2" => false,
            "<f4" => true,
            _ => bail!("X.npy is neither uint16 nor float32"),
        };
        let (origin, [count, height, width]) = match *header.shape.as_slice() {
            [count, height, width] => (None, [count, height, width]),
            [count, _] => {
                let origin: Origin = serde_json::from_slice(&tree.read(ORIGIN)?).context(ORIGIN)?;
                let [height, width] = origin.images;
                ensure!(wide, "X.npy has features that are not float32");
                (Some(origin), [count, height, width])
            }
            _ => bail!("X.npy is neither [n, h, w] nor [n, f], but {:?}", header.shape),
        };
        ensure!(header.bytes() == Some(file.size) && !header.fortran, "X.npy is cut short, or not in C order");
        let length = header.shape[1..].iter().fold(1u64, |sum, side| sum.saturating_mul(*side)) as usize;
        let [count, height, width] = [count, height, width].map(|side| side as usize);
        let (truth, labelled, classes) = truth(&tree.read("y.npy")?, about.classes, about.labels)?;
        let rows = Table::from_tsv(&tree.read("rows.tsv")?).context("rows.tsv")?;
        let (item, subject) = (rows.column("item")?, rows.column("subject")?);
        ensure!(
            labelled == count && rows.rows.len() == count,
            "X.npy has {count} images, y.npy {} labels, rows.tsv {} rows",
            labelled,
            rows.rows.len()
        );
        let column = |at: usize| rows.rows.iter().map(|row| row[at].clone()).collect();
        Ok(Self {
            wide,
            start: header.start as usize,
            size: [count, height, width],
            origin,
            length,
            truth,
            items: column(item),
            subjects: column(subject),
            classes,
            role: about.role,
            pixels,
        })
    }

    /// How many images there are.
    pub(crate) fn len(&self) -> usize {
        self.size[0]
    }

    /// Whether the subject of any image is known.
    pub(crate) fn has_subjects(&self) -> bool {
        self.subjects.iter().any(|subject| !subject.is_empty())
    }

    /// Whether each image has one class or labels.
    pub(crate) fn task(&self) -> Task {
        match self.truth {
            Truth::Classes(_) => Task::Classes,
            Truth::Labels(_) => Task::Labels,
        }
    }

    /// Decides what uncertain labels are.
    pub(crate) fn settle(mut self, uncertain: Uncertain) -> Self {
        if let Truth::Labels(entries) = &mut self.truth {
            entries.iter_mut().for_each(|entry| *entry = settled(*entry, uncertain));
        }
        self
    }

    /// Index of the image's class.
    pub(crate) fn class(&self, row: usize) -> Option<usize> {
        match &self.truth {
            Truth::Classes(of) => usize::try_from(of[row]).ok(),
            Truth::Labels(_) => None,
        }
    }

    /// Whether a class or label is the image's; none where nobody knows.
    pub(crate) fn holds(&self, row: usize, class: usize) -> Option<bool> {
        match &self.truth {
            Truth::Classes(of) => Some(of[row] == class as i64),
            Truth::Labels(of) => {
                let entry = of[row * self.classes.len() + class];
                (!entry.is_nan()).then_some(entry > 0.5)
            }
        }
    }

    /// The images of `rows` as `[rows, 1, h, w]` float32 of 0 to 255, or their features as they are, `[rows, f]`; on the CPU.
    pub(crate) fn batch(&self, rows: &[usize], normalise: Normalise) -> Result<Tensor> {
        let [_, height, width] = self.size;
        let mut values = Vec::new();
        values.try_reserve_exact(rows.len() * self.length).context("out of memory for a batch of images")?;
        let length = self.length * if self.wide { 4 } else { 2 };
        for row in rows {
            let image = &self.pixels[self.start + row * length..][..length];
            // By value, since a small array shares its file with others and may lie anywhere in it.
            if self.origin.is_some() {
                let (features, _) = image.as_chunks::<4>();
                values.extend(features.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            } else if self.wide {
                let (image, _) = image.as_chunks::<4>();
                spread(&mut values, image.iter().map(|bytes| f32::from_le_bytes(*bytes)), normalise, 1.0);
            } else {
                let (image, _) = image.as_chunks::<2>();
                spread(&mut values, image.iter().map(|bytes| f32::from(u16::from_le_bytes(*bytes))), normalise, f32::from(u16::MAX));
            }
        }
        let (values, count) = (Tensor::from_slice(&values), rows.len() as i64);
        Ok(match self.origin {
            Some(_) => values.view([count, self.length as i64]),
            None => values.view([count, 1, height as i64, width as i64]),
        })
    }

    /// The truth of `rows` on the CPU: classes `[rows]` int64, labels `[rows, k]` float32.
    pub(crate) fn targets(&self, rows: &[usize]) -> Tensor {
        match &self.truth {
            Truth::Classes(of) => Tensor::from_slice(&rows.iter().map(|row| of[*row]).collect::<Vec<_>>()),
            Truth::Labels(of) => {
                let width = self.classes.len();
                let entries: Vec<f32> = rows.iter().flat_map(|row| &of[row * width..][..width]).copied().collect();
                Tensor::from_slice(&entries).view([rows.len() as i64, width as i64])
            }
        }
    }

    /// How many figures the loss of `rows` is a mean of: images, or labels that somebody knows.
    pub(crate) fn weight(&self, rows: &[usize]) -> f64 {
        match &self.truth {
            Truth::Classes(_) => rows.len() as f64,
            Truth::Labels(of) => {
                let width = self.classes.len();
                rows.iter().flat_map(|row| &of[row * width..][..width]).filter(|entry| !entry.is_nan()).count() as f64
            }
        }
    }
}

/// What `y.npy` says, of how many images, and the names of its classes or labels.
fn truth(bytes: &[u8], classes: Vec<String>, labels: Option<Vec<String>>) -> Result<(Truth, usize, Vec<String>)> {
    if let Some(names) = labels {
        let entries: Array2<f32> = ndarray_npy::ReadNpyExt::read_npy(bytes).context("y.npy is not [n, labels] of float32")?;
        ensure!(
            !names.is_empty() && entries.ncols() == names.len(),
            "y.npy has {} columns, role.json names {} labels",
            entries.ncols(),
            names.len()
        );
        let odd = entries.iter().position(|entry| !(entry.is_nan() || [0.0, 1.0, -1.0].contains(entry)));
        ensure!(odd.is_none(), "row {} of y.npy has an entry that is none of 1, 0, -1 and NaN", odd.unwrap_or_default() / names.len());
        let count = entries.nrows();
        return Ok((Truth::Labels(entries.into_iter().collect()), count, names));
    }
    let of: Array1<i64> = ndarray_npy::ReadNpyExt::read_npy(bytes).context("y.npy is not [n] of int64")?;
    ensure!(classes.len() >= 2, "a classifier needs at least two classes; role.json names {}", classes.len());
    if let Some(row) = of.iter().position(|class| !(0..classes.len() as i64).contains(class)) {
        bail!("row {row} has class {} of {}", of[row], classes.len());
    }
    let count = of.len();
    Ok((Truth::Classes(of.to_vec()), count, classes))
}

pub(crate) fn spread(values: &mut Vec<f32>, pixels: impl Iterator<Item = f32> + Clone, normalise: Normalise, full: f32) {
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
        spread(&mut values, image.iter().copied(), Normalise::MinMax, 65535.0);
        assert_eq!(values, [0.0, 255.0, 127.5]);
        values.clear();
        spread(&mut values, [7.0f32; 3].iter().copied(), Normalise::MinMax, 65535.0);
        spread(&mut values, [65535.0f32].iter().copied(), Normalise::FullRange, 65535.0);
        assert_eq!(values, [0.0, 0.0, 0.0, 255.0]);
    }
}
