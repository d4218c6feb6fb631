//! What waits to be written, and leaves out what is over before it is: a message whose receiver has acknowledged it
//! already.
//!
//! Only QoS 1, because a QoS 2 message leaves after it is stored. Its record comes before its end, because a shard hands
//! its batch over before its messages; so what ends an entry that waits finds it here, and what ends an older one is an
//! ordinary deletion. No answer waits for that, so it goes with the next transaction.
//!
//! While receivers are quick, messages wait for them, see [`Linger`]. What is about anything else is never made to wait.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use culex_codec::QoS;

use crate::engine::keys::{BatchNumber, PublicationId, ShardId};
use crate::engine::store::{Ended, Record, RetainedChange};

use super::linger::Linger;
use super::queue::{Arrived, Errand, Queue, TAKEN_BYTES, Waiting};

/// How long deletions wait for a transaction, and how many.
const ENDS_WAIT: Duration = Duration::from_millis(100);
const ENDS_MAX: usize = 4096;
/// Entries that wait at most: all are looked at when receivers have acknowledged something.
const ENTRIES_MAX: usize = 16_384;
/// With more batches than this nobody notices if they are looked at a little later, and many at a time.
const BATCHES_FEW: usize = 16;
const LOOK_INTERVAL: Duration = Duration::from_micros(500);

/// A prefix of what lanes have recorded.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// To be kept, all or nothing.
    pub(super) records: Vec<Record>,
    /// The last batch of each lane that has one, in the order of the lanes; everything through it is in the records, or
    /// over.
    pub(super) through: Vec<(ShardId, BatchNumber)>,
    /// What is to be done when the records are kept, and not before.
    pub(super) errands: Vec<Errand>,
    /// What it counted towards the limit of the queue.
    pub(super) bytes: usize,
    /// No lane will push any more.
    pub(super) is_last: bool,
}

/// Batches that were taken from the queue.
#[derive(Debug, Default)]
pub(super) struct Pending {
    batches: VecDeque<Batch>,
    /// Batches that must not wait: so many from the front.
    urgent: usize,
    /// Entries and bytes in them.
    entries: usize,
    bytes: usize,
    /// Deletions whose batches are told of already, and since when they wait.
    ends: Vec<Record>,
    ends_since: Option<Instant>,
    errands: Vec<Errand>,
    is_last: bool,
    linger: Linger,
    /// Since when the store has not been called.
    idle_since: Option<Instant>,
}

#[derive(Debug)]
struct Batch {
    came: Instant,
    entries: usize,
    waiting: Waiting,
}

impl Taken {
    /// Nothing had come.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.through.is_empty() && self.errands.is_empty()
    }
}

impl Pending {
    /// What is to be kept and told now; waits for it. After so long without anything that was kept it is nothing.
    pub(super) fn take(&mut self, queue: &Queue, patience: Duration) -> Taken {
        let mut now = Instant::now();
        let idle_since = *self.idle_since.get_or_insert(now);
        loop {
            let idle = now.duration_since(idle_since);
            if idle >= patience {
                self.idle_since = None;
                return Taken::default();
            }
            if let Some(taken) = self.ready(now) {
                if !taken.records.is_empty() {
                    self.idle_since = None;
                }
                return taken;
            }
            let (sleep, is_quiet) = self.sleep(now, patience - idle);
            let arrived = queue.take(sleep, TAKEN_BYTES.saturating_sub(self.bytes), is_quiet);
            now = Instant::now();
            let elided = self.add(arrived, now);
            queue.cells.elided.fetch_add(elided, Ordering::Relaxed);
        }
    }

    /// What is there, up to a size; nothing waits.
    pub(super) fn take_now(&mut self, queue: &Queue) -> Taken {
        let now = Instant::now();
        let elided = self.add(queue.take(Duration::ZERO, TAKEN_BYTES, false), now);
        queue.cells.elided.fetch_add(elided, Ordering::Relaxed);
        let mut taken = Taken { is_last: self.is_last, ..Taken::default() };
        self.write(&mut taken, self.batches.len(), now);
        taken
    }

    /// How long nothing has to be done, and whether batches that come meanwhile may wait for the end of it.
    fn sleep(&self, now: Instant, patience: Duration) -> (Duration, bool) {
        let left = |since: Instant, wait: Duration| wait.saturating_sub(now.duration_since(since));
        let ends = self.ends_since.map(|since| left(since, ENDS_WAIT));
        let wait = self.linger.wait().zip(self.batches.front()).map(|(wait, batch)| left(batch.came, wait));
        let due = patience.min(ends.unwrap_or(patience)).min(wait.unwrap_or(patience));
        if self.batches.len() > BATCHES_FEW { (due.min(LOOK_INTERVAL), true) } else { (due, false) }
    }

    /// Notes what has come. Says how many entries are over because of it.
    fn add(&mut self, arrived: Arrived, now: Instant) -> u64 {
        self.is_last = arrived.is_last;
        self.errands.extend(arrived.errands);
        let first = self.batches.len();
        for waiting in arrived.batches {
            let (mut entries, mut is_urgent) = (0, false);
            for record in &waiting.records {
                match only_entries(record) {
                    Some(recipients) => entries += recipients,
                    None => is_urgent = true,
                }
            }
            self.bytes += waiting.bytes;
            self.entries += entries;
            self.batches.push_back(Batch { came: now, entries, waiting });
            if is_urgent {
                self.urgent = self.batches.len();
            }
        }
        let new = self.batches.range(first..).flat_map(|batch| &batch.waiting.records);
        let ended = Ended::of(new);
        if ended.is_empty() { 0 } else { self.elide(ended, first, now) }
    }

    /// Leaves out what has ended in the batches from `new` on. Receivers acknowledge in order, so it is found at the front.
    fn elide(&mut self, mut ended: Ended, new: usize, now: Instant) -> u64 {
        let mut entries = 0;
        for (place, batch) in self.batches.iter_mut().enumerate() {
            if place < new && ended.is_spent() {
                continue;
            }
            let elided = ended.elide(&mut batch.waiting.records);
            entries += elided.entries;
            let age = now.duration_since(batch.came);
            for _ in 0..elided.messages {
                self.linger.note_over(age);
            }
        }
        for entry in ended.older() {
            self.linger.note_late(entry);
        }
        entries
    }

    /// What there is to do, if anything.
    fn ready(&mut self, now: Instant) -> Option<Taken> {
        let mut taken = Taken { is_last: self.is_last, ..Taken::default() };
        self.pass_over(&mut taken, now);
        let count = self.due(now);
        let is_end_due = self.ends.len() >= ENDS_MAX
            || self.ends_since.is_some_and(|since| now.duration_since(since) >= ENDS_WAIT);
        if count > 0 || is_end_due || !self.errands.is_empty() || self.is_last {
            self.write(&mut taken, count, now);
            return Some(taken);
        }
        (!taken.through.is_empty()).then_some(taken)
    }

    /// Batches at the front that nobody needs to be kept.
    fn pass_over(&mut self, taken: &mut Taken, now: Instant) {
        let is_end = |record: &Record| matches!(record, Record::Done { .. });
        while self.batches.front().is_some_and(|batch| batch.waiting.records.iter().all(is_end)) {
            let Some(mut batch) = self.pop(taken) else { return };
            if !batch.records.is_empty() {
                self.ends_since.get_or_insert(now);
                self.ends.append(&mut batch.records);
            }
        }
    }

    /// How many batches are to be written now.
    fn due(&self, now: Instant) -> usize {
        let all = self.batches.len();
        let Some(wait) = self.linger.wait() else { return all };
        if self.is_last || !self.errands.is_empty() || self.bytes >= TAKEN_BYTES || self.entries > ENTRIES_MAX
        {
            return all;
        }
        let age = |batch: &Batch| now.duration_since(batch.came);
        if self.batches.front().is_some_and(|batch| age(batch) >= wait) {
            self.urgent.max(self.batches.partition_point(|batch| age(batch) * 2 >= wait))
        } else {
            self.urgent
        }
    }

    fn write(&mut self, taken: &mut Taken, count: usize, now: Instant) {
        self.ends_since = None;
        taken.records.append(&mut self.ends);
        taken.errands = std::mem::take(&mut self.errands);
        let (mut first, mut messages) = (None::<PublicationId>, 0);
        for _ in 0..count {
            let Some(mut batch) = self.pop(taken) else { break };
            for record in &batch.records {
                if let Record::Published { publication, .. } = record {
                    messages += 1;
                    first = Some(first.map_or(publication.id, |first| first.min(publication.id)));
                }
            }
            taken.records.append(&mut batch.records);
        }
        if let Some(first) = first {
            self.linger.note_written(now, first, messages);
        }
    }

    fn pop(&mut self, taken: &mut Taken) -> Option<Waiting> {
        let Batch { entries, waiting, .. } = self.batches.pop_front()?;
        self.urgent = self.urgent.saturating_sub(1);
        self.entries -= entries;
        self.bytes -= waiting.bytes;
        taken.bytes += waiting.bytes;
        match taken.through.binary_search_by_key(&waiting.lane, |(lane, _)| *lane) {
            Ok(place) => {
                if let Some((_, through)) = taken.through.get_mut(place) {
                    *through = waiting.number;
                }
            }
            Err(place) => taken.through.insert(place, (waiting.lane, waiting.number)),
        }
        Some(waiting)
    }
}

/// How many entries a record adds, if it is about nothing but QoS 1 entries: all of them may be over soon, and no answer
/// waits for their end.
fn only_entries(record: &Record) -> Option<usize> {
    match record {
        Record::Done { .. } => Some(0),
        Record::Published { incoming: None, recipients, retained: RetainedChange::None, .. } => {
            recipients.iter().all(|to| to.qos == QoS::AtLeastOnce).then_some(recipients.len())
        }
        Record::Published { .. }
        | Record::SessionBound { .. }
        | Record::WillGone { .. }
        | Record::SessionLeft { .. }
        | Record::SessionEnded { .. }
        | Record::Subscribed { .. }
        | Record::Fed { .. }
        | Record::Unsubscribed { .. }
        | Record::Queued { .. }
        | Record::InFlight { .. }
        | Record::Received { .. }
        | Record::Completed { .. }
        | Record::Released { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::shard::Fetch;
    use std::sync::Arc;

    use culex_codec::{PacketId, TopicName};

    use super::*;
    use crate::engine::keys::{RetainedVersion, SessionId};
    use crate::engine::publication::Publication;
    use crate::engine::store::Recipient;

    fn published(id: u64, qos: QoS, sessions: &[u64]) -> Record {
        let topic = TopicName::assume_valid("t");
        let recipient = |session: &u64| Recipient { session: SessionId(*session), qos, is_retain: false };
        Record::Published {
            publication: Arc::new(Publication::new(PublicationId(id), topic, b"x", qos, false)),
            incoming: None,
            recipients: sessions.iter().map(recipient).collect(),
            retained: RetainedChange::None,
        }
    }

    fn done(session: u64, entry: u64) -> Record {
        Record::Done { session: SessionId(session), entry: PublicationId(entry) }
    }

    /// Batches of one lane, each with a number.
    #[derive(Default)]
    struct Lane {
        pending: Pending,
        last: u64,
    }

    impl Lane {
        fn add(&mut self, records: Vec<Record>, now: Instant) -> u64 {
            self.last += 1;
            let waiting = Waiting { lane: ShardId(0), number: BatchNumber(self.last), records, bytes: 1 };
            self.pending.add(Arrived { batches: vec![waiting], ..Arrived::default() }, now)
        }

        /// The records, and the batch through which everything is kept.
        fn ready(&mut self, now: Instant) -> Option<(Vec<Record>, u64)> {
            let taken = self.pending.ready(now)?;
            let through = taken.through.first().map_or(0, |(_, number)| number.0);
            Some((taken.records, through))
        }
    }

    #[test]
    fn what_every_receiver_has_acknowledged_is_not_written() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        let records = vec![published(1, QoS::AtLeastOnce, &[1, 2]), done(2, 1), done(1, 1), done(1, 0)];
        assert_eq!(lane.add(records, now), 2);
        // What ends an older entry goes with the next transaction, or after a while.
        let taken = lane.ready(now);
        assert!(matches!(&taken, Some((records, 1)) if records.is_empty()), "{taken:?}");
        assert!(lane.ready(now).is_none());
        let taken = lane.ready(now + ENDS_WAIT);
        let Some((records, 0)) = taken else { panic!("{taken:?}") };
        assert!(matches!(records[..], [Record::Done { entry: PublicationId(0), .. }]), "{records:?}");
    }

    #[test]
    fn deletions_come_before_what_came_later() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        lane.add(vec![done(1, 0)], now);
        assert!(lane.ready(now).is_some_and(|(records, through)| records.is_empty() && through == 1));
        lane.add(vec![published(1, QoS::AtLeastOnce, &[1])], now);
        let taken = lane.ready(now);
        let Some((records, 2)) = taken else { panic!("{taken:?}") };
        assert!(matches!(records[..], [Record::Done { .. }, Record::Published { .. }]), "{records:?}");
    }

    #[test]
    fn what_somebody_still_needs_is_written() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        assert_eq!(lane.add(vec![published(1, QoS::AtLeastOnce, &[1, 2]), done(1, 1)], now), 1);
        let taken = lane.ready(now);
        let Some((records, 1)) = taken else { panic!("{taken:?}") };
        let [Record::Published { recipients, .. }] = &records[..] else { panic!("{records:?}") };
        assert_eq!(recipients.len(), 1);
        // A packet identifier of the publisher, or a Retained Message, is a reason too.
        let mut with_id = published(1, QoS::AtLeastOnce, &[1]);
        let mut retained_one = published(2, QoS::AtLeastOnce, &[1]);
        if let Record::Published { incoming, .. } = &mut with_id {
            *incoming = PacketId::new(7).map(|id| (SessionId(3), id));
        }
        if let Record::Published { retained, .. } = &mut retained_one {
            *retained = RetainedChange::Set(RetainedVersion(1));
        }
        assert_eq!(lane.add(vec![with_id, retained_one, done(1, 1), done(1, 2)], now), 2);
        assert_eq!(lane.ready(now).map(|(records, _)| records.len()), Some(2));
    }

    #[test]
    fn qos_2_is_always_written() {
        let (mut lane, now) = (Lane::default(), Instant::now());
        assert_eq!(lane.add(vec![published(1, QoS::ExactlyOnce, &[1]), done(1, 1)], now), 0);
        assert_eq!(lane.ready(now).map(|(records, _)| records.len()), Some(2));
    }

    /// A lane whose receiver is quick.
    fn quick(now: Instant) -> Lane {
        let mut lane = Lane::default();
        for id in 0..20 {
            lane.add(vec![published(id, QoS::AtLeastOnce, &[1])], now);
            lane.ready(now);
            lane.add(vec![done(1, id)], now);
            lane.ready(now);
        }
        assert!(lane.pending.linger.wait().is_some());
        lane
    }

    #[test]
    fn what_is_acknowledged_in_time_is_told_of_and_not_written() {
        let now = Instant::now();
        let mut lane = quick(now);
        lane.add(vec![published(100, QoS::AtLeastOnce, &[1])], now);
        lane.add(vec![published(101, QoS::AtLeastOnce, &[1])], now);
        lane.ready(now);
        assert!(lane.ready(now).is_none());
        // The second is over, but answers come in the order of the batches.
        lane.add(vec![done(1, 101)], now);
        assert!(lane.ready(now).is_none());
        lane.add(vec![done(1, 100)], now);
        let (last, taken) = (lane.last, lane.ready(now));
        assert!(
            matches!(&taken, Some((records, through)) if records.is_empty() && *through == last),
            "{taken:?}"
        );
    }

    #[test]
    fn what_is_not_acknowledged_in_time_is_written() {
        let now = Instant::now();
        let mut lane = quick(now);
        lane.add(vec![published(100, QoS::AtLeastOnce, &[1])], now);
        lane.ready(now);
        let wait = lane.pending.linger.wait().unwrap();
        assert!(lane.ready(now + wait / 2).is_none_or(|(records, _)| records.is_empty()));
        let taken = lane.ready(now + wait);
        assert!(
            matches!(&taken, Some((records, through)) if *through == lane.last && !records.is_empty()),
            "{taken:?}"
        );
    }

    #[test]
    fn nothing_else_waits() {
        let now = Instant::now();
        let mut lane = quick(now);
        lane.add(vec![published(100, QoS::AtLeastOnce, &[1])], now);
        lane.add(vec![published(101, QoS::ExactlyOnce, &[1])], now);
        lane.add(vec![published(102, QoS::AtLeastOnce, &[1])], now);
        let taken = lane.ready(now);
        assert!(matches!(&taken, Some((_, through)) if *through == lane.last - 1), "{taken:?}");
        // Nor what is behind something to be read.
        let session = crate::engine::keys::SessionKey { slot: 0, generation: 0 };
        let fetch = Fetch { session, id: SessionId(1), entries: Vec::new() };
        lane.pending.errands.push(Errand::Read(ShardId(0), fetch));
        let taken = lane.ready(now);
        assert!(matches!(&taken, Some((_, through)) if *through == lane.last), "{taken:?}");
    }
}
