//! The store in SQLite: one file with a write-ahead log.
//!
//! Rows are in the order of arrival, never by session: measured in bytes that reach the disk for each byte of a message,
//! loading queues costs 3 in that order and 65 in the other. Bodies stand once. Which entries a session has, and how
//! many name a body, is kept in memory, so that ending a session or a message searches nothing.
//!
//! ```text
//!   session        id, client_id, user_name, is_trusted, expiry_s, left_at, will_topic, will_payload, will_qos, will_retain
//!   subscription   session, filter, qos, up_to (NULL: no feed), cursor (NULL: from the start)
//!   message        id, topic, payload, qos, is_retain, expires_at
//!   queue          entry, session, message, qos, is_retain, sent (NULL: never)
//!   received       session, ordinal
//!   incoming       session, packet_id
//!   retained       topic, version, message (NULL: cleared, and an older set may still come)
//!   alive          at
//! ```

mod files;
mod load;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::engine::store::{Record, Stored};
use crate::engine::time::WallTime;

use super::{Durability, Store, StoreError};

use self::files::Lock;

/// "CULX": the file says whose it is, see `PRAGMA application_id`.
const APPLICATION_ID: u32 = 0x4355_4C58;
/// The format of the tables, `PRAGMA user_version`.
const FORMAT: u32 = 1;
/// How often the disk gets what the operating system has, with [`Durability::Kill`].
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

const SCHEMA: &str = "
CREATE TABLE session(id INTEGER PRIMARY KEY, client_id TEXT NOT NULL, user_name TEXT,
  is_trusted INTEGER NOT NULL, expiry_s INTEGER NOT NULL, left_at INTEGER, will_topic TEXT, will_payload BLOB, will_qos INTEGER, will_retain INTEGER);
CREATE TABLE subscription(session INTEGER, filter TEXT, qos INTEGER NOT NULL, up_to INTEGER, cursor TEXT,
  PRIMARY KEY(session, filter)) WITHOUT ROWID;
CREATE TABLE message(id INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL, qos INTEGER NOT NULL,
  is_retain INTEGER NOT NULL, expires_at INTEGER);
CREATE TABLE queue(entry INTEGER, session INTEGER, message INTEGER NOT NULL, qos INTEGER NOT NULL,
  is_retain INTEGER NOT NULL, sent INTEGER, PRIMARY KEY(entry, session)) WITHOUT ROWID;
CREATE TABLE received(session INTEGER, ordinal INTEGER, PRIMARY KEY(session, ordinal)) WITHOUT ROWID;
CREATE TABLE incoming(session INTEGER, packet_id INTEGER, PRIMARY KEY(session, packet_id)) WITHOUT ROWID;
CREATE TABLE retained(topic TEXT PRIMARY KEY, version INTEGER NOT NULL, message INTEGER) WITHOUT ROWID;
CREATE TABLE alive(id INTEGER PRIMARY KEY CHECK(id = 0), at INTEGER NOT NULL);
";

/// A store in a directory of its own.
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    durability: Durability,
    synced_at: Instant,
    /// Something was committed that the disk need not have.
    is_unsynced: bool,
    alive_at: Option<WallTime>,
    index: Index,
    /// Gives the directory free when everything else is closed.
    _lock: Lock,
}

/// What is known without asking the file.
#[derive(Default)]
struct Index {
    /// Of each session the entries of its queue, with the message of each; only these sessions exist.
    sessions: HashMap<i64, HashMap<i64, i64>>,
    /// Sessions that do not last for ever, for which it counts how long the broker was away.
    mortal: HashSet<i64>,
    /// Entries and Retained Messages that name a message.
    messages: HashMap<i64, u32>,
    /// Retained Messages that were cleared and are still known, oldest first.
    cleared: VecDeque<(i64, Box<str>)>,
}

impl SqliteStore {
    /// Opens the store in `directory`, which is made with its parents if it is not there. The directory is locked as
    /// long as the store is open.
    ///
    /// # Errors
    /// [`StoreError`]. What belongs to another program, or to a newer version, is not touched.
    pub fn open(directory: &Path, durability: Durability) -> Result<Self, StoreError> {
        files::make_directory(directory)?;
        let lock = Lock::take(directory)?;
        let path = directory.join("culex.db");
        if !files::is_there(&path)? {
            create(&path)?;
        }
        let connection = Connection::open(&path).map_err(engine)?;
        let store = Self {
            connection,
            path,
            durability,
            synced_at: Instant::now(),
            is_unsynced: false,
            alive_at: None,
            index: Index::default(),
            _lock: lock,
        };
        store.prepare().map_err(engine)?;
        Ok(store)
    }

    fn prepare(&self) -> rusqlite::Result<()> {
        let connection = &self.connection;
        connection.set_prepared_statement_cache_capacity(64);
        // Before the log is opened: with exclusive locking it needs no shared memory.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
        connection.pragma_update(None, "mmap_size", 0)?;
        connection.pragma_update(None, "fullfsync", true)?;
        self.set_sync(self.durability == Durability::Power)
    }

    /// Whether a commit waits for the disk.
    fn set_sync(&self, is_full: bool) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "synchronous", if is_full { "FULL" } else { "NORMAL" })
    }

    fn write(&mut self, records: &[Record], now: WallTime) -> rusqlite::Result<()> {
        let must_sync = self.durability == Durability::Kill && self.synced_at.elapsed() >= SYNC_INTERVAL;
        let is_old = self.alive_at.is_none_or(|at| now.0.saturating_sub(at.0) >= 1000 || now < at);
        let is_alive_due = is_old && !self.index.mortal.is_empty();
        // A sync covers all commits before it, so in quiet times an empty one is made.
        let is_sync_due = must_sync && self.is_unsynced;
        if records.is_empty() && !is_alive_due && !is_sync_due {
            return Ok(());
        }
        if must_sync {
            self.set_sync(true)?;
        }
        let transaction = self.connection.transaction()?;
        for record in records {
            write::apply(&transaction, &mut self.index, record)?;
        }
        write::forget_cleared(&transaction, &mut self.index)?;
        if is_alive_due || records.is_empty() {
            write::note_alive(&transaction, now)?;
            self.alive_at = Some(now);
        }
        transaction.commit()?;
        if must_sync {
            self.synced_at = Instant::now();
            self.set_sync(false)?;
        }
        self.is_unsynced = self.durability == Durability::Kill && !must_sync;
        Ok(())
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Stored, StoreError> {
        let stored = load::load(&self.connection, &mut self.index);
        let stored = stored.map_err(|error| error.at(&self.path))?;
        self.alive_at = stored.alive_at;
        Ok(stored)
    }

    fn commit(&mut self, records: &[Record], now: WallTime) -> Result<(), StoreError> {
        self.write(records, now)
            .map_err(|error| StoreError::Engine(format!("{}: {error}", self.path.display())))
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Makes a store without anything in it, under another name first: what has the name is whole.
fn create(path: &Path) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    files::make_file(&new)?;
    let connection = Connection::open(&new).map_err(engine)?;
    let numbers = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};");
    let sql = format!(
        "PRAGMA synchronous = FULL; PRAGMA auto_vacuum = INCREMENTAL; BEGIN; {SCHEMA} {numbers} COMMIT;"
    );
    connection.execute_batch(&sql).map_err(engine)?;
    connection.close().map_err(|(_, error)| engine(error))?;
    files::rename(&new, path)
}

fn engine(error: rusqlite::Error) -> StoreError {
    StoreError::Engine(error.to_string())
}
