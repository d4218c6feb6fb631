//! The engine without sockets, at its bounds: a slow store, a small outbox, packets that ask for very much.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "these functions are tests, though clippy sees functions"
)]

use culex_core::engine::shard::{Event, Turn};
use culex_core::engine::time::{Now, Tick, WallTime};
use culex_core::limits::{Limit, Limits};
use culex_tests::wire::{self, Connect, Publish};
use culex_tests::world::{Peer, Store, World};

culex_tests::on_shards!(
    the_time_that_the_store_takes_does_not_count_as_silence,
    a_connection_whose_packets_never_fit_into_a_turn_is_not_silent,
    a_client_is_not_read_while_very_many_of_its_answers_wait_for_the_store,
    one_packet_of_very_many_filters_is_answered_without_a_look_at_most_of_them,
    subscribing_again_and_again_costs_no_more_with_many_subscriptions,
    retained_messages_wait_for_room_in_a_small_outbox,
    retained_messages_wait_for_room_in_a_queue_of_few_bytes,
    a_held_qos2_message_survives_a_take_over_and_comes_once,
    a_session_of_very_many_filters_ends_at_once_and_its_filters_little_by_little,
);

fn at_most(n: u64) -> Limit {
    Limit::at_most(n).expect("not zero")
}

fn keep_alive(id: &str, seconds: u16) -> Connect {
    Connect { keep_alive: seconds, ..Connect::new(id) }
}

fn connected(world: &mut World, connect: &Connect) -> Peer {
    let peer = world.connect(connect).expect("accepted");
    world.store_all();
    world.take_output(peer);
    peer
}

fn the_time_that_the_store_takes_does_not_count_as_silence(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Held);
    let peer = world.connect(&keep_alive("a", 1).persistent()).expect("accepted");
    world.advance(60_000);
    assert!(!world.is_closed(peer), "closed before its CONNACK");
    world.store_all();
    assert_eq!(world.take_packets(peer), ["CONNACK Success session=false"]);
    world.advance(1499);
    assert!(!world.is_closed(peer));
    world.advance(10);
    assert!(world.is_closed(peer), "from CONNACK on silence counts");
}

fn a_connection_whose_packets_never_fit_into_a_turn_is_not_silent(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Open);
    let peer = connected(&mut world, &keep_alive("a", 10));
    world.send(peer, &wire::subscribe(1, &[("t", 0)]));
    world.advance(14_000);
    let now = Now { tick: Tick(15_000), wall: WallTime(0) };
    let mut turn = Turn { now, commons: &world.commons, deliveries_left: 1 };
    let packets = Publish::new("t", "x").encode().repeat(2);
    let shard = &mut world.shards[usize::from(peer.shard)];
    let consumed = shard.handle_bytes(&mut turn, peer.key, &packets);
    assert!(consumed.is_cut_short && consumed.bytes == packets.len() / 2);
    world.advance(2_000);
    assert!(!world.is_closed(peer), "it sent a packet two seconds ago");
}

fn a_client_is_not_read_while_very_many_of_its_answers_wait_for_the_store(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Held);
    let keeper = connected(&mut world, &Connect::new("keeper").persistent());
    world.send(keeper, &wire::subscribe(1, &[("t", 1)]));
    world.store_all();
    world.lose(keeper);
    let peer = connected(&mut world, &keep_alive("publisher", 1));
    let ids: Vec<u16> = (1..=5000).collect();
    let packets: Vec<u8> = ids.iter().flat_map(|id| Publish::new("t", "x").qos(1, *id).encode()).collect();
    world.send(peer, &packets);
    let received = world.sum(|stats| stats.messages_received);
    assert!((1..2000).contains(&received), "{received} messages were taken, and their answers held");
    world.advance(60_000);
    assert!(!world.is_closed(peer), "it is not its fault that it is not read");
    for _ in 0..ids.len() {
        world.store_all();
    }
    let expected: Vec<_> = ids.iter().map(|id| format!("PUBACK {id}")).collect();
    assert_eq!(world.take_packets(peer), expected);
}

fn one_packet_of_very_many_filters_is_answered_without_a_look_at_most_of_them(shards: u16) {
    let limits = Limits {
        subscriptions_per_session: at_most(10),
        filters_per_packet: at_most(1024),
        ..Limits::default()
    };
    let mut world = World::new(shards, &limits, Store::Open);
    let peer = connected(&mut world, &Connect::new("a"));
    world.events.clear();
    let filters: Vec<_> = (0..50_000).map(|number| format!("f{}", number % 20)).collect();
    let pairs: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
    world.send(peer, &wire::subscribe(1, &pairs));
    let is_granted = |number| number < 1024 && number % 20 < 10;
    let codes: Vec<_> = (0..50_000).map(|number| if is_granted(number) { 1 } else { 0x80 }).collect();
    assert_eq!(world.take_packets(peer), [format!("SUBACK 1 {codes:?}")]);
    let events = world.events.iter().filter(|event| matches!(event, Event::Subscribed { .. })).count();
    assert!(events <= 1024, "{events} events of one packet");
    assert_eq!(world.sum(|stats| stats.subscriptions_refused), 50_000 - 514);
}

fn subscribing_again_and_again_costs_no_more_with_many_subscriptions(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Open);
    let peer = connected(&mut world, &Connect::new("a"));
    let filters: Vec<_> = (0..20_000).map(|number| format!("f/{number}")).collect();
    let pairs: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 0)).collect();
    // Twice in one read, so that the Retained Messages of the first have not been looked for.
    let packets: Vec<u8> = pairs.chunks(5000).flat_map(|pairs| wire::subscribe(1, pairs)).collect();
    world.send(peer, &packets.repeat(2));
    assert_eq!(world.sum(|stats| stats.subscriptions), 20_000);
    assert_eq!(world.take_packets(peer).len(), 8);
}

fn with_retained(world: &mut World, count: usize, size: usize) {
    let publisher = connected(world, &Connect::new("publisher"));
    for number in 0..count {
        let payload = vec![b'x'; size];
        world
            .send(publisher, &Publish::new(&format!("r/{number:04}"), payload).qos(1, 1).retained().encode());
    }
    world.lose(publisher);
}

fn retained_messages_wait_for_room_in_a_small_outbox(shards: u16) {
    let limits = Limits { outbox_bytes: at_most(8 << 10), ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    with_retained(&mut world, 300, 100);
    let peer = connected(&mut world, &Connect::new("a"));
    world.send(peer, &wire::subscribe(1, &[("r/#", 0)]));
    assert_eq!(world.take_packets(peer).len(), 1 + 300);
    assert_eq!(world.sum(|stats| stats.dropped_slow_reader), 0);
}

/// On one shard, where a hundred messages come in one turn.
#[test]
fn a_burst_takes_from_the_common_room_and_gives_it_back() {
    const EACH: u64 = 1000;
    let burst = Publish::new("t", vec![b'x'; EACH as usize - 5]).encode().repeat(100);
    // Messages that arrive of a hundred at once, by the room of a reader and the common room in messages.
    for (own, common, expected) in [(10, 1, 11), (10, 50, 60), (10, 1000, 100), (5, 1000, 80)] {
        let limits = Limits {
            outbox_bytes: at_most(own * EACH),
            // A message counts seven bytes more than it has behind its length.
            outbox_burst_bytes: at_most(common * (EACH + 7)),
            ..Limits::default()
        };
        let mut world = World::new(1, &limits, Store::Open);
        let reader = connected(&mut world, &Connect::new("reader"));
        world.send(reader, &wire::subscribe(1, &[("t", 0)]));
        world.take_output(reader);
        let publisher = connected(&mut world, &Connect::new("publisher"));
        for round in 1..=3 {
            world.send(publisher, &burst);
            assert_eq!(world.take_packets(reader).len() as u64, expected, "{own} {common}");
            assert_eq!(world.sum(|stats| stats.dropped_slow_reader), round * (100 - expected));
            assert_eq!(world.sum(|stats| stats.outbox_burst_bytes), 0, "written, so given back");
        }
    }
}

fn retained_messages_wait_for_room_in_a_queue_of_few_bytes(shards: u16) {
    let limits = Limits { queue_bytes: at_most(1000), ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    with_retained(&mut world, 50, 100);
    let peer = connected(&mut world, &Connect::new("a"));
    world.send(peer, &wire::subscribe(1, &[("r/#", 1)]));
    let mut received = 0;
    for id in 1..=50 {
        let lines = world.take_packets(peer);
        received += lines.iter().filter(|line| line.starts_with("PUBLISH")).count();
        assert!(received <= 20 + usize::from(id), "more than the queue takes");
        world.send(peer, &wire::puback(id));
    }
    assert_eq!(received, 50);
    assert_eq!(world.sum(|stats| stats.dropped_queue_full), 0);
    assert_eq!(world.sum(|stats| stats.queue_messages + stats.queue_bytes), 0);
}

fn a_held_qos2_message_survives_a_take_over_and_comes_once(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Held);
    let first = connected(&mut world, &Connect::new("a").persistent());
    world.send(first, &wire::subscribe(1, &[("t", 2)]));
    world.store_all();
    world.take_output(first);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    world.send(publisher, &Publish::new("t", "x").qos(2, 1).encode());
    assert_eq!(world.take_packets(first), Vec::<String>::new(), "not before it is stored");
    let second = world.connect(&Connect::new("a").persistent()).expect("accepted");
    assert!(world.is_closed(first));
    for _ in 0..3 {
        world.store_all();
    }
    assert_eq!(world.take_packets(first), Vec::<String>::new());
    let lines = world.take_packets(second);
    assert_eq!(lines, ["CONNACK Success session=true", "PUBLISH t x q2 id=1 dup"]);
    world.send(second, &wire::pubrec(1));
    world.store_all();
    assert_eq!(world.take_packets(second), ["PUBREL 1"]);
    world.send(second, &wire::pubcomp(1));
    assert_eq!(world.sum(|stats| stats.queue_messages), 0);
}

fn a_session_of_very_many_filters_ends_at_once_and_its_filters_little_by_little(shards: u16) {
    /// Half of what a turn delivers, at the price of four deliveries each.
    const LEAVE_IN_A_TURN_MAX: usize = 4096 + 16;
    let mut world = World::new(shards, &Limits::default(), Store::Open);
    let old = connected(&mut world, &Connect::new("a").persistent());
    let names: Vec<_> = (0..20_000).map(|number| format!("f/{number}")).collect();
    for names in names.chunks(2000) {
        let filters: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
        world.send(old, &wire::subscribe(1, &filters));
    }
    assert_eq!(world.commons.subscription_count(), 20_000);
    // Nothing but the end of the old session is in the turn that takes the new connection.
    let new = connected(&mut world, &Connect::new("a"));
    assert!(world.is_closed(old));
    assert!(world.left_in_one_turn <= LEAVE_IN_A_TURN_MAX, "{} left in one turn", world.left_in_one_turn);
    assert_eq!((world.commons.subscription_count(), world.sum(|stats| stats.subscriptions)), (0, 0));
    world.send(new, &Publish::new("f/19999", "x").qos(1, 1).encode());
    assert_eq!(world.take_packets(new), ["PUBACK 1"]);
    assert!(world.shards.iter().all(|shard| shard.poll_timeout().is_none()), "nothing is left to do");
}
