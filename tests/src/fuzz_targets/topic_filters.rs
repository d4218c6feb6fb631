//! Topic Filters: the routing table and the Retained Messages against the plain rules of matching.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use culex_codec::{TopicFilter, TopicName};
use culex_core::engine::keys::{RetainedVersion, SessionKey, ShardId};
use culex_core::engine::route::{
    Budget, Cursor, Retained, RetainedLimits, RetainedMessage, RouteOptions, Router, Routes, Subscribed,
    Subscriber,
};

use super::source::Source;

/// Steps are subscribe, unsubscribe, publish, retain, clear, and read the Retained Messages; the answers must be those of lists.
pub fn topic_filters(data: &[u8]) {
    let mut source = Source::new(data);
    let mut world = World::default();
    while !source.is_empty() {
        match source.byte() % 6 {
            0 => world.subscribe(&mut source),
            1 => world.unsubscribe(&mut source),
            2 => world.publish(&source.topic()),
            3 => world.retain(&source.topic()),
            4 => world.clear(&source.topic()),
            _ => world.read(&mut source),
        }
    }
    world.end();
}

struct Message(Box<str>);

impl RetainedMessage for Shared {
    fn topic(&self) -> &str {
        &self.0.0
    }

    fn bytes(&self) -> usize {
        self.0.0.len()
    }
}

#[derive(Clone)]
struct Shared(Arc<Message>);

struct World {
    router: Router,
    routes: Routes,
    subscriptions: BTreeMap<(ShardId, SessionKey, String), Subscriber>,
    retained: Retained<Shared>,
    versions: BTreeMap<String, RetainedVersion>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            router: Router::new((1, 2)),
            routes: Routes::new(),
            subscriptions: BTreeMap::new(),
            retained: Retained::new(RetainedLimits { messages: usize::MAX, bytes: usize::MAX }),
            versions: BTreeMap::new(),
        }
    }
}

impl World {
    fn subscribe(&mut self, source: &mut Source<'_>) {
        let (filter, shard, session) = (source.filter(), shard(source), session(source));
        let options =
            RouteOptions { qos: source.qos(), no_local: source.flag(), retain_as_published: source.flag() };
        let subscription_id = NonZeroU32::new(u32::from(source.byte() % 4));
        let subscriber = Subscriber { shard, session, durable: None, options, subscription_id };
        let generation = self.router.generation();
        let outcome = self.router.subscribe(TopicFilter::new(&filter).unwrap(), subscriber);
        let old = self.subscriptions.insert((shard, session, filter), subscriber);
        assert_eq!(outcome, if old.is_some() { Subscribed::Replaced } else { Subscribed::New });
        assert!(self.router.generation() > generation);
    }

    fn unsubscribe(&mut self, source: &mut Source<'_>) {
        let (filter, shard, session) = (source.filter(), shard(source), session(source));
        let found = self.router.unsubscribe(TopicFilter::new(&filter).unwrap(), shard, session);
        assert_eq!(found, self.subscriptions.remove(&(shard, session, filter)).is_some());
        assert_eq!(self.router.len(), self.subscriptions.len());
    }

    fn publish(&mut self, topic: &str) {
        let topic = TopicName::new(topic).unwrap();
        self.router.routes(topic, &mut self.routes);
        let mut sessions: BTreeMap<(ShardId, SessionKey), Vec<&Subscriber>> = BTreeMap::new();
        for ((shard, session, filter), subscriber) in &self.subscriptions {
            if TopicFilter::new(filter).unwrap().matches(topic) {
                sessions.entry((*shard, *session)).or_default().push(subscriber);
            }
        }
        assert_eq!(self.routes.len(), sessions.len());
        for (target, (key, all)) in self.routes.iter().zip(sessions) {
            assert_eq!((target.shard, target.session), key);
            assert_eq!(Some(target.qos), all.iter().map(|one| one.options.qos).max());
            assert_eq!(target.no_local, all.iter().all(|one| one.options.no_local));
            assert_eq!(target.retain_as_published, all.iter().any(|one| one.options.retain_as_published));
            let mut ids: Vec<u32> =
                all.iter().filter_map(|one| one.subscription_id.map(NonZeroU32::get)).collect();
            ids.sort_unstable();
            assert_eq!(target.subscription_ids.as_slice(), ids);
        }
        let in_shards: usize = self.routes.by_shard().map(|(_, targets)| targets.len()).sum();
        assert_eq!(in_shards, self.routes.len());
        assert!(self.routes.by_shard().map(|(shard, _)| shard).is_sorted_by(|a, b| a < b));
    }

    fn retain(&mut self, topic: &str) {
        let before = self.retained.version();
        let outcome = self.retained.set(Shared(Arc::new(Message(topic.into())))).unwrap();
        assert!(outcome.version > before);
        let old = self.versions.insert(topic.to_owned(), outcome.version);
        assert_eq!(old.is_some(), outcome.replaced.is_some());
    }

    fn clear(&mut self, topic: &str) {
        let (_, old) = self.retained.clear(topic);
        assert_eq!(self.versions.remove(topic).is_some(), old.is_some());
        assert_eq!(self.retained.bytes(), self.versions.keys().map(String::len).sum::<usize>());
    }

    fn read(&self, source: &mut Source<'_>) {
        let filter = source.filter();
        let filter = TopicFilter::new(&filter).unwrap();
        let up_to = RetainedVersion(self.retained.version().0.saturating_sub(u64::from(source.byte() % 8)));
        let mut bound = || usize::from(source.byte()) + 1;
        let budget = Budget { messages: bound(), bytes: bound(), examined: bound() };
        let (mut cursor, mut out) = (Cursor::Start, Vec::new());
        while cursor != Cursor::End {
            let (before, len) = (cursor.clone(), out.len());
            cursor = self.retained.collect(filter, cursor, up_to, budget, &mut out);
            assert!(cursor != before, "no progress");
            assert!(out.len() - len <= budget.messages);
        }
        let expected = self
            .versions
            .iter()
            .filter(|(topic, version)| **version <= up_to && filter.matches(TopicName::new(topic).unwrap()));
        assert!(
            out.iter()
                .map(|(version, message)| (message.topic(), version))
                .eq(expected.map(|(t, v)| (t.as_str(), v)))
        );
    }

    fn end(mut self) {
        let subscriptions = std::mem::take(&mut self.subscriptions);
        for (shard, session, filter) in subscriptions.into_keys() {
            assert!(self.router.unsubscribe(TopicFilter::new(&filter).unwrap(), shard, session));
        }
        assert!(self.router.is_empty());
        self.publish("a/b");
    }
}

fn shard(source: &mut Source<'_>) -> ShardId {
    ShardId(u16::from(source.byte() % 3))
}

fn session(source: &mut Source<'_>) -> SessionKey {
    SessionKey { slot: u32::from(source.byte() % 48), generation: 0 }
}
