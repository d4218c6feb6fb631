//! SUBSCRIBE (section 3.8): Packet Identifier, properties (5.0), then Topic Filters, each with its options.

use std::iter::FusedIterator;

use bytes::BufMut;

use super::first_byte;
use crate::{
    error::{DecodeError, EncodeError},
    frame::PacketType,
    property::{Properties, PropertyContext},
    reader::Reader,
    topic::TopicFilter,
    types::{PacketId, ProtocolVersion, QoS},
    writer::{self, Body, Writer},
};

/// A Client subscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Packet Identifier, which the SUBACK echoes.
    pub packet_id: PacketId,
    /// Properties.
    pub properties: Properties<'a>,
    /// What is asked for; never empty in a packet that was decoded.
    pub filters: SubscribeFilters<'a>,
}

/// One request of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// Topic Filter.
    pub filter: TopicFilter<'a>,
    /// Subscription Options.
    pub options: SubscriptionOptions,
}

/// How a Subscription shall be served. 3.x has the QoS alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// The highest QoS that the Client wants.
    pub qos: QoS,
    /// Not to send messages to the Client that published them.
    pub no_local: bool,
    /// To send RETAIN as it was published.
    pub retain_as_published: bool,
    /// What to do with Retained Messages when the Subscription is made.
    pub retain_handling: RetainHandling,
}

/// Whether a Subscription brings Retained Messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// 0: send them, as 3.x always does.
    #[default]
    SendAtSubscribe = 0,
    /// 1: send them if the Subscription is new.
    SendAtSubscribeIfNew = 1,
    /// 2: send none.
    DoNotSend = 2,
}

const NO_LOCAL: u8 = 0b0100;
const RETAIN_AS_PUBLISHED: u8 = 0b1000;

impl SubscriptionOptions {
    /// Options that ask for a QoS and nothing else.
    pub const fn new(qos: QoS) -> Self {
        let retain_handling = RetainHandling::SendAtSubscribe;
        Self { qos, no_local: false, retain_as_published: false, retain_handling }
    }

    /// The options that a byte of the packet stands for.
    ///
    /// # Errors
    /// [`DecodeError::SubscriptionOptions`] if a reserved bit is set, which in 3.x are the upper six, or a field is 3.
    pub fn from_bits(options: u8, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let error = DecodeError::SubscriptionOptions { options };
        let reserved = if version.is_v5() { 0b1100_0000 } else { 0b1111_1100 };
        if options & reserved != 0 {
            return Err(error); // [MQTT-3.8.3-4]
        }
        let retain_handling = match options >> 4 {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendAtSubscribeIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(error),
        };
        Ok(Self {
            qos: QoS::from_bits(options & 0b11).ok_or(error)?,
            no_local: options & NO_LOCAL != 0,
            retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }

    /// The byte of the packet; in 3.x the QoS alone.
    pub const fn bits(self, version: ProtocolVersion) -> u8 {
        if !version.is_v5() {
            return self.qos.bits();
        }
        self.qos.bits()
            | if self.no_local { NO_LOCAL } else { 0 }
            | if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 }
            | (self.retain_handling as u8) << 4
    }
}

impl From<QoS> for SubscriptionOptions {
    fn from(qos: QoS) -> Self {
        Self::new(qos)
    }
}

/// The requests of a SUBSCRIBE, read one by one from the bytes they came as.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SubscribeFilters<'a> {
    /// Filters with their options as 5.0 writes them, of which 3.x is the case with fewer options.
    bytes: &'a [u8],
    count: usize,
}

impl<'a> SubscribeFilters<'a> {
    fn decode(bytes: &'a [u8], version: ProtocolVersion) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut count = 0;
        while !reader.is_empty() {
            let filter = TopicFilter::from_bytes(reader.binary()?)?; // [MQTT-3.8.3-1]
            let options = SubscriptionOptions::from_bits(reader.u8()?, version)?;
            if version.is_v5() && filter.parse_shared()?.is_some() && options.no_local {
                return Err(DecodeError::NoLocalOnSharedSubscription); // 5.0: [MQTT-3.8.3-4]
            }
            count += 1;
        }
        if count == 0 {
            return Err(DecodeError::NoTopicFilter { packet_type: PacketType::Subscribe }); // [MQTT-3.8.3-3]
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

    /// The requests in the order of the packet, which is that of the codes of the SUBACK.
    pub const fn iter(self) -> SubscribeFiltersIter<'a> {
        SubscribeFiltersIter { reader: Reader::new(self.bytes), left: self.count }
    }
}

impl<'a> IntoIterator for SubscribeFilters<'a> {
    type Item = Subscription<'a>;
    type IntoIter = SubscribeFiltersIter<'a>;

    fn into_iter(self) -> SubscribeFiltersIter<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Iterator over [`SubscribeFilters`].
#[derive(Clone, Debug)]
pub struct SubscribeFiltersIter<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Iterator for SubscribeFiltersIter<'a> {
    type Item = Subscription<'a>;

    fn next(&mut self) -> Option<Subscription<'a>> {
        if self.left == 0 {
            return None;
        }
        // The bytes were checked before, so none of these fails.
        let filter = TopicFilter::from_checked(self.reader.string().ok()?);
        let options = SubscriptionOptions::from_bits(self.reader.u8().ok()?, ProtocolVersion::V5).ok()?;
        self.left -= 1;
        Some(Subscription { filter, options })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for SubscribeFiltersIter<'_> {}
impl FusedIterator for SubscribeFiltersIter<'_> {}

/// Requests to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeFiltersBuf {
    bytes: Vec<u8>,
    count: usize,
}

impl SubscribeFiltersBuf {
    /// No requests; allocates nothing.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), count: 0 }
    }

    /// Appends a request.
    pub fn push(&mut self, filter: TopicFilter<'_>, options: SubscriptionOptions) {
        let mut writer = Writer::new(&mut self.bytes);
        writer.binary(filter.as_str().as_bytes());
        writer.u8(options.bits(ProtocolVersion::V5));
        self.count += 1;
    }

    /// The requests, for a [`Subscribe`].
    pub fn as_filters(&self) -> SubscribeFilters<'_> {
        SubscribeFilters { bytes: &self.bytes, count: self.count }
    }
}

impl<'a> Subscribe<'a> {
    pub(super) fn decode(mut reader: Reader<'a>, version: ProtocolVersion) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id(PacketType::Subscribe)?;
        let properties = Properties::from_bytes(PropertyContext::Subscribe, reader.property_bytes(version)?)?;
        let filters = SubscribeFilters::decode(reader.take_rest(), version)?;
        Ok(Self { packet_id, properties, filters })
    }
}

impl Body for Subscribe<'_> {
    fn first_byte(&self) -> u8 {
        first_byte(PacketType::Subscribe)
    }

    fn body_len(&self, version: ProtocolVersion) -> Result<usize, EncodeError> {
        if self.filters.is_empty() {
            return Err(EncodeError::NoTopicFilter { packet_type: PacketType::Subscribe });
        }
        Ok(2 + writer::properties_len(self.properties, version)? + self.filters.bytes.len())
    }

    fn write_body<B: BufMut>(&self, version: ProtocolVersion, writer: &mut Writer<'_, B>) {
        writer.packet_id(self.packet_id);
        writer.properties(self.properties, version);
        if version.is_v5() {
            return writer.raw(self.filters.bytes);
        }
        for Subscription { filter, options } in self.filters {
            writer.binary(filter.as_str().as_bytes());
            writer.u8(options.bits(version));
        }
    }
}
