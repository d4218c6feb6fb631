//! Queues whose bodies only the store has, case by case. `store_random.rs` looks for what nobody thought of.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "these functions are tests, though clippy sees functions"
)]

use culex_core::engine::shard::{Event, Fetched};
use culex_core::engine::store::Tables;
use culex_core::limits::{Limit, Limits, WhenFull};
use culex_tests::wire::{self, Connect, Publish};
use culex_tests::world::{Peer, Store, World};

culex_tests::on_shards!(
    a_queue_of_an_absent_client_is_on_disk_and_comes_back_in_order,
    with_memory_nothing_is_read,
    a_message_that_comes_while_the_store_reads_stays_behind,
    a_client_that_is_away_when_the_answer_comes_gets_all_next_time,
    a_full_queue_drops_its_oldest_on_disk,
    what_cannot_be_read_is_dropped_and_told,
    what_cannot_be_read_again_in_flight_is_ended_too,
    a_session_that_ends_takes_its_numbers_along,
    a_session_that_ends_while_the_store_reads_gets_nothing,
    a_session_without_a_store_stays_in_memory,
);

/// A broker, and a store that has kept what it was given but reads when it is told to.
struct Broker {
    world: World,
    tables: Tables,
    publisher: Peer,
}

/// What the store has of a message.
#[derive(Clone, Copy)]
enum Disk {
    Good,
    /// Messages with this payload cannot be had.
    Without(&'static str),
}

impl Disk {
    fn lacks(self, payload: &[u8]) -> bool {
        matches!(self, Self::Without(missing) if missing.as_bytes() == payload)
    }
}

impl Broker {
    fn new(shards: u16, limits: &Limits) -> Self {
        let mut world = World::new(shards, limits, Store::Open);
        let publisher = world.connect(&Connect::new("publisher")).expect("accepted");
        world.take_output(publisher);
        Self { world, tables: Tables::default(), publisher }
    }

    fn send(&mut self, peer: Peer, packet: &[u8]) -> Vec<String> {
        self.world.send(peer, packet);
        self.world.take_packets(peer)
    }

    fn publish(&mut self, qos: u8, numbers: impl IntoIterator<Item = u16>) {
        for number in numbers {
            let publisher = self.publisher;
            self.send(publisher, &Publish::new("t", number.to_string()).qos(qos, number).encode());
        }
    }

    /// A client that has subscribed.
    fn subscriber(&mut self, qos: u8) -> Peer {
        let reader = self.world.connect(&Connect::new("reader").persistent()).expect("accepted");
        self.send(reader, &wire::subscribe(1, &[("t", qos)]));
        reader
    }

    /// The same, and it has left.
    fn absent_subscriber(&mut self, qos: u8) {
        let reader = self.subscriber(qos);
        self.world.lose(reader);
    }

    /// The client comes back. What comes behind CONNACK is in memory.
    fn back(&mut self) -> Peer {
        self.world.connect(&Connect::new("reader").persistent()).expect("accepted")
    }

    /// The store reads all that it was asked for, with what it is asked for meanwhile.
    fn read(&mut self, disk: Disk) {
        for (_, batch) in self.world.batches.drain(..) {
            self.tables.keep(&batch, culex_core::WallTime(0));
        }
        while let Some((_, shard, fetch)) = self.world.fetches.pop_front() {
            let tables = &self.tables;
            let fetched: Fetched = fetch.answered(|session, entry| {
                tables.read(session, entry).filter(|body| !disk.lacks(&body.payload))
            });
            self.world.fetched(shard, fetched);
        }
    }

    /// Reads and acknowledges QoS 1 until nothing comes any more; the payloads.
    fn drain(&mut self, reader: Peer) -> Vec<u16> {
        let mut payloads = Vec::new();
        loop {
            self.read(Disk::Good);
            let packets = self.world.take_packets(reader);
            if packets.is_empty() {
                return payloads;
            }
            for packet in packets.iter().filter(|packet| packet.starts_with("PUBLISH")) {
                let (payload, id) = publish(packet);
                payloads.push(payload);
                self.world.send(reader, &wire::puback(id));
            }
        }
    }

    fn on_disk(&self) -> u64 {
        self.world.sum(|stats| stats.queue_disk_messages)
    }

    fn check_empty(&self) {
        let numbers = self.world.sum(|stats| {
            stats.queue_messages + stats.queue_bytes + stats.queue_memory_bytes + stats.queue_disk_bytes
        });
        assert_eq!((numbers, self.on_disk()), (0, 0));
    }

    /// The store has forgotten what the queue has.
    fn check_store(&mut self) {
        self.read(Disk::Good);
        assert!(self.tables.stored().sessions.iter().all(|session| session.queue.is_empty()));
    }

    fn unreadable(&self) -> Vec<u64> {
        let dropped =
            |event: &Event| if let Event::Unreadable { dropped, .. } = event { Some(*dropped) } else { None };
        self.world.events.iter().filter_map(dropped).collect()
    }
}

/// Payload and Packet Identifier.
fn publish(packet: &str) -> (u16, u16) {
    let mut words = packet.split(' ').skip(2);
    let payload = words.next().and_then(|word| word.parse().ok());
    let id = words.find_map(|word| word.strip_prefix("id=")).and_then(|id| id.parse().ok());
    payload.zip(id).unwrap_or_else(|| panic!("{packet}"))
}

fn at_most(n: u64) -> Limit {
    Limit::at_most(n).expect("positive")
}

/// Four messages of three bytes are too many for absent clients, seven for all.
fn limits() -> Limits {
    Limits { in_flight: 3, queue_memory_bytes: at_most(20), ..Limits::default() }
}

fn a_queue_of_an_absent_client_is_on_disk_and_comes_back_in_order(shards: u16) {
    let mut broker = Broker::new(shards, &limits());
    broker.absent_subscriber(1);
    broker.publish(1, 10..=99);
    assert_eq!(broker.world.sum(|stats| stats.queue_messages), 90);
    assert_eq!(broker.on_disk(), 87);
    let reader = broker.back();
    broker.publish(1, 100..=150);
    let info = broker.world.shards.iter().find_map(|shard| shard.session_info("reader")).expect("there");
    assert_eq!((info.queue_messages, info.in_flight), (141, 3));
    assert!(info.queue_on_disk > 100 && info.queue_on_disk < 141, "{info:?}");
    assert_eq!(broker.drain(reader), (10..=150).collect::<Vec<_>>());
    assert!(broker.world.sum(|stats| stats.queue_reads) > 10);
    broker.check_empty();
}

fn with_memory_nothing_is_read(shards: u16) {
    let mut broker = Broker::new(shards, &Limits::default());
    broker.absent_subscriber(1);
    broker.publish(1, 10..=99);
    assert_eq!((broker.on_disk(), broker.world.sum(|stats| stats.queue_memory_bytes)), (0, 270));
    let reader = broker.back();
    assert!(broker.world.fetches.is_empty());
    broker.world.lose(reader);
    assert_eq!(broker.on_disk(), 0);
}

fn a_message_that_comes_while_the_store_reads_stays_behind(shards: u16) {
    let mut broker = Broker::new(shards, &limits());
    broker.absent_subscriber(1);
    broker.publish(1, 10..=19);
    let reader = broker.back();
    assert_eq!(broker.world.take_packets(reader).len(), 4, "three are in memory");
    assert_eq!(broker.world.fetches.len(), 1);
    for id in 1..=3 {
        assert_eq!(broker.send(reader, &wire::puback(id)), [] as [&str; 0]);
    }
    broker.publish(1, 20..=29);
    assert_eq!(broker.world.take_packets(reader), [] as [&str; 0]);
    assert_eq!(broker.world.fetches.len(), 1, "one read at a time");
    assert_eq!(broker.drain(reader), (13..=29).collect::<Vec<_>>());
    broker.check_empty();
}

fn a_client_that_is_away_when_the_answer_comes_gets_all_next_time(shards: u16) {
    let mut broker = Broker::new(shards, &Limits { queue_memory_bytes: at_most(1), ..limits() });
    broker.absent_subscriber(2);
    broker.publish(2, 10..=30);
    assert_eq!(broker.on_disk(), 21);
    let reader = broker.back();
    broker.read(Disk::Good);
    broker.send(reader, &wire::pubrec(1));
    assert_eq!(broker.send(reader, &wire::pubcomp(1)), ["PUBLISH t 13 q2 id=4"]);
    assert_eq!(broker.world.fetches.len(), 1);
    broker.world.lose(reader);
    assert_eq!((broker.on_disk(), broker.world.sum(|stats| stats.queue_memory_bytes)), (17, 12));
    broker.read(Disk::Good);
    assert_eq!((broker.on_disk(), broker.world.sum(|stats| stats.queue_memory_bytes)), (20, 0));
    let reader = broker.back();
    assert_eq!(broker.world.take_packets(reader), ["CONNACK Success session=true"]);
    broker.read(Disk::Good);
    let packets = broker.world.take_packets(reader);
    let expected = ["PUBLISH t 11 q2 id=2 dup", "PUBLISH t 12 q2 id=3 dup", "PUBLISH t 13 q2 id=4 dup"];
    assert_eq!(packets, expected);
}

fn a_full_queue_drops_its_oldest_on_disk(shards: u16) {
    let limits = Limits { queue_messages: at_most(10), when_full: WhenFull::DropOldest, ..limits() };
    let mut broker = Broker::new(shards, &limits);
    broker.absent_subscriber(1);
    broker.publish(1, 10..=19);
    let reader = broker.back();
    let asked = broker.world.fetches[0].clone();
    // 10 to 12 are in flight. Among those dropped is 13, which is asked for.
    broker.publish(1, 20..=23);
    assert_eq!(broker.world.fetches, [asked]);
    assert_eq!(broker.drain(reader), [10, 11, 12, 17, 18, 19, 20, 21, 22, 23]);
    assert_eq!(broker.world.sum(|stats| stats.dropped_queue_full), 4);
    assert_eq!(broker.unreadable(), [] as [u64; 0]);
    broker.check_empty();
}

fn what_cannot_be_read_is_dropped_and_told(shards: u16) {
    let mut broker = Broker::new(shards, &limits());
    broker.absent_subscriber(1);
    broker.publish(1, 10..=29);
    let reader = broker.back();
    broker.read(Disk::Without("13"));
    assert_eq!(broker.unreadable(), [1]);
    assert_eq!(broker.world.sum(|stats| stats.dropped_unreadable), 1);
    let expected: Vec<_> = (10..=29).filter(|number| *number != 13).collect();
    assert_eq!(broker.drain(reader), expected);
    broker.check_empty();
    broker.check_store();
}

fn what_cannot_be_read_again_in_flight_is_ended_too(shards: u16) {
    for qos in [1, 2] {
        let mut broker = Broker::new(shards, &limits());
        let reader = broker.subscriber(qos);
        broker.publish(qos, 10..=19);
        assert_eq!(broker.world.take_packets(reader).len(), 3);
        broker.world.lose(reader);
        assert_eq!(broker.on_disk(), 10);
        let reader = broker.back();
        broker.read(Disk::Without("11"));
        assert_eq!(broker.unreadable(), [1]);
        let packets = broker.world.take_packets(reader).split_off(1);
        if qos == 1 {
            let expected = ["PUBLISH t 10 q1 id=1 dup", "PUBLISH t 12 q1 id=3 dup", "PUBLISH t 13 q1 id=4"];
            assert_eq!(packets, expected);
            for id in [1, 3, 4] {
                broker.world.send(reader, &wire::puback(id));
            }
            assert_eq!(broker.drain(reader), (14..=19).collect::<Vec<_>>());
            broker.check_empty();
        } else {
            // The client may have it: its Packet Identifier is free when both say so.
            assert_eq!(packets, ["PUBLISH t 10 q2 id=1 dup", "PUBREL 2", "PUBLISH t 12 q2 id=3 dup"]);
            assert_eq!(broker.send(reader, &wire::pubcomp(2)), ["PUBLISH t 13 q2 id=4"]);
        }
    }
}

fn a_session_that_ends_takes_its_numbers_along(shards: u16) {
    let mut broker = Broker::new(shards, &limits());
    broker.absent_subscriber(1);
    broker.publish(1, 10..=99);
    broker.world.connect(&Connect::new("reader")).expect("accepted");
    assert_eq!(broker.world.sum(|stats| stats.dropped_session_ended), 90);
    broker.check_empty();
}

fn a_session_that_ends_while_the_store_reads_gets_nothing(shards: u16) {
    let mut broker = Broker::new(shards, &limits());
    broker.absent_subscriber(1);
    broker.publish(1, 10..=99);
    broker.back();
    assert_eq!(broker.world.fetches.len(), 1);
    let reader = broker.world.connect(&Connect::new("reader")).expect("accepted");
    broker.check_empty();
    let (_, shard, fetch) = broker.world.fetches.pop_front().expect("asked");
    broker.world.fetched(shard, fetch.answered(|_, _| None));
    assert_eq!(broker.world.take_packets(reader), ["CONNACK Success session=false"]);
    assert_eq!(broker.unreadable(), [] as [u64; 0]);
    broker.check_empty();
}

fn a_session_without_a_store_stays_in_memory(shards: u16) {
    let mut broker = Broker::new(shards, &limits());
    let reader = broker.world.connect(&Connect::new("reader")).expect("accepted");
    broker.send(reader, &wire::subscribe(1, &[("t", 1)]));
    broker.publish(1, 10..=99);
    assert_eq!((broker.on_disk(), broker.world.sum(|stats| stats.queue_memory_bytes)), (0, 270));
    assert_eq!(broker.drain(reader), (10..=99).collect::<Vec<_>>());
}
