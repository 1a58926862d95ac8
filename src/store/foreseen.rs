//! Records read before somebody asks for them: those at the last keys of a pipeline's tasks, most of what a run that does nothing needs.
//!
//! The index keeps them in one piece, which holds as long as no pack has grown, come or gone, and no journal has brought other keys.

use super::pack::{OpenPacks, Spot};
use super::records::{OutputRecord, Record};
use super::{Store, lock};
use crate::content::{Digest, Level};
use anyhow::Result;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Fewer records are as quickly read from their packs.
const MANY: usize = 64;

/// Records by key, oldest variant first.
type Records = HashMap<Digest, Vec<Arc<Record>>>;

/// What was read.
#[derive(Default)]
pub(super) struct Foreseen {
    records: RwLock<Records>,
    /// The pipeline whose records were read before anybody asked, with the packs as they were then.
    early: Mutex<Option<(String, Digest)>>,
}

impl Foreseen {
    pub(super) fn get(&self, key: &Digest) -> Option<Vec<Arc<Record>>> {
        self.read().get(key).cloned()
    }

    fn add(&self, records: Records) {
        let mut known = self.write();
        match known.is_empty() {
            true => *known = records,
            false => known.extend(records),
        }
    }

    /// There may be more under this key by now.
    pub(super) fn forget(&self, key: &Digest) {
        if self.read().contains_key(key) {
            self.write().remove(key);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Records> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Records> {
        self.records.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Reads what is at hand of what a run of a pipeline will ask for: the memo of hashed files, and records that the index keeps. To be done
    /// beside other things; what fails is met again by who asks.
    pub fn prefetch(&self, pipeline: &str) {
        self.read_early(pipeline);
        self.read_memo_early();
    }

    fn read_early(&self, pipeline: &str) {
        let (Ok(()), Ok(Some(packs))) = (self.catch_up(pipeline), self.packs.digest()) else { return };
        if let Some(records) = self.kept_records(pipeline, &packs) {
            self.foreseen.add(records);
            *lock(&self.foreseen.early) = Some((pipeline.to_owned(), packs));
        }
    }

    /// Reads the records at the last keys of a pipeline's tasks at once.
    pub fn foresee(&self, pipeline: &str) -> Result<()> {
        let trouble = |error| self.trouble(error);
        if let Some(early) = lock(&self.foreseen.early).take() {
            // Packs may have been written anew since.
            self.packs.refresh().map_err(trouble)?;
            if self.packs.digest().map_err(trouble)? == Some(early.1) && early.0 == pipeline {
                return Ok(());
            }
            self.foreseen.write().clear();
        }
        self.catch_up(pipeline)?;
        let packs = self.packs.digest().map_err(trouble)?;
        let records = match packs.and_then(|packs| self.kept_records(pipeline, &packs)) {
            Some(records) => records,
            None => {
                let records = self.last_records(pipeline)?;
                if let Some(packs) = packs.filter(|_| records.len() >= MANY) {
                    self.index.keep_foreseen(pipeline, &packs, &encode(&records));
                }
                records
            }
        };
        self.foreseen.add(records);
        Ok(())
    }

    fn kept_records(&self, pipeline: &str, packs: &Digest) -> Option<Records> {
        self.index.foreseen(pipeline, packs, &decode)
    }

    fn last_records(&self, pipeline: &str) -> Result<Records> {
        let mut spots: BTreeMap<Digest, Vec<Spot>> = BTreeMap::new();
        for (key, spot) in self.packs.last_records(pipeline).map_err(|error| self.trouble(error))? {
            spots.entry(key).or_default().push(spot);
        }
        let packs = OpenPacks::of(spots.values().flatten());
        let bytes = |spot: &Spot| spot.read_from(packs.get(spot));
        // A pack that is gone was written anew meanwhile: who asks finds what it held.
        let is_there = |spot: &Spot| packs.get(spot).is_some();
        let spots: Vec<(Digest, Vec<Spot>)> = spots.into_iter().filter(|(_, spots)| spots.iter().all(is_there)).collect();
        // What cannot be read is met again, and told, by who asks for it.
        let read = |(key, spots): (Digest, Vec<Spot>)| self.read_records(&key, spots, &bytes).ok().map(|records| (key, records));
        Ok(spots.into_par_iter().with_min_len(256).filter_map(read).collect())
    }
}

/// Plain records field by field; those that have what most have not as JSON.
fn encode(records: &Records) -> Vec<u8> {
    let mut written = Written { bytes: Vec::with_capacity(records.len() * 192), before: Texts::default() };
    for (key, variants) in records {
        written.bytes.extend(key.0);
        written.number(variants.len() as u64);
        variants.iter().for_each(|record| written.record(record));
    }
    written.bytes
}

/// Kind, pipeline, host, build and device: mostly those of the record before.
type Texts = [Arc<str>; 5];

/// What is encoded so far.
struct Written {
    bytes: Vec<u8>,
    before: Texts,
}

impl Written {
    /// Seven bits a byte, the least first.
    fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.bytes.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text);
    }

    fn record(&mut self, record: &Record) {
        let Record { version, key: _, key_manifest, kind, task, pipeline, outputs, started, seconds, host, build, device, .. } = record;
        let Record { threads, items, items_ran, quarantined, warnings, sources, effect, parts, accepted, .. } = record;
        let is_plain = *version == Record::VERSION && !effect && accepted.is_none() && sources.is_empty() && parts.is_empty();
        if !is_plain || !warnings.is_empty() {
            self.number(0);
            self.text(&serde_json::to_vec(record).expect("a record is JSON"));
            return;
        }
        self.number(1);
        self.bytes.extend(key_manifest.0);
        for (at, text) in [kind, pipeline, host, build, device].into_iter().enumerate() {
            if self.before[at] == *text {
                self.number(0);
            } else {
                self.number(1);
                self.text(text.as_bytes());
                self.before[at].clone_from(text);
            }
        }
        self.text(task.as_bytes());
        self.text(started.as_bytes());
        self.bytes.extend(seconds.to_le_bytes());
        for number in [*threads as u64, *items, items_ran.map_or(0, |ran| ran + 1), *quarantined, outputs.len() as u64] {
            self.number(number);
        }
        for (port, OutputRecord { manifest, files, bytes, level }) in outputs {
            self.text(port.as_bytes());
            self.bytes.extend(manifest.0);
            for number in [*files, *bytes, *level as u64] {
                self.number(number);
            }
        }
    }
}

/// What [`encode`] was given; none where it is not that.
fn decode(bytes: &[u8]) -> Option<Records> {
    let mut left = Left { bytes, before: Texts::default() };
    let mut records = Records::with_capacity(bytes.len() / 160);
    while !left.bytes.is_empty() {
        let key = left.digest()?;
        let variants = (0..left.number()?).map(|_| match left.number()? {
            0 => serde_json::from_slice(left.text()?).ok().map(Arc::new),
            _ => left.record(key).map(Arc::new),
        });
        let variants = variants.collect::<Option<_>>()?;
        records.insert(key, variants);
    }
    Some(records)
}

/// What is not decoded yet.
struct Left<'b> {
    bytes: &'b [u8],
    before: Texts,
}

impl<'b> Left<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'b [u8]> {
        let count = self.number()?;
        self.take(usize::try_from(count).ok()?)
    }

    fn string(&mut self) -> Option<String> {
        Some(std::str::from_utf8(self.text()?).ok()?.to_owned())
    }

    fn digest(&mut self) -> Option<Digest> {
        Some(Digest(self.take(32)?.try_into().ok()?))
    }

    fn record(&mut self, key: Digest) -> Option<Record> {
        let key_manifest = self.digest()?;
        for at in 0..self.before.len() {
            if self.number()? == 1 {
                self.before[at] = std::str::from_utf8(self.text()?).ok()?.into();
            }
        }
        let [kind, pipeline, host, build, device] = self.before.clone();
        let (task, started) = (self.string()?, self.string()?);
        let seconds = f64::from_le_bytes(self.take(8)?.try_into().ok()?);
        let [threads, items, items_ran, quarantined, outputs] = [(); 5].map(|()| self.number());
        let outputs = (0..outputs?).map(|_| self.output()).collect::<Option<_>>()?;
        Some(Record {
            version: Record::VERSION,
            key,
            key_manifest,
            kind,
            task,
            pipeline,
            outputs,
            started,
            seconds,
            host,
            build,
            device,
            threads: usize::try_from(threads?).ok()?,
            items: items?,
            items_ran: items_ran?.checked_sub(1),
            quarantined: quarantined?,
            warnings: Vec::new(),
            sources: BTreeMap::new(),
            effect: false,
            parts: Vec::new(),
            accepted: None,
        })
    }

    fn output(&mut self) -> Option<(String, OutputRecord)> {
        let (port, manifest) = (self.string()?, self.digest()?);
        let [files, bytes, level] = [(); 3].map(|()| self.number());
        let level = [Level::Released, Level::Pseudonymous, Level::Identified].into_iter().find(|one| level == Some(*one as u64))?;
        Some((port, OutputRecord { manifest, files: files?, bytes: bytes?, level }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;
    use crate::few::Few;
    use serde_json::json;

    fn record(number: usize, warnings: &[&str]) -> Record {
        let output = |level| OutputRecord { manifest: Digest::of(b"m"), files: 3, bytes: 1 << 40, level };
        Record {
            version: Record::VERSION,
            key: Digest::of(&number.to_le_bytes()),
            key_manifest: Digest::of(b"manifest"),
            kind: "images.import".into(),
            task: format!("import[seed={number}]"),
            pipeline: "p.toml".into(),
            outputs: Few::from([("a".to_owned(), output(Level::Identified)), ("b".to_owned(), output(Level::Released))]),
            started: super::super::now(),
            seconds: 0.1,
            host: "h".into(),
            build: "b".into(),
            device: "cpu".into(),
            threads: 2,
            items: 3,
            items_ran: Some(2).filter(|_| number > 1),
            quarantined: 1,
            warnings: warnings.iter().map(|one| (*one).to_owned()).collect(),
            sources: BTreeMap::new(),
            effect: false,
            parts: Vec::new(),
            accepted: None,
        }
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let variants = vec![Arc::new(record(1, &[])), Arc::new(record(1, &["w"]))];
        let effect = Record { effect: true, ..record(2, &[]) };
        let records = Records::from([(record(1, &[]).key, variants), (effect.key, vec![Arc::new(effect)]), (Digest::of(b"none"), vec![])]);
        let bytes = encode(&records);
        assert_eq!(decode(&bytes).unwrap(), records);
        assert!((1..bytes.len()).filter_map(|length| decode(&bytes[..length])).all(|fewer| fewer.len() < records.len()));
    }

    #[test]
    fn a_record_that_came_after_it_was_kept_is_seen() {
        let (folder, store) = new_store();
        let again = || Store::open(store.root(), &folder.path().join("index")).unwrap();
        let log = store.begin_run("p", &json!(null)).unwrap();
        let all: Vec<Record> = (0..MANY).map(|number| record(number, &[])).collect();
        for one in &all {
            store.publish(one).unwrap();
            log.cached(one.task.clone(), &one.kind, one.key);
        }
        log.end(&json!(null)).unwrap();
        store.packs.sync().unwrap();
        again().foresee("p").unwrap();
        let packs = again().packs.digest().unwrap().unwrap();
        assert_eq!(store.index.foreseen("p", &packs, &decode).unwrap().len(), MANY);
        // Another variant of one of them, by somebody else.
        let mut other = all[0].clone();
        other.outputs.remove("a");
        again().publish_variant(&other).unwrap();
        let found = again();
        found.foresee("p").unwrap();
        assert_eq!(found.records(&other.key).unwrap().len(), 2);
        assert_eq!(found.records(&all[1].key).unwrap(), [Arc::new(all[1].clone())]);
    }
}
