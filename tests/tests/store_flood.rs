//! `kill -9` under a flood: what was acknowledged into the queue of a session that is away is there when the broker comes back.
//!
//! `CULEX_CRASHES=20 cargo test -p culex-tests --test store_flood` does it more often, `CULEX_SEED=…` as it was.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "these functions are tests, though clippy sees functions"
)]

#[path = "support/chance.rs"]
mod chance;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use culex_tests::broker::Broker;
use culex_tests::client::{Client, Next};
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish};

use self::chance::Chance;

const CRASHES: usize = 3;
const PUBLISHERS: usize = 8;
/// Messages of a publisher that are not acknowledged.
const WINDOW: usize = 100;
/// A broker is killed after so many acknowledgements, or fewer.
const ACKNOWLEDGED_MAX: usize = 2000;
const TOPIC: &str = "flood";

#[test]
fn a_flood_into_a_queue_survives_kills() {
    let of = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let crashes = of("CULEX_CRASHES").unwrap_or(CRASHES);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = of("CULEX_SEED").unwrap_or(usize::try_from(clock.as_secs()).unwrap());
    println!("CULEX_SEED={seed}, {crashes} crashes in each mode");
    let mut chance = Chance::new(seed as u64);
    for durability in ["power", "kill"] {
        let folder = tempfile::tempdir().unwrap();
        let configuration = format!(
            "[store]\ndirectory = {:?}\ndurability = \"{durability}\"\n[limits]\nqueue_messages = \"unlimited\"\n",
            folder.path().join("state"),
        );
        let mut broker = Broker::start_with_config(&configuration);
        subscribe(broker.addr);
        let mut sum = 0;
        for round in 0..crashes {
            let acknowledged = flood(broker, round, 1 + chance.below(ACKNOWLEDGED_MAX));
            broker = Broker::start_with_config(&configuration);
            let kept = drain(broker.addr, round);
            for (publisher, count) in acknowledged.iter().enumerate() {
                for number in 0..*count {
                    let text = text(round, publisher, number);
                    assert!(kept.contains(&text), "{durability}: lost {text}");
                }
            }
            sum += acknowledged.iter().sum::<usize>();
        }
        println!("{durability}: {sum} acknowledged");
        assert!(sum >= crashes, "too little was acknowledged to mean anything");
    }
}

/// What a kill leaves of earlier rounds is told apart.
fn text(round: usize, publisher: usize, number: usize) -> String {
    format!("{round} {publisher} {number}")
}

fn connect(address: SocketAddr, connect: &Connect) -> Client {
    let mut client = Client::open(address);
    client.send(connect.encode());
    assert!(matches!(client.receive(), Received::ConnAck { code: 0, .. }));
    client
}

/// A session subscribes and leaves.
fn subscribe(address: SocketAddr) {
    let mut client = connect(address, &Connect::new("away").persistent());
    client.send(wire::subscribe(1, &[(TOPIC, 1)]));
    assert!(matches!(client.receive(), Received::SubAck { .. }));
    client.send(wire::frame(0xe0, &[]));
    client.expect_closed();
}

/// Publishes until so many messages are acknowledged, then kills the broker. Says how many each publisher was told were taken.
fn flood(broker: Broker, round: usize, wanted: usize) -> Vec<usize> {
    let name = |publisher| format!("publisher {publisher}");
    let clients: Vec<_> =
        (0..PUBLISHERS).map(|publisher| connect(broker.addr, &Connect::new(&name(publisher)))).collect();
    let sum = AtomicUsize::new(0);
    let (sender, is_enough) = channel();
    thread::scope(|scope| {
        let publish = |(publisher, client)| {
            let (sum, sender) = (&sum, sender.clone());
            scope
                .spawn(move || publish(client, |number| text(round, publisher, number), wanted, sum, &sender))
        };
        let threads: Vec<_> = clients.into_iter().enumerate().map(publish).collect();
        // So that it ends when all publishers have.
        drop(sender);
        is_enough.recv().unwrap();
        // Drop kills it with SIGKILL, in the middle of whatever it does.
        drop(broker);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn publish(
    mut client: Client,
    text: impl Fn(usize) -> String,
    wanted: usize,
    sum: &AtomicUsize,
    is_enough: &Sender<()>,
) -> usize {
    let (mut sent, mut acknowledged) = (0, 0);
    let id = |number: usize| u16::try_from(number % 60_000 + 1).unwrap();
    loop {
        let mut packets = Vec::new();
        while sent < acknowledged + WINDOW {
            packets.extend(Publish::new(TOPIC, text(sent)).qos(1, id(sent)).encode());
            sent += 1;
        }
        client.send(packets);
        match client.next_event() {
            Next::Packet(Received::PubAck(taken)) => assert_eq!(taken, id(acknowledged), "out of order"),
            Next::Closed => return acknowledged,
            other => panic!("{other:?} instead of PUBACK"),
        }
        acknowledged += 1;
        if sum.fetch_add(1, Ordering::Relaxed) + 1 == wanted {
            is_enough.send(()).unwrap();
        }
    }
}

/// The session comes back, takes all that waits, and leaves.
fn drain(address: SocketAddr, round: usize) -> BTreeSet<String> {
    let mut client = connect(address, &Connect::new("away").persistent());
    // Behind all that waits.
    let mut last = connect(address, &Connect::new("last"));
    let end = format!("{round} end");
    last.send(Publish::new(TOPIC, &end).qos(1, 1).encode());
    let mut kept = BTreeSet::new();
    loop {
        match client.receive() {
            Received::Publish(Publish { id: Some(id), payload, .. }) => {
                client.send(wire::puback(id));
                let text = String::from_utf8(payload).unwrap();
                if text == end {
                    break;
                }
                kept.insert(text);
            }
            other => panic!("{other:?} instead of a message"),
        }
    }
    client.send(wire::frame(0xe0, &[]));
    client.expect_closed();
    kept
}
