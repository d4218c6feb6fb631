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

use std::sync::Arc;

use culex_codec::{TopicFilter, TopicName};

use super::keys::{PublicationId, RetainedVersion, SessionId, SessionKey, ShardId};
use super::publication::Publication;
use super::route::{Budget, Cursor, Routes, Subscriber};

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
    /// The next publication; increasing over all shards.
    fn publication_id(&self) -> PublicationId;
    /// Room for one more session that outlives its connection, and its id; `None` at the limit.
    fn open_session(&self) -> Option<SessionId>;
    /// The room of an ended session.
    fn close_session(&self, id: SessionId);
    /// Keeps a message as the Retained Message of its topic. `None` if the limits forbid it; then nothing changes.
    fn set_retained(&self, publication: &Arc<Publication>) -> Option<RetainedVersion>;
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
