//! Delivery at QoS 0, 1 and 2, and Packet Identifiers. [MQTT-2.3.1] [MQTT-3.3.1] [MQTT-4.3]

use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Publish};

culex_tests::cases! { "qos":
    qos_0_has_no_packet_id_and_no_answer,
    qos_1_is_answered_with_puback_of_the_same_id,
    qos_1_same_id_after_puback_is_a_new_message,
    qos_2_is_answered_step_by_step_with_the_same_id,
    duplicate_qos_2_publish_is_not_delivered_twice,
    qos_2_same_id_after_pubcomp_is_a_new_message,
    qos_2_id_is_known_until_pubrel,
    pubrel_of_an_unknown_id_is_answered_with_pubcomp,
    qos_1_delivery_has_a_fresh_id_and_dup_0,
    qos_2_delivery_goes_through_all_four_packets,
    outgoing_dup_is_not_that_of_the_publisher,
    outgoing_ids_are_not_reused_while_in_flight,
    outgoing_ids_are_reused_after_the_last_acknowledgement,
    ids_of_both_directions_are_independent,
    highest_packet_id_is_accepted,
    client_may_publish_to_itself_at_every_qos,
}

fn qos_0_has_no_packet_id_and_no_answer(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 2);
    let mut publisher = scope.connect("pub");
    publisher.send(Publish::new(&topic, "\0\u{1}payload").encode());
    publisher.quiet(); // [MQTT-3.3.4-1]
    let message = subscriber.take();
    // The payload would have lost two bytes to a packet id. [MQTT-2.3.1-5] [MQTT-4.3.1-1] [MQTT-3.3.1-2]
    assert_eq!((message.text().as_str(), message.qos, message.dup), ("\0\u{1}payload", 0, false));
}

fn qos_1_is_answered_with_puback_of_the_same_id(scope: &Scope) {
    let mut publisher = scope.connect("pub");
    for id in [1, 2, 255, 256, 0x1234, 2] {
        publisher.send(Publish::new(&scope.topic("t"), "x").qos(1, id).encode());
        publisher.expect(&Received::PubAck(id)); // [MQTT-2.3.1-6] [MQTT-3.3.4-1] [MQTT-4.3.2-2]
    }
    publisher.quiet();
}

fn qos_1_same_id_after_puback_is_a_new_message(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 1);
    let mut publisher = scope.connect("pub");
    for again in [false, true] {
        let publish = Publish::new(&topic, "same id").qos(1, 5);
        publisher.send(if again { publish.again() } else { publish }.encode());
        publisher.expect(&Received::PubAck(5));
        assert_eq!(subscriber.take_text(), "same id"); // [MQTT-4.3.2-2]
    }
}

fn qos_2_is_answered_step_by_step_with_the_same_id(scope: &Scope) {
    let mut publisher = scope.connect("pub");
    for id in [1, 256, 0x1234, 1] {
        publisher.send(Publish::new(&scope.topic("t"), "x").qos(2, id).encode());
        publisher.expect(&Received::PubRec(id)); // [MQTT-2.3.1-6] [MQTT-3.3.4-1]
        publisher.quiet();
        publisher.send(wire::pubrel(id));
        publisher.expect(&Received::PubComp(id)); // [MQTT-4.3.3-2]
    }
    publisher.quiet();
}

fn duplicate_qos_2_publish_is_not_delivered_twice(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 2);
    let mut publisher = scope.connect("pub");
    let publish = Publish::new(&topic, "once").qos(2, 9);
    publisher.send(publish.encode());
    publisher.expect(&Received::PubRec(9));
    for _ in 0..3 {
        publisher.send(publish.clone().again().encode());
        publisher.expect(&Received::PubRec(9)); // [MQTT-4.3.3-2]
    }
    publisher.send(wire::pubrel(9));
    publisher.expect(&Received::PubComp(9));
    publisher.publish(&topic, "sentinel", 2);
    assert_eq!(subscriber.take_text(), "once");
    assert_eq!(subscriber.take_text(), "sentinel"); // [MQTT-4.3.3-2]
}

fn qos_2_same_id_after_pubcomp_is_a_new_message(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 2);
    let mut publisher = scope.connect("pub");
    for round in 0..3 {
        publisher.send(Publish::new(&topic, format!("round {round}")).qos(2, 9).encode());
        publisher.expect(&Received::PubRec(9));
        publisher.send(wire::pubrel(9));
        publisher.expect(&Received::PubComp(9));
        assert_eq!(subscriber.take_text(), format!("round {round}")); // [MQTT-4.3.3-2]
    }
}

fn qos_2_id_is_known_until_pubrel(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 2);
    let mut publisher = scope.connect("pub");
    for id in [3, 4, 5] {
        publisher.send(Publish::new(&topic, id.to_string()).qos(2, id).encode());
        publisher.expect(&Received::PubRec(id));
    }
    publisher.send(wire::pubrel(4));
    publisher.expect(&Received::PubComp(4));
    for id in [3, 5] {
        publisher.send(Publish::new(&topic, id.to_string()).qos(2, id).again().encode());
        publisher.expect(&Received::PubRec(id)); // [MQTT-4.3.3-2]
        publisher.send(wire::pubrel(id));
        publisher.expect(&Received::PubComp(id));
    }
    publisher.publish(&topic, "sentinel", 2);
    let mut seen: Vec<_> = (0..4).map(|_| subscriber.take_text()).collect();
    assert_eq!(seen.pop().as_deref(), Some("sentinel"));
    seen.sort();
    assert_eq!(seen, ["3", "4", "5"]); // [MQTT-4.3.3-2]
}

fn pubrel_of_an_unknown_id_is_answered_with_pubcomp(scope: &Scope) {
    // The PUBCOMP of the first PUBREL may have been lost; without an answer the client would repeat for ever.
    let mut client = scope.connect("pub");
    client.send(wire::pubrel(77));
    client.expect(&Received::PubComp(77)); // [MQTT-4.3.3-2]
    client.quiet();
}

fn qos_1_delivery_has_a_fresh_id_and_dup_0(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 1);
    let mut publisher = scope.connect("pub");
    let mut seen = Vec::new();
    for number in 0..5 {
        publisher.publish(&topic, number.to_string(), 1);
        let message = subscriber.peek();
        assert_eq!((message.qos, message.dup), (1, false)); // [MQTT-4.3.2-1]
        let id = message.id.expect("QoS 1 has an id"); // [MQTT-2.3.1-1]
        assert!(!seen.contains(&id), "id {id} is in flight"); // [MQTT-4.3.2-1]
        seen.push(id);
    }
}

fn qos_2_delivery_goes_through_all_four_packets(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 2);
    scope.connect("pub").publish(&topic, "twice acknowledged", 2);
    let message = subscriber.peek();
    assert_eq!((message.qos, message.dup), (2, false)); // [MQTT-4.3.3-1]
    let id = message.id.expect("QoS 2 has an id");
    subscriber.quiet(); // No PUBREL before the PUBREC.
    subscriber.send(wire::pubrec(id));
    subscriber.expect(&Received::PubRel(id)); // [MQTT-4.3.3-1] [MQTT-2.3.1-6]
    subscriber.send(wire::pubcomp(id));
    subscriber.quiet();
}

fn outgoing_dup_is_not_that_of_the_publisher(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 2);
    let mut publisher = scope.connect("pub");
    for qos in 1..=2 {
        publisher.send(Publish::new(&topic, "repeated").qos(qos, 3).again().encode());
        if qos == 1 {
            publisher.expect(&Received::PubAck(3));
        } else {
            publisher.expect(&Received::PubRec(3));
            publisher.send(wire::pubrel(3));
            publisher.expect(&Received::PubComp(3));
        }
        assert!(!subscriber.take().dup); // [MQTT-3.3.1-3]
    }
}

fn outgoing_ids_are_not_reused_while_in_flight(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 1);
    let mut publisher = scope.connect("pub");
    publisher.publish(&topic, "held", 1);
    let held = subscriber.peek().id;
    for _ in 0..300 {
        publisher.publish(&topic, "passing", 1);
        assert_ne!(subscriber.take().id, held); // [MQTT-2.3.1-4]
    }
}

/// More messages than there are ids, with one held back all the time. Takes about a second.
fn outgoing_ids_are_reused_after_the_last_acknowledgement(scope: &Scope) {
    const BATCH: u16 = 10; // within the window of messages in flight of every broker
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 1);
    let mut publisher = scope.connect("pub");
    publisher.publish(&topic, "held", 1);
    let held = subscriber.peek().id;
    for _ in 0..=u16::MAX / BATCH {
        let batch: Vec<u8> =
            (1..=BATCH).flat_map(|id| Publish::new(&topic, "").qos(1, id).encode()).collect();
        publisher.send(batch);
        for id in 1..=BATCH {
            publisher.expect(&Received::PubAck(id));
            assert_ne!(subscriber.take().id, held); // [MQTT-2.3.1-4]
        }
    }
}

fn ids_of_both_directions_are_independent(scope: &Scope) {
    let topic = scope.topic("t");
    let mut client = scope.subscriber("both", &topic, 2);
    scope.connect("pub").publish(&topic, "inbound", 2);
    let id = client.peek().id.expect("QoS 2 has an id");
    client.send(Publish::new(&scope.topic("else"), "outbound").qos(2, id).encode());
    client.expect(&Received::PubRec(id)); // [MQTT-2.3.1-6]
    client.send(wire::pubrec(id));
    client.expect(&Received::PubRel(id));
    client.send(wire::pubrel(id));
    client.expect(&Received::PubComp(id));
    client.send(wire::pubcomp(id));
    client.quiet();
}

fn highest_packet_id_is_accepted(scope: &Scope) {
    let mut client = scope.connect("id");
    client.send(Publish::new(&scope.topic("t"), "x").qos(1, u16::MAX).encode());
    client.expect(&Received::PubAck(u16::MAX)); // [MQTT-2.3.1-6]
    client.send(wire::subscribe(u16::MAX, &[(&scope.topic("t"), 0)]));
    client.expect(&Received::SubAck(u16::MAX, vec![0])); // [MQTT-2.3.1-7]
}

fn client_may_publish_to_itself_at_every_qos(scope: &Scope) {
    let topic = scope.topic("t");
    let mut client = scope.subscriber("self", &topic, 2);
    for qos in 0..=2 {
        client.publish(&topic, qos.to_string(), qos);
        let message = client.take();
        assert_eq!((message.text(), message.qos), (qos.to_string(), qos)); // [MQTT-4.5.0-1]
    }
}
