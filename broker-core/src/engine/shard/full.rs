//! Who waits while a queue is full whose session wants that ([`WhenFull::Block`](crate::limits::WhenFull::Block)).
//!
//! ```text
//!   its queue is full ────► every shard is told ──► a PUBLISH that would get into it is not read
//!   an eighth is free ────► every shard is told ──► whoever waits is looked at again
//! ```
//!
//! The shard that has the session looks at its length at the end of each turn, so whatever made it shorter, or ended it,
//! lets the others go on. It tells itself by the same way: the words about a queue come to every shard in one order.
//!
//! What a shard has taken before the word comes still gets in, beyond the limit: nothing of it may be lost. It is what the
//! shards read in the turns that the word is on its way: 1 MiB each as a rule, and not more than a full mailbox lets them.
//!
//! Who cannot wait is served as with `DropNewest`: a Will Message, a message that a hook has given another topic, and what a
//! client publishes whose own queue has such limits. It takes from that queue over the same connection, so behind a packet
//! that waits would lie the acknowledgements that make room, in its own queue or by a detour in this one.

use culex_codec::{Publish, QoS};

use crate::engine::connection::WaitsFor;
use crate::engine::keys::{ConnectionKey, SessionKey, ShardId};
use crate::engine::question::Handshake;
use crate::engine::session::Session;
use crate::engine::time::Tick;
use crate::limits::{Limit, Limits};

use super::deliver::is_own;
use super::{Effect, Event, Shard, ShardMessage, Turn};

/// A full queue is told once in this time.
const REPORT_INTERVAL_MS: u64 = 60_000;
/// A full queue has room again when this part of it has.
const ROOM_PART: usize = 8;

/// What a shard knows of such queues.
#[derive(Debug, Default)]
pub(super) struct FullQueues {
    /// Those of all shards, as far as this one was told. There are as many at most as the host has such sessions.
    known: Vec<(ShardId, SessionKey)>,
    /// Those of this shard that are full, or were once: as long as their sessions are there.
    own: Vec<OwnQueue>,
    /// Connections whose next packet waits, in the order in which they came to it; those that are gone among them.
    pub(super) parked: Vec<ConnectionKey>,
}

#[derive(Debug)]
struct OwnQueue {
    key: SessionKey,
    /// With so much it has room again; `None` while it is not full.
    low: Option<Level>,
    /// The others know that it is full.
    is_told: bool,
    /// It leads to other topics than before, so whoever waits has to be looked at.
    has_moved: bool,
    reported: Option<Tick>,
}

/// How much is in a queue.
#[derive(Debug, Clone, Copy)]
struct Level {
    messages: usize,
    bytes: usize,
}

impl FullQueues {
    /// Whether any is full: all that a packet costs while none is.
    pub(super) const fn is_any(&self) -> bool {
        !self.known.is_empty()
    }

    /// Those of this shard.
    pub(super) fn own_len(&self) -> usize {
        self.own.iter().filter(|queue| queue.is_told).count()
    }

    fn own_mut(&mut self, key: SessionKey) -> Option<&mut OwnQueue> {
        self.own.iter_mut().find(|queue| queue.key == key)
    }
}

impl Shard {
    /// Whether a message would get into a full queue, and its publisher can wait.
    pub(super) fn waits_for_queue(
        &mut self,
        turn: &Turn<'_>,
        key: ConnectionKey,
        publish: &Publish<'_>,
    ) -> bool {
        let Some(connection) = self.connections.get(key) else { return false };
        let publisher = Some((self.id, connection.session));
        let handshake = Handshake::new(publish.qos, publish.packet_id);
        let Some(topic) = publish.topic.filter(|_| self.full.is_any() && connection.waits_for_queues) else {
            return false;
        };
        if !self.is_delivered(key, topic) || self.is_repeat(key, handshake) || !self.may_publish(key, topic) {
            return false;
        }
        let (_, routes) = self.routes_of(turn, topic);
        routes.iter().any(|target| {
            self.full.known.contains(&(target.shard, target.session))
                && target.receives_with(publish.qos) != QoS::AtMostOnce
                && !is_own(target, publisher)
        })
    }

    /// A queue got longer, or has other limits.
    pub(super) fn note_length(&mut self, now: Tick, key: SessionKey) {
        let Some(session) = self.session(key).filter(|session| session.makes_wait()) else { return };
        let limits = session.queue_limits(&self.limits);
        let Level { messages, bytes } = Level::of(session);
        let is_at = |limit: Limit, used: usize| used as u64 >= limit.get();
        if is_at(limits.messages, messages) || is_at(limits.bytes, bytes) {
            self.note_full(now, key);
        }
    }

    /// A queue takes no more.
    pub(super) fn note_full(&mut self, now: Tick, key: SessionKey) {
        let Some(session) = self.session(key) else { return };
        let (low, client_id) = (Level::low(session, &self.limits), session.client_id.clone());
        if self.full.own_mut(key).is_none() {
            let queue = OwnQueue { key, low: None, is_told: false, has_moved: false, reported: None };
            self.full.own.push(queue);
        }
        let Some(queue) = self.full.own_mut(key).filter(|queue| queue.low.is_none()) else { return };
        queue.low = Some(low);
        if queue.reported.is_none_or(|at| now.0 >= at.0 + REPORT_INTERVAL_MS) {
            queue.reported = Some(now);
            self.event(Event::QueueFull { client_id });
        }
    }

    /// A session has unsubscribed: who waited for its queue may not have to any more.
    pub(super) fn note_moved(&mut self, key: SessionKey) {
        if let Some(queue) = self.full.own_mut(key) {
            queue.has_moved = true;
        }
    }

    /// A session wants something else, of its queue perhaps.
    pub(super) fn note_options(&mut self, now: Tick, key: SessionKey) {
        if let Some(queue) = self.full.own_mut(key) {
            queue.has_moved = true;
            queue.low = None;
        }
        self.note_length(now, key);
    }

    /// At the end of a turn: tells every shard which queues became full, or have room again.
    pub(super) fn tell_of_queues(&mut self) {
        let Self { full, sessions, effects, id, .. } = self;
        full.own.retain_mut(|queue| {
            let session = sessions.get_mut(queue.key.slot, queue.key.generation);
            let is_above = |low: Level| {
                session
                    .as_ref()
                    .is_some_and(|session| session.makes_wait() && Level::of(session).is_above(low))
            };
            let is_full = queue.low.is_some_and(is_above);
            if !is_full {
                queue.low = None;
            }
            if is_full != queue.is_told || (is_full && queue.has_moved) {
                effects.push_back(Effect::SendAll(ShardMessage::Queue {
                    shard: *id,
                    session: queue.key,
                    is_full,
                }));
            }
            queue.is_told = is_full;
            queue.has_moved = false;
            session.map(|session| session.is_full = is_full).is_some()
        });
    }

    /// The word about a queue. Whoever waits for any is looked at again, in the order in which they came.
    pub(super) fn on_queue(
        &mut self,
        turn: &Turn<'_>,
        (shard, session): (ShardId, SessionKey),
        is_full: bool,
    ) {
        self.full.known.retain(|known| *known != (shard, session));
        if is_full {
            self.full.known.push((shard, session));
        }
        self.stats.publishers_waiting = 0;
        self.unpark(turn.now.tick, WaitsFor::Queue);
    }
}

impl Level {
    fn of(session: &Session) -> Self {
        Self { messages: session.queued_len(), bytes: session.queued_bytes() }
    }

    /// Where a queue has room again that is full as it is: below its limit, or below what it holds if it is all queues
    /// together that have no room.
    fn low(session: &Session, limits: &Limits) -> Self {
        let (now, limits) = (Self::of(session), session.queue_limits(limits));
        let low = |limit: Limit, used: usize| {
            let most = usize::try_from(limit.get()).unwrap_or(usize::MAX).min(used);
            most - most.div_ceil(ROOM_PART)
        };
        Self { messages: low(limits.messages, now.messages), bytes: low(limits.bytes, now.bytes) }
    }

    const fn is_above(self, low: Self) -> bool {
        self.messages > low.messages || self.bytes > low.bytes
    }
}
