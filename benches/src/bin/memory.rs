//! Bytes of memory per Subscription, Retained Message and idle Session part, by a counting allocator.
//!
//! `cargo run --release -p culex-benches --bin memory`
#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use culex_codec::{QoS, TopicFilter, TopicName};
use culex_core::engine::keys::{SessionKey, ShardId};
use culex_core::engine::qos::{Receiver, Sender};
use culex_core::engine::route::{
    Retained, RetainedLimits, RetainedMessage, RouteOptions, Router, Routes, Subscriber, Target,
};

static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[expect(
    unsafe_code,
    reason = "a global allocator is an unsafe trait; this one adds a counter to the system's"
)]
// SAFETY: every call goes to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(charged(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(charged(layout.size()), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What an allocation costs with glibc on 64 bits: a header of 8 bytes, in steps of 16, 32 at least.
fn charged(bytes: usize) -> usize {
    (bytes + 8).next_multiple_of(16).max(32)
}

fn subscriber(slot: u32) -> Subscriber {
    Subscriber {
        shard: ShardId(0),
        session: SessionKey { slot, generation: 0 },
        durable: None,
        options: RouteOptions { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false },
        subscription_id: None,
    }
}

fn mixed(n: u32) -> String {
    let (site, device) = (n % 1000, n / 1000);
    match n % 10 {
        0..7 => format!("site/{site}/device/{device}/temperature"),
        7 | 8 => format!("site/{site}/+/{device}/temperature"),
        _ => format!("site/{site}/device/{device}/#"),
    }
}

/// Prints the bytes that `count` things take each.
fn measure<T>(what: &str, count: u32, make: impl FnOnce() -> T) -> T {
    let before = LIVE.load(Ordering::Relaxed);
    let made = make();
    let bytes = LIVE.load(Ordering::Relaxed) - before;
    println!("{what:<60} {:>8.1} bytes each", bytes as f64 / f64::from(count));
    made
}

fn router(count: u32, filter: impl Fn(u32) -> String) -> Router {
    let mut router = Router::new((1, 2));
    for n in 0..count {
        if let Ok(filter) = TopicFilter::new(&filter(n)) {
            router.subscribe(filter, subscriber(n));
        }
    }
    router
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

fn main() {
    const COUNT: u32 = 1_000_000;
    if culex_benches::is_help(include_str!("memory.rs")) {
        return;
    }
    let table =
        measure("subscription, 1 M filters: 70 % exact, 20 % +, 10 % #", COUNT, || router(COUNT, mixed));
    drop(table);
    drop(measure("subscription, 1 M exact filters, one level of its own each", COUNT, || {
        router(COUNT, |n| format!("device/{n}"))
    }));
    drop(measure("subscription, 1 M exact filters, three long levels each", COUNT, || {
        router(COUNT, |n| {
            format!("a level of more than 22 bytes {n}/the same for all of them/the same for all")
        })
    }));
    let table =
        measure("subscription, 1 M sessions on one filter", COUNT, || router(COUNT, |_| "all/+".to_owned()));
    let mut routes = Routes::new();
    if let Ok(topic) = TopicName::new("all/x") {
        table.routes(topic, &mut routes);
    }
    measure("target of a publication to 1 M sessions, cached", COUNT, || routes.to_shared());

    let messages: Vec<_> = (0..COUNT).map(|n| Message(mixed(n).into())).collect();
    measure("retained message, without the message", COUNT, || {
        let mut store = Retained::new(RetainedLimits { messages: usize::MAX, bytes: usize::MAX });
        for message in &messages {
            assert!(store.set(message.clone()).is_ok());
        }
        store
    });
    println!("{:<60} {:>8} bytes", "target", size_of::<Target>());
    println!("{:<60} {:>8} bytes", "idle sender", size_of::<Sender<Message>>());
    println!("{:<60} {:>8} bytes", "idle receiver", size_of::<Receiver>());
}
