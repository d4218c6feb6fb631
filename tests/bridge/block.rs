//! Queues of bridges that make publishers wait (`when_full = "block"`).

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use culex::bridge::{Connector, Prepared};
use culex_core::{Broker, QoS};
use culex_tests::tools::has;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::kit::{Ear, Here, InMemory, PATIENCE, bridges_of, broker};

/// Messages that a queue holds.
const MOST: u64 = 20;
const OUT: &str = "[[bridge.out]]\nfilter = \"t/#\"\n";
const BOTH: &str = "[[bridge.out]]\nfilter = \"t/#\"\n[[bridge.in]]\nfilter = \"t/#\"\n";

fn bridge(name: &str, ways: &str) -> String {
    format!(
        "[[bridge]]\nname = \"{name}\"\naddress = \"there\"\nclient_id = \"bridge {name}\"\nreconnect_max = \"1s\"\n\
         notifications_local_only = true\n[bridge.queue]\nmax_messages = {MOST}\nwhen_full = \"block\"\n{ways}"
    )
}

/// `mosquitto_pub`, which publishes each line that it is given.
fn publisher(address: SocketAddr, topic: &str) -> Child {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command.args(["-q", "1", "-l", "-t", topic]).stdin(Stdio::piped()).spawn().unwrap()
}

async fn is_done(mut child: Child) {
    drop(child.stdin.take());
    let ended = async {
        loop {
            match child.try_wait().unwrap() {
                Some(status) => return status,
                None => sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let status = timeout(PATIENCE, ended).await.expect("it ends");
    assert!(status.success(), "{status}");
}

fn dropped(broker: &Broker) -> u64 {
    let names = ["dropped_queue_full", "dropped_queue_total", "dropped_aged"];
    names.map(|name| broker.metrics().get(name).unwrap()).iter().sum()
}

#[tokio::test]
async fn publishers_wait_out_an_outage_and_everything_arrives_in_order() {
    if !has("mosquitto_pub") {
        return;
    }
    const LINES: usize = 500;
    let here = Here::of(Broker::builder().listen(([127, 0, 0, 1], 0)).start().await.unwrap());
    let address = here.broker.local_addrs()[0];
    let there = broker().await;
    let way = InMemory::to(&there);
    here.run(&bridge("b", OUT), &way).await;
    here.until_up().await;
    let mut far = Ear::at(&there, "far", "t/#").await;
    way.set_open(false);
    here.until("down", |view| view["state"] == "down").await;

    let mut waiting = publisher(address, "t/1");
    let lines: String = (0..LINES).map(|line| format!("{line}\n")).collect();
    waiting.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    let full = here.until("full", |view| view["queue"]["publishers_wait"] == true).await;
    // What it may have on its way beside the queue.
    let queued = full["queue"]["messages"].as_u64().unwrap();
    assert!((MOST..=2 * MOST).contains(&queued), "{full}");
    // Others are not held up.
    let mut other = publisher(address, "free");
    other.stdin.as_mut().unwrap().write_all(b"1\n2\n").unwrap();
    is_done(other).await;
    assert_eq!(waiting.try_wait().unwrap(), None);
    assert_eq!(here.broker.metrics().get("publishers_waiting"), Some(1));

    way.set_open(true);
    let expected: Vec<_> = (0..LINES).map(|line| ("t/1".to_owned(), line.to_string())).collect();
    assert_eq!(far.hear_all(LINES).await, expected);
    is_done(waiting).await;
    let is_empty = |view: &Value| view["queue"]["messages"] == 0 && view["queue"]["publishers_wait"] == false;
    here.until("empty", is_empty).await;
    assert_eq!(dropped(&here.broker), 0);
}

/// Two bridges of one broker with the same topics, each over its way.
async fn two(here: &Here, ways: [&Arc<InMemory>; 2]) {
    let prepared = ["a", "b"].into_iter().zip(ways).map(|(name, way)| {
        let config = bridges_of(&bridge(name, BOTH)).remove(0);
        (config, Arc::clone(way) as Arc<dyn Connector>)
    });
    here.bridges.follow(Prepared::new(prepared)).await;
    until(here, |views| views.iter().all(|view| view["state"] == "up")).await;
}

async fn until(here: &Here, is_so: impl Fn(&[Value]) -> bool) {
    let looking = async {
        while !is_so(&here.bridges.list().await) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(PATIENCE, looking).await.is_err() {
        panic!("never: {:#?}", here.bridges.list().await);
    }
}

/// What a bridge brings in is not held up by the full queue of another one, so it goes on acknowledging and sending.
#[tokio::test]
async fn a_bridge_does_not_wait_for_the_queue_of_another() {
    let (here, left, right) = (Here::start().await, broker().await, broker().await);
    let ways = [&left, &right].map(InMemory::to);
    two(&here, [&ways[0], &ways[1]]).await;
    ways[0].set_open(false);
    until(&here, |views| views[0]["state"] == "down").await;
    let source = Ear::at(&right, "source", "none").await.client;
    for n in 0..10 * MOST {
        source.publish("t/in", n.to_string(), QoS::AtLeastOnce).await.unwrap();
    }
    until(&here, |views| views[1]["in"]["delivered"] == 10 * MOST).await;
    // It has no way to wait: what does not fit is dropped and counted.
    assert_eq!(dropped(&here.broker), 9 * MOST);
    // Who publishes here waits for the one queue; what is in the other goes out meanwhile.
    let (near, _inbox) = here.broker.client("near").await.unwrap();
    let mut published = JoinSet::new();
    published.spawn(async move { near.publish("t/near", "1", QoS::AtLeastOnce).await });
    until(&here, |views| views[0]["queue"]["publishers_wait"] == true && views[1]["queue"]["messages"] == 0)
        .await;
    let mut far = Ear::at(&left, "far", "t/near").await;
    ways[0].set_open(true);
    published.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(far.hear().await.topic, "t/near");
}

/// Each bridge brings in what the other one takes out, with queues that are full all the time.
#[tokio::test]
async fn two_bridges_in_a_ring_go_on() {
    const EACH: u64 = 300;
    let (here, left, right) = (Here::start().await, broker().await, broker().await);
    let ways = [&left, &right].map(InMemory::to);
    two(&here, [&ways[0], &ways[1]]).await;
    let mut publishers = JoinSet::new();
    for (name, broker) in [("left", &left), ("right", &right), ("here", &here.broker)] {
        let broker = broker.clone();
        publishers.spawn(async move {
            let (client, _inbox) = broker.client("source").await.unwrap();
            for n in 0..EACH {
                client.publish(&format!("t/{name}"), n.to_string(), QoS::AtLeastOnce).await.unwrap();
            }
        });
    }
    let all = async { while publishers.join_next().await.transpose().unwrap().is_some() {} };
    timeout(PATIENCE, all).await.expect("nobody waits for ever");
    let is_calm = |views: &[Value]| {
        views.iter().all(|view| view["queue"]["messages"] == 0 && view["queue"]["publishers_wait"] == false)
    };
    until(&here, is_calm).await;
    until(&here, |views| views.iter().all(|view| view["in"]["delivered"].as_u64() >= Some(EACH))).await;
}
