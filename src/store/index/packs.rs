//! Where the entries of packs lie.

use super::{Entry, Index};
use crate::content::Digest;
use crate::store::pack::Tag;
use rayon::prelude::*;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;

impl Index {
    /// The records at the last keys of a pipeline's tasks.
    pub(in crate::store) fn last_records(&self, pipeline: &str) -> Vec<Entry> {
        self.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT entries.key, pack, at, length FROM last JOIN entries ON entries.key = last.key AND tag = ? WHERE pipeline = ?",
            )?;
            let rows = statement.query_map(params![Tag::Record.byte(), pipeline], |row| entry_of(Tag::Record, row))?;
            rows.collect()
        })
        .unwrap_or_default()
    }

    /// The packs whose entries are here: name → number, and the length up to which they are.
    pub(in crate::store) fn packs(&self) -> BTreeMap<String, (i64, u64)> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached("SELECT name, number, length FROM packs")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get::<_, i64>(2)?.cast_unsigned()))))?;
            rows.collect()
        })
        .unwrap_or_default()
    }

    /// Adds entries of a pack that is known up to `length` now; the answer is its number.
    pub(in crate::store) fn take_pack(&self, name: &str, entries: &[Entry], length: u64) -> i64 {
        self.extend_pack(name, 0, entries, length)
    }

    /// The same for what follows offset `from`. An index that does not reach so far, because it was begun anew meanwhile, stays as it is:
    /// who opens the store next reads the whole pack.
    pub(in crate::store) fn extend_pack(&self, name: &str, from: u64, entries: &[Entry], length: u64) -> i64 {
        self.change(|change| {
            let known = change.query_row("SELECT length FROM packs WHERE name = ?", [name], |row| row.get::<_, i64>(0)).optional()?;
            if known.unwrap_or_default().cast_unsigned() < from {
                return Ok(number_of(name));
            }
            change.execute(
                "INSERT INTO packs VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET length = excluded.length",
                params![number_of(name), name, length.cast_signed()],
            )?;
            let number: i64 = change.query_row("SELECT number FROM packs WHERE name = ?", [name], |row| row.get(0))?;
            let mut insert = change.prepare_cached("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)")?;
            for entry in entries {
                insert.execute(params![entry.key.0, entry.tag.byte(), number, entry.at.cast_signed(), entry.length])?;
            }
            Ok(number)
        })
        .unwrap_or_default()
    }

    /// Takes a pack's entries out.
    pub(in crate::store) fn forget_pack(&self, number: i64) {
        self.change(|change| {
            change.execute("DELETE FROM entries WHERE pack = ?", [number])?;
            change.execute("DELETE FROM packs WHERE number = ?", [number])
        });
    }

    /// Everything that was known of a pack's entries, in order.
    pub(in crate::store) fn entries_of(&self, name: &str) -> Vec<Entry> {
        self.with(|connection| {
            let mut statement = connection
                .prepare("SELECT key, tag, pack, at, entries.length FROM entries JOIN packs ON pack = number WHERE name = ? ORDER BY at")?;
            let mut rows = statement.query([name])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                if let Some(tag) = Tag::of(row.get(1)?) {
                    let at = row.get::<_, i64>(3)?.cast_unsigned();
                    found.push(Entry { tag, key: Digest(row.get(0)?), pack: row.get(2)?, at, length: row.get(4)? });
                }
            }
            Ok(found)
        })
        .unwrap_or_default()
    }

    /// The entries with these keys, each with the place of its key: read one by one, or all at once where many are asked for.
    pub(in crate::store) fn entries(&self, tag: Tag, keys: &[Digest]) -> Vec<(usize, Entry)> {
        self.with(|connection| {
            let many = keys.len() > 256 && {
                // Entries are half a kilobyte or so; a step of a scan costs a tenth of a search.
                let bytes: i64 = connection.query_row("SELECT coalesce(sum(length), 0) FROM packs", [], |row| row.get(0))?;
                bytes / 500 / 10 < i64::try_from(keys.len()).unwrap_or(i64::MAX)
            };
            if many { entries_of_all(connection, tag, keys) } else { entries_one_by_one(connection, tag, keys) }
        })
        .unwrap_or_default()
    }
}

fn entries_one_by_one(connection: &Connection, tag: Tag, keys: &[Digest]) -> rusqlite::Result<Vec<(usize, Entry)>> {
    let mut found = Vec::new();
    let mut statement = connection.prepare_cached("SELECT key, pack, at, length FROM entries WHERE key = ? AND tag = ?")?;
    for (at, key) in keys.iter().enumerate() {
        for entry in statement.query_map(params![key.0, tag.byte()], |row| entry_of(tag, row))? {
            found.push((at, entry?));
        }
    }
    Ok(found)
}

/// Goes through all entries, which are sorted by key, and through the keys side by side.
fn entries_of_all(connection: &Connection, tag: Tag, keys: &[Digest]) -> rusqlite::Result<Vec<(usize, Entry)>> {
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.par_sort_unstable_by_key(|at| keys[*at]);
    let (mut left, mut found) = (order.as_slice(), Vec::with_capacity(keys.len()));
    let mut statement = connection.prepare_cached("SELECT key, pack, at, length FROM entries WHERE tag = ? ORDER BY key")?;
    let mut rows = statement.query([tag.byte()])?;
    while let Some(row) = rows.next()? {
        let key = Digest(row.get(0)?);
        let behind = left.iter().take_while(|at| keys[**at] < key).count();
        left = &left[behind..];
        if left.first().is_some_and(|at| keys[*at] == key) {
            let entry = entry_of(tag, row)?;
            found.extend(left.iter().take_while(|at| keys[**at] == key).map(|at| (*at, entry)));
        }
    }
    Ok(found)
}

fn entry_of(tag: Tag, row: &rusqlite::Row<'_>) -> rusqlite::Result<Entry> {
    let at = row.get::<_, i64>(2)?.cast_unsigned();
    Ok(Entry { tag, key: Digest(row.get(0)?), pack: row.get(1)?, at, length: row.get(3)? })
}

/// Follows from the name, so that no number is ever given to another pack while a process remembers what it meant.
fn number_of(pack: &str) -> i64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&Digest::of(pack.as_bytes()).0[..6]);
    i64::from_le_bytes(bytes)
}
