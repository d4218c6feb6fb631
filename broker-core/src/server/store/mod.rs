//! Keeps what must outlive the process.
//!
//! ```text
//!   lane 0 ──batches──┐                       ┌─ Stored{through} ─► mailbox of lane 0
//!   lane 1 ──batches──┼─► queue ─► committer ─┤
//!   …                 ┘   FIFO     (thread)   └─ Stored{through} ─► …
//!     and what to read                │ one transaction for all that came while the last one was written,
//!                                     │ then what was to be read behind it, each answered with Fetched
//!                                     ▼
//!                                   Store: SQLite, or an embedder's
//! ```
//!
//! A broker without a data directory has none of it: its [`Door`] says at once that a batch is kept as well as it ever
//! will be.
//!
//! After an error nothing is kept and nothing acknowledged any more, and the broker fails: what was written and not
//! synced is in a state that nobody knows, so trying again would be guessing. A restart reads what there is. A full disk
//! is no such error, because nothing was written: the batches wait, and lanes do not read who would add to them, see
//! [`room`](crate::engine::shard::StoreRoom).

mod committer;
mod error;
mod linger;
mod pending;
mod queue;
mod source;
#[cfg(feature = "store-sqlite")]
mod sqlite;
mod stall;

use std::sync::Arc;

use crate::engine::keys::{BatchNumber, PublicationId, SessionId, ShardId};
use crate::engine::publication::Publication;
use crate::engine::shard::{Fetch, StoreRoom};
use crate::engine::store::{Record, StoreBatch, Stored};
use crate::engine::time::WallTime;

pub(crate) use self::committer::Committer;
pub use self::error::StoreError;
pub(crate) use self::queue::Queue;
pub use self::queue::Saved;
pub(crate) use self::source::Source;
#[cfg(feature = "store-sqlite")]
pub use self::sqlite::{Damage, Inspection, Repair, SqliteStore, inspect, repair};

/// How much a crash may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// An acknowledgement is given when the disk has what it promises. Neither a killed process nor a power cut loses
    /// what was acknowledged.
    #[default]
    Power,
    /// An acknowledgement is given when the operating system has what it promises. The disk gets it once a second while
    /// something is written, and within ten seconds after it. A killed process loses nothing; a power cut may lose so much.
    Kill,
}

/// Where durable state is kept. Called by one thread, which may wait as long as it takes.
pub trait Store: Send + 'static {
    /// Everything that is kept; called once, before anything else.
    ///
    /// # Errors
    /// [`StoreError`]; the broker does not start.
    fn load(&mut self) -> Result<Stored, StoreError>;

    /// Keeps all of these records or none, and returns when they are as safe as the store promises.
    /// [`Tables`](crate::engine::store::Tables) says what they mean. `now` is to be given back as
    /// [`Stored::alive_at`]; records may be empty.
    ///
    /// # Errors
    /// [`StoreError::Full`] if there is no room: it has kept none of them, and is given them again, unchanged, until it
    /// does. Meanwhile it may be given others before them that only end what it has ([`Record::Done`] and
    /// [`Record::SessionEnded`]). After any other [`StoreError`] nothing is called any more and the broker fails.
    fn commit(&mut self, records: &[Record], now: WallTime) -> Result<(), StoreError>;

    /// Everything that was committed is on the disk when this returns, whatever a commit promises. Called between commits,
    /// when an operator asks for it; nothing by default.
    ///
    /// # Errors
    /// [`StoreError`]. Nothing is called any more and the broker fails.
    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Messages of a session's queue that were committed, in the order of `entries`: at most 512, and 256 KiB but for the
    /// last. `None` for one that is not there; it is dropped from the queue, and that is told. Called between commits, so
    /// it should take no longer than one.
    ///
    /// # Errors
    /// [`StoreError`], also if one is damaged: the next start finds it. Nothing is called any more and the broker fails.
    fn read(
        &mut self,
        session: SessionId,
        entries: &[PublicationId],
    ) -> Result<Vec<Option<Arc<Publication>>>, StoreError>;
}

/// A lane's way to the store.
pub(crate) enum Door {
    /// Keeps nothing beyond the process.
    Memory,
    /// The committer's queue.
    Queue {
        /// The lane.
        lane: ShardId,
        /// What all lanes share.
        queue: Arc<Queue>,
    },
}

impl Door {
    /// Hands a batch over, for whoever calls [`Self::wake`] soon. `Some` if everything through this number is kept already.
    pub(crate) fn keep(&self, batch: StoreBatch) -> Option<BatchNumber> {
        match self {
            Self::Memory => Some(batch.number),
            Self::Queue { lane, queue } => {
                queue.push(*lane, batch);
                None
            }
        }
    }

    /// Lets the store's thread begin with what was handed over.
    pub(crate) fn wake(&self) {
        match self {
            Self::Memory => {}
            Self::Queue { queue, .. } => queue.wake(),
        }
    }

    /// Hands over what is to be read when everything before it is kept. Its answer comes by the lane's mailbox.
    pub(crate) fn read(&self, fetch: Fetch) {
        match self {
            // Without a store a shard forgets no body: its limit is unlimited.
            Self::Memory => debug_assert!(false, "there is nothing to read"),
            Self::Queue { lane, queue } => queue.push_read(*lane, fetch),
        }
    }

    /// How much may be added.
    pub(crate) fn room(&self) -> StoreRoom {
        match self {
            Self::Memory => StoreRoom::Free,
            Self::Queue { queue, .. } => queue.room(),
        }
    }

    /// Whether what was handed over will be kept soon: not after an error, nor while the disk is full.
    pub(crate) fn can_keep(&self) -> bool {
        match self {
            Self::Memory => true,
            Self::Queue { queue, .. } => !queue.has_failed() && queue.room() != StoreRoom::Full,
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Self::Queue { queue, .. } = self {
            queue.leave();
        }
    }
}
