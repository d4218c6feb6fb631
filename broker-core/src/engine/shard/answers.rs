//! The gate: answers that promise something wait until the store has it.
//!
//! A shard numbers its batches and the store commits them in order, so one number says it all: an answer waits for
//! the batch that was open when it was given. While a connection has anything held, its later answers queue up
//! behind, needed or not, because acknowledgements leave in the order of their packets [MQTT-4.6.0-2, -3].

use std::collections::{BTreeMap, VecDeque};

use culex_codec::{Ack, ConnAck, Packet, PacketId, Properties, ReasonCode, SubAck, UnsubAck};
use smallvec::SmallVec;

use crate::engine::keys::{BatchNumber, ConnectionKey, SessionId};
use crate::engine::question::Handshake;
use crate::engine::session::Queued;
use crate::engine::store::{Record, StoreBatch};

use super::{Effect, Shard, Turn};

/// Something a client waits for.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    ConnAck {
        is_session_present: bool,
    },
    PubAck(PacketId),
    PubRec(PacketId),
    PubComp(PacketId),
    SubAck(PacketId, SmallVec<[u8; 8]>),
    UnsubAck(PacketId),
    /// A QoS 2 message may leave.
    Publish {
        packet_id: PacketId,
        queued: Queued,
        is_dup: bool,
    },
    PubRel(PacketId),
    /// PUBACK or PUBREC of a message that was not taken, because the store is full.
    Refused(Handshake),
}

impl Answer {
    /// Whether a packet of the client has it as its answer, so that it is the client who waits.
    const fn is_awaited(&self) -> bool {
        match self {
            Self::ConnAck { .. }
            | Self::PubAck(_)
            | Self::PubRec(_)
            | Self::PubComp(_)
            | Self::SubAck(..)
            | Self::UnsubAck(_)
            | Self::Refused(_) => true,
            Self::Publish { .. } | Self::PubRel(_) => false,
        }
    }
}

/// The batch that is being filled, and what waits for it and those before it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    open: Vec<Record>,
    /// The newest batch that was handed out.
    newest: BatchNumber,
    stored: BatchNumber,
    /// ClientIds whose sessions have ended in a batch that the store does not have yet.
    ends: BTreeMap<Box<str>, BatchNumber>,
    held: VecDeque<(BatchNumber, ConnectionKey, Answer)>,
}

impl Gate {
    /// Says which batch will have it.
    pub(super) fn record(&mut self, record: Record) -> BatchNumber {
        self.open.push(record);
        BatchNumber(self.newest.0 + 1)
    }

    /// Whether the store has everything through this batch.
    pub(super) fn is_stored(&self, through: BatchNumber) -> bool {
        through <= self.stored
    }

    pub(super) fn record_end(&mut self, session: SessionId, client_id: &str) {
        let batch = self.record(Record::SessionEnded { session });
        self.ends.insert(client_id.into(), batch);
    }

    /// Whether a session of this ClientId that has ended may still come back by a crash.
    pub(super) fn awaits_end(&self, client_id: &str) -> bool {
        self.ends.contains_key(client_id)
    }

    fn note_stored(&mut self, through: BatchNumber) {
        self.stored = self.stored.max(through.min(self.newest));
        if !self.ends.is_empty() {
            self.ends.retain(|_, batch| *batch > self.stored);
        }
    }

    /// The batch that has all records so far, unless the store has it already.
    fn pending(&self) -> Option<BatchNumber> {
        if !self.open.is_empty() {
            Some(BatchNumber(self.newest.0 + 1))
        } else if self.newest > self.stored {
            Some(self.newest)
        } else {
            None
        }
    }

    pub(super) fn close_batch(&mut self) -> Option<StoreBatch> {
        if self.open.is_empty() {
            return None;
        }
        self.newest.0 += 1;
        Some(StoreBatch { number: self.newest, records: std::mem::take(&mut self.open) })
    }

    fn pop_released(&mut self) -> Option<(ConnectionKey, Answer)> {
        let (batch, _, _) = self.held.front()?;
        if *batch > self.stored {
            return None;
        }
        self.held.pop_front().map(|(_, key, answer)| (key, answer))
    }
}

impl Shard {
    /// Whether the store has not yet said that it has everything that was recorded.
    pub fn awaits_store(&self) -> bool {
        self.gate.pending().is_some()
    }

    /// The store has everything through this batch.
    pub fn handle_stored(&mut self, turn: &mut Turn<'_>, through: BatchNumber) {
        self.gate.note_stored(through);
        while let Some((key, answer)) = self.gate.pop_released() {
            if let Some(connection) = self.connections.get_mut(key) {
                let was_reading = connection.is_reading();
                connection.held = connection.held.saturating_sub(1);
                connection.note_wait();
                if connection.is_reading() && !was_reading {
                    connection.last_packet = turn.now.tick;
                    self.effects.push_back(Effect::Resume { connection: key });
                }
                self.give(turn, key, answer);
            }
        }
    }

    /// Gives an answer now, or when the store has what it promises.
    pub(super) fn answer(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        answer: Answer,
        is_promise: bool,
    ) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if (is_promise || connection.held > 0)
            && let Some(batch) = self.gate.pending()
        {
            connection.held += 1;
            if answer.is_awaited() {
                connection.waits_since.get_or_insert(turn.now.tick);
            }
            self.gate.held.push_back((batch, key, answer));
        } else {
            self.give(turn, key, answer);
        }
    }

    fn give(&mut self, turn: &mut Turn<'_>, key: ConnectionKey, answer: Answer) {
        let packet = match answer {
            Answer::ConnAck { is_session_present } => return self.open(turn, key, is_session_present),
            Answer::Publish { packet_id, queued, is_dup } => {
                return self.send_stored(key, packet_id, &queued, is_dup);
            }
            Answer::PubAck(id) => Packet::PubAck(ack(id)),
            Answer::PubRec(id) => Packet::PubRec(ack(id)),
            Answer::PubRel(id) => Packet::PubRel(ack(id)),
            Answer::Refused(Handshake::PubAck(id)) => Packet::PubAck(no_room(id)),
            Answer::Refused(Handshake::PubRec(id)) => Packet::PubRec(no_room(id)),
            Answer::Refused(Handshake::Nothing) => return,
            Answer::PubComp(id) => Packet::PubComp(ack(id)),
            Answer::SubAck(packet_id, codes) => {
                let packet = SubAck { packet_id, properties: Properties::EMPTY, reason_codes: &codes };
                self.connections.send(key, &Packet::SubAck(packet));
                return;
            }
            Answer::UnsubAck(packet_id) => {
                Packet::UnsubAck(UnsubAck { packet_id, properties: Properties::EMPTY, reason_codes: &[] })
            }
        };
        self.connections.send(key, &packet);
    }
}

fn ack(packet_id: PacketId) -> Ack<'static> {
    Ack { packet_id, reason_code: ReasonCode::Success, properties: Properties::EMPTY }
}

/// 0x97: the quota is that of the disk.
fn no_room(packet_id: PacketId) -> Ack<'static> {
    Ack { packet_id, reason_code: ReasonCode::QuotaExceeded, properties: Properties::EMPTY }
}

/// A CONNACK without properties.
pub fn connack(is_session_present: bool, reason_code: ReasonCode) -> Packet<'static> {
    Packet::ConnAck(ConnAck {
        session_present: is_session_present,
        reason_code,
        properties: Properties::EMPTY,
    })
}
