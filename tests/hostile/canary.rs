//! A client that does nothing wrong, beside others that do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use culex_tests::broker::Broker;
use culex_tests::client::Client;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish};

/// Sends a message of QoS 1 to itself, again and again.
pub(crate) struct Canary {
    client: Client,
    topic: String,
    next: u16,
    /// How long each took.
    times: Vec<Duration>,
}

impl Canary {
    pub(crate) fn new(address: SocketAddr, name: &str) -> Self {
        let mut client = connected(address, name);
        let topic = format!("canary/{name}");
        client.send(wire::subscribe(1, &[(&topic, 1)]));
        client.expect(&Received::SubAck(1, vec![1]));
        Self { client, topic, next: 1, times: Vec::new() }
    }

    /// One message there and back.
    pub(crate) fn sing(&mut self) {
        let begin = Instant::now();
        let id = self.next;
        self.next = self.next.checked_add(1).unwrap_or(1);
        self.client.patience(Duration::from_secs(30));
        self.client.send(Publish::new(&self.topic, id.to_string()).qos(1, id).encode());
        let (mut is_acknowledged, mut is_back) = (false, false);
        while !is_acknowledged || !is_back {
            match self.client.receive() {
                Received::PubAck(answered) if answered == id => is_acknowledged = true,
                Received::Publish(publish) if publish.payload == id.to_string().as_bytes() => {
                    self.client.send(wire::puback(publish.id.unwrap()));
                    is_back = true;
                }
                other => panic!("{other:?}"),
            }
        }
        self.times.push(begin.elapsed());
    }

    /// The time that 99 of 100 messages took at most.
    pub(crate) fn p99(mut self) -> Duration {
        self.times.sort();
        self.times[(self.times.len() - 1) * 99 / 100]
    }
}

/// Connected with a clean session.
pub(crate) fn connected(address: SocketAddr, name: &str) -> Client {
    let mut client = Client::open(address);
    client.send(Connect::new(name).encode());
    client.expect(&Received::ConnAck { session_present: false, code: 0 });
    client
}

#[test]
fn flooding_publisher_leaves_others_their_turn() {
    let broker = Broker::start_with_config("threads = 2\n");
    let is_over = AtomicBool::new(false);
    let mut canary = Canary::new(broker.addr, "canary");
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (broker, is_over) = (&broker, &is_over);
            scope.spawn(move || {
                let mut flood = connected(broker.addr, &format!("flood{n}"));
                let burst = Publish::new("flood", [0; 100]).encode().repeat(1000);
                while !is_over.load(Ordering::Relaxed) {
                    flood.send(&burst);
                }
            });
        }
        for _ in 0..200 {
            canary.sing();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let p99 = canary.p99();
    println!("p99 of the canary: {p99:?}");
    assert!(p99 < Duration::from_secs(5), "{p99:?}, ten times the figure");
}
