//! AUTH (5.0 section 3.15). The body can be left out if the Reason Code is 0x00 and there are no properties.

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

/// A step of enhanced authentication. There is none before 5.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, continue, or start again.
    pub reason_code: ReasonCode,
    /// Properties: method and data.
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    pub(super) fn decode(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let packet_type = PacketType::Auth;
        if reader.is_empty() {
            return Ok(Self { reason_code: ReasonCode::Success, properties: Properties::EMPTY });
        }
        let reason_code = reason_code(packet_type, reader.u8()?)?;
        let properties = reader.property_bytes(ProtocolVersion::V5)?;
        let properties = Properties::from_bytes(PropertyContext::Auth, properties)?;
        reader.finish(packet_type)?;
        Ok(Self { reason_code, properties })
    }

    fn is_short(&self) -> bool {
        self.reason_code == ReasonCode::Success && self.properties.is_empty()
    }
}

impl Body for Auth<'_> {
    fn first_byte(&self) -> u8 {
        first_byte(PacketType::Auth)
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        let packet_type = PacketType::Auth;
        if !version.is_v5() {
            return Err(EncodeError::NotInVersion { packet_type, version });
        }
        check_reason_code(packet_type, self.reason_code.as_u8())?;
        if self.is_short() {
            return Ok(0);
        }
        Ok(1 + writer::properties_len(self.properties, version)?)
    }

    fn write_body<B: BufMut>(&self, version: ProtocolVersion, writer: &mut Writer<'_, B>) {
        if !self.is_short() {
            writer.u8(self.reason_code.as_u8());
            writer.properties(self.properties, version);
        }
    }
}
