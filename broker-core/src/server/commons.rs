//! The shared state of the shards of one process: a lock for the length of one call, never across another call, a
//! message or a write.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use culex_codec::{TopicFilter, TopicName};

use crate::engine::SessionOptions;
use crate::engine::commons::Commons;
use crate::engine::keys::{PublicationId, RetainedVersion, SessionId, SessionKey, ShardId};
use crate::engine::publication::Publication;
use crate::engine::route::{Budget, Cursor, Retained, RetainedLimits, Router, Routes, Subscriber};
use crate::engine::store::{RetainedChange, Stored};
use crate::limits::Limits;

use super::sync::{AtomicU64, Mutex, RwLock};

/// Routing table, Retained Messages and counters.
pub(crate) struct SharedCommons {
    router: RwLock<Router>,
    /// Written inside the router's write lock only, so whoever reads a number finds routes at least as new.
    generation: AtomicU64,
    retained: Mutex<Retained<Arc<Publication>>>,
    publications: AtomicU64,
    session_ids: AtomicU64,
    sessions_open: AtomicU64,
    sessions_max: u64,
    queue_bytes: AtomicU64,
    queue_bytes_max: u64,
}

impl SharedCommons {
    /// With what a store has of it: Retained Messages, room of sessions, and numbers.
    pub(crate) fn new(limits: &Limits, hash_keys: (u64, u64), stored: &Stored) -> Self {
        let (publication, session, version) = stored.last_numbers();
        let mut retained = Retained::new(RetainedLimits::from(limits));
        retained.restore(stored.retained.iter().cloned(), version);
        Self {
            router: RwLock::new(Router::new(hash_keys)),
            generation: AtomicU64::new(0),
            retained: Mutex::new(retained),
            publications: AtomicU64::new(publication.0),
            session_ids: AtomicU64::new(session.0),
            sessions_open: AtomicU64::new(stored.sessions.len() as u64),
            sessions_max: limits.sessions.get(),
            queue_bytes: AtomicU64::new(0),
            queue_bytes_max: limits.queue_total_bytes.get(),
        }
    }

    /// Retained Messages and their bytes, for the metrics.
    pub(crate) fn retained_size(&self) -> (u64, u64) {
        let retained = self.retained.lock();
        (retained.len() as u64, retained.bytes() as u64)
    }
}

impl Commons for SharedCommons {
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn routes(&self, topic: TopicName<'_>, out: &mut Routes) {
        self.router.read().routes(topic, out);
    }

    fn subscribe(&self, filter: TopicFilter<'_>, subscriber: Subscriber) {
        let mut router = self.router.write();
        router.subscribe(filter, subscriber);
        self.generation.store(router.generation(), Ordering::Release);
    }

    fn unsubscribe(&self, filter: TopicFilter<'_>, shard: ShardId, session: SessionKey) {
        let mut router = self.router.write();
        router.unsubscribe(filter, shard, session);
        self.generation.store(router.generation(), Ordering::Release);
    }

    fn set_options(&self, shard: ShardId, session: SessionKey, options: SessionOptions) {
        let mut router = self.router.write();
        router.set_options(shard, session, options);
        self.generation.store(router.generation(), Ordering::Release);
    }

    fn publication_id(&self) -> PublicationId {
        PublicationId(self.publications.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn open_session(&self) -> Option<SessionId> {
        self.sessions_open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < self.sessions_max).then_some(open + 1)
            })
            .ok()?;
        Some(SessionId(self.session_ids.fetch_add(1, Ordering::Relaxed) + 1))
    }

    fn close_session(&self, _id: SessionId) {
        self.sessions_open.fetch_sub(1, Ordering::Relaxed);
    }

    fn take_queue_room(&self, bytes: u64) -> bool {
        self.queue_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                taken.checked_add(bytes).filter(|sum| *sum <= self.queue_bytes_max)
            })
            .is_ok()
    }

    fn give_queue_room(&self, bytes: u64) {
        self.queue_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn set_retained(&self, publication: &Arc<Publication>) -> RetainedChange {
        // What was there is dropped after the lock.
        let (change, _removed) = self.retained.lock().keep(publication);
        change
    }

    fn clear_retained(&self, topic: TopicName<'_>) -> RetainedVersion {
        let (version, _removed) = self.retained.lock().clear(topic.as_str());
        version
    }

    fn retained_version(&self) -> RetainedVersion {
        // Under the lock: a bare atomic beside the routing table would be the store-buffering pattern.
        self.retained.lock().version()
    }

    fn retained(
        &self,
        filter: TopicFilter<'_>,
        from: Cursor,
        up_to: RetainedVersion,
        budget: Budget,
        out: &mut Vec<(RetainedVersion, Arc<Publication>)>,
    ) -> Cursor {
        self.retained.lock().collect(filter, from, up_to, budget, out)
    }
}
