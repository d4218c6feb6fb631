//! Whole runs: against our broker, against the relay, and against servers that do it wrong.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use culex_codec::QoS;
use culex_core::Broker;

use super::frame::{Packets, kind};
use super::*;

/// Carries plans out while a broker of ours serves. They leave no session behind.
fn with_broker(runs: impl Fn(SocketAddr) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let broker = Broker::builder().listen(([127, 0, 0, 1], 0)).start().await.unwrap();
        let address = broker.local_addrs()[0];
        tokio::task::spawn_blocking(move || runs(address)).await.unwrap();
        let sessions = broker.admin().sessions(culex_core::Cursor::default(), 1000).await.unwrap().items;
        let left: Vec<_> = sessions.iter().filter(|session| session.expiry_s > 0).collect();
        assert!(left.is_empty(), "{left:?}");
        broker.shutdown(Duration::from_secs(10)).await.unwrap();
    });
}

#[test]
fn our_broker_delivers_through_many_subscriptions() {
    with_broker(|address| {
        for (qos, version, is_persistent) in [
            (QoS::AtMostOnce, Version::V311, false),
            (QoS::AtLeastOnce, Version::V31, true),
            (QoS::ExactlyOnce, Version::V311, false),
        ] {
            let scenario = Scenario::Subscriptions { subscriptions: 2000, clients: 7 };
            let mut plan = Plan::new(address, scenario, Length::Count(5000));
            (plan.qos, plan.version, plan.is_persistent) = (qos, version, is_persistent);
            plan.broker_pid = Some(std::process::id());
            let report = check(&plan, 5000, 5000);
            let installed = report.installed.unwrap();
            assert_eq!(installed.count, 2000);
            assert!(installed.took > Duration::ZERO && installed.resident.is_some(), "{installed:?}");
            assert!(report.table().contains("installed     2,000 in "), "{}", report.table());
        }
    });
}

#[test]
fn our_broker_gives_all_retained_messages() {
    with_broker(|address| {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            // The second run finds nothing of the first.
            for version in [Version::V311, Version::V31] {
                let mut plan = Plan::new(address, Scenario::Retained, Length::Count(3000));
                (plan.qos, plan.version, plan.broker_pid) = (qos, version, Some(std::process::id()));
                let report = run(&plan, &Gauge::default()).unwrap();
                assert_eq!((report.messages_total, report.deliveries), (3000, 3000), "{report:?}");
                assert_eq!(report.faults, Faults::default(), "{report:?}");
                assert_eq!(report.installed.unwrap().count, 3000);
                let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
                assert!(json["installed_per_second"].as_f64() > Some(0.0), "{json}");
            }
        }
    });
}

#[test]
fn a_given_rate_is_kept() {
    let address = relay_address();
    for (qos, threads) in [(QoS::AtMostOnce, 1), (QoS::AtLeastOnce, 2), (QoS::ExactlyOnce, 3)] {
        let scenario = Scenario::Rate { pairs: 3, per_second: 3000 };
        let mut plan = Plan::new(address, scenario, Length::Count(100));
        (plan.qos, plan.threads) = (qos, threads);
        let report = check(&plan, 300, 300);
        // The last message is due 299 intervals after the first.
        assert!(report.measured >= Duration::from_millis(99), "{report:?}");
        assert_eq!(report.unsent, 0);
    }
    let time = Length::Time { warm_up: Duration::from_millis(20), measured: Duration::from_millis(50) };
    let plan = Plan::new(address, Scenario::Rate { pairs: 2, per_second: 1000 }, time);
    let report = run(&plan, &Gauge::default()).unwrap();
    assert_eq!((report.messages_total, report.deliveries_total, report.unsent), (70, 70, 0), "{report:?}");
    let table = report.table();
    assert!(table.contains("rate: 2 → 2, 1,000/s, QoS 0, 100 bytes, MQTT 3.1.1"), "{table}");
}

/// Coordinated omission: the broker stops once for 200 ms, and one message waits for it. That another 200 were due meanwhile is
/// what a subscriber of theirs would have felt.
#[test]
fn what_was_due_while_the_broker_stood_still_is_late() {
    let stops = |number, whole: &[u8]| {
        if number == 100 {
            thread::sleep(Duration::from_millis(200));
        }
        whole.to_vec()
    };
    let plan = Plan::new(faulty(stops), Scenario::Rate { pairs: 1, per_second: 1000 }, Length::Count(1000));
    let report = check(&plan, 1000, 1000);
    // A fifth of all messages was due in those 200 ms, and waited for 100 ms or more every second of them.
    assert!(report.latency.p99 >= 150_000_000, "{report:?}");
}

/// A server that reads nothing more after a while: what could not be sent counts with the time it has waited.
#[test]
fn what_could_not_be_sent_is_told() {
    let stops = |number, whole: &[u8]| {
        if number == 10 {
            thread::sleep(Duration::from_secs(2));
        }
        whole.to_vec()
    };
    let time = Length::Time { warm_up: Duration::ZERO, measured: Duration::from_millis(300) };
    let mut plan = Plan::new(faulty(stops), Scenario::Rate { pairs: 1, per_second: 2000 }, time);
    (plan.payload_bytes, plan.patience) = (100_000, Duration::from_millis(300));
    let report = run(&plan, &Gauge::default()).unwrap();
    assert!(report.unsent > 0 && report.unsent + report.messages_total == 600, "{report:?}");
    assert!(report.latency.max >= 250_000_000, "{report:?}");
    assert!(report.table().contains(" messages were due and not sent"), "{}", report.table());
}

fn relay_address() -> SocketAddr {
    let relay = Relay::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = relay.address();
    // It ends with the process.
    thread::spawn(move || relay.run());
    address
}

#[track_caller]
pub(super) fn check(plan: &Plan, messages: u64, deliveries: u64) -> Report {
    let report = run(plan, &Gauge::default()).unwrap();
    assert_eq!((report.messages_total, report.deliveries_total), (messages, deliveries), "{report:?}");
    assert_eq!((report.messages, report.deliveries), (messages, deliveries), "{report:?}");
    assert_eq!(report.faults, Faults::default(), "{plan:?}");
    assert!(report.is_clean(false));
    report
}

fn all_scenarios(address: SocketAddr) {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for (window, threads, version) in [(1, 1, Version::V311), (20, 2, Version::V31)] {
            let scenario = Scenario::PubSub { pairs: 3 };
            let mut plan = Plan::new(address, scenario, Length::Count(50));
            (plan.qos, plan.window, plan.threads, plan.version) = (qos, window, threads, version);
            let report = check(&plan, 150, 150);
            assert!(report.latency.p50 > 0 && report.latency.p50 <= report.latency.max);
        }
        let mut plan = Plan::new(address, Scenario::FanOut { subscribers: 5 }, Length::Count(40));
        (plan.qos, plan.window) = (qos, 8);
        check(&plan, 40, 200);
        let mut plan = Plan::new(address, Scenario::FanIn { publishers: 5 }, Length::Count(40));
        (plan.qos, plan.window) = (qos, 8);
        check(&plan, 200, 200);
    }
    let mut large = Plan::new(address, Scenario::PubSub { pairs: 2 }, Length::Count(5));
    large.payload_bytes = 300_000;
    check(&large, 10, 10);
    let idle = Plan::new(address, Scenario::Idle { connections: 70 }, Length::Count(1));
    let report = run(&idle, &Gauge::default()).unwrap();
    assert_eq!((report.deliveries_total, report.closed), (70, 0));
    for clean_session in [true, false] {
        let plan = Plan::new(address, Scenario::Connect { clients: 3, clean_session }, Length::Count(4));
        check(&plan, 12, 12);
    }
}

#[test]
fn our_broker_delivers_everything_in_every_scenario() {
    with_broker(all_scenarios);
}

#[test]
fn our_broker_keeps_everything_for_who_is_not_there() {
    with_broker(|address| {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for (sessions, each) in [(None, 3), (Some(1), 1), (Some(70), 70)] {
                let scenario = Scenario::Offline { publishers: 3, sessions };
                let mut plan = Plan::new(address, scenario, Length::Count(150));
                (plan.qos, plan.window, plan.broker_pid) = (qos, 20, Some(std::process::id()));
                let report = run(&plan, &Gauge::default()).unwrap();
                let deliveries = if sessions.is_none() { 450 } else { 450 * each };
                assert_eq!((report.messages, report.messages_total), (450, 450), "{report:?}");
                assert_eq!(report.deliveries, deliveries, "{report:?}");
                assert_eq!(report.faults, Faults::default(), "{plan:?}");
                let offline = report.offline.unwrap();
                assert!(offline.sessions == each && !offline.drained_in.is_zero(), "{offline:?}");
            }
        }
    });
}

#[test]
fn persistent_sessions_are_removed_after_the_run() {
    let address = relay_address();
    let mut plan = Plan::new(address, Scenario::PubSub { pairs: 2 }, Length::Count(10));
    (plan.qos, plan.is_persistent) = (QoS::AtLeastOnce, true);
    check(&plan, 20, 20);
    with_broker(move |address| {
        let plan = Plan { address, ..plan.clone() };
        check(&plan, 20, 20);
    });
}

#[test]
fn what_nobody_kept_is_lost() {
    let scenario = Scenario::Offline { publishers: 2, sessions: Some(3) };
    let mut plan = Plan::new(relay_address(), scenario, Length::Count(10));
    (plan.qos, plan.patience) = (QoS::AtLeastOnce, Duration::from_millis(200));
    let report = run(&plan, &Gauge::default()).unwrap();
    assert_eq!(report.faults, Faults { lost: 60, ..Faults::default() });
    assert!(!report.is_clean(true));
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!((&json["scenario"], &json["sessions"]), (&"offline".into(), &3.into()));
}

#[test]
fn the_relay_delivers_everything_in_every_scenario() {
    all_scenarios(relay_address());
}

/// What the relay has acknowledged stands in its log: each message of QoS 1, and no other.
#[test]
fn a_relay_with_a_log_keeps_what_it_acknowledges() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let relay = Relay::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let relay = relay.with_log(std::fs::File::create(&path).unwrap());
    let address = relay.address();
    // It ends with the process.
    thread::spawn(move || relay.run());
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut plan = Plan::new(address, Scenario::PubSub { pairs: 3 }, Length::Count(50));
        plan.qos = qos;
        check(&plan, 150, 150);
    }
    let bytes = std::fs::read(&path).unwrap();
    let mut packets = Packets::new(&bytes);
    let mut kept = 0;
    while let Some(packet) = packets.next().unwrap() {
        assert_eq!((packet.kind(), packet.qos()), (kind::PUBLISH, 1));
        kept += 1;
    }
    assert_eq!((kept, packets.rest()), (150, &[][..]));
}

#[test]
fn a_run_by_time_measures_its_middle() {
    let time = Length::Time { warm_up: Duration::from_millis(20), measured: Duration::from_millis(50) };
    let mut plan = Plan::new(relay_address(), Scenario::PubSub { pairs: 2 }, time);
    plan.broker_pid = Some(std::process::id());
    let report = run(&plan, &Gauge::default()).unwrap();
    assert!(report.is_clean(false), "{report:?}");
    assert!(report.deliveries > 0 && report.deliveries < report.deliveries_total, "{report:?}");
    assert!(report.measured >= Duration::from_millis(50));
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!((&json["scenario"], &json["lost"]), (&"pub-sub".into(), &0.into()));
    assert_eq!(json["deliveries"].as_u64(), Some(report.deliveries));
    let table = report.table();
    assert!(table.contains("pub-sub: 2 → 2, QoS 0, 100 bytes, window 100, MQTT 3.1.1"), "{table}");
    assert!(table.contains("0 lost, 0 duplicated, 0 out of order"), "{table}");
}

/// A server for one publisher and one subscriber that delivers what `deliver` makes of the n-th PUBLISH.
fn faulty(deliver: fn(usize, &[u8]) -> Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let subscriber = Arc::new(Mutex::new(None));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let subscriber = Arc::clone(&subscriber);
            thread::spawn(move || serve(stream, &subscriber, deliver));
        }
    });
    address
}

fn serve(
    mut stream: TcpStream,
    subscriber: &Mutex<Option<TcpStream>>,
    deliver: fn(usize, &[u8]) -> Vec<u8>,
) -> Option<()> {
    let (mut bytes, mut buffer, mut number) = (Vec::new(), [0; 4096], 0);
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend(&buffer[..read]);
        let mut packets = Packets::new(&bytes);
        loop {
            let before = packets.rest();
            let Some(packet) = packets.next().ok()? else { break };
            let whole = &before[..before.len() - packets.rest().len()];
            match packet.kind() {
                kind::CONNECT => stream.write_all(&[0x20, 2, 0, 0]).ok()?,
                kind::SUBSCRIBE => {
                    *subscriber.lock().unwrap() = Some(stream.try_clone().ok()?);
                    stream.write_all(&[0x90, 3, 0, 1, 0]).ok()?;
                }
                kind::PINGREQ => stream.write_all(&[0xd0, 0]).ok()?,
                kind::PUBLISH => {
                    let delivered = deliver(number, whole);
                    number += 1;
                    subscriber.lock().unwrap().as_ref()?.write_all(&delivered).ok()?;
                }
                _ => return None,
            }
        }
        let rest = packets.rest().to_vec();
        bytes = rest;
    }
}

#[track_caller]
fn check_faults(deliver: fn(usize, &[u8]) -> Vec<u8>, expected: Faults) {
    let mut plan = Plan::new(faulty(deliver), Scenario::PubSub { pairs: 1 }, Length::Count(100));
    // The window must not stop where the last one is lost; what is lost at the end is waited for.
    (plan.window, plan.patience) = (100, Duration::from_millis(300));
    let report = run(&plan, &Gauge::default()).unwrap();
    assert_eq!(report.faults, expected);
    assert!(!report.is_clean(false));
    assert_eq!(report.is_clean(true), Faults { lost: 0, ..expected } == Faults::default());
}

#[test]
fn a_lost_message_is_noticed() {
    let first = |number, whole: &[u8]| if number == 3 { Vec::new() } else { whole.to_vec() };
    check_faults(first, Faults { lost: 1, ..Faults::default() });
    let last = |number, whole: &[u8]| if number >= 98 { Vec::new() } else { whole.to_vec() };
    check_faults(last, Faults { lost: 2, ..Faults::default() });
}

#[test]
fn a_message_delivered_twice_is_noticed_even_at_the_end() {
    let twice = |number, whole: &[u8]| whole.repeat(if number % 50 == 49 { 2 } else { 1 });
    check_faults(twice, Faults { duplicated: 2, ..Faults::default() });
}

#[test]
fn a_changed_message_is_noticed() {
    // The message of a publisher that is not there.
    let other = |number, whole: &[u8]| {
        let mut whole = whole.to_vec();
        if number == 7 {
            let stamp = whole.len() - 100;
            whole[stamp] = 1;
        }
        whole
    };
    check_faults(other, Faults { lost: 1, wrong: 1, ..Faults::default() });
}

#[test]
fn what_cannot_be_carried_out_is_said() {
    let address = relay_address();
    let plan = Plan::new(address, Scenario::FanIn { publishers: 2 }, Length::Count(1));
    for wrong in [
        Plan { payload_bytes: 15, ..plan.clone() },
        Plan { threads: 2, ..plan.clone() },
        Plan { threads: 0, ..plan.clone() },
        Plan { window: 65_535, ..plan.clone() },
        Plan { window: 0, qos: QoS::AtLeastOnce, ..plan.clone() },
        Plan { scenario: Scenario::Idle { connections: 0 }, ..plan.clone() },
        Plan { scenario: Scenario::Rate { pairs: 1, per_second: 0 }, ..plan.clone() },
        Plan { scenario: Scenario::Subscriptions { subscriptions: 2, clients: 3 }, ..plan.clone() },
        Plan { length: Length::Count(10_000_000), scenario: Scenario::Retained, ..plan.clone() },
    ] {
        let result = run(&wrong, &Gauge::default());
        assert!(matches!(result, Err(BenchError::Plan { .. })), "{result:?}");
    }
    let result = run(&Plan { broker_pid: Some(u32::MAX), ..plan.clone() }, &Gauge::default());
    assert!(matches!(result, Err(BenchError::NoProcess { .. })), "{result:?}");

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for threads in [1, 2] {
        let plan = Plan { threads, ..Plan::new(closed, Scenario::PubSub { pairs: 2 }, Length::Count(1)) };
        let result = run(&plan, &Gauge::default());
        assert!(matches!(result, Err(BenchError::Connect { .. })), "{result:?}");
    }
}
