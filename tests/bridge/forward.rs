//! Messages over a bridge between two brokers of ours, in one process.

use culex::integration::DeadLetter;
use culex_core::client::Publication;
use culex_core::{Cursor, QoS};
use tokio::time::timeout;

use crate::kit::{Ear, Here, InMemory, PATIENCE, broker};

const BRIDGE: &str = "[[bridge]]\nname = \"b\"\naddress = \"there\"\nnotifications_local_only = true\n";

/// A bridge with these lines behind its own.
fn toml(lines: &str) -> String {
    format!("{BRIDGE}{lines}\n")
}

const WAYS: &str = "
[[bridge.out]]
filter = \"sensors/#\"
local_prefix = \"shed/\"
remote_prefix = \"site1/\"
[[bridge.in]]
filter = \"cmd/#\"
remote_prefix = \"site1/\"
local_prefix = \"in/\"
";

#[tokio::test]
async fn messages_go_both_ways_and_change_their_topics() {
    let (here, there) = (Here::start().await, broker().await);
    here.run(&toml(WAYS), &InMemory::to(&there)).await;
    here.until_up().await;
    let (mut far, mut near) =
        (Ear::at(&there, "far", "#").await, Ear::at(&here.broker, "near", "in/#").await);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        near.client.publish("shed/sensors/1", "21.5", qos).await.unwrap();
        let heard = far.hear().await;
        assert_eq!((&*heard.topic, &heard.payload[..]), ("site1/sensors/1", &b"21.5"[..]));
        // The cap is 1.
        assert_eq!(heard.qos, qos.min(QoS::AtLeastOnce));
        far.client.publish("site1/cmd/lamp", "on", qos).await.unwrap();
        assert_eq!(far.hear().await.topic, "site1/cmd/lamp", "the far side hears itself");
        let heard = near.hear().await;
        assert_eq!((&*heard.topic, &heard.payload[..]), ("in/cmd/lamp", &b"on"[..]));
    }
    let view = here.view().await;
    assert_eq!((&view["out"]["delivered"], &view["in"]["delivered"]), (&3.into(), &3.into()), "{view}");
    near.client.publish("shed/other", "x", QoS::AtLeastOnce).await.unwrap();
    far.hears_nothing("mine").await;
}

#[tokio::test]
async fn what_is_published_during_an_outage_arrives_after_it_in_order() {
    let (here, there) = (Here::start().await, broker().await);
    let way = InMemory::to(&there);
    here.run(&toml(WAYS), &way).await;
    here.until_up().await;
    let mut far = Ear::at(&there, "far", "site1/sensors/#").await;
    let (near, _inbox) = here.broker.client("near").await.unwrap();
    way.set_open(false);
    for n in 0..500 {
        near.publish("shed/sensors/1", n.to_string(), QoS::AtLeastOnce).await.unwrap();
    }
    let view = here.until("down", |view| view["state"] == "down").await;
    assert!(view["queue"]["messages"].as_u64().unwrap() >= 490, "{view}");
    way.set_open(true);
    let heard = far.hear_all(500).await;
    let expected: Vec<_> = (0..500).map(|n| ("site1/sensors/1".to_owned(), n.to_string())).collect();
    assert_eq!(heard, expected);
    here.until("empty", |view| view["queue"]["messages"] == 0).await;
}

#[tokio::test]
async fn retained_messages_are_retained_on_the_other_side_unless_it_is_said() {
    let (here, there) = (Here::start().await, broker().await);
    let (near, _inbox) = here.broker.client("near").await.unwrap();
    let retained = |topic: &str| Publication::new(topic, "kept", QoS::AtLeastOnce).retained();
    near.send(retained("a/1")).await.unwrap();
    near.send(retained("b/1")).await.unwrap();
    let lines = "[[bridge.out]]\nfilter = \"a/#\"\n[[bridge.out]]\nfilter = \"b/#\"\nretain = false\n";
    let mut far = Ear::at(&there, "far", "#").await;
    here.run(&toml(lines), &InMemory::to(&there)).await;
    far.hear_all(2).await;
    near.send(retained("a/2")).await.unwrap();
    far.hear_all(1).await;
    let kept = there.admin().retained("#", Cursor::default(), 10).unwrap();
    let topics: Vec<_> = kept.items.iter().map(|item| &*item.topic).collect();
    assert_eq!(topics, ["a/1", "a/2"]);
}

/// A topic that goes both ways, to a broker of 3.1.1 that sends everything back.
#[tokio::test]
async fn nothing_goes_round_in_a_loop() {
    let (here, there) = (Here::start().await, broker().await);
    let both = "[[bridge.out]]\nfilter = \"t/#\"\n[[bridge.in]]\nfilter = \"t/#\"\n";
    here.run(&toml(both), &InMemory::to(&there)).await;
    here.until_up().await;
    // A bridge asks after what comes so often, by a topic beside.
    let (mut far, mut near) =
        (Ear::at(&there, "far", "t/same").await, Ear::at(&here.broker, "near", "t/same").await);
    for (ear, topic) in [(&far, "t/near"), (&far, "t/far"), (&near, "t/near"), (&near, "t/far")] {
        ear.client.subscribe(topic, QoS::ExactlyOnce).await.unwrap();
    }
    for n in 0..50 {
        near.client.publish("t/near", format!("near {n}"), QoS::AtLeastOnce).await.unwrap();
        far.client.publish("t/far", format!("far {n}"), QoS::AtLeastOnce).await.unwrap();
        // The very same from both sides.
        near.client.publish("t/same", "same", QoS::AtLeastOnce).await.unwrap();
    }
    for ear in [&mut far, &mut near] {
        let heard = ear.hear_all(150).await;
        for (beginning, expected) in [("near", 50), ("far", 50), ("same", 50)] {
            let count = heard.iter().filter(|(_, payload)| payload.starts_with(beginning)).count();
            assert_eq!(count, expected, "{beginning}");
        }
        ear.hears_nothing("mine").await;
    }
    here.until("idle", |view| view["in_flight"] == 0 && view["queue"]["messages"] == 0).await;
}

#[tokio::test]
async fn several_connections_keep_the_order_of_each_topic_and_make_no_loop() {
    let (here, there) = (Here::start().await, broker().await);
    let way = InMemory::to(&there);
    let both = "connections = 4\n[[bridge.out]]\nfilter = \"t/#\"\n[[bridge.in]]\nfilter = \"t/#\"\n";
    here.run(&toml(both), &way).await;
    here.until_up().await;
    let mut far = Ear::at(&there, "far", "t/#").await;
    let (near, _inbox) = here.broker.client("near").await.unwrap();
    for n in 0..300 {
        near.publish(&format!("t/{}", n % 10), n.to_string(), QoS::AtLeastOnce).await.unwrap();
        if n == 100 {
            way.set_open(false);
            here.until("down", |view| view["connections"]["up"] == 0).await;
            way.set_open(true);
        }
    }
    let mut last = [None; 10];
    let mut heard = 0;
    while heard < 300 {
        let message = far.hear().await;
        let n: usize = std::str::from_utf8(&message.payload).unwrap().parse().unwrap();
        let last = &mut last[n % 10];
        // After a lost connection what was not acknowledged comes again.
        if last.is_some_and(|last| n <= last) {
            continue;
        }
        assert_eq!(last.map_or(n % 10, |last| last + 10), n, "topic t/{}", n % 10);
        *last = Some(n);
        heard += 1;
    }
    let view = here.until("up", |view| view["connections"]["up"] == 4).await;
    assert_eq!(view["connections"]["wanted"], 4, "{view}");
    assert!(way.attempts.load(std::sync::atomic::Ordering::Relaxed) >= 8);
}

/// What any of them sends comes back over the first.
#[tokio::test]
async fn several_connections_bring_nothing_back() {
    let (here, there) = (Here::start().await, broker().await);
    let both = "connections = 4\n[[bridge.out]]\nfilter = \"t/#\"\n[[bridge.in]]\nfilter = \"t/#\"\n";
    here.run(&toml(both), &InMemory::to(&there)).await;
    here.until_up().await;
    let (mut far, mut near) =
        (Ear::at(&there, "far", "t/#").await, Ear::at(&here.broker, "near", "t/#").await);
    for n in 0..100 {
        near.client.publish(&format!("t/{}", n % 10), n.to_string(), QoS::AtLeastOnce).await.unwrap();
    }
    far.hear_all(100).await;
    far.client.publish("t/last", "last", QoS::AtLeastOnce).await.unwrap();
    let heard = near.hear_all(101).await;
    assert_eq!(heard.last().map(|(topic, _)| &**topic), Some("t/last"), "everything else came once");
    near.hears_nothing("mine").await;
}

#[tokio::test]
async fn with_fewer_connections_what_waits_in_all_sessions_goes_out() {
    let (here, there) = (Here::start().await, broker().await);
    let way = InMemory::to(&there);
    way.set_open(false);
    let with = |count: u16| toml(&format!("connections = {count}\n[[bridge.out]]\nfilter = \"t/#\"\n"));
    here.run(&with(4), &way).await;
    let (near, _inbox) = here.broker.client("near").await.unwrap();
    for n in 0..40 {
        near.publish(&format!("t/{}", n % 20), n.to_string(), QoS::AtLeastOnce).await.unwrap();
    }
    // At a reload, and while the broker is stopped.
    here.run(&with(2), &way).await;
    here.until("all of them", |view| view["queue"]["messages"] == 40).await;
    here.bridges.stop().await;
    let here = Here::of(here.broker);
    here.run(&with(1), &way).await;
    here.until("all of them", |view| view["queue"]["messages"] == 40).await;
    let mut far = Ear::at(&there, "far", "#").await;
    way.set_open(true);
    let mut heard: Vec<u32> =
        far.hear_all(40).await.iter().map(|(_, payload)| payload.parse().unwrap()).collect();
    heard.sort_unstable();
    assert_eq!(heard, (0..40).collect::<Vec<_>>());
    for index in 1..4 {
        let id = format!("$culex/bridge/b/{index}");
        while here.broker.admin().session(&id).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    }
    near.publish("t/1", "new", QoS::AtLeastOnce).await.unwrap();
    assert_eq!(far.hear().await.topic, "t/1");
    far.hears_nothing("mine").await;
}

#[tokio::test]
async fn what_waits_for_a_bridge_that_is_removed_while_the_broker_is_stopped_is_kept_and_does_not_grow() {
    let (here, there) = (Here::start().await, broker().await);
    let way = InMemory::to(&there);
    way.set_open(false);
    here.run(&toml("connections = 2\n[[bridge.out]]\nfilter = \"t/#\"\n"), &way).await;
    let (near, _inbox) = here.broker.client("near").await.unwrap();
    for n in 0..20 {
        near.publish(&format!("t/{n}"), "before", QoS::AtLeastOnce).await.unwrap();
    }
    here.bridges.stop().await;
    let here = Here::of(here.broker);
    here.run("", &way).await;
    for n in 0..20 {
        near.publish(&format!("t/{n}"), "meanwhile", QoS::AtLeastOnce).await.unwrap();
    }
    let sessions = here.broker.admin().sessions(Cursor::default(), 10).await.unwrap().items;
    let waiting = sessions.iter().filter(|session| session.client_id.starts_with("$culex/bridge/b"));
    assert_eq!(waiting.map(|session| session.queue_messages).sum::<u64>(), 20);
}

#[tokio::test]
async fn a_reload_adds_changes_and_removes_bridges() {
    let (here, there) = (Here::start().await, broker().await);
    let way = InMemory::to(&there);
    let mut far = Ear::at(&there, "far", "#").await;
    let (near, _inbox) = here.broker.client("near").await.unwrap();
    let one = "[[bridge.out]]\nfilter = \"a/#\"\n";
    here.run(&toml(one), &way).await;
    here.until_up().await;
    // The same again: its connection stays.
    here.run(&toml(one), &way).await;
    assert_eq!(way.attempts.load(std::sync::atomic::Ordering::Relaxed), 1);
    here.run(&toml("[[bridge.out]]\nfilter = \"b/#\"\nremote_prefix = \"x/\"\n"), &way).await;
    here.until_up().await;
    near.publish("a/1", "no more", QoS::AtLeastOnce).await.unwrap();
    near.publish("b/1", "1", QoS::AtLeastOnce).await.unwrap();
    assert_eq!(far.hear().await.topic, "x/b/1");
    here.until("empty", |view| view["queue"]["messages"] == 0).await;
    here.run("", &way).await;
    assert!(here.bridges.list().await.is_empty());
    near.publish("b/1", "2", QoS::AtLeastOnce).await.unwrap();
    far.hears_nothing("mine").await;
    assert_eq!(here.broker.admin().session("$culex/bridge/b").await.unwrap(), None, "nothing waits for it");
}

#[tokio::test]
async fn what_waits_for_a_bridge_that_is_removed_is_kept_for_its_return() {
    let (here, there) = (Here::start().await, broker().await);
    let way = InMemory::to(&there);
    way.set_open(false);
    let lines = toml("[[bridge.out]]\nfilter = \"a/#\"\n");
    here.run(&lines, &way).await;
    let (near, _inbox) = here.broker.client("near").await.unwrap();
    here.until("down", |view| view["state"] == "down").await;
    near.publish("a/1", "before", QoS::AtLeastOnce).await.unwrap();
    here.run("", &way).await;
    near.publish("a/1", "meanwhile", QoS::AtLeastOnce).await.unwrap();
    way.set_open(true);
    let mut far = Ear::at(&there, "far", "#").await;
    here.run(&lines, &way).await;
    assert_eq!(far.hear_all(1).await, [("a/1".to_owned(), "before".to_owned())]);
    far.hears_nothing("mine").await;
}

#[tokio::test]
async fn the_state_is_published_as_mosquitto_does() {
    let (here, there) = (Here::start().await, broker().await);
    let way = InMemory::to(&there);
    let mut near = Ear::at(&here.broker, "near", "$SYS/broker/connection/b/state").await;
    here.run(
        &toml("[[bridge.out]]\nfilter = \"a/#\"\n").replace("notifications_local_only = true\n", ""),
        &way,
    )
    .await;
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "1") {
        states.push(String::from_utf8(near.hear().await.payload.to_vec()).unwrap());
    }
    let name = nix_host_name();
    let remote = format!("$SYS/broker/connection/{name}.b/state");
    way.set_open(false);
    assert_eq!(&near.hear().await.payload[..], b"0");
    way.set_open(true);
    assert_eq!(&near.hear().await.payload[..], b"1");
    here.bridges.pause("b").await.unwrap();
    assert_eq!(&near.hear().await.payload[..], b"0");
    assert!(here.bridges.pause("c").await.is_err());
    here.bridges.resume("b").await.unwrap();
    assert_eq!(&near.hear().await.payload[..], b"1");
    // Our broker lets nobody publish below $SYS, and acknowledges it.
    assert!(there.admin().retained(&remote, Cursor::default(), 1).unwrap().items.is_empty());
}

fn nix_host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

/// Dead letters that are replayed go through the bridge's session like anything else, in their order.
#[tokio::test]
async fn a_bridge_takes_no_dead_letter_back() {
    let (here, there) = (Here::start().await, broker().await);
    here.run(&toml(WAYS), &InMemory::to(&there)).await;
    here.until_up().await;
    let handed = here.integrations.hand_back("bridge/b", DeadLetter::new("shed/sensors/1", "21.5"));
    assert_eq!(timeout(PATIENCE, handed).await.expect("it answers at once"), None);
}
