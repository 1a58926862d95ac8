//! `classifier.features`: declared here, its items treated by `tomograph-torch`.

use super::backbones;
use super::classifier_train::Normalise;
use crate::arrays;
use crate::content::Digest;
use crate::npy::Header;
use crate::stage::{Artifact, Inputs, Item, ItemFile, Items, Needs, Params, Port, Problem, Row};
use anyhow::{Context as _, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a backbone with fixed weights says of each image: the mean over the last feature map (Keras' `pooling="avg"`).
///
/// A head that is trained on features (`classifier.train` on these arrays) takes seconds where a training through the backbone
/// takes hours, and gives what training with a frozen backbone gives, as long as images are not augmented. An image's features
/// are kept under its pixels: every seed, split and head shares them. The arrays keep role, labels and rows; `features.json` says whose
/// features they are.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassifierFeatures {
    /// Network, by the name of its `keras.applications` function in lower case, such as `mobilenet`.
    pub backbone: String,
    /// How grey values become 0 to 255 before the backbone's own preprocessing.
    #[serde(default)]
    pub normalise: Normalise,
    /// Images per step, at most 4096; the last step is filled up. Lower it where memory runs out.
    #[serde(default = "batch")]
    pub batch: u32,
}

fn batch() -> u32 {
    32
}

/// Images that are put together even for one that is asked for.
const MOST: u32 = 4096;

/// The file in which an item's features are kept: float32, little-endian.
pub const FEATURES: &str = "features.f32";
/// The column that says which row of `X.npy` an item is.
pub const ROW: &str = "row";
/// The file beside `X.npy` that says whose features it has, as [`Origin`].
pub const ORIGIN: &str = "features.json";

/// What features were computed from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    pub backbone: String,
    pub normalise: Normalise,
    /// Height and width of the images in pixels.
    pub images: [u64; 2],
    /// Digest of what was on port `weights`.
    pub weights: Digest,
}

impl Params for ClassifierFeatures {
    const KIND: &'static str = "classifier.features";
    const REVISION: u32 = 2;
    const REVISIONS: &'static [(u32, &'static str)] = &[(2, "features.json says whose features they are")];
    const INPUTS: &'static [Port] = &[
        Port::one("arrays", &[Artifact::Arrays], "images, of any role"),
        Port::one("weights", &[Artifact::Files, Artifact::Model], "the backbone's weights: a Keras HDF5 file, or a model"),
    ];
    const OUTPUTS: &'static [Port] =
        &[Port::one("features", &[Artifact::Arrays], "X.npy [n, f] float32, and the rest as it came").with_role_of("arrays")];
    const NEEDS: Needs = Needs { cpus: 2, memory: 0, gpu: 0.0 };

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if backbones::find(&self.backbone).is_none() {
            problems.push(Problem::of("backbone", format!("there is no backbone `{}`; there are: {}", self.backbone, backbones::names())));
        }
        if !(1..=MOST).contains(&self.batch) {
            problems.push(Problem::of("batch", format!("must be 1 to {MOST}")));
        }
        problems
    }
}

impl Items for ClassifierFeatures {
    const ITEMS: &'static [&'static str] = &["arrays"];
    const WRITES: &'static [&'static str] = &[];

    fn reads(&self) -> Vec<String> {
        ["dtype", "height", "width"].map(str::to_owned).to_vec()
    }

    /// A row of `X.npy` each, by its pixels.
    fn items(&self, inputs: &Inputs) -> Result<Vec<Item>> {
        let part = inputs.one("arrays")?;
        let (header, files) = part.tree.file("X.npy").and_then(arrays::rows).context("port `arrays`: X.npy")?;
        let &[_, height, width] = header.shape.as_slice() else {
            bail!("port `arrays`: X.npy has the shape {:?}, where images [n, h, w] are wanted", header.shape)
        };
        let rows = crate::table::Table::from_tsv(&part.tree.read("rows.tsv")?).context("port `arrays`: rows.tsv")?;
        let names = rows.column("item").context("port `arrays`: rows.tsv")?;
        ensure!(rows.rows.len() == files.len(), "port `arrays`: X.npy has {} images, rows.tsv {} rows", files.len(), rows.rows.len());
        let known = [("dtype", header.dtype.clone()), ("height", height.to_string()), ("width", width.to_string())];
        let item = |(at, (values, file)): (usize, (&Vec<String>, _))| Item {
            item: values[names].clone(),
            files: vec![ItemFile { port: "arrays".to_owned(), path: "X.npy".to_owned(), file }],
            row: known
                .iter()
                .map(|(column, value)| ((*column).to_owned(), value.clone()))
                .chain([(ROW.to_owned(), at.to_string())])
                .collect(),
            level: part.tree.level,
        };
        Ok(rows.rows.iter().zip(files).enumerate().map(item).collect())
    }

    fn assemble(&self, inputs: &Inputs, rows: &[Row], output: &Path) -> Result<bool> {
        let mut features: Vec<(usize, Vec<f32>)> = Vec::with_capacity(rows.len());
        for row in rows {
            let at = row.values.get(ROW).and_then(|at| at.parse().ok()).context("an item without its row")?;
            let (_, file) = row.files.first().context("an item without features")?;
            let bytes = file.read().context("cannot read an item's features")?;
            features.push((at, bytes.chunks_exact(4).map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]])).collect()));
        }
        features.sort_by_key(|(at, _)| *at);
        let features: Vec<Vec<f32>> = features.into_iter().map(|(_, values)| values).collect();
        arrays::write_features(&output.join("X.npy"), &features)?;
        let tree = &inputs.one("arrays")?.tree;
        let header = Header::read(&mut tree.file("X.npy")?.open().context("X.npy")?).context("X.npy")?;
        let &[_, height, width] = header.shape.as_slice() else { bail!("X.npy has no images") };
        let weights = inputs.one("weights")?.tree.digest();
        let origin = Origin { backbone: self.backbone.clone(), normalise: self.normalise, images: [height, width], weights };
        let mut about = serde_json::to_vec_pretty(&origin)?;
        about.push(b'\n');
        let mut files = vec![(ORIGIN, about)];
        for name in ["y.npy", "rows.tsv", "role.json"] {
            files.push((name, tree.read(name)?));
        }
        for (name, bytes) in files {
            #[expect(clippy::disallowed_methods, reason = "outputs are written to scratch; the engine publishes them whole")]
            std::fs::write(output.join(name), bytes).with_context(|| format!("cannot write {name}"))?;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::testing::{World, params};
    use ndarray::{Array1, Array3};
    use ndarray_npy::WriteNpyExt as _;

    fn world(shades: &[u16]) -> World {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        let pixels: Vec<u16> = shades.iter().flat_map(|shade| [*shade; 4]).collect();
        Array3::from_shape_vec((shades.len(), 2, 2), pixels).unwrap().write_npy(&mut x).unwrap();
        Array1::from(vec![0i64; shades.len()]).write_npy(&mut y).unwrap();
        let rows: String = (0..shades.len()).map(|row| format!("{row}\ti{row}\tp\till\n")).collect();
        let rows = format!("row\titem\tsubject\tlabel\n{rows}");
        let mut world = World::new();
        world.connect("arrays", &[("X.npy", &x), ("y.npy", &y), ("rows.tsv", rows.as_bytes()), ("role.json", b"{}")]);
        world.connect("weights", &[("mobilenet.h5", b"weights")]);
        world
    }

    #[test]
    fn an_item_is_a_row_under_its_pixels() {
        let kind = params::<ClassifierFeatures>("backbone = 'mobilenet'");
        let digests = |shades: &[u16]| -> Vec<_> {
            kind.items(&world(shades).inputs).unwrap().into_iter().map(|item| (item.item.clone(), item.files[0].file.digest)).collect()
        };
        let (two, three) = (digests(&[1, 2]), digests(&[2, 1, 2]));
        assert_eq!([&two[0].1, &two[1].1], [&three[1].1, &three[2].1]);
        assert_eq!(three[0].1, three[2].1, "equal pixels, wherever they stand");
        assert_eq!(three[2].0, "i2");
        let world = world(&[513]);
        let item = &kind.items(&world.inputs).unwrap()[0];
        assert_eq!(item.read("arrays").unwrap(), [1, 2, 1, 2, 1, 2, 1, 2]);
    }

    #[test]
    fn features_are_put_together_in_the_order_of_the_rows() {
        let (kind, world, folder) = (params::<ClassifierFeatures>("backbone = 'mobilenet'"), world(&[1, 2]), tempfile::tempdir().unwrap());
        let row = |at: usize, values: [f32; 2]| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let tree = world.tree(&[(FEATURES, &bytes)]);
            Row {
                port: None,
                item: format!("i{at}"),
                values: [(ROW, at.to_string())].into_iter().collect(),
                files: tree.files.into_iter().collect(),
            }
        };
        assert!(kind.assemble(&world.inputs, &[row(1, [3.0, 4.0]), row(0, [1.0, 2.0])], folder.path()).unwrap());
        let x: ndarray::Array2<f32> = ndarray_npy::read_npy(folder.path().join("X.npy")).unwrap();
        assert_eq!(x, ndarray::array![[1.0, 2.0], [3.0, 4.0]]);
        assert!(folder.path().join("rows.tsv").exists());
        let origin: Origin = serde_json::from_slice(&std::fs::read(folder.path().join(ORIGIN)).unwrap()).unwrap();
        assert_eq!((origin.images, origin.weights), ([2, 2], world.inputs.one("weights").unwrap().tree.digest()));
    }
}
