//! Acknowledgements that the owner gives itself. They leave in the order of the messages, whatever the order in which
//! they are given [MQTT-4.6.0-2, MQTT-4.6.0-3].

use std::collections::VecDeque;

use culex_codec::{PacketId, QoS};

use crate::client::error::ClientError;
use crate::client::protocol::Protocol;
use crate::engine::qos::PublishOutcome;

/// QoS 1 and 2 messages of this connection without PUBACK or PUBREC, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Held(VecDeque<Message>);

#[derive(Debug)]
struct Message {
    packet_id: PacketId,
    qos: QoS,
    /// The owner has acknowledged it; an earlier one is in the way.
    is_acknowledged: bool,
}

impl Held {
    /// QoS 2 messages that the owner has acknowledged and the Server does not know of yet.
    pub(super) fn taken_len(&self) -> usize {
        let is_taken = |message: &&Message| message.is_acknowledged && message.qos == QoS::ExactlyOnce;
        self.0.iter().filter(is_taken).count()
    }
}

impl Protocol {
    /// A message whose acknowledgement is the owner's. `false` if the owner has had it already.
    pub(super) fn hold(&mut self, packet_id: PacketId, qos: QoS) -> Result<bool, ClientError> {
        let Some(Held(held)) = &mut self.held else { return Ok(true) };
        if held.iter().any(|message| message.packet_id == packet_id) {
            return Ok(false);
        }
        if held.len() >= self.receive_maximum.into() {
            return Err(ClientError::Protocol("more messages in flight than the Receive Maximum"));
        }
        // Acknowledged over an earlier connection, whose PUBREC was lost [MQTT-4.3.3-2].
        let is_acknowledged = qos == QoS::ExactlyOnce && self.session.receiver.is_awaiting_pubrel(packet_id);
        held.push_back(Message { packet_id, qos, is_acknowledged });
        self.release_held()?;
        Ok(!is_acknowledged)
    }

    /// The owner has dealt with a message. Unknown identifiers, and a second time, mean nothing.
    pub(super) fn acknowledge(&mut self, packet_id: PacketId) -> Result<(), ClientError> {
        let Some(Held(held)) = &mut self.held else { return Ok(()) };
        // In order it is the first one.
        let found = held.iter_mut().find(|message| message.packet_id == packet_id);
        let Some(message) = found.filter(|message| !message.is_acknowledged) else { return Ok(()) };
        message.is_acknowledged = true;
        if message.qos == QoS::ExactlyOnce {
            match self.session.receiver.on_publish(packet_id) {
                Ok(PublishOutcome::Fresh | PublishOutcome::Duplicate) => {}
                Err(_) => return Err(ClientError::Protocol("too many messages in flight")),
            }
        }
        self.release_held()
    }

    fn release_held(&mut self) -> Result<(), ClientError> {
        let Some(Held(held)) = &mut self.held else { return Ok(()) };
        while let Some(message) = held.pop_front_if(|message| message.is_acknowledged) {
            match message.qos {
                QoS::AtMostOnce | QoS::AtLeastOnce => self.wire.pub_ack(message.packet_id)?,
                QoS::ExactlyOnce => self.wire.pub_rec(message.packet_id)?,
            }
        }
        Ok(())
    }
}
