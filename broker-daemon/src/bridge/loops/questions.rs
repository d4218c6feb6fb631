//! Messages that ask whether messages go round, of all bridges of a broker.
//!
//! A question follows a message that came too often: its topic is that of the message with another name in the last
//! level, so that it goes where the message goes, as far as filters end with `+` or `#`.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::gate::Author;

/// The last level of the topic of a question.
const LEVEL: &str = "culex-loop-check";
/// What the payload begins with; broker and number follow.
const BEGINNING: &str = "Do messages go round? Asked by the MQTT broker Culex, bridge question ";

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

    /// A new question of a bridge in place of its last one on this side, behind a message to `topic`: number, topic, payload.
    pub(in crate::bridge) fn ask(&self, bridge: &str, side: Side, topic: &str) -> (u64, String, String) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut asked = self.asked.lock();
        asked.retain(|question| (&*question.bridge, question.side) != (bridge, side));
        asked.push(Question { number, bridge: bridge.into(), side, came_back: None });
        let topic = match topic.rsplit_once('/') {
            Some((levels, _)) => format!("{levels}/{LEVEL}"),
            None => LEVEL.to_owned(),
        };
        (number, topic, format!("{BEGINNING}{}/{number}", self.broker))
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
        if !topic.ends_with(LEVEL) {
            return Kind::Passes;
        }
        let rest = std::str::from_utf8(payload).ok().and_then(|text| text.strip_prefix(BEGINNING));
        let Some((broker, number)) = rest.and_then(|rest| rest.split_once('/')) else { return Kind::Passes };
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
        let (first, topic, payload) = questions.ask("a", Side::Out, "t/x/1");
        assert_eq!(topic, "t/x/culex-loop-check");
        let payload = payload.as_bytes();
        assert_eq!(questions.comes_in(&topic, payload, "a"), Kind::Ends);
        assert_eq!(questions.answer(first), None, "an echo");
        assert_eq!(questions.comes_in(&topic, payload, "b"), Kind::Ends);
        assert_eq!(questions.answer(first), Some(Return::Over("b".into())));
        assert_eq!(questions.goes_out(&topic, payload, Author::Client("c")), Kind::Ends);
        assert_eq!(questions.answer(first), Some(Return::Published(Some("c".into()))));
        let (second, topic, _) = questions.ask("a", Side::Out, "t");
        assert_eq!((&*topic, questions.answer(first), questions.answer(second)), (LEVEL, None, None));
        assert_eq!(
            questions.goes_out(&topic, payload, Author::Unknown),
            Kind::Ends,
            "an old one goes no further"
        );
    }

    #[test]
    fn a_question_that_comes_in_goes_on_until_it_comes_in_again() {
        let questions = Questions::new(7);
        let (number, topic, payload) = questions.ask("a", Side::In, "t/1");
        let payload = payload.as_bytes();
        assert_eq!(questions.goes_out(&topic, payload, Author::Unknown), Kind::Passes);
        assert_eq!(questions.comes_in(&topic, payload, "b"), Kind::Ends);
        assert_eq!(questions.answer(number), None, "not where it was asked");
        assert_eq!(questions.comes_in(&topic, payload, "a"), Kind::Ends);
        assert_eq!(questions.answer(number), Some(Return::Over("a".into())));
    }

    #[test]
    fn what_others_send_passes() {
        let (questions, others) = (Questions::new(7), Questions::new(8));
        let (_, topic, payload) = others.ask("a", Side::Out, "t/1");
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
}
