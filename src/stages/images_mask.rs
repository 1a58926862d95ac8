//! `images.mask`: what is kept of images by masks of their lungs.

use super::images_import::{made, name_files};
use crate::image::{Grey, Keep, Mask, Masking, Unusable, keep};
use crate::stage::{Artifact, Aside, Each, Inputs, Item, Items, Map, Params, Port, Problem, Row, rows_with_files};
use anyhow::{Context as _, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keeps of each image the lungs, everything but the lungs, the box around them or the outer frame; or all of it, for the cell of a sweep
/// that the others are compared with.
///
/// `all` and `frame` read no masks: such cells wait for none and depend on none. Size and depth stay, unless `box` is to `crop`; where
/// sizes then differ, `images.prepare` comes after this. The column `masked` says what was done, such as `lungs 31.2 %` (the share of the
/// pixels that is kept) or `box 20,14,180x170` (left, top, width x height). An image without a mask is set aside with the class `no-mask`,
/// one whose mask is empty, full or of another size with the class `mask`; one whose mask is in quarantine is in quarantine.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImagesMask {
    /// What is kept; the rest becomes `fill`.
    keep: Keep,
    /// What takes the place of the rest, as a share of the range of values: 0 is black, 1 white.
    #[serde(default)]
    fill: f64,
    /// For `box`: margin on each side, as a share of the image's width or height, 0 to 1.
    #[serde(default = "margin")]
    margin: f64,
    /// For `box`: whether images are cut to the box. Else they keep their size, and what is beyond the box becomes `fill`.
    #[serde(default)]
    crop: bool,
    /// For `frame`: how broad it is, as a share of the image's width or height, above 0 and below 0.5.
    #[serde(default = "frame")]
    frame: f64,
    /// For `lungs` and `outside`: so many pixels to either side of the mask's edge the image goes over into `fill`, 0 to 1000. 0 cuts sharply.
    #[serde(default)]
    feather: u32,
}

fn margin() -> f64 {
    0.05
}

fn frame() -> f64 {
    0.1
}

impl Params for ImagesMask {
    const KIND: &'static str = "images.mask";
    const REVISION: u32 = 1;
    const INPUTS: &'static [Port] = &[
        Port::one("images", &[Artifact::Images], "images of any size"),
        Port::one("masks", &[Artifact::Masks], "a mask per image, of its size; not read where `keep` is `all` or `frame`"),
    ];
    const OUTPUTS: &'static [Port] =
        &[Port::one("images", &[Artifact::Images], "what is kept of the images; the column `masked` says what was done to each")];

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !(0.0..=1.0).contains(&self.fill) {
            problems.push(Problem::of("fill", "must be from 0 (black) to 1 (white)"));
        }
        if !(0.0..=1.0).contains(&self.margin) {
            problems.push(Problem::of("margin", "must be from 0 to 1, a share of the image's side"));
        }
        if !(self.frame > 0.0 && self.frame < 0.5) {
            problems.push(Problem::of("frame", "must be above 0 and below 0.5, a share of the image's side"));
        }
        if self.feather > 1000 {
            problems.push(Problem::of("feather", "must be from 0 to 1000 pixels"));
        }
        problems
    }

    fn unread(&self) -> Vec<&'static str> {
        if self.keep.reads_mask() { Vec::new() } else { vec!["masks"] }
    }
}

impl Items for ImagesMask {
    const ITEMS: &'static [&'static str] = &["images", "masks"];
    const WRITES: &'static [&'static str] = &["file", "width", "height", "masked"];

    fn items(&self, inputs: &Inputs) -> Result<Vec<Item>> {
        rows_with_files(inputs, Self::ITEMS)
    }

    fn finish(&self, rows: &mut Vec<Row>, _: &mut Vec<Aside>) -> Result<()> {
        name_files(rows);
        Ok(())
    }
}

impl Map for ImagesMask {
    fn each(&self, item: &Item, _: &Inputs) -> Result<Each> {
        let bytes = item.read("images")?;
        let masked = |done: String| ("masked".to_owned(), done);
        if self.keep == Keep::All {
            return Ok(Each::Made(vec![made(item.file("images")?, bytes, vec![masked("all".to_owned())])]));
        }
        if self.keep.reads_mask() && item.file("masks").is_err() {
            let reason = "there is no mask for it".to_owned();
            return Ok(Each::Quarantined { class: "no-mask".to_owned(), reason });
        }
        let (image, done) = match self.apply(item, &bytes).with_context(|| format!("item {}", item.item))? {
            Ok(result) => result,
            Err(bad) => return Ok(Each::Quarantined { class: bad.class.to_owned(), reason: bad.reason }),
        };
        let row = vec![("width".to_owned(), image.width.to_string()), ("height".to_owned(), image.height.to_string()), masked(done)];
        Ok(Each::Made(vec![made(item.file("images")?, image.encode_png()?, row)]))
    }
}

impl ImagesMask {
    fn apply(&self, item: &Item, image: &[u8]) -> Result<Result<(Grey, String), Unusable>> {
        let mask = if self.keep.reads_mask() { Some(item.read("masks")?) } else { None };
        let decoded = || Ok((Grey::decode(image)?, mask.map(|mask| Mask::decode(&mask, None)).transpose()?));
        let (image, mask) = match decoded() {
            Ok(decoded) => decoded,
            Err(bad) => return Ok(Err(bad)),
        };
        let &Self { keep: what, fill, margin, crop, frame, feather } = self;
        keep(image, mask.as_ref(), &Masking { keep: what, fill, margin, crop, frame, feather })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::testing::{World, params};
    use crate::table::Table;

    const INDEX: &[u8] =
        b"item\tfile\tsubject\twidth\theight\tlabel\na\ta.png\tp\t2\t2\till\nb\tb.png\tq\t2\t2\twell\nc\tc.png\tq\t2\t2\twell\n";

    /// Images `a`, `b` and `c`; a mask for `a`, an empty one for `b`, none for `c`.
    fn world() -> World {
        let png = |pixels: [u16; 4]| Grey { width: 2, height: 2, depth: 8, pixels: pixels.to_vec() }.encode_png().unwrap();
        let (image, mask, empty) = (png([1, 2, 3, 4]), png([255, 0, 0, 0]), png([0; 4]));
        let mut world = World::new();
        world.connect("images", &[("index.tsv", INDEX), ("a.png", &image), ("b.png", &image), ("c.png", &image)]);
        world.connect("masks", &[("index.tsv", b"item\tfile\na\ta.png\nb\tb.png\nz\ta.png\n"), ("a.png", &mask), ("b.png", &empty)]);
        world
    }

    fn aside(tree: &crate::content::Tree) -> Vec<String> {
        let table = Table::from_tsv(&tree.read("quarantine.tsv").unwrap()).unwrap();
        table.rows.into_iter().map(|row| format!("{} {}", row[0], row[2])).collect()
    }

    #[test]
    fn what_is_kept_is_told_and_images_without_masks_go() {
        let world = world();
        let tree = world.map(&params::<ImagesMask>("keep = 'lungs'\nfill = 1.0")).unwrap();
        let index = Table::from_tsv(&tree.read("index.tsv").unwrap()).unwrap();
        assert_eq!(index.columns, ["item", "file", "width", "height", "masked", "label", "subject"]);
        assert_eq!(index.rows, [["a", "a.png", "2", "2", "lungs 25.0 %", "ill", "p"]]);
        assert_eq!(Grey::decode(&tree.read("a.png").unwrap()).unwrap().pixels, [1, 255, 255, 255]);
        assert_eq!(aside(&tree), ["b mask", "c no-mask"]);
    }

    #[test]
    fn all_gives_the_same_bytes_and_needs_no_masks() {
        let mut world = world();
        world.inputs.0.remove("masks");
        let kind = params::<ImagesMask>("keep = 'all'");
        assert_eq!((kind.unread(), params::<ImagesMask>("keep = 'box'").unread()), (vec!["masks"], vec![]));
        let tree = world.map(&kind).unwrap();
        assert_eq!(tree.read("c.png").unwrap(), world.inputs.one("images").unwrap().tree.read("c.png").unwrap());
        let index = Table::from_tsv(&tree.read("index.tsv").unwrap()).unwrap();
        assert_eq!(index.rows[2], ["c", "c.png", "2", "2", "all", "well", "q"]);
        let tree = world.map(&params::<ImagesMask>("keep = 'frame'\nframe = 0.4")).unwrap();
        assert_eq!(aside(&tree), [""; 0]);
    }

    #[test]
    fn what_has_its_mask_in_quarantine_is_left_to_that() {
        let mut world = world();
        let masks: &[u8] = b"item\tfile\na\ta.png\n";
        let quarantine: &[u8] = b"item\tkind\tclass\treason\nb\tlungs.segment\tmask\tno lung\n";
        let mask = world.inputs.one("masks").unwrap().tree.read("a.png").unwrap();
        world.connect("masks", &[("index.tsv", masks), ("a.png", &mask), ("quarantine.tsv", quarantine)]);
        let items = params::<ImagesMask>("keep = 'lungs'").items(&world.inputs).unwrap();
        let names: Vec<(&str, usize)> = items.iter().map(|item| (item.item.as_str(), item.files.len())).collect();
        assert_eq!(names, [("a", 2), ("c", 1)]);
    }

    #[test]
    fn params_make_sense() {
        let problem = |toml: &str| params::<ImagesMask>(&format!("keep = 'lungs'\n{toml}")).check().remove(0).param;
        let wrong = ["fill = 2.0", "margin = -1.0", "frame = 0.5", "feather = 1001"].map(problem);
        assert_eq!(wrong, ["fill", "margin", "frame", "feather"]);
    }
}
