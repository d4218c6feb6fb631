//! CONNECT: the first packet, protocol name and level, connect flags. [MQTT-3.1.0] to [MQTT-3.1.2-22]

use culex_tests::client::{Client, Next};
use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish, Will};

culex_tests::cases! { "connect":
    first_packet_other_than_connect_closes,
    second_connect_closes,
    wrong_protocol_name_is_not_served,
    unsupported_level_is_refused_with_code_1,
    bridge_bit_in_the_level_is_accepted,
    a_bridge_gets_nothing_of_its_own_and_retain_as_published,
    level_5_is_refused_in_the_format_of_5_0,
    reserved_connect_flag_closes,
    will_flag_without_will_fields_closes,
    will_fields_without_will_flag_close,
    will_qos_without_will_flag_closes,
    will_retain_without_will_flag_closes,
    will_qos_3_closes,
    user_name_without_its_flag_closes,
    user_name_flag_without_user_name_closes,
    password_without_its_flag_closes,
    password_flag_without_password_closes,
    password_without_user_name_closes,
    all_fields_in_order_are_accepted,
    empty_user_name_and_password_are_accepted,
    nothing_behind_a_rejected_connect_is_processed,
    connect_in_single_bytes_is_accepted;
    config "[limits]\nconnect_timeout = \"1s\"\n": late_connect_closes,
}

/// Sends `connect` and takes the end of the connection, without a CONNACK.
#[track_caller]
fn closes_without_connack(scope: &Scope, connect: &Connect) {
    let mut client = scope.open();
    client.send(connect.encode());
    client.expect_closed(); // [MQTT-3.1.4-1] [MQTT-3.2.2-6]
}

/// Sends `connect` and takes CONNACK with `code` and the end of the connection.
#[track_caller]
pub(crate) fn refused(scope: &Scope, connect: &Connect, code: u8) {
    let mut client = scope.open();
    client.send(connect.encode());
    client.expect(&Received::ConnAck { session_present: false, code }); // [MQTT-3.2.2-4]
    client.expect_closed(); // [MQTT-3.2.2-5]
}

fn first_packet_other_than_connect_closes(scope: &Scope) {
    let topic = scope.topic("early");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    for packet in [
        wire::PINGREQ.to_vec(),
        wire::DISCONNECT.to_vec(),
        Publish::new(&topic, "too early").encode(),
        wire::subscribe(1, &[(&topic, 0)]),
        wire::unsubscribe(1, &[&topic]),
        wire::puback(1),
        wire::pubrel(1),
        wire::frame(0x20, &[0, 0]),
    ] {
        let mut client = scope.open();
        client.send(packet);
        client.expect_closed(); // [MQTT-3.1.0-1]
    }
    scope.connect("pub").publish(&topic, "sentinel", 0);
    assert_eq!(watcher.take_text(), "sentinel");
}

fn second_connect_closes(scope: &Scope) {
    let mut canary = scope.connect("canary");
    let mut client = scope.connect("twice");
    client.send(scope.hello("twice").encode());
    client.expect_closed(); // [MQTT-3.1.0-2] [MQTT-4.8.0-1]
    let mut client = scope.connect("first");
    client.send(scope.hello("second").encode());
    client.expect_closed(); // [MQTT-3.1.0-2]
    canary.quiet();
}

fn wrong_protocol_name_is_not_served(scope: &Scope) {
    for name in ["MQTX", "mqtt", "MQT", "MQTTT", "", "HTTP", "MQIsdq", "MQISDP"] {
        let connect = Connect { protocol_name: name.into(), ..scope.hello("name") };
        closes_without_connack(scope, &connect); // [MQTT-3.1.2-1]
    }
}

fn unsupported_level_is_refused_with_code_1(scope: &Scope) {
    for level in [0, 1, 2, 6, 7, 127, 255] {
        refused(scope, &Connect { level, ..scope.hello("level") }, 1); // [MQTT-3.1.2-2]
    }
}

fn bridge_bit_in_the_level_is_accepted(scope: &Scope) {
    // Bridges of other brokers mark themselves with the highest bit of the level; the protocol is the same.
    for connect in [scope.hello("bridge"), scope.hello("bridge 3.1").v31()] {
        let level = connect.level | 0x80;
        let _ = scope.connect_with(&Connect { level, ..connect });
    }
}

fn a_bridge_gets_nothing_of_its_own_and_retain_as_published(scope: &Scope) {
    // What 5.0 calls No Local and Retain As Published, so that two brokers send nothing round and round.
    for (name, connect) in [("3.1.1", scope.hello("bridge")), ("3.1", scope.hello("bridge 3.1").v31())] {
        let topic = scope.topic(name);
        let (mut bridge, _) = scope.connect_with(&Connect { level: connect.level | 0x80, ..connect });
        bridge.subscribe(&[(&topic, 2)]);
        let mut other = scope.connect("other");
        for qos in 0..=2 {
            bridge.publish(&topic, "its own", qos);
            other.send(Publish::new(&topic, qos.to_string()).retained().encode());
            let message = bridge.take();
            assert_eq!((message.text(), message.retain), (qos.to_string(), true));
        }
        other.send(Publish::new(&topic, "").retained().encode());
        assert!(bridge.take().retain);
    }
}

fn level_5_is_refused_in_the_format_of_5_0(scope: &Scope) {
    let mut body = wire::string(b"MQTT");
    body.extend([5, 2, 0, 0, 0]); // Clean Start, no keep alive, no properties
    body.extend(wire::string(scope.id("five").as_bytes()));
    let mut client = scope.open();
    client.send(wire::frame(0x10, &body));
    // A 5.0 client could not read a CONNACK 0x01. 0x84: Unsupported Protocol Version. [MQTT-3.1.2-2]
    client.expect(&Received::ConnAck5 { reason: 0x84 });
    client.expect_closed();
}

fn reserved_connect_flag_closes(scope: &Scope) {
    closes_without_connack(scope, &scope.hello("flag").flags(0x03)); // [MQTT-3.1.2-3]
}

fn will_flag_without_will_fields_closes(scope: &Scope) {
    closes_without_connack(scope, &scope.hello("will").flags(0x06)); // [MQTT-3.1.2-9]
    let mut connect = scope.hello("will").flags(0x06);
    connect.trailing = wire::string(b"topic only");
    closes_without_connack(scope, &connect); // [MQTT-3.1.2-9]
}

fn will_fields_without_will_flag_close(scope: &Scope) {
    let topic = scope.topic("will");
    let connect = scope.hello("will").will(Will::new(&topic, "gone", 0)).flags(0x02);
    closes_without_connack(scope, &connect); // [MQTT-3.1.2-11]
}

fn will_qos_without_will_flag_closes(scope: &Scope) {
    for qos in 1..=3 {
        closes_without_connack(scope, &scope.hello("qos").flags(0x02 | qos << 3)); // [MQTT-3.1.2-13]
    }
}

fn will_retain_without_will_flag_closes(scope: &Scope) {
    closes_without_connack(scope, &scope.hello("retain").flags(0x22)); // [MQTT-3.1.2-15]
}

fn will_qos_3_closes(scope: &Scope) {
    let will = Will::new(&scope.topic("will"), "gone", 3);
    closes_without_connack(scope, &scope.hello("qos3").will(will)); // [MQTT-3.1.2-14]
}

fn user_name_without_its_flag_closes(scope: &Scope) {
    let connect = Connect { user_name: Some(b"user".to_vec()), ..scope.hello("user") };
    closes_without_connack(scope, &connect.flags(0x02)); // [MQTT-3.1.2-18]
}

fn user_name_flag_without_user_name_closes(scope: &Scope) {
    closes_without_connack(scope, &scope.hello("user").flags(0x82)); // [MQTT-3.1.2-19]
}

fn password_without_its_flag_closes(scope: &Scope) {
    let connect = scope.hello("pass").credentials("user", b"password").flags(0x82);
    closes_without_connack(scope, &connect); // [MQTT-3.1.2-20]
}

fn password_flag_without_password_closes(scope: &Scope) {
    let connect = Connect { user_name: Some(b"user".to_vec()), ..scope.hello("pass") };
    closes_without_connack(scope, &connect.flags(0xC2)); // [MQTT-3.1.2-21]
}

fn password_without_user_name_closes(scope: &Scope) {
    let connect = Connect { password: Some(b"password".to_vec()), ..scope.hello("pass") };
    closes_without_connack(scope, &connect); // [MQTT-3.1.2-22]
}

fn all_fields_in_order_are_accepted(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    let hello = scope.hello("all").will(Will::new(&topic, "will message", 0));
    let (client, _) = scope.connect_with(&hello.credentials("user name", b"pass\0word")); // [MQTT-3.1.4-4]
    client.drop_connection();
    let will = watcher.take();
    // Had the fields been read in another order, the will would differ. [MQTT-3.1.3-1]
    assert_eq!((will.topic.as_str(), will.text().as_str()), (topic.as_str(), "will message"));
}

fn empty_user_name_and_password_are_accepted(scope: &Scope) {
    let (mut client, _) = scope.connect_with(&scope.hello("empty").credentials("", b""));
    client.quiet(); // [MQTT-3.1.2-19] [MQTT-3.1.2-21]
}

fn nothing_behind_a_rejected_connect_is_processed(scope: &Scope) {
    let topic = scope.topic("behind");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    let rejected = [
        Connect { level: 6, ..scope.hello("level") },
        Connect { client_id: Vec::new(), ..scope.hello("").persistent() },
        scope.hello("flag").flags(0x03),
    ];
    for connect in rejected {
        let mut bytes = connect.encode();
        bytes.extend(Publish::new(&topic, "behind").encode());
        let mut client = scope.open();
        client.send(bytes);
        drain(&mut client);
    }
    scope.connect("pub").publish(&topic, "sentinel", 0);
    assert_eq!(watcher.take_text(), "sentinel"); // [MQTT-3.1.4-5]
}

/// Takes what comes until the connection ends.
#[track_caller]
fn drain(client: &mut Client) {
    loop {
        match client.next_event() {
            Next::Closed => return,
            Next::Packet(_) => {}
            Next::Silence => panic!("the connection should have been closed"),
        }
    }
}

/// A CONNECT that arrives byte by byte is a CONNECT.
fn connect_in_single_bytes_is_accepted(scope: &Scope) {
    let mut client = scope.open();
    for byte in scope.hello("bytes").encode() {
        client.send([byte]);
    }
    client.expect(&Received::ConnAck { session_present: false, code: 0 }); // [MQTT-3.1.4-4]
}

fn late_connect_closes(scope: &Scope) {
    let mut silent = scope.open();
    let mut half = scope.open();
    let hello = scope.hello("late").encode();
    half.send(&hello[..hello.len() - 1]);
    silent.expect_closed();
    half.expect_closed();
}
