//! How much happens in a minute, averaged over the last 1, 5 and 15 minutes.

use std::time::Duration;

/// What is averaged over: the end of a topic, and seconds.
pub(super) const PERIODS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// The averages of one counter, exponentially weighted: as time passes, what was weighs `exp(-time / period)`, and what
/// happened since the rest.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// The counter, when it was looked at last.
    count: Option<u64>,
    averages: [f64; PERIODS.len()],
}

impl Load {
    /// The counter is `count`, and was looked at `since` ago. Says the averages, per minute, in the order of
    /// [`PERIODS`].
    pub(super) fn update(&mut self, since: Duration, count: u64) -> [f64; PERIODS.len()] {
        let seconds = since.as_secs_f64();
        let before = self.count.replace(count);
        if let Some(before) = before.filter(|_| seconds > 0.0) {
            // Below 2^53 exact.
            let per_minute = count.saturating_sub(before) as f64 * 60.0 / seconds;
            for (average, (_, period)) in self.averages.iter_mut().zip(PERIODS) {
                *average = per_minute + (-seconds / period).exp() * (*average - per_minute);
            }
        }
        self.averages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The averages after so many seconds, looked at each `step` seconds, with a constant rate.
    fn after(seconds: u64, step: u64, per_second: u64) -> [f64; 3] {
        let mut load = Load::default();
        load.update(Duration::ZERO, 0);
        let mut averages = [0.0; 3];
        for now in (step..=seconds).step_by(usize::try_from(step).unwrap()) {
            averages = load.update(Duration::from_secs(step), now * per_second);
        }
        averages
    }

    #[test]
    fn a_constant_rate_comes_nearer_whatever_the_interval() {
        for step in [1, 10, 60] {
            for (average, (name, period)) in after(60, step, 10).into_iter().zip(PERIODS) {
                let expected = 600.0 * (1.0 - (-60.0 / period).exp());
                assert!((average - expected).abs() < 1e-6, "{name}: {average}, {expected}");
            }
        }
    }

    #[test]
    fn what_was_before_the_first_look_is_no_burst() {
        let mut load = Load::default();
        assert_eq!(load.update(Duration::ZERO, 1_000_000), [0.0; 3]);
        assert_eq!(load.update(Duration::from_secs(10), 1_000_000), [0.0; 3]);
    }

    #[test]
    fn a_clock_that_stands_still_divides_by_nothing() {
        let mut load = Load::default();
        load.update(Duration::ZERO, 0);
        assert_eq!(load.update(Duration::ZERO, 1_000), [0.0; 3]);
    }
}
