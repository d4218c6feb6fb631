//! The directory, its lock, and whose the files in it are.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::super::StoreError;
use super::stamp::stamp;
use super::tally::Tally;

/// What others may not do with a file: the group may read it.
const MODE_FORBIDDEN: u32 = 0o027;

/// Where everything is.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    pub(super) main: PathBuf,
    pub(super) log: PathBuf,
    pub(super) lock: PathBuf,
}

impl Paths {
    pub(super) fn of(directory: &Path) -> Self {
        Self {
            main: directory.join("culex.db"),
            log: directory.join("culex.db-wal"),
            lock: directory.join("culex.lock"),
        }
    }
}

/// Makes the directory, for us alone. One that is there is left as it is.
pub(super) fn make_directory(path: &Path) -> Result<(), StoreError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| at(path, source))
}

/// A lock on the directory, which ends with the process.
pub(super) struct Lock {
    file: File,
    path: PathBuf,
    /// What whoever had it before has noted.
    pub(super) past: Past,
}

/// What must be in a directory, with the transactions that are known to have reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    /// Nothing yet.
    New,
    /// A store that was closed in order.
    Closed(Tally),
    /// A store with a log, which was not closed in order.
    Cut(Tally),
}

impl Past {
    fn read(mut words: std::str::SplitWhitespace<'_>) -> Self {
        let (word, number) = (words.next(), words.next().and_then(|word| word.parse().ok()));
        match (word, number.map(Tally)) {
            (Some("closed"), Some(tally)) => Self::Closed(tally),
            (Some("open"), Some(tally)) => Self::Cut(tally),
            _ => Self::New,
        }
    }

    /// The least that must be there.
    pub(super) fn tally(self) -> Tally {
        match self {
            Self::New => Tally::default(),
            Self::Closed(tally) | Self::Cut(tally) => tally,
        }
    }
}

impl fmt::Display for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.write_str("new"),
            Self::Closed(tally) => write!(f, "closed {}", tally.0),
            Self::Cut(tally) => write!(f, "open {}", tally.0),
        }
    }
}

impl Lock {
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = Paths::of(directory).lock;
        is_regular(&path)?;
        let io = |source| at(&path, source);
        let mut file = private().read(true).write(true).create(true).open(&path).map_err(io)?;
        let text = file.try_lock();
        let mut words = String::new();
        // Whatever stands there is no reason to fail.
        let _ = Read::by_ref(&mut file).take(64).read_to_string(&mut words);
        let mut words = words.split_whitespace();
        let holder = words.next().and_then(|word| word.parse::<u32>().ok());
        match text {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder =
                    holder.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"));
                return Err(StoreError::InUse { path: directory.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let past = Past::read(words);
        let lock = Self { file, path, past };
        lock.write(past)?;
        Ok(lock)
    }

    /// From now on there is a log until [`Lock::closed`]: one that is missing then was taken away.
    pub(super) fn opened(&self, tally: Tally) -> Result<(), StoreError> {
        self.write(Past::Cut(tally))
    }

    /// Everything is in the file, and the log may go.
    pub(super) fn closed(&self, tally: Tally) -> Result<(), StoreError> {
        self.write(Past::Closed(tally))?;
        self.file.sync_all().map_err(|source| at(&self.path, source))
    }

    fn write(&self, past: Past) -> Result<(), StoreError> {
        let mut file = &self.file;
        let written = file.rewind().and_then(|()| {
            file.write_all(format!("{} {past}\n", std::process::id()).as_bytes())?;
            file.set_len(file.stream_position()?)
        });
        written.map_err(|source| at(&self.path, source))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that is just being started has the file too, until it becomes another program.
        let _ = self.file.unlock();
    }
}

/// Whether nobody but the owner, and at most the owner's group, can read a file.
pub(super) fn is_private(path: &Path) -> Result<(), StoreError> {
    let metadata = fs::metadata(path).map_err(|source| at(path, source))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & MODE_FORBIDDEN != 0 {
        return Err(StoreError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Opens a file to read, if it is there; nothing else that bears its name, which could hold us up for ever.
pub(super) fn open_regular(path: &Path) -> Result<Option<File>, StoreError> {
    if !is_regular(path)? {
        return Ok(None);
    }
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path, error)),
    }
}

/// Whether there is a file of ours; anything else of its name is an error.
fn is_regular(path: &Path) -> Result<bool, StoreError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // A link that leads nowhere, or in a circle, is something.
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => {
            return Ok(false);
        }
        Err(error) => return Err(at(path, error)),
    };
    if !metadata.is_file() {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    Ok(true)
}

/// An empty file in place of what a start that was cut short has left. Here, because SQLite would make it readable for
/// others.
pub(super) fn make_file(path: &Path) -> Result<(), StoreError> {
    let made = match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => private().write(true).create_new(true).open(path),
    };
    made.map(drop).map_err(|source| at(path, source))
}

/// Gives a file its name, for good.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    let synced = File::open(from).and_then(|file| file.sync_all());
    let renamed = synced.and_then(|()| fs::rename(from, to));
    renamed.map_err(|source| at(to, source))?;
    sync_directory(to)
}

/// The names in the directory of a file are kept from now on.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(directory).and_then(|file| file.sync_all()).map_err(|source| at(directory, source))
}

/// A copy beside the file, kept for good, under a name that was free.
pub(super) fn keep_aside(path: &Path, stamp: &str) -> Result<PathBuf, StoreError> {
    let aside = free_name(path, stamp)?;
    let copied = File::open(path).and_then(|mut from| {
        let mut to = private().write(true).create_new(true).open(&aside)?;
        io::copy(&mut from, &mut to)?;
        to.sync_all()
    });
    copied.map_err(|source| {
        // Half a copy is worth nothing.
        let _ = fs::remove_file(&aside);
        at(&aside, source)
    })?;
    sync_directory(&aside)?;
    Ok(aside)
}

/// As [`keep_aside`], with the time at which the file was written last: if nothing has changed it since it was kept, that
/// copy is the answer, so starts that fail one after another do not fill the disk.
pub(super) fn keep_once(path: &Path) -> Result<PathBuf, StoreError> {
    let file = fs::metadata(path).map_err(|source| at(path, source))?;
    let stamp = stamp(file.modified().map_err(|source| at(path, source))?);
    let kept = name_of(path, &stamp, 1);
    let is_kept = fs::symlink_metadata(&kept).is_ok_and(|copy| copy.is_file() && copy.len() == file.len());
    if is_kept { Ok(kept) } else { keep_aside(path, &stamp) }
}

/// A second name for a file that is about to lose its own.
pub(super) fn link_aside(path: &Path, stamp: &str) -> Result<PathBuf, StoreError> {
    let aside = free_name(path, stamp)?;
    // Not every file system has them.
    if fs::hard_link(path, &aside).is_err() {
        return keep_aside(path, stamp);
    }
    sync_directory(&aside)?;
    Ok(aside)
}

fn free_name(path: &Path, stamp: &str) -> Result<PathBuf, StoreError> {
    let mut names = (1..=ASIDE_MAX).map(|number| name_of(path, stamp, number));
    let free = names.find(|path| fs::symlink_metadata(path).is_err());
    free.ok_or_else(|| at(path, io::Error::from(io::ErrorKind::AlreadyExists)))
}

/// `culex.db.damaged-20261121T081500Z`, or the same with a number behind it.
fn name_of(path: &Path, stamp: &str, number: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(match number {
        1 => format!("{name}.damaged-{stamp}"),
        _ => format!("{name}.damaged-{stamp}-{number}"),
    })
}

/// Copies of one second.
const ASIDE_MAX: u32 = 1000;

fn at(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), source }
}

/// Files that nobody else may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_free_although_a_child_still_has_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let lock = Lock::take(directory.path()).unwrap();
        let childs = lock.file.try_clone().unwrap();
        assert!(matches!(Lock::take(directory.path()), Err(StoreError::InUse { .. })));
        drop(lock);
        Lock::take(directory.path()).unwrap();
        drop(childs);
    }
}
