//! The store below the engine's records: what waits for it, what it has, and what of that a crash leaves.
//!
//! ```text
//!   batches of all shards ─► queue ─► one transaction ─► live image ─► durable image
//!                            FIFO     takes its time      "stored"      at once, or once a second
//! ```
//!
//! The live image is what the operating system has: the end of the process leaves it. The durable image is what the disk
//! has: a power cut leaves it and a prefix of what came after it, because a write-ahead log is read up to the first
//! transaction that is not whole.

use std::collections::VecDeque;

use culex_core::engine::keys::BatchNumber;
use culex_core::engine::shard::{Fetch, Fetched};
use culex_core::engine::store::{Record, StoreBatch, Stored, Tables, elide};
use culex_core::engine::time::{Now, WallTime};

use super::report::{Counts, Reach};
use super::rng::Rng;

/// How often the disk gets what the operating system has, if not at once.
const SYNC_INTERVAL_MS: u64 = 1_000;
/// A store that has nothing to do writes that the broker lives.
const SIGN_OF_LIFE_MS: u64 = 10_000;

/// What "stored" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Safety {
    /// The disk has it.
    Power,
    /// The operating system has it.
    Kill,
}

/// How a broker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    Process,
    Power,
}

/// A store of one run, over all brokers that use it one after the other.
#[derive(Debug)]
pub(super) struct Store {
    safety: Safety,
    queue: VecDeque<(u16, StoreBatch)>,
    writing: Option<Transaction>,
    /// Committed, and not yet on the disk.
    unsynced: VecDeque<(Vec<Record>, WallTime)>,
    live: Tables,
    /// The same as `live` if everything is on the disk before it is "stored".
    durable: Tables,
    /// What shards want to have read, each behind so many batches.
    reads: VecDeque<(u64, u16, Fetch)>,
    /// Batches that it was given, and those that it has.
    given: u64,
    kept: u64,
    synced_at: u64,
    written_at: u64,
    commits: u64,
    /// The number of the transaction that fails.
    fails_at: Option<u64>,
    pub(super) has_failed: bool,
    /// The disk has got everything since this was last looked at.
    pub(super) has_synced: bool,
}

#[derive(Debug)]
struct Transaction {
    records: Vec<Record>,
    /// What each shard is told when it is done.
    through: Vec<(u16, BatchNumber)>,
    due: u64,
}

impl Store {
    pub(super) fn new(safety: Safety, fails_at: Option<u64>) -> Self {
        Self {
            safety,
            queue: VecDeque::new(),
            writing: None,
            unsynced: VecDeque::new(),
            live: Tables::default(),
            durable: Tables::default(),
            reads: VecDeque::new(),
            given: 0,
            kept: 0,
            synced_at: 0,
            written_at: 0,
            commits: 0,
            fails_at,
            has_failed: false,
            has_synced: false,
        }
    }

    /// Transactions that were tried.
    pub(super) const fn commits(&self) -> u64 {
        self.commits
    }

    /// Batches that no transaction has taken.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) const fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    pub(super) fn is_due(&self, now: Now) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.due <= now.tick.0)
    }

    pub(super) fn push(&mut self, shard: u16, batch: StoreBatch) {
        if !self.has_failed {
            self.given += 1;
            self.queue.push_back((shard, batch));
        }
    }

    pub(super) fn fetch(&mut self, shard: u16, fetch: Fetch) {
        if !self.has_failed {
            self.reads.push_back((self.given, shard, fetch));
        }
    }

    /// The next read, which overtakes no batch that was given before it.
    pub(super) fn read(&mut self) -> Option<(u16, Fetched)> {
        let (_, shard, fetch) = self.reads.pop_front_if(|(behind, ..)| *behind <= self.kept)?;
        Some((shard, fetch.answered(|session, entry| self.live.read(session, entry))))
    }

    /// A transaction takes so many batches, in the order in which they came.
    pub(super) fn begin(&mut self, most: usize, due: u64, counts: &mut Counts) {
        if self.has_failed || self.writing.is_some() || self.queue.is_empty() || most == 0 {
            return;
        }
        let (mut records, mut through) = (Vec::new(), Vec::new());
        for (shard, batch) in self.queue.drain(..most.min(self.queue.len())) {
            records.extend(batch.records);
            through.push((shard, batch.number));
        }
        if elide(&mut records) > 0 {
            counts.add(Reach::StoreElided);
        }
        self.writing = Some(Transaction { records, through, due });
    }

    /// The transaction is done, or fails. Gives what each shard is told.
    pub(super) fn finish(&mut self, now: Now) -> Vec<(u16, BatchNumber)> {
        if self.has_failed || self.writing.is_none() {
            return Vec::new();
        }
        self.commits += 1;
        if self.fails_at == Some(self.commits) {
            // What became of it nobody knows.
            self.has_failed = true;
            self.queue.clear();
            self.reads.clear();
            return Vec::new();
        }
        let Some(Transaction { records, through, .. }) = self.writing.take() else { return Vec::new() };
        self.kept += through.len() as u64;
        self.keep(records, now);
        through
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Now) {
        if !self.has_failed && !self.is_writing() && now.tick.0 - self.written_at >= SIGN_OF_LIFE_MS {
            self.keep(Vec::new(), now);
        }
    }

    fn keep(&mut self, records: Vec<Record>, now: Now) {
        self.keep_live(records, now.wall);
        self.written_at = now.tick.0;
        if self.safety == Safety::Power || now.tick.0 - self.synced_at >= SYNC_INTERVAL_MS {
            self.synced_at = now.tick.0;
            self.sync();
        }
    }

    /// The disk gets everything.
    pub(super) fn sync(&mut self) {
        for (records, at) in self.unsynced.drain(..) {
            keep(&mut self.durable, records, at);
        }
        self.has_synced = true;
    }

    fn keep_live(&mut self, records: Vec<Record>, at: WallTime) {
        if self.safety == Safety::Kill {
            self.unsynced.push_back((records.clone(), at));
        }
        keep(&mut self.live, records, at);
    }

    /// The process ends, or the machine. A transaction that had begun is kept as a whole or not at all. Says whether
    /// something was lost that had been committed.
    pub(super) fn crash(&mut self, crash: Crash, now: Now, rng: &mut Rng, counts: &mut Counts) -> bool {
        if rng.chance(500) {
            let most = rng.index(self.queue.len() + 1);
            self.begin(most, 0, counts);
        }
        if !self.queue.is_empty() {
            counts.add(Reach::CrashWaiting);
        }
        self.queue.clear();
        self.reads.clear();
        let kept = match crash {
            Crash::Process => self.unsynced.len(),
            Crash::Power => rng.index(self.unsynced.len() + 1),
        };
        let has_lost = kept < self.unsynced.len();
        if has_lost {
            self.unsynced.truncate(kept);
            self.live = self.durable.clone();
            for (records, at) in &self.unsynced {
                keep(&mut self.live, records.clone(), *at);
            }
        }
        if let Some(writing) = self.writing.take() {
            if !has_lost && rng.chance(500) {
                counts.add(Reach::CrashUntold);
                self.keep_live(writing.records, now.wall);
            } else {
                counts.add(Reach::CrashWriting);
            }
        }
        if crash == Crash::Power {
            self.sync();
        }
        (self.has_failed, self.fails_at) = (false, None);
        self.kept = self.given;
        has_lost
    }

    /// What the next broker begins with.
    pub(super) fn stored(&self) -> Stored {
        self.live.stored()
    }
}

fn keep(tables: &mut Tables, records: Vec<Record>, at: WallTime) {
    tables.keep(&StoreBatch { number: BatchNumber(0), records }, at);
}
