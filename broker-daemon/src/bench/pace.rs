//! An open loop: when each message is due, whether or not the broker keeps up.
//!
//! A latency counts from the time at which the message was due, so a broker that stops for a second is seen by all that came due in
//! that second, not by the one message that happened to wait ("coordinated omission").

use std::time::Duration;

use crate::bench::plan::Length;
use crate::bench::template::nanoseconds;

/// The timetable of a run. Publishers take turns, evenly spaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Of all publishers together.
    per_second: u64,
    publishers: u64,
    /// Messages that are due before do not count, but are sent.
    from_ns: u64,
    /// None is due from here on.
    until_ns: u64,
}

impl Pace {
    /// Times count from the start of the run.
    pub(super) fn new(per_second: u32, publishers: u32, length: Length) -> Self {
        let (from_ns, until_ns) = match length {
            Length::Count(_) => (0, u64::MAX),
            Length::Time { warm_up, measured } => (nanoseconds(warm_up), nanoseconds(warm_up + measured)),
        };
        Self {
            per_second: u64::from(per_second).max(1),
            publishers: u64::from(publishers),
            from_ns,
            until_ns,
        }
    }

    /// When the message of publisher `number` with this sequence is due; `None` if the run is over by then.
    pub(super) fn due_ns(&self, number: u32, sequence: u32) -> Option<u64> {
        let before = u128::from(sequence) * u128::from(self.publishers) + u128::from(number);
        let due = before * NS_PER_SECOND / u128::from(self.per_second);
        u64::try_from(due).ok().filter(|due| *due < self.until_ns)
    }

    /// Whether the latency of what was due then counts.
    pub(super) fn is_measured(&self, due_ns: u64) -> bool {
        due_ns >= self.from_ns
    }
}

const NS_PER_SECOND: u128 = Duration::from_secs(1).as_nanos();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_take_turns() {
        let pace = Pace::new(1000, 4, Length::Count(10));
        let due: Vec<_> = (0..8).map(|n| pace.due_ns(n % 4, n / 4).unwrap() / 1_000_000).collect();
        assert_eq!(due, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(pace.due_ns(0, 250), Some(1_000_000_000));
    }

    #[test]
    fn what_is_due_in_the_measured_part_counts() {
        let (warm_up, measured) = (Duration::from_millis(10), Duration::from_millis(20));
        let pace = Pace::new(1000, 1, Length::Time { warm_up, measured });
        let due: Vec<_> = (0..100).map_while(|sequence| pace.due_ns(0, sequence)).collect();
        assert_eq!(due.len(), 30);
        assert_eq!(due.iter().filter(|due| pace.is_measured(**due)).count(), 20);
    }
}
