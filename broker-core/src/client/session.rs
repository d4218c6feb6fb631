//! Session State of a Client (section 4.1).

use culex_codec::PacketId;

use crate::engine::qos::{Receiver, Sender};

use crate::client::message::Publication;

/// What has been sent and is not acknowledged, and the QoS 2 messages that came and are not released. It survives a
/// lost connection; see [`Connection::into_session`](crate::client::Connection::into_session).
#[derive(Debug)]
pub struct Session {
    pub(super) sender: Sender<Publication>,
    pub(super) receiver: Receiver,
}

impl Default for Session {
    fn default() -> Self {
        // The first connection says how many messages may be in flight.
        Self { sender: Sender::new(0), receiver: Receiver::new(u16::MAX) }
    }
}

impl Session {
    /// Whether there is nothing that another connection would have to go on with.
    pub(crate) fn is_empty(&self) -> bool {
        self.sender.queued_len() == 0 && self.receiver.awaiting_pubrel_len() == 0
    }

    /// Forgets a message in flight that the Server is not to get again; false if there is none. One of QoS 2 that the
    /// Server has said to have stays.
    pub fn give_up(&mut self, packet_id: PacketId) -> bool {
        self.sender.on_puback(packet_id).is_ok() || self.sender.on_pubrec(packet_id, true).is_ok()
    }

    /// Notes a QoS 2 message that was dealt with after its connection had ended: when the Server sends it again, it is
    /// acknowledged and does not come a second time.
    pub fn took(&mut self, packet_id: PacketId) {
        self.receiver.restore(packet_id);
    }

    /// QoS 1 and 2 messages without a final acknowledgement.
    pub fn in_flight(&self) -> usize {
        self.sender.in_flight_len()
    }
}
