//! Clean Session and Session State. [MQTT-3.1.2-4] to [MQTT-3.1.2-7] [MQTT-3.2.2] [MQTT-4.1.0]

use culex_tests::conformance::Scope;
use culex_tests::wire;

culex_tests::cases! { "session":
    clean_session_0_resumes_the_session,
    first_connect_with_clean_session_0_has_no_session_present,
    offline_session_collects_qos_1_and_2,
    offline_session_keeps_the_order_of_its_messages,
    clean_session_1_drops_the_stored_session,
    clean_session_1_leaves_nothing_behind,
    session_state_survives_many_connections,
    session_lasts_as_long_as_its_connection,
    lost_connection_keeps_the_session,
    take_over_keeps_the_session,
    retained_messages_survive_the_session,
    unsubscribing_is_part_of_the_session,
}

fn clean_session_0_resumes_the_session(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&topic, 1)]);
    client.disconnect();
    let (mut client, present) = scope.persistent("id");
    assert!(present); // [MQTT-3.2.2-2]
    client.publish(&topic, "still subscribed", 0);
    assert_eq!(client.take_text(), "still subscribed"); // [MQTT-3.1.2-4]
    scope.forget("id");
}

fn first_connect_with_clean_session_0_has_no_session_present(scope: &Scope) {
    let (_client, present) = scope.persistent("id");
    assert!(!present); // [MQTT-3.2.2-3]
    scope.forget("id");
}

fn offline_session_collects_qos_1_and_2(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&topic, 2)]);
    client.disconnect();
    let mut publisher = scope.connect("pub");
    publisher.publish(&topic, "one", 1);
    publisher.publish(&topic, "two", 2);
    let (mut client, present) = scope.persistent("id");
    assert!(present);
    let messages = [client.take(), client.take()];
    let seen: Vec<_> = messages.iter().map(|message| (message.text(), message.qos)).collect();
    assert_eq!(seen, [("one".to_owned(), 1), ("two".to_owned(), 2)]); // [MQTT-3.1.2-5]
    client.quiet();
    scope.forget("id");
}

fn offline_session_keeps_the_order_of_its_messages(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&topic, 1)]);
    client.disconnect();
    let mut publisher = scope.connect("pub");
    for number in 0..60 {
        publisher.publish(&topic, number.to_string(), 1);
    }
    let (mut client, _) = scope.persistent("id");
    publisher.publish(&topic, "60", 1);
    for number in 0..=60 {
        assert_eq!(client.take_text(), number.to_string()); // [MQTT-3.1.2-5] [MQTT-4.6.0-6]
    }
    scope.forget("id");
}

fn clean_session_1_drops_the_stored_session(scope: &Scope) {
    let (stored, other) = (scope.topic("stored"), scope.topic("other"));
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&stored, 1)]);
    client.disconnect();
    let mut publisher = scope.connect("pub");
    publisher.publish(&stored, "waiting", 1);
    let (mut client, present) = scope.connect_with(&scope.hello("id"));
    assert!(!present); // [MQTT-3.2.2-1]
    client.subscribe(&[(&other, 1)]);
    publisher.publish(&stored, "for the dropped subscription", 1);
    publisher.publish(&other, "sentinel", 1);
    assert_eq!(client.take_text(), "sentinel"); // [MQTT-3.1.2-6] [MQTT-3.1.4-3]
}

fn clean_session_1_leaves_nothing_behind(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, _) = scope.connect_with(&scope.hello("id"));
    client.subscribe(&[(&topic, 1)]);
    client.disconnect();
    scope.connect("pub").publish(&topic, "for nobody", 1);
    let (mut client, present) = scope.persistent("id");
    assert!(!present); // [MQTT-3.1.2-6] [MQTT-3.2.2-3]
    client.quiet();
    scope.forget("id");
}

fn session_state_survives_many_connections(scope: &Scope) {
    let (topic, done) = (scope.topic("t"), scope.topic("done"));
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&topic, 1), (&done, 1)]);
    client.disconnect();
    let mut publisher = scope.connect("pub");
    for round in 0..5 {
        publisher.publish(&topic, format!("round {round}"), 1);
        let (mut client, present) = scope.persistent("id");
        assert!(present); // [MQTT-4.1.0-1]
        assert_eq!(client.take_text(), format!("round {round}")); // [MQTT-4.1.0-1]
        client.disconnect();
    }
    scope.forget("id");
}

fn session_lasts_as_long_as_its_connection(scope: &Scope) {
    let topic = scope.topic("t");
    let mut client = scope.subscriber("id", &topic, 1);
    for round in 0..50 {
        scope.connect("other").publish(&topic, round.to_string(), 1);
        assert_eq!(client.take_text(), round.to_string()); // [MQTT-4.1.0-2]
    }
}

fn lost_connection_keeps_the_session(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&topic, 1)]);
    client.drop_connection();
    scope.connect("pub").publish(&topic, "meanwhile", 1);
    let (mut client, present) = scope.persistent("id");
    assert!(present); // [MQTT-3.2.2-2]
    assert_eq!(client.take_text(), "meanwhile"); // [MQTT-3.1.2-4]
    scope.forget("id");
}

fn take_over_keeps_the_session(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut old, _) = scope.persistent("id");
    old.subscribe(&[(&topic, 1)]);
    let (mut new, present) = scope.persistent("id");
    assert!(present); // [MQTT-3.2.2-2]
    old.expect_closed();
    new.publish(&topic, "mine now", 1);
    assert_eq!(new.take_text(), "mine now"); // [MQTT-3.1.2-4]
    scope.forget("id");
}

fn retained_messages_survive_the_session(scope: &Scope) {
    let topic = scope.topic("t");
    let mut publisher = scope.connect("pub");
    publisher.retain(&topic, "kept", 1);
    publisher.disconnect();
    scope.connect("pub").disconnect();
    let mut subscriber = scope.subscriber("sub", &topic, 1);
    assert_eq!(subscriber.take_text(), "kept"); // [MQTT-3.1.2-7]
    subscriber.retain(&topic, "", 0);
}

fn unsubscribing_is_part_of_the_session(scope: &Scope) {
    let (kept, removed) = (scope.topic("kept"), scope.topic("removed"));
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&kept, 1), (&removed, 1)]);
    client.unsubscribe(&[&removed]);
    client.send(wire::DISCONNECT);
    client.expect_closed();
    let mut publisher = scope.connect("pub");
    publisher.publish(&removed, "no longer wanted", 1);
    publisher.publish(&kept, "sentinel", 1);
    let (mut client, _) = scope.persistent("id");
    assert_eq!(client.take_text(), "sentinel"); // [MQTT-4.1.0-1]
    scope.forget("id");
}
