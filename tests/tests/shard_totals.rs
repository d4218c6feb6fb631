//! The engine without sockets: bounds of one packet, and of what all sessions and connections hold together.

#![expect(clippy::expect_used, reason = "these functions are tests, though clippy sees functions")]

use culex_core::engine::shard::{Event, Turn};
use culex_core::engine::time::{Now, Tick, WallTime};
use culex_core::limits::{Limit, Limits, WhenFull};
use culex_tests::wire::{self, Connect, Publish};
use culex_tests::world::{Peer, Store, World};

fn at_most(n: u64) -> Limit {
    Limit::at_most(n).expect("not zero")
}

fn connected(world: &mut World, connect: &Connect) -> Peer {
    let peer = world.connect(connect).expect("accepted");
    world.take_output(peer);
    peer
}

#[test]
fn an_unsubscribe_of_more_filters_than_allowed_ends_its_connection_and_no_subscription() {
    let limits = Limits { filters_per_packet: at_most(2), ..Limits::default() };
    let mut world = World::new(1, &limits, Store::Open);
    let peer = connected(&mut world, &Connect::new("a").persistent());
    world.send(peer, &wire::subscribe(1, &[("a", 0), ("b", 0), ("c", 0)]));
    assert_eq!(world.take_packets(peer), ["SUBACK 1 [0, 0, 128]"]);
    world.send(peer, &wire::unsubscribe(2, &["b", "c"]));
    assert_eq!(world.take_packets(peer), ["UNSUBACK 2"]);
    world.send(peer, &wire::unsubscribe(3, &["a", "b", "c"]));
    assert!(world.is_closed(peer));
    assert_eq!(world.shards[0].stats().subscriptions, 1);
    let is_told = |event: &Event| matches!(event, Event::Disconnected { reason, .. } if reason.to_string().contains("filters_per_packet"));
    assert!(world.events.iter().any(is_told));
}

#[test]
fn filters_count_towards_the_work_of_a_turn() {
    let mut world = World::new(1, &Limits::default(), Store::Open);
    connected(&mut world, &Connect::new("a"));
    let key = world.shards[0].connections()[0];
    let now = Now { tick: Tick(2_000), wall: WallTime(0) };
    for packet in [wire::subscribe(1, &[("a", 0), ("b", 0)]), wire::unsubscribe(2, &["a", "b"])] {
        let mut turn = Turn { now, commons: &world.commons, deliveries_left: 8 };
        let consumed = world.shards[0].handle_bytes(&mut turn, key, &packet.repeat(3));
        assert!(consumed.is_cut_short);
        assert_eq!(consumed.bytes, packet.len(), "one packet is all that this turn has time for");
    }
}

/// A world in which `away` clients with stored sessions are gone, each with `messages` of 100 bytes waiting.
fn with_queues(limits: &Limits, away: usize, messages: usize) -> (World, Peer) {
    let mut world = World::new(2, limits, Store::Open);
    for number in 0..away {
        let peer = connected(&mut world, &Connect::new(&format!("away-{number}")).persistent());
        world.send(peer, &wire::subscribe(1, &[("t", 1)]));
        world.lose(peer);
    }
    let publisher = connected(&mut world, &Connect::new("publisher"));
    for number in 0..messages {
        world.send(publisher, &Publish::new("t", format!("{number:0>99}")).qos(1, 1).encode());
    }
    (world, publisher)
}

fn total(world: &World) -> (u64, u64, u64) {
    (
        world.sum(|stats| stats.queue_messages),
        world.sum(|stats| stats.queue_bytes),
        world.sum(|stats| stats.dropped_queue_total),
    )
}

#[test]
fn the_queues_of_all_sessions_together_are_bounded() {
    for when_full in [WhenFull::DropNewest, WhenFull::DropOldest] {
        let limits = Limits { queue_total_bytes: at_most(100_000), when_full, ..Limits::default() };
        let (mut world, publisher) = with_queues(&limits, 10, 300);
        let (messages, bytes, dropped) = total(&world);
        assert_eq!(messages + dropped, 3000);
        assert!(bytes + 64 * messages <= 100_000, "{bytes} bytes in {messages} messages");
        assert!(bytes + 64 * messages >= 99_000, "{bytes} bytes in {messages} messages");
        // Whoever keeps up is served.
        let reader = connected(&mut world, &Connect::new("reader"));
        world.send(reader, &wire::subscribe(1, &[("t", 1)]));
        world.take_output(reader);
        for _ in 0..3 {
            world.send(publisher, &Publish::new("t", "x").qos(1, 2).encode());
            let lines = world.take_packets(reader);
            assert!(matches!(&lines[..], [line] if line.starts_with("PUBLISH t x q1")), "{lines:?}");
            let id = lines[0].rsplit('=').next().and_then(|id| id.parse().ok()).expect("an id");
            world.send(reader, &wire::puback(id));
        }
    }
}

#[test]
fn room_of_ended_queues_is_given_back() {
    let limits = Limits { queue_total_bytes: at_most(100_000), ..Limits::default() };
    let (mut world, _) = with_queues(&limits, 10, 300);
    for number in 0..10 {
        connected(&mut world, &Connect::new(&format!("away-{number}")));
    }
    assert_eq!(total(&world).0, 0);
    let idle = world.commons.queue_room_taken();
    assert!(idle <= 2 * 2 * 98, "{idle} bytes are kept back by two shards");
}

/// The beginning of a PUBLISH of `bytes` in all, `sent` of them.
fn beginning(bytes: usize, sent: usize) -> Vec<u8> {
    let packet = Publish::new("t", vec![b'x'; bytes]).encode();
    packet.get(..sent).expect("a beginning").to_vec()
}

#[test]
fn unfinished_packets_are_bounded_and_the_costliest_connection_goes() {
    let limits = Limits { partial_total_bytes: at_most(100_000), ..Limits::default() };
    let mut world = World::new(1, &limits, Store::Open);
    let stalled = connected(&mut world, &Connect::new("stalled"));
    let small = connected(&mut world, &Connect::new("small"));
    world.send(stalled, &beginning(80_000, 60_000));
    world.send(small, &beginning(80_000, 100));
    world.advance(10_000);
    let busy = connected(&mut world, &Connect::new("busy"));
    world.send(busy, &beginning(90_000, 39_900));
    assert_eq!(world.shards[0].stats().partial_bytes, 100_000);
    assert!(!world.is_closed(stalled));
    world.send(busy, &vec![b'x'; 10_000]);
    assert!(world.is_closed(stalled), "it has held 60,000 bytes for ten seconds");
    assert!(!world.is_closed(small) && !world.is_closed(busy));
    let stats = world.shards[0].stats();
    assert_eq!((stats.partial_bytes, stats.connections_partial), (50_000, 1));
    world.lose(busy);
    world.lose(small);
    assert_eq!(world.shards[0].stats().partial_bytes, 0);
}

#[test]
fn what_is_complete_is_no_unfinished_packet() {
    let limits = Limits { partial_total_bytes: at_most(1000), ..Limits::default() };
    let mut world = World::new(1, &limits, Store::Open);
    let peer = connected(&mut world, &Connect::new("a"));
    for _ in 0..3 {
        let packet = Publish::new("t", vec![b'x'; 900]).encode();
        let (first, rest) = packet.split_at(500);
        world.send(peer, first);
        assert_eq!(world.shards[0].stats().partial_bytes, 500);
        world.send(peer, &[rest, &packet, &packet].concat());
        assert_eq!(world.shards[0].stats().partial_bytes, 0);
    }
    assert!(!world.is_closed(peer));
}

/// Whoever keeps up is served without room in the sum. That is not the debt of the next queue that drops its oldest.
#[test]
fn one_message_costs_a_full_queue_about_one() {
    const READERS: usize = 50;
    let limits =
        Limits { queue_total_bytes: at_most(100_000), when_full: WhenFull::DropOldest, ..Limits::default() };
    let (mut world, publisher) = with_queues(&limits, 1, 700);
    let (before, ..) = total(&world);
    assert!(before > 500, "{before}");
    for number in 0..READERS {
        let reader = connected(&mut world, &Connect::new(&format!("reader-{number}")));
        world.send(reader, &wire::subscribe(1, &[("t", 1)]));
    }
    for _ in 0..3 {
        world.send(publisher, &Publish::new("t", "x".repeat(99)).qos(1, 1).encode());
    }
    // Each reader has one in flight.
    let (after, ..) = total(&world);
    assert!(after >= before + READERS as u64 - 6, "{before} before, {after} after");
}
