//! What is wrong with bytes ([`DecodeError`], [`TopicError`]) or with a packet to be sent ([`EncodeError`]).

use crate::{
    frame::PacketType,
    property::{PropertyContext, PropertyId},
    reason::ReasonCode,
    types::{ProtocolVersion, QoS},
};

/// The rule of MQTT that the bytes of a packet break. The Network Connection they came on cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The packet type is 0, or 15 in 3.x: reserved.
    #[error("packet type {packet_type} is reserved")]
    ReservedPacketType {
        /// The upper four bits of the first byte.
        packet_type: u8,
    },
    /// The lower four bits of the first byte are not those that this packet type has.
    #[error("{packet_type} has fixed header flags 0b{flags:04b}")]
    FixedHeaderFlags {
        /// Type of the packet, PUBLISH excepted.
        packet_type: PacketType,
        /// The lower four bits.
        flags: u8,
    },
    /// A PUBLISH has both QoS bits set.
    #[error("PUBLISH with QoS 3")]
    PublishQoS,
    /// A PUBLISH with QoS 0 has DUP set.
    #[error("PUBLISH with QoS 0 and DUP")]
    PublishDupWithoutQoS,
    /// A Variable Byte Integer, such as the Remaining Length, goes on after four bytes.
    #[error("variable byte integer of more than four bytes")]
    VariableByteIntegerTooLong,
    /// A Variable Byte Integer has more bytes than its value needs.
    #[error("variable byte integer {value} takes {bytes} bytes")]
    VariableByteIntegerNotMinimal {
        /// The number it stands for.
        value: u32,
        /// How many bytes it took.
        bytes: usize,
    },
    /// The packet is larger than its receiver allows.
    #[error("packet of {bytes} bytes, {bytes_max} allowed")]
    PacketTooLarge {
        /// Size of the whole packet, fixed header included.
        bytes: u32,
        /// The limit.
        bytes_max: u32,
    },
    /// A field would end after the end of its packet.
    #[error("field of {needed} bytes where the packet has {left} left")]
    Truncated {
        /// Bytes that the field takes.
        needed: usize,
        /// Bytes that the packet has left for it.
        left: usize,
    },
    /// Bytes follow after the last field of the packet.
    #[error("{bytes} bytes after the end of {packet_type}")]
    TrailingBytes {
        /// Type of the packet.
        packet_type: PacketType,
        /// How many.
        bytes: usize,
    },
    /// The Packet Identifier is 0.
    #[error("{packet_type} with packet identifier 0")]
    PacketIdZero {
        /// Type of the packet.
        packet_type: PacketType,
    },
    /// A string is not well-formed UTF-8.
    #[error("ill-formed UTF-8 after {valid_up_to} bytes")]
    InvalidUtf8 {
        /// Bytes of the string before the fault.
        valid_up_to: usize,
    },
    /// A string has the character U+0000.
    #[error("U+0000 at byte {at} of a string")]
    NulCharacter {
        /// Where, in bytes from the start of the string.
        at: usize,
    },
    /// A string is longer than 65,535 bytes. No packet can have it; text given to a constructor can.
    #[error("string of {bytes} bytes")]
    StringTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A Topic Name, Topic Filter or Share Name breaks a rule of its own.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A PUBLISH of 5.0 has neither a Topic Name nor a Topic Alias.
    #[error("PUBLISH without topic name and topic alias")]
    TopicMissing,
    /// The Protocol Name of a CONNECT is neither `MQTT` nor `MQIsdp`: this is not our protocol.
    #[error("unknown protocol name")]
    InvalidProtocolName,
    /// The Protocol Name is known, its Protocol Level is not.
    #[error("unsupported protocol level {level}")]
    UnsupportedProtocolLevel {
        /// The byte.
        level: u8,
    },
    /// Bit 0 of the Connect Flags is set.
    #[error("reserved connect flag is set")]
    ReservedConnectFlag,
    /// The Will QoS is 3.
    #[error("will QoS 3")]
    WillQoS,
    /// There is a Will QoS and no Will Flag.
    #[error("will QoS {qos} without will flag")]
    WillQoSWithoutWill {
        /// The two bits, not 0.
        qos: u8,
    },
    /// There is Will Retain and no Will Flag.
    #[error("will retain without will flag")]
    WillRetainWithoutWill,
    /// The Password Flag is set and the User Name Flag is not; 5.0 allows it.
    #[error("password without user name")]
    PasswordWithoutUserName,
    /// The Connect Acknowledge Flags have a bit set that is reserved.
    #[error("connect acknowledge flags 0x{flags:02x}")]
    ConnectAcknowledgeFlags {
        /// The byte.
        flags: u8,
    },
    /// A CONNACK refuses the connection and says that there is a Session.
    #[error("session present in a refusal")]
    SessionPresentInRefusal,
    /// A Reason Code or return code that this packet cannot have.
    #[error("{packet_type} with reason code 0x{code:02x}")]
    ReasonCode {
        /// Type of the packet.
        packet_type: PacketType,
        /// The byte.
        code: u8,
    },
    /// A SUBACK or UNSUBACK that acknowledges nothing.
    #[error("{packet_type} without reason code")]
    NoReasonCode {
        /// Type of the packet.
        packet_type: PacketType,
    },
    /// A SUBSCRIBE or UNSUBSCRIBE that asks for nothing.
    #[error("{packet_type} without topic filter")]
    NoTopicFilter {
        /// Type of the packet.
        packet_type: PacketType,
    },
    /// Subscription Options with reserved bits, QoS 3 or Retain Handling 3.
    #[error("subscription options 0b{options:08b}")]
    SubscriptionOptions {
        /// The byte.
        options: u8,
    },
    /// A Shared Subscription with No Local.
    #[error("no local on a shared subscription")]
    NoLocalOnSharedSubscription,
    /// A property identifier that does not exist.
    #[error("unknown property 0x{id:02x}")]
    UnknownProperty {
        /// The identifier.
        id: u32,
    },
    /// A property that this packet does not have.
    #[error("{context} with property {id:?}")]
    PropertyNotAllowed {
        /// Which property.
        id: PropertyId,
        /// Where.
        context: PropertyContext,
    },
    /// A property that was there already.
    #[error("property {id:?} twice")]
    DuplicateProperty {
        /// Which property.
        id: PropertyId,
    },
    /// A property with a value that it cannot have, such as 0 for a Receive Maximum.
    #[error("property {id:?} with forbidden value {value}")]
    PropertyValue {
        /// Which property.
        id: PropertyId,
        /// The value.
        value: u32,
    },
    /// More properties than anyone needs.
    #[error("more than {properties_max} properties")]
    TooManyProperties {
        /// The limit.
        properties_max: usize,
    },
    /// Authentication Data without Authentication Method.
    #[error("authentication data without authentication method")]
    AuthenticationDataWithoutMethod,
}

impl DecodeError {
    /// The Reason Code for the CONNACK or DISCONNECT that tells the peer: a Malformed Packet is what cannot be parsed, a
    /// Protocol Error what can be and is not allowed (5.0 section 1.2).
    pub const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::ReservedPacketType { .. }
            | Self::FixedHeaderFlags { .. }
            | Self::PublishQoS
            | Self::PublishDupWithoutQoS
            | Self::VariableByteIntegerTooLong
            | Self::VariableByteIntegerNotMinimal { .. }
            | Self::Truncated { .. }
            | Self::TrailingBytes { .. }
            | Self::InvalidUtf8 { .. }
            | Self::NulCharacter { .. }
            | Self::StringTooLong { .. }
            | Self::Topic(_)
            | Self::ReservedConnectFlag
            | Self::WillQoS
            | Self::WillQoSWithoutWill { .. }
            | Self::WillRetainWithoutWill
            | Self::PasswordWithoutUserName
            | Self::ConnectAcknowledgeFlags { .. }
            | Self::ReasonCode { .. }
            | Self::UnknownProperty { .. }
            | Self::PropertyNotAllowed { .. } => ReasonCode::MalformedPacket,
            Self::PacketIdZero { .. }
            | Self::TopicMissing
            | Self::SessionPresentInRefusal
            | Self::NoReasonCode { .. }
            | Self::NoTopicFilter { .. }
            | Self::NoLocalOnSharedSubscription
            | Self::DuplicateProperty { .. }
            | Self::PropertyValue { .. }
            | Self::AuthenticationDataWithoutMethod => ReasonCode::ProtocolError,
            // Reserved bits make it malformed, a value of 3 a protocol error (5.0 section 3.8.3.1).
            Self::SubscriptionOptions { options } if *options & 0xc0 == 0 => ReasonCode::ProtocolError,
            Self::SubscriptionOptions { .. } => ReasonCode::MalformedPacket,
            Self::PacketTooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::TooManyProperties { .. } => ReasonCode::ImplementationSpecificError,
            Self::InvalidProtocolName | Self::UnsupportedProtocolLevel { .. } => {
                ReasonCode::UnsupportedProtocolVersion
            }
        }
    }

    /// The statement of MQTT 3.1.1 that is broken, such as `MQTT-2.2.2-2`; empty where 3.1.1 has none.
    pub const fn statement(&self) -> &'static str {
        match self {
            Self::FixedHeaderFlags { packet_type, .. } => match packet_type {
                PacketType::PubRel => "MQTT-3.6.1-1",
                PacketType::Subscribe => "MQTT-3.8.1-1",
                PacketType::Unsubscribe => "MQTT-3.10.1-1",
                PacketType::Disconnect => "MQTT-3.14.1-1",
                PacketType::Connect
                | PacketType::ConnAck
                | PacketType::Publish
                | PacketType::PubAck
                | PacketType::PubRec
                | PacketType::PubComp
                | PacketType::SubAck
                | PacketType::UnsubAck
                | PacketType::PingReq
                | PacketType::PingResp
                | PacketType::Auth => "MQTT-2.2.2-2",
            },
            Self::PublishQoS => "MQTT-3.3.1-4",
            Self::PublishDupWithoutQoS => "MQTT-3.3.1-2",
            Self::PacketIdZero { .. } => "MQTT-2.3.1-1",
            Self::InvalidUtf8 { .. } => "MQTT-1.5.3-1",
            Self::NulCharacter { .. } => "MQTT-1.5.3-2",
            Self::Topic(error) => error.statement(),
            Self::InvalidProtocolName => "MQTT-3.1.2-1",
            Self::UnsupportedProtocolLevel { .. } => "MQTT-3.1.2-2",
            Self::ReservedConnectFlag => "MQTT-3.1.2-3",
            Self::WillQoS => "MQTT-3.1.2-14",
            Self::WillQoSWithoutWill { .. } => "MQTT-3.1.2-13",
            Self::WillRetainWithoutWill => "MQTT-3.1.2-15",
            Self::PasswordWithoutUserName => "MQTT-3.1.2-22",
            Self::SessionPresentInRefusal => "MQTT-3.2.2-4",
            Self::ReasonCode { packet_type: PacketType::SubAck, .. } => "MQTT-3.9.3-2",
            Self::NoTopicFilter { packet_type: PacketType::Unsubscribe } => "MQTT-3.10.3-2",
            Self::NoTopicFilter { .. } => "MQTT-3.8.3-3",
            Self::SubscriptionOptions { .. } => "MQTT-3.8.3-4",
            Self::ReservedPacketType { .. }
            | Self::VariableByteIntegerTooLong
            | Self::VariableByteIntegerNotMinimal { .. }
            | Self::PacketTooLarge { .. }
            | Self::Truncated { .. }
            | Self::TrailingBytes { .. }
            | Self::StringTooLong { .. }
            | Self::TopicMissing
            | Self::ConnectAcknowledgeFlags { .. }
            | Self::ReasonCode { .. }
            | Self::NoReasonCode { .. }
            | Self::NoLocalOnSharedSubscription
            | Self::UnknownProperty { .. }
            | Self::PropertyNotAllowed { .. }
            | Self::DuplicateProperty { .. }
            | Self::PropertyValue { .. }
            | Self::TooManyProperties { .. }
            | Self::AuthenticationDataWithoutMethod => "",
        }
    }
}

/// The rule of section 4.7 (or 4.8 of 5.0) that a Topic Name, Topic Filter or Share Name breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// No character.
    #[error("empty topic")]
    Empty,
    /// More than 65,535 bytes.
    #[error("topic of {bytes} bytes")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The character U+0000.
    #[error("U+0000 at byte {at} of a topic")]
    NulCharacter {
        /// Where, in bytes.
        at: usize,
    },
    /// `+` or `#` in a Topic Name.
    #[error("wildcard at byte {at} of a topic name")]
    WildcardInTopicName {
        /// Where, in bytes.
        at: usize,
    },
    /// `+` that shares its level with something else.
    #[error("'+' at byte {at} of a topic filter is not a whole level")]
    SingleLevelWildcard {
        /// Where, in bytes.
        at: usize,
    },
    /// `#` that is not the whole last level.
    #[error("'#' at byte {at} of a topic filter is not the whole last level")]
    MultiLevelWildcard {
        /// Where, in bytes.
        at: usize,
    },
    /// `$share/` without a valid Share Name and a Topic Filter after it.
    #[error("malformed shared subscription")]
    MalformedShare,
}

impl TopicError {
    /// The statement of MQTT 3.1.1 that is broken; empty for Shared Subscriptions, which 3.1.1 does not have.
    pub const fn statement(&self) -> &'static str {
        match self {
            Self::Empty => "MQTT-4.7.3-1",
            Self::TooLong { .. } => "MQTT-4.7.3-3",
            Self::NulCharacter { .. } => "MQTT-4.7.3-2",
            Self::WildcardInTopicName { .. } => "MQTT-3.3.2-2",
            Self::SingleLevelWildcard { .. } => "MQTT-4.7.1-3",
            Self::MultiLevelWildcard { .. } => "MQTT-4.7.1-2",
            Self::MalformedShare => "",
        }
    }
}

/// Why a packet cannot be written. Nothing has been written then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The Remaining Length would exceed 268,435,455.
    #[error("packet body of {bytes} bytes")]
    PacketTooLarge {
        /// The Remaining Length.
        bytes: usize,
    },
    /// The buffer, one of fixed size, has no room.
    #[error("packet of {bytes} bytes, room for {room}")]
    BufferTooSmall {
        /// Size of the packet.
        bytes: usize,
        /// What the buffer can take.
        room: usize,
    },
    /// A string or binary data of more than 65,535 bytes.
    #[error("field of {bytes} bytes")]
    FieldTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A string with the character U+0000.
    #[error("U+0000 at byte {at} of a string")]
    NulCharacter {
        /// Where, in bytes.
        at: usize,
    },
    /// The packet does not exist in this version.
    #[error("{packet_type} in {version:?}")]
    NotInVersion {
        /// Type of the packet.
        packet_type: PacketType,
        /// The version asked for.
        version: ProtocolVersion,
    },
    /// A PUBLISH without a Topic Name, and in 5.0 also without a Topic Alias.
    #[error("PUBLISH without topic name")]
    TopicMissing,
    /// A PUBLISH has a Packet Identifier with QoS 0, or none with QoS 1 or 2.
    #[error("packet identifier does not fit QoS {}", qos.bits())]
    PacketIdMismatch {
        /// The QoS.
        qos: QoS,
    },
    /// A PUBLISH with QoS 0 and DUP.
    #[error("DUP with QoS 0")]
    DupWithoutQoS,
    /// 3.x has no password without user name.
    #[error("password without user name")]
    PasswordWithoutUserName,
    /// A CONNACK refuses and says that there is a Session.
    #[error("session present in a refusal")]
    SessionPresentInRefusal,
    /// The version defines no such code for this packet.
    #[error("{packet_type} with reason code 0x{code:02x}")]
    ReasonCode {
        /// Type of the packet.
        packet_type: PacketType,
        /// The byte.
        code: u8,
    },
    /// A SUBACK or UNSUBACK without any code.
    #[error("{packet_type} without reason code")]
    NoReasonCode {
        /// Type of the packet.
        packet_type: PacketType,
    },
    /// A SUBSCRIBE or UNSUBSCRIBE without any filter.
    #[error("{packet_type} without topic filter")]
    NoTopicFilter {
        /// Type of the packet.
        packet_type: PacketType,
    },
    /// The properties are not what the packet can have.
    #[error("properties: {0}")]
    Properties(#[source] DecodeError),
}
