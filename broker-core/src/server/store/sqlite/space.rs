//! Space on the disk: what an error says of it, and a reserve that lets rows be deleted when there is none.
//!
//! A deletion is a write too: it needs space in the log. And what is in the log needs space in the tables before the
//! log can be emptied. So there is a file as large as the log, of a few MiB at least, that is given up when there is no
//! space, and made again when there is.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::ffi::SQLITE_IOERR_WRITE;
use rusqlite::{Error, ErrorCode};

use crate::engine::store::Record;

use super::files::private;

/// A few hundred deletions take less.
const RESERVE_MIN: u64 = 4 << 20;
/// The log is emptied at 16 MiB; one transaction more is in it at most.
const RESERVE_MAX: u64 = 64 << 20;
const CHUNK: &[u8] = &[0; 64 << 10];

/// Room for deletions.
pub(super) struct Reserve {
    path: PathBuf,
    len: u64,
    wanted: u64,
}

impl Reserve {
    /// The reserve in this directory. Without space for it there is none.
    ///
    /// # Errors
    /// What the operating system says, but for a lack of space.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let path = directory.join("culex.reserve");
        let len = fs::metadata(&path).map_or(0, |file| file.len());
        let mut reserve = Self { path, len, wanted: RESERVE_MIN };
        // A file of an older run that never ends would be no reserve.
        if len > RESERVE_MAX {
            reserve.release();
        }
        reserve.cover(0)?;
        Ok(reserve)
    }

    /// Makes it as large as the log, if there is space.
    ///
    /// # Errors
    /// What the operating system says, but for a lack of space.
    pub(super) fn cover(&mut self, log: u64) -> io::Result<()> {
        self.wanted = self.wanted.max(log).min(RESERVE_MAX);
        match self.make() {
            Err(error) if !is_for_later(&error) => Err(error),
            // What it is for happens later, if at all.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes it as large as it should be.
    ///
    /// # Errors
    /// What the operating system says; it is as it was then.
    pub(super) fn make(&mut self) -> io::Result<()> {
        if self.len >= self.wanted {
            return Ok(());
        }
        let mut file = private().write(true).create(true).truncate(false).open(&self.path)?;
        file.seek(SeekFrom::Start(self.len))?;
        let made = fill(&file, self.wanted - self.len);
        if made.is_ok() {
            self.len = self.wanted;
        } else {
            file.set_len(self.len)?;
        }
        made
    }

    /// Gives its space free.
    pub(super) fn release(&mut self) {
        self.len = 0;
        // If it cannot be removed, there is less space, and that is noticed where it is needed.
        let _ = fs::remove_file(&self.path);
    }

    /// Whether there is space for `bytes`, and `log` may grow by so many: tries it with a file of their size, the content of
    /// the log aside.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn probe(&self, log: &Path, bytes: u64) -> io::Result<()> {
        let len = fs::metadata(log).map_or(0, |log| log.len());
        let path = self.path.with_extension("probe");
        let file = private().write(true).create(true).truncate(true).open(&path)?;
        let probed = file.set_len(len + bytes).and_then(|()| fill(&file, bytes));
        let removed = fs::remove_file(&path);
        probed.and(removed)
    }
}

/// ENFILE, EMFILE.
const NO_DESCRIPTOR: [i32; 2] = [23, 24];

/// Whether what could not be done now may be done some time: there is no space, or connections have all descriptors.
fn is_for_later(error: &io::Error) -> bool {
    is_lack(error) || error.raw_os_error().is_some_and(|number| NO_DESCRIPTOR.contains(&number))
}

fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    for _ in 0..bytes.div_ceil(CHUNK.len() as u64) {
        file.write_all(CHUNK)?;
    }
    Ok(())
}

/// What SQLite's error says of space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// There is none.
    Certain,
    /// SQLite does not say why it could not write.
    Possible,
    /// It is about something else.
    None,
}

pub(super) fn lack_of(error: &Error) -> Lack {
    let Error::SqliteFailure(failure, _) = error else { return Lack::None };
    if failure.code == ErrorCode::DiskFull {
        Lack::Certain
    } else if failure.extended_code == SQLITE_IOERR_WRITE {
        // SQLITE_FULL is ENOSPC alone.
        Lack::Possible
    } else {
        Lack::None
    }
}

/// Whether an operation on a file failed for want of space: ENOSPC, EDQUOT, EFBIG.
pub(super) fn is_lack(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::StorageFull
        || kind == io::ErrorKind::QuotaExceeded
        || kind == io::ErrorKind::FileTooLarge
}

/// Whether these records only delete.
pub(super) fn only_ends(records: &[Record]) -> bool {
    !records.is_empty()
        && records.iter().all(|record| matches!(record, Record::Done { .. } | Record::SessionEnded { .. }))
}
