//! UNSUBSCRIBE (section 3.10): Packet Identifier, properties (5.0), then Topic Filters.

use std::iter::FusedIterator;

use bytes::BufMut;

use super::first_byte;
use crate::{
    error::{DecodeError, EncodeError},
    frame::PacketType,
    property::{Properties, PropertyContext},
    reader::Reader,
    topic::TopicFilter,
    types::{PacketId, ProtocolVersion},
    writer::{self, Body, Writer},
};

/// A Client unsubscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Packet Identifier, which the UNSUBACK echoes.
    pub packet_id: PacketId,
    /// Properties.
    pub properties: Properties<'a>,
    /// What to remove; never empty in a packet that was decoded.
    pub filters: UnsubscribeFilters<'a>,
}

/// The Topic Filters of an UNSUBSCRIBE, read one by one from the bytes they came as.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct UnsubscribeFilters<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> UnsubscribeFilters<'a> {
    fn decode(bytes: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut count = 0;
        while !reader.is_empty() {
            let filter = TopicFilter::from_bytes(reader.binary()?)?; // [MQTT-3.10.3-1]
            if version.is_v5() {
                filter.parse_shared()?;
            }
            count += 1;
        }
        if count == 0 {
            return Err(DecodeError::NoTopicFilter { packet_type: PacketType::Unsubscribe }); // [MQTT-3.10.3-2]
        }
        Ok(Self { bytes, count })
    }

    /// How many.
    pub const fn len(self) -> usize {
        self.count
    }

    /// Whether there is none, which no valid packet has.
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The filters in the order of the packet, which is that of the codes of the UNSUBACK.
    pub const fn iter(self) -> UnsubscribeFiltersIter<'a> {
        UnsubscribeFiltersIter { reader: Reader::new(self.bytes), left: self.count }
    }
}

impl<'a> IntoIterator for UnsubscribeFilters<'a> {
    type Item = TopicFilter<'a>;
    type IntoIter = UnsubscribeFiltersIter<'a>;

    fn into_iter(self) -> UnsubscribeFiltersIter<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Iterator over [`UnsubscribeFilters`].
#[derive(Clone, Debug)]
pub struct UnsubscribeFiltersIter<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for UnsubscribeFiltersIter<'a> {
    type Item = TopicFilter<'a>;

    fn next(&mut self) -> Option<TopicFilter<'a>> {
        if self.left == 0 {
            return None;
        }
        // The bytes were checked before, so this does not fail.
        let filter = TopicFilter::from_checked(self.reader.string().ok()?);
        self.left -= 1;
        Some(filter)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for UnsubscribeFiltersIter<'_> {}
impl FusedIterator for UnsubscribeFiltersIter<'_> {}

/// Topic Filters to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsubscribeFiltersBuf {
    bytes: Vec<u8>,
    count: usize,
}

impl UnsubscribeFiltersBuf {
    /// No filters; allocates nothing.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), count: 0 }
    }

    /// Appends a filter.
    pub fn push(&mut self, filter: TopicFilter<'_>) {
        Writer::new(&mut self.bytes).binary(filter.as_str().as_bytes());
        self.count += 1;
    }

    /// The filters, for an [`Unsubscribe`].
    pub fn as_filters(&self) -> UnsubscribeFilters<'_> {
        UnsubscribeFilters { bytes: &self.bytes, count: self.count }
    }
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn decode(mut reader: Reader<'a>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id(PacketType::Unsubscribe)?;
        let properties =
            Properties::from_bytes(PropertyContext::Unsubscribe, reader.property_bytes(version)?)?;
        let filters = UnsubscribeFilters::decode(reader.take_rest(), version)?;
        Ok(Self { packet_id, properties, filters })
    }
}

impl Body for Unsubscribe<'_> {
    fn first_byte(&self) -> u8 {
        first_byte(PacketType::Unsubscribe)
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        if self.filters.is_empty() {
            return Err(EncodeError::NoTopicFilter { packet_type: PacketType::Unsubscribe });
        }
        Ok(2 + writer::properties_len(self.properties, version)? + self.filters.bytes.len())
    }

    fn write_body<B: BufMut>(&self, version: ProtocolVersion, writer: &mut Writer<'_, B>) {
        writer.packet_id(self.packet_id);
        writer.properties(self.properties, version);
        writer.raw(self.filters.bytes);
    }
}
