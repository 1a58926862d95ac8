//! Whose data lie in which blobs, as far as tables of results say.
//!
//! The index lies outside the store, where nothing of people may be: subjects and items are keyed hashes, and the key lies in the store. Filled
//! when somebody asks or the index is made anew, never by a run.

use super::Index;
use crate::content::Digest;
use rusqlite::{OptionalExtension as _, params};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS looked (number INTEGER PRIMARY KEY, manifest BLOB UNIQUE, people INTEGER);
    CREATE TABLE IF NOT EXISTS people (manifest INTEGER, subject INTEGER, item INTEGER, blob BLOB);
    CREATE INDEX IF NOT EXISTS people_subject ON people (subject);
    CREATE INDEX IF NOT EXISTS people_item ON people (item);
    CREATE INDEX IF NOT EXISTS people_manifest ON people (manifest);";
const FORGET: &str = "DROP TABLE IF EXISTS looked; DROP TABLE IF EXISTS people;";

/// A keyed hash of a subject or an item.
pub(in crate::store) type Name = i64;

/// A row of a table of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct Row {
    pub(in crate::store) subject: Option<Name>,
    pub(in crate::store) item: Option<Name>,
    /// The row's own file.
    pub(in crate::store) blob: Option<Digest>,
}

impl Index {
    /// The manifests whose tables are here, and whether they name people or items. `key` tells the store's key from another's, under which
    /// nothing would be found.
    pub(in crate::store) fn looked_at(&self, key: &Digest) -> HashMap<Digest, bool> {
        self.change(|change| {
            change.execute_batch(TABLES)?;
            let known: Option<Digest> =
                change.query_row("SELECT manifest FROM looked WHERE number = 0", [], |row| row.get(0)).optional()?.map(Digest);
            if known != Some(*key) {
                change.execute_batch(FORGET)?;
                change.execute_batch(TABLES)?;
                change.execute("INSERT INTO looked VALUES (0, ?, 0)", [key.0])?;
            }
            let mut statement = change.prepare("SELECT manifest, people FROM looked WHERE number > 0")?;
            let rows = statement.query_map([], |row| Ok((Digest(row.get(0)?), row.get(1)?)))?;
            rows.collect()
        })
        .unwrap_or_default()
    }

    /// Takes what the tables of a manifest say.
    pub(in crate::store) fn take_people(&self, manifest: &Digest, rows: &BTreeSet<Row>) {
        self.change(|change| {
            change.execute("INSERT OR IGNORE INTO looked (manifest, people) VALUES (?, ?)", params![manifest.0, !rows.is_empty()])?;
            let number: i64 = change.query_row("SELECT number FROM looked WHERE manifest = ?", [manifest.0], |row| row.get(0))?;
            change.execute("DELETE FROM people WHERE manifest = ?", [number])?;
            let mut insert = change.prepare_cached("INSERT INTO people VALUES (?, ?, ?, ?)")?;
            for row in rows {
                insert.execute(params![number, row.subject, row.item, row.blob.map(|blob| blob.0)])?;
            }
            Ok(())
        });
    }

    /// The manifests whose tables name a subject, or an item that some table says is the subject's, with the files of those rows.
    pub(in crate::store) fn of_subject(&self, subject: Name) -> BTreeMap<Digest, BTreeSet<Digest>> {
        let mut found: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
        let rows: Vec<(Digest, Option<Digest>)> = self
            .with(|connection| {
                let mut statement = connection.prepare(
                    "SELECT looked.manifest, blob FROM people JOIN looked ON number = people.manifest WHERE subject = ?1
                     OR item IN (SELECT item FROM people WHERE subject = ?1 AND item IS NOT NULL)",
                )?;
                let rows = statement.query_map([subject], |row| Ok((Digest(row.get(0)?), row.get::<_, Option<_>>(1)?.map(Digest))))?;
                rows.collect()
            })
            .unwrap_or_default();
        for (manifest, blob) in rows {
            found.entry(manifest).or_default().extend(blob);
        }
        found
    }

    /// The files of a manifest that belong to some row.
    pub(in crate::store) fn of_rows(&self, manifest: &Digest) -> BTreeSet<Digest> {
        self.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT DISTINCT blob FROM people JOIN looked ON number = people.manifest WHERE looked.manifest = ? AND blob IS NOT NULL",
            )?;
            let rows = statement.query_map([manifest.0], |row| row.get(0).map(Digest))?;
            rows.collect()
        })
        .unwrap_or_default()
    }

    /// Forgets what is known of people.
    pub(in crate::store) fn forget_people(&self) {
        self.change(|change| change.execute_batch(FORGET));
    }
}
