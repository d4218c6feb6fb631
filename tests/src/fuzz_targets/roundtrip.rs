//! Arbitrary packets to bytes and back.

use std::num::{NonZeroU16, NonZeroU32};

use culex_codec::{
    Ack, Auth, ClientId, ConnAck, Connect, Decoded, Disconnect, Packet, PacketId, PacketType, PropertiesBuf,
    Property, PropertyContext, PropertyId, ProtocolVersion, Publish, QoS, ReasonCode, RetainHandling, SubAck,
    Subscribe, SubscribeFiltersBuf, SubscriptionId, SubscriptionOptions, TopicFilter, TopicName, UnsubAck,
    Unsubscribe, UnsubscribeFiltersBuf, Will, decode,
};

use super::source::Source;

/// Builds a packet from `data`, which must come back the same from its bytes. A second packet of the same version follows it in
/// the same buffer, and so on until `data` is at an end.
pub fn roundtrip(data: &[u8]) {
    let mut source = Source::new(data);
    let version = source.version();
    while !source.is_empty() {
        one(&mut source, version);
    }
}

fn one(source: &mut Source<'_>, version: ProtocolVersion) {
    let packet_id = PacketId::new(source.short().max(1)).unwrap();
    let packet_type = PacketType::from_first_byte(source.byte() << 4).unwrap_or(PacketType::Publish);
    match packet_type {
        PacketType::Connect => connect(source, version),
        PacketType::ConnAck => {
            let reason_code = reason_code(source, packet_type, version);
            let session_present =
                source.flag() && reason_code == ReasonCode::Success && version != ProtocolVersion::V31;
            let properties = properties(source, version, PropertyContext::ConnAck);
            let properties = properties.as_properties(PropertyContext::ConnAck).unwrap();
            check(Packet::ConnAck(ConnAck { session_present, reason_code, properties }), version);
        }
        PacketType::Publish => publish(source, version, packet_id),
        PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp => {
            ack(source, version, packet_type, packet_id);
        }
        PacketType::Subscribe => subscribe(source, version, packet_id),
        PacketType::Unsubscribe => unsubscribe(source, version, packet_id),
        PacketType::SubAck | PacketType::UnsubAck => answer(source, version, packet_type, packet_id),
        PacketType::PingReq => check(Packet::PingReq, version),
        PacketType::PingResp => check(Packet::PingResp, version),
        PacketType::Disconnect => {
            let reason_code = reason_code(source, packet_type, version);
            let properties = properties(source, version, PropertyContext::Disconnect);
            let properties = properties.as_properties(PropertyContext::Disconnect).unwrap();
            check(Packet::Disconnect(Disconnect { reason_code, properties }), version);
        }
        PacketType::Auth => {
            let version = ProtocolVersion::V5;
            let reason_code = reason_code(source, packet_type, version);
            let properties = properties(source, version, PropertyContext::Auth);
            let properties = properties.as_properties(PropertyContext::Auth).unwrap();
            check(Packet::Auth(Auth { reason_code, properties }), version);
        }
    }
}

fn connect(source: &mut Source<'_>, version: ProtocolVersion) {
    let (is_bridge, clean_start, keep_alive) =
        (source.flag() && !version.is_v5(), source.flag(), source.short());
    let (client_id, user_name, password) = (source.text(), source.text(), source.bytes());
    let (has_user_name, has_password) = (source.flag(), source.flag());
    let properties = properties(source, version, PropertyContext::Connect);
    let topic = source.topic();
    let has_will = source.flag();
    let will_properties = self::properties(source, version, PropertyContext::Will);
    let will = Will {
        topic: TopicName::new(&topic).unwrap(),
        payload: source.bytes(),
        qos: source.qos(),
        retain: source.flag(),
        properties: will_properties.as_properties(PropertyContext::Will).unwrap(),
    };
    let connect = Connect {
        version,
        is_bridge,
        clean_start,
        keep_alive,
        client_id: ClientId::new(&client_id).unwrap(),
        will: has_will.then_some(will),
        user_name: has_user_name.then_some(user_name.as_str()),
        password: (has_password && (has_user_name || version.is_v5())).then_some(password),
        properties: properties.as_properties(PropertyContext::Connect).unwrap(),
    };
    // A CONNECT goes by its own version.
    for other in [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5] {
        check(Packet::Connect(connect), other);
    }
}

fn publish(source: &mut Source<'_>, version: ProtocolVersion, packet_id: PacketId) {
    let (qos, dup, retain, has_topic) = (source.qos(), source.flag(), source.flag(), source.flag());
    let topic = source.topic();
    let properties = properties(source, version, PropertyContext::Publish);
    let properties = properties.as_properties(PropertyContext::Publish).unwrap();
    let has_topic = has_topic || properties.topic_alias().is_none();
    let publish = Publish {
        dup: dup && qos != QoS::AtMostOnce,
        qos,
        retain,
        topic: has_topic.then(|| TopicName::new(&topic).unwrap()),
        packet_id: (qos != QoS::AtMostOnce).then_some(packet_id),
        properties,
        payload: source.bytes(),
    };
    check(Packet::Publish(publish), version);
}

fn ack(source: &mut Source<'_>, version: ProtocolVersion, packet_type: PacketType, packet_id: PacketId) {
    let reason_code = reason_code(source, packet_type, version);
    let (context, packet): (_, fn(Ack<'_>) -> Packet<'_>) = if packet_type == PacketType::PubAck {
        (PropertyContext::PubAck, |ack| Packet::PubAck(ack))
    } else if packet_type == PacketType::PubRec {
        (PropertyContext::PubRec, |ack| Packet::PubRec(ack))
    } else if packet_type == PacketType::PubRel {
        (PropertyContext::PubRel, |ack| Packet::PubRel(ack))
    } else {
        (PropertyContext::PubComp, |ack| Packet::PubComp(ack))
    };
    let properties = properties(source, version, context);
    let properties = properties.as_properties(context).unwrap();
    check(packet(Ack { packet_id, reason_code, properties }), version);
}

fn subscribe(source: &mut Source<'_>, version: ProtocolVersion, packet_id: PacketId) {
    let properties = properties(source, version, PropertyContext::Subscribe);
    let properties = properties.as_properties(PropertyContext::Subscribe).unwrap();
    let mut filters = SubscribeFiltersBuf::new();
    let mut expected = Vec::new();
    for _ in 0..=source.byte() % 8 {
        let filter = source.filter();
        let filter = TopicFilter::new(&filter).unwrap();
        let Ok(shared) = filter.parse_shared() else {
            continue;
        };
        let mut options = SubscriptionOptions::new(source.qos());
        if version.is_v5() {
            options.no_local = source.flag() && shared.is_none();
            options.retain_as_published = source.flag();
            options.retain_handling = match source.byte() % 3 {
                0 => RetainHandling::SendAtSubscribe,
                1 => RetainHandling::SendAtSubscribeIfNew,
                _ => RetainHandling::DoNotSend,
            };
        }
        filters.push(filter, options);
        expected.push((filter.as_str().to_owned(), options));
    }
    if expected.is_empty() {
        return;
    }
    let filters = filters.as_filters();
    assert!(filters.iter().map(|one| (one.filter.as_str().to_owned(), one.options)).eq(expected));
    check(Packet::Subscribe(Subscribe { packet_id, properties, filters }), version);
}

fn unsubscribe(source: &mut Source<'_>, version: ProtocolVersion, packet_id: PacketId) {
    let properties = properties(source, version, PropertyContext::Unsubscribe);
    let properties = properties.as_properties(PropertyContext::Unsubscribe).unwrap();
    let mut filters = UnsubscribeFiltersBuf::new();
    for _ in 0..=source.byte() % 8 {
        let filter = source.filter();
        let filter = TopicFilter::new(&filter).unwrap();
        if filter.parse_shared().is_ok() {
            filters.push(filter);
        }
    }
    let filters = filters.as_filters();
    if !filters.is_empty() {
        check(Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters }), version);
    }
}

fn answer(source: &mut Source<'_>, version: ProtocolVersion, packet_type: PacketType, packet_id: PacketId) {
    let count = source.byte() % 8 + 1;
    let codes: Vec<u8> = (0..count).map(|_| reason_code(source, packet_type, version).as_u8()).collect();
    let is_suback = packet_type == PacketType::SubAck;
    let context = if is_suback { PropertyContext::SubAck } else { PropertyContext::UnsubAck };
    let properties = properties(source, version, context);
    let properties = properties.as_properties(context).unwrap();
    if is_suback {
        check(Packet::SubAck(SubAck { packet_id, properties, reason_codes: &codes }), version);
    } else {
        let reason_codes = if version.is_v5() { codes.as_slice() } else { &[] };
        check(Packet::UnsubAck(UnsubAck { packet_id, properties, reason_codes }), version);
    }
}

/// A code that is the same after encoding and decoding.
fn reason_code(source: &mut Source<'_>, packet_type: PacketType, version: ProtocolVersion) -> ReasonCode {
    let byte = source.byte();
    let code = if version.is_v5() {
        ReasonCode::try_from(byte).ok().filter(|code| code.is_defined_for(packet_type))
    } else if packet_type == PacketType::ConnAck {
        ReasonCode::from_connect_return_code(byte % 6)
    } else if packet_type == PacketType::SubAck {
        ReasonCode::try_from(byte).ok().filter(|code| matches!(code.as_u8(), 0..=2 | 0x80))
    } else {
        None
    };
    code.unwrap_or_default()
}

/// As many properties as may stand in `context` together; none before 5.0.
fn properties(source: &mut Source<'_>, version: ProtocolVersion, context: PropertyContext) -> PropertiesBuf {
    let mut kept = PropertiesBuf::new();
    for _ in 0..source.byte() % 16 {
        let Some(id) = PropertyId::new(source.byte().into()).filter(|id| context.allows(*id)) else {
            continue;
        };
        let (number, text, topic, bytes) = (source.long(), source.text(), source.topic(), source.bytes());
        let mut candidate = kept.clone();
        candidate.push(property(id, number, &text, &topic, bytes)).unwrap();
        if version.is_v5() && candidate.as_properties(context).is_ok() {
            kept = candidate;
        }
    }
    kept
}

fn property<'a>(id: PropertyId, number: u32, text: &'a str, topic: &'a str, bytes: &'a [u8]) -> Property<'a> {
    let flag = number & 1 == 1;
    let short = number as u16;
    let short_positive = NonZeroU16::new(short).unwrap_or(NonZeroU16::MIN);
    match id {
        PropertyId::PayloadFormatIndicator => Property::PayloadFormatIndicator(flag),
        PropertyId::MessageExpiryInterval => Property::MessageExpiryInterval(number),
        PropertyId::ContentType => Property::ContentType(text),
        PropertyId::ResponseTopic => Property::ResponseTopic(TopicName::new(topic).unwrap()),
        PropertyId::CorrelationData => Property::CorrelationData(bytes),
        PropertyId::SubscriptionIdentifier => {
            Property::SubscriptionIdentifier(SubscriptionId::new(number % SubscriptionId::MAX + 1).unwrap())
        }
        PropertyId::SessionExpiryInterval => Property::SessionExpiryInterval(number),
        PropertyId::AssignedClientIdentifier => Property::AssignedClientIdentifier(text),
        PropertyId::ServerKeepAlive => Property::ServerKeepAlive(short),
        PropertyId::AuthenticationMethod => Property::AuthenticationMethod(text),
        PropertyId::AuthenticationData => Property::AuthenticationData(bytes),
        PropertyId::RequestProblemInformation => Property::RequestProblemInformation(flag),
        PropertyId::WillDelayInterval => Property::WillDelayInterval(number),
        PropertyId::RequestResponseInformation => Property::RequestResponseInformation(flag),
        PropertyId::ResponseInformation => Property::ResponseInformation(text),
        PropertyId::ServerReference => Property::ServerReference(text),
        PropertyId::ReasonString => Property::ReasonString(text),
        PropertyId::ReceiveMaximum => Property::ReceiveMaximum(short_positive),
        PropertyId::TopicAliasMaximum => Property::TopicAliasMaximum(short),
        PropertyId::TopicAlias => Property::TopicAlias(short_positive),
        PropertyId::MaximumQoS if flag => Property::MaximumQoS(QoS::AtLeastOnce),
        PropertyId::MaximumQoS => Property::MaximumQoS(QoS::AtMostOnce),
        PropertyId::RetainAvailable => Property::RetainAvailable(flag),
        PropertyId::UserProperty => Property::UserProperty(text, topic),
        PropertyId::MaximumPacketSize => {
            Property::MaximumPacketSize(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN))
        }
        PropertyId::WildcardSubscriptionAvailable => Property::WildcardSubscriptionAvailable(flag),
        PropertyId::SubscriptionIdentifierAvailable => Property::SubscriptionIdentifierAvailable(flag),
        PropertyId::SharedSubscriptionAvailable => Property::SharedSubscriptionAvailable(flag),
    }
}

fn check(packet: Packet<'_>, version: ProtocolVersion) {
    let mut bytes = Vec::new();
    let len = packet.encode(version, &mut bytes).unwrap();
    assert_eq!(bytes.len(), len);
    assert_eq!(packet.encoded_len(version), Ok(len));
    assert_eq!(decode(&bytes, version, len as u32), Ok(Decoded::Packet { packet, len }));
    assert!(decode(&bytes, version, len as u32 - 1).is_err(), "above the limit");
    bytes.pop();
    match decode(&bytes, version, u32::MAX) {
        Ok(Decoded::Incomplete { need }) => assert_eq!(need, 1),
        other => panic!("{packet:?} without its last byte is {other:?}"),
    }
}
