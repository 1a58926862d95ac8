//! One pack: its bytes.
//!
//! ```text
//! "tomograph pack 1"                                          16 bytes
//! tag (1) length (4, little endian) key (32) payload check (8)   per entry; check: BLAKE3 of all before it, shortened
//! ```

use super::index::Entry;
use crate::content::{Digest, Place};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

pub(super) const MAGIC: &[u8; 16] = b"tomograph pack 1";
pub(super) const HEAD: usize = 1 + 4 + 32;
pub(super) const CHECK: usize = 8;
/// A pack of this length is not appended to any more; no entry is as long.
pub(super) const FULL: u64 = 64 << 20;

/// So much may be read beside what is wanted.
const FEW_BYTES: u64 = 64 << 10;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Tag {
    Blob,
    Item,
    Record,
}

impl Tag {
    pub(super) const ALL: [Self; 3] = [Self::Blob, Self::Item, Self::Record];

    pub(super) fn byte(self) -> u8 {
        match self {
            Self::Blob => b'b',
            Self::Item => b'i',
            Self::Record => b'r',
        }
    }

    pub(super) fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tag| tag.byte() == byte)
    }
}

/// Where a payload lies.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spot {
    pub(super) file: Arc<Path>,
    pub(super) at: u64,
    pub(super) length: u32,
}

impl Spot {
    /// What sorts spots by their packs, in no order of these, and in each by where they lie.
    pub(super) fn order(&self) -> (usize, u64) {
        (Arc::as_ptr(&self.file).cast::<u8>() as usize, self.at)
    }

    pub(super) fn place(&self) -> Place {
        Place { file: self.file.clone(), at: Some(self.at) }
    }

    /// The payload; none where its pack is gone.
    pub(super) fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match File::open(&*self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => self.read_from(Some(&file?)),
        }
    }

    /// The payload, from its pack.
    pub(super) fn read_from(&self, file: Option<&File>) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = file else { return Ok(None) };
        let mut bytes = vec![0; self.length as usize];
        match file.read_exact_at(&mut bytes, self.at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            read => read.map(|()| Some(bytes)),
        }
    }
}

/// The packs of spots, each opened once.
pub(super) struct OpenPacks(Vec<(Arc<Path>, Option<File>)>);

impl OpenPacks {
    pub(super) fn of<'s>(spots: impl IntoIterator<Item = &'s Spot>) -> Self {
        let mut packs = Self(Vec::new());
        for spot in spots {
            // Mostly the one opened last.
            if !packs.0.last().is_some_and(|(path, _)| Arc::ptr_eq(path, &spot.file)) && packs.place(spot).is_none() {
                packs.0.push((spot.file.clone(), File::open(&*spot.file).ok()));
            }
        }
        packs
    }

    /// The pack of a spot; none where it is gone.
    pub(super) fn get(&self, spot: &Spot) -> Option<&File> {
        self.0[self.place(spot)?].1.as_ref()
    }

    /// Spots of one pack mostly share its path.
    fn place(&self, spot: &Spot) -> Option<usize> {
        let is = |(path, _): &(Arc<Path>, _)| Arc::ptr_eq(path, &spot.file);
        self.0.iter().position(is).or_else(|| self.0.iter().position(|(path, _)| *path == spot.file))
    }

    /// Whether one of them is not there.
    pub(super) fn is_any_gone(&self) -> bool {
        self.0.iter().any(|(_, file)| file.is_none())
    }

    /// Shows the payloads of spots that stand in the order of their packs: with one read where little else lies between them. What a pack
    /// that is gone held is left out.
    pub(super) fn show<K>(&self, spots: &[(K, Spot)], see: &mut dyn FnMut(&K, &[u8])) -> io::Result<()> {
        let (Some((_, first)), Some((_, last))) = (spots.first(), spots.last()) else { return Ok(()) };
        let end = spots.iter().map(|(_, spot)| spot.at + u64::from(spot.length)).max().unwrap_or_default();
        let (start, length) = (first.at, end.saturating_sub(first.at));
        let wanted: u64 = spots.iter().map(|(_, spot)| u64::from(spot.length)).sum();
        if Arc::ptr_eq(&first.file, &last.file) && length <= (FEW_BYTES + 4 * wanted).min(FULL) {
            let stretch = Spot { file: first.file.clone(), at: start, length: u32::try_from(length).map_err(io::Error::other)? };
            if let Some(bytes) = stretch.read_from(self.get(first))? {
                spots.iter().for_each(|(key, spot)| see(key, &bytes[(spot.at - start) as usize..][..spot.length as usize]));
                return Ok(());
            }
        }
        for (key, spot) in spots {
            if let Some(bytes) = spot.read_from(self.get(spot))? {
                see(key, &bytes);
            }
        }
        Ok(())
    }
}

/// Adds an entry to `bytes`; the answer is where in them its payload starts, and its length.
pub(super) fn encode(tag: Tag, key: &Digest, payload: &[u8], bytes: &mut Vec<u8>) -> io::Result<(u64, u32)> {
    let start = bytes.len();
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    bytes.reserve(HEAD + payload.len() + CHECK);
    bytes.push(tag.byte());
    bytes.extend(length.to_le_bytes());
    bytes.extend(key.0);
    let at = bytes.len() as u64;
    bytes.extend_from_slice(payload);
    let check = blake3::hash(&bytes[start..]);
    bytes.extend(&check.as_bytes()[..CHECK]);
    Ok((at, length))
}

/// The whole entries of a pack from offset `from` (0: its start), and where the last one ends. What follows is torn, or being written.
pub(super) fn scan(path: &Path, from: u64) -> io::Result<(Vec<Entry>, u64)> {
    let (mut file, mut bytes) = (File::open(path)?, Vec::new());
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut bytes)?;
    let mut entries = Vec::new();
    inspect(&bytes, from, &mut |entry, _| entries.push(entry));
    let start = if from == 0 && bytes.starts_with(MAGIC) { MAGIC.len() as u64 } else { from };
    let end = entries.last().map_or(start, |entry| entry.at + u64::from(entry.length) + CHECK as u64);
    Ok((entries, end))
}

/// Bytes of a pack that are no whole entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Whether it ends the pack as the beginning of an entry would: a crash leaves such a tail, or it is being written.
    pub(super) is_torn_tail: bool,
}

/// Shows every whole entry with its payload, also behind damage; the answer is what is no entry. `bytes` are those of a pack from
/// offset `from` on (0: its start).
pub(super) fn inspect(bytes: &[u8], from: u64, see: &mut dyn FnMut(Entry, &[u8])) -> Vec<Stretch> {
    let mut bad = Vec::new();
    let mut at = if from == 0 { MAGIC.len().min(bytes.len()) } else { 0 };
    if from == 0 && !bytes.starts_with(MAGIC) {
        bad.push(Stretch { from: 0, to: at as u64, is_torn_tail: MAGIC.starts_with(bytes) });
    }
    while at < bytes.len() {
        if let Some((entry, end)) = whole(bytes, at) {
            see(Entry { at: from + entry.at, ..entry }, &bytes[at + HEAD..end - CHECK]);
            at = end;
            continue;
        }
        // Its own length says where the next one starts, unless it is the length that is wrong.
        let framed = framed(bytes, at);
        let next = framed.filter(|next| *next == bytes.len() || whole(bytes, *next).is_some());
        let next = next.or_else(|| (at + 1..bytes.len()).find(|start| whole(bytes, *start).is_some())).unwrap_or(bytes.len());
        let is_torn_tail = next == bytes.len() && framed.is_none() && is_beginning(&bytes[at..]);
        bad.push(Stretch { from: from + at as u64, to: from + next as u64, is_torn_tail });
        at = next;
    }
    bad
}

/// Where the entry at `at` would end, going by its length.
fn framed(bytes: &[u8], at: usize) -> Option<usize> {
    let head = bytes.get(at..at + HEAD)?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    let end = at + HEAD + length as usize + CHECK;
    (u64::from(length) < FULL && end <= bytes.len()).then_some(end)
}

/// The whole entry at `at`, and where it ends.
fn whole(bytes: &[u8], at: usize) -> Option<(Entry, usize)> {
    let tag = Tag::of(*bytes.get(at)?)?;
    let end = framed(bytes, at)?;
    let (body, check) = bytes[at..end].split_at(end - at - CHECK);
    let mut key = [0; 32];
    key.copy_from_slice(&body[5..HEAD]);
    let length = u32::try_from(body.len() - HEAD).ok()?;
    let is_whole = blake3::hash(body).as_bytes()[..CHECK] == *check;
    is_whole.then_some((Entry { tag, key: Digest(key), pack: 0, at: (at + HEAD) as u64, length }, end))
}

/// Whether a write that was cut short leaves these bytes: the beginning of an entry, or nothing but zeros.
fn is_beginning(bytes: &[u8]) -> bool {
    Tag::of(bytes[0]).is_some() || bytes.iter().all(|byte| *byte == 0)
}
