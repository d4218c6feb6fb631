//! What a session may want that others do not, while its client is here, while it is away, and after a restart before it
//! has come back.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "these functions are tests, though clippy sees functions"
)]

use culex_core::engine::store::Tables;
use culex_core::engine::{QueueLimits, SessionOptions, TopicPart};
use culex_core::limits::{Limit, Limits, WhenFull};
use culex_tests::wire::{self, Connect, Publish};
use culex_tests::world::{Peer, Store, World};

culex_tests::on_shards!(
    its_own_messages_do_not_come_back,
    retain_is_as_it_was_published,
    qos_0_waits_in_the_queue,
    a_qos_0_message_waits_for_a_store_without_room_if_it_is_queued,
    a_queue_has_limits_of_its_own,
    what_has_waited_too_long_is_dropped_when_its_turn_comes,
    what_has_waited_too_long_makes_room,
    what_is_in_flight_or_retained_does_not_age,
    sessions_with_the_same_filter_share_the_topics,
    options_are_those_of_the_last_connect,
    a_bridge_that_says_so_gets_neither_its_own_messages_nor_other_flags,
    options_end_with_their_session,
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
        for (_, batch) in std::mem::take(&mut self.world.batches) {
            self.tables.keep(&batch, self.world.wall());
        }
        let shards = u16::try_from(self.world.shards.len()).unwrap() + 1;
        self.world = self.world.restarted(shards, &limits(), self.tables.stored(), 1000);
    }

    fn connect(&mut self, connect: &Connect) -> Peer {
        let peer = self.world.connect(connect).expect("accepted");
        self.world.take_output(peer);
        peer
    }

    /// A persistent client of the host.
    fn host(&mut self, id: &str, options: SessionOptions) -> Peer {
        let peer = self.world.connect_wanting(&Connect::new(id).persistent(), options).expect("accepted");
        assert!(self.world.take_packets(peer).first().is_some_and(|first| first.starts_with("CONNACK")));
        peer
    }

    /// The same, and what came behind CONNACK.
    fn back(&mut self, id: &str, options: SessionOptions) -> Vec<String> {
        let peer = self.world.connect_wanting(&Connect::new(id).persistent(), options).expect("accepted");
        let mut packets = self.world.take_packets(peer);
        assert_eq!(packets.remove(0), "CONNACK Success session=true");
        packets
    }

    fn subscribed(&mut self, id: &str, filter: &str, qos: u8, options: SessionOptions) -> Peer {
        let peer = self.host(id, options);
        self.send(peer, &wire::subscribe(1, &[(filter, qos)]));
        peer
    }

    /// What comes of a packet.
    fn send(&mut self, peer: Peer, packet: &[u8]) -> Vec<String> {
        self.world.send(peer, packet);
        self.world.take_packets(peer)
    }

    /// Somebody publishes with QoS 1.
    fn publish(&mut self, topic: &str, payload: &str) {
        let publisher = self.connect(&Connect::new("publisher"));
        self.send(publisher, &Publish::new(topic, payload).qos(1, 1).encode());
        self.world.lose(publisher);
    }

    fn publish_qos0(&mut self, topic: &str, payload: &str) {
        let publisher = self.connect(&Connect::new("publisher"));
        self.send(publisher, &Publish::new(topic, payload).encode());
        self.world.lose(publisher);
    }
}

fn limits() -> Limits {
    Limits { in_flight: 2, ..Limits::default() }
}

fn none() -> SessionOptions {
    SessionOptions::default()
}

/// Topic and payload of PUBLISH packets.
fn messages(packets: &[String]) -> Vec<&str> {
    packets
        .iter()
        .map(|packet| packet.strip_prefix("PUBLISH ").unwrap().split(" q").next().unwrap())
        .collect()
}

fn its_own_messages_do_not_come_back(shards: u16) {
    let mut broker = Broker::new(shards);
    let options = SessionOptions { no_local: true, ..none() };
    let host = broker.subscribed("host", "#", 1, options);
    for qos in [0, 1, 2] {
        let packet = Publish { qos, id: (qos > 0).then_some(7), ..Publish::new("t", "own") };
        let answers = broker.send(host, &packet.encode());
        assert!(answers.iter().all(|packet| !packet.starts_with("PUBLISH")), "{answers:?}");
    }
    broker.publish("t", "of another");
    assert_eq!(broker.world.take_packets(host), ["PUBLISH t of another q1 id=1"]);
    // Nothing of its own is kept for it either.
    broker.restart();
    assert_eq!(broker.back("host", options), ["PUBLISH t of another q1 id=1"]);
}

fn retain_is_as_it_was_published(shards: u16) {
    let mut broker = Broker::new(shards);
    let options = SessionOptions { retain_as_published: true, ..none() };
    let host = broker.subscribed("host", "t", 1, options);
    let publisher = broker.connect(&Connect::new("publisher"));
    broker.send(publisher, &Publish::new("t", "1").retained().encode());
    broker.send(publisher, &Publish::new("t", "2").encode());
    assert_eq!(broker.world.take_packets(host), ["PUBLISH t 1 retain", "PUBLISH t 2"]);
    broker.restart();
    let publisher = broker.connect(&Connect::new("publisher"));
    broker.send(publisher, &Publish::new("t", "3").qos(1, 1).retained().encode());
    assert_eq!(broker.back("host", options), ["PUBLISH t 3 q1 id=1 retain"]);
}

fn qos_0_waits_in_the_queue(shards: u16) {
    let mut broker = Broker::new(shards);
    let options = SessionOptions { queue_qos0: true, ..none() };
    let host = broker.subscribed("host", "t/#", 0, options);
    broker.publish_qos0("t", "here");
    assert_eq!(broker.world.take_packets(host), ["PUBLISH t here q1 id=1"]);
    broker.send(host, &wire::puback(1));
    broker.world.lose(host);
    broker.publish_qos0("t/1", "away");
    broker.restart();
    broker.publish_qos0("t/2", "restarted");
    broker.restart();
    assert_eq!(broker.back("host", options), ["PUBLISH t/1 away q1 id=1", "PUBLISH t/2 restarted q1 id=2"]);
    // Retained Messages too.
    let publisher = broker.connect(&Connect::new("publisher"));
    broker.send(publisher, &Publish::new("r", "kept").retained().encode());
    let late = broker.subscribed("late", "none", 0, options);
    let packets = broker.send(late, &wire::subscribe(2, &[("r", 0)]));
    assert_eq!(packets, ["PUBLISH r kept q1 id=1 retain", "SUBACK 2 [0]"]);
}

fn a_qos_0_message_waits_for_a_store_without_room_if_it_is_queued(shards: u16) {
    use culex_core::engine::shard::StoreRoom;
    let mut broker = Broker::new(shards);
    let host = broker.subscribed("host", "t", 0, SessionOptions { queue_qos0: true, ..none() });
    broker.world.lose(host);
    let publisher = broker.connect(&Connect::new("publisher"));
    let messages = broker.world.sum(|stats| stats.queue_messages);
    broker.world.store_room(StoreRoom::Full);
    broker.send(publisher, &Publish::new("other", "1").encode());
    broker.send(publisher, &Publish::new("t", "1").encode());
    assert_eq!(broker.world.sum(|stats| stats.store_waits), 1);
    assert_eq!(broker.world.sum(|stats| stats.queue_messages), messages);
    broker.world.store_room(StoreRoom::Free);
    broker.world.run();
    assert_eq!(broker.world.sum(|stats| stats.queue_messages), messages + 1);
}

fn a_queue_has_limits_of_its_own(shards: u16) {
    let at_most = |n| Limit::at_most(n).unwrap();
    let own = |messages, bytes, when_full| SessionOptions {
        queue: Some(QueueLimits { messages: at_most(messages), bytes: at_most(bytes), when_full }),
        ..none()
    };
    for (options, expected) in [
        (own(2, 1000, WhenFull::DropNewest), ["t 1", "t 2"]),
        (own(2, 1000, WhenFull::DropOldest), ["t 3", "t 4"]),
        (own(9, 4, WhenFull::DropOldest), ["t 3", "t 4"]),
    ] {
        for is_restarted in [false, true] {
            let mut broker = Broker::new(shards);
            let host = broker.subscribed("host", "t", 1, options);
            broker.subscribed("other", "t", 1, none());
            broker.world.lose(host);
            if is_restarted {
                broker.restart();
            }
            for number in 1..=4 {
                broker.publish("t", &number.to_string());
            }
            assert_eq!(broker.world.sum(|stats| stats.dropped_queue_full), 2);
            assert_eq!(messages(&broker.back("host", options)), expected);
        }
    }
}

fn aging(max_age_ms: u64) -> SessionOptions {
    SessionOptions { max_age_ms: Some(max_age_ms), ..none() }
}

fn what_has_waited_too_long_is_dropped_when_its_turn_comes(shards: u16) {
    for is_restarted in [false, true] {
        let mut broker = Broker::new(shards);
        let host = broker.subscribed("host", "t", 1, aging(10_000));
        broker.world.lose(host);
        broker.publish("t", "old");
        broker.world.advance(5_000);
        broker.publish("t", "middle");
        // A restart takes a second.
        broker.world.advance(if is_restarted { 8_000 } else { 9_000 });
        if is_restarted {
            broker.restart();
        }
        broker.publish("t", "new");
        broker.world.advance(if is_restarted { 0 } else { 1_000 });
        assert_eq!(messages(&broker.back("host", aging(10_000))), ["t middle", "t new"], "{is_restarted}");
        assert_eq!(broker.world.sum(|stats| stats.dropped_aged), 1);
        assert_eq!(broker.world.sum(|stats| stats.queue_messages), 2);
        // It has gone from the store too.
        broker.restart();
        assert_eq!(broker.world.sum(|stats| stats.queue_messages), 2);
    }
}

fn what_has_waited_too_long_makes_room(shards: u16) {
    let queue = QueueLimits { messages: Limit::at_most(4).unwrap(), ..QueueLimits::from(&limits()) };
    let options = SessionOptions { queue: Some(queue), ..aging(10_000) };
    let mut broker = Broker::new(shards);
    let host = broker.subscribed("host", "t", 1, options);
    for number in 1..=5 {
        broker.publish("t", &number.to_string());
    }
    assert_eq!(broker.world.sum(|stats| stats.dropped_queue_full), 1, "5");
    assert_eq!(messages(&broker.world.take_packets(host)), ["t 1", "t 2"]);
    broker.world.advance(10_001);
    for number in 6..=7 {
        broker.publish("t", &number.to_string());
    }
    assert_eq!(broker.world.sum(|stats| stats.dropped_aged), 2, "3 and 4");
    assert_eq!(broker.world.sum(|stats| stats.dropped_queue_full), 1);
    let oldest = broker.world.shards.iter().find_map(|shard| shard.session_info("host")).unwrap().oldest_at;
    assert_eq!(oldest.map(|at| broker.world.wall().0 - at.0), Some(10_001), "1 is in flight");
    broker.send(host, &wire::puback(1));
    assert_eq!(messages(&broker.send(host, &wire::puback(2))), ["t 7"]);
}

fn what_is_in_flight_or_retained_does_not_age(shards: u16) {
    let mut broker = Broker::new(shards);
    let publisher = broker.connect(&Connect::new("publisher"));
    broker.send(publisher, &Publish::new("r", "retained").qos(1, 1).retained().encode());
    broker.world.advance(20_000);
    let host = broker.subscribed("host", "t", 1, aging(10_000));
    let packets = broker.send(host, &wire::subscribe(2, &[("r", 1)]));
    assert_eq!(packets, ["PUBLISH r retained q1 id=1 retain", "SUBACK 2 [1]"]);
    broker.publish("t", "sent");
    broker.world.advance(20_000);
    let expected = ["PUBLISH r retained q1 id=1 dup retain", "PUBLISH t sent q1 id=2 dup"];
    assert_eq!(broker.back("host", aging(10_000)), expected);
    assert_eq!(broker.world.sum(|stats| stats.dropped_aged), 0);
}

fn sessions_with_the_same_filter_share_the_topics(shards: u16) {
    const PARTS: u16 = 3;
    let options = |part| SessionOptions { part: TopicPart::new(part, PARTS, 1), ..none() };
    let topics: Vec<_> = (0..30).map(|number| format!("t/{number}")).collect();
    let mut broker = Broker::new(shards);
    for part in 0..PARTS {
        let host = broker.subscribed(&format!("host{part}"), "t/+", 1, options(part));
        // Another filter of its own changes nothing.
        broker.send(host, &wire::subscribe(2, &[("t/#", 0)]));
        broker.world.lose(host);
    }
    let whole = broker.subscribed("whole", "t/+", 1, none());
    broker.world.lose(whole);
    for (round, is_restarted) in [("a", false), ("b", true)] {
        if is_restarted {
            broker.restart();
        }
        for topic in &topics {
            broker.publish(topic, round);
        }
    }
    let all = |broker: &mut Broker, id: &str, options| {
        let peer = broker.host(id, options);
        broker.world.lose(peer);
        let peer = broker.world.connect_wanting(&Connect::new(id).persistent(), options).unwrap();
        let mut found = Vec::new();
        loop {
            let packets = broker.world.take_packets(peer);
            let packets: Vec<_> = packets.iter().filter(|packet| packet.starts_with("PUBLISH")).collect();
            if packets.is_empty() {
                return found;
            }
            for packet in packets {
                let id = packet.split("id=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
                found.extend(messages(std::slice::from_ref(packet)).into_iter().map(str::to_owned));
                broker.world.send(peer, &wire::puback(id));
            }
        }
    };
    let rounds = |topics: &[&String]| -> Vec<String> {
        ["a", "b"]
            .iter()
            .flat_map(|round| topics.iter().map(move |topic| format!("{topic} {round}")))
            .collect()
    };
    let mut seen = 0;
    for part in 0..PARTS {
        let own = TopicPart::new(part, PARTS, 1).unwrap();
        let has = |topic: &&String| own.has(culex_codec::TopicName::new(topic).unwrap());
        let expected: Vec<_> = topics.iter().filter(has).collect();
        assert!(!expected.is_empty());
        seen += expected.len();
        assert_eq!(all(&mut broker, &format!("host{part}"), options(part)), rounds(&expected), "{part}");
    }
    assert_eq!(seen, topics.len());
    assert_eq!(all(&mut broker, "whole", none()), rounds(&topics.iter().collect::<Vec<_>>()));
    // What is retained is shared too.
    let publisher = broker.connect(&Connect::new("publisher"));
    for topic in topics.iter().take(8) {
        broker.send(publisher, &Publish::new(&topic.replace('t', "r"), "kept").retained().encode());
    }
    let mut found = Vec::new();
    for part in 0..PARTS {
        let host = broker.host(&format!("host{part}"), options(part));
        let packets = broker.send(host, &wire::subscribe(3, &[("r/+", 0)]));
        found.extend(packets.into_iter().filter(|packet| packet.starts_with("PUBLISH")));
    }
    found.sort();
    assert_eq!(found, (0..8).map(|number| format!("PUBLISH r/{number} kept retain")).collect::<Vec<_>>());
}

fn options_are_those_of_the_last_connect(shards: u16) {
    let mut broker = Broker::new(shards);
    broker.subscribed("host", "t", 1, SessionOptions { no_local: true, ..none() });
    for (options, is_echoed) in [(none(), true), (SessionOptions { no_local: true, ..none() }, false)] {
        let host = broker.host("host", options);
        let answers = broker.send(host, &Publish::new("t", "own").qos(1, 9).encode());
        assert_eq!(answers.len(), 1 + usize::from(is_echoed), "{answers:?}");
        if is_echoed {
            broker.send(host, &wire::puback(1));
        }
        broker.restart();
    }
}

fn a_bridge_that_says_so_gets_neither_its_own_messages_nor_other_flags(shards: u16) {
    let mut broker = Broker::new(shards);
    for level in [0x83, 0x84] {
        let connect = if level == 0x83 { Connect::new("bridge").v31() } else { Connect::new("bridge") };
        let bridge = broker.connect(&Connect { level, ..connect });
        broker.send(bridge, &wire::subscribe(1, &[("#", 1)]));
        assert_eq!(broker.send(bridge, &Publish::new("t", "own").qos(1, 9).encode()), ["PUBACK 9"]);
        let publisher = broker.connect(&Connect::new("publisher"));
        broker.send(publisher, &Publish::new("t", "flag").retained().encode());
        assert_eq!(broker.world.take_packets(bridge), ["PUBLISH t flag retain"]);
        broker.send(publisher, &Publish::new("t", "").retained().encode());
    }
    let client = broker.connect(&Connect::new("client"));
    broker.send(client, &wire::subscribe(1, &[("#", 1)]));
    let answers = broker.send(client, &Publish::new("t", "own").qos(1, 9).retained().encode());
    assert!(answers.contains(&"PUBLISH t own q1 id=1".to_owned()), "{answers:?}");
}

fn options_end_with_their_session(shards: u16) {
    let mut broker = Broker::new(shards);
    let has_options = |broker: &Broker| format!("{:?}", broker.world.commons).contains("no_local: true");
    let bridge = broker.connect(&Connect { level: 0x84, ..Connect::new("bridge") });
    assert!(has_options(&broker));
    broker.world.lose(bridge);
    assert!(!has_options(&broker));
    let kept = broker.connect(&Connect { level: 0x84, ..Connect::new("bridge").persistent() });
    broker.world.lose(kept);
    assert!(has_options(&broker));
    broker.connect(&Connect::new("bridge"));
    assert!(!has_options(&broker), "a clean session has ended it");
}
