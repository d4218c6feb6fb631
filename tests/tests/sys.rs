//! What the broker says of itself below `$SYS`: the same as mosquitto, to those alone who may read it, and nobody else
//! says anything there.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "these functions are tests, though clippy sees functions"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use culex_core::limits::{Limit, Limits};
use culex_tests::broker::Broker;
use culex_tests::client::{Client, Next};
use culex_tests::mosquitto::Mosquitto;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish, Will};
use culex_tests::world::{Store, World};

culex_tests::on_shards!(
    the_brokers_own_messages_are_retained_and_neither_stored_nor_counted,
    a_stored_session_does_not_queue_them,
);

const UPTIME: &str = "$SYS/broker/uptime";
/// The last one in the order in which they are published.
const VERSION: &str = "$SYS/broker/version";
const TOPICS: usize = 53;
const NOTHING: [&str; 0] = [];

/// What one subscription got.
#[derive(Debug)]
struct Got {
    payload: String,
    qos: u8,
}

fn connected(address: SocketAddr, connect: &Connect) -> Client {
    let mut client = Client::open(address);
    client.send(connect.encode());
    match client.next_event() {
        Next::Packet(Received::ConnAck { code: 0, .. }) => client,
        other => panic!("no CONNACK but {other:?}"),
    }
}

/// All topics, once three values of `uptime` have come: between the second and the third all is published that the
/// connection of the reader changes.
fn topics(address: SocketAddr, qos: u8) -> BTreeMap<String, Got> {
    let mut client = connected(address, &Connect::new("reader"));
    client.send(wire::subscribe(1, &[("$SYS/#", qos)]));
    let mut topics = BTreeMap::new();
    let mut uptimes = 0;
    while uptimes < 3 {
        match client.next_event() {
            Next::Packet(Received::Publish(publish)) => {
                uptimes += u32::from(publish.topic == UPTIME);
                if let Some(id) = publish.id {
                    client.send(wire::pubrec(id));
                }
                let payload = String::from_utf8(publish.payload).unwrap();
                topics.insert(publish.topic, Got { payload, qos: publish.qos });
            }
            Next::Packet(Received::PubRel(id)) => client.send(wire::pubcomp(id)),
            Next::Packet(_) => {}
            end @ (Next::Closed | Next::Silence) => panic!("{end:?} after {} topics", topics.len()),
        }
    }
    topics
}

/// What a program that reads the value must be able to parse.
fn form(payload: &str) -> &'static str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match payload.split_once([' ', '.']) {
        None if is_number(payload) => "whole number",
        Some((seconds, "seconds")) if is_number(seconds) => "seconds",
        Some((whole, cents)) if is_number(whole) && is_number(cents) && cents.len() == 2 => "two decimals",
        Some((_, version)) if version.starts_with("version ") => "version",
        _ => "something else",
    }
}

#[test]
fn topics_and_the_form_of_their_values_are_those_of_mosquitto() {
    if !Mosquitto::is_installed() {
        return;
    }
    let culex = Broker::start_with_config("sys_interval = \"1s\"\n");
    let mosquitto = Mosquitto::start("sys_interval 1", "");
    let forms = |topics: &BTreeMap<String, Got>| -> BTreeMap<String, &'static str> {
        topics.iter().map(|(topic, got)| (topic.clone(), form(&got.payload))).collect()
    };
    let ours = topics(culex.addr, 2);
    let theirs = topics(mosquitto.address, 2);
    assert_eq!(forms(&ours), forms(&theirs), "ours, theirs");
    assert_eq!(ours.len(), TOPICS);
    assert!(!forms(&ours).values().any(|form| *form == "something else"));
    // Deliberate: a status that is superseded in seconds is not worth an acknowledgement, nor a place in a queue.
    assert!(ours.values().all(|got| got.qos == 0) && theirs.values().all(|got| got.qos == 2));
}

#[test]
fn values_tell_what_has_happened() {
    let broker = Broker::start_with_config("sys_interval = \"1s\"\n");
    let mut client = connected(broker.addr, &Connect::new("client"));
    client.send(wire::subscribe(1, &[("t", 0)]));
    for number in 2..7 {
        client.send(Publish::new("t", "12345").qos(1, number).encode());
    }
    connected(broker.addr, &Connect::new("away").persistent()).drop_connection();
    let mut wanted = BTreeMap::from([
        ("$SYS/broker/clients/connected", "2"),
        ("$SYS/broker/clients/disconnected", "1"),
        ("$SYS/broker/clients/total", "3"),
        ("$SYS/broker/clients/maximum", "3"),
        ("$SYS/broker/publish/messages/received", "5"),
        ("$SYS/broker/publish/bytes/received", "25"),
        ("$SYS/broker/subscriptions/count", "2"),
        ("$SYS/broker/retained messages/count", "0"),
    ]);
    let mut reader = connected(broker.addr, &Connect::new("reader"));
    reader.send(wire::subscribe(1, &[("$SYS/broker/+/#", 0)]));
    while !wanted.is_empty() {
        match reader.next_event() {
            Next::Packet(Received::Publish(publish)) => {
                let value = String::from_utf8(publish.payload).unwrap();
                wanted.retain(|topic, expected| *topic != publish.topic || *expected != value);
            }
            Next::Packet(_) => {}
            end @ (Next::Closed | Next::Silence) => panic!("{end:?}, and not yet {wanted:?}"),
        }
    }
}

/// Connects, and returns when the first values are there.
fn reader(address: SocketAddr, connect: &Connect) -> Client {
    let mut client = connected(address, connect);
    client.send(wire::subscribe(1, &[(VERSION, 0)]));
    loop {
        match client.next_event() {
            Next::Packet(Received::Publish(publish)) if publish.topic == VERSION => return client,
            Next::Packet(_) => {}
            end @ (Next::Closed | Next::Silence) => panic!("no values but {end:?}"),
        }
    }
}

/// Sends this and PINGREQ; the topics of all that comes up to PINGRESP, and the codes of a SUBACK.
fn exchange(client: &mut Client, bytes: Vec<u8>) -> (BTreeSet<String>, Vec<u8>) {
    client.send([bytes, wire::PINGREQ.to_vec()].concat());
    let (mut topics, mut codes) = (BTreeSet::new(), Vec::new());
    loop {
        match client.next_event() {
            Next::Packet(Received::Publish(publish)) => drop(topics.insert(publish.topic)),
            Next::Packet(Received::SubAck(_, granted)) => codes = granted,
            Next::Packet(Received::PingResp) => return (topics, codes),
            Next::Packet(_) => {}
            end @ (Next::Closed | Next::Silence) => panic!("no PINGRESP but {end:?}"),
        }
    }
}

#[test]
fn with_an_acl_it_is_read_where_a_rule_allows_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("acl");
    let rules =
        "user boss\ntopic read $SYS/#\nuser part\ntopic read $SYS/broker/version\nuser none\ntopic #\n";
    std::fs::write(&file, rules).unwrap();
    let text = format!("threads = 1\nsys_interval = \"1h\"\n[acl]\nfile = {file:?}\n");
    let broker = Broker::start_with_config(&text);
    reader(broker.addr, &Connect::new("first").credentials("boss", b"x")).drop_connection();
    for (user, count, code) in [("boss", TOPICS, 0), ("part", 1, 0), ("none", 0, 0x80)] {
        let mut client = connected(broker.addr, &Connect::new(user).credentials(user, b"x"));
        let (topics, codes) = exchange(&mut client, wire::subscribe(1, &[("$SYS/#", 0)]));
        assert_eq!((topics.len(), codes), (count, vec![code]), "{user}: {topics:?}");
    }
}

#[test]
fn what_clients_publish_there_is_acknowledged_and_dropped() {
    let broker = Broker::start_with_config("threads = 1\nsys_interval = \"1h\"\n");
    let mut reader = reader(broker.addr, &Connect::new("reader"));
    let (before, _) = exchange(&mut reader, wire::subscribe(1, &[("$SYS/#", 0)]));
    exchange(&mut reader, wire::subscribe(1, &[("#", 0)]));
    assert_eq!(before.len(), TOPICS);
    let topic = VERSION;
    let mut spoofer =
        connected(broker.addr, &Connect::new("spoofer").will(Will::new(topic, "will", 1).retained()));
    spoofer.send(Publish::new(topic, "spoofed").qos(1, 1).retained().encode());
    spoofer.expect(&Received::PubAck(1));
    spoofer.send(Publish::new(topic, "").retained().encode());
    spoofer.send(Publish::new("$SYS", "spoofed").qos(1, 2).encode());
    spoofer.expect(&Received::PubAck(2));
    spoofer.drop_connection();
    assert_eq!(exchange(&mut reader, Vec::new()).0, BTreeSet::new());
    let (after, _) = exchange(&mut reader, wire::subscribe(2, &[(topic, 0)]));
    assert_eq!(after, BTreeSet::from([topic.to_owned()]), "it is still there");
}

#[test]
fn without_an_interval_there_is_nothing() {
    let broker = Broker::start_with_config("threads = 1\nsys_interval = \"0s\"\n");
    let mut reader = connected(broker.addr, &Connect::new("reader"));
    assert_eq!(exchange(&mut reader, wire::subscribe(1, &[("$SYS/#", 0)])).0, BTreeSet::new());
}

fn the_brokers_own_messages_are_retained_and_neither_stored_nor_counted(shards: u16) {
    let one = Limit::at_most(1).expect("not zero");
    let limits = Limits { retained_messages: one, retained_bytes: one, ..Limits::default() };
    let mut world = World::new(shards, &limits, Store::Open);
    let everything = world.connect(&Connect::new("everything")).expect("accepted");
    world.send(everything, &wire::subscribe(1, &[("#", 0), ("+/a", 0)]));
    world.publish_system("$SYS/a", "old");
    world.publish_system("$SYS/a", "new");
    world.publish_system("$SYS/b", "new");
    assert_eq!(world.take_packets(everything).len(), 2, "CONNACK and SUBACK"); // [MQTT-4.7.2-1]
    let reader = world.connect(&Connect::new("reader")).expect("accepted");
    world.send(reader, &wire::subscribe(1, &[("$SYS/#", 2)]));
    world.publish_system("$SYS/b", "newer");
    let packets = world.take_packets(reader);
    let expected = ["PUBLISH $SYS/a new retain", "PUBLISH $SYS/b new retain", "PUBLISH $SYS/b newer"];
    assert_eq!(packets.get(2..), Some(expected.map(str::to_owned).as_slice()), "{packets:?}");
    assert_eq!(world.commons.retained_count(), 0);
    assert_eq!(world.sum(|stats| stats.retained_refused), 0);
    assert_eq!(world.sum(|stats| stats.messages_unrouted), 0);
    assert_eq!(world.batches.len(), 0);
    // What clients retain has its room.
    world.send(reader, &Publish::new("t", "").retained().encode());
    world.publish_system("$SYS/a", "");
    let late = world.connect(&Connect::new("late")).expect("accepted");
    world.take_output(late);
    world.send(late, &wire::subscribe(1, &[("$SYS/#", 0)]));
    assert_eq!(world.take_packets(late), ["SUBACK 1 [0]", "PUBLISH $SYS/b newer retain"]);
    assert_eq!(world.commons.retained_count(), 0);
}

fn a_stored_session_does_not_queue_them(shards: u16) {
    let mut world = World::new(shards, &Limits::default(), Store::Open);
    let stored = world.connect(&Connect::new("stored").persistent()).expect("accepted");
    world.send(stored, &wire::subscribe(1, &[("$SYS/#", 1)]));
    world.lose(stored);
    let batches = world.batches.len();
    world.publish_system("$SYS/a", "x");
    assert_eq!(world.sum(|stats| stats.queue_messages), 0);
    assert_eq!(world.batches.len(), batches);
    let stored = world.connect(&Connect::new("stored").persistent()).expect("accepted");
    assert_eq!(world.take_packets(stored), ["CONNACK Success session=true"]);
    world.publish_system("$SYS/a", "y");
    assert_eq!(world.take_packets(stored), ["PUBLISH $SYS/a y"]);
    assert_eq!(world.take_packets(stored), NOTHING);
}
