//! The SQLite index: what was hashed, and each task's last key. Only a memory: without it everything is found again, slower.
//!
//! No error of the database reaches a caller: a broken file is moved aside and begun anew, and where no file can be used
//! the index lives in memory.

mod journals;
mod packs;
mod people;

pub(super) use people::{Name, Row};

use super::memo::Memo;
use super::pack::Tag;
use super::stamp::Stamp;
use super::{files, lock};
use crate::content::Digest;
use rusqlite::{Connection, ErrorCode, Transaction, params};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Raised when the tables change; an index of another version is emptied.
const VERSION: i64 = 3;
/// How long a command waits for another that writes.
const PATIENCE: Duration = Duration::from_secs(5);
/// A longer write-ahead log, in bytes, is written into the database and emptied. SQLite itself empties it where the last process closes the
/// database: a run does not, since that syncs, also where next to nothing was written; the next one then reads the whole log again.
const LONG: u64 = 1 << 20;
const TABLES: &str = "
    DROP TABLE IF EXISTS memo; DROP TABLE IF EXISTS last; DROP TABLE IF EXISTS seen; DROP TABLE IF EXISTS store;
    DROP TABLE IF EXISTS packs; DROP TABLE IF EXISTS entries; DROP TABLE IF EXISTS settled;
    DROP TABLE IF EXISTS foreseen;
    CREATE TABLE memo (device INTEGER, inode INTEGER, size INTEGER, modified INTEGER, changed INTEGER, digest BLOB,
        PRIMARY KEY (device, inode)) WITHOUT ROWID;
    CREATE TABLE last (pipeline TEXT, task TEXT, kind TEXT, key BLOB, run TEXT, PRIMARY KEY (pipeline, task)) WITHOUT ROWID;
    CREATE TABLE settled (pipeline TEXT PRIMARY KEY, run TEXT, tasks BLOB);
    CREATE TABLE foreseen (pipeline TEXT PRIMARY KEY, packs BLOB, records BLOB);
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
            let count: i64 = connection.query_row("SELECT count(*) FROM memo", [], |row| row.get(0))?;
            let mut memo = Memo::with_capacity(usize::try_from(count).unwrap_or_default());
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
            for row in rows {
                let (file, known) = row?;
                memo.insert(file, known);
            }
            Ok(memo)
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

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.change(|change| {
            change.execute_batch(
                "DELETE FROM memo; DELETE FROM last; DELETE FROM settled; DELETE FROM foreseen; DELETE FROM seen; DELETE FROM packs; DELETE FROM entries;",
            )
        });
        self.with(|connection| connection.execute_batch("VACUUM"));
    }

    fn change<T>(&self, work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>) -> Option<T> {
        self.with(|connection| {
            let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let done = work(&change)?;
            change.commit()?;
            self.empty_long_log(connection);
            Ok(done)
        })
    }

    /// Without a wait: where another process reads or writes, that is for a later change.
    fn empty_long_log(&self, connection: &Connection) {
        if fs::metadata(self.log()).is_ok_and(|log| log.len() > LONG) {
            let empty = || {
                connection.busy_timeout(Duration::ZERO)?;
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            };
            // What is in the log is as true as what is in the database.
            let _ = empty().and(connection.busy_timeout(PATIENCE));
        }
    }

    /// The write-ahead log of the database.
    fn log(&self) -> PathBuf {
        self.file.with_extension("sqlite3-wal")
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
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
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
        change.execute_batch(
            "DELETE FROM last; DELETE FROM settled; DELETE FROM foreseen; DELETE FROM seen; DELETE FROM packs; DELETE FROM entries; DELETE FROM store;",
        )?;
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
