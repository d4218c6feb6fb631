//! The gate of the access control: every way on which a message reaches a client, and every time at which a right may be
//! taken away.

#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;

use culex_codec::{TopicFilter, TopicName};
use culex_core::engine::access::{AccessControl, Identity, Rights};
use culex_core::engine::error::Refusal;
use culex_core::engine::store::Tables;
use culex_core::limits::Limits;
use culex_tests::wire::{self, Connect, Publish, Will};
use culex_tests::world::{Peer, Store, World};

culex_tests::on_shards!(
    what_may_not_be_published_is_acknowledged_and_reaches_nobody,
    a_filter_that_may_not_be_subscribed_is_refused,
    a_client_of_3_1_is_granted_and_gets_nothing,
    live_messages_are_looked_at_for_each_receiver,
    retained_messages_are_looked_at,
    a_queue_is_looked_at_when_it_is_sent,
    what_is_sent_again_is_looked_at_again,
    a_right_that_was_taken_away_ends_live_delivery,
    a_will_that_may_not_be_published_refuses_its_connect,
    a_will_whose_right_was_taken_away_is_not_published,
    another_user_who_takes_a_client_id_over_has_other_rights,
    a_stored_receiver_that_was_denied_has_nothing_in_the_store,
    cve_2018_12546_what_was_retained_without_a_right_by_now_reaches_no_new_subscription,
    a_retained_will_is_looked_at_as_that_of_its_client,
    what_a_client_retained_is_known_as_its_own_after_a_restart,
    whoever_retains_last_decides_who_may_have_retained,
    rules_may_let_every_retained_message_stay,
    what_the_host_retained_stays,
    what_the_host_retained_on_behalf_of_a_user_is_of_the_user,
);

const NOTHING: [&str; 0] = [];

/// Everybody may do everything but what begins so; `{user}` stands for the user name.
#[derive(Debug)]
struct Except {
    publish: &'static str,
    receive: &'static str,
    checks_retain_source: bool,
}

#[derive(Debug)]
struct Own {
    publish: String,
    receive: String,
}

impl AccessControl for Except {
    fn rights(&self, client: &Identity) -> Arc<dyn Rights> {
        let user = client.user_name.as_deref().unwrap_or("-");
        let of = |prefix: &str| prefix.replace("{user}", user);
        Arc::new(Own { publish: of(self.publish), receive: of(self.receive) })
    }

    fn checks_retain_source(&self) -> bool {
        self.checks_retain_source
    }
}

impl Rights for Own {
    fn may_publish(&self, topic: TopicName<'_>) -> bool {
        !topic.as_str().starts_with(&self.publish)
    }

    fn may_receive(&self, topic: TopicName<'_>) -> bool {
        !topic.as_str().starts_with(&self.receive)
    }

    fn may_subscribe(&self, filter: TopicFilter<'_>) -> bool {
        !filter.as_str().starts_with(&self.receive)
    }
}

const NEVER: &str = "never";

fn rules(world: &mut World, publish: &'static str, receive: &'static str) {
    set_rules(world, Except { publish, receive, checks_retain_source: true });
}

fn set_rules(world: &mut World, rules: Except) {
    let rules: Arc<dyn AccessControl> = Arc::new(rules);
    for shard in &mut world.shards {
        shard.set_access_control(Some(Arc::clone(&rules)));
    }
}

fn world(shards: u16) -> World {
    World::new(shards, &Limits::default(), Store::Open)
}

fn connected(world: &mut World, connect: &Connect) -> Peer {
    let peer = world.connect(connect).expect("accepted");
    world.take_output(peer);
    peer
}

fn subscribed(world: &mut World, connect: &Connect, filter: &str, qos: u8) -> Peer {
    let peer = connected(world, connect);
    world.send(peer, &wire::subscribe(1, &[(filter, qos)]));
    world.take_output(peer);
    peer
}

fn what_may_not_be_published_is_acknowledged_and_reaches_nobody(shards: u16) {
    let mut world = world(shards);
    rules(&mut world, "secret", NEVER);
    let subscriber = subscribed(&mut world, &Connect::new("subscriber"), "#", 2);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    world.send(publisher, &Publish::new("secret", "x").retained().encode());
    world.send(publisher, &Publish::new("secret", "x").qos(1, 5).retained().encode());
    world.send(publisher, &Publish::new("secret", "x").qos(2, 6).retained().encode());
    world.send(publisher, &wire::pubrel(6));
    assert_eq!(world.take_packets(publisher), ["PUBACK 5", "PUBREC 6", "PUBCOMP 6"]);
    assert_eq!(world.take_packets(subscriber), NOTHING);
    assert_eq!((world.commons.retained_count(), world.sum(|stats| stats.messages_refused)), (0, 3));
}

fn a_filter_that_may_not_be_subscribed_is_refused(shards: u16) {
    let mut world = world(shards);
    rules(&mut world, NEVER, "secret");
    let peer = connected(&mut world, &Connect::new("c"));
    world.send(peer, &wire::subscribe(7, &[("open", 1), ("secret/#", 1)]));
    assert_eq!(world.take_packets(peer), ["SUBACK 7 [1, 128]"]);
    assert_eq!(world.sum(|stats| stats.subscriptions_denied), 1);
}

fn a_client_of_3_1_is_granted_and_gets_nothing(shards: u16) {
    let mut world = world(shards);
    rules(&mut world, NEVER, "secret");
    let peer = connected(&mut world, &Connect::new("c").v31());
    world.send(peer, &wire::subscribe(7, &[("secret/#", 1)]));
    assert_eq!(world.take_packets(peer), ["SUBACK 7 [1]"]);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    world.send(publisher, &Publish::new("secret/x", "x").qos(1, 5).encode());
    assert_eq!(world.take_packets(peer), NOTHING);
}

fn live_messages_are_looked_at_for_each_receiver(shards: u16) {
    let mut world = world(shards);
    rules(&mut world, NEVER, "{user}");
    let of = |name: &str| Connect::new(name).credentials(name, b"");
    let ann = subscribed(&mut world, &of("ann"), "#", 2);
    let bob = subscribed(&mut world, &of("bob"), "#", 2);
    let publisher = connected(&mut world, &of("carl"));
    for qos in 0..3 {
        world.send(publisher, &Publish::new("ann", "x").qos(qos, u16::from(qos)).encode());
    }
    assert_eq!(world.take_packets(ann), NOTHING);
    assert_eq!(world.take_packets(bob).len(), 3);
    assert_eq!(world.sum(|stats| stats.deliveries_denied), 3);
}

fn retained_messages_are_looked_at(shards: u16) {
    let mut world = world(shards);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    for (topic, qos) in [("secret/0", 0), ("secret/1", 1), ("secret/2", 2), ("open", 1)] {
        world.send(publisher, &Publish::new(topic, "x").qos(qos, 9).retained().encode());
        world.send(publisher, &wire::pubrel(9));
    }
    rules(&mut world, NEVER, "secret");
    let subscriber = subscribed_packets(&mut world, "#");
    assert!(matches!(&*subscriber, [_, one] if one.starts_with("PUBLISH open x")), "{subscriber:?}");
}

fn subscribed_packets(world: &mut World, filter: &str) -> Vec<String> {
    let peer = connected(world, &Connect::new("late"));
    world.send(peer, &wire::subscribe(1, &[(filter, 2)]));
    world.take_packets(peer)
}

fn a_queue_is_looked_at_when_it_is_sent(shards: u16) {
    let mut world = world(shards);
    let subscriber = subscribed(&mut world, &Connect::new("s").persistent(), "#", 2);
    world.lose(subscriber);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    for (topic, qos) in [("secret/1", 1), ("open/1", 1), ("secret/2", 2), ("secret/3", 1), ("open/2", 2)] {
        world.send(publisher, &Publish::new(topic, "x").qos(qos, 9).encode());
        world.send(publisher, &wire::pubrel(9));
    }
    rules(&mut world, NEVER, "secret");
    let subscriber = world.connect(&Connect::new("s").persistent()).expect("accepted");
    let got = world.take_packets(subscriber);
    let topics: Vec<_> = got.iter().filter_map(|packet| packet.split(' ').nth(1)).collect();
    assert_eq!(topics, ["Success", "open/1", "open/2"], "CONNACK and what is open: {got:?}");
    assert_eq!(world.sum(|stats| stats.deliveries_denied), 3);
}

fn what_is_sent_again_is_looked_at_again(shards: u16) {
    let mut world = world(shards);
    let subscriber = subscribed(&mut world, &Connect::new("s").persistent(), "#", 2);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    for (topic, qos) in [("secret/1", 1), ("secret/2", 2), ("open/1", 1)] {
        world.send(publisher, &Publish::new(topic, "x").qos(qos, 9).encode());
        world.send(publisher, &wire::pubrel(9));
    }
    assert_eq!(world.take_packets(subscriber).len(), 3, "in flight");
    world.lose(subscriber);
    rules(&mut world, NEVER, "secret");
    let subscriber = world.connect(&Connect::new("s").persistent()).expect("accepted");
    let got = world.take_packets(subscriber);
    let topics: Vec<_> = got.iter().filter_map(|packet| packet.split(' ').nth(1)).collect();
    assert_eq!(topics, ["Success", "open/1"], "{got:?}");
    // What the client says of the others harms nobody.
    world.send(subscriber, &wire::puback(1));
    world.send(subscriber, &wire::puback(3));
    assert_eq!(world.sum(|stats| stats.queue_messages), 0);
}

fn a_right_that_was_taken_away_ends_live_delivery(shards: u16) {
    let mut world = world(shards);
    rules(&mut world, NEVER, NEVER);
    let subscriber = subscribed(&mut world, &Connect::new("s"), "#", 0);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    world.send(publisher, &Publish::new("secret", "1").encode());
    assert_eq!(world.take_packets(subscriber).len(), 1);
    rules(&mut world, NEVER, "secret");
    world.send(publisher, &Publish::new("secret", "2").encode());
    assert_eq!(world.take_packets(subscriber), NOTHING);
    rules(&mut world, "secret", NEVER);
    world.send(publisher, &Publish::new("secret", "3").encode());
    assert_eq!(world.take_packets(subscriber), NOTHING);
}

fn a_will_that_may_not_be_published_refuses_its_connect(shards: u16) {
    let mut world = world(shards);
    rules(&mut world, "secret", NEVER);
    let connect = Connect::new("c").will(Will::new("secret", "x", 1));
    assert_eq!(world.connect(&connect).err(), Some(Refusal::WillNotAuthorized));
    connected(&mut world, &Connect::new("c").will(Will::new("open", "x", 1)));
}

fn a_will_whose_right_was_taken_away_is_not_published(shards: u16) {
    let mut world = world(shards);
    let subscriber = subscribed(&mut world, &Connect::new("s"), "#", 0);
    let peer = connected(&mut world, &Connect::new("c").will(Will::new("secret", "x", 1)));
    rules(&mut world, "secret", NEVER);
    world.lose(peer);
    assert_eq!(world.take_packets(subscriber), NOTHING);
    assert_eq!(world.sum(|stats| stats.wills_published), 0);
}

fn another_user_who_takes_a_client_id_over_has_other_rights(shards: u16) {
    let mut world = world(shards);
    rules(&mut world, NEVER, "{user}");
    subscribed(&mut world, &Connect::new("c").credentials("ann", b""), "#", 0);
    let bob = subscribed(&mut world, &Connect::new("c").credentials("bob", b""), "#", 0);
    let publisher = connected(&mut world, &Connect::new("publisher"));
    world.send(publisher, &Publish::new("bob", "x").encode());
    assert_eq!(world.take_packets(bob), NOTHING);
    world.send(publisher, &Publish::new("ann", "x").encode());
    assert_eq!(world.take_packets(bob).len(), 1);
}

fn a_stored_receiver_that_was_denied_has_nothing_in_the_store(shards: u16) {
    let mut world = world(shards);
    let subscriber = subscribed(&mut world, &Connect::new("s").persistent(), "#", 1);
    world.lose(subscriber);
    rules(&mut world, NEVER, "secret");
    let publisher = connected(&mut world, &Connect::new("publisher"));
    world.send(publisher, &Publish::new("secret", "x").qos(1, 9).encode());
    assert_eq!(world.take_packets(publisher), ["PUBACK 9"]);
    let mut tables = Tables::default();
    for (_, batch) in &world.batches {
        tables.keep(batch, world.wall());
    }
    let stored = tables.stored();
    assert!(stored.sessions.iter().all(|session| session.queue.is_empty()), "{stored:?}");
}

/// What is retained, as somebody finds it who subscribes now.
fn retained(world: &mut World) -> Vec<String> {
    let finder = connected(world, &Connect::new("finder"));
    world.send(finder, &wire::subscribe(1, &[("#", 0)]));
    let packets = world.take_packets(finder);
    world.lose(finder);
    let mut found: Vec<_> = packets.into_iter().filter(|packet| packet.starts_with("PUBLISH")).collect();
    found.sort();
    found
}

fn of(user: &str) -> Connect {
    Connect::new(user).credentials(user, b"")
}

fn retain(world: &mut World, publisher: Peer, topic: &str) {
    world.send(publisher, &Publish::new(topic, "x").retained().encode());
}

fn cve_2018_12546_what_was_retained_without_a_right_by_now_reaches_no_new_subscription(shards: u16) {
    let mut world = world(shards);
    rules(&mut world, NEVER, NEVER);
    let ann = connected(&mut world, &of("ann"));
    let bob = connected(&mut world, &of("bob"));
    retain(&mut world, ann, "ann/door");
    retain(&mut world, bob, "ann/window");
    assert_eq!(retained(&mut world), ["PUBLISH ann/door x retain", "PUBLISH ann/window x retain"]);
    world.lose(ann);
    let denied = world.sum(|stats| stats.deliveries_denied);
    // Whose name the topic begins with may not publish it.
    rules(&mut world, "{user}", NEVER);
    assert_eq!(retained(&mut world), ["PUBLISH ann/window x retain"]);
    assert_eq!(world.sum(|stats| stats.deliveries_denied), denied + 1);
    rules(&mut world, NEVER, NEVER);
    assert_eq!(retained(&mut world).len(), 2, "it is kept, and comes when the right is back");
}

fn a_retained_will_is_looked_at_as_that_of_its_client(shards: u16) {
    let mut world = world(shards);
    rules(&mut world, NEVER, NEVER);
    for user in ["ann", "bob"] {
        let will = Will::new(&format!("ann/{user}"), "gone", 1).retained();
        let peer = connected(&mut world, &of(user).will(will));
        world.lose(peer);
    }
    rules(&mut world, "{user}", NEVER);
    assert_eq!(retained(&mut world), ["PUBLISH ann/bob gone retain"]);
}

fn what_a_client_retained_is_known_as_its_own_after_a_restart(shards: u16) {
    let mut world = world(shards);
    let mut tables = Tables::default();
    for user in ["ann", "bob"] {
        let peer = connected(&mut world, &of(user));
        retain(&mut world, peer, &format!("ann/{user}"));
    }
    for (_, batch) in &world.batches {
        tables.keep(batch, world.wall());
    }
    let mut world = world.restarted(shards, &Limits::default(), tables.stored(), 1);
    rules(&mut world, "{user}", NEVER);
    assert_eq!(retained(&mut world), ["PUBLISH ann/bob x retain"]);
}

fn whoever_retains_last_decides_who_may_have_retained(shards: u16) {
    let mut world = world(shards);
    let [ann, bob] = ["ann", "bob"].map(|user| connected(&mut world, &of(user)));
    for (last, expected) in [(ann, 0), (bob, 1), (ann, 0)] {
        rules(&mut world, NEVER, NEVER);
        retain(&mut world, last, "ann/door");
        rules(&mut world, "{user}", NEVER);
        assert_eq!(retained(&mut world).len(), expected);
    }
}

fn rules_may_let_every_retained_message_stay(shards: u16) {
    let mut world = world(shards);
    let ann = connected(&mut world, &of("ann"));
    retain(&mut world, ann, "ann/door");
    set_rules(&mut world, Except { publish: "{user}", receive: NEVER, checks_retain_source: false });
    assert_eq!(retained(&mut world), ["PUBLISH ann/door x retain"]);
}

fn what_the_host_retained_stays(shards: u16) {
    let mut world = world(shards);
    let host = world.connect_trusted(&Connect::new("ann")).expect("accepted");
    retain(&mut world, host, "ann/door");
    rules(&mut world, "{user}", NEVER);
    assert_eq!(retained(&mut world), ["PUBLISH ann/door x retain"]);
}

fn what_the_host_retained_on_behalf_of_a_user_is_of_the_user(shards: u16) {
    let mut world = world(shards);
    for user in ["ann", "bob"] {
        let host = world.connect_trusted(&of(user)).expect("accepted");
        retain(&mut world, host, &format!("ann/{user}"));
    }
    rules(&mut world, "{user}", NEVER);
    assert_eq!(retained(&mut world), ["PUBLISH ann/bob x retain"]);
}
