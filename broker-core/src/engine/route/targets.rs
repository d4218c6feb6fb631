//! The answer of the routing table: one target per session, and the buffer that collects them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;

use culex_codec::{QoS, TopicName};

use super::Subscriber;
use super::node::{NodeId, Subscribers};
use crate::engine::keys::{SessionId, SessionKey, ShardId};
use crate::engine::options::{SessionOptions, received_with};

/// A session that gets a message, once however many of its Subscriptions match [MQTT-3.3.5-1].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The shard that owns the session.
    pub shard: ShardId,
    /// The session within its shard.
    pub session: SessionKey,
    /// The session's name in the store; `None` if it ends with its connection.
    pub durable: Option<SessionId>,
    /// The highest Maximum QoS of the Subscriptions that match.
    pub qos: QoS,
    /// All Subscriptions that match are No Local: not for the session that published it.
    pub no_local: bool,
    /// A Subscription that matches has Retain As Published.
    pub retain_as_published: bool,
    /// The session wants QoS 0 messages in its queue.
    pub queue_qos0: bool,
    /// The session wants to know when its messages were accepted.
    pub is_dated: bool,
    /// Of all Subscriptions that match and have one, in increasing order [MQTT-3.3.4-4]. One that two of them share
    /// stands here twice.
    pub subscription_ids: SubscriptionIds,
}

impl Target {
    fn new(subscriber: &Subscriber) -> Self {
        Self {
            shard: subscriber.shard,
            session: subscriber.session,
            durable: subscriber.durable,
            qos: subscriber.options.qos,
            no_local: subscriber.options.no_local,
            retain_as_published: subscriber.options.retain_as_published,
            queue_qos0: false,
            is_dated: false,
            subscription_ids: SubscriptionIds::new(subscriber.subscription_id),
        }
    }

    /// The QoS that a message reaches it with which was published with `published`.
    pub fn receives_with(&self, published: QoS) -> QoS {
        received_with(self.queue_qos0, published, self.qos)
    }

    const fn key(&self) -> TargetKey {
        TargetKey::new(self.shard, self.session)
    }

    const fn apply(&mut self, options: &SessionOptions) {
        self.no_local |= options.no_local;
        self.retain_as_published |= options.retain_as_published;
        self.queue_qos0 = options.queue_qos0;
        self.is_dated = options.max_age_ms.is_some();
    }

    fn merge(&mut self, other: &Self) {
        self.durable = self.durable.or(other.durable);
        self.qos = self.qos.max(other.qos);
        self.no_local &= other.no_local;
        self.retain_as_published |= other.retain_as_published;
        self.subscription_ids.extend(&other.subscription_ids);
    }
}

/// Shard, slot and generation of a session: the order of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TargetKey(u16, u32, u32);

impl TargetKey {
    pub(super) const fn new(shard: ShardId, session: SessionKey) -> Self {
        Self(shard.0, session.slot, session.generation)
    }
}

/// Subscription Identifiers of one delivery; allocates from the second on. Use it as a slice of `u32`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubscriptionIds(Ids);

// A thin pointer keeps a target at 48 bytes. A fan-out is made of targets, and few have more than one identifier.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Ids {
    #[default]
    None,
    One(u32),
    #[expect(clippy::box_collection, reason = "one word instead of three, in every target")]
    Many(Box<Vec<u32>>),
}

impl SubscriptionIds {
    /// None or one.
    pub fn new(id: Option<NonZeroU32>) -> Self {
        Self(id.map_or(Ids::None, |id| Ids::One(id.get())))
    }

    /// The identifiers in increasing order.
    pub fn as_slice(&self) -> &[u32] {
        match &self.0 {
            Ids::None => &[],
            Ids::One(id) => std::slice::from_ref(id),
            Ids::Many(ids) => ids,
        }
    }

    fn extend(&mut self, others: &[u32]) {
        for &id in others {
            match &mut self.0 {
                Ids::None => self.0 = Ids::One(id),
                Ids::One(one) => self.0 = Ids::Many(Box::new(vec![(*one).min(id), (*one).max(id)])),
                Ids::Many(ids) => {
                    let place = ids.partition_point(|&other| other <= id);
                    ids.insert(place, id);
                }
            }
        }
    }

    fn heap_bytes(&self) -> usize {
        match &self.0 {
            Ids::None | Ids::One(_) => 0,
            Ids::Many(ids) => size_of::<Vec<u32>>() + ids.capacity() * size_of::<u32>(),
        }
    }
}

impl Deref for SubscriptionIds {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        self.as_slice()
    }
}

/// The sessions that get a message, sorted by shard and slot, and the buffers used to find them.
///
/// Meant to be kept and filled again by [`Router::routes`](super::Router::routes); [`Routes::to_shared`] makes the
/// compact copy for a cache.
#[derive(Debug, Default)]
pub struct Routes {
    targets: Vec<Target>,
    // The targets of several filters were collected, and those of one do not simply follow those of the other.
    is_mixed: bool,
    pub(super) scratch: Scratch,
}

impl Routes {
    /// No targets; allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the targets and keeps the buffers.
    pub fn clear(&mut self) {
        self.targets.clear();
        self.is_mixed = false;
        self.scratch.levels.clear();
        self.scratch.stack.clear();
    }

    /// How many sessions get the message.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Nobody gets the message.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// All targets, sorted by shard, slot and generation.
    pub fn as_slice(&self) -> &[Target] {
        &self.targets
    }

    /// All targets, sorted by shard, slot and generation.
    pub fn iter(&self) -> std::slice::Iter<'_, Target> {
        self.targets.iter()
    }

    /// The targets of each shard that has any, in the order of the shards.
    pub fn by_shard(&self) -> impl Iterator<Item = (ShardId, &[Target])> {
        self.targets
            .chunk_by(|a, b| a.shard == b.shard)
            .filter_map(|slice| slice.first().map(|first| (first.shard, slice)))
    }

    /// A copy of the targets without spare room. Cost: one allocation, and one for each target that has two or more
    /// Subscription Identifiers.
    pub fn to_shared(&self) -> Arc<Self> {
        Arc::new(Self { targets: self.targets.clone(), ..Self::default() })
    }

    /// Memory of the targets in bytes, buffers for matching excluded.
    pub fn bytes(&self) -> usize {
        let ids: usize = self.targets.iter().map(|target| target.subscription_ids.heap_bytes()).sum();
        size_of::<Self>() + self.targets.capacity() * size_of::<Target>() + ids
    }

    pub(super) fn collect(&mut self, subscribers: &Subscribers) {
        let before = self.targets.len();
        let last = self.targets.last().map(Target::key);
        self.targets.reserve(subscribers.len());
        subscribers.for_each(|stored| self.targets.push(Target::new(&stored.unpack())));
        let first = self.targets.get(before).map(Target::key);
        self.is_mixed |= last.is_some() && first.is_some() && last >= first;
    }

    /// Sorts, and makes one target of all Subscriptions of a session. Every Topic Filter gave a sorted run, and the
    /// stable sort finds runs: nothing to do for one filter, O(n log filters) for several.
    pub(super) fn merge(&mut self) {
        if !std::mem::take(&mut self.is_mixed) {
            return;
        }
        self.targets.sort_by_key(Target::key);
        self.targets.dedup_by(|later, kept| {
            let same = later.key() == kept.key();
            if same {
                kept.merge(later);
            }
            same
        });
    }
}

impl Routes {
    /// What sessions want beside their Subscriptions; to be called after [`Self::merge`], because that is about the
    /// Subscriptions.
    pub(super) fn apply(&mut self, options: &BTreeMap<TargetKey, SessionOptions>, topic: TopicName<'_>) {
        let is_out = |options: &SessionOptions| !options.takes(topic);
        let mut out = Vec::new();
        if options.len() < self.targets.len() {
            for (key, options) in options {
                let found = self.targets.binary_search_by_key(key, Target::key);
                let Some(target) = found.ok().and_then(|place| self.targets.get_mut(place)) else { continue };
                target.apply(options);
                out.extend(is_out(options).then_some(*key));
            }
        } else if !options.is_empty() {
            for target in &mut self.targets {
                let Some(options) = options.get(&target.key()) else { continue };
                target.apply(options);
                out.extend(is_out(options).then_some(target.key()));
            }
        }
        if !out.is_empty() {
            self.targets.retain(|target| out.binary_search(&target.key()).is_err());
        }
    }
}

impl<'a> IntoIterator for &'a Routes {
    type Item = &'a Target;
    type IntoIter = std::slice::Iter<'a, Target>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What matching one Topic Name needs.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The levels of the Topic Name that were reached so far.
    pub(super) levels: Vec<LevelMark>,
    /// Nodes still to visit, with the number of levels above each.
    pub(super) stack: Vec<(NodeId, u32)>,
}

/// A level within its Topic Name.
#[derive(Debug, Clone, Copy)]
pub(super) struct LevelMark {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) hash: Option<u64>,
}

const _: () = assert!(size_of::<Target>() == 48, "the cost sketch of the cache");
