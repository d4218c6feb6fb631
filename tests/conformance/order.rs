//! Order of messages and of acknowledgements. [MQTT-4.6.0]

use culex_tests::conformance::Scope;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Publish};

culex_tests::cases! { "order":
    pubacks_follow_the_order_of_the_publishes,
    pubrecs_follow_the_order_of_the_publishes,
    mixed_acknowledgements_keep_their_order,
    pubrels_follow_the_order_of_the_pubrecs,
    messages_of_a_publisher_arrive_in_order_at_every_qos,
    order_holds_across_topics_of_a_wildcard,
    order_holds_while_the_subscriber_acknowledges_late,
    order_holds_for_many_subscribers,
}

const COUNT: u16 = 100;

fn burst(topic: &str, qos: u8) -> Vec<u8> {
    (1..=COUNT).flat_map(|id| Publish::new(topic, id.to_string()).qos(qos, id).encode()).collect()
}

fn pubacks_follow_the_order_of_the_publishes(scope: &Scope) {
    let mut client = scope.connect("pub");
    client.send(burst(&scope.topic("t"), 1));
    for id in 1..=COUNT {
        client.expect(&Received::PubAck(id)); // [MQTT-4.6.0-2]
    }
}

fn pubrecs_follow_the_order_of_the_publishes(scope: &Scope) {
    let mut client = scope.connect("pub");
    for first in (1..=COUNT).step_by(10) {
        let ids = first..first + 10;
        let topic = scope.topic("t");
        client.send(
            ids.clone().flat_map(|id| Publish::new(&topic, "").qos(2, id).encode()).collect::<Vec<_>>(),
        );
        for id in ids.clone() {
            client.expect(&Received::PubRec(id)); // [MQTT-4.6.0-3]
        }
        client.send(ids.clone().flat_map(wire::pubrel).collect::<Vec<_>>());
        for id in ids {
            client.expect(&Received::PubComp(id));
        }
    }
}

fn mixed_acknowledgements_keep_their_order(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 2);
    let mut client = scope.connect("pub");
    let mut bytes = Vec::new();
    for id in 1..=10 {
        bytes.extend(Publish::new(&topic, id.to_string()).qos(1 + u8::from(id % 3 == 0), id).encode());
    }
    client.send(bytes);
    let answers: Vec<_> = (1..=10).map(|_| client.receive()).collect();
    let of_qos = |qos_2: bool| (1..=10).filter(move |id| (id % 3 == 0) == qos_2);
    let (recs, acks): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| matches!(answer, Received::PubRec(_)));
    assert_eq!(acks, of_qos(false).map(Received::PubAck).collect::<Vec<_>>()); // [MQTT-4.6.0-2]
    assert_eq!(recs, of_qos(true).map(Received::PubRec).collect::<Vec<_>>()); // [MQTT-4.6.0-3]
    let mut seen = Vec::new();
    client.send(of_qos(true).flat_map(wire::pubrel).collect::<Vec<_>>());
    for _ in 1..=10 {
        seen.push(subscriber.take());
    }
    for qos in 1..=2 {
        let ids: Vec<_> = seen.iter().filter(|message| message.qos == qos).map(Publish::text).collect();
        assert_eq!(ids, of_qos(qos == 2).map(|id| id.to_string()).collect::<Vec<_>>()); // [MQTT-4.6.0-6]
    }
}

fn pubrels_follow_the_order_of_the_pubrecs(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 2);
    let mut publisher = scope.connect("pub");
    for number in 0..5 {
        publisher.publish(&topic, number.to_string(), 2);
    }
    let ids: Vec<_> = (0..5).map(|_| subscriber.peek().id.expect("QoS 2 has an id")).collect();
    subscriber.send(ids.iter().flat_map(|&id| wire::pubrec(id)).collect::<Vec<_>>());
    for id in ids {
        subscriber.expect(&Received::PubRel(id)); // [MQTT-4.6.0-4]
    }
}

fn messages_of_a_publisher_arrive_in_order_at_every_qos(scope: &Scope) {
    for qos in 0..=2 {
        let topic = scope.topic(&qos.to_string());
        let mut subscriber = scope.subscriber("sub", &topic, 2);
        let mut publisher = scope.connect("pub");
        for number in 0..COUNT {
            publisher.publish(&topic, number.to_string(), qos);
        }
        for number in 0..COUNT {
            assert_eq!(subscriber.take_text(), number.to_string()); // [MQTT-4.6.0-6] [MQTT-4.6.0-5]
        }
    }
}

fn order_holds_across_topics_of_a_wildcard(scope: &Scope) {
    let mut subscriber = scope.subscriber("sub", &scope.topic("+"), 1);
    let mut publisher = scope.connect("pub");
    for number in 0..COUNT {
        publisher.publish(&scope.topic(&(number % 3).to_string()), number.to_string(), 1);
    }
    let mut next = [0, 1, 2];
    for _ in 0..COUNT {
        let number: u16 = subscriber.take_text().parse().expect("a number");
        let lane = &mut next[usize::from(number % 3)];
        assert_eq!(number, *lane); // [MQTT-4.6.0-5]
        *lane += 3;
    }
}

fn order_holds_while_the_subscriber_acknowledges_late(scope: &Scope) {
    let topic = scope.topic("t");
    let mut subscriber = scope.subscriber("sub", &topic, 1);
    let mut publisher = scope.connect("pub");
    publisher.send(burst(&topic, 1));
    for id in 1..=COUNT {
        publisher.expect(&Received::PubAck(id));
    }
    // The window closes and opens again with every group of acknowledgements.
    let mut number = 0;
    while number < COUNT {
        let group: Vec<_> = (0..10).map(|_| subscriber.peek()).collect();
        for message in &group {
            number += 1;
            assert_eq!(message.text(), number.to_string()); // [MQTT-4.6.0-6]
        }
        subscriber
            .send(group.iter().filter_map(|message| message.id).flat_map(wire::puback).collect::<Vec<_>>());
    }
    subscriber.quiet();
}

fn order_holds_for_many_subscribers(scope: &Scope) {
    let topic = scope.topic("t");
    let names: Vec<_> = (0..8).map(|number| format!("sub{number}")).collect();
    let mut subscribers: Vec<_> = names.iter().map(|name| scope.subscriber(name, &topic, 0)).collect();
    let mut publisher = scope.connect("pub");
    for number in 0..COUNT {
        publisher.send(Publish::new(&topic, number.to_string()).encode());
    }
    for subscriber in &mut subscribers {
        for number in 0..COUNT {
            assert_eq!(subscriber.take_text(), number.to_string()); // [MQTT-4.6.0-6] [MQTT-4.5.0-1]
        }
    }
}
