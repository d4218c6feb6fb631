//! The one thread that writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::engine::keys::ShardId;
use crate::engine::shard::{Event, Fetch};

use super::super::clock::Clock;
use super::super::events::EventHub;
use super::super::lane::LaneMessage;
use super::super::mailbox::Mailbox;
use super::pending::{Pending, Taken};
use super::queue::{Errand, Queue, Saved};
use super::stall::Stall;
use super::{Store, StoreError};

/// How often a store that has nothing to do is told that the broker lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// How often a store without space is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Takes batches from the queue, commits them, and tells the lanes.
pub(crate) struct Committer {
    pub(crate) store: Box<dyn Store>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) mailboxes: Vec<Arc<Mailbox<LaneMessage>>>,
    pub(crate) clock: Clock,
    pub(crate) events: Weak<EventHub>,
    pub(crate) on_failure: Box<dyn Fn(String) + Send + Sync>,
}

impl Committer {
    /// Starts the thread. It ends when the last lane has ended and everything is kept.
    pub(crate) fn start(self) -> std::io::Result<JoinHandle<()>> {
        thread::Builder::new().name("culex-store".to_owned()).spawn(move || self.run())
    }

    fn run(mut self) {
        let why = match catch_unwind(AssertUnwindSafe(|| self.work())) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "its thread panicked".to_owned(),
        };
        self.queue.fail();
        (self.on_failure)(format!("the store cannot keep anything any more: {why}"));
    }

    fn work(&mut self) -> Result<(), StoreError> {
        let mut pending = Pending::default();
        loop {
            let taken = pending.take(&self.queue, SIGN_OF_LIFE);
            let mut is_last = taken.is_last;
            match self.commit(&taken) {
                Ok(()) => self.tell(taken)?,
                Err(error @ StoreError::Full { .. }) => {
                    is_last = self.outlast(&mut pending, taken, &error)?;
                }
                Err(error) => return Err(error),
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// One transaction.
    fn commit(&mut self, taken: &Taken) -> Result<(), StoreError> {
        let Taken { records, through, errands, .. } = taken;
        // Everything may be over already; without a batch it is a sign of life.
        let began = Instant::now();
        if !records.is_empty() || (through.is_empty() && errands.is_empty()) {
            self.store.commit(records, self.clock.now().wall)?;
        }
        let cells = &self.queue.cells;
        if !records.is_empty() {
            cells.note_commit(began.elapsed());
        }
        cells.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Only when its transaction is done does anybody hear of it.
    fn tell(&mut self, taken: Taken) -> Result<(), StoreError> {
        for (lane, through) in taken.through {
            if let Some(mailbox) = self.mailboxes.get(usize::from(lane.0)) {
                mailbox.send([LaneMessage::Stored(through)], 0);
            }
        }
        if self.queue.note_kept(taken.bytes) {
            self.tell_room();
        }
        self.run_errands(taken.errands, false)
    }

    /// Reads for the lanes, and reports. What is asked for is stored by now, see [`Queue`].
    fn run_errands(&mut self, errands: Vec<Errand>, is_full: bool) -> Result<(), StoreError> {
        for errand in errands {
            match errand {
                Errand::Read(lane, fetch) => self.read(lane, fetch)?,
                Errand::Report { is_save, reply } => {
                    if is_save && !is_full {
                        self.store.sync()?;
                    }
                    // Whoever asked may have gone.
                    let _ = reply.send(if is_full { Saved::Full } else { Saved::Kept });
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, lane: ShardId, fetch: Fetch) -> Result<(), StoreError> {
        let mut bodies = self.store.read(fetch.id, &fetch.entries)?.into_iter();
        let fetched = fetch.answered(|_, _| bodies.next().flatten());
        if let Some(mailbox) = self.mailboxes.get(usize::from(lane.0)) {
            let bytes = fetched.bytes();
            mailbox.send([LaneMessage::Fetched(fetched)], bytes);
        }
        Ok(())
    }

    /// Lanes sleep although somebody waits for room, so they are woken after every change that they must not miss.
    fn tell_room(&self) {
        for mailbox in &self.mailboxes {
            mailbox.send([LaneMessage::StoreRoom], 0);
        }
    }

    /// The store has no space: tries again until it has, or until every lane has left. What was taken stays in its order,
    /// and nobody hears of it before it is kept. Says whether every lane has left.
    fn outlast(
        &mut self,
        pending: &mut Pending,
        stuck: Taken,
        error: &StoreError,
    ) -> Result<bool, StoreError> {
        let began = Instant::now();
        self.queue.cells.stalls.fetch_add(1, Ordering::Relaxed);
        self.queue.set_full(true);
        self.tell_room();
        self.tell_event(Event::StoreFull { why: error.to_string().into() });
        let mut stall = Stall::new(stuck);
        let mut next_try = began;
        loop {
            // Consumers read on: what they have done makes space.
            self.run_errands(stall.take_errands(), true)?;
            let now = Instant::now();
            if now >= next_try {
                if self.try_again(&mut stall)? {
                    break;
                }
                if stall.is_last() {
                    tracing::error!("stopped without space: what was not acknowledged is not kept");
                    return Ok(true);
                }
                next_try = now + RETRY_INTERVAL;
            }
            if self.queue.pause(next_try) {
                next_try = now;
            }
            self.take_all(pending, &mut stall);
        }
        self.queue.set_full(false);
        self.tell_room();
        self.tell_event(Event::StoreRecovered { after: began.elapsed() });
        Ok(stall.is_last())
    }

    fn take_all(&self, pending: &mut Pending, stall: &mut Stall) {
        loop {
            let taken = pending.take_now(&self.queue);
            let is_all = taken.is_empty();
            let is_last = taken.is_last;
            if is_last || !is_all {
                stall.add(taken);
            }
            if is_last || is_all {
                return;
            }
        }
    }

    /// Keeps what the store takes now. Says whether that was everything.
    fn try_again(&mut self, stall: &mut Stall) -> Result<bool, StoreError> {
        while let Some(ends) = stall.ends() {
            match self.store.commit(ends, self.clock.now().wall) {
                Ok(()) => stall.note_ended(),
                Err(StoreError::Full { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        while let Some(taken) = stall.take_first() {
            match self.commit(&taken) {
                Ok(()) => self.tell(taken)?,
                Err(StoreError::Full { .. }) => {
                    stall.put_back(taken);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn tell_event(&self, event: Event) {
        if let Some(events) = self.events.upgrade() {
            events.tell(event);
        }
    }
}
