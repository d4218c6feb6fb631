//! A Network Connection on its way: two pipes that delay, split and join what they carry, break, or fall silent.

use std::collections::VecDeque;

use culex_core::engine::Admission;
use culex_core::engine::keys::ConnectionKey;

use super::hooks::Asked;
use super::report::{Counts, Reach};
use super::rng::Rng;

/// One direction.
#[derive(Debug)]
pub(super) struct Pipe {
    chunks: VecDeque<(u64, Vec<u8>)>,
    flying: usize,
    capacity: usize,
    /// What arrived and was not taken.
    pub(super) received: Vec<u8>,
    has_fin: bool,
    is_reset: bool,
    /// What is written is lost, and nobody learns of it.
    is_mute: bool,
}

impl Pipe {
    const fn new(capacity: usize) -> Self {
        Self {
            chunks: VecDeque::new(),
            flying: 0,
            capacity,
            received: Vec::new(),
            has_fin: false,
            is_reset: false,
            is_mute: false,
        }
    }

    /// Takes as much as there is room for, to arrive at `due` or later, and says how much.
    pub(super) fn write(&mut self, bytes: &[u8], due: u64) -> usize {
        if self.has_fin || self.is_reset {
            return bytes.len();
        }
        let count = bytes.len().min(self.room());
        if count > 0 {
            let due = self.chunks.back().map_or(due, |(last, _)| due.max(*last));
            self.flying += count;
            self.chunks.push_back((due, bytes.get(..count).unwrap_or_default().to_vec()));
        }
        count
    }

    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.flying + self.received.len())
    }

    /// When the next bytes may arrive.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.chunks.front().filter(|_| !self.is_mute && !self.is_reset).map(|(due, _)| *due)
    }

    /// Lets some of what is due arrive; all of it if there is no `rng`.
    pub(super) fn arrive(&mut self, now: u64, rng: Option<&mut Rng>, counts: &mut Counts) -> bool {
        if self.next_due().is_none_or(|due| due > now) {
            return false;
        }
        let Some(rng) = rng else {
            while self.next_due().is_some() {
                self.arrive_chunk(usize::MAX);
            }
            return true;
        };
        let is_split = rng.chance(250);
        let is_joined = rng.chance(300);
        if is_split {
            let len = self.chunks.front().map_or(0, |(_, bytes)| bytes.len());
            counts.add(Reach::NetSplit);
            self.arrive_chunk(1 + rng.index(len));
        } else if is_joined && self.chunks.len() > 1 {
            counts.add(Reach::NetJoin);
            while self.next_due().is_some_and(|due| due <= now) {
                self.arrive_chunk(usize::MAX);
            }
        } else {
            self.arrive_chunk(usize::MAX);
        }
        true
    }

    fn arrive_chunk(&mut self, most: usize) {
        let Some((due, mut bytes)) = self.chunks.pop_front() else { return };
        let rest = if most < bytes.len() { bytes.split_off(most) } else { Vec::new() };
        self.flying -= bytes.len();
        self.received.extend(bytes);
        if !rest.is_empty() {
            self.chunks.push_front((due, rest));
        }
    }

    /// The sender has closed: the end comes after what it sent.
    pub(super) const fn finish(&mut self) {
        self.has_fin = true;
    }

    pub(super) fn reset(&mut self) {
        self.chunks.clear();
        self.received.clear();
        self.flying = 0;
        self.is_reset = true;
    }

    pub(super) const fn mute(&mut self) {
        self.is_mute = true;
    }

    pub(super) const fn is_reset(&self) -> bool {
        self.is_reset
    }

    /// The receiver can see the end.
    pub(super) fn is_finished(&self) -> bool {
        self.is_reset || (self.has_fin && self.chunks.is_empty())
    }
}

/// Where the broker has a connection.
#[derive(Debug)]
pub(super) enum Stage {
    /// The front door reads its CONNECT.
    Dialing,
    /// Its password is checked, which takes a while.
    Checking(Box<Admission>),
    /// On its way to its shard.
    Mailed,
    /// The shard has it.
    Attached(ConnectionKey),
    /// The broker has closed it.
    Closed,
}

/// One Network Connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: usize,
    pub(super) shard: u16,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    pub(super) stage: Stage,
    pub(super) keep_alive: u16,
    pub(super) is_clean: bool,
    /// Bytes came, or the shard reads again, since it was last handed what there is.
    pub(super) has_news: bool,
    pub(super) is_blocked: bool,
    /// The client has let go of it.
    pub(super) is_abandoned: bool,
    /// The client has closed it: bytes for it are answered with a reset.
    pub(super) is_gone: bool,
    /// Bytes that the client sent, and those that the shard has handled.
    pub(super) sent: usize,
    pub(super) handled: usize,
    /// When the shard last handled bytes.
    pub(super) heard: u64,
    /// The length of what was sent up to the end of DISCONNECT.
    pub(super) disconnect_end: Option<usize>,
    /// It must not break, and no hook fails it.
    pub(super) is_reliable: bool,
    /// The question that it waits for.
    pub(super) asked: Option<Asked>,
    /// What was granted of each SUBSCRIBE, in the order of their SUBACKs.
    pub(super) granted: VecDeque<Vec<bool>>,
}

impl Link {
    pub(super) const fn new(client: usize, shard: u16, pipe_bytes: usize, is_reliable: bool) -> Self {
        Self {
            client,
            shard,
            up: Pipe::new(usize::MAX),
            down: Pipe::new(if is_reliable { usize::MAX } else { pipe_bytes }),
            stage: Stage::Dialing,
            keep_alive: 0,
            is_clean: true,
            has_news: false,
            is_blocked: false,
            is_abandoned: false,
            is_gone: false,
            sent: 0,
            handled: 0,
            heard: 0,
            disconnect_end: None,
            is_reliable,
            asked: None,
            granted: VecDeque::new(),
        }
    }

    pub(super) const fn key(&self) -> Option<ConnectionKey> {
        match self.stage {
            Stage::Attached(key) => Some(key),
            Stage::Dialing | Stage::Checking(_) | Stage::Mailed | Stage::Closed => None,
        }
    }

    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed)
    }
}
