//! What an actor reports, one line an event.

use std::fmt;

/// A message as a client received it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: u8,
    pub(crate) is_retained: bool,
}

impl Message {
    pub(crate) fn new(topic: &str, payload: &str, qos: u8) -> Self {
        Self { topic: topic.to_owned(), payload: payload.to_owned(), qos, is_retained: false }
    }

    pub(crate) fn retained(self) -> Self {
        Self { is_retained: true, ..self }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.payload.chars().take(60).collect();
        let retained = if self.is_retained { " retained" } else { "" };
        write!(f, "{} q{}{retained} {shown:?} ({} bytes)", self.topic, self.qos, self.payload.len())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// CONNACK; `None` where the client does not tell whether the session was present.
    Connected {
        session_present: Option<bool>,
    },
    Subscribed,
    Message(Message),
    PingResp,
    Published {
        count: usize,
    },
    /// Anything else, for the report of a failure.
    Said(String),
}

impl Event {
    /// Reads a line of our drivers, or of `mosquitto_sub -d` with our `-F` format.
    pub(crate) fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.splitn(5, '\t').collect();
        match words.as_slice() {
            ["CONNECTED", present] => Self::Connected { session_present: Some(*present == "1") },
            ["SUBSCRIBED", ..] => Self::Subscribed,
            ["PINGRESP"] => Self::PingResp,
            ["PUBLISHED", count] => Self::Published { count: count.parse().unwrap_or(usize::MAX) },
            ["MESSAGE", qos, retain, topic, payload] => Self::Message(Message {
                topic: (*topic).to_owned(),
                payload: (*payload).to_owned(),
                qos: qos.parse().unwrap_or(u8::MAX),
                is_retained: *retain == "1",
            }),
            _ if line.starts_with("Client ") && line.ends_with("received CONNACK (0)") => {
                Self::Connected { session_present: None }
            }
            _ if line.starts_with("Client ") && line.ends_with("received PINGRESP") => Self::PingResp,
            _ if line.starts_with("Subscribed (mid: ") => Self::Subscribed,
            _ => Self::Said(line.to_owned()),
        }
    }
}
