//! What a broker has after a restart, case by case. The simulator with crashes looks for what nobody thought of.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "these functions are tests, though clippy sees functions"
)]

use culex_core::engine::keys::{BatchNumber, SessionId};
use culex_core::engine::store::{Record, StoreBatch, Stored, StoredSession, Tables};
use culex_core::engine::time::WallTime;
use culex_core::limits::{Limit, Limits};
use culex_tests::wire::{self, Connect, Publish, Will};
use culex_tests::world::{Peer, Store, World};

culex_tests::on_shards!(
    qos_2_in_flight_keeps_its_packet_identifier_and_phase,
    send_order_counts_on_over_restarts,
    a_qos_2_message_that_was_taken_is_not_taken_again,
    old_messages_come_before_new_ones,
    retained_messages_of_a_new_subscription_go_on_where_they_stopped,
    a_retained_message_may_be_queued_twice_and_ends_once_at_a_time,
    the_will_of_a_connection_that_ended_with_the_broker_is_published_once,
    the_will_of_a_connection_that_ended_before_is_not_published_again,
    a_session_that_ended_stays_ended,
    a_session_expires_by_the_time_that_the_broker_was_away,
    a_session_expires_however_often_the_broker_is_started_again,
    a_new_limit_is_for_sessions_of_before_too,
    a_clean_session_is_confirmed_when_the_one_before_it_cannot_come_back,
    clean_sessions_leave_nothing,
    limits_that_are_lower_now_drop_nothing,
);

/// A broker and what its store has.
struct Broker {
    world: World,
    tables: Tables,
}

impl Broker {
    fn new(shards: u16) -> Self {
        Self { world: World::new(shards, &limits(), Store::Open), tables: Tables::default() }
    }

    /// Stops at once and starts again, with one shard more.
    fn restart(&mut self) {
        self.restart_with(&limits());
    }

    fn restart_with(&mut self, limits: &Limits) {
        let stored = self.stored();
        let shards = u16::try_from(self.world.shards.len()).unwrap() + 1;
        self.world = self.world.restarted(shards, limits, stored, 1000);
    }

    fn stored(&mut self) -> Stored {
        for (_, batch) in std::mem::take(&mut self.world.batches) {
            self.tables.keep(&batch, self.world.wall());
        }
        self.tables.stored()
    }

    fn connect(&mut self, connect: &Connect) -> Peer {
        let peer = self.world.connect(connect).expect("accepted");
        self.world.take_output(peer);
        peer
    }

    fn persistent(&mut self, id: &str) -> Peer {
        self.connect(&Connect::new(id).persistent())
    }

    fn subscribed(&mut self, id: &str, filter: &str, qos: u8) -> Peer {
        let peer = self.persistent(id);
        self.send(peer, &wire::subscribe(1, &[(filter, qos)]));
        peer
    }

    /// Comes back, and says what came behind CONNACK.
    fn back(&mut self, id: &str) -> (Peer, Vec<String>) {
        let peer = self.world.connect(&Connect::new(id).persistent()).expect("accepted");
        let mut packets = self.world.take_packets(peer);
        assert_eq!(packets.remove(0), "CONNACK Success session=true");
        (peer, packets)
    }

    /// What comes of a packet.
    fn send(&mut self, peer: Peer, packet: &[u8]) -> Vec<String> {
        self.world.send(peer, packet);
        self.world.take_packets(peer)
    }

    fn publish(&mut self, publisher: Peer, qos: u8, numbers: impl IntoIterator<Item = u16>) {
        for number in numbers {
            self.send(publisher, &Publish::new("t", number.to_string()).qos(qos, number).encode());
        }
    }
}

fn limits() -> Limits {
    Limits { in_flight: 3, ..Limits::default() }
}

fn qos_2_in_flight_keeps_its_packet_identifier_and_phase(shards: u16) {
    let mut broker = Broker::new(shards);
    let reader = broker.subscribed("reader", "t", 2);
    let publisher = broker.connect(&Connect::new("publisher"));
    broker.publish(publisher, 2, 1..=4);
    broker.send(reader, &wire::pubrec(1));
    broker.send(reader, &wire::pubrec(3));
    for _ in 0..2 {
        broker.restart();
        let (_, packets) = broker.back("reader");
        assert_eq!(packets, ["PUBREL 1", "PUBLISH t 2 q2 id=2 dup", "PUBREL 3"]);
    }
    let (reader, _) = broker.back("reader");
    assert_eq!(broker.send(reader, &wire::pubcomp(1)), ["PUBLISH t 4 q2 id=4"]);
}

fn send_order_counts_on_over_restarts(shards: u16) {
    let mut broker = Broker::new(shards);
    let reader = broker.subscribed("reader", "t", 2);
    let publisher = broker.connect(&Connect::new("publisher"));
    for number in 1..=20 {
        broker.publish(publisher, 2, [number]);
        broker.send(publisher, &wire::pubrel(number));
        broker.send(reader, &wire::pubrec(number));
        broker.send(reader, &wire::pubcomp(number));
    }
    broker.publish(publisher, 2, [21]);
    broker.restart();
    let (_, packets) = broker.back("reader");
    assert_eq!(packets, ["PUBLISH t 21 q2 id=21 dup"]);
    let publisher = broker.connect(&Connect::new("publisher"));
    broker.publish(publisher, 2, [22]);
    broker.restart();
    // A counter that had begun again would have made the newer message the older one.
    let (_, packets) = broker.back("reader");
    assert_eq!(packets, ["PUBLISH t 21 q2 id=21 dup", "PUBLISH t 22 q2 id=22 dup"]);
}

fn a_qos_2_message_that_was_taken_is_not_taken_again(shards: u16) {
    let mut broker = Broker::new(shards);
    broker.subscribed("reader", "t", 1);
    let publisher = broker.persistent("publisher");
    broker.publish(publisher, 2, [1]);
    broker.restart();
    let again = Publish::new("t", "1").qos(2, 1).again().encode();
    let publisher = broker.persistent("publisher");
    assert_eq!(broker.send(publisher, &again), ["PUBREC 1"]);
    let (reader, packets) = broker.back("reader");
    assert_eq!(packets, ["PUBLISH t 1 q1 id=1"]);
    broker.send(reader, &wire::puback(1));
    broker.send(publisher, &wire::pubrel(1));
    broker.restart();
    // Released, so it means another message now.
    let publisher = broker.persistent("publisher");
    broker.send(publisher, &Publish::new("t", "2").qos(2, 1).encode());
    assert_eq!(broker.back("reader").1, ["PUBLISH t 2 q1 id=1"]);
}

fn old_messages_come_before_new_ones(shards: u16) {
    let mut broker = Broker::new(shards);
    let reader = broker.subscribed("reader", "t", 1);
    broker.world.lose(reader);
    for restart in 0..3 {
        let publisher = broker.connect(&Connect::new("publisher"));
        broker.publish(publisher, 1, (1..=10).map(|number| restart * 10 + number));
        broker.restart();
    }
    let (reader, packets) = broker.back("reader");
    let mut payloads: Vec<_> = packets;
    for id in 1..=30 {
        payloads.extend(broker.send(reader, &wire::puback(id)));
    }
    let payloads = payloads.iter().map(|packet| packet.split(' ').nth(2).unwrap().parse::<u16>().unwrap());
    assert!(payloads.eq(1..=30));
}

fn retained_messages_of_a_new_subscription_go_on_where_they_stopped(shards: u16) {
    let mut broker = Broker::new(shards);
    let publisher = broker.connect(&Connect::new("publisher"));
    for number in 0..9 {
        broker.send(publisher, &Publish::new(&format!("r/{number}"), "old").qos(2, 1).retained().encode());
        broker.send(publisher, &wire::pubrel(1));
    }
    let small = Limits { queue_messages: Limit::at_most(4).unwrap(), ..limits() };
    broker.restart_with(&small);
    // Four fill the queue, two of them are finished.
    let reader = broker.subscribed("reader", "r/#", 2);
    for id in [1, 2] {
        broker.send(reader, &wire::pubrec(id));
        broker.send(reader, &wire::pubcomp(id));
    }
    // A newer one comes live, here to a queue that is full, and does not come as an old one.
    let publisher = broker.connect(&Connect::new("publisher"));
    broker.send(publisher, &Publish::new("r/8", "new").qos(2, 1).retained().encode());
    broker.restart_with(&limits());
    let (reader, mut packets) = broker.back("reader");
    for id in 3..=20 {
        packets.extend(broker.send(reader, &wire::pubrec(id)));
        packets.extend(broker.send(reader, &wire::pubcomp(id)));
    }
    let published = packets.iter().filter(|packet| packet.starts_with("PUBLISH"));
    let mut topics: Vec<_> = published.map(|packet| packet.split(' ').nth(1).unwrap()).collect();
    topics.sort_unstable();
    assert_eq!(topics, ["r/2", "r/3", "r/4", "r/5", "r/6", "r/7"], "{packets:?}");
}

fn a_retained_message_may_be_queued_twice_and_ends_once_at_a_time(shards: u16) {
    let mut broker = Broker::new(shards);
    let publisher = broker.connect(&Connect::new("publisher"));
    broker.send(publisher, &Publish::new("t", "kept").qos(1, 1).retained().encode());
    let reader = broker.subscribed("reader", "t", 1);
    broker.send(reader, &wire::subscribe(2, &[("t", 1)]));
    broker.send(reader, &wire::puback(1));
    broker.restart();
    assert_eq!(broker.back("reader").1, ["PUBLISH t kept q1 id=1 retain"]);
}

fn the_will_of_a_connection_that_ended_with_the_broker_is_published_once(shards: u16) {
    let mut broker = Broker::new(shards);
    broker.subscribed("reader", "w", 1);
    broker.connect(&Connect::new("client").persistent().will(Will::new("w", "gone", 1).retained()));
    broker.restart();
    broker.restart();
    assert_eq!(broker.back("reader").1, ["PUBLISH w gone q1 id=1"]);
    assert_eq!(broker.stored().retained.len(), 1);
}

fn the_will_of_a_connection_that_ended_before_is_not_published_again(shards: u16) {
    let mut broker = Broker::new(shards);
    broker.subscribed("reader", "w", 1);
    let connect = Connect::new("client").persistent().will(Will::new("w", "gone", 1));
    let client = broker.connect(&connect);
    broker.world.lose(client);
    let client = broker.connect(&connect);
    broker.send(client, wire::DISCONNECT);
    broker.restart();
    assert_eq!(broker.back("reader").1, ["PUBLISH w gone q1 id=1"]);
}

fn a_session_that_ended_stays_ended(shards: u16) {
    let mut broker = Broker::new(shards);
    broker.subscribed("client", "t", 1);
    let publisher = broker.connect(&Connect::new("publisher"));
    broker.publish(publisher, 1, [1]);
    broker.connect(&Connect::new("client"));
    broker.restart();
    assert!(broker.stored().sessions.is_empty());
    let client = broker.world.connect(&Connect::new("client").persistent()).expect("accepted");
    assert_eq!(broker.world.take_packets(client), ["CONNACK Success session=false"]);
    assert_eq!(broker.world.commons.subscription_count(), 0);
}

/// 3.1.1 has sessions that end with their connection, and those that last for ever.
fn a_session_expires_by_the_time_that_the_broker_was_away(shards: u16) {
    let broker = Broker::new(shards);
    let session = |id: u64, left_at: Option<WallTime>| StoredSession {
        id: SessionId(id),
        client_id: format!("client {id}").into(),
        user_name: None,
        is_trusted: false,
        expiry_s: 100,
        options: Default::default(),
        will: None,
        left_at,
        subscriptions: Vec::new(),
        queue: Vec::new(),
        received: Vec::new(),
        incoming: Vec::new(),
    };
    let now = broker.world.wall().0;
    let at = |seconds_ago: u64| Some(WallTime(now - seconds_ago * 1000));
    // The clock was put back for the last one.
    let sessions = vec![session(1, at(90)), session(2, None), session(3, Some(WallTime(now + 50_000)))];
    let stored = Stored { sessions, alive_at: at(10), ..Stored::default() };
    let mut world = broker.world.restarted(shards, &limits(), stored, 5_000);
    for (wait_s, left) in [(4, 3), (1, 2), (79, 2), (1, 1), (15, 0)] {
        world.advance(wait_s * 1000);
        assert_eq!(world.commons.sessions_open(), left, "after {wait_s} s more");
    }
}

/// What `persistent_client_expiration` is in mosquitto.
fn a_new_limit_is_for_sessions_of_before_too(shards: u16) {
    let mut broker = Broker::new(shards);
    broker.subscribed("client", "t", 1);
    let shorter = Limits { session_expiry: Limit::at_most(100).unwrap(), ..limits() };
    for left in [1, 1, 0] {
        broker.restart_with(&shorter);
        broker.world.advance(40_000);
        assert_eq!(broker.world.commons.sessions_open(), left);
    }
    // Who is there does not expire, and who comes back begins anew.
    broker.subscribed("client", "t", 1);
    for _ in 0..3 {
        broker.world.advance(99_000);
        let (client, found) = broker.back("client");
        assert!(found.is_empty());
        broker.world.advance(1_000_000);
        broker.world.lose(client);
    }
    assert_eq!(broker.world.commons.sessions_open(), 1);
    broker.world.advance(100_000);
    assert_eq!((broker.world.commons.sessions_open(), broker.world.commons.subscription_count()), (0, 0));
}

/// Found by seed 2033 with crashes on commit 0706457.
fn a_session_expires_however_often_the_broker_is_started_again(shards: u16) {
    let mut broker = Broker::new(shards);
    let bound = Record::SessionBound {
        session: SessionId(1),
        client_id: "client".into(),
        user_name: None,
        is_trusted: false,
        expiry_s: 100,
        options: Default::default(),
        will: None,
    };
    let batch = StoreBatch { number: BatchNumber(1), records: vec![bound] };
    broker.tables.keep(&batch, broker.world.wall());
    for left in [1, 1, 0] {
        broker.restart();
        broker.world.advance(40_000);
        assert_eq!(broker.world.commons.sessions_open(), left);
        // The store knows that the broker lived.
        let publisher = broker.connect(&Connect::new("publisher"));
        broker.send(publisher, &Publish::new("t", "kept").qos(1, 1).retained().encode());
    }
}

/// Found by seed 25 with crashes on commit 7e13684.
fn a_clean_session_is_confirmed_when_the_one_before_it_cannot_come_back(shards: u16) {
    let mut world = World::new(shards, &limits(), Store::Held);
    let old = world.connect(&Connect::new("client").persistent()).expect("accepted");
    world.store_all();
    world.lose(old);
    // The first ends the old session, the second finds nothing.
    for _ in 0..2 {
        let clean = world.connect(&Connect::new("client")).expect("accepted");
        assert!(world.take_packets(clean).is_empty(), "the end of the old session is not kept yet");
        world.lose(clean);
    }
    let clean = world.connect(&Connect::new("client")).expect("accepted");
    world.store_all();
    assert_eq!(world.take_packets(clean), ["CONNACK Success session=false"]);
}

fn clean_sessions_leave_nothing(shards: u16) {
    let mut broker = Broker::new(shards);
    let reader = broker.connect(&Connect::new("reader").will(Will::new("w", "gone", 1)));
    broker.send(reader, &wire::subscribe(1, &[("t", 2)]));
    let publisher = broker.connect(&Connect::new("publisher"));
    broker.publish(publisher, 2, 1..=3);
    assert!(broker.world.batches.is_empty());
}

fn limits_that_are_lower_now_drop_nothing(shards: u16) {
    let mut broker = Broker::new(shards);
    let publisher = broker.connect(&Connect::new("publisher"));
    for reader in ["a", "b"] {
        let reader = broker.subscribed(reader, "t", 1);
        broker.world.lose(reader);
    }
    broker.publish(publisher, 1, 1..=3);
    let one = Limit::at_most(1).unwrap();
    broker.restart_with(&Limits { sessions: one, queue_messages: one, queue_total_bytes: one, ..limits() });
    assert_eq!(broker.world.sum(|stats| stats.queue_messages), 6);
    assert_eq!(broker.back("a").1.len(), 3);
    let refused = broker.world.connect(&Connect::new("c").persistent());
    assert!(refused.is_err(), "{refused:?}");
}
