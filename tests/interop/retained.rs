//! Retained messages: kept for those who subscribe later, marked for them alone, cleared by an empty one.

use crate::event::Message;
use crate::kind::Kind;
use crate::setup::{Connect, Publish, Subscribe, UnderTest, Until};

#[test]
fn a_new_subscriber_gets_the_last_retained_message_marked_as_such() {
    let kinds = Kind::installed(&Kind::ALL);
    let broker = UnderTest::start();
    for &publisher in &kinds {
        for qos in 0..3 {
            let topic = format!("retained/{}/{publisher:?}/{qos}", std::process::id());
            let how = Publish { is_retained: true, ..Publish::new(&topic, qos) };
            let id = format!("r{publisher:?}{qos}");
            // Present when it is published: for this one it is a message as any other. [MQTT-3.3.1-9]
            let until = Until::Messages(2);
            let mut present = Kind::Rumqttc.subscribe(
                broker.addr,
                &Connect::new(&format!("{id}present")),
                &Subscribe { filter: &topic, qos: 2, until },
            );
            present.subscribed();
            publisher.publish(broker.addr, &Connect::new(&id), &how, &["first".into(), "last".into()]);
            let expected = [Message::new(&topic, "first", qos), Message::new(&topic, "last", qos)];
            assert_eq!(present.finish().messages, expected, "{publisher:?} at QoS {qos}");

            let late: Vec<_> = kinds
                .iter()
                .map(|&kind| {
                    let what = Subscribe { filter: &topic, qos: 2, until: Until::Messages(1) };
                    (kind, kind.subscribe(broker.addr, &Connect::new(&format!("{id}{kind:?}")), &what))
                })
                .collect();
            for (kind, actor) in late {
                // [MQTT-3.3.1-6], [MQTT-3.3.1-8]
                let expected = [Message::new(&topic, "last", qos).retained()];
                assert_eq!(actor.finish().messages, expected, "{publisher:?} at QoS {qos} to {kind:?}");
            }
        }
    }
}

#[test]
fn an_empty_retained_message_clears_the_topic() {
    let broker = UnderTest::start();
    for publisher in Kind::installed(&Kind::ALL) {
        let topic = format!("cleared/{publisher:?}");
        let connect = Connect::new(&format!("clear{publisher:?}"));
        let how = Publish { is_retained: true, ..Publish::new(&topic, 1) };
        publisher.publish(broker.addr, &connect, &how, &["kept".into()]);
        publisher.publish(broker.addr, &connect, &how, &[String::new()]);

        let what = Subscribe { filter: &topic, qos: 1, until: Until::Messages(1) };
        let mut late = Kind::Rumqttc.subscribe(broker.addr, &Connect::new("late"), &what);
        late.subscribed();
        publisher.publish(broker.addr, &connect, &Publish::new(&topic, 1), &["live".into()]);
        // [MQTT-3.3.1-10] Nothing retained came before the live message.
        assert_eq!(late.finish().messages, [Message::new(&topic, "live", 1)], "{publisher:?}");
    }
}
