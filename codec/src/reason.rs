//! Reason Codes (5.0 section 2.4) and the return codes of 3.x that stand for them.

use crate::frame::PacketType;

macro_rules! reason_codes {
    ($($(#[$meta:meta])* $name:ident = $value:literal, $description:literal;)*) => {
        /// Why a packet was sent: the result of a request, or the cause of a DISCONNECT. Codes from 0x80 on are failures.
        ///
        /// 0x00 is also "Normal disconnection" in DISCONNECT and "Granted QoS 0" in SUBACK.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(
                $(#[$meta])*
                $name = $value,
            )*
        }

        impl ReasonCode {
            /// Every code, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name that the standard gives the code, in lower case.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$name => $description,)*
                }
            }
        }

        impl TryFrom<u8> for ReasonCode {
            type Error = UnknownReasonCode;

            fn try_from(value: u8) -> Result<Self, UnknownReasonCode> {
                match value {
                    $($value => Ok(Self::$name),)*
                    _ => Err(UnknownReasonCode { code: value }),
                }
            }
        }
    };
}

reason_codes! {
    /// 0x00: success; normal disconnection; granted QoS 0.
    #[default]
    Success = 0x00, "success";
    /// 0x01: the Subscription was made with QoS 1.
    GrantedQoS1 = 0x01, "granted QoS 1";
    /// 0x02: the Subscription was made with QoS 2.
    GrantedQoS2 = 0x02, "granted QoS 2";
    /// 0x04: the Client leaves and wants its Will Message published.
    DisconnectWithWillMessage = 0x04, "disconnect with will message";
    /// 0x10: the message was taken, and nobody subscribes to it.
    NoMatchingSubscribers = 0x10, "no matching subscribers";
    /// 0x11: there was no such Subscription to remove.
    NoSubscriptionExisted = 0x11, "no subscription existed";
    /// 0x18: one more step of enhanced authentication.
    ContinueAuthentication = 0x18, "continue authentication";
    /// 0x19: the Client starts to authenticate again.
    ReAuthenticate = 0x19, "re-authenticate";
    /// 0x80: the sender does not say why.
    UnspecifiedError = 0x80, "unspecified error";
    /// 0x81: the packet could not be parsed.
    MalformedPacket = 0x81, "malformed packet";
    /// 0x82: the packet, or its place in the sequence, is against the protocol.
    ProtocolError = 0x82, "protocol error";
    /// 0x83: valid, but not accepted by this implementation.
    ImplementationSpecificError = 0x83, "implementation specific error";
    /// 0x84: the Server does not speak this version.
    UnsupportedProtocolVersion = 0x84, "unsupported protocol version";
    /// 0x85: the Client Identifier is valid and not allowed.
    ClientIdentifierNotValid = 0x85, "client identifier not valid";
    /// 0x86: user name or password not accepted.
    BadUserNameOrPassword = 0x86, "bad user name or password";
    /// 0x87: the Client may not do that.
    NotAuthorized = 0x87, "not authorized";
    /// 0x88: the MQTT Server is not available.
    ServerUnavailable = 0x88, "server unavailable";
    /// 0x89: try again later.
    ServerBusy = 0x89, "server busy";
    /// 0x8A: this Client was banned by an administrator.
    Banned = 0x8a, "banned";
    /// 0x8B: the Server is going down.
    ServerShuttingDown = 0x8b, "server shutting down";
    /// 0x8C: the authentication method is unknown, or not that of the CONNECT.
    BadAuthenticationMethod = 0x8c, "bad authentication method";
    /// 0x8D: nothing came for one and a half times the Keep Alive.
    KeepAliveTimeout = 0x8d, "keep alive timeout";
    /// 0x8E: another connection uses the same Client Identifier.
    SessionTakenOver = 0x8e, "session taken over";
    /// 0x8F: the Topic Filter is valid and not accepted.
    TopicFilterInvalid = 0x8f, "topic filter invalid";
    /// 0x90: the Topic Name is valid and not accepted.
    TopicNameInvalid = 0x90, "topic name invalid";
    /// 0x91: the Packet Identifier is in use already.
    PacketIdentifierInUse = 0x91, "packet identifier in use";
    /// 0x92: the Packet Identifier is not known.
    PacketIdentifierNotFound = 0x92, "packet identifier not found";
    /// 0x93: more unacknowledged messages than the Receive Maximum.
    ReceiveMaximumExceeded = 0x93, "receive maximum exceeded";
    /// 0x94: a Topic Alias of 0 or above the maximum, or an unknown one.
    TopicAliasInvalid = 0x94, "topic alias invalid";
    /// 0x95: larger than the Maximum Packet Size.
    PacketTooLarge = 0x95, "packet too large";
    /// 0x96: data come too fast.
    MessageRateTooHigh = 0x96, "message rate too high";
    /// 0x97: a limit of the implementation or the administrator was exceeded.
    QuotaExceeded = 0x97, "quota exceeded";
    /// 0x98: closed by an administrator.
    AdministrativeAction = 0x98, "administrative action";
    /// 0x99: the payload is not what its Payload Format Indicator says.
    PayloadFormatInvalid = 0x99, "payload format invalid";
    /// 0x9A: the Server keeps no Retained Messages.
    RetainNotSupported = 0x9a, "retain not supported";
    /// 0x9B: a QoS above the Maximum QoS.
    QoSNotSupported = 0x9b, "QoS not supported";
    /// 0x9C: use another Server for now.
    UseAnotherServer = 0x9c, "use another server";
    /// 0x9D: use another Server from now on.
    ServerMoved = 0x9d, "server moved";
    /// 0x9E: the Server has no Shared Subscriptions.
    SharedSubscriptionsNotSupported = 0x9e, "shared subscriptions not supported";
    /// 0x9F: too many connections per time.
    ConnectionRateExceeded = 0x9f, "connection rate exceeded";
    /// 0xA0: the longest time for this connection is over.
    MaximumConnectTime = 0xa0, "maximum connect time";
    /// 0xA1: the Server has no Subscription Identifiers.
    SubscriptionIdentifiersNotSupported = 0xa1, "subscription identifiers not supported";
    /// 0xA2: the Server has no Subscriptions with wildcards.
    WildcardSubscriptionsNotSupported = 0xa2, "wildcard subscriptions not supported";
}

/// A byte that is no Reason Code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("0x{code:02x} is not a reason code")]
pub struct UnknownReasonCode {
    /// The byte.
    pub code: u8,
}

impl ReasonCode {
    /// Whether it stands for a failure: 0x80 and above.
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The byte on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The return code that a CONNACK of 3.x has for this code: 0 to 5 (3.1.1 table 3.1). What 3.x has no word for is 3,
    /// "server unavailable".
    pub const fn to_connect_return_code(self) -> u8 {
        match self as u8 {
            0x00 => 0,
            0x84 => 1,
            0x85 => 2,
            0x86 => 4,
            0x87 => 5,
            _ => 3,
        }
    }

    /// The Reason Code for a return code of 3.x; `None` above 5, where the codes are reserved.
    pub const fn from_connect_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// Whether 5.0 defines the code for packets of this type; `false` for types without Reason Code.
    pub fn is_defined_for(self, packet_type: PacketType) -> bool {
        let code = self as u8;
        match packet_type {
            PacketType::ConnAck => {
                matches!(code, 0x00 | 0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f)
            }
            PacketType::PubAck | PacketType::PubRec => {
                matches!(code, 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
            }
            PacketType::PubRel | PacketType::PubComp => matches!(code, 0x00 | 0x92),
            PacketType::SubAck => {
                matches!(code, 0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91 | 0x97 | 0x9e | 0xa1 | 0xa2)
            }
            PacketType::UnsubAck => matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91),
            PacketType::Disconnect => matches!(
                code,
                0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8b | 0x8d..=0x90 | 0x93..=0xa2
            ),
            PacketType::Auth => matches!(code, 0x00 | 0x18 | 0x19),
            PacketType::Connect
            | PacketType::Publish
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::PingReq
            | PacketType::PingResp => false,
        }
    }
}

impl std::fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.description())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_its_byte() {
        let mut known = 0;
        for byte in 0..=u8::MAX {
            match ReasonCode::try_from(byte) {
                Ok(code) => {
                    known += 1;
                    assert_eq!(code.as_u8(), byte);
                    assert_eq!(code.is_error(), byte >= 0x80);
                    assert!(!code.description().is_empty());
                }
                Err(error) => assert_eq!(error, UnknownReasonCode { code: byte }),
            }
        }
        assert_eq!(known, 43);
        assert_eq!(ReasonCode::ALL.len(), known);
        assert!(ReasonCode::ALL.is_sorted());
    }

    #[test]
    fn return_codes_of_3x() {
        for code in 0..=5 {
            let reason = ReasonCode::from_connect_return_code(code).unwrap();
            assert_eq!(reason.to_connect_return_code(), code);
            assert!(reason.is_defined_for(PacketType::ConnAck));
        }
        assert_eq!(ReasonCode::from_connect_return_code(6), None);
        for other in
            [ReasonCode::ServerBusy, ReasonCode::QuotaExceeded, ReasonCode::Banned, ReasonCode::GrantedQoS1]
        {
            assert_eq!(other.to_connect_return_code(), 3);
        }
    }

    #[test]
    fn number_of_codes_per_packet() {
        // Counted in the table of 5.0 section 2.4.
        for (packet_type, expected) in [
            (PacketType::ConnAck, 22),
            (PacketType::PubAck, 9),
            (PacketType::PubRec, 9),
            (PacketType::PubRel, 2),
            (PacketType::PubComp, 2),
            (PacketType::SubAck, 12),
            (PacketType::UnsubAck, 7),
            (PacketType::Disconnect, 29),
            (PacketType::Auth, 3),
            (PacketType::Publish, 0),
        ] {
            let defined = ReasonCode::ALL.iter().filter(|code| code.is_defined_for(packet_type)).count();
            assert_eq!(defined, expected, "{packet_type:?}");
        }
    }
}
