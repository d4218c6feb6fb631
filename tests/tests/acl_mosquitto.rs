//! The same access control lists in Culex and in mosquitto: who may publish what, and who receives what.
//!
//! `CULEX_SEED=N` repeats the lists of a run.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "these functions are tests, though clippy sees functions"
)]

#[path = "support/chance.rs"]
mod chance;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;

use culex_tests::broker::Broker;
use culex_tests::client::{Client, Next};
use culex_tests::mosquitto::Mosquitto;
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish};

use self::chance::Chance;

const LISTS: usize = 5;
const TOPICS: usize = 26;
const LEVELS: [&str; 9] = ["a", "b", "ann", "bob", "c1", "x", "y", "", "$o"];
const USERS: [Option<&str>; 6] = [None, Some("ann"), Some("bob"), Some("x/y"), Some("+"), Some("a#")];
const CLIENTS: [&str; 4] = ["c1", "a", "x/y", "b+"];

#[test]
fn both_brokers_take_the_same_decisions() {
    if !Mosquitto::is_installed() {
        return;
    }
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seed = std::env::var("CULEX_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(clock);
    println!("CULEX_SEED={seed}");
    let mut chance = Chance::new(seed);
    let (mut cases, mut granted, mut deliberate) = (0, 0, 0);
    for _ in 0..LISTS {
        let list = list(&mut chance);
        let topics = topics(&mut chance);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("acl");
        std::fs::write(&file, &list).unwrap();
        let culex = Broker::start_with_config(&format!("threads = 1\n[acl]\nfile = {file:?}\n"));
        let mosquitto = Mosquitto::start(&format!("acl_file {}", file.display()), "");
        for user in USERS {
            for client in CLIENTS {
                let ours = rights(culex.addr, user, client, &topics);
                let theirs = rights(mosquitto.address, user, client, &topics);
                cases += 2 * topics.len();
                granted += ours.received.len() + ours.published.len();
                if is_deliberate(&list, user, client) {
                    // Their pattern gives such a name more than one level.
                    deliberate += theirs.received.difference(&ours.received).count();
                    assert!(ours.received.is_subset(&theirs.received), "{user:?} {client}\n{list}");
                    assert!(ours.published.is_subset(&theirs.published), "{user:?} {client}\n{list}");
                } else {
                    assert_eq!(ours, theirs, "{user:?} {client}: ours, theirs\n{list}");
                }
            }
        }
    }
    println!("{cases} cases, {granted} granted, {deliberate} deliberately not");
    assert!(
        cases >= 2_000 && granted > cases / 100 && granted < cases * 9 / 10,
        "{granted} of {cases} tell little"
    );
}

/// The one difference: a name with `/` in a pattern. Culex lets a name be one level only; mosquitto before 2.1 puts it
/// in as it is, so that the client `ann/x` owns what is below `home/ann`.
fn is_deliberate(list: &str, user: Option<&str>, client: &str) -> bool {
    let uses = |name: &str| list.lines().any(|line| line.starts_with("pattern") && line.contains(name));
    (user.is_some_and(|user| user.contains('/')) && uses("%u")) || (client.contains('/') && uses("%c"))
}

fn list(chance: &mut Chance) -> String {
    let mut list = String::from("# made by chance\n");
    let sections = [None, Some("ann"), Some("bob"), Some("x/y"), Some("+")];
    for section in sections {
        if let Some(user) = section {
            writeln!(list, "user {user}").unwrap();
        }
        for _ in 0..chance.below(5) {
            let access = ["", "read ", "write ", "readwrite ", "deny "][chance.below(5)];
            writeln!(list, "topic {access}{}", filter(chance, &[])).unwrap();
        }
    }
    list.push_str("user observer\ntopic #\ntopic $o/#\n");
    for _ in 0..chance.below(6) {
        let access = ["", "read ", "write ", "readwrite ", "deny "][chance.below(5)];
        writeln!(list, "pattern {access}{}", filter(chance, &["%u", "%c", "%u", "%c"])).unwrap();
    }
    list
}

/// Without the empty one: a list has no word for it.
fn filter(chance: &mut Chance, more: &[&str]) -> String {
    let levels: Vec<_> = LEVELS.iter().chain(more).chain(&["+", "+"]).collect();
    let mut filter: Vec<&str> = (0..=chance.below(2)).map(|_| *levels[chance.below(levels.len())]).collect();
    if chance.below(3) == 0 {
        filter.push("#");
    }
    let filter = filter.join("/");
    if filter.is_empty() { "#".to_owned() } else { filter }
}

fn topics(chance: &mut Chance) -> Vec<String> {
    let mut topics = BTreeSet::new();
    while topics.len() < TOPICS {
        let levels: Vec<_> = (0..=chance.below(3)).map(|_| LEVELS[chance.below(LEVELS.len())]).collect();
        topics.insert(levels.join("/"));
        topics.remove("");
    }
    topics.into_iter().collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Rights {
    published: BTreeSet<String>,
    received: BTreeSet<String>,
}

fn rights(address: SocketAddr, user: Option<&str>, client: &str, topics: &[String]) -> Rights {
    let mut observer = connected(address, &Connect::new("observer").credentials("observer", b"x"));
    let connect = Connect::new(client);
    let mut tested = connected(
        address,
        &match user {
            Some(user) => connect.credentials(user, b"x"),
            None => connect,
        },
    );
    exchange(&mut tested, wire::subscribe(1, &[("#", 0), ("$o/#", 0)]));
    exchange(&mut observer, publishes(topics));
    let received = exchange(&mut tested, Vec::new());
    exchange(&mut observer, wire::subscribe(1, &[("#", 0), ("$o/#", 0)]));
    exchange(&mut tested, publishes(topics));
    let published = exchange(&mut observer, Vec::new());
    Rights { published, received }
}

fn publishes(topics: &[String]) -> Vec<u8> {
    topics.iter().zip(2..).flat_map(|(topic, id)| Publish::new(topic, "x").qos(1, id).encode()).collect()
}

fn connected(address: SocketAddr, connect: &Connect) -> Client {
    let mut client = Client::open(address);
    client.send(connect.encode());
    match client.next_event() {
        Next::Packet(Received::ConnAck { .. }) => client,
        other => panic!("no CONNACK but {other:?}"),
    }
}

/// Sends this and PINGREQ; the topics of all that comes up to PINGRESP. Both brokers have one thread, so what was
/// acknowledged to a publisher stands before it.
fn exchange(client: &mut Client, bytes: Vec<u8>) -> BTreeSet<String> {
    client.send([bytes, wire::PINGREQ.to_vec()].concat());
    let mut topics = BTreeSet::new();
    loop {
        match client.next_event() {
            Next::Packet(Received::Publish(publish)) => drop(topics.insert(publish.topic)),
            Next::Packet(Received::PingResp) => return topics,
            Next::Packet(_) => {}
            end @ (Next::Closed | Next::Silence) => panic!("no PINGRESP but {end:?}"),
        }
    }
}
