//! What journals say: each task's last key. And the records at the last keys of a pipeline, as one piece.
//!
//! A run that finds everything done says what the run before it said. So it is remembered what the last journal said as a whole: another
//! that says the same is taken with one comparison, and the records that it will ask for are read with one read.

use super::{Index, Last};
use crate::content::Digest;
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::collections::{BTreeMap, HashMap};

impl Index {
    /// The last keys of a pipeline's tasks.
    pub(in crate::store) fn last(&self, pipeline: &str) -> Vec<Last> {
        self.with(|connection| {
            let mut statement = connection.prepare("SELECT task, kind, key FROM last WHERE pipeline = ?")?;
            let rows = statement.query_map([pipeline], last_of)?;
            rows.collect()
        })
        .unwrap_or_default()
    }

    /// Last keys of any task of a kind in any pipeline, newest run first.
    pub(in crate::store) fn last_of_kind(&self, kind: &str) -> Vec<Last> {
        self.with(|connection| {
            let mut statement = connection.prepare("SELECT task, kind, key FROM last WHERE kind = ? ORDER BY run DESC, task LIMIT 64")?;
            let rows = statement.query_map([kind], last_of)?;
            rows.collect()
        })
        .unwrap_or_default()
    }

    /// The journals of a pipeline that are in the index, with the size they had.
    pub(in crate::store) fn seen(&self, pipeline: &str) -> BTreeMap<String, u64> {
        self.with(|connection| {
            let mut statement = connection.prepare("SELECT run, size FROM seen WHERE pipeline = ?")?;
            let rows = statement.query_map([pipeline], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))?;
            rows.collect()
        })
        .unwrap_or_default()
    }

    /// Takes what a journal says, up to `size` bytes of it.
    pub(in crate::store) fn take_journal(&self, pipeline: &str, run: &str, size: u64, tasks: &[Last]) {
        let digest = digest(tasks);
        self.change(|change| {
            change.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", params![pipeline, run, size.cast_signed()])?;
            if tasks.is_empty() {
                return Ok(());
            }
            let settled = change.query_row("SELECT run, tasks FROM settled WHERE pipeline = ?", [pipeline], |row| {
                Ok((row.get::<_, String>(0)?, Digest(row.get(1)?)))
            });
            let settled = settled.optional()?;
            let is_newest = settled.as_ref().is_none_or(|(last, _)| run >= last.as_str());
            if is_newest && settled.is_some_and(|(_, known)| known == digest) {
                change.execute("UPDATE settled SET run = ? WHERE pipeline = ?", [run, pipeline])?;
                return Ok(());
            }
            insert(change, pipeline, run, tasks)?;
            change.execute("DELETE FROM foreseen WHERE pipeline = ?", [pipeline])?;
            change.execute("DELETE FROM settled WHERE pipeline = ?", [pipeline])?;
            if is_newest {
                change.execute("INSERT INTO settled VALUES (?, ?, ?)", params![pipeline, run, digest.0])?;
            }
            Ok(())
        });
    }

    /// What [`Index::keep_foreseen`] was given last, if no journal has brought other keys since, and packs are as they were.
    pub(in crate::store) fn foreseen<T>(&self, pipeline: &str, packs: &Digest, read: &dyn Fn(&[u8]) -> Option<T>) -> Option<T> {
        self.with(|connection| {
            let mut statement = connection.prepare("SELECT records FROM foreseen WHERE pipeline = ? AND packs = ?")?;
            statement.query_row(params![pipeline, packs.0], |row| Ok(read(row.get_ref(0)?.as_blob()?))).optional()
        })
        .flatten()
        .flatten()
    }

    /// Takes the records at the last keys of a pipeline's tasks, found in packs that are as this digest says.
    pub(in crate::store) fn keep_foreseen(&self, pipeline: &str, packs: &Digest, records: &[u8]) {
        self.change(|change| change.execute("INSERT OR REPLACE INTO foreseen VALUES (?, ?, ?)", params![pipeline, packs.0, records]));
    }
}

fn insert(change: &Transaction<'_>, pipeline: &str, run: &str, tasks: &[Last]) -> rusqlite::Result<()> {
    let mut insert = change.prepare(
        "INSERT INTO last VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
         SET kind = excluded.kind, key = excluded.key, run = excluded.run WHERE excluded.run >= run",
    )?;
    // A key that is the last one already is left alone: thousands of tasks that were cached cost one scan.
    let mut known: HashMap<String, Digest> = HashMap::new();
    if tasks.len() > 64 {
        let mut select = change.prepare("SELECT task, key FROM last WHERE pipeline = ?")?;
        for row in select.query_map([pipeline], |row| Ok((row.get(0)?, Digest(row.get(1)?))))? {
            let (task, key) = row?;
            known.insert(task, key);
        }
    }
    for last in tasks.iter().filter(|last| known.get(&last.task) != Some(&last.key)) {
        insert.execute(params![pipeline, last.task, last.kind, last.key.0, run])?;
    }
    Ok(())
}

/// Names what a journal says, in its order.
fn digest(tasks: &[Last]) -> Digest {
    let mut bytes = Vec::with_capacity(tasks.len() * 80);
    for Last { task, kind, key } in tasks {
        for part in [task.as_bytes(), b"\n", kind.as_bytes(), b"\n", &key.0] {
            bytes.extend_from_slice(part);
        }
    }
    Digest::of(&bytes)
}

fn last_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Last> {
    Ok(Last { task: row.get(0)?, kind: row.get(1)?, key: Digest(row.get(2)?) })
}
