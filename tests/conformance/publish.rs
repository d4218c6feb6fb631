//! PUBLISH from Client to Server and on to the subscribers. [MQTT-3.3] [MQTT-4.5]

use culex_tests::client::{Client, Next};
use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Publish};

culex_tests::cases! { "publish":
    message_reaches_every_matching_subscriber,
    message_arrives_with_its_own_topic_and_payload,
    payload_may_be_any_bytes,
    payload_may_be_empty,
    payload_of_a_megabyte_arrives_whole,
    topic_sent_to_a_subscriber_matches_its_filter,
    overlapping_subscriptions_deliver_at_the_highest_qos,
    overlapping_subscriptions_deliver_once,
    byte_order_mark_is_an_ordinary_character,
    message_nobody_wants_is_acknowledged,
    publish_to_sys_is_acknowledged_or_closed_and_not_delivered,
    packets_split_at_every_byte_are_put_together,
    many_packets_in_one_write_are_all_handled,
    remaining_length_may_be_longer_than_needed,
}

fn message_reaches_every_matching_subscriber(scope: &Scope) {
    let topic = scope.topic("a/b");
    let filters = [topic.clone(), scope.topic("+/b"), scope.topic("#"), scope.topic("a/+")];
    let mut online: Vec<_> = (0..4).map(|i| scope.subscriber(&format!("on{i}"), &filters[i], 1)).collect();
    for (number, filter) in filters.iter().enumerate() {
        let (mut client, _) = scope.persistent(&format!("off{number}"));
        client.subscribe(&[(filter, 1)]);
        client.disconnect();
    }
    scope.connect("pub").publish(&topic, "for all", 1);
    for client in &mut online {
        assert_eq!(client.take_text(), "for all"); // [MQTT-4.5.0-1]
    }
    for number in 0..4 {
        let name = format!("off{number}");
        assert_eq!(scope.persistent(&name).0.take_text(), "for all"); // [MQTT-4.5.0-1]
        scope.forget(&name);
    }
}

fn message_arrives_with_its_own_topic_and_payload(scope: &Scope) {
    let topic = scope.topic("Ünï/漢字/ space /$/😀");
    let mut subscriber = scope.subscriber("sub", &scope.topic("#"), 0);
    scope.connect("pub").publish(&topic, "payload", 0);
    let message = subscriber.take();
    assert_eq!((message.topic, message.payload), (topic, b"payload".to_vec())); // [MQTT-3.3.2-1]
}

fn payload_may_be_any_bytes(scope: &Scope) {
    let topic = scope.topic("t");
    let payload: Vec<u8> = (0..=255).rev().cycle().take(1000).collect();
    let mut subscriber = scope.subscriber("sub", &topic, 2);
    let mut publisher = scope.connect("pub");
    for qos in 0..=2 {
        publisher.publish(&topic, &payload, qos);
        assert_eq!(subscriber.take().payload, payload);
    }
}

fn payload_may_be_empty(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 2);
    let mut publisher = scope.connect("pub");
    for qos in 0..=2 {
        publisher.publish(&topic, "", qos);
        let message = subscriber.take();
        assert_eq!((message.payload.len(), message.qos), (0, qos));
    }
}

fn payload_of_a_megabyte_arrives_whole(scope: &Scope) {
    let topic = scope.topic("t");
    let payload: Vec<u8> = (0..1_000_000_u32).map(|n| n.wrapping_mul(31).to_be_bytes()[2]).collect();
    let mut subscriber = scope.subscriber("sub", &topic, 1);
    scope.connect("pub").publish(&topic, &payload, 1);
    assert!(subscriber.take().payload == payload, "the payload differs"); // [MQTT-7.1.1-1]
}

fn topic_sent_to_a_subscriber_matches_its_filter(scope: &Scope) {
    let mut subscriber = scope.subscriber("sub", &scope.topic("+/in"), 0);
    let mut publisher = scope.connect("pub");
    for suffix in ["a/out", "a/in", "in", "a/in/deeper", "a/b/in", "a/inn", "last/in"] {
        publisher.publish(&scope.topic(suffix), suffix, 0);
    }
    let first = subscriber.take();
    assert_eq!(first.topic, scope.topic("a/in")); // [MQTT-3.3.2-3]
    assert_eq!(subscriber.take_text(), "last/in"); // [MQTT-3.3.2-3]
}

fn overlapping_subscriber(scope: &Scope) -> Client {
    let mut subscriber = scope.connect("sub");
    let (plus, hash) = (scope.topic("+/b"), scope.topic("#"));
    subscriber.subscribe(&[(&scope.topic("a/b"), 0), (&plus, 2), (&hash, 1)]);
    let mut publisher = scope.connect("pub");
    publisher.publish(&scope.topic("a/b"), "message", 2);
    publisher.publish(&scope.topic("a/b"), "sentinel", 2);
    subscriber
}

fn overlapping_subscriptions_deliver_at_the_highest_qos(scope: &Scope) {
    let mut subscriber = overlapping_subscriber(scope);
    let mut copies = Vec::new();
    loop {
        let message = subscriber.take();
        if message.text() == "sentinel" {
            break;
        }
        copies.push(message.qos);
    }
    // Further copies are allowed, at the QoS of their subscriptions.
    assert_eq!(copies.iter().max(), Some(&2), "{copies:?}"); // [MQTT-3.3.5-1]
}

fn overlapping_subscriptions_deliver_once(scope: &Scope) {
    let mut subscriber = overlapping_subscriber(scope);
    assert_eq!(subscriber.take_text(), "message");
    assert_eq!(subscriber.take_text(), "sentinel"); // [MQTT-3.3.5-1] leaves the choice.
}

fn byte_order_mark_is_an_ordinary_character(scope: &Scope) {
    let with = scope.topic("\u{FEFF}x");
    let mut subscriber = scope.subscriber("sub", &scope.topic("+"), 0);
    let mut exact = scope.subscriber("exact", &scope.topic("x"), 0);
    let mut publisher = scope.connect("pub");
    publisher.publish(&with, "with", 0);
    publisher.publish(&scope.topic("x"), "without", 0);
    assert_eq!(subscriber.take().topic, with); // [MQTT-1.5.3-3]
    assert_eq!(exact.take_text(), "without"); // [MQTT-1.5.3-3]
}

fn message_nobody_wants_is_acknowledged(scope: &Scope) {
    let mut publisher = scope.connect("pub");
    for qos in 0..=2 {
        publisher.publish(&scope.topic("nobody"), "x", qos); // [MQTT-3.3.4-1]
    }
}

fn publish_to_sys_is_acknowledged_or_closed_and_not_delivered(scope: &Scope) {
    let topic = format!("$SYS/{}", scope.token());
    let mut subscriber = scope.connect("sub");
    subscriber.only(scope.token());
    let sentinel = scope.topic("sentinel");
    subscriber.subscribe(&[(&topic, 1), (&sentinel, 1)]);
    let mut publisher = scope.connect("pub");
    publisher.send(Publish::new(&topic, "forged").qos(1, 1).encode());
    match publisher.next_event() {
        Next::Packet(Received::PubAck(1)) | Next::Closed => {} // [MQTT-3.3.5-2]
        other => panic!("neither PUBACK nor the end of the connection: {other:?}"),
    }
    scope.connect("pub").publish(&sentinel, "sentinel", 1);
    assert_eq!(subscriber.take_text(), "sentinel"); // [MQTT-3.3.5-2]
}

fn packets_split_at_every_byte_are_put_together(scope: &Scope) {
    let topic = scope.topic("t");
    let mut bytes = scope.hello("split").encode();
    bytes.extend(wire::subscribe(1, &[(&topic, 1)]));
    bytes.extend(Publish::new(&topic, "x".repeat(200)).qos(1, 2).encode());
    bytes.extend(wire::PINGREQ);
    for split in 1..bytes.len() {
        let mut client = scope.open();
        client.send(&bytes[..split]);
        client.send(&bytes[split..]);
        client.expect(&Received::ConnAck { session_present: false, code: 0 }); // [MQTT-7.1.1-1]
        client.answer(&Received::SubAck(1, vec![1]));
        client.answer(&Received::PubAck(2));
        client.answer(&Received::PingResp);
        assert_eq!(client.peek().payload.len(), 200);
        client.disconnect();
    }
}

fn many_packets_in_one_write_are_all_handled(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 0);
    let mut publisher = scope.connect("pub");
    let burst: Vec<u8> = (0..500).flat_map(|n| Publish::new(&topic, n.to_string()).encode()).collect();
    publisher.send(burst);
    for number in 0..500 {
        assert_eq!(subscriber.take_text(), number.to_string()); // [MQTT-7.1.1-1]
    }
}

/// Only 5.0 forbids it.
fn remaining_length_may_be_longer_than_needed(scope: &Scope) {
    let mut client = scope.connect("id");
    client.send([0xC0, 0x80, 0x00]);
    client.expect(&Received::PingResp);
    client.send([0xC0, 0x80, 0x80, 0x80, 0x00]);
    client.expect(&Received::PingResp);
}
