//! Properties (5.0 section 2.2.2): checked once, kept as the bytes they came as, read when somebody asks.
//!
//! Cost: [`Properties`] is a slice. To check it is one pass, with one bit per identifier to find duplicates; a getter is
//! one pass that looks into no value but the one it returns. Forwarding properties copies their bytes.

mod id;
mod iter;
mod set;
mod value;

pub use self::{id::PropertyId, iter::PropertiesIter, set::PropertyContext, value::Property};

use std::num::{NonZeroU16, NonZeroU32};

use crate::{
    error::{DecodeError, EncodeError},
    reader::Reader,
    topic::TopicName,
    types::{QoS, SubscriptionId},
};
use value::Raw;

/// The most properties that one packet can have. User Properties can be repeated, and no use for more is known.
pub const PROPERTIES_MAX: usize = 1000;

/// The properties of a packet; always empty before 5.0.
///
/// Two are equal if their bytes are: the same properties in the same order.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Properties<'a> {
    bytes: &'a [u8],
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties { bytes: &[] };

    /// The properties that `bytes`, without the Property Length, spell.
    ///
    /// # Errors
    /// The first rule broken: a property unknown, not of this packet, repeated, with a forbidden value, ill-formed text,
    /// more than [`PROPERTIES_MAX`], Authentication Data without a method.
    #[inline]
    pub fn from_bytes(context: PropertyContext, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if !bytes.is_empty() {
            check(context, bytes)?;
        }
        Ok(Self { bytes })
    }

    /// Properties whose bytes are those of [`Self::as_bytes`] of other properties, kept somewhere in between; so they are
    /// not checked again. Bytes from elsewhere do no harm but end the iteration where they make no sense.
    pub const fn from_trusted_bytes(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The bytes on the wire, without the Property Length.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The properties in the order in which they were sent.
    pub const fn iter(self) -> PropertiesIter<'a> {
        PropertiesIter::new(self.bytes)
    }

    /// The User Properties, in order ([MQTT-3.3.2-18]): name and value.
    pub fn user_properties(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter().filter_map(|property| {
            if let Property::UserProperty(name, value) = property { Some((name, value)) } else { None }
        })
    }

    /// All Subscription Identifiers; a PUBLISH from a Server may have several.
    pub fn subscription_identifiers(self) -> impl Iterator<Item = SubscriptionId> {
        self.iter().filter_map(|property| {
            if let Property::SubscriptionIdentifier(id) = property { Some(id) } else { None }
        })
    }

    /// The first property `id`.
    fn find(self, id: PropertyId) -> Option<Property<'a>> {
        let mut reader = Reader::new(self.bytes);
        while !reader.is_empty() {
            let (found, raw) = Raw::read(&mut reader).ok()?;
            if found == id {
                return Property::from_raw(found, raw).ok();
            }
        }
        None
    }
}

macro_rules! getters {
    ($($(#[doc = $doc:literal])* $name:ident: $variant:ident -> $type:ty;)*) => {
        impl<'a> Properties<'a> {
            $(
                $(#[doc = $doc])*
                pub fn $name(self) -> Option<$type> {
                    match self.find(PropertyId::$variant) {
                        Some(Property::$variant(value)) => Some(value),
                        _ => None,
                    }
                }
            )*
        }
    };
}

getters! {
    /// Payload Format Indicator: whether the payload is UTF-8 text.
    payload_format_indicator: PayloadFormatIndicator -> bool;
    /// Message Expiry Interval, in seconds.
    message_expiry_interval: MessageExpiryInterval -> u32;
    /// Content Type.
    content_type: ContentType -> &'a str;
    /// Response Topic.
    response_topic: ResponseTopic -> TopicName<'a>;
    /// Correlation Data.
    correlation_data: CorrelationData -> &'a [u8];
    /// Subscription Identifier, the first one.
    subscription_identifier: SubscriptionIdentifier -> SubscriptionId;
    /// Session Expiry Interval, in seconds; 0xFFFFFFFF is for ever.
    session_expiry_interval: SessionExpiryInterval -> u32;
    /// Assigned Client Identifier.
    assigned_client_identifier: AssignedClientIdentifier -> &'a str;
    /// Server Keep Alive, in seconds.
    server_keep_alive: ServerKeepAlive -> u16;
    /// Authentication Method.
    authentication_method: AuthenticationMethod -> &'a str;
    /// Authentication Data.
    authentication_data: AuthenticationData -> &'a [u8];
    /// Request Problem Information.
    request_problem_information: RequestProblemInformation -> bool;
    /// Will Delay Interval, in seconds.
    will_delay_interval: WillDelayInterval -> u32;
    /// Request Response Information.
    request_response_information: RequestResponseInformation -> bool;
    /// Response Information.
    response_information: ResponseInformation -> &'a str;
    /// Server Reference.
    server_reference: ServerReference -> &'a str;
    /// Reason String.
    reason_string: ReasonString -> &'a str;
    /// Receive Maximum.
    receive_maximum: ReceiveMaximum -> NonZeroU16;
    /// Topic Alias Maximum.
    topic_alias_maximum: TopicAliasMaximum -> u16;
    /// Topic Alias.
    topic_alias: TopicAlias -> NonZeroU16;
    /// Maximum QoS.
    maximum_qos: MaximumQoS -> QoS;
    /// Retain Available.
    retain_available: RetainAvailable -> bool;
    /// Maximum Packet Size, in bytes.
    maximum_packet_size: MaximumPacketSize -> NonZeroU32;
    /// Wildcard Subscription Available.
    wildcard_subscription_available: WildcardSubscriptionAvailable -> bool;
    /// Subscription Identifiers Available.
    subscription_identifier_available: SubscriptionIdentifierAvailable -> bool;
    /// Shared Subscription Available.
    shared_subscription_available: SharedSubscriptionAvailable -> bool;
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertiesIter<'a>;

    fn into_iter(self) -> PropertiesIter<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn check(context: PropertyContext, bytes: &[u8]) -> Result<(), DecodeError> {
    let allowed = context.allowed();
    let repeatable = context.repeatable();
    let mut seen = 0;
    let mut count = 0;
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let (id, raw) = Raw::read(&mut reader)?;
        let bit = id.bit();
        if allowed & bit == 0 {
            return Err(DecodeError::PropertyNotAllowed { id, context });
        }
        if seen & bit & !repeatable != 0 {
            return Err(DecodeError::DuplicateProperty { id });
        }
        seen |= bit;
        count += 1;
        if count > PROPERTIES_MAX {
            return Err(DecodeError::TooManyProperties { properties_max: PROPERTIES_MAX });
        }
        Property::from_raw(id, raw)?;
    }
    if seen & (PropertyId::AuthenticationData.bit() | PropertyId::AuthenticationMethod.bit())
        == PropertyId::AuthenticationData.bit()
    {
        return Err(DecodeError::AuthenticationDataWithoutMethod);
    }
    Ok(())
}

/// Properties to be sent.
///
/// ```
/// use culex_codec::{PropertiesBuf, Property, PropertyContext};
/// # fn main() -> Result<(), culex_codec::EncodeError> {
/// let mut properties = PropertiesBuf::new();
/// properties.push(Property::MessageExpiryInterval(60))?;
/// properties.push(Property::UserProperty("unit", "°C"))?;
/// assert_eq!(properties.as_properties(PropertyContext::Publish)?.message_expiry_interval(), Some(60));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertiesBuf {
    bytes: Vec<u8>,
}

impl PropertiesBuf {
    /// No properties; allocates nothing.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Appends a property.
    ///
    /// # Errors
    /// A string or data of more than 65,535 bytes, or a string with U+0000; then nothing is appended.
    pub fn push(&mut self, property: Property<'_>) -> Result<(), EncodeError> {
        property.append_to(&mut self.bytes)
    }

    /// Appends properties that are valid where they come from.
    pub fn extend(&mut self, properties: Properties<'_>) {
        self.bytes.extend_from_slice(properties.bytes);
    }

    /// Removes all, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The properties, for a packet of the type `context`.
    ///
    /// # Errors
    /// [`EncodeError::Properties`] if such a packet cannot have them.
    pub fn as_properties(&self, context: PropertyContext) -> Result<Properties<'_>, EncodeError> {
        Properties::from_bytes(context, &self.bytes).map_err(EncodeError::Properties)
    }
}

#[cfg(test)]
mod tests;
