//! Nothing is left of a broker that has stopped. The only test of its process, because it counts what the process has.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed test is what they are for"
)]

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use culex_core::client::{Connection, Options, Session};
use culex_core::hooks::Message;
use culex_core::{Broker, BrokerBuilder, Lanes, QoS, Threads};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;

/// Nothing here takes so long; it ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a broker starts and stops, for each way to start it and each number of lanes.
const ROUNDS: usize = 200;

#[test]
fn starting_and_stopping_leaves_no_thread_task_descriptor_or_port() {
    // What tokio keeps for good is opened by the first runtime of a process.
    drop(runtime());
    for lanes in [1, 4] {
        on_a_shared_runtime(lanes);
        on_own_runtimes(lanes);
    }
}

fn on_a_shared_runtime(lanes: usize) {
    let before = Process::now();
    let runtime = runtime();
    // The runtime's blocking pool keeps a thread or two and is not counted until the runtime has ended.
    let mut descriptors = None;
    for round in 0..ROUNDS {
        let broker = runtime.block_on(builder(lanes, round).start()).unwrap();
        runtime.block_on(use_and_stop(&broker));
        drop(broker);
        eventually("lane threads", lane_threads, &Vec::new());
        eventually("tasks", || runtime.metrics().num_alive_tasks(), &0);
        // The first round may open what the runtime keeps.
        eventually(
            "descriptors",
            || Process::now().descriptors,
            descriptors.get_or_insert(Process::now().descriptors),
        );
    }
    drop(runtime);
    eventually("threads and descriptors", Process::now, &before);
}

fn on_own_runtimes(lanes: usize) {
    let before = Process::now();
    for round in 0..ROUNDS {
        let broker = builder(lanes, round).start_on_own_runtime().unwrap();
        let own = broker.runtime().clone();
        own.block_on(use_and_stop(&broker));
        eventually("tasks", || own.metrics().num_alive_tasks(), &0);
        drop((broker, own));
        eventually("threads and descriptors", Process::now, &before);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn builder(lanes: usize, round: usize) -> BrokerBuilder {
    Broker::builder()
        .listen(([127, 0, 0, 1], 0))
        .threads(Threads::Exactly(NonZeroUsize::new(lanes).unwrap()))
        .lanes(if round.is_multiple_of(2) { Lanes::Adaptive } else { Lanes::Spread })
        .on_publish(|message: Message| async move { Some(message) })
}

/// Everything that a broker does something for: a socket, one before its CONNECT, a stream, a client in the process, a
/// hook, a reader of events. All of them outlive it.
async fn use_and_stop(broker: &Broker) {
    let addr = broker.local_addrs()[0];
    let mut events = broker.events();
    let (app, mut inbox) = broker.client("app").persistent(Duration::MAX).await.unwrap();
    app.subscribe("t", QoS::ExactlyOnce).await.unwrap();
    let mut socket = over_tcp(addr).await;
    let silent = tokio::net::TcpStream::connect(addr).await.unwrap();
    let (stream, mut other_end) = tokio::io::duplex(1000);
    broker.serve(stream, "memory").unwrap();
    other_end.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01s\x30\x04\0\x01tx").await.unwrap();
    let mut accepted = [0; 4];
    other_end.read_exact(&mut accepted).await.unwrap();
    assert_eq!(within(inbox.next()).await.unwrap().payload, "x");
    within(broker.shutdown(PATIENCE)).await.unwrap();
    // The port is free at once: std sets SO_REUSEADDR, so only a listener could be in the way.
    TcpListener::bind(addr).unwrap();
    while within(events.next()).await.is_some() {}
    assert!(within(inbox.next()).await.is_none());
    assert!(within(socket.event()).await.is_err());
    drop((app, silent, other_end));
}

async fn over_tcp(addr: SocketAddr) -> Connection {
    let mut options = Options::default();
    options.host = addr.ip().to_string();
    options.port = addr.port();
    Connection::open(&options, Session::default()).await.unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!(
            "nothing happened for {PATIENCE:?}, {} tasks",
            Handle::current().metrics().num_alive_tasks()
        ),
    }
}

/// What this process has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    threads: Vec<String>,
    descriptors: usize,
}

impl Process {
    fn now() -> Self {
        Self { threads: threads(), descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count() }
    }
}

/// The names of all threads, in order.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn lane_threads() -> Vec<String> {
    threads().into_iter().filter(|name| name.starts_with("culex-lane")).collect()
}

/// Waits for a number to be as it was: a thread that was joined, or has let go of its last task, is still counted for a
/// moment.
fn eventually<T: PartialEq + std::fmt::Debug>(what: &str, now: impl Fn() -> T, expected: &T) {
    let begin = Instant::now();
    loop {
        let found = now();
        if found == *expected {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{what}: {found:?} instead of {expected:?}");
        std::thread::yield_now();
    }
}
