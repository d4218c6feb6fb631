//! A Session outlives its Network Connection: what is published meanwhile waits, in order.

use crate::event::Message;
use crate::kind::Kind;
use crate::matrix::assert_same;
use crate::setup::{Connect, Publish, Subscribe, UnderTest, Until, numbered};

#[test]
fn messages_for_an_absent_client_wait_in_its_session() {
    let broker = UnderTest::start();
    for kind in Kind::installed(&Kind::ALL) {
        for qos in 1..3 {
            let topic = format!("session/{kind:?}/{qos}");
            let connect = Connect::persistent(&format!("absent{kind:?}{qos}"));
            let subscribe = |until| Subscribe { filter: &topic, qos, until };
            let mut first = kind.subscribe(broker.addr, &connect, &subscribe(Until::Subscribed));
            // [MQTT-3.2.2-3]
            assert_ne!(first.connected(), Some(true), "{kind:?}: no session before the first connection");
            first.finish();

            let payloads = numbered(100);
            let publisher = Connect::new("publisher");
            Kind::Rumqttc.publish(broker.addr, &publisher, &Publish::new(&topic, 2), &payloads);

            let mut again = kind.subscribe(broker.addr, &connect, &subscribe(Until::Resumed(payloads.len())));
            // [MQTT-3.2.2-2]
            assert_ne!(again.connected(), Some(false), "{kind:?}: the session is present");
            let expected: Vec<_> =
                payloads.iter().map(|payload| Message::new(&topic, payload, qos)).collect();
            assert_same(&format!("{kind:?} at QoS {qos}"), &expected, &again.finish().messages);
        }
    }
}

#[test]
fn a_clean_session_ends_the_stored_one() {
    let broker = UnderTest::start();
    for kind in Kind::installed(&Kind::ALL) {
        let topic = format!("clean/{kind:?}");
        let stored = Connect::persistent(&format!("cleaned{kind:?}"));
        let leave = Subscribe { filter: &topic, qos: 1, until: Until::Subscribed };
        kind.subscribe(broker.addr, &stored, &leave).finish();
        let publisher = Connect::new("publisher");
        let how = Publish::new(&topic, 1);
        Kind::Rumqttc.publish(broker.addr, &publisher, &how, &["for the old session".into()]);

        let what = Subscribe { filter: &topic, qos: 1, until: Until::Messages(1) };
        let mut clean = kind.subscribe(broker.addr, &Connect { is_clean: true, ..stored }, &what);
        clean.subscribed();
        Kind::Rumqttc.publish(broker.addr, &publisher, &how, &["for the new one".into()]);
        // [MQTT-3.1.2-6]
        assert_eq!(clean.finish().messages, [Message::new(&topic, "for the new one", 1)], "{kind:?}");
    }
}
