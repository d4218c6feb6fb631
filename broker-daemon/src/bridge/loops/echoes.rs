//! What we have sent and may get back.
//!
//! A broker that does not know that it talks to a bridge sends a message back that a filter of the bridge itself matches.
//! Each message that is sent to a topic that comes in too is remembered by its fingerprint, once for each time; the same
//! message coming in takes one away and goes no further. Should somebody else have published the very same message, one of
//! the two goes on, and it makes no difference which.
//!
//! All connections of a bridge remember together, because what each of them sends comes in over the first. While that one
//! is away its session there keeps what would have come, so nothing is forgotten until it is back.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// An echo takes no longer while there is a connection.
const ECHO_MAX: Duration = Duration::from_secs(60);
/// Messages that are remembered.
const REMEMBERED_MAX: usize = 16_384;

/// What may come back to a bridge.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Echoes {
    keys: RandomState,
    /// How often each may come back.
    expected: HashMap<u64, u32>,
    /// In the order in which they were sent.
    sent: VecDeque<(Instant, u64)>,
    /// Nothing can come in, so time does not count.
    is_away: bool,
}

impl Echoes {
    /// The connection over which they come has begun. With its session on the other side, what waited there comes now;
    /// without, it never will.
    pub(in crate::bridge) fn begin(&mut self, is_session_present: bool, now: Instant) {
        self.is_away = false;
        if is_session_present {
            self.sent.iter_mut().for_each(|(at, _)| *at = now);
        } else {
            self.expected.clear();
            self.sent.clear();
        }
    }

    /// That connection has ended.
    pub(in crate::bridge) fn end(&mut self) {
        self.is_away = true;
    }

    /// A message was sent that may come back.
    pub(in crate::bridge) fn sent(&mut self, topic: &str, payload: &[u8], now: Instant) {
        self.forget(now);
        let key = self.keys.hash_one((topic, payload));
        *self.expected.entry(key).or_default() += 1;
        self.sent.push_back((now, key));
    }

    /// Whether a message that comes in is one of ours.
    pub(in crate::bridge) fn is_ours(&mut self, topic: &str, payload: &[u8], now: Instant) -> bool {
        self.forget(now);
        if self.expected.is_empty() {
            return false;
        }
        let key = self.keys.hash_one((topic, payload));
        let is_ours = self.take(key);
        if is_ours && let Some(place) = self.sent.iter().position(|(_, sent)| *sent == key) {
            self.sent.remove(place);
        }
        is_ours
    }

    fn forget(&mut self, now: Instant) {
        let is_away = self.is_away;
        let is_over = |at: Instant| !is_away && now.saturating_duration_since(at) >= ECHO_MAX;
        while self.sent.len() >= REMEMBERED_MAX || self.sent.front().is_some_and(|(at, _)| is_over(*at)) {
            let Some((_, key)) = self.sent.pop_front() else { return };
            self.take(key);
        }
    }

    fn take(&mut self, key: u64) -> bool {
        let Some(count) = self.expected.get_mut(&key) else { return false };
        *count -= 1;
        if *count == 0 {
            self.expected.remove(&key);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_message_comes_back_once() {
        let mut echoes = Echoes::default();
        let now = Instant::now();
        assert!(!echoes.is_ours("a", b"1", now));
        echoes.sent("a", b"1", now);
        echoes.sent("a", b"1", now);
        assert!(!echoes.is_ours("a", b"2", now) && !echoes.is_ours("b", b"1", now));
        assert!(echoes.is_ours("a", b"1", now) && echoes.is_ours("a", b"1", now));
        assert!(!echoes.is_ours("a", b"1", now), "somebody else's");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_outlives_a_connection_as_long_as_its_session() {
        let mut echoes = Echoes::default();
        let now = Instant::now();
        echoes.sent("a", b"1", now);
        echoes.sent("a", b"2", now);
        echoes.end();
        echoes.sent("a", b"3", now + 2 * ECHO_MAX);
        echoes.begin(true, now + 3 * ECHO_MAX);
        assert!(echoes.is_ours("a", b"1", now + 3 * ECHO_MAX));
        assert!(echoes.is_ours("a", b"3", now + 3 * ECHO_MAX));
        assert!(!echoes.is_ours("a", b"2", now + 4 * ECHO_MAX), "it would have come by now");
        echoes.sent("a", b"4", now + 4 * ECHO_MAX);
        echoes.end();
        echoes.begin(false, now + 4 * ECHO_MAX);
        assert!(!echoes.is_ours("a", b"4", now + 4 * ECHO_MAX), "it was forgotten there");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_back_is_forgotten() {
        let mut echoes = Echoes::default();
        echoes.sent("a", b"1", Instant::now());
        assert!(!echoes.is_ours("a", b"1", Instant::now() + ECHO_MAX));
        assert!(echoes.sent.is_empty() && echoes.expected.is_empty());
        for n in 0..2 * REMEMBERED_MAX {
            echoes.sent("a", &n.to_be_bytes(), Instant::now());
        }
        assert!(echoes.sent.len() <= REMEMBERED_MAX && echoes.expected.len() <= REMEMBERED_MAX);
    }
}
