//! The batches of all lanes on their way to the committer, in one order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::engine::keys::{BatchNumber, ShardId};
use crate::engine::shard::{Fetch, StoreRoom};
use crate::engine::store::{Recipient, Record, StoreBatch};

/// Bytes from which on the queue is crowded: until the committer has caught up, lanes read nobody who would add to them.
const CROWDED_BYTES: usize = 64 << 20;
/// What one transaction takes at most; at least one batch.
pub(super) const TAKEN_BYTES: usize = 8 << 20;
/// What is read or reported between two transactions at most, so that nobody waits long for an acknowledgement.
const ERRANDS_TAKEN: usize = 64;
/// What a record costs beside topic and payload.
const BYTES_PER_RECORD: usize = 128;

/// A FIFO with a limit in bytes that its writers look at before they read more; what a turn has recorded always enters.
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    /// What was pushed and is not kept yet.
    bytes: AtomicUsize,
    has_failed: AtomicBool,
    is_full: AtomicBool,
    pub(super) cells: StoreCells,
}

struct State {
    batches: VecDeque<Waiting>,
    /// What is to be done behind so many batches, counted from the start.
    errands: VecDeque<(u64, Errand)>,
    /// Batches that were taken.
    taken: u64,
    /// Lanes that may still push.
    lanes: usize,
    /// The committer sleeps.
    is_idle: bool,
    /// It waits for space, and does not want to hear of batches.
    is_paused: bool,
    /// Nobody takes anything any more.
    is_over: bool,
}

/// What the committer does between two transactions, when everything that was pushed before it is kept.
#[derive(Debug)]
pub(super) enum Errand {
    /// Reads for a lane.
    Read(ShardId, Fetch),
    /// Says that it lives, and makes sure that everything is on the disk if that is asked for.
    Report { is_save: bool, reply: oneshot::Sender<Saved> },
}

/// What the store says of everything that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// It is on the disk.
    Kept,
    /// There is no store: it ends with the broker.
    Memory,
    /// The disk is full: what came last waits for space, and is not acknowledged.
    Full,
}

/// A batch.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) lane: ShardId,
    pub(super) number: BatchNumber,
    pub(super) records: Vec<Record>,
    /// What it counts towards the limit until it is kept.
    pub(super) bytes: usize,
}

/// What the store counts.
#[derive(Default)]
pub(super) struct StoreCells {
    pub(super) commits: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) elided: AtomicU64,
    pub(super) stalls: AtomicU64,
    /// Microseconds of all transactions, and how many took no longer than each of [`COMMIT_BOUNDS`].
    pub(super) commit_micros: AtomicU64,
    pub(super) commits_within: [AtomicU64; COMMIT_BOUNDS.len()],
}

/// Durations that transactions are counted by.
const COMMIT_BOUNDS: [Duration; 4] =
    [Duration::from_millis(1), Duration::from_millis(10), Duration::from_millis(100), Duration::from_secs(1)];

impl StoreCells {
    /// A transaction is done.
    pub(super) fn note_commit(&self, took: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commit_micros.fetch_add(micros, Ordering::Relaxed);
        for (bound, cell) in COMMIT_BOUNDS.iter().zip(&self.commits_within) {
            cell.fetch_add(u64::from(took <= *bound), Ordering::Relaxed);
        }
    }
}

/// A prefix of the queue.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) batches: Vec<Waiting>,
    /// What is to be done behind them.
    pub(super) errands: Vec<Errand>,
    /// No lane will push any more.
    pub(super) is_last: bool,
}

impl Queue {
    pub(crate) fn new(lanes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                batches: VecDeque::new(),
                errands: VecDeque::new(),
                taken: 0,
                lanes,
                is_idle: false,
                is_paused: false,
                is_over: false,
            }),
            filled: Condvar::new(),
            bytes: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            cells: StoreCells::default(),
        }
    }

    /// Appends a batch. The committer finds it when it looks next; [`Self::wake`] makes it look.
    pub(super) fn push(&self, lane: ShardId, batch: StoreBatch) {
        if self.has_failed() {
            return;
        }
        let bytes = batch.records.iter().map(bytes_of).sum();
        let waiting = Waiting { lane, number: batch.number, records: batch.records, bytes };
        let mut state = self.state.lock();
        state.batches.push_back(waiting);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Wakes the committer if it sleeps and is not to.
    pub(super) fn wake(&self) {
        let mut state = self.state.lock();
        let wake = !state.batches.is_empty() && std::mem::take(&mut state.is_idle);
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Appends what is to be read behind everything that is there, and wakes the committer if it sleeps. A session asks
    /// once at a time, so they are few.
    pub(super) fn push_read(&self, lane: ShardId, fetch: Fetch) {
        self.push_errand(Errand::Read(lane, fetch));
    }

    /// Asks the committer whether it lives, behind everything that is there; with `is_save` it makes sure of the disk. No
    /// answer: the store has failed, or ended.
    pub(crate) async fn report(&self, is_save: bool) -> Option<Saved> {
        let (reply, answer) = oneshot::channel();
        self.push_errand(Errand::Report { is_save, reply });
        answer.await.ok()
    }

    fn push_errand(&self, errand: Errand) {
        let mut state = self.state.lock();
        // Looked at here, because what comes later is taken by nobody.
        if self.has_failed() || state.is_over {
            return;
        }
        let behind = state.taken + state.batches.len() as u64;
        state.errands.push_back((behind, errand));
        let wake = std::mem::take(&mut state.is_idle) | state.is_paused;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Takes what is there, up to a size. Waits for something, at most so long; if it is `quiet`, nobody wakes it for a
    /// batch.
    pub(super) fn take(&self, patience: Duration, room: usize, is_quiet: bool) -> Arrived {
        let mut state = self.state.lock();
        if is_quiet || state.batches.is_empty() && state.errands.is_empty() && state.lanes > 0 {
            state.is_idle = !is_quiet;
            self.filled.wait_for(&mut state, patience);
            state.is_idle = false;
        }
        let mut arrived = Arrived::default();
        let mut bytes = 0;
        while (bytes < room || arrived.batches.is_empty())
            && let Some(waiting) = state.batches.pop_front()
        {
            bytes += waiting.bytes;
            state.taken += 1;
            arrived.batches.push(waiting);
        }
        while arrived.errands.len() < ERRANDS_TAKEN
            && state.errands.front().is_some_and(|(behind, _)| *behind <= state.taken)
            && let Some((_, errand)) = state.errands.pop_front()
        {
            arrived.errands.push(errand);
        }
        // Nobody is left to read for.
        arrived.is_last = state.batches.is_empty() && state.lanes == 0;
        if arrived.is_last {
            state.is_over = true;
            state.errands.clear();
        }
        arrived
    }

    /// Something that was taken is kept. Says whether there is room now where there was none.
    pub(super) fn note_kept(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        before >= CROWDED_BYTES && before - bytes < CROWDED_BYTES
    }

    /// The store has no space, or has it again.
    pub(super) fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Release);
    }

    /// Sleeps until then, or until something is to be read, or every lane has left, which it says.
    pub(super) fn pause(&self, until: Instant) -> bool {
        let mut state = self.state.lock();
        state.is_paused = true;
        while state.lanes > 0
            && state.errands.is_empty()
            && !self.filled.wait_until(&mut state, until).timed_out()
        {}
        state.is_paused = false;
        state.lanes == 0
    }

    /// A lane will not push any more.
    pub(super) fn leave(&self) {
        self.state.lock().lanes -= 1;
        self.filled.notify_one();
    }

    /// Commits, records, elided entries, bytes that wait, whether it is full, how often it was, and how long commits took,
    /// for the metrics.
    pub(crate) fn counts(&self) -> [u64; 11] {
        let StoreCells { commits, records, elided, stalls, commit_micros, commits_within } = &self.cells;
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let [within_1ms, within_10ms, within_100ms, within_1s] = commits_within.each_ref().map(read);
        let [commits, records, elided, stalls, micros] =
            [commits, records, elided, stalls, commit_micros].map(read);
        let bytes = self.bytes.load(Ordering::Relaxed) as u64;
        let is_full = u64::from(self.is_full.load(Ordering::Relaxed));
        [
            commits,
            records,
            elided,
            bytes,
            is_full,
            stalls,
            micros,
            within_1ms,
            within_10ms,
            within_100ms,
            within_1s,
        ]
    }

    pub(super) fn room(&self) -> StoreRoom {
        if self.is_full.load(Ordering::Acquire) {
            StoreRoom::Full
        } else if self.bytes.load(Ordering::Acquire) >= CROWDED_BYTES {
            StoreRoom::Crowded
        } else {
            StoreRoom::Free
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Nothing is kept from now on.
    pub(super) fn fail(&self) {
        self.has_failed.store(true, Ordering::Release);
        self.set_full(false);
        let mut state = self.state.lock();
        let waiting = (std::mem::take(&mut state.batches), std::mem::take(&mut state.errands));
        drop(state);
        self.bytes.store(0, Ordering::Relaxed);
        drop(waiting);
    }
}

/// What a record costs in memory, roughly, and what it brings to the disk.
pub(super) fn bytes_of(record: &Record) -> usize {
    let body = match record {
        Record::Published { publication, recipients, .. } => {
            publication.bytes() + recipients.len() * size_of::<Recipient>()
        }
        Record::Queued { publication, .. } => publication.bytes(),
        Record::SessionBound { client_id, will, .. } => {
            client_id.len() + will.as_ref().map_or(0, |will| will.payload.len())
        }
        Record::Subscribed { filter, .. }
        | Record::Fed { filter, .. }
        | Record::Unsubscribed { filter, .. } => filter.len(),
        Record::WillGone { .. }
        | Record::SessionLeft { .. }
        | Record::SessionEnded { .. }
        | Record::InFlight { .. }
        | Record::Received { .. }
        | Record::Completed { .. }
        | Record::Done { .. }
        | Record::Released { .. } => 0,
    };
    BYTES_PER_RECORD + body
}

#[cfg(test)]
mod tests {
    use culex_codec::{QoS, TopicName};

    use super::*;
    use crate::engine::keys::{PublicationId, SessionId, SessionKey};
    use crate::engine::publication::Publication;
    use crate::engine::store::{Recipients, RetainedChange};

    fn batch(number: u64) -> StoreBatch {
        let topic = TopicName::assume_valid("t");
        let payload = vec![0; TAKEN_BYTES];
        let publication = Publication::new(PublicationId(number), topic, &payload, QoS::AtLeastOnce, false);
        let record = Record::Published {
            publication: publication.into(),
            incoming: None,
            recipients: Recipients::new(),
            retained: RetainedChange::None,
        };
        StoreBatch { number: BatchNumber(number), records: vec![record] }
    }

    #[test]
    fn what_is_to_be_read_overtakes_no_batch() {
        let queue = Queue::new(2);
        let fetch = |slot| Fetch {
            session: SessionKey { slot, generation: 0 },
            id: SessionId(1),
            entries: vec![PublicationId(2)],
        };
        queue.push(ShardId(0), batch(1));
        queue.push_read(ShardId(1), fetch(1));
        queue.push(ShardId(0), batch(2));
        queue.push_read(ShardId(1), fetch(2));
        queue.push(ShardId(0), batch(3));
        // Each batch fills a transaction.
        let taken: Vec<_> = (0..3)
            .map(|_| {
                let arrived = queue.take(Duration::ZERO, TAKEN_BYTES, false);
                let slot = |errand: &Errand| match errand {
                    Errand::Read(_, fetch) => fetch.session.slot,
                    Errand::Report { .. } => 0,
                };
                let reads: Vec<_> = arrived.errands.iter().map(slot).collect();
                let numbers: Vec<_> = arrived.batches.iter().map(|batch| batch.number.0).collect();
                (numbers, reads)
            })
            .collect();
        assert_eq!(taken, [(vec![1], vec![1]), (vec![2], vec![2]), (vec![3], vec![])]);
    }
}
