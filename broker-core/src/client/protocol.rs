//! The protocol of a Client after CONNACK, without input or output: packets in, events and bytes out.

use std::collections::VecDeque;

use crate::engine::qos::{AckError, PublishOutcome, PubrecOutcome, SendAction};
use bytes::{Bytes, BytesMut};
use culex_codec::{
    Ack, Decoded, Disconnect, Packet, PacketId, Properties, QoS, ReasonCode, Subscribe, SubscribeFiltersBuf,
    SubscriptionOptions, TopicFilter, Unsubscribe, UnsubscribeFiltersBuf, decode,
};
use tracing::debug;

use crate::client::error::ClientError;
use crate::client::granted::Granted;
use crate::client::held::Held;
use crate::client::message::{Event, Message, Publication};
use crate::client::options::Options;
use crate::client::reason::{Reason, text_of};
use crate::client::session::Session;
use crate::client::wire::{Incoming, Wire};

/// State of one connection and its Session.
#[derive(Debug)]
pub(super) struct Protocol {
    pub(super) wire: Wire,
    pub(super) session: Session,
    pub(super) packet_bytes_max: u32,
    pub(super) in_flight_max: u16,
    /// Of ours; 65,535 before 5.0.
    pub(super) receive_maximum: u16,
    pub(super) granted: Granted,
    /// What the owner has not taken yet; one packet causes one event at most, and CONNACK one for each message in flight.
    pub(super) events: VecDeque<Event>,
    is_written_wanted: bool,
    is_draining: bool,
    is_ping_answered: bool,
    pub(super) held: Option<Held>,
}

impl Protocol {
    pub(super) fn new(options: &Options, session: Session) -> Self {
        Self {
            wire: Wire { version: options.version, out: BytesMut::new() },
            session,
            packet_bytes_max: options.packet_bytes_max,
            in_flight_max: options.in_flight.max(1),
            receive_maximum: options.receive_maximum(),
            granted: Granted::asked(options),
            events: VecDeque::new(),
            is_written_wanted: false,
            is_draining: false,
            is_ping_answered: true,
            held: options.is_manual_ack.then(Held::default),
        }
    }

    /// Takes one packet off the front of `input`; gives how many more bytes it needs, 0 if it was whole.
    pub(super) fn handle(&mut self, input: &mut BytesMut) -> Result<usize, ClientError> {
        let (packet, len) = match decode(input, self.wire.version, self.packet_bytes_max)? {
            Decoded::Incomplete { need } => return Ok(need),
            Decoded::Packet { packet, len } => (packet, len),
        };
        if let Packet::Publish(publish) = packet {
            let incoming = Incoming::new(&publish);
            let bytes = input.split_to(len).freeze();
            self.on_publish(incoming, &bytes)?;
        } else {
            self.on_control(&packet)?;
            let _ = input.split_to(len);
        }
        Ok(0)
    }

    fn on_control(&mut self, packet: &Packet<'_>) -> Result<(), ClientError> {
        match packet {
            Packet::PubAck(ack) => self.on_pub_ack(ack),
            Packet::PubRec(ack) => self.on_pub_rec(ack),
            Packet::PubRel(ack) => self.on_pub_rel(ack),
            Packet::PubComp(ack) => self.on_pub_comp(ack),
            Packet::SubAck(ack) => {
                debug!("received SUBACK (Mid: {})", ack.packet_id.get());
                self.answered(ack.packet_id)?;
                let (packet_id, codes) = (ack.packet_id, ack.reason_codes.to_vec());
                let text = text_of(ack.properties);
                self.events.push_back(Event::Subscribed { packet_id, codes, text });
                Ok(())
            }
            Packet::UnsubAck(ack) => {
                debug!("received UNSUBACK (Mid: {})", ack.packet_id.get());
                self.answered(ack.packet_id)?;
                self.events.push_back(Event::Unsubscribed { packet_id: ack.packet_id });
                Ok(())
            }
            Packet::PingResp => {
                debug!("received PINGRESP");
                self.is_ping_answered = true;
                Ok(())
            }
            Packet::Disconnect(disconnect) if self.wire.version.is_v5() => {
                let reason = Reason::of(disconnect.reason_code, disconnect.properties);
                Err(ClientError::Disconnected(reason))
            }
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Publish(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Disconnect(_)
            | Packet::Auth(_) => Err(ClientError::Unexpected(packet.packet_type())),
        }
    }

    fn on_publish(&mut self, incoming: Incoming, bytes: &Bytes) -> Result<(), ClientError> {
        let Incoming { topic, qos, is_retained, is_duplicate, packet_id, properties, payload_len } = incoming;
        let topic = topic.ok_or(ClientError::Protocol("a Topic Alias, which we did not allow"))?;
        debug!(
            "received PUBLISH (d{}, q{}, r{}, m{}, '{topic}', ... ({payload_len} bytes))",
            u8::from(is_duplicate),
            qos.bits(),
            u8::from(is_retained),
            packet_id.map_or(0, PacketId::get),
        );
        // What was taken before is brought to its end.
        let is_taken = qos == QoS::ExactlyOnce
            && packet_id.is_some_and(|id| self.session.receiver.is_awaiting_pubrel(id));
        if self.is_draining && !is_taken {
            // Without an acknowledgement the Server keeps it for the next connection of this Session.
            return Ok(());
        }
        match (qos, packet_id) {
            (QoS::AtLeastOnce | QoS::ExactlyOnce, Some(packet_id)) if self.held.is_some() => {
                if !self.hold(packet_id, qos)? {
                    return Ok(());
                }
            }
            (QoS::AtLeastOnce, Some(packet_id)) => self.wire.pub_ack(packet_id)?,
            (QoS::ExactlyOnce, Some(packet_id)) => {
                let outcome = self.session.receiver.on_publish(packet_id);
                let outcome = outcome.map_err(|_| ClientError::Protocol("too many messages in flight"))?;
                self.wire.pub_rec(packet_id)?;
                if outcome == PublishOutcome::Duplicate {
                    return Ok(());
                }
            }
            (QoS::AtMostOnce | QoS::AtLeastOnce | QoS::ExactlyOnce, _) => {}
        }
        let payload = bytes.slice(bytes.len().saturating_sub(payload_len)..);
        let message = Message { topic, payload, qos, is_retained, is_duplicate, packet_id, properties };
        self.events.push_back(Event::Message(message));
        Ok(())
    }

    fn on_pub_ack(&mut self, ack: &Ack<'_>) -> Result<(), ClientError> {
        debug!("received PUBACK (Mid: {}, RC:{})", ack.packet_id.get(), ack.reason_code.as_u8());
        let result = self.session.sender.on_puback(ack.packet_id).map(|_| ());
        self.ended(ack, result)
    }

    fn on_pub_rec(&mut self, ack: &Ack<'_>) -> Result<(), ClientError> {
        debug!("received PUBREC (Mid: {})", ack.packet_id.get());
        match self.session.sender.on_pubrec(ack.packet_id, ack.reason_code.is_error()) {
            Ok(PubrecOutcome::Refused(_)) => self.ended(ack, Ok(())),
            Ok(PubrecOutcome::Release(_) | PubrecOutcome::ReleaseAgain { .. }) => {
                self.wire.pub_rel(ack.packet_id)
            }
            Err(AckError::UnknownPacketId(_)) if ack.reason_code.is_error() => Ok(()),
            // The Server goes on asking until it gets one.
            Err(AckError::UnknownPacketId(_)) => self.wire.pub_rel(ack.packet_id),
            Err(error @ AckError::WrongPhase { .. }) => Err(error.into()),
        }
    }

    fn on_pub_rel(&mut self, ack: &Ack<'_>) -> Result<(), ClientError> {
        debug!("received PUBREL (Mid: {})", ack.packet_id.get());
        self.session.receiver.on_pubrel(ack.packet_id);
        self.wire.pub_comp(ack.packet_id)
    }

    fn on_pub_comp(&mut self, ack: &Ack<'_>) -> Result<(), ClientError> {
        debug!("received PUBCOMP (Mid: {}, RC:{})", ack.packet_id.get(), ack.reason_code.as_u8());
        let result = self.session.sender.on_pubcomp(ack.packet_id).map(|_| ());
        self.ended(ack, result)
    }

    /// The end of an exchange. One that is unknown had ended before: the Server repeats itself.
    fn ended(&mut self, ack: &Ack<'_>, result: Result<(), AckError>) -> Result<(), ClientError> {
        match result {
            Ok(()) => {
                let (packet_id, reason) = (ack.packet_id, Reason::of(ack.reason_code, ack.properties));
                self.events.push_back(Event::Published { packet_id, reason });
                // More may be in flight from the last connection than the window of this one has room for.
                self.send().map(drop)
            }
            Err(AckError::UnknownPacketId(_)) => Ok(()),
            Err(error @ AckError::WrongPhase { .. }) => Err(error.into()),
        }
    }

    fn answered(&mut self, packet_id: PacketId) -> Result<(), ClientError> {
        if self.session.sender.release_packet_id(packet_id) {
            Ok(())
        } else {
            Err(ClientError::Protocol("an answer to a request that was never made"))
        }
    }

    pub(super) fn set_in_flight(&mut self, messages: u16) -> Result<(), ClientError> {
        self.in_flight_max = messages.max(1).min(self.granted.receive_maximum);
        self.session.sender.set_receive_maximum(self.in_flight_max);
        self.send().map(drop)
    }

    /// Whether another QoS 1 or 2 message may be sent.
    pub(super) fn has_room(&self) -> bool {
        let sender = &self.session.sender;
        let queued = sender.queued_len();
        // Each needs a Packet Identifier beside those of SUBSCRIBE.
        queued < usize::from(self.in_flight_max) && queued + sender.reserved_len() < usize::from(u16::MAX)
    }

    pub(super) fn publish(&mut self, publication: Publication) -> Result<Option<PacketId>, ClientError> {
        let packet_bytes = self.wire.publish_len(&publication)?;
        if let Some(code) = self.granted.objection(&publication, packet_bytes) {
            return Err(ClientError::NotGranted(code));
        }
        self.is_written_wanted = true;
        if publication.qos == QoS::AtMostOnce {
            return self.wire.publish(&publication, None, false).map(|()| None);
        }
        if !self.has_room() {
            return Err(ClientError::WindowFull);
        }
        self.session.sender.push(publication);
        self.send()
    }

    /// QoS 0 messages that are encoded.
    pub(super) fn write_packets(&mut self, packets: BytesMut) {
        self.is_written_wanted = true;
        if self.wire.out.is_empty() {
            self.wire.out = packets;
        } else {
            self.wire.out.extend_from_slice(&packets);
        }
    }

    /// Writes what the Session has to send; gives the last Packet Identifier.
    pub(super) fn send(&mut self) -> Result<Option<PacketId>, ClientError> {
        let mut last = None;
        while let Some(sending) = self.session.sender.next_to_send() {
            last = Some(sending.packet_id);
            match sending.action {
                SendAction::Publish { message, is_dup, .. } => self.wire.publish(message, last, is_dup)?,
                SendAction::PubRel => self.wire.pub_rel(sending.packet_id)?,
            }
        }
        Ok(last)
    }

    /// Sends a message, or its PUBREL, once more over the same connection; false if it is not in flight.
    pub(super) fn resend(&mut self, packet_id: PacketId) -> Result<bool, ClientError> {
        let mut in_flight = self.session.sender.in_flight();
        match in_flight.find(|sending| sending.packet_id == packet_id).map(|sending| sending.action) {
            Some(SendAction::Publish { message, .. }) => self.wire.publish(message, Some(packet_id), true)?,
            Some(SendAction::PubRel) => self.wire.pub_rel(packet_id)?,
            None => return Ok(false),
        }
        self.is_written_wanted = true;
        Ok(true)
    }

    pub(super) fn subscribe<O: Into<SubscriptionOptions> + Copy>(
        &mut self,
        filters: &[(TopicFilter<'_>, O)],
    ) -> Result<PacketId, ClientError> {
        let mut requests = SubscribeFiltersBuf::new();
        let packet_id = self.request()?;
        for (filter, options) in filters {
            let options: SubscriptionOptions = (*options).into();
            requests.push(*filter, options);
            let qos = options.qos.bits();
            debug!("sending SUBSCRIBE (Mid: {}, Topic: {filter}, QoS: {qos})", packet_id.get());
        }
        let filters = requests.as_filters();
        let packet = Packet::Subscribe(Subscribe { packet_id, properties: Properties::EMPTY, filters });
        self.send_request(packet_id, &packet)
    }

    pub(super) fn unsubscribe(&mut self, filters: &[TopicFilter<'_>]) -> Result<PacketId, ClientError> {
        let mut requests = UnsubscribeFiltersBuf::new();
        let packet_id = self.request()?;
        for filter in filters {
            requests.push(*filter);
            debug!("sending UNSUBSCRIBE (Mid: {}, Topic: {filter})", packet_id.get());
        }
        let filters = requests.as_filters();
        let packet = Packet::Unsubscribe(Unsubscribe { packet_id, properties: Properties::EMPTY, filters });
        self.send_request(packet_id, &packet)
    }

    fn request(&mut self) -> Result<PacketId, ClientError> {
        self.session.sender.reserve_packet_id().ok_or(ClientError::WindowFull)
    }

    fn send_request(&mut self, packet_id: PacketId, packet: &Packet<'_>) -> Result<PacketId, ClientError> {
        let written = match packet.encoded_len(self.wire.version) {
            Ok(bytes) if self.granted.is_too_large(bytes) => {
                Err(ClientError::NotGranted(ReasonCode::PacketTooLarge))
            }
            Ok(_) => self.wire.write(packet),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = written {
            self.session.sender.release_packet_id(packet_id);
            return Err(error);
        }
        Ok(packet_id)
    }

    pub(super) fn ping(&mut self) -> Result<(), ClientError> {
        debug!("sending PINGREQ");
        self.is_ping_answered = false;
        self.wire.write(&Packet::PingReq)
    }

    pub(super) fn is_ping_answered(&self) -> bool {
        self.is_ping_answered
    }

    /// From now on nothing new is accepted.
    pub(super) fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Whether PUBREC was sent for a QoS 2 message that is still unreleased.
    pub(super) fn is_receiving(&self) -> bool {
        let without_pubrec = self.held.as_ref().map_or(0, Held::taken_len);
        self.session.receiver.awaiting_pubrel_len() > without_pubrec
    }

    pub(super) fn disconnect(&mut self) -> Result<(), ClientError> {
        debug!("sending DISCONNECT");
        self.wire.write(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)))
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if self.is_written_wanted && self.wire.out.is_empty() {
            self.is_written_wanted = false;
            return Some(Event::Written);
        }
        None
    }
}
