//! The only resizing: trim, fit, resample and normalise, as the paper's authors did or better.
//!
//! Knows nothing of stages or files.

use super::{Grey, Unusable};
use anyhow::{Context as _, Result};
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U16;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an image that is not square becomes square.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Both sides are scaled to the size, whatever the aspect ratio.
    Stretch,
    /// The longer side is scaled to the size; the rest is filled with the image's darkest value, half on each side.
    Pad,
    /// The shorter side is scaled to the size; what is too much of the longer one is cut off, half at each end.
    Crop,
}

/// How new pixels are made from old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Bilinear over every source pixel a new pixel covers (a triangle as wide as the scale): no aliasing. As Pillow's `BILINEAR`.
    Bilinear,
    /// Bilinear between the four nearest source pixels, however much it shrinks: aliases. As OpenCV's `INTER_LINEAR`, its default.
    BilinearAliased,
    /// Lanczos with three lobes over every source pixel a new pixel covers: sharper. As Pillow's `LANCZOS`.
    Lanczos,
    /// The mean of the source pixels that a new pixel covers. As Pillow's `BOX`.
    Box,
    /// The nearest source pixel: for masks.
    Nearest,
}

/// What is done to the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Values stay; 8-bit ones are multiplied by 257.
    None,
    /// The image's least value becomes 0, its greatest 65535, linearly.
    MinMax,
}

/// Everything [`prepare`] does.
#[derive(Clone, Copy, Debug)]
pub struct Prepare {
    /// Side of the result, pixels.
    pub size: u32,
    pub fit: Fit,
    /// Whether rows and columns at the border that are all zero go first.
    pub trim: bool,
    pub filter: Filter,
    pub normalise: Normalise,
}

/// A 16-bit image of `size` x `size`, and a short text that says what was done to this image. An image of one value throughout is
/// unusable (`blank`).
pub fn prepare(image: Grey, how: &Prepare) -> Result<Result<(Grey, String), Unusable>> {
    let (low, high) = image.range();
    if low == high {
        return Ok(Err(Unusable::new("blank", format!("every pixel has the value {low}"))));
    }
    let mut done = Vec::new();
    let mut image = image.into_deep();
    if how.trim {
        let (left, top, width, height) = content(&image);
        if (width, height) != (image.width, image.height) {
            done.push(format!("trim {left},{top},{width}x{height}"));
            image = image.crop(left, top, width, height);
        }
    }
    let mut result = fit(&image, how)?;
    if (result.width, result.height) != (image.width, image.height) {
        done.push(format!("{} {}x{}", how.fit.name(), result.width, result.height));
    }
    if how.normalise == Normalise::MinMax {
        let (low, high) = result.range();
        if low == high {
            return Ok(Err(Unusable::new("blank", "every pixel has the same value after resizing")));
        }
        min_max(&mut result.pixels, low, high);
        done.push("min-max".to_owned());
    }
    Ok(Ok((result, done.join("; "))))
}

impl Fit {
    fn name(self) -> &'static str {
        match self {
            Self::Stretch => "stretch",
            Self::Pad => "pad",
            Self::Crop => "crop",
        }
    }
}

/// Left, top, width and height of what is left without the all-zero rows and columns at the border. The image is not all zero.
fn content(image: &Grey) -> (u32, u32, u32, u32) {
    let width = image.width as usize;
    let mut columns = vec![false; width];
    let mut rows = Vec::with_capacity(image.height as usize);
    for row in image.pixels.chunks_exact(width) {
        let mut any = false;
        for (column, value) in columns.iter_mut().zip(row) {
            *column |= *value != 0;
            any |= *value != 0;
        }
        rows.push(any);
    }
    let span = |used: &[bool]| {
        let first = used.iter().position(|one| *one).unwrap_or(0);
        let last = used.iter().rposition(|one| *one).unwrap_or(used.len() - 1);
        (first as u32, (last - first + 1) as u32)
    };
    let ((left, width), (top, height)) = (span(&columns), span(&rows));
    (left, top, width, height)
}

fn fit(image: &Grey, how: &Prepare) -> Result<Grey> {
    let size = how.size;
    let (width, height) = (f64::from(image.width), f64::from(image.height));
    let side = |pixels: f64, longer: f64| ((pixels * f64::from(size) / longer).round() as u32).clamp(1, size);
    match how.fit {
        Fit::Stretch => resize(image, size, size, how.filter),
        Fit::Crop => {
            let shorter = width.min(height);
            resample(image, ((width - shorter) / 2.0, (height - shorter) / 2.0, shorter, shorter), size, size, how.filter)
        }
        Fit::Pad => {
            let longer = width.max(height);
            let inner = resize(image, side(width, longer), side(height, longer), how.filter)?;
            Ok(pad(&inner, size))
        }
    }
}

fn pad(image: &Grey, size: u32) -> Grey {
    let (left, top) = (((size - image.width) / 2) as usize, ((size - image.height) / 2) as usize);
    let (width, size_) = (image.width as usize, size as usize);
    let mut pixels = vec![image.range().0; size_ * size_];
    for (at, row) in image.pixels.chunks_exact(width).enumerate() {
        let start = (top + at) * size_ + left;
        pixels[start..start + width].copy_from_slice(row);
    }
    Grey { width: size, height: size, depth: image.depth, pixels }
}

/// A 16-bit image at another size, at least 1 x 1.
pub fn resize(image: &Grey, width: u32, height: u32, filter: Filter) -> Result<Grey> {
    resample(image, (0.0, 0.0, f64::from(image.width), f64::from(image.height)), width, height, filter)
}

/// The part (left, top, width, height, in pixels) of a 16-bit image at another size.
fn resample(image: &Grey, part: (f64, f64, f64, f64), width: u32, height: u32, filter: Filter) -> Result<Grey> {
    let source: Vec<U16> = image.pixels.iter().copied().map(U16::new).collect();
    let source = TypedImageRef::new(image.width, image.height, &source).context("an image with pixels missing")?;
    let mut target = TypedImage::<U16>::new(width, height);
    let algorithm = match filter {
        Filter::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Filter::BilinearAliased => ResizeAlg::Interpolation(FilterType::Bilinear),
        Filter::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
        Filter::Box => ResizeAlg::Convolution(FilterType::Box),
        Filter::Nearest => ResizeAlg::Nearest,
    };
    let options = ResizeOptions::new().resize_alg(algorithm).crop(part.0, part.1, part.2, part.3);
    Resizer::new().resize_typed(&source, &mut target, &options).context("cannot resize")?;
    let pixels = target.pixels().iter().map(|pixel| pixel.0).collect();
    Ok(Grey { width, height, depth: image.depth, pixels })
}

fn min_max(pixels: &mut [u16], low: u16, high: u16) {
    let span = u32::from(high - low);
    for value in pixels {
        *value = ((u32::from(*value - low) * 65_535 + span / 2) / span) as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOW: Prepare = Prepare { size: 4, fit: Fit::Stretch, trim: true, filter: Filter::Bilinear, normalise: Normalise::MinMax };

    fn image(width: u32, rows: &[&[u16]]) -> Grey {
        Grey { width, height: rows.len() as u32, depth: 8, pixels: rows.concat() }
    }

    #[test]
    fn a_black_border_goes_and_values_fill_the_range() {
        let bordered = image(
            6,
            &[&[0; 6], &[0, 10, 20, 30, 40, 0], &[0, 10, 20, 30, 40, 0], &[0, 10, 20, 30, 40, 0], &[0, 10, 20, 30, 60, 0], &[0; 6]],
        );
        let (result, done) = prepare(bordered, &HOW).unwrap().unwrap();
        assert_eq!(done, "trim 1,1,4x4; min-max");
        assert_eq!((result.width, result.height, result.depth), (4, 4, 16));
        assert_eq!(result.pixels[..4], [0, 13107, 26214, 39321]);
        assert_eq!(result.pixels[15], 65_535);
    }

    #[test]
    fn an_image_of_one_value_is_blank() {
        assert_eq!(prepare(image(2, &[&[7, 7], &[7, 7]]), &HOW).unwrap().unwrap_err().class, "blank");
    }

    #[test]
    fn padding_and_cropping_keep_the_aspect_ratio() {
        let wide = image(8, &[&[1, 1, 1, 1, 2, 2, 2, 2], &[1, 1, 1, 1, 2, 2, 2, 2]]);
        let plain = Prepare { normalise: Normalise::None, filter: Filter::Box, ..HOW };
        let (padded, done) = prepare(wide.clone(), &Prepare { fit: Fit::Pad, ..plain }).unwrap().unwrap();
        assert_eq!(done, "pad 4x4");
        let row: &[u16] = &[257, 257, 514, 514];
        assert_eq!(padded.pixels, [&[257; 4], row, &[257; 8]].concat());
        let (cropped, _) = prepare(wide, &Prepare { fit: Fit::Crop, size: 2, ..plain }).unwrap().unwrap();
        assert_eq!(cropped.pixels, [257, 514, 257, 514]);
    }

    #[test]
    fn aliased_bilinear_is_what_opencv_gives() {
        // cv2.resize of the row 0, 10, …, 70 to 2 columns samples at 1.5 and 5.5.
        let row: &[u16] = &[0, 10, 20, 30, 40, 50, 60, 70];
        let ramp = image(8, &[row; 8]);
        let how = Prepare { size: 2, trim: false, normalise: Normalise::None, filter: Filter::BilinearAliased, ..HOW };
        let (result, _) = prepare(ramp, &how).unwrap().unwrap();
        assert_eq!(result.pixels[..2], [15 * 257, 55 * 257]);
    }
}
