//! Packets byte for byte as the standard lays them out, and what cannot be encoded.

use super::*;
use crate::{
    ClientId, PacketId, Properties, PropertiesBuf, Property, PropertyContext, QoS, TopicFilter, TopicName,
};
use ProtocolVersion::{V5, V31, V311};

fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

/// `bytes` decode to `packet` and `packet` encodes to `bytes`.
#[track_caller]
fn check(version: ProtocolVersion, packet: Packet<'_>, bytes: &[u8]) {
    assert_eq!(decode(bytes, version, 1000), Ok(Decoded::Packet { packet, len: bytes.len() }));
    let mut out = Vec::new();
    assert_eq!(packet.encode(version, &mut out), Ok(bytes.len()));
    assert_eq!(out, bytes);
    assert_eq!(packet.encoded_len(version), Ok(bytes.len()));
    assert_eq!(packet.packet_type() as u8, bytes[0] >> 4);
    let mut small = vec![0; bytes.len() - 1];
    let error = EncodeError::BufferTooSmall { bytes: bytes.len(), room: small.len() };
    assert_eq!(packet.encode(version, &mut small.as_mut_slice()), Err(error));
}

const CONNECT: Connect<'static> = Connect {
    version: V311,
    is_bridge: false,
    clean_start: true,
    keep_alive: 10,
    client_id: ClientId::from_checked("id"),
    will: None,
    user_name: None,
    password: None,
    properties: Properties::EMPTY,
};

#[test]
fn connect_in_each_version() {
    for any in [V31, V311, V5] {
        check(any, CONNECT.into(), b"\x10\x0e\0\x04MQTT\x04\x02\0\x0a\0\x02id");
        let v31 = Connect { version: V31, ..CONNECT };
        check(any, v31.into(), b"\x10\x10\0\x06MQIsdp\x03\x02\0\x0a\0\x02id");
        let v5 = Connect { version: V5, ..CONNECT };
        check(any, v5.into(), b"\x10\x0f\0\x04MQTT\x05\x02\0\x0a\0\0\x02id");
        let bridge = Connect { is_bridge: true, ..CONNECT };
        check(any, bridge.into(), b"\x10\x0e\0\x04MQTT\x84\x02\0\x0a\0\x02id");
        let bridge = Connect { is_bridge: true, ..v31 };
        check(any, bridge.into(), b"\x10\x10\0\x06MQIsdp\x83\x02\0\x0a\0\x02id");
    }
}

#[test]
fn connect_with_everything() {
    let topic = TopicName::new("w").unwrap();
    let will = Will {
        topic,
        payload: b"\0\xff",
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: Properties::EMPTY,
    };
    let connect = Connect {
        clean_start: false,
        will: Some(will),
        user_name: Some("u"),
        password: Some(b"p\0"),
        client_id: ClientId::from_checked(""),
        ..CONNECT
    };
    check(V311, connect.into(), b"\x10\x1a\0\x04MQTT\x04\xec\0\x0a\0\0\0\x01w\0\x02\0\xff\0\x01u\0\x02p\0");

    let mut will_properties = PropertiesBuf::new();
    will_properties.push(Property::WillDelayInterval(1)).unwrap();
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SessionExpiryInterval(2)).unwrap();
    let will = Will { properties: will_properties.as_properties(PropertyContext::Will).unwrap(), ..will };
    let properties = properties.as_properties(PropertyContext::Connect).unwrap();
    // [MQTT-3.1.2-19] of 5.0: password without user name
    let connect = Connect { version: V5, user_name: None, will: Some(will), properties, ..connect };
    let bytes = b"\x10\x23\0\x04MQTT\x05\x6c\0\x0a\x05\x11\0\0\0\x02\0\0\x05\x18\0\0\0\x01\0\x01w\0\x02\0\xff\0\x02p\0";
    check(V5, connect.into(), bytes);
}

#[test]
fn connect_of_3_1_may_promise_strings_that_are_not_there() {
    let decode_connect = |bytes| match decode(bytes, V31, 100) {
        Ok(Decoded::Packet { packet: Packet::Connect(connect), .. }) => connect,
        other => panic!("{other:?}"),
    };
    let connect = decode_connect(b"\x10\x10\0\x06MQIsdp\x03\xc2\0\x0a\0\x02id");
    assert_eq!((connect.user_name, connect.password), (None, None));
    let connect = decode_connect(b"\x10\x13\0\x06MQIsdp\x03\xc3\0\x0a\0\x02id\0\x01u");
    assert_eq!((connect.user_name, connect.password), (Some("u"), None));
}

#[test]
fn connack() {
    let accepted =
        ConnAck { session_present: true, reason_code: ReasonCode::Success, properties: Properties::EMPTY };
    check(V311, accepted.into(), b"\x20\x02\x01\x00");
    check(V5, accepted.into(), b"\x20\x03\x01\x00\x00");
    for (reason_code, code) in [
        (ReasonCode::UnsupportedProtocolVersion, 1),
        (ReasonCode::ClientIdentifierNotValid, 2),
        (ReasonCode::ServerUnavailable, 3),
        (ReasonCode::BadUserNameOrPassword, 4),
        (ReasonCode::NotAuthorized, 5),
    ] {
        let refused = ConnAck { session_present: false, reason_code, ..accepted };
        check(V31, refused.into(), &[0x20, 2, 0, code]);
        check(V311, refused.into(), &[0x20, 2, 0, code]);
        check(V5, refused.into(), &[0x20, 3, 0, reason_code.as_u8(), 0]);
    }
    let mut out = Vec::new();
    // 3.1 has no Session Present.
    accepted.encode(V31, &mut out).unwrap();
    assert_eq!(out, [0x20, 2, 0, 0]);
}

#[test]
fn publish() {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: true,
        topic: TopicName::new("a/b").ok(),
        packet_id: None,
        properties: Properties::EMPTY,
        payload: b"hi",
    };
    check(V31, publish.into(), b"\x31\x07\0\x03a/bhi");
    check(V311, publish.into(), b"\x31\x07\0\x03a/bhi");
    check(V5, publish.into(), b"\x31\x08\0\x03a/b\0hi");
    let publish =
        Publish { dup: true, qos: QoS::ExactlyOnce, packet_id: Some(id(0x0102)), payload: b"", ..publish };
    check(V311, publish.into(), b"\x3d\x07\0\x03a/b\x01\x02");
    check(V5, publish.into(), b"\x3d\x08\0\x03a/b\x01\x02\0");
    let properties = Properties::from_bytes(PropertyContext::Publish, b"\x23\0\x07").unwrap();
    let alias = Publish { topic: None, properties, ..publish };
    check(V5, alias.into(), b"\x3d\x08\0\0\x01\x02\x03\x23\0\x07");
    assert_eq!(alias.encoded_len(V311), Err(EncodeError::TopicMissing));
    assert_eq!(Publish { topic: None, ..publish }.encoded_len(V5), Err(EncodeError::TopicMissing));
    let mismatch = |qos| Err(EncodeError::PacketIdMismatch { qos });
    assert_eq!(Publish { packet_id: None, ..publish }.encoded_len(V5), mismatch(QoS::ExactlyOnce));
    assert_eq!(Publish { qos: QoS::AtMostOnce, ..publish }.encoded_len(V5), mismatch(QoS::AtMostOnce));
    let dup = Publish { qos: QoS::AtMostOnce, packet_id: None, ..publish };
    assert_eq!(dup.encoded_len(V311), Err(EncodeError::DupWithoutQoS));
}

#[test]
fn acknowledgements() {
    type Kind = fn(Ack<'static>) -> Packet<'static>;
    let kinds: [(Kind, u8); 4] =
        [(Packet::PubAck, 0x40), (Packet::PubRec, 0x50), (Packet::PubRel, 0x62), (Packet::PubComp, 0x70)];
    for (packet, first_byte) in kinds {
        let ack = Ack::success(id(258));
        for version in [V31, V311, V5] {
            check(version, packet(ack), &[first_byte, 2, 1, 2]);
        }
        let code =
            if first_byte < 0x60 { ReasonCode::QuotaExceeded } else { ReasonCode::PacketIdentifierNotFound };
        check(V5, packet(Ack::new(id(258), code)), &[first_byte, 3, 1, 2, code.as_u8()]);
        let properties = Properties::from_trusted_bytes(b"\x1f\0\x01x");
        let long = [first_byte, 8, 1, 2, code.as_u8(), 4, 0x1f, 0, 1, b'x'];
        check(V5, packet(Ack { packet_id: id(258), reason_code: code, properties }), &long);
        // Longer than need be, and the same.
        let decoded = decode(&[first_byte, 4, 1, 2, 0, 0], V5, 100).map(|_| ());
        assert_eq!(decoded, Ok(()));
        // 3.x has no codes.
        let mut out = Vec::new();
        packet(Ack::new(id(258), code)).encode(V311, &mut out).unwrap();
        assert_eq!(out, [first_byte, 2, 1, 2]);
        let wrong = packet(Ack::new(id(258), ReasonCode::SessionTakenOver));
        assert!(matches!(wrong.encoded_len(V5), Err(EncodeError::ReasonCode { code: 0x8e, .. })));
    }
}

#[test]
fn subscribe_and_unsubscribe() {
    let mut filters = SubscribeFiltersBuf::new();
    filters.push(TopicFilter::new("a/+").unwrap(), SubscriptionOptions::new(QoS::ExactlyOnce));
    filters.push(TopicFilter::new("#").unwrap(), SubscriptionOptions::default());
    let subscribe =
        Subscribe { packet_id: id(1), properties: Properties::EMPTY, filters: filters.as_filters() };
    check(V311, subscribe.into(), b"\x82\x0c\0\x01\0\x03a/+\x02\0\x01#\0");
    check(V5, subscribe.into(), b"\x82\x0d\0\x01\0\0\x03a/+\x02\0\x01#\0");

    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    let mut filters = SubscribeFiltersBuf::new();
    filters.push(TopicFilter::new("a").unwrap(), options);
    let subscribe = Subscribe { filters: filters.as_filters(), ..subscribe };
    check(V5, subscribe.into(), b"\x82\x07\0\x01\0\0\x01a\x2d");
    assert_eq!(subscribe.filters.iter().len(), 1);
    let mut out = Vec::new();
    subscribe.encode(V31, &mut out).unwrap();
    assert_eq!(out, b"\x82\x06\0\x01\0\x01a\x01");

    let mut filters = UnsubscribeFiltersBuf::new();
    filters.push(TopicFilter::new("a/+").unwrap());
    filters.push(TopicFilter::new("#").unwrap());
    let unsubscribe =
        Unsubscribe { packet_id: id(1), properties: Properties::EMPTY, filters: filters.as_filters() };
    check(V31, unsubscribe.into(), b"\xa2\x0a\0\x01\0\x03a/+\0\x01#");
    check(V5, unsubscribe.into(), b"\xa2\x0b\0\x01\0\0\x03a/+\0\x01#");
    assert_eq!(unsubscribe.filters.into_iter().map(TopicFilter::as_str).collect::<Vec<_>>(), ["a/+", "#"]);

    let nothing = Subscribe { filters: SubscribeFilters::default(), ..subscribe };
    assert!(matches!(nothing.encoded_len(V311), Err(EncodeError::NoTopicFilter { .. })));
    let nothing = Unsubscribe { filters: UnsubscribeFilters::default(), ..unsubscribe };
    assert!(matches!(nothing.encoded_len(V311), Err(EncodeError::NoTopicFilter { .. })));
}

/// `$share` is a level like any other before 5.0.
#[test]
fn a_malformed_share_is_an_ordinary_filter_in_3x() {
    let bytes = b"\x82\x0d\0\x01\0\x08$share/g\x01";
    assert!(matches!(decode(bytes, V311, 100), Ok(Decoded::Packet { .. })));
}

#[test]
fn suback_and_unsuback() {
    let suback = SubAck { packet_id: id(9), properties: Properties::EMPTY, reason_codes: &[0, 1, 2, 0x80] };
    check(V311, suback.into(), &[0x90, 6, 0, 9, 0, 1, 2, 0x80]);
    check(V5, suback.into(), &[0x90, 7, 0, 9, 0, 0, 1, 2, 0x80]);
    let mut out = Vec::new();
    SubAck { reason_codes: &[2, 0x87, 0x9e], ..suback }.encode(V311, &mut out).unwrap();
    assert_eq!(out, [0x90, 5, 0, 9, 2, 0x80, 0x80]);
    assert!(SubAck { reason_codes: &[], ..suback }.encoded_len(V311).is_err());
    assert!(SubAck { reason_codes: &[3], ..suback }.encoded_len(V311).is_err());

    let unsuback = UnsubAck { packet_id: id(9), properties: Properties::EMPTY, reason_codes: &[] };
    check(V311, unsuback.into(), &[0xb0, 2, 0, 9]);
    assert!(unsuback.encoded_len(V5).is_err());
    let unsuback = UnsubAck { reason_codes: &[0, 0x11], ..unsuback };
    check(V5, unsuback.into(), &[0xb0, 5, 0, 9, 0, 0, 0x11]);
    out.clear();
    unsuback.encode(V31, &mut out).unwrap();
    assert_eq!(out, [0xb0, 2, 0, 9]);
}

#[test]
fn packets_without_much() {
    for version in [V31, V311, V5] {
        check(version, Packet::PingReq, &[0xc0, 0]);
        check(version, Packet::PingResp, &[0xd0, 0]);
        check(version, Disconnect::new(ReasonCode::Success).into(), &[0xe0, 0]);
    }
    check(V5, Disconnect::new(ReasonCode::SessionTakenOver).into(), &[0xe0, 1, 0x8e]);
    let properties = Properties::from_trusted_bytes(b"\x11\0\0\0\x05");
    let disconnect = Disconnect { reason_code: ReasonCode::Success, properties };
    check(V5, disconnect.into(), b"\xe0\x07\0\x05\x11\0\0\0\x05");
    assert!(Disconnect::new(ReasonCode::GrantedQoS1).encoded_len(V5).is_err());

    let properties = Properties::from_trusted_bytes(b"\x15\0\x01m");
    let auth = Auth { reason_code: ReasonCode::ContinueAuthentication, properties };
    check(V5, auth.into(), b"\xf0\x06\x18\x04\x15\0\x01m");
    check(V5, Auth { reason_code: ReasonCode::Success, properties: Properties::EMPTY }.into(), b"\xf0\0");
    let error = EncodeError::NotInVersion { packet_type: PacketType::Auth, version: V311 };
    assert_eq!(auth.encoded_len(V311), Err(error));
}

#[test]
fn what_no_packet_can_hold_is_not_encoded() {
    let long = "x".repeat(65_536);
    let too_long = Err(EncodeError::FieldTooLong { bytes: 65_536 });
    assert_eq!(Connect { user_name: Some(&long), ..CONNECT }.encoded_len(V311), too_long);
    let connect = Connect { user_name: Some(""), password: Some(long.as_bytes()), ..CONNECT };
    assert_eq!(connect.encoded_len(V311), too_long);
    assert_eq!(
        Connect { user_name: Some("a\0"), ..CONNECT }.encoded_len(V311),
        Err(EncodeError::NulCharacter { at: 1 })
    );
    let password = Connect { password: Some(b""), ..CONNECT };
    assert_eq!(password.encoded_len(V311), Err(EncodeError::PasswordWithoutUserName));
    let session =
        ConnAck { session_present: true, reason_code: ReasonCode::ServerBusy, properties: Properties::EMPTY };
    assert_eq!(session.encoded_len(V5), Err(EncodeError::SessionPresentInRefusal));
}

#[test]
fn several_packets_in_one_buffer() {
    let mut buf = &b"\xc0\0\x40\x02\0\x01\xe0\0\x30"[..];
    let mut types = Vec::new();
    while let Ok(Decoded::Packet { packet, len }) = decode(buf, V311, 100) {
        types.push(packet.packet_type());
        buf = &buf[len..];
    }
    assert_eq!(types, [PacketType::PingReq, PacketType::PubAck, PacketType::Disconnect]);
    assert_eq!(decode(buf, V311, 100), Ok(Decoded::Incomplete { need: 1 }));
}
