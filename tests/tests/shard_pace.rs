//! The engine without sockets, with clients that send faster than they may: they are read more slowly, and nothing else
//! happens to them.

#![expect(clippy::expect_used, reason = "these functions are tests, though clippy sees functions")]

use culex_core::engine::error::Refusal;
use culex_core::engine::shard::{Event, Shard, StoreRoom};
use culex_core::limits::{Limit, Limits};
use culex_tests::wire::{self, Connect, Publish};
use culex_tests::world::{Peer, Store, World};

culex_tests::on_shards!(
    a_flood_goes_on_at_its_rate_and_nothing_is_lost,
    a_flood_of_bytes_goes_on_at_its_rate,
    a_flood_of_one_client_holds_up_no_other,
    who_is_slowed_down_is_not_silent_and_who_falls_silent_then_is_closed,
    the_hosts_own_clients_have_no_rate,
    a_connection_that_ends_while_it_pauses_leaves_no_timer,
    a_pause_and_a_full_store_end_in_any_order,
    a_flood_is_told_once_and_counted,
    a_longer_keep_alive_than_allowed_is_refused,
);

fn at_most(n: u64) -> Limit {
    Limit::at_most(n).expect("not zero")
}

fn messages(per_second: u64) -> Limits {
    Limits { messages_per_second: at_most(per_second), ..Limits::default() }
}

fn connected(world: &mut World, connect: &Connect) -> Peer {
    let peer = world.connect(connect).expect("accepted");
    world.take_output(peer);
    peer
}

fn reader(world: &mut World) -> Peer {
    let reader = connected(world, &Connect::new("reader"));
    world.send(reader, &wire::subscribe(1, &[("#", 0)]));
    world.take_output(reader);
    reader
}

fn flood(count: usize) -> Vec<u8> {
    (0..count).flat_map(|number| Publish::new("t", number.to_string()).encode()).collect()
}

fn a_flood_goes_on_at_its_rate_and_nothing_is_lost(shards: u16) {
    let mut world = World::new(shards, &messages(10), Store::Open);
    let reader = reader(&mut world);
    let peer = connected(&mut world, &Connect::new("fast"));
    world.send(peer, &[flood(25), wire::PINGREQ.to_vec()].concat());
    let mut received = world.take_packets(reader);
    assert_eq!(received.len(), 10, "a second's worth at once");
    world.advance(99);
    assert_eq!(world.take_packets(reader), [""; 0]);
    world.advance(1);
    received.extend(world.take_packets(reader));
    assert_eq!(received.len(), 11, "and one each 100 ms");
    // However late the timer is looked at.
    for (advance, count) in [(350, 14), (50, 15), (900, 24)] {
        world.advance(advance);
        received.extend(world.take_packets(reader));
        assert_eq!(received.len(), count);
    }
    assert_eq!(world.take_packets(peer), [""; 0], "PINGREQ stands behind");
    world.advance(200);
    received.extend(world.take_packets(reader));
    let all: Vec<_> = (0..25).map(|number| format!("PUBLISH t {number}")).collect();
    assert_eq!(received, all);
    assert_eq!(world.take_packets(peer), ["PINGRESP"]);
}

fn a_flood_of_bytes_goes_on_at_its_rate(shards: u16) {
    let packet = Publish::new("t", "x".repeat(95)).encode();
    assert_eq!(packet.len(), 100);
    let limits = Limits { bytes_per_second: at_most(1_000), ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    let reader = reader(&mut world);
    let peer = connected(&mut world, &Connect::new("fast"));
    world.send(peer, &packet.repeat(30));
    assert_eq!(world.take_packets(reader).len(), 10);
    for _ in 0..10 {
        world.advance(100);
        assert_eq!(world.take_packets(reader).len(), 1);
    }
    // One that is larger than a second's worth comes whole, and the next after its time.
    let large = Publish::new("t", "y".repeat(2_994)).encode();
    assert_eq!(large.len(), 3_000);
    let patient = connected(&mut world, &Connect::new("patient"));
    world.send(patient, &[large, wire::PINGREQ.to_vec()].concat());
    world.advance(2_000);
    assert_eq!(world.take_packets(patient), [""; 0]);
    world.advance(1);
    assert_eq!(world.take_packets(patient), ["PINGRESP"]);
}

fn a_flood_of_one_client_holds_up_no_other(shards: u16) {
    let mut world = World::new(shards, &messages(10), Store::Open);
    let reader = reader(&mut world);
    let fast = connected(&mut world, &Connect::new("fast"));
    world.send(fast, &flood(1000));
    world.take_output(reader);
    let calm = connected(&mut world, &Connect::new("calm"));
    for number in 1..=20 {
        world.send(calm, &Publish::new("calm", "x").qos(1, number).encode());
        assert_eq!(world.take_packets(calm), [format!("PUBACK {number}")]);
        world.advance(100);
    }
}

fn who_is_slowed_down_is_not_silent_and_who_falls_silent_then_is_closed(shards: u16) {
    let limits = Limits { bytes_per_second: at_most(10), ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    let peer = connected(&mut world, &Connect { keep_alive: 1, ..Connect::new("fast") });
    // A minute's worth.
    world.send(peer, &Publish::new("t", "x".repeat(595)).encode());
    for _ in 0..590 {
        world.advance(100);
        assert!(!world.is_closed(peer), "it is not its fault that it is not read");
    }
    // 59.2 s after it came it has been paid for.
    world.advance(200);
    world.advance(1_499);
    assert!(!world.is_closed(peer));
    world.advance(1);
    assert!(world.is_closed(peer), "nothing came since it is read again");
}

fn the_hosts_own_clients_have_no_rate(shards: u16) {
    let mut world = World::new(shards, &messages(10), Store::Open);
    let reader = reader(&mut world);
    let host = world.connect_trusted(&Connect::new("host")).expect("accepted");
    world.send(host, &flood(100));
    assert_eq!(world.take_packets(reader).len(), 100);
}

fn a_connection_that_ends_while_it_pauses_leaves_no_timer(shards: u16) {
    let mut world = World::new(shards, &messages(1), Store::Open);
    for _ in 0..3 {
        // The second and third take over.
        let peer = connected(&mut world, &Connect { keep_alive: 0, ..Connect::new("fast") });
        world.send(peer, &flood(10));
        assert!(world.shards.iter().any(|shard| shard.poll_timeout().is_some()));
        if world.sum(|stats| stats.connections_total) == 3 {
            world.lose(peer);
        }
    }
    assert_eq!(world.shards.iter().filter_map(Shard::poll_timeout).count(), 0);
}

fn a_pause_and_a_full_store_end_in_any_order(shards: u16) {
    for is_store_first in [true, false] {
        let mut world = World::new(shards, &messages(1), Store::Open);
        let reader = reader(&mut world);
        let peer = connected(&mut world, &Connect::new("fast"));
        world.store_room(StoreRoom::Crowded);
        let kept = Publish::new("kept", "x").retained().encode();
        world.send(peer, &[flood(1), kept].concat());
        assert_eq!(world.take_packets(reader), ["PUBLISH t 0"]);
        if is_store_first {
            world.store_room(StoreRoom::Free);
            assert_eq!(world.take_packets(reader), [""; 0]);
            world.advance(1_000);
        } else {
            world.advance(1_000);
            assert_eq!(world.take_packets(reader), [""; 0]);
            world.store_room(StoreRoom::Free);
        }
        assert_eq!(world.take_packets(reader), ["PUBLISH kept x"]);
    }
}

fn a_flood_is_told_once_and_counted(shards: u16) {
    let mut world = World::new(shards, &messages(10), Store::Open);
    let peer = connected(&mut world, &Connect::new("fast"));
    world.send(peer, &flood(30));
    for _ in 0..30 {
        world.advance(100);
    }
    assert_eq!(world.sum(|stats| stats.messages_received), 30);
    assert_eq!(world.sum(|stats| stats.pace_pauses), 21);
    let told = world.events.iter().filter(|event| matches!(event, Event::Slowed { .. }));
    let told: Vec<_> = told.cloned().collect();
    let expected = Event::Slowed { client_id: "fast".into(), limit: "messages_per_second" };
    assert_eq!(told, [expected]);
}

fn a_longer_keep_alive_than_allowed_is_refused(shards: u16) {
    let limits = Limits { max_keep_alive: at_most(60), ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    for (keep_alive, is_taken) in [(1, true), (60, true), (61, false), (u16::MAX, false), (0, false)] {
        let result = world.connect(&Connect { keep_alive, ..Connect::new("id") });
        let refusal = Refusal::KeepAlive { keep_alive_s: keep_alive, max_s: 60 };
        assert_eq!(result.err(), (!is_taken).then_some(refusal), "{keep_alive}");
    }
}
