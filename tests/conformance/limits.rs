//! What the limits of the configuration do to a client that reaches them; each case has a broker of its own.

use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Publish};

use crate::suite::connect::refused;

culex_tests::cases! { "limits":
    ; config "[limits]\nin_flight = 3\n": window_of_messages_in_flight_is_kept_and_refilled_in_order
    ; config "[limits]\npacket_bytes = 1000\n": larger_packet_closes
    ; config "[limits]\nincoming_in_flight = 2\n": qos_2_beyond_the_incoming_window_closes
    ; config "[limits]\ntopic_levels = 3\n": deeper_topic_closes_and_deeper_filter_is_refused
    ; config "[limits]\ntopic_bytes = 40\n": longer_topic_closes_and_longer_filter_is_refused
    ; config "[limits]\nsubscriptions_per_session = 2\n": subscription_beyond_the_limit_is_refused
    ; config "[limits]\nqueue_messages = 3\nwhen_full = \"drop-newest\"\n": full_queue_drops_the_newest
    ; config "[limits]\nqueue_messages = 3\nwhen_full = \"drop-oldest\"\n": full_queue_drops_the_oldest
    ; config "[limits]\nretained_messages = 1\n": message_beyond_the_limit_is_delivered_but_not_retained
    ; config "[limits]\nretained_bytes = \"1KiB\"\n": retained_qos_0_without_room_removes_what_was_retained
    ; config "[limits]\nconnections = 2\n": connection_beyond_the_limit_closes
    ; config "[limits]\npre_auth_bytes = 200\n": larger_connect_closes
    ; config "[limits]\nmax_keep_alive = 60\n": longer_keep_alive_is_refused_with_code_2
    ; config "[limits]\nmessages_per_second = 20\nbytes_per_second = \"1KiB\"\n": flood_is_slowed_down_and_nothing_is_lost
}

fn window_of_messages_in_flight_is_kept_and_refilled_in_order(scope: &Scope) {
    let topic = scope.topic("t");
    // The client publishes to itself: when its last PUBLISH is acknowledged, what may be delivered has been.
    let mut client = scope.subscriber("self", &topic, 1);
    for number in 0..10 {
        client.publish(&topic, number.to_string(), 1);
    }
    for number in 0..3 {
        assert_eq!(client.peek().text(), number.to_string());
    }
    client.quiet();
    client.drop_connection();
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&topic, 1)]);
    let mut publisher = scope.connect("pub");
    for number in 0..10 {
        publisher.publish(&topic, number.to_string(), 1);
    }
    for number in 0..10 {
        assert_eq!(client.take_text(), number.to_string()); // [MQTT-4.6.0-6]
    }
}

fn larger_packet_closes(scope: &Scope) {
    let topic = scope.topic("t");
    let mut canary = scope.subscriber("canary", &topic, 0);
    let mut client = scope.connect("id");
    client.publish(&topic, "x".repeat(900), 0);
    assert_eq!(canary.take().payload.len(), 900);
    client.send(Publish::new(&topic, "x".repeat(1000)).encode());
    client.expect_closed(); // [MQTT-4.8.0-2]
    canary.quiet();
}

fn qos_2_beyond_the_incoming_window_closes(scope: &Scope) {
    let topic = scope.topic("t");
    let mut client = scope.connect("id");
    for id in 1..=2 {
        client.send(Publish::new(&topic, "x").qos(2, id).encode());
        client.expect(&Received::PubRec(id));
    }
    client.send(Publish::new(&topic, "x").qos(2, 1).again().encode());
    client.expect(&Received::PubRec(1)); // A repetition is no further message.
    client.send(wire::pubrel(1));
    client.expect(&Received::PubComp(1));
    client.send(Publish::new(&topic, "x").qos(2, 3).encode());
    client.expect(&Received::PubRec(3));
    client.send(Publish::new(&topic, "x").qos(2, 4).encode());
    client.expect_closed();
}

fn deeper_topic_closes_and_deeper_filter_is_refused(scope: &Scope) {
    let (good, deep) = (scope.topic("b/c"), scope.topic("b/c/d"));
    let mut client = scope.connect("id");
    let codes = client.subscribe(&[(&deep, 1), (&good, 1), (&scope.topic("+/+/+"), 1)]);
    assert_eq!(codes, [0x80, 1, 0x80]); // [MQTT-3.8.4-5] [MQTT-3.9.3-1] [MQTT-3.9.3-2]
    client.publish(&good, "x", 1);
    assert_eq!(client.take_text(), "x");
    client.send(Publish::new(&deep, "x").qos(1, 9).encode());
    client.expect_closed();
}

fn longer_topic_closes_and_longer_filter_is_refused(scope: &Scope) {
    let (good, long) = (scope.topic("x"), scope.topic(&"x".repeat(40)));
    let mut client = scope.connect("id");
    assert_eq!(client.subscribe(&[(&good, 0), (&long, 0)]), [0, 0x80]); // [MQTT-3.9.3-1]
    client.publish(&good, "x", 0);
    assert_eq!(client.take_text(), "x");
    client.send(Publish::new(&long, "x").encode());
    client.expect_closed();
}

fn subscription_beyond_the_limit_is_refused(scope: &Scope) {
    let topics: Vec<_> = ["a", "b", "c"].iter().map(|suffix| scope.topic(suffix)).collect();
    let mut client = scope.connect("id");
    let codes = client.subscribe(&[(&topics[0], 0), (&topics[1], 1), (&topics[2], 2)]);
    assert_eq!(codes, [0, 1, 0x80]); // [MQTT-3.8.4-5] [MQTT-3.9.3-1]
    assert_eq!(client.subscribe(&[(&topics[0], 2)]), [2], "replacing one takes no room"); // [MQTT-3.8.4-3]
    client.unsubscribe(&[&topics[1]]);
    assert_eq!(client.subscribe(&[(&topics[2], 2)]), [2]);
}

/// What an offline session with room for three messages still has of five.
#[track_caller]
fn queued_of_five(scope: &Scope) -> Vec<String> {
    let topic = scope.topic("t");
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&topic, 1)]);
    client.disconnect();
    let mut publisher = scope.connect("pub");
    for number in 0..5 {
        publisher.publish(&topic, number.to_string(), 1); // Acknowledged all the same. [MQTT-3.3.4-1]
    }
    let (mut client, _) = scope.persistent("id");
    let queued = (0..3).map(|_| client.take_text()).collect();
    client.quiet(); // Its acknowledgements have made room.
    publisher.publish(&topic, "sentinel", 1);
    assert_eq!(client.take_text(), "sentinel");
    queued
}

fn full_queue_drops_the_newest(scope: &Scope) {
    assert_eq!(queued_of_five(scope), ["0", "1", "2"]);
}

fn full_queue_drops_the_oldest(scope: &Scope) {
    assert_eq!(queued_of_five(scope), ["2", "3", "4"]);
}

fn message_beyond_the_limit_is_delivered_but_not_retained(scope: &Scope) {
    let (first, second) = (scope.topic("first"), scope.topic("second"));
    let mut publisher = scope.connect("pub");
    let mut live = scope.subscriber("live", &second, 1);
    publisher.retain(&first, "old", 1);
    publisher.retain(&first, "new", 1);
    publisher.retain(&second, "one too many", 1);
    assert_eq!(live.take_text(), "one too many");
    scope.subscriber("second", &second, 1).quiet();
    assert_eq!(scope.subscriber("first", &first, 1).take_text(), "new");
    publisher.retain(&first, "", 1);
    publisher.retain(&second, "room again", 1);
    assert_eq!(scope.subscriber("second", &second, 1).take_text(), "room again");
}

fn retained_qos_0_without_room_removes_what_was_retained(scope: &Scope) {
    let (topic, other) = (scope.topic("0"), scope.topic("1"));
    let large = "x".repeat(2000);
    let mut live = scope.subscriber("live", &topic, 0);
    let mut publisher = scope.connect("pub");
    for (topic, qos) in [(&topic, 0), (&other, 1)] {
        publisher.retain(topic, "old", 0);
        publisher.retain(topic, &large, qos);
    }
    assert_eq!((live.take_text(), live.take().payload.len()), ("old".to_owned(), 2000));
    scope.subscriber("late", &topic, 0).quiet(); // [MQTT-3.3.1-7]
    assert_eq!(scope.subscriber("other", &other, 0).take_text(), "old");
}

fn connection_beyond_the_limit_closes(scope: &Scope) {
    let mut one = scope.connect("one");
    let two = scope.connect("two");
    let mut three = scope.open();
    three.send(scope.hello("three").encode());
    three.expect_closed();
    one.quiet();
    two.disconnect();
}

fn larger_connect_closes(scope: &Scope) {
    scope.connect("small").quiet();
    let mut client = scope.open();
    client.send(scope.hello(&"x".repeat(400)).encode());
    client.expect_closed();
    scope.connect("small").quiet();
}

fn longer_keep_alive_is_refused_with_code_2(scope: &Scope) {
    let with = |keep_alive| wire::Connect { keep_alive, ..scope.hello("id") };
    for keep_alive in [61, u16::MAX, 0] {
        refused(scope, &with(keep_alive), 2);
    }
    let (mut client, _) = scope.connect_with(&with(60));
    client.quiet();
}

/// As many messages as there are in two seconds after the first one; how long they take is looked at in `shard_pace`.
fn flood_is_slowed_down_and_nothing_is_lost(scope: &Scope) {
    const COUNT: usize = 30;
    let topic = scope.topic("t");
    let mut reader = scope.subscriber("reader", &topic, 0);
    let mut client = scope.connect("id");
    let packets = (0..COUNT).flat_map(|number| Publish::new(&topic, number.to_string()).encode());
    client.send(packets.collect::<Vec<_>>());
    for number in 0..COUNT {
        assert_eq!(reader.take_text(), number.to_string());
    }
    client.quiet();
}
