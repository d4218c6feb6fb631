//! One side of a TLS connection as a state machine over buffers: no socket, no waiting.
//!
//! It uses the interface of rustls without buffers, so an idle connection owns none: the beginning of a record that is
//! not complete, and records that the socket has not taken, are all that is ever kept.

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, WriteTraffic};
use rustls::{Error, ServerConfig};

use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

/// The largest record on the wire [RFC 5246 section 6.2.3]; those of 1.3 are smaller.
pub(crate) const RECORD_BYTES_MAX: usize = 5 + PLAINTEXT_BYTES_MAX + 2048;
/// The most plaintext that a record holds.
pub(crate) const PLAINTEXT_BYTES_MAX: usize = 16 << 10;
/// What a record costs beyond its plaintext, nearly always.
const RECORD_OVERHEAD: usize = 64;

/// The Server's side of one connection.
pub(crate) struct Session {
    connection: UnbufferedServerConnection,
    /// What came and is not decrypted: the beginning of a record, or of a message of the handshake.
    incoming: Vec<u8>,
    /// What was decrypted beyond the room that was given.
    plaintext: Vec<u8>,
    /// Records that the socket has not taken.
    outgoing: Vec<u8>,
    end: Option<End>,
}

/// Why nothing more is decrypted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    /// The peer has said so.
    Closed,
    /// The peer broke a rule, or was not accepted. What it is told lies among the outgoing records.
    Failed(Error),
}

/// What was done with a piece of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decrypted {
    /// So many bytes at its front are done with.
    pub(crate) consumed: usize,
    /// So many bytes of plaintext came out; none if no further record is complete.
    pub(crate) bytes: usize,
}

impl Session {
    /// # Errors
    /// A configuration that contradicts itself.
    pub(crate) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            plaintext: Vec::new(),
            outgoing: Vec::new(),
            end: None,
        })
    }

    /// What the client has shown of itself, its own certificate first. It is known after the handshake.
    pub(crate) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.connection.peer_certificates()
    }

    /// Whether the client has come in by a ticket of an earlier connection.
    pub(crate) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Records that are to be written before anything else is.
    pub(crate) fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// So many bytes of them were written. Without any it owns no buffer.
    pub(crate) fn sent(&mut self, count: usize) {
        if count >= self.outgoing.len() {
            self.outgoing = Vec::new();
        } else {
            self.outgoing.drain(..count);
        }
    }

    /// More of the stream, to be decrypted by [`Self::read`].
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }

    /// Bytes that were fed and are not decrypted.
    pub(crate) fn incoming_len(&self) -> usize {
        self.incoming.len()
    }

    /// What was fed and is not decrypted; it is the caller's now, who gives back what is left by [`Self::feed`].
    pub(crate) fn take_incoming(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.incoming)
    }

    /// Goes on with the handshake as far as what was fed allows. What came behind it is kept.
    pub(crate) fn advance(&mut self) {
        let mut incoming = self.take_incoming();
        let decrypted = self.decrypt(&mut incoming, &mut []);
        incoming.drain(..decrypted.consumed);
        self.incoming = incoming;
    }

    /// Plaintext of what was fed; 0 if no record is complete.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> usize {
        let left = self.take_plaintext(out);
        if left > 0 {
            return left;
        }
        let mut incoming = self.take_incoming();
        let decrypted = self.decrypt(&mut incoming, out);
        if decrypted.consumed < incoming.len() {
            incoming.drain(..decrypted.consumed);
            self.incoming = incoming;
        }
        decrypted.bytes
    }

    /// Whether there is plaintext that had no room.
    pub(crate) fn has_plaintext(&self) -> bool {
        !self.plaintext.is_empty()
    }

    /// What was decrypted before, as much as fits.
    pub(crate) fn take_plaintext(&mut self, out: &mut [u8]) -> usize {
        let count = self.plaintext.len().min(out.len());
        if let (Some(out), Some(bytes)) = (out.get_mut(..count), self.plaintext.get(..count)) {
            out.copy_from_slice(bytes);
        }
        if count == self.plaintext.len() {
            self.plaintext = Vec::new();
        } else {
            self.plaintext.drain(..count);
        }
        count
    }

    /// Decrypts at the front of `stream` until plaintext comes out or no record is complete. What of a record does not
    /// fit is kept. `stream` begins with what was left of the last one, as this call left it.
    pub(crate) fn decrypt(&mut self, stream: &mut [u8], out: &mut [u8]) -> Decrypted {
        let (mut consumed, mut bytes) = (0, 0);
        while self.end.is_none() && bytes == 0 {
            let Some(rest) = stream.get_mut(consumed..) else { break };
            let status = self.connection.process_tls_records(rest);
            consumed += status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        consumed += record.discard;
                        let room = out.get_mut(bytes..).unwrap_or_default();
                        let (now, later) = record.payload.split_at(record.payload.len().min(room.len()));
                        room.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
                        self.plaintext.extend_from_slice(later);
                        bytes += now.len();
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.outgoing),
                // It stands before everything that is written later.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => self.end = Some(End::Closed),
                Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => break,
                // Nobody is allowed to send any.
                Ok(ConnectionState::ReadEarlyData(_)) => self.fail(Error::General("early data".to_owned())),
                Ok(_) => self.fail(Error::General("an unknown state of rustls".to_owned())),
                Err(error) => self.fail(error),
            }
        }
        Decrypted { consumed, bytes }
    }

    /// Nothing more is decrypted. The alert that says why is written.
    fn fail(&mut self, error: Error) {
        self.end = Some(End::Failed(error));
        while self.connection.wants_write() {
            match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut self.outgoing),
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// The peer sends what no MQTT Client has to.
    pub(crate) fn give_up(&mut self) {
        self.fail(Error::General("a message beyond all bounds".to_owned()));
    }

    /// Encrypts plaintext behind the outgoing records.
    ///
    /// # Errors
    /// The connection has failed, or its keys are used up.
    pub(crate) fn encrypt(&mut self, plaintext: &[u8]) -> io::Result<()> {
        self.speak(|traffic, outgoing| {
            seal(outgoing, plaintext.len() + RECORD_OVERHEAD, |room| traffic.encrypt(plaintext, room))
        })
    }

    /// Says that nothing more comes, behind the outgoing records, if that can be said.
    pub(crate) fn close(&mut self) {
        // Whoever has failed was told by an alert.
        let _ = self.speak(|traffic, outgoing| {
            seal(outgoing, RECORD_OVERHEAD, |room| traffic.queue_close_notify(room))
        });
    }

    fn speak(
        &mut self,
        say: impl FnOnce(
            &mut WriteTraffic<'_, rustls::server::ServerConnectionData>,
            &mut Vec<u8>,
        ) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.incoming.is_empty() || self.connection.wants_write() {
            self.advance();
        }
        if matches!(self.end, Some(End::Failed(_))) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match self.connection.process_tls_records(&mut self.incoming).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => say(&mut traffic, &mut self.outgoing),
            Ok(_) | Err(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Appends what `write` writes, with as much room as it asks for.
fn seal(
    outgoing: &mut Vec<u8>,
    guess: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> io::Result<()> {
    let (begin, mut room) = (outgoing.len(), guess);
    loop {
        outgoing.resize(begin + room, 0);
        match write(outgoing.get_mut(begin..).unwrap_or_default()) {
            Ok(count) => {
                outgoing.truncate(begin + count);
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(needed)) if needed.required_size > room => {
                room = needed.required_size;
            }
            Err(error) => {
                outgoing.truncate(begin);
                return Err(io::Error::other(error));
            }
        }
    }
}

/// Appends a message of the handshake.
fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) {
    let begin = outgoing.len();
    while let Err(EncodeError::InsufficientSize(needed)) =
        data.encode(outgoing.get_mut(begin..).unwrap_or_default())
    {
        outgoing.resize(begin + needed.required_size, 0);
    }
}
