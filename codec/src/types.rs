//! Small value types that several packets share.

use std::num::{NonZeroU16, NonZeroU32};

use crate::{error::DecodeError, text};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// MQTT 3.1: Protocol Name `MQIsdp`, Protocol Level 3.
    V31,
    /// MQTT 3.1.1: Protocol Name `MQTT`, Protocol Level 4.
    V311,
    /// MQTT 5.0: Protocol Name `MQTT`, Protocol Version 5.
    V5,
}

impl ProtocolVersion {
    /// The Protocol Level byte of a CONNECT: 3, 4 or 5.
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// The Protocol Name of a CONNECT.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            Self::V311 | Self::V5 => "MQTT",
        }
    }

    /// Whether packets of this version have properties and Reason Codes.
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }
}

/// Quality of Service of an Application Message or a Subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// Delivered at most once, never acknowledged.
    #[default]
    AtMostOnce = 0,
    /// Delivered at least once, acknowledged with PUBACK.
    AtLeastOnce = 1,
    /// Delivered exactly once: PUBREC, PUBREL, PUBCOMP.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS that `bits` stand for; `None` above 2.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The two bits on the wire: 0, 1 or 2.
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// A Packet Identifier, 1 to 65,535 ([MQTT-2.3.1-1]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The identifier `value`; `None` for 0.
    pub const fn new(value: u16) -> Option<Self> {
        match NonZeroU16::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number, never 0.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl From<NonZeroU16> for PacketId {
    fn from(value: NonZeroU16) -> Self {
        Self(value)
    }
}

/// A Subscription Identifier, 1 to 268,435,455.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    /// The largest value, that of a Variable Byte Integer.
    pub const MAX: u32 = 268_435_455;

    /// The identifier `value`; `None` for 0 and above [`Self::MAX`].
    pub const fn new(value: u32) -> Option<Self> {
        if value > Self::MAX {
            return None;
        }
        match NonZeroU32::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number, never 0.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// A Client Identifier as a CONNECT brings it. It may be empty: what that means is the Server's decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId<'a>(&'a str);

impl<'a> ClientId<'a> {
    /// The identifier `text`.
    ///
    /// # Errors
    /// [`DecodeError::NulCharacter`] or [`DecodeError::StringTooLong`] if `text` cannot be a UTF-8 string of a packet.
    pub fn new(text: &'a str) -> Result<Self, DecodeError> {
        text::check(text).map(Self)
    }

    /// For text that the reader has checked.
    pub(crate) const fn from_checked(text: &'a str) -> Self {
        Self(text)
    }

    /// The text, at most 65,535 bytes, without U+0000.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether the Client left it to the Server to name it ([MQTT-3.1.3-6]).
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for ClientId<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_qos_exist() {
        for bits in 0..=u8::MAX {
            assert_eq!(QoS::from_bits(bits).map(QoS::bits), (bits <= 2).then_some(bits));
        }
        assert!(QoS::AtMostOnce < QoS::AtLeastOnce && QoS::AtLeastOnce < QoS::ExactlyOnce);
    }

    #[test]
    fn identifiers_have_their_ranges() {
        assert_eq!(PacketId::new(0), None);
        assert_eq!(PacketId::new(u16::MAX).map(PacketId::get), Some(u16::MAX));
        assert_eq!(SubscriptionId::new(0), None);
        assert_eq!(
            SubscriptionId::new(SubscriptionId::MAX).map(SubscriptionId::get),
            Some(SubscriptionId::MAX)
        );
        assert_eq!(SubscriptionId::new(SubscriptionId::MAX + 1), None);
    }

    #[test]
    fn a_client_id_may_be_empty_but_not_hold_nul() {
        assert!(ClientId::new("").is_ok_and(ClientId::is_empty));
        assert_eq!(ClientId::new("a\0"), Err(DecodeError::NulCharacter { at: 1 }));
        assert_eq!(ClientId::new(&"x".repeat(65_536)), Err(DecodeError::StringTooLong { bytes: 65_536 }));
    }
}
