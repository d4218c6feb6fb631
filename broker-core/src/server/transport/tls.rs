//! TLS over a socket, driven by its lane: plaintext in and out, records on the wire.
//!
//! ```text
//!   read:   socket ──one recv──► buffer[LEAD..]: records, decrypted one after another
//!                                buffer[..]: their plaintext, which follows behind and never catches up
//!   write:  slices ──≤ 16 KiB──► records ≤ 64 KiB ──one send──► socket
//! ```
//!
//! Records are read into the far part of the caller's buffer. What a record gives is shorter than the record, so the
//! plaintext in front always has room, and nothing is kept but the beginning of a record. Between two turns an idle
//! connection owns no buffer; one that does not read has at most what was encrypted for it last, 64 KiB.

use std::io::{self, IoSlice, Read, Write};

use super::super::socket::Socket;
use super::super::tls::{End, PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX, Session};
use super::{READ_ROOM_MIN, retry_interrupted};

/// Room for the plaintext of the first record in front of it.
const LEAD: usize = PLAINTEXT_BYTES_MAX;
/// No part of a message is kept that is longer. After the handshake a client has none that needs as much.
const INCOMING_BYTES_MAX: usize = RECORD_BYTES_MAX + PLAINTEXT_BYTES_MAX;
/// Records that are made before they are written.
const OUTGOING_BYTES: usize = 64 << 10;

/// There is room for what is kept, and for more.
const _: () = assert!(LEAD + INCOMING_BYTES_MAX < READ_ROOM_MIN);

/// One connection.
pub(crate) struct Tls {
    socket: Socket,
    session: Session,
    has_more: bool,
}

impl Tls {
    /// After the handshake. What came behind it may be waiting in `session`, so there is always a first read.
    pub(crate) fn new(socket: Socket, session: Session) -> Self {
        Self { socket, session, has_more: true }
    }

    pub(super) const fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) const fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    pub(super) fn awaits_room(&self) -> bool {
        !self.session.outgoing().is_empty()
    }

    /// One read of the socket and all plaintext that it brings.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let decrypted_before = self.session.take_plaintext(buffer);
        if decrypted_before > 0 {
            self.has_more = true;
            return Ok(decrypted_before);
        }
        if let Some(end) = self.session.end() {
            return match end {
                End::Closed => Ok(0),
                End::Failed(_) => Err(io::ErrorKind::InvalidData.into()),
            };
        }
        let kept = self.session.take_incoming();
        let Some((into, room)) = buffer.get_mut(LEAD..).and_then(|far| far.split_at_mut_checked(kept.len()))
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        into.copy_from_slice(&kept);
        let came = self.read_socket(room);
        let end = LEAD + kept.len() + came.as_ref().map_or(0, |came| *came);
        let filled = self.decrypt(buffer, end);
        // An alert, or new keys. If it does not get through, the next write says so.
        let _ = self.flush();
        // Nothing more comes from the socket, but there is something to tell: what had no room, or the end.
        let is_over = self.session.end().is_some() || matches!(came, Ok(0)) || is_failure(&came);
        self.has_more |= is_over || self.session.has_plaintext();
        match (filled, came) {
            (1.., _) => Ok(filled),
            (0, Ok(0)) => Ok(0),
            (0, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            (0, Ok(_) | Err(_)) => match self.session.end() {
                Some(End::Closed) => Ok(0),
                Some(End::Failed(_)) => Err(io::ErrorKind::InvalidData.into()),
                None => Err(io::ErrorKind::WouldBlock.into()),
            },
        }
    }

    fn read_socket(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let came = retry_interrupted(|| self.socket.read(room));
        self.has_more = matches!(came, Ok(count) if count == room.len());
        came
    }

    /// Decrypts the records in `buffer[LEAD..end]` into the front of `buffer`. What is left over is kept.
    fn decrypt(&mut self, buffer: &mut [u8], end: usize) -> usize {
        let (mut begin, mut filled) = (LEAD, 0);
        while let Some((front, records)) =
            buffer.get_mut(..end).and_then(|buffer| buffer.split_at_mut_checked(begin))
        {
            let decrypted = self.session.decrypt(records, front.get_mut(filled..).unwrap_or_default());
            begin += decrypted.consumed;
            filled += decrypted.bytes;
            if decrypted.bytes == 0 || self.session.has_plaintext() {
                break;
            }
        }
        let rest = buffer.get(begin..end).unwrap_or_default();
        if rest.len() > INCOMING_BYTES_MAX {
            self.session.give_up();
        } else if !rest.is_empty() && self.session.end().is_none() {
            self.session.feed(rest);
        }
        filled
    }

    /// Writes records that the socket had no room for. `false` if it has none still.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while !self.session.outgoing().is_empty() {
            match retry_interrupted(|| self.socket.write(self.session.outgoing())) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.session.sent(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// As many packets in a record as there are, and as many records in a write. What was encrypted counts as written.
    pub(super) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.flush()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let [one] = slices
            && one.len() <= PLAINTEXT_BYTES_MAX
        {
            self.session.encrypt(one)?;
            self.flush()?;
            return Ok(one.len());
        }
        let mut written = 0;
        let mut record = Vec::new();
        for slice in slices {
            let mut rest: &[u8] = slice;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(PLAINTEXT_BYTES_MAX - record.len()));
                record.extend_from_slice(now);
                rest = later;
                if record.len() == PLAINTEXT_BYTES_MAX {
                    self.session.encrypt(&record)?;
                    written += record.len();
                    record.clear();
                    if self.session.outgoing().len() >= OUTGOING_BYTES && !self.flush()? {
                        return Ok(written);
                    }
                }
            }
        }
        self.session.encrypt(&record)?;
        self.flush()?;
        Ok(written + record.len())
    }

    /// Says that nothing more comes, as far as there is room for it.
    pub(super) fn take_leave(&mut self) {
        self.session.close();
        // Whoever does not take it now has left or does not read.
        let _ = self.flush();
    }
}

fn is_failure(result: &io::Result<usize>) -> bool {
    matches!(result, Err(error) if error.kind() != io::ErrorKind::WouldBlock)
}
