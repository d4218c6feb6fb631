//! Sliding windows of one second, and chance with a seed.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
/// What comes within this is one entry, so a window has at most a thousand.
const GRAIN: Duration = Duration::from_millis(1);

/// What has come within the last second. Stricter than a bucket: no second may have more, wherever it begins.
#[derive(Debug, Default)]
pub(super) struct Window {
    entries: VecDeque<(Instant, u32)>,
    sum: u32,
}

impl Window {
    pub(super) fn add(&mut self, amount: u32, now: Instant) {
        self.forget(now);
        self.sum = self.sum.saturating_add(amount);
        match self.entries.back_mut() {
            Some((at, sum)) if now.duration_since(*at) < GRAIN => *sum = sum.saturating_add(amount),
            Some(_) | None => self.entries.push_back((now, amount)),
        }
    }

    pub(super) fn sum(&mut self, now: Instant) -> u32 {
        self.forget(now);
        self.sum
    }

    /// Adds if no second has more than `limit` then.
    pub(super) fn take(&mut self, amount: u32, limit: u32, now: Instant) -> bool {
        let fits = self.sum(now).saturating_add(amount) <= limit;
        if fits {
            self.add(amount, now);
        }
        fits
    }

    /// When there is room for `amount`; now, if there is, or if nothing can make more room.
    pub(super) fn when(&mut self, amount: u32, limit: u32, now: Instant) -> Instant {
        self.forget(now);
        let mut left = self.sum;
        let mut at = now;
        for (entry, sum) in &self.entries {
            if left.saturating_add(amount) <= limit {
                break;
            }
            left = left.saturating_sub(*sum);
            at = *entry + SECOND;
        }
        at
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, sum)) = self.entries.front() {
            if now.duration_since(*at) < SECOND {
                break;
            }
            self.sum = self.sum.saturating_sub(*sum);
            self.entries.pop_front();
        }
    }
}

/// SplitMix64: the same seed, the same chances.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Whether one of `per_mille` cases in a thousand has come.
    pub(super) fn hits(&mut self, per_mille: u16) -> bool {
        per_mille > 0 && self.next() % 1000 < u64::from(per_mille)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_than_the_limit() {
        let (start, mut window) = (Instant::now(), Window::default());
        let at = |ms| start + Duration::from_millis(ms);
        assert!((0..100).all(|n| window.take(1, 100, at(n * 5))));
        assert!(!window.take(1, 100, at(999)));
        assert_eq!(window.when(1, 100, at(999)), at(1000));
        assert_eq!(window.when(3, 100, at(999)), at(1010));
        assert!(window.take(1, 100, at(1000)));
        assert!(!window.take(1, 100, at(1004)));
        assert_eq!(window.when(500, 100, at(1004)), at(2000));
        assert_eq!(window.sum(at(3000)), 0);
    }
}
