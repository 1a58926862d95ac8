//! Records: what a key gave, with when, where and how long.
//!
//! A record is made exclusively and never edited. Further variants, of kinds that are not exact, stand beside the first.

use super::Store;
use super::files::{self, Damaged};
use crate::content::Digest;
use crate::crash::crash_point;
use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

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
    pub kind: String,
    /// The task as people write it.
    pub task: String,
    /// The pipeline it ran for.
    pub pipeline: String,
    /// Port → what it holds.
    pub outputs: BTreeMap<String, OutputRecord>,
    /// Start, RFC 3339 in UTC.
    pub started: String,
    /// Wall time.
    pub seconds: f64,
    /// Host name.
    pub host: String,
    /// Build of the program.
    pub build: String,
    /// `cpu`, or `cuda:0`.
    pub device: String,
    /// Threads.
    pub threads: usize,
    /// Items of a map kind.
    pub items: u64,
    /// Items set aside.
    pub quarantined: u64,
    /// What the kind warned of.
    pub warnings: Vec<String>,
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
    /// Whether they hold people's data.
    pub identified: bool,
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
}

impl Store {
    /// The records of a key, oldest variant first; none for a key that never succeeded.
    pub fn records(&self, key: &Digest) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        loop {
            let path = self.record_path(key, records.len() + 1);
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(records),
                Err(error) => return Err(self.trouble(error)),
            };
            match serde_json::from_slice::<Record>(&bytes) {
                Ok(record) if record.key == *key && record.version == Record::VERSION => records.push(record),
                Ok(record) if record.version == Record::VERSION => {
                    bail!(Damaged { path, what: format!("is the record of another key, {}", record.key.short()) })
                }
                Ok(_) | Err(_) => bail!(Damaged { path, what: "is not a record".to_owned() }),
            }
        }
    }

    /// Adds a record after a sync of all blobs, unless its key has one.
    pub fn publish(&self, record: &Record) -> Result<Published> {
        self.add(record, Variants::One)
    }

    /// Adds a record as a further variant of its key, unless a variant has equal outputs.
    pub fn publish_variant(&self, record: &Record) -> Result<()> {
        self.add(record, Variants::Many).map(drop)
    }

    fn add(&self, record: &Record, variants: Variants) -> Result<Published> {
        ensure!(record.version == Record::VERSION, "a record of version {} is written as {}", record.version, Record::VERSION);
        self.sync()?;
        let temporary = self.session()?.fresh("record-");
        let write = || -> io::Result<()> {
            let mut file = File::create_new(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(record)?)?;
            file.sync_data()
        };
        write().map_err(|error| self.trouble(error))?;
        crash_point!("record-written");
        loop {
            let standing = self.records(&record.key)?;
            let found = match standing.iter().find(|one| one.outputs == record.outputs) {
                Some(same) => Some(Published::Same(same.clone())),
                None if variants == Variants::One => standing.first().map(|first| Published::Differs(first.clone())),
                None => None,
            };
            if let Some(found) = found {
                let _ = fs::remove_file(&temporary);
                return Ok(found);
            }
            let path = self.record_path(&record.key, standing.len() + 1);
            let name = || -> io::Result<bool> {
                if files::make_parent(&path)? {
                    files::sync_folder(&self.root.join("records"))?;
                }
                if !files::rename_new(&temporary, &path)? {
                    return Ok(false);
                }
                crash_point!("record-renamed");
                files::sync_folder(path.parent().unwrap_or(&self.root))?;
                Ok(true)
            };
            // Where another process was first, look again at what it wrote.
            if name().map_err(|error| self.trouble(error))? {
                return Ok(Published::Added);
            }
        }
    }

    fn record_path(&self, key: &Digest, variant: usize) -> PathBuf {
        let suffix = if variant == 1 { ".json".to_owned() } else { format!(".{variant}.json") };
        self.named("records", key, &suffix)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Variants {
    One,
    Many,
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;

    fn record(output: &str, seconds: f64) -> Record {
        let output = OutputRecord { manifest: Digest::of(output.as_bytes()), files: 1, bytes: 2, identified: false };
        Record {
            version: Record::VERSION,
            key: Digest::of(b"key"),
            key_manifest: Digest::of(b"manifest"),
            kind: "images.import".to_owned(),
            task: "import[seed=1]".to_owned(),
            pipeline: "p.toml".to_owned(),
            outputs: BTreeMap::from([("images".to_owned(), output)]),
            started: super::super::now(),
            seconds,
            host: "h".to_owned(),
            build: "b".to_owned(),
            device: "cpu".to_owned(),
            threads: 1,
            items: 3,
            quarantined: 1,
            warnings: vec!["w".to_owned()],
        }
    }

    #[test]
    fn of_many_at_once_one_wins() {
        let (_folder, store) = new_store();
        assert_eq!(store.records(&Digest::of(b"key")).unwrap(), []);
        let results: Vec<Published> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|at| (at, &store)).map(|(at, store)| scope.spawn(move || store.publish(&record("o", at.into())))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        let standing = store.records(&Digest::of(b"key")).unwrap();
        assert_eq!(standing.len(), 1);
        assert_eq!(results.iter().filter(|one| **one == Published::Added).count(), 1);
        assert_eq!(results.iter().filter(|one| **one == Published::Same(standing[0].clone())).count(), 7);
    }

    #[test]
    fn other_outputs_are_a_difference_or_a_variant() {
        let (_folder, store) = new_store();
        let (first, second) = (record("one", 1.0), record("two", 2.0));
        assert_eq!(store.publish(&first).unwrap(), Published::Added);
        assert_eq!(store.publish(&second).unwrap(), Published::Differs(first.clone()));
        store.publish_variant(&second).unwrap();
        store.publish_variant(&record("two", 3.0)).unwrap();
        assert_eq!(store.records(&first.key).unwrap(), [first.clone(), second.clone()]);
        assert_eq!(store.publish(&record("two", 4.0)).unwrap(), Published::Same(second));
    }

    #[test]
    fn a_broken_record_is_damage_and_is_named() {
        let (_folder, store) = new_store();
        let record = record("one", 1.0);
        store.publish(&record).unwrap();
        let path = store.record_path(&record.key, 1);
        for bytes in [&b"{\"version\": 1"[..], b"{}", &serde_json::to_vec(&Record { key: Digest::of(b"other"), ..record.clone() }).unwrap()]
        {
            files::replace(&path, bytes).unwrap();
            let error = store.records(&record.key).unwrap_err();
            assert_eq!(error.downcast_ref::<Damaged>().unwrap().path, path);
        }
    }
}
