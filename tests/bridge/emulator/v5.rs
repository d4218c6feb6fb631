//! Section 7 of the duties: MQTT 5.0.

use std::num::NonZeroU16;
use std::time::Duration;

use culex::aws_emulator::{Emulator, Scenario};
use culex_codec::{Connect, Properties, Property, PropertyContext, Publish, QoS};
use tokio::time::sleep;

use super::peer::{Got, Peer, V3, V5, broke, connect, properties, publish};

#[tokio::test(start_paused = true)]
async fn aic_v5_01_connack_announces_everything() {
    let emulator = Emulator::builder().build();
    let peer = Peer::connected(&emulator, V5, "a").await;
    for expected in [
        "MaximumQoS(AtLeastOnce)",
        "RetainAvailable(true)",
        "WildcardSubscriptionAvailable(true)",
        "SubscriptionIdentifierAvailable(false)",
        "SharedSubscriptionAvailable(true)",
        "ServerKeepAlive(60)",
        "ReceiveMaximum(100)",
        "MaximumPacketSize(149504)",
        "TopicAliasMaximum(8)",
    ] {
        assert!(peer.announced.contains(expected), "{expected}: {}", peer.announced);
    }
}

#[tokio::test(start_paused = true)]
async fn aic_v5_02_eight_topic_aliases() {
    let alias = |number| {
        properties(&[Property::TopicAlias(NonZeroU16::new(number).unwrap())], PropertyContext::Publish)
    };
    let (first, eighth, ninth) = (alias(1), alias(8), alias(9));
    let with = |bytes, topic| Publish {
        topic,
        properties: Properties::from_trusted_bytes(bytes),
        ..publish("t", 1, b"x")
    };
    let topic = publish("t", 1, b"").topic;
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V5, "a").await;
    for packet in [with(&eighth, topic), with(&eighth, None)] {
        peer.send(packet).await;
        assert_eq!(peer.next().await, Got::PubAck(1, 0));
    }
    assert_eq!(emulator.deliveries()[1].topic, "t");
    broke(&emulator, &[]);
    for packet in [with(&ninth, topic), with(&first, None)] {
        let emulator = Emulator::builder().build();
        let mut peer = Peer::connected(&emulator, V5, "a").await;
        peer.send(packet).await;
        assert_eq!(peer.next().await, Got::Disconnect(0x94));
        broke(&emulator, &["AIC-V5-02"]);
    }
}

#[tokio::test(start_paused = true)]
async fn aic_v5_03_messages_expire_in_sessions_and_as_retained() {
    let emulator = Emulator::builder().build();
    let session = properties(&[Property::SessionExpiryInterval(3600)], PropertyContext::Connect);
    let wanted = Connect {
        clean_start: false,
        properties: Properties::from_trusted_bytes(&session),
        ..connect(V5, "a")
    };
    let (mut peer, _) = Peer::accepted(&emulator, &wanted).await;
    peer.subscribe(&[("t", 1)]).await;
    peer.disconnect().await;
    let mut publisher = Peer::connected(&emulator, V5, "b").await;
    for (id, seconds) in [(1, 30), (2, 600), (3, 700_000)] {
        let bytes = properties(&[Property::MessageExpiryInterval(seconds)], PropertyContext::Publish);
        let packet = Publish {
            retain: id == 1,
            properties: Properties::from_trusted_bytes(&bytes),
            ..publish("t", id, b"x")
        };
        publisher.send(packet).await;
        assert_eq!(publisher.next().await, Got::PubAck(id, 0));
    }
    sleep(Duration::from_secs(60)).await;
    let (mut peer, _) = Peer::accepted(&emulator, &wanted).await;
    assert!(peer.take().await.properties.contains("MessageExpiryInterval(539)"));
    assert!(peer.take().await.properties.contains("MessageExpiryInterval(604739)"));
    peer.subscribe(&[("t", 1)]).await;
    peer.is_quiet_for(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn aic_v5_04_and_05_properties_pass_and_3_1_1_loses_them() {
    let emulator = Emulator::builder().build();
    let mut v3 = Peer::connected(&emulator, V3, "a").await;
    let mut v5 = Peer::connected(&emulator, V5, "b").await;
    for peer in [&mut v3, &mut v5] {
        peer.subscribe(&[("t", 0)]).await;
    }
    let all = [
        Property::PayloadFormatIndicator(true),
        Property::ContentType("text/plain"),
        Property::ResponseTopic(culex_codec::TopicName::new("answers").unwrap()),
        Property::CorrelationData(b"7"),
        Property::UserProperty("name", "value"),
        Property::UserProperty("name", "again"),
    ];
    let bytes = properties(&all, PropertyContext::Publish);
    let packet = Publish {
        qos: QoS::AtMostOnce,
        packet_id: None,
        properties: Properties::from_trusted_bytes(&bytes),
        ..publish("t", 1, b"x")
    };
    v5.send(packet).await;
    assert_eq!(v5.message().await.properties, format!("{:?}", Properties::from_trusted_bytes(&bytes)));
    assert_eq!(v3.message().await.properties, "[]");
}

#[tokio::test(start_paused = true)]
async fn aic_v5_06_an_old_service_answers_with_the_connack_of_3_1_1() {
    let scenario = Scenario { legacy_v3_connack_to_v5: true, ..Scenario::default() };
    let emulator = Emulator::builder().scenario(scenario).build();
    let mut peer = Peer::open(&emulator, V5);
    peer.send(connect(V5, "a")).await;
    peer.version = V3;
    assert_eq!(peer.next().await, Got::ConnAck { present: false, code: 0 });
}

#[tokio::test(start_paused = true)]
async fn a_message_sent_again_over_a_living_connection_of_5_0_is_an_error() {
    let scenario = Scenario { drop_puback: 1000, ..Scenario::default() };
    let emulator = Emulator::builder().scenario(scenario).build();
    let mut peer = Peer::connected(&emulator, V5, "a").await;
    peer.send(publish("t", 1, b"x")).await;
    peer.is_quiet_for(Duration::from_secs(1)).await;
    peer.send(Publish { dup: true, ..publish("t", 1, b"x") }).await;
    assert_eq!(peer.next().await, Got::Disconnect(0x82));
    broke(&emulator, &["AIC-CON-09"]);
}
