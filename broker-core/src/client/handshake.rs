//! CONNECT and CONNACK.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::BytesMut;
use culex_codec::{
    ClientId, ConnAck, Connect, Decoded, EncodeError, Packet, Properties, PropertiesBuf, Property,
    PropertyContext, ProtocolVersion, QoS, ReasonCode, TopicName, decode,
};
use tracing::debug;

use crate::client::error::{ClientError, Foreign, Refusal};
use crate::client::message::{Event, Publication};
use crate::client::options::{Options, PACKET_BYTES_MAX};
use crate::client::protocol::Protocol;
use crate::client::reason::Reason;
use crate::client::session::Session;
use crate::engine::qos::{SendAction, Sending};

impl Protocol {
    pub(super) fn connect(&mut self, options: &Options) -> Result<(), ClientError> {
        let will = match &options.will {
            Some(will) => Some(culex_codec::Will {
                topic: TopicName::new(&will.topic)?,
                payload: &will.payload,
                qos: will.qos,
                retain: will.is_retained,
                properties: Properties::EMPTY,
            }),
            None => None,
        };
        let properties = properties(options)?;
        debug!("sending CONNECT");
        self.wire.write(&Packet::Connect(Connect {
            version: options.version,
            is_bridge: options.is_bridge,
            clean_start: options.clean_session,
            keep_alive: options.keep_alive,
            client_id: ClientId::new(&options.client_id)?,
            will,
            user_name: options.user_name.as_deref(),
            password: options.password.as_ref().map(|password| password.reveal()),
            properties: properties.as_properties(PropertyContext::Connect)?,
        }))
    }

    /// Takes the CONNACK off the front of `input`; false if it is not all there.
    pub(super) fn handle_conn_ack(&mut self, input: &mut BytesMut) -> Result<bool, ClientError> {
        if let Some(foreign) = Foreign::of(input) {
            return Err(ClientError::Foreign(foreign));
        }
        let len = match decode(input, self.wire.version, self.packet_bytes_max)? {
            Decoded::Incomplete { .. } => return Ok(false),
            Decoded::Packet { packet: Packet::ConnAck(ack), len } => {
                self.on_conn_ack(&ack)?;
                len
            }
            // [MQTT-3.2.0-1]
            Decoded::Packet { .. } => return Err(ClientError::Protocol("the first packet is not CONNACK")),
        };
        let _ = input.split_to(len);
        Ok(true)
    }

    fn on_conn_ack(&mut self, ack: &ConnAck<'_>) -> Result<(), ClientError> {
        debug!("received CONNACK ({})", ack.reason_code.as_u8());
        if ack.reason_code != ReasonCode::Success {
            let reason = Reason::of(ack.reason_code, ack.properties);
            return Err(ClientError::Refused { refusal: Refusal::from_code(reason.code), reason });
        }
        // In 3.1 the Server does not say whether it has a Session, so ours has to be right.
        if !ack.session_present && self.wire.version != ProtocolVersion::V31 {
            self.session = Session::default();
        }
        self.granted.answered(ack);
        self.in_flight_max = self.in_flight_max.min(self.granted.receive_maximum);
        self.session.receiver.resume(self.receive_maximum);
        self.end_what_is_not_granted();
        self.session.sender.resume(self.in_flight_max);
        self.send()?; // [MQTT-4.4.0-1]
        Ok(())
    }

    /// Ends what was in flight when the last connection ended, and what this Server would close this one for.
    fn end_what_is_not_granted(&mut self) {
        let Self { wire, session, granted, events, .. } = self;
        let objection = |sending: Sending<'_, Publication>| match sending.action {
            SendAction::Publish { message, qos, .. } => {
                let code = granted.objection(message, wire.publish_len(message).ok()?)?;
                Some((sending.packet_id, qos, code))
            }
            SendAction::PubRel => None,
        };
        let refused: Vec<_> = session.sender.in_flight().filter_map(objection).collect();
        for (packet_id, qos, code) in refused {
            let ended = match qos {
                QoS::ExactlyOnce => session.sender.on_pubrec(packet_id, true).map(drop),
                QoS::AtMostOnce | QoS::AtLeastOnce => session.sender.on_puback(packet_id).map(drop),
            };
            if ended.is_ok() {
                events.push_back(Event::Published { packet_id, reason: Reason::new(code.as_u8()) });
            }
        }
    }
}

/// What CONNECT asks for in 5.0.
fn properties(options: &Options) -> Result<PropertiesBuf, EncodeError> {
    let mut properties = PropertiesBuf::new();
    if !options.version.is_v5() {
        return Ok(properties);
    }
    let session_expiry_s = options.session_expiry_s();
    if session_expiry_s > 0 {
        properties.push(Property::SessionExpiryInterval(session_expiry_s))?;
    }
    if let Some(receive_maximum) =
        NonZeroU16::new(options.receive_maximum).filter(|most| *most < NonZeroU16::MAX)
    {
        properties.push(Property::ReceiveMaximum(receive_maximum))?;
    }
    let is_less = |most: &NonZeroU32| most.get() < PACKET_BYTES_MAX;
    if let Some(packet_bytes_max) = NonZeroU32::new(options.packet_bytes_max).filter(is_less) {
        properties.push(Property::MaximumPacketSize(packet_bytes_max))?;
    }
    Ok(properties)
}
