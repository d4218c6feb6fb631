//! The directory, its lock, and whose the file in it is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::super::StoreError;
use super::schema::{APPLICATION_ID, FORMAT};

/// Where SQLite has what we look at in the first bytes of a file.
const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;

/// Makes the directory, for us alone. One that is there is left as it is.
pub(super) fn make_directory(path: &Path) -> Result<(), StoreError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StoreError::Io { path: path.to_owned(), source })
}

/// A lock on the directory, which ends with the process.
pub(super) struct Lock(#[expect(dead_code, reason = "it is open, that is all")] File);

impl Lock {
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("culex.lock");
        let io = |source| StoreError::Io { path: path.clone(), source };
        let mut file = private().read(true).write(true).create(true).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { path: directory.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self(file))
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let known = file.take(32).read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    known.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"))
}

/// Whether there is a store. If a file is there, it is ours and of a version that we know. Only looks.
pub(super) fn is_there(path: &Path) -> Result<bool, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let mut header = [0; HEADER_BYTES];
    let len = match File::open(path) {
        Ok(file) => read_up_to(file, &mut header).map_err(io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io(error)),
    };
    let number = |at: usize| {
        let bytes = header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_be_bytes(bytes.unwrap_or_default())
    };
    if len < HEADER_BYTES || !header.starts_with(MAGIC) || number(APPLICATION_ID_AT) != APPLICATION_ID {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let found = number(USER_VERSION_AT);
    if found > FORMAT {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    if found < FORMAT {
        return Err(StoreError::Older { path: path.to_owned(), found, known: FORMAT });
    }
    Ok(true)
}

/// An empty file in place of what a start that was cut short has left. Here, because SQLite would make it readable for
/// others.
pub(super) fn make_file(path: &Path) -> Result<(), StoreError> {
    let made = private().write(true).create(true).truncate(true).open(path);
    made.map(drop).map_err(|source| StoreError::Io { path: path.to_owned(), source })
}

/// Gives a file its name, for good.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    let directory = to.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    let synced = File::open(from).and_then(|file| file.sync_all());
    let renamed = synced.and_then(|()| fs::rename(from, to));
    let kept = renamed.and_then(|()| File::open(directory)?.sync_all());
    kept.map_err(|source| StoreError::Io { path: to.to_owned(), source })
}

fn read_up_to(mut file: File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            read => len += read,
        }
    }
    Ok(len)
}

/// Files that nobody else may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}
