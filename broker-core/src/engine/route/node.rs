//! The parts of the trie: nodes, the arena they live in, and the lists of subscribers.
//!
//! A node fills one cache line (64 bytes). Its level is kept inline up to 22 bytes, its only subscriber inline too, so a
//! Topic Filter that ends in a node of its own allocates nothing beside the node and its edge.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::num::NonZeroU32;

use culex_codec::QoS;

use super::{RouteOptions, Subscribed, Subscriber};
use crate::engine::keys::{SessionId, SessionKey, ShardId};

/// Number of a node, from 1, which is the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(NonZeroU32);

impl NodeId {
    pub(super) const ROOT: Self = Self(NonZeroU32::MIN);

    pub(super) const fn get(self) -> u32 {
        self.0.get()
    }

    const fn place(self) -> (usize, usize) {
        let index = (self.0.get() - 1) as usize;
        (index / CHUNK_NODES, index % CHUNK_NODES)
    }
}

/// One level of a Topic Filter below its parent.
#[derive(Debug)]
pub(super) struct Node {
    /// The next free node while this one is free.
    pub(super) parent: Option<NodeId>,
    /// The child for `+`.
    pub(super) plus: Option<NodeId>,
    /// The child for `#`, always a leaf.
    pub(super) multi: Option<NodeId>,
    /// All other children.
    pub(super) literals: Literals,
    /// Empty for `+` and `#`.
    pub(super) level: Level,
    pub(super) subscribers: Subscribers,
}

impl Node {
    pub(super) const fn new(parent: Option<NodeId>, level: Level) -> Self {
        Self {
            parent,
            plus: None,
            multi: None,
            literals: Literals::NONE,
            level,
            subscribers: Subscribers::None,
        }
    }

    /// No Topic Filter ends here or below.
    pub(super) const fn is_useless(&self) -> bool {
        self.plus.is_none()
            && self.multi.is_none()
            && matches!(self.literals.get(), Children::None)
            && matches!(self.subscribers, Subscribers::None)
    }
}

/// The children of a node that are not for a wildcard. An only child needs no edge: most levels of most filters have
/// one, which is then found with one access to memory instead of three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Children {
    None,
    One(NodeId),
    /// So many, in the edge table; a single one if its siblings went.
    Table(NonZeroU32),
}

/// [`Children`] in 4 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Literals(u32);

impl Literals {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn get(self) -> Children {
        match (NonZeroU32::new(self.0), NonZeroU32::new(self.0 & !ONLY_CHILD)) {
            (None, _) | (_, None) => Children::None,
            (Some(_), Some(number)) if self.0 & ONLY_CHILD != 0 => Children::One(NodeId(number)),
            (Some(_), Some(number)) => Children::Table(number),
        }
    }

    pub(super) const fn one(child: NodeId) -> Self {
        Self(child.get() | ONLY_CHILD)
    }

    pub(super) const fn table(count: u32) -> Self {
        Self(count)
    }
}

/// The bytes of a topic level.
#[derive(Debug)]
pub(super) enum Level {
    Inline { len: u8, bytes: [u8; INLINE_LEVEL] },
    Heap(Box<[u8]>),
}

impl Level {
    pub(super) const EMPTY: Self = Self::Inline { len: 0, bytes: [0; INLINE_LEVEL] };

    pub(super) fn new(level: &[u8]) -> Self {
        let mut bytes = [0; INLINE_LEVEL];
        match (bytes.get_mut(..level.len()), u8::try_from(level.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(level);
                Self::Inline { len, bytes }
            }
            (_, _) => Self::Heap(level.into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Heap(bytes) => bytes,
        }
    }
}

/// All nodes, in chunks, so that growing moves none of them.
#[derive(Debug)]
pub(super) struct Arena {
    chunks: Vec<Vec<Node>>,
    free: Option<NodeId>,
    live: usize,
}

impl Arena {
    /// An arena with a root.
    pub(super) fn new() -> Self {
        Self { chunks: vec![vec![Node::new(None, Level::EMPTY)]], free: None, live: 1 }
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        let (chunk, index) = id.place();
        self.chunks.get(chunk)?.get(index)
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        let (chunk, index) = id.place();
        self.chunks.get_mut(chunk)?.get_mut(index)
    }

    /// `None` only with 2³¹−1 nodes (128 GiB).
    pub(super) fn insert(&mut self, node: Node) -> Option<NodeId> {
        if let Some(id) = self.free {
            let slot = self.get_mut(id)?;
            let next = slot.parent;
            *slot = node;
            self.free = next;
            self.live += 1;
            return Some(id);
        }
        let id =
            NodeId(NonZeroU32::new(u32::try_from(self.live + 1).ok().filter(|id| id & ONLY_CHILD == 0)?)?);
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_NODES) {
            self.chunks.push(Vec::new());
        }
        // The first chunk grows with the broker, the others hold many nodes soon.
        let whole = self.chunks.len() > 1;
        let chunk = self.chunks.last_mut()?;
        if whole && chunk.is_empty() {
            chunk.reserve_exact(CHUNK_NODES);
        }
        chunk.push(node);
        self.live += 1;
        Some(id)
    }

    pub(super) fn remove(&mut self, id: NodeId) {
        let next = self.free;
        let Some(slot) = self.get_mut(id) else { return };
        *slot = Node::new(next, Level::EMPTY);
        self.free = Some(id);
        self.live -= 1;
        if self.live == 1 && self.chunks.len() > 1 {
            *self = Self::new();
        }
    }

    /// Nodes in use, the root included.
    #[cfg(test)]
    pub(super) fn live(&self) -> usize {
        self.live
    }
}

/// A [`Subscriber`] in 24 bytes; compared by session alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    durable: u64,
    slot: u32,
    generation: u32,
    subscription_id: Option<NonZeroU32>,
    shard: u16,
    flags: u8,
    // Its own field: the unused values of a bool keep `Subscribers` at 24 bytes.
    is_durable: bool,
}

impl Stored {
    pub(super) fn pack(subscriber: &Subscriber) -> Self {
        let Subscriber { shard, session, durable, options, subscription_id } = *subscriber;
        let qos = match options.qos {
            QoS::AtMostOnce => 0,
            QoS::AtLeastOnce => 1,
            QoS::ExactlyOnce => 2,
        };
        let no_local = if options.no_local { NO_LOCAL } else { 0 };
        let retain_as_published = if options.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 };
        Self {
            durable: durable.map_or(0, |id| id.0),
            slot: session.slot,
            generation: session.generation,
            subscription_id,
            shard: shard.0,
            flags: qos | no_local | retain_as_published,
            is_durable: durable.is_some(),
        }
    }

    pub(super) fn unpack(self) -> Subscriber {
        Subscriber {
            shard: ShardId(self.shard),
            session: SessionKey { slot: self.slot, generation: self.generation },
            durable: self.is_durable.then_some(SessionId(self.durable)),
            options: RouteOptions {
                qos: match self.flags & QOS_MASK {
                    0 => QoS::AtMostOnce,
                    1 => QoS::AtLeastOnce,
                    _ => QoS::ExactlyOnce,
                },
                no_local: self.flags & NO_LOCAL != 0,
                retain_as_published: self.flags & RETAIN_AS_PUBLISHED != 0,
            },
            subscription_id: self.subscription_id,
        }
    }

    fn probe(shard: ShardId, session: SessionKey) -> Self {
        Self {
            durable: 0,
            slot: session.slot,
            generation: session.generation,
            subscription_id: None,
            shard: shard.0,
            flags: 0,
            is_durable: false,
        }
    }

    const fn key(&self) -> (u16, u32, u32) {
        (self.shard, self.slot, self.generation)
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Stored {}

impl PartialOrd for Stored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Stored {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// The subscribers of one Topic Filter, in the order of their sessions.
#[derive(Debug)]
pub(super) enum Subscribers {
    None,
    One(Stored),
    Many(Box<Many>),
}

/// More than one subscriber: a sorted list, or a tree when the list is too long to shift.
#[derive(Debug)]
pub(super) enum Many {
    List(Vec<Stored>),
    Tree(BTreeSet<Stored>),
}

impl Subscribers {
    pub(super) fn insert(&mut self, new: Stored) -> Subscribed {
        match self {
            Self::None => {
                *self = Self::One(new);
                Subscribed::New
            }
            Self::One(old) => {
                if *old == new {
                    *old = new;
                    return Subscribed::Replaced;
                }
                let pair = if *old < new { vec![*old, new] } else { vec![new, *old] };
                *self = Self::Many(Box::new(Many::List(pair)));
                Subscribed::New
            }
            Self::Many(many) => many.insert(new),
        }
    }

    pub(super) fn remove(&mut self, shard: ShardId, session: SessionKey) -> bool {
        let probe = Stored::probe(shard, session);
        match self {
            Self::None => false,
            Self::One(only) => {
                let found = *only == probe;
                if found {
                    *self = Self::None;
                }
                found
            }
            Self::Many(many) => {
                let found = many.remove(&probe);
                if let Some(only) = many.only() {
                    *self = Self::One(only);
                }
                found
            }
        }
    }

    pub(super) fn for_each(&self, mut take: impl FnMut(Stored)) {
        match self {
            Self::None => {}
            Self::One(only) => take(*only),
            Self::Many(many) => match &**many {
                Many::List(list) => list.iter().copied().for_each(take),
                Many::Tree(tree) => tree.iter().copied().for_each(take),
            },
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(many) => match &**many {
                Many::List(list) => list.len(),
                Many::Tree(tree) => tree.len(),
            },
        }
    }
}

impl Many {
    fn insert(&mut self, new: Stored) -> Subscribed {
        match self {
            Self::List(list) => {
                let place = match list.binary_search(&new) {
                    Ok(place) => {
                        if let Some(old) = list.get_mut(place) {
                            *old = new;
                        }
                        return Subscribed::Replaced;
                    }
                    Err(place) => place,
                };
                list.insert(place, new);
                if list.len() > LIST_MAX {
                    *self = Self::Tree(list.drain(..).collect());
                }
                Subscribed::New
            }
            Self::Tree(tree) => match tree.replace(new) {
                Some(_) => Subscribed::Replaced,
                None => Subscribed::New,
            },
        }
    }

    fn remove(&mut self, probe: &Stored) -> bool {
        match self {
            Self::List(list) => {
                let Ok(place) = list.binary_search(probe) else { return false };
                list.remove(place);
                true
            }
            Self::Tree(tree) => {
                let found = tree.remove(probe);
                // Half of the limit, so that one session at the limit cannot make every call convert.
                if tree.len() <= LIST_MAX / 2 {
                    *self = Self::List(tree.iter().copied().collect());
                }
                found
            }
        }
    }

    fn only(&self) -> Option<Stored> {
        match self {
            Self::List(list) if list.len() <= 1 => list.first().copied(),
            Self::List(_) | Self::Tree(_) => None,
        }
    }
}

const ONLY_CHILD: u32 = 1 << 31;
const INLINE_LEVEL: usize = 22;
const CHUNK_NODES: usize = 1024;
/// A list of this length is 768 bytes: inserting at its front moves twelve cache lines.
const LIST_MAX: usize = 32;
const QOS_MASK: u8 = 0b11;
const NO_LOCAL: u8 = 0b100;
const RETAIN_AS_PUBLISHED: u8 = 0b1000;

const _: () = assert!(size_of::<Node>() == 64, "a node is one cache line");

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(shard: u16, slot: u32) -> Subscriber {
        Subscriber {
            shard: ShardId(shard),
            session: SessionKey { slot, generation: 3 },
            durable: slot.is_multiple_of(2).then_some(SessionId(u64::from(slot))),
            options: RouteOptions {
                qos: QoS::ExactlyOnce,
                no_local: slot.is_multiple_of(3),
                retain_as_published: slot.is_multiple_of(5),
            },
            subscription_id: NonZeroU32::new(slot),
        }
    }

    #[test]
    fn packing_loses_nothing() {
        for slot in 0..64 {
            let s = subscriber(9, slot);
            assert_eq!(Stored::pack(&s).unpack(), s);
        }
    }

    #[test]
    fn levels_of_every_length_survive() {
        for len in [0, 1, 21, 22, 23, 300, 65_535] {
            let bytes = vec![b'x'; len];
            assert_eq!(Level::new(&bytes).as_bytes(), bytes, "{len}");
        }
    }

    #[test]
    fn subscribers_stay_sorted_through_all_sizes() {
        let mut list = Subscribers::None;
        for slot in (0..200).rev() {
            let (shard, slot) = ((slot % 4) as u16, slot / 4);
            assert_eq!(list.insert(Stored::pack(&subscriber(shard, slot))), Subscribed::New);
            assert_eq!(list.insert(Stored::pack(&subscriber(shard, slot))), Subscribed::Replaced);
        }
        for left in (0..200).rev() {
            let mut keys = Vec::new();
            list.for_each(|s| keys.push(s.key()));
            assert_eq!(keys.len(), left + 1);
            assert!(keys.is_sorted());
            let (shard, slot) = ((left % 4) as u16, left as u32 / 4);
            let key = SessionKey { slot, generation: 3 };
            assert!(!list.remove(ShardId(9), key));
            assert!(list.remove(ShardId(shard), key));
            assert!(!list.remove(ShardId(shard), key));
        }
        assert!(matches!(list, Subscribers::None));
    }

    #[test]
    fn freed_nodes_are_used_again() {
        let mut arena = Arena::new();
        let ids: Vec<_> =
            (0..5000).map(|_| arena.insert(Node::new(Some(NodeId::ROOT), Level::EMPTY)).unwrap()).collect();
        assert_eq!(arena.live(), 5001);
        for id in ids.iter().take(2000) {
            arena.remove(*id);
        }
        let chunks = arena.chunks.len();
        for _ in 0..2000 {
            arena.insert(Node::new(Some(NodeId::ROOT), Level::EMPTY)).unwrap();
        }
        assert_eq!((arena.live(), arena.chunks.len()), (5001, chunks));
    }
}
