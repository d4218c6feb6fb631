//! Queued messages that may not reach their client any more.

use crate::engine::keys::SessionKey;
use crate::engine::qos::Outgoing;
use crate::engine::store::Record;

use super::{Shard, Turn};

impl Shard {
    /// Drops from the front of a queue what its client may not receive. A right may have been taken away since it was
    /// queued, or since it was sent over a connection that has ended: then its Packet Identifier is free again, and an
    /// acknowledgement that comes nevertheless is one of an unknown id.
    pub(super) fn drop_denied(&mut self, turn: &Turn<'_>, key: SessionKey) {
        loop {
            let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return };
            let Some(next) = session.sender.next_message().cloned() else { return };
            // What only the store has is looked at when it is here.
            let Some(body) = next.body() else { return };
            if self.gatekeeper.lets_receive(session, body.topic()) {
                return;
            }
            let Some(dropped) = session.sender.drop_next() else { return };
            let id = session.id;
            self.stats.deliveries_denied += 1;
            self.note_dequeued(turn, 1, dropped.bytes());
            if let Some(session) = id {
                self.gate.record(Record::Done { session, entry: next.entry() });
            }
        }
    }
}
