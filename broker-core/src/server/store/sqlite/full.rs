//! The store when its disk is full, and the log, which is what grows.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use rusqlite::config::DbConfig;

use crate::engine::store::Record;

use super::super::StoreError;
use super::super::queue::bytes_of;
use super::files;
use super::flusher::Flusher;
use super::header::PAGE_BYTES;
use super::row::is_damage;
use super::space::{self, Lack};
use super::{CHECKPOINT_PAGES, FLUSH_PAGES, SqliteStore};

/// Bytes that a byte of a record takes in the log, roughly: its row, and parts of pages.
const LOGGED_PER_BYTE: usize = 3;
/// What any transaction takes there.
const LOGGED_MIN: u64 = 1 << 20;
/// What a small one does.
const LOGGED_SMALL: u64 = 64 << 10;
/// The log is looked at when it may have grown by so much: asking SQLite costs as much as a message.
const LOOK_BYTES: u64 = if cfg!(test) { 1 } else { 1 << 20 };

impl SqliteStore {
    /// After these records: moves the log into the tables if it has become long, so that it begins again.
    pub(super) fn checkpoint(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.logged += LOGGED_SMALL + logged(records);
        if self.logged < LOOK_BYTES {
            return Ok(());
        }
        self.logged = 0;
        let pages = self.log_pages("NOOP").map_err(|error| self.give_up(&error))?;
        // Also what it grows by until it is looked at again.
        let bytes = pages * u64::from(PAGE_BYTES) + LOOK_BYTES;
        self.reserve.cover(bytes).map_err(|source| self.io(source))?;
        if pages < CHECKPOINT_PAGES {
            self.flush(pages);
            return Ok(());
        }
        self.rest_flusher()?;
        let moved = self.log_pages("PASSIVE");
        self.tolerate_full(moved.map(drop))
    }

    pub(super) fn start_flusher(&mut self) -> Result<(), StoreError> {
        let log = files::open_regular(&self.log())?;
        self.flusher = log.map(Flusher::start).transpose().map_err(|source| self.io(source))?;
        Ok(())
    }

    /// The log has so many pages.
    fn flush(&mut self, pages: u64) {
        // It has begun again.
        if pages < self.flushed {
            self.flushed = 0;
        }
        if let Some(flusher) = self.flusher.as_ref().filter(|_| pages - self.flushed >= FLUSH_PAGES) {
            flusher.ask();
            self.flushed = pages;
        }
    }

    /// Whether no sync beside the commits has failed.
    pub(super) fn look_at_flusher(&self) -> Result<(), StoreError> {
        self.note_flush(self.flusher.as_ref().and_then(Flusher::failure))
    }

    /// Before the log is moved: the same, and none is going on.
    pub(super) fn rest_flusher(&self) -> Result<(), StoreError> {
        self.note_flush(self.flusher.as_ref().and_then(Flusher::rest))
    }

    fn note_flush(&self, failure: Option<io::Error>) -> Result<(), StoreError> {
        failure.map_or(Ok(()), |source| Err(self.give_up(&source)))
    }

    /// After a transaction that found no space: looks whether there is some.
    pub(super) fn begin_again(&mut self, records: &[Record]) -> Result<(), StoreError> {
        if std::mem::take(&mut self.is_log_to_be_emptied) {
            self.reserve.release();
            self.empty_log()?;
        }
        if space::only_ends(records) {
            self.reserve.release();
            return Ok(());
        }
        let bytes = LOGGED_MIN + logged(records);
        let made = self.reserve.make().and_then(|()| self.reserve.probe(&self.log(), bytes));
        made.map_err(|source| if space::is_lack(&source) { self.full(&source) } else { self.io(source) })
    }

    /// After deletions on a full disk: what is free inside of the file, and the log, become space. In parts, because moving
    /// pages needs space too.
    pub(super) fn make_space(&self) -> Result<(), StoreError> {
        let vacuumed = self.vacuum();
        self.tolerate_full(vacuumed)?;
        self.empty_log()
    }

    /// What a transaction that failed says: it is the disk that is full, or the end.
    pub(super) fn failed(&mut self, error: &rusqlite::Error) -> StoreError {
        if is_damage(error) {
            return self.spoiled(error);
        }
        if !self.lacks_space(error) {
            return self.give_up(error);
        }
        self.is_full = true;
        self.is_log_to_be_emptied = true;
        self.full(error)
    }

    /// Nobody knows what the file has now, so nothing is moved into it any more, also not when it is closed.
    pub(super) fn give_up(&self, error: &dyn Display) -> StoreError {
        // It only sets a flag, which every connection has.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        StoreError::Engine(format!("{}: {error}", self.path.display()))
    }

    /// What was read is not what was written.
    pub(super) fn spoiled(&self, what: &dyn Display) -> StoreError {
        let _ = self.give_up(what);
        StoreError::Damaged { path: self.path.clone(), what: what.to_string() }
    }

    fn vacuum(&self) -> rusqlite::Result<()> {
        let mut vacuum = self.connection.prepare_cached("PRAGMA incremental_vacuum(512)")?;
        // A row for each page.
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
        Ok(())
    }

    pub(super) fn empty_log(&self) -> Result<(), StoreError> {
        self.rest_flusher()?;
        let emptied = self.log_pages("TRUNCATE");
        self.tolerate_full(emptied.map(drop))
    }

    /// The pages in the log, after a checkpoint of this mode.
    pub(super) fn log_pages(&self, mode: &str) -> rusqlite::Result<u64> {
        let pages = |row: &rusqlite::Row<'_>| row.get::<_, i64>(1);
        self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], pages).map(i64::unsigned_abs)
    }

    /// What is in the log is safe there, so it may stay for want of space in the tables.
    fn tolerate_full(&self, moved: rusqlite::Result<()>) -> Result<(), StoreError> {
        match moved {
            Err(error) if self.lacks_space(&error) => Ok(()),
            moved => moved.map_err(|error| self.give_up(&error)),
        }
    }

    fn lacks_space(&self, error: &rusqlite::Error) -> bool {
        match space::lack_of(error) {
            Lack::Certain => true,
            Lack::Possible => {
                self.reserve.probe(&self.log(), LOGGED_MIN).is_err_and(|error| space::is_lack(&error))
            }
            Lack::None => false,
        }
    }

    fn full(&self, why: &dyn Display) -> StoreError {
        StoreError::Full { path: self.path.clone(), why: why.to_string() }
    }

    fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.path.clone(), source }
    }

    fn log(&self) -> PathBuf {
        self.path.with_extension("db-wal")
    }
}

/// Bytes that records take in the log, roughly.
fn logged(records: &[Record]) -> u64 {
    (LOGGED_PER_BYTE * records.iter().map(bytes_of).sum::<usize>()) as u64
}
