//! An Arduino with the PubSubClient library, byte for byte: what an ESP8266 sends must simply work.
//!
//! Its defaults: MQTT 3.1.1, keep alive 15 s, clean session, packets of at most 256 bytes, publishing at QoS 0
//! only, ids that count up from 2, and a reconnect loop that never says DISCONNECT.

use culex_tests::client::Client;
use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Publish};

culex_tests::cases! { "pubsubclient":
    device_connects_subscribes_publishes_and_pings,
    device_with_user_and_password_connects,
    device_with_a_will_is_announced,
    packets_of_256_bytes_pass,
    device_that_reconnects_without_disconnect_works_again,
}

/// The first twelve bytes of its CONNECT: `MQTT`, level 4, flags, keep alive 15.
fn connect_header(length: u8, flags: u8) -> [u8; 12] {
    [0x10, length, 0x00, 0x04, b'M', b'Q', b'T', b'T', 0x04, flags, 0x00, 0x0F]
}

/// CONNECT of `id`, which is `ESP8266Client-1a2b` on a device; here every case needs its own.
fn connect_bytes(id: &str, credentials: Option<(&str, &str)>) -> Vec<u8> {
    let mut payload = wire::string(id.as_bytes());
    let flags = credentials.map_or(0x02, |(user, password)| {
        payload.extend(wire::string(user.as_bytes()));
        payload.extend(wire::string(password.as_bytes()));
        0xC2
    });
    let length = u8::try_from(10 + payload.len()).expect("a short CONNECT");
    [&connect_header(length, flags)[..], &payload].concat()
}

const CONNACK_OK: Received = Received::ConnAck { session_present: false, code: 0 };

fn device_connects_subscribes_publishes_and_pings(scope: &Scope) {
    let mut client = scope.open();
    // The bytes as a capture shows them, with the usual id.
    let mut script = connect_header(30, 0x02).to_vec();
    script.extend(*b"\x00\x12ESP8266Client-1a2b");
    client.send(script);
    client.expect(&CONNACK_OK); // [MQTT-3.1.4-4] [MQTT-7.0.0-2]
    let topic = scope.topic("inTopic");
    // subscribe("inTopic", 1): the id 2 is the first that the library uses.
    client.send(wire::subscribe(2, &[(&topic, 1)]));
    client.expect(&Received::SubAck(2, vec![1])); // [MQTT-3.8.4-2]
    // publish(): fixed header, topic and payload in separate writes.
    let publish = Publish::new(&scope.topic("outTopic"), "hello world").encode();
    let mut watcher = scope.subscriber("watch", &scope.topic("outTopic"), 0);
    for chunk in [&publish[..2], &publish[2..10], &publish[10..]] {
        client.send(chunk);
    }
    assert_eq!(watcher.take_text(), "hello world"); // [MQTT-4.3.1-1]
    watcher.publish(&topic, r#"{"led":1}"#, 1);
    let message = client.peek();
    assert_eq!((message.text().as_str(), message.qos), (r#"{"led":1}"#, 1));
    client.send(wire::puback(message.id.expect("QoS 1 has an id")));
    client.send(wire::PINGREQ);
    client.expect(&Received::PingResp); // [MQTT-3.12.4-1]
}

fn device_with_user_and_password_connects(scope: &Scope) {
    let mut client = scope.open();
    client.send(connect_bytes(&scope.id("esp"), Some(("mqtt_user", "mqtt_password"))));
    client.expect(&CONNACK_OK); // [MQTT-3.1.2-19] [MQTT-3.1.2-21]
    client.quiet();
}

fn device_with_a_will_is_announced(scope: &Scope) {
    let topic = scope.topic("status");
    let mut watcher = scope.subscriber("watch", &topic, 1);
    // connect(id, willTopic, 1, true, "offline"): clean session, will flag, QoS 1, retain: 0x2E.
    let payload: Vec<u8> = [scope.id("esp").as_bytes(), topic.as_bytes(), b"offline"]
        .iter()
        .flat_map(|f| wire::string(f))
        .collect();
    let length = u8::try_from(10 + payload.len()).expect("a short CONNECT");
    let mut client = scope.open();
    client.send([&connect_header(length, 0x2E)[..], &payload].concat());
    client.expect(&CONNACK_OK);
    client.send(Publish::new(&topic, "online").retained().encode());
    assert_eq!(watcher.take_text(), "online");
    client.drop_connection();
    assert_eq!(watcher.take_text(), "offline"); // [MQTT-3.1.2-8]
    watcher.retain(&topic, "", 0);
}

fn packets_of_256_bytes_pass(scope: &Scope) {
    let topic = scope.topic("t");
    let mut client = scope.open();
    client.send(connect_bytes(&scope.id("esp"), None));
    client.expect(&CONNACK_OK);
    client.send(wire::subscribe(2, &[(&topic, 1)]));
    client.expect(&Received::SubAck(2, vec![1]));
    // 1 + 2 bytes of fixed header, 2 of length, the topic, and the rest is payload.
    let payload = vec![b'x'; 256 - 5 - topic.len()];
    let packet = Publish::new(&topic, &payload).encode();
    assert_eq!(packet.len(), 256);
    client.send(packet);
    assert_eq!(client.peek().payload, payload); // [MQTT-2.3.1-5]
    // A message at QoS 1 that fills the buffer of the device as well.
    let mut publisher = scope.connect("pub");
    publisher.publish(&topic, &payload[2..], 1);
    let message = client.take();
    assert_eq!(message.encode().len(), 256); // [MQTT-4.3.2-1]
}

fn device_that_reconnects_without_disconnect_works_again(scope: &Scope) {
    let topic = scope.topic("inTopic");
    let mut publisher = scope.connect("pub");
    // Devices that lose their radio leave connections behind, so the old ones are kept open here.
    let mut left: Vec<Client> = Vec::new();
    for round in 0..5 {
        let mut client = scope.open();
        client.send(connect_bytes(&scope.id("esp"), None));
        client.expect(&CONNACK_OK); // [MQTT-3.1.2-6]
        client.send(wire::subscribe(2, &[(&topic, 1)]));
        client.expect(&Received::SubAck(2, vec![1]));
        publisher.publish(&topic, round.to_string(), 1);
        assert_eq!(client.take_text(), round.to_string());
        if round % 2 == 0 {
            client.drop_connection();
        } else {
            left.push(client);
        }
    }
    for mut client in left {
        client.expect_closed(); // [MQTT-3.1.4-2]
    }
}
