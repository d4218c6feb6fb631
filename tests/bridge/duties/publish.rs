//! What a bridge sends.

use std::time::Duration;

use culex::aws_emulator::{Emulator, Policy};
use culex_core::client::Publication;
use culex_core::limits::{Limit, Limits};
use culex_core::{Broker, QoS};

use super::cloud::{AWS, Cloud, OUT};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn out(lines: &str) -> String {
    format!("{AWS}{lines}\n{OUT}")
}

fn numbers(cloud: &Cloud) -> Vec<u32> {
    cloud.arrived().iter().map(|(_, payload)| payload.parse().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn aic_pub_01_qos_2_is_sent_as_qos_1() {
    let cloud = Cloud::start(&out("")).await;
    cloud.near.publish("a", "x", QoS::ExactlyOnce).await.unwrap();
    cloud.delivered(1, 10 * SECOND).await;
    assert_eq!(cloud.emulator.deliveries()[0].qos, 1);
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_pub_03_05_top_01_what_aws_does_not_take_becomes_a_dead_letter_and_the_rest_flows() {
    let cloud = Cloud::start(&out("")).await;
    let long = "x".repeat(257);
    cloud.publish("big", vec![0; (128 << 10) + 1]).await;
    cloud.publish("1/2/3/4/5/6/7/8/9", "deep").await;
    cloud.publish(&long, "long").await;
    cloud.publish("just/right", vec![b'x'; 128 << 10]).await;
    cloud.publish("1/2/3/4/5/6/7/8", "fine").await;
    cloud.delivered(2, 10 * SECOND).await;
    cloud.pass(SECOND).await;
    let mut letters = cloud.letters();
    letters.sort();
    let expected = [("1/2/3/4/5/6/7/8/9", "8 slashes"), ("big", "131073 bytes"), (&*long, "257 bytes")];
    assert_eq!(letters.len(), expected.len(), "{letters:?}");
    for ((topic, reason), (expected, part)) in letters.iter().zip(expected) {
        assert!(topic == expected && reason.contains(part), "{topic}: {reason}");
    }
    let view = cloud.view().await;
    assert_eq!((&view["out"]["dead_lettered"], &view["queue"]["messages"]), (&3.into(), &0.into()), "{view}");
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_pol_06_ret_03_retain_is_cleared_unless_it_is_wanted() {
    for (line, is_retained) in [("", false), ("retain = true", true)] {
        let cloud = Cloud::start(&format!("{AWS}{OUT}{line}\n")).await;
        cloud.near.send(Publication::new("a", "x", QoS::AtLeastOnce).retained()).await.unwrap();
        cloud.delivered(1, 10 * SECOND).await;
        assert_eq!(cloud.emulator.deliveries()[0].retain, is_retained);
        cloud.no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn aic_top_02_basic_ingest_publishes_to_the_rule() {
    let lines = "[[bridge.out]]\nfilter = \"raw/#\"\nbasic_ingest = \"store\"\n";
    let cloud = Cloud::start(&format!("{AWS}{lines}")).await;
    cloud.publish("raw/1/2/3/4/5/6/7", "x").await;
    cloud.delivered(1, 10 * SECOND).await;
    assert_eq!(cloud.arrived()[0].0, "$aws/rules/store/raw/1/2/3/4/5/6/7");
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_ret_04_a_topic_gets_one_retained_message_a_second_and_all_of_them_in_order() {
    let cloud = Cloud::start(&out("").replace("filter = \"#\"", "filter = \"#\"\nretain = true")).await;
    cloud.up().await;
    for n in 0..10 {
        let publication = Publication::new("state", n.to_string(), QoS::AtLeastOnce);
        // One that is not retained keeps its place.
        cloud.near.send(if n == 5 { publication } else { publication.retained() }).await.unwrap();
        cloud.publish("other", n.to_string()).await;
    }
    let of = |topic: &str| {
        let arrived = cloud.emulator.deliveries();
        let arrived = arrived.iter().filter(|one| one.topic == topic);
        arrived.map(|one| (String::from_utf8(one.payload.to_vec()).unwrap(), one.at)).collect::<Vec<_>>()
    };
    cloud.delivered(11, 2 * SECOND).await;
    assert_eq!(of("other").len(), 10, "nothing else waits");
    cloud.delivered(20, 15 * SECOND).await;
    let state = of("state");
    let expected: Vec<_> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(state.iter().map(|(payload, _)| payload.clone()).collect::<Vec<_>>(), expected);
    assert!(state[9].1 - state[0].1 >= 8 * SECOND, "{state:?}");
    cloud.no_violations();
}

/// Three times as much as one connection may carry, for a minute.
#[tokio::test(start_paused = true)]
async fn aic_pub_06_08_09_quotas_are_kept_under_three_times_the_load_and_nothing_is_lost() {
    const QUEUE: u64 = 8000;
    let queue = format!("{OUT}[bridge.queue]\nmax_messages = {QUEUE}\n");
    let broker =
        Broker::builder().limits(Limits { queue_total_bytes: Limit::Unlimited, ..Limits::default() });
    let cloud = Cloud::with(&format!("{AWS}{queue}"), Emulator::builder().build(), broker, 1).await;
    cloud.up().await;
    let count = 3 * 95 * 20;
    let (mut longest, mut named_at) = (0, None);
    for n in 0..count {
        cloud.publish(&format!("a/{}", n % 7), n.to_string()).await;
        if n % 3 == 2 {
            cloud.pass(Duration::from_millis(10)).await;
        }
        if n % 500 == 0 {
            let view = cloud.view().await;
            let waiting = view["queue"]["messages"].as_u64().unwrap();
            longest = longest.max(waiting);
            if !view["advice"].is_null() {
                named_at.get_or_insert(waiting);
            }
        }
    }
    let view = cloud.view().await;
    assert!(longest > 1000, "the queue grows: {longest}");
    assert!(named_at.is_some_and(|waiting| waiting < QUEUE / 2), "too late: {named_at:?}");
    let metered = cloud.here.integrations.meter("bridge/aws").unwrap().load().unwrap();
    assert!(metered.offered_per_second > metered.carried_per_second_max.unwrap(), "{metered:?}");
    assert!(metered.queue_messages > 0 && metered.queue_bytes > 0, "{metered:?}");
    let advice = view["advice"].as_str().unwrap_or_default();
    assert!(advice.contains("connections = 3") || advice.contains("connections = 4"), "{view:#}");
    cloud.delivered(count, 5 * MINUTE).await;
    cloud.no_violations();
    let seen = cloud.emulator.observations();
    assert!(seen.peak_publishes_per_second <= 95, "{}", seen.peak_publishes_per_second);
    assert!(seen.peak_in_flight_in <= 50, "{}", seen.peak_in_flight_in);
    for topic in 0..7 {
        let expected: Vec<_> = (0..count).filter(|n| n % 7 == topic).map(|n| n.to_string()).collect();
        let arrived = cloud.arrived();
        let of_topic = arrived.iter().filter(|(name, _)| *name == format!("a/{topic}"));
        assert_eq!(of_topic.map(|(_, payload)| payload.clone()).collect::<Vec<_>>(), expected);
    }
    let view = cloud.view().await;
    assert_eq!((&view["queue"]["messages"], &view["out"]["dead_lettered"]), (&0.into(), &0.into()), "{view}");
}

#[tokio::test(start_paused = true)]
async fn aic_pub_08_no_second_has_more_bytes_than_allowed() {
    let cloud = Cloud::start(&out("")).await;
    for n in 0..30 {
        cloud.publish("a", vec![n; 100 << 10]).await;
    }
    cloud.delivered(30, MINUTE).await;
    let seen = cloud.emulator.observations();
    assert!(seen.peak_bytes_per_second <= 481 << 10, "{}", seen.peak_bytes_per_second);
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_pub_07_a_missing_puback_is_answered_by_the_same_packet_on_the_same_connection() {
    let cloud = Cloud::start(&out("")).await;
    cloud.up().await;
    cloud.change(|scenario| scenario.drop_puback = 1000);
    cloud.publish("a", "1").await;
    cloud.delivered(1, 10 * SECOND).await;
    cloud.delivered(2, MINUTE).await;
    cloud.change(|scenario| scenario.drop_puback = 0);
    cloud.delivered(3, MINUTE).await;
    cloud.pass(MINUTE).await;
    let sent = cloud.emulator.deliveries();
    let ids: Vec<_> = sent.iter().map(|one| (one.packet_id, one.dup)).collect();
    assert_eq!(ids, [(ids[0].0, false), (ids[0].0, true), (ids[0].0, true)]);
    let times: Vec<_> = sent.iter().map(|one| one.at).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 10 * SECOND), "{times:?}");
    assert_eq!(cloud.attempts().len(), 1, "the connection stays");
    let view = cloud.view().await;
    assert_eq!((&view["throttled"], &view["queue"]["messages"]), (&2.into(), &0.into()), "{view}");
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_pub_07_in_5_0_a_missing_puback_is_answered_by_another_connection() {
    let cloud = Cloud::start(&out("protocol = \"5.0\"")).await;
    cloud.up().await;
    cloud.change(|scenario| scenario.drop_puback = 1000);
    cloud.publish("a", "1").await;
    cloud.until("a second connection", MINUTE, |cloud| (cloud.attempts().len() >= 2).then_some(())).await;
    cloud.change(|scenario| scenario.drop_puback = 0);
    cloud.delivered(2, MINUTE).await;
    cloud.pass(MINUTE).await;
    let sent = cloud.emulator.deliveries();
    assert_eq!((sent.len(), sent[1].dup, sent[1].packet_id), (2, true, sent[0].packet_id));
    assert_eq!(cloud.attempts().len(), 2);
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_pub_07_a_throttled_connection_slows_down_and_loses_nothing() {
    let cloud = Cloud::start(&out("")).await;
    cloud.up().await;
    cloud.change(|scenario| scenario.throttle = Some(30));
    for n in 0..400 {
        cloud.publish("a", n.to_string()).await;
    }
    cloud
        .until("all", 60 * MINUTE, |cloud| {
            let mut arrived = numbers(cloud);
            arrived.sort_unstable();
            arrived.dedup();
            (arrived.len() == 400).then_some(())
        })
        .await;
    assert_eq!(cloud.attempts().len(), 1, "{:#}", cloud.view().await);
    assert!(cloud.letters().is_empty());
}

/// All that is in flight is late at nearly the same time: that is one reason to be slower, not one for each.
#[tokio::test(start_paused = true)]
async fn aic_pub_07_many_missing_pubacks_halve_the_rate_once() {
    let cloud = Cloud::start(&out("")).await;
    cloud.up().await;
    cloud.change(|scenario| scenario.drop_puback = 1000);
    for n in 0..50 {
        cloud.publish("a", n.to_string()).await;
    }
    cloud.delivered(50, 5 * SECOND).await;
    cloud.delivered(100, MINUTE).await;
    let sent = cloud.emulator.deliveries();
    let again: Vec<_> = sent.iter().filter(|one| one.dup).map(|one| one.at).collect();
    assert!(again[49] - again[0] <= 2 * SECOND, "{:?}", again[49] - again[0]);
    cloud.no_violations();
}

#[tokio::test(start_paused = true)]
async fn aic_pub_13_acknowledgements_may_come_in_any_order() {
    let cloud = Cloud::start(&out("")).await;
    cloud.change(|scenario| scenario.reorder_acks = true);
    for n in 0..100 {
        cloud.publish("a", n.to_string()).await;
    }
    cloud.delivered(100, MINUTE).await;
    cloud.pass(SECOND).await;
    assert_eq!(numbers(&cloud), (0..100).collect::<Vec<_>>());
    let view = cloud.view().await;
    assert_eq!((&view["in_flight"], &view["queue"]["messages"]), (&0.into(), &0.into()), "{view}");
    cloud.no_violations();
}

const ONLY_A: &str = r#"{"Statement": [
    {"Effect": "Allow", "Action": ["iot:Connect", "iot:Subscribe", "iot:Receive"], "Resource": "*"},
    {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:local-1:123456789012:topic/a/*"}
]}"#;

async fn with_policy(toml: &str) -> Cloud {
    let emulator = Emulator::builder().policy(Policy::from_json(ONLY_A).unwrap()).build();
    Cloud::with(toml, emulator, Broker::builder(), 3).await
}

#[tokio::test(start_paused = true)]
async fn aic_pol_04_a_message_that_the_policy_forbids_is_found_and_those_behind_it_flow() {
    let cloud = with_policy(&out("")).await;
    cloud.up().await;
    for n in 0..20 {
        cloud.publish(if n == 7 { "b/forbidden" } else { "a/x" }, n.to_string()).await;
    }
    cloud
        .until("the others", 10 * MINUTE, |cloud| {
            let mut arrived = numbers(cloud);
            arrived.sort_unstable();
            arrived.dedup();
            (arrived.len() == 19).then_some(())
        })
        .await;
    cloud.pass(SECOND).await;
    let letters = cloud.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].0, "b/forbidden");
    assert!(letters[0].1.contains("closed the connection 2 times"), "{}", letters[0].1);
    cloud.emulator.violations().are_exactly(&["AIC-POL-04"]).unwrap();
    assert!(cloud.emulator.violations().count("AIC-POL-04") <= 3);
    // And on: one more message does not wait for anything.
    cloud.publish("a/last", "99").await;
    cloud.until("the last", SECOND, |cloud| numbers(cloud).contains(&99).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn aic_pol_04_in_5_0_the_answer_says_it_and_the_connection_stays() {
    let cloud = with_policy(&out("protocol = \"5.0\"")).await;
    for n in 0..20 {
        cloud.publish(if n == 7 { "b/forbidden" } else { "a/x" }, n.to_string()).await;
    }
    cloud.delivered(19, MINUTE).await;
    cloud.pass(SECOND).await;
    let letters = cloud.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].1.contains("not authorized (0x87)"), "{}", letters[0].1);
    assert_eq!(cloud.attempts().len(), 1);
}
