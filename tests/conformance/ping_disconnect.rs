//! PINGREQ, DISCONNECT and Keep Alive. [MQTT-3.12] [MQTT-3.14] [MQTT-3.1.2-24]

use std::time::{Duration, Instant};

use culex_tests::client::Next;
use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Will};

culex_tests::cases! { "ping_disconnect":
    every_pingreq_is_answered,
    disconnect_closes,
    disconnect_with_reserved_flags_is_an_error,
    silence_of_one_and_a_half_keep_alives_closes,
    silence_publishes_the_will,
    pings_keep_the_connection,
    bytes_of_an_unfinished_packet_do_not_keep_the_connection,
}

/// A broker may look at its clocks seldom; this only tells a late end from none.
const GENEROUS: Duration = Duration::from_secs(20);

fn every_pingreq_is_answered(scope: &Scope) {
    let mut client = scope.connect("id");
    client.send(wire::PINGREQ.repeat(100));
    for _ in 0..100 {
        client.expect(&Received::PingResp); // [MQTT-3.12.4-1]
    }
}

fn disconnect_closes(scope: &Scope) {
    scope.connect("id").disconnect();
    scope.persistent("id").0.disconnect();
    scope.forget("id");
}

fn disconnect_with_reserved_flags_is_an_error(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    for flags in [1, 2, 4, 8, 15] {
        let (mut client, _) = scope.connect_with(&scope.hello("id").will(Will::new(&topic, "an error", 0)));
        client.send([0xE0 | flags, 0]);
        client.expect_closed(); // [MQTT-3.14.1-1]
        // Not a DISCONNECT, so the will stands.
        assert_eq!(watcher.take_text(), "an error"); // [MQTT-3.1.2-8]
    }
}

fn silence_of_one_and_a_half_keep_alives_closes(scope: &Scope) {
    let mut client = scope.open();
    client.patience(GENEROUS);
    // The broker hears the CONNECT after this, so it may not close before 1.5 s on this clock.
    let sent = Instant::now();
    client.connect(&Connect { keep_alive: 1, ..scope.hello("id") });
    client.expect_closed(); // [MQTT-3.1.2-24]
    let silence = sent.elapsed();
    assert!(silence >= Duration::from_millis(1500), "closed after {silence:?}"); // [MQTT-3.1.2-24]
}

fn silence_publishes_the_will(scope: &Scope) {
    let topic = scope.topic("will");
    let mut watcher = scope.subscriber("watch", &topic, 0);
    watcher.patience(GENEROUS);
    let hello = Connect { keep_alive: 1, ..scope.hello("id").will(Will::new(&topic, "silent", 0)) };
    let (_client, _) = scope.connect_with(&hello);
    assert_eq!(watcher.take_text(), "silent"); // [MQTT-3.1.2-24] [MQTT-3.1.2-8]
}

fn pings_keep_the_connection(scope: &Scope) {
    let (mut client, _) = scope.connect_with(&Connect { keep_alive: 1, ..scope.hello("id") });
    // Time is what is tested here: four pauses well within the keep alive, together beyond 1.5 times it.
    for _ in 0..4 {
        assert_eq!(client.next_within(Duration::from_millis(500)), Next::Silence); // [MQTT-3.1.2-24]
        client.quiet();
    }
}

fn bytes_of_an_unfinished_packet_do_not_keep_the_connection(scope: &Scope) {
    let (mut client, _) = scope.connect_with(&Connect { keep_alive: 1, ..scope.hello("id") });
    // A packet of a thousand bytes, of which one arrives every 300 ms: no Control Packet is sent in that time.
    client.send([0x30, 0xE8, 0x07, 0, 1, b'a']);
    for _ in 0..60 {
        match client.next_within(Duration::from_millis(300)) {
            Next::Closed => return, // [MQTT-3.1.2-24]
            Next::Silence => client.send(b"x"),
            Next::Packet(packet) => panic!("unexpected {packet:?}"),
        }
    }
    panic!("the connection was kept for 18 seconds");
}
