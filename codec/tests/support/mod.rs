//! Packets at random: owned values that lend a [`Packet`].

use std::num::{NonZeroU16, NonZeroU32};

use culex_codec::{
    Ack, Auth, ClientId, ConnAck, Connect, Disconnect, Packet, PacketId, PacketType, PropertiesBuf, Property,
    PropertyContext, PropertyId, ProtocolVersion, Publish, QoS, ReasonCode, RetainHandling, SubAck,
    Subscribe, SubscribeFiltersBuf, SubscriptionId, SubscriptionOptions, TopicFilter, TopicName, UnsubAck,
    Unsubscribe, UnsubscribeFiltersBuf, Will,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// What one packet of any type is made of; each type takes what it has a field for.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    packet_type: PacketType,
    version: ProtocolVersion,
    flags: [bool; 4],
    qos: QoS,
    number: u16,
    packet_id: PacketId,
    topic: Option<String>,
    name: String,
    user_name: Option<String>,
    password: Option<Vec<u8>>,
    payload: Vec<u8>,
    reason_codes: Vec<ReasonCode>,
    properties: PropertiesBuf,
    will_properties: PropertiesBuf,
    subscribe_filters: SubscribeFiltersBuf,
    unsubscribe_filters: UnsubscribeFiltersBuf,
    reason_bytes: Vec<u8>,
}

impl Owned {
    /// The version to encode and decode with.
    pub(crate) fn version(&self) -> ProtocolVersion {
        self.version
    }

    pub(crate) fn packet(&self) -> Packet<'_> {
        let packet_id = self.packet_id;
        let [first, second, third, _] = self.flags;
        let context = context(self.packet_type);
        let properties = self.properties.as_properties(context).unwrap();
        let reason_code = self.reason_codes[0];
        let ack = Ack { packet_id, reason_code, properties };
        match self.packet_type {
            PacketType::Connect => Packet::Connect(Connect {
                version: self.version,
                is_bridge: first && !self.version.is_v5(),
                clean_start: second,
                keep_alive: self.number,
                client_id: ClientId::new(&self.name).unwrap(),
                will: self.topic.as_deref().map(|topic| Will {
                    topic: TopicName::new(topic).unwrap(),
                    payload: &self.payload,
                    qos: self.qos,
                    retain: third,
                    properties: self.will_properties.as_properties(PropertyContext::Will).unwrap(),
                }),
                user_name: self.user_name.as_deref(),
                password: self.password.as_deref(),
                properties,
            }),
            PacketType::ConnAck => {
                let may_be_present =
                    reason_code == ReasonCode::Success && self.version != ProtocolVersion::V31;
                Packet::ConnAck(ConnAck { session_present: first && may_be_present, reason_code, properties })
            }
            PacketType::Publish => Packet::Publish(Publish {
                dup: first && self.qos != QoS::AtMostOnce,
                qos: self.qos,
                retain: second,
                topic: match &self.topic {
                    Some(topic) => Some(TopicName::new(topic).unwrap()),
                    None if properties.topic_alias().is_some() => None,
                    None => Some(TopicName::new("t").unwrap()),
                },
                packet_id: (self.qos != QoS::AtMostOnce).then_some(packet_id),
                properties,
                payload: &self.payload,
            }),
            PacketType::PubAck => Packet::PubAck(ack),
            PacketType::PubRec => Packet::PubRec(ack),
            PacketType::PubRel => Packet::PubRel(ack),
            PacketType::PubComp => Packet::PubComp(ack),
            PacketType::Subscribe => {
                let filters = self.subscribe_filters.as_filters();
                Packet::Subscribe(Subscribe { packet_id, properties, filters })
            }
            PacketType::SubAck => {
                Packet::SubAck(SubAck { packet_id, properties, reason_codes: &self.reason_bytes })
            }
            PacketType::Unsubscribe => {
                let filters = self.unsubscribe_filters.as_filters();
                Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters })
            }
            PacketType::UnsubAck => {
                let reason_codes = if self.version.is_v5() { self.reason_bytes.as_slice() } else { &[] };
                Packet::UnsubAck(UnsubAck { packet_id, properties, reason_codes })
            }
            PacketType::PingReq => Packet::PingReq,
            PacketType::PingResp => Packet::PingResp,
            PacketType::Disconnect => Packet::Disconnect(Disconnect { reason_code, properties }),
            PacketType::Auth => Packet::Auth(Auth { reason_code, properties }),
        }
    }
}

fn context(packet_type: PacketType) -> PropertyContext {
    match packet_type {
        PacketType::Connect => PropertyContext::Connect,
        PacketType::ConnAck => PropertyContext::ConnAck,
        PacketType::Publish => PropertyContext::Publish,
        PacketType::PubAck => PropertyContext::PubAck,
        PacketType::PubRec => PropertyContext::PubRec,
        PacketType::PubRel => PropertyContext::PubRel,
        PacketType::PubComp => PropertyContext::PubComp,
        PacketType::Subscribe => PropertyContext::Subscribe,
        PacketType::SubAck => PropertyContext::SubAck,
        PacketType::Unsubscribe => PropertyContext::Unsubscribe,
        PacketType::UnsubAck => PropertyContext::UnsubAck,
        PacketType::Disconnect | PacketType::PingReq | PacketType::PingResp => PropertyContext::Disconnect,
        PacketType::Auth => PropertyContext::Auth,
    }
}

/// Text that a packet can hold: any characters but U+0000, often none, sometimes many.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z0-9/ ]{0,8}", 2 => "[^\0]{0,6}", 1 => "x{100,300}", 1 => Just("\u{feff}".to_owned())]
}

fn topic() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.replace(['+', '#'], "/")).prop_filter("not empty", |text| !text.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => "[a-zé$]{0,4}", 1 => Just("+".to_owned())];
    (vec(level, 1..5), any::<bool>()).prop_filter_map("not empty", |(mut levels, multi)| {
        if multi {
            levels.push("#".to_owned());
        }
        Some(levels.join("/")).filter(|filter| !filter.is_empty())
    })
}

fn options() -> impl Strategy<Value = SubscriptionOptions> {
    let handling = select(vec![
        RetainHandling::SendAtSubscribe,
        RetainHandling::SendAtSubscribeIfNew,
        RetainHandling::DoNotSend,
    ]);
    (qos(), any::<bool>(), any::<bool>(), handling).prop_map(
        |(qos, no_local, retain_as_published, retain_handling)| SubscriptionOptions {
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        },
    )
}

fn qos() -> impl Strategy<Value = QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

/// The ingredients of one property.
type Ingredients = (PropertyId, u32, String, String, Vec<u8>);

fn ingredients() -> impl Strategy<Value = Vec<Ingredients>> {
    let number = prop_oneof![0..4u32, any::<u32>()];
    vec((select(PropertyId::ALL.to_vec()), number, text(), topic(), vec(any::<u8>(), 0..20)), 0..12)
}

fn property((id, number, text, topic, bytes): &Ingredients) -> Property<'_> {
    let flag = number % 2 == 1;
    let short = *number as u16;
    let short_positive = NonZeroU16::new(short).unwrap_or(NonZeroU16::MIN);
    match id {
        PropertyId::PayloadFormatIndicator => Property::PayloadFormatIndicator(flag),
        PropertyId::MessageExpiryInterval => Property::MessageExpiryInterval(*number),
        PropertyId::ContentType => Property::ContentType(text),
        PropertyId::ResponseTopic => Property::ResponseTopic(TopicName::new(topic).unwrap()),
        PropertyId::CorrelationData => Property::CorrelationData(bytes),
        PropertyId::SubscriptionIdentifier => {
            Property::SubscriptionIdentifier(SubscriptionId::new(number % SubscriptionId::MAX + 1).unwrap())
        }
        PropertyId::SessionExpiryInterval => Property::SessionExpiryInterval(*number),
        PropertyId::AssignedClientIdentifier => Property::AssignedClientIdentifier(text),
        PropertyId::ServerKeepAlive => Property::ServerKeepAlive(short),
        PropertyId::AuthenticationMethod => Property::AuthenticationMethod(text),
        PropertyId::AuthenticationData => Property::AuthenticationData(bytes),
        PropertyId::RequestProblemInformation => Property::RequestProblemInformation(flag),
        PropertyId::WillDelayInterval => Property::WillDelayInterval(*number),
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
            Property::MaximumPacketSize(NonZeroU32::new(*number).unwrap_or(NonZeroU32::MIN))
        }
        PropertyId::WildcardSubscriptionAvailable => Property::WildcardSubscriptionAvailable(flag),
        PropertyId::SubscriptionIdentifierAvailable => Property::SubscriptionIdentifierAvailable(flag),
        PropertyId::SharedSubscriptionAvailable => Property::SharedSubscriptionAvailable(flag),
    }
}

/// As many of the properties as may stand in `context` together; none before 5.0.
fn properties(version: ProtocolVersion, context: PropertyContext, all: &[Ingredients]) -> PropertiesBuf {
    let mut kept = PropertiesBuf::new();
    for ingredients in all.iter().filter(|(id, ..)| version.is_v5() && context.allows(*id)) {
        let mut candidate = kept.clone();
        candidate.push(property(ingredients)).unwrap();
        if candidate.as_properties(context).is_ok() {
            kept = candidate;
        }
    }
    kept
}

/// The codes that survive encoding and decoding of this packet in this version.
fn reason_codes(packet_type: PacketType, version: ProtocolVersion) -> Vec<ReasonCode> {
    let survives = |code: &ReasonCode| match packet_type {
        _ if version.is_v5() => code.is_defined_for(packet_type),
        PacketType::ConnAck => {
            ReasonCode::from_connect_return_code(code.to_connect_return_code()) == Some(*code)
        }
        PacketType::SubAck => matches!(code.as_u8(), 0..=2 | 0x80),
        _ => *code == ReasonCode::Success,
    };
    let codes: Vec<_> = ReasonCode::ALL.iter().copied().filter(survives).collect();
    if codes.is_empty() { vec![ReasonCode::Success] } else { codes }
}

/// A packet of any type and version that is the same after encoding and decoding.
pub(crate) fn packet() -> impl Strategy<Value = Owned> {
    let versions = vec![ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];
    let kind = (1..=15u8, select(versions)).prop_filter_map("AUTH is of 5.0", |(bits, version)| {
        let packet_type = PacketType::from_first_byte(bits << 4)?;
        (packet_type != PacketType::Auth || version.is_v5()).then_some((packet_type, version))
    });
    kind.prop_flat_map(|(packet_type, version)| {
        let payload = prop_oneof![15 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 200..20_000)];
        let fields = (
            (any::<[bool; 4]>(), qos(), any::<u16>(), 1..=u16::MAX),
            (option::of(topic()), vec((filter(), options()), 1..6), text()),
            (option::of(text()), option::of(vec(any::<u8>(), 0..20)), payload),
            (vec(select(reason_codes(packet_type, version)), 1..6), ingredients(), ingredients()),
        );
        fields.prop_map(move |(small, topics, credentials, rest)| {
            let (flags, qos, number, packet_id) = small;
            let (topic, mut filters, name) = topics;
            let (user_name, mut password, mut payload) = credentials;
            let (reason_codes, ingredients, will_ingredients) = rest;
            if user_name.is_none() && !version.is_v5() {
                password = None;
            }
            if packet_type == PacketType::Connect {
                payload.truncate(65_535);
            }
            if !version.is_v5() {
                for (_, options) in &mut filters {
                    *options = SubscriptionOptions::new(options.qos);
                }
            }
            let mut subscribe_filters = SubscribeFiltersBuf::new();
            let mut unsubscribe_filters = UnsubscribeFiltersBuf::new();
            for (filter, options) in &filters {
                let filter = TopicFilter::new(filter).unwrap();
                subscribe_filters.push(filter, *options);
                unsubscribe_filters.push(filter);
            }
            Owned {
                packet_type,
                version,
                flags,
                qos,
                number,
                packet_id: PacketId::new(packet_id).unwrap(),
                topic,
                name,
                user_name,
                password,
                payload,
                reason_bytes: reason_codes.iter().map(|code| code.as_u8()).collect(),
                reason_codes,
                properties: properties(version, context(packet_type), &ingredients),
                will_properties: properties(version, PropertyContext::Will, &will_ingredients),
                subscribe_filters,
                unsubscribe_filters,
            }
        })
    })
}
