//! PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7), which have the same fields.
//!
//! 3.x has the Packet Identifier alone. In 5.0 the properties can be left out, and then the Reason Code too, if it is 0x00.

use bytes::BufMut;

use super::{check_reason_code, first_byte, reason_code};
use crate::{
    error::{DecodeError, EncodeError},
    frame::PacketType,
    property::{Properties, PropertyContext},
    reader::Reader,
    reason::ReasonCode,
    types::{PacketId, ProtocolVersion},
    writer::{self, Body, Writer},
};

/// The fields of a PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Packet Identifier of the PUBLISH ([MQTT-2.3.1-6]).
    pub packet_id: PacketId,
    /// Reason Code; always [`ReasonCode::Success`] in 3.x.
    pub reason_code: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

impl<'a> Ack<'a> {
    /// An acknowledgement without anything to say.
    pub const fn success(packet_id: PacketId) -> Self {
        Self::new(packet_id, ReasonCode::Success)
    }

    /// An acknowledgement with a Reason Code and without properties.
    pub const fn new(packet_id: PacketId, reason_code: ReasonCode) -> Self {
        Self { packet_id, reason_code, properties: Properties::EMPTY }
    }

    #[inline]
    pub(super) fn decode(
        packet_type: PacketType,
        mut reader: Reader<'a>,
        version: ProtocolVersion,
    ) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id(packet_type)?;
        if !version.is_v5() {
            reader.finish(packet_type)?;
            return Ok(Self::success(packet_id));
        }
        if reader.is_empty() {
            return Ok(Self::success(packet_id));
        }
        let reason_code = reason_code(packet_type, reader.u8()?)?;
        if reader.is_empty() {
            return Ok(Self::new(packet_id, reason_code));
        }
        let properties = Properties::from_bytes(context(packet_type), reader.property_bytes(version)?)?;
        reader.finish(packet_type)?;
        Ok(Self { packet_id, reason_code, properties })
    }
}

fn context(packet_type: PacketType) -> PropertyContext {
    if packet_type == PacketType::PubRec {
        PropertyContext::PubRec
    } else if packet_type == PacketType::PubRel {
        PropertyContext::PubRel
    } else if packet_type == PacketType::PubComp {
        PropertyContext::PubComp
    } else {
        PropertyContext::PubAck
    }
}

/// An acknowledgement with its type.
pub(super) struct AckBody<'p, 'a> {
    pub(super) packet_type: PacketType,
    pub(super) ack: &'p Ack<'a>,
}

impl Body for AckBody<'_, '_> {
    fn first_byte(&self) -> u8 {
        first_byte(self.packet_type)
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        let Ack { packet_id: _, reason_code, properties } = *self.ack;
        if !version.is_v5() {
            return Ok(2);
        }
        check_reason_code(self.packet_type, reason_code.as_u8())?;
        Ok(match (reason_code, properties.is_empty()) {
            (ReasonCode::Success, true) => 2,
            (_, true) => 3,
            (_, false) => 3 + writer::properties_len(properties, version)?,
        })
    }

    fn write_body<B: BufMut>(&self, version: ProtocolVersion, writer: &mut Writer<'_, B>) {
        let Ack { packet_id, reason_code, properties } = *self.ack;
        writer.packet_id(packet_id);
        if !version.is_v5() || (reason_code == ReasonCode::Success && properties.is_empty()) {
            return;
        }
        writer.u8(reason_code.as_u8());
        if !properties.is_empty() {
            writer.properties(properties, version);
        }
    }
}
