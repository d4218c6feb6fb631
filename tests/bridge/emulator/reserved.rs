//! Section 6 of the duties: topics that begin with `$`.

use culex::aws_emulator::{Emulator, Scenario};
use culex_codec::{Packet, QoS};
use std::time::Duration;

use super::peer::{Got, Peer, V3, V5, broke, publish};

#[tokio::test(start_paused = true)]
async fn aic_top_01_reserved_topics_close() {
    for topic in [
        "$SYS/broker/x",
        "$aws/events/presence/connected/a",
        "$aws/other",
        "$aws/rules/r",
        "$aws/things/a/shadow/update/accepted",
        "$aws/things/a/jobs/notify",
        "$x",
    ] {
        for (version, expected) in [(V3, Got::Closed), (V5, Got::Disconnect(0x90))] {
            let emulator = Emulator::builder().build();
            let mut peer = Peer::connected(&emulator, version, "a").await;
            peer.send(publish(topic, 1, b"x")).await;
            assert_eq!(peer.next().await, expected, "{topic}");
            broke(&emulator, &["AIC-TOP-01"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn aic_top_02_basic_ingest_is_accepted_and_delivered_to_nobody() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.subscribe(&[("#", 1)]).await;
    assert_eq!(peer.publish("$aws/rules/store/a/b", 1, "x").await, Got::PubAck(1, 0));
    peer.is_quiet_for(Duration::from_secs(1)).await;
    assert_eq!(emulator.deliveries()[0].topic, "$aws/rules/store/a/b");
    broke(&emulator, &[]);
}

#[tokio::test(start_paused = true)]
async fn aic_top_03_and_05_topics_of_things_are_accepted() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    let granted =
        peer.subscribe(&[("$aws/things/+/shadow/update/delta", 1), ("$aws/things/a/jobs/#", 1)]).await;
    assert_eq!(granted, Got::SubAck(vec![1, 1]));
    assert_eq!(peer.publish("$aws/things/a/shadow/update", 1, "{}").await, Got::PubAck(1, 0));
    broke(&emulator, &[]);
}

#[tokio::test(start_paused = true)]
async fn aic_top_06_a_message_comes_that_nobody_has_subscribed_to() {
    let scenario = Scenario { unsolicited_reply: true, ..Scenario::default() };
    let emulator = Emulator::builder().scenario(scenario).build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    assert!(peer.take().await.topic.starts_with("$aws/things/"));
    peer.send(Packet::PingReq).await;
    assert_eq!(peer.next().await, Got::PingResp);
}

#[tokio::test(start_paused = true)]
async fn aic_top_07_and_08_life_cycle_events_have_reasons() {
    let emulator = Emulator::builder().build();
    let mut reader = Peer::connected(&emulator, V3, "reader").await;
    reader.subscribe(&[("$aws/events/presence/+/b", 1), ("$aws/events/subscriptions/+/b", 1)]).await;
    let mut peer = Peer::connected(&emulator, V3, "b").await;
    peer.subscribe(&[("t", 0)]).await;
    peer.unsubscribe("t").await;
    let packet = culex_codec::Publish { qos: QoS::ExactlyOnce, ..publish("t", 1, b"x") };
    peer.send(packet).await;
    let expected = [
        ("presence/connected", ""),
        ("subscriptions/subscribed", ""),
        ("subscriptions/unsubscribed", ""),
        ("presence/disconnected", "CLIENT_ERROR"),
    ];
    for (what, reason) in expected {
        let event = reader.take().await;
        assert_eq!(event.topic, format!("$aws/events/{what}/b"));
        let body: serde_json::Value = serde_json::from_slice(&event.payload).unwrap();
        assert_eq!(body["clientId"], "b");
        assert_eq!(body["eventType"], what.split('/').next_back().unwrap());
        assert!(body["timestamp"].as_u64().unwrap() >= 1_700_000_000_000);
        let topics = what.starts_with("subscriptions").then(|| serde_json::json!(["t"]));
        assert_eq!(body.get("topics"), topics.as_ref());
        assert_eq!(body["disconnectReason"].as_str().unwrap_or_default(), reason);
        assert_eq!(body["clientInitiatedDisconnect"].as_bool(), (!reason.is_empty()).then_some(false));
    }
}
