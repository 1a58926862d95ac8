//! The SQLite index: what was hashed, and each task's last key. Only a memory: without it everything is found again, slower.
//!
//! No error of the database reaches a caller: a broken file is moved aside and begun anew, and where no file can be used
//! the index lives in memory.

mod people;

pub(super) use people::{Name, Row};

use super::memo::{Memo, Stamp};
use super::pack::Tag;
use super::{files, lock};
use crate::content::Digest;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, params};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Raised when the tables change; an index of another version is emptied.
const VERSION: i64 = 2;
const TABLES: &str = "
    DROP TABLE IF EXISTS memo; DROP TABLE IF EXISTS last; DROP TABLE IF EXISTS seen; DROP TABLE IF EXISTS store;
    DROP TABLE IF EXISTS packs; DROP TABLE IF EXISTS entries;
    CREATE TABLE memo (device INTEGER, inode INTEGER, size INTEGER, modified INTEGER, changed INTEGER, digest BLOB,
        PRIMARY KEY (device, inode)) WITHOUT ROWID;
    CREATE TABLE last (pipeline TEXT, task TEXT, kind TEXT, key BLOB, run TEXT, PRIMARY KEY (pipeline, task)) WITHOUT ROWID;
    CREATE TABLE seen (pipeline TEXT, run TEXT, size INTEGER, PRIMARY KEY (pipeline, run)) WITHOUT ROWID;
    CREATE TABLE packs (number INTEGER PRIMARY KEY, name TEXT UNIQUE, length INTEGER);
    CREATE TABLE entries (key BLOB, tag INTEGER, pack INTEGER, at INTEGER, length INTEGER, PRIMARY KEY (key, tag, pack, at)) WITHOUT ROWID;
    CREATE TABLE store (identity TEXT);";

/// A task's last key, as a journal has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Last {
    pub(super) task: String,
    pub(super) kind: String,
    pub(super) key: Digest,
    /// Run in which it was so; later runs have later names.
    pub(super) run: String,
}

/// An entry of a pack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) tag: Tag,
    pub(super) key: Digest,
    /// Number of its pack.
    pub(super) pack: i64,
    /// Where its payload starts, and how long it is.
    pub(super) at: u64,
    pub(super) length: u32,
}

/// The index of one store on this host; opened when first asked.
pub(super) struct Index {
    file: PathBuf,
    identity: String,
    connection: OnceLock<Mutex<Connection>>,
}

impl Index {
    /// The index for the store at `root` in `folder`. `identity` changes when another store stands there.
    pub(super) fn open(folder: &Path, root: &Path, identity: &str) -> Self {
        let place = fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = Digest::of(format!("{host}\0{}", place.display()).as_bytes()).short();
        Self { file: folder.join(format!("{name}.sqlite3")), identity: identity.to_owned(), connection: OnceLock::new() }
    }

    /// Everything that was hashed, by device and inode.
    pub(super) fn read_memo(&self) -> Memo {
        let read = |connection: &mut Connection| {
            let mut statement = connection.prepare("SELECT device, inode, size, modified, changed, digest FROM memo")?;
            let rows = statement.query_map([], |row| {
                let stamp = Stamp {
                    device: row.get::<_, i64>(0)?.cast_unsigned(),
                    inode: row.get::<_, i64>(1)?.cast_unsigned(),
                    size: row.get::<_, i64>(2)?.cast_unsigned(),
                    modified: row.get(3)?,
                    changed: row.get(4)?,
                };
                Ok(((stamp.device, stamp.inode), (stamp, Digest(row.get(5)?))))
            })?;
            rows.collect()
        };
        self.with(read).unwrap_or_default()
    }

    /// Adds to what was hashed.
    pub(super) fn write_memo(&self, entries: &[(Stamp, Digest)]) {
        if entries.is_empty() {
            return;
        }
        self.change(|change| {
            let mut insert = change.prepare("INSERT OR REPLACE INTO memo VALUES (?, ?, ?, ?, ?, ?)")?;
            for (stamp, digest) in entries {
                let [device, inode, size] = [stamp.device, stamp.inode, stamp.size].map(u64::cast_signed);
                insert.execute(params![device, inode, size, stamp.modified, stamp.changed, digest.0])?;
            }
            Ok(())
        });
    }

    /// The last keys of a pipeline's tasks.
    pub(super) fn last(&self, pipeline: &str) -> Vec<Last> {
        self.with(|connection| {
            let mut statement = connection.prepare("SELECT task, kind, key, run FROM last WHERE pipeline = ?")?;
            let rows = statement.query_map([pipeline], last_of)?;
            rows.collect()
        })
        .unwrap_or_default()
    }

    /// The records at the last keys of a pipeline's tasks.
    pub(super) fn last_records(&self, pipeline: &str) -> Vec<Entry> {
        self.with(|connection| {
            let mut statement = connection.prepare(
                "SELECT entries.key, pack, at, length FROM last JOIN entries ON entries.key = last.key AND tag = ? WHERE pipeline = ?",
            )?;
            let rows = statement.query_map(params![Tag::Record.byte(), pipeline], |row| entry_of(Tag::Record, row))?;
            rows.collect()
        })
        .unwrap_or_default()
    }

    /// Last keys of any task of a kind in any pipeline, newest run first.
    pub(super) fn last_of_kind(&self, kind: &str) -> Vec<Last> {
        self.with(|connection| {
            let mut statement =
                connection.prepare("SELECT task, kind, key, run FROM last WHERE kind = ? ORDER BY run DESC, task LIMIT 64")?;
            let rows = statement.query_map([kind], last_of)?;
            rows.collect()
        })
        .unwrap_or_default()
    }

    /// The journals of a pipeline that are in the index, with the size they had.
    pub(super) fn seen(&self, pipeline: &str) -> BTreeMap<String, u64> {
        self.with(|connection| {
            let mut statement = connection.prepare("SELECT run, size FROM seen WHERE pipeline = ?")?;
            let rows = statement.query_map([pipeline], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))?;
            rows.collect()
        })
        .unwrap_or_default()
    }

    /// Takes what a journal says, up to `size` bytes of it.
    pub(super) fn take_journal(&self, pipeline: &str, run: &str, size: u64, tasks: &[Last]) {
        self.change(|change| {
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
                insert.execute(params![pipeline, last.task, last.kind, last.key.0, last.run])?;
            }
            change.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", params![pipeline, run, size.cast_signed()])?;
            Ok(())
        });
    }

    /// The packs whose entries are here: name → number, and the length up to which they are.
    pub(super) fn packs(&self) -> BTreeMap<String, (i64, u64)> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached("SELECT name, number, length FROM packs")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get::<_, i64>(2)?.cast_unsigned()))))?;
            rows.collect()
        })
        .unwrap_or_default()
    }

    /// Adds entries of a pack that is known up to `length` now; the answer is its number.
    pub(super) fn take_pack(&self, name: &str, entries: &[Entry], length: u64) -> i64 {
        self.extend_pack(name, 0, entries, length)
    }

    /// The same for what follows offset `from`. An index that does not reach so far, because it was begun anew meanwhile, stays as it is:
    /// who opens the store next reads the whole pack.
    pub(super) fn extend_pack(&self, name: &str, from: u64, entries: &[Entry], length: u64) -> i64 {
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
    pub(super) fn forget_pack(&self, number: i64) {
        self.change(|change| {
            change.execute("DELETE FROM entries WHERE pack = ?", [number])?;
            change.execute("DELETE FROM packs WHERE number = ?", [number])
        });
    }

    /// Everything that was known of a pack's entries, in order.
    pub(super) fn entries_of(&self, name: &str) -> Vec<Entry> {
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

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.change(|change| {
            change.execute_batch("DELETE FROM memo; DELETE FROM last; DELETE FROM seen; DELETE FROM packs; DELETE FROM entries;")
        });
        self.with(|connection| connection.execute_batch("VACUUM"));
    }

    /// The entries with these keys; read one by one, or all at once where many are asked for.
    pub(super) fn entries(&self, tag: Tag, keys: &[Digest]) -> Vec<Entry> {
        let of = |row: &rusqlite::Row<'_>| entry_of(tag, row);
        self.with(|connection| {
            let many = keys.len() > 256 && {
                // Entries are half a kilobyte or so; a step of a scan costs a tenth of a search.
                let bytes: i64 = connection.query_row("SELECT coalesce(sum(length), 0) FROM packs", [], |row| row.get(0))?;
                bytes / 500 / 10 < i64::try_from(keys.len()).unwrap_or(i64::MAX)
            };
            let mut found = Vec::new();
            if many {
                let wanted: HashSet<Digest> = keys.iter().copied().collect();
                let mut statement = connection.prepare_cached("SELECT key, pack, at, length FROM entries WHERE tag = ?")?;
                for entry in statement.query_map([tag.byte()], of)? {
                    found.extend(Some(entry?).filter(|entry| wanted.contains(&entry.key)));
                }
            } else {
                let mut statement = connection.prepare_cached("SELECT key, pack, at, length FROM entries WHERE key = ? AND tag = ?")?;
                for key in keys {
                    for entry in statement.query_map(params![key.0, tag.byte()], of)? {
                        found.push(entry?);
                    }
                }
            }
            Ok(found)
        })
        .unwrap_or_default()
    }

    fn change<T>(&self, work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>) -> Option<T> {
        self.with(|connection| {
            let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let done = work(&change)?;
            change.commit()?;
            Ok(done)
        })
    }

    /// Does something with the database; where it is broken, once more with a new one. Nothing where it cannot be done.
    fn with<T>(&self, work: impl Fn(&mut Connection) -> rusqlite::Result<T>) -> Option<T> {
        let mut connection = lock(self.connection.get_or_init(|| Mutex::new(self.connect())));
        match work(&mut connection) {
            Ok(done) => Some(done),
            Err(error) if is_broken(&error) => {
                *connection = memory();
                self.set_aside();
                *connection = self.connect();
                work(&mut connection).ok()
            }
            Err(_) => None,
        }
    }

    fn connect(&self) -> Connection {
        match self.connect_file() {
            Ok(connection) => connection,
            Err(error) if is_broken(&error) => {
                self.set_aside();
                self.connect_file().unwrap_or_else(|_| memory())
            }
            Err(_) => memory(),
        }
    }

    fn connect_file(&self) -> rusqlite::Result<Connection> {
        if let Some(folder) = self.file.parent() {
            // Where it cannot be made, opening says so.
            let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        }
        let mut connection = Connection::open(&self.file)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        prepare(&mut connection, &self.identity)?;
        Ok(connection)
    }

    /// Gives a broken database another name, for whoever wants to look.
    fn set_aside(&self) {
        let aside = self.file.with_extension("broken");
        if fs::rename(&self.file, aside).is_err() {
            let _ = fs::remove_file(&self.file);
        }
        for suffix in ["sqlite3-wal", "sqlite3-shm"] {
            let _ = fs::remove_file(self.file.with_extension(suffix));
        }
        let _ = files::sync_folder(self.file.parent().unwrap_or(Path::new(".")));
    }
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

fn last_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Last> {
    Ok(Last { task: row.get(0)?, kind: row.get(1)?, key: Digest(row.get(2)?), run: row.get(3)? })
}

fn memory() -> Connection {
    let mut connection = Connection::open_in_memory().expect("a database in memory can always be opened");
    prepare(&mut connection, "").expect("an empty database takes its tables");
    connection
}

/// Tables of this version, for this very store.
fn prepare(connection: &mut Connection, identity: &str) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let current = version == VERSION && {
        let known: String = connection.query_row("SELECT identity FROM store", [], |row| row.get(0))?;
        known == identity
    };
    if current {
        return Ok(());
    }
    let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if version == VERSION {
        // Another store stands in this place: what was hashed outside is as true as before.
        change.execute_batch("DELETE FROM last; DELETE FROM seen; DELETE FROM packs; DELETE FROM entries; DELETE FROM store;")?;
    } else {
        change.execute_batch(TABLES)?;
        change.pragma_update(None, "user_version", VERSION)?;
    }
    change.execute("INSERT INTO store VALUES (?)", [identity])?;
    change.commit()
}

fn is_broken(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => {
            // A table that is missing or has other columns is broken too.
            matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
        }
        rusqlite::Error::SqlInputError { .. }
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
