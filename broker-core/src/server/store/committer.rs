//! The one thread that writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::engine::keys::ShardId;
use crate::engine::shard::Fetch;
use crate::engine::store::elide;

use super::super::clock::Clock;
use super::super::lane::LaneMessage;
use super::super::mailbox::Mailbox;
use super::queue::{Queue, Taken};
use super::{Store, StoreError};

/// How often a store that has nothing to do is told that the broker lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Takes batches from the queue, commits them, and tells the lanes.
pub(crate) struct Committer {
    pub(crate) store: Box<dyn Store>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) mailboxes: Vec<Arc<Mailbox<LaneMessage>>>,
    pub(crate) clock: Clock,
    pub(crate) on_failure: Box<dyn Fn(String) + Send + Sync>,
}

impl Committer {
    /// Starts the thread. It ends when the last lane has ended and everything is kept.
    pub(crate) fn start(self) -> std::io::Result<JoinHandle<()>> {
        thread::Builder::new().name("culex-store".to_owned()).spawn(move || self.run())
    }

    fn run(mut self) {
        loop {
            let taken = self.queue.take(SIGN_OF_LIFE);
            let is_last = taken.is_last;
            let kept = catch_unwind(AssertUnwindSafe(|| self.commit(taken)));
            let why = match kept {
                Ok(Ok(())) if is_last => return,
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "its thread panicked".to_owned(),
            };
            self.queue.fail();
            (self.on_failure)(format!("the store cannot keep anything any more: {why}"));
            return;
        }
    }

    /// One transaction. Only when it is done does anybody hear of it.
    fn commit(&mut self, taken: Taken) -> Result<(), StoreError> {
        let Taken { mut records, through, reads, .. } = taken;
        let elided = elide(&mut records);
        let cells = &self.queue.cells;
        // Everything may be over already; without a batch it is a sign of life.
        if !records.is_empty() || (through.is_empty() && reads.is_empty()) {
            self.store.commit(&records, self.clock.now().wall)?;
        }
        if !records.is_empty() {
            cells.commits.fetch_add(1, Ordering::Relaxed);
        }
        cells.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        cells.elided.fetch_add(elided, Ordering::Relaxed);
        for (lane, through) in through {
            if let Some(mailbox) = self.mailboxes.get(usize::from(lane.0)) {
                mailbox.send([LaneMessage::Stored(through)], 0);
            }
        }
        for (lane, fetch) in reads {
            self.read(lane, fetch)?;
        }
        Ok(())
    }

    /// Reads for a lane. What is asked for is stored by now, see [`Queue`].
    fn read(&mut self, lane: ShardId, fetch: Fetch) -> Result<(), StoreError> {
        let mut bodies = self.store.read(fetch.id, &fetch.entries)?.into_iter();
        let fetched = fetch.answered(|_, _| bodies.next().flatten());
        if let Some(mailbox) = self.mailboxes.get(usize::from(lane.0)) {
            let bytes = fetched.bytes();
            mailbox.send([LaneMessage::Fetched(fetched)], bytes);
        }
        Ok(())
    }
}
