//! Structured values from the bytes of a fuzzer. Where the bytes are at an end, everything is zero, false or empty.

use culex_codec::{ProtocolVersion, QoS};

/// The input, from front to back.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    /// All of `input`.
    pub const fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Whether the input is at an end.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        *first
    }

    /// A coin.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number of two bytes.
    pub fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number of four bytes.
    pub fn long(&mut self) -> u32 {
        u32::from(self.short()) << 16 | u32::from(self.short())
    }

    /// A version of the protocol.
    pub fn version(&mut self) -> ProtocolVersion {
        match self.byte() % 3 {
            0 => ProtocolVersion::V311,
            1 => ProtocolVersion::V5,
            _ => ProtocolVersion::V31,
        }
    }

    /// A QoS.
    pub fn qos(&mut self) -> QoS {
        QoS::from_bits(self.byte() % 3).unwrap_or_default()
    }

    /// Bytes: one byte of length, then so many.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte());
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// All that is left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Text that a packet can hold, whatever the bytes are.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).replace('\0', "")
    }

    /// A Topic Name.
    pub fn topic(&mut self) -> String {
        let text = self.text().replace(['+', '#'], "/");
        if text.is_empty() { "/".to_owned() } else { text }
    }

    /// A Topic Filter: wildcards that share their level with something else become something else.
    pub fn filter(&mut self) -> String {
        let text = self.text();
        let last = text.split('/').count() - 1;
        let levels: Vec<String> = text
            .split('/')
            .enumerate()
            .map(|(at, level)| match level {
                "+" => level.to_owned(),
                "#" if at == last => level.to_owned(),
                other => other.replace(['+', '#'], "x"),
            })
            .collect();
        let filter = levels.join("/");
        if filter.is_empty() { "#".to_owned() } else { filter }
    }
}
