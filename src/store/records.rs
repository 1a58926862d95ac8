//! Records: what a key gave, with when, where and how long.
//!
//! A record is an entry of a pack, never edited. Further variants, of kinds that are not exact, stand beside the first.

use super::files::Damaged;
use super::pack::{Spot, Tag};
use super::{Store, lock};
use crate::content::{Digest, Level};
use crate::crash::crash_point;
use crate::few::Few;
use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a key gave. Only `outputs` says what; the rest is for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Layout of this record: [`Record::VERSION`].
    pub version: u32,
    /// Everything the result depends on, as a digest.
    pub key: Digest,
    /// Blob with the readable list of it.
    pub key_manifest: Digest,
    /// Kind that ran, or `command`.
    pub kind: Arc<str>,
    /// The task as people write it.
    pub task: String,
    /// The pipeline it ran for.
    pub pipeline: Arc<str>,
    /// Port → what it holds.
    pub outputs: Few<String, OutputRecord>,
    /// Start, RFC 3339 in UTC.
    pub started: String,
    /// Wall time.
    pub seconds: f64,
    /// Host name.
    pub host: Arc<str>,
    /// Build of the program.
    pub build: Arc<str>,
    /// `cpu`, or `cuda:0`.
    pub device: Arc<str>,
    /// Threads.
    pub threads: usize,
    /// Items of a map kind.
    pub items: u64,
    /// Of them, those that nobody had treated before, which is what the wall time is of; an older record does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items_ran: Option<u64>,
    /// Items set aside.
    pub quarantined: u64,
    /// What the kind warned of.
    pub warnings: Vec<String>,
    /// Sources that were results themselves, taken from another pipeline or with what was published beside them: their keys.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, BTreeSet<Digest>>,
    /// Whether it tells of an effect: then the newest of several answers holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub effect: bool,
    /// Keys of the parts of a chosen list, which were done one by one and are kept with the whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Digest>,
    /// Set where somebody held the result of another key valid for this one; the rest then tells how that one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Box<Accepted>>,
}

/// Who held an older result valid, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Name of the user.
    pub by: String,
    /// When, RFC 3339 in UTC.
    pub when: String,
    /// Their words.
    pub reason: String,
    /// The key under which the result was made.
    pub from: Digest,
    /// The acceptance that this one rests on, where the result was held valid before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Self>>,
}

/// What one port holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputRecord {
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Number of files.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// How close they are to people.
    #[serde(alias = "identified")]
    pub level: Level,
}

/// What became of a record that was published.
#[derive(Clone, Debug, PartialEq)]
pub enum Published {
    /// It stands.
    Added,
    /// One with equal outputs stood already: this one.
    Same(Record),
    /// One with other outputs stood already: this one. Nothing was added.
    Differs(Record),
}

impl Record {
    /// The layout written now.
    pub const VERSION: u32 = 1;

    /// When it started, as what sorts.
    fn moment(&self) -> &str {
        self.started.trim_end_matches('Z')
    }
}

impl Store {
    /// The records of a key, oldest variant first, but of an effect the newest; what was only accepted after what was made. None for a
    /// key that never succeeded.
    pub fn records(&self, key: &Digest) -> Result<Vec<Arc<Record>>> {
        if let Some(records) = self.foreseen.get(key) {
            return Ok(records);
        }
        let mut found = self.packs.find_there(Tag::Record, std::slice::from_ref(key)).map_err(|error| self.trouble(error))?;
        self.read_records(key, found.remove(key).unwrap_or_default(), &Spot::read)
    }

    /// The last key of each task of a pipeline, from the index and the journals it has not seen yet.
    pub fn last_keys(&self, pipeline: &str) -> Result<BTreeMap<String, Digest>> {
        self.catch_up(pipeline)?;
        Ok(self.known_last_keys(pipeline))
    }

    /// The same as far as the index has them, for who has looked at the journals already.
    pub fn known_last_keys(&self, pipeline: &str) -> BTreeMap<String, Digest> {
        self.index.last(pipeline).into_iter().map(|last| (last.task, last.key)).collect()
    }

    pub(super) fn read_records(&self, key: &Digest, mut spots: Vec<Spot>, read: &Read) -> Result<Vec<Arc<Record>>> {
        let mut records: Vec<Arc<Record>> = Vec::with_capacity(spots.len());
        spots.sort_by(|one, other| (&one.file, one.at).cmp(&(&other.file, other.at)));
        for spot in spots {
            let Some(bytes) = read(&spot).map_err(|error| self.trouble(error))? else { continue };
            let damaged = |what: String| Damaged { path: spot.file.to_path_buf(), what: format!("{what}, at offset {}", spot.at) };
            match serde_json::from_slice::<Record>(&bytes) {
                Ok(record) if record.key == *key && record.version == Record::VERSION => records.push(Arc::new(record)),
                Ok(record) if record.version == Record::VERSION => {
                    bail!(damaged(format!("has the record of another key, {}", record.key.short())))
                }
                Ok(_) | Err(_) => bail!(damaged("has something that is no record".to_owned())),
            }
        }
        if records.len() < 2 {
            return Ok(records);
        }
        records.sort_by(|one, other| one.moment().cmp(other.moment()));
        // The world may have changed since the first answer.
        if records.iter().any(|record| record.effect) {
            records.reverse();
        }
        records.sort_by_key(|record| record.accepted.is_some());
        let mut seen: Vec<Few<String, OutputRecord>> = Vec::new();
        records.retain(|record| {
            let new = !seen.contains(&record.outputs);
            if new {
                seen.push(record.outputs.clone());
            }
            new
        });
        Ok(records)
    }

    /// Adds a record after all its blobs, unless its key has one; to what was made, what was only accepted counts as none. Whoever publishes
    /// holds the claim on the key, so that of two processes the second finds what the first did.
    pub fn publish(&self, record: &Record) -> Result<Published> {
        self.add(record, Variants::One)
    }

    /// Adds a record as a further variant of its key, unless a variant has equal outputs.
    pub fn publish_variant(&self, record: &Record) -> Result<()> {
        self.add(record, Variants::Many).map(drop)
    }

    /// Adds a record as the newest variant of its key, unless the newest has equal outputs: what an effect brought, which may change.
    pub fn publish_newest(&self, record: &Record) -> Result<()> {
        self.add(record, Variants::Newest).map(drop)
    }

    fn add(&self, record: &Record, variants: Variants) -> Result<Published> {
        ensure!(record.version == Record::VERSION, "a record of version {} is written as {}", record.version, Record::VERSION);
        self.check_writable()?;
        self.sync_large()?;
        crash_point!("record-ready");
        let _publishing = lock(&self.flushing);
        let mut standing = self.records(&record.key)?;
        if record.accepted.is_none() {
            standing.retain(|one| one.accepted.is_none());
        }
        let alike = match variants {
            Variants::Newest => &standing[..standing.len().min(1)],
            Variants::One | Variants::Many => standing.as_slice(),
        };
        match alike.iter().find(|one| one.outputs == record.outputs) {
            Some(same) => return Ok(Published::Same(same.as_ref().clone())),
            None if variants == Variants::One => {
                if let Some(first) = standing.first() {
                    return Ok(Published::Differs(first.as_ref().clone()));
                }
            }
            None => {}
        }
        // Where the clock was set back it goes by as little as can be written after the newest.
        let newest = standing.iter().map(|one| one.moment()).max().filter(|newest| *newest > record.moment());
        let started = newest.map_or_else(|| record.started.clone(), |newest| format!("{newest}1Z"));
        let bytes = serde_json::to_vec(&Record { started, ..record.clone() })?;
        self.foreseen.forget(&record.key);
        self.packs.append(&[(Tag::Record, record.key, &bytes)]).map_err(|error| self.trouble(error))?;
        crash_point!("record-written");
        Ok(Published::Added)
    }
}

/// Reads what lies at a spot; none where it is gone.
pub(super) type Read<'r> = dyn Fn(&Spot) -> std::io::Result<Option<Vec<u8>>> + Sync + 'r;

#[derive(Clone, Copy, PartialEq)]
enum Variants {
    One,
    Many,
    /// As many as there are answers; only the last is compared.
    Newest,
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;

    fn record(output: &str, seconds: f64) -> Record {
        let output = OutputRecord { manifest: Digest::of(output.as_bytes()), files: 1, bytes: 2, level: Level::Released };
        Record {
            version: Record::VERSION,
            key: Digest::of(b"key"),
            key_manifest: Digest::of(b"manifest"),
            kind: "images.import".into(),
            task: "import[seed=1]".to_owned(),
            pipeline: "p.toml".into(),
            outputs: Few::from([("images".to_owned(), output)]),
            started: super::super::now(),
            seconds,
            host: "h".into(),
            build: "b".into(),
            device: "cpu".into(),
            threads: 1,
            items: 3,
            items_ran: Some(3),
            quarantined: 1,
            warnings: vec!["w".to_owned()],
            sources: BTreeMap::new(),
            effect: false,
            parts: Vec::new(),
            accepted: None,
        }
    }

    #[test]
    fn of_many_at_once_one_wins() {
        let (_folder, store) = new_store();
        assert!(store.records(&Digest::of(b"key")).unwrap().is_empty());
        let results: Vec<Published> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|at| (at, &store)).map(|(at, store)| scope.spawn(move || store.publish(&record("o", at.into())))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        let standing = store.records(&Digest::of(b"key")).unwrap();
        assert_eq!(standing.len(), 1);
        assert_eq!(results.iter().filter(|one| **one == Published::Added).count(), 1);
        assert_eq!(results.iter().filter(|one| **one == Published::Same(standing[0].as_ref().clone())).count(), 7);
    }

    #[test]
    fn other_outputs_are_a_difference_or_a_variant() {
        let (_folder, store) = new_store();
        let (first, second) = (record("one", 1.0), record("two", 2.0));
        assert_eq!(store.publish(&first).unwrap(), Published::Added);
        assert_eq!(store.publish(&second).unwrap(), Published::Differs(first.clone()));
        store.publish_variant(&second).unwrap();
        store.publish_variant(&record("two", 3.0)).unwrap();
        assert_eq!(store.records(&first.key).unwrap(), [Arc::new(first.clone()), Arc::new(second.clone())]);
        assert_eq!(store.publish(&record("two", 4.0)).unwrap(), Published::Same(second));
    }

    #[test]
    fn what_was_made_stands_before_what_was_accepted() {
        let (_folder, store) = new_store();
        let text = |text: &str| text.to_owned();
        let by = Accepted { by: text("ada"), when: super::super::now(), reason: text("r"), from: Digest::of(b"old"), before: None };
        let accepted = Record { accepted: Some(Box::new(by)), ..record("one", 1.0) };
        let standing = || store.records(&accepted.key).unwrap().iter().map(|one| one.as_ref().clone()).collect::<Vec<_>>();
        assert_eq!(store.publish(&accepted).unwrap(), Published::Added);
        let made = record("two", 2.0);
        assert_eq!(store.publish(&made).unwrap(), Published::Added);
        assert_eq!(standing(), [made, accepted.clone()]);
        // Of equal outputs the one that was made is told of.
        store.publish_variant(&record("one", 3.0)).unwrap();
        assert!(standing().iter().all(|one| one.accepted.is_none()));
        assert!(matches!(store.publish(&accepted).unwrap(), Published::Same(one) if one.accepted.is_none()));
    }

    #[test]
    fn variants_keep_their_order_though_the_clock_was_set_back() {
        let (_folder, store) = new_store();
        let outputs = |records: Vec<Arc<Record>>| records.iter().map(|one| one.outputs.clone()).collect::<Vec<_>>();
        let made: Vec<Record> = ["2100-01-01T00:00:00.042Z", "2001-01-01T00:00:00.042Z", "2001-01-01T00:00:00.042Z"]
            .into_iter()
            .enumerate()
            .map(|(at, started)| Record { started: started.to_owned(), ..record(&at.to_string(), 1.0) })
            .collect();
        made.iter().for_each(|one| store.publish_variant(one).unwrap());
        assert_eq!(outputs(store.records(&made[0].key).unwrap()), made.iter().map(|one| one.outputs.clone()).collect::<Vec<_>>());
        // What an effect brought last holds.
        let effect = |at: usize| Record { effect: true, key: Digest::of(b"effect"), ..made[at].clone() };
        (0..3).for_each(|at| store.publish_newest(&effect(at)).unwrap());
        store.publish_newest(&effect(0)).unwrap();
        assert_eq!(store.records(&effect(0).key).unwrap()[0].outputs, made[0].outputs);
    }

    #[test]
    fn a_broken_record_is_damage_and_is_named() {
        let (_folder, store) = new_store();
        let record = record("one", 1.0);
        let other = serde_json::to_vec(&Record { key: Digest::of(b"other"), ..record.clone() }).unwrap();
        for (number, bytes) in [&b"{\"version\": 1"[..], b"{}", &other].into_iter().enumerate() {
            let key = if number == 2 { record.key } else { Digest::of(&[number as u8]) };
            store.packs.append(&[(Tag::Record, key, bytes)]).unwrap();
            let error = store.records(&key).unwrap_err();
            assert!(error.downcast_ref::<Damaged>().unwrap().path.starts_with(store.root().join("packs")));
        }
    }
}
