//! SQLite's write-ahead log, read before SQLite does.
//!
//! SQLite takes the log up to the first frame whose checksum is wrong, and says nothing of what stands behind it. A log that
//! ends there was cut short, and nobody was told that the rest is kept. If good frames follow, however, something was
//! lost that the file has had: it was damaged, or the power went while the disk had the end of the log and not its middle.
//!
//! ```text
//!   header  32: magic, 3007000, page size, number of the checkpoint, salt 1, salt 2, checksum of the 24 bytes before
//!   frame   24: page, pages of the file after a commit (else 0), salt 1, salt 2, checksum    + the page
//! ```
//!
//! A checksum goes on from that of the frame before, so each frame behind a bad one can be checked with what its
//! predecessor says of itself. Frames with other salts are of an older round and mean nothing.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::super::StoreError;
use super::files;
use super::tally::{self, Tally};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// The last bit says that checksums are of big-endian words.
const MAGIC: u32 = 0x377f_0682;
const FORMAT: u32 = 3_007_000;
const PAGE_BYTES_MIN: u32 = 512;
const PAGE_BYTES_MAX: u32 = 65_536;

/// What a log holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    /// Whole transactions, which SQLite takes.
    pub(super) transactions: u64,
    /// Tallies of the first and the last of them.
    pub(super) tallies: Option<(Tally, Tally)>,
    /// Where the last of them ends; what follows is not taken.
    pub(super) end: u64,
    /// What follows, if it is of this round.
    pub(super) rest: Option<Rest>,
    /// The greatest tally of all good frames, also of those that are not taken.
    pub(super) last_tally: Option<Tally>,
}

/// Frames that SQLite does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rest {
    /// Where the first frame stands that is not good; the end of the file if all are.
    pub(super) at: u64,
    /// How many bytes are not taken.
    pub(super) bytes: u64,
    /// How many frames of this round those are.
    pub(super) frames: u64,
    /// Transactions whose end is among the good ones of them. None: the log was cut short.
    pub(super) transactions: u64,
}

impl Scan {
    /// Whether the log has lost something in its middle.
    pub(super) fn is_damaged(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.transactions > 0)
    }
}

/// Reads the log of a file whose tally stands on page `tally_page`; `None` if there is none. Takes memory for one frame.
///
/// # Errors
/// [`StoreError::Io`].
pub(super) fn scan(path: &Path, page_bytes: u32, tally_page: u32) -> Result<Option<Scan>, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let Some(file) = files::open_regular(path)? else { return Ok(None) };
    Scanner::new(file, page_bytes, tally_page).and_then(Scanner::run).map(Some).map_err(io)
}

struct Scanner {
    file: BufReader<File>,
    len: u64,
    at: u64,
    page_bytes: usize,
    tally_page: u32,
    salts: Option<[u8; 8]>,
    is_big_endian: bool,
    /// As the last frame says.
    chain: (u32, u32),
    found: Scan,
    /// The first frame that is not taken.
    bad: Option<u64>,
}

/// A frame as it stands there.
struct Frame<'a> {
    head: &'a [u8; FRAME_HEADER_BYTES],
    page: &'a [u8],
}

impl Scanner {
    fn new(file: File, page_bytes: u32, tally_page: u32) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let mut this = Self {
            file: BufReader::with_capacity(1 << 16, file),
            len,
            at: HEADER_BYTES as u64,
            page_bytes: page_bytes.clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX) as usize,
            tally_page,
            salts: None,
            is_big_endian: false,
            chain: (0, 0),
            found: Scan::default(),
            bad: None,
        };
        let mut header = [0; HEADER_BYTES];
        if len >= HEADER_BYTES as u64 {
            this.file.read_exact(&mut header)?;
            this.take_header(&header);
        }
        Ok(this)
    }

    /// Without a good header SQLite takes nothing, and the first good frame says of which round it is.
    fn take_header(&mut self, header: &[u8; HEADER_BYTES]) {
        let magic = word(header, 0);
        self.is_big_endian = magic & 1 == 1;
        let (covered, rest) = header.split_at(HEADER_BYTES - 8);
        self.chain = checksum(self.is_big_endian, (0, 0), covered);
        let page_bytes = word(header, 8);
        let is_good = magic & !1 == MAGIC
            && word(header, 4) == FORMAT
            && page_bytes.is_power_of_two()
            && (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes)
            && (word(rest, 0), word(rest, 4)) == self.chain;
        if is_good {
            self.page_bytes = page_bytes as usize;
            self.salts = covered.last_chunk().copied();
            self.found.end = HEADER_BYTES as u64;
        } else {
            // SQLite writes in the order of the machine.
            self.is_big_endian = cfg!(target_endian = "big");
            self.bad = Some(0);
        }
    }

    fn run(mut self) -> io::Result<Scan> {
        let frame_bytes = FRAME_HEADER_BYTES + self.page_bytes;
        let mut buffer = vec![0; frame_bytes];
        let (mut frames, mut open, mut lost) = (0, Scan::default(), 0);
        while self.at + frame_bytes as u64 <= self.len {
            self.file.read_exact(&mut buffer)?;
            let at = self.at;
            self.at += frame_bytes as u64;
            let Some((head, page)) = buffer.split_first_chunk() else { break };
            let frame = Frame { head, page };
            let is_good = self.is_next(&frame);
            if is_good {
                self.salts.get_or_insert(frame.salts());
            }
            let is_of_round = self.salts == Some(frame.salts());
            frames += u64::from(is_of_round);
            if !is_good || !is_of_round {
                self.bad.get_or_insert(at);
                continue;
            }
            let tally = if frame.number() == self.tally_page { tally::at_end_of(frame.page) } else { None };
            self.found.last_tally = self.found.last_tally.max(tally);
            if self.bad.is_some() {
                lost += u64::from(frame.is_commit());
                continue;
            }
            if let Some(tally) = tally {
                open.tallies = Some((open.tallies.map_or(tally, |(first, _)| first), tally));
            }
            if frame.is_commit() {
                self.found.transactions += 1;
                self.found.end = self.at;
                let first = self.found.tallies.or(open.tallies).map(|(first, _)| first);
                self.found.tallies = first.zip(open.tallies.or(self.found.tallies).map(|(_, last)| last));
                (frames, open) = (0, Scan::default());
            }
        }
        if frames > 0 {
            let at = self.bad.unwrap_or(self.len);
            let bytes = self.len - self.found.end;
            self.found.rest = Some(Rest { at, bytes, frames, transactions: lost });
        }
        Ok(self.found)
    }

    /// Whether a frame is as it was written, if the one before says the truth of its checksum.
    fn is_next(&mut self, frame: &Frame<'_>) -> bool {
        let (covered, _) = frame.head.split_at(8);
        let sum = checksum(self.is_big_endian, self.chain, covered);
        let sum = checksum(self.is_big_endian, sum, frame.page);
        self.chain = (word(frame.head, 16), word(frame.head, 20));
        sum == self.chain && frame.number() > 0
    }
}

impl Frame<'_> {
    fn number(&self) -> u32 {
        word(self.head, 0)
    }

    fn is_commit(&self) -> bool {
        word(self.head, 4) > 0
    }

    fn salts(&self) -> [u8; 8] {
        self.head.get(8..16).and_then(|salts| salts.try_into().ok()).unwrap_or_default()
    }
}

/// The sum of SQLite's log: two words in turn, each with the other's sum.
fn checksum(is_big_endian: bool, from: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let (pairs, _) = bytes.as_chunks::<8>();
    pairs.iter().fold(from, |(a, b), &[c, d, e, f, g, h, i, j]| {
        let (first, second) = ([c, d, e, f], [g, h, i, j]);
        let number = if is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        let a = a.wrapping_add(number(first)).wrapping_add(b);
        (a, b.wrapping_add(number(second)).wrapping_add(a))
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
    four.copied().map(u32::from_be_bytes).unwrap_or_default()
}
