//! Ill-formed UTF-8 and U+0000 in every string of every packet. [MQTT-1.5.3-1] [MQTT-1.5.3-2]

use culex_tests::conformance::Scope;
use culex_tests::wire::{self, Connect, Will};

use crate::suite::malformed::{each_closes, row};

culex_tests::cases! { "malformed_strings":
    ill_formed_topic_name_closes,
    ill_formed_filter_of_subscribe_closes,
    ill_formed_filter_of_unsubscribe_closes,
    ill_formed_strings_of_connect_close,
    ill_formed_protocol_name_closes,
    nul_in_a_string_closes,
    unusual_but_well_formed_strings_are_accepted,
    password_and_will_message_may_be_any_bytes,
}

/// Byte sequences that no UTF-8 decoder may take.
const ILL_FORMED: &[(&str, &[u8])] = &[
    ("a lone continuation byte", b"a\x80b"),
    ("0xFF", b"a\xFFb"),
    ("0xFE", b"\xFE"),
    ("a sequence cut short by the end", b"a\xC3"),
    ("a sequence cut short by a letter", b"\xE2\x82b"),
    ("overlong '/' in two bytes", b"a\xC0\xAFb"),
    ("overlong '/' in three bytes", b"a\xE0\x80\xAFb"),
    ("overlong '/' in four bytes", b"a\xF0\x80\x80\xAFb"),
    ("overlong NUL", b"a\xC0\x80b"),
    ("surrogate D800", b"a\xED\xA0\x80b"),
    ("surrogate DFFF", b"a\xED\xBF\xBFb"),
    ("surrogate pair", b"\xED\xA1\x8C\xED\xBE\xB4"),
    ("above U+10FFFF", b"a\xF4\x90\x80\x80b"),
    ("five bytes", b"a\xF8\x88\x80\x80\x80b"),
    ("six bytes", b"a\xFC\x84\x80\x80\x80\x80b"),
];

fn ill_formed_topic_name_closes(scope: &Scope) {
    let mut rows = Vec::new();
    for (name, bytes) in ILL_FORMED {
        let topic = wire::string(bytes);
        rows.push(row(format!("{name}, QoS 0"), wire::frame(0x30, &[&topic[..], b"x"].concat())));
        rows.push(row(format!("{name}, QoS 1"), wire::frame(0x32, &[&topic[..], &[0, 1]].concat())));
    }
    each_closes(scope, &rows); // [MQTT-1.5.3-1] [MQTT-3.3.2-1]
}

fn ill_formed_filter_of_subscribe_closes(scope: &Scope) {
    let packet = |bytes: &[u8]| wire::frame(0x82, &[&[0, 1][..], &wire::string(bytes), &[0]].concat());
    let rows: Vec<_> = ILL_FORMED.iter().map(|(name, bytes)| row(*name, packet(bytes))).collect();
    each_closes(scope, &rows); // [MQTT-1.5.3-1] [MQTT-3.8.3-1]
}

fn ill_formed_filter_of_unsubscribe_closes(scope: &Scope) {
    let packet = |bytes: &[u8]| wire::frame(0xA2, &[&[0, 1][..], &wire::string(bytes)].concat());
    let rows: Vec<_> = ILL_FORMED.iter().map(|(name, bytes)| row(*name, packet(bytes))).collect();
    each_closes(scope, &rows); // [MQTT-1.5.3-1] [MQTT-3.10.3-1]
}

/// The given bytes as client id, as will topic and as user name.
fn in_every_field(scope: &Scope, bytes: &[u8]) -> [(&'static str, Connect); 3] {
    let will = Will { topic: bytes.to_vec(), ..Will::new("", "gone", 0) };
    [
        ("client id", Connect { client_id: bytes.to_vec(), ..scope.hello("") }), // [MQTT-3.1.3-4]
        ("will topic", scope.hello("utf8").will(will)),                          // [MQTT-3.1.3-10]
        ("user name", Connect { user_name: Some(bytes.to_vec()), ..scope.hello("utf8") }), // [MQTT-3.1.3-11]
    ]
}

fn ill_formed_strings_of_connect_close(scope: &Scope) {
    let mut canary = scope.connect("canary");
    for (name, bytes) in ILL_FORMED {
        for (field, connect) in in_every_field(scope, bytes) {
            let mut client = scope.open();
            client.send(connect.encode());
            let next = client.next_event();
            assert_eq!(next, culex_tests::client::Next::Closed, "{name} as {field}"); // [MQTT-1.5.3-1]
        }
        canary.quiet();
    }
}

fn ill_formed_protocol_name_closes(scope: &Scope) {
    for (_, bytes) in ILL_FORMED {
        let mut client = scope.open();
        client.send(Connect { protocol_name: bytes.to_vec(), ..scope.hello("name") }.encode());
        client.expect_closed(); // [MQTT-1.5.3-1] [MQTT-3.1.2-1]
    }
}

fn nul_in_a_string_closes(scope: &Scope) {
    let nul = wire::string(b"a\0b");
    let rows = [
        row("PUBLISH topic", wire::frame(0x30, &nul)),
        row("SUBSCRIBE filter", wire::frame(0x82, &[&[0, 1][..], &nul, &[0]].concat())),
        row("UNSUBSCRIBE filter", wire::frame(0xA2, &[&[0, 1][..], &nul].concat())),
    ];
    each_closes(scope, &rows); // [MQTT-1.5.3-2] [MQTT-4.7.3-2]
    for (field, connect) in in_every_field(scope, b"a\0b") {
        let mut client = scope.open();
        client.send(connect.encode());
        assert_eq!(client.next_event(), culex_tests::client::Next::Closed, "{field}"); // [MQTT-1.5.3-2]
    }
}

fn unusual_but_well_formed_strings_are_accepted(scope: &Scope) {
    // First and last code point of every length, and both neighbours of the surrogates.
    for text in ["\u{7FF}", "\u{800}", "\u{D7FF}", "\u{E000}", "\u{FFFD}", "\u{10000}", "\u{10FFFD}"] {
        let topic = scope.topic(text);
        let hello = Connect { user_name: Some(text.into()), ..scope.hello(text) };
        let (mut client, _) = scope.connect_with(&hello.will(Will::new(&topic, "gone", 0)));
        client.subscribe(&[(&topic, 0)]);
        client.publish(&topic, text, 0);
        assert_eq!(client.take().topic, topic); // [MQTT-1.5.3-1]
        client.disconnect();
    }
}

fn password_and_will_message_may_be_any_bytes(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    for (_, bytes) in ILL_FORMED {
        let will = Will { message: bytes.to_vec(), ..Will::new(&topic, "", 0) };
        let hello = scope.hello("binary").will(will).credentials("user", bytes);
        scope.connect_with(&hello).0.drop_connection();
        assert_eq!(watcher.take().payload, *bytes); // [MQTT-3.1.2-8] [MQTT-3.1.2-21]
    }
}
