//! The handle of a running broker, and its builder.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task;

use crate::engine::keys::ShardId;
use crate::engine::shard::{Shard, ShardConfig};
use crate::limits::Limits;

use super::admit::Rooms;
use super::clock::Clock;
use super::commons::SharedCommons;
use super::events::EventHub;
use super::front_door::FrontDoor;
use super::lane::{Lane, LaneMessage, Neighbours};
use super::mailbox::Mailbox;
use super::metrics::{LaneCells, Metrics, Snapshot};

/// Connections that the operating system keeps for us until we accept them.
const BACKLOG: i32 = 4096;

const THREADS_MAX: usize = 1024;

/// How many lanes, and with them threads, do the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Threads {
    /// What suits the machine; one for now.
    #[default]
    Auto,
    /// Exactly so many, 1 … 1024.
    Exactly(NonZeroUsize),
}

/// Why a broker did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no tokio runtime around the call.
    #[error("no tokio runtime: call start() inside one, for example in #[tokio::main]")]
    NoRuntime,
    /// A listener's address cannot be had.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// More lanes than 1024.
    #[error("{0} threads are too many, at most 1024")]
    TooManyThreads(usize),
    /// Threads, polls or random numbers cannot be had.
    #[error("cannot start: {0}")]
    System(#[source] io::Error),
}

/// Why a shutdown was not clean.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// A lane did not end in time; its thread was left behind.
    #[error("the broker did not stop within {0:?}")]
    Deadline(Duration),
}

/// Why a running broker gave up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

/// What a broker is started with.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct BrokerBuilder {
    listeners: Vec<SocketAddr>,
    limits: Limits,
    threads: Threads,
}

/// A running broker. A cheap handle: clones mean the same broker, which runs until [`Broker::shutdown`] or until
/// the last handle is gone.
#[derive(Clone)]
pub struct Broker {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    addresses: Vec<SocketAddr>,
    /// Tells the front door to close; so does its end.
    closing: watch::Sender<bool>,
    accepting: Mutex<Vec<task::JoinHandle<()>>>,
    pub(super) mailboxes: Vec<Arc<Mailbox<LaneMessage>>>,
    pub(super) hash_keys: (u64, u64),
    /// The lanes keep it; it ends with them.
    pub(super) events: Weak<EventHub>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    failure: watch::Receiver<Option<Failure>>,
    pub(super) metrics: Arc<Metrics>,
}

impl BrokerBuilder {
    /// Accepts plain TCP connections on this address; port 0 takes a free one. May be called several times.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listeners.push(address);
        self
    }

    /// Replaces all limits; [`Limits::default`] otherwise.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How many threads do the work; [`Threads::Auto`] otherwise.
    pub const fn threads(mut self, threads: Threads) -> Self {
        self.threads = threads;
        self
    }

    /// Binds every listener and starts. When it returns, clients can connect.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(self) -> Result<Broker, StartError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        if let Threads::Exactly(count) = self.threads
            && count.get() > THREADS_MAX
        {
            return Err(StartError::TooManyThreads(count.get()));
        }
        let listeners = self.bind()?;
        let hash_keys = random_keys().map_err(StartError::System)?;
        let commons = Arc::new(SharedCommons::new(&self.limits, hash_keys));
        let lanes = self.lanes(hash_keys).map_err(StartError::System)?;
        let metrics = Arc::new(Metrics {
            lanes: lanes.iter().map(|(_, cells)| Arc::clone(cells)).collect(),
            front_door: Default::default(),
            commons: Arc::clone(&commons),
        });
        let mailboxes: Vec<_> = lanes.iter().map(|(lane, _)| lane.mailbox()).collect();
        let hub = Arc::new(EventHub::default());
        let events = Arc::downgrade(&hub);
        let neighbours = Arc::new(Neighbours { mailboxes: mailboxes.clone(), commons, events: hub });
        let (failed, failure) = watch::channel(None);
        let threads = spawn(lanes, &neighbours, &Arc::new(failed)).map_err(|error| {
            stop(&mailboxes);
            StartError::System(error)
        })?;
        let front_door = Arc::new(FrontDoor {
            rooms: Rooms::new(&self.limits, Arc::clone(&metrics)),
            limits: self.limits,
            metrics: Arc::clone(&metrics),
            lanes: mailboxes.clone(),
            hash_keys,
            accepted: AtomicU64::new(0),
            events: events.clone(),
        });
        let (closing, _) = watch::channel(false);
        let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let accepting = listeners
            .into_iter()
            .map(|listener| runtime.spawn(Arc::clone(&front_door).accept(listener, closing.subscribe())))
            .collect();
        let (accepting, threads) = (Mutex::new(accepting), Mutex::new(threads));
        let inner =
            Inner { addresses, closing, accepting, mailboxes, hash_keys, events, threads, failure, metrics };
        Ok(Broker { inner: Arc::new(inner) })
    }

    fn bind(&self) -> Result<Vec<TcpListener>, StartError> {
        self.listeners
            .iter()
            .map(|addr| bind(*addr).map_err(|source| StartError::Bind { addr: *addr, source }))
            .collect()
    }

    fn lanes(&self, hash_keys: (u64, u64)) -> io::Result<Vec<(Lane, Arc<LaneCells>)>> {
        let count = match self.threads {
            Threads::Auto => 1,
            Threads::Exactly(count) => u16::try_from(count.get()).unwrap_or(u16::MAX),
        };
        let clock = Clock::start();
        (0..count)
            .map(|number| {
                let id = ShardId(number);
                let cells = Arc::new(LaneCells::default());
                let shard = Shard::new(ShardConfig { id, limits: self.limits.clone(), hash_keys });
                Ok((Lane::new(id, shard, clock, Arc::clone(&cells))?, cells))
            })
            .collect()
    }
}

impl Broker {
    /// A broker without listeners and with default limits, to be filled in.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// The addresses that are listened on, in the order of [`BrokerBuilder::listen`].
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.inner.addresses
    }

    /// All counters and gauges.
    pub fn metrics(&self) -> Snapshot {
        self.inner.metrics.snapshot()
    }

    /// Resolves when the broker has given up on itself; never in a healthy broker.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.inner.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or_else(|| Failure(String::new())),
            // All lanes have ended in order.
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops accepting, writes what waits, closes every connection and joins every thread. A second call finds
    /// nothing left to do.
    ///
    /// # Errors
    /// [`ShutdownError::Deadline`] if that takes longer than `deadline`.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), ShutdownError> {
        self.inner.closing.send_replace(true);
        stop(&self.inner.mailboxes);
        let accepting = std::mem::take(&mut *self.inner.accepting.lock());
        let threads = std::mem::take(&mut *self.inner.threads.lock());
        let end = async {
            for task in accepting {
                // It fails only if its runtime has ended, and the task with it.
                let _ = task.await;
            }
            let join = task::spawn_blocking(move || {
                for thread in threads {
                    // A panic of a lane was reported as a failure already.
                    let _ = thread.join();
                }
            });
            let _ = join.await;
        };
        tokio::time::timeout(deadline, end).await.map_err(|_| ShutdownError::Deadline(deadline))
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("addresses", &self.inner.addresses).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The front door closes because `closing` is gone.
        stop(&self.mailboxes);
    }
}

fn stop(mailboxes: &[Arc<Mailbox<LaneMessage>>]) {
    for mailbox in mailboxes {
        mailbox.send([LaneMessage::Stop], 0);
    }
}

fn spawn(
    lanes: Vec<(Lane, Arc<LaneCells>)>,
    neighbours: &Arc<Neighbours>,
    failed: &Arc<watch::Sender<Option<Failure>>>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for (number, (lane, _)) in lanes.into_iter().enumerate() {
        let (neighbours, failed) = (Arc::clone(neighbours), Arc::clone(failed));
        let run = move || {
            let run = std::panic::AssertUnwindSafe(|| lane.run(&neighbours));
            let failure = match std::panic::catch_unwind(run) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("shard {number} panicked outside of a connection's input"),
            };
            failed.send_replace(Some(Failure(failure)));
        };
        threads.push(std::thread::Builder::new().name(format!("culex-lane-{number}")).spawn(run)?);
    }
    Ok(threads)
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Each address means itself; who wants both families names both.
        socket.set_only_v6(true)?;
    }
    // A restart need not wait for the connections of the last run to time out.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn random_keys() -> io::Result<(u64, u64)> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let number = u128::from_ne_bytes(bytes);
    Ok((number as u64, (number >> 64) as u64))
}
