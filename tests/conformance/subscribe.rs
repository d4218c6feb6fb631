//! SUBSCRIBE and SUBACK. [MQTT-3.8] [MQTT-3.9]

use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::wire;

culex_tests::cases! { "subscribe":
    every_subscribe_is_answered_with_its_packet_id,
    requested_qos_is_granted,
    several_filters_have_one_suback_in_their_order,
    wildcard_filters_are_supported,
    subscribing_again_replaces_the_subscription,
    subscribing_again_with_another_qos_changes_it,
    same_filter_twice_in_one_subscribe_is_one_subscription,
    delivered_qos_is_the_lower_of_both,
    subscription_counts_from_its_suback,
    publishes_of_others_do_not_disturb_the_suback,
    invalid_filter_does_not_subscribe,
    hundred_filters_in_one_subscribe,
}

fn every_subscribe_is_answered_with_its_packet_id(scope: &Scope) {
    let mut client = scope.connect("sub");
    let topic = scope.topic("t");
    for id in [1, 7, 256, 0xFFFE, 7] {
        client.send(wire::subscribe(id, &[(&topic, 0)]));
        client.expect(&Received::SubAck(id, vec![0])); // [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-2.3.1-7]
    }
    client.quiet();
}

fn requested_qos_is_granted(scope: &Scope) {
    let mut client = scope.connect("sub");
    for qos in 0..=2 {
        let codes = client.subscribe(&[(&scope.topic(&qos.to_string()), qos)]);
        assert_eq!(codes, [qos]); // [MQTT-3.8.4-5] [MQTT-3.9.3-2]
    }
}

fn several_filters_have_one_suback_in_their_order(scope: &Scope) {
    let (a, b, c, d) = (scope.topic("a"), scope.topic("b"), scope.topic("c/#"), scope.topic("d"));
    let mut client = scope.connect("sub");
    let codes = client.subscribe(&[(&a, 2), (&b, 0), (&c, 1), (&d, 2)]);
    assert_eq!(codes, [2, 0, 1, 2]); // [MQTT-3.9.3-1] [MQTT-3.8.4-4] [MQTT-3.8.4-5]
    client.quiet(); // One SUBACK and no more.
    let mut publisher = scope.connect("pub");
    for (topic, qos) in [(&a, 2), (&b, 0), (&scope.topic("c/x"), 1), (&d, 2)] {
        publisher.publish(topic, "x", 2);
        let message = client.take();
        assert_eq!((&message.topic, message.qos), (topic, qos)); // [MQTT-3.8.4-4]
    }
}

fn wildcard_filters_are_supported(scope: &Scope) {
    let mut client = scope.connect("sub");
    let (plus, hash) = (scope.topic("p/+"), scope.topic("h/#"));
    assert_eq!(client.subscribe(&[(&plus, 0), (&hash, 0)]), [0, 0]); // [MQTT-3.8.3-2]
    let mut publisher = scope.connect("pub");
    for suffix in ["p/x", "h/x"] {
        publisher.publish(&scope.topic(suffix), "x", 0);
        assert_eq!(client.take().topic, scope.topic(suffix)); // [MQTT-3.8.3-2]
    }
}

fn subscribing_again_replaces_the_subscription(scope: &Scope) {
    let topic = scope.topic("t");
    let mut client = scope.connect("sub");
    for _ in 0..3 {
        client.subscribe(&[(&topic, 1)]);
    }
    let mut publisher = scope.connect("pub");
    publisher.publish(&topic, "once", 1);
    publisher.publish(&topic, "sentinel", 1);
    assert_eq!(client.take_text(), "once");
    assert_eq!(client.take_text(), "sentinel"); // [MQTT-3.8.4-3]
    client.unsubscribe(&[&topic]);
    publisher.publish(&topic, "one UNSUBSCRIBE is enough", 1);
    client.subscribe(&[(&topic, 1)]);
    publisher.publish(&topic, "sentinel", 1);
    assert_eq!(client.take_text(), "sentinel"); // [MQTT-3.8.4-3]
}

fn subscribing_again_with_another_qos_changes_it(scope: &Scope) {
    let topic = scope.topic("t");
    let mut client = scope.connect("sub");
    let mut publisher = scope.connect("pub");
    for qos in [2, 0, 1] {
        client.subscribe(&[(&topic, qos)]);
        publisher.publish(&topic, "x", 2);
        assert_eq!(client.take().qos, qos); // [MQTT-3.8.4-3]
    }
}

fn same_filter_twice_in_one_subscribe_is_one_subscription(scope: &Scope) {
    let topic = scope.topic("t");
    let mut client = scope.connect("sub");
    assert_eq!(client.subscribe(&[(&topic, 2), (&topic, 1)]), [2, 1]); // [MQTT-3.8.4-4]
    let mut publisher = scope.connect("pub");
    publisher.publish(&topic, "once", 2);
    publisher.publish(&topic, "sentinel", 2);
    let message = client.take();
    assert_eq!((message.text().as_str(), message.qos), ("once", 1), "the later filter replaces"); // [MQTT-3.8.4-3]
    assert_eq!(client.take_text(), "sentinel");
}

fn delivered_qos_is_the_lower_of_both(scope: &Scope) {
    let mut publisher = scope.connect("pub");
    for granted in 0..=2 {
        let topic = scope.topic(&granted.to_string());
        let mut client = scope.subscriber("sub", &topic, granted);
        for published in 0..=2 {
            publisher.publish(&topic, "x", published);
            assert_eq!(client.take().qos, granted.min(published)); // [MQTT-3.8.4-6]
        }
    }
}

fn subscription_counts_from_its_suback(scope: &Scope) {
    let mut publisher = scope.connect("pub");
    let mut client = scope.connect("sub");
    for number in 0..100 {
        let topic = scope.topic(&number.to_string());
        client.subscribe(&[(&topic, 0)]);
        publisher.publish(&topic, number.to_string(), 0);
        assert_eq!(client.take_text(), number.to_string()); // [MQTT-4.5.0-1]
    }
}

fn publishes_of_others_do_not_disturb_the_suback(scope: &Scope) {
    let topic = scope.topic("t");
    let mut client = scope.subscriber("sub", &topic, 0);
    let mut publisher = scope.connect("pub");
    for number in 0..20 {
        publisher.publish(&topic, number.to_string(), 0);
        client.subscribe(&[(&scope.topic(&number.to_string()), 0)]); // [MQTT-3.8.4-1]
    }
    for number in 0..20 {
        assert_eq!(client.take_text(), number.to_string());
    }
}

/// The connection may be closed or the filter refused; in no case is it subscribed.
fn invalid_filter_does_not_subscribe(scope: &Scope) {
    for suffix in ["a#", "#/a", "a/#/b", "a+", "+a", "a/+b/c", "##", "++"] {
        let filter = scope.topic(suffix);
        let mut client = scope.connect("sub");
        client.send(wire::subscribe(1, &[(&filter, 0)]));
        match client.next_event() {
            culex_tests::client::Next::Closed => {}
            culex_tests::client::Next::Packet(packet) => {
                assert_eq!(packet, Received::SubAck(1, vec![0x80]), "{filter}"); // [MQTT-4.7.1-2] [MQTT-4.7.1-3]
            }
            culex_tests::client::Next::Silence => panic!("no answer to {filter}"),
        }
    }
}

fn hundred_filters_in_one_subscribe(scope: &Scope) {
    let filters: Vec<_> = (0..100).map(|number| scope.topic(&format!("{number}/+"))).collect();
    let requested: Vec<_> =
        filters.iter().zip((0..=2).cycle()).map(|(filter, qos)| (filter.as_str(), qos)).collect();
    let mut client = scope.connect("sub");
    let codes = client.subscribe(&requested);
    assert_eq!(codes, requested.iter().map(|(_, qos)| *qos).collect::<Vec<_>>()); // [MQTT-3.9.3-1]
}
