//! What a bridge receives.

use std::time::Duration;

use culex_codec::Connect;
use culex_core::QoS;

use super::cloud::{AWS, Cloud, OUT};
use crate::emulator::peer::{Peer, V3, connect};
use crate::kit::Ear;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const IN: &str = "[[bridge.in]]\nfilter = \"cmd/#\"\nlocal_prefix = \"in/\"\n";

async fn subscribed(cloud: &Cloud, count: usize) {
    let enough = |cloud: &Cloud| {
        let session = cloud.emulator.session("shed")?;
        (session.subscriptions.len() == count).then_some(())
    };
    cloud.until(&format!("{count} subscriptions"), 10 * MINUTE, enough).await;
    // AIC-PUB-14
    cloud.pass(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn aic_sub_01_02_asks_for_eight_filters_at_a_time_and_fifty_in_all() {
    let filters: String = (0..50).map(|n| format!("[[bridge.in]]\nfilter = \"t{n}/#\"\n")).collect();
    let cloud = Cloud::start(&format!("{AWS}{filters}")).await;
    subscribed(&cloud, 50).await;
    assert_eq!(cloud.emulator.observations().subscribes, 7);
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_subscribe_without_suback_is_asked_again_and_no_faster_than_once_a_second() {
    let cloud = Cloud::start(&format!("{AWS}{IN}")).await;
    cloud.change(|scenario| scenario.drop_suback = true);
    cloud.pass(25 * SECOND).await;
    let asked = cloud.emulator.observations().subscribes;
    assert!((2..=25).contains(&asked), "{asked}");
    assert_eq!(cloud.attempts().len(), 1);
    cloud.pass(10 * SECOND).await;
    assert!(cloud.attempts().len() >= 2, "then another connection");
    cloud.change(|scenario| scenario.drop_suback = false);
    subscribed(&cloud, 1).await;
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_pub_10_a_message_is_acknowledged_when_it_is_kept_here() {
    let cloud = Cloud::start(&format!("{AWS}{IN}")).await;
    subscribed(&cloud, 1).await;
    let mut near = Ear::at(&cloud.here.broker, "ear", "in/#").await;
    for n in 0..30 {
        cloud.emulator.publish("cmd/x", n.to_string(), QoS::AtLeastOnce, false);
    }
    let began = tokio::time::Instant::now();
    let seen = |cloud: &Cloud| (cloud.emulator.observations().acks_received.total() >= 30).then_some(());
    cloud.until("acknowledged", 10 * SECOND, seen).await;
    assert!(began.elapsed() <= SECOND, "{:?}", began.elapsed());
    let heard = near.hear_all(30).await;
    assert_eq!(heard, (0..30).map(|n| ("in/cmd/x".to_owned(), n.to_string())).collect::<Vec<_>>());
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_ses_01_after_the_end_of_its_session_it_subscribes_again_and_loses_nothing_of_its_own() {
    let cloud = Cloud::start(&format!("{AWS}{OUT}{IN}")).await;
    subscribed(&cloud, 1).await;
    let mut near = Ear::at(&cloud.here.broker, "ear", "in/#").await;
    cloud.change(|scenario| scenario.drop_puback = 1000);
    for n in 0..10 {
        cloud.publish("a", n.to_string()).await;
    }
    cloud.delivered(10, 10 * SECOND).await;
    cloud.change(|scenario| {
        scenario.expire_session = true;
        scenario.drop_puback = 0;
    });
    cloud.emulator.cut_all();
    cloud.until_state("down", SECOND).await;
    cloud.up().await;
    cloud.change(|scenario| scenario.expire_session = false);
    subscribed(&cloud, 1).await;
    cloud.delivered(20, MINUTE).await;
    cloud.emulator.publish("cmd/x", "still", QoS::AtLeastOnce, false);
    cloud.pass(SECOND).await;
    assert_eq!(near.hear_all(1).await[0].1, "still");
    let seen = cloud.emulator.observations();
    let present: Vec<_> = seen.connects.iter().map(|connect| connect.session_present).collect();
    assert_eq!(present, [Some(false), Some(false)]);
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_ses_01_a_session_that_is_there_still_is_not_subscribed_again_and_brings_what_waited() {
    let cloud = Cloud::start(&format!("{AWS}{IN}")).await;
    subscribed(&cloud, 1).await;
    let mut near = Ear::at(&cloud.here.broker, "ear", "in/#").await;
    let asked = cloud.emulator.observations().subscribes;
    cloud.change(|scenario| scenario.outage = true);
    cloud.until_state("down", SECOND).await;
    cloud.emulator.publish("cmd/x", "meanwhile", QoS::AtLeastOnce, false);
    cloud.change(|scenario| scenario.outage = false);
    cloud.up().await;
    cloud.pass(SECOND).await;
    assert_eq!(near.hear_all(1).await[0].1, "meanwhile");
    assert_eq!(cloud.emulator.observations().subscribes, asked);
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_pub_15_sub_09_its_own_messages_do_not_come_back() {
    for lines in ["", "protocol = \"5.0\"\n"] {
        let both = "[[bridge.out]]\nfilter = \"t/#\"\n[[bridge.in]]\nfilter = \"t/#\"\n";
        let cloud = Cloud::start(&format!("{AWS}{lines}{both}")).await;
        subscribed(&cloud, 1).await;
        let mut near = Ear::at(&cloud.here.broker, "ear", "t/#").await;
        for n in 0..20 {
            cloud.publish("t/x", n.to_string()).await;
        }
        cloud.emulator.publish("t/x", "theirs", QoS::AtLeastOnce, false);
        cloud.pass(5 * SECOND).await;
        let heard = near.hear_all(21).await;
        assert_eq!(heard.iter().filter(|(_, payload)| payload == "theirs").count(), 1);
        near.hears_nothing("mine").await;
        assert_eq!(cloud.emulator.deliveries().iter().filter(|one| one.client_id == "shed").count(), 20);
        cloud.no_violations();
    }
}

/// What one connection sends while the one over which everything comes in is away waits there in its session.
#[tokio::test(start_paused = true)]
async fn aic_pub_15_ses_01_its_own_messages_that_waited_for_a_connection_do_not_come_back() {
    let both = "connections = 2\n[[bridge.out]]\nfilter = \"t/#\"\n[[bridge.in]]\nfilter = \"t/#\"\n";
    let cloud = Cloud::start(&format!("{AWS}{both}")).await;
    let is_subscribed = |cloud: &Cloud| {
        let session = cloud.emulator.session("shed-1")?;
        (session.subscriptions.len() == 1).then_some(())
    };
    cloud.until("a subscription", MINUTE, is_subscribed).await;
    cloud.pass(2 * SECOND).await;
    let mut near = Ear::at(&cloud.here.broker, "ear", "t/#").await;
    // Somebody else with the client id of the first connection.
    let mut other = Peer::open(&cloud.emulator, V3);
    other.send(Connect { clean_start: false, ..connect(V3, "shed-1") }).await;
    cloud.until_state("down", 5 * SECOND).await;
    for n in 0..20 {
        cloud.publish(&format!("t/{n}"), n.to_string()).await;
    }
    cloud.delivered(1, SECOND / 2).await;
    assert_eq!(cloud.view().await["connections"]["up"], 1);
    cloud.up().await;
    cloud.delivered(20, MINUTE).await;
    cloud.pass(10 * SECOND).await;
    near.hear_all(20).await;
    near.hears_nothing("mine").await;
    assert!(cloud.emulator.deliveries().iter().any(|one| one.client_id == "shed-2"));
}

#[tokio::test(start_paused = true)]
async fn aic_top_06_a_message_that_nobody_asked_for_does_no_harm() {
    let cloud = Cloud::start(&format!("{AWS}{IN}")).await;
    cloud.change(|scenario| scenario.unsolicited_reply = true);
    cloud.up().await;
    subscribed(&cloud, 1).await;
    cloud.pass(SECOND).await;
    assert_eq!(cloud.attempts().len(), 1);
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_pub_13_messages_that_come_twice_are_all_acknowledged() {
    let cloud = Cloud::start(&format!("{AWS}{IN}")).await;
    cloud.change(|scenario| (scenario.duplicate_new_id, scenario.reorder_messages) = (true, true));
    subscribed(&cloud, 1).await;
    let mut near = Ear::at(&cloud.here.broker, "ear", "in/#").await;
    for n in 0..20 {
        cloud.emulator.publish("cmd/x", n.to_string(), QoS::AtLeastOnce, false);
    }
    cloud.pass(10 * SECOND).await;
    let mut heard: Vec<u32> =
        near.hear_all(40).await.iter().map(|(_, payload)| payload.parse().unwrap()).collect();
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard, (0..20).collect::<Vec<_>>());
    assert_eq!(cloud.emulator.session("shed").unwrap().in_flight, 0);
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_pol_05_a_refused_subscription_is_named() {
    let policy =
        r#"{"Statement": [{"Effect": "Allow", "Action": ["iot:Connect", "iot:Publish"], "Resource": "*"}]}"#;
    let emulator = culex::aws_emulator::Emulator::builder()
        .policy(culex::aws_emulator::Policy::from_json(policy).unwrap())
        .build();
    let toml = format!("{AWS}protocol = \"5.0\"\n{IN}");
    let cloud = Cloud::with(&toml, emulator, culex_core::Broker::builder(), 3).await;
    cloud.up().await;
    cloud.pass(2 * SECOND).await;
    let view = cloud.view().await;
    assert_eq!(
        view["refused_subscriptions"][0].as_str().unwrap().split(':').next(),
        Some("cmd/#"),
        "{view:#}"
    );
}
