//! The engine without sockets, while the store has no room: who waits, who does not, and for how long.

#![expect(clippy::expect_used, reason = "these functions are tests, though clippy sees functions")]

use std::time::Duration;

use culex_codec::ProtocolVersion;
use culex_core::engine::shard::StoreRoom;
use culex_core::limits::Limits;
use culex_tests::wire::{self, Connect, Publish, Will};
use culex_tests::world::{Peer, Store, World};

culex_tests::on_shards!(
    who_needs_no_store_goes_on,
    a_mixed_connection_waits_at_the_packet_that_needs_the_store,
    acknowledgements_pass_and_make_room,
    what_is_stored_is_resumed_while_the_store_is_full,
    a_message_that_came_before_is_a_repeat_and_passes,
    a_client_that_waits_is_not_silent,
    who_waits_too_long_for_a_full_store_is_closed,
    a_crowded_store_closes_nobody,
    a_client_of_version_5_is_told,
    a_connect_waits_if_it_brings_something_to_keep,
    clients_that_wait_and_go_leave_nothing_behind,
);

fn connected(world: &mut World, connect: &Connect) -> Peer {
    let peer = world.connect(connect).expect("accepted");
    world.store_all();
    world.take_output(peer);
    peer
}

/// A world with a stored session that wants `kept/#` and one that is not stored and wants `#`.
fn world(shards: u16) -> (World, Peer) {
    let limits = Limits { stall_max: Duration::from_secs(60), ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    let stored = connected(&mut world, &Connect::new("stored").persistent());
    world.send(stored, &wire::subscribe(1, &[("kept/#", 2)]));
    let reader = connected(&mut world, &Connect::new("reader"));
    world.send(reader, &wire::subscribe(1, &[("#", 0)]));
    world.take_output(stored);
    world.take_output(reader);
    (world, reader)
}

fn publish(topic: &str, qos: u8, id: u16) -> Vec<u8> {
    Publish::new(topic, "x").qos(qos, id).encode()
}

fn who_needs_no_store_goes_on(shards: u16) {
    let (mut world, reader) = world(shards);
    let clean = connected(&mut world, &Connect::new("clean"));
    let records = world.batches.len();
    for room in [StoreRoom::Crowded, StoreRoom::Full] {
        world.store_room(room);
        world.send(clean, &Publish::new("kept/a", "x").encode());
        world.send(clean, &publish("free/b", 1, 1));
        world.send(clean, &publish("free/c", 2, 2));
        world.send(clean, &wire::subscribe(3, &[("other", 1)]));
        world.send(clean, wire::PINGREQ);
        let packets = world.take_packets(clean);
        assert_eq!(packets, ["PUBACK 1", "PUBREC 2", "SUBACK 3 [1]", "PINGRESP"], "{room:?}");
        world.send(clean, &wire::pubrel(2));
        assert_eq!(world.take_packets(clean), ["PUBCOMP 2"]);
        let packets = world.take_packets(reader);
        assert_eq!(packets, ["PUBLISH kept/a x", "PUBLISH free/b x", "PUBLISH free/c x"]);
    }
    assert_eq!(world.batches.len(), records);
}

fn a_mixed_connection_waits_at_the_packet_that_needs_the_store(shards: u16) {
    for (name, packet, answer) in [
        ("QoS 1 to a stored session", publish("kept/a", 1, 7), Some("PUBACK 7")),
        ("QoS 2 to a stored session", publish("kept/a", 2, 7), Some("PUBREC 7")),
        ("retained", Publish::new("free", "x").retained().encode(), None),
        ("a clear", Publish::new("free", "").retained().encode(), None),
        ("QoS 2 of a stored session", publish("free", 2, 7), Some("PUBREC 7")),
        ("SUBSCRIBE of a stored session", wire::subscribe(7, &[("s", 1)]), Some("SUBACK 7 [1]")),
    ] {
        for room in [StoreRoom::Crowded, StoreRoom::Full] {
            let (mut world, reader) = world(shards);
            let mixed = connected(&mut world, &Connect::new("mixed").persistent());
            world.store_room(room);
            let records = world.batches.len();
            let free = |text: &str| Publish::new("f", text).encode();
            world.send(mixed, &[free("before"), packet.clone(), free("after")].concat());
            assert_eq!(world.take_packets(mixed), [""; 0], "{name}, {room:?}");
            assert_eq!(world.take_packets(reader), ["PUBLISH f before"], "{name}, {room:?}");
            assert_eq!(world.batches.len(), records, "{name}, {room:?}");
            world.store_room(StoreRoom::Free);
            let packets = world.take_packets(mixed);
            assert_eq!(packets, Vec::from_iter(answer), "{name}, {room:?}");
            let packets = world.take_packets(reader);
            assert_eq!(packets.last().map(String::as_str), Some("PUBLISH f after"), "{name}, {room:?}");
        }
    }
}

fn acknowledgements_pass_and_make_room(shards: u16) {
    let (mut world, _) = world(shards);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    world.send(publisher, &[publish("kept/a", 1, 1), publish("kept/b", 2, 2)].concat());
    let stored = world.connect(&Connect::new("stored").persistent()).expect("accepted");
    let packets = world.take_packets(stored);
    assert_eq!(packets.len(), 3, "{packets:?}");
    world.store_room(StoreRoom::Full);
    world.send(stored, &[wire::puback(1), wire::pubrec(2)].concat());
    assert_eq!(world.take_packets(stored), ["PUBREL 2"]);
    world.send(stored, &wire::pubcomp(2));
    // As consumers do whenever they connect.
    world.send(stored, &wire::subscribe(4, &[("kept/#", 2)]));
    assert_eq!(world.take_packets(stored), ["SUBACK 4 [2]"]);
    world.send(stored, &wire::unsubscribe(3, &["kept/#"]));
    assert_eq!(world.take_packets(stored), ["UNSUBACK 3"]);
    assert_eq!(world.sum(|stats| stats.queue_messages), 0);
    assert_eq!(world.sum(|stats| stats.store_waits), 0);
}

/// Consumers make room, also those that have to connect for it.
fn what_is_stored_is_resumed_while_the_store_is_full(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Held);
    let stored = connected(&mut world, &Connect::new("stored").persistent());
    world.send(stored, &wire::subscribe(1, &[("kept/#", 1)]));
    world.store_all();
    world.lose(stored);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    world.send(publisher, &publish("kept/a", 1, 1));
    let new = world.connect(&Connect::new("new").persistent()).expect("accepted");
    world.store_room(StoreRoom::Full);
    let stored = world.connect(&Connect::new("stored").persistent()).expect("accepted");
    let packets = world.take_packets(stored);
    assert_eq!(packets, ["CONNACK Success session=true", "PUBLISH kept/a x q1 id=1"]);
    let again = world.connect(&Connect::new("new").persistent()).expect("accepted");
    assert_eq!(world.take_packets(again), [""; 0], "the store does not have it yet");
    assert_eq!(world.take_packets(publisher), [""; 0]);
    world.store_all();
    assert_eq!(world.take_packets(again), ["CONNACK Success session=true"]);
    assert!(world.is_closed(new));
}

fn a_message_that_came_before_is_a_repeat_and_passes(shards: u16) {
    let (mut world, _) = world(shards);
    let publisher = connected(&mut world, &Connect::new("publisher").persistent());
    world.send(publisher, &publish("kept/a", 2, 1));
    world.store_room(StoreRoom::Full);
    world.send(publisher, &Publish::new("kept/a", "x").qos(2, 1).again().encode());
    assert_eq!(world.take_packets(publisher), ["PUBREC 1", "PUBREC 1"]);
}

fn a_client_that_waits_is_not_silent(shards: u16) {
    let (mut world, _) = world(shards);
    let publisher = Connect { keep_alive: 1, ..Connect::new("publisher") };
    let publisher = connected(&mut world, &publisher);
    world.store_room(StoreRoom::Full);
    world.send(publisher, &publish("kept/a", 1, 1));
    world.advance(50_000);
    assert!(!world.is_closed(publisher));
    world.store_room(StoreRoom::Free);
    assert_eq!(world.take_packets(publisher), ["PUBACK 1"]);
    world.advance(1_499);
    assert!(!world.is_closed(publisher));
    world.advance(100);
    assert!(world.is_closed(publisher), "from then on silence counts");
}

fn who_waits_too_long_for_a_full_store_is_closed(shards: u16) {
    let (mut world, reader) = world(shards);
    let early = connected(&mut world, &Connect::new("early"));
    let late = connected(&mut world, &Connect::new("late"));
    let clean = connected(&mut world, &Connect::new("clean"));
    world.store_room(StoreRoom::Crowded);
    world.send(early, &publish("kept/a", 1, 1));
    world.advance(100_000);
    world.store_room(StoreRoom::Full);
    world.advance(30_000);
    world.send(late, &publish("kept/a", 1, 1));
    world.advance(29_999);
    assert!(!world.is_closed(early), "only the time counts in which the store was full");
    world.advance(1);
    assert!(world.is_closed(early));
    assert!(!world.is_closed(late));
    world.advance(29_999);
    assert!(!world.is_closed(late));
    world.advance(1);
    assert!(world.is_closed(late));
    assert!(!world.is_closed(clean) && !world.is_closed(reader));
    assert_eq!(world.sum(|stats| stats.connections_stalled), 2);
    world.advance(1_000_000);
    assert!(!world.is_closed(clean));
}

fn a_crowded_store_closes_nobody(shards: u16) {
    let (mut world, _) = world(shards);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    world.store_room(StoreRoom::Full);
    world.store_room(StoreRoom::Crowded);
    world.send(publisher, &publish("kept/a", 1, 1));
    world.advance(1_000_000);
    assert!(!world.is_closed(publisher));
}

fn a_client_of_version_5_is_told(shards: u16) {
    let (mut world, reader) = world(shards);
    let publisher = world.connect_with(&Connect::new("publisher"), ProtocolVersion::V5).expect("accepted");
    world.take_output(publisher);
    // No properties.
    let publish = |first: u8, id: u8, retain: u8| {
        wire::frame(first | retain, &[&wire::string(b"kept/a")[..], &[0, id, 0], b"x"].concat())
    };
    world.store_room(StoreRoom::Crowded);
    world.send(publisher, &publish(0x32, 1, 0));
    assert!(world.take_output(publisher).is_empty(), "a crowded store is no reason to refuse");
    world.store_room(StoreRoom::Full);
    world.send(publisher, &publish(0x34, 2, 1));
    let told = [[0x40, 3, 0, 1, 0x97], [0x50, 3, 0, 2, 0x97]].concat();
    assert_eq!(world.take_output(publisher), told);
    assert_eq!(world.take_packets(reader), [""; 0], "refused before anybody has it");
    assert_eq!(world.commons.retained_count(), 0);
    world.store_room(StoreRoom::Free);
    world.send(publisher, &publish(0x34, 2, 0));
    assert_eq!(world.take_output(publisher), [0x50, 2, 0, 2], "its Packet Identifier was not taken");
    assert_eq!(world.take_packets(reader), ["PUBLISH kept/a x"]);
}

fn a_connect_waits_if_it_brings_something_to_keep(shards: u16) {
    let (mut world, _) = world(shards);
    let of = |id: &str| Connect::new(id);
    let will = |topic, qos| Will::new(topic, "gone", qos);
    for (connect, waits) in [
        (of("new"), false),
        (of("new").persistent(), true),
        (of("stored").persistent(), false),
        (of("stored").persistent().will(will("free", 0)), true),
        // It ends what is kept.
        (of("stored"), false),
        (of("new").will(will("kept/a", 0)), false),
        (of("new").will(will("free", 2)), false),
        (of("new").will(will("kept/a", 1)), true),
        (of("new").will(will("free", 0).retained()), true),
    ] {
        for room in [StoreRoom::Crowded, StoreRoom::Full] {
            world.store_room(room);
            assert_eq!(world.must_wait(&connect), Ok(waits), "{connect:?}");
        }
        world.store_room(StoreRoom::Free);
        assert_eq!(world.must_wait(&connect), Ok(false), "{connect:?}");
    }
}

/// A clean session costs nothing while the store is full, so it may come again and again.
fn clients_that_wait_and_go_leave_nothing_behind(shards: u16) {
    let (mut world, reader) = world(shards);
    world.store_room(StoreRoom::Full);
    let records = world.batches.len();
    for round in 0..1000 {
        let peer = world.connect(&Connect::new(&format!("publisher {}", round % 3))).expect("accepted");
        world.send(peer, &publish("kept/a", 1, 1));
        world.lose(peer);
    }
    assert_eq!(world.batches.len(), records);
    assert_eq!(world.sum(|stats| stats.partial_bytes), 0);
    world.store_room(StoreRoom::Free);
    assert_eq!(world.take_packets(reader), [""; 0]);
}
