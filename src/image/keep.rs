//! What is kept of an image by its mask, and what the rest becomes.
//!
//! Knows nothing of what a mask is of, or of stages.

use super::{Area, Grey, Mask, Unusable};
use anyhow::ensure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The image as it is, bit by bit. Reads no mask.
    All,
    /// What is inside the mask.
    Lungs,
    /// What is outside the mask.
    Outside,
    /// The smallest rectangle around the mask, and a margin.
    Box,
    /// A frame along the border of the image. Reads no mask.
    Frame,
}

impl Keep {
    /// Whether a mask says what is kept.
    pub fn reads_mask(self) -> bool {
        !matches!(self, Self::All | Self::Frame)
    }
}

/// Everything [`keep`] does.
#[derive(Clone, Copy, Debug)]
pub struct Masking {
    pub keep: Keep,
    /// What takes the place of the rest, as a share of the range of values: 0 black, 1 white.
    pub fill: f64,
    /// For `Box`: added on each side, as a share of the image's width, or height.
    pub margin: f64,
    /// For `Box`: whether the image is cut to the rectangle, else what is beyond it is filled.
    pub crop: bool,
    /// For `Frame`: how broad it is, as a share of the image's width, or height; at least a pixel.
    pub frame: f64,
    /// For `Lungs` and `Outside`: pixels, to either side of the mask's edge, over which the image goes over into the fill; 0 for none.
    pub feather: u32,
}

/// What is left of an image, and a short text that says what was done. The mask must be there where [`Keep::reads_mask`], and one that is
/// empty, full or of another size makes the image unusable (`mask`).
pub fn keep(image: Grey, mask: Option<&Mask>, how: &Masking) -> anyhow::Result<Result<(Grey, String), Unusable>> {
    ensure!(mask.is_some() || !how.keep.reads_mask(), "a mask is needed");
    if let Some(Err(bad)) = mask.filter(|_| how.keep.reads_mask()).map(|mask| mask.check(image.width, image.height)) {
        return Ok(Err(bad));
    }
    let top = if image.depth == 8 { 255.0 } else { 65_535.0 };
    let fill = (how.fill.clamp(0.0, 1.0) * top).round() as u16;
    let done = match (how.keep, mask) {
        (Keep::Frame, _) => {
            let broad = |side: u32| ((f64::from(side) * how.frame).round() as u32).clamp(1, side);
            let (across, down) = (broad(image.width), broad(image.height));
            let inner = Area {
                left: across,
                top: down,
                width: image.width.saturating_sub(2 * across),
                height: image.height.saturating_sub(2 * down),
            };
            (fill_where(image, fill, |column, row| inner.holds(column, row)), format!("frame {across},{down}"))
        }
        (Keep::Box, Some(mask)) => {
            let margin = |side: u32| (f64::from(side) * how.margin).round() as u32;
            let Some(bounds) = mask.bounds() else { return Ok(Err(Unusable::new("mask", "the mask is empty: no pixel is inside"))) };
            let area = bounds.grow(margin(image.width), margin(image.height), image.width, image.height);
            let Area { left, top, width, height } = area;
            let image = match how.crop {
                true => image.crop(left, top, width, height),
                false => fill_where(image, fill, |column, row| !area.holds(column, row)),
            };
            (image, format!("{} {left},{top},{width}x{height}", if how.crop { "crop" } else { "box" }))
        }
        (Keep::Lungs | Keep::Outside, Some(mask)) => {
            let inside = how.keep != Keep::Outside;
            let name = if inside { "lungs" } else { "outside" };
            let share = if inside { mask.share() } else { 1.0 - mask.share() };
            let feather = if how.feather > 0 { format!("; feather {}", how.feather) } else { String::new() };
            (blend(image, mask, inside, fill, how.feather), format!("{name} {:.1} %{feather}", 100.0 * share))
        }
        (Keep::All, _) | (_, None) => (image, "all".to_owned()),
    };
    Ok(Ok(done))
}

fn fill_where(mut image: Grey, fill: u16, gone: impl Fn(u32, u32) -> bool) -> Grey {
    let width = image.width as usize;
    for (row, values) in image.pixels.chunks_exact_mut(width.max(1)).enumerate() {
        for (column, value) in values.iter_mut().enumerate() {
            if gone(column as u32, row as u32) {
                *value = fill;
            }
        }
    }
    image
}

/// Keeps what is `inside` (or outside) of the mask. With a feather each pixel keeps as large a part as the square of that reach around it
/// has pixels to keep.
fn blend(mut image: Grey, mask: &Mask, inside: bool, fill: u16, feather: u32) -> Grey {
    if feather == 0 {
        image.pixels.iter_mut().zip(&mask.inside).filter(|(_, one)| **one != inside).for_each(|(value, _)| *value = fill);
        return image;
    }
    let reach = feather as usize;
    let whole = (2 * u64::from(feather) + 1).pow(2);
    let kept: Vec<u32> = mask.inside.iter().map(|one| u32::from(*one == inside)).collect();
    let width = mask.width as usize;
    let across: Vec<u32> = kept.chunks_exact(width.max(1)).flat_map(|row| sums(row, reach)).collect();
    for column in 0..width {
        let values: Vec<u32> = across.iter().skip(column).step_by(width).copied().collect();
        for (row, part) in sums(&values, reach).into_iter().enumerate() {
            let value = &mut image.pixels[row * width + column];
            let (part, old, new) = (u64::from(part), u64::from(*value), u64::from(fill));
            *value = ((old * part + new * (whole - part) + whole / 2) / whole) as u16;
        }
    }
    image
}

/// For each place the sum of the values up to `reach` away; beyond the ends the outermost values go on.
fn sums(values: &[u32], reach: usize) -> Vec<u32> {
    let last = values.len().saturating_sub(1);
    let at = |place: usize| values[place.saturating_sub(reach).min(last)];
    let mut sum: u32 = (0..2 * reach + 1).map(at).sum();
    (0..values.len())
        .map(|place| {
            let now = sum;
            sum = sum + values[(place + reach + 1).min(last)] - values[place.saturating_sub(reach)];
            now
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::mask::drawn;
    use super::*;

    const HOW: Masking = Masking { keep: Keep::Lungs, fill: 0.0, margin: 0.0, crop: false, frame: 0.25, feather: 0 };

    fn image() -> Grey {
        Grey { width: 4, height: 4, depth: 8, pixels: (1..=16).collect() }
    }

    fn kept(mask: Option<&Mask>, how: Masking) -> (Vec<u16>, String) {
        let (image, done) = keep(image(), mask, &how).unwrap().unwrap();
        (image.pixels, done)
    }

    #[test]
    fn what_is_kept_follows_the_mask() {
        let mask = drawn(&["....", ".#..", ".##.", "...."]);
        let (pixels, done) = kept(Some(&mask), HOW);
        assert_eq!(pixels, [0, 0, 0, 0, 0, 6, 0, 0, 0, 10, 11, 0, 0, 0, 0, 0]);
        assert_eq!(done, "lungs 18.8 %");
        let (pixels, done) = kept(Some(&mask), Masking { keep: Keep::Outside, fill: 1.0, ..HOW });
        assert_eq!(pixels, [1, 2, 3, 4, 5, 255, 7, 8, 9, 255, 255, 12, 13, 14, 15, 16]);
        assert_eq!(done, "outside 81.2 %");
        let boxed = Masking { keep: Keep::Box, ..HOW };
        let (pixels, done) = kept(Some(&mask), boxed);
        assert_eq!(pixels, [0, 0, 0, 0, 0, 6, 7, 0, 0, 10, 11, 0, 0, 0, 0, 0]);
        assert_eq!(done, "box 1,1,2x2");
        let (cut, done) = keep(image(), Some(&mask), &Masking { crop: true, ..boxed }).unwrap().unwrap();
        assert_eq!((cut.width, cut.height, cut.pixels, done.as_str()), (2, 2, vec![6, 7, 10, 11], "crop 1,1,2x2"));
        assert_eq!(kept(Some(&mask), Masking { margin: 0.25, ..boxed }), (image().pixels, "box 0,0,4x4".to_owned()));
    }

    #[test]
    fn the_image_and_its_frame_need_no_mask() {
        assert_eq!(kept(None, Masking { keep: Keep::All, ..HOW }), (image().pixels, "all".to_owned()));
        let (pixels, done) = kept(None, Masking { keep: Keep::Frame, ..HOW });
        assert_eq!(pixels, [1, 2, 3, 4, 5, 0, 0, 8, 9, 0, 0, 12, 13, 14, 15, 16]);
        assert_eq!(done, "frame 1,1");
        let (pixels, _) = kept(None, Masking { keep: Keep::Frame, frame: 0.6, ..HOW });
        assert_eq!(pixels, image().pixels);
        assert!(keep(image(), None, &HOW).is_err());
    }

    #[test]
    fn a_mask_that_says_nothing_makes_the_image_unusable() {
        let bad = |mask: Mask, keep_: Keep| keep(image(), Some(&mask), &Masking { keep: keep_, ..HOW }).unwrap().unwrap_err();
        for keep in [Keep::Lungs, Keep::Outside, Keep::Box] {
            assert_eq!(bad(Mask::none(4, 4), keep).class, "mask");
            assert!(bad(drawn(&["####"; 4]), keep).reason.contains("full"));
            assert_eq!(bad(drawn(&["#."]), keep).reason, "the mask has 2 x 1 pixels, its image 4 x 4");
        }
    }

    #[test]
    fn a_feather_is_half_way_at_the_edge() {
        let flat = Grey { width: 6, height: 2, depth: 8, pixels: vec![90; 12] };
        let mask = drawn(&["###...", "###..."]);
        let how = Masking { feather: 1, ..HOW };
        let (soft, done) = keep(flat.clone(), Some(&mask), &how).unwrap().unwrap();
        assert_eq!(soft.pixels[..6], [90, 90, 60, 30, 0, 0]);
        assert_eq!(done, "lungs 50.0 %; feather 1");
        let (far, _) = keep(flat, Some(&mask), &Masking { feather: 40, ..HOW }).unwrap().unwrap();
        assert!(far.pixels[..6].windows(2).all(|pair| pair[0] > pair[1]), "{:?}", far.pixels);
    }
}
