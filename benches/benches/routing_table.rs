//! One routing table that all shards share, beside a table for each shard and every message to every shard.
//!
//! 50 publishers and 50 subscribers, each pair on a topic of its own, QoS 0, 100 bytes, without sockets. With two
//! shards half of the pairs have their ends in different shards. Broadcasting is modelled with the same shards: each has
//! a table of its own, and whatever one accepts is handed to the other, which looks up its own routes. All work is done
//! by one thread, so this is what a message costs, not how long it takes.
//!
//! `cargo bench -p culex-benches --bench routing_table`

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may end where something is wrong")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use culex_codec::{
    ClientId, Connect, Packet, PacketId, Properties, ProtocolVersion, Publish, QoS, Subscribe,
    SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, TopicName,
};
use culex_core::engine::admit;
use culex_core::engine::commons::{Commons, LocalCommons};
use culex_core::engine::keys::{ConnectionKey, PublicationId, ShardId};
use culex_core::engine::publication::Publication;
use culex_core::engine::question::Asks;
use culex_core::engine::route::{CacheLimits, RouteCache, Routes};
use culex_core::engine::shard::{Effect, Shard, ShardConfig, ShardMessage, Turn};
use culex_core::engine::time::Now;
use culex_core::limits::Limits;

const HASH_KEYS: (u64, u64) = (1, 2);
const PAIRS: usize = 50;
/// PUBLISH packets that one read brings.
const WINDOW: usize = 20;

/// Who finds the receivers of a message.
#[derive(Clone, Copy, PartialEq)]
enum Routing {
    /// The shard that accepts it, for all.
    Shared,
    /// Each shard for itself.
    Broadcast,
}

struct Bench {
    routing: Routing,
    shards: Vec<Shard>,
    /// One for all, or one for each.
    commons: Vec<LocalCommons>,
    /// What a shard would keep of the routes of messages from elsewhere.
    caches: Vec<RouteCache>,
    /// Shard, connection, and what it sends.
    publishers: Vec<(usize, ConnectionKey, Vec<u8>)>,
    delivered: u64,
}

impl Bench {
    fn new(shards: usize, routing: Routing) -> Self {
        let limits = Limits::default();
        let shard = |number| {
            let id = ShardId(u16::try_from(number).unwrap());
            Shard::new(ShardConfig {
                id,
                limits: limits.clone(),
                hash_keys: HASH_KEYS,
                asks: Asks::default(),
            })
        };
        let tables = if routing == Routing::Shared { 1 } else { shards };
        let mut bench = Self {
            routing,
            shards: (0..shards).map(shard).collect(),
            commons: (0..tables).map(|_| LocalCommons::new(&limits, HASH_KEYS)).collect(),
            caches: (0..shards).map(|_| RouteCache::new(HASH_KEYS, CacheLimits::default())).collect(),
            publishers: Vec::new(),
            delivered: 0,
        };
        for pair in 0..PAIRS {
            let (from, to) = (pair % shards, pair / 2 % shards);
            let subscriber = bench.connect(to, &format!("subscriber {pair}"), &limits);
            bench.subscribe(to, subscriber, &topic(pair));
            let publisher = bench.connect(from, &format!("publisher {pair}"), &limits);
            bench.publishers.push((from, publisher, publishes(&topic(pair))));
        }
        bench.drain();
        bench
    }

    fn turn<R>(&mut self, shard: usize, input: impl FnOnce(&mut Shard, &mut Turn<'_>) -> R) -> R {
        let commons = &self.commons[shard.min(self.commons.len() - 1)];
        let mut turn = Turn { now: Now::default(), commons, deliveries_left: u32::MAX };
        let result = input(&mut self.shards[shard], &mut turn);
        self.shards[shard].end_turn();
        let mut outgoing = Vec::new();
        while let Some(effect) = self.shards[shard].poll_effect() {
            if let Effect::Send { to, messages } = effect {
                outgoing.push((usize::from(to.0), messages));
            }
        }
        // A delivery makes no message in turn.
        for (to, messages) in outgoing {
            let commons = &self.commons[to.min(self.commons.len() - 1)];
            let mut turn = Turn { now: Now::default(), commons, deliveries_left: u32::MAX };
            messages.into_iter().for_each(|message| self.shards[to].handle_message(&mut turn, message));
        }
        result
    }

    fn connect(&mut self, shard: usize, id: &str, limits: &Limits) -> ConnectionKey {
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
        self.turn(shard, |shard, turn| shard.handle_attach(turn, admission)).unwrap()
    }

    fn subscribe(&mut self, shard: usize, key: ConnectionKey, filter: &str) {
        let mut filters = SubscribeFiltersBuf::new();
        filters.push(TopicFilter::new(filter).unwrap(), SubscriptionOptions::new(QoS::AtMostOnce));
        let packet_id = PacketId::new(1).unwrap();
        let filters = filters.as_filters();
        let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters };
        let bytes = encode(&Packet::Subscribe(subscribe));
        self.turn(shard, |shard, turn| shard.handle_bytes(turn, key, &bytes));
    }

    /// Every publisher sends its window, then all that waits is taken, as lanes would write it.
    fn round(&mut self) {
        for index in 0..self.publishers.len() {
            let (shard, key, bytes) = (self.publishers[index].0, self.publishers[index].1, index);
            let bytes = std::mem::take(&mut self.publishers[bytes].2);
            let consumed = self.turn(shard, |shard, turn| shard.handle_bytes(turn, key, &bytes));
            assert_eq!(consumed.bytes, bytes.len());
            if self.routing == Routing::Broadcast {
                self.broadcast(shard, &topic(index));
            }
            self.publishers[index].2 = bytes;
        }
        self.drain();
    }

    /// The messages of a window to every other shard, which looks for receivers of its own.
    fn broadcast(&mut self, from: usize, topic: &str) {
        let topic = TopicName::new(topic).unwrap();
        // Made once, and put into the mailbox of each shard.
        let message =
            || Arc::new(Publication::new(PublicationId(0), topic, &[b'x'; 100], QoS::AtMostOnce, false));
        let messages: Vec<_> = (0..WINDOW).map(|_| message()).collect();
        for to in (0..self.shards.len()).filter(|to| *to != from) {
            let mailbox = black_box(messages.clone());
            for publication in mailbox {
                let generation = self.commons[to].generation();
                let routes = self.routes(to, topic, generation);
                let message = ShardMessage::Deliver {
                    publication,
                    routes,
                    generation,
                    retained: None,
                    publisher: None,
                    waits: false,
                };
                let commons = &self.commons[to];
                let mut turn = Turn { now: Now::default(), commons, deliveries_left: u32::MAX };
                self.shards[to].handle_message(&mut turn, message);
            }
        }
    }

    /// What a shard does with a message from elsewhere: its own receivers, from its cache or its table.
    fn routes(&mut self, shard: usize, topic: TopicName<'_>, generation: u64) -> Arc<Routes> {
        if let Some(routes) = self.caches[shard].get(topic, generation) {
            return Arc::clone(routes);
        }
        let mut found = Routes::new();
        self.commons[shard].routes(topic, &mut found);
        let routes = found.to_shared();
        self.caches[shard].insert(topic, generation, Arc::clone(&routes));
        routes
    }

    fn drain(&mut self) {
        for shard in &mut self.shards {
            while let Some(key) = shard.next_touched() {
                let outbox = shard.outbox(key).unwrap();
                let len = outbox.len();
                self.delivered += black_box(outbox.chunks().map(<[u8]>::len).sum::<usize>()) as u64;
                outbox.advance(len);
                shard.handle_written(key, len);
            }
        }
    }
}

fn topic(pair: usize) -> String {
    format!("bench/{pair:02}")
}

fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(ProtocolVersion::V311, &mut bytes).unwrap();
    bytes
}

fn publishes(topic: &str) -> Vec<u8> {
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: TopicName::new(topic).ok(),
        packet_id: None,
        properties: Properties::EMPTY,
        payload: &[b'x'; 100],
    };
    encode(&Packet::Publish(publish)).repeat(WINDOW)
}

fn routing_table(c: &mut Criterion) {
    let mut group = c.benchmark_group("routing_table/50_pairs_qos0_100_bytes");
    group.throughput(Throughput::Elements((PAIRS * WINDOW) as u64));
    let cases = [
        ("shared, 1 shard", 1, Routing::Shared),
        ("shared, 2 shards", 2, Routing::Shared),
        ("broadcast, 2 shards", 2, Routing::Broadcast),
    ];
    for (name, shards, routing) in cases {
        let mut bench = Bench::new(shards, routing);
        bench.delivered = 0;
        bench.round();
        let each = publishes(&topic(0)).len() as u64;
        assert_eq!(bench.delivered, PAIRS as u64 * each, "every message arrives once");
        group.bench_function(name, |b| b.iter(|| bench.round()));
    }
    group.finish();
}

criterion_group!(benches, routing_table);
criterion_main!(benches);
