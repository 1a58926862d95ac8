//! One pack: its bytes.
//!
//! ```text
//! "tomograph pack 1"                                          16 bytes
//! tag (1) length (4, little endian) key (32) payload check (8)   per entry; check: BLAKE3 of all before it, shortened
//! ```

use super::index::Entry;
use crate::content::{Digest, Place};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const MAGIC: &[u8; 16] = b"tomograph pack 1";
pub(super) const HEAD: usize = 1 + 4 + 32;
pub(super) const CHECK: usize = 8;
/// A pack of this length is not appended to any more; no entry is as long.
pub(super) const FULL: u64 = 256 << 20;

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
    pub(super) file: Arc<PathBuf>,
    pub(super) at: u64,
    pub(super) length: u32,
}

impl Spot {
    pub(super) fn place(&self) -> Place {
        Place { file: self.file.as_ref().clone(), at: Some(self.at) }
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

/// The packs of spots, each opened once; none for one that is gone.
pub(super) fn open_packs<'s>(spots: impl IntoIterator<Item = &'s Spot>) -> HashMap<Arc<PathBuf>, Option<File>> {
    let mut files = HashMap::new();
    for spot in spots {
        if !files.contains_key(&spot.file) {
            files.insert(spot.file.clone(), File::open(&*spot.file).ok());
        }
    }
    files
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

/// The whole entries of a pack from offset `from` (0: its start), and where they end. What follows is torn, or being written.
pub(super) fn scan(path: &Path, from: u64) -> io::Result<(Vec<Entry>, u64)> {
    let mut entries = Vec::new();
    let end = walk(path, from, &mut |entry, _| entries.push(entry))?;
    Ok((entries, end))
}

/// Shows every whole entry with its payload; the answer is where the last one ends. A damaged one is passed over.
pub(super) fn walk(path: &Path, from: u64, see: &mut dyn FnMut(Entry, &[u8])) -> io::Result<u64> {
    let mut reader = io::BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut at, mut end) = (from, from);
    if from == 0 {
        let mut magic = [0; MAGIC.len()];
        if !fill(&mut reader, &mut magic)? || &magic != MAGIC {
            return Ok(0);
        }
        at = MAGIC.len() as u64;
        end = at;
    } else {
        io::Seek::seek(&mut reader, io::SeekFrom::Start(from))?;
    }
    let mut bytes = vec![0; HEAD];
    loop {
        bytes.resize(HEAD, 0);
        if !fill(&mut reader, &mut bytes)? {
            return Ok(end);
        }
        let length = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        let (Some(tag), true) = (Tag::of(bytes[0]), u64::from(length) < FULL) else { return Ok(end) };
        bytes.resize(HEAD + length as usize + CHECK, 0);
        if !fill(&mut reader, &mut bytes[HEAD..])? {
            return Ok(end);
        }
        let (body, check) = bytes.split_at(HEAD + length as usize);
        let start = at;
        at += bytes.len() as u64;
        if blake3::hash(body).as_bytes()[..CHECK] == *check {
            let mut key = [0; 32];
            key.copy_from_slice(&body[5..HEAD]);
            see(Entry { tag, key: Digest(key), pack: 0, at: start + HEAD as u64, length }, &body[HEAD..]);
            end = at;
        }
    }
}

/// Fills `bytes`; false where the file ends before.
fn fill(reader: &mut impl io::Read, bytes: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}
