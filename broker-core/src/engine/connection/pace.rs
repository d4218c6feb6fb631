//! How fast a client may send: the limits `messages_per_second` and `bytes_per_second`.
//!
//! A message is paid for with time: at ten a second with 100 ms. Who has been slower may send a second's worth at once;
//! who has spent it is not read until there is time for one more. So nothing is dropped, and over any time nobody sends
//! more than its rate and one second of it. A packet is taken whole, and paid for behind it, however large it is.

use crate::engine::time::Tick;
use crate::limits::{Limit, Limits};

/// Telling that a client is slowed down is done once per connection in this time.
const REPORT_INTERVAL_MS: u64 = 60_000;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// The rates of one connection that has any.
#[derive(Debug)]
pub(crate) struct Pace {
    messages: Option<Purse>,
    bytes: Option<Purse>,
    /// Until when it is not read.
    pub(crate) pause: Option<Tick>,
    reported: Option<Tick>,
}

/// A connection has spent what it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    /// When it may go on.
    pub(crate) until: Tick,
    /// The limit, if it is to be told.
    pub(crate) told: Option<&'static str>,
}

impl Pace {
    /// `None` without limits, so that it costs nothing.
    pub(crate) fn of(limits: &Limits) -> Option<Box<Self>> {
        let (messages, bytes) = (Purse::of(limits.messages_per_second), Purse::of(limits.bytes_per_second));
        let has_one = messages.is_some() || bytes.is_some();
        has_one.then(|| Box::new(Self { messages, bytes, pause: None, reported: None }))
    }

    /// A packet has come: a PUBLISH or another, of so many bytes. Says if it has to pause, and does so.
    pub(crate) fn note_packet(&mut self, now: Tick, is_publish: bool, bytes: usize) -> Option<Pause> {
        let messages = self.messages.as_mut().filter(|_| is_publish);
        let messages = messages.map(|purse| purse.pay(now, 1)).map(|free| (free, "messages_per_second"));
        let bytes = self.bytes.as_mut().map(|purse| purse.pay(now, bytes as u64));
        let bytes = bytes.map(|free| (free, "bytes_per_second"));
        let (until, limit) = messages.max(bytes).filter(|(until, _)| *until > now)?;
        self.pause = Some(until);
        let is_due = self.reported.is_none_or(|at| now.0 >= at.0 + REPORT_INTERVAL_MS);
        if is_due {
            self.reported = Some(now);
        }
        Some(Pause { until, told: is_due.then_some(limit) })
    }
}

/// A rate, and how far its client has used it.
#[derive(Debug)]
struct Purse {
    per_second: u64,
    /// The time up to which everything that came is paid for, in nanoseconds of the shard's clock.
    paid_ns: u64,
}

impl Purse {
    fn of(limit: Limit) -> Option<Self> {
        match limit {
            Limit::AtMost(per_second) => Some(Self { per_second: per_second.get(), paid_ns: 0 }),
            Limit::Unlimited => None,
        }
    }

    /// Pays for `units`, and says when there will be time for one more.
    fn pay(&mut self, now: Tick, units: u64) -> Tick {
        let begin = self.paid_ns.max(now.0.saturating_mul(NS_PER_MS));
        self.paid_ns = begin.saturating_add(self.price_ns(units));
        let with_next = self.paid_ns.saturating_add(self.price_ns(1));
        Tick(with_next.saturating_sub(NS_PER_S).div_ceil(NS_PER_MS))
    }

    /// Rounded down, so that a second's worth fits into a second.
    fn price_ns(&self, units: u64) -> u64 {
        units.saturating_mul(NS_PER_S).checked_div(self.per_second).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(messages: u64, bytes: u64) -> Box<Pace> {
        let limit = |n| Limit::at_most(n).unwrap_or(Limit::Unlimited);
        let (messages_per_second, bytes_per_second) = (limit(messages), limit(bytes));
        Pace::of(&Limits { messages_per_second, bytes_per_second, ..Limits::default() }).unwrap()
    }

    /// Messages that a client gets through from `from` on that never waits: at each tick as many as it may.
    fn taken(pace: &mut Pace, from: u64, ticks: u64, bytes: usize) -> u64 {
        let mut count = 0;
        let mut now = from;
        while now < from + ticks {
            count += 1;
            now = pace.note_packet(Tick(now), true, bytes).map_or(now, |pause| pause.until.0);
        }
        count
    }

    #[test]
    fn a_second_at_once_and_then_the_rate() {
        for rate in [1, 2, 3, 7, 10, 999, 1000, 1001, 25_000] {
            let mut pace = pace(rate, 0);
            assert_eq!(taken(&mut pace, 5_000, 1, 10), rate, "at once, {rate}/s");
            let more = taken(&mut pace, 6_000, 10_000, 10);
            assert!((10 * rate..=11 * rate).contains(&more), "{more} in 10 s at {rate}/s");
        }
    }

    #[test]
    fn nobody_saves_more_than_a_second() {
        let mut pace = pace(10, 0);
        taken(&mut pace, 0, 1, 10);
        assert_eq!(taken(&mut pace, 3_600_000, 1, 10), 10);
    }

    #[test]
    fn a_packet_larger_than_a_second_is_paid_for_behind_it() {
        let mut pace = pace(0, 100);
        let pause = pace.note_packet(Tick(1_000), true, 1_000).unwrap();
        assert_eq!(pause, Pause { until: Tick(10_010), told: Some("bytes_per_second") });
        assert_eq!(pace.pause, Some(Tick(10_010)));
    }

    #[test]
    fn other_packets_than_publish_cost_bytes_alone() {
        let mut pace = pace(1, 1_000);
        for _ in 0..499 {
            assert_eq!(pace.note_packet(Tick(7), false, 2), None);
        }
        assert!(pace.note_packet(Tick(7), false, 2).is_some());
    }

    #[test]
    fn it_is_told_once_a_minute() {
        let mut pace = pace(1, 0);
        let mut told = Vec::new();
        let mut now = 0;
        while now < 120_000 {
            let Some(pause) = pace.note_packet(Tick(now), true, 10) else { continue };
            told.extend(pause.told.map(|limit| (now, limit)));
            now = pause.until.0;
        }
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!(told.first(), Some(&(0, "messages_per_second")));
    }

    #[test]
    fn no_number_is_too_large() {
        let mut pace = pace(u64::MAX, 1);
        for now in [0, 1, u64::MAX / 2, u64::MAX] {
            pace.note_packet(Tick(now), true, 268_435_455 + 5);
        }
        assert!(pace.pause.is_some());
    }
}
