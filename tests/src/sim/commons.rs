//! What the shards share, with a door before each call through which another shard may come first. Every
//! interleaving of the steps that real threads could take is reachable, and a seed finds it again.

use std::sync::Arc;

use culex_codec::{TopicFilter, TopicName};
use culex_core::engine::SessionOptions;
use culex_core::engine::commons::Commons;
use culex_core::engine::keys::{PublicationId, RetainedVersion, SessionId, SessionKey, ShardId};
use culex_core::engine::publication::Publication;
use culex_core::engine::route::{Budget, Cursor, Routes, Subscriber};
use culex_core::engine::store::RetainedChange;

use super::broker::Broker;

impl Commons for Broker {
    fn generation(&self) -> u64 {
        self.preempt();
        self.local.generation()
    }

    fn routes(&self, topic: TopicName<'_>, out: &mut Routes) {
        self.preempt();
        self.local.routes(topic, out);
    }

    fn subscribe(&self, filter: TopicFilter<'_>, subscriber: Subscriber) {
        self.preempt();
        self.local.subscribe(filter, subscriber);
    }

    fn unsubscribe(&self, filter: TopicFilter<'_>, shard: ShardId, session: SessionKey) {
        self.preempt();
        self.local.unsubscribe(filter, shard, session);
    }

    fn set_options(&self, shard: ShardId, session: SessionKey, options: SessionOptions) {
        self.preempt();
        self.local.set_options(shard, session, options);
    }

    fn publication_id(&self) -> PublicationId {
        self.preempt();
        self.local.publication_id()
    }

    fn open_session(&self) -> Option<SessionId> {
        self.preempt();
        self.local.open_session()
    }

    fn close_session(&self, id: SessionId) {
        self.preempt();
        self.local.close_session(id);
    }

    fn take_queue_room(&self, bytes: u64) -> bool {
        self.preempt();
        self.local.take_queue_room(bytes)
    }

    fn give_queue_room(&self, bytes: u64) {
        self.preempt();
        self.local.give_queue_room(bytes);
    }

    fn set_retained(&self, publication: &Arc<Publication>) -> RetainedChange {
        self.preempt();
        self.local.set_retained(publication)
    }

    fn clear_retained(&self, topic: TopicName<'_>) -> RetainedVersion {
        self.preempt();
        self.local.clear_retained(topic)
    }

    fn retained_version(&self) -> RetainedVersion {
        self.preempt();
        self.local.retained_version()
    }

    fn retained(
        &self,
        filter: TopicFilter<'_>,
        from: Cursor,
        up_to: RetainedVersion,
        budget: Budget,
        out: &mut Vec<(RetainedVersion, Arc<Publication>)>,
    ) -> Cursor {
        self.preempt();
        // Small slices: a cursor has to be resumed now and then.
        let slice = Budget { messages: budget.messages.min(3), ..budget };
        self.local.retained(filter, from, up_to, slice, out)
    }
}
