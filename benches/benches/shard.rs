//! The routing path as a whole, without sockets: bytes of a PUBLISH in, bytes for every subscriber out.
//!
//! `cargo bench -p culex-benches --bench shard`

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may end where something is wrong")]

mod world;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use culex_codec::QoS;

use world::{WINDOW, World, publishes};

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("shard/fan_out_100_bytes");
    for subscribers in [1, 10, 100, 1000] {
        group.throughput(Throughput::Elements(u64::from(WINDOW) * subscribers as u64));
        let mut world = World::new(subscribers, QoS::AtMostOnce);
        let bytes = publishes(QoS::AtMostOnce);
        group.bench_function(BenchmarkId::new("qos0", subscribers), |b| {
            b.iter(|| {
                world.round(QoS::AtMostOnce, &bytes, std::iter::empty());
            });
        });
        let mut world = World::new(subscribers, QoS::AtLeastOnce);
        let bytes = publishes(QoS::AtLeastOnce);
        let mut next: u16 = 1;
        group.bench_function(BenchmarkId::new("qos1_with_acks", subscribers), |b| {
            b.iter(|| {
                world.round(QoS::AtLeastOnce, &bytes, (0..WINDOW).map(|offset| after(next, offset)));
                next = after(next, WINDOW);
            });
        });
        let left = world.shard.stats().queue_messages;
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
