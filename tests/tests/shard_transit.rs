//! The engine without sockets: what is on its way between two shards while its receiver changes its mind.

#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use culex_core::engine::store::Record;
use culex_core::limits::Limits;
use culex_tests::wire::{self, Connect, Publish};
use culex_tests::world::{Peer, Store, World};

fn connected(world: &mut World, connect: &Connect) -> Peer {
    let peer = world.connect(connect).expect("accepted");
    world.take_output(peer);
    peer
}

/// A publisher and a receiver in different shards, and every message between them on its way.
fn apart(receiver: &Connect) -> (World, Peer, Peer) {
    let mut world = World::new(2, &Limits::default(), Store::Open);
    let receiver = connected(&mut world, receiver);
    let publisher = (0..)
        .map(|number| connected(&mut world, &Connect::new(&format!("publisher-{number}"))))
        .find(|peer| peer.shard() != receiver.shard())
        .expect("one of them hashes to the other shard");
    (world, publisher, receiver)
}

fn subscribe(world: &mut World, peer: Peer, filter: &str, qos: u8) -> Vec<String> {
    world.send(peer, &wire::subscribe(1, &[(filter, qos)]));
    world.take_packets(peer)
}

fn unsubscribe(world: &mut World, peer: Peer, filter: &str) {
    world.send(peer, &wire::unsubscribe(2, &[filter]));
    assert_eq!(world.take_packets(peer), ["UNSUBACK 2"]);
}

#[test]
fn nothing_that_was_on_its_way_comes_after_unsuback() {
    for qos in 0..3 {
        let (mut world, publisher, receiver) = apart(&Connect::new("receiver"));
        subscribe(&mut world, receiver, "t", qos);
        world.hold_mail();
        world.send(publisher, &Publish::new("t", "late").qos(qos, u16::from(qos)).encode());
        unsubscribe(&mut world, receiver, "t");
        world.release_mail();
        assert_eq!(world.take_packets(receiver), Vec::<String>::new(), "QoS {qos}");
    }
}

/// The simulator's seed 1264.
#[test]
fn what_was_retained_while_on_its_way_does_not_come_a_second_time_after_unsuback() {
    let (mut world, publisher, receiver) = apart(&Connect::new("receiver"));
    subscribe(&mut world, receiver, "t", 0);
    world.hold_mail();
    world.send(publisher, &Publish::new("t", "kept").retained().encode());
    unsubscribe(&mut world, receiver, "t");
    assert_eq!(subscribe(&mut world, receiver, "t", 0), ["SUBACK 1 [0]", "PUBLISH t kept retain"]);
    unsubscribe(&mut world, receiver, "t");
    world.release_mail();
    assert_eq!(world.take_packets(receiver), Vec::<String>::new());
}

#[test]
fn what_is_on_its_way_still_reaches_another_subscription_that_matches() {
    let (mut world, publisher, receiver) = apart(&Connect::new("receiver"));
    subscribe(&mut world, receiver, "t", 1);
    subscribe(&mut world, receiver, "+", 1);
    world.hold_mail();
    world.send(publisher, &Publish::new("t", "x").qos(1, 1).encode());
    unsubscribe(&mut world, receiver, "t");
    world.release_mail();
    assert_eq!(world.take_packets(receiver), ["PUBLISH t x q1 id=1"]);
}

#[test]
fn the_record_of_a_message_that_came_too_late_is_ended() {
    let (mut world, publisher, receiver) = apart(&Connect::new("receiver").persistent());
    subscribe(&mut world, receiver, "t", 1);
    world.hold_mail();
    world.send(publisher, &Publish::new("t", "x").qos(1, 1).encode());
    unsubscribe(&mut world, receiver, "t");
    world.release_mail();
    let records: Vec<_> = world.batches.into_iter().flat_map(|(_, batch)| batch.records).collect();
    let published = records.iter().find_map(|record| {
        let Record::Published { publication, recipients, .. } = record else { return None };
        (recipients.len() == 1).then_some(publication.id)
    });
    let done = records.iter().find_map(|record| {
        let Record::Done { entry, .. } = record else { return None };
        Some(*entry)
    });
    assert!(published.is_some());
    assert_eq!(done, published);
}
