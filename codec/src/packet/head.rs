//! PUBLISH for many subscribers: everything before the payload, encoded once and patched for each of them.
//!
//! Cost per subscriber: one copy of the head, one byte and two bytes overwritten; no allocation but the growth of the
//! buffer, no length computed, no string looked at. A head of up to [`INLINE_BYTES`] bytes lives on the stack.

use bytes::BufMut;

use super::publish;
use crate::{
    error::EncodeError,
    property::Properties,
    topic::TopicName,
    types::{PacketId, ProtocolVersion, QoS},
    writer::{self, Writer},
};

/// Everything of a PUBLISH before its payload.
///
/// ```
/// use culex_codec::{Properties, ProtocolVersion, PublishHead, PublishPatch, QoS, TopicName, PacketId};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let payload = b"21.5";
/// let topic = TopicName::new("room/temperature")?;
/// let head = PublishHead::encode(ProtocolVersion::V311, topic, true, Properties::EMPTY, payload.len())?;
/// let mut out = Vec::new();
/// for id in 1..=3 {
///     let packet_id = PacketId::new(id);
///     head.append_to(&mut out, PublishPatch { qos: QoS::AtLeastOnce, dup: false, retain: false, packet_id });
///     out.extend_from_slice(payload);
/// }
/// assert_eq!(out.len(), 3 * (head.len() + payload.len()));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PublishHead {
    bytes: Bytes,
    /// Where the Packet Identifier is; at least 5, since Topic Names are not empty, so 0 is nowhere.
    packet_id_at: u32,
}

/// What differs between the subscribers of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishPatch {
    /// QoS of this delivery.
    pub qos: QoS,
    /// Whether it may have been sent before.
    pub dup: bool,
    /// Whether it is a Retained Message, or the Subscription wants RETAIN as published.
    pub retain: bool,
    /// Packet Identifier: `Some` if and only if the QoS is not 0, which the head must have been encoded for.
    pub packet_id: Option<PacketId>,
}

/// Longer heads are on the heap.
const INLINE_BYTES: usize = 120;

#[derive(Clone, Debug)]
enum Bytes {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Vec<u8>),
}

impl PublishHead {
    /// Encodes the head of a PUBLISH with a payload of `payload_len` bytes; `has_packet_id` is whether the QoS will be 1 or 2.
    /// 3.x leaves the properties out.
    ///
    /// # Errors
    /// [`EncodeError::PacketTooLarge`].
    pub fn encode(
        version: ProtocolVersion,
        topic: TopicName<'_>,
        has_packet_id: bool,
        properties: Properties<'_>,
        payload_len: usize,
    ) -> Result<Self, EncodeError> {
        let topic = topic.as_str().as_bytes();
        let head_len = writer::binary_len(topic)?
            + if has_packet_id { 2 } else { 0 }
            + writer::properties_len(properties, version)?;
        let body_len = head_len.saturating_add(payload_len);
        let (packet_len, remaining_length) = writer::packet_len(body_len)?;
        let len = packet_len - payload_len;
        let packet_id_at = if has_packet_id { (packet_len - body_len + 2 + topic.len()) as u32 } else { 0 };

        let mut inline = [0; INLINE_BYTES];
        let bytes = match inline.get_mut(..len) {
            Some(mut room) => {
                write(&mut room, remaining_length, topic, has_packet_id, properties, version);
                Bytes::Inline { len: len as u8, bytes: inline }
            }
            None => {
                let mut bytes = Vec::with_capacity(len);
                write(&mut bytes, remaining_length, topic, has_packet_id, properties, version);
                Bytes::Heap(bytes)
            }
        };
        Ok(Self { bytes, packet_id_at })
    }

    /// Bytes that [`Self::append_to`] appends; the payload not included.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Always false: a PUBLISH has a fixed header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether it was encoded for QoS 1 and 2.
    pub const fn has_packet_id(&self) -> bool {
        self.packet_id_at != 0
    }

    /// Appends the head for one subscriber; the payload, of the length given before, must follow.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>, patch: PublishPatch) {
        debug_assert_eq!(patch.packet_id.is_some(), self.has_packet_id(), "head of another QoS class");
        debug_assert_eq!(patch.packet_id.is_some(), patch.qos != QoS::AtMostOnce, "[MQTT-2.3.1-5]");
        let start = out.len();
        out.extend_from_slice(self.as_bytes());
        if let Some(first_byte) = out.get_mut(start) {
            *first_byte = publish::first_byte(patch.dup, patch.qos, patch.retain);
        }
        if let Some(packet_id) = patch.packet_id {
            let at = start + self.packet_id_at as usize;
            if let Some(field) = out.get_mut(at..at + 2) {
                field.copy_from_slice(&packet_id.get().to_be_bytes());
            }
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Bytes::Heap(bytes) => bytes,
        }
    }
}

#[inline]
fn write<B: BufMut>(
    out: &mut B,
    remaining_length: u32,
    topic: &[u8],
    has_packet_id: bool,
    properties: Properties<'_>,
    version: ProtocolVersion,
) {
    let mut writer = Writer::new(out);
    writer.u8(publish::first_byte(false, QoS::AtMostOnce, false));
    writer.variable_byte_integer(remaining_length);
    writer.binary(topic);
    if has_packet_id {
        writer.u16(0);
    }
    writer.properties(properties, version);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoded, Packet, PropertiesBuf, Property, PropertyContext, Publish, decode};

    /// The head with its payload is byte for byte what [`Publish::encode`] writes.
    #[track_caller]
    fn check(version: ProtocolVersion, topic: &str, qos: QoS, properties: Properties<'_>, payload: &[u8]) {
        let topic = TopicName::new(topic).unwrap();
        let head =
            PublishHead::encode(version, topic, qos != QoS::AtMostOnce, properties, payload.len()).unwrap();
        for (dup, retain) in [(false, false), (true, false), (false, true), (true, true)] {
            let dup = dup && qos != QoS::AtMostOnce;
            let packet_id = (qos != QoS::AtMostOnce).then(|| PacketId::new(0xabcd).unwrap());
            let publish = Publish { dup, qos, retain, topic: Some(topic), packet_id, properties, payload };
            let mut expected = b"before".to_vec();
            publish.encode(version, &mut expected).unwrap();
            let mut out = b"before".to_vec();
            head.append_to(&mut out, PublishPatch { qos, dup, retain, packet_id });
            assert_eq!(out.len() - 6, head.len());
            out.extend_from_slice(payload);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_patched_head_is_what_the_packet_encodes_to() {
        let mut properties = PropertiesBuf::new();
        properties.push(Property::UserProperty("name", "value")).unwrap();
        let properties = properties.as_properties(PropertyContext::Publish).unwrap();
        for version in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                for properties in [Properties::EMPTY, properties] {
                    for topic_len in (1..INLINE_BYTES + 5).chain([300, 65_535]) {
                        let topic = "t".repeat(topic_len);
                        for payload in [&b""[..], b"21.5", &[7; 300]] {
                            check(version, &topic, qos, properties, payload);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_payload_is_counted_and_not_needed() {
        let topic = TopicName::new("t").unwrap();
        let version = ProtocolVersion::V5;
        let head = PublishHead::encode(version, topic, false, Properties::EMPTY, 268_435_455 - 4).unwrap();
        assert_eq!(head.len(), 5 + 4);
        let error = EncodeError::PacketTooLarge { bytes: 268_435_456 };
        let result = PublishHead::encode(version, topic, false, Properties::EMPTY, 268_435_455 - 3);
        assert_eq!(result.map(|_| ()), Err(error));
        assert!(PublishHead::encode(version, topic, false, Properties::EMPTY, usize::MAX).is_err());

        let head = PublishHead::encode(version, topic, false, Properties::EMPTY, 2).unwrap();
        let mut out = Vec::new();
        head.append_to(
            &mut out,
            PublishPatch { qos: QoS::AtMostOnce, dup: false, retain: false, packet_id: None },
        );
        assert_eq!(decode(&out, version, 100), Ok(Decoded::Incomplete { need: 2 }));
        out.extend_from_slice(b"hi");
        let decoded = decode(&out, version, 100);
        assert!(matches!(decoded, Ok(Decoded::Packet { packet: Packet::Publish(_), len: 8 })), "{decoded:?}");
    }
}
