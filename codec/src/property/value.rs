//! One property: its value as a type, read from and written to bytes.

use std::num::{NonZeroU16, NonZeroU32};

use crate::{
    error::{DecodeError, EncodeError},
    property::id::{Form, PropertyId},
    reader::Reader,
    text,
    topic::TopicName,
    types::{QoS, SubscriptionId},
    writer::{self, Writer},
};

/// A property with its value (5.0 section 2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// Whether the payload is UTF-8 text; else it is unspecified bytes.
    PayloadFormatIndicator(bool),
    /// Seconds that a message is worth delivering.
    MessageExpiryInterval(u32),
    /// What the payload is, in words of the application.
    ContentType(&'a str),
    /// Where a response shall go.
    ResponseTopic(TopicName<'a>),
    /// What the requester recognises the response by.
    CorrelationData(&'a [u8]),
    /// The number that a Client gave to a Subscription.
    SubscriptionIdentifier(SubscriptionId),
    /// Seconds that Session State outlives its connection; 0xFFFFFFFF is for ever.
    SessionExpiryInterval(u32),
    /// The Client Identifier that the Server chose.
    AssignedClientIdentifier(&'a str),
    /// The Keep Alive, in seconds, that the Server wants instead of that of the CONNECT; 0 is none.
    ServerKeepAlive(u16),
    /// Name of the enhanced authentication method.
    AuthenticationMethod(&'a str),
    /// Data of the enhanced authentication method.
    AuthenticationData(&'a [u8]),
    /// Whether Reason Strings and User Properties are wanted with failures.
    RequestProblemInformation(bool),
    /// Seconds from the end of the connection to the Will Message.
    WillDelayInterval(u32),
    /// Whether Response Information is wanted.
    RequestResponseInformation(bool),
    /// Basis for Response Topics.
    ResponseInformation(&'a str),
    /// Another Server to use.
    ServerReference(&'a str),
    /// An explanation for humans.
    ReasonString(&'a str),
    /// How many messages with QoS above 0 the sender takes before it has acknowledged one.
    ReceiveMaximum(NonZeroU16),
    /// The highest Topic Alias that the sender takes.
    TopicAliasMaximum(u16),
    /// A number that stands for the Topic Name.
    TopicAlias(NonZeroU16),
    /// The highest QoS that the Server supports: 0 or 1.
    MaximumQoS(QoS),
    /// Whether the Server keeps Retained Messages.
    RetainAvailable(bool),
    /// A name and a value that mean something to the application.
    UserProperty(&'a str, &'a str),
    /// Bytes of the largest packet that the sender takes.
    MaximumPacketSize(NonZeroU32),
    /// Whether the Server takes wildcards.
    WildcardSubscriptionAvailable(bool),
    /// Whether the Server takes Subscription Identifiers.
    SubscriptionIdentifierAvailable(bool),
    /// Whether the Server takes Shared Subscriptions.
    SharedSubscriptionAvailable(bool),
}

/// A value whose extent is known and whose content is not checked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Raw<'a> {
    Number(u32),
    Bytes(&'a [u8]),
    Pair(&'a [u8], &'a [u8]),
}

impl<'a> Raw<'a> {
    /// Takes the next property apart, without looking into its value.
    #[inline]
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<(PropertyId, Self), DecodeError> {
        let id = reader.variable_byte_integer()?;
        let id = PropertyId::new(id).ok_or(DecodeError::UnknownProperty { id })?;
        let raw = match id.form() {
            Form::Byte => Self::Number(reader.u8()?.into()),
            Form::TwoByteInteger => Self::Number(reader.u16()?.into()),
            Form::FourByteInteger => Self::Number(reader.u32()?),
            Form::VariableByteInteger => Self::Number(reader.variable_byte_integer()?),
            Form::Bytes => Self::Bytes(reader.binary()?),
            Form::StringPair => Self::Pair(reader.binary()?, reader.binary()?),
        };
        Ok((id, raw))
    }

    const fn number(self) -> u32 {
        match self {
            Self::Number(value) => value,
            Self::Bytes(_) | Self::Pair(..) => 0,
        }
    }

    const fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) | Self::Pair(bytes, _) => bytes,
            Self::Number(_) => &[],
        }
    }

    const fn second(self) -> &'a [u8] {
        match self {
            Self::Pair(_, second) => second,
            Self::Bytes(_) | Self::Number(_) => &[],
        }
    }
}

impl<'a> Property<'a> {
    /// The property `id` with the value that [`Raw::read`] found for it.
    pub(crate) fn from_raw(id: PropertyId, raw: Raw<'a>) -> Result<Self, DecodeError> {
        let value = raw.number();
        let forbidden = DecodeError::PropertyValue { id, value };
        let short = value as u16;
        let flag = || match value {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(forbidden),
        };
        let string = || text::from_bytes(raw.bytes());
        Ok(match id {
            PropertyId::PayloadFormatIndicator => Self::PayloadFormatIndicator(flag()?),
            PropertyId::MessageExpiryInterval => Self::MessageExpiryInterval(value),
            PropertyId::ContentType => Self::ContentType(string()?), // [MQTT-3.3.2-19]
            // [MQTT-3.3.2-13], [MQTT-3.3.2-14]
            PropertyId::ResponseTopic => Self::ResponseTopic(TopicName::from_bytes(raw.bytes())?),
            PropertyId::CorrelationData => Self::CorrelationData(raw.bytes()),
            PropertyId::SubscriptionIdentifier => {
                Self::SubscriptionIdentifier(SubscriptionId::new(value).ok_or(forbidden)?)
            }
            PropertyId::SessionExpiryInterval => Self::SessionExpiryInterval(value),
            PropertyId::AssignedClientIdentifier => Self::AssignedClientIdentifier(string()?),
            PropertyId::ServerKeepAlive => Self::ServerKeepAlive(short),
            PropertyId::AuthenticationMethod => Self::AuthenticationMethod(string()?),
            PropertyId::AuthenticationData => Self::AuthenticationData(raw.bytes()),
            PropertyId::RequestProblemInformation => Self::RequestProblemInformation(flag()?),
            PropertyId::WillDelayInterval => Self::WillDelayInterval(value),
            PropertyId::RequestResponseInformation => Self::RequestResponseInformation(flag()?),
            PropertyId::ResponseInformation => Self::ResponseInformation(string()?),
            PropertyId::ServerReference => Self::ServerReference(string()?),
            PropertyId::ReasonString => Self::ReasonString(string()?),
            PropertyId::ReceiveMaximum => Self::ReceiveMaximum(NonZeroU16::new(short).ok_or(forbidden)?),
            PropertyId::TopicAliasMaximum => Self::TopicAliasMaximum(short),
            PropertyId::TopicAlias => Self::TopicAlias(NonZeroU16::new(short).ok_or(forbidden)?), // [MQTT-3.3.2-8]
            PropertyId::MaximumQoS if flag()? => Self::MaximumQoS(QoS::AtLeastOnce),
            PropertyId::MaximumQoS => Self::MaximumQoS(QoS::AtMostOnce),
            PropertyId::RetainAvailable => Self::RetainAvailable(flag()?),
            // [MQTT-1.5.7-1]
            PropertyId::UserProperty => Self::UserProperty(string()?, text::from_bytes(raw.second())?),
            PropertyId::MaximumPacketSize => {
                Self::MaximumPacketSize(NonZeroU32::new(value).ok_or(forbidden)?)
            }
            PropertyId::WildcardSubscriptionAvailable => Self::WildcardSubscriptionAvailable(flag()?),
            PropertyId::SubscriptionIdentifierAvailable => Self::SubscriptionIdentifierAvailable(flag()?),
            PropertyId::SharedSubscriptionAvailable => Self::SharedSubscriptionAvailable(flag()?),
        })
    }

    /// Which property it is.
    pub const fn id(&self) -> PropertyId {
        match self {
            Self::PayloadFormatIndicator(_) => PropertyId::PayloadFormatIndicator,
            Self::MessageExpiryInterval(_) => PropertyId::MessageExpiryInterval,
            Self::ContentType(_) => PropertyId::ContentType,
            Self::ResponseTopic(_) => PropertyId::ResponseTopic,
            Self::CorrelationData(_) => PropertyId::CorrelationData,
            Self::SubscriptionIdentifier(_) => PropertyId::SubscriptionIdentifier,
            Self::SessionExpiryInterval(_) => PropertyId::SessionExpiryInterval,
            Self::AssignedClientIdentifier(_) => PropertyId::AssignedClientIdentifier,
            Self::ServerKeepAlive(_) => PropertyId::ServerKeepAlive,
            Self::AuthenticationMethod(_) => PropertyId::AuthenticationMethod,
            Self::AuthenticationData(_) => PropertyId::AuthenticationData,
            Self::RequestProblemInformation(_) => PropertyId::RequestProblemInformation,
            Self::WillDelayInterval(_) => PropertyId::WillDelayInterval,
            Self::RequestResponseInformation(_) => PropertyId::RequestResponseInformation,
            Self::ResponseInformation(_) => PropertyId::ResponseInformation,
            Self::ServerReference(_) => PropertyId::ServerReference,
            Self::ReasonString(_) => PropertyId::ReasonString,
            Self::ReceiveMaximum(_) => PropertyId::ReceiveMaximum,
            Self::TopicAliasMaximum(_) => PropertyId::TopicAliasMaximum,
            Self::TopicAlias(_) => PropertyId::TopicAlias,
            Self::MaximumQoS(_) => PropertyId::MaximumQoS,
            Self::RetainAvailable(_) => PropertyId::RetainAvailable,
            Self::UserProperty(..) => PropertyId::UserProperty,
            Self::MaximumPacketSize(_) => PropertyId::MaximumPacketSize,
            Self::WildcardSubscriptionAvailable(_) => PropertyId::WildcardSubscriptionAvailable,
            Self::SubscriptionIdentifierAvailable(_) => PropertyId::SubscriptionIdentifierAvailable,
            Self::SharedSubscriptionAvailable(_) => PropertyId::SharedSubscriptionAvailable,
        }
    }

    /// Appends the property, or nothing if a string cannot be sent.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.check()?;
        let mut writer = Writer::new(out);
        writer.u8(self.id() as u8);
        match *self {
            Self::PayloadFormatIndicator(flag)
            | Self::RequestProblemInformation(flag)
            | Self::RequestResponseInformation(flag)
            | Self::RetainAvailable(flag)
            | Self::WildcardSubscriptionAvailable(flag)
            | Self::SubscriptionIdentifierAvailable(flag)
            | Self::SharedSubscriptionAvailable(flag) => writer.u8(flag.into()),
            Self::MaximumQoS(qos) => writer.u8(qos.bits()),
            Self::ServerKeepAlive(value) | Self::TopicAliasMaximum(value) => writer.u16(value),
            Self::ReceiveMaximum(value) | Self::TopicAlias(value) => writer.u16(value.get()),
            Self::MessageExpiryInterval(value)
            | Self::SessionExpiryInterval(value)
            | Self::WillDelayInterval(value) => writer.u32(value),
            Self::MaximumPacketSize(value) => writer.u32(value.get()),
            Self::SubscriptionIdentifier(id) => writer.variable_byte_integer(id.get()),
            Self::ContentType(text)
            | Self::AssignedClientIdentifier(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => writer.binary(text.as_bytes()),
            Self::ResponseTopic(topic) => writer.binary(topic.as_str().as_bytes()),
            Self::CorrelationData(bytes) | Self::AuthenticationData(bytes) => writer.binary(bytes),
            Self::UserProperty(name, value) => {
                writer.binary(name.as_bytes());
                writer.binary(value.as_bytes());
            }
        }
        Ok(())
    }

    /// Whether strings and Binary Data can be sent.
    fn check(&self) -> Result<(), EncodeError> {
        match *self {
            Self::ContentType(text)
            | Self::AssignedClientIdentifier(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => writer::string_len(text)?,
            Self::CorrelationData(bytes) | Self::AuthenticationData(bytes) => writer::binary_len(bytes)?,
            Self::UserProperty(name, value) => writer::string_len(name)? + writer::string_len(value)?,
            Self::PayloadFormatIndicator(_)
            | Self::MessageExpiryInterval(_)
            | Self::ResponseTopic(_)
            | Self::SubscriptionIdentifier(_)
            | Self::SessionExpiryInterval(_)
            | Self::ServerKeepAlive(_)
            | Self::RequestProblemInformation(_)
            | Self::WillDelayInterval(_)
            | Self::RequestResponseInformation(_)
            | Self::ReceiveMaximum(_)
            | Self::TopicAliasMaximum(_)
            | Self::TopicAlias(_)
            | Self::MaximumQoS(_)
            | Self::RetainAvailable(_)
            | Self::MaximumPacketSize(_)
            | Self::WildcardSubscriptionAvailable(_)
            | Self::SubscriptionIdentifierAvailable(_)
            | Self::SharedSubscriptionAvailable(_) => 0,
        };
        Ok(())
    }
}
