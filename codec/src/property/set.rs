//! Which packet can have which property (5.0 table 2-4).

use std::fmt;

use super::id::PropertyId;

/// Where properties stand: a type of packet, or the Will of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the packets")]
pub enum PropertyContext {
    Connect,
    Will,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    Disconnect,
    Auth,
}

impl PropertyContext {
    /// Whether the property can stand here.
    pub const fn allows(self, id: PropertyId) -> bool {
        self.allowed() & id.bit() != 0
    }

    /// The properties that can stand here.
    pub(crate) const fn allowed(self) -> u64 {
        match self {
            Self::Connect => CONNECT,
            Self::Will => WILL,
            Self::ConnAck => CONNACK,
            Self::Publish => PUBLISH,
            Self::PubAck | Self::PubRec | Self::PubRel | Self::PubComp | Self::SubAck | Self::UnsubAck => {
                REASON
            }
            Self::Subscribe => SUBSCRIBE,
            Self::Unsubscribe => PropertyId::UserProperty.bit(),
            Self::Disconnect => DISCONNECT,
            Self::Auth => AUTH,
        }
    }

    /// The properties that can stand here more than once.
    ///
    /// A SUBSCRIBE has at most one Subscription Identifier; a PUBLISH of a Server has one for each Subscription that it
    /// answers (5.0 section 3.3.2.3.8).
    pub(crate) const fn repeatable(self) -> u64 {
        match self {
            Self::Publish => PropertyId::UserProperty.bit() | PropertyId::SubscriptionIdentifier.bit(),
            Self::Connect
            | Self::Will
            | Self::ConnAck
            | Self::PubAck
            | Self::PubRec
            | Self::PubRel
            | Self::PubComp
            | Self::Subscribe
            | Self::SubAck
            | Self::Unsubscribe
            | Self::UnsubAck
            | Self::Disconnect
            | Self::Auth => PropertyId::UserProperty.bit(),
        }
    }
}

impl fmt::Display for PropertyContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "CONNECT",
            Self::Will => "will",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        })
    }
}

const fn set(ids: &[PropertyId]) -> u64 {
    let mut set = 0;
    let mut ids = ids;
    while let Some((id, rest)) = ids.split_first() {
        set |= id.bit();
        ids = rest;
    }
    set
}

const CONNECT: u64 = set(&[
    PropertyId::SessionExpiryInterval,
    PropertyId::AuthenticationMethod,
    PropertyId::AuthenticationData,
    PropertyId::RequestProblemInformation,
    PropertyId::RequestResponseInformation,
    PropertyId::ReceiveMaximum,
    PropertyId::TopicAliasMaximum,
    PropertyId::UserProperty,
    PropertyId::MaximumPacketSize,
]);

const WILL: u64 = set(&[
    PropertyId::PayloadFormatIndicator,
    PropertyId::MessageExpiryInterval,
    PropertyId::ContentType,
    PropertyId::ResponseTopic,
    PropertyId::CorrelationData,
    PropertyId::WillDelayInterval,
    PropertyId::UserProperty,
]);

const CONNACK: u64 = set(&[
    PropertyId::SessionExpiryInterval,
    PropertyId::AssignedClientIdentifier,
    PropertyId::ServerKeepAlive,
    PropertyId::AuthenticationMethod,
    PropertyId::AuthenticationData,
    PropertyId::ResponseInformation,
    PropertyId::ServerReference,
    PropertyId::ReasonString,
    PropertyId::ReceiveMaximum,
    PropertyId::TopicAliasMaximum,
    PropertyId::MaximumQoS,
    PropertyId::RetainAvailable,
    PropertyId::UserProperty,
    PropertyId::MaximumPacketSize,
    PropertyId::WildcardSubscriptionAvailable,
    PropertyId::SubscriptionIdentifierAvailable,
    PropertyId::SharedSubscriptionAvailable,
]);

const PUBLISH: u64 = set(&[
    PropertyId::PayloadFormatIndicator,
    PropertyId::MessageExpiryInterval,
    PropertyId::ContentType,
    PropertyId::ResponseTopic,
    PropertyId::CorrelationData,
    PropertyId::SubscriptionIdentifier,
    PropertyId::TopicAlias,
    PropertyId::UserProperty,
]);

const REASON: u64 = set(&[PropertyId::ReasonString, PropertyId::UserProperty]);

const SUBSCRIBE: u64 = set(&[PropertyId::SubscriptionIdentifier, PropertyId::UserProperty]);

const DISCONNECT: u64 = set(&[
    PropertyId::SessionExpiryInterval,
    PropertyId::ServerReference,
    PropertyId::ReasonString,
    PropertyId::UserProperty,
]);

const AUTH: u64 = set(&[
    PropertyId::AuthenticationMethod,
    PropertyId::AuthenticationData,
    PropertyId::ReasonString,
    PropertyId::UserProperty,
]);
