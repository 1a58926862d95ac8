//! `npy.import`: the NumPy files that the Cov-Caldas data set is published as become images and a split.

use crate::arrays::Stack;
use crate::cohort::SETS;
use crate::content::Digest;
use crate::image::encode_png16;
use crate::stage::{Artifact, Context, Params, Part, Port, Problem, Whole, item_name};
use crate::table::Table;
use anyhow::{Context as _, Result, bail, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reads `X_{Neg,Pos}_{Train,Dev,Test}_{SIZE}_Seed{SEED}.npy`, each `[n, h, w]` with stored values 0 to 65535, wherever they lie in
/// the source: six files for one size and one seed. File names say class and set, so no table is needed.
///
/// There are no patients in such files. So `subject` is empty, every image counts alone, and nobody can show that no patient is in two
/// sets; intervals say `clustered by image`. Images with equal pixels in two sets are counted in a warning and in `proof.json`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NpyImport {
    /// The number behind `Seed` in the files' names.
    seed: u64,
    /// The side in the files' names, in pixels: 224 or 600.
    #[serde(default = "size")]
    size: u32,
}

fn size() -> u32 {
    224
}

/// What the files' names call the sets, in the order of [`SETS`].
const NAMES: [&str; 3] = ["Train", "Dev", "Test"];
/// What they call the classes, and what the labels are.
const CLASSES: [(&str, &str); 2] = [("Neg", "negative"), ("Pos", "positive")];

impl Params for NpyImport {
    const KIND: &'static str = "npy.import";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[Port::one("files", &[Artifact::Files], "a folder with the .npy files")];
    const OUTPUTS: &'static [Port] = &[
        Port::one("images", &[Artifact::Images], "a 16-bit PNG per image, stored values as they are"),
        Port::one("split", &[Artifact::Split], "label and set of each image, by its file's name"),
    ];

    fn check(&self) -> Vec<Problem> {
        if self.size == 0 { vec![Problem::of("size", "must be above 0")] } else { Vec::new() }
    }
}

/// One file: images of one class in one set.
struct Source {
    name: String,
    class: usize,
    set: usize,
    stack: Stack,
}

impl Whole for NpyImport {
    fn run(&self, cx: &Context) -> Result<()> {
        let part = cx.inputs.one("files")?;
        let sources = self.sources(part)?;
        let all: Vec<(usize, usize)> =
            sources.iter().enumerate().flat_map(|(at, source)| (0..source.stack.count).map(move |number| (at, number))).collect();
        ensure!(!all.is_empty(), "the files hold no image");
        let done = AtomicU64::new(0);
        let write = |(at, number): &(usize, usize)| -> Result<(Vec<String>, Digest, (usize, usize))> {
            let source = &sources[*at];
            let Stack { height, width, .. } = source.stack;
            let pixels = source.stack.image(*number).with_context(|| format!("{}: image {number}", source.name))?;
            let name = format!("{}-{}-{number:06}", CLASSES[source.class].1, SETS[source.set]);
            let item = item_name(part.tree.level, &format!("seed {} {name}", self.seed));
            let item = if part.tree.is_identified() { item } else { name };
            let file = format!("{item}.png");
            cx.write("images", &file, &encode_png16(width, height, &pixels)?)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(64) {
                cx.progress(done, all.len() as u64, "images");
            }
            let bytes: Vec<u8> = pixels.iter().flat_map(|value| value.to_le_bytes()).collect();
            let row = vec![item, file, String::new(), String::new(), String::new(), width.to_string(), height.to_string()];
            Ok((row, Digest::of(&bytes), (source.class, source.set)))
        };
        let mut rows: Vec<_> = all.par_iter().map(write).collect::<Result<_>>()?;
        rows.sort_by(|a, b| a.0[0].cmp(&b.0[0]));

        let mut index = Table::new(["item", "file", "subject", "session", "view", "width", "height"]);
        let mut split = Table::new(["item", "subject", "session", "label", "set"]);
        let mut sets_of: BTreeMap<Digest, [u64; 3]> = BTreeMap::new();
        let mut counts = [[0u64; 2]; 3];
        for (row, digest, (class, set)) in rows {
            split.rows.push(vec![row[0].clone(), String::new(), String::new(), CLASSES[class].1.to_owned(), SETS[set].to_owned()]);
            index.rows.push(row);
            sets_of.entry(digest).or_default()[set] += 1;
            counts[set][class] += 1;
        }
        let twice = sets_of.values().filter(|sets| sets.iter().filter(|count| **count > 0).count() > 1).count();
        if twice > 0 {
            cx.warn(format!("{twice} images are in more than one set, by their pixels: what is said of the test set is too good"));
        }
        cx.write("images", "index.tsv", &index.to_tsv())?;
        cx.write("split", "split.tsv", &split.to_tsv())?;
        let count = |set: usize| {
            let classes: BTreeMap<&str, u64> = CLASSES.iter().zip(counts[set]).map(|((_, label), count)| (*label, count)).collect();
            json!({ "subjects": null, "images": counts[set].iter().sum::<u64>(), "classes": classes })
        };
        let sets: BTreeMap<&str, _> = SETS.iter().enumerate().map(|(set, name)| (*name, count(set))).collect();
        let proof = json!({
            "subjects": null, "images": split.rows.len(), "subjects_in_two_sets": null, "equal_images_in_two_sets": twice, "sets": sets,
        });
        let mut text = serde_json::to_string_pretty(&proof)?;
        text.push('\n');
        cx.write("split", "proof.json", text.as_bytes())
    }
}

impl NpyImport {
    /// The six files, opened.
    fn sources(&self, part: &Part) -> Result<Vec<Source>> {
        let mut sources: Vec<Source> = Vec::new();
        for (class, (class_name, _)) in CLASSES.iter().enumerate() {
            for (set, set_name) in NAMES.iter().enumerate() {
                let wanted = format!("X_{class_name}_{set_name}_{}_Seed{}.npy", self.size, self.seed);
                let found: Vec<&String> = part.tree.files.keys().filter(|path| path.rsplit('/').next() == Some(wanted.as_str())).collect();
                let path = match found.as_slice() {
                    [path] => *path,
                    [] => bail!("there is no file {wanted} in the source; `seed` and `size` must be those in the files' names"),
                    more => bail!("there are {} files called {wanted} in the source, and one is wanted", more.len()),
                };
                let stack = part.tree.file(path).and_then(Stack::open).with_context(|| wanted.clone())?;
                if let Some(first) = sources.first() {
                    let (here, there) = ((stack.height, stack.width), (first.stack.height, first.stack.width));
                    ensure!(
                        here == there,
                        "{wanted} has images of {} x {} pixels (width x height), {} of {} x {}",
                        here.1,
                        here.0,
                        first.name,
                        there.1,
                        there.0
                    );
                }
                sources.push(Source { name: wanted, class, set, stack });
            }
        }
        Ok(sources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Grey;
    use crate::stages::testing::{World, chain, params};
    use ndarray::Array3;
    use ndarray_npy::WriteNpyExt as _;

    /// Two images in each of the six files, but the test files have one; each of its own shade.
    fn files() -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for (class, (class_name, _)) in CLASSES.iter().enumerate() {
            for (set, set_name) in NAMES.iter().enumerate() {
                let count = if set == 2 { 1 } else { 2 };
                let shade = |n: usize, x: usize| (class * 1000 + set * 100 + n * 10 + x) as u16;
                let mut bytes = Vec::new();
                Array3::from_shape_fn((count, 2, 3), |(n, _, x)| shade(n, x)).write_npy(&mut bytes).unwrap();
                files.push((format!("deep/Seed2/X_{class_name}_{set_name}_224_Seed2.npy"), bytes));
            }
        }
        files
    }

    fn world(files: &[(String, Vec<u8>)]) -> World {
        let mut world = World::new();
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        world.connect("files", &files);
        world
    }

    #[test]
    fn names_say_class_and_set() {
        let outcome = world(&files()).run(&params::<NpyImport>("seed = 2")).unwrap();
        let split = outcome.table("split", "split.tsv");
        assert_eq!(split.rows.len(), 10);
        assert_eq!(split.rows[0], ["negative-test-000000", "", "", "negative", "test"]);
        assert_eq!(split.rows[9], ["positive-validation-000001", "", "", "positive", "validation"]);
        let index = outcome.table("images", "index.tsv");
        assert_eq!(index.rows[9][..2], ["positive-validation-000001", "positive-validation-000001.png"]);
        let image = Grey::decode(&outcome.read("images", "positive-validation-000001.png")).unwrap();
        assert_eq!((image.width, image.height, &image.pixels[..3]), (3, 2, [1110, 1111, 1112].as_slice()));
        let proof: serde_json::Value = serde_json::from_slice(&outcome.read("split", "proof.json")).unwrap();
        assert_eq!((&proof["subjects"], &proof["sets"]["train"]["classes"]["positive"]), (&serde_json::Value::Null, &2.into()));
        assert_eq!(outcome.warnings, [""; 0]);
    }

    #[test]
    fn an_image_in_two_sets_is_told_of() {
        let mut files = files();
        files[2].1 = {
            let mut bytes = Vec::new();
            Array3::from_shape_fn((1, 2, 3), |(_, _, x)| x as u16).write_npy(&mut bytes).unwrap();
            bytes
        };
        let outcome = world(&files).run(&params::<NpyImport>("seed = 2")).unwrap();
        assert!(outcome.warnings[0].starts_with("1 images are in more than one set"), "{:?}", outcome.warnings);
    }

    #[test]
    fn mistakes_name_the_file() {
        let error = |files: &[(String, Vec<u8>)], toml: &str| chain(world(files).run(&params::<NpyImport>(toml)));
        assert!(error(&files(), "seed = 3").starts_with("there is no file X_Neg_Train_224_Seed3.npy in the source"));
        let mut twice = files();
        twice.push(("X_Neg_Train_224_Seed2.npy".to_owned(), twice[0].1.clone()));
        assert!(error(&twice, "seed = 2").starts_with("there are 2 files called X_Neg_Train_224_Seed2.npy"));
        let mut short = files();
        short[4].1.pop();
        assert!(error(&short, "seed = 2").starts_with("X_Pos_Dev_224_Seed2.npy: it is not as long"));
        let mut other = files();
        other[1].1.clear();
        Array3::<u16>::zeros((1, 5, 3)).write_npy(&mut other[1].1).unwrap();
        assert!(error(&other, "seed = 2").contains("X_Neg_Dev_224_Seed2.npy has images of 3 x 5 pixels"));
    }
}
