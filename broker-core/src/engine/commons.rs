//! What all shards of a broker share, behind a trait of single atomic steps.
//!
//! The server takes a lock for the length of one call, a simulation takes none. What is shared is routing and
//! Retained Messages, never sessions. The order of the steps is what makes concurrent shards right:
//!
//! - a subscriber calls `subscribe`, then `retained_version` (its floor), then sends SUBACK;
//! - a publisher calls `set_retained`, then `generation` and `routes`, then delivers.
//!
//! Whatever the interleaving, a message retained with a version up to the floor is found in the store of Retained
//! Messages, and one above it is delivered live: nothing is missed, nothing comes twice.

use std::cell::RefCell;
use std::sync::Arc;

use culex_codec::{TopicFilter, TopicName};

use super::keys::{PublicationId, RetainedVersion, SessionId, SessionKey, ShardId};
use super::options::SessionOptions;
use super::publication::Publication;
use super::route::{Budget, Cursor, Retained, RetainedLimits, Router, Routes, Subscriber};
use super::store::{RetainedChange, Stored};
use crate::limits::Limits;

/// The shared state. Every call is one atomic step.
pub trait Commons {
    /// Changes with every subscribe and unsubscribe. Read it before `routes` when the answer is to be cached.
    fn generation(&self) -> u64;
    /// Who receives a message on `topic`; `out` is cleared first.
    fn routes(&self, topic: TopicName<'_>, out: &mut Routes);
    /// Adds or replaces a subscription.
    fn subscribe(&self, filter: TopicFilter<'_>, subscriber: Subscriber);
    /// Removes a subscription.
    fn unsubscribe(&self, filter: TopicFilter<'_>, shard: ShardId, session: SessionKey);
    /// What a session wants of the messages that it gets, from now on. Nothing changes for most; what is set has to be
    /// taken back when the session ends.
    fn set_options(&self, shard: ShardId, session: SessionKey, options: SessionOptions);
    /// The next publication; increasing over all shards.
    fn publication_id(&self) -> PublicationId;
    /// Room for one more session that outlives its connection, and its id; `None` at the limit.
    fn open_session(&self) -> Option<SessionId>;
    /// The room of an ended session.
    fn close_session(&self, id: SessionId);
    /// Room for `bytes` more in the queues of all sessions; `false`, and nothing changes, if the limit
    /// `queue_total_bytes` forbids it.
    fn take_queue_room(&self, bytes: u64) -> bool;
    /// Room that is not needed any more.
    fn give_queue_room(&self, bytes: u64);
    /// Keeps a message as the Retained Message of its topic, see [`Retained::keep`].
    fn set_retained(&self, publication: &Arc<Publication>) -> RetainedChange;
    /// Removes the Retained Message of a topic.
    fn clear_retained(&self, topic: TopicName<'_>) -> RetainedVersion;
    /// The newest version.
    fn retained_version(&self) -> RetainedVersion;
    /// A slice of the Retained Messages that match `filter` and are not newer than `up_to`, appended to `out`.
    fn retained(
        &self,
        filter: TopicFilter<'_>,
        from: Cursor,
        up_to: RetainedVersion,
        budget: Budget,
        out: &mut Vec<(RetainedVersion, Arc<Publication>)>,
    ) -> Cursor;
}

/// [`Commons`] of shards that all run in one thread, without a lock: for tests, simulations and benches.
#[derive(Debug)]
pub struct LocalCommons {
    state: RefCell<State>,
    sessions_max: u64,
    queue_bytes_max: u64,
}

#[derive(Debug)]
struct State {
    router: Router,
    retained: Retained<Arc<Publication>>,
    publications: u64,
    session_ids: u64,
    sessions_open: u64,
    queue_bytes: u64,
}

impl LocalCommons {
    /// Nothing subscribed, nothing retained.
    pub fn new(limits: &Limits, hash_keys: (u64, u64)) -> Self {
        Self::restored(limits, hash_keys, &Stored::default())
    }

    /// What a store has of it: Retained Messages, room of sessions, and numbers. Subscriptions come with
    /// [`Shard::restore`](super::shard::Shard::restore).
    pub fn restored(limits: &Limits, hash_keys: (u64, u64), stored: &Stored) -> Self {
        let (publication, session, version) = stored.last_numbers();
        let mut retained = Retained::new(RetainedLimits::from(limits));
        retained.restore(stored.retained.iter().cloned(), version);
        let state = State {
            router: Router::new(hash_keys),
            retained,
            publications: publication.0,
            session_ids: session.0,
            sessions_open: stored.sessions.len() as u64,
            queue_bytes: 0,
        };
        Self {
            state: RefCell::new(state),
            sessions_max: limits.sessions.get(),
            queue_bytes_max: limits.queue_total_bytes.get(),
        }
    }

    /// Subscriptions in the routing table.
    pub fn subscription_count(&self) -> usize {
        self.state.borrow().router.len()
    }

    /// Sessions that outlive their connection.
    pub fn sessions_open(&self) -> u64 {
        self.state.borrow().sessions_open
    }

    /// Room in the queues of all sessions that shards have taken.
    pub fn queue_room_taken(&self) -> u64 {
        self.state.borrow().queue_bytes
    }

    /// Retained Messages.
    pub fn retained_count(&self) -> usize {
        self.state.borrow().retained.len()
    }
}

impl Commons for LocalCommons {
    fn generation(&self) -> u64 {
        self.state.borrow().router.generation()
    }

    fn routes(&self, topic: TopicName<'_>, out: &mut Routes) {
        self.state.borrow().router.routes(topic, out);
    }

    fn subscribe(&self, filter: TopicFilter<'_>, subscriber: Subscriber) {
        self.state.borrow_mut().router.subscribe(filter, subscriber);
    }

    fn unsubscribe(&self, filter: TopicFilter<'_>, shard: ShardId, session: SessionKey) {
        self.state.borrow_mut().router.unsubscribe(filter, shard, session);
    }

    fn set_options(&self, shard: ShardId, session: SessionKey, options: SessionOptions) {
        self.state.borrow_mut().router.set_options(shard, session, options);
    }

    fn publication_id(&self) -> PublicationId {
        let mut state = self.state.borrow_mut();
        state.publications += 1;
        PublicationId(state.publications)
    }

    fn open_session(&self) -> Option<SessionId> {
        let mut state = self.state.borrow_mut();
        if state.sessions_open >= self.sessions_max {
            return None;
        }
        state.sessions_open += 1;
        state.session_ids += 1;
        Some(SessionId(state.session_ids))
    }

    fn close_session(&self, _id: SessionId) {
        self.state.borrow_mut().sessions_open -= 1;
    }

    fn take_queue_room(&self, bytes: u64) -> bool {
        let mut state = self.state.borrow_mut();
        let sum = state.queue_bytes.checked_add(bytes).filter(|sum| *sum <= self.queue_bytes_max);
        state.queue_bytes = sum.unwrap_or(state.queue_bytes);
        sum.is_some()
    }

    fn give_queue_room(&self, bytes: u64) {
        self.state.borrow_mut().queue_bytes -= bytes;
    }

    fn set_retained(&self, publication: &Arc<Publication>) -> RetainedChange {
        self.state.borrow_mut().retained.keep(publication).0
    }

    fn clear_retained(&self, topic: TopicName<'_>) -> RetainedVersion {
        self.state.borrow_mut().retained.clear(topic.as_str()).0
    }

    fn retained_version(&self) -> RetainedVersion {
        self.state.borrow().retained.version()
    }

    fn retained(
        &self,
        filter: TopicFilter<'_>,
        from: Cursor,
        up_to: RetainedVersion,
        budget: Budget,
        out: &mut Vec<(RetainedVersion, Arc<Publication>)>,
    ) -> Cursor {
        self.state.borrow().retained.collect(filter, from, up_to, budget, out)
    }
}
