//! UNSUBSCRIBE and UNSUBACK. [MQTT-3.10] [MQTT-3.11]

use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::wire;

culex_tests::cases! { "unsubscribe":
    unsuback_has_the_packet_id_of_its_unsubscribe,
    unsuback_is_sent_when_nothing_was_removed,
    only_the_equal_filter_is_removed,
    nothing_new_is_queued_after_unsubscribing,
    several_filters_have_one_unsuback,
    delivery_in_progress_is_finished,
    delivery_in_progress_is_sent_again_after_reconnecting,
    subscription_of_another_client_stays,
}

fn unsuback_has_the_packet_id_of_its_unsubscribe(scope: &Scope) {
    let topic = scope.topic("t");
    let mut client = scope.connect("sub");
    for id in [1, 300, u16::MAX] {
        client.subscribe(&[(&topic, 0)]);
        client.send(wire::unsubscribe(id, &[&topic]));
        client.expect(&Received::UnsubAck(id)); // [MQTT-3.10.4-4] [MQTT-2.3.1-7]
    }
}

fn unsuback_is_sent_when_nothing_was_removed(scope: &Scope) {
    let mut client = scope.connect("sub");
    client.send(wire::unsubscribe(9, &[&scope.topic("never"), &scope.topic("subscribed/#")]));
    client.expect(&Received::UnsubAck(9)); // [MQTT-3.10.4-5]
    client.quiet();
}

fn only_the_equal_filter_is_removed(scope: &Scope) {
    let (exact, plus, hash, upper) = (scope.topic("a"), scope.topic("+"), scope.topic("#"), scope.topic("A"));
    let mut client = scope.connect("sub");
    client.subscribe(&[(&exact, 1)]);
    client.unsubscribe(&[&plus, &hash, &upper, &format!("{exact}/"), &format!("/{exact}")]);
    let mut publisher = scope.connect("pub");
    publisher.publish(&exact, "still there", 1);
    assert_eq!(client.take_text(), "still there"); // [MQTT-3.10.4-1]
    client.subscribe(&[(&plus, 1)]);
    client.unsubscribe(&[&exact]);
    publisher.publish(&exact, "through the wildcard", 1);
    assert_eq!(client.take_text(), "through the wildcard"); // [MQTT-3.10.4-1]
    client.unsubscribe(&[&plus]);
    publisher.publish(&exact, "to nobody", 1);
    client.subscribe(&[(&exact, 1)]);
    publisher.publish(&exact, "sentinel", 1);
    assert_eq!(client.take_text(), "sentinel"); // [MQTT-3.10.4-1]
}

fn nothing_new_is_queued_after_unsubscribing(scope: &Scope) {
    let (topic, other) = (scope.topic("t"), scope.topic("other"));
    let mut client = scope.connect("sub");
    client.subscribe(&[(&topic, 2), (&other, 2)]);
    let mut publisher = scope.connect("pub");
    publisher.publish(&topic, "before", 2);
    assert_eq!(client.take_text(), "before");
    client.unsubscribe(&[&topic]);
    for qos in 0..=2 {
        publisher.publish(&topic, "after", qos);
    }
    publisher.publish(&other, "sentinel", 2);
    assert_eq!(client.take_text(), "sentinel"); // [MQTT-3.10.4-2]
}

fn several_filters_have_one_unsuback(scope: &Scope) {
    let topics: Vec<_> = ["a", "b", "c"].iter().map(|suffix| scope.topic(suffix)).collect();
    let mut client = scope.connect("sub");
    client.subscribe(&[(&topics[0], 0), (&topics[1], 0), (&topics[2], 0)]);
    client.unsubscribe(&[&topics[0], &topics[1], &scope.topic("never")]);
    client.quiet(); // One UNSUBACK and no more. [MQTT-3.10.4-6]
    let mut publisher = scope.connect("pub");
    for topic in &topics {
        publisher.publish(topic, "x", 0);
    }
    assert_eq!(client.take().topic, topics[2]); // [MQTT-3.10.4-6]
}

fn delivery_in_progress_is_finished(scope: &Scope) {
    let topic = scope.topic("t");
    let mut client = scope.subscriber("sub", &topic, 2);
    let mut publisher = scope.connect("pub");
    publisher.publish(&topic, "one", 1);
    publisher.publish(&topic, "two", 2);
    let (one, two) = (client.peek(), client.peek());
    client.unsubscribe(&[&topic]);
    client.send(wire::puback(one.id.expect("QoS 1 has an id")));
    let id = two.id.expect("QoS 2 has an id");
    client.send(wire::pubrec(id));
    client.expect(&Received::PubRel(id)); // [MQTT-3.10.4-3]
    client.send(wire::pubcomp(id));
    client.quiet();
}

fn delivery_in_progress_is_sent_again_after_reconnecting(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&topic, 2)]);
    let mut publisher = scope.connect("pub");
    publisher.publish(&topic, "one", 1);
    publisher.publish(&topic, "two", 2);
    let sent = [client.peek(), client.peek()];
    client.unsubscribe(&[&topic]);
    client.drop_connection();
    let (mut client, present) = scope.persistent("id");
    assert!(present);
    for message in sent {
        assert_eq!(client.take(), message.again()); // [MQTT-3.10.4-3] [MQTT-4.4.0-1]
    }
    client.quiet();
    scope.forget("id");
}

fn subscription_of_another_client_stays(scope: &Scope) {
    let topic = scope.topic("t");
    let mut one = scope.subscriber("one", &topic, 0);
    let mut two = scope.subscriber("two", &topic, 0);
    one.unsubscribe(&[&topic]);
    scope.connect("pub").publish(&topic, "for two", 0);
    assert_eq!(two.take_text(), "for two"); // [MQTT-3.10.4-1]
}
