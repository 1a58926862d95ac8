//! `ledger.jsonl`: which models ever met which test data in this store, and when.
//!
//! Only ever added to, and by nothing that frees results: what was looked at stays looked at. Knows nothing of stages; test data and
//! models are digests.

use super::{Store, lock_file};
use crate::content::Digest;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};

/// A model met test data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meeting {
    /// Manifest of the test data.
    pub data: Digest,
    /// Manifest of the model; of what is no model, the key of what met the data.
    pub model: Digest,
    /// Key of the evaluation.
    pub key: Digest,
    /// When it began, RFC 3339 in UTC.
    pub when: String,
}

/// Everything the ledger says.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    known: BTreeSet<(Digest, Digest, Digest)>,
    data: BTreeMap<Digest, Met>,
    by_key: BTreeMap<Digest, BTreeSet<Digest>>,
}

/// What met some test data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Different models.
    pub models: BTreeSet<Digest>,
    /// When the first did, RFC 3339 in UTC.
    pub first: String,
}

impl Ledger {
    /// Takes a meeting in; false where it is known.
    pub fn add(&mut self, meeting: &Meeting) -> bool {
        if !self.known.insert((meeting.data, meeting.model, meeting.key)) {
            return false;
        }
        let met = self.data.entry(meeting.data).or_default();
        met.models.insert(meeting.model);
        if met.first.is_empty() || meeting.when < met.first {
            met.first.clone_from(&meeting.when);
        }
        self.by_key.entry(meeting.key).or_default().insert(meeting.data);
        true
    }

    /// What met some test data.
    pub fn met(&self, data: &Digest) -> Option<&Met> {
        self.data.get(data)
    }

    /// The test data that an evaluation saw.
    pub fn seen_by(&self, key: &Digest) -> impl Iterator<Item = &Digest> {
        self.by_key.get(key).into_iter().flatten()
    }
}

impl Store {
    /// Everything the ledger says. A line that was cut short by a kill was never said.
    pub fn ledger(&self) -> Result<Ledger> {
        match std::fs::read(self.root.join("ledger.jsonl")) {
            Ok(bytes) => Ok(read(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ledger::default()),
            Err(error) => Err(self.trouble(error)),
        }
    }

    /// Adds meetings that are not in it yet, durably.
    pub fn enter(&self, meetings: &[Meeting]) -> Result<()> {
        self.check_writable()?;
        let add = || -> io::Result<()> {
            let mut file = File::options().read(true).append(true).create(true).open(self.root.join("ledger.jsonl"))?;
            lock_file(&file)?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if whole < bytes.len() {
                file.set_len(whole as u64)?;
                bytes.truncate(whole);
            }
            let mut ledger = read(&bytes);
            let mut lines = Vec::new();
            for meeting in meetings.iter().filter(|meeting| ledger.add(meeting)) {
                serde_json::to_writer(&mut lines, meeting)?;
                lines.push(b'\n');
            }
            file.write_all(&lines)?;
            file.sync_data()
        };
        add().map_err(|error| self.trouble(error))
    }
}

fn read(bytes: &[u8]) -> Ledger {
    let mut ledger = Ledger::default();
    for meeting in bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Meeting>(line).ok()) {
        ledger.add(&meeting);
    }
    ledger
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;

    #[test]
    fn a_model_counts_once_and_a_torn_line_never() {
        let (_folder, store) = new_store();
        assert!(store.ledger().unwrap().met(&Digest::of(b"data")).is_none());
        let meeting = |model: &str, key: &str, when: &str| Meeting {
            data: Digest::of(b"data"),
            model: Digest::of(model.as_bytes()),
            key: Digest::of(key.as_bytes()),
            when: when.to_owned(),
        };
        store.enter(&[meeting("one", "k1", "2026-02-01"), meeting("one", "k2", "2026-01-01")]).unwrap();
        let path = store.root().join("ledger.jsonl");
        File::options().append(true).open(&path).unwrap().write_all(b"{\"data\":\"ab").unwrap();
        store.enter(&[meeting("two", "k3", "2026-03-01"), meeting("one", "k1", "2026-04-01")]).unwrap();
        let ledger = store.ledger().unwrap();
        let met = ledger.met(&Digest::of(b"data")).unwrap();
        assert_eq!((met.models.len(), met.first.as_str()), (2, "2026-01-01"));
        assert_eq!(ledger.seen_by(&Digest::of(b"k3")).count(), 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    }
}
