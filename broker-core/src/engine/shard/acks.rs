//! Acknowledgements of a client for what it received.

use culex_codec::{Ack, PacketType};

use crate::engine::error::{CloseReason, ProtocolError};
use crate::engine::keys::{ConnectionKey, SessionKey};
use crate::engine::qos::{AckError, Acked, Outgoing, PubrecOutcome};
use crate::engine::session::{Queued, Session};
use crate::engine::store::Record;

use super::answers::Answer;
use super::{Shard, Turn};

impl Shard {
    pub(super) fn on_puback(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        ack: &Ack<'_>,
    ) -> Result<(), CloseReason> {
        let Some((session_key, session)) = self.session_of(key) else { return Ok(()) };
        match session.sender.on_puback(ack.packet_id) {
            Ok(acked) => {
                self.note_done(turn, session_key, &acked);
                self.send_more(turn, session_key);
                Ok(())
            }
            Err(error) => tolerate(error, PacketType::PubAck),
        }
    }

    pub(super) fn on_pubrec(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        ack: &Ack<'_>,
    ) -> Result<(), CloseReason> {
        let Some((session_key, session)) = self.session_of(key) else { return Ok(()) };
        let id = session.id;
        let is_promise = match session.sender.on_pubrec(ack.packet_id, ack.reason_code.is_error()) {
            Ok(PubrecOutcome::Release(acked)) => {
                self.note_acked(turn, session_key, 0, &acked);
                if let Some(session) = id {
                    let (entry, ordinal) = (acked.message.entry(), acked.ordinal);
                    self.gate.record(Record::Received { session, entry, ordinal });
                }
                id.is_some()
            }
            // The first PUBREC may still wait for the store, and with it PUBREL.
            Ok(PubrecOutcome::ReleaseAgain { .. }) => id.is_some(),
            Ok(PubrecOutcome::Refused(acked)) => {
                self.note_done(turn, session_key, &acked);
                self.send_more(turn, session_key);
                return Ok(());
            }
            // 3.1.1 has no way to say that the id is unknown; PUBREL lets the client finish.
            Err(AckError::UnknownPacketId(_)) => false,
            Err(error @ AckError::WrongPhase { .. }) => return tolerate(error, PacketType::PubRec),
        };
        self.answer(turn, key, Answer::PubRel(ack.packet_id), is_promise); // [MQTT-4.6.0-4]
        Ok(())
    }

    pub(super) fn on_pubcomp(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        ack: &Ack<'_>,
    ) -> Result<(), CloseReason> {
        let Some((session_key, session)) = self.session_of(key) else { return Ok(()) };
        let id = session.id;
        match session.sender.on_pubcomp(ack.packet_id) {
            Ok(ordinal) => {
                self.note_dequeued(turn, 1, 0);
                if let Some(session) = id {
                    self.gate.record(Record::Completed { session, ordinal });
                }
                self.send_more(turn, session_key);
                Ok(())
            }
            Err(error) => tolerate(error, PacketType::PubComp),
        }
    }

    fn session_of(&mut self, key: ConnectionKey) -> Option<(SessionKey, &mut Session)> {
        let session = self.connections.get(key)?.session;
        self.session_mut(session).map(|found| (session, found))
    }

    pub(super) fn note_done(&mut self, turn: &Turn<'_>, key: SessionKey, acked: &Acked<Queued>) {
        self.note_acked(turn, key, 1, acked);
        if let Some(session) = self.session(key).and_then(|session| session.id) {
            self.gate.record(Record::Done { session, entry: acked.message.entry() });
        }
    }

    /// The body of a message in flight is not needed any more, and `messages` leave the queue.
    pub(super) fn note_acked(
        &mut self,
        turn: &Turn<'_>,
        key: SessionKey,
        messages: usize,
        acked: &Acked<Queued>,
    ) {
        let bytes = acked.message.bytes();
        if acked.message.body().is_none() {
            self.note_bare_gone(key, bytes);
        }
        self.note_dequeued(turn, messages, bytes);
    }
}

/// A late answer to something that a take-over or a restart has settled is no fault; one out of order is.
fn tolerate(error: AckError, packet: PacketType) -> Result<(), CloseReason> {
    match error {
        AckError::UnknownPacketId(_) => Ok(()),
        AckError::WrongPhase { packet_id, .. } => {
            let packet_id = packet_id.get();
            Err(CloseReason::Protocol(ProtocolError::WrongAcknowledgement { packet, packet_id }))
        }
    }
}
