//! A Will Message is published when its client dies, and not when it takes its leave.

use crate::event::Message;
use crate::kind::Kind;
use crate::setup::{Connect, Publish, Subscribe, UnderTest, Until, Will};

#[test]
fn the_will_of_a_killed_client_is_published() {
    let broker = UnderTest::start();
    for kind in Kind::installed(&Kind::ALL) {
        for qos in 0..3 {
            let topic = format!("will/{}/{kind:?}/{qos}", std::process::id());
            let mut watcher = watch(&broker, &topic);
            let mut mortal = mortal(&broker, kind, &topic, qos);
            mortal.subscribed();
            mortal.kill();
            // [MQTT-3.1.2-8]
            assert_eq!(watcher.message(), Message::new(&topic, "is gone", qos), "{kind:?}");
            // Retained, as it asked. [MQTT-3.1.2-17]
            let what = Subscribe { filter: &topic, qos: 2, until: Until::Messages(1) };
            let late = Kind::Rumqttc.subscribe(broker.addr, &Connect::new("late"), &what).finish().messages;
            assert_eq!(late, [Message::new(&topic, "is gone", qos).retained()], "{kind:?}");
        }
    }
}

#[test]
fn the_will_of_a_client_that_disconnects_is_not_published() {
    let broker = UnderTest::start();
    for kind in Kind::installed(&Kind::ALL) {
        let topic = format!("no-will/{kind:?}");
        let mut watcher = watch(&broker, &topic);
        let mut mortal = mortal(&broker, kind, &topic, 1);
        mortal.subscribed();
        mortal.leave();
        Kind::Rumqttc.publish(
            broker.addr,
            &Connect::new("fence"),
            &Publish::new(&topic, 1),
            &["fence".into()],
        );
        // [MQTT-3.14.4-3]
        assert_eq!(watcher.message(), Message::new(&topic, "fence", 1), "{kind:?}");
    }
}

fn watch(broker: &UnderTest, topic: &str) -> crate::actor::Actor {
    let what = Subscribe { filter: topic, qos: 2, until: Until::Told };
    let mut watcher = Kind::Rumqttc.subscribe(broker.addr, &Connect::new("watcher"), &what);
    watcher.subscribed();
    watcher
}

fn mortal(broker: &UnderTest, kind: Kind, topic: &str, qos: u8) -> crate::actor::Actor {
    let will = Will { topic: topic.to_owned(), payload: "is gone".to_owned(), qos, retain: true };
    let connect = Connect { will: Some(will), ..Connect::new(&format!("mortal{kind:?}{qos}")) };
    kind.subscribe(broker.addr, &connect, &Subscribe { filter: "will/nothing", qos: 0, until: Until::Told })
}
