//! DISCONNECT (section 3.14). 3.x has no body; in 5.0 the properties can be left out, and then the Reason Code too, if it is
//! 0x00.

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

/// The last packet of a connection. In 3.x only a Client sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why; always [`ReasonCode::Success`], "normal disconnection", in 3.x.
    pub reason_code: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    /// A DISCONNECT without properties.
    pub const fn new(reason_code: ReasonCode) -> Self {
        Self { reason_code, properties: Properties::EMPTY }
    }

    pub(super) fn decode(mut reader: Reader<'a>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_type = PacketType::Disconnect;
        if !version.is_v5() {
            reader.finish(packet_type)?;
            return Ok(Self::new(ReasonCode::Success));
        }
        if reader.is_empty() {
            return Ok(Self::new(ReasonCode::Success));
        }
        let reason_code = reason_code(packet_type, reader.u8()?)?;
        if reader.is_empty() {
            return Ok(Self::new(reason_code));
        }
        let properties =
            Properties::from_bytes(PropertyContext::Disconnect, reader.property_bytes(version)?)?;
        reader.finish(packet_type)?;
        Ok(Self { reason_code, properties })
    }
}

impl Body for Disconnect<'_> {
    fn first_byte(&self) -> u8 {
        first_byte(PacketType::Disconnect)
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        if !version.is_v5() {
            return Ok(0);
        }
        check_reason_code(PacketType::Disconnect, self.reason_code.as_u8())?;
        Ok(match (self.reason_code, self.properties.is_empty()) {
            (ReasonCode::Success, true) => 0,
            (_, true) => 1,
            (_, false) => 1 + writer::properties_len(self.properties, version)?,
        })
    }

    fn write_body<B: BufMut>(&self, version: ProtocolVersion, writer: &mut Writer<'_, B>) {
        let Self { reason_code, properties } = *self;
        if !version.is_v5() || (reason_code == ReasonCode::Success && properties.is_empty()) {
            return;
        }
        writer.u8(reason_code.as_u8());
        if !properties.is_empty() {
            writer.properties(properties, version);
        }
    }
}
