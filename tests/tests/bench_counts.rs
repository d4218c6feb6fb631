//! What the load generator counts is what the broker has counted: mosquitto's `$SYS` topics, and ours.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "these functions are tests, though clippy sees functions"
)]

use std::net::SocketAddr;

use culex::bench::{Faults, Gauge, Length, Plan, Report, Scenario, Version, run};
use culex_codec::QoS;
use culex_tests::broker::Broker;
use culex_tests::client::{Client, Next};
use culex_tests::mosquitto::Mosquitto;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect};

/// The values of a topic, as they come: the retained one first.
struct Values {
    client: Client,
    topic: &'static str,
}

impl Values {
    fn of(address: SocketAddr, topic: &'static str) -> Self {
        let mut client = Client::open(address);
        client.send(Connect::new("reader").encode());
        client.send(wire::subscribe(1, &[(topic, 0)]));
        Self { client, topic }
    }

    fn next(&mut self) -> u64 {
        loop {
            match self.client.next_event() {
                Next::Packet(Received::Publish(publish)) => {
                    return String::from_utf8(publish.payload).unwrap().parse().unwrap();
                }
                Next::Packet(_) => {}
                end @ (Next::Closed | Next::Silence) => {
                    panic!("{end:?} instead of a value of {}", self.topic)
                }
            }
        }
    }

    /// Waits for a value, which is the last one that changes it.
    fn wait_for(&mut self, wanted: u64) {
        let mut value = self.next();
        while value < wanted {
            value = self.next();
        }
        assert_eq!(value, wanted, "{}", self.topic);
    }
}

/// A run against a broker to which nobody else has published.
fn check(address: SocketAddr, scenario: Scenario, length: Length, qos: QoS) {
    let mut plan = Plan::new(address, scenario, length);
    (plan.qos, plan.payload_bytes, plan.window) = (qos, 50, 20);
    let report = run(&plan, &Gauge::default()).unwrap();
    assert_eq!(report.faults, Faults::default(), "{report:?}");
    assert!(report.messages_total > 0, "{report:?}");
    // The retained value may be older than the run; the one behind it is not, and counts that one too.
    let mut sent = Values::of(address, "$SYS/broker/publish/messages/sent");
    sent.next();
    assert_eq!(sent.next(), report.deliveries_total + 1, "deliveries of {scenario:?}");
    // Not `messages/received`: mosquitto 2.0.11 does not count those at QoS 2 there.
    Values::of(address, "$SYS/broker/publish/bytes/received").wait_for(report.messages_total * 50);
}

fn check_all(broker: impl Fn(&dyn Fn(SocketAddr))) {
    let scenarios = [
        (Scenario::FanOut { subscribers: 7 }, Length::Count(300), QoS::AtLeastOnce),
        (Scenario::Subscriptions { subscriptions: 90, clients: 9 }, Length::Count(500), QoS::AtMostOnce),
        (Scenario::Rate { pairs: 3, per_second: 3000 }, Length::Count(200), QoS::AtMostOnce),
        (Scenario::PubSub { pairs: 3 }, Length::Count(200), QoS::ExactlyOnce),
    ];
    for (scenario, length, qos) in scenarios {
        broker(&|address| check(address, scenario, length, qos));
    }
}

#[test]
fn mosquitto_has_counted_the_same() {
    if Mosquitto::is_installed() {
        check_all(|check| check(Mosquitto::start("sys_interval 1", "").address));
    }
}

/// MQTT 5.0, in every scenario. The broker takes five messages of QoS 1 and 2 at a time, and closes the connection of who sends more.
#[test]
fn mosquitto_is_spoken_to_in_5_0() {
    if !Mosquitto::is_installed() {
        return;
    }
    let broker = Mosquitto::start("max_inflight_messages 5\nmax_queued_messages 0\n", "");
    let run_with = |scenario, length, change: &dyn Fn(&mut Plan)| -> Report {
        let mut plan = Plan::new(broker.address, scenario, length);
        plan.version = Version::V5;
        change(&mut plan);
        let report = run(&plan, &Gauge::default()).unwrap();
        assert_eq!(report.faults, Faults::default(), "{plan:?}");
        report
    };
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for (scenario, is_persistent, deliveries) in [
            (Scenario::PubSub { pairs: 3 }, false, 900),
            (Scenario::PubSub { pairs: 3 }, true, 900),
            (Scenario::FanOut { subscribers: 7 }, false, 2100),
            (Scenario::FanIn { publishers: 7 }, false, 2100),
            (Scenario::Rate { pairs: 3, per_second: 100_000 }, false, 900),
            (Scenario::Subscriptions { subscriptions: 90, clients: 9 }, false, 300),
            (Scenario::Retained, false, 300),
            (Scenario::Connect { clients: 3, clean_session: false }, false, 900),
        ] {
            let report = run_with(scenario, Length::Count(300), &|plan| {
                (plan.qos, plan.is_persistent) = (qos, is_persistent);
            });
            assert_eq!(report.deliveries_total, deliveries, "{report:?}");
            assert!(report.json().contains(r#""version":"5.0""#));
        }
    }
    let scenario = Scenario::Offline { publishers: 3, sessions: Some(4) };
    let report = run_with(scenario, Length::Count(50), &|plan| {
        (plan.qos, plan.is_persistent) = (QoS::AtLeastOnce, true);
    });
    assert_eq!(report.deliveries_total, 600, "{report:?}");
}

#[test]
fn our_broker_has_counted_the_same() {
    check_all(|check| check(Broker::start_with_config("sys_interval = \"1s\"\n").addr));
}
