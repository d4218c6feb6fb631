//! Message delivery retry: what is sent again when a session is resumed. [MQTT-4.4.0-1]

use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Publish};

culex_tests::cases! { "resend":
    unacknowledged_qos_1_is_sent_again_with_dup_and_its_id_in_order,
    acknowledged_qos_1_is_not_sent_again,
    unacknowledged_qos_2_is_sent_again_with_dup_and_its_id,
    pubrel_is_sent_again_and_publish_is_not,
    completed_qos_2_is_not_sent_again,
    mixed_states_are_resumed_each_where_it_was,
    messages_in_flight_come_before_those_queued_behind_them,
    resending_repeats_until_acknowledged,
    nothing_is_sent_again_on_a_live_connection,
    qos_2_id_of_the_publisher_survives_the_connection,
    clean_session_1_forgets_messages_in_flight,
}

/// A persistent subscriber with `count` messages in flight at `qos`, none of them acknowledged.
#[track_caller]
fn in_flight(scope: &Scope, topic: &str, qos: u8, count: u16) -> (culex_tests::client::Client, Vec<Publish>) {
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(topic, qos)]);
    let mut publisher = scope.connect("pub");
    for number in 0..count {
        publisher.publish(topic, number.to_string(), qos);
    }
    let messages = (0..count).map(|_| client.peek()).collect();
    (client, messages)
}

#[track_caller]
fn resume(scope: &Scope) -> culex_tests::client::Client {
    let (client, present) = scope.persistent("id");
    assert!(present, "the session is gone"); // [MQTT-3.2.2-2]
    client
}

fn unacknowledged_qos_1_is_sent_again_with_dup_and_its_id_in_order(scope: &Scope) {
    let (client, sent) = in_flight(scope, &scope.topic("t"), 1, 10);
    client.drop_connection();
    let mut client = resume(scope);
    for first in sent {
        assert_eq!(client.take(), first.again()); // [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.6.0-1]
    }
    client.quiet();
    scope.forget("id");
}

fn acknowledged_qos_1_is_not_sent_again(scope: &Scope) {
    let (mut client, sent) = in_flight(scope, &scope.topic("t"), 1, 3);
    client.send(wire::puback(sent[1].id.expect("QoS 1 has an id")));
    client.quiet();
    client.drop_connection();
    let mut client = resume(scope);
    assert_eq!(client.take(), sent[0].clone().again()); // [MQTT-4.4.0-1]
    assert_eq!(client.take(), sent[2].clone().again()); // [MQTT-4.3.2-1]
    client.quiet();
    scope.forget("id");
}

fn unacknowledged_qos_2_is_sent_again_with_dup_and_its_id(scope: &Scope) {
    let (client, sent) = in_flight(scope, &scope.topic("t"), 2, 5);
    client.drop_connection();
    let mut client = resume(scope);
    let again: Vec<_> = (0..5).map(|_| client.peek()).collect();
    let expected: Vec<_> = sent.into_iter().map(Publish::again).collect();
    assert_eq!(again, expected); // [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.6.0-1]
    scope.forget("id");
}

fn pubrel_is_sent_again_and_publish_is_not(scope: &Scope) {
    let (mut client, sent) = in_flight(scope, &scope.topic("t"), 2, 1);
    let id = sent[0].id.expect("QoS 2 has an id");
    client.send(wire::pubrec(id));
    client.expect(&Received::PubRel(id));
    for _ in 0..2 {
        client.drop_connection();
        client = resume(scope);
        client.expect(&Received::PubRel(id)); // [MQTT-4.4.0-1] [MQTT-4.3.3-1]
    }
    client.send(wire::pubcomp(id));
    client.quiet();
    scope.forget("id");
}

fn completed_qos_2_is_not_sent_again(scope: &Scope) {
    let (mut client, sent) = in_flight(scope, &scope.topic("t"), 2, 1);
    let id = sent[0].id.expect("QoS 2 has an id");
    client.send(wire::pubrec(id));
    client.expect(&Received::PubRel(id));
    client.send(wire::pubcomp(id));
    client.quiet();
    client.drop_connection();
    resume(scope).quiet(); // [MQTT-4.4.0-1]
    scope.forget("id");
}

fn mixed_states_are_resumed_each_where_it_was(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, sent) = in_flight(scope, &topic, 2, 3);
    let ids: Vec<_> = sent.iter().filter_map(|message| message.id).collect();
    client.send(wire::pubrec(ids[1]));
    client.expect(&Received::PubRel(ids[1]));
    scope.connect("pub").publish(&topic, "at QoS 1", 1);
    let low = client.peek();
    client.drop_connection();
    let mut client = resume(scope);
    let (mut rels, mut publishes) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        match client.receive() {
            Received::Publish(publish) => publishes.push(publish),
            other => rels.push(other),
        }
    }
    assert_eq!(rels, [Received::PubRel(ids[1])]); // [MQTT-4.4.0-1]
    let expected = [sent[0].clone().again(), sent[2].clone().again(), low.again()];
    assert_eq!(publishes, expected); // [MQTT-4.6.0-1] [MQTT-3.3.1-1]
    scope.forget("id");
}

fn messages_in_flight_come_before_those_queued_behind_them(scope: &Scope) {
    let topic = scope.topic("t");
    let (client, sent) = in_flight(scope, &topic, 1, 3);
    client.drop_connection();
    let mut publisher = scope.connect("pub");
    for number in 3..30 {
        publisher.publish(&topic, number.to_string(), 1);
    }
    let mut client = resume(scope);
    for number in 0..30 {
        let message = client.take();
        assert_eq!(message.text(), number.to_string()); // [MQTT-4.6.0-1] [MQTT-4.6.0-6]
        assert_eq!(message.dup, number < sent.len(), "DUP of {number}"); // [MQTT-3.3.1-1]
    }
    client.quiet();
    scope.forget("id");
}

fn resending_repeats_until_acknowledged(scope: &Scope) {
    let (mut client, sent) = in_flight(scope, &scope.topic("t"), 1, 1);
    for _ in 0..3 {
        client.drop_connection();
        client = resume(scope);
        assert_eq!(client.peek(), sent[0].clone().again()); // [MQTT-4.4.0-1]
    }
    client.send(wire::puback(sent[0].id.expect("QoS 1 has an id")));
    client.quiet();
    client.drop_connection();
    resume(scope).quiet();
    scope.forget("id");
}

fn nothing_is_sent_again_on_a_live_connection(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, _) = in_flight(scope, &topic, 1, 3);
    for number in 0..5 {
        scope.connect("pub").publish(&topic, format!("new {number}"), 1);
        let message = client.take();
        assert_eq!((message.text(), message.dup), (format!("new {number}"), false)); // [MQTT-4.4.0-1]
    }
    client.quiet();
    scope.forget("id");
}

fn qos_2_id_of_the_publisher_survives_the_connection(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 2);
    let (mut client, _) = scope.persistent("id");
    let publish = Publish::new(&topic, "once").qos(2, 7);
    client.send(publish.encode());
    client.expect(&Received::PubRec(7));
    client.drop_connection();
    let mut client = resume(scope);
    client.send(publish.again().encode());
    client.expect(&Received::PubRec(7)); // [MQTT-4.3.3-2]
    client.drop_connection();
    let mut client = resume(scope);
    client.send(wire::pubrel(7));
    client.expect(&Received::PubComp(7)); // [MQTT-4.3.3-2] [MQTT-4.1.0-1]
    client.publish(&topic, "sentinel", 2);
    assert_eq!(subscriber.take_text(), "once");
    assert_eq!(subscriber.take_text(), "sentinel"); // [MQTT-4.3.3-2]
    scope.forget("id");
}

fn clean_session_1_forgets_messages_in_flight(scope: &Scope) {
    let (client, _) = in_flight(scope, &scope.topic("t"), 2, 2);
    client.drop_connection();
    let (mut client, present) = scope.connect_with(&scope.hello("id"));
    assert!(!present);
    client.quiet(); // [MQTT-3.1.2-6]
}
