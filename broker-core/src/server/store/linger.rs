//! How long a message waits for its receiver to acknowledge it before it is written.
//!
//! A message that is acknowledged first is not written at all, so waiting pays while receivers are quick, and costs its
//! publisher time while they are slow or away. Both are measured: whether what was written lately was acknowledged soon
//! after, and whether what waited was acknowledged in time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::engine::keys::PublicationId;

/// What a message waits at most.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// It waits so many times longer than receivers have taken lately.
const WAIT_FACTOR: u32 = 4;
const WAIT_MIN: Duration = Duration::from_millis(1);
/// How long nothing waits after waiting did not pay; doubled each time that it does not.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(32);
/// So that also a few fade.
const ONE: u64 = 1 << 16;

/// Whether to wait, learned from what came of it.
#[derive(Debug, Default)]
pub(super) struct Linger {
    /// How long receivers have taken lately; `None` while nothing waits.
    taken: Option<Duration>,
    /// Messages that were written, and those that were over before, or soon after; of the last transactions, old ones
    /// less and less. Each counts [`ONE`].
    written: u64,
    over: u64,
    /// The first message of each of the last transactions.
    recent: VecDeque<(Instant, PublicationId)>,
    paused_until: Option<Instant>,
    pause: Duration,
}

impl Linger {
    /// How long a message waits. Nothing: it is written at once.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.taken.map(|taken| (taken * WAIT_FACTOR).clamp(WAIT_MIN, WAIT_MAX))
    }

    /// A message that was waiting for so long is over: all receivers have acknowledged it.
    pub(super) fn note_over(&mut self, age: Duration) {
        self.over += ONE;
        if let Some(taken) = &mut self.taken {
            *taken = (*taken * 63 + age) / 64;
        }
    }

    /// A receiver has acknowledged a message that is not waiting.
    pub(super) fn note_late(&mut self, entry: PublicationId) {
        let is_recent = self.recent.front().is_some_and(|(_, first)| entry >= *first);
        if is_recent && self.taken.is_none() {
            self.over += ONE;
        }
    }

    /// A transaction begins with so many messages that could have been acknowledged first.
    pub(super) fn note_written(&mut self, now: Instant, first: PublicationId, messages: u64) {
        self.written += messages * ONE;
        while self.recent.front().is_some_and(|(at, _)| now.duration_since(*at) > WAIT_MAX) {
            self.recent.pop_front();
        }
        self.recent.push_back((now, first));
        match self.taken {
            Some(_) if self.written > self.over => {
                self.taken = None;
                self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
                self.paused_until = Some(now + self.pause);
            }
            Some(_) if self.written < self.over / 8 => self.pause = Duration::ZERO,
            None if self.over * 2 >= self.written && self.paused_until.is_none_or(|until| now >= until) => {
                self.taken = Some(WAIT_MAX / WAIT_FACTOR);
                // What comes of it counts from now on.
                self.written = 0;
            }
            Some(_) | None => {}
        }
        self.written -= self.written / 8;
        self.over -= self.over / 8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(5);

    /// Transactions of ten messages, beside which so many are acknowledged: in time if they wait, else just after.
    fn written(linger: &mut Linger, now: &mut Instant, transactions: u64, late: usize) {
        for number in 0..transactions {
            *now += STEP;
            linger.note_written(*now, PublicationId(number * 10), 10);
            for _ in 0..late {
                match linger.wait() {
                    Some(_) => linger.note_over(WAIT_MAX / WAIT_FACTOR),
                    None => linger.note_late(PublicationId(number * 10 + 5)),
                }
            }
        }
    }

    #[test]
    fn nothing_waits_for_who_is_away() {
        let (mut linger, mut now) = (Linger::default(), Instant::now());
        written(&mut linger, &mut now, 1000, 0);
        assert_eq!(linger.wait(), None);
        // Nor for what is read from a long queue.
        for _ in 0..1000 {
            linger.note_written(now, PublicationId(1_000_000), 10);
            linger.note_late(PublicationId(1));
        }
        assert_eq!(linger.wait(), None);
    }

    #[test]
    fn it_waits_for_who_is_quick_and_no_longer_than_needed() {
        let (mut linger, mut now) = (Linger::default(), Instant::now());
        written(&mut linger, &mut now, 20, 10);
        assert_eq!(linger.wait(), Some(WAIT_MAX));
        for _ in 0..1000 {
            linger.note_over(Duration::from_millis(2));
        }
        assert_eq!(linger.wait().map(|wait| wait.as_millis()), Some(8));
        // Away for a moment is no reason to stop.
        written(&mut linger, &mut now, 1, 0);
        assert!(linger.wait().is_some());
        written(&mut linger, &mut now, 50, 0);
        assert_eq!(linger.wait(), None);
    }

    #[test]
    fn what_does_not_pay_is_tried_ever_more_rarely() {
        let (mut linger, mut now) = (Linger::default(), Instant::now());
        let mut waiting = 0;
        for _ in 0..100_000 {
            let late = if linger.wait().is_some() { 0 } else { 10 };
            waiting += u32::from(late == 0);
            written(&mut linger, &mut now, 1, late);
        }
        assert!((1..1000).contains(&waiting), "{waiting}");
    }
}
