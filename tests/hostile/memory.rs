//! Memory that hostile clients can make the broker take.

use std::time::Duration;

use culex_tests::broker::Broker;
use culex_tests::client::{Client, Next};
use culex_tests::parse::Received;
use culex_tests::wire::{self, Connect, Publish, Will, frame, string};

use crate::canary::{Canary, connected};
use crate::process::{MIB, resident, status};

/// What the process has taken since.
struct Since<'a> {
    broker: &'a Broker,
    resident: u64,
    data: u64,
}

impl<'a> Since<'a> {
    fn now(broker: &'a Broker) -> Self {
        // What everybody costs once is not what an attack costs.
        Canary::new(broker.addr, "first").sing();
        Self { broker, resident: resident(broker), data: status(broker, "VmData") }
    }

    fn resident(&self) -> u64 {
        resident(self.broker).saturating_sub(self.resident)
    }

    #[track_caller]
    fn at_most(&self, bytes: u64) {
        let taken = self.resident();
        println!("{} KiB", taken / 1024);
        assert!(taken < bytes, "{} MiB", taken / MIB);
    }
}

/// Nothing is pending: the broker has read all that this client sent.
fn settle(client: &mut Client) {
    client.send([0xc0, 0]);
    client.patience(Duration::from_secs(50));
    while client.receive() != Received::PingResp {}
}

#[test]
fn cve_2017_7651_and_2023_0809_a_lying_remaining_length_allocates_nothing() {
    let broker = Broker::start(&[]);
    let since = Since::now(&broker);
    // 256 MiB each, of which a few bytes come; behind CONNECT and in place of it.
    let mut liars = Vec::new();
    for n in 0..200 {
        let mut liar = Client::open(broker.addr);
        match n % 3 {
            0 => liar.send([&[0x10, 0xff, 0xff, 0xff, 0x7f][..], &string(b"MQTT")].concat()),
            1 => liar.send([&[0x32, 0xff, 0xff, 0xff, 0x7f][..], &[0; 2000]].concat()),
            _ => {
                liar.send(Connect::new(&format!("liar{n}")).encode());
                liar.expect(&Received::ConnAck { session_present: false, code: 0 });
                liar.send([&[0x32, 0xff, 0xff, 0xff, 0x7f][..], &[0; 2000]].concat());
            }
        }
        liars.push(liar);
    }
    Canary::new(broker.addr, "canary").sing();
    since.at_most(32 * MIB);
    let data = status(&broker, "VmData").saturating_sub(since.data);
    assert!(data < 1024 * MIB, "{} MiB", data / MIB);
}

#[test]
fn cve_2017_7654_2021_34431_and_2023_3592_no_error_path_leaks() {
    const EACH: usize = 150;
    let broker = Broker::start(&[]);
    let will = || Connect::new("leak").will(Will::new("will/topic", &"w".repeat(2000), 1));
    let mut bad_flags = will();
    bad_flags.flags = Some(0x1f);
    let mut trailing = will();
    trailing.trailing = vec![0; 500];
    let mut bad_topic = will();
    bad_topic.will = Some(Will::new("will/+/#", "x", 1));
    let whole = will().encode();
    let good = Connect::new("leak").persistent().encode();
    let after = |packet: Vec<u8>| [&good[..], &packet].concat();
    let kinds = [
        bad_flags.encode(),
        trailing.encode(),
        bad_topic.encode(),
        whole[..whole.len() / 2].to_vec(),
        [&whole[..], &whole].concat(),
        after(frame(0x82, &[0, 1])),
        after(frame(0x82, &[&[0, 1][..], &string(b"a/#/b"), &[1]].concat())),
        after(Publish::new("a/+", "x").encode()),
        after(Publish::new("a", "x".repeat(3000)).qos(2, 7).encode()[..100].to_vec()),
        after(vec![0x20, 2, 0, 0]),
    ];
    let round = || {
        for bytes in &kinds {
            for _ in 0..EACH {
                let mut client = Client::open(broker.addr);
                client.send(bytes);
                client.finish_sending();
                while !matches!(client.next_within(Duration::from_secs(10)), Next::Closed | Next::Silence) {}
            }
        }
    };
    round();
    let since = Since::now(&broker);
    round();
    round();
    since.at_most(8 * MIB);
}

#[test]
fn subscribe_bomb_is_bounded_and_given_back() {
    const FILTERS: usize = 100_000;
    let broker = Broker::start_with_config(
        "[limits]\nsubscriptions_per_session = \"unlimited\"\nfilters_per_packet = \"unlimited\"\n",
    );
    let since = Since::now(&broker);
    let mut rounds = Vec::new();
    for round in 0..3 {
        let mut client = connected(broker.addr, "bomb");
        for part in 0..FILTERS / 1000 {
            let filters: Vec<_> = (0..1000).map(|n| format!("bomb/{part}/{n}/+")).collect();
            let filters: Vec<_> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
            client.send(wire::subscribe(1, &filters));
            client.patience(Duration::from_secs(50));
            client.expect(&Received::SubAck(1, vec![1; 1000]));
        }
        rounds.push(since.resident());
        drop(client);
        // Its filters leave little by little; whoever subscribes anew waits for nobody.
        Canary::new(broker.addr, &format!("canary{round}")).sing();
    }
    println!("{rounds:?}");
    assert!(rounds.iter().all(|taken| *taken < 200 * MIB), "{rounds:?}");
    assert!(rounds[2] * 2 <= rounds[0] * 3, "{rounds:?}");
}

#[test]
fn qos_2_identifiers_cost_what_is_bounded_and_pubrel_is_always_answered() {
    const ALL: u16 = u16::MAX;
    let broker = Broker::start(&[]);
    let since = Since::now(&broker);
    let mut client = connected(broker.addr, "ids");
    client.patience(Duration::from_secs(50));
    // Every identifier, and none released.
    for part in (1..=ALL).collect::<Vec<_>>().chunks(500) {
        let publish = |id: &u16| Publish::new("ids", [7; 100]).qos(2, *id).encode();
        client.send(part.iter().flat_map(publish).collect::<Vec<_>>());
        for id in part {
            client.expect(&Received::PubRec(*id));
        }
    }
    since.at_most(96 * MIB);
    // The same again and again.
    let since = Since::now(&broker);
    for _ in 0..100 {
        client.send(Publish::new("ids", [7; 100]).qos(2, 1).again().encode().repeat(500));
        for _ in 0..500 {
            client.expect(&Received::PubRec(1));
        }
    }
    since.at_most(24 * MIB);
    // Releases, also of what is unknown by then.
    for round in 0..2 {
        for part in (1..=ALL).collect::<Vec<_>>().chunks(500) {
            client.send(part.iter().flat_map(|id| wire::pubrel(*id)).collect::<Vec<_>>());
            for id in part {
                assert_eq!(client.receive(), Received::PubComp(*id), "round {round}");
            }
        }
    }
    since.at_most(16 * MIB);
}

#[test]
fn session_bomb_takes_little_each() {
    const SESSIONS: usize = 4000;
    let broker = Broker::start(&["--ephemeral"]);
    let since = Since::now(&broker);
    for n in 0..SESSIONS {
        let mut client = Client::open(broker.addr);
        client.send(Connect::new(&format!("session-{n:06}")).persistent().encode());
        client.expect(&Received::ConnAck { session_present: false, code: 0 });
        client.send(wire::subscribe(1, &[(&format!("session/{n}"), 1)]));
        client.expect(&Received::SubAck(1, vec![1]));
    }
    let each = since.resident() / SESSIONS as u64;
    println!("{each} bytes each");
    assert!(each <= 16 * 1024, "{each} bytes each");
}

#[test]
fn offline_queue_flood_is_bounded() {
    const BYTES: usize = 80 << 20;
    let broker = Broker::start(&["--ephemeral"]);
    let since = Since::now(&broker);
    let mut absent = Client::open(broker.addr);
    absent.send(Connect::new("absent").persistent().encode());
    absent.expect(&Received::ConnAck { session_present: false, code: 0 });
    absent.send(wire::subscribe(1, &[("flood", 1)]));
    absent.expect(&Received::SubAck(1, vec![1]));
    absent.send(wire::DISCONNECT);
    absent.expect_closed();
    let mut publisher = connected(broker.addr, "publisher");
    let message = Publish::new("flood", [7; 20_000]).qos(1, 1).encode();
    for _ in 0..BYTES / 20_000 / 50 {
        publisher.send(message.repeat(50));
        for _ in 0..50 {
            publisher.expect(&Received::PubAck(1));
        }
    }
    since.at_most(128 * MIB);
}

#[test]
fn retained_flood_is_bounded_and_its_memory_used_again() {
    const MESSAGES: usize = 20_000;
    const PAYLOAD: usize = 1000;
    let broker = Broker::start(&["--ephemeral"]);
    let since = Since::now(&broker);
    let mut publisher = connected(broker.addr, "publisher");
    let mut publish = |payload: &[u8]| {
        for n in 0..MESSAGES {
            publisher.send(Publish::new(&format!("flood/{n}"), payload).retained().encode());
        }
        settle(&mut publisher);
        since.resident()
    };
    let mut rounds = Vec::new();
    for round in 0..8 {
        rounds.push(publish(&[round; PAYLOAD]));
        publish(&[]);
    }
    println!("{rounds:?} bytes for {} of payload", MESSAGES * PAYLOAD);
    assert!(rounds.iter().all(|taken| *taken < 4 * (MESSAGES * PAYLOAD) as u64), "{rounds:?}");
    // An allocator takes a third more in one round or the other; what is never given back adds up in all.
    let most_at_first = rounds[..4].iter().max().unwrap();
    let least_at_last = rounds[4..].iter().min().unwrap();
    assert!(least_at_last * 5 <= most_at_first * 6, "{rounds:?}");
}
