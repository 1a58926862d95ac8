//! From stored values to grey as a viewer shows it: modality LUT, VOI LUT or window, presentation (PS3.3 C.11, PS3.4 N.2).
//!
//! Values have at most 16 bits, so the whole way is one table.

use super::Unreadable;
use super::pixels::Stored;
use super::read;
use super::scan::Scanned;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// A 16-bit grey picture: 0 is shown black.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub columns: u32,
    pub rows: u32,
    pub pixels: Vec<u16>,
    /// What was done, such as `voi=window 2048/4096 linear; inverted; bits 12`.
    pub done: String,
}

/// Stored (modality) or modality (VOI) value → value.
#[derive(Debug)]
struct Lut {
    first: i64,
    bits: u16,
    entries: Vec<u16>,
}

#[derive(Debug)]
enum Modality {
    Rescale { slope: f64, intercept: f64 },
    Lut(Lut),
}

#[derive(Debug)]
enum Voi {
    Lut(Lut),
    Window {
        centre: f64,
        width: f64,
        function: Function,
    },
    /// From the least to the greatest value that occurs.
    Full {
        least: f64,
        greatest: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Linear,
    LinearExact,
    Sigmoid,
}

/// Shows stored values as their file says.
pub fn show(scanned: &Scanned, mut stored: Stored) -> Result<Shown, Unreadable> {
    let modality = Modality::of(scanned, &stored)?;
    let padding = Padding::of(scanned, &stored);
    let mut table: Vec<Option<f64>> = (0..1_u32 << stored.bits)
        .map(|raw| {
            let value = signed(raw as u16, &stored);
            (!padding.has(value)).then(|| modality.apply(value))
        })
        .collect();
    let voi = Voi::of(scanned, &stored, &table)?;
    for value in table.iter_mut().flatten() {
        *value = voi.apply(*value);
    }
    let is = |tag: Tag, text: &str| scanned.plain(tag) == text;
    // A DX image in MONOCHROME1 also says INVERSE (PS3.3 C.8.11.3.1.2): that is one inversion, not two.
    let inverted = !stored.colour && (is(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1") || is(tags::PRESENTATION_LUT_SHAPE, "INVERSE"));
    let table: Vec<u16> = table
        .into_iter()
        .map(|share| {
            let Some(share) = share else { return 0 };
            let grey = (share.clamp(0.0, 1.0) * 65535.0).round() as u16;
            if inverted { u16::MAX - grey } else { grey }
        })
        .collect();
    stored.values.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
    let mut done: Vec<String> = Vec::new();
    done.extend(modality.said());
    done.push(voi.said());
    done.extend(padding.0.map(|(low, high)| if low == high { format!("padding {low}") } else { format!("padding {low}..{high}") }));
    done.extend(inverted.then(|| "inverted".to_owned()));
    done.extend(stored.colour.then(|| "luma".to_owned()));
    done.push(format!("bits {}", stored.bits));
    Ok(Shown { columns: stored.columns, rows: stored.rows, pixels: stored.values, done: done.join("; ") })
}

/// The number that raw bits mean.
fn signed(raw: u16, stored: &Stored) -> i64 {
    let value = i64::from(raw);
    match stored.signed && raw >> (stored.bits - 1) & 1 == 1 {
        true => value - (1 << stored.bits),
        false => value,
    }
}

/// The stored values that are no picture (PS3.3 C.7.5.1.1.2), if any: shown black.
struct Padding(Option<(i64, i64)>);

impl Padding {
    fn of(scanned: &Scanned, stored: &Stored) -> Self {
        let value = |tag: Tag| {
            let raw = scanned.number(tag).filter(|_| !stored.colour)?;
            Some(if stored.signed { i64::from(raw as i16) } else { i64::from(raw) })
        };
        let end = value(tags::PIXEL_PADDING_VALUE);
        Self(end.map(|end| {
            let other = value(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(end);
            (end.min(other), end.max(other))
        }))
    }

    fn has(&self, value: i64) -> bool {
        self.0.is_some_and(|(low, high)| (low..=high).contains(&value))
    }
}

impl Modality {
    fn of(scanned: &Scanned, stored: &Stored) -> Result<Self, Unreadable> {
        if let Some(lut) = Lut::of(scanned, stored, tags::MODALITY_LUT_SEQUENCE)? {
            return Ok(Self::Lut(lut));
        }
        let slope = first_number(scanned, tags::RESCALE_SLOPE).filter(|slope| *slope != 0.0);
        let intercept = first_number(scanned, tags::RESCALE_INTERCEPT);
        Ok(match (slope, stored.colour) {
            (Some(slope), false) => Self::Rescale { slope, intercept: intercept.unwrap_or(0.0) },
            _ => Self::Rescale { slope: 1.0, intercept: 0.0 },
        })
    }

    fn apply(&self, value: i64) -> f64 {
        match self {
            Self::Rescale { slope, intercept } => slope * value as f64 + intercept,
            Self::Lut(lut) => lut.apply(value),
        }
    }

    fn said(&self) -> Option<String> {
        match self {
            Self::Rescale { slope: 1.0, intercept: 0.0 } => None,
            Self::Rescale { slope, intercept } => Some(format!("modality=rescale {slope}/{intercept}")),
            Self::Lut(lut) => Some(format!("modality=lut {}", lut.entries.len())),
        }
    }
}

impl Voi {
    fn of(scanned: &Scanned, stored: &Stored, table: &[Option<f64>]) -> Result<Self, Unreadable> {
        if stored.colour {
            return Ok(Self::Full { least: 0.0, greatest: f64::from(u16::MAX >> (16 - stored.bits)) });
        }
        if let Some(lut) = Lut::of(scanned, stored, tags::VOILUT_SEQUENCE)? {
            return Ok(Self::Lut(lut));
        }
        let function = match scanned.plain(tags::VOILUT_FUNCTION).as_str() {
            "LINEAR_EXACT" => Function::LinearExact,
            "SIGMOID" => Function::Sigmoid,
            _ => Function::Linear,
        };
        let least_width = if function == Function::Linear { 1.0 } else { f64::MIN_POSITIVE };
        let window = (first_number(scanned, tags::WINDOW_CENTER), first_number(scanned, tags::WINDOW_WIDTH));
        if let (Some(centre), Some(width)) = window
            && width >= least_width
        {
            return Ok(Self::Window { centre, width, function });
        }
        let mut occurs = vec![false; table.len()];
        stored.values.iter().for_each(|raw| occurs[usize::from(*raw)] = true);
        let values = || table.iter().zip(&occurs).filter(|(_, occurs)| **occurs).filter_map(|(value, _)| *value);
        let (least, greatest) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        Ok(Self::Full { least, greatest })
    }

    /// The share of full brightness, 0 to 1 (PS3.3 C.11.2.1.2 and C.11.2.1.3).
    fn apply(&self, value: f64) -> f64 {
        match self {
            Self::Lut(lut) => lut.apply(value.round() as i64) / f64::from(u16::MAX >> (16 - lut.bits)),
            Self::Window { centre, width, function: Function::Sigmoid } => 1.0 / (1.0 + (-4.0 * (value - centre) / width).exp()),
            Self::Window { centre, width, function: Function::LinearExact } => (value - centre) / width + 0.5,
            // A width of 1 is a threshold.
            Self::Window { centre, width, .. } if *width <= 1.0 => f64::from(value > centre - 0.5),
            Self::Window { centre, width, .. } => (value - (centre - 0.5)) / (width - 1.0) + 0.5,
            Self::Full { least, greatest } if greatest > least => (value - least) / (greatest - least),
            Self::Full { .. } => 0.0,
        }
    }

    fn said(&self) -> String {
        match self {
            Self::Lut(lut) => format!("voi=lut {}", lut.entries.len()),
            Self::Window { centre, width, function } => {
                let function = match function {
                    Function::Linear => "linear",
                    Function::LinearExact => "linear-exact",
                    Function::Sigmoid => "sigmoid",
                };
                format!("voi=window {centre}/{width} {function}")
            }
            Self::Full { least, greatest } if greatest >= least => format!("voi=full {least}..{greatest}"),
            Self::Full { .. } => "voi=full".to_owned(),
        }
    }
}

impl Lut {
    /// The first table of a LUT sequence (PS3.3 C.11.1.1, C.11.2.1.1).
    fn of(scanned: &Scanned, stored: &Stored, sequence: Tag) -> Result<Option<Self>, Unreadable> {
        if stored.colour || !scanned.elements.contains_key(&sequence) {
            return Ok(None);
        }
        let object = read::dataset(scanned, &[sequence])?;
        let items = object.get(sequence).and_then(|element| element.items()).unwrap_or_default();
        let Some(item) = items.first() else { return Ok(None) };
        let broken = |what: &str| Unreadable::new("malformed", format!("the table of {sequence} {what}"));
        let numbers = |tag: Tag| item.get(tag).and_then(|element| element.to_multi_int::<i32>().ok()).unwrap_or_default();
        let descriptor = numbers(tags::LUT_DESCRIPTOR);
        let &[count, first, bits] = descriptor.as_slice() else { return Err(broken("has no descriptor")) };
        let count = if count as u16 == 0 { 65536 } else { usize::from(count as u16) };
        let first = if stored.signed { i64::from(first as i16) } else { i64::from(first as u16) };
        let bits =
            u16::try_from(bits).ok().filter(|bits| (1..=16).contains(bits)).ok_or_else(|| broken("has entries of no usable size"))?;
        let data = item.get(tags::LUT_DATA).ok_or_else(|| broken("has no entries"))?;
        let mut entries: Vec<u16> = match (data.to_bytes(), numbers(tags::LUT_DATA)) {
            // Entries of 8 bits may be packed in words.
            (Ok(bytes), _) if bytes.len() == count + count % 2 && bits <= 8 => bytes.iter().map(|byte| u16::from(*byte)).collect(),
            (_, numbers) => numbers.into_iter().map(|number| number as u16).collect(),
        };
        entries.truncate(count);
        match entries.is_empty() {
            true => Err(broken("has no entries")),
            false => Ok(Some(Self { first, bits, entries })),
        }
    }

    /// The entry for a value; values outside get the nearest.
    fn apply(&self, value: i64) -> f64 {
        let at = (value - self.first).clamp(0, self.entries.len() as i64 - 1);
        f64::from(self.entries[at as usize])
    }
}

/// The first of a text's numbers, if it is a number.
fn first_number(scanned: &Scanned, tag: Tag) -> Option<f64> {
    let text = scanned.plain(tag);
    text.split('\\').next()?.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn file(elements: &[(Tag, &str)]) -> Scanned<'static> {
        let mut bytes = Vec::new();
        let sorted: BTreeMap<Tag, &str> = elements.iter().copied().chain([(tags::MODALITY, "CR")]).collect();
        for (tag, value) in sorted {
            let value = if value.len() % 2 == 1 { format!("{value} ") } else { value.to_owned() };
            bytes.extend([tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat());
            bytes.extend([b"DS".as_slice(), &(value.len() as u16).to_le_bytes(), value.as_bytes()].concat());
        }
        Scanned::of(Box::leak(bytes.into_boxed_slice())).unwrap()
    }

    fn shown(elements: &[(Tag, &str)], bits: u16, signed: bool, values: &[u16]) -> Shown {
        let stored = Stored { columns: values.len() as u32, rows: 1, bits, signed, values: values.to_vec(), colour: false };
        show(&file(elements), stored).unwrap()
    }

    #[test]
    fn windows_follow_the_standard() {
        let window = [(tags::WINDOW_CENTER, "2048\\10"), (tags::WINDOW_WIDTH, "4096\\10")];
        // PS3.3 C.11.2.1.2: with 2048/4096 the values 0 and 4095 are the ends.
        let linear = shown(&window, 12, false, &[0, 2047, 4095]);
        assert_eq!((linear.pixels, linear.done.as_str()), (vec![0, 32759, 65535], "voi=window 2048/4096 linear; bits 12"));
        let exact = shown(&[window[0], window[1], (tags::VOILUT_FUNCTION, "LINEAR_EXACT")], 12, false, &[0, 2048, 4095]);
        assert_eq!(exact.pixels, [0, 32768, 65519]);
        let sigmoid = shown(&[window[0], window[1], (tags::VOILUT_FUNCTION, "SIGMOID")], 12, false, &[2048, 3072]);
        assert_eq!(sigmoid.pixels, [32768, 47910]);
    }

    #[test]
    fn without_a_window_the_full_range_is_shown() {
        assert_eq!(shown(&[], 12, false, &[100, 200, 300]).pixels, [0, 32768, 65535]);
        // Two's complement of 12 bits: −1, 0, 1.
        let signed = shown(&[(tags::RESCALE_SLOPE, "2"), (tags::RESCALE_INTERCEPT, "-5")], 12, true, &[0xfff, 0, 1]);
        assert_eq!((signed.pixels, signed.done.as_str()), (vec![0, 32768, 65535], "modality=rescale 2/-5; voi=full -7..-3; bits 12"));
        assert_eq!(shown(&[], 8, false, &[7, 7]).pixels, [0, 0]);
    }

    #[test]
    fn inversion_happens_once() {
        let both = [(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME1"), (tags::PRESENTATION_LUT_SHAPE, "INVERSE")];
        assert_eq!(shown(&both, 8, false, &[0, 255]).pixels, [65535, 0]);
        assert_eq!(shown(&both[1..], 8, false, &[0, 255]).pixels, [65535, 0]);
        assert_eq!(shown(&[(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2")], 8, false, &[0, 255]).pixels, [0, 65535]);
    }
}
