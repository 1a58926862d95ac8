//! Stored pixel values of one frame, whatever they are compressed with (PS3.5 section 8 and annex A).
//!
//! Codecs are those of dicom-pixeldata (JPEG baseline and lossless, JPEG 2000, HTJ2K, JPEG XL, RLE, deflate), jpegls (JPEG-LS), and
//! our own for JPEG of 12 bits. A codec's error or panic is a verdict on the data. Knows nothing of how values are shown.

use super::Unreadable;
use super::jpeg12;
use super::scan::{EXPLICIT_VR_BIG_ENDIAN, Scanned};
use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_encoding::transfer_syntax::TransferSyntaxIndex as _;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicom_pixeldata::PixelDecoder as _;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The most pixels a frame may have: twice the largest radiograph detectors.
const MOST_PIXELS: u64 = 40_000_000;

/// One frame of grey values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub columns: u32,
    pub rows: u32,
    /// Bits of a value: 1 to 16.
    pub bits: u16,
    /// Whether values are two's complement of `bits` bits.
    pub signed: bool,
    /// Raw values, row by row; bits above `bits` are 0.
    pub values: Vec<u16>,
    /// Whether it was colour, of which this is the luma.
    pub colour: bool,
}

/// How samples lie in memory.
struct Layout {
    columns: u32,
    rows: u32,
    samples: u16,
    allocated: u16,
    stored: u16,
    high: u16,
    signed: bool,
    photometric: String,
    planar: bool,
}

/// Decodes the only frame of a file.
pub fn decode(scanned: &Scanned) -> Result<Stored, Unreadable> {
    let layout = Layout::of(scanned)?;
    let Some(place) = scanned.elements.get(&tags::PIXEL_DATA) else {
        return Err(Unreadable::new("no-pixels", "it has no pixel data"));
    };
    let value = &scanned.data[place.value.clone()];
    if !place.undefined {
        return match scanned.encoding.big_endian {
            true => layout.gather(&swapped(value, layout.allocated, place.vr), false),
            false => layout.gather(value, false),
        };
    }
    if is_native(&scanned.syntax) {
        let reason = format!("its pixel data are in fragments, which {} does not allow", name_of(&scanned.syntax));
        return Err(Unreadable::new("malformed", reason));
    }
    let stream = fragments(value);
    match scanned.syntax.as_str() {
        uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS => layout.decode_jpeg_ls(&stream, &scanned.syntax),
        _ => layout.decode_other(stream, &scanned.syntax),
    }
}

impl Layout {
    fn of(scanned: &Scanned) -> Result<Self, Unreadable> {
        if [tags::PIXEL_DATA, tags::FLOAT_PIXEL_DATA, tags::DOUBLE_FLOAT_PIXEL_DATA].iter().all(|tag| !scanned.elements.contains_key(tag)) {
            return Err(Unreadable::new("no-pixels", "it has no pixel data"));
        }
        let frames = scanned.plain(tags::NUMBER_OF_FRAMES);
        if frames.parse::<u64>().is_ok_and(|frames| frames > 1) {
            return Err(Unreadable::new("multi-frame", format!("it has {frames} frames; only single ones are rendered")));
        }
        let number = |tag: Tag, name: &str| {
            scanned.number(tag).filter(|number| *number > 0).ok_or_else(|| Unreadable::new("malformed", format!("it has no {name} {tag}")))
        };
        let layout = Self {
            columns: number(tags::COLUMNS, "Columns")?.into(),
            rows: number(tags::ROWS, "Rows")?.into(),
            samples: scanned.number(tags::SAMPLES_PER_PIXEL).unwrap_or(1),
            allocated: number(tags::BITS_ALLOCATED, "Bits Allocated")?,
            stored: number(tags::BITS_STORED, "Bits Stored")?,
            high: scanned.number(tags::HIGH_BIT).unwrap_or(0),
            signed: scanned.number(tags::PIXEL_REPRESENTATION) == Some(1),
            photometric: scanned.plain(tags::PHOTOMETRIC_INTERPRETATION),
            planar: scanned.number(tags::PLANAR_CONFIGURATION) == Some(1),
        };
        let unsupported = |what: String| Err(Unreadable::new("unsupported-pixels", what));
        if !matches!(layout.allocated, 8 | 16) || !scanned.elements.contains_key(&tags::PIXEL_DATA) {
            return unsupported(format!("samples of {} bits are not rendered", layout.allocated));
        }
        if layout.stored > layout.allocated {
            let reason = format!("it stores {} bits in {}", layout.stored, layout.allocated);
            return Err(Unreadable::new("malformed", reason));
        }
        let fits = matches!(
            (layout.samples, layout.photometric.as_str()),
            (1, "MONOCHROME1" | "MONOCHROME2" | "") | (3, "RGB" | "YBR_FULL" | "YBR_FULL_422" | "YBR_RCT" | "YBR_ICT")
        );
        if !fits {
            // Only terms of the standard may reach a message.
            let known = ["MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_PARTIAL_420", "HSV", "ARGB", "CMYK", "XYB"];
            let term = known.iter().find(|term| **term == layout.photometric).unwrap_or(&"unknown");
            return unsupported(format!("{} samples of photometric interpretation {term} are not rendered", layout.samples));
        }
        if u64::from(layout.columns) * u64::from(layout.rows) > MOST_PIXELS {
            return Err(Unreadable::new("large", format!("it has {} x {} pixels", layout.columns, layout.rows)));
        }
        Ok(layout)
    }

    fn pixels(&self) -> usize {
        self.columns as usize * self.rows as usize
    }

    fn decode_jpeg_ls(&self, stream: &[u8], syntax: &str) -> Result<Stored, Unreadable> {
        if self.samples != 1 {
            return Err(Unreadable::new("unsupported-transfer-syntax", format!("{} in colour is not decoded", name_of(syntax))));
        }
        let decoded = catch_unwind(AssertUnwindSafe(|| jpegls::decode(stream, self.columns, self.rows)));
        let Ok(Ok((values, ..))) = decoded else { return Err(undecodable(syntax)) };
        if values.len() != self.pixels() {
            return Err(undecodable(syntax));
        }
        Ok(self.stored(values, false))
    }

    /// Decodes with dicom-pixeldata, from an object that has nothing but what codecs need.
    fn decode_other(&self, stream: Vec<u8>, syntax: &str) -> Result<Stored, Unreadable> {
        if !TransferSyntaxRegistry.get(syntax).is_some_and(|one| one.can_decode_all()) {
            return Err(Unreadable::new("unsupported-transfer-syntax", format!("{} is not decoded", name_of(syntax))));
        }
        let precision = dct_precision(&stream);
        if precision == Some(12) && self.samples == 1 && self.allocated == 16 {
            let values = jpeg12::decode(&stream, self.columns, self.rows).ok_or_else(|| undecodable(syntax))?;
            return Ok(self.stored(values, false));
        }
        if let Some(bits @ 9..) = precision {
            return Err(Unreadable::new("unsupported-transfer-syntax", format!("{} of {bits} bits is not decoded", name_of(syntax))));
        }
        let mut object = InMemDicomObject::new_empty();
        let mut number = |tag: Tag, value: u16| {
            object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
        };
        number(tags::SAMPLES_PER_PIXEL, self.samples);
        number(tags::ROWS, self.rows as u16);
        number(tags::COLUMNS, self.columns as u16);
        number(tags::BITS_ALLOCATED, self.allocated);
        number(tags::BITS_STORED, self.stored);
        number(tags::HIGH_BIT, self.stored - 1);
        number(tags::PIXEL_REPRESENTATION, self.signed.into());
        number(tags::PLANAR_CONFIGURATION, 0);
        let photometric = if self.photometric.is_empty() { "MONOCHROME2" } else { &self.photometric };
        object.put(DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, PrimitiveValue::from(photometric)));
        // One frame: whatever its fragments were, they are one.
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, PixelFragmentSequence::new_fragments(vec![stream])));
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(uids::SECONDARY_CAPTURE_IMAGE_STORAGE)
            .media_storage_sop_instance_uid("2.25.1")
            .transfer_syntax(syntax)
            .build()
            .map_err(|_| undecodable(syntax))?;
        let object = object.with_exact_meta(meta);
        let decoded =
            catch_unwind(AssertUnwindSafe(|| object.decode_pixel_data_frame(0).map(dicom_pixeldata::DecodedPixelData::into_data)));
        let Ok(Ok(bytes)) = decoded else { return Err(undecodable(syntax)) };
        if bytes.len() != self.pixels() * usize::from(self.samples) * usize::from(self.allocated / 8) {
            return Err(undecodable(syntax));
        }
        self.gather(&bytes, syntax != uids::RLE_LOSSLESS)
    }

    /// Values from little-endian samples. `decoded`: a codec has made them, colours are RGB by pixel and values at the lowest bits.
    fn gather(&self, bytes: &[u8], decoded: bool) -> Result<Stored, Unreadable> {
        let colour = self.samples == 3;
        let halved = colour && !decoded && self.photometric == "YBR_FULL_422";
        let width = usize::from(self.allocated / 8);
        let wanted = self.pixels() * width * if halved { 2 } else { usize::from(self.samples) };
        if bytes.len() < wanted {
            return Err(Unreadable::new("truncated", format!("its pixels need {wanted} bytes, {} are there", bytes.len())));
        }
        let shift =
            if decoded || self.high + 1 < self.stored { 0 } else { (self.high + 1 - self.stored).min(self.allocated - self.stored) };
        let mask = mask_of(self.stored);
        let value = |at: usize| match width {
            1 => u16::from(bytes[at]) >> shift & mask,
            _ => u16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]) >> shift & mask,
        };
        let count = self.pixels();
        let values = match (colour, halved) {
            (false, _) => (0..count).map(value).collect(),
            // Two luminances, then two chrominances for both.
            (true, true) => (0..count).map(|at| value(at / 2 * 4 + at % 2)).collect(),
            (true, false) => {
                let planar = self.planar && !decoded;
                let sample = |at: usize, which: usize| value(if planar { which * count + at } else { 3 * at + which });
                let first_is_luma = !decoded && self.photometric.starts_with("YBR");
                let luma = |at: usize| match first_is_luma {
                    true => sample(at, 0),
                    false => {
                        let [red, green, blue] = [0, 1, 2].map(|which| f64::from(sample(at, which)));
                        (0.2126 * red + 0.7152 * green + 0.0722 * blue).round() as u16
                    }
                };
                (0..count).map(luma).collect()
            }
        };
        Ok(self.stored(values, colour))
    }

    fn stored(&self, mut values: Vec<u16>, colour: bool) -> Stored {
        let mask = mask_of(self.stored);
        values.iter_mut().for_each(|value| *value &= mask);
        Stored { columns: self.columns, rows: self.rows, bits: self.stored, signed: self.signed && !colour, values, colour }
    }
}

fn mask_of(bits: u16) -> u16 {
    u16::MAX >> (16 - bits)
}

fn undecodable(syntax: &str) -> Unreadable {
    Unreadable::new("undecodable", format!("its pixel data are no sound {}", name_of(syntax)))
}

fn is_native(syntax: &str) -> bool {
    let native = [
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
        EXPLICIT_VR_BIG_ENDIAN,
    ];
    native.contains(&syntax)
}

/// Name and UID of a transfer syntax.
fn name_of(syntax: &str) -> String {
    match TransferSyntaxRegistry.get(syntax) {
        Some(known) => format!("{} ({syntax})", known.name()),
        None if super::header::is_uid(syntax) => format!("transfer syntax {syntax}"),
        None => "a transfer syntax without a valid UID".to_owned(),
    }
}

/// All fragments but the offset table, joined. The scan has checked their lengths.
fn fragments(value: &[u8]) -> Vec<u8> {
    let mut stream = Vec::with_capacity(value.len());
    let mut rest = value;
    let mut first = true;
    while let Some(&[0xfe, 0xff, 0x00, 0xe0, a, b, c, d]) = rest.get(..8) {
        let end = (8 + u32::from_le_bytes([a, b, c, d]) as usize).min(rest.len());
        if !first {
            stream.extend_from_slice(&rest[8..end]);
        }
        first = false;
        rest = &rest[end..];
    }
    stream
}

/// Big-endian samples in little-endian order. In OW, samples of 8 bits are pairs in 16-bit words (PS3.5 A.3).
fn swapped(value: &[u8], allocated: u16, vr: Option<VR>) -> Vec<u8> {
    match allocated == 16 || vr == Some(VR::OW) {
        true => value.chunks(2).flat_map(|pair| pair.iter().rev().copied()).collect(),
        false => value.to_vec(),
    }
}

/// Bits of the samples of a JPEG stream with cosine transform: from its frame header SOF0, SOF1 or SOF2.
fn dct_precision(stream: &[u8]) -> Option<u8> {
    let mut at = 2;
    stream.starts_with(&[0xff, 0xd8]).then_some(())?;
    loop {
        let &[0xff, marker, high, low, precision] = stream.get(at..at + 5)? else { return None };
        match marker {
            0xc0..=0xc2 => return Some(precision),
            0xff => at += 1,
            0xda | 0xd9 => return None,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_pixeldata::Transcode as _;

    fn layout(samples: u16, allocated: u16, stored: u16, photometric: &str) -> Layout {
        let photometric = photometric.to_owned();
        Layout { columns: 2, rows: 1, samples, allocated, stored, high: stored - 1, signed: false, photometric, planar: false }
    }

    #[test]
    fn bits_above_those_stored_are_dropped() {
        let stored = layout(1, 16, 12, "MONOCHROME2").gather(&[0x34, 0xf2, 0xff, 0x0f], false).unwrap();
        assert_eq!(stored.values, [0x234, 0xfff]);
        let high = Layout { high: 15, ..layout(1, 16, 12, "MONOCHROME2") };
        assert_eq!(high.gather(&[0x40, 0x23, 0xf1, 0xff], false).unwrap().values, [0x234, 0xfff]);
        assert_eq!(layout(1, 16, 12, "MONOCHROME2").gather(&[0; 3], false).unwrap_err().class, "truncated");
    }

    #[test]
    fn colours_become_luma() {
        let rgb = layout(3, 8, 8, "RGB").gather(&[255, 255, 255, 0, 255, 0], false).unwrap();
        assert_eq!((rgb.values, rgb.colour), (vec![255, 182], true));
        let planar = Layout { planar: true, ..layout(3, 8, 8, "RGB") };
        assert_eq!(planar.gather(&[255, 0, 255, 255, 255, 0], false).unwrap().values, [255, 182]);
        assert_eq!(layout(3, 8, 8, "YBR_FULL").gather(&[9, 128, 128, 7, 128, 128], false).unwrap().values, [9, 7]);
        assert_eq!(layout(3, 8, 8, "YBR_FULL_422").gather(&[9, 7, 128, 128], false).unwrap().values, [9, 7]);
    }

    #[test]
    fn fragments_are_joined_without_the_offset_table() {
        let value = b"\xfe\xff\0\xe0\x04\0\0\0\0\0\0\0\xfe\xff\0\xe0\x02\0\0\0ab\xfe\xff\0\xe0\x02\0\0\0cd\xfe\xff\xdd\xe0\0\0\0\0";
        assert_eq!(fragments(value), b"abcd");
        assert_eq!(dct_precision(b"\xff\xd8\xff\xe0\0\x04ab\xff\xc1\0\x0b\x0c"), Some(12));
        assert_eq!(dct_precision(b"\xff\xd8\xff\xc3\0\x0b\x10\0\0\xff\xd9\0\0\0"), None);
    }

    #[test]
    fn every_value_survives_jpeg_xl() {
        let values: Vec<u16> = (0..64 * 48).map(|at| (at * 21 % 4096) as u16).collect();
        let layout = Layout { columns: 64, rows: 48, ..layout(1, 16, 12, "MONOCHROME2") };
        let mut object = InMemDicomObject::new_empty();
        let numbers = [
            (tags::SAMPLES_PER_PIXEL, 1),
            (tags::ROWS, 48),
            (tags::COLUMNS, 64),
            (tags::BITS_ALLOCATED, 16),
            (tags::BITS_STORED, 12),
            (tags::HIGH_BIT, 11),
            (tags::PIXEL_REPRESENTATION, 0),
        ];
        for (tag, number) in numbers {
            object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(number as u16)));
        }
        object.put(DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, PrimitiveValue::from("MONOCHROME2")));
        object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(values.iter().copied().collect())));
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(uids::SECONDARY_CAPTURE_IMAGE_STORAGE)
            .media_storage_sop_instance_uid("2.25.1")
            .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
        let mut object = object.with_exact_meta(meta.build().unwrap());
        object.transcode(TransferSyntaxRegistry.get(uids::JPEGXL_LOSSLESS).unwrap()).unwrap();
        let stream = object.element(tags::PIXEL_DATA).unwrap().fragments().unwrap().concat();
        assert_eq!(layout.decode_other(stream, uids::JPEGXL_LOSSLESS).unwrap().values, values);
        assert_eq!(layout.decode_other(vec![0; 32], uids::JPEGXL_LOSSLESS).unwrap_err().class, "undecodable");
    }
}
