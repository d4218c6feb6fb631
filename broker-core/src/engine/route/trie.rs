//! The routing table: a trie of topic levels with all its edges in one hash table.
//!
//! ```text
//!   root ─"sport"─► ○ ─"tennis"─► ●          "sport/tennis"
//!    │              ├─ + ───────► ○ ─"x"─► ●  "sport/+/x"
//!    │              └─ # ───────► ●          "sport/#", also for "sport"
//!    └─ + ─► ○ …                              not for topics that begin with $
//! ```
//!
//! Children for `+` and `#` and an only child are fields of their parent, all others stand in the edge table under
//! (parent, level). The edge table is cut in 256 parts by hash, so that growing moves a 256th of it.
//!
//! Matching visits at most two children per node and level, never a node twice, and keeps its place in an explicit
//! stack that is as long as the Topic Name has levels. A level is hashed at most once per match, however many nodes ask.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use culex_codec::{TopicFilter, TopicName};

use super::node::{Arena, Children, Level, Literals, Node, NodeId, Stored};
use super::targets::{LevelMark, Routes, Scratch, TargetKey};
use super::{Subscribed, Subscriber};
use crate::engine::keys::{SessionKey, ShardId};
use crate::engine::options::SessionOptions;

/// Topic Filters and who subscribed to them; shared by all shards.
///
/// Memory: 64 bytes for a level that no other filter shares, and about 15 if it has siblings; levels longer than 22 bytes and
/// filters with several subscribers allocate. The caller bounds the levels of a filter: each may cost a node.
#[derive(Debug)]
pub struct Router {
    nodes: Arena,
    edges: Edges,
    hasher: SipHasher13,
    edge_key: u64,
    generation: u64,
    len: usize,
    /// Of the sessions that have any: few.
    options: BTreeMap<TargetKey, SessionOptions>,
}

impl Router {
    /// An empty table. The keys make the places of levels in the hash table unpredictable to a peer; answers do not
    /// depend on them.
    pub fn new(hash_keys: (u64, u64)) -> Self {
        let hasher = SipHasher13::new_with_keys(hash_keys.0, hash_keys.1);
        Self {
            nodes: Arena::new(),
            edges: Edges::new(),
            edge_key: hasher.hash(b"edge") | 1,
            hasher,
            generation: 0,
            len: 0,
            options: BTreeMap::new(),
        }
    }

    /// Changes with every [`subscribe`](Self::subscribe) and [`set_options`](Self::set_options), and every
    /// [`unsubscribe`](Self::unsubscribe) that found something.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// How many Subscriptions there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// There is no Subscription.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a Subscription, or replaces the one that the session has with an identical Topic Filter [MQTT-3.8.4-3].
    /// Cost: a hash and a probe per level, and O(log n) among the n subscribers of the filter.
    pub fn subscribe(&mut self, filter: TopicFilter<'_>, subscriber: Subscriber) -> Subscribed {
        self.generation += 1;
        let Some(node) = self.make(filter.as_str()).and_then(|id| self.nodes.get_mut(id)) else {
            debug_assert!(false, "2^31 nodes need 128 GiB");
            return Subscribed::New;
        };
        let outcome = node.subscribers.insert(Stored::pack(&subscriber));
        self.len += usize::from(outcome == Subscribed::New);
        outcome
    }

    /// Removes a Subscription and the levels that only it needed; false if there was none [MQTT-3.10.4-1].
    pub fn unsubscribe(&mut self, filter: TopicFilter<'_>, shard: ShardId, session: SessionKey) -> bool {
        let Some(id) = self.find(filter.as_str()) else { return false };
        let found = self.nodes.get_mut(id).is_some_and(|node| node.subscribers.remove(shard, session));
        if found {
            self.generation += 1;
            self.len -= 1;
            self.prune(id);
        }
        found
    }

    /// What a session wants of the messages that it gets, beside what its Subscriptions say. Default options take
    /// nothing.
    pub fn set_options(&mut self, shard: ShardId, session: SessionKey, options: SessionOptions) {
        let key = TargetKey::new(shard, session);
        if options == SessionOptions::default() {
            self.options.remove(&key);
        } else {
            self.options.insert(key, options);
        }
        self.generation += 1;
    }

    /// Puts the sessions that get a message with this Topic Name into `out`, in place of what was there.
    ///
    /// Cost: a hash per level and a probe per visited node, then O(n log n) for n matching Subscriptions, and a look for
    /// each of them or for each session with options, whichever are fewer.
    pub fn routes(&self, topic: TopicName<'_>, out: &mut Routes) {
        out.clear();
        let mut scratch = std::mem::take(&mut out.scratch);
        let mut levels =
            Levels { topic: topic.as_str().as_bytes(), next: Some(0), found: &mut scratch.levels };
        let is_dollar = levels.topic.first() == Some(&b'$');

        scratch.stack.push((NodeId::ROOT, 0));
        while let Some((id, depth)) = scratch.stack.pop() {
            let Some(node) = self.nodes.get(id) else { continue };
            // [MQTT-4.7.2-1] A filter that begins with a wildcard does not match a topic that begins with $.
            let takes_wildcards = !(is_dollar && id == NodeId::ROOT);
            // "#" includes the level above it (MQTT 5.0 section 4.7.1.2), so the end of the topic does not matter.
            if let Some(multi) = node.multi.filter(|_| takes_wildcards).and_then(|id| self.nodes.get(id)) {
                out.collect(&multi.subscribers);
            }
            let Some(level) = levels.get(depth) else {
                out.collect(&node.subscribers);
                continue;
            };
            if let Some(plus) = node.plus.filter(|_| takes_wildcards) {
                scratch.stack.push((plus, depth + 1));
            }
            if let Some(child) = self.literal(id, node, level, |hasher| levels.hash(depth, hasher)) {
                scratch.stack.push((child, depth + 1));
            }
        }
        out.scratch = scratch;
        trim(&mut out.scratch);
        out.merge();
        out.apply(&self.options, topic);
    }

    fn find(&self, filter: &str) -> Option<NodeId> {
        let mut at = NodeId::ROOT;
        for level in filter.split('/') {
            at = self.child(at, level)?;
        }
        Some(at)
    }

    fn child(&self, parent: NodeId, level: &str) -> Option<NodeId> {
        let node = self.nodes.get(parent)?;
        match level {
            "+" => node.plus,
            "#" => node.multi,
            literal => {
                self.literal(parent, node, literal.as_bytes(), |hasher| hasher.hash(literal.as_bytes()))
            }
        }
    }

    /// The child of a node for a level, whose hash is asked for when it is needed.
    fn literal(
        &self,
        id: NodeId,
        node: &Node,
        level: &[u8],
        hash: impl FnOnce(&SipHasher13) -> u64,
    ) -> Option<NodeId> {
        let is_it = |child: NodeId| {
            self.nodes
                .get(child)
                .is_some_and(|child| child.parent == Some(id) && child.level.as_bytes() == level)
        };
        match node.literals.get() {
            Children::None => None,
            Children::One(child) => is_it(child).then_some(child),
            Children::Table(_) => self.edges.find(self.edge_hash(id, hash(&self.hasher)), is_it),
        }
    }

    fn make(&mut self, filter: &str) -> Option<NodeId> {
        let mut at = NodeId::ROOT;
        for level in filter.split('/') {
            at = match self.child(at, level) {
                Some(child) => child,
                None => self.add_child(at, level)?,
            };
        }
        Some(at)
    }

    fn add_child(&mut self, parent: NodeId, level: &str) -> Option<NodeId> {
        let is_wildcard = matches!(level, "+" | "#");
        let text = if is_wildcard { Level::EMPTY } else { Level::new(level.as_bytes()) };
        let child = self.nodes.insert(Node::new(Some(parent), text))?;
        let node = self.nodes.get_mut(parent)?;
        match level {
            "+" => node.plus = Some(child),
            "#" => node.multi = Some(child),
            _ => {
                let before = node.literals.get();
                node.literals = match before {
                    Children::None => Literals::one(child),
                    Children::One(_) => Literals::table(2),
                    Children::Table(count) => Literals::table(count.get() + 1),
                };
                match before {
                    Children::None => {}
                    Children::One(first) => {
                        self.insert_edge(parent, first);
                        self.insert_edge(parent, child);
                    }
                    Children::Table(_) => self.insert_edge(parent, child),
                }
            }
        }
        Some(child)
    }

    fn insert_edge(&mut self, parent: NodeId, child: NodeId) {
        let Some(node) = self.nodes.get(child) else { return };
        let hash = self.edge_hash(parent, self.hasher.hash(node.level.as_bytes()));
        self.edges.insert(hash, child);
    }

    /// Removes a node that nobody needs, then its parent if that became such a node, and so on.
    fn prune(&mut self, from: NodeId) {
        let mut id = from;
        while let Some((parent, level_hash)) = self
            .nodes
            .get(id)
            .filter(|node| node.is_useless())
            .and_then(|node| Some((node.parent?, self.hasher.hash(node.level.as_bytes()))))
        {
            let hash = self.edge_hash(parent, level_hash);
            let Some(above) = self.nodes.get_mut(parent) else { return };
            if above.plus == Some(id) {
                above.plus = None;
            } else if above.multi == Some(id) {
                above.multi = None;
            } else {
                match above.literals.get() {
                    Children::None => {}
                    Children::One(_) => above.literals = Literals::NONE,
                    Children::Table(count) => {
                        above.literals = Literals::table(count.get() - 1);
                        self.edges.remove(hash, id);
                    }
                }
            }
            self.nodes.remove(id);
            id = parent;
        }
    }

    /// A level's hash is secret, so its product with anything known is too; one multiplication per visited node.
    fn edge_hash(&self, parent: NodeId, level_hash: u64) -> u32 {
        let mixed = level_hash ^ u64::from(parent.get()).wrapping_mul(SPREAD);
        let product = u128::from(mixed) * u128::from(self.edge_key);
        #[expect(
            clippy::as_conversions,
            clippy::cast_possible_truncation,
            reason = "folds the halves of the product"
        )]
        {
            let folded = (product >> 64) as u64 ^ product as u64;
            (folded >> 32) as u32 ^ folded as u32
        }
    }

    /// Nodes in use, the root included.
    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        self.nodes.live()
    }
}

/// The levels of a Topic Name, found and hashed when the first node asks for it.
struct Levels<'a> {
    topic: &'a [u8],
    next: Option<usize>,
    found: &'a mut Vec<LevelMark>,
}

impl<'a> Levels<'a> {
    /// The level under `depth` others; `None` behind the last one.
    fn get(&mut self, depth: u32) -> Option<&'a [u8]> {
        if let Some(mark) = self.found.get(depth as usize) {
            return self.topic.get(mark.start as usize..mark.end as usize);
        }
        let start = self.next?;
        let rest = self.topic.get(start..)?;
        let length = rest.iter().position(|&byte| byte == b'/');
        let level = rest.get(..length.unwrap_or(rest.len()))?;
        let end = start + level.len();
        self.next = length.map(|_| end + 1);
        self.found.push(LevelMark {
            start: u32::try_from(start).ok()?,
            end: u32::try_from(end).ok()?,
            hash: None,
        });
        Some(level)
    }

    /// The hash of a level that was found.
    fn hash(&mut self, depth: u32, hasher: &SipHasher13) -> u64 {
        let Some(mark) = self.found.get_mut(depth as usize) else { return 0 };
        let level = self.topic.get(mark.start as usize..mark.end as usize).unwrap_or_default();
        *mark.hash.get_or_insert_with(|| hasher.hash(level))
    }
}

/// Gives back the memory that one topic with very many levels took.
fn trim(scratch: &mut Scratch) {
    if scratch.levels.capacity() > SCRATCH_LEVELS {
        scratch.levels = Vec::new();
    }
    if scratch.stack.capacity() > SCRATCH_LEVELS {
        scratch.stack = Vec::new();
    }
}

/// (parent, level) → child, for all literal levels of the trie. 32 bits of the hash stand beside each child: growing
/// then reads no node, and a probe reads one whose level differs once in 2³² times.
#[derive(Debug)]
struct Edges {
    parts: Vec<HashTable<Edge>>,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    hash: u32,
    child: NodeId,
}

impl Edges {
    fn new() -> Self {
        Self { parts: (0..EDGE_PARTS).map(|_| HashTable::new()).collect() }
    }

    fn find(&self, hash: u32, is_it: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let part = self.parts.get(part_of(hash))?;
        part.find(spread(hash), |edge| edge.hash == hash && is_it(edge.child)).map(|edge| edge.child)
    }

    fn insert(&mut self, hash: u32, child: NodeId) {
        if let Some(part) = self.parts.get_mut(part_of(hash)) {
            part.insert_unique(spread(hash), Edge { hash, child }, |edge| spread(edge.hash));
        }
    }

    fn remove(&mut self, hash: u32, child: NodeId) {
        let Some(part) = self.parts.get_mut(part_of(hash)) else { return };
        if let Ok(found) = part.find_entry(spread(hash), |edge| edge.child == child) {
            found.remove();
        }
        if part.capacity() > EDGES_KEPT && part.len() < part.capacity() / 8 {
            part.shrink_to(part.len() * 2, |edge| spread(edge.hash));
        }
    }
}

const fn part_of(hash: u32) -> usize {
    (hash >> 24) as usize
}

const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(SPREAD)
}

const EDGE_PARTS: usize = 256;
/// Room that an edge part keeps when its edges go.
const EDGES_KEPT: usize = 64;
/// Levels whose buffers are kept between two matches: 16 KiB.
const SCRATCH_LEVELS: usize = 1024;
/// 2⁶⁴ / golden ratio, odd.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
