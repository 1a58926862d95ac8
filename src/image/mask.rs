//! Masks: which pixels of an image belong to something. Reading and checking, uniting, resizing, measuring.
//!
//! Knows nothing of what a mask is of, or of stages.

use super::{Grey, Unusable, picture};
use ::image::DynamicImage;

/// A yes or no for every pixel, row by row from the top left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// `width * height` values.
    pub inside: Vec<bool>,
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

impl Mask {
    /// A mask without a pixel inside.
    pub fn none(width: u32, height: u32) -> Self {
        Self { width, height, inside: vec![false; width as usize * height as usize] }
    }

    /// Decodes a mask: 255 (or the greatest value of 16 bits) is inside, 0 outside, and any other value an error that says how many pixels
    /// have one; with `threshold` (1 to 255; for 16 bits the same share of their range) a pixel is inside from that value on. Three
    /// channels must be equal in every pixel; transparency is ignored. Errors have the class `mask`.
    pub fn decode(bytes: &[u8], threshold: Option<u8>) -> Result<Self, Unusable> {
        let picture = picture(bytes).map_err(|bad| Unusable::new("mask", format!("the mask: {}", bad.reason)))?;
        let coloured = coloured(&picture);
        if coloured > 0 {
            return Err(Unusable::new("mask", format!("the mask is in colour: {coloured} pixels are not grey")));
        }
        let (width, height) = (picture.width(), picture.height());
        let deep = picture.color().bytes_per_pixel() / picture.color().channel_count() > 1;
        let (values, unit) = match deep {
            true => (picture.into_luma16().into_raw(), 257),
            false => (picture.into_luma8().into_raw().into_iter().map(u16::from).collect(), 1),
        };
        let full = 255 * unit;
        if threshold.is_none() {
            let odd: Vec<u16> = values.iter().copied().filter(|value| *value != 0 && *value != full).collect();
            if let Some(first) = odd.first() {
                let (count, all) = (odd.len(), values.len());
                let reason = format!("{count} of {all} pixels of the mask are neither 0 nor {full}, the first of them {first}");
                return Err(Unusable::new("mask", reason));
            }
        }
        let least = threshold.map_or(full, |threshold| u16::from(threshold.max(1)) * unit);
        Ok(Self { width, height, inside: values.into_iter().map(|value| value >= least).collect() })
    }

    /// An error, with the class `mask`, where the mask is of another size than its image, empty, or full.
    pub fn check(&self, width: u32, height: u32) -> Result<(), Unusable> {
        if (self.width, self.height) != (width, height) {
            let reason = format!("the mask has {} x {} pixels, its image {width} x {height}", self.width, self.height);
            return Err(Unusable::new("mask", reason));
        }
        match self.count() {
            0 => Err(Unusable::new("mask", "the mask is empty: no pixel is inside")),
            count if count == self.inside.len() => Err(Unusable::new("mask", "the mask is full: every pixel is inside")),
            _ => Ok(()),
        }
    }

    /// Adds what is inside the other, which must be of the same size; else an error with the class `mask`.
    pub fn unite(&mut self, other: &Self) -> Result<(), Unusable> {
        if (self.width, self.height) != (other.width, other.height) {
            let sizes = format!("{} x {} and {} x {} pixels", self.width, self.height, other.width, other.height);
            return Err(Unusable::new("mask", format!("the parts of the mask are of different sizes: {sizes}")));
        }
        self.inside.iter_mut().zip(&other.inside).for_each(|(one, other)| *one |= *other);
        Ok(())
    }

    /// The mask as an 8-bit PNG, 0 or 255; equal masks give equal bytes.
    pub fn encode_png(&self) -> anyhow::Result<Vec<u8>> {
        self.to_grey().encode_png()
    }

    /// The mask as an 8-bit image, 0 or 255.
    pub fn to_grey(&self) -> Grey {
        let pixels = self.inside.iter().map(|inside| if *inside { 255 } else { 0 }).collect();
        Grey { width: self.width, height: self.height, depth: 8, pixels }
    }

    /// Pixels inside.
    pub fn count(&self) -> usize {
        self.inside.iter().filter(|inside| **inside).count()
    }

    /// Share of the pixels that are inside, 0 to 1.
    pub fn share(&self) -> f64 {
        self.count() as f64 / self.inside.len().max(1) as f64
    }

    /// The mask at another size: each new pixel is as the old one under its centre. At least 1 x 1, from at least 1 x 1.
    pub fn resize(&self, width: u32, height: u32) -> Self {
        let from = |at: u32, old: u32, new: u32| ((2 * u64::from(at) + 1) * u64::from(old) / (2 * u64::from(new))) as usize;
        let columns: Vec<usize> = (0..width).map(|at| from(at, self.width, width)).collect();
        let mut inside = Vec::with_capacity(width as usize * height as usize);
        for row in 0..height {
            let start = from(row, self.height, height) * self.width as usize;
            inside.extend(columns.iter().map(|column| self.inside[start + column]));
        }
        Self { width, height, inside }
    }

    /// The smallest rectangle around what is inside; none for an empty mask.
    pub fn bounds(&self) -> Option<Area> {
        let width = self.width as usize;
        let (mut left, mut right, mut top, mut bottom) = (width, 0, None, 0);
        for (number, row) in self.inside.chunks_exact(width.max(1)).enumerate() {
            if let (Some(first), Some(last)) = (row.iter().position(|one| *one), row.iter().rposition(|one| *one)) {
                (left, right) = (left.min(first), right.max(last));
                top.get_or_insert(number);
                bottom = number;
            }
        }
        let top = top?;
        Some(Area { left: left as u32, top: top as u32, width: (right - left + 1) as u32, height: (bottom - top + 1) as u32 })
    }

    /// Whether a pixel of the outermost rows or columns is inside.
    pub fn touches_border(&self) -> bool {
        let width = self.width as usize;
        let rows = self.inside.chunks_exact(width.max(1));
        let (first, last) = (rows.clone().next(), rows.clone().next_back());
        let sides = rows.filter_map(|row| Some(*row.first()? || *row.last()?)).any(|side| side);
        sides || [first, last].into_iter().flatten().flatten().any(|one| *one)
    }
}

impl Area {
    /// The rectangle with a margin of so many pixels to the left and right, and above and below, inside an image of that size.
    pub fn grow(self, across: u32, down: u32, width: u32, height: u32) -> Self {
        let (left, top) = (self.left.saturating_sub(across), self.top.saturating_sub(down));
        let right = (self.left + self.width).saturating_add(across).min(width);
        let bottom = (self.top + self.height).saturating_add(down).min(height);
        Self { left, top, width: right - left, height: bottom - top }
    }

    /// Whether the pixel is in it.
    pub fn holds(&self, column: u32, row: u32) -> bool {
        (self.left..self.left + self.width).contains(&column) && (self.top..self.top + self.height).contains(&row)
    }
}

/// How many pixels are not grey.
fn coloured(picture: &DynamicImage) -> usize {
    if !picture.color().has_color() {
        return 0;
    }
    let pixels = picture.to_rgb16();
    pixels.pixels().filter(|pixel| pixel.0[0] != pixel.0[1] || pixel.0[1] != pixel.0[2]).count()
}

/// A mask drawn with `#` inside.
#[cfg(test)]
pub(super) fn drawn(rows: &[&str]) -> Mask {
    let inside = rows.iter().flat_map(|row| row.chars().map(|one| one == '#')).collect();
    Mask { width: rows[0].len() as u32, height: rows.len() as u32, inside }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{ImageFormat, Rgb, RgbImage};
    use std::io::Cursor;

    fn png(width: u32, pixels: &[u16], depth: u8) -> Vec<u8> {
        Grey { width, height: pixels.len() as u32 / width, depth, pixels: pixels.to_vec() }.encode_png().unwrap()
    }

    fn wrong(bytes: &[u8], threshold: Option<u8>) -> String {
        Mask::decode(bytes, threshold).unwrap_err().to_string()
    }

    #[test]
    fn a_mask_has_two_values_unless_a_threshold_is_given() {
        let mask = Mask::decode(&png(3, &[0, 255, 0], 8), None).unwrap();
        assert_eq!(mask, drawn(&[".#."]));
        assert_eq!(Mask::decode(&png(3, &[0, 65_535, 0], 16), None).unwrap(), mask);
        assert_eq!(Mask::decode(&mask.encode_png().unwrap(), None).unwrap(), mask);
        let noisy = png(4, &[3, 250, 255, 0], 8);
        assert_eq!(wrong(&noisy, None), "mask: 2 of 4 pixels of the mask are neither 0 nor 255, the first of them 3");
        assert_eq!(Mask::decode(&noisy, Some(128)).unwrap(), drawn(&[".##."]));
        assert_eq!(Mask::decode(&png(2, &[0, 1], 8), Some(1)).unwrap(), drawn(&[".#"]));
        assert_eq!(Mask::decode(&png(2, &[32_895, 32_896], 16), Some(128)).unwrap(), drawn(&[".#"]));
        assert_eq!(wrong(b"hello", None), "mask: the mask: not a PNG, JPEG or BMP file");
    }

    #[test]
    fn colour_is_refused_and_grey_in_three_channels_is_not() {
        let picture = |right: [u8; 3]| {
            let mut bytes = Vec::new();
            let picture = RgbImage::from_fn(2, 1, |x, _| Rgb(if x == 0 { [0; 3] } else { right }));
            picture.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
            bytes
        };
        assert_eq!(Mask::decode(&picture([255; 3]), None).unwrap(), drawn(&[".#"]));
        assert_eq!(wrong(&picture([255, 0, 0]), Some(9)), "mask: the mask is in colour: 1 pixels are not grey");
    }

    #[test]
    fn empty_full_and_foreign_masks_are_told_apart() {
        let check = |mask: Mask| mask.check(2, 1).map_or_else(|bad| bad.reason, |()| "right".to_owned());
        assert_eq!(check(drawn(&[".#"])), "right");
        assert_eq!(check(drawn(&[".."])), "the mask is empty: no pixel is inside");
        assert_eq!(check(drawn(&["##"])), "the mask is full: every pixel is inside");
        assert_eq!(check(drawn(&["#", "."])), "the mask has 1 x 2 pixels, its image 2 x 1");
        let mut left = drawn(&["#.."]);
        left.unite(&drawn(&["..#"])).unwrap();
        assert_eq!((left.clone(), left.count(), left.share()), (drawn(&["#.#"]), 2, 2.0 / 3.0));
        assert!(left.unite(&drawn(&["#"])).unwrap_err().reason.ends_with("3 x 1 and 1 x 1 pixels"));
    }

    #[test]
    fn resizing_takes_the_pixel_under_the_centre() {
        let mask = drawn(&["#...", ".##.", ".##.", "...#"]);
        assert_eq!(mask.resize(8, 8).resize(4, 4), mask);
        assert_eq!(mask.resize(2, 2), drawn(&["#.", ".#"]));
        assert_eq!(drawn(&["#."]).resize(4, 2), drawn(&["##..", "##.."]));
    }

    #[test]
    fn bounds_grow_up_to_the_border() {
        let mask = drawn(&["....", ".##.", "..#.", "...."]);
        let bounds = mask.bounds().unwrap();
        assert_eq!(bounds, Area { left: 1, top: 1, width: 2, height: 2 });
        assert_eq!(bounds.grow(1, 9, 4, 4), Area { left: 0, top: 0, width: 4, height: 4 });
        assert!(bounds.holds(2, 2) && !bounds.holds(3, 2) && !bounds.holds(2, 0));
        assert_eq!((mask.touches_border(), drawn(&["...", "..#", "..."]).touches_border()), (false, true));
        assert_eq!((Mask::none(2, 2).bounds(), Mask::none(2, 2).touches_border()), (None, false));
    }
}
