//! A service that is away while messages come: what waits for it is bounded, on the disk and in memory.

use std::fs;
use std::net::TcpListener;
use std::ops::Range;

use culex_tests::broker::Broker;
use culex_tests::client::{Client, Next};
use culex_tests::parse::Received;
use culex_tests::wire::{Connect, Publish};
use serde_json::Value;

use crate::program::{PATIENCE, broker, ctl, webhook};

const MESSAGES: usize = 100_000;
const TOGETHER: usize = 1000;
/// By then every queue is full, and the allocator has what it needs.
const WARM_UP: usize = 40_000;
const PAYLOAD_BYTES: usize = 200;
/// Of each lane.
const QUEUE_BYTES: u64 = 1 << 20;
const LANES: usize = 4;
/// The messages behind the warm-up alone have 12 MB.
const GROWTH_MAX: u64 = 8 << 20;

/// Memory of its own that a process has, in bytes.
fn resident(broker: &Broker) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Publishes these at QoS 1, and waits until all are acknowledged.
fn publish(client: &mut Client, numbers: Range<usize>) {
    for first in numbers.step_by(TOGETHER) {
        let message = |at: usize| {
            let id = u16::try_from(at + 1).unwrap();
            Publish::new(&format!("sensors/{}", (first + at) % 64), [b'x'; PAYLOAD_BYTES]).qos(1, id).encode()
        };
        client.send((0..TOGETHER).flat_map(message).collect::<Vec<_>>());
        for _ in 0..TOGETHER {
            assert!(matches!(client.next_within(PATIENCE), Next::Packet(Received::PubAck { .. })));
        }
    }
}

#[test]
fn a_hundred_thousand_messages_for_a_service_that_is_away_take_bounded_memory() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let limit = format!("concurrency = {LANES}\n[webhook.queue]\nmax_bytes = {QUEUE_BYTES}\n");
    let broker = broker(folder.path(), &webhook(&format!("http://{addr}/webhook"), &limit));
    let mut client = Client::open(broker.addr);
    client.patience(PATIENCE);
    client.send(Connect::new("publisher").encode());
    assert!(matches!(client.next_within(PATIENCE), Next::Packet(Received::ConnAck { .. })));
    publish(&mut client, 0..WARM_UP);
    let full = resident(&broker);
    publish(&mut client, WARM_UP..MESSAGES);
    let after = resident(&broker);
    let sessions: Value = serde_json::from_str(&ctl(folder.path(), &["--json", "sessions"])).unwrap();
    let waiting: Vec<u64> = sessions["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|session| session["client_id"].as_str().unwrap().starts_with("$culex/webhook/"))
        .map(|session| session["queue_bytes"].as_u64().unwrap())
        .collect();
    println!("resident: {full} bytes with full queues, {after} at the end; in the queues: {waiting:?}");
    assert_eq!(waiting.len(), LANES);
    assert!(waiting.iter().all(|bytes| (QUEUE_BYTES / 2..=QUEUE_BYTES).contains(bytes)), "{waiting:?}");
    assert!(after < full + GROWTH_MAX, "it has grown from {full} to {after} bytes");
}
