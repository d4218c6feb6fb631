//! How fast the other side may be sent to.

use std::time::Duration;

use tokio::time::Instant;

/// A rate is counted in parts of this.
const WHOLE: u32 = 1024;
/// The slowest that a refusal makes it: a sixteenth.
const SHARE_MIN: u32 = WHOLE / 16;
/// What is given back in a second without a refusal: from the slowest to the whole rate in 30 s.
const RECOVERED_PER_SECOND: u32 = WHOLE / 32;
/// What an amount of 1 costs: a nanosecond pays off the rate in parts of [`WHOLE`], so nothing is ever rounded, and as many
/// as the burst fit into it.
const PRICE: u128 = 1_000_000_000 * WHOLE as u128;

/// A token bucket: over any time no more than rate × time + burst, and an amount larger than the burst counts as it is.
///
/// It keeps what is owed at a moment and nothing else, so it needs no task and no timer.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_second: u32,
    burst: u32,
    /// What was taken and is not paid off yet, in parts of [`PRICE`].
    owed: u128,
    /// When `owed` was right; `None` as long as nothing was taken.
    owed_at: Option<Instant>,
    /// Of the rate, in parts of [`WHOLE`].
    share: u32,
    /// When `share` was right.
    slowed_at: Option<Instant>,
}

impl Bucket {
    /// Lets `per_second` through in a second, and `burst` at once after a pause; at least 1 each.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let (per_second, burst) = (per_second.max(1), burst.max(1));
        Self { per_second, burst, owed: 0, owed_at: None, share: WHOLE, slowed_at: None }
    }

    /// Takes `amount` now. An amount over the burst is let through by a full bucket, and paid for afterwards.
    ///
    /// # Errors
    /// How long to wait before it is worth asking again; nothing was taken.
    pub fn take(&mut self, amount: u32, now: Instant) -> Result<(), Duration> {
        self.pay(now);
        let (cost, room) = (PRICE * u128::from(amount), PRICE * u128::from(self.burst));
        let excess = (self.owed + cost.min(room)).saturating_sub(room);
        if excess > 0 {
            let nanos = excess.div_ceil(self.paid_per_nanosecond());
            return Err(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        }
        self.owed += cost;
        Ok(())
    }

    /// The other side said that it is too much, or says nothing any more: half the rate from now on, a sixteenth of what
    /// was asked for at least. Without another such word it comes back within 30 s.
    pub fn slow_down(&mut self, now: Instant) {
        self.pay(now);
        self.share = (self.share / 2).max(SHARE_MIN);
        self.slowed_at = Some(now);
    }

    /// The rate at this moment, at least 1 in a second.
    pub fn per_second(&mut self, now: Instant) -> u32 {
        self.pay(now);
        let rate = u64::from(self.per_second) * u64::from(self.share) / u64::from(WHOLE);
        u32::try_from(rate).unwrap_or(u32::MAX).max(1)
    }

    /// Brings everything to this moment.
    fn pay(&mut self, now: Instant) {
        if let Some(since) = self.owed_at {
            let nanos = now.saturating_duration_since(since).as_nanos();
            self.owed = self.owed.saturating_sub(nanos * self.paid_per_nanosecond());
        }
        self.owed_at = self.owed_at.max(Some(now));
        self.recover(now);
    }

    fn paid_per_nanosecond(&self) -> u128 {
        u128::from(self.per_second) * u128::from(self.share)
    }

    fn recover(&mut self, now: Instant) {
        let Some(since) = self.slowed_at else { return };
        let seconds = now.saturating_duration_since(since).as_secs();
        let recovered = u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(RECOVERED_PER_SECOND);
        self.share = self.share.saturating_add(recovered).min(WHOLE);
        self.slowed_at = (self.share < WHOLE).then(|| since + Duration::from_secs(seconds));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes as fast as it may, and returns when how much was let through.
    fn drain(bucket: &mut Bucket, start: Instant, amounts: &[(u32, u64)]) -> Vec<(Duration, u32)> {
        let mut now = start;
        let mut taken = Vec::new();
        for (amount, pause_ms) in amounts {
            now += Duration::from_millis(*pause_ms);
            while let Err(wait) = bucket.take(*amount, now) {
                assert!(wait > Duration::ZERO);
                now += wait;
            }
            taken.push((now - start, *amount));
        }
        taken
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_rate_times_time_and_burst(
            per_second in 1_u32..1_000_000,
            burst in 1_u32..1_000,
            amounts in prop::collection::vec((0_u32..1_500, 0_u64..200), 1..80),
        ) {
            let mut bucket = Bucket::new(per_second, burst);
            let taken = drain(&mut bucket, Instant::now(), &amounts);
            for (first, (from, _)) in taken.iter().enumerate() {
                let mut sum = 0_u64;
                for (to, amount) in &taken[first..] {
                    sum += u64::from(*amount);
                    let allowed = (*to - *from).as_secs_f64() * f64::from(per_second);
                    // An amount over the burst is let through as a whole.
                    let burst = f64::from(burst.max(*amount));
                    prop_assert!(sum as f64 <= allowed + burst + 1e-3, "{sum} in {:?}", *to - *from);
                }
            }
        }

        #[test]
        fn whoever_waits_as_told_gets_the_whole_rate(per_second in 1_u32..100_000, burst in 1_u32..1_000) {
            let start = Instant::now();
            let amounts = vec![(1, 0); 500];
            let taken = drain(&mut Bucket::new(per_second, burst), start, &amounts);
            let (last, _) = taken.last().unwrap();
            let needed = f64::from(500_u32.saturating_sub(burst)) / f64::from(per_second);
            prop_assert!(last.as_secs_f64() <= needed + 1e-3, "{last:?} instead of {needed} s");
        }
    }

    #[test]
    fn a_refusal_halves_the_rate_and_time_brings_it_back() {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(1024, 1);
        assert_eq!(bucket.per_second(now), 1024);
        for expected in [512, 256, 128, 64, 64] {
            bucket.slow_down(now);
            assert_eq!(bucket.per_second(now), expected);
        }
        let mut before = 64;
        for _ in 0..30 {
            now += Duration::from_secs(1);
            let rate = bucket.per_second(now);
            assert_eq!(rate, (before + 32).min(1024));
            before = rate;
        }
        assert_eq!(before, 1024);
    }

    #[test]
    fn a_bucket_is_as_large_as_its_burst_at_every_rate() {
        for (per_second, burst) in [(93, 2), (7, 3), (999_983, 997)] {
            let (start, mut bucket) = (Instant::now(), Bucket::new(per_second, burst));
            for round in 0..100 {
                // As long as it takes to fill.
                let nanos = (1_000_000_000 * u64::from(burst)).div_ceil(per_second.into());
                let now = start + round * Duration::from_nanos(nanos);
                assert!((0..burst).all(|_| bucket.take(1, now).is_ok()), "{per_second}, {round}");
                assert!(bucket.take(1, now).is_err());
            }
        }
    }

    #[test]
    fn half_the_rate_is_half_as_much() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, 1);
        bucket.slow_down(start);
        bucket.take(1, start).unwrap();
        assert_eq!(bucket.take(1, start), Err(Duration::from_millis(20)));
        assert_eq!(bucket.take(1, start + Duration::from_millis(20)), Ok(()));
    }
}
