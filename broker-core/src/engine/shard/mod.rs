//! A shard: the sessions whose ClientId hashes to it, their connections, and nothing of anybody else.
//!
//! It does no I/O and reads no clock: bytes, messages and the time go in, bytes and [`Effect`]s come out. The same
//! inputs give the same outputs.
//!
//! ```text
//!   handle_attach ─┐                              ┌─► next_touched / outbox    bytes for connections
//!   handle_bytes ──┤   sessions  connections      │
//!   handle_message ┼─►  QoS   timers   gate  ─────┼─► end_turn, poll_effect    store, shards, closing, questions, events
//!   handle_stored ─┤                              │
//!   handle_fetched ┤                              │
//!   handle_answer ─┤                              │
//!   handle_… ──────┘                              └─► poll_timeout             when handle_timeout wants to run
//! ```
//!
//! Life of a PUBLISH: decoded where it lies in the read buffer; its Retained Message is set; its routes come from
//! the cache, or from [`Commons`] if a subscription has changed since; QoS 0 to local connections is copied straight
//! into their outboxes; for everything else one [`Publication`](super::publication::Publication) is made, which all
//! queues and other shards share; one record tells the store all of it; the answer waits for that record.

mod acks;
mod answers;
mod ask;
mod attach;
mod burst;
mod close;
mod deliver;
mod denied;
mod effect;
mod ending;
mod feed;
mod full;
mod inbound;
mod input;
mod inspect;
mod pace;
mod paging;
mod partial;
mod queue;
mod queue_room;
mod restore;
mod room;
mod subscribe;
mod system;

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

use crate::limits::Limits;

use super::access::{AccessControl, Gatekeeper};
use super::commons::Commons;
use super::connection::{Connection, Connections};
use super::keys::{ConnectionKey, SessionKey, ShardId};
use super::outbox::Outbox;
use super::question::Asks;
use super::route::{CacheLimits, RouteCache, Routes};
use super::session::Session;
use super::slots::Slots;
use super::stats::Stats;
use super::terms::Terms;
use super::time::{Now, Tick};
use super::timers::Timers;
use super::topics::TopicLimits;

use self::answers::Gate;
use self::ending::Ending;
use self::full::FullQueues;
use self::paging::Paging;
use self::queue_room::QueueRoom;
use self::room::Waiting;

pub use self::answers::connack;
pub use self::effect::{Effect, Event, Fetch, Fetched, ShardMessage};
pub use self::input::Consumed;
pub use self::inspect::{ConnectionInfo, SessionInfo};
pub use self::room::StoreRoom;

/// What every input comes with: the time, what all shards share, and how much work this turn may still do.
pub struct Turn<'a> {
    /// Both clocks.
    pub now: Now,
    /// The shared state.
    pub commons: &'a dyn Commons,
    /// Deliveries that this turn may still make before outboxes have to be written. A connection whose bytes would
    /// exceed it is left where it is.
    pub deliveries_left: u32,
}

/// Deliveries of one turn, one to two milliseconds of work. Writing costs ten times more than delivering, so to a
/// thousand receivers of one publisher it is the messages that one write takes along that count: with 8,192 a delivery
/// cost 0.82 µs, with 32,768 it costs 0.29.
pub const DELIVERIES_PER_TURN: u32 = 32_768;

/// What makes a shard this one.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Its number.
    pub id: ShardId,
    /// All limits of the broker.
    pub limits: Limits,
    /// Keys of the hash functions: secret in production, fixed in tests.
    pub hash_keys: (u64, u64),
    /// What the host is asked about.
    pub asks: Asks,
}

/// Sessions and connections of one shard.
pub struct Shard {
    id: ShardId,
    asks: Asks,
    gatekeeper: Gatekeeper,
    limits: Limits,
    connections: Connections,
    sessions: Slots<Session>,
    by_client_id: HashMap<Box<str>, SessionKey, SipKeys>,
    timers: Timers,
    gate: Gate,
    waiting: Waiting,
    full: FullQueues,
    cache: RouteCache,
    routes: Routes,
    /// Connections that have more to send than the outbox took last time.
    resuming: VecDeque<ConnectionKey>,
    /// Sessions that have ended, and whose filters are still in the routing table.
    endings: VecDeque<Ending>,
    outgoing: Vec<(ShardId, Vec<ShardMessage>)>,
    closing: Vec<Effect>,
    effects: VecDeque<Effect>,
    /// Somebody wants to know of every subscription.
    tells_subscriptions: bool,
    queue_room: QueueRoom,
    paging: Paging,
    stats: Stats,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("id", &self.id).field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl Shard {
    /// A shard without sessions.
    pub fn new(config: ShardConfig) -> Self {
        let ShardConfig { id, limits, hash_keys, asks } = config;
        Self {
            id,
            asks,
            gatekeeper: Gatekeeper::default(),
            queue_room: QueueRoom::new(limits.queue_total_bytes),
            paging: Paging::default(),
            limits,
            connections: Connections::default(),
            sessions: Slots::default(),
            by_client_id: HashMap::with_hasher(SipKeys(hash_keys)),
            timers: Timers::default(),
            gate: Gate::default(),
            waiting: Waiting::default(),
            full: FullQueues::default(),
            cache: RouteCache::new(hash_keys, CacheLimits::default()),
            routes: Routes::new(),
            resuming: VecDeque::new(),
            endings: VecDeque::new(),
            outgoing: Vec::new(),
            closing: Vec::new(),
            effects: VecDeque::new(),
            tells_subscriptions: true,
            stats: Stats::default(),
        }
    }

    // Getters.

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        Stats {
            connections: self.connections.len() as u64,
            sessions: self.sessions.len() as u64,
            queue_memory_bytes: self.queue_memory(),
            queues_full: self.full.own_len() as u64,
            packets_sent: self.connections.packets_sent,
            ..self.stats
        }
    }

    /// Whether the packets of this connection may be handed in now.
    pub fn is_reading(&self, key: ConnectionKey) -> bool {
        self.connections.get(key).is_some_and(Connection::is_reading)
    }

    /// All connections, in the order of their slots.
    pub fn connections(&self) -> Vec<ConnectionKey> {
        self.connections.keys()
    }

    // Commands.

    /// Whether [`Event::Subscribed`] and [`Event::Unsubscribed`] are told (as at the start) or only counted; a filter that
    /// is refused is always told. It costs two allocations per Topic Filter.
    pub fn tell_subscriptions(&mut self, is_wanted: bool) {
        self.tells_subscriptions = is_wanted;
    }

    /// Replaces the rules of who may publish and receive what; without any, as at the start, everything is allowed. They
    /// hold for what is delivered from now on, also to subscriptions and from queues of before.
    pub fn set_access_control(&mut self, control: Option<Arc<dyn AccessControl>>) {
        self.gatekeeper.replace(control);
    }

    /// Replaces the limits. They hold for what comes from now on, but for connections and sessions with
    /// [`Terms`] of their own; what a connection was given when it came in stays so. To be left as they were are those
    /// that [`Commons`] and the host have too, and those of outboxes: what is in them was counted by them.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    // Outputs.

    /// Ends a turn: the records of this turn become a batch, the messages to each other shard one vector. To be
    /// called before [`Shard::poll_effect`].
    pub fn end_turn(&mut self) {
        if let Some(batch) = self.gate.close_batch() {
            self.effects.push_back(Effect::Store(batch));
        }
        // Behind the batch, which may have what is asked for.
        self.effects.extend(self.paging.take_fetches().map(Effect::Fetch));
        for (to, messages) in self.outgoing.drain(..) {
            self.effects.push_back(Effect::Send { to, messages });
        }
        self.tell_of_queues();
        self.effects.extend(self.closing.drain(..));
    }

    /// The next thing to do outside.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next connection that has bytes to write.
    pub fn next_touched(&mut self) -> Option<ConnectionKey> {
        self.connections.next_touched()
    }

    /// The connection takes bytes again: it is among the touched once more.
    pub fn touch(&mut self, key: ConnectionKey) {
        self.connections.touch(key);
    }

    /// What waits to be written to a connection. Call [`Shard::handle_written`] when it got shorter.
    pub fn outbox(&mut self, key: ConnectionKey) -> Option<&mut Outbox> {
        self.connections.get_mut(key).map(|connection| &mut connection.outbox)
    }

    /// When [`Shard::handle_timeout`] wants to run; `Tick(0)` is at once.
    pub fn poll_timeout(&self) -> Option<Tick> {
        let is_idle = self.resuming.is_empty() && self.endings.is_empty();
        if is_idle { self.timers.next() } else { Some(Tick(0)) }
    }

    // Helpers of all parts.

    fn session(&self, key: SessionKey) -> Option<&Session> {
        self.sessions.get(key.slot, key.generation)
    }

    /// How long and how deep a topic of this connection may be.
    fn topic_limits(&self, key: ConnectionKey) -> TopicLimits {
        let connection = self.connections.get(key);
        connection.map_or(&self.limits, |connection| Terms::limits(&connection.terms, &self.limits)).into()
    }

    /// The session of a connection.
    fn connected_session(&self, key: ConnectionKey) -> Option<&Session> {
        self.session(self.connections.get(key)?.session)
    }

    fn session_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.sessions.get_mut(key.slot, key.generation)
    }

    fn event(&mut self, event: Event) {
        self.closing.push(Effect::Event(event));
    }
}

/// SipHash-1-3 with our keys: nobody outside can aim at one bucket, and a test is the same every time.
#[derive(Debug, Clone, Copy)]
struct SipKeys((u64, u64));

impl std::hash::BuildHasher for SipKeys {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0.0, self.0.1)
    }
}

/// The shard that owns a ClientId. `shards` is at least 1.
pub fn shard_of(client_id: &str, hash_keys: (u64, u64), shards: u16) -> ShardId {
    let hash = SipHasher13::new_with_keys(hash_keys.0, hash_keys.1).hash(client_id.as_bytes());
    // The upper half of a 64 × 16 bit product: even, and without a division.
    let shard = (u128::from(hash) * u128::from(shards.max(1))) >> 64;
    ShardId(u16::try_from(shard).unwrap_or(0))
}
