//! The store in SQLite: one file with a write-ahead log.
//!
//! Rows are in the order of arrival, never by session: measured in bytes that reach the disk for each byte of a message,
//! loading queues costs 3 in that order and 65 in the other. A message stands once, with the list of its receivers, and
//! each session has a cursor: it is done with everything that arrived up to there. So a message costs one row to add and
//! one to delete, and a session that reads its queue one row per transaction, however long the queue is.
//!
//! ```text
//!   session        id, client_id, user_name, is_trusted (or this and its options), expiry_s
//!   will           session, topic, payload, qos, is_retain
//!   alone          session, since
//!   subscription   session, filter, qos
//!   feed           session, filter, up_to, after (NULL: from the start)
//!
//!   message        bundle, receivers (NULL, a list, or the number of a set), messages
//!   receivers      id, members                   a set that many messages name
//!   cursor         session, seq                  done with everything up to it
//!   done           session, seq                  and with this beyond it
//!   joined         session, entry, message, qos, is_retain     an entry that is in no list
//!   in_flight      session, entry, ordinal
//!   received       session, ordinal
//!   incoming       session, packet_id
//!
//!   retained       topic, version, message (NULL: cleared, and an older set may still come)
//!   alive          0, at
//! ```
//!
//! A message is named by the number of its publication (`id`), its place by the order in which it came (`seq`). Publications
//! of different shards come out of the order of their numbers; one that comes late is beyond every cursor nevertheless.
//! Small messages to the same receivers that follow each other in a transaction share a row, see [`bundle`].
//!
//! Every row ends with a checksum of what is in it and is read through [`row::Cells`] alone. Who needs a message, and which
//! entries a session has, is kept in memory ([`index`]), so that nothing is searched when it ends.

mod arrivals;
mod bundle;
#[cfg(test)]
mod damage_tests;
mod examine;
mod files;
mod flusher;
mod full;
mod header;
mod index;
mod load;
mod log;
#[cfg(test)]
mod log_tests;
mod message;
mod offline;
mod options;
mod packed;
mod receivers;
#[cfg(test)]
mod refusal_tests;
mod repair;
mod row;
mod salvage;
mod schema;
mod space;
mod stamp;
mod tally;
#[cfg(test)]
mod tests;
mod transaction;
mod view;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::engine::keys::{PublicationId, SessionId};
use crate::engine::publication::Publication;
use crate::engine::store::{Record, Stored};
use crate::engine::time::WallTime;

use super::{Durability, Store, StoreError};

use self::examine::{Verdict, examine};
use self::files::{Lock, Past, Paths};
use self::flusher::Flusher;
use self::header::{Header, PAGE_BYTES};
use self::index::Index;
use self::load::{Loaded, Unused, load};
use self::row::{RowError, is_damage};
use self::schema::{APPLICATION_ID, FORMAT, SCHEMA};
use self::space::Reserve;
use self::tally::{TALLY, Tally};
use self::transaction::Transaction;
use self::view::{Depth, structure};
use self::write::Writer;

pub use self::offline::{Inspection, Repair, inspect, repair};
pub use self::row::Damage;

/// How often the disk gets what the operating system has, with [`Durability::Kill`].
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// A transaction of so few records lets others have the core once, so that who serves clients beside it waits for a part
/// of it only; but not one that follows another so soon. Then the broker is at work, and each would wait for all others.
const SMALL_RECORDS: usize = 64;
const SOON: Duration = Duration::from_millis(5);

/// Pages of the write-ahead log from which on it goes into the file, 16 MiB.
const CHECKPOINT_PAGES: u64 = 4000;
/// Pages from which on somebody would notice that the disk gets them, 2 MiB.
const FLUSH_PAGES: u64 = 512;
/// What stays of a log that was longer once, in bytes.
const LOG_BYTES: u32 = 32 << 20;
/// Free pages that stay in the file for what comes next, 16 MiB, if they are no more than are in use.
const FREE_PAGES_MIN: u32 = 4096;
/// Pages that a transaction gives back at most: they are written once more.
const FREED_PAGES_MAX: u32 = 512;
/// Every so many transactions it is looked whether there are too many.
const FREE_PAGES_LOOK: u64 = if cfg!(test) { 1 } else { 16 };

/// A store in a directory of its own.
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    durability: Durability,
    synced_at: Instant,
    committed_at: Instant,
    /// Something was committed that the disk need not have.
    is_unsynced: bool,
    /// With [`Durability::Kill`], from when everything was read.
    flusher: Option<Flusher>,
    /// Pages of the log for which it was asked.
    flushed: u64,
    alive_at: Option<WallTime>,
    reserve: Reserve,
    /// What the log may have grown by since it was looked at, in bytes.
    logged: u64,
    /// The last transaction did not find the space that it needed.
    is_full: bool,
    /// And since then the log was not looked at, of which some may be made space.
    is_log_to_be_emptied: bool,
    index: Index,
    /// A transaction failed: the index is ahead of the file, and is read again before the next one.
    is_index_ahead: bool,
    /// Everything was read and is good: the file may be changed.
    has_begun: bool,
    /// The last look found free pages to give back, so there may be more.
    has_surplus: bool,
    /// Transactions of this store from its beginning on.
    tally: Tally,
    /// Gives the directory free when everything else is closed.
    lock: Lock,
}

impl SqliteStore {
    /// Opens the store in `directory`, which is made with its parents if it is not there. The directory is locked as
    /// long as the store is open.
    ///
    /// # Errors
    /// [`StoreError`]. What belongs to another program, or to a newer version, is not touched.
    pub fn open(directory: &Path, durability: Durability) -> Result<Self, StoreError> {
        files::make_directory(directory)?;
        let paths = Paths::of(directory);
        // Before anything is written, even a lock.
        header::look(&paths.main)?;
        let lock = Lock::take(directory)?;
        match header::look(&paths.main)? {
            Header::Sound => {}
            Header::Damaged => return Err(damaged(&paths, "its first page is not what it was")),
            Header::Missing if lock.past != Past::New || files::open_regular(&paths.log)?.is_some() => {
                return Err(damaged(&paths, "it is missing, and was there"));
            }
            Header::Missing => create(&paths.main)?,
        }
        if files::open_regular(&paths.log)?.is_some() {
            files::is_private(&paths.log)?;
        }
        let examined = examine(&paths)?;
        let verdict = examined.verdict(lock.past);
        match &verdict {
            Verdict::Whole => {}
            Verdict::Cut(what) => {
                let aside = files::keep_once(&paths.log)?;
                tracing::error!(aside = %aside.display(), "{}: {what}", paths.log.display());
            }
            Verdict::Apart(what) => return Err(damaged(&paths, what)),
        }
        let reserve = Reserve::new(directory);
        let reserve = reserve.map_err(|source| StoreError::Io { path: directory.to_owned(), source })?;
        let connection = Connection::open(&paths.main).map_err(|error| engine(&paths.main, &error))?;
        let store = Self {
            connection,
            path: paths.main.clone(),
            durability,
            synced_at: Instant::now(),
            committed_at: Instant::now(),
            is_unsynced: false,
            flusher: None,
            flushed: 0,
            alive_at: None,
            reserve,
            logged: 0,
            is_full: false,
            is_log_to_be_emptied: false,
            index: Index::default(),
            is_index_ahead: false,
            has_begun: false,
            has_surplus: false,
            tally: Tally::default(),
            lock,
        };
        store.prepare().map_err(|error| engine(&paths.main, &error))?;
        Ok(store)
    }

    fn prepare(&self) -> rusqlite::Result<()> {
        let connection = &self.connection;
        connection.set_prepared_statement_cache_capacity(64);
        // Until everything was read, nothing is changed.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // Before the log is opened: with exclusive locking it needs no shared memory.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // By itself it would say nothing of its errors.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
        connection.pragma_update(None, "mmap_size", 0)?;
        connection.pragma_update(None, "fullfsync", true)?;
        self.set_sync(self.durability == Durability::Power)
    }

    /// Whether a commit waits for the disk.
    fn set_sync(&self, is_full: bool) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "synchronous", if is_full { "FULL" } else { "NORMAL" })
    }

    fn write(&mut self, records: &[Record], now: WallTime) -> Result<(), RowError> {
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
        let transaction = Transaction::begin(&self.connection)?;
        self.is_index_ahead = true;
        let mut writer = Writer::new(&self.connection, &mut self.index)?;
        for record in records {
            writer.apply(record)?;
        }
        if is_alive_due || records.is_empty() {
            writer.note_alive(now)?;
        }
        writer.finish()?;
        let tally = Tally(self.tally.0 + 1);
        if self.has_surplus || tally.0.is_multiple_of(FREE_PAGES_LOOK) {
            self.has_surplus = give_back(&self.connection)?;
        }
        tally.write(&self.connection)?;
        if records.len() <= SMALL_RECORDS && self.committed_at.elapsed() >= SOON {
            thread::yield_now();
        }
        transaction.commit()?;
        self.committed_at = Instant::now();
        self.tally = tally;
        self.is_index_ahead = false;
        if is_alive_due || records.is_empty() {
            self.alive_at = Some(now);
        }
        if must_sync {
            self.synced_at = Instant::now();
            self.set_sync(false)?;
        }
        self.is_unsynced = self.durability == Durability::Kill && !must_sync;
        Ok(())
    }
}

impl SqliteStore {
    /// Reads the file into the index. What is damaged is not used, and nothing is changed.
    fn read_all(&mut self) -> Result<(Stored, Unused), StoreError> {
        let read = self.try_read_all().map_err(|error| engine(&self.path, &error))?;
        read.map_err(|what| StoreError::Damaged { path: self.path.clone(), what })
    }

    fn try_read_all(&mut self) -> rusqlite::Result<Result<(Stored, Unused), String>> {
        let Loaded { stored, index, mut damages, unused } = load(&self.connection)?;
        let tally = Tally::read(&self.connection, &mut damages)?;
        if !self.has_begun {
            damages.extend(structure(&self.connection, Depth::Quick)?);
        }
        if let Some(what) = described(&damages) {
            return Ok(Err(what));
        }
        self.index = index;
        self.is_index_ahead = false;
        self.tally = tally;
        Ok(Ok((stored, unused)))
    }

    /// The index is what the file has, also after a transaction that failed.
    fn catch_up(&mut self) -> Result<(), StoreError> {
        if self.is_index_ahead { self.read_all().map(drop) } else { Ok(()) }
    }

    /// Everything was read, and is good, so the file may be changed from now on. The log begins anew: what stands behind
    /// its end could otherwise be taken for something that was lost.
    fn begin(&mut self, unused: &Unused) -> rusqlite::Result<()> {
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        self.has_begun = true;
        // Older ones have the same tables, and less in them.
        self.connection.pragma_update(None, "user_version", FORMAT)?;
        unused.sweep(&mut self.connection)?;
        // Nothing is on its way now that could come late.
        self.connection.execute("DELETE FROM retained WHERE message IS NULL", []).map(drop)
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // After its error nothing is to be changed.
        let _ = self.rest_flusher();
        // What is not to be changed when it is closed stays as it is.
        let stays = self.connection.db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE);
        if stays.unwrap_or(true) {
            return;
        }
        let emptied = self.log_pages("TRUNCATE").map_err(|error| engine(&self.path, &error));
        if let Err(error) = emptied.and_then(|_| self.lock.closed(self.tally)) {
            tracing::warn!("the store could not be closed in order: {error}");
            // As long as that is not noted the next start wants the log, which SQLite would remove.
            let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<Stored, StoreError> {
        let (stored, unused) = self.read_all()?;
        self.begin(&unused).map_err(|error| engine(&self.path, &error))?;
        self.empty_log()?;
        self.index.cleared.clear();
        self.alive_at = stored.alive_at;
        files::sync_directory(&self.path)?;
        if self.durability == Durability::Kill {
            self.start_flusher()?;
        }
        self.lock.opened(self.tally)?;
        Ok(stored)
    }

    fn read(
        &mut self,
        session: SessionId,
        entries: &[PublicationId],
    ) -> Result<Vec<Option<Arc<Publication>>>, StoreError> {
        self.catch_up()?;
        // Neighbours in a queue mostly stand in one row.
        let mut row: Vec<(u64, Arc<Publication>)> = Vec::new();
        let mut bodies = Vec::with_capacity(entries.len());
        for entry in entries {
            let seq = self.index.seq_of(session.0, entry.0);
            if let Some(seq) = seq
                && row.first().is_none_or(|(first, _)| bundle::of(*first) != bundle::of(seq))
            {
                let read = message::row_of(&self.connection, seq).map_err(|error| match error {
                    RowError::Sqlite(error) => engine(&self.path, &error),
                    RowError::Damaged(damage) => self.spoiled(&damage),
                })?;
                row = read.into_iter().map(|(place, message)| (place, Arc::new(message))).collect();
            }
            let found = row.iter().find(|(place, _)| Some(*place) == seq);
            bodies.push(found.map(|(_, message)| Arc::clone(message)));
        }
        Ok(bodies)
    }

    fn commit(&mut self, records: &[Record], now: WallTime) -> Result<(), StoreError> {
        self.look_at_flusher()?;
        if self.is_full {
            self.begin_again(records)?;
        }
        self.catch_up()?;
        match self.write(records, now) {
            // What is deleted next may need the same space.
            Ok(()) if self.is_full && space::only_ends(records) => self.make_space(),
            Ok(()) => {
                self.is_full = false;
                self.checkpoint(records)
            }
            Err(RowError::Sqlite(error)) => Err(self.failed(&error)),
            Err(RowError::Damaged(damage)) => Err(self.spoiled(&damage)),
        }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        // The log is synced before it is moved.
        self.empty_log()?;
        self.is_unsynced = false;
        self.synced_at = Instant::now();
        Ok(())
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
    let made = fill(&new).and_then(|()| files::rename(&new, path));
    if made.is_err() {
        // Nothing else would ever remove it.
        let _ = std::fs::remove_file(&new);
    }
    made
}

fn fill(new: &Path) -> Result<(), StoreError> {
    try_fill(new).map_err(|error| engine(new, &error))
}

fn try_fill(new: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(new)?;
    connection.execute_batch(&format!(
        "PRAGMA page_size = {PAGE_BYTES}; PRAGMA synchronous = FULL; PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT};
         BEGIN; {TALLY} {SCHEMA}"
    ))?;
    Tally::default().write(&connection)?;
    connection.execute_batch("COMMIT")?;
    connection.close().map_err(|(_, error)| error)
}

fn damaged(paths: &Paths, what: &str) -> StoreError {
    StoreError::Damaged { path: paths.main.clone(), what: what.to_owned() }
}

fn engine(path: &Path, error: &rusqlite::Error) -> StoreError {
    if is_damage(error) {
        return StoreError::Damaged { path: path.to_owned(), what: error.to_string() };
    }
    StoreError::Engine(format!("{}: {error}", path.display()))
}

/// The first of what is damaged, and how much more there is.
fn described(damages: &[Damage]) -> Option<String> {
    let (first, others) = damages.split_first()?;
    Some(if others.is_empty() { first.to_string() } else { format!("{first}; and {} more", others.len()) })
}

/// Gives some of the file back if much of it is free, as after a long queue was read. Says whether it did.
fn give_back(to: &Connection) -> rusqlite::Result<bool> {
    let count = |sql| to.prepare_cached(sql)?.query_row([], |row| row.get::<_, u32>(0));
    let free = count("PRAGMA freelist_count")?;
    if free <= FREE_PAGES_MIN {
        return Ok(false);
    }
    let used = count("PRAGMA page_count")?.saturating_sub(free);
    let surplus = free.saturating_sub(used.max(FREE_PAGES_MIN)).min(FREED_PAGES_MAX);
    if surplus > 0 {
        let mut vacuum = to.prepare(&format!("PRAGMA incremental_vacuum({surplus})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(surplus > 0)
}
