//! One table of malformed packets: each is refused, for the reason given, in the versions given.

use std::collections::BTreeSet;

use culex_codec::{
    DecodeError, Decoded, PROPERTIES_MAX, PacketType, Properties, PropertyContext, PropertyId,
    ProtocolVersion, ReasonCode, TopicError, decode,
};

use ProtocolVersion::{V5, V31, V311};

const ALL: &[ProtocolVersion] = &[V31, V311, V5];
const NOT_31: &[ProtocolVersion] = &[V311, V5];
const V3: &[ProtocolVersion] = &[V31, V311];
const ONLY_5: &[ProtocolVersion] = &[V5];

struct Case {
    name: &'static str,
    versions: &'static [ProtocolVersion],
    bytes: Vec<u8>,
    error: DecodeError,
}

fn case(
    name: &'static str,
    versions: &'static [ProtocolVersion],
    first_byte: u8,
    body: &[u8],
    error: impl Into<DecodeError>,
) -> Case {
    assert!(body.len() < 0x4000);
    let mut bytes = vec![first_byte];
    if body.len() < 0x80 {
        bytes.push(body.len() as u8);
    } else {
        bytes.extend([(body.len() & 0x7f) as u8 | 0x80, (body.len() >> 7) as u8]);
    }
    bytes.extend_from_slice(body);
    Case { name, versions, bytes, error: error.into() }
}

/// Bytes after the end, by type.
fn trailing(packet_type: PacketType) -> DecodeError {
    DecodeError::TrailingBytes { packet_type, bytes: 1 }
}

fn fixed_header() -> Vec<Case> {
    let raw = |name, versions, bytes: &[u8], error| Case { name, versions, bytes: bytes.to_vec(), error };
    let flags = |packet_type, flags| DecodeError::FixedHeaderFlags { packet_type, flags };
    vec![
        raw("type 0", ALL, b"\x00\0", DecodeError::ReservedPacketType { packet_type: 0 }),
        raw("type 0, first byte alone", ALL, b"\x05", DecodeError::ReservedPacketType { packet_type: 0 }),
        raw("AUTH before 5.0", V3, b"\xf0\0", DecodeError::ReservedPacketType { packet_type: 15 }),
        raw("CONNECT flags", ALL, b"\x11", flags(PacketType::Connect, 1)),
        raw("CONNACK flags", ALL, b"\x28", flags(PacketType::ConnAck, 8)),
        raw("PUBACK flags", ALL, b"\x42", flags(PacketType::PubAck, 2)),
        raw("PUBREC flags", ALL, b"\x52", flags(PacketType::PubRec, 2)),
        raw("PUBREL flags", NOT_31, b"\x60", flags(PacketType::PubRel, 0)),
        raw("PUBCOMP flags", ALL, b"\x72", flags(PacketType::PubComp, 2)),
        raw("SUBSCRIBE flags", NOT_31, b"\x80", flags(PacketType::Subscribe, 0)),
        raw("SUBSCRIBE with DUP", NOT_31, b"\x8a", flags(PacketType::Subscribe, 10)),
        raw("SUBACK flags", ALL, b"\x92", flags(PacketType::SubAck, 2)),
        raw("UNSUBSCRIBE flags", NOT_31, b"\xa3", flags(PacketType::Unsubscribe, 3)),
        raw("UNSUBACK flags", ALL, b"\xb1", flags(PacketType::UnsubAck, 1)),
        raw("PINGREQ flags", ALL, b"\xc1", flags(PacketType::PingReq, 1)),
        raw("PINGRESP flags", ALL, b"\xd4", flags(PacketType::PingResp, 4)),
        raw("DISCONNECT flags", ALL, b"\xe1", flags(PacketType::Disconnect, 1)),
        raw("AUTH flags", ONLY_5, b"\xf1", flags(PacketType::Auth, 1)),
        raw("QoS 3", ALL, b"\x36", DecodeError::PublishQoS),
        raw("QoS 3 with DUP and RETAIN", ALL, b"\x3f", DecodeError::PublishQoS),
        raw("DUP with QoS 0", NOT_31, b"\x38", DecodeError::PublishDupWithoutQoS),
        raw("length of five bytes", ALL, b"\x30\xff\xff\xff\xff", DecodeError::VariableByteIntegerTooLong),
        raw(
            "length longer than need be",
            ONLY_5,
            b"\xc0\x80\x00",
            DecodeError::VariableByteIntegerNotMinimal { value: 0, bytes: 2 },
        ),
        raw(
            "above the limit",
            ALL,
            b"\x30\xff\xff\xff\x7f",
            DecodeError::PacketTooLarge { bytes: 268_435_460, bytes_max: LIMIT },
        ),
    ]
}

fn connect() -> Vec<Case> {
    let truncated = |needed, left| DecodeError::Truncated { needed, left };
    let level = |level| DecodeError::UnsupportedProtocolLevel { level };
    vec![
        case("empty CONNECT", ALL, 0x10, b"", truncated(2, 0)),
        case("other name", ALL, 0x10, b"\0\x04MQTQ\x04\0\0\0\0\0", DecodeError::InvalidProtocolName),
        case("name in lower case", ALL, 0x10, b"\0\x04mqtt\x04\0\0\0\0\0", DecodeError::InvalidProtocolName),
        case("empty name", ALL, 0x10, b"\0\0\x04\0\0\0\0\0", DecodeError::InvalidProtocolName),
        case("level 6", ALL, 0x10, b"\0\x04MQTT\x06\0\0\0\0\0", level(6)),
        case("level 3 under the new name", ALL, 0x10, b"\0\x04MQTT\x03\0\0\0\0\0", level(3)),
        case("level 4 under the old name", ALL, 0x10, b"\0\x06MQIsdp\x04\0\0\0\0\0", level(4)),
        case("level 5 of a bridge", ALL, 0x10, b"\0\x04MQTT\x85\0\0\0\0\0", level(0x85)),
        case("reserved flag", ALL, 0x10, b"\0\x04MQTT\x04\x03\0\0\0\0", DecodeError::ReservedConnectFlag),
        case(
            "reserved flag, 5.0",
            ALL,
            0x10,
            b"\0\x04MQTT\x05\x03\0\0\0\0\0",
            DecodeError::ReservedConnectFlag,
        ),
        case("will QoS 3", ALL, 0x10, b"\0\x04MQTT\x04\x1c\0\0\0\0\0\x01t\0\0", DecodeError::WillQoS),
        case(
            "will QoS, no will",
            ALL,
            0x10,
            b"\0\x04MQTT\x04\x0a\0\0\0\0",
            DecodeError::WillQoSWithoutWill { qos: 1 },
        ),
        case(
            "will retain, no will",
            ALL,
            0x10,
            b"\0\x04MQTT\x04\x22\0\0\0\0",
            DecodeError::WillRetainWithoutWill,
        ),
        case(
            "password alone",
            ALL,
            0x10,
            b"\0\x04MQTT\x04\x42\0\0\0\0\0\x01p",
            DecodeError::PasswordWithoutUserName,
        ),
        case(
            "password alone, 3.1",
            ALL,
            0x10,
            b"\0\x06MQIsdp\x03\x42\0\0\0\0\0\x01p",
            DecodeError::PasswordWithoutUserName,
        ),
        case("no client id", ALL, 0x10, b"\0\x04MQTT\x04\x02\0\0", truncated(2, 0)),
        case("client id cut short", ALL, 0x10, b"\0\x04MQTT\x04\x02\0\0\0\x05ab", truncated(5, 2)),
        case(
            "client id not UTF-8",
            ALL,
            0x10,
            b"\0\x04MQTT\x04\x02\0\0\0\x02a\xff",
            DecodeError::InvalidUtf8 { valid_up_to: 1 },
        ),
        case(
            "client id with NUL",
            ALL,
            0x10,
            b"\0\x04MQTT\x04\x02\0\0\0\x02a\0",
            DecodeError::NulCharacter { at: 1 },
        ),
        case("no will topic", ALL, 0x10, b"\0\x04MQTT\x04\x06\0\0\0\0", truncated(2, 0)),
        case("no will payload", ALL, 0x10, b"\0\x04MQTT\x04\x06\0\0\0\0\0\x01t", truncated(2, 0)),
        case("empty will topic", ALL, 0x10, b"\0\x04MQTT\x04\x06\0\0\0\0\0\0\0\0", TopicError::Empty),
        case(
            "wildcard in will topic",
            ALL,
            0x10,
            b"\0\x04MQTT\x04\x06\0\0\0\0\0\x02t#\0\0",
            TopicError::WildcardInTopicName { at: 1 },
        ),
        case("no user name", ALL, 0x10, b"\0\x04MQTT\x04\x82\0\0\0\0", truncated(2, 0)),
        case(
            "user name not UTF-8",
            ALL,
            0x10,
            b"\0\x04MQTT\x04\x82\0\0\0\0\0\x01\x80",
            DecodeError::InvalidUtf8 { valid_up_to: 0 },
        ),
        case("no password", ALL, 0x10, b"\0\x04MQTT\x04\xc2\0\0\0\0\0\x01u", truncated(2, 0)),
        case("half a user name, 3.1", ALL, 0x10, b"\0\x06MQIsdp\x03\x82\0\0\0\0\0\x02u", truncated(2, 1)),
        case("more after the end", ALL, 0x10, b"\0\x04MQTT\x04\x02\0\0\0\0x", trailing(PacketType::Connect)),
        case(
            "user name without flag",
            ALL,
            0x10,
            b"\0\x04MQTT\x04\x02\0\0\0\0\0",
            trailing(PacketType::Connect),
        ),
        case(
            "more after the end, 3.1",
            ALL,
            0x10,
            b"\0\x06MQIsdp\x03\x02\0\0\0\0x",
            trailing(PacketType::Connect),
        ),
        case("no properties", ALL, 0x10, b"\0\x04MQTT\x05\x02\0\0", truncated(1, 0)),
        case("properties cut short", ALL, 0x10, b"\0\x04MQTT\x05\x02\0\0\x05\x11\0", truncated(5, 2)),
        case(
            "will property in CONNECT",
            ALL,
            0x10,
            b"\0\x04MQTT\x05\x02\0\0\x05\x18\0\0\0\x01\0\0",
            DecodeError::PropertyNotAllowed {
                id: PropertyId::WillDelayInterval,
                context: PropertyContext::Connect,
            },
        ),
        case(
            "CONNECT property in will",
            ALL,
            0x10,
            b"\0\x04MQTT\x05\x06\0\0\0\0\0\x05\x11\0\0\0\x01\0\x01t\0\0",
            DecodeError::PropertyNotAllowed {
                id: PropertyId::SessionExpiryInterval,
                context: PropertyContext::Will,
            },
        ),
        case(
            "data without method",
            ALL,
            0x10,
            b"\0\x04MQTT\x05\x02\0\0\x04\x16\0\x01x\0\0",
            DecodeError::AuthenticationDataWithoutMethod,
        ),
    ]
}

/// A CONNECT of 5.0 whose Remaining Length takes a byte too many, whatever version is expected.
fn long_length() -> Case {
    let bytes = b"\x10\x8d\x00\0\x04MQTT\x05\x02\0\0\0\0\0".to_vec();
    let error = DecodeError::VariableByteIntegerNotMinimal { value: 13, bytes: 2 };
    Case { name: "CONNECT with a long length", versions: ALL, bytes, error }
}

fn publish() -> Vec<Case> {
    let packet_type = PacketType::Publish;
    let truncated = |needed, left| DecodeError::Truncated { needed, left };
    vec![
        case("empty PUBLISH", ALL, 0x30, b"", truncated(2, 0)),
        case("topic cut short", ALL, 0x30, b"\0\x05abc", truncated(5, 3)),
        case("empty topic", V3, 0x30, b"\0\0hello", TopicError::Empty),
        case("no topic, no alias", ONLY_5, 0x30, b"\0\0\0hello", DecodeError::TopicMissing),
        case("wildcard +", V3, 0x30, b"\0\x03a/+", TopicError::WildcardInTopicName { at: 2 }),
        case("wildcard #", ONLY_5, 0x30, b"\0\x01#\0", TopicError::WildcardInTopicName { at: 0 }),
        case("topic with NUL", V3, 0x30, b"\0\x02a\0", TopicError::NulCharacter { at: 1 }),
        case(
            "topic with surrogate",
            V3,
            0x30,
            b"\0\x03\xed\xa0\x80",
            DecodeError::InvalidUtf8 { valid_up_to: 0 },
        ),
        case("packet id 0", ALL, 0x32, b"\0\x01t\0\0\0", DecodeError::PacketIdZero { packet_type }),
        case("QoS 2, packet id 0", ALL, 0x34, b"\0\x01t\0\0\0", DecodeError::PacketIdZero { packet_type }),
        case("no packet id", ALL, 0x32, b"\0\x01t", truncated(2, 0)),
        case("half a packet id", ALL, 0x3a, b"\0\x01t\0", truncated(2, 1)),
        case("no properties", ONLY_5, 0x30, b"\0\x01t", truncated(1, 0)),
        case(
            "property length of five bytes",
            ONLY_5,
            0x30,
            b"\0\x01t\xff\xff\xff\xff\x7f",
            DecodeError::VariableByteIntegerTooLong,
        ),
    ]
}

fn acknowledgements() -> Vec<Case> {
    let zero = |packet_type| DecodeError::PacketIdZero { packet_type };
    let truncated = |needed, left| DecodeError::Truncated { needed, left };
    let code = |packet_type, code| DecodeError::ReasonCode { packet_type, code };
    let mut cases = Vec::new();
    for (first_byte, packet_type) in [
        (0x40, PacketType::PubAck),
        (0x50, PacketType::PubRec),
        (0x62, PacketType::PubRel),
        (0x70, PacketType::PubComp),
    ] {
        cases.extend([
            case("packet id 0", ALL, first_byte, b"\0\0", zero(packet_type)),
            case("half a packet id", ALL, first_byte, b"\x01", truncated(2, 1)),
            case("no packet id", ALL, first_byte, b"", truncated(2, 0)),
            case("more after the end", V3, first_byte, b"\0\x01\0", trailing(packet_type)),
            case("more after the end, 5.0", ONLY_5, first_byte, b"\0\x01\0\0x", trailing(packet_type)),
            case("unknown reason code", ONLY_5, first_byte, b"\0\x01\x05", code(packet_type, 5)),
            case("reason code of another packet", ONLY_5, first_byte, b"\0\x01\x8e", code(packet_type, 0x8e)),
            case("properties cut short", ONLY_5, first_byte, b"\0\x01\0\x07\x1f\0", truncated(7, 2)),
        ]);
    }
    let (connack, suback, unsuback) = (PacketType::ConnAck, PacketType::SubAck, PacketType::UnsubAck);
    cases.extend([
        case("CONNACK without code", ALL, 0x20, b"\0", truncated(1, 0)),
        case("CONNACK code 6", V3, 0x20, b"\0\x06", code(connack, 6)),
        case(
            "CONNACK flags, 3.1.1",
            &[V311],
            0x20,
            b"\x02\0",
            DecodeError::ConnectAcknowledgeFlags { flags: 2 },
        ),
        case(
            "CONNACK flags, 5.0",
            ONLY_5,
            0x20,
            b"\x80\0\0",
            DecodeError::ConnectAcknowledgeFlags { flags: 0x80 },
        ),
        case("session in a refusal", &[V311], 0x20, b"\x01\x05", DecodeError::SessionPresentInRefusal),
        case("session in a refusal, 5.0", ONLY_5, 0x20, b"\x01\x87\0", DecodeError::SessionPresentInRefusal),
        case("CONNACK code 1 in 5.0", ONLY_5, 0x20, b"\0\x01\0", code(connack, 1)),
        case("CONNACK, more after the end", V3, 0x20, b"\0\0\0", trailing(connack)),
        case("CONNACK, more after the end, 5.0", ONLY_5, 0x20, b"\0\0\0\0", trailing(connack)),
        case("SUBACK, packet id 0", ALL, 0x90, b"\0\0\0\0", zero(suback)),
        case("SUBACK without code", V3, 0x90, b"\0\x01", DecodeError::NoReasonCode { packet_type: suback }),
        case(
            "SUBACK without code, 5.0",
            ONLY_5,
            0x90,
            b"\0\x01\0",
            DecodeError::NoReasonCode { packet_type: suback },
        ),
        case("SUBACK code 3", V3, 0x90, b"\0\x01\0\x03", code(suback, 3)),
        case("SUBACK code 0x87 in 3.x", V3, 0x90, b"\0\x01\x87", code(suback, 0x87)),
        case("SUBACK code 0x82", ONLY_5, 0x90, b"\0\x01\0\0\x82", code(suback, 0x82)),
        case("UNSUBACK, packet id 0", ALL, 0xb0, b"\0\0", zero(unsuback)),
        case("UNSUBACK, more after the end", V3, 0xb0, b"\0\x01\0", trailing(unsuback)),
        case(
            "UNSUBACK without code",
            ONLY_5,
            0xb0,
            b"\0\x01\0",
            DecodeError::NoReasonCode { packet_type: unsuback },
        ),
        case("UNSUBACK code 1", ONLY_5, 0xb0, b"\0\x01\0\x01", code(unsuback, 1)),
    ]);
    cases
}

fn subscribe() -> Vec<Case> {
    let subscribe = PacketType::Subscribe;
    let unsubscribe = PacketType::Unsubscribe;
    let truncated = |needed, left| DecodeError::Truncated { needed, left };
    let options = |options| DecodeError::SubscriptionOptions { options };
    vec![
        case(
            "packet id 0",
            ALL,
            0x82,
            b"\0\0\0\0\x01a\0",
            DecodeError::PacketIdZero { packet_type: subscribe },
        ),
        case("no filter", V3, 0x82, b"\0\x01", DecodeError::NoTopicFilter { packet_type: subscribe }),
        case(
            "no filter, 5.0",
            ONLY_5,
            0x82,
            b"\0\x01\0",
            DecodeError::NoTopicFilter { packet_type: subscribe },
        ),
        case("no options", V3, 0x82, b"\0\x01\0\x01a", truncated(1, 0)),
        case("no options, second filter", ONLY_5, 0x82, b"\0\x01\0\0\x01a\0\0\x01b", truncated(1, 0)),
        case("filter cut short", V3, 0x82, b"\0\x01\0\x05ab", truncated(5, 2)),
        case("half a length", V3, 0x82, b"\0\x01\0\x01a\0\0", truncated(2, 1)),
        case("empty filter", V3, 0x82, b"\0\x01\0\0\0", TopicError::Empty),
        case("filter a#", V3, 0x82, b"\0\x01\0\x02a#\0", TopicError::MultiLevelWildcard { at: 1 }),
        case("filter #/a", V3, 0x82, b"\0\x01\0\x03#/a\0", TopicError::MultiLevelWildcard { at: 0 }),
        case("filter a+", V3, 0x82, b"\0\x01\0\x02a+\0", TopicError::SingleLevelWildcard { at: 1 }),
        case("filter with NUL", V3, 0x82, b"\0\x01\0\x01\0\0", TopicError::NulCharacter { at: 0 }),
        case(
            "filter not UTF-8",
            V3,
            0x82,
            b"\0\x01\0\x01\xc3\0",
            DecodeError::InvalidUtf8 { valid_up_to: 0 },
        ),
        case("QoS 3", V3, 0x82, b"\0\x01\0\x01a\x03", options(3)),
        case("QoS 3, 5.0", ONLY_5, 0x82, b"\0\x01\0\0\x01a\x03", options(3)),
        case("option of 5.0 in 3.x", V3, 0x82, b"\0\x01\0\x01a\x04", options(4)),
        case("reserved bit", V3, 0x82, b"\0\x01\0\x01a\x80", options(0x80)),
        case("reserved bits, 5.0", ONLY_5, 0x82, b"\0\x01\0\0\x01a\x40", options(0x40)),
        case("retain handling 3", ONLY_5, 0x82, b"\0\x01\0\0\x01a\x30", options(0x30)),
        case("share name missing", ONLY_5, 0x82, b"\0\x01\0\0\x09$share//a\0", TopicError::MalformedShare),
        case("share without filter", ONLY_5, 0x82, b"\0\x01\0\0\x08$share/g\0", TopicError::MalformedShare),
        case(
            "no local, shared",
            ONLY_5,
            0x82,
            b"\0\x01\0\0\x0a$share/g/a\x04",
            DecodeError::NoLocalOnSharedSubscription,
        ),
        case(
            "subscription identifier twice",
            ONLY_5,
            0x82,
            b"\0\x01\x04\x0b\x01\x0b\x02\0\x01a\0",
            DecodeError::DuplicateProperty { id: PropertyId::SubscriptionIdentifier },
        ),
        case(
            "packet id 0",
            ALL,
            0xa2,
            b"\0\0\0\0\x01a",
            DecodeError::PacketIdZero { packet_type: unsubscribe },
        ),
        case("no filter", V3, 0xa2, b"\0\x01", DecodeError::NoTopicFilter { packet_type: unsubscribe }),
        case(
            "no filter, 5.0",
            ONLY_5,
            0xa2,
            b"\0\x01\0",
            DecodeError::NoTopicFilter { packet_type: unsubscribe },
        ),
        case("empty filter", V3, 0xa2, b"\0\x01\0\0", TopicError::Empty),
        case("filter cut short", V3, 0xa2, b"\0\x01\0\x02a", truncated(2, 1)),
        case("malformed share", ONLY_5, 0xa2, b"\0\x01\0\0\x08$share/+", TopicError::MalformedShare),
    ]
}

fn the_rest() -> Vec<Case> {
    let (disconnect, auth) = (PacketType::Disconnect, PacketType::Auth);
    let code = |packet_type, code| DecodeError::ReasonCode { packet_type, code };
    vec![
        case("PINGREQ with body", ALL, 0xc0, b"x", trailing(PacketType::PingReq)),
        case("PINGRESP with body", ALL, 0xd0, b"x", trailing(PacketType::PingResp)),
        case("DISCONNECT with body", V3, 0xe0, b"\0", trailing(disconnect)),
        case("DISCONNECT, more after the end", ONLY_5, 0xe0, b"\0\0x", trailing(disconnect)),
        case("DISCONNECT code 1", ONLY_5, 0xe0, b"\x01", code(disconnect, 1)),
        case("AUTH code 0x80", ONLY_5, 0xf0, b"\x80\0", code(auth, 0x80)),
        case("AUTH without properties", ONLY_5, 0xf0, b"\x18", DecodeError::Truncated { needed: 1, left: 0 }),
        case("AUTH, more after the end", ONLY_5, 0xf0, b"\0\0x", trailing(auth)),
    ]
}

/// Properties of a PUBLISH or, where it can have them, a CONNACK.
fn properties() -> Vec<Case> {
    let forbidden = |id, value| DecodeError::PropertyValue { id, value };
    let property = |name, bytes: &[u8], error: DecodeError| {
        let mut body = b"\0\x01t".to_vec();
        body.push(bytes.len() as u8);
        body.extend_from_slice(bytes);
        case(name, ONLY_5, 0x30, &body, error)
    };
    let connack = |name, bytes: &[u8], error: DecodeError| {
        let mut body = vec![0, 0, bytes.len() as u8];
        body.extend_from_slice(bytes);
        case(name, ONLY_5, 0x20, &body, error)
    };
    let duplicate = |id| DecodeError::DuplicateProperty { id };
    let mut many = b"\0\x01t".to_vec();
    let bytes = (PROPERTIES_MAX + 1) * 5;
    many.extend([(bytes & 0x7f) as u8 | 0x80, (bytes >> 7) as u8]);
    many.extend(b"\x26\0\0\0\0".repeat(PROPERTIES_MAX + 1));
    vec![
        property("identifier 0", b"\0", DecodeError::UnknownProperty { id: 0 }),
        property("identifier of two bytes", b"\x80\x01", DecodeError::UnknownProperty { id: 128 }),
        property(
            "identifier longer than need be",
            b"\x81\x00\x00",
            DecodeError::VariableByteIntegerNotMinimal { value: 1, bytes: 2 },
        ),
        property(
            "property of another packet",
            b"\x21\0\x01",
            DecodeError::PropertyNotAllowed {
                id: PropertyId::ReceiveMaximum,
                context: PropertyContext::Publish,
            },
        ),
        property("alias 0", b"\x23\0\0", forbidden(PropertyId::TopicAlias, 0)),
        property("alias twice", b"\x23\0\x01\x23\0\x01", duplicate(PropertyId::TopicAlias)),
        property("format 2", b"\x01\x02", forbidden(PropertyId::PayloadFormatIndicator, 2)),
        property("subscription identifier 0", b"\x0b\0", forbidden(PropertyId::SubscriptionIdentifier, 0)),
        property("expiry cut short", b"\x02\0\0\0", DecodeError::Truncated { needed: 4, left: 3 }),
        property(
            "expiry twice",
            b"\x02\0\0\0\x01\x02\0\0\0\x02",
            duplicate(PropertyId::MessageExpiryInterval),
        ),
        property("response topic +", b"\x08\0\x01+", TopicError::WildcardInTopicName { at: 0 }.into()),
        property("response topic empty", b"\x08\0\0", TopicError::Empty.into()),
        property("content type with NUL", b"\x03\0\x01\0", DecodeError::NulCharacter { at: 0 }),
        property("user property, name", b"\x26\0\x01\xff\0\0", DecodeError::InvalidUtf8 { valid_up_to: 0 }),
        property("user property, value", b"\x26\0\0\0\x02a\xff", DecodeError::InvalidUtf8 { valid_up_to: 1 }),
        property("user property, half", b"\x26\0\x01a", DecodeError::Truncated { needed: 2, left: 0 }),
        case(
            "too many",
            ONLY_5,
            0x30,
            &many,
            DecodeError::TooManyProperties { properties_max: PROPERTIES_MAX },
        ),
        connack("maximum QoS 2", b"\x24\x02", forbidden(PropertyId::MaximumQoS, 2)),
        connack("receive maximum 0", b"\x21\0\0", forbidden(PropertyId::ReceiveMaximum, 0)),
        connack("maximum packet size 0", b"\x27\0\0\0\0", forbidden(PropertyId::MaximumPacketSize, 0)),
        connack("retain available 2", b"\x25\x02", forbidden(PropertyId::RetainAvailable, 2)),
        connack("wildcards 3", b"\x28\x03", forbidden(PropertyId::WildcardSubscriptionAvailable, 3)),
        connack("identifiers 0xff", b"\x29\xff", forbidden(PropertyId::SubscriptionIdentifierAvailable, 255)),
        connack("shared 2", b"\x2a\x02", forbidden(PropertyId::SharedSubscriptionAvailable, 2)),
    ]
}

fn cases() -> Vec<Case> {
    [fixed_header(), connect(), publish(), acknowledgements(), subscribe(), the_rest(), properties()]
        .into_iter()
        .flatten()
        .chain([long_length()])
        .collect()
}

const LIMIT: u32 = 100_000;

#[test]
fn every_case_is_refused_for_its_reason() {
    for Case { name, versions, bytes, error } in cases() {
        for &version in versions {
            assert_eq!(decode(&bytes, version, LIMIT), Err(error), "{name} {version:?} {bytes:02x?}");
        }
    }
}

#[test]
fn what_3_1_forgives_is_accepted() {
    for (name, bytes) in [
        ("PUBREL without flags", &b"\x60\x02\0\x01"[..]),
        ("PUBREL with DUP", b"\x6a\x02\0\x01"),
        ("SUBSCRIBE with DUP", b"\x8a\x06\0\x01\0\x01a\0"),
        ("UNSUBSCRIBE without flags", b"\xa0\x05\0\x01\0\x01a"),
        ("PUBLISH with QoS 0 and DUP", b"\x38\x03\0\x01t"),
        ("CONNACK with flags", b"\x20\x02\x80\x00"),
    ] {
        assert!(matches!(decode(bytes, V31, LIMIT), Ok(Decoded::Packet { .. })), "{name}");
        assert!(decode(bytes, V311, LIMIT).is_err(), "{name}");
    }
}

#[test]
fn a_length_may_be_longer_than_need_be_before_5() {
    for version in [V31, V311] {
        for bytes in [&b"\xc0\x80\x00"[..], b"\x30\x83\x80\x00\0\x01t", b"\x40\x82\x80\x80\x00\0\x01"] {
            let decoded = decode(bytes, version, LIMIT);
            assert!(matches!(decoded, Ok(Decoded::Packet { len, .. }) if len == bytes.len()), "{bytes:x?}");
        }
    }
    for version in ALL {
        let connect = b"\x10\x8c\x00\0\x04MQTT\x04\x02\0\0\0\0";
        assert!(matches!(decode(connect, *version, LIMIT), Ok(Decoded::Packet { len: 15, .. })));
    }
}

/// A case may not be refused before what is wrong has come, except that `need` tells at most what is missing.
#[test]
fn no_prefix_of_a_case_is_a_packet() {
    for Case { name, versions, bytes, error } in cases() {
        for &version in versions {
            for cut in 1..bytes.len() {
                match decode(&bytes[..cut], version, LIMIT) {
                    Ok(Decoded::Incomplete { need }) => {
                        assert!((1..=bytes.len() - cut).contains(&need), "{name}")
                    }
                    Ok(Decoded::Packet { .. }) => panic!("{name} is a packet after {cut} bytes"),
                    Err(early) => assert_eq!(early, error, "{name}"),
                }
            }
        }
    }
}

#[test]
fn every_variant_is_reached_and_says_why() {
    let variant = |error: &dyn std::fmt::Debug| {
        let text = format!("{error:?}");
        text.split(['(', ' ']).next().unwrap_or_default().to_owned()
    };
    let reached: BTreeSet<String> = cases().iter().map(|case| variant(&case.error)).collect();
    // The enum's own text is the list of its variants.
    let source = include_str!("../src/error.rs");
    let body =
        source.split("pub enum DecodeError {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    let declared: BTreeSet<String> = body
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
        .map(|line| line.split([',', ' ', '(']).next().unwrap_or_default().to_owned())
        // No packet has room for it: its constructor's test reaches it.
        .filter(|name| name != "StringTooLong")
        .collect();
    assert!(declared.len() > 30, "{declared:?}");
    assert_eq!(reached, declared);
    for Case { name, error, .. } in cases() {
        assert!(error.reason_code().is_error(), "{name}");
        assert!(!error.to_string().is_empty(), "{name}");
        let statement = error.statement();
        assert!(statement.is_empty() || statement.starts_with("MQTT-"), "{name}: {statement}");
    }
}

#[test]
fn reason_codes_and_statements() {
    for (error, reason_code, statement) in [
        (DecodeError::PublishQoS, ReasonCode::MalformedPacket, "MQTT-3.3.1-4"),
        (DecodeError::PacketTooLarge { bytes: 2, bytes_max: 1 }, ReasonCode::PacketTooLarge, ""),
        (
            DecodeError::UnsupportedProtocolLevel { level: 6 },
            ReasonCode::UnsupportedProtocolVersion,
            "MQTT-3.1.2-2",
        ),
        (DecodeError::InvalidProtocolName, ReasonCode::UnsupportedProtocolVersion, "MQTT-3.1.2-1"),
        (DecodeError::SubscriptionOptions { options: 3 }, ReasonCode::ProtocolError, "MQTT-3.8.3-4"),
        (DecodeError::SubscriptionOptions { options: 0x80 }, ReasonCode::MalformedPacket, "MQTT-3.8.3-4"),
        (
            DecodeError::FixedHeaderFlags { packet_type: PacketType::PingReq, flags: 1 },
            ReasonCode::MalformedPacket,
            "MQTT-2.2.2-2",
        ),
        (
            DecodeError::FixedHeaderFlags { packet_type: PacketType::PubRel, flags: 0 },
            ReasonCode::MalformedPacket,
            "MQTT-3.6.1-1",
        ),
        (TopicError::WildcardInTopicName { at: 0 }.into(), ReasonCode::MalformedPacket, "MQTT-3.3.2-2"),
    ] {
        assert_eq!((error.reason_code(), error.statement()), (reason_code, statement), "{error}");
    }
}

/// Linear time: a packet full of the smallest properties and one full of the smallest filters are refused or decoded
/// by looking at each byte a bounded number of times; the count of properties ends it early.
#[test]
fn the_number_of_properties_is_limited() {
    let at_limit = b"\x26\0\0\0\0".repeat(PROPERTIES_MAX);
    assert!(Properties::from_bytes(PropertyContext::Publish, &at_limit).is_ok());
    let beyond = b"\x26\0\0\0\0".repeat(1_000_000);
    let error = DecodeError::TooManyProperties { properties_max: PROPERTIES_MAX };
    assert_eq!(Properties::from_bytes(PropertyContext::Publish, &beyond), Err(error));
}
