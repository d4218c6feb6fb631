//! The Will Message. [MQTT-3.1.2-8] to [MQTT-3.1.2-17] [MQTT-3.14.4-3]

use culex_tests::conformance::Scope;
use culex_tests::wire::{self, Publish, Will};

culex_tests::cases! { "will":
    lost_connection_publishes_the_will,
    protocol_error_publishes_the_will,
    reset_in_the_middle_of_a_packet_publishes_the_will,
    disconnect_discards_the_will,
    disconnect_and_bytes_behind_it_discard_the_will,
    will_is_published_once,
    no_will_without_will_flag,
    will_qos_is_used,
    will_is_not_retained_without_will_retain,
    will_is_retained_with_will_retain,
    empty_will_message_is_published,
    empty_retained_will_removes_the_retained_message,
    will_with_wildcard_topic_closes,
    will_of_a_session_is_that_of_its_last_connect,
    will_reaches_its_own_persistent_session,
}

fn lost_connection_publishes_the_will(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    scope.connect_with(&scope.hello("id").will(Will::new(&topic, "gone", 0))).0.drop_connection();
    let will = watcher.take();
    assert_eq!((will.text().as_str(), will.retain, will.qos), ("gone", false, 0)); // [MQTT-3.1.2-8]
}

fn protocol_error_publishes_the_will(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    let (mut client, _) = scope.connect_with(&scope.hello("id").will(Will::new(&topic, "gone", 0)));
    client.send(wire::frame(0x36, &[0, 1, b'a', 0, 1])); // QoS 3
    client.expect_closed();
    assert_eq!(watcher.take_text(), "gone"); // [MQTT-3.1.2-8]
}

fn reset_in_the_middle_of_a_packet_publishes_the_will(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    let (mut client, _) = scope.connect_with(&scope.hello("id").will(Will::new(&topic, "gone", 0)));
    let half = Publish::new(&topic, "half a packet").encode();
    client.send(&half[..half.len() / 2]);
    client.drop_connection();
    assert_eq!(watcher.take_text(), "gone"); // [MQTT-3.1.2-8] [MQTT-4.8.0-2]
}

fn disconnect_discards_the_will(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    let hello = scope.hello("id");
    scope.connect_with(&hello.clone().will(Will::new(&topic, "gone", 0))).0.disconnect();
    // The same id, so that the sentinel cannot overtake the end of the first connection.
    scope.connect_with(&hello).0.publish(&topic, "sentinel", 0);
    assert_eq!(watcher.take_text(), "sentinel"); // [MQTT-3.14.4-3] [MQTT-3.1.2-10]
}

fn disconnect_and_bytes_behind_it_discard_the_will(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    let (mut client, _) = scope.connect_with(&scope.hello("id").will(Will::new(&topic, "gone", 0)));
    let mut bytes = wire::DISCONNECT.to_vec();
    bytes.extend(Publish::new(&topic, "after DISCONNECT").encode());
    client.send(bytes);
    client.expect_closed();
    scope.connect("id").publish(&topic, "sentinel", 0);
    assert_eq!(watcher.take_text(), "sentinel"); // [MQTT-3.14.4-3]
}

fn will_is_published_once(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    let hello = scope.hello("id");
    scope.connect_with(&hello.clone().persistent().will(Will::new(&topic, "gone", 0))).0.drop_connection();
    assert_eq!(watcher.take_text(), "gone");
    scope.connect_with(&hello.clone().persistent()).0.drop_connection();
    scope.connect_with(&hello).0.publish(&topic, "sentinel", 0);
    assert_eq!(watcher.take_text(), "sentinel"); // [MQTT-3.1.2-10]
}

fn no_will_without_will_flag(scope: &Scope) {
    let filter = scope.topic("#");
    let mut watcher = scope.subscriber("watch", &filter, 0);
    scope.connect("id").drop_connection();
    scope.connect("id").publish(&scope.topic("t"), "sentinel", 0);
    assert_eq!(watcher.take_text(), "sentinel"); // [MQTT-3.1.2-12]
}

fn will_qos_is_used(scope: &Scope) {
    for qos in 0..=2 {
        let topic = scope.topic(&format!("will/{qos}"));
        let mut watcher = scope.subscriber("watch", &topic, 2);
        scope.connect_with(&scope.hello("id").will(Will::new(&topic, "gone", qos))).0.drop_connection();
        assert_eq!(watcher.take().qos, qos); // [MQTT-3.1.2-14]
    }
}

fn will_is_not_retained_without_will_retain(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    scope.connect_with(&scope.hello("id").will(Will::new(&topic, "gone", 1))).0.drop_connection();
    assert_eq!(watcher.take_text(), "gone");
    scope.subscriber("late", &topic, 0).quiet(); // [MQTT-3.1.2-16]
}

fn will_is_retained_with_will_retain(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    let will = Will::new(&topic, "gone", 1).retained();
    scope.connect_with(&scope.hello("id").will(will)).0.drop_connection();
    assert!(!watcher.take().retain); // [MQTT-3.3.1-9]
    let mut late = scope.subscriber("late", &topic, 1);
    let retained = late.take();
    assert_eq!((retained.text().as_str(), retained.retain, retained.qos), ("gone", true, 1)); // [MQTT-3.1.2-17]
    late.retain(&topic, "", 0);
}

fn empty_will_message_is_published(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    scope.connect_with(&scope.hello("id").will(Will::new(&topic, "", 0))).0.drop_connection();
    assert_eq!(watcher.take_text(), ""); // [MQTT-3.1.2-9]
}

fn empty_retained_will_removes_the_retained_message(scope: &Scope) {
    let topic = scope.topic("will");
    let mut publisher = scope.connect("pub");
    publisher.retain(&topic, "here", 0);
    let mut watcher = scope.subscriber("watch", &topic, 0);
    assert_eq!(watcher.take_text(), "here");
    let will = Will::new(&topic, "", 0).retained();
    scope.connect_with(&scope.hello("id").will(will)).0.drop_connection();
    assert_eq!(watcher.take_text(), "");
    scope.subscriber("late", &topic, 0).quiet(); // [MQTT-3.1.2-17] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
}

fn will_with_wildcard_topic_closes(scope: &Scope) {
    for topic in ["a/#", "+", "#", ""] {
        let mut client = scope.open();
        client.send(scope.hello("id").will(Will::new(topic, "gone", 0)).encode());
        client.expect_closed(); // [MQTT-4.7.1-1] [MQTT-3.1.3-10] [MQTT-4.7.3-1]
    }
}

fn will_of_a_session_is_that_of_its_last_connect(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    let hello = scope.hello("id").persistent();
    scope.connect_with(&hello.clone().will(Will::new(&topic, "first", 0))).0.disconnect();
    scope.connect_with(&hello.will(Will::new(&topic, "second", 0))).0.drop_connection();
    assert_eq!(watcher.take_text(), "second"); // [MQTT-3.1.2-8] [MQTT-3.1.2-10]
    scope.forget("id");
}

fn will_reaches_its_own_persistent_session(scope: &Scope) {
    let topic = scope.topic("will");
    let (mut client, _) =
        scope.connect_with(&scope.hello("id").persistent().will(Will::new(&topic, "gone", 1)));
    client.subscribe(&[(&topic, 1)]);
    client.drop_connection();
    let (mut client, present) = scope.persistent("id");
    assert!(present);
    assert_eq!(client.take_text(), "gone"); // [MQTT-3.1.2-5] [MQTT-3.1.2-8]
    scope.forget("id");
}
