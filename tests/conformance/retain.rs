//! Retained messages. [MQTT-3.3.1-5] to [MQTT-3.3.1-12]

use culex_tests::conformance::Scope;
use culex_tests::wire::Publish;

culex_tests::cases! { "retain":
    retained_message_reaches_a_later_subscriber_with_its_qos,
    only_the_last_retained_message_is_kept,
    retained_qos_0_replaces_what_was_retained,
    live_message_has_retain_0,
    message_of_a_new_subscription_has_retain_1,
    empty_payload_is_delivered_and_deletes,
    empty_payload_is_not_retained,
    retain_0_changes_nothing_retained,
    every_topic_of_a_wildcard_is_sent,
    every_subscribe_sends_retained_messages_again,
    two_filters_of_one_subscribe_each_send_their_retained_messages,
    delivered_qos_of_a_retained_message_is_the_lower_one,
    resumed_session_gets_no_retained_messages,
    offline_subscription_gets_retained_publishes_with_retain_0,
    retained_message_reaches_the_publisher_itself,
}

fn retained_message_reaches_a_later_subscriber_with_its_qos(scope: &Scope) {
    for qos in 0..=2 {
        let topic = scope.topic(&qos.to_string());
        let mut publisher = scope.connect("pub");
        publisher.retain(&topic, "kept", qos);
        let message = scope.subscriber("sub", &topic, 2).take();
        assert_eq!((message.text().as_str(), message.qos), ("kept", qos)); // [MQTT-3.3.1-5] [MQTT-3.3.1-6]
        assert!(message.retain); // [MQTT-3.3.1-8]
        publisher.retain(&topic, "", 0);
    }
}

fn only_the_last_retained_message_is_kept(scope: &Scope) {
    let topic = scope.topic("t");
    let mut publisher = scope.connect("pub");
    for number in 0..5 {
        publisher.retain(&topic, number.to_string(), 1);
    }
    let mut subscriber = scope.subscriber("sub", &topic, 1);
    assert_eq!(subscriber.take_text(), "4"); // [MQTT-3.3.1-5] [MQTT-3.3.1-6]
    subscriber.quiet();
    publisher.retain(&topic, "", 0);
}

fn retained_qos_0_replaces_what_was_retained(scope: &Scope) {
    let topic = scope.topic("t");
    let mut publisher = scope.connect("pub");
    publisher.retain(&topic, "old", 2);
    publisher.retain(&topic, "new", 0);
    let mut subscriber = scope.subscriber("sub", &topic, 2);
    let messages: Vec<_> = std::iter::once(subscriber.take()).collect();
    assert_eq!((messages[0].text().as_str(), messages[0].qos), ("new", 0)); // [MQTT-3.3.1-7]
    subscriber.quiet();
    publisher.retain(&topic, "", 0);
}

fn live_message_has_retain_0(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 1);
    let mut publisher = scope.connect("pub");
    publisher.retain(&topic, "live", 1);
    assert!(!subscriber.take().retain); // [MQTT-3.3.1-9]
    publisher.retain(&topic, "", 0);
}

fn message_of_a_new_subscription_has_retain_1(scope: &Scope) {
    let topic = scope.topic("t");
    let mut publisher = scope.connect("pub");
    publisher.retain(&topic, "kept", 0);
    let mut subscriber = scope.subscriber("sub", &topic, 0);
    assert!(subscriber.take().retain); // [MQTT-3.3.1-8]
    publisher.publish(&topic, "live", 0);
    assert!(!subscriber.take().retain); // [MQTT-3.3.1-9]
    publisher.retain(&topic, "", 0);
}

fn empty_payload_is_delivered_and_deletes(scope: &Scope) {
    let topic = scope.topic("t");
    let mut publisher = scope.connect("pub");
    publisher.retain(&topic, "kept", 1);
    let mut subscriber = scope.subscriber("sub", &topic, 1);
    assert_eq!(subscriber.take_text(), "kept");
    publisher.retain(&topic, "", 1);
    let message = subscriber.take();
    assert_eq!((message.text().as_str(), message.retain), ("", false)); // [MQTT-3.3.1-10]
    scope.subscriber("late", &topic, 1).quiet(); // [MQTT-3.3.1-10]
}

fn empty_payload_is_not_retained(scope: &Scope) {
    let topic = scope.topic("t");
    scope.connect("pub").retain(&topic, "", 1);
    scope.subscriber("late", &topic, 1).quiet(); // [MQTT-3.3.1-11]
}

fn retain_0_changes_nothing_retained(scope: &Scope) {
    let topic = scope.topic("t");
    let mut publisher = scope.connect("pub");
    publisher.publish(&topic, "not kept", 1);
    scope.subscriber("early", &topic, 1).quiet(); // [MQTT-3.3.1-12]
    publisher.retain(&topic, "kept", 1);
    publisher.publish(&topic, "not kept", 1);
    publisher.publish(&topic, "", 1);
    assert_eq!(scope.subscriber("late", &topic, 1).take_text(), "kept"); // [MQTT-3.3.1-12]
    publisher.retain(&topic, "", 0);
}

fn every_topic_of_a_wildcard_is_sent(scope: &Scope) {
    let mut publisher = scope.connect("pub");
    let topics: Vec<_> = ["a", "b", "a/b", "a/b/c"].iter().map(|suffix| scope.topic(suffix)).collect();
    for topic in &topics {
        publisher.retain(topic, topic, 1);
    }
    let received = |filter: &str, count: usize| {
        let mut subscriber = scope.subscriber("sub", &scope.topic(filter), 1);
        let mut seen: Vec<_> = (0..count).map(|_| subscriber.take().topic).collect();
        subscriber.quiet();
        seen.sort();
        seen
    };
    let mut all = topics.clone();
    all.sort();
    assert_eq!(received("#", 4), all); // [MQTT-3.3.1-6]
    assert_eq!(received("+", 2), [scope.topic("a"), scope.topic("b")]); // [MQTT-3.3.1-6]
    assert_eq!(received("a/#", 3), [scope.topic("a"), scope.topic("a/b"), scope.topic("a/b/c")]);
    for topic in &topics {
        publisher.retain(topic, "", 0);
    }
}

fn every_subscribe_sends_retained_messages_again(scope: &Scope) {
    let topic = scope.topic("t");
    let mut publisher = scope.connect("pub");
    publisher.retain(&topic, "kept", 1);
    let mut subscriber = scope.connect("sub");
    for _ in 0..3 {
        subscriber.subscribe(&[(&topic, 1)]);
        let message = subscriber.take();
        assert_eq!((message.text().as_str(), message.retain), ("kept", true)); // [MQTT-3.8.4-3]
    }
    subscriber.quiet();
    publisher.retain(&topic, "", 0);
}

fn two_filters_of_one_subscribe_each_send_their_retained_messages(scope: &Scope) {
    let (one, two) = (scope.topic("one"), scope.topic("two"));
    let mut publisher = scope.connect("pub");
    publisher.retain(&one, "one", 1);
    publisher.retain(&two, "two", 1);
    let mut subscriber = scope.connect("sub");
    subscriber.subscribe(&[(&one, 1), (&two, 1)]);
    let mut seen = [subscriber.take_text(), subscriber.take_text()];
    seen.sort();
    assert_eq!(seen, ["one", "two"]); // [MQTT-3.8.4-4] [MQTT-3.3.1-6]
    publisher.retain(&one, "", 0);
    publisher.retain(&two, "", 0);
}

fn delivered_qos_of_a_retained_message_is_the_lower_one(scope: &Scope) {
    let topic = scope.topic("t");
    let mut publisher = scope.connect("pub");
    publisher.retain(&topic, "kept", 2);
    for granted in 0..=2 {
        let mut subscriber = scope.subscriber("sub", &topic, granted);
        assert_eq!(subscriber.take().qos, granted); // [MQTT-3.8.4-6]
    }
    publisher.retain(&topic, "", 0);
}

fn resumed_session_gets_no_retained_messages(scope: &Scope) {
    let topic = scope.topic("t");
    let mut publisher = scope.connect("pub");
    publisher.retain(&topic, "kept", 1);
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&topic, 1)]);
    assert_eq!(client.take_text(), "kept");
    client.quiet();
    client.disconnect();
    scope.persistent("id").0.quiet(); // Not a new subscription. [MQTT-3.3.1-6]
    publisher.retain(&topic, "", 0);
    scope.forget("id");
}

fn offline_subscription_gets_retained_publishes_with_retain_0(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&topic, 1)]);
    client.disconnect();
    let mut publisher = scope.connect("pub");
    publisher.retain(&topic, "meanwhile", 1);
    let message = scope.persistent("id").0.take();
    assert_eq!((message.text().as_str(), message.retain), ("meanwhile", false)); // [MQTT-3.3.1-9]
    publisher.retain(&topic, "", 0);
    scope.forget("id");
}

fn retained_message_reaches_the_publisher_itself(scope: &Scope) {
    let topic = scope.topic("t");
    let mut client = scope.connect("self");
    client.send(Publish::new(&topic, "kept").retained().encode());
    client.subscribe(&[(&topic, 0)]);
    assert_eq!(client.take_text(), "kept"); // [MQTT-3.3.1-6]
    client.retain(&topic, "", 0);
}
