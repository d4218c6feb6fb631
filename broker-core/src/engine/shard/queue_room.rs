//! A shard's part of the room for all queues (limit `queue_total_bytes`): taken from [`Commons`] and given back in
//! slices, so that a message costs a comparison and no atomic operation.

use crate::engine::commons::Commons;
use crate::engine::stats::Stats;
use crate::limits::Limit;

/// What a message in a queue costs beside topic and payload.
const BYTES_PER_MESSAGE: u64 = 64;
/// Most that is taken at a time. What lies idle in a shard is less than two slices.
const SLICE_BYTES_MAX: u64 = 64 << 10;
/// A small limit is shared in smaller slices.
const SLICES_MIN: u64 = 1024;

/// Room that this shard has taken.
#[derive(Debug)]
pub(super) struct QueueRoom {
    taken: u64,
    /// `None` if there is no limit.
    slice: Option<u64>,
}

impl QueueRoom {
    pub(super) fn new(total: Limit) -> Self {
        let slice = match total {
            Limit::AtMost(total) => {
                Some((total.get() / SLICES_MIN).clamp(BYTES_PER_MESSAGE, SLICE_BYTES_MAX))
            }
            Limit::Unlimited => None,
        };
        Self { taken: 0, slice }
    }

    /// Whether the queues may grow by a message of `bytes`.
    pub(super) fn has_for(&mut self, commons: &dyn Commons, stats: &Stats, bytes: usize) -> bool {
        let Some(slice) = self.slice else { return true };
        let missing = (used(stats) + bytes as u64 + BYTES_PER_MESSAGE).saturating_sub(self.taken);
        if missing == 0 {
            return true;
        }
        // Where a slice does not fit any more, the message alone may.
        let Some(taken) =
            [missing.max(slice), missing].into_iter().find(|&room| commons.take_queue_room(room))
        else {
            return false;
        };
        self.taken += taken;
        true
    }

    /// Takes what the queues hold after a restart; what is over the limit is not counted.
    pub(super) fn restore(&mut self, commons: &dyn Commons, stats: &Stats) {
        let missing = used(stats).saturating_sub(self.taken);
        if self.slice.is_some() && missing > 0 && commons.take_queue_room(missing) {
            self.taken += missing;
        }
    }

    /// Gives back what the queues do not need any more.
    pub(super) fn settle(&mut self, commons: &dyn Commons, stats: &Stats) {
        let Some(slice) = self.slice else { return };
        let idle = self.taken.saturating_sub(used(stats));
        if idle >= 2 * slice {
            commons.give_queue_room(idle - slice);
            self.taken -= idle - slice;
        }
    }
}

fn used(stats: &Stats) -> u64 {
    stats.queue_bytes + stats.queue_messages * BYTES_PER_MESSAGE
}
