//! Questions of the engine to its host: what waits, what goes on, and what becomes of an answer that nobody needs.

#![expect(clippy::expect_used, clippy::panic, reason = "a helper of a test fails the test")]

use std::time::Duration;

use culex_codec::QoS;
use culex_core::engine::question::{Asks, HookFailure, Message, Question, Verdict};
use culex_core::engine::shard::Event;
use culex_core::limits::{Limit, Limits};
use culex_tests::wire::{self, Connect, Publish, Will};
use culex_tests::world::{Peer, Store, World};

culex_tests::on_shards!(
    publishes_of_every_qos_keep_their_order_behind_a_question,
    what_is_refused_or_dropped_is_acknowledged_and_counted,
    a_changed_message_is_delivered_instead,
    the_qos_of_another_message_does_not_raise_the_qos_of_this_one,
    a_repeated_qos_2_publish_is_neither_asked_nor_delivered_twice,
    each_filter_has_its_own_answer_and_what_has_none_is_refused,
    nobody_is_asked_about_filters_that_no_session_has_room_for,
    no_answer_in_time_closes_the_connection_and_publishes_its_will,
    keep_alive_runs_again_from_the_answer_on,
    a_verdict_on_something_else_closes_the_connection,
    nobody_is_asked_without_need,
    acknowledgements_behind_an_answer_wait_for_the_store_in_their_order,
    a_lost_connection_waits_for_no_answer,
);

const ALL: Asks = Asks { publish: true, subscribe: true };
const PUBLISH: Asks = Asks { publish: true, subscribe: false };
const NOTHING: [&str; 0] = [];

fn world(shards: u16, asks: Asks) -> World {
    World::asking(shards, &Limits::default(), Store::Open, asks)
}

fn connected(world: &mut World, connect: &Connect) -> Peer {
    let peer = world.connect(connect).expect("accepted");
    world.take_output(peer);
    peer
}

fn subscribed(world: &mut World, id: &str, filter: &str, qos: u8) -> Peer {
    let peer = connected(world, &Connect::new(id));
    world.send(peer, &wire::subscribe(1, &[(filter, qos)]));
    world.take_output(peer);
    peer
}

/// The one question that is open.
fn message(world: &mut World) -> (Peer, Message) {
    match world.questions.pop_front() {
        Some((peer, Question::Publish(message))) if world.questions.is_empty() => (peer, message),
        other => panic!("{other:?} and {:?}", world.questions),
    }
}

fn deliver(world: &mut World) -> Message {
    let (peer, message) = message(world);
    world.answer(peer, Verdict::Deliver(Box::new(message.clone())));
    message
}

fn open_questions(world: &World) -> u64 {
    world.sum(|stats| stats.questions_open)
}

fn publishes_of_every_qos_keep_their_order_behind_a_question(shards: u16) {
    let mut world = world(shards, PUBLISH);
    let subscriber = subscribed(&mut world, "subscriber", "t", 2);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    let packets = [
        Publish::new("t", "1").qos(1, 1).encode(),
        Publish::new("t", "2").encode(),
        Publish::new("t", "3").qos(2, 2).encode(),
        Publish::new("t", "4").qos(1, 3).encode(),
        wire::PINGREQ.to_vec(),
    ];
    world.send(publisher, &packets.concat());
    for payload in ["1", "2", "3", "4"] {
        assert_eq!(world.take_packets(subscriber), NOTHING, "nobody has it before the answer");
        let asked = deliver(&mut world);
        assert_eq!(
            (&**asked.payload(), asked.client_id(), asked.is_will()),
            (payload.as_bytes(), "publisher", false)
        );
        let got = world.take_packets(subscriber);
        assert!(matches!(&*got, [one] if one.starts_with(&format!("PUBLISH t {payload}"))), "{got:?}");
    }
    assert_eq!(world.take_packets(publisher), ["PUBACK 1", "PUBREC 2", "PUBACK 3", "PINGRESP"]);
    assert_eq!((world.sum(|stats| stats.questions), open_questions(&world)), (4, 0));
}

fn what_is_refused_or_dropped_is_acknowledged_and_counted(shards: u16) {
    let mut world = world(shards, PUBLISH);
    let subscriber = subscribed(&mut world, "subscriber", "#", 2);
    let publisher = connected(&mut world, &Connect::new("publisher").persistent());
    for (verdict, qos, expected) in [
        (Verdict::Refused, 1, "PUBACK 5"),
        (Verdict::Dropped, 1, "PUBACK 5"),
        (Verdict::Refused, 2, "PUBREC 5"),
    ] {
        world.send(publisher, &Publish::new("t", "x").qos(qos, 5).retained().encode());
        world.answer(publisher, verdict);
        assert_eq!(world.take_packets(publisher), [expected]);
    }
    world.send(publisher, &wire::pubrel(5));
    assert_eq!(world.take_packets(publisher), ["PUBCOMP 5"]);
    assert_eq!(world.take_packets(subscriber), NOTHING);
    assert_eq!(world.commons.retained_count(), 0);
    assert_eq!(
        (world.sum(|stats| stats.messages_refused), world.sum(|stats| stats.messages_dropped_by_hook)),
        (2, 1)
    );
}

fn a_changed_message_is_delivered_instead(shards: u16) {
    let mut world = world(shards, PUBLISH);
    let subscriber = subscribed(&mut world, "subscriber", "#", 2);
    let publisher = connected(&mut world, &Connect::new("publisher").persistent());
    world.send(publisher, &Publish::new("old", "x").qos(2, 7).encode());
    let (peer, mut message) = message(&mut world);
    message.set_topic("new/topic").expect("a topic");
    message.set_payload(&b"changed"[..]).expect("small");
    message.limit_qos(QoS::AtLeastOnce);
    message.set_retain(true);
    world.answer(peer, Verdict::Deliver(Box::new(message)));
    assert_eq!(world.take_packets(subscriber), ["PUBLISH new/topic changed q1 id=1"]);
    assert_eq!(world.take_packets(publisher), ["PUBREC 7"]);
    assert_eq!(world.commons.retained_count(), 1);
}

fn the_qos_of_another_message_does_not_raise_the_qos_of_this_one(shards: u16) {
    let mut world = world(shards, PUBLISH);
    let subscriber = subscribed(&mut world, "subscriber", "#", 2);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    world.send(publisher, &Publish::new("t", "kept").qos(2, 1).encode());
    let kept = deliver(&mut world);
    world.take_output(subscriber);
    world.send(publisher, &Publish::new("t", "x").encode());
    let (peer, _) = message(&mut world);
    world.answer(peer, Verdict::Deliver(Box::new(kept)));
    assert_eq!(world.take_packets(subscriber), ["PUBLISH t kept"]);
}

fn a_repeated_qos_2_publish_is_neither_asked_nor_delivered_twice(shards: u16) {
    let mut world = world(shards, PUBLISH);
    let subscriber = subscribed(&mut world, "subscriber", "t", 0);
    let publish = Publish::new("t", "x").qos(2, 9);
    let id = Connect::new("publisher").persistent();
    let first = connected(&mut world, &id);
    world.send(first, &publish.encode());
    // Taken over while the question is open: nothing was taken, so it is asked again.
    let second = connected(&mut world, &id);
    assert!(world.is_closed(first));
    let late = world.questions.pop_front().expect("asked");
    world.send(second, &publish.clone().again().encode());
    let (peer, message) = message(&mut world);
    assert_eq!(peer, second);
    world.answer(late.0, Verdict::Deliver(Box::new(message.clone())));
    assert_eq!(world.take_packets(subscriber), NOTHING, "the answer for a dead connection");
    world.answer(second, Verdict::Deliver(Box::new(message.clone())));
    world.answer(second, Verdict::Deliver(Box::new(message)));
    assert_eq!(world.take_packets(subscriber), ["PUBLISH t x"]);
    world.send(second, &publish.again().encode());
    assert!(world.questions.is_empty());
    assert_eq!(world.take_packets(second), ["PUBREC 9", "PUBREC 9"]);
    assert_eq!(world.take_packets(subscriber), NOTHING);
    assert_eq!(open_questions(&world), 0);
}

fn each_filter_has_its_own_answer_and_what_has_none_is_refused(shards: u16) {
    let mut world = world(shards, ALL);
    let peer = connected(&mut world, &Connect::new("a").credentials("ann", b"secret"));
    world.send(
        peer,
        &[wire::subscribe(4, &[("a", 0), ("b/#", 1), ("c", 2), ("d", 2)]), wire::PINGREQ.to_vec()].concat(),
    );
    let (asked, question) = world.questions.pop_front().expect("asked");
    let Question::Subscribe { identity, filters } = question else { panic!("{question:?}") };
    assert_eq!((&*identity.client_id, identity.user_name.as_deref()), ("a", Some("ann")));
    let wanted: Vec<_> = filters.iter().map(|request| (&*request.filter, request.qos as u8)).collect();
    assert_eq!(wanted, [("a", 0), ("b/#", 1), ("c", 2), ("d", 2)]);
    assert_eq!(world.take_packets(peer), NOTHING);
    world.answer(asked, Verdict::Granted(vec![true, false, true]));
    assert_eq!(world.take_packets(peer), ["SUBACK 4 [0, 128, 2, 128]", "PINGRESP"]);
    assert_eq!(
        (
            world.sum(|stats| stats.subscriptions),
            world.sum(|stats| stats.subscriptions_denied),
            world.sum(|stats| stats.subscriptions_refused)
        ),
        (2, 2, 0)
    );
    let granted: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| {
            let Event::Subscribed { filter, granted, .. } = event else { return None };
            Some((&**filter, granted.is_some()))
        })
        .collect();
    assert_eq!(granted, [("a", true), ("b/#", false), ("c", true), ("d", false)]);
    world.send(peer, &wire::unsubscribe(5, &["a", "b/#"]));
    let gone = Event::Unsubscribed { client_id: "a".into(), filter: "a".into() };
    assert_eq!(
        world.events.iter().filter(|event| matches!(event, Event::Unsubscribed { .. })).collect::<Vec<_>>(),
        [&gone]
    );
}

fn nobody_is_asked_about_filters_that_no_session_has_room_for(shards: u16) {
    let limits = Limits {
        subscriptions_per_session: Limit::at_most(2).expect("not zero"),
        filters_per_packet: Limit::at_most(1000).expect("not zero"),
        ..Limits::default()
    };
    let mut world = World::asking(shards, &limits, Store::Open, ALL);
    let peer = connected(&mut world, &Connect::new("a"));
    let names: Vec<_> = (0..3000).map(|number| format!("f/{number}")).collect();
    let pairs: Vec<_> = names.iter().map(|name| (name.as_str(), 0)).collect();
    world.send(peer, &wire::subscribe(1, &pairs));
    let Some((_, Question::Subscribe { filters, .. })) = world.questions.pop_front() else {
        panic!("not asked")
    };
    assert_eq!(filters.len(), 1000);
    world.answer(peer, Verdict::Granted(vec![true; filters.len()]));
    let suback = world.take_output(peer);
    assert_eq!(suback.len(), 5 + 3000);
    assert_eq!(suback.iter().rev().take_while(|code| **code == 0x80).count(), 2998);
    assert_eq!(world.sum(|stats| stats.subscriptions_refused), 2998);
}

fn no_answer_in_time_closes_the_connection_and_publishes_its_will(shards: u16) {
    for failure in [HookFailure::Late, HookFailure::Panicked] {
        let limits = Limits { hook_timeout: Duration::from_secs(5), ..Limits::default() };
        let mut world = World::asking(shards, &limits, Store::Open, PUBLISH);
        let watcher = subscribed(&mut world, "watcher", "#", 0);
        let mut connect = Connect::new("a").will(Will::new("will", "gone", 0));
        connect.keep_alive = 1;
        let peer = connected(&mut world, &connect);
        world.send(peer, &Publish::new("t", "x").qos(1, 1).encode());
        // Longer than 1.5 times Keep Alive: the time of a hook is not the client's.
        world.advance(4_999);
        world.send(watcher, wire::PINGREQ);
        assert_eq!(world.take_packets(watcher), ["PINGRESP"], "nobody else waits");
        assert!(!world.is_closed(peer));
        if failure == HookFailure::Late {
            world.advance(1);
        } else {
            world.answer(peer, Verdict::Failed(failure));
        }
        assert!(world.is_closed(peer));
        assert_eq!(world.take_packets(peer), NOTHING);
        assert_eq!(world.take_packets(watcher), ["PUBLISH will gone"]);
        let ends = world.events.iter().filter_map(|event| {
            let Event::Disconnected { reason, .. } = event else { return None };
            Some(reason.to_string())
        });
        assert_eq!(ends.collect::<Vec<_>>(), [format!("no answer about its packet: {failure}")]);
        assert_eq!(world.sum(|stats| stats.connections_hook_failed), 1);
        assert_eq!(open_questions(&world), 0);
        world.answer(peer, Verdict::Refused);
    }
}

fn keep_alive_runs_again_from_the_answer_on(shards: u16) {
    let mut world = world(shards, PUBLISH);
    let mut connect = Connect::new("a");
    connect.keep_alive = 10;
    let peer = connected(&mut world, &connect);
    world.send(peer, &Publish::new("t", "x").encode());
    for _ in 0..29 {
        world.advance(1_000);
    }
    deliver(&mut world);
    world.advance(14_999);
    assert!(!world.is_closed(peer));
    world.advance(1);
    assert!(world.is_closed(peer));
}

fn a_verdict_on_something_else_closes_the_connection(shards: u16) {
    let mut world = world(shards, ALL);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    world.send(publisher, &Publish::new("t", "x").encode());
    world.answer(publisher, Verdict::Granted(vec![true]));
    assert!(world.is_closed(publisher));
    let subscriber = connected(&mut world, &Connect::new("subscriber"));
    world.send(subscriber, &wire::subscribe(1, &[("t", 0)]));
    world.answer(subscriber, Verdict::Refused);
    assert!(world.is_closed(subscriber));
    assert_eq!(world.sum(|stats| stats.subscriptions), 0);
}

fn nobody_is_asked_without_need(shards: u16) {
    let mut world = world(shards, PUBLISH);
    let peer = subscribed(&mut world, "a", "#", 0);
    world.send(peer, &Publish::new("$SYS/x", "x").qos(1, 3).encode());
    assert_eq!(world.take_packets(peer), ["PUBACK 3"], "dropped, whatever anybody says");
    world.lose(peer);
    assert!(world.questions.is_empty());
    assert_eq!(world.sum(|stats| stats.messages_reserved_topic), 1);
}

fn acknowledgements_behind_an_answer_wait_for_the_store_in_their_order(shards: u16) {
    let mut world = World::asking(shards, &Limits::default(), Store::Held, PUBLISH);
    let keeper = world.connect(&Connect::new("keeper").persistent()).expect("accepted");
    world.store_all();
    world.send(keeper, &wire::subscribe(1, &[("kept", 1)]));
    world.store_all();
    let publisher = connected(&mut world, &Connect::new("publisher"));
    world.send(publisher, &Publish::new("kept", "1").qos(1, 1).encode());
    deliver(&mut world);
    world.send(publisher, &Publish::new("nobody", "2").qos(1, 2).encode());
    let (peer, _) = message(&mut world);
    world.answer(peer, Verdict::Refused);
    assert_eq!(world.take_packets(publisher), NOTHING);
    world.store_all();
    assert_eq!(world.take_packets(publisher), ["PUBACK 1", "PUBACK 2"]);
}

fn a_lost_connection_waits_for_no_answer(shards: u16) {
    let mut world = world(shards, PUBLISH);
    let watcher = subscribed(&mut world, "watcher", "#", 0);
    let peer = connected(&mut world, &Connect::new("a").will(Will::new("will", "gone", 0)));
    world.send(peer, &Publish::new("t", "x").encode());
    world.lose(peer);
    assert_eq!(world.take_packets(watcher), ["PUBLISH will gone"]);
    deliver(&mut world);
    world.advance(60_000);
    assert_eq!(world.take_packets(watcher), NOTHING);
    assert_eq!((open_questions(&world), world.sum(|stats| stats.connections_hook_failed)), (0, 0));
}
