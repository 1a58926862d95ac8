//! What in a store holds a person's data, so that a person can be forgotten. Removes nothing itself.
//!
//! Tables of results say which rows, and which files of rows, are a subject's; an item stays a subject's where a later table has another
//! name for the person. A result without such a table (a model, a figure) has what it was made from in it: it follows from results that
//! have. The tables are read once each and then known to the index, under a key that lies here in `secret`.

use super::gc::Contents;
use super::index::{Name, Row};
use super::pack::{Tag, inspect};
use super::{Record, Store};
use crate::content::{Digest, Level, Tree};
use crate::table::Table;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _, Write as _};

/// A result in which a subject's data are.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Trace {
    /// As people write the task, and its port.
    pub task: String,
    pub port: String,
    pub key: Digest,
    pub manifest: Digest,
    /// Whether no table of it tells who is in it, but it was made from what has the subject's data.
    pub follows: bool,
    /// Its manifest, the files of the subject's rows, and those that are of all rows.
    pub blobs: BTreeSet<Digest>,
    pub bytes: u64,
}

/// All that is a subject's.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traces {
    pub results: Vec<Trace>,
    /// Lists of the files of sources that those were made from: names of files may be a person's.
    pub sources: BTreeSet<Digest>,
    /// What items gave, by key, with files among those blobs.
    pub items: u64,
}

impl Store {
    /// Reads the tables of results that were not read before; says how many there were.
    pub fn look_for_people(&self) -> Result<usize> {
        let read = || -> io::Result<usize> {
            let secret = self.secret()?;
            let known = self.index.looked_at(&check(&secret));
            let records = self.all_records()?;
            let manifests: BTreeSet<Digest> =
                records.iter().flat_map(|record| record.outputs.values()).map(|output| output.manifest).collect();
            let new: Vec<Digest> = manifests.into_iter().filter(|manifest| !known.contains_key(manifest)).collect();
            for manifest in &new {
                self.index.take_people(manifest, &self.people_in(manifest, &secret));
            }
            Ok(new.len())
        };
        read().map_err(|error| self.trouble(error))
    }

    /// Where a subject's data are. `contents` tells what results were made from.
    pub fn traces(&self, subject: &str, contents: &dyn Contents) -> Result<Traces> {
        self.look_for_people()?;
        let secret = self.secret().map_err(|error| self.trouble(error))?;
        let named = self.index.looked_at(&check(&secret));
        let own = self.index.of_subject(name(&secret, "subject", subject));
        let records = self.all_records().map_err(|error| self.trouble(error))?;
        let mut inputs: Vec<Vec<Digest>> = Vec::with_capacity(records.len());
        for record in &records {
            let said = self.read_blob(&record.key_manifest)?.map(|bytes| contents.said(&bytes));
            inputs.push(said.map(|said| said.inputs).unwrap_or_default());
        }
        let made: BTreeSet<Digest> = records.iter().flat_map(|record| record.outputs.values()).map(|output| output.manifest).collect();
        let mut holds: BTreeSet<Digest> = own.keys().copied().collect();
        // What follows from what follows, until nothing more does.
        loop {
            let before = holds.len();
            for (record, inputs) in records.iter().zip(&inputs) {
                if inputs.iter().any(|input| holds.contains(input)) {
                    let outputs = record.outputs.values().map(|output| output.manifest);
                    holds.extend(outputs.filter(|manifest| !named.get(manifest).copied().unwrap_or_default()));
                }
            }
            if holds.len() == before {
                break;
            }
        }
        let mut traces = Traces::default();
        for (record, inputs) in records.iter().zip(&inputs) {
            for (port, output) in record.outputs.iter().filter(|(_, output)| holds.contains(&output.manifest)) {
                let (blobs, bytes) = self.blobs_of(&output.manifest, own.get(&output.manifest))?;
                traces.sources.extend(inputs.iter().filter(|input| !made.contains(input)));
                traces.results.push(Trace {
                    task: record.task.clone(),
                    port: port.clone(),
                    key: record.key,
                    manifest: output.manifest,
                    follows: !own.contains_key(&output.manifest),
                    blobs,
                    bytes,
                });
            }
        }
        let blobs: BTreeSet<&Digest> = traces.results.iter().flat_map(|trace| &trace.blobs).collect();
        let mut items = BTreeSet::new();
        self.each_entry(&mut |tag, key, payload| {
            if tag == Tag::Item && contents.files(payload).is_some_and(|files| files.iter().any(|file| blobs.contains(file))) {
                items.insert(key);
            }
        })
        .map_err(|error| self.trouble(error))?;
        traces.items = items.len() as u64;
        Ok(traces)
    }

    /// Of a manifest the blobs of some rows, or of all, with those of no row, and its own.
    fn blobs_of(&self, manifest: &Digest, own: Option<&BTreeSet<Digest>>) -> Result<(BTreeSet<Digest>, u64)> {
        let (mut blobs, mut bytes) = (BTreeSet::from([*manifest]), 0);
        let Some(text) = self.read_blob(manifest)? else { return Ok((blobs, bytes)) };
        let rows = own.map(|_| self.index.of_rows(manifest)).unwrap_or_default();
        bytes += text.len() as u64;
        for file in Tree::from_manifest(&text, Level::Identified).unwrap_or_default().files.into_values() {
            let is_others = rows.contains(&file.digest) && own.is_some_and(|own| !own.contains(&file.digest));
            if !is_others && blobs.insert(file.digest) {
                bytes += file.size;
            }
        }
        Ok((blobs, bytes))
    }

    /// Whose the rows of a manifest's tables are; none where it has none, or is gone.
    fn people_in(&self, manifest: &Digest, secret: &[u8; 32]) -> BTreeSet<Row> {
        let text = self.read_blob(manifest).ok().flatten();
        let tree = text.and_then(|text| Tree::from_manifest(&text, Level::Identified)).unwrap_or_default();
        let mut rows = BTreeSet::new();
        for (_, file) in tree.files.iter().filter(|(path, _)| path.ends_with(".tsv")) {
            let table = self.read_blob(&file.digest).ok().flatten().and_then(|bytes| Table::from_tsv(&bytes).ok());
            let Some(table) = table else { continue };
            let [subject, item, path] = ["subject", "item", "file"].map(|column| table.position(column));
            if subject.is_none() && item.is_none() {
                continue;
            }
            for row in &table.rows {
                let of = |at: Option<usize>| at.map(|at| row[at].as_str()).filter(|value| !value.is_empty());
                let blob = of(path).and_then(|path| tree.files.get(path)).map(|file| file.digest);
                let [subject, item] =
                    [("subject", subject), ("item", item)].map(|(what, at)| of(at).map(|value| name(secret, what, value)));
                rows.insert(Row { subject, item, blob });
            }
        }
        rows
    }

    fn all_records(&self) -> io::Result<Vec<Record>> {
        let mut records: BTreeMap<Vec<u8>, Record> = BTreeMap::new();
        self.each_entry(&mut |tag, _, payload| {
            if tag == Tag::Record
                && let Ok(record) = serde_json::from_slice::<Record>(payload)
            {
                records.insert(payload.to_vec(), record);
            }
        })?;
        let mut records: Vec<Record> = records.into_values().collect();
        records.sort_by(|one, other| one.started.cmp(&other.started));
        Ok(records)
    }

    fn each_entry(&self, take: &mut dyn FnMut(Tag, Digest, &[u8])) -> io::Result<()> {
        for path in self.packs.list()?.into_values() {
            match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                bytes => drop(inspect(&bytes?, 0, &mut |entry, payload| take(entry.tag, entry.key, payload))),
            }
        }
        Ok(())
    }

    /// The key of what the index knows of people, made when it is first needed.
    fn secret(&self) -> io::Result<[u8; 32]> {
        let place = self.root.join("secret");
        let mut secret = [0; 32];
        match fs::File::open(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened?.read_exact(&mut secret).map(|()| secret),
        }
        fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
        let mut file = tempfile::NamedTempFile::new_in(self.root.join("tmp"))?;
        file.write_all(&secret)?;
        file.as_file().sync_data()?;
        match file.persist_noclobber(&place) {
            Ok(_) => Ok(secret),
            // Another process was first.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                fs::File::open(&place)?.read_exact(&mut secret).map(|()| secret)
            }
            Err(error) => Err(error.error),
        }
    }
}

/// What stands for a subject or an item outside the store.
fn name(secret: &[u8; 32], what: &str, value: &str) -> Name {
    let mut hasher = blake3::Hasher::new_keyed(secret);
    hasher.update(what.as_bytes()).update(b"\0").update(value.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    Name::from_le_bytes(bytes)
}

/// Tells one key from another.
fn check(secret: &[u8; 32]) -> Digest {
    Digest(*blake3::keyed_hash(secret, b"check").as_bytes())
}
