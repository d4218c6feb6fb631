//! What is counted: the way of messages through a shard, from bytes to bytes, and its parts. Run it with
//! `cargo run -p culex-instructions`, which compares the counts with `benches/instructions.toml`.
//!
//! Everything has been done before it is counted, so caches are filled and buffers have their size.

#![expect(missing_docs, unused_qualifications, reason = "the harness is generated")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may end where something is wrong")]

#[path = "../../benches/world.rs"]
mod world;

use std::hint::black_box;

use culex_codec::{Decoded, Packet, ProtocolVersion, QoS, TopicFilter, TopicName, decode};
use culex_core::engine::keys::{SessionKey, ShardId};
use culex_core::engine::route::{RouteOptions, Router, Routes, Subscriber};
use culex_core::limits::Limits;
use gungraun::{library_benchmark, library_benchmark_group, main};
use world::{HASH_KEYS, WINDOW, World, publishes};

/// A shard that has had two rounds, as buffers go from one connection to another, and the next one.
struct Round {
    world: World,
    qos: QoS,
    bytes: Vec<u8>,
}

fn round(subscribers: usize, qos: QoS) -> Round {
    let mut world = World::new(subscribers, qos);
    let bytes = publishes(qos);
    world.round(qos, &bytes, 1..=WINDOW);
    world.round(qos, &bytes, WINDOW + 1..=2 * WINDOW);
    Round { world, qos, bytes }
}

// 20 messages of 100 bytes, with all their acknowledgements.
#[library_benchmark(setup = round)]
#[bench::qos0_to_1(1, QoS::AtMostOnce)]
#[bench::qos1_to_1(1, QoS::AtLeastOnce)]
#[bench::qos2_to_1(1, QoS::ExactlyOnce)]
#[bench::qos0_to_100(100, QoS::AtMostOnce)]
#[bench::qos1_to_100(100, QoS::AtLeastOnce)]
fn publish(mut round: Round) -> Round {
    round.world.round(round.qos, &round.bytes, 2 * WINDOW + 1..=3 * WINDOW);
    round
}

fn packets() -> Vec<u8> {
    publishes(QoS::AtLeastOnce).repeat(50)
}

// 1000 PUBLISH packets of 100 bytes.
#[library_benchmark(setup = packets)]
#[bench::publish()]
fn decode_packets(bytes: Vec<u8>) -> Vec<u8> {
    let mut rest = bytes.as_slice();
    while let Ok(Decoded::Packet { packet, len }) = decode(rest, ProtocolVersion::V311, 1 << 20) {
        assert!(matches!(black_box(packet), Packet::Publish(_)));
        rest = &rest[len..];
    }
    assert!(rest.is_empty());
    bytes
}

/// A third each exact, with `+`, with `#`; and topics that match one of each.
fn router() -> (Router, Vec<String>, Routes) {
    let mut router = Router::new(HASH_KEYS);
    for n in 0..10_000_u32 {
        let (site, device) = (n % 100, n / 100);
        let filters = [
            format!("site/{site}/device/{device}/temperature"),
            format!("site/{site}/+/{device}/temperature"),
            format!("site/{site}/device/{device}/#"),
        ];
        for (filter, slot) in filters.iter().zip(0..) {
            let subscriber = Subscriber {
                shard: ShardId(0),
                session: SessionKey { slot: n * 3 + slot, generation: 0 },
                durable: None,
                options: RouteOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false },
                subscription_id: None,
            };
            router.subscribe(TopicFilter::new(filter).unwrap(), subscriber);
        }
    }
    let topics = (0..1000_u32).map(|n| n * 7919 % 10_000);
    let topics =
        topics.map(|n| format!("site/{}/device/{}/temperature", n % 100, n / 100)).collect::<Vec<_>>();
    let mut routes = Routes::new();
    router.routes(TopicName::new(&topics[0]).unwrap(), &mut routes);
    (router, topics, routes)
}

// 1000 topics among 30,000 filters, without the cache before them.
#[library_benchmark(setup = router)]
#[bench::among_30000()]
fn match_topics(
    (router, topics, mut routes): (Router, Vec<String>, Routes),
) -> (Router, Vec<String>, Routes) {
    for topic in &topics {
        router.routes(TopicName::new(topic).unwrap(), &mut routes);
        assert_eq!(black_box(&routes).len(), 3);
    }
    (router, topics, routes)
}

fn shard() -> (World, Vec<String>) {
    (World::new(1, QoS::AtMostOnce), (0..100).map(|number| format!("client {number}")).collect())
}

// 100 clients that connect and say nothing.
#[library_benchmark(setup = shard)]
#[bench::clean()]
fn connect((mut world, ids): (World, Vec<String>)) -> (World, Vec<String>) {
    let limits = Limits::default();
    for id in &ids {
        world.connect(id, &limits);
    }
    world.drain();
    (world, ids)
}

library_benchmark_group!(name = hot_path; benchmarks = publish, decode_packets, match_topics, connect);

main!(library_benchmark_groups = hot_path);
