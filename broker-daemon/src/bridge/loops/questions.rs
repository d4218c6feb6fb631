//! Messages that ask whether messages go round, of all bridges of a broker.
//!
//! A question follows a message that came too often: its topic is that of the message with another name in one level, so
//! that it goes where the message goes as far as filters have a wildcard there. It is sent once for each of the last levels.
//! Where a filter of ours fixes the last level, a question about that level goes by a filter of its own: the payload has the
//! level that it stands for, so the question is placed as the message would be.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::gate::Author;

/// One level of the topic of a question.
const LEVEL: &str = "culex-loop-check";
/// What the payload begins with; broker, number and the last level of the message follow.
const BEGINNING: &str = "Do messages go round? Asked by the MQTT broker Culex, bridge question ";
/// So many levels, from the last on, have another name in a question of their own.
const LEVELS_MAX: usize = 4;

/// A filter for the questions that `filter` keeps away, because it fixes the last level; `None` if it does not.
pub(in crate::bridge) fn filter_for_questions(filter: &str) -> Option<String> {
    let (levels, last) = split_last(filter);
    (!matches!(last, "+" | "#")).then(|| format!("{levels}{LEVEL}"))
}

/// Whether a filter is for questions alone.
pub(in crate::bridge) fn is_for_questions(filter: &str) -> bool {
    split_last(filter).1 == LEVEL
}

/// The topic of the message that a question about its last level has followed; `None` if it is something else.
pub(in crate::bridge) fn message_of(topic: &str, payload: &[u8]) -> Option<String> {
    let (levels, level) = split_last(topic);
    let text = Text::read(payload).filter(|_| level == LEVEL)?;
    Some(format!("{levels}{}", text.last))
}

/// Topic and payload of the same question behind a message that has another topic now.
pub(in crate::bridge) fn question_after(topic: &str, payload: &[u8]) -> Option<(String, Bytes)> {
    let (levels, last) = split_last(topic);
    let text = Text { last, ..Text::read(payload)? };
    Some((format!("{levels}{LEVEL}"), text.write().into()))
}

/// A topic or filter without its last level, and that.
fn split_last(topic: &str) -> (&str, &str) {
    let last = topic.rfind('/').map_or(0, |at| at + 1);
    topic.split_at_checked(last).unwrap_or_default()
}

/// The payload of a question.
struct Text<'a> {
    broker: &'a str,
    number: &'a str,
    last: &'a str,
}

impl<'a> Text<'a> {
    fn read(payload: &'a [u8]) -> Option<Self> {
        let rest = std::str::from_utf8(payload).ok()?.strip_prefix(BEGINNING)?;
        let (broker, rest) = rest.split_once('/')?;
        let (number, last) = rest.split_once('/')?;
        (!last.contains('/')).then_some(Self { broker, number, last })
    }

    fn write(&self) -> String {
        let Self { broker, number, last } = self;
        format!("{BEGINNING}{broker}/{number}/{last}")
    }
}

/// Which way a message passes a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) enum Side {
    /// To the other broker.
    Out,
    /// From there.
    In,
}

/// How a question came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bridge) enum Return {
    /// A client has published it here: its ClientId, if that is known.
    Published(Option<Box<str>>),
    /// It came in over the bridge of this name.
    Over(Box<str>),
}

/// What is to be done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) enum Kind {
    /// It is no question of ours, or one that is still on its way.
    Passes,
    /// It is a question of ours that has come to its end.
    Ends,
}

/// The questions of a broker.
#[derive(Debug)]
pub(in crate::bridge) struct Questions {
    broker: String,
    next: AtomicU64,
    /// The last one of each side of each bridge.
    asked: Mutex<Vec<Question>>,
}

#[derive(Debug)]
struct Question {
    number: u64,
    bridge: Box<str>,
    side: Side,
    came_back: Option<Return>,
}

impl Questions {
    /// Of a broker that nobody else can be mistaken for, if these bits are random. They need not outlive it: whatever was on
    /// its way meanwhile goes round once more, and is marked anew.
    pub(in crate::bridge) fn new(bits: u128) -> Self {
        Self { broker: format!("{bits:032x}"), next: AtomicU64::new(0), asked: Mutex::default() }
    }

    /// What names this broker until it ends.
    pub(in crate::bridge) fn broker(&self) -> &str {
        &self.broker
    }

    /// A new question of a bridge in place of its last one on this side, behind a message to `topic`: its number, its topics,
    /// its payload.
    pub(in crate::bridge) fn ask(&self, bridge: &str, side: Side, topic: &str) -> (u64, Vec<String>, String) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut asked = self.asked.lock();
        asked.retain(|question| (&*question.bridge, question.side) != (bridge, side));
        asked.push(Question { number, bridge: bridge.into(), side, came_back: None });
        let levels: Vec<_> = topic.split('/').collect();
        let without = |at: usize| {
            let renamed = levels.iter().enumerate().map(|(n, level)| if n == at { LEVEL } else { *level });
            renamed.collect::<Vec<_>>().join("/")
        };
        let topics = (0..levels.len()).rev().take(LEVELS_MAX).map(without).collect();
        let text = Text { broker: &self.broker, number: &number.to_string(), last: split_last(topic).1 };
        (number, topics, text.write())
    }

    /// How a question came back, if it did.
    pub(in crate::bridge) fn answer(&self, number: u64) -> Option<Return> {
        self.asked.lock().iter().find(|question| question.number == number)?.came_back.clone()
    }

    /// A message is about to go out over a bridge; `author` has published it here.
    pub(in crate::bridge) fn goes_out(&self, topic: &str, payload: &[u8], author: Author<'_>) -> Kind {
        self.look(topic, payload, |question| match question.side {
            Side::Out => {
                question.came_back = Some(Return::Published(match author {
                    Author::Client(client_id) => Some(client_id.into()),
                    Author::Host | Author::Unknown => None,
                }));
                Kind::Ends
            }
            Side::In => Kind::Passes,
        })
    }

    /// A message has come in over a bridge.
    pub(in crate::bridge) fn comes_in(&self, topic: &str, payload: &[u8], bridge: &str) -> Kind {
        self.look(topic, payload, |question| {
            // Over the bridge that sent it an echo comes too, which says nothing.
            let is_echo = question.side == Side::Out && &*question.bridge == bridge;
            let is_elsewhere = question.side == Side::In && &*question.bridge != bridge;
            if !is_echo && !is_elsewhere {
                question.came_back = Some(Return::Over(bridge.into()));
            }
            Kind::Ends
        })
    }

    fn look(&self, topic: &str, payload: &[u8], then: impl FnOnce(&mut Question) -> Kind) -> Kind {
        if !topic.contains(LEVEL) {
            return Kind::Passes;
        }
        let Some(Text { broker, number, .. }) = Text::read(payload) else { return Kind::Passes };
        if broker != self.broker {
            return Kind::Passes;
        }
        let mut asked = self.asked.lock();
        match asked.iter_mut().find(|question| number.parse() == Ok(question.number)) {
            Some(question) => then(question),
            // An old one.
            None => Kind::Ends,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_goes_out_comes_back_by_a_client_or_another_bridge() {
        let questions = Questions::new(7);
        let (first, topics, payload) = questions.ask("a", Side::Out, "t/x/1");
        assert_eq!(topics, ["t/x/culex-loop-check", "t/culex-loop-check/1", "culex-loop-check/x/1"]);
        let (topic, payload) = (&*topics[1], payload.as_bytes());
        assert_eq!(questions.comes_in(topic, payload, "a"), Kind::Ends);
        assert_eq!(questions.answer(first), None, "an echo");
        assert_eq!(questions.comes_in(topic, payload, "b"), Kind::Ends);
        assert_eq!(questions.answer(first), Some(Return::Over("b".into())));
        assert_eq!(questions.goes_out(topic, payload, Author::Client("c")), Kind::Ends);
        assert_eq!(questions.answer(first), Some(Return::Published(Some("c".into()))));
        let (second, topics, _) = questions.ask("a", Side::Out, "t");
        assert_eq!((questions.answer(first), questions.answer(second)), (None, None));
        assert_eq!(topics, [LEVEL]);
        assert_eq!(
            questions.goes_out(LEVEL, payload, Author::Unknown),
            Kind::Ends,
            "an old one goes no further"
        );
    }

    #[test]
    fn a_question_that_comes_in_goes_on_until_it_comes_in_again() {
        let questions = Questions::new(7);
        let (number, topics, payload) = questions.ask("a", Side::In, "t/1");
        let (topic, payload) = (topics[0].clone(), payload.as_bytes());
        assert_eq!(questions.goes_out(&topic, payload, Author::Unknown), Kind::Passes);
        assert_eq!(questions.comes_in(&topic, payload, "b"), Kind::Ends);
        assert_eq!(questions.answer(number), None, "not where it was asked");
        assert_eq!(questions.comes_in(&topic, payload, "a"), Kind::Ends);
        assert_eq!(questions.answer(number), Some(Return::Over("a".into())));
    }

    #[test]
    fn what_others_send_passes() {
        let (questions, others) = (Questions::new(7), Questions::new(8));
        let (_, topics, payload) = others.ask("a", Side::Out, "t/1");
        let topic = topics[0].clone();
        questions.ask("a", Side::Out, "t/1");
        for payload in [&*payload, "", "hello", BEGINNING] {
            assert_eq!(questions.comes_in(&topic, payload.as_bytes(), "b"), Kind::Passes, "{payload}");
            assert_eq!(
                questions.goes_out(&topic, payload.as_bytes(), Author::Unknown),
                Kind::Passes,
                "{payload}"
            );
        }
    }

    #[test]
    fn a_question_goes_where_its_message_goes() {
        let (_, topics, payload) = Questions::new(7).ask("a", Side::Out, "t/1");
        let payload = payload.as_bytes();
        assert_eq!(message_of(&topics[0], payload).as_deref(), Some("t/1"));
        assert_eq!(message_of(&topics[1], payload), None, "another level");
        assert_eq!(message_of("t/1", payload), None);
        assert_eq!(message_of(&topics[0], b"hello"), None, "somebody else's");
        let (topic, payload) = question_after("far/2", payload).unwrap();
        assert_eq!(message_of(&topic, &payload).as_deref(), Some("far/2"));
        assert_eq!((question_after("t/1", b"hello"), split_last("")), (None, ("", "")));
    }

    #[test]
    fn a_filter_that_fixes_the_last_level_has_another_one_for_questions() {
        for (filter, expected) in [
            ("a/b", Some("a/culex-loop-check")),
            ("+/b", Some("+/culex-loop-check")),
            ("b", Some("culex-loop-check")),
            ("a/", Some("a/culex-loop-check")),
            ("a/+", None),
            ("a/#", None),
            ("#", None),
        ] {
            assert_eq!(filter_for_questions(filter).as_deref(), expected, "{filter}");
        }
        assert!(is_for_questions("a/culex-loop-check") && !is_for_questions("culex-loop-check/a"));
    }
}
