//! A connection as its lane sees it: the transport, and the bytes of a packet that is not complete yet.

use std::io::{self, IoSlice};

use crate::engine::keys::ConnectionKey;
use crate::engine::outbox::Outbox;
use crate::engine::shard::Consumed;

use super::admit::Permit;
use super::hooks::Asking;
use super::transport::{READ_ROOM_MIN, Transport};

/// One connection of a lane. An idle one owns no buffer.
pub(crate) struct Link {
    pub(crate) key: ConnectionKey,
    pub(crate) transport: Transport,
    /// The beginning of a packet whose rest has not come yet.
    partial: Vec<u8>,
    /// Bytes at the front of `partial` that are done with. They stay until no complete packet is left, so that handing
    /// over packet by packet moves none.
    done: usize,
    /// The hook that is asked about a packet of it.
    pub(crate) asking: Option<Asking>,
    /// The socket may have bytes: an edge was reported and no short read has followed.
    pub(crate) is_readable: bool,
    /// The end of the stream was reported with the last edge; no further edge will come, so a short read is not
    /// the end of the reading.
    pub(crate) is_hung_up: bool,
    /// Nothing has come since a read left nothing behind.
    pub(crate) is_drained: bool,
    /// The socket took less than it was given; the WRITABLE edge is awaited.
    pub(crate) is_blocked: bool,
    /// A write has failed. What the peer sent before is still to be read, maybe a DISCONNECT; then this is the end.
    is_broken: bool,
    /// The key stands in the lane's queue of ready connections.
    pub(crate) is_queued: bool,
    /// Complete packets may stand in `partial`: they are handed over before anything is read.
    has_unread: bool,
    /// Its room among all connections.
    _permit: Permit,
}

/// What one read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// So many new bytes are in the buffer.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The peer has ended its side, or the connection is broken.
    Ended,
}

/// What one write achieved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    /// Nothing waits any more.
    Drained,
    /// The socket is full.
    Blocked,
    /// The connection is broken.
    Broken,
}

/// Bytes that one connection may bring in one turn.
pub(crate) const READ_BYTES_PER_TURN: usize = READ_ROOM_MIN;
/// A partial packet up to this size is kept beside the shared buffer and copied to its front; a larger one grows
/// in a buffer of its own, so that its bytes are copied once.
const PARTIAL_IN_SHARED_BUFFER_MAX: usize = 64 << 10;
/// Size of the shared buffer.
pub(crate) const SHARED_BUFFER_BYTES: usize = PARTIAL_IN_SHARED_BUFFER_MAX + READ_BYTES_PER_TURN;
const SLICES_PER_WRITE: usize = 16;

impl Link {
    /// `unread` came behind CONNECT; it waits until the shard reads.
    pub(crate) fn new(key: ConnectionKey, transport: Transport, unread: Vec<u8>, permit: Permit) -> Self {
        Self {
            key,
            has_unread: !unread.is_empty(),
            partial: unread,
            done: 0,
            asking: None,
            _permit: permit,
            is_readable: transport.has_more(),
            transport,
            is_hung_up: false,
            is_drained: false,
            is_blocked: false,
            is_broken: false,
            is_queued: false,
        }
    }

    /// Whether there is something to hand over now.
    pub(crate) fn is_ready(&self) -> bool {
        self.is_readable || self.has_unread
    }

    /// Hands all bytes from the start of the first incomplete packet to `consume`, after one read if none of them
    /// is known to be complete. The rest is kept.
    pub(crate) fn read(&mut self, shared: &mut [u8], consume: impl FnOnce(&[u8]) -> Consumed) -> ReadOutcome {
        if self.has_unread {
            let bytes = std::mem::take(&mut self.partial);
            let done = self.done;
            let consumed = self.consume(bytes.get(done..).unwrap_or_default(), consume);
            self.keep_rest(bytes, done + consumed);
            return ReadOutcome::Bytes(consumed);
        }
        let kept = self.partial.len();
        if kept > PARTIAL_IN_SHARED_BUFFER_MAX {
            return self.read_large(consume);
        }
        let Some((front, back)) = shared.split_at_mut_checked(kept) else { return ReadOutcome::Ended };
        let back_len = back.len().min(READ_BYTES_PER_TURN);
        let back = back.get_mut(..back_len).unwrap_or_default();
        let outcome = self.read_once(back);
        if let ReadOutcome::Bytes(count) = outcome {
            front.copy_from_slice(&self.partial);
            let bytes = shared.get(..kept + count).unwrap_or_default();
            let consumed = self.consume(bytes, consume);
            self.keep(bytes.get(consumed..).unwrap_or_default());
        }
        outcome
    }

    /// A packet that is too large for the shared buffer grows where it is.
    fn read_large(&mut self, consume: impl FnOnce(&[u8]) -> Consumed) -> ReadOutcome {
        let kept = self.partial.len();
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.resize(kept + READ_BYTES_PER_TURN, 0);
        let outcome = self.read_once(bytes.get_mut(kept..).unwrap_or_default());
        let count = if let ReadOutcome::Bytes(count) = outcome { count } else { 0 };
        bytes.truncate(kept + count);
        let consumed = if count > 0 { self.consume(&bytes, consume) } else { 0 };
        self.keep_rest(bytes, consumed);
        outcome
    }

    fn consume(&mut self, bytes: &[u8], consume: impl FnOnce(&[u8]) -> Consumed) -> usize {
        let consumed = consume(bytes);
        self.has_unread = consumed.is_cut_short && consumed.bytes < bytes.len();
        consumed.bytes
    }

    /// Keeps what is left of a buffer, but not the buffer of a large packet for the beginning of a small one.
    fn keep_rest(&mut self, mut bytes: Vec<u8>, done: usize) {
        let left = bytes.len().saturating_sub(done);
        let is_oversized = left <= PARTIAL_IN_SHARED_BUFFER_MAX && bytes.capacity() > SHARED_BUFFER_BYTES;
        self.done = done;
        if left == 0 {
            // An idle connection owns no buffer.
            bytes = Vec::new();
            self.done = 0;
        } else if is_oversized || !self.has_unread {
            bytes.drain(..done);
            self.done = 0;
        }
        if is_oversized {
            bytes.shrink_to_fit();
        }
        self.partial = bytes;
    }

    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            // An idle connection owns no buffer.
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
    }

    /// One read. If it brings less than it could, or nothing, the socket is empty: the next byte brings an edge.
    fn read_once(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        let read = self.transport.read(buffer);
        // A layer may have answered by itself. Who does not read that is not read.
        self.is_blocked |= self.transport.awaits_room();
        match read {
            Ok(0) => {
                self.is_drained = true;
                ReadOutcome::Ended
            }
            Ok(count) => {
                self.is_drained = count < buffer.len() && !self.transport.has_more();
                self.is_readable &= !self.is_drained || self.is_hung_up;
                ReadOutcome::Bytes(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.is_broken => {
                // Where the end is known to follow, only a layer says so; the read of the end itself says 0.
                self.is_readable = self.transport.has_more() || self.is_hung_up;
                ReadOutcome::Nothing
            }
            Err(_) => ReadOutcome::Ended,
        }
    }

    /// A last write, then the end of the stream. Returns how many bytes were written.
    pub(crate) fn finish(&mut self, outbox: &mut Outbox, shared: &mut [u8]) -> usize {
        if outbox.is_empty() && self.is_drained && !self.transport.takes_leave() {
            // Nothing is left to say or to read away, so the close alone is an end in order.
            return 0;
        }
        let before = outbox.len();
        // One attempt: whoever does not take it now has left or does not read.
        let _ = self.write(outbox);
        self.transport.finish(shared);
        before - outbox.len()
    }

    /// Writes as much of `outbox` as the socket takes.
    pub(crate) fn write(&mut self, outbox: &mut Outbox) -> WriteOutcome {
        if self.is_broken {
            return WriteOutcome::Broken;
        }
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            let mut used = 0;
            let mut offered = 0;
            for (slice, chunk) in slices.iter_mut().zip(outbox.chunks()) {
                *slice = IoSlice::new(chunk);
                used += 1;
                offered += chunk.len();
            }
            match self.transport.write_vectored(slices.get(..used).unwrap_or_default()) {
                Ok(0) => return self.note_broken(),
                Ok(written) => {
                    outbox.advance(written);
                    if written < offered {
                        self.is_blocked = true;
                        return WriteOutcome::Blocked;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    return WriteOutcome::Blocked;
                }
                Err(_) => return self.note_broken(),
            }
        }
        match self.transport.flush() {
            Ok(is_all) => {
                self.is_blocked = !is_all;
                if is_all { WriteOutcome::Drained } else { WriteOutcome::Blocked }
            }
            Err(_) => self.note_broken(),
        }
    }

    /// Nothing leaves any more; what is there is read to its end.
    fn note_broken(&mut self) -> WriteOutcome {
        self.is_broken = true;
        self.is_blocked = false;
        self.is_readable = true;
        self.is_hung_up = true;
        WriteOutcome::Broken
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
