//! Grey images: the one decode path for PNG, JPEG and BMP, and the one way images are written.
//!
//! Knows nothing of stages, items or where the bytes come from.

mod contour;
mod keep;
mod mask;
mod name;
mod prepare;
mod regions;
mod sheet;

pub use contour::Contour;
pub use keep::{Keep, Masking, keep};
pub use mask::{Area, Mask};
pub use name::file_names;
pub use prepare::{Filter, Fit, Normalise, Prepare, prepare, resize};
pub use sheet::{Outline, Tile, contact_sheet};

use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{DynamicImage, ExtendedColorType, ImageDecoder as _, ImageEncoder as _, ImageFormat, ImageReader, Limits};
use std::io::Cursor;

/// The most pixels a picture may have: five times a large chest radiograph.
pub const MAX_PIXELS: u64 = 100_000_000;

/// A grey image, row by row from the top left, a value per pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grey {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// 8: values 0 to 255; 16: values 0 to 65535.
    pub depth: u8,
    /// `width * height` values.
    pub pixels: Vec<u16>,
}

/// Why bytes are not a usable image: a class (one word) and a reason free of people's data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class}: {reason}")]
pub struct Unusable {
    /// `unreadable`, `truncated`, `large`, `blank` or `mask`.
    pub class: &'static str,
    /// A lower-case fragment.
    pub reason: String,
}

impl Unusable {
    pub(crate) fn new(class: &'static str, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into() }
    }
}

impl Grey {
    /// Decodes PNG, JPEG or BMP by its first bytes. Grey is kept as it is (fewer than 8 bits become 8); colour becomes
    /// luma by ITU-R BT.709 weights (0.2126, 0.7152, 0.0722); transparency, colour profiles and EXIF orientation are ignored.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unusable> {
        let picture = picture(bytes)?;
        let (width, height) = (picture.width(), picture.height());
        let deep = matches!(picture.color().bytes_per_pixel() / picture.color().channel_count(), 2..);
        let (depth, pixels) = match deep {
            true => (16, picture.into_luma16().into_raw()),
            false => (8, picture.into_luma8().into_raw().into_iter().map(u16::from).collect()),
        };
        Ok(Self { width, height, depth, pixels })
    }

    /// The image as PNG of its depth; equal images give equal bytes. Errors only where `pixels` does not fit the size.
    pub fn encode_png(&self) -> anyhow::Result<Vec<u8>> {
        match self.depth {
            8 => {
                let bytes: Vec<u8> = self.pixels.iter().map(|value| u8::try_from(*value)).collect::<Result<_, _>>()?;
                encode(self.width, self.height, &bytes, ExtendedColorType::L8)
            }
            _ => encode_png16(self.width, self.height, &self.pixels),
        }
    }

    /// The same image with 16 bits: 8-bit values are multiplied by 257, so that white stays white.
    pub fn into_deep(mut self) -> Self {
        if self.depth == 8 {
            self.pixels.iter_mut().for_each(|value| *value *= 257);
            self.depth = 16;
        }
        self
    }

    /// The part that starts at (`left`, `top`). The caller keeps it inside the image.
    pub fn crop(&self, left: u32, top: u32, width: u32, height: u32) -> Self {
        let stride = self.width as usize;
        let rows = self.pixels.chunks_exact(stride).skip(top as usize).take(height as usize);
        let pixels = rows.flat_map(|row| &row[left as usize..(left + width) as usize]).copied().collect();
        Self { width, height, depth: self.depth, pixels }
    }

    /// Least and greatest value; (0, 0) for an image without pixels.
    pub fn range(&self) -> (u16, u16) {
        (self.pixels.iter().copied().min().unwrap_or(0), self.pixels.iter().copied().max().unwrap_or(0))
    }
}

/// Decodes PNG, JPEG or BMP, whatever its colours.
fn picture(bytes: &[u8]) -> Result<DynamicImage, Unusable> {
    let broken = |error: ::image::ImageError| Unusable::new("unreadable", reason(&error));
    let Ok(format) = ::image::guess_format(bytes) else {
        return Err(Unusable::new("unreadable", "not a PNG, JPEG or BMP file"));
    };
    if !matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::Bmp) {
        return Err(Unusable::new("unreadable", "not a PNG, JPEG or BMP file"));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(u16::MAX.into());
    limits.max_image_height = Some(u16::MAX.into());
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Unusable::new("large", format!("{width} x {height} pixels, more than {} million", MAX_PIXELS / 1_000_000)));
    }
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        return Err(Unusable::new("truncated", "the JPEG data end before the end of the image"));
    }
    DynamicImage::from_decoder(decoder).map_err(broken)
}

/// A 16-bit grey PNG; equal pixels give equal bytes. `pixels` row by row, `width * height` of them.
pub fn encode_png16(width: u32, height: u32, pixels: &[u16]) -> anyhow::Result<Vec<u8>> {
    let bytes: Vec<u8> = pixels.iter().flat_map(|value| value.to_ne_bytes()).collect();
    encode(width, height, &bytes, ExtendedColorType::L16)
}

fn encode(width: u32, height: u32, bytes: &[u8], color: ExtendedColorType) -> anyhow::Result<Vec<u8>> {
    anyhow::ensure!(
        bytes.len() as u64 == u64::from(width) * u64::from(height) * u64::from(color.bits_per_pixel() / 8),
        "{} bytes are not a {width} x {height} image",
        bytes.len()
    );
    let mut png = Vec::with_capacity(bytes.len() / 2);
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive).write_image(bytes, width, height, color)?;
    Ok(png)
}

/// The decoder fills what a cut JPEG lacks with grey and says nothing, so the end marker is looked for: the last one must come
/// after the last start of scan (inside a scan neither can occur, and a thumbnail lies before it).
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    last(0xd9) > last(0xda)
}

/// What a decoder says, without what might come from the file's text chunks.
fn reason(error: &::image::ImageError) -> &'static str {
    use ::image::ImageError as E;
    match error {
        E::Unsupported(_) => "a form of PNG, JPEG or BMP that is not supported",
        E::Limits(_) => "too large to be decoded",
        E::IoError(_) => "the file ends too early",
        _ => "the image data are broken",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{Rgb, RgbImage};

    fn ramp(depth: u8) -> Grey {
        let top = if depth == 8 { 255 } else { 65_535 };
        Grey { width: 5, height: 3, depth, pixels: (0..15u32).map(|at| (at * top / 14) as u16).collect() }
    }

    #[test]
    fn png_keeps_every_value_of_both_depths() {
        for depth in [8, 16] {
            let image = ramp(depth);
            assert_eq!(Grey::decode(&image.encode_png().unwrap()).unwrap(), image);
        }
    }

    #[test]
    fn png_bytes_are_those_of_revision_1() {
        let digest = crate::content::Digest::of(&ramp(16).encode_png().unwrap()).short();
        assert_eq!(digest, "b77a891d2946", "other PNG bytes: raise REVISION of the kinds that write images");
    }

    #[test]
    fn colour_becomes_luma() {
        let mut bytes = Vec::new();
        let picture = DynamicImage::from(RgbImage::from_fn(2, 1, |x, _| if x == 0 { Rgb([90, 90, 90]) } else { Rgb([255, 0, 0]) }));
        picture.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Bmp).unwrap();
        let image = Grey::decode(&bytes).unwrap();
        assert_eq!((image.depth, image.pixels), (8, vec![90, 54]));
    }

    #[test]
    fn what_is_no_whole_image_is_told_apart() {
        let class = |bytes: &[u8]| Grey::decode(bytes).unwrap_err().class;
        assert_eq!(class(b"hello"), "unreadable");
        assert_eq!(class(b""), "unreadable");
        let png = ramp(16).encode_png().unwrap();
        assert_eq!(class(&png[..png.len() - 20]), "unreadable");
        let mut jpeg = Vec::new();
        DynamicImage::from(RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8; 3])))
            .write_to(&mut Cursor::new(&mut jpeg), ImageFormat::Jpeg)
            .unwrap();
        assert!(Grey::decode(&jpeg).is_ok());
        assert_eq!(class(&jpeg[..jpeg.len() / 2]), "truncated");
        let mut huge = png;
        huge[16..24].copy_from_slice(&[0, 0, 0xf0, 0, 0, 0, 0xf0, 0]);
        assert!(matches!(class(&huge), "large" | "unreadable"));
    }
}
