//! WebSocket over another transport, driven by its lane: payloads in and out, frames on the wire.
//!
//! ```text
//!   read:   one read from below ──► buffer: frames, their payloads moved to its front
//!   write:  slices ──► [ a control frame | the head of one binary frame | slices ] in one write
//! ```
//!
//! A frame is as long as what is offered at a time; if only its beginning finds room, the rest follows with the next write. So
//! nothing of a payload is ever kept here, in neither direction.

use std::io::{self, IoSlice};

use super::super::websocket::{End, Frames, Kind, server_head};
use super::Transport;

/// Reads that bring control frames alone, until others have their turn.
const READS_MAX: usize = 4;
/// Slices of one write: the head, and as many as a link offers at a time.
const SLICES_MAX: usize = 17;

/// One connection.
pub(crate) struct WebSocket {
    below: Transport,
    frames: Frames,
    /// Control frames, or the head of the present frame, as far as they have not been written.
    outgoing: Vec<u8>,
    /// Bytes of payload that the head of the present frame has promised and that have not been written.
    owed: usize,
    has_more: bool,
}

impl WebSocket {
    /// After the upgrade; `outgoing` are frames that are to be written first.
    pub(crate) fn new(below: Transport, frames: Frames, outgoing: Vec<u8>) -> Self {
        // The end may have come already.
        let has_more = below.has_more() || frames.end().is_some();
        Self { below, frames, outgoing, owed: 0, has_more }
    }

    pub(super) const fn below(&self) -> &Transport {
        &self.below
    }

    pub(super) const fn below_mut(&mut self) -> &mut Transport {
        &mut self.below
    }

    pub(super) const fn has_more(&self) -> bool {
        self.has_more
    }

    /// The rule that the client broke.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match self.frames.end() {
            Some(End::Failed(violation)) => Some(violation.text()),
            Some(End::Closed) | None => None,
        }
    }

    pub(super) fn awaits_room(&self) -> bool {
        !self.outgoing.is_empty() || self.below.awaits_room()
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for _ in 0..READS_MAX {
            match self.frames.end() {
                Some(End::Closed) => return Ok(0),
                Some(End::Failed(_)) => return Err(io::ErrorKind::InvalidData.into()),
                None => {}
            }
            let came = self.below.read(buffer);
            self.has_more = self.below.has_more() || matches!(came, Ok(count) if count == buffer.len());
            let came = came?;
            if came == 0 {
                return Ok(0);
            }
            let count = self.frames.unwrap(buffer.get_mut(..came).unwrap_or_default());
            // A pong, or the last word. If it does not get through, the next write says so.
            let _ = self.flush();
            self.has_more |= self.frames.end().is_some();
            if count > 0 {
                return Ok(count);
            }
        }
        self.has_more = true;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Writes what is not payload. `false` if not all has found room.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        loop {
            if self.outgoing.is_empty() && self.owed == 0 {
                self.outgoing = self.frames.next_answer().unwrap_or_default();
            }
            if self.outgoing.is_empty() {
                return self.below.flush();
            }
            match self.below.write_vectored(&[IoSlice::new(&self.outgoing)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) if count < self.outgoing.len() => {
                    self.outgoing.drain(..count);
                    return Ok(false);
                }
                Ok(_) => self.outgoing = Vec::new(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut written = 0;
        while written < total {
            if self.owed == 0 {
                if self.frames.has_taken_leave() {
                    // Nothing may follow [RFC 6455 section 5.5.1].
                    return Ok(total);
                }
                if self.outgoing.is_empty() {
                    self.outgoing = self.frames.next_answer().unwrap_or_default();
                }
                self.owed = total - written;
                self.outgoing.extend_from_slice(&server_head(Kind::Binary, self.owed));
            }
            let (taken, has_room) = match self.write_once(slices, written) {
                Ok(write) => write,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, false),
                Err(error) => return Err(error),
            };
            written += taken;
            if !has_room {
                // A link takes 0 for the end.
                return if written == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) };
            }
        }
        Ok(written)
    }

    /// One write of what the present frame still needs, its payload from `done` on. How much of the payload was written,
    /// and whether all found room.
    fn write_once(&mut self, slices: &[IoSlice<'_>], done: usize) -> io::Result<(usize, bool)> {
        let mut offered = [IoSlice::new(&[]); SLICES_MAX];
        let (mut skip, mut left, mut used) = (done, self.owed, 0);
        let mut places = offered.iter_mut();
        if let (false, Some(place)) = (self.outgoing.is_empty(), places.next()) {
            *place = IoSlice::new(&self.outgoing);
            used += 1;
        }
        let mut payload = 0;
        for slice in slices {
            let rest = slice.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(slice.len());
            let now = rest.get(..rest.len().min(left)).unwrap_or_default();
            if now.is_empty() {
                continue;
            }
            let Some(place) = places.next() else { break };
            *place = IoSlice::new(now);
            used += 1;
            left -= now.len();
            payload += now.len();
        }
        let before = self.outgoing.len();
        let count = self.below.write_vectored(offered.get(..used).unwrap_or_default())?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if count >= before {
            self.outgoing = Vec::new();
        } else {
            self.outgoing.drain(..count);
        }
        let taken = count.saturating_sub(before);
        self.owed -= taken;
        Ok((taken, count == before + payload))
    }

    /// Says that nothing more comes, as far as there is room for it and no frame is cut short by it.
    pub(super) fn take_leave(&mut self) {
        self.frames.take_leave();
        // Whoever does not take it now has left or does not read.
        let _ = self.flush();
    }
}
