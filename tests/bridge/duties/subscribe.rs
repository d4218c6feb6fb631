//! What a bridge receives.

use std::collections::BTreeSet;
use std::time::Duration;

use culex::aws_emulator::{Emulator, Fingerprint, Policy};
use culex_codec::Connect;
use culex_core::{Broker, QoS};

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
    let emulator = Emulator::builder().policy(Policy::from_json(policy).unwrap()).build();
    let toml = format!("{AWS}protocol = \"5.0\"\n{IN}");
    let cloud = Cloud::with(&toml, emulator, Broker::builder(), 3).await;
    cloud.up().await;
    cloud.pass(2 * SECOND).await;
    let view = cloud.view().await;
    assert_eq!(
        view["refused_subscriptions"][0].as_str().unwrap().split(':').next(),
        Some("cmd/#"),
        "{view:#}"
    );
}

fn may(actions: &str, filters: &str) -> Policy {
    let json = format!(
        r#"{{"Statement": [
            {{"Effect": "Allow", "Action": ["iot:Connect", "iot:Publish", "iot:Receive"], "Resource": "*"}},
            {{"Effect": "Allow", "Action": "{actions}", "Resource": "arn:aws:iot:local-1:123456789012:topicfilter/{filters}"}}
        ]}}"#
    );
    Policy::from_json(&json).unwrap()
}

/// In 3.1.1 the connection is closed for it, so every message on its way and every filter beside it looks like the reason.
#[tokio::test(start_paused = true)]
async fn aic_pol_05_a_filter_that_the_policy_forbids_is_found_and_everything_else_flows() {
    let filters = ["a", "cmd", "z"]
        .map(|name| format!("[[bridge.in]]\nfilter = \"{name}/#\"\nlocal_prefix = \"in/\"\n"));
    let emulator = Emulator::builder().policy(may("iot:Subscribe", "?/*")).build();
    let toml = format!("{AWS}{OUT}{}", filters.concat());
    let cloud = Cloud::with(&toml, emulator, Broker::builder(), 3).await;
    let mut near = Ear::at(&cloud.here.broker, "ear", "in/#").await;
    for n in 0..100 {
        cloud.publish(&format!("t/{}", n % 3), n.to_string()).await;
    }
    let everything = |cloud: &Cloud| {
        let arrived: BTreeSet<_> = cloud.arrived().into_iter().collect();
        (arrived.len() == 100).then_some(())
    };
    cloud.until("everything", MINUTE, everything).await;
    subscribed(&cloud, 2).await;
    assert_eq!(cloud.letters(), []);
    let view = cloud.view().await;
    let refused = view["refused_subscriptions"].as_array().unwrap();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0].as_str().unwrap().starts_with("cmd/#: the connection was closed instead of an answer"),
        "{refused:?}"
    );
    cloud.emulator.violations().are_exactly(&["AIC-POL-05"]).unwrap();
    assert_eq!(cloud.emulator.violations().count("AIC-POL-05"), 3);
    cloud.emulator.publish("z/1", "comes in", QoS::AtLeastOnce, false);
    cloud.pass(SECOND).await;
    assert_eq!(near.hear_all(1).await, [("in/z/1".to_owned(), "comes in".to_owned())]);

    // The policy is mended, and nobody tells us.
    cloud.emulator.registry(|registry| {
        registry.get_mut(&Fingerprint::named("first-client")).unwrap().policies =
            vec![may("iot:Subscribe", "*")];
    });
    cloud.pass(11 * MINUTE).await;
    subscribed(&cloud, 3).await;
    assert_eq!(cloud.view().await["refused_subscriptions"], serde_json::json!([]));
    // A connection has the policy that it began with.
    assert_eq!(cloud.emulator.violations().count("AIC-POL-05"), 4);
}

#[tokio::test(start_paused = true)]
async fn aic_pol_05_a_filter_that_stays_forbidden_is_asked_for_every_ten_minutes() {
    let emulator = Emulator::builder().policy(may("iot:Subscribe", "?/*")).build();
    let cloud = Cloud::with(&format!("{AWS}{OUT}{IN}"), emulator, Broker::builder(), 3).await;
    let refused =
        |times| move |cloud: &Cloud| (cloud.emulator.violations().count("AIC-POL-05") == times).then_some(());
    cloud.until("refused", MINUTE, refused(3)).await;
    cloud.up().await;
    cloud.pass(9 * MINUTE).await;
    assert_eq!(cloud.emulator.violations().count("AIC-POL-05"), 3);
    // Alone at once, so one close is enough.
    cloud.until("refused again", 5 * MINUTE, refused(4)).await;
    cloud.up().await;
    cloud.publish("t/x", "flows").await;
    cloud.delivered(1, SECOND).await;
    assert_eq!(cloud.letters(), []);
}

/// A filter that was suspect once is asked for before messages, but they do not wait for ever.
#[tokio::test(start_paused = true)]
async fn a_suspect_filter_without_suback_is_given_up_for_messages() {
    let cloud = Cloud::start(&format!("{AWS}{OUT}{IN}")).await;
    cloud.change(|scenario| scenario.drop_suback = true);
    cloud.up().await;
    cloud.pass(SECOND).await;
    cloud.emulator.cut_all();
    for n in 0..10 {
        cloud.publish("t/x", n.to_string()).await;
    }
    cloud.delivered(10, 5 * MINUTE).await;
    assert_eq!(cloud.letters(), []);
    let view = cloud.view().await;
    let refused = view["refused_subscriptions"][0].as_str().unwrap();
    assert!(refused.starts_with("cmd/#: there was no answer"), "{refused}");
    cloud.change(|scenario| scenario.drop_suback = false);
    cloud.pass(11 * MINUTE).await;
    assert_eq!(cloud.view().await["refused_subscriptions"], serde_json::json!([]));
    cloud.no_violations();
}
