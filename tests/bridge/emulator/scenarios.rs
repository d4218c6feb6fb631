//! Section 9 of the duties: the switches, alone and together, and what can be seen.

use std::time::Duration;

use culex::aws_emulator::{DisconnectReason, Emulator, Limits, Scenario};
use culex_codec::{Connect, Packet, QoS};
use tokio::time::{Instant, sleep};

use super::peer::{Got, Peer, V3, V5, broke, connect, publish, publish0};

fn with(change: impl FnOnce(&mut Scenario)) -> Emulator {
    let mut scenario = Scenario::default();
    change(&mut scenario);
    Emulator::builder().scenario(scenario).build()
}

fn last_reason(emulator: &Emulator) -> DisconnectReason {
    emulator.observations().disconnects.iter().last().unwrap().reason
}

#[tokio::test(start_paused = true)]
async fn drop_puback_drops_its_share() {
    let emulator = with(|scenario| scenario.drop_puback = 300);
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    for id in 1..=100 {
        peer.send(publish("t", id, b"x")).await;
    }
    sleep(Duration::from_secs(1)).await;
    let sent = emulator.observations().acks_sent.total();
    assert!((50..90).contains(&sent), "{sent}");
    assert_eq!(emulator.deliveries().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn delay_puback_delays() {
    let emulator = with(|scenario| scenario.delay_puback = Duration::from_secs(7));
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    let started = Instant::now();
    assert_eq!(peer.publish("t", 1, "x").await, Got::PubAck(1, 0));
    assert_eq!(started.elapsed(), Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn aic_pub_13_acks_come_out_of_order() {
    let emulator = with(|scenario| scenario.reorder_acks = true);
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    for id in 1..=4 {
        peer.send(publish("t", id, b"x")).await;
    }
    for id in [2, 4, 1, 3] {
        assert_eq!(peer.next().await, Got::PubAck(id, 0));
    }
    let order: Vec<_> = emulator.observations().acks_sent.iter().map(|ack| ack.packet_id).collect();
    assert_eq!(order, [2, 4, 1, 3]);
}

#[tokio::test(start_paused = true)]
async fn aic_pub_13_messages_come_twice_with_new_ids_and_out_of_order() {
    let emulator = with(|scenario| scenario.duplicate_new_id = true);
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.subscribe(&[("t", 1)]).await;
    emulator.publish("t", "x", QoS::AtLeastOnce, false);
    let (first, second) = (peer.take().await, peer.take().await);
    assert_eq!(first.payload, second.payload);
    assert!(first.id != second.id && !second.dup);
    peer.is_quiet_for(Duration::from_secs(60)).await;

    let emulator = with(|scenario| scenario.reorder_messages = true);
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.subscribe(&[("t", 1)]).await;
    (0..50).for_each(|n| emulator.publish("t", vec![n], QoS::AtLeastOnce, false));
    let mut order = Vec::new();
    for _ in 0..50 {
        order.push(peer.take().await.payload[0]);
    }
    assert!(!order.is_sorted());
    order.sort_unstable();
    assert_eq!(order, (0..50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn answers_stay_away() {
    let emulator = with(|scenario| (scenario.drop_suback, scenario.no_pingresp) = (true, true));
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.send(Packet::PingReq).await;
    peer.is_quiet_for(Duration::from_secs(10)).await;
    assert_eq!(emulator.observations().pings, 1);
    let started = Instant::now();
    let emulator = with(|scenario| scenario.close_before_connack = true);
    assert_eq!(Peer::answer(&emulator, &connect(V3, "a")).await, Got::Closed);
    assert_eq!(started.elapsed(), Duration::ZERO);
    let emulator = with(|scenario| scenario.connack_delay = Duration::from_secs(9));
    Peer::connected(&emulator, V3, "a").await;
    assert_eq!(started.elapsed(), Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn connections_end_after_their_time() {
    let time = Duration::from_secs(5);
    let emulator = with(|scenario| scenario.server_initiated_disconnect = Some(time));
    let mut peer = Peer::connected(&emulator, V5, "a").await;
    let started = Instant::now();
    assert_eq!(peer.next().await, Got::Disconnect(0x98));
    assert_eq!((started.elapsed(), last_reason(&emulator)), (time, DisconnectReason::ServerInitiated));
    let emulator = with(|scenario| scenario.kick_duplicate = Some(time));
    let mut peer = Peer::connected(&emulator, V5, "a").await;
    assert_eq!(peer.next().await, Got::Disconnect(0x8e));
    assert_eq!(last_reason(&emulator), DisconnectReason::DuplicateClientId);
}

#[tokio::test(start_paused = true)]
async fn an_outage_cuts_and_refuses_until_it_is_over() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    emulator.change(|scenario| scenario.outage = true);
    assert_eq!(peer.next().await, Got::Closed);
    assert_eq!(Peer::answer(&emulator, &connect(V3, "b")).await, Got::Closed);
    emulator.change(|scenario| scenario.outage = false);
    Peer::connected(&emulator, V3, "b").await;
    assert_eq!(emulator.observations().connects.total(), 2);
    broke(&emulator, &[]);
}

#[tokio::test(start_paused = true)]
async fn half_open_reads_and_says_nothing_until_it_is_over() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    emulator.change(|scenario| scenario.half_open = true);
    peer.send(publish("t", 1, b"x")).await;
    peer.is_quiet_for(Duration::from_secs(3600)).await;
    assert_eq!(emulator.deliveries(), []);
}

#[tokio::test(start_paused = true)]
async fn a_packet_is_cut_in_the_middle() {
    let emulator = Emulator::builder().build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    emulator.change(|scenario| scenario.rst_mid_packet = 1000);
    peer.send(publish("t", 1, b"x")).await;
    assert_eq!(peer.next().await, Got::Closed);
    assert_eq!(last_reason(&emulator), DisconnectReason::ConnectionLost);
    assert_eq!((emulator.deliveries().len(), emulator.observations().acks_sent.total()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn sessions_and_policies_are_gone() {
    let emulator = Emulator::builder().build();
    let wanted = Connect { clean_start: false, ..connect(V3, "a") };
    for (expires, expected) in [(false, false), (false, true), (true, false)] {
        emulator.change(|scenario| scenario.expire_session = expires);
        let (peer, present) = Peer::accepted(&emulator, &wanted).await;
        assert_eq!(present, expected);
        peer.disconnect().await;
        sleep(Duration::from_secs(1)).await;
    }
    emulator.change(|scenario| scenario.policy_none = true);
    assert_eq!(Peer::answer(&emulator, &wanted).await, Got::Closed);
    broke(&emulator, &["AIC-CON-12"]);
    let emulator = with(|scenario| scenario.policy_without_receive = true);
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.subscribe(&[("t", 0)]).await;
    peer.send(publish0("t", b"x")).await;
    peer.is_quiet_for(Duration::from_secs(1)).await;
    let emulator = with(|scenario| scenario.cert_inactive = true);
    assert_eq!(Peer::answer(&emulator, &connect(V3, "a")).await, Got::Closed);
    broke(&emulator, &["AIC-TLS-07"]);
}

#[tokio::test(start_paused = true)]
async fn slow_is_slow_in_both_directions() {
    let emulator = with(|scenario| scenario.slow = Some(1000));
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.subscribe(&[("t", 0)]).await;
    let started = Instant::now();
    (0..10).for_each(|_| emulator.publish("t", vec![b'x'; 470], QoS::AtMostOnce, false));
    for _ in 0..10 {
        peer.message().await;
    }
    assert!((4..=5).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    broke(&emulator, &[]);
}

#[tokio::test(start_paused = true)]
async fn memory_is_bounded_against_a_client_that_never_reads() {
    let limits = Limits { queue_messages: 10, deliveries: 5, records: 3, ..Limits::default() };
    let emulator = Emulator::builder().limits(limits).build();
    let mut peer = Peer::connected(&emulator, V3, "a").await;
    peer.subscribe(&[("t", 0)]).await;
    for id in 0..200 {
        emulator.publish("t", vec![b'x'; 60_000], QoS::AtMostOnce, false);
        peer.send(publish0("u", b"x")).await;
        peer.send(publish("$aws/things/a/shadow/get", id + 1, b"x")).await;
    }
    sleep(Duration::from_secs(10)).await;
    assert!(emulator.session("a").unwrap().queued <= 10);
    assert!(emulator.deliveries().len() <= 5 && emulator.violations().records().iter().count() <= 3);
    let observations = emulator.observations();
    assert!(observations.deliveries_forgotten > 0 && observations.discarded_offline > 0);
}

/// All that can be combined, with a seed each: nothing panics, hangs, or loses what was acknowledged.
#[tokio::test(start_paused = true)]
async fn random_combinations_acknowledge_only_what_was_delivered() {
    for seed in 0..40_u64 {
        let bit = |n: u64| (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (n + 20)) & 1 == 1;
        let scenario = Scenario {
            drop_puback: if bit(0) { 200 } else { 0 },
            delay_puback: Duration::from_millis(if bit(1) { 300 } else { 0 }),
            reorder_acks: bit(2),
            duplicate_new_id: bit(3),
            reorder_messages: bit(4),
            rst_mid_packet: if bit(5) { 20 } else { 0 },
            server_initiated_disconnect: bit(6).then_some(Duration::from_secs(3)),
            throttle: bit(7).then_some(20),
            slow: bit(8).then_some(20_000),
            unsolicited_reply: bit(9),
            ..Scenario::default()
        };
        let emulator = Emulator::builder().seed(seed).scenario(scenario).build();
        println!("seed {seed}");
        let mut acknowledged = Vec::new();
        for round in 0..3_u16 {
            let wanted = Connect { clean_start: false, ..connect(V3, "a") };
            let mut peer = Peer::open(&emulator, V3);
            peer.send(wanted).await;
            if !matches!(peer.next().await, Got::ConnAck { code: 0, .. }) {
                continue;
            }
            for id in round * 30 + 1..=round * 30 + 30 {
                peer.send(publish("t", id, &id.to_be_bytes())).await;
            }
            loop {
                match tokio::time::timeout(Duration::from_secs(10), peer.next()).await {
                    Ok(Got::PubAck(id, 0)) => acknowledged.push(id),
                    Ok(Got::Closed) | Err(_) => break,
                    Ok(_) => {}
                }
            }
            peer.lost().await;
            sleep(Duration::from_secs(1)).await;
        }
        let delivered: Vec<_> =
            emulator.deliveries().iter().filter_map(|delivery| delivery.packet_id).collect();
        for id in acknowledged {
            assert!(delivered.contains(&id), "seed {seed}: {id}");
        }
    }
}

/// Bytes of every kind, most of them nearly packets: the emulator stays, and others are served.
#[tokio::test(start_paused = true)]
async fn hostile_bytes_harm_nobody_else() {
    let emulator = Emulator::builder().build();
    let mut good = Peer::connected(&emulator, V3, "good").await;
    let mut state = 7_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    for round in 0..500_u64 {
        let version = if round % 2 == 0 { V3 } else { V5 };
        let id = format!("hostile-{round}");
        let mut peer = Peer::open(&emulator, version);
        if round % 3 > 0 {
            peer.send(connect(version, &id)).await;
            assert_eq!(peer.next().await, Got::ConnAck { present: false, code: 0 });
        }
        let mut bytes = Vec::new();
        Packet::Publish(publish("t/a", 1, b"payload")).encode(version, &mut bytes).unwrap();
        Packet::PingReq.encode(version, &mut bytes).unwrap();
        bytes.extend([0x82, 8, 0, 1, 0, 3, b'a', b'/', b'#', 1]);
        for _ in 0..=next() % 4 {
            let at = usize::try_from(next()).unwrap() % bytes.len();
            bytes[at] = u8::try_from(next() & 0xff).unwrap();
        }
        peer.raw(&bytes).await;
        peer.lost().await;
    }
    assert_eq!(good.publish("t", 1, "x").await, Got::PubAck(1, 0));
    assert!(emulator.violations().records().total() > 100);
}
