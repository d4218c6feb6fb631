//! What one bridge knows of messages that go round, and what it says of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use culex_codec::{PropertiesBuf, Property, QoS};
use culex_core::client::{Message, Publication};
use culex_core::{Delivery, Origin};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::gate::{Author, Gate, Passage};
use super::questions::{Kind, Questions, Return, Side};

/// The User Property that says which broker of ours a message has left over a bridge.
const MARK: &str = "culex-hop";
/// How often it is said that messages were dropped.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// What to do, whatever was found.
const ADVICE: &str = "of each message one round goes on and the next is dropped: give each direction its own prefix, or take \
                      one of the ways away";

/// The gates of a bridge.
#[derive(Debug)]
pub(in crate::bridge) struct Circles {
    bridge: Box<str>,
    questions: Arc<Questions>,
    outgoing: Mutex<Gate>,
    incoming: Mutex<Gate>,
    dropped: AtomicU64,
    /// When it was said last that messages were dropped, and how many since.
    told: Mutex<(Option<Instant>, u64)>,
}

impl Circles {
    pub(in crate::bridge) fn new(bridge: &str, questions: Arc<Questions>) -> Self {
        Self {
            bridge: bridge.into(),
            questions,
            outgoing: Mutex::default(),
            incoming: Mutex::default(),
            dropped: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// What goes with each message to a broker of 5.0.
    pub(in crate::bridge) fn mark(&self) -> PropertiesBuf {
        let mut mark = PropertiesBuf::new();
        // Both are short.
        let _ = mark.push(Property::UserProperty(MARK, self.questions.broker()));
        mark
    }

    /// A message is about to go out.
    pub(in crate::bridge) fn goes_out(&self, message: &Delivery) -> Passage {
        let (topic, payload) = (&*message.topic, &*message.payload);
        let author = author_of(message.origin());
        if self.questions.goes_out(topic, payload, author) == Kind::Ends {
            return Passage::Ends;
        }
        self.pass(Side::Out, topic, payload, author)
    }

    /// A message has come in.
    pub(in crate::bridge) fn comes_in(&self, message: &Message) -> Passage {
        if message.user_properties().any(|mark| mark == (MARK, self.questions.broker())) {
            self.drops("they have left this broker over a bridge before");
            return Passage::Again;
        }
        let (topic, payload) = (&*message.topic, &*message.payload);
        if self.questions.comes_in(topic, payload, &self.bridge) == Kind::Ends {
            return Passage::Ends;
        }
        self.pass(Side::In, topic, payload, Author::Unknown)
    }

    fn pass(&self, side: Side, topic: &str, payload: &[u8], author: Author<'_>) -> Passage {
        let passage = self.gate(side).lock().pass((topic, payload), author, &self.questions, Instant::now());
        match &passage {
            Passage::Closes(by) => {
                tracing::warn!(bridge = %self.bridge, "messages go round: {}; {ADVICE}", words(side, by));
            }
            Passage::Again => self.drops("see what was said of it before, or `culex bridge status`"),
            Passage::Strange => {
                tracing::warn!(bridge = %self.bridge, "{}", suspicion(side, topic));
            }
            Passage::Goes | Passage::Asks | Passage::Ends => {}
        }
        passage
    }

    /// Sends a question after a message to this topic; `send` says whether that was possible.
    pub(in crate::bridge) fn ask(&self, side: Side, topic: &str, mut send: impl FnMut(Publication) -> bool) {
        let (number, topics, payload) = self.questions.ask(&self.bridge, side, topic);
        let mut is_asked = false;
        for topic in topics {
            is_asked |= send(Publication::new(topic, payload.clone(), QoS::AtLeastOnce));
        }
        if is_asked {
            self.gate(side).lock().asked(number, Instant::now());
        }
    }

    /// For everybody who asks how the bridge is.
    pub(in crate::bridge) fn view(&self) -> Value {
        let now = Instant::now();
        let found = [Side::Out, Side::In].map(|side| {
            let gate = self.gate(side).lock();
            gate.closed_by(now).map(|by| format!("messages go round: {}; {ADVICE}", words(side, by)))
        });
        let suspected = [Side::Out, Side::In].map(|side| {
            let gate = self.gate(side).lock();
            gate.suspect(now).map(|topic| suspicion(side, topic))
        });
        let [found, suspected] =
            [found, suspected].map(|list| list.into_iter().flatten().collect::<Vec<_>>());
        json!({ "dropped": self.dropped.load(Ordering::Relaxed), "found": found, "suspected": suspected })
    }

    const fn gate(&self, side: Side) -> &Mutex<Gate> {
        match side {
            Side::Out => &self.outgoing,
            Side::In => &self.incoming,
        }
    }

    fn drops(&self, why: &str) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        let (now, mut told) = (Instant::now(), self.told.lock());
        told.1 += 1;
        if told.0.is_none_or(|at| now.saturating_duration_since(at) >= TELL_EVERY) {
            tracing::warn!(bridge = %self.bridge, messages = told.1, "messages that went round were dropped: {why}");
            *told = (Some(now), 0);
        }
    }
}

/// Of a message that nobody keeps it is not known.
fn author_of(origin: &Origin) -> Author<'_> {
    match &origin.author {
        Some(author) => Author::Client(&author.client_id),
        None if origin.number.is_some() => Author::Host,
        None => Author::Unknown,
    }
}

/// What may be, in words.
fn suspicion(side: Side, topic: &str) -> String {
    let way = match side {
        Side::Out => "goes out",
        Side::In => "comes in",
    };
    format!(
        "the same message on topic \"{}\" {way} very often, and nothing is dropped: if nobody publishes it so often, messages go \
         round by a bridge of another broker; give each direction its own prefix, or take one of the ways away",
        topic.escape_debug()
    )
}

/// What was found, in words.
fn words(side: Side, by: &Return) -> String {
    match (side, by) {
        (Side::In, _) => {
            "what comes in goes back to the other broker without this bridge, and comes in again; a bridge of another broker \
             takes it from here"
                .to_owned()
        }
        (Side::Out, Return::Published(Some(client_id))) => format!(
            "what goes out comes back; the client \"{client_id}\" publishes it here, as a bridge of another broker does"
        ),
        (Side::Out, Return::Published(None)) => "what goes out comes back and is published here again".to_owned(),
        (Side::Out, Return::Over(bridge)) => format!("what goes out comes back over the bridge \"{bridge}\""),
    }
}
