//! Section 4 of the duties: SUBSCRIBE.

use std::time::Duration;

use culex::aws_emulator::{Emulator, Limits, Scenario};
use culex_codec::{
    Packet, PacketId, Properties, Property, PropertyContext, QoS, Subscribe, SubscribeFiltersBuf,
    SubscriptionId, SubscriptionOptions, TopicFilter,
};

use super::peer::{Got, Peer, V3, V5, broke, properties, publish0};

/// What SUBSCRIBE with these filters comes to, in 3.1.1 a close.
async fn check(filters: &[&str], expected_v5: Got, id: &str) {
    let filters: Vec<_> = filters.iter().map(|filter| (*filter, 1)).collect();
    for (version, expected) in [(V3, Got::Closed), (V5, expected_v5)] {
        let emulator = Emulator::builder().build();
        let mut peer = Peer::connected(&emulator, version, "a").await;
        assert_eq!(peer.subscribe(&filters).await, expected, "{version:?}");
        broke(&emulator, &[id]);
    }
}

#[tokio::test(start_paused = true)]
async fn aic_sub_01_eight_filters_in_a_subscribe() {
    let filters: Vec<_> = (0..9).map(|n| n.to_string()).collect();
    let filters: Vec<_> = filters.iter().map(String::as_str).collect();
    check(&filters, Got::Disconnect(0x97), "AIC-SUB-01").await;
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    let eight: Vec<_> = filters[..8].iter().map(|filter| (*filter, 1)).collect();
    assert_eq!(peer.subscribe(&eight).await, Got::SubAck(vec![1; 8]));
    broke(&emulator, &[]);
}

#[tokio::test(start_paused = true)]
async fn aic_sub_02_fifty_subscriptions_of_a_connection() {
    for (version, expected) in [(V3, Got::Closed), (V5, Got::SubAck(vec![0x97]))] {
        let emulator = Emulator::builder().build();
        let mut peer = Peer::connected(&emulator, version, "a").await;
        for n in 0..50 {
            assert_eq!(peer.subscribe(&[(&format!("t/{n}"), 1)]).await, Got::SubAck(vec![1]));
        }
        // One that is there already is none more.
        assert_eq!(peer.subscribe(&[("t/0", 0)]).await, Got::SubAck(vec![0]));
        assert_eq!(
            peer.unsubscribe("t/1").await,
            Got::UnsubAck(if version == V5 { vec![0] } else { vec![] })
        );
        assert_eq!(peer.subscribe(&[("t/1", 1)]).await, Got::SubAck(vec![1]));
        broke(&emulator, &[]);
        assert_eq!(peer.subscribe(&[("t/50", 1)]).await, expected);
        broke(&emulator, &["AIC-SUB-02"]);
    }
}

#[tokio::test(start_paused = true)]
async fn aic_sub_03_subscriptions_of_the_account_per_second_and_in_all() {
    let per_second = Limits { subscriptions_per_second: 2, ..Limits::default() };
    let in_all = Limits { account_subscriptions: 2, ..Limits::default() };
    for limits in [per_second, in_all] {
        for (version, expected) in [(V3, Got::Closed), (V5, Got::SubAck(vec![1, 1, 0x97]))] {
            let emulator = Emulator::builder().limits(limits.clone()).build();
            let mut peer = Peer::connected(&emulator, version, "a").await;
            assert_eq!(peer.subscribe(&[("a", 1), ("b", 1), ("c", 1)]).await, expected);
            broke(&emulator, &["AIC-SUB-03"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn aic_sub_04_and_05_filters_match_as_in_aws() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.subscribe(&[("sensor/#", 0)]).await;
    emulator.publish("sensor", "x", QoS::AtMostOnce, false);
    emulator.publish("sensor/1", "x", QoS::AtMostOnce, false);
    assert_eq!(peer.message().await.topic, "sensor/1");
    peer.subscribe(&[("#", 0)]).await;
    Peer::connected(&emulator, V3, "b").await; // Its event is on `$aws/events`.
    peer.is_quiet_for(Duration::from_secs(1)).await;
    emulator.publish("sensor", "x", QoS::AtMostOnce, false);
    assert_eq!(peer.message().await.topic, "sensor");
}

#[tokio::test(start_paused = true)]
async fn aic_sub_06_unsuback_has_only_codes_that_the_service_uses() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V5, "a").await;
    assert_eq!(peer.unsubscribe("never").await, Got::UnsubAck(vec![0]));
    peer.subscribe(&[("t", 0)]).await;
    peer.unsubscribe("t").await;
    emulator.publish("t", "x", QoS::AtMostOnce, false);
    peer.is_quiet_for(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn aic_sub_07_members_of_a_shared_subscription_take_turns() {
    let emulator = Emulator::builder().build();
    let mut peers = [Peer::connected(&emulator, V3, "a").await, Peer::connected(&emulator, V5, "b").await];
    emulator.publish("t/1", "kept", QoS::AtLeastOnce, true);
    for peer in &mut peers {
        assert_eq!(peer.subscribe(&[("$share/group/t/1", 1)]).await, Got::SubAck(vec![1]));
    }
    for n in 0..10 {
        emulator.publish("t/1", n.to_string(), QoS::AtLeastOnce, false);
    }
    for peer in &mut peers {
        for _ in 0..5 {
            assert_ne!(peer.take().await.payload, b"kept");
        }
        peer.is_quiet_for(Duration::from_secs(1)).await;
    }
    broke(&emulator, &[]);
    check(&[&format!("$share/{}/t", "g".repeat(129))], Got::SubAck(vec![0x8f]), "AIC-SUB-07").await;
}

#[tokio::test(start_paused = true)]
async fn aic_sub_08_there_are_no_subscription_identifiers() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V5, "a").await;
    let id = Property::SubscriptionIdentifier(SubscriptionId::new(1).unwrap());
    let id = properties(&[id], PropertyContext::Subscribe);
    let mut filters = SubscribeFiltersBuf::new();
    filters.push(TopicFilter::new("t").unwrap(), SubscriptionOptions::new(QoS::AtMostOnce));
    let subscribe = Subscribe {
        packet_id: PacketId::new(1).unwrap(),
        properties: Properties::from_trusted_bytes(&id),
        filters: filters.as_filters(),
    };
    peer.send(Packet::Subscribe(subscribe)).await;
    assert_eq!(peer.next().await, Got::Disconnect(0xa1));
    broke(&emulator, &["AIC-SUB-08"]);
}

#[tokio::test(start_paused = true)]
async fn aic_sub_09_no_local_is_heeded_by_a_switch_alone() {
    for is_heeded in [false, true] {
        let scenario = Scenario { subscription_options: is_heeded, ..Scenario::default() };
        let emulator = Emulator::builder().scenario(scenario).build();
        let mut peer = Peer::connected(&emulator, V5, "a").await;
        let granted = peer.subscribe_with(&[("t", 0)], |options| options.no_local = true).await;
        assert_eq!(granted, Got::SubAck(vec![0]));
        emulator.publish("t", "of others", QoS::AtMostOnce, false);
        peer.send(publish0("t", b"own")).await;
        assert_eq!(peer.message().await.payload, b"of others");
        if is_heeded {
            peer.is_quiet_for(Duration::from_secs(1)).await;
        } else {
            assert_eq!(peer.message().await.payload, b"own");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn aic_top_02_basic_ingest_is_not_subscribed_to() {
    check(&["$aws/rules/r/t"], Got::Disconnect(0x8f), "AIC-TOP-02").await;
}

#[tokio::test(start_paused = true)]
async fn aic_top_01_reserved_filters_close() {
    check(&["$SYS/#"], Got::Disconnect(0x8f), "AIC-TOP-01").await;
}
