//! What breaks the protocol closes the connection it came on, and no other. [MQTT-4.8.0-1]
//!
//! Each case is a table of packets. A row is sent on a connection of its own, followed by PINGREQ: a broker that
//! lets the row pass is seen at once by its PINGRESP. A canary on the same broker is asked after every row.

use culex_tests::client::Next;
use culex_tests::conformance::Scope;
use culex_tests::wire::{self, Publish};

culex_tests::cases! { "malformed":
    wrong_fixed_header_flags_close,
    reserved_packet_types_close,
    packets_of_a_server_close,
    publish_with_qos_3_closes,
    packet_id_0_closes,
    missing_packet_id_closes,
    trailing_bytes_close,
    publish_with_an_invalid_topic_closes,
    subscribe_without_a_filter_closes,
    unsubscribe_without_a_filter_closes,
    invalid_requested_qos_closes,
    invalid_filter_closes,
    fields_longer_than_their_packet_close,
    remaining_length_of_5_bytes_closes,
    packets_cut_off_by_the_end_of_the_connection_close,
    malformed_packet_behind_good_ones_closes_after_them,
    only_the_connection_of_the_violation_is_closed,
}

/// A packet with its name in messages.
pub(crate) type Row = (String, Vec<u8>);

pub(crate) fn row(name: impl Into<String>, packet: Vec<u8>) -> Row {
    (name.into(), packet)
}

/// Every row closes a connected client; a canary stays.
#[track_caller]
pub(crate) fn each_closes(scope: &Scope, rows: &[Row]) {
    let mut canary = scope.connect("canary");
    let mut failed = Vec::new();
    for (name, packet) in rows {
        let mut client = scope.connect("bad");
        client.send([packet, wire::PINGREQ].concat());
        match client.next_event() {
            Next::Closed => {} // [MQTT-4.8.0-1]
            other => failed.push(format!("{name}: {other:?}")),
        }
        canary.quiet();
    }
    assert!(
        failed.is_empty(),
        "{} of {} rows did not close:\n{}",
        failed.len(),
        rows.len(),
        failed.join("\n")
    );
    scope.connect("after").quiet();
}

fn wrong_fixed_header_flags_close(scope: &Scope) {
    let topic = scope.topic("t");
    // Type, required flags, and a body that is right for it.
    let types: [(&str, u8, u8, Vec<u8>); 8] = [
        ("PUBACK", 0x40, 0, vec![0, 1]),
        ("PUBREC", 0x50, 0, vec![0, 1]),
        ("PUBREL", 0x60, 2, vec![0, 1]),
        ("PUBCOMP", 0x70, 0, vec![0, 1]),
        ("SUBSCRIBE", 0x80, 2, wire::subscribe(1, &[(&topic, 0)])[2..].to_vec()),
        ("UNSUBSCRIBE", 0xA0, 2, wire::unsubscribe(1, &[&topic])[2..].to_vec()),
        ("PINGREQ", 0xC0, 0, Vec::new()),
        ("DISCONNECT", 0xE0, 0, Vec::new()),
    ];
    let mut rows = Vec::new();
    for (name, first, required, body) in types {
        for flags in (0..16).filter(|flags| *flags != required) {
            // [MQTT-2.2.2-1] [MQTT-2.2.2-2] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1]
            rows.push(row(format!("{name} with flags {flags:04b}"), wire::frame(first | flags, &body)));
        }
    }
    each_closes(scope, &rows);
    for flags in 1..16 {
        let mut connect = scope.hello("flags").encode();
        connect[0] |= flags;
        let mut client = scope.open();
        client.send(connect);
        client.expect_closed(); // [MQTT-2.2.2-2]
    }
}

fn reserved_packet_types_close(scope: &Scope) {
    let types = [0x00, 0x01, 0x02, 0x0F, 0xF0, 0xF2, 0xFF];
    let rows: Vec<_> = types.iter().map(|&first| row(format!("{first:#04x}"), vec![first, 0])).collect();
    each_closes(scope, &rows); // [MQTT-4.8.0-1]
}

fn packets_of_a_server_close(scope: &Scope) {
    let rows = [
        row("CONNACK", wire::frame(0x20, &[0, 0])),
        row("SUBACK", wire::frame(0x90, &[0, 1, 0])),
        row("UNSUBACK", wire::frame(0xB0, &[0, 1])),
        row("PINGRESP", wire::frame(0xD0, &[])),
    ];
    each_closes(scope, &rows); // [MQTT-4.8.0-1]
}

fn publish_with_qos_3_closes(scope: &Scope) {
    let topic = scope.topic("t");
    let base = Publish::new(&topic, "x").qos(3, 1);
    let rows = [
        row("QoS 3", base.encode()),
        row("QoS 3, DUP", base.clone().again().encode()),
        row("QoS 3, RETAIN", base.clone().retained().encode()),
        row("QoS 3 without an id", Publish { id: None, payload: Vec::new(), ..base }.encode()),
    ];
    each_closes(scope, &rows); // [MQTT-3.3.1-4]
}

fn packet_id_0_closes(scope: &Scope) {
    let topic = scope.topic("t");
    let rows = [
        row("PUBLISH QoS 1", Publish::new(&topic, "x").qos(1, 0).encode()),
        row("PUBLISH QoS 2", Publish::new(&topic, "x").qos(2, 0).encode()),
        row("SUBSCRIBE", wire::subscribe(0, &[(&topic, 0)])),
        row("UNSUBSCRIBE", wire::unsubscribe(0, &[&topic])),
    ];
    each_closes(scope, &rows); // [MQTT-2.3.1-1]
}

fn missing_packet_id_closes(scope: &Scope) {
    let topic = wire::string(scope.topic("t").as_bytes());
    let mut rows = Vec::new();
    for (name, first) in [("PUBACK", 0x40), ("PUBREC", 0x50), ("PUBREL", 0x62), ("PUBCOMP", 0x70)] {
        rows.push(row(format!("{name}, empty"), wire::frame(first, &[])));
        rows.push(row(format!("{name}, half an id"), wire::frame(first, &[1])));
    }
    for (name, first) in [("PUBLISH QoS 1", 0x32), ("PUBLISH QoS 2", 0x34)] {
        rows.push(row(name, wire::frame(first, &topic)));
        rows.push(row(format!("{name}, half an id"), wire::frame(first, &[&topic[..], &[1]].concat())));
    }
    each_closes(scope, &rows); // [MQTT-2.3.1-1]
}

fn trailing_bytes_close(scope: &Scope) {
    let topic = scope.topic("t");
    let extended = |packet: Vec<u8>, extra: &[u8]| wire::frame(packet[0], &[&packet[2..], extra].concat());
    let mut rows = Vec::new();
    for extra in [&[0][..], &[0, 0], b"more"] {
        let name = |packet: &str| format!("{packet} and {} bytes", extra.len());
        rows.push(row(name("PUBACK"), extended(wire::puback(1), extra)));
        rows.push(row(name("PUBREC"), extended(wire::pubrec(1), extra)));
        rows.push(row(name("PUBREL"), extended(wire::pubrel(1), extra)));
        rows.push(row(name("PUBCOMP"), extended(wire::pubcomp(1), extra)));
        rows.push(row(name("PINGREQ"), extended(wire::PINGREQ.to_vec(), extra)));
        rows.push(row(name("DISCONNECT"), extended(wire::DISCONNECT.to_vec(), extra)));
    }
    rows.push(row("SUBSCRIBE and 1 byte", extended(wire::subscribe(1, &[(&topic, 0)]), &[0])));
    rows.push(row("SUBSCRIBE and 2 bytes", extended(wire::subscribe(1, &[(&topic, 0)]), &[0, 1])));
    rows.push(row("UNSUBSCRIBE and 1 byte", extended(wire::unsubscribe(1, &[&topic]), &[0])));
    each_closes(scope, &rows); // [MQTT-4.8.0-1]
    for extra in [&[0][..], &[0, 0], b"more"] {
        let mut connect = scope.hello("trailing");
        connect.trailing = extra.to_vec();
        let mut client = scope.open();
        client.send(connect.encode());
        client.expect_closed(); // [MQTT-3.1.4-1]
    }
}

fn publish_with_an_invalid_topic_closes(scope: &Scope) {
    let wildcards = ["#", "+", "a/#", "a/+/b", "a#", "+b"].map(|topic| scope.topic(topic));
    let mut rows: Vec<_> =
        wildcards.iter().map(|topic| row(topic, Publish::new(topic, "x").encode())).collect();
    rows.push(row("a lone #", Publish::new("#", "x").encode())); // [MQTT-3.3.2-2] [MQTT-4.7.1-1]
    rows.push(row("an empty topic", Publish::new("", "x").encode())); // [MQTT-4.7.3-1]
    rows.push(row("a topic with NUL", Publish::new("a\0b", "x").encode())); // [MQTT-4.7.3-2]
    rows.push(row("no topic at all", wire::frame(0x30, &[]))); // [MQTT-3.3.2-1]
    rows.push(row("half a length", wire::frame(0x30, &[0])));
    rows.push(row("retained", Publish::new("a/#", "x").retained().encode()));
    rows.push(row("QoS 2", Publish::new("a/#", "x").qos(2, 1).encode()));
    each_closes(scope, &rows);
}

fn subscribe_without_a_filter_closes(scope: &Scope) {
    let rows = [
        row("a packet id and nothing more", wire::subscribe(1, &[])), // [MQTT-3.8.3-3]
        row("an empty body", wire::frame(0x82, &[])),
        row("half a packet id", wire::frame(0x82, &[1])),
        row("a filter without its QoS", wire::frame(0x82, &[0, 1, 0, 1, b'a'])),
    ];
    each_closes(scope, &rows);
}

fn unsubscribe_without_a_filter_closes(scope: &Scope) {
    let rows = [
        row("a packet id and nothing more", wire::unsubscribe(1, &[])), // [MQTT-3.10.3-2]
        row("an empty body", wire::frame(0xA2, &[])),
        row("half a packet id", wire::frame(0xA2, &[1])),
    ];
    each_closes(scope, &rows);
}

fn invalid_requested_qos_closes(scope: &Scope) {
    let (good, topic) = (scope.topic("good"), scope.topic("t"));
    let options = [3, 4, 5, 8, 0x10, 0x20, 0x40, 0x80, 0xFF];
    let mut rows: Vec<_> =
        options.iter().map(|&qos| row(format!("{qos:#04x}"), wire::subscribe(1, &[(&topic, qos)]))).collect();
    rows.push(row("the second of two", wire::subscribe(1, &[(&good, 1), (&topic, 3)])));
    each_closes(scope, &rows); // [MQTT-3.8.3-4]
}

fn invalid_filter_closes(scope: &Scope) {
    let mut rows = Vec::new();
    for filter in ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a/b+", "##", "a\0b"] {
        rows.push(row(format!("SUBSCRIBE {filter:?}"), wire::subscribe(1, &[(filter, 0)])));
        rows.push(row(format!("UNSUBSCRIBE {filter:?}"), wire::unsubscribe(1, &[filter])));
    }
    // [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1] [MQTT-4.7.3-2]
    each_closes(scope, &rows);
}

fn fields_longer_than_their_packet_close(scope: &Scope) {
    let rows = [
        row("PUBLISH topic", wire::frame(0x30, &[0, 100, b'a', b'b'])),
        row("PUBLISH topic by one", wire::frame(0x30, &[0, 3, b'a', b'b'])),
        row("PUBLISH topic of 65,535", wire::frame(0x30, &[0xFF, 0xFF, b'a'])),
        row("SUBSCRIBE filter", wire::frame(0x82, &[0, 1, 0, 100, b'a', 0])),
        row("SUBSCRIBE filter takes the QoS", wire::frame(0x82, &[0, 1, 0, 2, b'a', 0])),
        row("SUBSCRIBE second filter", wire::frame(0x82, &[0, 1, 0, 1, b'a', 0, 0, 9, b'b', 0])),
        row("UNSUBSCRIBE filter", wire::frame(0xA2, &[0, 1, 0, 100, b'a'])),
        row("UNSUBSCRIBE second filter", wire::frame(0xA2, &[0, 1, 0, 1, b'a', 0, 2, b'b'])),
    ];
    each_closes(scope, &rows); // [MQTT-4.8.0-1]
    // In CONNECT: shorten the packet byte by byte, so that every field in turn is longer than what is left.
    let will = wire::Will::new("w", "m", 0);
    let whole = scope.hello("cut").will(will).credentials("user", b"password").encode();
    for length in 0..whole.len() - 2 {
        let mut client = scope.open();
        client.send(wire::frame(0x10, &whole[2..2 + length]));
        client.expect_closed(); // [MQTT-3.1.4-1] [MQTT-3.1.3-3] [MQTT-3.1.2-9]
    }
}

fn remaining_length_of_5_bytes_closes(scope: &Scope) {
    let rows = [
        row("PINGREQ", vec![0xC0, 0x80, 0x80, 0x80, 0x80, 0x00]),
        row("PUBLISH", vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
        row("PUBLISH, unfinished", vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF]),
    ];
    each_closes(scope, &rows); // [MQTT-4.8.0-1]
    let mut client = scope.open();
    client.send([0x10, 0x80, 0x80, 0x80, 0x80, 0x00]);
    client.expect_closed(); // [MQTT-3.1.4-1]
}

/// A packet that never comes to its end is an error of that connection, whatever length it announced.
fn packets_cut_off_by_the_end_of_the_connection_close(scope: &Scope) {
    let mut canary = scope.connect("canary");
    let packet = Publish::new(&scope.topic("t"), "payload").qos(2, 1).encode();
    for length in 1..packet.len() {
        let mut client = scope.connect("cut");
        client.send(&packet[..length]);
        client.finish_sending();
        client.expect_closed(); // [MQTT-4.8.0-2]
    }
    for bytes in [&[0x30, 0xFF, 0xFF, 0xFF, 0x7F][..], &[0x82, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1], &[0x30, 0x80]] {
        let mut client = scope.connect("lie");
        client.send(bytes);
        client.finish_sending();
        client.expect_closed(); // [MQTT-4.8.0-2]
        canary.quiet();
    }
}

fn malformed_packet_behind_good_ones_closes_after_them(scope: &Scope) {
    let topic = scope.topic("t");
    let mut watcher = scope.subscriber("watch", &topic, 1);
    let mut client = scope.connect("id");
    let mut bytes = Publish::new(&topic, "good").encode();
    bytes.extend(Publish::new(&topic, "bad").qos(3, 1).encode());
    bytes.extend(Publish::new(&topic, "behind").encode());
    client.send(bytes);
    client.expect_closed(); // [MQTT-4.8.0-1]
    assert_eq!(watcher.take_text(), "good");
    scope.connect("id").publish(&topic, "sentinel", 0);
    assert_eq!(watcher.take_text(), "sentinel"); // [MQTT-4.8.0-1]
}

fn only_the_connection_of_the_violation_is_closed(scope: &Scope) {
    let topic = scope.topic("t");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    let mut publisher = scope.connect("pub");
    for number in 0..20 {
        let mut bad = scope.connect(&format!("bad{number}"));
        bad.send([0xFF, 0]);
        bad.expect_closed(); // [MQTT-4.8.0-1]
        publisher.publish(&topic, number.to_string(), 0);
        assert_eq!(watcher.take_text(), number.to_string()); // [MQTT-4.8.0-1]
    }
}
