//! Every byte of the store hashed again: what is not what it was, and how that is mended.
//!
//! Blobs, what items gave and records have digests or checksums, so any flipped bit of theirs is found. Journals, logs, names
//! and state have none. Mending takes away: a damaged blob is moved to `damaged/`, a pack is written anew without what is
//! broken, and the records of results that lost a file go too, with those of what was made from them and may have read the damage, so
//! that the next run makes those again. What follows is left alone where that gives the bytes it gave.

use super::files::Damaged;
use super::hash::hash;
use super::index::Entry;
use super::pack::{CHECK, HEAD, Stretch, Tag, inspect};
use super::{OutputRecord, Record, Store};
use crate::content::Digest;
use anyhow::Result;
use rayon::prelude::*;
use rustix::fs::FlockOperation;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the name of a blob ends with whose readers were looked for.
const SEEN: &str = "seen";

/// Something that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A blob's file, or a pack.
    pub path: PathBuf,
    /// Offset in a pack.
    pub at: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// What a look at everything gave.
#[derive(Debug, Default)]
pub struct Verified {
    /// Files of large blobs that were read, entries of packs likewise, and their bytes.
    pub blobs: u64,
    pub entries: u64,
    pub bytes: u64,
    pub findings: Vec<Finding>,
    /// Packs whose end was cut off by a crash: not damage, nothing that was recorded is lost.
    pub torn: Vec<PathBuf>,
    /// Blobs of which no good copy is left, as far as their digests are known.
    lost: HashSet<Digest>,
}

/// What mending came to.
#[derive(Debug, Default)]
pub struct Repaired {
    /// Blobs moved to `damaged/`.
    pub blobs: u64,
    /// Packs written anew.
    pub packs: u64,
    /// Results that lost a file, as people write their tasks: the next run makes them again.
    pub results: BTreeSet<String>,
    /// Likewise those that were made directly from what was damaged, by the task that gave it.
    pub readers: BTreeMap<String, BTreeSet<String>>,
    /// Whether what items gave is forgotten: some of it was made from what was damaged, and an entry does not say what it was made from.
    pub items: bool,
    /// Likewise effects, which acted on the world with what was damaged: their receipts stay.
    pub effects: BTreeSet<String>,
    /// What could not be mended: packs in use, and blobs whose readers are to be looked for when what is in use is not any more.
    pub left: Vec<PathBuf>,
}

impl Store {
    /// Reads everything. `progress(done, total)` counts bytes.
    pub fn verify(&self, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Verified> {
        // The index is taken as it is, not brought up to the packs first: it tells what a pack had that is cut off now.
        let blobs = self.blob_files().map_err(|error| self.trouble(error))?;
        let packs = self.packs.list().map_err(|error| self.trouble(error))?;
        let lengths = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
        let total = blobs.par_iter().map(|path| lengths(path)).sum::<u64>() + packs.values().map(|path| lengths(path)).sum::<u64>();
        let done = AtomicU64::new(0);
        let tell = |more: u64| progress(done.fetch_add(more, Ordering::Relaxed) + more, total);

        let (mut verified, mut good) = (Verified::default(), HashSet::new());
        for (name, path) in &packs {
            self.verify_pack(name, path, &mut verified, &mut good, &tell).map_err(|error| self.trouble(error))?;
        }
        let damaged = Mutex::new(Vec::new());
        blobs.par_iter().for_each(|path| {
            if let Some(what) = verify_blob(path, &tell) {
                super::lock(&damaged).push(Finding { path: path.clone(), at: None, what });
            }
        });
        let mut damaged = damaged.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        damaged.sort_by(|one, other| one.path.cmp(&other.path));
        verified.lost.extend(damaged.iter().filter_map(|one| named(&one.path)));
        verified.lost.retain(|digest| !good.contains(digest));
        verified.findings.extend(damaged);
        verified.blobs = blobs.len() as u64;
        verified.bytes = done.into_inner();
        Ok(verified)
    }

    /// Mends what was found.
    pub fn repair(&self, verified: &Verified) -> Result<Repaired> {
        self.check_writable()?;
        let mut repaired = Repaired::default();
        for finding in verified.findings.iter().filter(|finding| finding.at.is_none()) {
            self.set_aside(&finding.path)?;
            repaired.blobs += 1;
        }
        let broken: BTreeSet<PathBuf> = verified
            .findings
            .iter()
            .filter(|finding| finding.at.is_some())
            .map(|finding| finding.path.clone())
            .chain(verified.torn.iter().cloned())
            .collect();
        let aside = self.set_aside_since()?;
        if broken.is_empty() && aside.is_empty() {
            return Ok(repaired);
        }
        let Some(_alone) = self.stop_runs().map_err(|error| self.trouble(error))? else {
            // What goes on notices a blob that is gone by itself; who read one while it was damaged is looked for when it has ended.
            repaired.left.extend(broken.into_iter().chain(aside));
            return Ok(repaired);
        };
        let damaged = aside.iter().filter_map(|path| named(path)).chain(verified.lost.iter().copied()).collect();
        let (harmed, mut packs) = self.harmed(&verified.lost, &damaged, &mut repaired)?;
        packs.extend(broken);
        let packs: Vec<PathBuf> = packs.into_iter().collect();
        let keep = |_: &Path, entry: &Entry, payload: &[u8]| match entry.tag {
            Tag::Item if repaired.items => false,
            _ => wrong(entry, payload).is_none() && !harmed.contains(&Digest::of(payload)),
        };
        let done = self.rewrite(&packs, &keep)?;
        repaired.packs = (packs.len() - done.in_use.len()) as u64;
        if done.in_use.is_empty() {
            let seen = |path: &PathBuf| fs::rename(path, path.with_extension(SEEN));
            aside.iter().try_for_each(seen).map_err(|error| self.trouble(error))?;
        }
        repaired.left.extend(done.in_use);
        Ok(repaired)
    }

    /// Blobs that were set aside, by runs too, since the last time that those who read them were looked for.
    fn set_aside_since(&self) -> Result<Vec<PathBuf>> {
        let files = super::runs::files_of(&self.root.join("damaged")).map_err(|error| self.trouble(error))?;
        Ok(files.into_iter().filter(|path| named(path).is_some()).collect())
    }

    /// Forgets the index and makes it anew from packs and journals; the answer is how many packs and pipelines there are.
    ///
    /// What was hashed of sources is forgotten too: the next run reads them all.
    pub fn reindex(&self) -> Result<(u64, u64)> {
        self.index.clear();
        self.index.forget_people();
        self.forget_memo();
        self.packs.forget();
        self.packs.refresh().map_err(|error| self.trouble(error))?;
        let pipelines = self.catch_up_all()?;
        self.look_for_people()?;
        Ok((self.packs.list().map_err(|error| self.trouble(error))?.len() as u64, pipelines))
    }

    fn verify_pack(
        &self,
        name: &str,
        path: &Path,
        verified: &mut Verified,
        good: &mut HashSet<Digest>,
        tell: &dyn Fn(u64),
    ) -> io::Result<()> {
        // Before the pack is read, so that all that is known then is there to be read.
        let mut known = self.index.entries_of(name);
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            bytes => bytes?,
        };
        let finding = |at: u64, what: String| Finding { path: path.to_owned(), at: Some(at), what };
        let mut there = HashSet::new();
        let mut findings = Vec::new();
        let bad = inspect(&bytes, 0, &mut |entry, payload| {
            verified.entries += 1;
            match wrong(&entry, payload) {
                Some(what) => findings.push(finding(entry.at, what)),
                None => {
                    there.insert((entry.at, entry.key));
                    if entry.tag == Tag::Blob {
                        good.insert(entry.key);
                    }
                }
            }
        });
        known.retain(|entry| !there.contains(&(entry.at, entry.key)));
        verified.lost.extend(known.iter().filter(|entry| entry.tag == Tag::Blob).map(|entry| entry.key));
        for stretch in bad {
            let Stretch { from, to, is_torn_tail } = stretch;
            let was_whole = known.iter().any(|entry| (from..to).contains(&(entry.at - HEAD as u64)));
            if is_torn_tail && !was_whole {
                if !is_written_to(path) {
                    verified.torn.push(path.to_owned());
                }
                continue;
            }
            findings.push(finding(from, format!("{} bytes are not what was written", to - from)));
        }
        let ends = bytes.len() as u64;
        let cut = known.iter().filter(|entry| entry.at + u64::from(entry.length) + CHECK as u64 > ends).count();
        if cut > 0 {
            findings.push(finding(ends, format!("is shorter than it was, by {cut} entries")));
        }
        verified.findings.extend(findings);
        tell(ends);
        Ok(())
    }

    /// Records that reach a lost blob, and those of results that were made from what reaches a damaged one, as digests of their bytes, and
    /// the packs that hold them.
    fn harmed(
        &self,
        lost: &HashSet<Digest>,
        damaged: &HashSet<Digest>,
        repaired: &mut Repaired,
    ) -> Result<(HashSet<Digest>, BTreeSet<PathBuf>)> {
        let (mut harmed, mut packs) = (HashSet::new(), BTreeSet::new());
        if damaged.is_empty() {
            return Ok((harmed, packs));
        }
        let mut records: Vec<(Digest, PathBuf, Record)> = Vec::new();
        let mut with_items = BTreeSet::new();
        for path in self.packs.list().map_err(|error| self.trouble(error))?.into_values() {
            let bytes = fs::read(&path).map_err(|error| self.trouble(error))?;
            let mut has_items = false;
            inspect(&bytes, 0, &mut |entry, payload| {
                has_items |= entry.tag == Tag::Item;
                if entry.tag == Tag::Record
                    && let Ok(record) = serde_json::from_slice(payload)
                {
                    records.push((Digest::of(payload), path.clone(), record));
                }
            });
            if has_items {
                with_items.insert(path);
            }
        }
        // Manifest → the tasks that gave it.
        let mut makers: HashMap<Digest, BTreeSet<String>> = HashMap::new();
        for (digest, path, record) in &records {
            for output in record.outputs.values() {
                if self.reaches(output, damaged)? {
                    makers.entry(output.manifest).or_default().insert(record.task.clone());
                    // What was made again since stays.
                    if self.reaches(output, lost)? {
                        repaired.results.insert(record.task.clone());
                        harmed.insert(*digest);
                        packs.insert(path.clone());
                    }
                }
            }
        }
        for (digest, path, record) in &records {
            let read = self.inputs_of(record).into_iter().filter_map(|input| makers.get(&input));
            for maker in read.flatten() {
                if record.effect {
                    repaired.effects.insert(record.task.clone());
                    continue;
                }
                repaired.items |= record.items > 0;
                repaired.readers.entry(maker.clone()).or_default().insert(record.task.clone());
                harmed.insert(*digest);
                packs.insert(path.clone());
            }
        }
        if repaired.items {
            packs.extend(with_items);
        }
        Ok((harmed, packs))
    }

    fn reaches(&self, output: &OutputRecord, lost: &HashSet<Digest>) -> Result<bool> {
        if lost.contains(&output.manifest) {
            return Ok(true);
        }
        let manifest = match self.read_blob(&output.manifest) {
            Err(error) if error.is::<Damaged>() => return Ok(true),
            manifest => manifest?,
        };
        let tree = manifest.and_then(|bytes| crate::content::Tree::from_manifest(&bytes, output.level));
        Ok(tree.is_some_and(|tree| tree.files.values().any(|file| lost.contains(&file.digest))))
    }

    /// The manifests that a result was made from; none where that can no longer be read.
    fn inputs_of(&self, record: &Record) -> Vec<Digest> {
        let manifest = self.read_blob(&record.key_manifest).ok().flatten();
        let read = manifest.and_then(|bytes| serde_json::from_slice::<MadeFrom>(&bytes).ok());
        read.into_iter().flat_map(|read| read.inputs.into_values().flatten()).filter_map(|part| part.digest).collect()
    }

    /// The files of large blobs.
    pub(super) fn blob_files(&self) -> io::Result<Vec<PathBuf>> {
        let folders = super::runs::files_of(&self.root.join("blobs"))?;
        let files: Vec<Vec<PathBuf>> = folders.par_iter().map(|folder| super::runs::files_of(folder)).collect::<io::Result<_>>()?;
        Ok(files.into_iter().flatten().collect())
    }
}

/// What a key manifest says of inputs: port → parts.
#[derive(Deserialize)]
struct MadeFrom {
    inputs: BTreeMap<String, Vec<Input>>,
}

#[derive(Deserialize)]
struct Input {
    /// None for a hole.
    digest: Option<Digest>,
}

/// What is wrong with a blob's file, if anything.
fn verify_blob(path: &Path, tell: &dyn Fn(u64)) -> Option<String> {
    let Some(name) = named(path) else { return Some("is not called like a blob".to_owned()) };
    match hash(path, tell) {
        Ok((digest, _)) if digest == name => None,
        Ok((_, length)) => Some(format!("has {length} bytes that are not those of its name")),
        // Collected meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("cannot be read: {error}")),
    }
}

/// What is wrong with an entry whose checksum is right, if anything.
fn wrong(entry: &Entry, payload: &[u8]) -> Option<String> {
    match entry.tag {
        Tag::Blob => (Digest::of(payload) != entry.key).then(|| "a blob has other bytes than its name says".to_owned()),
        Tag::Item => None,
        Tag::Record => match serde_json::from_slice::<Record>(payload) {
            Ok(record) => (record.key != entry.key).then(|| "a record is under another key than its own".to_owned()),
            Err(_) => Some("a record cannot be read".to_owned()),
        },
    }
}

/// The digest that a blob's file is named after.
pub(super) fn named(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}

/// Whether a process holds a pack to append to it.
fn is_written_to(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err())
}
