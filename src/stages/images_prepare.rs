//! `images.prepare`: the only kind that resizes.

use super::images_import::{made, name_files};
use crate::image::{Filter, Fit, Grey, Normalise, Prepare, prepare};
use crate::stage::{Artifact, Aside, Each, Inputs, Item, Items, Map, Params, Port, Problem, Row};
use anyhow::{Context as _, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Crops, resizes and normalises images to 16-bit squares of one size.
///
/// The defaults are those of the paper's authors: all-zero border rows and columns are cut, both sides are scaled to the size whatever the
/// aspect ratio, and each image's values are spread over the full range. Unlike theirs (OpenCV's default, which aliases when it shrinks),
/// the default filter takes every source pixel into account. An image of one value throughout is set aside with the class `blank`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImagesPrepare {
    /// Side of the result in pixels, 1 to 8192.
    #[serde(default = "size")]
    size: u32,
    /// How an image that is not square becomes square.
    #[serde(default = "fit")]
    fit: Fit,
    /// Whether rows and columns at the border that are all zero are cut first.
    #[serde(default = "trim")]
    trim: bool,
    /// How new pixels are made from old ones.
    #[serde(default = "filter")]
    filter: Filter,
    /// What is done to the values, after resizing.
    #[serde(default = "normalise")]
    normalise: Normalise,
}

fn size() -> u32 {
    224
}

fn fit() -> Fit {
    Fit::Stretch
}

fn trim() -> bool {
    true
}

fn filter() -> Filter {
    Filter::Bilinear
}

fn normalise() -> Normalise {
    Normalise::MinMax
}

impl Params for ImagesPrepare {
    const KIND: &'static str = "images.prepare";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[Port::one("images", &[Artifact::Images], "images of any size")];
    const OUTPUTS: &'static [Port] =
        &[Port::one("images", &[Artifact::Images], "16-bit squares of one size; the column `prepared` says what was done to each")];

    fn check(&self) -> Vec<Problem> {
        match self.size {
            1..=8192 => Vec::new(),
            _ => vec![Problem::of("size", "must be 1 to 8192 pixels")],
        }
    }
}

impl Items for ImagesPrepare {
    const ITEMS: &'static [&'static str] = &["images"];
    const WRITES: &'static [&'static str] = &["file", "width", "height", "prepared"];

    fn finish(&self, rows: &mut Vec<Row>, _: &mut Vec<Aside>) -> Result<()> {
        name_files(rows);
        Ok(())
    }
}

impl Map for ImagesPrepare {
    fn each(&self, item: &Item, _: &Inputs) -> Result<Each> {
        let how = Prepare { size: self.size, fit: self.fit, trim: self.trim, filter: self.filter, normalise: self.normalise };
        let image = Grey::decode(&item.read("images")?);
        let prepared = match image {
            Ok(image) => prepare(image, &how).with_context(|| format!("item {}", item.item))?,
            Err(bad) => Err(bad),
        };
        let (image, done) = match prepared {
            Ok(result) => result,
            Err(bad) => return Ok(Each::Quarantined { class: bad.class.to_owned(), reason: bad.reason }),
        };
        let row = [("width", image.width.to_string()), ("height", image.height.to_string()), ("prepared", done)];
        let row = row.map(|(column, value)| (column.to_owned(), value)).to_vec();
        Ok(Each::Made(vec![made(item.file("images")?, image.encode_png()?, row)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::testing::{World, params};
    use crate::table::Table;

    #[test]
    fn images_of_any_size_become_squares_and_blank_ones_go() {
        let mut world = World::new();
        let image = Grey { width: 4, height: 2, depth: 8, pixels: vec![0, 50, 100, 0, 0, 0, 50, 0] }.encode_png().unwrap();
        let blank = Grey { width: 2, height: 2, depth: 16, pixels: vec![9; 4] }.encode_png().unwrap();
        let index = b"item\tfile\tsubject\twidth\theight\tlabel\nx/a.jpg\tx/a.png\tp\t4\t2\till\nb\tb.png\tq\t2\t2\twell\n";
        world.connect("images", &[("index.tsv", index), ("x/a.png", &image), ("b.png", &blank)]);
        let tree = world.map(&params::<ImagesPrepare>("size = 2\nfilter = 'nearest'")).unwrap();
        let made = Table::from_tsv(&tree.read("index.tsv").unwrap()).unwrap();
        assert_eq!(made.columns, ["item", "file", "width", "height", "prepared", "label", "subject"]);
        assert_eq!(made.rows, [["x/a.jpg", "x/a.png", "2", "2", "trim 1,0,2x2; min-max", "ill", "p"]]);
        assert_eq!(Grey::decode(&tree.read("x/a.png").unwrap()).unwrap().pixels, [32768, 65535, 0, 32768]);
        let aside = Table::from_tsv(&tree.read("quarantine.tsv").unwrap()).unwrap();
        assert_eq!(aside.rows[0][..3], ["b", "images.prepare", "blank"]);
    }
}
