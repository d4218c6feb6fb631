//! Deadlines of a shard, ordered. A timer that is no longer needed is removed, so the set is never larger than the
//! number of connections and sessions.

use std::collections::BTreeSet;

use super::keys::{ConnectionKey, SessionKey};
use super::time::Tick;

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// No complete packet for 1.5 × Keep Alive.
    KeepAlive(ConnectionKey),
    /// The host did not answer a question in time.
    Answer(ConnectionKey),
    /// Somebody may have waited for a full store as long as the limit `stall_max`.
    Stalled,
    /// A connection that sent too fast is read again.
    Pace(ConnectionKey),
    /// A session without a connection reaches its expiry.
    SessionExpiry(SessionKey),
}

/// All deadlines.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeSet<(Tick, Timer)>,
}

impl Timers {
    pub(crate) fn arm(&mut self, at: Tick, timer: Timer) {
        self.set.insert((at, timer));
    }

    pub(crate) fn disarm(&mut self, at: Tick, timer: Timer) {
        self.set.remove(&(at, timer));
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Tick> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Takes the earliest deadline if it is due.
    pub(crate) fn pop_due(&mut self, now: Tick) -> Option<Timer> {
        let (at, timer) = *self.set.first()?;
        if at > now {
            return None;
        }
        self.set.pop_first();
        Some(timer)
    }
}
