//! A first look at the bytes of a DICOM file: checks every declared length against the bytes that are there, before any
//! parser trusts one, and finds where the top elements lie (PS3.5 section 7, PS3.10 section 7).
//!
//! Takes what real archives hold: no preamble, no file meta information, no or a wrong transfer syntax. It allocates nothing
//! but a list of places. Knows nothing of what the elements mean.

use super::Unreadable;
use dicom_core::{Tag, VR, dictionary::DataDictionary as _, dictionary::DataDictionaryEntry as _};
use dicom_dictionary_std::{StandardDataDictionary, tags, uids};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Range;

/// Deepest nesting of sequences.
const DEEPEST: usize = 64;
/// Largest inflated data set, in bytes.
const LARGEST_INFLATED: u64 = 160 << 20;
/// Retired, but old archives have it.
pub const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const UNDEFINED: u32 = u32::MAX;
const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);

/// How the elements of a data set are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    pub explicit: bool,
    pub big_endian: bool,
}

/// Where a top element lies in the data set.
#[derive(Clone, Debug)]
pub struct Place {
    /// The value representation, where it is written.
    pub vr: Option<VR>,
    /// The element with its header.
    pub whole: Range<usize>,
    /// Its value.
    pub value: Range<usize>,
    /// Whether its length is undefined: a sequence or fragments, with its delimiter in `value`.
    pub undefined: bool,
}

/// A file whose lengths are sound.
#[derive(Clone, Debug)]
pub struct Scanned<'a> {
    /// Transfer Syntax UID; where the file does not say or says wrong, the one the bytes fit.
    pub syntax: String,
    /// Media Storage SOP Class and Instance UID of the file meta information; empty where missing.
    pub meta_class: String,
    pub meta_instance: String,
    /// The data set's bytes, inflated where they were deflated.
    pub data: Cow<'a, [u8]>,
    pub encoding: Encoding,
    /// Top elements; of repeated ones the first.
    pub elements: BTreeMap<Tag, Place>,
}

impl<'a> Scanned<'a> {
    /// Scans a whole file.
    pub fn of(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let marked = bytes.get(128..132) == Some(b"DICM".as_slice());
        let start = if marked { 132 } else { 0 };
        if !marked && !looks_like_elements(bytes) {
            return Err(not_dicom(bytes));
        }
        let (meta, start) = scan_meta(bytes, start)?;
        let text = |tag: Tag| meta.get(&tag).map_or(String::new(), |place| plain(&bytes[place.value.clone()]));
        let declared = text(tags::TRANSFER_SYNTAX_UID);
        let rest = &bytes[start..];
        let data = match declared == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
            true => Cow::Owned(inflate(rest)?),
            false => Cow::Borrowed(rest),
        };
        let (syntax, encoding) = settle(&declared, &data);
        let mut scan = Scan { data: &data, elements: BTreeMap::new() };
        scan.elements(0, data.len(), encoding, 0, false).map_err(|flaw| match !marked && scan.elements.len() < 4 {
            true => not_dicom(bytes),
            false => flaw,
        })?;
        let elements = scan.elements;
        if elements.is_empty() {
            return Err(Unreadable::new("malformed", "there is no data set"));
        }
        Ok(Self {
            syntax,
            meta_class: text(tags::MEDIA_STORAGE_SOP_CLASS_UID),
            meta_instance: text(tags::MEDIA_STORAGE_SOP_INSTANCE_UID),
            data,
            encoding,
            elements,
        })
    }

    /// The bytes of a top element's value; `None` where it is missing, empty or a sequence.
    pub fn value(&self, tag: Tag) -> Option<&[u8]> {
        let place = self.elements.get(&tag).filter(|place| !place.undefined && !place.value.is_empty())?;
        Some(&self.data[place.value.clone()])
    }

    /// The first unsigned 16-bit number of a top element (VR US).
    pub fn number(&self, tag: Tag) -> Option<u16> {
        let bytes: [u8; 2] = self.value(tag)?.get(..2)?.try_into().ok()?;
        Some(if self.encoding.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    /// A top element of plain characters (CS, UI, DA, DS, IS, AS): trimmed, values parted by `\`.
    pub fn plain(&self, tag: Tag) -> String {
        self.value(tag).map_or(String::new(), plain)
    }
}

/// Characters up to the first NUL, trimmed.
fn plain(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn not_dicom(bytes: &[u8]) -> Unreadable {
    match bytes.starts_with(b"PK\x03\x04") {
        true => Unreadable::new("unsupported", "a zip archive: unpack it first"),
        false => Unreadable::new("not-dicom", "neither the mark DICM nor DICOM elements at the start"),
    }
}

/// Whether bytes without `DICM` start with an element of a group that files start with.
fn looks_like_elements(bytes: &[u8]) -> bool {
    let Some(&[g0, g1, e0, e1, ..]) = bytes.get(..8) else { return false };
    let likely = |group: u16, element: u16| matches!(group, 2 | 4 | 8 | 0x10 | 0x20 | 0x28) && element < 0x3000;
    likely(u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1])) || likely(u16::from_be_bytes([g0, g1]), u16::from_be_bytes([e0, e1]))
}

/// The elements of group 0002, always Explicit VR Little Endian, and where they end. The group length is not believed.
fn scan_meta(bytes: &[u8], start: usize) -> Result<(BTreeMap<Tag, Place>, usize), Unreadable> {
    let encoding = Encoding { explicit: true, big_endian: false };
    let mut scan = Scan { data: bytes, elements: BTreeMap::new() };
    let mut at = start;
    while bytes.get(at..at + 2) == Some([2, 0].as_slice()) {
        at = scan.element(at, bytes.len(), encoding, 0, true)?;
    }
    Ok((scan.elements, at))
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let mut data = Vec::new();
    flate2::read::DeflateDecoder::new(bytes)
        .take(LARGEST_INFLATED + 1)
        .read_to_end(&mut data)
        .map_err(|_| Unreadable::new("malformed", "the deflated data set does not inflate"))?;
    match data.len() as u64 > LARGEST_INFLATED {
        true => Err(Unreadable::new("large", format!("the data set inflates to more than {} MiB", LARGEST_INFLATED >> 20))),
        false => Ok(data),
    }
}

/// The transfer syntax and encoding that fit: what the first element looks like wins over what the file says of VRs.
fn settle(declared: &str, data: &[u8]) -> (String, Encoding) {
    let named = |uid: &str, explicit: bool, big_endian: bool| (uid.to_owned(), Encoding { explicit, big_endian });
    let shows_vr = data.get(4..6).is_some_and(|vr| vr_of([vr[0], vr[1]]).is_some());
    let first_group_big = data.get(..2).is_some_and(|group| u16::from_le_bytes([group[0], group[1]]) >= 0x0400);
    match declared {
        "" if shows_vr && first_group_big => named(EXPLICIT_VR_BIG_ENDIAN, true, true),
        "" | uids::IMPLICIT_VR_LITTLE_ENDIAN if shows_vr => named(uids::EXPLICIT_VR_LITTLE_ENDIAN, true, false),
        "" | uids::IMPLICIT_VR_LITTLE_ENDIAN => named(uids::IMPLICIT_VR_LITTLE_ENDIAN, false, false),
        uids::EXPLICIT_VR_LITTLE_ENDIAN if !shows_vr => named(uids::IMPLICIT_VR_LITTLE_ENDIAN, false, false),
        EXPLICIT_VR_BIG_ENDIAN => named(declared, true, true),
        other => named(other, true, false),
    }
}

/// A value representation by its two letters.
fn vr_of(letters: [u8; 2]) -> Option<VR> {
    VR::from_binary(letters)
}

struct Scan<'a> {
    data: &'a [u8],
    elements: BTreeMap<Tag, Place>,
}

impl Scan<'_> {
    fn bytes<const N: usize>(&self, at: usize, end: usize, what: &str) -> Result<[u8; N], Unreadable> {
        let bytes = at.checked_add(N).filter(|to| *to <= end).and_then(|to| self.data.get(at..to));
        bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| Unreadable::new("truncated", format!("it ends inside {what}")))
    }

    fn tag(&self, at: usize, end: usize, encoding: Encoding) -> Result<Tag, Unreadable> {
        let [a, b, c, d] = self.bytes(at, end, "a tag")?;
        Ok(match encoding.big_endian {
            true => Tag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            false => Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])),
        })
    }

    fn length(&self, at: usize, end: usize, encoding: Encoding) -> Result<u32, Unreadable> {
        let bytes = self.bytes(at, end, "a length")?;
        Ok(if encoding.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    /// Scans elements from `at` to `end`, or to the item delimiter where `open`; gives the place after the last.
    fn elements(&mut self, mut at: usize, end: usize, encoding: Encoding, depth: usize, open: bool) -> Result<usize, Unreadable> {
        loop {
            // Fewer bytes than any element takes: padding, which other readers pass over too.
            if at >= end || (!open && end - at < 8) {
                return match open {
                    true => Err(Unreadable::new("truncated", "it ends inside an item")),
                    false => Ok(end),
                };
            }
            if open && self.tag(at, end, encoding)? == ITEM_END {
                self.length(at + 4, end, encoding)?;
                return Ok(at + 8);
            }
            at = self.element(at, end, encoding, depth, depth == 0)?;
        }
    }

    /// Scans one element; gives the place after it.
    fn element(&mut self, start: usize, end: usize, encoding: Encoding, depth: usize, top: bool) -> Result<usize, Unreadable> {
        let tag = self.tag(start, end, encoding)?;
        if tag.0 == 0xfffe {
            return Err(Unreadable::new("malformed", format!("delimiter {tag} where an element is wanted")));
        }
        let (vr, length, at) = self.header(tag, start + 4, end, encoding)?;
        let undefined = length == UNDEFINED;
        let after = match undefined {
            true => {
                // A value of undefined length: fragments of pixel data, or a sequence; of unknown VR, an implicit one (PS3.5 6.2.2).
                match vr {
                    Some(VR::OB | VR::OW) => self.fragments(at, end, encoding)?,
                    Some(VR::UN) => self.sequence(tag, at, end, Encoding { explicit: false, big_endian: false }, depth, true)?,
                    Some(VR::SQ) | None => self.sequence(tag, at, end, encoding, depth, true)?,
                    Some(_) => return Err(Unreadable::new("malformed", format!("element {tag} has no length"))),
                }
            }
            false => {
                let after = usize::try_from(length).ok().and_then(|length| at.checked_add(length)).filter(|after| *after <= end);
                let Some(after) = after else {
                    let reason = format!("element {tag} says it has {length} bytes, {} are there", end.saturating_sub(at));
                    return Err(Unreadable::new("truncated", reason));
                };
                let sequence = vr == Some(VR::SQ) || vr.is_none() && dictionary_vr(tag) == Some(VR::SQ);
                if sequence {
                    self.sequence(tag, at, after, encoding, depth, false)?;
                }
                after
            }
        };
        if top {
            let place = Place { vr, whole: start..after, value: at..after, undefined };
            self.elements.entry(tag).or_insert(place);
        }
        Ok(after)
    }

    /// VR, length, and where the value starts; `at` is behind the tag.
    fn header(&self, tag: Tag, at: usize, end: usize, encoding: Encoding) -> Result<(Option<VR>, u32, usize), Unreadable> {
        if !encoding.explicit {
            return Ok((None, self.length(at, end, encoding)?, at + 4));
        }
        let letters: [u8; 2] = self.bytes(at, end, "an element's header")?;
        let Some(vr) = vr_of(letters) else {
            return Err(Unreadable::new("malformed", format!("element {tag} has no known value representation")));
        };
        let long = matches!(
            vr,
            VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::SQ | VR::SV | VR::UC | VR::UN | VR::UR | VR::UT | VR::UV
        );
        if long {
            return Ok((Some(vr), self.length(at + 4, end, encoding)?, at + 8));
        }
        let bytes = self.bytes(at + 2, end, "a length")?;
        let length = if encoding.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
        Ok((Some(vr), u32::from(length), at + 4))
    }

    /// Scans the items of a sequence; `open` means up to its delimiter.
    fn sequence(&mut self, tag: Tag, mut at: usize, end: usize, encoding: Encoding, depth: usize, open: bool) -> Result<usize, Unreadable> {
        if depth >= DEEPEST {
            return Err(Unreadable::new("too-deep", format!("sequences are nested more than {DEEPEST} deep")));
        }
        loop {
            if !open && at >= end {
                return Ok(end);
            }
            let found = self.tag(at, end, encoding)?;
            let length = self.length(at + 4, end, encoding)?;
            at += 8;
            match found {
                SEQUENCE_END if open => return Ok(at),
                SEQUENCE_END => {}
                ITEM if length == UNDEFINED => at = self.elements(at, end, encoding, depth + 1, true)?,
                ITEM => {
                    let Some(after) = at.checked_add(length as usize).filter(|after| *after <= end) else {
                        return Err(Unreadable::new("truncated", format!("an item of {tag} is longer than what is there")));
                    };
                    at = self.elements(at, after, encoding, depth + 1, false)?;
                }
                _ => return Err(Unreadable::new("malformed", format!("no item where sequence {tag} wants one"))),
            }
        }
    }

    /// Passes over encapsulated fragments (PS3.5 A.4); gives the place after their delimiter.
    fn fragments(&self, mut at: usize, end: usize, encoding: Encoding) -> Result<usize, Unreadable> {
        loop {
            let found = self.tag(at, end, encoding)?;
            let length = self.length(at + 4, end, encoding)? as usize;
            at += 8;
            match found {
                SEQUENCE_END => return Ok(at),
                ITEM => {
                    at = at
                        .checked_add(length)
                        .filter(|after| *after <= end)
                        .ok_or_else(|| Unreadable::new("truncated", "a fragment of the pixel data is longer than what is there"))?;
                }
                _ => return Err(Unreadable::new("malformed", "no fragment where the pixel data want one")),
            }
        }
    }
}

fn dictionary_vr(tag: Tag) -> Option<VR> {
    StandardDataDictionary.by_tag(tag).map(|entry| entry.vr().relaxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: [u8; 4], vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        let mut bytes = [&tag[..], vr, &(value.len() as u16).to_le_bytes()].concat();
        bytes.extend(value);
        bytes
    }

    fn class_of(bytes: &[u8]) -> &'static str {
        Scanned::of(bytes).err().map_or("", |flaw| flaw.class)
    }

    #[test]
    fn a_file_without_meta_is_read_as_it_looks() {
        let explicit = [element([8, 0, 0x60, 0], b"CS", b"CR"), element([0x10, 0, 0x20, 0], b"LO", b"P 1 ")].concat();
        let scanned = Scanned::of(&explicit).unwrap();
        assert_eq!((scanned.syntax.as_str(), scanned.plain(tags::PATIENT_ID).as_str()), (uids::EXPLICIT_VR_LITTLE_ENDIAN, "P 1"));
        let implicit = b"\x08\0\x60\0\x02\0\0\0CR\x10\0\x20\0\x04\0\0\0P 1 ";
        assert_eq!(Scanned::of(implicit).unwrap().syntax, uids::IMPLICIT_VR_LITTLE_ENDIAN);
    }

    #[test]
    fn lengths_beyond_the_end_are_found() {
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM");
        bytes.extend(element([8, 0, 0x60, 0], b"CS", b"CR"));
        bytes.extend(b"\xe0\x7f\x10\0OW\0\0\xff\xff\xff\x7f");
        assert_eq!(class_of(&bytes), "truncated");
        assert_eq!(class_of(b"Dear reader, this is a text."), "not-dicom");
        assert_eq!(class_of(b"PK\x03\x04 and so on"), "unsupported");
        assert_eq!(class_of(b""), "not-dicom");
    }

    #[test]
    fn depth_is_bounded() {
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM");
        bytes.extend(element([2, 0, 0x10, 0], b"UI", b"1.2.840.10008.1.2.1\0"));
        for _ in 0..1000 {
            bytes.extend(b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff");
        }
        assert_eq!(class_of(&bytes), "too-deep");
    }
}
