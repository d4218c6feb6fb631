//! What a listener can be beside plain TCP: WebSocket, a Unix socket, behind a proxy, bounded.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "these functions are tests, though clippy sees functions"
)]

mod bounds;
mod clients;
mod proxy;
mod tunnel;
mod unix;
mod websocket;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use culex_core::limits::Limits;
use culex_core::{Broker, Listener, Threads};
use culex_tests::client::PATIENCE;

/// A broker with these listeners.
fn broker(listeners: impl IntoIterator<Item = Listener>, limits: Limits) -> Broker {
    let two = Threads::Exactly(NonZeroUsize::new(2).unwrap());
    let builder = Broker::builder().threads(two).limits(limits);
    listeners.into_iter().fold(builder, culex_core::BrokerBuilder::listen).start_on_own_runtime().unwrap()
}

/// A listener on a free port of this computer.
fn local() -> Listener {
    ([127, 0, 0, 1], 0).into()
}

fn address(broker: &Broker) -> SocketAddr {
    broker.local_addrs()[0]
}

fn metric(broker: &Broker, name: &str) -> u64 {
    broker.metrics().get(name).unwrap()
}

/// Waits until it is true.
#[track_caller]
fn eventually(mut is_it: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_it() {
        assert!(Instant::now() < end, "it does not become true");
        std::thread::yield_now();
    }
}

/// The shortest time that a CONNECT may take.
fn hasty() -> Limits {
    Limits { connect_timeout: Duration::from_secs(1), ..Limits::default() }
}
