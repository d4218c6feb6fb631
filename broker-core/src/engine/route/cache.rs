//! Routes of the topics that a shard published lately, so that the hot path takes no lock.
//!
//! Cost of a hit: one SipHash-1-3 of the Topic Name, one probe, one comparison; nothing is allocated.

use std::sync::Arc;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use culex_codec::TopicName;

use super::Routes;

/// Bounds of a [`RouteCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Topics at a time. Default 4,096.
    pub entries: usize,
    /// Bytes of topics and routes. Default 4 MiB, which is 87,000 targets. Routes that need more are not cached.
    pub bytes: usize,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { entries: 4096, bytes: 4 << 20 }
    }
}

/// Topic Name → [`Routes`], true for one generation of the routing table.
///
/// **Read the generation first, then ask for the routes, then insert under that generation.** A change in between then
/// has a newer generation, and the entry is not found by anybody who knows of the change. The other way round an old
/// answer would pass for a new one, and a message that was published after a SUBACK would be missed.
///
/// When the cache is full, the entry goes that was not used since the last round (CLOCK). When the generation changes,
/// everything goes.
#[derive(Debug)]
pub struct RouteCache {
    index: HashTable<usize>,
    entries: Vec<Entry>,
    hand: usize,
    bytes: usize,
    generation: u64,
    limits: CacheLimits,
    hasher: SipHasher13,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    topic: Box<str>,
    routes: Arc<Routes>,
    bytes: usize,
    is_used: bool,
}

impl RouteCache {
    /// An empty cache; allocates nothing. The keys are those of a seeded hash, as for [`Router`](super::Router).
    pub fn new(hash_keys: (u64, u64), limits: CacheLimits) -> Self {
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            hand: 0,
            bytes: 0,
            generation: 0,
            limits,
            hasher: SipHasher13::new_with_keys(hash_keys.0, hash_keys.1),
        }
    }

    /// The routes of a topic, if they are known for just this generation. Another generation empties the cache.
    pub fn get(&mut self, topic: TopicName<'_>, generation: u64) -> Option<&Arc<Routes>> {
        if self.generation != generation {
            self.begin(generation);
            return None;
        }
        let place = self.place(self.hash(topic), topic.as_str())?;
        let entry = self.entries.get_mut(place)?;
        entry.is_used = true;
        Some(&entry.routes)
    }

    /// Keeps the routes of a topic, which were asked for after `generation` was read. Routes of an older generation
    /// than one seen here, and those larger than the whole cache, are not kept.
    pub fn insert(&mut self, topic: TopicName<'_>, generation: u64, routes: Arc<Routes>) {
        if generation < self.generation {
            return;
        }
        if generation > self.generation {
            self.begin(generation);
        }
        let hash = self.hash(topic);
        if let Some(old) = self.place(hash, topic.as_str()) {
            self.remove(old);
        }
        let bytes = size_of::<Entry>() + 2 * size_of::<usize>() + topic.as_str().len() + routes.bytes();
        if bytes > self.limits.bytes || self.limits.entries == 0 {
            return;
        }
        while self.entries.len() >= self.limits.entries || self.bytes + bytes > self.limits.bytes {
            self.evict();
        }
        let place = self.entries.len();
        self.entries.push(Entry { hash, topic: topic.as_str().into(), routes, bytes, is_used: false });
        let entries = &self.entries;
        self.index.insert_unique(hash, place, |&place| entries.get(place).map_or(0, |entry| entry.hash));
        self.bytes += bytes;
    }

    /// Topics in the cache.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the topics and routes in the cache.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn begin(&mut self, generation: u64) {
        self.generation = generation;
        self.index.clear();
        self.entries.clear();
        self.bytes = 0;
        self.hand = 0;
    }

    fn hash(&self, topic: TopicName<'_>) -> u64 {
        self.hasher.hash(topic.as_str().as_bytes())
    }

    fn place(&self, hash: u64, topic: &str) -> Option<usize> {
        self.index
            .find(hash, |&place| {
                self.entries.get(place).is_some_and(|entry| entry.hash == hash && *entry.topic == *topic)
            })
            .copied()
    }

    /// Removes the first entry from the hand on that was not used since the hand passed it. Ends in two rounds.
    fn evict(&mut self) {
        while !self.entries.is_empty() {
            match self.entries.get_mut(self.hand) {
                None => self.hand = 0,
                Some(entry) if entry.is_used => {
                    entry.is_used = false;
                    self.hand += 1;
                }
                Some(_) => return self.remove(self.hand),
            }
        }
    }

    fn remove(&mut self, place: usize) {
        if place >= self.entries.len() {
            return;
        }
        let gone = self.entries.swap_remove(place);
        self.bytes -= gone.bytes;
        if let Ok(found) = self.index.find_entry(gone.hash, |&other| other == place) {
            found.remove();
        }
        // The last entry took the place.
        let from = self.entries.len();
        if let Some(moved) = self.entries.get(place)
            && let Some(index) = self.index.find_mut(moved.hash, |&other| other == from)
        {
            *index = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName<'_> {
        TopicName::new(name).unwrap()
    }

    fn cache(entries: usize, bytes: usize) -> RouteCache {
        RouteCache::new((1, 2), CacheLimits { entries, bytes })
    }

    #[test]
    fn another_generation_is_a_miss() {
        let mut cache = cache(8, 1 << 20);
        cache.insert(topic("a"), 5, Arc::default());
        assert!(cache.get(topic("a"), 5).is_some());
        assert!(cache.get(topic("b"), 5).is_none());
        assert!(cache.get(topic("a"), 6).is_none());
        assert!(cache.get(topic("a"), 6).is_none());
        assert_eq!((cache.len(), cache.bytes()), (0, 0));
    }

    #[test]
    fn routes_asked_for_before_a_change_are_not_kept() {
        let mut cache = cache(8, 1 << 20);
        assert!(cache.get(topic("a"), 7).is_none());
        cache.insert(topic("a"), 6, Arc::default());
        assert!(cache.get(topic("a"), 7).is_none());
    }

    #[test]
    fn the_entry_in_use_stays() {
        let mut cache = cache(3, 1 << 20);
        for name in ["a", "b", "c"] {
            cache.insert(topic(name), 1, Arc::default());
        }
        for n in 0..50 {
            assert!(cache.get(topic("a"), 1).is_some(), "{n}");
            cache.insert(topic(&format!("new {n}")), 1, Arc::default());
            assert_eq!(cache.len(), 3);
        }
        assert!(cache.get(topic("new 49"), 1).is_some());
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let one = {
            let mut cache = cache(99, 1 << 20);
            cache.insert(topic("0000"), 1, Arc::default());
            cache.bytes()
        };
        let mut cache = cache(99, 5 * one);
        for n in 0..1000 {
            let name = format!("{n:04}");
            cache.insert(topic(&name), 1, Arc::default());
            cache.insert(topic(&name), 1, Arc::default());
            assert!(cache.bytes() <= 5 * one);
            assert_eq!(cache.bytes(), cache.len() * one);
        }
        assert_eq!(cache.len(), 5);
        let long = "x".repeat(6 * one);
        cache.insert(topic(&long), 1, Arc::default());
        assert!(cache.get(topic(&long), 1).is_none());
        assert_eq!(cache.len(), 5);
    }

    #[test]
    fn every_entry_is_found_after_many_evictions() {
        let mut cache = cache(64, 1 << 20);
        for n in 0..10_000_u32 {
            cache.insert(topic(&format!("t/{}", n.wrapping_mul(2_654_435_761) % 200)), 1, Arc::default());
            if n % 7 == 0 {
                cache.get(topic(&format!("t/{}", n % 200)), 1);
            }
        }
        let found = (0..200).filter(|n| cache.get(topic(&format!("t/{n}")), 1).is_some()).count();
        assert_eq!((found, cache.len(), cache.index.len()), (64, 64, 64));
    }
}
