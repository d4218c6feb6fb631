use super::*;

/// One property of each kind that `context` allows, with a value that is valid everywhere.
fn one_of_each(context: PropertyContext) -> Vec<Property<'static>> {
    let two = NonZeroU16::new(2).unwrap();
    [
        Property::PayloadFormatIndicator(true),
        Property::MessageExpiryInterval(u32::MAX),
        Property::ContentType("text/plain"),
        Property::ResponseTopic(TopicName::new("a/b").unwrap()),
        Property::CorrelationData(b"\0\xff"),
        Property::SubscriptionIdentifier(SubscriptionId::new(SubscriptionId::MAX).unwrap()),
        Property::SessionExpiryInterval(0),
        Property::AssignedClientIdentifier("id"),
        Property::ServerKeepAlive(30),
        Property::AuthenticationMethod("SCRAM"),
        Property::AuthenticationData(b""),
        Property::RequestProblemInformation(false),
        Property::WillDelayInterval(5),
        Property::RequestResponseInformation(true),
        Property::ResponseInformation("r"),
        Property::ServerReference("other:1883"),
        Property::ReasonString("because"),
        Property::ReceiveMaximum(two),
        Property::TopicAliasMaximum(0),
        Property::TopicAlias(two),
        Property::MaximumQoS(QoS::AtLeastOnce),
        Property::RetainAvailable(false),
        Property::UserProperty("", ""),
        Property::MaximumPacketSize(NonZeroU32::MIN),
        Property::WildcardSubscriptionAvailable(true),
        Property::SubscriptionIdentifierAvailable(false),
        Property::SharedSubscriptionAvailable(true),
    ]
    .into_iter()
    .filter(|property| context.allows(property.id()))
    .collect()
}

const CONTEXTS: [PropertyContext; 14] = [
    PropertyContext::Connect,
    PropertyContext::Will,
    PropertyContext::ConnAck,
    PropertyContext::Publish,
    PropertyContext::PubAck,
    PropertyContext::PubRec,
    PropertyContext::PubRel,
    PropertyContext::PubComp,
    PropertyContext::Subscribe,
    PropertyContext::SubAck,
    PropertyContext::Unsubscribe,
    PropertyContext::UnsubAck,
    PropertyContext::Disconnect,
    PropertyContext::Auth,
];

#[test]
fn properties_survive_their_bytes_in_order() {
    for context in CONTEXTS {
        let expected = one_of_each(context);
        let mut buf = PropertiesBuf::new();
        for property in &expected {
            buf.push(*property).unwrap();
        }
        let properties = buf.as_properties(context).unwrap();
        assert_eq!(properties.iter().collect::<Vec<_>>(), expected, "{context}");
        for property in expected {
            assert_eq!(properties.find(property.id()), Some(property), "{context}");
        }
    }
}

/// The number of packets that can have each property, counted in 5.0 table 2-4 (the Will counts as a packet).
#[test]
fn allowed_sets() {
    for (id, expected) in [
        (PropertyId::PayloadFormatIndicator, 2),
        (PropertyId::MessageExpiryInterval, 2),
        (PropertyId::SubscriptionIdentifier, 2),
        (PropertyId::SessionExpiryInterval, 3),
        (PropertyId::AuthenticationMethod, 3),
        (PropertyId::WillDelayInterval, 1),
        (PropertyId::ServerReference, 2),
        (PropertyId::ReasonString, 9),
        (PropertyId::ReceiveMaximum, 2),
        (PropertyId::TopicAlias, 1),
        (PropertyId::MaximumQoS, 1),
        (PropertyId::UserProperty, 14),
        (PropertyId::MaximumPacketSize, 2),
    ] {
        assert_eq!(CONTEXTS.iter().filter(|context| context.allows(id)).count(), expected, "{id:?}");
    }
}

#[test]
fn each_property_is_once_or_as_often_as_one_likes() {
    for context in CONTEXTS {
        for property in one_of_each(context) {
            let mut buf = PropertiesBuf::new();
            if property.id() == PropertyId::AuthenticationData {
                buf.push(Property::AuthenticationMethod("m")).unwrap();
            }
            buf.push(property).unwrap();
            buf.push(property).unwrap();
            let repeatable = property.id() == PropertyId::UserProperty
                || (property.id() == PropertyId::SubscriptionIdentifier
                    && context == PropertyContext::Publish);
            let duplicate = EncodeError::Properties(DecodeError::DuplicateProperty { id: property.id() });
            let expected = if repeatable { None } else { Some(duplicate) };
            assert_eq!(buf.as_properties(context).err(), expected, "{context} {property:?}");
        }
    }
}

#[test]
fn what_cannot_be_sent_is_not_appended() {
    let mut buf = PropertiesBuf::new();
    let long = "x".repeat(65_536);
    assert_eq!(buf.push(Property::ReasonString(&long)), Err(EncodeError::FieldTooLong { bytes: 65_536 }));
    assert_eq!(
        buf.push(Property::CorrelationData(long.as_bytes())),
        Err(EncodeError::FieldTooLong { bytes: 65_536 })
    );
    assert_eq!(buf.push(Property::UserProperty("a", "\0")), Err(EncodeError::NulCharacter { at: 0 }));
    assert!(buf.is_empty());
    assert_eq!(buf.as_properties(PropertyContext::Auth), Ok(Properties::EMPTY));
}

#[test]
fn repeated_properties_come_in_order() {
    let mut buf = PropertiesBuf::new();
    for (name, id) in [("b", 3), ("a", 1), ("b", 2)] {
        buf.push(Property::UserProperty(name, "v")).unwrap();
        buf.push(Property::SubscriptionIdentifier(SubscriptionId::new(id).unwrap())).unwrap();
    }
    let properties = buf.as_properties(PropertyContext::Publish).unwrap();
    assert_eq!(properties.user_properties().map(|(name, _)| name).collect::<String>(), "bab");
    assert_eq!(properties.subscription_identifiers().map(SubscriptionId::get).collect::<Vec<_>>(), [3, 1, 2]);
    assert_eq!(properties.subscription_identifier().map(SubscriptionId::get), Some(3));
    assert_eq!(properties.topic_alias(), None);
}

#[test]
fn bytes_trusted_in_error_end_the_iteration() {
    let properties = Properties::from_trusted_bytes(b"\x01\x01\x02\0");
    assert_eq!(properties.iter().collect::<Vec<_>>(), [Property::PayloadFormatIndicator(true)]);
    assert_eq!(properties.message_expiry_interval(), None);
    assert_eq!(format!("{properties:?}"), "[PayloadFormatIndicator(true)]");
}
