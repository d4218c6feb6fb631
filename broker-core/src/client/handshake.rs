//! CONNECT and CONNACK.

use bytes::BytesMut;
use culex_codec::{
    ClientId, ConnAck, Connect, Decoded, Packet, Properties, PropertiesBuf, Property, PropertyContext,
    ProtocolVersion, ReasonCode, TopicName, decode,
};
use tracing::debug;

use crate::client::error::{ClientError, Refusal};
use crate::client::options::Options;
use crate::client::protocol::Protocol;
use crate::client::session::Session;

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
        let mut properties = PropertiesBuf::new();
        if options.version.is_v5() && !options.clean_session {
            // What Clean Session 0 means in 3.1.1: the Session has no end of its own.
            properties.push(Property::SessionExpiryInterval(u32::MAX))?;
        }
        debug!("sending CONNECT");
        self.wire.write(&Packet::Connect(Connect {
            version: options.version,
            is_bridge: false,
            clean_start: options.clean_session,
            keep_alive: options.keep_alive,
            client_id: ClientId::new(&options.client_id)?,
            will,
            user_name: options.user_name.as_deref(),
            password: options.password.as_ref().map(|password| password.reveal()),
            properties: properties.as_properties(PropertyContext::Connect)?,
        }))
    }

    /// Takes the CONNACK off the front of `input`: whether the Server has a Session for us, or `None` if it is not
    /// all there.
    pub(super) fn handle_conn_ack(&mut self, input: &mut BytesMut) -> Result<Option<bool>, ClientError> {
        let (session_present, len) = match decode(input, self.wire.version, self.packet_bytes_max)? {
            Decoded::Incomplete { .. } => return Ok(None),
            Decoded::Packet { packet: Packet::ConnAck(ack), len } => (self.on_conn_ack(&ack)?, len),
            // [MQTT-3.2.0-1]
            Decoded::Packet { .. } => return Err(ClientError::Protocol("the first packet is not CONNACK")),
        };
        let _ = input.split_to(len);
        Ok(Some(session_present))
    }

    fn on_conn_ack(&mut self, ack: &ConnAck<'_>) -> Result<bool, ClientError> {
        debug!("received CONNACK ({})", ack.reason_code.as_u8());
        if ack.reason_code != ReasonCode::Success {
            return Err(ClientError::Refused(Refusal::from_code(ack.reason_code.as_u8())));
        }
        // In 3.1 the Server does not say whether it has a Session, so ours has to be right.
        if !ack.session_present && self.wire.version != ProtocolVersion::V31 {
            self.session = Session::default();
        }
        if let Some(receive_maximum) = ack.properties.receive_maximum() {
            self.in_flight_max = self.in_flight_max.min(receive_maximum.get());
        }
        self.session.receiver.resume(u16::MAX);
        self.session.sender.resume(self.in_flight_max);
        self.send()?; // [MQTT-4.4.0-1]
        Ok(ack.session_present)
    }
}
