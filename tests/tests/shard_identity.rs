//! Whose session it is: another identity never inherits it, whatever ClientId it brings.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a helper of a test fails the test")]

use culex_core::engine::error::Refusal;
use culex_core::engine::shard::Event;
use culex_core::limits::Limits;
use culex_tests::wire::{self, Connect, Publish, Will};
use culex_tests::world::{Peer, Store, World};

culex_tests::on_shards!(
    a_stored_session_of_another_user_is_ended_and_never_read,
    a_live_connection_of_another_user_is_ended_with_its_session,
    the_same_user_comes_back_to_its_session,
    no_user_name_is_not_the_empty_one,
    a_session_of_the_host_is_not_for_the_network,
    the_host_ends_a_session_of_the_network,
    a_late_attempt_of_another_user_ends_nothing,
    a_will_to_a_reserved_topic_reaches_nobody,
    what_is_of_the_host_is_neither_written_nor_read_by_the_network,
);

fn world(shards: u16) -> World {
    World::new(shards, &Limits::default(), Store::Open)
}

fn of_user(id: &str, user_name: Option<&str>) -> Connect {
    Connect { user_name: user_name.map(Into::into), ..Connect::new(id).persistent() }
}

/// Its CONNACK is read already.
fn connected(world: &mut World, connect: &Connect) -> Peer {
    let peer = world.connect(connect).expect("accepted");
    assert!(world.take_packets(peer)[0].starts_with("CONNACK Success"));
    peer
}

/// A persistent session with a subscription and a message in its queue.
fn with_a_message(world: &mut World, user_name: Option<&str>) {
    let owner = connected(world, &of_user("a", user_name));
    world.send(owner, &wire::subscribe(1, &[("t", 1)]));
    world.lose(owner);
    publish(world);
    assert_eq!(world.sum(|stats| stats.queue_messages), 1);
}

fn publish(world: &mut World) {
    let publisher = connected(world, &Connect::new("publisher"));
    world.send(publisher, &Publish::new("t", "secret").qos(1, 1).encode());
    world.lose(publisher);
}

/// The newcomer has a session of its own, and nothing of the old one is left.
fn assert_begins_anew(world: &mut World, peer: Peer) {
    assert_eq!(world.take_packets(peer), ["CONNACK Success session=false"]);
    assert_eq!((world.commons.subscription_count(), world.commons.sessions_open()), (0, 1));
    publish(world);
    assert!(world.take_packets(peer).is_empty());
    assert_eq!(world.sum(|stats| stats.queue_messages), 0);
    assert_eq!(world.sum(|stats| stats.sessions_of_others_ended), 1);
}

fn a_stored_session_of_another_user_is_ended_and_never_read(shards: u16) {
    for (first, second) in [(Some("ann"), Some("bob")), (Some("ann"), None), (None, Some("bob"))] {
        let mut world = world(shards);
        with_a_message(&mut world, first);
        let other = world.connect(&of_user("a", second)).expect("accepted");
        assert_begins_anew(&mut world, other);
        assert_eq!(world.sum(|stats| stats.dropped_session_ended), 1);
    }
}

fn a_live_connection_of_another_user_is_ended_with_its_session(shards: u16) {
    let mut world = world(shards);
    let watcher = connected(&mut world, &Connect::new("watcher"));
    world.send(watcher, &wire::subscribe(1, &[("will", 0)]));
    world.take_output(watcher);
    let will = Some(Will::new("will", "gone", 0));
    let owner = connected(&mut world, &Connect { will, ..of_user("a", Some("ann")) });
    world.send(owner, &wire::subscribe(1, &[("t", 1)]));
    let other = world.connect(&of_user("a", Some("bob"))).expect("accepted");
    assert!(world.is_closed(owner));
    assert_eq!(world.take_packets(watcher), ["PUBLISH will gone"]);
    world.lose(watcher);
    assert_begins_anew(&mut world, other);
}

fn the_same_user_comes_back_to_its_session(shards: u16) {
    for user_name in [Some("ann"), Some(""), None] {
        let mut world = world(shards);
        with_a_message(&mut world, user_name);
        let back = world.connect(&of_user("a", user_name)).expect("accepted");
        assert_eq!(world.take_packets(back), ["CONNACK Success session=true", "PUBLISH t secret q1 id=1"]);
    }
}

fn no_user_name_is_not_the_empty_one(shards: u16) {
    let mut world = world(shards);
    with_a_message(&mut world, None);
    let other = world.connect(&of_user("a", Some(""))).expect("accepted");
    assert_begins_anew(&mut world, other);
}

fn a_session_of_the_host_is_not_for_the_network(shards: u16) {
    let mut world = world(shards);
    let own = world.connect_trusted(&of_user("a", None)).expect("accepted");
    world.send(own, &wire::subscribe(1, &[("t", 1)]));
    for connect in [of_user("a", None), Connect::new("a")] {
        assert_eq!(world.connect(&connect), Err(Refusal::ReservedClientId));
    }
    assert!(!world.is_closed(own));
    world.lose(own);
    assert_eq!(world.connect(&of_user("a", None)), Err(Refusal::ReservedClientId));
    let told = |event: &Event| matches!(event, Event::Refused { refusal: Refusal::ReservedClientId, .. });
    assert_eq!(world.events.iter().filter(|event| told(event)).count(), 3);
    publish(&mut world);
    let own = world.connect_trusted(&of_user("a", None)).expect("accepted");
    assert_eq!(world.take_packets(own), ["CONNACK Success session=true", "PUBLISH t secret q1 id=1"]);
}

fn the_host_ends_a_session_of_the_network(shards: u16) {
    let mut world = world(shards);
    with_a_message(&mut world, None);
    let own = world.connect_trusted(&of_user("a", None)).expect("accepted");
    assert_begins_anew(&mut world, own);
    let mut world = self::world(shards);
    let slow = world.accept();
    let newer = connected(&mut world, &of_user("a", None));
    let own = world.connect_trusted_accepted(&of_user("a", None), slow).expect("the host comes first");
    assert!(world.is_closed(newer));
    assert_begins_anew(&mut world, own);
}

fn a_late_attempt_of_another_user_ends_nothing(shards: u16) {
    let mut world = world(shards);
    let slow = world.accept();
    let newer = connected(&mut world, &of_user("a", Some("ann")));
    assert_eq!(world.connect_accepted(&of_user("a", Some("bob")), slow), Err(Refusal::Superseded));
    world.send(newer, wire::PINGREQ);
    assert_eq!(world.take_packets(newer), ["PINGRESP"]);
}

fn a_will_to_a_reserved_topic_reaches_nobody(shards: u16) {
    let mut world = world(shards);
    let watcher = connected(&mut world, &Connect::new("watcher"));
    world.send(watcher, &wire::subscribe(1, &[("$SYS/#", 2)]));
    world.take_output(watcher);
    for topic in ["$SYS", "$SYS/broker/uptime", "$CULEX/dead-letters/a/b"] {
        let will = Some(Will::new(topic, "forged", 1).retained());
        let forger = connected(&mut world, &Connect { will, ..Connect::new("forger") });
        world.lose(forger);
    }
    assert!(world.take_packets(watcher).is_empty());
    assert_eq!(world.commons.retained_count(), 0);
    assert_eq!(world.sum(|stats| stats.wills_published), 0);
    assert_eq!(world.sum(|stats| stats.messages_reserved_topic), 3);
}

fn what_is_of_the_host_is_neither_written_nor_read_by_the_network(shards: u16) {
    let mut world = world(shards);
    let host = world.connect_trusted(&Connect::new("host")).expect("accepted");
    world.take_output(host);
    world.send(host, &wire::subscribe(1, &[("$CULEX/#", 1)]));
    assert_eq!(world.take_packets(host), ["SUBACK 1 [1]"]);
    let stranger = connected(&mut world, &Connect::new("stranger"));
    world.send(stranger, &wire::subscribe(1, &[("$CULEX/#", 1), ("$CULEX/+/b", 0), ("$CULEX", 2), ("#", 0)]));
    assert_eq!(world.take_packets(stranger), ["SUBACK 1 [128, 128, 128, 0]"]);
    world.send(stranger, &Publish::new("$CULEX/a/b", "forged").qos(1, 7).retained().encode());
    assert_eq!(world.take_packets(stranger), ["PUBACK 7"]);
    assert_eq!((world.commons.retained_count(), world.sum(|stats| stats.messages_reserved_topic)), (0, 1));
    world.send(host, &Publish::new("$CULEX/a/b", "its own").retained().encode());
    assert_eq!(world.take_packets(host), ["PUBLISH $CULEX/a/b its own"]);
    assert!(world.take_packets(stranger).is_empty());
    assert_eq!(world.commons.retained_count(), 1);
}
