//! The handle of a running broker, and its builder.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::thread::{JoinHandle, available_parallelism};
use std::time::Duration;

use mio::Poll;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task;

use crate::engine::keys::ShardId;
use crate::engine::shard::{Shard, ShardConfig};
use crate::limits::{Limit, Limits};

use super::admit::Rooms;
use super::client::KeptSessions;
use super::clock::Clock;
use super::commons::SharedCommons;
use super::departure::Departure;
use super::events::EventHub;
use super::front_door::FrontDoor;
use super::hooks::{HookSet, Hooks};
use super::lane::{Lane, LaneMessage, Neighbours};
use super::mailbox::Mailbox;
use super::metrics::{LaneCells, Metrics, Snapshot};
use super::worker::{self, Lanes, Movement};

/// Connections that the operating system keeps for us until we accept them.
const BACKLOG: i32 = 4096;

const THREADS_MAX: usize = 1024;
/// More lanes than this are for who asks for them: each costs every sleep a few nanoseconds while they are gathered.
const THREADS_AUTO_MAX: usize = 64;

/// How many lanes do the work. Each has a thread, which sleeps while another one drives the lane: see [`Lanes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Threads {
    /// One for each core that the process may use, at most 64.
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
    movement: Movement,
    pub(super) hooks: HookSet,
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
    /// Every task of the broker has a receiver until it ends.
    pub(super) closing: watch::Sender<bool>,
    pub(super) front_door: Arc<FrontDoor>,
    /// Session State of persistent clients in this process.
    pub(super) kept: Arc<KeptSessions>,
    /// Where tasks run.
    pub(super) runtime: Handle,
    accepting: Mutex<Vec<task::JoinHandle<()>>>,
    pub(super) mailboxes: Vec<Arc<Mailbox<LaneMessage>>>,
    pub(super) hash_keys: (u64, u64),
    /// The lanes keep it; it ends with them.
    pub(super) events: Weak<EventHub>,
    departure: Arc<Departure>,
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

    /// When lanes have their threads to themselves; [`Lanes::Adaptive`] otherwise. No matter with one thread.
    pub const fn lanes(mut self, lanes: Lanes) -> Self {
        self.movement = Movement::Chosen(lanes);
        self
    }

    /// Every lane changes hands after so many rounds of its thread.
    #[cfg(test)]
    pub(crate) const fn moving_every(mut self, rounds: u32, moves: &'static AtomicU64) -> Self {
        self.movement = Movement::Every(rounds, moves);
        self
    }

    /// Binds every listener and starts. When it returns, clients can connect.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(self) -> Result<Broker, StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        if let Threads::Exactly(count) = self.threads
            && count.get() > THREADS_MAX
        {
            return Err(StartError::TooManyThreads(count.get()));
        }
        let listeners = self.bind()?;
        let hash_keys = random_keys().map_err(StartError::System)?;
        let commons = Arc::new(SharedCommons::new(&self.limits, hash_keys));
        let doors = self.doors().map_err(StartError::System)?;
        let metrics = Arc::new(Metrics {
            lanes: doors.iter().map(|_| Arc::default()).collect(),
            front_door: Default::default(),
            commons: Arc::clone(&commons),
        });
        let mailboxes: Vec<_> = doors.iter().map(|(_, mailbox)| Arc::clone(mailbox)).collect();
        let departure = Arc::new(Departure::new(mailboxes.clone()));
        let hub = Arc::new(EventHub::default());
        let events = Arc::downgrade(&hub);
        let (failed, failure) = watch::channel(None);
        let clock = Clock::start();
        let lanes = self.make_lanes(hash_keys, doors, &departure, clock, &metrics.lanes);
        let hooks = Arc::new(Hooks::new(self.hooks, &self.limits, runtime.clone()));
        let team = worker::Team::new(
            Neighbours { mailboxes: mailboxes.clone(), commons, events: hub, hooks: Arc::clone(&hooks) },
            clock,
            self.movement,
            Box::new(move |failure| drop(failed.send_replace(Some(Failure(failure))))),
        );
        let threads = worker::start(team, lanes).map_err(StartError::System)?;
        let front_door = Arc::new(FrontDoor {
            rooms: Rooms::new(&self.limits, Arc::clone(&metrics)),
            limits: self.limits,
            hooks,
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
        let inner = Inner {
            addresses,
            closing,
            front_door,
            kept: Arc::default(),
            runtime,
            accepting,
            mailboxes,
            hash_keys,
            events,
            departure,
            threads,
            failure,
            metrics,
        };
        Ok(Broker { inner: Arc::new(inner) })
    }

    fn bind(&self) -> Result<Vec<TcpListener>, StartError> {
        self.listeners
            .iter()
            .map(|addr| bind(*addr).map_err(|source| StartError::Bind { addr: *addr, source }))
            .collect()
    }

    /// A poll and a mailbox for each lane.
    fn doors(&self) -> io::Result<Vec<(Poll, Arc<Mailbox<LaneMessage>>)>> {
        let count = match self.threads {
            Threads::Auto => available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_AUTO_MAX),
            Threads::Exactly(count) => count.get(),
        };
        let door = |_| {
            let poll = Poll::new()?;
            let mailbox = Mailbox::new(&poll)?;
            Ok((poll, mailbox))
        };
        (0..count).map(door).collect()
    }

    fn make_lanes(
        &self,
        hash_keys: (u64, u64),
        doors: Vec<(Poll, Arc<Mailbox<LaneMessage>>)>,
        departure: &Arc<Departure>,
        clock: Clock,
        cells: &[Arc<LaneCells>],
    ) -> Vec<Lane> {
        let limits = limits_of_shard(&self.limits, doors.len());
        let doors = doors.into_iter().zip(cells).zip(0..);
        let lanes = doors.map(|((door, cells), number)| {
            let id = ShardId(number);
            let (limits, asks) = (limits.clone(), self.hooks.asks());
            let shard = Shard::new(ShardConfig { id, limits, hash_keys, asks });
            Lane::new((id, shard), door, Arc::clone(departure), clock, Arc::clone(cells))
        });
        lanes.collect()
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

    /// Stops accepting, then reading; writes what was on its way, closes every connection and joins every thread. A
    /// second call finds nothing left to do.
    ///
    /// # Errors
    /// [`ShutdownError::Deadline`] if that takes longer than `deadline`.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), ShutdownError> {
        self.inner.closing.send_replace(true);
        let accepting = std::mem::take(&mut *self.inner.accepting.lock());
        let threads = std::mem::take(&mut *self.inner.threads.lock());
        let end = async {
            for task in accepting {
                // It fails only if its runtime has ended, and the task with it.
                let _ = task.await;
            }
            self.inner.departure.begin();
            let join = task::spawn_blocking(move || {
                for thread in threads {
                    // A panic of a lane was reported as a failure already.
                    let _ = thread.join();
                }
            });
            let _ = join.await;
            self.inner.closing.closed().await;
        };
        let ended = tokio::time::timeout(deadline, end).await;
        // Also if the front door did not close in time.
        self.inner.departure.begin();
        ended.map_err(|_| ShutdownError::Deadline(deadline))
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
        self.departure.begin();
    }
}

/// The limits of one of `count` shards: of the room for unfinished packets each has an equal part.
fn limits_of_shard(all: &Limits, count: usize) -> Limits {
    let part = all.partial_total_bytes.get() / count.max(1) as u64;
    let partial_total_bytes = match all.partial_total_bytes {
        Limit::AtMost(total) => {
            Limit::at_most(part.max(u64::from(all.packet_bytes))).unwrap_or(Limit::AtMost(total))
        }
        Limit::Unlimited => Limit::Unlimited,
    };
    Limits { partial_total_bytes, ..all.clone() }
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
