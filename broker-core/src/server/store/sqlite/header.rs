//! Whose a file is, by what SQLite has in its first bytes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::super::StoreError;
use super::examine::TALLY_PAGE;
use super::files;
use super::schema::{APPLICATION_ID, FORMAT, FORMAT_MIN};
use super::tally;

/// The size of a page of our files.
pub(super) const PAGE_BYTES: u32 = 4096;

const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;
/// What is the same in every file of ours: size of a page and what follows it, format of the tables, UTF-8, the kind of
/// vacuum.
const CONSTANTS: [(usize, &[u8]); 5] =
    [(16, &[16, 0]), (20, &[0, 64, 32, 32]), (44, &[0, 0, 0, 4]), (56, &[0, 0, 0, 1]), (64, &[0, 0, 0, 1])];
/// No Culex will have that many formats.
const FORMATS_MAX: u32 = 1000;

/// What stands where the store should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// Nothing.
    Missing,
    /// A store.
    Sound,
    /// A store, but its first bytes are not what they were.
    Damaged,
}

/// Looks whether a store is there. If so, it is of a format that we know, and nobody else may read it. Only looks.
///
/// # Errors
/// What is not a store of this format, and what cannot be read.
pub(super) fn look(path: &Path) -> Result<Header, StoreError> {
    let Some(mut file) = files::open_regular(path)? else { return Ok(Header::Missing) };
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let mut header = [0; HEADER_BYTES];
    let is_whole = read_whole(&mut file, 0, &mut header).map_err(io)?;
    let is_ours =
        is_whole && header.starts_with(MAGIC) && number(&header, APPLICATION_ID_AT) == APPLICATION_ID;
    if !is_ours && tally_of(&mut file).map_err(io)?.is_none() {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let found = number(&header, USER_VERSION_AT);
    let is_format = (1..FORMATS_MAX).contains(&found);
    if is_ours && is_format && found > FORMAT {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    if is_ours && is_format && found < FORMAT_MIN {
        return Err(StoreError::Older { path: path.to_owned(), found, known: FORMAT });
    }
    files::is_private(path)?;
    let is_constant =
        |(at, bytes): &(usize, &[u8])| header.get(*at..).is_some_and(|rest| rest.starts_with(bytes));
    let is_sound = is_ours && is_format && CONSTANTS.iter().all(is_constant);
    Ok(if is_sound { Header::Sound } else { Header::Damaged })
}

/// The tally in the file alone, if it is where it should be.
pub(super) fn tally_of(file: &mut File) -> io::Result<Option<tally::Tally>> {
    let mut page = vec![0; PAGE_BYTES as usize];
    let at = u64::from(TALLY_PAGE - 1) * u64::from(PAGE_BYTES);
    Ok(if read_whole(file, at, &mut page)? { tally::at_end_of(&page) } else { None })
}

fn read_whole(file: &mut File, at: u64, buffer: &mut [u8]) -> io::Result<bool> {
    file.seek(SeekFrom::Start(at))?;
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn number(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    let four = header.get(at..).and_then(|rest| rest.first_chunk());
    four.copied().map(u32::from_be_bytes).unwrap_or_default()
}
