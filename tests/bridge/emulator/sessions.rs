//! Section 5 of the duties: sessions, Retained Messages, Wills.

use std::time::Duration;

use culex::aws_emulator::{Emulator, Limits};
use culex_codec::{Connect, Disconnect, Properties, Property, PropertyContext, Publish, QoS, ReasonCode};
use tokio::time::{Instant, sleep};

use super::connect::will;
use super::peer::{Got, Peer, V3, V5, broke, connect, properties, publish, publish0};

const SECOND: Duration = Duration::from_secs(1);

fn persistent(id: &str) -> Connect<'_> {
    Connect { clean_start: false, ..connect(V3, id) }
}

/// A client with a session and this Subscription, gone again.
async fn away(emulator: &Emulator, filter: &str) {
    let (mut peer, _) = Peer::accepted(emulator, &persistent("a")).await;
    assert_eq!(peer.subscribe(&[(filter, 1)]).await, Got::SubAck(vec![1]));
    peer.disconnect().await;
    sleep(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn aic_ses_01_a_session_lives_for_an_hour_after_its_connection() {
    for (time, expected) in [(3590, true), (3610, false)] {
        let emulator = Emulator::builder().build();
        away(&emulator, "t").await;
        sleep(SECOND * time).await;
        assert_eq!(Peer::accepted(&emulator, &persistent("a")).await.1, expected, "{time}");
    }
    let limits = Limits { session_expiry_extra: SECOND * 1800, ..Limits::default() };
    let emulator = Emulator::builder().limits(limits).build();
    away(&emulator, "t").await;
    sleep(SECOND * 5000).await;
    assert!(Peer::accepted(&emulator, &persistent("a")).await.1);
}

#[tokio::test(start_paused = true)]
async fn aic_ses_02_session_expiry_of_5_0_is_bounded_and_not_raised_from_0() {
    let emulator = Emulator::builder().build();
    let long = properties(&[Property::SessionExpiryInterval(1_000_000)], PropertyContext::Connect);
    let wanted = Connect { properties: Properties::from_trusted_bytes(&long), ..connect(V5, "a") };
    let (peer, _) = Peer::accepted(&emulator, &wanted).await;
    assert!(peer.announced.contains("SessionExpiryInterval(3600)"), "{}", peer.announced);

    let mut other = Peer::connected(&emulator, V5, "b").await;
    let raised = properties(&[Property::SessionExpiryInterval(60)], PropertyContext::Disconnect);
    let properties = Properties::from_trusted_bytes(&raised);
    other.send(Disconnect { reason_code: ReasonCode::Success, properties }).await;
    assert_eq!(other.next().await, Got::Disconnect(0x82));
    broke(&emulator, &["AIC-SES-02"]);
    assert_eq!(emulator.session("b"), None);
}

#[tokio::test(start_paused = true)]
async fn aic_ses_03_sessions_of_3_1_1_and_5_0_are_not_interchangeable() {
    let emulator = Emulator::builder().build();
    away(&emulator, "t").await;
    let wanted = Connect { clean_start: false, ..connect(V5, "a") };
    assert!(!Peer::accepted(&emulator, &wanted).await.1);
    assert_eq!(emulator.session("a").unwrap().subscriptions, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn aic_ses_04_only_qos_1_is_stored_and_comes_ten_times_per_second() {
    let emulator = Emulator::builder().build();
    away(&emulator, "t").await;
    emulator.publish("t", "0", QoS::AtMostOnce, false);
    for n in 1..=31 {
        emulator.publish("t", n.to_string(), QoS::AtLeastOnce, false);
    }
    let (mut peer, present) = Peer::accepted(&emulator, &persistent("a")).await;
    let started = Instant::now();
    assert!(present);
    for n in 1..=31 {
        assert_eq!(peer.take().await.payload, n.to_string().as_bytes());
    }
    assert_eq!(started.elapsed(), SECOND * 3);
}

#[tokio::test(start_paused = true)]
async fn aic_ses_04_of_a_shared_subscription_twenty_come_per_second() {
    let emulator = Emulator::builder().build();
    away(&emulator, "$share/group/t").await;
    for n in 0..=60 {
        emulator.publish("t", n.to_string(), QoS::AtLeastOnce, false);
    }
    let (mut peer, _) = Peer::accepted(&emulator, &persistent("a")).await;
    let started = Instant::now();
    for n in 0..=60 {
        assert_eq!(peer.take().await.payload, n.to_string().as_bytes());
    }
    assert_eq!(started.elapsed(), SECOND * 3);
}

#[tokio::test(start_paused = true)]
async fn aic_ses_05_500_messages_per_second_are_stored() {
    let limits = Limits { stored_per_second_session: 1000, ..Limits::default() };
    let emulator = Emulator::builder().limits(limits).build();
    away(&emulator, "t").await;
    for _ in 0..501 {
        emulator.publish("t", "x", QoS::AtLeastOnce, false);
    }
    assert_eq!(emulator.session("a").unwrap().queued, 500);
    assert_eq!(emulator.observations().discarded_offline, 1);
}

#[tokio::test(start_paused = true)]
async fn aic_ses_06_100_messages_per_second_are_stored_of_a_session() {
    let emulator = Emulator::builder().build();
    away(&emulator, "t").await;
    for _ in 0..101 {
        emulator.publish("t", "x", QoS::AtLeastOnce, false);
    }
    assert_eq!(emulator.session("a").unwrap().queued, 100);
    assert_eq!(emulator.observations().discarded_offline, 1);
    sleep(SECOND).await;
    emulator.publish("t", "x", QoS::AtLeastOnce, false);
    assert_eq!(emulator.session("a").unwrap().queued, 101);
}

#[tokio::test(start_paused = true)]
async fn what_was_in_flight_comes_again_with_the_session() {
    let emulator = Emulator::builder().build();
    let (mut peer, _) = Peer::accepted(&emulator, &persistent("a")).await;
    peer.subscribe(&[("t", 1)]).await;
    emulator.publish("t", "1", QoS::AtLeastOnce, false);
    emulator.publish("t", "2", QoS::AtLeastOnce, false);
    let first = peer.message().await;
    peer.message().await;
    peer.lost().await;
    emulator.publish("t", "3", QoS::AtLeastOnce, false);
    sleep(SECOND).await;
    let (mut peer, _) = Peer::accepted(&emulator, &persistent("a")).await;
    let again = peer.take().await;
    assert_eq!((again.id, again.dup, again.payload), (first.id, true, first.payload));
    assert_eq!(peer.take().await.payload, b"2");
    let last = peer.take().await;
    assert_eq!((last.payload, last.dup), (b"3".to_vec(), false));
}

#[tokio::test(start_paused = true)]
async fn aic_ret_01_and_02_retained_messages_come_for_exact_filters() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.send(Publish { retain: true, ..publish0("t/1", b"kept") }).await;
    for filter in ["t/+", "t/#", "#"] {
        peer.subscribe(&[(filter, 1)]).await;
        peer.is_quiet_for(SECOND).await;
    }
    peer.subscribe(&[("t/1", 1)]).await;
    let kept = peer.message().await;
    assert_eq!((kept.payload, kept.retain), (b"kept".to_vec(), true));
    // What comes live is not marked. A message without payload clears.
    peer.send(Publish { retain: true, ..publish0("t/1", b"") }).await;
    assert!(!peer.message().await.retain);
    peer.subscribe(&[("t/1", 1)]).await;
    peer.is_quiet_for(SECOND).await;
    broke(&emulator, &[]);
}

#[tokio::test(start_paused = true)]
async fn aic_ret_03_reserved_topics_are_not_retained() {
    for (version, expected) in [(V3, Got::Closed), (V5, Got::PubAck(1, 0x90))] {
        let emulator = Emulator::builder().build();
        let mut peer = Peer::connected(&emulator, version, "a").await;
        peer.send(Publish { retain: true, ..publish("$aws/rules/r/t", 1, b"x") }).await;
        assert_eq!(peer.next().await, expected);
        broke(&emulator, &["AIC-RET-03"]);
    }
}

#[tokio::test(start_paused = true)]
async fn aic_ret_04_one_retained_message_per_topic_and_second() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    let retained = |id| Publish { retain: true, ..publish("t", id, b"x") };
    peer.send(retained(1)).await;
    assert_eq!(peer.next().await, Got::PubAck(1, 0));
    sleep(Duration::from_millis(999)).await;
    peer.send(retained(2)).await;
    peer.is_quiet_for(SECOND).await;
    peer.send(retained(2)).await;
    assert_eq!(peer.next().await, Got::PubAck(2, 0));
    assert_eq!(emulator.violations().count("AIC-RET-04"), 1);
}

#[tokio::test(start_paused = true)]
async fn aic_ret_04_so_many_topics_have_a_retained_message() {
    let emulator = Emulator::builder().limits(Limits { retained_messages: 2, ..Limits::default() }).build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    for (id, topic) in [(1, "a"), (2, "b")] {
        peer.send(Publish { retain: true, ..publish(topic, id, b"x") }).await;
        assert_eq!(peer.next().await, Got::PubAck(id, 0));
    }
    peer.send(Publish { retain: true, ..publish("c", 3, b"x") }).await;
    peer.is_quiet_for(SECOND).await;
    // One that is there already is none more, and one is cleared at any time.
    for (id, topic, payload) in [(4, "a", &b"y"[..]), (5, "b", b""), (3, "c", b"x")] {
        peer.send(Publish { retain: true, ..publish(topic, id, payload) }).await;
        assert_eq!(peer.next().await, Got::PubAck(id, 0));
    }
    broke(&emulator, &["AIC-RET-04"]);
}

#[tokio::test(start_paused = true)]
async fn aic_wil_01_a_will_is_published_unless_the_client_says_goodbye() {
    let emulator = Emulator::builder().build();
    let mut reader = Peer::connected(&emulator, V3, "reader").await;
    reader.subscribe(&[("wills/#", 1)]).await;
    for id in ["lost", "gone"] {
        let topic = format!("wills/{id}");
        let wanted = Connect { will: Some(will(&topic, QoS::AtLeastOnce)), ..connect(V3, id) };
        let (peer, _) = Peer::accepted(&emulator, &wanted).await;
        if id == "gone" { peer.disconnect().await } else { peer.lost().await }
    }
    let message = reader.take().await;
    assert_eq!((message.topic.as_str(), message.payload), ("wills/lost", b"gone".to_vec()));
    reader.is_quiet_for(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn aic_wil_02_a_will_needs_the_rights_of_its_message() {
    let policy = culex::aws_emulator::Policy::from_json(
        r#"{"Statement": [{"Effect": "Allow", "Action": ["iot:Connect", "iot:Publish"], "Resource": "*"},
            {"Effect": "Deny", "Action": "iot:Publish", "Resource": "arn:aws:iot:r:1:topic/secret"}]}"#,
    )
    .unwrap();
    let emulator = Emulator::builder().policy(policy).build();
    let cases = [("secret", false), ("$aws/rules/r/t", false), ("t", true)];
    for (number, (topic, retain)) in cases.into_iter().enumerate() {
        let id = format!("client-{number}");
        let mut will = will(topic, QoS::AtLeastOnce);
        will.retain = retain;
        let wanted = Connect { will: Some(will), ..connect(V5, &id) };
        assert_eq!(
            Peer::answer(&emulator, &wanted).await,
            Got::ConnAck { present: false, code: 0x87 },
            "{topic}"
        );
    }
    broke(&emulator, &["AIC-WIL-02"]);
}
