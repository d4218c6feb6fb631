//! The first half of a turn: bytes of ready connections go into the shard.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::engine::error::CloseReason;
use crate::engine::keys::ConnectionKey;
use crate::engine::shard::{Consumed, Shard, Turn};

use super::super::link::{Link, ReadOutcome};
use super::{BYTES_PER_TURN, Lane, link_of};

const CONNECTIONS_PER_TURN: usize = 64;
/// Two panics of one shard within this time are a failed broker: its state may be torn, and hiding that is worse.
const PANIC_INTERVAL: Duration = Duration::from_secs(60);

impl Lane {
    pub(super) fn read_ready(&mut self, turn: &mut Turn<'_>) {
        let mut bytes_left = BYTES_PER_TURN;
        for _ in 0..self.ready.len().min(CONNECTIONS_PER_TURN) {
            if bytes_left == 0 || turn.deliveries_left == 0 {
                return;
            }
            let Some(key) = self.ready.pop_front() else { return };
            self.catching_up.1 = self.catching_up.1.saturating_sub(1);
            let Some(link) = link_of(&mut self.links, key) else { continue };
            link.is_queued = false;
            // Who does not read is not read; and nobody before CONNACK.
            if link.is_blocked || !link.is_ready() || !self.shard.is_reading(key) {
                continue;
            }
            self.load.connections += 1;
            self.partners.note(key);
            let outcome = Self::read(&mut self.shard, link, &mut self.shared, turn);
            match outcome {
                Ok(ReadOutcome::Bytes(count)) => bytes_left = bytes_left.saturating_sub(count),
                Ok(ReadOutcome::Nothing) => {}
                Ok(ReadOutcome::Ended) => match link.transport.fault() {
                    Some(fault) => self.shard.disconnect(turn, key, CloseReason::Transport(fault)),
                    None => self.shard.handle_lost(turn, key),
                },
                Err(Panicked) => self.survive_panic(turn, key),
            }
            if link_of(&mut self.links, key).is_some_and(|link| link.is_ready()) {
                self.queue(key);
            }
        }
    }

    fn read(
        shard: &mut Shard,
        link: &mut Link,
        shared: &mut [u8],
        turn: &mut Turn<'_>,
    ) -> Result<ReadOutcome, Panicked> {
        let key = link.key;
        let mut has_panicked = false;
        let outcome = link.read(shared, |bytes| {
            let input = AssertUnwindSafe(|| {
                #[cfg(test)]
                super::tests::panic_if_asked(bytes);
                shard.handle_bytes(turn, key, bytes)
            });
            catch_unwind(input).unwrap_or_else(|_| {
                has_panicked = true;
                Consumed { bytes: bytes.len(), is_cut_short: false }
            })
        });
        if has_panicked { Err(Panicked) } else { Ok(outcome) }
    }

    /// The connection whose bytes caused a panic is closed, and nobody else.
    fn survive_panic(&mut self, turn: &mut Turn<'_>, key: ConnectionKey) {
        let now = turn.now.tick;
        self.is_failed |= self.last_panic.is_some_and(|last| now.since(last) < PANIC_INTERVAL);
        self.last_panic = Some(now);
        self.shard.disconnect(turn, key, CloseReason::Internal);
    }
}

/// The bytes of a connection made the shard panic.
struct Panicked;
