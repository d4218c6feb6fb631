//! PUBLISH and PUBREL from a client.

use culex_codec::{Ack, DecodeError, Publish, QoS};

use crate::engine::connection::Message;
use crate::engine::error::{CloseReason, ProtocolError};
use crate::engine::keys::{ConnectionKey, PublicationId};
use crate::engine::qos::{PublishOutcome, PubrelOutcome};
use crate::engine::store::Record;
use crate::engine::topics::is_reserved;

use super::answers::Answer;
use super::deliver::Inbound;
use super::{Shard, Turn};

impl Shard {
    pub(super) fn on_publish(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        publish: &Publish<'_>,
    ) -> Result<(), CloseReason> {
        let Some(topic) = publish.topic else {
            return Err(CloseReason::Malformed(DecodeError::TopicMissing));
        };
        self.topic_limits.check(topic.as_str()).map_err(CloseReason::Protocol)?;
        self.stats.messages_received += 1;
        self.stats.payload_bytes_received += publish.payload.len() as u64;
        let Some(connection) = self.connections.get(key) else { return Ok(()) };
        let publisher = connection.session;
        let mut inbound = Inbound {
            message: Message { id: PublicationId(0), topic, payload: publish.payload, shared: None },
            qos: publish.qos,
            is_retain: publish.retain,
            publisher: Some((self.id, publisher)),
            incoming: None,
        };
        match (publish.qos, publish.packet_id) {
            (QoS::AtMostOnce, _) | (QoS::AtLeastOnce | QoS::ExactlyOnce, None) => {
                self.accept(turn, &inbound);
            }
            (QoS::AtLeastOnce, Some(packet_id)) => {
                let is_promise = self.accept(turn, &inbound);
                self.answer(turn, key, Answer::PubAck(packet_id), is_promise); // [MQTT-4.3.2-2]
            }
            (QoS::ExactlyOnce, Some(packet_id)) => {
                let max = self.limits.incoming_in_flight;
                let Some(session) = self.session_mut(publisher) else { return Ok(()) };
                let arrival = session
                    .receiver
                    .on_publish(packet_id)
                    .map_err(|_| CloseReason::Protocol(ProtocolError::TooManyInFlight(max)))?;
                inbound.incoming = session.id.map(|id| (id, packet_id));
                let is_promise = match arrival {
                    PublishOutcome::Fresh => self.accept(turn, &inbound),
                    PublishOutcome::Duplicate => {
                        // [MQTT-4.3.3-2]: PUBREC again, the message not again. The first may still wait for the
                        // store, and this one must not overtake it.
                        self.stats.messages_duplicate += 1;
                        inbound.incoming.is_some()
                    }
                };
                self.answer(turn, key, Answer::PubRec(packet_id), is_promise);
            }
        }
        Ok(())
    }

    fn accept(&mut self, turn: &mut Turn<'_>, inbound: &Inbound<'_>) -> bool {
        if is_reserved(inbound.message.topic.as_str()) {
            // [MQTT-3.3.5-2]: acknowledged as ever, and dropped.
            self.stats.messages_reserved_topic += 1;
            return false;
        }
        self.route(turn, inbound)
    }

    pub(super) fn on_pubrel(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        ack: &Ack<'_>,
    ) -> Result<(), CloseReason> {
        let Some(connection) = self.connections.get(key) else { return Ok(()) };
        let session_key = connection.session;
        let Some(session) = self.session_mut(session_key) else { return Ok(()) };
        let is_known = session.receiver.on_pubrel(ack.packet_id) == PubrelOutcome::Released;
        let record = session
            .id
            .filter(|_| is_known)
            .map(|session| Record::Released { session, packet_id: ack.packet_id });
        let is_promise = record.is_some();
        if let Some(record) = record {
            self.gate.record(record);
        }
        // PUBCOMP also for an unknown Packet Identifier: it answers a PUBREL that came twice.
        self.answer(turn, key, Answer::PubComp(ack.packet_id), is_promise);
        Ok(())
    }
}
