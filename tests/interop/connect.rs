//! What clients put into CONNECT, and keep alive.

use crate::event::Message;
use crate::kind::Kind;
use crate::setup::{Connect, Publish, Subscribe, UnderTest, Until};

#[test]
fn user_name_and_password_are_accepted_where_nobody_asks_for_them() {
    let broker = UnderTest::start();
    for kind in Kind::installed(&Kind::ALL) {
        let topic = format!("login/{kind:?}");
        let login = Some(("aluna", "s3nha ção"));
        let what = Subscribe { filter: &topic, qos: 1, until: Until::Messages(1) };
        let connect = Connect { login, ..Connect::new(&format!("login{kind:?}")) };
        let mut subscriber = kind.subscribe(broker.addr, &connect, &what);
        subscriber.subscribed();
        let connect = Connect { login, ..Connect::new(&format!("login{kind:?}2")) };
        kind.publish(broker.addr, &connect, &Publish::new(&topic, 1), &["hello".into()]);
        assert_eq!(subscriber.finish().messages, [Message::new(&topic, "hello", 1)], "{kind:?}");
    }
}

#[test]
fn pings_of_idle_clients_are_answered() {
    let broker = UnderTest::start();
    let start = |kind: Kind| {
        let connect = Connect { keep_alive_s: 1, ..Connect::new(&format!("idle{kind:?}")) };
        let what = Subscribe { filter: "idle", qos: 0, until: Until::Told };
        kind.subscribe(broker.addr, &connect, &what)
    };
    // All at the same time, because each waits for its own keep alive to pass.
    let mut idle: Vec<_> = Kind::installed(&Kind::ALL).into_iter().map(|kind| (kind, start(kind))).collect();
    for (kind, client) in &mut idle {
        client.subscribed();
        client.ping_answered();
        // The slowest, mosquitto_sub, knows no keep alive below 5 s; one answer of it is enough.
        if *kind != Kind::Mosquitto {
            client.ping_answered();
        }
    }
    let publisher = Connect::new("waker");
    Kind::Rumqttc.publish(broker.addr, &publisher, &Publish::new("idle", 1), &["awake".into()]);
    for (kind, client) in &mut idle {
        assert_eq!(client.message(), Message::new("idle", "awake", 0), "{kind:?} is still connected");
    }
}
