//! What happened, line by line: the last lines for a failure, a hash of all for the proof that a seed replays.

use std::collections::VecDeque;
use std::fmt::{Arguments, Write};

/// Lines that a failure shows.
const LINES_KEPT: usize = 40;

/// The trace of one run.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    lines: u64,
    last: VecDeque<String>,
    keeps_all: bool,
}

impl Trace {
    pub(super) fn new(keeps_all: bool) -> Self {
        // The offset basis of FNV-1a.
        Self { hash: 0xCBF2_9CE4_8422_2325, lines: 0, last: VecDeque::new(), keeps_all }
    }

    pub(super) fn note(&mut self, line: Arguments<'_>) {
        let is_full = !self.keeps_all && self.last.len() >= LINES_KEPT;
        let mut text = if is_full { self.last.pop_front().unwrap_or_default() } else { String::new() };
        text.clear();
        self.lines += 1;
        // Writing to a String cannot fail.
        let _ = write!(text, "{:>6} {line}", self.lines);
        for byte in text.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        self.last.push_back(text);
    }

    /// FNV-1a over every line of the run.
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.last.into()
    }
}
