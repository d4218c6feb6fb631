//! PUBLISH and PUBREL from a client.

use bytes::Bytes;
use culex_codec::{Ack, DecodeError, Publish, QoS, TopicName};

use crate::engine::connection::Message;
use crate::engine::error::{CloseReason, ProtocolError};
use crate::engine::keys::{ConnectionKey, PublicationId};
use crate::engine::qos::{PublishOutcome, PubrelOutcome};
use crate::engine::question::Handshake;
use crate::engine::store::Record;
use crate::engine::terms::Terms;
use crate::engine::topics::{is_of_host, is_reserved};

use super::answers::Answer;
use super::deliver::Inbound;
use super::{Shard, Turn};

/// What a PUBLISH wants to be delivered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) topic: TopicName<'a>,
    pub(super) payload: &'a [u8],
    /// The payload again, in a form that can be shared.
    pub(super) shared: Option<&'a Bytes>,
    pub(super) qos: QoS,
    pub(super) is_retain: bool,
    /// Whether anything that it waits for was looked for by this topic.
    pub(super) has_passed: bool,
}

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
        self.topic_limits(key).check(topic.as_str()).map_err(CloseReason::Protocol)?;
        self.stats.note_received(publish.qos);
        self.stats.payload_bytes_received += publish.payload.len() as u64;
        let handshake = Handshake::new(publish.qos, publish.packet_id);
        let content = Content {
            topic,
            payload: publish.payload,
            shared: None,
            qos: publish.qos,
            is_retain: publish.retain,
            has_passed: true,
        };
        if is_reserved(topic.as_str()) || self.is_of_another(key, topic) {
            // [MQTT-3.3.5-2]: acknowledged as ever, and dropped.
            self.stats.messages_reserved_topic += 1;
            return self.take(turn, key, handshake, None);
        }
        if !self.may_publish(key, topic) {
            self.stats.messages_refused += 1;
            return self.take(turn, key, handshake, None);
        }
        if self.is_asked(key, |shard| shard.asks.publish) && !self.is_repeat(key, handshake) {
            self.ask_publish(turn, key, handshake, content);
            return Ok(());
        }
        self.take(turn, key, handshake, Some(content))
    }

    /// Whether only others publish there.
    pub(super) fn is_of_another(&self, key: ConnectionKey, topic: TopicName<'_>) -> bool {
        is_of_host(topic.as_str())
            && self.connections.get(key).is_none_or(|connection| !connection.is_trusted)
    }

    pub(super) fn may_publish(&mut self, key: ConnectionKey, topic: TopicName<'_>) -> bool {
        if !self.gatekeeper.is_on() {
            return true;
        }
        let Some(connection) = self.connections.get(key) else { return false };
        let key = connection.session;
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return false };
        self.gatekeeper.rights(session).is_none_or(|rights| rights.may_publish(topic))
    }

    /// Whether the message was taken before, so that nobody has to be asked about it.
    pub(super) fn is_repeat(&self, key: ConnectionKey, handshake: Handshake) -> bool {
        let Handshake::PubRec(packet_id) = handshake else { return false };
        self.connected_session(key).is_some_and(|session| session.receiver.is_awaiting_pubrel(packet_id))
    }

    /// Takes a message from its client: hands on what of it shall be delivered, and acknowledges it.
    pub(super) fn take(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        handshake: Handshake,
        content: Option<Content<'_>>,
    ) -> Result<(), CloseReason> {
        let Some(connection) = self.connections.get(key) else { return Ok(()) };
        let (publisher, waits_for_queues) = (connection.session, connection.waits_for_queues);
        let incoming_max = Terms::limits(&connection.terms, &self.limits).incoming_in_flight;
        let mut inbound = content.map(|content| Inbound {
            message: Message {
                id: PublicationId(0),
                topic: content.topic,
                payload: content.payload,
                shared: content.shared,
                kept: None,
            },
            qos: content.qos,
            is_retain: content.is_retain,
            publisher: Some((self.id, publisher)),
            author: Some(publisher),
            incoming: None,
            waits: waits_for_queues && content.has_passed,
        });
        match handshake {
            Handshake::Nothing => {
                self.accept(turn, inbound.as_ref());
            }
            Handshake::PubAck(packet_id) => {
                let is_promise = self.accept(turn, inbound.as_ref());
                self.answer(turn, key, Answer::PubAck(packet_id), is_promise); // [MQTT-4.3.2-2]
            }
            Handshake::PubRec(packet_id) => {
                let Some(session) = self.session_mut(publisher) else { return Ok(()) };
                let arrival = session
                    .receiver
                    .on_publish(packet_id)
                    .map_err(|_| CloseReason::Protocol(ProtocolError::TooManyInFlight(incoming_max)))?;
                let incoming = session.id.map(|id| (id, packet_id));
                let is_promise = match arrival {
                    PublishOutcome::Fresh => {
                        if let Some(inbound) = &mut inbound {
                            inbound.incoming = incoming;
                        }
                        self.accept(turn, inbound.as_ref())
                    }
                    PublishOutcome::Duplicate => {
                        // [MQTT-4.3.3-2]: PUBREC again, the message not again. The first may still wait for the
                        // store, and this one must not overtake it.
                        self.stats.messages_duplicate += 1;
                        incoming.is_some()
                    }
                };
                self.answer(turn, key, Answer::PubRec(packet_id), is_promise);
            }
        }
        Ok(())
    }

    fn accept(&mut self, turn: &mut Turn<'_>, inbound: Option<&Inbound<'_>>) -> bool {
        inbound.is_some_and(|inbound| self.route(turn, inbound))
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
        // PUBCOMP also for an unknown Packet Identifier: it answers a PUBREL that came twice, of which the first, on an
        // older connection perhaps, may still wait for the store.
        let is_promise = session.id.is_some();
        if let Some(session) = session.id.filter(|_| is_known) {
            self.gate.record(Record::Released { session, packet_id: ack.packet_id });
        }
        self.answer(turn, key, Answer::PubComp(ack.packet_id), is_promise);
        Ok(())
    }
}
