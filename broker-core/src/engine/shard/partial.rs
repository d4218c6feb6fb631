//! Packets whose rest has not come. Somebody keeps their bytes, so all of them together have a limit.
//!
//! Not to read whoever comes last would let a few silent peers with large packets stop everybody else, and to close
//! whoever comes last would too. What a packet costs is its bytes times the time that it holds them: so the connections
//! go that hold much for long, which costs an attacker the bandwidth of a client that means it.

use std::cmp::Reverse;

use crate::engine::error::CloseReason;
use crate::engine::keys::ConnectionKey;
use crate::engine::terms::Terms;

use super::{Shard, Turn};

/// So much of the limit is made free at a time, that the connections need not be looked through for every packet.
const FREED_PART: u64 = 16;

impl Shard {
    /// `bytes` of a connection are left of an incomplete packet; before them came complete ones if `has_complete`.
    pub(super) fn note_partial(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        bytes: usize,
        has_complete: bool,
    ) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let before = connection.partial_bytes;
        connection.partial_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if has_complete {
            connection.last_packet = turn.now.tick;
        }
        if has_complete || before == 0 {
            connection.partial_since = turn.now.tick;
        }
        let sum = self.stats.partial_bytes.saturating_sub(u64::from(before));
        self.stats.partial_bytes = sum + u64::from(connection.partial_bytes);
        if self.limits.partial_total_bytes.is_exceeded_by(self.stats.partial_bytes) {
            // A shard's part has room for the largest packet of the broker. That of a listener may be larger.
            let own = Terms::limits(&connection.terms, &self.limits).packet_bytes;
            let total = self.limits.partial_total_bytes.get();
            let max = if own > self.limits.packet_bytes { total.max(own.into()) } else { total };
            if self.stats.partial_bytes > max {
                self.close_costliest(turn, max);
            }
        }
    }

    fn close_costliest(&mut self, turn: &mut Turn<'_>, max: u64) {
        let mut holders: Vec<_> = self.connections.partial_costs(turn.now.tick).collect();
        holders.sort_unstable_by_key(|(cost, key)| Reverse((*cost, key.slot)));
        for (_, key) in holders {
            self.close(turn, key, CloseReason::PartialPacket);
            if self.stats.partial_bytes <= max - max / FREED_PART {
                return;
            }
        }
    }
}
