//! How a bridge connects, and connects again.

use std::time::Duration;

use culex::aws_emulator::Emulator;
use culex_core::Broker;
use tokio::time::Instant;

use super::cloud::{AWS, Cloud, OUT};

const SECOND: Duration = Duration::from_secs(1);

fn out(lines: &str) -> String {
    format!("{AWS}{lines}\n{OUT}")
}

#[tokio::test(start_paused = true)]
async fn aic_con_01_connects_within_a_second_with_its_client_id_and_never_as_a_bridge() {
    for (lines, level) in [("", 4), ("protocol = \"5.0\"", 5)] {
        let cloud = Cloud::start(&out(lines)).await;
        cloud.until_state("up", SECOND).await;
        let seen = cloud.emulator.observations();
        let connect = seen.connects.iter().next().unwrap();
        assert_eq!((&*connect.client_id, connect.level, connect.keep_alive), ("shed", level, 60));
        assert!(!connect.clean_start);
        cloud.no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn aic_con_02_waits_for_connack_before_it_sends_anything() {
    let cloud = Cloud::start(&format!("{AWS}{OUT}[[bridge.in]]\nfilter = \"in/#\"\n")).await;
    for n in 0..20 {
        cloud.publish("a", n.to_string()).await;
    }
    cloud.delivered(20, 10 * SECOND).await;
    cloud.no_violations();
}

/// Delays of a bridge whose other side is not there, with this seed.
async fn delays(seed: u64, attempts: usize) -> Vec<Duration> {
    let emulator = Emulator::builder().build();
    emulator.change(|scenario| scenario.outage = true);
    let cloud = Cloud::with(&out(""), emulator, Broker::builder(), seed).await;
    let enough = |cloud: &Cloud| (cloud.attempts().len() >= attempts).then_some(());
    cloud.until("attempts", 3600 * SECOND, enough).await;
    let times = cloud.attempts();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn aic_con_06_19_retries_with_a_backoff_that_grows_and_is_never_the_same() {
    let (first, second) = (delays(1, 9).await, delays(2, 9).await);
    println!("{first:?}\n{second:?}");
    assert_ne!(first, second);
    for delays in [first, second] {
        for (n, delay) in delays.iter().enumerate() {
            let bound = SECOND * 2_u32.pow(u32::try_from(n).unwrap() + 1);
            assert!(*delay >= SECOND && *delay <= bound.min(120 * SECOND) + SECOND, "{n}: {delays:?}");
        }
        assert!(delays.iter().max() > Some(&(10 * SECOND)), "it grows: {delays:?}");
    }
}

/// Whoever orders, and whatever is changed meanwhile.
#[tokio::test(start_paused = true)]
async fn aic_con_06_orders_in_quick_succession_connect_once_a_second() {
    let cloud = Cloud::start(&out("")).await;
    cloud.up().await;
    let bridges = &cloud.here.bridges;
    for _ in 0..3 {
        bridges.pause("aws").await.unwrap();
        assert_eq!(cloud.view().await["state"], "paused", "it says so when it is away");
        bridges.resume("aws").await.unwrap();
        assert_eq!(cloud.view().await["state"], "starting", "and when it is about to come back");
        bridges.pause("aws").await.unwrap();
        bridges.resume("aws").await.unwrap();
        cloud.until_state("up", 2 * SECOND).await;
    }
    for keep_alive in [70, 80, 90] {
        cloud.follow(&out(&format!("keep_alive = \"{keep_alive}s\""))).await;
        cloud.until_state("up", 2 * SECOND).await;
    }
    let times = cloud.attempts();
    assert_eq!(times.len(), 7, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] > SECOND), "{times:?}");
    cloud.no_violations();
}

/// Somebody else has used the ClientId while the bridge was paused, as `culex bridge test` does.
#[tokio::test(start_paused = true)]
async fn aic_con_06_a_resumed_bridge_waits_for_whoever_paused_it() {
    let cloud = Cloud::start(&out("")).await;
    cloud.up().await;
    cloud.pass(5 * SECOND).await;
    cloud.here.bridges.pause("aws").await.unwrap();
    cloud.pass(5 * SECOND).await;
    let resumed = Instant::now();
    cloud.here.bridges.resume("aws").await.unwrap();
    cloud.until_state("up", 2 * SECOND).await;
    let last = *cloud.attempts().last().unwrap();
    assert!(last - resumed > SECOND, "{:?}", last - resumed);
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_con_19_begins_anew_only_after_thirty_seconds() {
    let cloud = Cloud::start(&out("")).await;
    cloud.up().await;
    // Never stable.
    for _ in 0..6 {
        cloud.pass(10 * SECOND).await;
        cloud.emulator.cut_all();
        cloud.until_state("down", SECOND).await;
        cloud.up().await;
    }
    let times = cloud.attempts();
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0] - 10 * SECOND).collect();
    assert!(gaps.iter().max() > Some(&(4 * SECOND)), "{gaps:?}");
    cloud.pass(31 * SECOND).await;
    cloud.emulator.cut_all();
    cloud.until_state("down", SECOND).await;
    let lost = Instant::now();
    cloud.up().await;
    assert!(lost.elapsed() <= 3 * SECOND, "{:?}", lost.elapsed());
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_con_08_names_another_client_with_its_client_id() {
    let cloud = Cloud::start(&out("")).await;
    cloud.change(|scenario| scenario.kick_duplicate = Some(3 * SECOND));
    let is_named = |cloud: &Cloud| (cloud.attempts().len() >= 5).then_some(());
    cloud.until("five attempts", 600 * SECOND, is_named).await;
    let view = cloud.until_state("down", 60 * SECOND).await;
    let why = view["why"].as_str().unwrap();
    assert!(why.contains("another client may use the client id \"shed\""), "{why}");
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_con_10_keeps_the_connection_alive_and_takes_the_servers_keep_alive() {
    for lines in ["keep_alive = \"30s\"", "keep_alive = \"30s\"\nprotocol = \"5.0\""] {
        let cloud = Cloud::start(&out(lines)).await;
        cloud.up().await;
        cloud.pass(200 * SECOND).await;
        assert_eq!(cloud.attempts().len(), 1, "{:#}", cloud.view().await);
        let pings = cloud.emulator.observations().pings;
        assert!((5..=7).contains(&pings), "{pings}");
        cloud.no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_pingresp_is_given_up() {
    let cloud = Cloud::start(&out("keep_alive = \"60s\"")).await;
    cloud.up().await;
    cloud.change(|scenario| scenario.no_pingresp = true);
    let began = Instant::now();
    cloud.until_state("down", 100 * SECOND).await;
    assert!(began.elapsed() <= 91 * SECOND, "60 s of silence and 30 s for the answer: {:?}", began.elapsed());
    cloud.change(|scenario| scenario.no_pingresp = false);
    cloud.up().await;
}

#[tokio::test(start_paused = true)]
async fn aic_con_12_a_refused_connect_is_said_to_be_the_policy_or_the_certificate() {
    let cloud = Cloud::start(&out("")).await;
    cloud.up().await;
    cloud.change(|scenario| scenario.policy_none = true);
    cloud.emulator.cut_all();
    cloud.until_state("down", SECOND).await;
    cloud.pass(10 * SECOND).await;
    let why = cloud.view().await["why"].as_str().unwrap().to_owned();
    assert!(why.contains("policy may not allow this client id"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn aic_con_16_a_close_for_maintenance_loses_nothing() {
    for lines in ["", "protocol = \"5.0\""] {
        let cloud = Cloud::start(&out(lines)).await;
        cloud.change(|scenario| scenario.server_initiated_disconnect = Some(3 * SECOND));
        for n in 0..200 {
            cloud.publish("a", n.to_string()).await;
            cloud.pass(Duration::from_millis(50)).await;
        }
        cloud
            .until("empty", 600 * SECOND, |cloud| (cloud.emulator.deliveries().len() >= 200).then_some(()))
            .await;
        cloud.pass(SECOND).await;
        let mut arrived: Vec<u32> =
            cloud.arrived().iter().map(|(_, payload)| payload.parse().unwrap()).collect();
        arrived.sort_unstable();
        arrived.dedup();
        assert_eq!(arrived, (0..200).collect::<Vec<_>>());
        assert!(cloud.letters().is_empty(), "{:?}", cloud.letters());
        cloud.no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn aic_con_07_several_connections_begin_one_after_another() {
    let cloud = Cloud::start(&out("connections = 4")).await;
    let all = |cloud: &Cloud| (cloud.emulator.observations().connects.total() >= 4).then_some(());
    cloud.until("four connections", 5 * SECOND, all).await;
    let seen = cloud.emulator.observations();
    let mut ids: Vec<_> = seen.connects.iter().map(|connect| connect.client_id.clone()).collect();
    ids.sort();
    assert_eq!(ids, ["shed-1", "shed-2", "shed-3", "shed-4"]);
    let mut times: Vec<_> = cloud.attempts();
    times.dedup();
    assert_eq!(times.len(), 4, "at different times");
    cloud.no_violations();
}
