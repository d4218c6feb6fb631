//! Retained Messages of one topic, not faster than the other side keeps them; everything else goes on meanwhile.
//!
//! What comes too soon waits, and so does whatever follows to its topic, so each topic keeps its order. Nothing is left out:
//! at QoS 1 each of them was promised.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Messages that wait; with so many nothing more is taken. With those in flight they are fewer than a session gives out.
const HELD_MAX: usize = 40;

/// Something with a topic that may be retained.
pub(super) trait Spaced {
    fn topic(&self) -> &str;
    fn is_retained(&self) -> bool;
}

/// The space between Retained Messages of one topic.
#[derive(Debug)]
pub(super) struct Spacing<T> {
    /// `None`: there is none.
    gap: Option<Duration>,
    held: VecDeque<T>,
    /// Topics of Retained Messages that were sent within the last gap.
    recent: VecDeque<(Instant, Box<str>)>,
}

impl<T: Spaced> Spacing<T> {
    pub(super) const fn new(gap: Option<Duration>) -> Self {
        Self { gap, held: VecDeque::new(), recent: VecDeque::new() }
    }

    /// Whether another message may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.held.len() < HELD_MAX
    }

    /// Gives a message back that may be sent now; it is kept if it may not.
    pub(super) fn admit(&mut self, message: T, now: Instant) -> Option<T> {
        let is_behind = self.held.iter().any(|held| held.topic() == message.topic());
        if is_behind || self.wait(&message, now).is_some() {
            self.held.push_back(message);
            return None;
        }
        Some(message)
    }

    /// One that has waited long enough.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<T> {
        let is_first = |place: usize| {
            let topic = self.held.get(place).map(Spaced::topic);
            !self.held.iter().take(place).any(|before| Some(before.topic()) == topic)
        };
        let is_due = |(place, held): (usize, &T)| is_first(place) && self.wait(held, now).is_none();
        let place = self.held.iter().enumerate().position(is_due)?;
        self.held.remove(place)
    }

    /// When the next of those that wait may be sent.
    pub(super) fn wake(&self, now: Instant) -> Option<Instant> {
        self.held.iter().filter_map(|held| self.wait(held, now)).min()
    }

    /// Until when a message has to wait; `None` if it may be sent now.
    pub(super) fn wait(&self, message: &T, now: Instant) -> Option<Instant> {
        let gap = self.gap.filter(|_| message.is_retained())?;
        let (at, _) = self.recent.iter().rev().find(|(_, topic)| **topic == *message.topic())?;
        Some(*at + gap).filter(|end| *end > now)
    }

    /// A message was sent.
    pub(super) fn sent(&mut self, message: &T, now: Instant) {
        let Some(gap) = self.gap.filter(|_| message.is_retained()) else { return };
        while self.recent.front().is_some_and(|(at, _)| *at + gap <= now) {
            self.recent.pop_front();
        }
        self.recent.push_back((now, message.topic().into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(1);

    impl Spaced for (&str, bool, u32) {
        fn topic(&self) -> &str {
            self.0
        }

        fn is_retained(&self) -> bool {
            self.1
        }
    }

    #[test]
    fn what_comes_too_soon_waits_with_what_follows_to_its_topic() {
        let (start, mut spacing) = (Instant::now(), Spacing::new(Some(GAP)));
        let mut sent = Vec::new();
        let messages =
            [("a", true, 1), ("a", true, 2), ("a", false, 3), ("a", true, 4), ("b", true, 5), ("a", true, 6)];
        for message in messages {
            if let Some(message) = spacing.admit(message, start) {
                spacing.sent(&message, start);
                sent.push((0, message.2));
            }
        }
        for second in 0..10 {
            let now = start + GAP * second;
            while let Some(message) = spacing.next_due(now) {
                spacing.sent(&message, now);
                sent.push((second, message.2));
            }
        }
        assert_eq!(sent, [(0, 1), (0, 5), (1, 2), (1, 3), (2, 4), (3, 6)]);
        assert_eq!(spacing.wake(start), None);
    }

    #[test]
    fn it_is_bounded() {
        let (start, mut spacing) = (Instant::now(), Spacing::new(Some(GAP)));
        for n in 0..10_000 {
            let now = start + GAP * n;
            spacing.sent(&("a", true, n), now);
            assert!(spacing.recent.len() <= 2);
        }
        while spacing.has_room() {
            assert_eq!(spacing.admit(("a", true, 0), start + GAP * 9_999), None);
        }
        assert_eq!(spacing.held.len(), HELD_MAX);
    }

    #[test]
    fn without_a_gap_nothing_waits() {
        let (start, mut spacing) = (Instant::now(), Spacing::new(None));
        for n in 0..100 {
            let message = spacing.admit(("a", true, n), start).unwrap();
            spacing.sent(&message, start);
        }
        assert!(spacing.recent.is_empty());
    }
}
