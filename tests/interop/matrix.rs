//! Every client publishes to every client, at every pair of QoS levels.

use crate::actor::Actor;
use crate::event::Message;
use crate::kind::Kind;
use crate::setup::{Connect, Publish, Subscribe, UnderTest, Until, Version, numbered};

/// Messages of one publisher at one QoS.
const COUNT: usize = 200;

#[test]
fn every_client_receives_exactly_once_what_mosquitto_pub_publishes() {
    fan_out(Kind::Mosquitto);
}

#[test]
fn every_client_receives_exactly_once_what_paho_1_publishes() {
    fan_out(Kind::Paho1);
}

#[test]
fn every_client_receives_exactly_once_what_paho_2_publishes() {
    fan_out(Kind::Paho2);
}

#[test]
fn every_client_receives_exactly_once_what_mqtt_js_publishes() {
    fan_out(Kind::MqttJs);
}

#[test]
fn every_client_receives_exactly_once_what_rumqttc_publishes() {
    fan_out(Kind::Rumqttc);
}

#[test]
fn clients_of_mqtt_3_1_and_3_1_1_talk_to_each_other() {
    let (v3_1, v3_1_1) = (Version::V3_1, Version::V3_1_1);
    let speakers = [Kind::Mosquitto, Kind::Paho1, Kind::Paho2, Kind::MqttJs];
    let kinds = Kind::installed(&speakers);
    let both: Vec<_> = kinds.iter().flat_map(|&kind| [(kind, v3_1), (kind, v3_1_1)]).collect();
    let broker = UnderTest::start();
    for &publisher in &kinds {
        for (version, topic) in [(v3_1, "old"), (v3_1_1, "new")] {
            let topic = format!("versions/{publisher:?}/{topic}");
            exchange(&broker, (publisher, version), &both, &topic, 30);
        }
    }
}

fn fan_out(publisher: Kind) {
    if !publisher.is_installed() {
        return;
    }
    let broker = UnderTest::start();
    let version = Version::V3_1_1;
    let subscribers: Vec<_> = Kind::installed(&Kind::ALL).into_iter().map(|kind| (kind, version)).collect();
    exchange(&broker, (publisher, version), &subscribers, &format!("matrix/{publisher:?}"), COUNT);
}

/// Subscribers of each kind at QoS 0, 1 and 2; then the publisher at QoS 0, 1 and 2, a topic each.
fn exchange(
    broker: &UnderTest,
    publisher: (Kind, Version),
    subscribers: &[(Kind, Version)],
    topic: &str,
    count: usize,
) {
    let filter = format!("{topic}/#");
    let payloads = numbered(count);
    let wanted = 3 * payloads.len();
    let mut running: Vec<(String, u8, Actor)> = Vec::new();
    for &(kind, version) in subscribers {
        for qos in 0..3 {
            // MQTT 3.1 allows 23 characters.
            let id = format!("{kind:?}{version:?}q{qos}");
            let connect = Connect { version, ..Connect::new(&id) };
            let what = Subscribe { filter: &filter, qos, until: Until::Messages(wanted) };
            running.push((id, qos, kind.subscribe(broker.addr, &connect, &what)));
        }
    }
    for (_, _, subscriber) in &mut running {
        subscriber.subscribed();
    }
    for qos in 0..3 {
        let connect =
            Connect { version: publisher.1, ..Connect::new(&format!("pub{:?}q{qos}", publisher.0)) };
        let topic = format!("{topic}/{qos}");
        publisher.0.publish(broker.addr, &connect, &Publish::new(&topic, qos), &payloads);
    }
    for (id, granted, subscriber) in running {
        let received = subscriber.finish().messages;
        for qos in 0..3 {
            let topic = format!("{topic}/{qos}");
            // [MQTT-3.8.4-6] The lower of both levels; [MQTT-4.6.0-6] in order.
            let expected: Vec<_> =
                payloads.iter().map(|p| Message::new(&topic, p, qos.min(granted))).collect();
            let got: Vec<_> = received.iter().filter(|message| message.topic == topic).cloned().collect();
            assert_same(&format!("{publisher:?} at QoS {qos} to {id} at QoS {granted}"), &expected, &got);
        }
        assert_eq!(received.len(), wanted, "{id}: messages on other topics");
    }
}

/// Names the first difference instead of printing two lists of hundreds.
pub(crate) fn assert_same(case: &str, expected: &[Message], got: &[Message]) {
    let first = expected.iter().zip(got).position(|(expected, got)| expected != got);
    let at = first.unwrap_or_else(|| expected.len().min(got.len()));
    assert!(
        expected == got,
        "{case}: {} messages instead of {}; number {at} is {:?} instead of {:?}",
        got.len(),
        expected.len(),
        got.get(at),
        expected.get(at),
    );
}
