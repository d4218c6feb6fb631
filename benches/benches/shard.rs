//! The routing path as a whole, without sockets: bytes of a PUBLISH in, bytes for every subscriber out.
//!
//! `cargo bench -p culex-benches --bench shard`

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may end where something is wrong")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use culex_codec::{
    ClientId, Connect, Packet, PacketId, Properties, ProtocolVersion, Publish, QoS, Subscribe,
    SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, TopicName,
};
use culex_core::engine::admit;
use culex_core::engine::commons::LocalCommons;
use culex_core::engine::keys::{ConnectionKey, ShardId};
use culex_core::engine::question::Asks;
use culex_core::engine::shard::{Effect, Shard, ShardConfig, Turn};
use culex_core::engine::time::Now;
use culex_core::limits::Limits;

const HASH_KEYS: (u64, u64) = (1, 2);
/// PUBLISH packets that one read brings.
const WINDOW: u16 = 20;

struct Bench {
    shard: Shard,
    commons: LocalCommons,
    publisher: ConnectionKey,
    subscribers: Vec<ConnectionKey>,
}

impl Bench {
    fn new(subscribers: usize, qos: QoS) -> Self {
        let limits = Limits::default();
        let shard = Shard::new(ShardConfig {
            id: ShardId(0),
            limits: limits.clone(),
            hash_keys: HASH_KEYS,
            asks: Asks::default(),
        });
        let commons = LocalCommons::new(&limits, HASH_KEYS);
        let mut bench = Self {
            shard,
            commons,
            publisher: ConnectionKey { slot: 0, generation: 0 },
            subscribers: Vec::new(),
        };
        bench.publisher = bench.connect("publisher", &limits);
        let mut filters = SubscribeFiltersBuf::new();
        filters.push(TopicFilter::new("bench/+").unwrap(), SubscriptionOptions::new(qos));
        let packet_id = PacketId::new(1).unwrap();
        let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters: filters.as_filters() };
        let subscribe = encode(&Packet::Subscribe(subscribe));
        for number in 0..subscribers {
            let key = bench.connect(&format!("subscriber {number}"), &limits);
            bench.input(key, &subscribe);
            bench.subscribers.push(key);
        }
        bench.drain();
        bench
    }

    fn turn<R>(&mut self, input: impl FnOnce(&mut Shard, &mut Turn<'_>) -> R) -> R {
        let mut turn = Turn { now: Now::default(), commons: &self.commons, deliveries_left: u32::MAX };
        let result = input(&mut self.shard, &mut turn);
        self.shard.end_turn();
        while let Some(effect) = self.shard.poll_effect() {
            if let Effect::Store(batch) = effect {
                self.shard.handle_stored(&mut turn, batch.number);
            }
        }
        result
    }

    fn connect(&mut self, id: &str, limits: &Limits) -> ConnectionKey {
        let connect = Connect {
            version: ProtocolVersion::V311,
            is_bridge: false,
            clean_start: true,
            keep_alive: 60,
            client_id: ClientId::new(id).unwrap(),
            will: None,
            user_name: None,
            password: None,
            properties: Properties::EMPTY,
        };
        let admission = admit(&connect, || "".into(), limits, 1, "bench".into()).unwrap();
        self.turn(|shard, turn| shard.handle_attach(turn, admission)).unwrap()
    }

    fn input(&mut self, key: ConnectionKey, bytes: &[u8]) {
        let consumed = self.turn(|shard, turn| shard.handle_bytes(turn, key, bytes));
        assert_eq!(consumed.bytes, bytes.len());
    }

    /// Takes what waits for each connection, as a lane would write it.
    fn drain(&mut self) {
        while let Some(key) = self.shard.next_touched() {
            let outbox = self.shard.outbox(key).unwrap();
            let len = outbox.len();
            black_box(outbox.chunks().map(<[u8]>::len).sum::<usize>());
            outbox.advance(len);
            self.shard.handle_written(key, len);
        }
    }

    /// Every subscriber acknowledges the messages that it got with these Packet Identifiers.
    fn acknowledge(&mut self, ids: impl Iterator<Item = u16>) {
        let acks: Vec<u8> = ids.flat_map(|id| [0x40, 2, id.to_be_bytes()[0], id.to_be_bytes()[1]]).collect();
        for index in 0..self.subscribers.len() {
            self.input(self.subscribers[index], &acks);
        }
        self.drain();
    }
}

fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(ProtocolVersion::V311, &mut bytes).unwrap();
    bytes
}

fn publishes(qos: QoS) -> Vec<u8> {
    (1..=WINDOW)
        .flat_map(|id| {
            encode(&Packet::Publish(Publish {
                dup: false,
                qos,
                retain: false,
                topic: TopicName::new("bench/topic").ok(),
                packet_id: PacketId::new(id).filter(|_| qos != QoS::AtMostOnce),
                properties: Properties::EMPTY,
                payload: &[b'x'; 100],
            }))
        })
        .collect()
}

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard/fan_out_100_bytes");
    for subscribers in [1, 10, 100, 1000] {
        group.throughput(Throughput::Elements(u64::from(WINDOW) * subscribers as u64));
        let mut bench = Bench::new(subscribers, QoS::AtMostOnce);
        let bytes = publishes(QoS::AtMostOnce);
        group.bench_function(BenchmarkId::new("qos0", subscribers), |b| {
            b.iter(|| {
                bench.input(bench.publisher, &bytes);
                bench.drain();
            });
        });
        let mut bench = Bench::new(subscribers, QoS::AtLeastOnce);
        let bytes = publishes(QoS::AtLeastOnce);
        let mut next: u16 = 1;
        group.bench_function(BenchmarkId::new("qos1_with_acks", subscribers), |b| {
            b.iter(|| {
                bench.input(bench.publisher, &bytes);
                bench.drain();
                let ids = (0..WINDOW).map(|offset| after(next, offset));
                bench.acknowledge(ids);
                next = after(next, WINDOW);
            });
        });
        let left = bench.shard.stats().queue_messages;
        assert_eq!(left, 0, "every message was acknowledged");
    }
    group.finish();
}

/// The Packet Identifier `offset` behind `id`, in the cycle 1 … 65,535.
fn after(id: u16, offset: u16) -> u16 {
    let next = (u32::from(id) - 1 + u32::from(offset)) % 65_535;
    next as u16 + 1
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
