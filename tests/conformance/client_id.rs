//! Client Identifiers, and what an accepted or refused CONNECT is answered. [MQTT-3.1.3] [MQTT-3.1.4] [MQTT-3.2]

use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish, Will};

use crate::suite::connect::refused;

culex_tests::cases! { "client_id":
    letters_and_digits_of_1_to_23_bytes_are_accepted,
    long_and_unusual_ids_are_accepted,
    empty_id_with_clean_session_is_made_unique,
    empty_id_with_clean_session_0_is_refused_with_code_2,
    missing_client_id_closes,
    ill_formed_client_id_closes,
    sessions_belong_to_their_client_id,
    ids_are_compared_byte_by_byte,
    same_id_takes_over_the_older_connection,
    take_over_publishes_the_will_of_the_older_connection,
    connack_comes_first,
    packets_behind_connect_need_not_wait_for_connack,
}

fn letters_and_digits_of_1_to_23_bytes_are_accepted(scope: &Scope) {
    let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for id in ["7", &letters[..23], &letters[23..46], &letters[46..]] {
        let (mut client, _) = scope.connect_with(&Connect::new(id)); // [MQTT-3.1.3-5]
        client.quiet();
    }
}

fn long_and_unusual_ids_are_accepted(scope: &Scope) {
    for name in ["-abcdefghijklmnopqrstuvwxyz", "/é 漢 + # $", &"x".repeat(200)] {
        let mut client = scope.connect(name);
        client.quiet();
    }
}

fn empty_id_with_clean_session_is_made_unique(scope: &Scope) {
    let topic = scope.topic("all");
    let mut clients: Vec<_> = (0..3).map(|_| scope.connect_with(&Connect::new("")).0).collect();
    for client in &mut clients {
        client.subscribe(&[(&topic, 0)]);
    }
    clients[0].publish(&topic, "to all", 0);
    for client in &mut clients {
        assert_eq!(client.take_text(), "to all"); // [MQTT-3.1.3-6]
    }
}

fn empty_id_with_clean_session_0_is_refused_with_code_2(scope: &Scope) {
    refused(scope, &Connect::new("").persistent(), 2); // [MQTT-3.1.3-8] [MQTT-3.1.3-9]
}

fn missing_client_id_closes(scope: &Scope) {
    let mut body = wire::string(b"MQTT");
    body.extend([4, 2, 0, 0]);
    let mut client = scope.open();
    client.send(wire::frame(0x10, &body));
    client.expect_closed(); // [MQTT-3.1.3-3]
}

fn ill_formed_client_id_closes(scope: &Scope) {
    for id in [&b"\xFF"[..], b"a\xC3", b"\xED\xA0\x80", b"a\0b", b"\xC0\x80", b"\xF8\x88\x80\x80\x80"] {
        let mut client = scope.open();
        client.send(Connect { client_id: id.to_vec(), ..scope.hello("") }.encode());
        client.expect_closed(); // [MQTT-3.1.3-4]
    }
}

fn sessions_belong_to_their_client_id(scope: &Scope) {
    let topic = scope.topic("mine");
    let (mut one, _) = scope.persistent("one");
    one.subscribe(&[(&topic, 1)]);
    one.disconnect();
    let (mut two, present) = scope.persistent("two");
    assert!(!present, "the session of another id"); // [MQTT-3.1.3-2]
    scope.connect("pub").publish(&topic, "for one", 1);
    two.publish(&scope.topic("else"), "after it", 1);
    two.quiet(); // [MQTT-3.1.3-2]
    let (mut one, present) = scope.persistent("one");
    assert!(present); // [MQTT-3.1.3-2]
    assert_eq!(one.take_text(), "for one");
    scope.forget("one");
    scope.forget("two");
}

fn ids_are_compared_byte_by_byte(scope: &Scope) {
    let names = ["id", "ID", "id ", "i\u{e9}", "ie\u{301}"];
    let mut clients: Vec<_> = names.iter().map(|name| scope.connect(name)).collect();
    for client in &mut clients {
        client.quiet(); // [MQTT-3.1.3-2]
    }
}

fn same_id_takes_over_the_older_connection(scope: &Scope) {
    let mut old = scope.connect("id");
    let mut new = scope.connect("id");
    old.expect_closed(); // [MQTT-3.1.4-2]
    new.quiet();
}

fn take_over_publishes_the_will_of_the_older_connection(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    let hello = scope.hello("id").will(Will::new(&topic, "old", 0));
    let (mut old, _) = scope.connect_with(&hello);
    let (mut new, _) = scope.connect_with(&scope.hello("id").will(Will::new(&topic, "new", 0)));
    old.expect_closed(); // [MQTT-3.1.4-2]
    assert_eq!(watcher.take_text(), "old"); // [MQTT-3.1.2-8]
    new.publish(&topic, "sentinel", 0);
    assert_eq!(watcher.take_text(), "sentinel", "the will of the new connection stays");
}

fn connack_comes_first(scope: &Scope) {
    let topic = scope.topic("queued");
    let (mut client, _) = scope.persistent("id");
    client.subscribe(&[(&topic, 1)]);
    client.disconnect();
    scope.connect("pub").publish(&topic, "waiting", 1);
    let mut client = scope.open();
    client.send(scope.hello("id").persistent().encode());
    client.expect(&Received::ConnAck { session_present: true, code: 0 }); // [MQTT-3.2.0-1]
    assert_eq!(client.take_text(), "waiting");
    scope.forget("id");
}

fn packets_behind_connect_need_not_wait_for_connack(scope: &Scope) {
    let topic = scope.topic("eager");
    let mut client = scope.open();
    let mut bytes = scope.hello("eager").encode();
    bytes.extend(wire::subscribe(1, &[(&topic, 0)]));
    bytes.extend(Publish::new(&topic, "eager").encode());
    client.send(bytes);
    client.expect(&Received::ConnAck { session_present: false, code: 0 }); // [MQTT-3.2.0-1]
    client.expect(&Received::SubAck(1, vec![0]));
    assert_eq!(client.take_text(), "eager");
}
