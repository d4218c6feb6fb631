//! Time as the engine sees it: numbers that the caller hands in with every input.

use std::time::Duration;

/// Milliseconds on a monotonic clock with an origin of the caller's choice. Deadlines are measured with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(pub u64);

/// Milliseconds since 1970-01-01 UTC by the wall clock, which may jump. Kept with what outlives the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(pub u64);

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic.
    pub tick: Tick,
    /// Wall clock.
    pub wall: WallTime,
}

impl Tick {
    /// The moment `duration` later; saturates at the end of time. Fractions of a millisecond are rounded up, so
    /// that nothing fires early.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
