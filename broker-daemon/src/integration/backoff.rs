//! How long to wait before the next attempt.

use std::time::Duration;

use tokio::time::Instant;

/// Doublings after which only the cap counts.
const DOUBLINGS_MAX: u32 = 20;

/// Waiting times that grow with every attempt that fails, with full jitter: each is anywhere between the base and a bound
/// that doubles up to the cap. So a thousand clients that lost one server do not come back at one moment.
///
/// ```
/// # use culex::integration::Backoff;
/// # use std::time::Duration;
/// let (base, cap) = (Duration::from_secs(1), Duration::from_secs(120));
/// let mut backoff = Backoff::new(base, cap, Duration::from_secs(30));
/// let delay = backoff.next_delay(0x5eed);
/// assert!(delay >= base && delay <= 2 * base);
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    stable: Duration,
    attempts: u32,
    connected: Option<Instant>,
}

impl Backoff {
    /// Waits at least `base` and at most `cap` (`base` if that is longer). What was connected for `stable` begins anew.
    pub fn new(base: Duration, cap: Duration, stable: Duration) -> Self {
        Self { base, cap: cap.max(base), stable, attempts: 0, connected: None }
    }

    /// How long to wait after one more failure. `entropy` is any random number: the same one, the same answer. After the
    /// n-th failure it is from the base up to 2ⁿ times that, within the cap.
    pub fn next_delay(&mut self, entropy: u64) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        let factor = 1_u32 << self.attempts.min(DOUBLINGS_MAX);
        let bound = self.base.saturating_mul(factor).clamp(self.base, self.cap);
        let span = (bound - self.base).as_nanos();
        // The high half of the product: every delay of the span about equally often.
        let jitter = span.saturating_mul(u128::from(entropy)) >> u64::BITS;
        self.base + Duration::from_nanos(u64::try_from(jitter).unwrap_or(u64::MAX))
    }

    /// Failures since the last stable connection.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The other side is there.
    pub const fn connected(&mut self, at: Instant) {
        self.connected = Some(at);
    }

    /// The other side is gone again. If it was there long enough, what failed before does not count any more.
    pub fn lost(&mut self, at: Instant) {
        let was_stable =
            self.connected.take().is_some_and(|since| at.saturating_duration_since(since) >= self.stable);
        if was_stable {
            self.reset();
        }
    }

    /// Nothing has failed: an answer was as it should be.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_is_within_its_bounds(
            base_ms in 0_u64..10_000,
            cap_ms in 0_u64..1_000_000,
            entropies in prop::collection::vec(any::<u64>(), 1..60),
        ) {
            let (base, cap) = (Duration::from_millis(base_ms), Duration::from_millis(cap_ms));
            let mut backoff = Backoff::new(base, cap, Duration::from_secs(30));
            for (n, entropy) in entropies.into_iter().enumerate() {
                let delay = backoff.next_delay(entropy);
                let doubled = base.saturating_mul(1 << (n + 1).min(20));
                prop_assert!(delay >= base && delay <= cap.max(base) && delay <= doubled, "{n}: {delay:?}");
            }
        }
    }

    #[test]
    fn the_whole_span_is_used() {
        let bounds = |entropy| {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(120), Duration::MAX);
            (0..20).map(|_| backoff.next_delay(entropy)).last().unwrap()
        };
        assert_eq!(bounds(0), Duration::from_secs(1));
        assert!(bounds(u64::MAX) > Duration::from_millis(119_999), "{:?}", bounds(u64::MAX));
        let middle = bounds(u64::MAX / 2);
        assert!(middle > Duration::from_secs(60) && middle < Duration::from_secs(61), "{middle:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_stable_connection_begins_anew() {
        let mut backoff =
            Backoff::new(Duration::from_secs(1), Duration::from_secs(120), Duration::from_secs(30));
        for expected in [1, 2] {
            backoff.next_delay(7);
            backoff.connected(Instant::now());
            tokio::time::advance(Duration::from_millis(29_999)).await;
            backoff.lost(Instant::now());
            assert_eq!(backoff.attempts(), expected);
        }
        backoff.connected(Instant::now());
        tokio::time::advance(Duration::from_secs(30)).await;
        backoff.lost(Instant::now());
        assert_eq!(backoff.attempts(), 0);
        // Without a connection in between nothing is forgotten.
        backoff.next_delay(7);
        tokio::time::advance(Duration::from_secs(300)).await;
        backoff.lost(Instant::now());
        assert_eq!(backoff.attempts(), 1);
    }
}
