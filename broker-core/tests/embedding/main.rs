//! What an embedder is promised: the stream of events, the operator's view, and an answer to every mistake.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed test is what they are for"
)]

mod admin;
mod events;
mod mistakes;

use std::future::Future;
use std::num::NonZeroUsize;
use std::time::Duration;

use culex_core::client::{ClientError, Connection, Event, Options, Session};
use culex_core::codec::TopicFilter;
use culex_core::limits::Limits;
use culex_core::{Broker, BrokerBuilder, Delivery, Inbox, QoS, Threads};

/// Nothing here takes so long; it ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(within(test));
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("nothing happened for {PATIENCE:?}"),
    }
}

fn builder(lanes: usize) -> BrokerBuilder {
    let threads = Threads::Exactly(NonZeroUsize::new(lanes).unwrap());
    Broker::builder().listen(([127, 0, 0, 1], 0)).threads(threads)
}

async fn start(lanes: usize, limits: Limits) -> Broker {
    builder(lanes).limits(limits).start().await.unwrap()
}

/// What a client over TCP connects with.
fn options(broker: &Broker, client_id: &str) -> Options {
    let address = broker.local_addrs()[0];
    let mut options = Options::default();
    options.host = address.ip().to_string();
    options.port = address.port();
    options.client_id = client_id.to_owned();
    options
}

async fn over_tcp(options: &Options) -> Result<Connection, ClientError> {
    Connection::open(options, Session::default()).await
}

/// The codes that the broker answers to one SUBSCRIBE.
async fn tcp_subscribe(connection: &mut Connection, filters: &[&str]) -> Vec<u8> {
    let filters: Vec<_> =
        filters.iter().map(|filter| (TopicFilter::new(filter).unwrap(), QoS::AtLeastOnce)).collect();
    connection.subscribe(&filters).unwrap();
    loop {
        if let Event::Subscribed { codes, .. } = connection.event().await.unwrap() {
            return codes;
        }
    }
}

async fn next(inbox: &mut Inbox) -> Delivery {
    within(inbox.next()).await.unwrap()
}

/// Waits until a number of the broker is as expected.
async fn await_metric(broker: &Broker, name: &str, expected: impl Fn(u64) -> bool) {
    within(async {
        while !expected(broker.metrics().get(name).unwrap()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
