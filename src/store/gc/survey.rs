//! Everything that lies in a store, by digest and by key, with its age: one pass over packs and names.

use super::Contents;
use crate::content::Digest;
use crate::store::clock::utc;
use crate::store::files::Damaged;
use crate::store::hold::changed;
use crate::store::pack::{CHECK, HEAD, MAGIC, Tag, inspect};
use crate::store::verify::named;
use crate::store::{Record, Store};
use anyhow::{Result, bail};
use rayon::prelude::*;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// What lies there.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) packs: Vec<Pack>,
    pub(super) records: Vec<Held>,
    /// Key → its records' places in `records`.
    pub(super) by_key: HashMap<Digest, Vec<usize>>,
    pub(super) items: Vec<Item>,
    pub(super) files: HashMap<Digest, Large>,
    /// Small blob → one place of it.
    small: HashMap<Digest, Spot>,
}

/// A pack.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) path: PathBuf,
    /// When it was last appended to, RFC 3339 in UTC.
    pub(super) modified: String,
    pub(super) length: u64,
    /// Bytes of a torn end.
    pub(super) torn: u64,
    pub(super) entries: Vec<Slot>,
    /// Whether it stays as it is: it is too young, or a run goes on.
    pub(super) fixed: bool,
}

/// An entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) tag: Tag,
    pub(super) key: Digest,
    /// Where its payload starts, and how long it is.
    pub(super) at: u64,
    length: u32,
    /// Its place in `records` or `items`.
    pub(super) number: usize,
}

impl Slot {
    /// Bytes it takes up.
    pub(super) fn bytes(&self) -> u64 {
        (HEAD + CHECK) as u64 + u64::from(self.length)
    }
}

/// A record, as far as it matters here.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) pack: usize,
    pub(super) bytes: u64,
    /// Tells copies from variants.
    pub(super) digest: Digest,
    pub(super) key: Digest,
    pub(super) key_manifest: Digest,
    pub(super) manifests: Vec<Digest>,
    pub(super) parts: Vec<Digest>,
    /// The task without its cell.
    pub(super) stage: String,
    pub(super) started: String,
    /// Whether it tells of an effect on the world: only this record says that it was had.
    pub(super) effect: bool,
}

/// What an item gave.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) pack: usize,
    pub(super) bytes: u64,
    /// None where it cannot be read any more.
    pub(super) files: Option<Vec<Digest>>,
}

/// A blob that is a file.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) changed: i64,
    /// Whether it is too young to go.
    pub(super) fixed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Spot {
    pack: usize,
    at: u64,
    length: u32,
}

/// One pack with what is in it; places count from 0.
struct Read {
    pack: Pack,
    records: Vec<Held>,
    items: Vec<Item>,
}

impl Survey {
    /// Reads packs, and names and ages of blobs. Damage is an error: nobody can tell what a damaged record reaches.
    pub(super) fn of(store: &Store, contents: &dyn Contents) -> Result<Self> {
        let mut survey = Self::default();
        let files: Vec<PathBuf> = store.blob_files().map_err(|error| store.trouble(error))?;
        survey.files = files.into_par_iter().filter_map(large).collect();
        let packs: Vec<PathBuf> = store.packs.list().map_err(|error| store.trouble(error))?.into_values().collect();
        for path in packs {
            match read(&path, contents) {
                Ok(one) => survey.add(one),
                // Written anew by another process while one only looks.
                Err(error) if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(survey)
    }

    fn add(&mut self, mut read: Read) {
        let (number, records, items) = (self.packs.len(), self.records.len(), self.items.len());
        for slot in &mut read.pack.entries {
            match slot.tag {
                Tag::Blob => drop(self.small.entry(slot.key).or_insert(Spot { pack: number, at: slot.at, length: slot.length })),
                Tag::Record => slot.number += records,
                Tag::Item => slot.number += items,
            }
        }
        for mut record in read.records {
            record.pack = number;
            self.by_key.entry(record.key).or_default().push(self.records.len());
            self.records.push(record);
        }
        self.items.extend(read.items.into_iter().map(|item| Item { pack: number, ..item }));
        self.packs.push(read.pack);
    }

    /// Says what stays as it is, whatever is reached.
    pub(super) fn fix(&mut self, pack: impl Fn(&Pack) -> bool, large: impl Fn(&Large) -> bool) {
        self.packs.iter_mut().for_each(|one| one.fixed = pack(one));
        self.files.values_mut().for_each(|one| one.fixed = large(one));
    }

    /// Bytes of what stays as it is.
    pub(super) fn fixed(&self) -> u64 {
        let packs: u64 = self.packs.iter().filter(|pack| pack.fixed).map(|pack| pack.length).sum();
        packs + self.files.values().filter(|large| large.fixed).map(|large| large.bytes).sum::<u64>()
    }

    /// Bytes of packs and large blobs.
    pub(super) fn total(&self) -> u64 {
        self.packs.iter().map(|pack| pack.length).sum::<u64>() + self.files.values().map(|large| large.bytes).sum::<u64>()
    }

    /// Bytes that a blob takes up where it could be freed.
    pub(super) fn bytes_of(&self, blob: &Digest) -> u64 {
        let large = self.files.get(blob).filter(|large| !large.fixed).map_or(0, |large| large.bytes);
        let small = self.small.get(blob).filter(|spot| !self.packs[spot.pack].fixed);
        large + small.map_or(0, |spot| (HEAD + CHECK) as u64 + u64::from(spot.length))
    }

    /// The bytes of a blob; none where it is gone. Other bytes than its name says are damage.
    pub(super) fn read(&self, blob: &Digest) -> Result<Option<Vec<u8>>> {
        let (path, bytes) = match (self.small.get(blob), self.files.get(blob)) {
            (Some(spot), _) => {
                let path = &self.packs[spot.pack].path;
                let mut bytes = vec![0; spot.length as usize];
                (path, File::open(path).and_then(|file| file.read_exact_at(&mut bytes, spot.at)).map(|()| bytes))
            }
            (None, Some(large)) => (&large.path, fs::read(&large.path)),
            (None, None) => return Ok(None),
        };
        match bytes {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok(bytes) if Digest::of(&bytes) == *blob => Ok(Some(bytes)),
            Ok(_) => bail!(Damaged { path: path.clone(), what: "has other bytes than it had".to_owned() }),
            Err(error) => Err(error.into()),
        }
    }
}

fn large(path: PathBuf) -> Option<(Digest, Large)> {
    let digest = named(&path)?;
    // What goes meanwhile is not there.
    let file = fs::metadata(&path).ok()?;
    Some((digest, Large { path, bytes: file.len(), changed: changed(&file), fixed: false }))
}

fn read(path: &Path, contents: &dyn Contents) -> Result<Read> {
    // Its age first: what is appended while it is read makes it younger.
    let modified = utc(fs::metadata(path)?.modified()?);
    let bytes = fs::read(path)?;
    let mut pack = Pack { path: path.to_owned(), modified, length: bytes.len() as u64, torn: 0, entries: Vec::new(), fixed: false };
    let (mut records, mut items, mut broken) = (Vec::new(), Vec::new(), None);
    let bad = inspect(&bytes, 0, &mut |entry, payload| {
        let mut slot = Slot { tag: entry.tag, key: entry.key, at: entry.at, length: entry.length, number: 0 };
        match entry.tag {
            Tag::Blob => {}
            Tag::Item => {
                slot.number = items.len();
                items.push(Item { pack: 0, bytes: slot.bytes(), files: contents.files(payload) });
            }
            Tag::Record => match serde_json::from_slice::<Record>(payload) {
                Ok(record) if record.key == entry.key => {
                    slot.number = records.len();
                    records.push(held(record, &slot, payload));
                }
                _ => broken = Some(entry.at),
            },
        }
        pack.entries.push(slot);
    });
    let hurt = bad.iter().find(|stretch| !stretch.is_torn_tail).map(|stretch| stretch.from);
    if let Some(at) = hurt.or(broken) {
        bail!(Damaged { path: path.to_owned(), what: format!("has bytes at offset {at} that are not what was written") });
    }
    pack.torn = bad.iter().filter(|stretch| stretch.to > MAGIC.len() as u64).map(|stretch| stretch.to - stretch.from).sum();
    Ok(Read { pack, records, items })
}

fn held(record: Record, slot: &Slot, payload: &[u8]) -> Held {
    let stage = record.task.split('[').next().unwrap_or_default().to_owned();
    Held {
        pack: 0,
        bytes: slot.bytes(),
        digest: Digest::of(payload),
        key: record.key,
        key_manifest: record.key_manifest,
        manifests: record.outputs.values().map(|output| output.manifest).collect(),
        parts: record.parts,
        stage,
        started: record.started,
        effect: record.effect,
    }
}
