//! CONNACK (section 3.2): Connect Acknowledge Flags, Reason Code or return code, properties (5.0).

use bytes::BufMut;

use super::{check_reason_code, first_byte, reason_code};
use crate::{
    error::{DecodeError, EncodeError},
    frame::PacketType,
    property::{Properties, PropertyContext},
    reader::Reader,
    reason::ReasonCode,
    types::ProtocolVersion,
    writer::{self, Body, Writer},
};

/// The Server's answer to a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the Server had Session State for the Client; not in a refusal, and not in 3.1.
    pub session_present: bool,
    /// Success or the reason of the refusal. In 3.x it is translated to and from the six return codes, see
    /// [`ReasonCode::to_connect_return_code`].
    pub reason_code: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

impl<'a> ConnAck<'a> {
    pub(super) fn decode(mut reader: Reader<'a>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_type = PacketType::ConnAck;
        let flags = reader.u8()?;
        let code = reader.u8()?;
        let session_present = match (flags, version) {
            // In 3.1 the byte is reserved and "not used".
            (_, ProtocolVersion::V31) | (0, _) => false,
            (1, _) => true,
            _ => return Err(DecodeError::ConnectAcknowledgeFlags { flags }),
        };
        let reason_code = if version.is_v5() {
            reason_code(packet_type, code)?
        } else {
            let unknown = DecodeError::ReasonCode { packet_type, code };
            ReasonCode::from_connect_return_code(code).ok_or(unknown)?
        };
        if session_present && reason_code != ReasonCode::Success {
            return Err(DecodeError::SessionPresentInRefusal); // [MQTT-3.2.2-4]
        }
        let properties = Properties::from_bytes(PropertyContext::ConnAck, reader.property_bytes(version)?)?;
        reader.finish(packet_type)?;
        Ok(Self { session_present, reason_code, properties })
    }
}

impl Body for ConnAck<'_> {
    fn first_byte(&self) -> u8 {
        first_byte(PacketType::ConnAck)
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        if self.session_present && self.reason_code != ReasonCode::Success {
            return Err(EncodeError::SessionPresentInRefusal); // [MQTT-3.2.2-4]
        }
        if version.is_v5() {
            check_reason_code(PacketType::ConnAck, self.reason_code.as_u8())?;
        }
        Ok(2 + writer::properties_len(self.properties, version)?)
    }

    fn write_body<B: BufMut>(&self, version: ProtocolVersion, writer: &mut Writer<'_, B>) {
        let session_present = self.session_present && version != ProtocolVersion::V31;
        let code = if version.is_v5() {
            self.reason_code.as_u8()
        } else {
            self.reason_code.to_connect_return_code()
        };
        writer.u8(session_present.into());
        writer.u8(code);
        writer.properties(self.properties, version);
    }
}
