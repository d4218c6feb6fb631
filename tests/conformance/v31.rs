//! MQTT 3.1 (`MQIsdp`, level 3), where it differs and where it must not.

use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish, Will};

use crate::suite::connect::refused;

culex_tests::cases! { "v31":
    connect_is_accepted,
    every_qos_is_delivered,
    session_is_resumed_and_connack_has_no_session_present,
    messages_in_flight_are_sent_again,
    dup_is_tolerated_on_subscribe_unsubscribe_and_pubrel,
    empty_client_id_is_refused_with_code_2,
    long_client_id_is_accepted,
    user_name_flag_without_user_name_is_accepted,
    will_and_retain_work,
    both_versions_meet_on_a_topic,
}

fn hello(scope: &Scope, name: &str) -> Connect {
    scope.hello(name).v31()
}

fn connect_is_accepted(scope: &Scope) {
    let (mut client, present) = scope.connect_with(&hello(scope, "old"));
    assert!(!present);
    client.quiet(); // [MQTT-3.1.2-2]
}

fn every_qos_is_delivered(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, _) = scope.connect_with(&hello(scope, "old"));
    assert_eq!(client.subscribe(&[(&topic, 2)]), [2]);
    for qos in 0..=2 {
        client.publish(&topic, qos.to_string(), qos);
        let message = client.take();
        assert_eq!((message.text(), message.qos), (qos.to_string(), qos)); // [MQTT-4.5.0-1]
    }
    client.unsubscribe(&[&topic]);
    client.disconnect();
}

fn session_is_resumed_and_connack_has_no_session_present(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, _) = scope.connect_with(&hello(scope, "old").persistent());
    client.subscribe(&[(&topic, 1)]);
    client.disconnect();
    scope.connect("pub").publish(&topic, "meanwhile", 1);
    let (mut client, present) = scope.connect_with(&hello(scope, "old").persistent());
    assert!(!present, "the byte is reserved in 3.1");
    assert_eq!(client.take_text(), "meanwhile"); // [MQTT-3.1.2-4] [MQTT-3.1.2-5]
    scope.forget("old");
}

fn messages_in_flight_are_sent_again(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, _) = scope.connect_with(&hello(scope, "old").persistent());
    client.subscribe(&[(&topic, 2)]);
    let mut publisher = scope.connect("pub");
    publisher.publish(&topic, "one", 1);
    publisher.publish(&topic, "two", 2);
    let sent = [client.peek(), client.peek()];
    client.drop_connection();
    let (mut client, _) = scope.connect_with(&hello(scope, "old").persistent());
    for message in sent {
        assert_eq!(client.take(), message.again()); // [MQTT-4.4.0-1]
    }
    scope.forget("old");
}

fn dup_is_tolerated_on_subscribe_unsubscribe_and_pubrel(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut client, _) = scope.connect_with(&hello(scope, "old"));
    // 3.1 lets a client set DUP when it repeats these.
    let mut subscribe = wire::subscribe(1, &[(&topic, 1)]);
    subscribe[0] |= 8;
    client.send(subscribe);
    client.expect(&Received::SubAck(1, vec![1]));
    client.send(Publish::new(&scope.topic("else"), "x").qos(2, 2).encode());
    client.expect(&Received::PubRec(2));
    client.send([0x6A, 2, 0, 2]);
    client.expect(&Received::PubComp(2));
    let mut unsubscribe = wire::unsubscribe(3, &[&topic]);
    unsubscribe[0] |= 8;
    client.send(unsubscribe);
    client.expect(&Received::UnsubAck(3));
}

fn empty_client_id_is_refused_with_code_2(scope: &Scope) {
    refused(scope, &Connect::new("").v31(), 2);
    refused(scope, &Connect::new("").v31().persistent(), 2); // [MQTT-3.1.3-8]
}

fn long_client_id_is_accepted(scope: &Scope) {
    // 3.1 allows a Server to refuse more than 23 characters; devices in the field use them.
    let (mut client, _) = scope.connect_with(&hello(scope, &"x".repeat(60)));
    client.quiet();
}

fn user_name_flag_without_user_name_is_accepted(scope: &Scope) {
    // 3.1: the Remaining Length takes precedence over the flag.
    let (mut client, _) = scope.connect_with(&hello(scope, "old").flags(0x82));
    client.quiet();
}

fn will_and_retain_work(scope: &Scope) {
    let topic = scope.topic("will");
    let (mut watcher, _) = scope.connect_with(&hello(scope, "watch"));
    watcher.subscribe(&[(&topic, 1)]);
    let will = Will::new(&topic, "gone", 1).retained();
    scope.connect_with(&hello(scope, "old").will(will)).0.drop_connection();
    let live = watcher.take();
    assert_eq!((live.text().as_str(), live.retain), ("gone", false)); // [MQTT-3.1.2-8] [MQTT-3.3.1-9]
    watcher.subscribe(&[(&topic, 1)]);
    assert!(watcher.take().retain); // [MQTT-3.3.1-8]
    watcher.retain(&topic, "", 0);
}

fn both_versions_meet_on_a_topic(scope: &Scope) {
    let topic = scope.topic("t");
    let (mut old, _) = scope.connect_with(&hello(scope, "old"));
    old.subscribe(&[(&topic, 2)]);
    let mut new = scope.subscriber("new", &topic, 2);
    old.publish(&topic, "from 3.1", 2);
    new.publish(&topic, "from 3.1.1", 2);
    for client in [&mut old, &mut new] {
        assert_eq!(client.take_text(), "from 3.1"); // [MQTT-4.5.0-1]
        assert_eq!(client.take_text(), "from 3.1.1"); // [MQTT-4.5.0-1]
    }
}
