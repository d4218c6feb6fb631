//! `kill -9` of the real program under mixed traffic: what it had acknowledged is there when it comes back.
//!
//! `CULEX_CRASHES=200 cargo test -p culex-tests --test store_crash` does it more often.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "these functions are tests, though clippy sees functions"
)]

#[allow(dead_code, reason = "the clients are shared with another test")]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use culex_core::engine::store::Stored;
use culex_core::{Durability, SqliteStore, Store};
use culex_tests::broker::Broker;

use self::support::chance::Chance;
use self::support::network::Sockets;
use self::support::publisher::Publisher;
use self::support::subscriber::Subscriber;
use self::support::switch::Switch;

const CRASHES: u64 = 15;
/// Nothing here takes so long; it ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

struct Clients {
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    switch: Switch,
}

#[test]
fn a_killed_broker_has_everything_that_it_acknowledged() {
    let crashes = std::env::var("CULEX_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(CRASHES);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seed = std::env::var("CULEX_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(clock);
    println!("CULEX_SEED={seed}, {crashes} crashes");
    let mut chance = Chance::new(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut clients = Clients::new();
    clients.begin(&start(directory.path(), &mut chance));
    for _ in 0..crashes {
        let broker = start(directory.path(), &mut chance);
        let steps = 20 + chance.below(400);
        clients.work(&broker, &mut chance, steps);
        // Drop kills it with SIGKILL, in the middle of whatever it does.
        drop(broker);
        clients.look_at(&stored_in_a_copy(directory.path()));
    }
    clients.finish(&start(directory.path(), &mut chance));
    let sent: usize = clients.publishers.iter().map(|publisher| publisher.sent_with(|_| true).len()).sum();
    println!("{sent} messages");
    assert!(sent as u64 > crashes, "too little traffic to mean anything");
}

fn start(directory: &Path, chance: &mut Chance) -> Broker {
    let durability = ["power", "kill"][chance.below(2)];
    let configuration = format!(
        "threads = {}\n[store]\ndirectory = {:?}\ndurability = \"{durability}\"\n[limits]\nin_flight = {}\nqueue_memory_bytes = {}\n",
        1 + chance.below(3),
        directory.join("state"),
        1 + chance.below(5),
        // A message is about 10 bytes.
        [1, 100, 1 << 20][chance.below(3)],
    );
    Broker::start_with_config(&configuration)
}

/// What the next start will find; the files themselves stay as the kill left them.
fn stored_in_a_copy(directory: &Path) -> Stored {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(directory.join("state")).unwrap() {
        let file = file.unwrap();
        // The control socket lies there too.
        if !file.file_type().unwrap().is_file() {
            continue;
        }
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    SqliteStore::open(copy.path(), Durability::Kill).unwrap().load().unwrap()
}

impl Clients {
    fn new() -> Self {
        Self {
            publishers: vec![
                Publisher::new("p0", true, "t/0"),
                Publisher::new("p1", true, "t/1"),
                Publisher::new("p2", false, "t/2"),
                Publisher::new("p3", true, "r/3").retaining(1),
                Publisher::new("p4", true, "r/4").retaining(2),
            ],
            subscribers: [("exactly", 2), ("at least", 1)].map(|(id, qos)| Subscriber::new(id, qos)).into(),
            switch: Switch::new("switch"),
        }
    }

    /// From the first message on everybody is subscribed; then the broker is killed too.
    fn begin(&mut self, broker: &Broker) {
        let mut net = Sockets::new(broker.addr);
        for subscriber in &mut self.subscribers {
            subscriber.connect(&mut net);
            subscriber.subscribe(&mut net);
        }
        self.until(&mut net, |clients| clients.subscribers.iter().all(Subscriber::is_subscribed));
        self.forget();
    }

    fn work(&mut self, broker: &Broker, chance: &mut Chance, steps: usize) {
        let mut net = Sockets::new(broker.addr);
        for _ in 0..steps {
            match chance.below(24) {
                0..=15 => {
                    let publisher = chance.below(self.publishers.len());
                    let (qos, is_clear) = (1 + u8::from(chance.below(2) == 0), chance.below(3) == 0);
                    self.publishers[publisher].publish(&mut net, qos, is_clear);
                }
                16..=18 => {
                    // Also one that is connected: a take-over.
                    let publisher = chance.below(self.publishers.len());
                    self.publishers[publisher].connect(&mut net);
                }
                19 | 20 => {
                    let subscriber = chance.below(self.subscribers.len());
                    self.subscribers[subscriber].connect(&mut net);
                }
                21 => {
                    let subscriber = chance.below(self.subscribers.len());
                    self.subscribers[subscriber].lose(&mut net);
                }
                _ => self.switch.step(&mut net, chance),
            }
            for subscriber in &mut self.subscribers {
                subscriber.acknowledge(&mut net, chance.below(4));
            }
            self.read(&mut net);
            // The broker shares the machine with this loop.
            std::thread::yield_now();
        }
    }

    fn read(&mut self, net: &mut Sockets) {
        for publisher in &mut self.publishers {
            publisher.read(net);
        }
        for subscriber in &mut self.subscribers {
            subscriber.read(net);
        }
        self.switch.read(net);
    }

    fn until(&mut self, net: &mut Sockets, is_done: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_done(self) {
            self.read(net);
            assert!(began.elapsed() < PATIENCE, "{:?} {:?}", self.publishers, self.subscribers);
            std::thread::yield_now();
        }
    }

    fn forget(&mut self) {
        for publisher in &mut self.publishers {
            publisher.forget_connection();
        }
        for subscriber in &mut self.subscribers {
            subscriber.forget_connection();
        }
        self.switch.forget_connection();
    }

    /// What was deleted is deleted, and the last acknowledged retained message or a later one is there.
    fn look_at(&mut self, stored: &Stored) {
        let retained: BTreeMap<_, _> =
            stored.retained.iter().map(|(_, message)| (message.topic().as_str(), message)).collect();
        for publisher in &self.publishers {
            publisher.check_retained(retained.get(publisher.topic()).map(|message| &*message.payload));
        }
        let session = stored.sessions.iter().find(|session| &*session.client_id == self.switch.id());
        self.switch.check(session);
        self.switch.decide(session);
        self.forget();
    }

    /// Nobody is killed any more: everything arrives.
    fn finish(&mut self, broker: &Broker) {
        let mut net = Sockets::new(broker.addr);
        for publisher in &mut self.publishers {
            publisher.connect(&mut net);
        }
        for subscriber in &mut self.subscribers {
            subscriber.connect(&mut net);
        }
        let began = Instant::now();
        while !self.publishers.iter().all(Publisher::is_quiet)
            || !self.publishers.iter().all(|publisher| self.has_all(publisher))
        {
            self.read(&mut net);
            for subscriber in &mut self.subscribers {
                subscriber.acknowledge(&mut net, usize::MAX);
            }
            assert!(began.elapsed() < PATIENCE, "{:?} {:?}", self.publishers, self.subscribers);
            std::thread::yield_now();
        }
        for publisher in self.publishers.iter().filter(|publisher| publisher.topic().starts_with("t/")) {
            for subscriber in &self.subscribers {
                subscriber.check(publisher);
            }
        }
    }

    fn has_all(&self, publisher: &Publisher) -> bool {
        let sent = publisher.sent_with(|_| true);
        !publisher.topic().starts_with("t/")
            || self.subscribers.iter().all(|subscriber| subscriber.has(publisher.topic(), sent.len()))
    }
}
