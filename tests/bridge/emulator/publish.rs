//! Section 4 of the duties: PUBLISH, in both directions; and what policies say of it.

use std::time::Duration;

use culex::aws_emulator::{DisconnectReason, Emulator, Limits, Policy, Scenario};
use culex_codec::{Ack, Packet, PacketId, Publish, QoS};
use tokio::time::{Instant, sleep};

use super::peer::{Got, Peer, V3, V5, broke, connect, publish, publish0};

/// What a PUBLISH at QoS 1 and at QoS 0 comes to in 5.0; in 3.1.1 it is a close.
async fn check(policy: Option<Policy>, packet: Publish<'_>, expected: [Got; 2], id: &str) {
    let without = Publish { qos: QoS::AtMostOnce, packet_id: None, ..packet };
    let cases = [(V3, packet, Got::Closed), (V3, without, Got::Closed)];
    let [first, second] = expected;
    for (version, packet, expected) in cases.into_iter().chain([(V5, packet, first), (V5, without, second)]) {
        let emulator = Emulator::builder().policy(policy.clone().unwrap_or_else(Policy::allow_all)).build();
        let mut peer = Peer::connected(&emulator, version, "a").await;
        peer.send(packet).await;
        assert_eq!(peer.next().await, expected, "{version:?} {packet:?}");
        broke(&emulator, &[id]);
        assert_eq!(emulator.deliveries(), []);
    }
}

fn policy(statements: &[(&str, &str, &str)]) -> Policy {
    let statement = |(effect, action, resource): &(&str, &str, &str)| {
        format!(
            "{{\"Effect\": \"{effect}\", \"Action\": \"iot:{action}\", \"Resource\": \"arn:aws:iot:r:1:{resource}\"}}"
        )
    };
    let all: Vec<_> = statements.iter().map(statement).collect();
    Policy::from_json(&format!("{{\"Statement\": [{}]}}", all.join(", "))).unwrap()
}

const CONNECT: (&str, &str, &str) = ("Allow", "Connect", "client/*");

#[tokio::test(start_paused = true)]
async fn aic_pol_04_an_unauthorised_publish() {
    let policy = policy(&[CONNECT, ("Allow", "Publish", "topic/mine/*")]);
    let expected = [Got::PubAck(1, 0x87), Got::Disconnect(0x87)];
    check(Some(policy), publish("other", 1, b"x"), expected, "AIC-POL-04").await;
}

#[tokio::test(start_paused = true)]
async fn aic_pol_06_retain_has_a_right_of_its_own() {
    let policy = policy(&[CONNECT, ("Allow", "Publish", "topic/*")]);
    let expected = [Got::PubAck(1, 0x87), Got::Disconnect(0x87)];
    let retained = Publish { retain: true, ..publish("t", 1, b"x") };
    check(Some(policy), retained, expected, "AIC-POL-06").await;
}

#[tokio::test(start_paused = true)]
async fn aic_pol_05_an_unauthorised_subscribe() {
    let policy = policy(&[CONNECT, ("Allow", "Subscribe", "topicfilter/mine/*")]);
    for (version, expected) in [(V3, Got::Closed), (V5, Got::SubAck(vec![1, 0x87]))] {
        let emulator = Emulator::builder().policy(policy.clone()).build();
        let mut peer = Peer::connected(&emulator, version, "a").await;
        assert_eq!(peer.subscribe(&[("mine/#", 1), ("other/#", 1)]).await, expected);
        broke(&emulator, &["AIC-POL-05"]);
    }
}

#[tokio::test(start_paused = true)]
async fn aic_pol_07_without_the_right_to_receive_nothing_comes_and_nothing_is_said() {
    let policy = policy(&[
        CONNECT,
        ("Allow", "Subscribe", "*"),
        ("Allow", "Publish", "*"),
        ("Allow", "Receive", "topic/b"),
    ]);
    let emulator = Emulator::builder().policy(policy).build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    assert_eq!(peer.subscribe(&[("#", 1)]).await, Got::SubAck(vec![1]));
    assert_eq!(peer.publish("a", 1, "no").await, Got::PubAck(1, 0));
    peer.send(publish0("b", b"yes")).await;
    assert_eq!(peer.message().await.topic, "b");
    assert_eq!(emulator.observations().not_received, 1);
    broke(&emulator, &[]);
}

#[tokio::test(start_paused = true)]
async fn aic_pub_02_qos_2_closes() {
    let packet = Publish { qos: QoS::ExactlyOnce, ..publish("t", 1, b"x") };
    for (version, expected) in [(V3, Got::Closed), (V5, Got::Disconnect(0x9b))] {
        let emulator = Emulator::builder().build();
        let mut peer = Peer::connected(&emulator, version, "a").await;
        peer.send(packet).await;
        assert_eq!(peer.next().await, expected);
        broke(&emulator, &["AIC-PUB-02"]);

        let emulator = Emulator::builder().build();
        let mut peer = Peer::connected(&emulator, version, "a").await;
        assert_eq!(peer.subscribe(&[("t", 2)]).await, expected);
        broke(&emulator, &["AIC-PUB-02"]);

        let emulator = Emulator::builder().build();
        let mut peer = Peer::connected(&emulator, version, "a").await;
        peer.send(Packet::PubRel(Ack::success(PacketId::new(1).unwrap()))).await;
        assert_eq!(peer.next().await, expected);
        broke(&emulator, &["AIC-PUB-02"]);
    }
    let scenario = Scenario { qos2_ignored: true, ..Scenario::default() };
    let emulator = Emulator::builder().scenario(scenario).build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.send(packet).await;
    peer.is_quiet_for(Duration::from_secs(10)).await;
    assert_eq!(emulator.deliveries(), []);
}

#[tokio::test(start_paused = true)]
async fn aic_pub_03_a_payload_has_128_kib_at_most() {
    let payload = vec![b'x'; 131_073];
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.send(publish("t", 1, &payload[1..])).await;
    assert_eq!(peer.next().await, Got::PubAck(1, 0));
    broke(&emulator, &[]);
    let closed = || Got::Disconnect(0x97);
    check(None, publish("t", 1, &payload), [closed(), closed()], "AIC-PUB-03").await;
}

#[tokio::test(start_paused = true)]
async fn aic_pub_04_a_packet_has_146_kib_at_most() {
    let payload = vec![b'x'; 149_504];
    let closed = || Got::Disconnect(0x97);
    check(None, publish("t", 1, &payload), [closed(), closed()], "AIC-PUB-04").await;
}

#[tokio::test(start_paused = true)]
async fn aic_pub_05_topics_are_short_and_have_eight_levels() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    for topic in ["1/2/3/4/5/6/7/8", &"t".repeat(256), "$aws/rules/r/1/2/3/4/5/6/7/8"] {
        assert_eq!(peer.publish(topic, 1, "x").await, Got::PubAck(1, 0), "{topic}");
    }
    broke(&emulator, &[]);
    for topic in ["1/2/3/4/5/6/7/8/9", &"t".repeat(257)] {
        let expected = [Got::PubAck(1, 0x90), Got::Disconnect(0x90)];
        check(None, publish(topic, 1, b"x"), expected, "AIC-PUB-05").await;
    }
    for (version, expected) in [(V3, Got::Closed), (V5, Got::SubAck(vec![0x8f]))] {
        let emulator = Emulator::builder().build();
        let mut peer = Peer::connected(&emulator, version, "a").await;
        assert_eq!(peer.subscribe(&[("$share/g/1/2/3/4/5/6/7/8/9", 1)]).await, expected);
        broke(&emulator, &["AIC-PUB-05"]);
    }
}

#[tokio::test(start_paused = true)]
async fn aic_pub_06_in_no_second_more_than_100_are_taken() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    for id in 1..=100 {
        assert_eq!(peer.publish("t", id, "x").await, Got::PubAck(id, 0));
    }
    for id in 101..=120 {
        peer.send(publish("t", id, b"x")).await;
    }
    peer.is_quiet_for(Duration::from_secs(5)).await;
    assert_eq!(emulator.violations().count("AIC-PUB-06"), 20);
    assert_eq!((emulator.deliveries().len(), emulator.observations().throttled), (100, 20));
    assert_eq!(emulator.observations().peak_publishes_per_second, 120);
    // It is heard again, on the same connection with the same Packet Identifier. AIC-PUB-07
    peer.send(Publish { dup: true, ..publish("t", 101, b"x") }).await;
    assert_eq!(peer.next().await, Got::PubAck(101, 0));
    broke(&emulator, &["AIC-PUB-06"]);
}

#[tokio::test(start_paused = true)]
async fn aic_pub_07_throttled_messages_get_no_puback_and_may_close() {
    let scenario = Scenario { throttle: Some(2), throttle_closes_after: Some(3), ..Scenario::default() };
    let emulator = Emulator::builder().scenario(scenario).build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    for id in 1..=4 {
        peer.send(publish("t", id, b"x")).await;
    }
    assert_eq!((peer.next().await, peer.next().await), (Got::PubAck(1, 0), Got::PubAck(2, 0)));
    peer.is_quiet_for(Duration::from_millis(500)).await;
    peer.send(publish("t", 5, b"x")).await;
    assert_eq!(peer.next().await, Got::Closed);
    assert_eq!(
        emulator.observations().disconnects.iter().last().unwrap().reason,
        DisconnectReason::Throttled
    );
    broke(&emulator, &[]);
}

#[tokio::test(start_paused = true)]
async fn aic_pub_08_more_than_512_kib_per_second_are_delayed() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    let payload = vec![b'x'; 100_000];
    let started = Instant::now();
    for id in 1..=12 {
        peer.send(publish("t", id, &payload)).await;
    }
    for id in 1..=12 {
        assert_eq!(peer.next().await, Got::PubAck(id, 0));
    }
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    broke(&emulator, &["AIC-PUB-08"]);
}

#[tokio::test(start_paused = true)]
async fn aic_pub_09_no_more_than_100_wait_for_their_puback() {
    for version in [V3, V5] {
        let scenario = Scenario { delay_puback: Duration::from_secs(60), ..Scenario::default() };
        let emulator = Emulator::builder().scenario(scenario).build();
        let mut peer = Peer::connected(&emulator, version, "a").await;
        for id in 1..=101 {
            peer.send(publish("t", id, b"x")).await;
            sleep(Duration::from_millis(20)).await;
        }
        if version == V5 {
            assert_eq!(peer.next().await, Got::Disconnect(0x93));
        } else {
            assert_eq!(peer.next().await, Got::PubAck(1, 0));
        }
        broke(&emulator, &["AIC-PUB-09"]);
        assert_eq!((emulator.observations().peak_in_flight_in, emulator.deliveries().len()), (100, 100));
    }
}

#[tokio::test(start_paused = true)]
async fn aic_pub_10_no_more_than_100_are_sent_without_puback() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.subscribe(&[("t", 1)]).await;
    for _ in 0..150 {
        emulator.publish("t", "x", QoS::AtLeastOnce, false);
    }
    for _ in 0..100 {
        peer.message().await;
    }
    peer.is_quiet_for(Duration::from_secs(20)).await;
    assert_eq!(emulator.session("a").unwrap().in_flight, 100);
    peer.ack(1).await;
    peer.message().await;
}

#[tokio::test(start_paused = true)]
async fn aic_pub_11_100_messages_per_second_are_sent() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.subscribe(&[("t", 0)]).await;
    let started = Instant::now();
    for _ in 0..301 {
        emulator.publish("t", "x", QoS::AtMostOnce, false);
    }
    for _ in 0..301 {
        peer.message().await;
    }
    assert_eq!(started.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn aic_acc_01_the_account_takes_and_sends_so_many_per_second() {
    let limits = Limits { account_publishes_per_second: 3, ..Limits::default() };
    let emulator = Emulator::builder().limits(limits).build();
    let mut peers = [Peer::connected(&emulator, V3, "a").await, Peer::connected(&emulator, V3, "b").await];
    for id in 1..=3 {
        for peer in &mut peers {
            peer.send(publish("t", id, b"x")).await;
        }
    }
    sleep(Duration::from_millis(10)).await;
    assert_eq!(emulator.deliveries().len(), 3);
    assert_eq!(emulator.violations().count("AIC-ACC-01"), 3);
    // What goes out waits.
    let mut reader = Peer::connected(&emulator, V3, "reader").await;
    reader.subscribe(&[("out", 0)]).await;
    let started = Instant::now();
    for _ in 0..7 {
        emulator.publish("out", "x", QoS::AtMostOnce, false);
    }
    for _ in 0..7 {
        reader.message().await;
    }
    assert_eq!(started.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn aic_pub_12_what_is_not_acknowledged_comes_again_for_an_hour() {
    let limits = Limits { redelivery_interval: Duration::from_secs(60), ..Limits::default() };
    let emulator = Emulator::builder().limits(limits).build();
    let mut wanted = connect(V3, "a");
    wanted.keep_alive = 0;
    let (mut peer, _) = Peer::accepted(&emulator, &wanted).await;
    peer.subscribe(&[("t", 1)]).await;
    emulator.publish("t", "x", QoS::AtLeastOnce, false);
    let first = peer.message().await;
    assert!(!first.dup);
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < Duration::from_secs(7200) {
        peer.send(Packet::PingReq).await;
        match peer.next().await {
            Got::Message(again) => {
                assert_eq!((again.id, again.dup), (first.id, true));
                count += 1;
            }
            Got::PingResp => sleep(Duration::from_secs(10)).await,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(count, 60);
}

#[tokio::test(start_paused = true)]
async fn aic_pub_14_a_subscription_begins_after_its_suback() {
    let scenario = Scenario { subscribe_lag: Duration::from_secs(1), ..Scenario::default() };
    let emulator = Emulator::builder().scenario(scenario).build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    assert_eq!(peer.subscribe(&[("t", 1)]).await, Got::SubAck(vec![1]));
    emulator.publish("t", "missed", QoS::AtLeastOnce, false);
    peer.is_quiet_for(Duration::from_secs(2)).await;
    emulator.publish("t", "heard", QoS::AtLeastOnce, false);
    assert_eq!(peer.take().await.payload, b"heard");
}

#[tokio::test(start_paused = true)]
async fn aic_pub_15_a_publisher_gets_its_own_messages() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.subscribe(&[("t/#", 1)]).await;
    peer.send(publish("t/1", 7, b"x")).await;
    let mut got = [peer.next().await, peer.next().await];
    got.sort_by_key(|got| matches!(got, Got::Message(_)));
    assert_eq!(got[0], Got::PubAck(7, 0));
    assert!(matches!(&got[1], Got::Message(message) if message.topic == "t/1"));
}
