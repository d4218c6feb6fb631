//! Room beyond the own outbox for bursts of QoS 0.
//!
//! Many publishers may send a reader more in a moment than it takes in that moment, however fast it is. What exceeds its
//! outbox is taken from a room that all connections share: who keeps up gives it back at once, and those who do not can
//! hold no more than all of it.

use crate::engine::connection::Message;
use crate::engine::keys::ConnectionKey;

use super::Shard;

/// What one connection may have waiting, in outboxes.
const OUTBOXES_MAX: u64 = 16;

/// Bytes of a QoS 0 PUBLISH of 3.1.1 beside topic and payload: type, Remaining Length, length of the topic.
const HEADER_BYTES_MAX: u64 = 7;

impl Shard {
    /// QoS 0 to a connection whose outbox is full. `false` if there is no room.
    pub(super) fn send_burst(&mut self, key: ConnectionKey, message: &Message<'_>, is_retain: bool) -> bool {
        let Some(connection) = self.connections.get(key) else { return false };
        let before = connection.outbox.len() as u64;
        let wanted = HEADER_BYTES_MAX + (message.topic.as_str().len() + message.payload.len()) as u64;
        let has_room = before < self.limits.outbox_bytes.get().saturating_mul(OUTBOXES_MAX)
            && self.stats.outbox_burst_bytes + wanted <= self.limits.outbox_burst_bytes.get();
        if !has_room {
            return false;
        }
        self.send_unacknowledged(key, message, is_retain);
        if let Some(connection) = self.connections.get_mut(key) {
            let added = (connection.outbox.len() as u64).saturating_sub(before);
            connection.burst_bytes += added;
            self.stats.outbox_burst_bytes += added;
        }
        true
    }

    /// The outbox of a connection got shorter: what it no longer needs is room again.
    pub(super) fn shrink_burst(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.burst_bytes > 0)
        else {
            return;
        };
        let beyond = (connection.outbox.len() as u64).saturating_sub(self.limits.outbox_bytes.get());
        let left = connection.burst_bytes.min(beyond);
        let given_back = std::mem::replace(&mut connection.burst_bytes, left) - left;
        self.end_burst(given_back);
    }

    /// So much of the room is free again.
    pub(super) fn end_burst(&mut self, bytes: u64) {
        self.stats.outbox_burst_bytes = self.stats.outbox_burst_bytes.saturating_sub(bytes);
    }
}
