//! What passes a bridge in one direction: counted, asked after, and cut once it is known to go round.
//!
//! ```text
//!   Open ── the same message 8 times within a minute ─► Asked ── the question comes back ─► Closed
//!     ▲                                                   │ it does not: again later            │
//!     └───────────────────────── 10 minutes later ────────┴─────────────────────────────────────┘
//! ```
//!
//! A question that does not come back says nothing where a filter of a foreign broker lets no question through. So a message
//! that passes very often all the same is told of, and not touched.
//!
//! Closed, each message passes once, and when it comes back by the way that the question took, it goes no further. Who
//! publishes the same message again and again by another way is not touched; by the same way the two cannot be told apart,
//! and as many go on as were published.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::echoes::Echoes;
use super::questions::{Questions, Return};

/// The same message so often within two halves is asked after.
const OFTEN: u32 = 8;
const HALF: Duration = Duration::from_secs(30);
/// The same message so often, although a question has not come back, is told of.
const VERY_OFTEN: u32 = 1000;
/// Messages that are counted in one half; with more it is shorter.
const COUNTED_MAX: usize = 16_384;
/// Between two questions; twice as long after each that did not come back.
const PAUSE_MIN: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Then it is found out anew whether there is a circle.
const CLOSED: Duration = Duration::from_secs(600);

/// One side of a bridge.
#[derive(Debug)]
pub(in crate::bridge) struct Gate {
    keys: RandomState,
    /// How often each message passed in this half and in the last one.
    counts: [HashMap<u64, u32>; 2],
    /// When this half began.
    since: Option<Instant>,
    /// The question that has not come back.
    question: Option<u64>,
    /// Not before this is another one asked.
    again_at: Option<Instant>,
    pause: Duration,
    closed: Option<Closed>,
    suspect: Option<Suspect>,
}

/// A topic with a message that passes very often.
#[derive(Debug)]
struct Suspect {
    topic: Box<str>,
    /// When it was found.
    since: Instant,
    /// When it passed last.
    last: Instant,
}

#[derive(Debug)]
struct Closed {
    by: Return,
    since: Instant,
    passed: Echoes,
}

/// Who has published a message here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) enum Author<'a> {
    /// Nobody here, or it is not known.
    Unknown,
    /// The broker itself, with its bridges.
    Host,
    /// The client of this ClientId.
    Client(&'a str),
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bridge) enum Passage {
    /// It goes on.
    Goes,
    /// It goes on, and it is worth asking whether it goes round: [`Gate::asked`].
    Asks,
    /// It goes on, and passes so often that it should be told of, once: [`Gate::suspect`].
    Strange,
    /// It goes on, and from now on messages do not go round: the question came back like this.
    Closes(Return),
    /// It was here before and goes no further.
    Again,
    /// It is a question of ours and goes no further.
    Ends,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            keys: RandomState::new(),
            counts: Default::default(),
            since: None,
            question: None,
            again_at: None,
            pause: PAUSE_MIN,
            closed: None,
            suspect: None,
        }
    }
}

impl Gate {
    /// A message passes.
    pub(in crate::bridge) fn pass(
        &mut self,
        (topic, payload): (&str, &[u8]),
        author: Author<'_>,
        questions: &Questions,
        now: Instant,
    ) -> Passage {
        self.closed.take_if(|closed| now.saturating_duration_since(closed.since) >= CLOSED);
        if let Some(closed) = &mut self.closed {
            if closed.by.is_way_of(author) && closed.passed.is_ours(topic, payload, now) {
                return Passage::Again;
            }
            closed.passed.sent(topic, payload, now);
            return Passage::Goes;
        }
        if let Some(by) = self.question.and_then(|number| questions.answer(number)) {
            let mut passed = Echoes::default();
            passed.sent(topic, payload, now);
            *self = Self { closed: Some(Closed { by: by.clone(), since: now, passed }), ..Self::default() };
            return Passage::Closes(by);
        }
        let count = self.count(topic, payload, now);
        if count >= OFTEN && self.again_at.is_none_or(|at| now >= at) {
            return Passage::Asks;
        }
        if count >= VERY_OFTEN && self.is_strange(topic, now) { Passage::Strange } else { Passage::Goes }
    }

    /// Notes a message that passes very often; gives whether that is news.
    fn is_strange(&mut self, topic: &str, now: Instant) -> bool {
        if let Some(known) =
            self.suspect.as_mut().filter(|known| now.saturating_duration_since(known.since) < CLOSED)
        {
            known.last = now;
            return false;
        }
        self.suspect = Some(Suspect { topic: topic.into(), since: now, last: now });
        true
    }

    /// The topic of a message that passes very often, so that it may go round.
    pub(in crate::bridge) fn suspect(&self, now: Instant) -> Option<&str> {
        let suspect = self.suspect.as_ref()?;
        (now.saturating_duration_since(suspect.last) < 2 * HALF).then_some(&suspect.topic)
    }

    /// A question with this number was sent.
    pub(in crate::bridge) fn asked(&mut self, number: u64, now: Instant) {
        self.question = Some(number);
        self.again_at = Some(now + self.pause);
        self.pause = (2 * self.pause).min(PAUSE_MAX);
    }

    /// By which way messages go round, if they do.
    pub(in crate::bridge) fn closed_by(&self, now: Instant) -> Option<&Return> {
        let closed = self.closed.as_ref()?;
        (now.saturating_duration_since(closed.since) < CLOSED).then_some(&closed.by)
    }

    /// How often this message has passed lately.
    fn count(&mut self, topic: &str, payload: &[u8], now: Instant) -> u32 {
        let [current, last] = &mut self.counts;
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if age >= HALF || current.len() >= COUNTED_MAX {
            *last = std::mem::take(current);
            if age >= 2 * HALF {
                last.clear();
            }
            self.since = Some(now);
        }
        let key = self.keys.hash_one((topic, payload));
        let count = current.entry(key).or_default();
        *count = count.saturating_add(1);
        count.saturating_add(last.get(&key).copied().unwrap_or_default())
    }
}

impl Return {
    /// Whether a message may have come by the same way.
    fn is_way_of(&self, author: Author<'_>) -> bool {
        match (self, author) {
            (Self::Published(Some(client_id)), Author::Client(author)) => **client_id == *author,
            (Self::Published(Some(_)), Author::Host) | (Self::Over(_), Author::Client(_)) => false,
            // A bridge of ours publishes as the host.
            (Self::Over(_), Author::Host) | (Self::Published(None), _) | (_, Author::Unknown) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::loops::Side;

    const X: (&str, &[u8]) = ("t", b"x");

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn whoever_repeats_himself_is_asked_after_ever_less_and_never_cut() {
        let (start, questions, mut gate) = (Instant::now(), Questions::new(1), Gate::default());
        let mut asked = Vec::new();
        for second in 0..4000 {
            let now = start + seconds(second);
            match gate.pass(X, Author::Unknown, &questions, now) {
                Passage::Goes => {}
                Passage::Asks => {
                    gate.asked(questions.ask("a", Side::In, X.0).0, now);
                    asked.push(second);
                }
                other @ (Passage::Closes(_) | Passage::Again | Passage::Ends | Passage::Strange) => {
                    panic!("{other:?}")
                }
            }
        }
        assert_eq!(asked, [7, 67, 187, 427, 907, 1867, 3787]);
    }

    #[test]
    fn what_passes_very_often_is_told_of_once_and_passes() {
        let (start, questions, mut gate) = (Instant::now(), Questions::new(1), Gate::default());
        let mut told = 0;
        for n in 0..20 * VERY_OFTEN {
            let now = start + n * Duration::from_millis(20);
            match gate.pass(X, Author::Unknown, &questions, now) {
                Passage::Goes => {}
                Passage::Asks => gate.asked(questions.ask("a", Side::Out, X.0).0, now),
                Passage::Strange => told += 1,
                other @ (Passage::Closes(_) | Passage::Again | Passage::Ends) => panic!("{other:?}"),
            }
        }
        let end = start + 20 * VERY_OFTEN * Duration::from_millis(20);
        assert_eq!((told, gate.suspect(end), gate.suspect(end + 2 * HALF)), (1, Some("t"), None));
    }

    #[test]
    fn different_and_rare_messages_are_not_asked_after() {
        let (start, questions, mut gate) = (Instant::now(), Questions::new(1), Gate::default());
        for n in 0..2 * COUNTED_MAX as u32 {
            assert_eq!(gate.pass(("t", &n.to_be_bytes()), Author::Unknown, &questions, start), Passage::Goes);
            let now = start + seconds(10) * n;
            assert_eq!(gate.pass(X, Author::Unknown, &questions, now), Passage::Goes);
        }
        assert!(gate.counts.iter().all(|counts| counts.len() <= COUNTED_MAX));
    }

    /// A gate whose question has come back.
    fn closed(questions: &Questions, now: Instant) -> Gate {
        let mut gate = Gate::default();
        while gate.pass(X, Author::Unknown, questions, now) == Passage::Goes {}
        let (number, topics, payload) = questions.ask("a", Side::Out, X.0);
        gate.asked(number, now);
        assert_eq!(gate.pass(X, Author::Unknown, questions, now), Passage::Goes, "no answer yet");
        questions.goes_out(&topics[0], payload.as_bytes(), Author::Client("p"));
        let by = Return::Published(Some("p".into()));
        assert_eq!(gate.pass(X, Author::Unknown, questions, now), Passage::Closes(by));
        gate
    }

    #[test]
    fn what_goes_round_passes_once_and_is_cut_when_it_comes_back() {
        let (now, questions) = (Instant::now(), Questions::new(1));
        let mut gate = closed(&questions, now);
        let (here, there) = (Author::Client("near"), Author::Client("p"));
        let y = ("t", &b"y"[..]);
        for _ in 0..3 {
            assert_eq!(gate.pass(y, here, &questions, now), Passage::Goes);
        }
        for _ in 0..3 {
            assert_eq!(gate.pass(y, there, &questions, now), Passage::Again);
        }
        assert_eq!(gate.pass(y, there, &questions, now), Passage::Goes, "published over there");
        assert_eq!(gate.pass(y, Author::Unknown, &questions, now), Passage::Again, "QoS 0");
    }

    #[test]
    fn after_a_while_it_is_found_out_anew() {
        let (now, questions) = (Instant::now(), Questions::new(1));
        let mut gate = closed(&questions, now);
        assert!(gate.closed_by(now).is_some());
        let later = now + CLOSED;
        assert!(gate.closed_by(later).is_none());
        for n in 1..2 * OFTEN {
            let expected = if n < OFTEN { Passage::Goes } else { Passage::Asks };
            assert_eq!(gate.pass(X, Author::Unknown, &questions, later), expected);
        }
    }
}
