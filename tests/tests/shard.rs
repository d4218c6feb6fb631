//! The engine without sockets: what a raw connection cannot show, because it depends on when the store answers, on
//! the order of two connections inside the broker, or on a limit.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "these functions are tests, though clippy sees functions"
)]

use culex_core::engine::error::Refusal;
use culex_core::engine::shard::Event;
use culex_core::engine::store::{Record, RetainedChange};
use culex_core::limits::{Limit, Limits, WhenFull};
use culex_tests::wire::{self, Connect, Publish};
use culex_tests::world::{Peer, Store, World};

culex_tests::on_shards!(
    connack_of_a_stored_session_waits_for_the_store_and_so_do_the_bytes_behind_connect,
    clean_session_asks_nothing_of_the_store,
    acknowledgements_wait_for_the_store_and_keep_the_order_of_their_packets,
    a_publication_is_one_record_with_packet_id_recipients_and_retained_change,
    qos_2_to_a_stored_session_leaves_when_message_and_id_are_stored,
    pubcomp_waits_until_the_release_of_the_id_is_stored,
    a_repeated_pubrec_is_not_answered_before_the_first_is_stored,
    take_over_while_connack_is_held_answers_the_newest_only,
    a_slow_old_attempt_does_not_end_the_newer_connection,
    session_limit_refuses_the_new_and_evicts_nobody,
    a_connect_that_is_refused_for_the_session_limit_ends_nothing,
    full_queue_drops_by_policy_counts_and_tells_once_a_minute,
    queue_bytes_are_a_limit_of_their_own_but_one_message_always_fits,
    in_flight_window_bounds_what_is_sent_and_keeps_the_rest_in_order,
    subscriptions_beyond_a_limit_are_refused_and_the_others_granted,
    retained_limits_refuse_the_new_and_keep_the_old,
    retained_qos_0_without_room_removes_what_was_retained,
    retained_messages_of_a_large_subscription_come_once_each_and_live_ones_behind,
    messages_cross_shards_once_and_in_order,
    the_end_of_all_sessions_leaves_nothing_behind,
    keep_alive_counts_complete_packets_only_but_a_large_one_has_time_to_come,
);

fn open_world(shards: u16) -> World {
    World::new(shards, &Limits::default(), Store::Open)
}

fn connected(world: &mut World, connect: &Connect) -> Peer {
    let peer = world.connect(connect).expect("accepted");
    world.store_all();
    world.take_output(peer);
    peer
}

fn persistent(world: &mut World, id: &str) -> Peer {
    connected(world, &Connect::new(id).persistent())
}

fn clean(world: &mut World, id: &str) -> Peer {
    connected(world, &Connect::new(id))
}

fn subscribed(world: &mut World, peer: Peer, filter: &str, qos: u8) {
    world.send(peer, &wire::subscribe(1, &[(filter, qos)]));
    world.store_all();
    world.take_output(peer);
}

fn connack_of_a_stored_session_waits_for_the_store_and_so_do_the_bytes_behind_connect(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Held);
    let peer = world.connect(&Connect::new("a").persistent()).expect("accepted");
    world.send(peer, &[0xC0, 0]);
    assert_eq!(world.take_packets(peer), Vec::<String>::new());
    world.store_all();
    assert_eq!(world.take_packets(peer), ["CONNACK Success session=false", "PINGRESP"]);
}

fn clean_session_asks_nothing_of_the_store(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Held);
    let peer = world.connect(&Connect::new("a")).expect("accepted");
    world.send(peer, &wire::subscribe(1, &[("t", 2)]));
    world.send(peer, &Publish::new("t", "x").qos(1, 5).encode());
    assert_eq!(
        world.take_packets(peer),
        ["CONNACK Success session=false", "SUBACK 1 [2]", "PUBLISH t x q1 id=1", "PUBACK 5"]
    );
    assert!(world.batches.is_empty());
}

fn acknowledgements_wait_for_the_store_and_keep_the_order_of_their_packets(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Held);
    let keeper = persistent(&mut world, "keeper");
    subscribed(&mut world, keeper, "kept", 1);
    world.lose(keeper);
    let publisher = clean(&mut world, "publisher");
    world.send(publisher, &Publish::new("kept", "1").qos(1, 1).encode());
    let (shard, first) = world.batches.last().map(|(shard, batch)| (*shard, batch.number)).unwrap();
    world.send(publisher, &Publish::new("nobody", "2").qos(1, 2).encode());
    world.send(publisher, &Publish::new("kept", "3").qos(1, 3).encode());
    world.send(publisher, &[0xC0, 0]);
    assert_eq!(world.take_packets(publisher), ["PINGRESP"], "PINGRESP promises nothing");
    world.store_through(shard, first);
    assert_eq!(world.take_packets(publisher), ["PUBACK 1", "PUBACK 2"]);
    world.store_all();
    assert_eq!(world.take_packets(publisher), ["PUBACK 3"]);
}

fn a_publication_is_one_record_with_packet_id_recipients_and_retained_change(shards: u16) {
    let mut world = open_world(shards);
    for id in ["one", "two"] {
        let peer = persistent(&mut world, id);
        subscribed(&mut world, peer, "t", 2);
        world.lose(peer);
    }
    let publisher = persistent(&mut world, "publisher");
    world.batches.clear();
    world.send(publisher, &Publish::new("t", "x").qos(2, 9).retained().encode());
    let records: Vec<_> = world.batches.iter().flat_map(|(_, batch)| &batch.records).collect();
    let [Record::Published { incoming: Some((_, packet_id)), recipients, retained, .. }] = &records[..]
    else {
        panic!("{records:?}");
    };
    assert_eq!((packet_id.get(), recipients.len()), (9, 2));
    assert!(matches!(retained, RetainedChange::Set(_)));
}

fn qos_2_to_a_stored_session_leaves_when_message_and_id_are_stored(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Held);
    let receiver = persistent(&mut world, "receiver");
    subscribed(&mut world, receiver, "t", 2);
    let publisher = clean(&mut world, "publisher");
    world.send(publisher, &Publish::new("t", "x").qos(2, 1).encode());
    assert!(world.take_packets(receiver).is_empty());
    assert!(world.take_packets(publisher).is_empty());
    world.store_all();
    assert_eq!(world.take_packets(publisher), ["PUBREC 1"]);
    assert_eq!(world.take_packets(receiver), ["PUBLISH t x q2 id=1"]);
    world.send(receiver, &wire::pubrec(1));
    assert!(world.take_packets(receiver).is_empty(), "PUBREL before PUBREC is stored");
    world.store_all();
    assert_eq!(world.take_packets(receiver), ["PUBREL 1"]);
}

fn pubcomp_waits_until_the_release_of_the_id_is_stored(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Held);
    let publisher = persistent(&mut world, "publisher");
    world.send(publisher, &Publish::new("t", "x").qos(2, 1).encode());
    world.store_all();
    assert_eq!(world.take_packets(publisher), ["PUBREC 1"]);
    world.send(publisher, &wire::pubrel(1));
    assert!(world.take_packets(publisher).is_empty());
    world.store_all();
    assert_eq!(world.take_packets(publisher), ["PUBCOMP 1"]);
}

fn a_repeated_pubrec_is_not_answered_before_the_first_is_stored(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Held);
    let receiver = persistent(&mut world, "receiver");
    subscribed(&mut world, receiver, "t", 2);
    let publisher = clean(&mut world, "publisher");
    world.send(publisher, &Publish::new("t", "x").qos(2, 1).encode());
    world.store_all();
    world.store_all();
    world.take_output(receiver);
    world.send(receiver, &wire::pubrec(1));
    world.send(receiver, &wire::pubrec(1));
    assert!(world.take_packets(receiver).is_empty());
    world.store_all();
    assert_eq!(world.take_packets(receiver), ["PUBREL 1", "PUBREL 1"]);
}

fn take_over_while_connack_is_held_answers_the_newest_only(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Held);
    let old = world.connect(&Connect::new("a").persistent()).expect("accepted");
    let new = world.connect(&Connect::new("a").persistent()).expect("accepted");
    assert!(world.is_closed(old));
    world.store_all();
    assert!(world.take_packets(old).is_empty());
    assert_eq!(world.take_packets(new), ["CONNACK Success session=true"]);
}

fn a_slow_old_attempt_does_not_end_the_newer_connection(shards: u16) {
    let mut world = open_world(shards);
    let slow = world.accept();
    let newer = clean(&mut world, "a");
    let refused = world.connect_accepted(&Connect::new("a"), slow);
    assert_eq!(refused, Err(Refusal::Superseded));
    world.send(newer, &[0xC0, 0]);
    assert_eq!(world.take_packets(newer), ["PINGRESP"]);
}

fn session_limit_refuses_the_new_and_evicts_nobody(shards: u16) {
    let limits = Limits { sessions: Limit::at_most(2).unwrap(), ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    for id in ["a", "b"] {
        let peer = persistent(&mut world, id);
        world.lose(peer);
    }
    assert_eq!(world.connect(&Connect::new("c").persistent()), Err(Refusal::TooManySessions));
    let clean_one = clean(&mut world, "d");
    assert!(!world.is_closed(clean_one), "a clean session takes no room");
    let back = world.connect(&Connect::new("a").persistent()).expect("resumed");
    assert_eq!(world.take_packets(back), ["CONNACK Success session=true"]);
    world.lose(back);
    clean(&mut world, "a");
    world.connect(&Connect::new("c").persistent()).expect("a clean start has made room");
}

/// The simulator's seed 54667.
fn a_connect_that_is_refused_for_the_session_limit_ends_nothing(shards: u16) {
    let limits = Limits { sessions: Limit::at_most(1).unwrap(), ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    persistent(&mut world, "other");
    let live = clean(&mut world, "a");
    subscribed(&mut world, live, "t", 0);
    assert_eq!(world.connect(&Connect::new("a").persistent()), Err(Refusal::TooManySessions));
    assert!(!world.is_closed(live));
    world.send(live, &Publish::new("t", "x").encode());
    assert_eq!(world.take_packets(live), ["PUBLISH t x"]);
    assert_eq!(world.commons.sessions_open(), 1);
}

fn offline_queue(shards: u16, limits: &Limits, messages: u16) -> (World, Vec<String>) {
    let mut world = World::new(shards, limits, Store::Open);
    let receiver = persistent(&mut world, "receiver");
    subscribed(&mut world, receiver, "t", 1);
    world.lose(receiver);
    let publisher = clean(&mut world, "publisher");
    for number in 1..=messages {
        world.send(publisher, &Publish::new("t", number.to_string()).qos(1, number).encode());
    }
    let back = world.connect(&Connect::new("receiver").persistent()).expect("resumed");
    let packets = world.take_packets(back);
    (world, packets)
}

fn full_queue_drops_by_policy_counts_and_tells_once_a_minute(shards: u16) {
    let at_most = |n| Limit::at_most(n).unwrap();
    for (when_full, kept) in [(WhenFull::DropNewest, [1, 2, 3]), (WhenFull::DropOldest, [8, 9, 10])] {
        let limits = Limits { queue_messages: at_most(3), when_full, ..Limits::default() };
        let (world, packets) = offline_queue(shards, &limits, 10);
        let expected: Vec<_> =
            kept.iter().zip(1..).map(|(text, id)| format!("PUBLISH t {text} q1 id={id}")).collect();
        assert_eq!(packets[1..], expected, "{when_full:?}");
        assert_eq!(world.sum(|stats| stats.dropped_queue_full), 7);
        assert_eq!(world.sum(|stats| stats.queue_messages), 3);
        let told = world.events.iter().filter(|event| matches!(event, Event::Dropped { .. })).count();
        assert_eq!(told, 1);
        let done = world
            .batches
            .iter()
            .flat_map(|(_, batch)| &batch.records)
            .filter(|record| matches!(record, Record::Done { .. }))
            .count();
        assert_eq!(done, 7, "every dropped message ends in the store too");
    }
}

fn queue_bytes_are_a_limit_of_their_own_but_one_message_always_fits(shards: u16) {
    let limits = Limits { queue_bytes: Limit::at_most(2).unwrap(), ..Limits::default() };
    let (world, packets) = offline_queue(shards, &limits, 3);
    assert_eq!(packets[1..], ["PUBLISH t 1 q1 id=1"]);
    assert_eq!(world.sum(|stats| stats.dropped_queue_full), 2);
}

fn in_flight_window_bounds_what_is_sent_and_keeps_the_rest_in_order(shards: u16) {
    let limits = Limits { in_flight: 2, ..Limits::default() };
    let (mut world, packets) = offline_queue(shards, &limits, 4);
    assert_eq!(packets[1..], ["PUBLISH t 1 q1 id=1", "PUBLISH t 2 q1 id=2"]);
    let back = world.connect(&Connect::new("receiver").persistent()).expect("taken over");
    assert_eq!(
        world.take_packets(back)[1..],
        ["PUBLISH t 1 q1 id=1 dup", "PUBLISH t 2 q1 id=2 dup"],
        "[MQTT-4.4.0-1]"
    );
    world.send(back, &wire::puback(1));
    assert_eq!(world.take_packets(back), ["PUBLISH t 3 q1 id=3"]);
}

fn subscriptions_beyond_a_limit_are_refused_and_the_others_granted(shards: u16) {
    let limits = Limits {
        subscriptions_per_session: Limit::at_most(2).unwrap(),
        topic_levels: Limit::at_most(3).unwrap(),
        ..Limits::default()
    };
    let mut world = World::new(shards, &limits, Store::Open);
    let peer = clean(&mut world, "a");
    world.send(peer, &wire::subscribe(7, &[("a", 0), ("a/b/c/d", 1), ("b", 1), ("c", 2), ("a", 2)]));
    assert_eq!(world.take_packets(peer), ["SUBACK 7 [0, 128, 1, 128, 2]"]);
    assert_eq!(world.commons.subscription_count(), 2);
}

fn retained_limits_refuse_the_new_and_keep_the_old(shards: u16) {
    let limits = Limits { retained_messages: Limit::at_most(1).unwrap(), ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    let publisher = clean(&mut world, "publisher");
    world.send(publisher, &Publish::new("a", "kept").retained().encode());
    world.send(publisher, &Publish::new("b", "refused").retained().encode());
    world.send(publisher, &wire::subscribe(1, &[("#", 0)]));
    assert_eq!(world.take_packets(publisher), ["SUBACK 1 [0]", "PUBLISH a kept retain"]);
    assert_eq!(world.sum(|stats| stats.retained_refused), 1);
}

fn retained_qos_0_without_room_removes_what_was_retained(shards: u16) {
    let limits = Limits { retained_bytes: Limit::at_most(400).unwrap(), ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    let publisher = clean(&mut world, "publisher");
    let large = "x".repeat(500);
    for topic in ["0", "1"] {
        world.send(publisher, &Publish::new(topic, "old").retained().encode());
    }
    world.send(publisher, &Publish::new("0", &large).retained().encode());
    world.send(publisher, &Publish::new("1", &large).retained().qos(1, 1).encode());
    world.send(publisher, &Publish::new("2", &large).retained().encode());
    world.take_packets(publisher);
    world.send(publisher, &wire::subscribe(1, &[("#", 0)]));
    assert_eq!(world.take_packets(publisher), ["SUBACK 1 [0]", "PUBLISH 1 old retain"], "[MQTT-3.3.1-7]");
    assert_eq!(world.sum(|stats| stats.retained_refused), 3);
}

fn retained_messages_of_a_large_subscription_come_once_each_and_live_ones_behind(shards: u16) {
    let mut world = open_world(shards);
    let publisher = clean(&mut world, "publisher");
    for number in 0..1000 {
        world.send(publisher, &Publish::new(&format!("r/{number:04}"), "x").retained().encode());
    }
    let reader = clean(&mut world, "reader");
    world.send(reader, &wire::subscribe(1, &[("r/#", 1)]));
    world.send(publisher, &Publish::new("r/0500", "live").encode());
    let packets = world.take_packets(reader);
    assert_eq!(packets.iter().filter(|packet| packet.ends_with("retain")).count(), 1000);
    assert_eq!(packets.last().map(String::as_str), Some("PUBLISH r/0500 live"));
    assert_eq!(packets.len(), 1002);
}

fn messages_cross_shards_once_and_in_order(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Open);
    let readers: Vec<_> = (0..8).map(|number| clean(&mut world, &format!("reader {number}"))).collect();
    for (number, reader) in readers.iter().enumerate() {
        let qos = u8::try_from(number % 3).unwrap();
        world.send(*reader, &wire::subscribe(1, &[("t/+", qos), ("t/#", 0)]));
        world.take_output(*reader);
    }
    let publisher = clean(&mut world, "publisher");
    for number in 1..=20 {
        world.send(publisher, &Publish::new("t/x", number.to_string()).qos(2, number).encode());
    }
    for reader in readers {
        let packets = world.take_packets(reader);
        let payloads: Vec<_> = packets.iter().filter_map(|packet| packet.split(' ').nth(2)).collect();
        let expected: Vec<_> = (1..=20).map(|number| number.to_string()).collect();
        assert_eq!(payloads, expected);
    }
}

fn the_end_of_all_sessions_leaves_nothing_behind(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Open);
    for number in 0..50 {
        let peer = persistent(&mut world, &format!("client {number}"));
        subscribed(&mut world, peer, &format!("a/{number}/#"), 2);
        subscribed(&mut world, peer, "shared/+", 1);
        world.lose(peer);
    }
    let publisher = clean(&mut world, "publisher");
    world.send(publisher, &Publish::new("shared/x", "y").qos(1, 1).encode());
    for number in 0..50 {
        let peer = clean(&mut world, &format!("client {number}"));
        world.lose(peer);
    }
    world.lose(publisher);
    assert_eq!((world.commons.subscription_count(), world.commons.sessions_open()), (0, 0));
    for shard in &world.shards {
        let stats = shard.stats();
        assert_eq!(
            (stats.sessions, stats.subscriptions, stats.queue_messages, stats.queue_bytes, stats.connections),
            (0, 0, 0, 0, 0)
        );
    }
}

fn keep_alive_counts_complete_packets_only_but_a_large_one_has_time_to_come(shards: u16) {
    let mut world = open_world(shards);
    let connect = Connect { keep_alive: 10, ..Connect::new("a") };
    let peer = connected(&mut world, &connect);
    world.advance(14_999);
    world.send(peer, &[0xC0, 0]);
    world.advance(14_999);
    assert!(!world.is_closed(peer));
    // The beginning of a packet is no sign of life,
    world.send(peer, &[0x30]);
    world.advance(1);
    assert!(world.is_closed(peer));
    // unless enough of it comes: 20 KiB are good for 20 seconds more.
    let peer = connected(&mut world, &connect);
    let large = Publish::new("t", vec![b'x'; 40 << 10]).encode();
    world.send(peer, &large[..20 << 10]);
    world.advance(15_001);
    assert!(!world.is_closed(peer));
    world.advance(20_000);
    assert!(world.is_closed(peer));
    // When it is whole, it is good for no more than any other packet.
    let peer = connected(&mut world, &connect);
    world.send(peer, &large[..20 << 10]);
    world.advance(15_001);
    world.send(peer, &large[20 << 10..]);
    world.advance(14_999);
    assert!(!world.is_closed(peer));
    world.advance(2);
    assert!(world.is_closed(peer));
}
