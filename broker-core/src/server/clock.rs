//! The only place of the server that asks what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::engine::time::{Now, Tick, WallTime};

/// Both clocks, counted from the start of the broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        self.now_at(self.elapsed())
    }

    /// The same, for who has just asked for the time since the start.
    pub(crate) fn now_at(self, elapsed: Duration) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { tick: tick_of(elapsed), wall: WallTime(millis(wall)) }
    }

    /// Time since the start, finer than a [`Tick`].
    pub(crate) fn elapsed(self) -> Duration {
        self.origin.elapsed()
    }

    /// As if the process had been stopped for `pause`.
    #[cfg(test)]
    pub(crate) fn skip(&mut self, pause: Duration) {
        self.origin = self.origin.checked_sub(pause).unwrap();
    }
}

impl From<WallTime> for SystemTime {
    fn from(time: WallTime) -> Self {
        // Milliseconds of 64 bits fit.
        UNIX_EPOCH.checked_add(Duration::from_millis(time.0)).unwrap_or(UNIX_EPOCH)
    }
}

/// The tick of a moment since the start.
pub(crate) fn tick_of(elapsed: Duration) -> Tick {
    Tick(millis(elapsed))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
