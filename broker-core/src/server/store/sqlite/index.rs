//! What is known without asking the file.
//!
//! A message costs an entry in `bodies` (25 bytes at a load of 44 to 88 %) and two to four bytes in each queue that it is
//! in, eight in a short one; a bundle of several an entry of 17 bytes; a session its [`Queue`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::arrivals::Arrivals;
use super::receivers::Sets;

/// Everything that is needed to write without searching.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Only these sessions exist.
    pub(super) sessions: Numbered<Queue>,
    /// Sessions that do not last for ever, for which it counts how long the broker was away.
    pub(super) mortal: HashSet<u64>,
    pub(super) bodies: Bodies,
    /// How many messages of a bundle somebody needs, if it is more than one.
    pub(super) bundles: Numbered<u8>,
    pub(super) sets: Sets,
    /// Retained Messages that were cleared and are still known, oldest first, with their version.
    pub(super) cleared: VecDeque<(u64, Box<str>)>,
    /// The last place in the order of arrival that was given out.
    pub(super) last_seq: u64,
}

impl Index {
    /// The place of the message that a session's entry is about.
    pub(super) fn seq_of(&self, session: u64, entry: u64) -> Option<u64> {
        let queue = self.sessions.get(&session)?;
        let id = queue.joined.get(&entry).copied().unwrap_or(entry);
        self.bodies.get(&id).map(|body| body.seq)
    }

    /// A message of this bundle is not needed any more. Says whether nothing of it is.
    pub(super) fn note_gone(&mut self, bundle: u64) -> bool {
        let Some(live) = self.bundles.get_mut(&bundle) else { return true };
        *live -= 1;
        if *live < 2 {
            self.bundles.remove(&bundle);
        }
        false
    }
}

/// The queue of a session.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Queue {
    /// Entries that came with their publication, in the order of arrival, and named as it.
    pub(super) arrived: Arrivals,
    /// Entries with a row of their own, and the publication of each.
    pub(super) joined: BTreeMap<u64, u64>,
    /// Entries that may have been sent with QoS 2.
    pub(super) sent: BTreeSet<u64>,
    /// The session is done with everything that arrived up to this one, as the file has it.
    pub(super) cursor: u64,
    /// Rows that say that it is done with one beyond the cursor.
    pub(super) ahead: usize,
}

/// A map by numbers that we gave out ourselves: nobody can aim at it, so it needs no keys.
pub(super) type Numbered<T> = HashMap<u64, T, BuildHasherDefault<NumberHasher>>;

/// The bodies in the file, by publication.
pub(super) type Bodies = Numbered<Body>;

/// Where a message is, and who needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Body {
    /// Its place in the order of arrival, which says where it stands: see [`bundle`](super::bundle).
    pub(super) seq: u64,
    /// The set of its receivers, or zero.
    pub(super) set: u32,
    /// Entries and Retained Messages that need it.
    pub(super) uses: u32,
}

impl Queue {
    pub(super) fn has(&self, entry: u64, bodies: &Bodies) -> bool {
        self.joined.contains_key(&entry) || self.arrived.has(entry, |id| seq_of(bodies, id))
    }

    /// An entry that came with its publication leaves the queue. Says whether it was there.
    pub(super) fn leave(&mut self, entry: u64, bodies: &Bodies) -> bool {
        self.arrived.remove(entry, |id| seq_of(bodies, id))
    }
}

fn seq_of(bodies: &Bodies, id: u64) -> Option<u64> {
    bodies.get(&id).map(|body| body.seq)
}

/// Neighbours, which mostly come and go together, are neighbours in the table: sixteen of them share a few lines of the cache.
#[derive(Debug, Default)]
pub(super) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    /// The table takes the lowest bits for the place and the highest for what it compares first. The multiplier is Knuth's.
    fn write_u64(&mut self, value: u64) {
        let product = (self.0 ^ value >> NEIGHBOURS).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let near = value & ((1 << NEIGHBOURS) - 1);
        self.0 = ((product ^ product >> 32) << NEIGHBOURS | near) ^ near << (u64::BITS - NEIGHBOURS);
    }
}

/// Bits of a number that say which of the neighbours it is.
const NEIGHBOURS: u32 = 4;
