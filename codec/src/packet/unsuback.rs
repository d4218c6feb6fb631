//! UNSUBACK (section 3.11): Packet Identifier; in 5.0 also properties and one code for each Topic Filter.

use bytes::BufMut;

use super::{check_reason_code, first_byte, reason_code};
use crate::{
    error::{DecodeError, EncodeError},
    frame::PacketType,
    property::{Properties, PropertyContext},
    reader::Reader,
    types::{PacketId, ProtocolVersion},
    writer::{self, Body, Writer},
};

/// The Server's answer to an UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// Packet Identifier of the UNSUBSCRIBE ([MQTT-3.10.4-4]).
    pub packet_id: PacketId,
    /// Properties.
    pub properties: Properties<'a>,
    /// One [`ReasonCode`](crate::ReasonCode) for each Topic Filter, in their order. 3.x has none: empty when decoded, left
    /// out when encoded.
    pub reason_codes: &'a [u8],
}

impl<'a> UnsubAck<'a> {
    pub(super) fn decode(mut reader: Reader<'a>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_type = PacketType::UnsubAck;
        let packet_id = reader.packet_id(packet_type)?;
        if !version.is_v5() {
            reader.finish(packet_type)?;
            return Ok(Self { packet_id, properties: Properties::EMPTY, reason_codes: &[] });
        }
        let properties = Properties::from_bytes(PropertyContext::UnsubAck, reader.property_bytes(version)?)?;
        let reason_codes = reader.take_rest();
        if reason_codes.is_empty() {
            return Err(DecodeError::NoReasonCode { packet_type });
        }
        for &code in reason_codes {
            reason_code(packet_type, code)?;
        }
        Ok(Self { packet_id, properties, reason_codes })
    }
}

impl Body for UnsubAck<'_> {
    fn first_byte(&self) -> u8 {
        first_byte(PacketType::UnsubAck)
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        let packet_type = PacketType::UnsubAck;
        if !version.is_v5() {
            return Ok(2);
        }
        if self.reason_codes.is_empty() {
            return Err(EncodeError::NoReasonCode { packet_type });
        }
        for &code in self.reason_codes {
            check_reason_code(packet_type, code)?;
        }
        Ok(2 + writer::properties_len(self.properties, version)? + self.reason_codes.len())
    }

    fn write_body<B: BufMut>(&self, version: ProtocolVersion, writer: &mut Writer<'_, B>) {
        writer.packet_id(self.packet_id);
        if version.is_v5() {
            writer.properties(self.properties, version);
            writer.raw(self.reason_codes);
        }
    }
}
