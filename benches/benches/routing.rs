//! Routing: matching, subscribing, the route cache, Retained Messages.
//!
//! `cargo bench -p culex-benches --bench routing`; a part of it with a filter, for example `-- match/exact`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use culex_codec::{QoS, TopicFilter, TopicName};
use culex_core::engine::keys::{RetainedVersion, SessionKey, ShardId};
use culex_core::engine::route::{
    Budget, CacheLimits, Cursor, Retained, RetainedLimits, RetainedMessage, RouteCache, RouteOptions, Router,
    Routes, Subscriber,
};

const HASH_KEYS: (u64, u64) = (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);

/// Topics asked for in turn; enough that a large table does not stay in the CPU's caches.
const TOPICS: u32 = 4096;

fn subscriber(slot: u32) -> Subscriber {
    Subscriber {
        shard: ShardId(u16::try_from(slot % 4).unwrap_or(0)),
        session: SessionKey { slot, generation: 0 },
        durable: None,
        options: RouteOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false },
        subscription_id: None,
    }
}

fn subscribe(router: &mut Router, filter: &str, slot: u32) {
    if let Ok(filter) = TopicFilter::new(filter) {
        router.subscribe(filter, subscriber(slot));
    }
}

fn unsubscribe(router: &mut Router, filter: &str, slot: u32) {
    let Subscriber { shard, session, .. } = subscriber(slot);
    if let Ok(filter) = TopicFilter::new(filter) {
        router.unsubscribe(filter, shard, session);
    }
}

fn route(router: &Router, topic: &str, routes: &mut Routes) -> usize {
    if let Ok(topic) = TopicName::new(topic) {
        router.routes(topic, routes);
    }
    routes.len()
}

/// The n-th Topic Filter of a kind, and a Topic Name that it alone of its kind matches.
fn filter(kind: &str, n: u32) -> String {
    let (site, device) = (n % 1000, n / 1000);
    match kind {
        "exact" => format!("site/{site}/device/{device}/temperature"),
        "plus" => format!("site/{site}/+/{device}/temperature"),
        _ => format!("site/{site}/device/{device}/#"),
    }
}

fn spread(n: u32, below: u32) -> u32 {
    n.wrapping_mul(2_654_435_761) % below
}

fn matching(c: &mut Criterion) {
    for kind in ["exact", "plus", "multi"] {
        let mut group = c.benchmark_group(format!("match/{kind}"));
        for filters in [10, 1_000, 100_000, 1_000_000] {
            let mut router = Router::new(HASH_KEYS);
            for n in 0..filters {
                subscribe(&mut router, &filter(kind, n), n);
            }
            let topics: Vec<_> = (0..TOPICS).map(|n| filter("exact", spread(n, filters))).collect();
            let mut routes = Routes::new();
            assert!(topics.iter().all(|topic| route(&router, topic, &mut routes) == 1));
            let mut next = topics.iter().cycle();
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::from_parameter(filters), |b| {
                b.iter(|| next.next().map(|topic| route(&router, black_box(topic), &mut routes)));
            });
        }
    }
}

fn hard_matches(c: &mut Criterion) {
    let mut group = c.benchmark_group("match/many");
    let mut routes = Routes::new();
    for subscribers in [100, 10_000, 100_000] {
        let mut router = Router::new(HASH_KEYS);
        for slot in 0..subscribers {
            subscribe(&mut router, "all/+", slot);
        }
        group.throughput(Throughput::Elements(u64::from(subscribers)));
        group.bench_function(BenchmarkId::new("subscribers of one filter", subscribers), |b| {
            b.iter(|| route(&router, black_box("all/x"), &mut routes));
        });
    }
    let mut router = Router::new(HASH_KEYS);
    for bits in 0..4096_u32 {
        let levels: Vec<_> = (0..12).map(|level| if bits >> level & 1 == 0 { "a" } else { "+" }).collect();
        subscribe(&mut router, &levels.join("/"), bits);
    }
    let topic = ["a"; 12].join("/");
    group.throughput(Throughput::Elements(4096));
    group.bench_function("lattice of 4096 filters", |b| {
        b.iter(|| route(&router, black_box(&topic), &mut routes))
    });
    let deep = "/".repeat(65_534);
    group.throughput(Throughput::Elements(65_535));
    subscribe(&mut router, &deep, 0);
    group.bench_function("65535 levels", |b| b.iter(|| route(&router, black_box(&deep), &mut routes)));
}

fn subscribing(c: &mut Criterion) {
    let mut group = c.benchmark_group("subscribe and unsubscribe");
    for filters in [0, 1_000_000] {
        let mut router = Router::new(HASH_KEYS);
        for n in 0..filters {
            subscribe(&mut router, &filter("exact", n), n);
        }
        let mut n = 0;
        group.bench_function(BenchmarkId::new("beside other filters", filters), |b| {
            b.iter(|| {
                n += 1;
                let new = filter("multi", n % 1_000_000);
                subscribe(&mut router, &new, n);
                unsubscribe(&mut router, &new, n);
            });
        });
    }
    for subscribers in [32, 100_000] {
        let mut router = Router::new(HASH_KEYS);
        for slot in 0..subscribers {
            subscribe(&mut router, "all/+", slot * 2);
        }
        let mut n = 0;
        group.bench_function(BenchmarkId::new("beside other subscribers", subscribers), |b| {
            b.iter(|| {
                n += 1;
                let slot = spread(n, subscribers) * 2 + 1;
                subscribe(&mut router, "all/+", slot);
                unsubscribe(&mut router, "all/+", slot);
            });
        });
    }
}

fn cache(c: &mut Criterion) {
    let mut group = c.benchmark_group("route cache");
    for topics in [1, 1000] {
        let mut cache = RouteCache::new(HASH_KEYS, CacheLimits::default());
        let names: Vec<_> = (0..topics).map(|n| filter("exact", n)).collect();
        for name in &names {
            if let Ok(topic) = TopicName::new(name) {
                cache.insert(topic, 1, Arc::default());
            }
        }
        let mut next = names.iter().cycle();
        group.bench_function(BenchmarkId::new("hit", topics), |b| {
            b.iter(|| {
                let topic = next.next().and_then(|name| TopicName::new(name).ok());
                topic.is_some_and(|topic| black_box(cache.get(topic, 1)).is_some())
            });
        });
    }
}

#[derive(Clone)]
struct Message(Arc<str>);

impl RetainedMessage for Message {
    fn topic(&self) -> &str {
        &self.0
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

fn retained(c: &mut Criterion) {
    let mut group = c.benchmark_group("retained of 100000");
    let mut store = Retained::new(RetainedLimits { messages: usize::MAX, bytes: usize::MAX });
    let messages: Vec<_> = (0..100_000).map(|n| Message(filter("exact", n).into())).collect();
    for message in &messages {
        assert!(store.set(message.clone()).is_ok());
    }
    let up_to = RetainedVersion(u64::MAX);
    let mut out = Vec::new();
    let mut collect = |store: &Retained<Message>, filter: &str, messages: usize| {
        let budget = Budget { messages, bytes: usize::MAX, examined: usize::MAX };
        let Ok(filter) = TopicFilter::new(filter) else { return };
        let mut cursor = Cursor::Start;
        while cursor != Cursor::End {
            out.clear();
            cursor = store.collect(filter, cursor, up_to, budget, &mut out);
            black_box(&out);
        }
    };
    let filters = [
        ("exact", "site/500/device/50/temperature"),
        ("100 below a literal", "site/500/#"),
        ("100 by a plus", "site/500/+/+/temperature"),
        ("1000 by skipping", "site/+/device/50/#"),
        ("none, by skipping", "site/+/window/#"),
    ];
    for (name, filter) in filters {
        group.bench_function(name, |b| b.iter(|| collect(&store, black_box(filter), usize::MAX)));
    }
    group.throughput(Throughput::Elements(100_000));
    group.bench_function("all, in slices of 100", |b| b.iter(|| collect(&store, black_box("#"), 100)));
    group.throughput(Throughput::Elements(1));
    let mut next = messages.iter().cycle().step_by(7919);
    group.bench_function("set", |b| b.iter(|| next.next().map(|message| store.set(message.clone()).is_ok())));
}

criterion_group!(benches, matching, hard_matches, subscribing, cache, retained);
criterion_main!(benches);
