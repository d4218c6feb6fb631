//! The engine without sockets, with clients that come in where other terms hold: a mount point, limits of a listener.

#![expect(clippy::expect_used, reason = "these functions are tests, though clippy sees functions")]

use std::sync::Arc;

use culex_codec::{TopicFilter, TopicName};
use culex_core::engine::access::{AccessControl, Identity, Rights};
use culex_core::engine::error::Refusal;
use culex_core::engine::question::{Asks, Question, Verdict};
use culex_core::engine::{MountPoint, Terms};
use culex_core::limits::{Limit, Limits};
use culex_tests::wire::{self, Connect, Publish, Will};
use culex_tests::world::{Peer, Store, World};

culex_tests::on_shards!(
    topics_are_full_inside_and_bare_outside,
    what_is_not_below_the_mount_point_does_not_reach_it,
    two_mount_points_are_two_worlds,
    retained_messages_are_retained_in_full_and_handed_out_bare,
    unsubscribe_and_a_second_subscribe_name_the_same_subscription,
    a_will_is_published_in_full,
    rules_and_hooks_know_full_topics,
    a_queue_keeps_full_topics_and_what_the_client_cannot_name_is_dropped,
    the_reserved_topics_are_out_of_reach,
    a_topic_that_grows_too_long_closes,
    limits_of_a_listener_hold_for_its_connections_alone,
    a_packet_that_its_listener_allows_has_room,
    without_limits_of_its_own_a_listener_has_those_of_now,
    limits_of_a_listener_hold_for_the_queue_until_its_client_comes_in_elsewhere,
);

const NOTHING: [&str; 0] = [];

fn at_most(n: u64) -> Limit {
    Limit::at_most(n).expect("not zero")
}

fn mounted(text: &str) -> Arc<Terms> {
    let mount_point = Some(MountPoint::new(text).expect("a mount point"));
    Arc::new(Terms { limits: None, mount_point })
}

fn world(shards: u16) -> World {
    World::new(shards, &Limits::default(), Store::Open)
}

fn through(world: &mut World, connect: &Connect, terms: &Arc<Terms>) -> Peer {
    let peer = world.connect_through(connect, terms).expect("accepted");
    world.take_output(peer);
    peer
}

fn plain(world: &mut World, id: &str, filter: &str) -> Peer {
    let peer = world.connect(&Connect::new(id)).expect("accepted");
    world.send(peer, &wire::subscribe(1, &[(filter, 2)]));
    world.take_output(peer);
    peer
}

fn subscribed(world: &mut World, id: &str, terms: &Arc<Terms>, filter: &str) -> Peer {
    let peer = through(world, &Connect::new(id), terms);
    world.send(peer, &wire::subscribe(1, &[(filter, 2)]));
    assert_eq!(world.take_packets(peer), ["SUBACK 1 [2]"]);
    peer
}

fn topics_are_full_inside_and_bare_outside(shards: u16) {
    let mut world = world(shards);
    let house = mounted("house/");
    let outside = plain(&mut world, "outside", "#");
    let inside = subscribed(&mut world, "inside", &house, "+/t");
    let publisher = through(&mut world, &Connect::new("publisher"), &house);
    world.send(publisher, &Publish::new("a/t", "0").encode());
    world.send(publisher, &Publish::new("a/t", "1").qos(1, 1).encode());
    world.send(publisher, &Publish::new("a/t", "2").qos(2, 2).encode());
    assert_eq!(world.take_packets(publisher), ["PUBACK 1", "PUBREC 2"]);
    let expected = |topic: &str| {
        [
            format!("PUBLISH {topic} 0"),
            format!("PUBLISH {topic} 1 q1 id=1"),
            format!("PUBLISH {topic} 2 q2 id=2"),
        ]
    };
    assert_eq!(world.take_packets(outside), expected("house/a/t"));
    assert_eq!(world.take_packets(inside), expected("a/t"));
    // One that is shared and not copied, from outside.
    let large = "x".repeat(10_000);
    let other = world.connect(&Connect::new("other")).expect("accepted");
    world.send(other, &Publish::new("house/b/t", &large).encode());
    assert_eq!(world.take_packets(inside), [format!("PUBLISH b/t {large}")]);
    assert_eq!(world.take_packets(outside), [format!("PUBLISH house/b/t {large}")]);
}

fn what_is_not_below_the_mount_point_does_not_reach_it(shards: u16) {
    let mut world = world(shards);
    let house = mounted("house/");
    let inside = subscribed(&mut world, "inside", &house, "#");
    let outside = world.connect(&Connect::new("outside")).expect("accepted");
    for (number, topic) in ["house", "house2/a", "a", "/house/a", "house/"].into_iter().enumerate() {
        let id = u16::try_from(number + 1).expect("few");
        world.send(outside, &Publish::new(topic, "x").qos(1, id).encode());
    }
    assert_eq!(world.take_packets(inside), NOTHING);
    // `house/#` matches `house` and `house/` too, which have no name below `house/`.
    assert_eq!(world.sum(|stats| stats.deliveries_denied), 2);
    assert_eq!(world.sum(|stats| stats.queue_messages), 0);
    world.send(outside, &Publish::new("house//", "x").encode());
    assert_eq!(world.take_packets(inside), ["PUBLISH / x"]);
}

fn two_mount_points_are_two_worlds(shards: u16) {
    let mut world = world(shards);
    let terms = [mounted("one/"), mounted("two/")];
    let [one, two] = terms.each_ref().map(|terms| {
        let name = terms.mount_point.as_ref().map_or("", MountPoint::as_str);
        subscribed(&mut world, name, terms, "#")
    });
    world.send(one, &Publish::new("../two/t", "x").encode());
    world.send(one, &Publish::new("t", "from one").encode());
    assert_eq!(world.take_packets(one), ["PUBLISH ../two/t x", "PUBLISH t from one"]);
    assert_eq!(world.take_packets(two), NOTHING);
}

fn retained_messages_are_retained_in_full_and_handed_out_bare(shards: u16) {
    let mut world = world(shards);
    let house = mounted("house/");
    let publisher = through(&mut world, &Connect::new("publisher"), &house);
    world.send(publisher, &Publish::new("a", "kept").qos(1, 1).retained().encode());
    let outside = plain(&mut world, "outside", "none");
    world.send(outside, &Publish::new("house", "not below").retained().encode());
    world.send(outside, &wire::subscribe(2, &[("#", 1)]));
    let expected = ["SUBACK 2 [1]", "PUBLISH house not below retain", "PUBLISH house/a kept q1 id=1 retain"];
    assert_eq!(world.take_packets(outside), expected);
    let inside = through(&mut world, &Connect::new("inside"), &house);
    world.send(inside, &wire::subscribe(1, &[("#", 0)]));
    assert_eq!(world.take_packets(inside), ["SUBACK 1 [0]", "PUBLISH a kept retain"]);
    world.send(publisher, &Publish::new("a", "").retained().encode());
    assert_eq!(world.commons.retained_count(), 1);
}

fn unsubscribe_and_a_second_subscribe_name_the_same_subscription(shards: u16) {
    let mut world = world(shards);
    let inside = subscribed(&mut world, "inside", &mounted("house/"), "t");
    world.send(inside, &wire::subscribe(2, &[("t", 0)]));
    assert_eq!(world.commons.subscription_count(), 1);
    world.send(inside, &wire::unsubscribe(3, &["house/t"]));
    assert_eq!(world.commons.subscription_count(), 1);
    world.send(inside, &wire::unsubscribe(4, &["t"]));
    assert_eq!(world.take_packets(inside), ["SUBACK 2 [0]", "UNSUBACK 3", "UNSUBACK 4"]);
    assert_eq!(world.commons.subscription_count(), 0);
}

fn a_will_is_published_in_full(shards: u16) {
    let mut world = world(shards);
    let house = mounted("house/");
    let outside = plain(&mut world, "outside", "#");
    let inside = subscribed(&mut world, "inside", &house, "#");
    let dying = Connect::new("dying").will(Will::new("will", "bye", 1).retained());
    let dying = through(&mut world, &dying, &house);
    world.lose(dying);
    assert_eq!(world.take_packets(inside), ["PUBLISH will bye q1 id=1"]);
    assert_eq!(world.take_packets(outside), ["PUBLISH house/will bye q1 id=1"]);
    let long = Connect::new("long").will(Will::new(&"x".repeat(65_530), "bye", 0));
    assert_eq!(world.connect_through(&long, &house), Err(Refusal::WillTopic));
}

/// Everybody may do everything below `house/free`.
#[derive(Debug)]
struct Free;

impl AccessControl for Free {
    fn rights(&self, _: &Identity) -> Arc<dyn Rights> {
        Arc::new(Self)
    }
}

impl Rights for Free {
    fn may_publish(&self, topic: TopicName<'_>) -> bool {
        topic.as_str().starts_with("house/free")
    }

    fn may_receive(&self, topic: TopicName<'_>) -> bool {
        self.may_publish(topic)
    }

    fn may_subscribe(&self, filter: TopicFilter<'_>) -> bool {
        filter.as_str().starts_with("house/free")
    }
}

fn rules_and_hooks_know_full_topics(shards: u16) {
    let asks = Asks { publish: true, subscribe: true };
    let mut world = World::asking(shards, &Limits::default(), Store::Open, asks);
    for shard in &mut world.shards {
        shard.set_access_control(Some(Arc::new(Free)));
    }
    let house = mounted("house/");
    let peer = through(&mut world, &Connect::new("peer"), &house);
    world.send(peer, &wire::subscribe(1, &[("free/#", 1), ("#", 0)]));
    let Some((_, Question::Subscribe { filters, .. })) = world.questions.pop_front() else { unreachable!() };
    let filters: Vec<_> = filters.iter().map(|request| &*request.filter).collect();
    assert_eq!(filters, ["house/free/#", "house/#"]);
    world.answer(peer, Verdict::Granted(vec![true, true]));
    assert_eq!(world.take_packets(peer), ["SUBACK 1 [1, 128]"]);
    world.send(peer, &Publish::new("other", "x").qos(1, 2).encode());
    assert!(world.questions.is_empty(), "the rules come first");
    world.send(peer, &Publish::new("free/t", "x").qos(1, 3).encode());
    let Some((_, Question::Publish(message))) = world.questions.pop_front() else { unreachable!() };
    assert_eq!(message.topic(), "house/free/t");
    world.answer(peer, Verdict::Deliver(Box::new(message)));
    assert_eq!(world.take_packets(peer), ["PUBACK 2", "PUBLISH free/t x q1 id=1", "PUBACK 3"]);
    let will = Connect::new("will").will(Will::new("free/will", "bye", 0));
    assert!(world.connect_through(&will, &house).is_ok());
    let will = Connect::new("will").will(Will::new("other", "bye", 0));
    assert_eq!(world.connect_through(&will, &house), Err(Refusal::WillNotAuthorized));
}

fn a_queue_keeps_full_topics_and_what_the_client_cannot_name_is_dropped(shards: u16) {
    let mut world = world(shards);
    let (house, yard) = (mounted("house/"), mounted("yard/"));
    let stored = through(&mut world, &Connect::new("stored").persistent(), &house);
    world.send(stored, &wire::subscribe(1, &[("t", 1)]));
    world.lose(stored);
    let publish = |world: &mut World, text: &str| {
        let peer = through(world, &Connect::new("publisher"), &house);
        world.send(peer, &Publish::new("t", text).qos(1, 1).encode());
    };
    publish(&mut world, "one");
    let stored = world.connect_through(&Connect::new("stored").persistent(), &house).expect("accepted");
    assert_eq!(world.take_packets(stored), ["CONNACK Success session=true", "PUBLISH t one q1 id=1"]);
    world.lose(stored);
    publish(&mut world, "two");
    // Through another door it has no name for them; they are over.
    let stored = world.connect_through(&Connect::new("stored").persistent(), &yard).expect("accepted");
    assert_eq!(world.take_packets(stored), ["CONNACK Success session=true"]);
    assert_eq!(world.sum(|stats| stats.queue_messages), 0);
    assert_eq!(world.sum(|stats| stats.deliveries_denied), 2);
    publish(&mut world, "three");
    assert_eq!(world.take_packets(stored), NOTHING);
    // Where nothing is mounted, topics are what they are.
    let stored = world.connect(&Connect::new("stored").persistent()).expect("accepted");
    publish(&mut world, "four");
    assert_eq!(world.take_packets(stored), ["CONNACK Success session=true", "PUBLISH house/t four q1 id=2"]);
}

fn the_reserved_topics_are_out_of_reach(shards: u16) {
    let mut world = world(shards);
    world.publish_system("$SYS/a", "x");
    let inside = subscribed(&mut world, "inside", &mounted("house/"), "$SYS/#");
    assert_eq!(world.take_packets(inside), NOTHING);
    world.send(inside, &Publish::new("$SYS/a", "its own").encode());
    assert_eq!(world.take_packets(inside), ["PUBLISH $SYS/a its own"]);
    assert_eq!(world.sum(|stats| stats.messages_reserved_topic), 0);
}

fn a_topic_that_grows_too_long_closes(shards: u16) {
    let mut world = world(shards);
    let house = mounted("house/");
    let topic = "x".repeat(65_529);
    let inside = subscribed(&mut world, "inside", &house, &topic);
    world.send(inside, &Publish::new(&topic, "fits").encode());
    assert_eq!(world.take_packets(inside).len(), 1);
    let longer = "x".repeat(65_530);
    world.send(inside, &wire::unsubscribe(2, &[&longer]));
    assert_eq!(world.take_packets(inside), ["UNSUBACK 2"]);
    for packet in [Publish::new(&longer, "").encode(), wire::subscribe(3, &[(&longer, 0)])] {
        let inside = through(&mut world, &Connect::new("inside"), &house);
        world.send(inside, &packet);
        assert!(world.is_closed(inside));
    }
}

fn limits_of_a_listener_hold_for_its_connections_alone(shards: u16) {
    let mut world = world(shards);
    let limits = Limits {
        packet_bytes: 100,
        topic_levels: at_most(3),
        subscriptions_per_session: at_most(1),
        incoming_in_flight: 1,
        max_keep_alive: at_most(60),
        messages_per_second: at_most(5),
        ..Limits::default()
    };
    let small = Arc::new(Terms { limits: Some(limits), mount_point: None });
    let keep_alive = |keep_alive| Connect { keep_alive, ..Connect::new("small") };
    let refusal = Refusal::KeepAlive { keep_alive_s: 61, max_s: 60 };
    assert_eq!(world.connect_through(&keep_alive(61), &small), Err(refusal));
    let cases: [(&str, Vec<u8>); 3] = [
        ("packet_bytes", Publish::new("t", "x".repeat(100)).encode()),
        ("topic_levels", Publish::new("a/b/c/d", "x").encode()),
        ("incoming_in_flight", [1, 2].map(|id| Publish::new("t", "x").qos(2, id).encode()).concat()),
    ];
    for (limit, bytes) in cases {
        for (is_small, connect) in [(true, keep_alive(60)), (false, Connect::new("large"))] {
            let peer = if is_small {
                through(&mut world, &connect, &small)
            } else {
                world.connect(&connect).expect("accepted")
            };
            world.send(peer, &bytes);
            assert_eq!(world.is_closed(peer), is_small, "{limit}");
        }
    }
    let peer = through(&mut world, &keep_alive(60), &small);
    world.send(peer, &wire::subscribe(1, &[("a", 0), ("b", 0)]));
    assert_eq!(world.take_packets(peer), ["SUBACK 1 [0, 128]"]);
    world.send(peer, &Publish::new("a", "x").encode().repeat(10));
    assert_eq!(world.take_packets(peer).len(), 5);
}

fn a_packet_that_its_listener_allows_has_room(shards: u16) {
    let limits = Limits { packet_bytes: 1000, partial_total_bytes: at_most(1000), ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    let large = Limits { packet_bytes: 5000, ..Limits::default() };
    let terms = Arc::new(Terms { limits: Some(large), mount_point: None });
    let reader = plain(&mut world, "reader", "t");
    let peer = through(&mut world, &Connect::new("large"), &terms);
    let packet = Publish::new("t", "x".repeat(4000)).encode();
    let (begin, rest) = packet.split_at(3000);
    world.send(peer, begin);
    assert!(!world.is_closed(peer));
    world.send(peer, rest);
    assert_eq!(world.take_packets(reader).len(), 1);
    // Two of them are more than there is room for.
    let other = through(&mut world, &Connect::new("other"), &terms);
    world.send(peer, begin);
    world.send(other, begin);
    assert_eq!(
        [peer, other].map(|peer| world.is_closed(peer)).iter().filter(|is| **is).count(),
        usize::from(shards == 1)
    );
}

fn without_limits_of_its_own_a_listener_has_those_of_now(shards: u16) {
    let mut world = world(shards);
    let peer = through(&mut world, &Connect::new("below"), &mounted("house/"));
    world.set_limits(&Limits { packet_bytes: 100, ..Limits::default() });
    world.send(peer, &Publish::new("t", "x".repeat(100)).encode());
    assert!(world.is_closed(peer));
}

fn limits_of_a_listener_hold_for_the_queue_until_its_client_comes_in_elsewhere(shards: u16) {
    let mut world = world(shards);
    let limits = Limits { queue_messages: at_most(2), in_flight: 1, ..Limits::default() };
    let small = Arc::new(Terms { limits: Some(limits), mount_point: None });
    let stored = through(&mut world, &Connect::new("stored").persistent(), &small);
    world.send(stored, &wire::subscribe(1, &[("t", 1)]));
    world.lose(stored);
    let publisher = world.connect(&Connect::new("publisher")).expect("accepted");
    let publish = |world: &mut World| {
        for id in 1..=5 {
            world.send(publisher, &Publish::new("t", id.to_string()).qos(1, id).encode());
        }
    };
    publish(&mut world);
    assert_eq!(world.sum(|stats| stats.queue_messages), 2);
    let stored = through(&mut world, &Connect::new("stored").persistent(), &small);
    world.lose(stored);
    let stored = world.connect(&Connect::new("stored").persistent()).expect("accepted");
    world.lose(stored);
    publish(&mut world);
    assert_eq!(world.sum(|stats| stats.queue_messages), 7);
}
