//! Which sessions get a message: the routing table, its cache, and the Retained Messages.
//!
//! [`Router`] is shared by all shards, and so is [`Retained`]; every call is one atomic step for its owner. A
//! [`RouteCache`] belongs to one shard. None of them does I/O, reads a clock or takes a lock, and the order of their
//! answers depends on their input alone.
//!
//! ```text
//!  SUBSCRIBE ─► Router::subscribe ─► generation + 1
//!
//!  PUBLISH ─► Retained::set ─► RouteCache::get(topic, generation) ─► one Target per session, sorted by shard
//!                                  │ miss                                 ▲
//!                                  └─► Router::routes ─► merge, sort ─────┘ insert(topic, generation read before)
//! ```
//!
//! Cost of a publication to n sessions: with the routes cached, one SipHash-1-3 of the Topic Name and one probe, no
//! allocation. Otherwise one hash for each level of the Topic Name, one probe of the edge table for each trie node that
//! is visited, and O(n log n) to merge. A Subscription with a Topic Filter of its own costs 80 to 150 bytes
//! (`cargo run --release -p culex-benches --bin memory`).

mod cache;
mod node;
mod retained;
mod seek;
mod targets;
mod trie;

#[cfg(test)]
mod retained_tests;
#[cfg(test)]
mod router_tests;

use std::num::NonZeroU32;

use culex_codec::QoS;

use crate::engine::keys::{SessionId, SessionKey, ShardId};

pub use self::cache::{CacheLimits, RouteCache};
pub use self::retained::{
    Budget, Cursor, Retained, RetainedFull, RetainedLimits, RetainedMessage, SetOutcome,
};
pub use self::targets::{Routes, SubscriptionIds, Target};
pub use self::trie::Router;

/// What a Subscription asks of the messages that it gets (Subscription Options, MQTT 5.0 section 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteOptions {
    /// The Maximum QoS of the Subscription.
    pub qos: QoS,
    /// Do not send the session its own messages [MQTT-3.8.3-3].
    pub no_local: bool,
    /// Keep the RETAIN flag that the publisher set [MQTT-3.3.1-13].
    pub retain_as_published: bool,
}

/// One Subscription as the routing table keeps it, without its Topic Filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subscriber {
    /// The shard that owns the session.
    pub shard: ShardId,
    /// The session within its shard.
    pub session: SessionKey,
    /// The session's name in the store; `None` if it ends with its connection.
    pub durable: Option<SessionId>,
    /// Subscription Options.
    pub options: RouteOptions,
    /// Subscription Identifier, 1 … 268,435,455.
    pub subscription_id: Option<NonZeroU32>,
}

/// What [`Router::subscribe`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subscribed {
    /// The session had no Subscription with this Topic Filter.
    New,
    /// It had one, which the new one replaces [MQTT-3.8.4-3].
    Replaced,
}
