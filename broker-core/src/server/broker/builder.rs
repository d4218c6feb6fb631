//! What a broker is started with, and its start.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(feature = "store-sqlite")]
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::available_parallelism;
use std::time::Duration;

use mio::Poll;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::engine::access::AccessControl;
use crate::engine::keys::ShardId;
use crate::engine::shard::{Shard, ShardConfig};
use crate::engine::store::Stored;
use crate::limits::{Limit, Limits};

use super::super::admit::Rooms;
use super::super::clock::Clock;
use super::super::commons::SharedCommons;
use super::super::departure::Departure;
use super::super::events::EventHub;
use super::super::front_door::FrontDoor;
use super::super::hooks::{HookSet, Hooks};
use super::super::lane::{Lane, LaneMessage, Neighbours};
use super::super::listener::{Listener, ListeningSocket};
use super::super::mailbox::Mailbox;
use super::super::metrics::Metrics;
#[cfg(feature = "store-sqlite")]
use super::super::store::Durability;
use super::super::store::{Committer, Door, Queue, Source, Store, StoreError};
use super::super::sync::RwLock;
use super::super::sys::SystemTopics;
use super::super::worker::{self, Lanes, Movement};
use super::runtime::Runtime;
use super::{Broker, Failure, Inner, StartError, listening, recovery};

/// Once a second is often enough for whoever looks.
const SYSTEM_INTERVAL_MIN: Duration = Duration::from_secs(1);
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

/// What a broker is started with.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct BrokerBuilder {
    listeners: Vec<Listener>,
    is_without_listener: bool,
    limits: Limits,
    threads: Threads,
    movement: Movement,
    store: Source,
    #[cfg(feature = "store-sqlite")]
    durability: Durability,
    access_control: Option<Arc<dyn AccessControl>>,
    system_topics: Option<SystemTopics>,
    after_bind: AfterBind,
    accepts_later: bool,
    pub(in super::super) hooks: HookSet,
}

/// What is called when all listeners are bound.
#[derive(Clone, Default)]
struct AfterBind(Option<Arc<dyn Fn() -> io::Result<()> + Send + Sync>>);

impl AfterBind {
    fn call(&self) -> io::Result<()> {
        self.0.as_ref().map_or(Ok(()), |call| call())
    }
}

impl fmt::Debug for AfterBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AfterBind").field(&self.0.is_some()).finish()
    }
}

impl BrokerBuilder {
    /// Accepts connections there; an address alone means plain TCP, and port 0 takes a free one. May be called several times.
    pub fn listen(mut self, listener: impl Into<Listener>) -> Self {
        self.listeners.push(listener.into());
        self
    }

    /// Nobody connects over the network: only clients in this process and streams that are handed over, see
    /// [`Broker::client`] and [`Broker::serve`].
    pub const fn without_listener(mut self) -> Self {
        self.is_without_listener = true;
        self
    }

    /// Replaces all limits; [`Limits::default`] otherwise.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Keeps sessions and Retained Messages in this directory, in SQLite; otherwise they end with the broker. The
    /// directory is made if it is not there, belongs to one broker at a time, and is to be given to nothing else.
    #[cfg(feature = "store-sqlite")]
    pub fn store(mut self, directory: impl Into<PathBuf>) -> Self {
        self.store = Source::Directory(directory.into());
        self
    }

    /// What a crash may cost, with [`BrokerBuilder::store`]; [`Durability::Power`] otherwise.
    #[cfg(feature = "store-sqlite")]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Keeps sessions and Retained Messages in a store of the embedder's. `open` is called at the start.
    pub fn custom_store<S: Store>(
        mut self,
        open: impl Fn() -> Result<S, StoreError> + Send + Sync + 'static,
    ) -> Self {
        self.store = Source::custom(open);
        self
    }

    /// Rules of who may publish and receive what, looked at for every message where the broker holds it; without them
    /// everything is allowed. They do not concern clients in the process. To replace them later:
    /// [`Admin::set_access_control`](crate::Admin::set_access_control).
    ///
    /// Beside it [`BrokerBuilder::authorize`] asks, and may take its time, but of what is received it asks once, at
    /// SUBSCRIBE.
    pub fn access_control(mut self, rules: Arc<dyn AccessControl>) -> Self {
        self.access_control = Some(rules);
        self
    }

    /// Publishes what the broker counts as Retained Messages below `$SYS/broker/`, as mosquitto does: everything at the
    /// start, then each `interval` what has changed. Zero is off, as without this call; others are 1 s or more. `version`
    /// is what `$SYS/broker/version` says. Nobody else publishes there.
    pub fn system_topics(mut self, version: impl Into<String>, interval: Duration) -> Self {
        let topics = || SystemTopics { version: version.into(), interval: interval.max(SYSTEM_INTERVAL_MIN) };
        self.system_topics = (!interval.is_zero()).then(topics);
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

    /// Called when every listener is bound, before the store is opened and before any lane runs. There a program gives up
    /// the privileges that only its ports needed.
    ///
    /// An error ends the start with [`StartError::AfterBind`].
    pub fn after_bind(mut self, call: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.after_bind = AfterBind(Some(Arc::new(call)));
        self
    }

    /// The listeners are open from the start on, but nobody is let in before [`Broker::accept`]: who connects meanwhile
    /// waits. So clients in the process can subscribe before anything is published.
    pub const fn accept_later(mut self) -> Self {
        self.accepts_later = true;
        self
    }

    /// Binds every listener and starts on the tokio runtime around this call. When it returns, clients can connect.
    ///
    /// The runtime must outlive the broker, and have its I/O and time drivers enabled (`enable_all`).
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(self) -> Result<Broker, StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        self.start_on(Runtime::Shared(runtime))
    }

    /// Starts on a runtime that belongs to the broker, with one thread named `culex-runtime`. For programs without
    /// tokio, and for those whose runtime may be busy with other things. It waits for nothing, so it may be called
    /// anywhere; [`Broker::runtime`] is where to run what is asynchronous.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub fn start_on_own_runtime(self) -> Result<Broker, StartError> {
        self.start_on(Runtime::own().map_err(StartError::System)?)
    }

    fn start_on(self, runtime: Runtime) -> Result<Broker, StartError> {
        let handle = runtime.handle().clone();
        // Listeners register with it.
        let _entered = handle.enter();
        if let Threads::Exactly(count) = self.threads
            && count.get() > THREADS_MAX
        {
            return Err(StartError::TooManyThreads(count.get()));
        }
        if self.listeners.is_empty() && !self.is_without_listener {
            return Err(StartError::NoListener);
        }
        // Deadlines need it.
        with_driver(|| drop(tokio::time::sleep(Duration::ZERO)))?;
        let sockets = self.bind()?;
        self.after_bind.call().map_err(StartError::AfterBind)?;
        let (store, stored) = self.open_store()?;
        let hash_keys = random_keys().map_err(StartError::System)?;
        let commons = Arc::new(SharedCommons::new(&self.limits, hash_keys, &stored));
        let doors = self.doors().map_err(StartError::System)?;
        let metrics = Arc::new(Metrics {
            lanes: doors.iter().map(|_| Arc::default()).collect(),
            front_door: Default::default(),
            commons: Arc::clone(&commons),
            store: store.is_some().then(|| Arc::new(Queue::new(doors.len()))),
        });
        let mailboxes: Vec<_> = doors.iter().map(|(_, mailbox)| Arc::clone(mailbox)).collect();
        let departure = Arc::new(Departure::new(mailboxes.clone()));
        let hub = Arc::new(EventHub::default());
        let events = Arc::downgrade(&hub);
        let (failed, failure) = watch::channel(None);
        let clock = Clock::start();
        let mut shards = self.make_shards(hash_keys, doors.len(), store.is_some());
        recovery::restore(&mut shards, stored, &commons, hash_keys, clock);
        recovery::publish_wills(&mailboxes);
        let lanes = make_lanes(shards, doors, &departure, (clock, self.limits.stall_max), &metrics);
        let hooks = Arc::new(Hooks::new(self.hooks, &self.limits, handle.clone()));
        let team = worker::Team::new(
            Neighbours { mailboxes: mailboxes.clone(), commons, events: hub, hooks: Arc::clone(&hooks) },
            clock,
            self.movement,
            metrics.lanes.clone(),
            on_failure(failed.clone(), false),
        );
        let start = |(store, queue): (_, &Arc<_>)| {
            let (queue, mailboxes) = (Arc::clone(queue), mailboxes.clone());
            let on_failure = on_failure(failed, true);
            Committer { store, queue, mailboxes, clock, events: events.clone(), on_failure }.start()
        };
        let committer =
            store.zip(metrics.store.as_ref()).map(start).transpose().map_err(StartError::System)?;
        // If this fails there are no lanes any more, and without them the store's thread ends.
        let mut threads = worker::start(team, lanes).map_err(StartError::System)?;
        // It ends when the lanes have, so it is joined last.
        threads.extend(committer);
        let front_door = Arc::new(FrontDoor {
            rooms: Rooms::new(&self.limits, Arc::clone(&metrics)),
            limits: RwLock::new(Arc::new(self.limits)),
            hooks,
            metrics: Arc::clone(&metrics),
            lanes: mailboxes.clone(),
            hash_keys,
            accepted: AtomicU64::new(0),
            events: events.clone(),
        });
        let (closing, _) = watch::channel(false);
        let (accepting, _) = watch::channel(!self.accepts_later);
        let inner = Inner {
            closing,
            accepting,
            front_door,
            kept: Arc::default(),
            runtime: handle.clone(),
            owned_runtime: Mutex::new(Some(runtime)),
            listening: Mutex::default(),
            mailboxes,
            hash_keys,
            events,
            departure,
            threads: Mutex::new(threads),
            stopped: Mutex::new(None),
            failure,
            metrics,
        };
        inner.listening.lock().start(&inner, sockets.into_iter().zip(self.listeners).collect());
        if let (Some(topics), Some(lane)) = (self.system_topics, inner.mailboxes.first()) {
            let topics =
                topics.publish(Arc::clone(&inner.metrics), Arc::clone(lane), inner.closing.subscribe());
            inner.listening.lock().add(handle.spawn(topics));
        }
        Ok(Broker { inner: Arc::new(inner) })
    }

    fn bind(&self) -> Result<Vec<ListeningSocket>, StartError> {
        self.listeners.iter().map(listening::open).collect()
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

    /// The store and what it has; nothing without one.
    fn open_store(&self) -> Result<(Option<Box<dyn Store>>, Stored), StoreError> {
        let mut store = self.store.open(
            #[cfg(feature = "store-sqlite")]
            self.durability,
        )?;
        let stored = store.as_mut().map(|store| store.load()).transpose()?;
        Ok((store, stored.unwrap_or_default()))
    }

    fn make_shards(&self, hash_keys: (u64, u64), count: usize, has_store: bool) -> Vec<Shard> {
        let limits = limits_of_shard(&self.limits, count, has_store);
        let shard = |number| {
            let (limits, asks) = (limits.clone(), self.hooks.asks());
            let mut shard = Shard::new(ShardConfig { id: ShardId(number), limits, hash_keys, asks });
            shard.set_access_control(self.access_control.clone());
            shard
        };
        (0..).take(count).map(shard).collect()
    }
}

fn make_lanes(
    shards: Vec<Shard>,
    doors: Vec<(Poll, Arc<Mailbox<LaneMessage>>)>,
    departure: &Arc<Departure>,
    (clock, stall_max): (Clock, Duration),
    metrics: &Metrics,
) -> Vec<Lane> {
    let parts = shards.into_iter().zip(doors).zip(&metrics.lanes).zip(0..);
    let lanes = parts.map(|(((shard, door), cells), number)| {
        let lane = ShardId(number);
        let store = match &metrics.store {
            Some(queue) => Door::Queue { lane, queue: Arc::clone(queue) },
            None => Door::Memory,
        };
        Lane::new((lane, shard), door, Arc::clone(departure), clock, Arc::clone(cells), (store, stall_max))
    });
    lanes.collect()
}

fn on_failure(tell: watch::Sender<Option<Failure>>, is_store: bool) -> Box<dyn Fn(String) + Send + Sync> {
    Box::new(move |why| drop(tell.send_replace(Some(Failure { why, is_store }))))
}

/// Calls tokio for what needs a driver of the runtime. It can be asked for none; whoever misses one is told by a panic.
pub(super) fn with_driver<T>(call: impl FnOnce() -> T) -> Result<T, StartError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| StartError::NoDrivers)
}

/// The limits of one of `count` shards: of the room for unfinished packets, of that for bursts, and of the memory for
/// queues each has an equal part.
pub(super) fn limits_of_shard(all: &Limits, count: usize, has_store: bool) -> Limits {
    let part = |total: Limit, at_least: u64| match total {
        Limit::AtMost(bytes) => {
            Limit::at_most((bytes.get() / count.max(1) as u64).max(at_least)).unwrap_or(total)
        }
        Limit::Unlimited => Limit::Unlimited,
    };
    let partial_total_bytes = part(all.partial_total_bytes, u64::from(all.packet_bytes));
    let outbox_burst_bytes = part(all.outbox_burst_bytes, 1);
    // Without a store there is nowhere else to have them.
    let queue_memory_bytes = if has_store { part(all.queue_memory_bytes, 1) } else { Limit::Unlimited };
    Limits { partial_total_bytes, outbox_burst_bytes, queue_memory_bytes, ..all.clone() }
}

fn random_keys() -> io::Result<(u64, u64)> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let number = u128::from_ne_bytes(bytes);
    Ok((number as u64, (number >> 64) as u64))
}
