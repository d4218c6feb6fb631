//! Crashes of a broker whose store answers late: random clients, restarts at any batch boundary, also with another number
//! of shards.
//!
//! What was not stored is lost, and sometimes something is stored that nobody was told of. Whatever happens: nothing that
//! was acknowledged is lost, QoS 2 comes exactly once, the messages of a publisher keep their order, and what was deleted
//! stays deleted.

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
use std::panic::{AssertUnwindSafe, catch_unwind};

use culex_core::engine::stats::Stats;
use culex_core::engine::store::{Stored, Tables};
use culex_core::limits::{Limit, Limits};
use culex_tests::world::{Store, World};

use self::support::chance::Chance;
use self::support::network::Local;
use self::support::publisher::Publisher;
use self::support::subscriber::Subscriber;
use self::support::switch::Switch;

const SEEDS: u64 = 300;
const STEPS: u32 = 250;
const SUBSCRIBERS: [(&str, u8); 3] = [("exactly", 2), ("at least", 1), ("both", 2)];

struct Run {
    chance: Chance,
    limits: Limits,
    net: Local,
    tables: Tables,
    /// Batches of this world that are in the tables, and those that its shards were told of.
    stored: usize,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    switch: Switch,
    crashes: u32,
    /// Reads of queued messages, in all worlds.
    reads: u64,
    /// The store reads before it has kept what comes first.
    reads_early: bool,
}

/// What came of a seed.
#[derive(Default)]
struct Outcome {
    crashes: u64,
    reads: u64,
}

/// `CULEX_SEED` replays one seed; `CULEX_SEEDS` sets how many are run.
#[test]
fn nothing_acknowledged_is_lost_by_crashes() {
    let number = |name| std::env::var(name).ok().and_then(|seed| seed.parse().ok());
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seeds = number("CULEX_SEEDS").unwrap_or(SEEDS);
    let (first, seeds) = number("CULEX_SEED").map_or((clock * 1_000_000, seeds), |seed| (seed, 1));
    let (mut crashes, mut reads, mut with_reads) = (0, 0, 0);
    for seed in first..first + seeds {
        let run = AssertUnwindSafe(|| Run::new(seed).run());
        let outcome = catch_unwind(run).unwrap_or_else(|_| panic!("run again with CULEX_SEED={seed}"));
        crashes += outcome.crashes;
        reads += outcome.reads;
        with_reads += u64::from(outcome.reads > 0);
    }
    println!("{seeds} seeds from {first}, {crashes} crashes, {reads} reads in {with_reads} seeds");
    assert!(crashes >= seeds, "too few crashes to mean anything");
    assert!(seeds == 1 || with_reads >= seeds / 2, "too few queues on disk to mean anything");
}

/// Shards forget bodies before they are stored, and rely on the order in which the store works.
#[test]
fn a_store_that_reads_too_early_is_found() {
    let is_found = |seed| {
        let run = Run { reads_early: true, ..Run::new(seed) };
        catch_unwind(AssertUnwindSafe(|| run.run())).is_err()
    };
    assert!((0..50).any(is_found), "messages were lost and nobody noticed");
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let shards = 1 + u16::try_from(chance.below(4)).unwrap();
        let mut limits =
            Limits { in_flight: 1 + u16::try_from(chance.below(5)).unwrap(), ..Limits::default() };
        // A message is about 8 bytes: mostly nothing or little stays in memory.
        if chance.below(5) > 0 {
            let memory = [1, 8, 30, 100][chance.below(4)];
            limits.queue_memory_bytes = Limit::at_most(memory).unwrap();
        }
        let publishers = vec![
            Publisher::new("p0", true, "t/0"),
            Publisher::new("p1", true, "t/1"),
            Publisher::new("p2", false, "t/2"),
            Publisher::new("p3", true, "r/3").retaining(1),
            Publisher::new("p4", true, "r/4").retaining(2),
        ];
        Self {
            net: Local::new(World::new(shards, &limits, Store::Held)),
            chance,
            limits,
            tables: Tables::default(),
            stored: 0,
            publishers,
            subscribers: SUBSCRIBERS.map(|(id, qos)| Subscriber::new(id, qos)).into(),
            switch: Switch::new("switch"),
            crashes: 0,
            reads: 0,
            reads_early: false,
        }
    }

    fn run(mut self) -> Outcome {
        // From the first message on everybody is subscribed.
        for number in 0..self.subscribers.len() {
            self.subscribers[number].connect(&mut self.net);
            self.keep_all();
            self.subscribers[number].subscribe(&mut self.net);
            self.keep_all();
            self.subscribers[number].read(&mut self.net);
            assert!(self.subscribers[number].is_subscribed());
        }
        for _ in 0..STEPS {
            self.step();
            self.read();
        }
        self.drain();
        Outcome { crashes: self.crashes.into(), reads: self.reads }
    }

    fn step(&mut self) {
        match self.chance.below(20) {
            0..=4 => {
                let publisher = self.chance.below(self.publishers.len());
                let qos = 1 + u8::try_from(self.chance.below(2)).unwrap();
                let is_clear = self.chance.below(3) == 0;
                self.publishers[publisher].publish(&mut self.net, qos, is_clear);
            }
            5..=7 => {
                let count = self.chance.below(4);
                self.keep(count, true);
            }
            8..=10 => {
                let (subscriber, count) = (self.chance.below(self.subscribers.len()), self.chance.below(4));
                self.subscribers[subscriber].acknowledge(&mut self.net, count);
            }
            11 => {
                let publisher = self.chance.below(self.publishers.len());
                self.publishers[publisher].lose(&mut self.net);
            }
            12 | 13 => {
                let publisher = self.chance.below(self.publishers.len());
                self.publishers[publisher].connect(&mut self.net);
            }
            14 => {
                let subscriber = self.chance.below(self.subscribers.len());
                self.subscribers[subscriber].lose(&mut self.net);
            }
            15 | 16 => {
                let subscriber = self.chance.below(self.subscribers.len());
                self.subscribers[subscriber].connect(&mut self.net);
            }
            17 => self.net.world.hold_mail(),
            18 => self.net.world.release_mail(),
            _ if self.chance.below(3) == 0 => self.crash(),
            _ => self.switch.step(&mut self.net, &mut self.chance),
        }
    }

    fn read(&mut self) {
        for publisher in &mut self.publishers {
            publisher.read(&mut self.net);
        }
        for subscriber in &mut self.subscribers {
            subscriber.read(&mut self.net);
        }
        self.switch.read(&mut self.net);
    }

    /// The store commits so many batches; whoever waits is told, if the crash does not come first.
    fn keep(&mut self, count: usize, is_told: bool) {
        for _ in 0..count {
            self.serve(is_told);
            let Some((shard, batch)) = self.net.world.batches.get(self.stored) else { return };
            let (shard, number) = (*shard, batch.number);
            self.tables.keep(batch, self.net.world.wall());
            self.stored += 1;
            if is_told {
                self.net.world.store_through(shard, number);
            }
        }
    }

    fn keep_all(&mut self) {
        while self.stored < self.net.world.batches.len() {
            self.keep(1, true);
        }
        self.serve(true);
    }

    /// What was to be read behind the batches that are stored comes back.
    fn serve(&mut self, is_told: bool) {
        if is_told {
            let stored = if self.reads_early { usize::MAX } else { self.stored };
            self.net.world.serve_fetches(stored, &self.tables);
        }
    }

    fn crash(&mut self) {
        self.read();
        let untold = self.chance.below(3);
        self.keep(untold, false);
        let stored = self.tables.stored();
        self.check_deletions(&stored);
        self.crashes += 1;
        self.reads += self.net.world.sum(|stats| stats.queue_reads);
        let shards = 1 + u16::try_from(self.chance.below(4)).unwrap();
        let stored = if self.chance.below(2) == 0 { stored } else { stored.without_bodies() };
        self.net = Local::new(self.net.world.restarted(shards, &self.limits, stored, 1000));
        self.stored = 0;
        for publisher in &mut self.publishers {
            publisher.forget_connection();
        }
        for subscriber in &mut self.subscribers {
            subscriber.forget_connection();
        }
        self.switch.forget_connection();
    }

    fn check_deletions(&mut self, stored: &Stored) {
        let retained = stored.retained.iter().map(|(_, message)| (message.topic().as_str(), message));
        let retained: BTreeMap<_, _> = retained.collect();
        for publisher in &self.publishers {
            let payload = retained.get(publisher.topic()).map(|message| &*message.payload);
            publisher.check_retained(payload);
        }
        let session = stored.sessions.iter().find(|session| &*session.client_id == self.switch.id());
        self.switch.check(session);
        self.switch.decide(session);
    }

    /// Nothing fails any more: everything arrives, and nothing stays behind.
    fn drain(&mut self) {
        self.net.world.release_mail();
        for _ in 0..1000 {
            for publisher in &mut self.publishers {
                publisher.connect_if_away(&mut self.net);
            }
            for subscriber in &mut self.subscribers {
                subscriber.connect_if_away(&mut self.net);
                subscriber.acknowledge(&mut self.net, usize::MAX);
            }
            self.keep_all();
            self.read();
        }
        for publisher in &self.publishers {
            assert!(publisher.is_quiet(), "{publisher:?}");
            for subscriber in self.subscribers.iter().filter(|_| publisher.topic().starts_with("t/")) {
                subscriber.check(publisher);
            }
        }
        let left = |stats: &Stats| {
            stats.queue_messages + stats.queue_bytes + stats.queue_memory_bytes + stats.queue_disk_messages
        };
        assert_eq!(self.net.world.sum(left), 0, "a number that was not taken back");
        self.crash();
        let stored = self.tables.stored();
        for session in stored.sessions {
            let left = (session.queue.len(), session.received.len(), session.incoming.len());
            assert_eq!(left, (0, 0, 0), "{session:?}");
        }
        self.crashes -= 1;
    }
}
