//! SUBACK (section 3.9): Packet Identifier, properties (5.0), then one code for each Topic Filter.

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

/// The Server's answer to a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Packet Identifier of the SUBSCRIBE ([MQTT-3.8.4-2]).
    pub packet_id: PacketId,
    /// Properties.
    pub properties: Properties<'a>,
    /// One [`ReasonCode`](crate::ReasonCode) for each Topic Filter, in their order ([MQTT-3.9.3-1]): the QoS granted, or why
    /// not. 3.x knows only 0x80 of the latter, which any of them becomes.
    pub reason_codes: &'a [u8],
}

/// The only failure that 3.x has.
const FAILURE: u8 = 0x80;

impl<'a> SubAck<'a> {
    pub(super) fn decode(mut reader: Reader<'a>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_type = PacketType::SubAck;
        let packet_id = reader.packet_id(packet_type)?;
        let properties = Properties::from_bytes(PropertyContext::SubAck, reader.property_bytes(version)?)?;
        let reason_codes = reader.take_rest();
        if reason_codes.is_empty() {
            return Err(DecodeError::NoReasonCode { packet_type });
        }
        for &code in reason_codes {
            if version.is_v5() {
                reason_code(packet_type, code)?;
            } else if !matches!(code, 0..=2 | FAILURE) {
                return Err(DecodeError::ReasonCode { packet_type, code }); // [MQTT-3.9.3-2]
            }
        }
        Ok(Self { packet_id, properties, reason_codes })
    }
}

impl Body for SubAck<'_> {
    fn first_byte(&self) -> u8 {
        first_byte(PacketType::SubAck)
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        let packet_type = PacketType::SubAck;
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
        writer.properties(self.properties, version);
        if version.is_v5() {
            return writer.raw(self.reason_codes);
        }
        for &code in self.reason_codes {
            writer.u8(code.min(FAILURE));
        }
    }
}
