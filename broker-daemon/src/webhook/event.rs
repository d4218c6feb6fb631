//! What a service is told of.

use std::time::SystemTime;

use bytes::Bytes;
use culex_core::{Event, QoS};
use serde_json::{Map, Value, json};

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// An Application Message.
    MessagePublished,
    /// A CONNECT was accepted.
    ClientConnected,
    /// A connection ended.
    ClientDisconnected,
    /// A CONNECT was refused because of who it came from.
    ClientAuthFailed,
    /// A Topic Filter was subscribed to.
    SessionSubscribed,
    /// A Topic Filter is subscribed to no longer.
    SessionUnsubscribed,
    /// Messages to a session were dropped.
    MessageDropped,
    /// A bridge reached the other side, or lost it.
    BridgeState,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::MessagePublished,
        Self::ClientConnected,
        Self::ClientDisconnected,
        Self::ClientAuthFailed,
        Self::SessionSubscribed,
        Self::SessionUnsubscribed,
        Self::MessageDropped,
        Self::BridgeState,
    ];

    pub(crate) const WORDS: &'static [&'static str] = &[
        "message.published",
        "client.connected",
        "client.disconnected",
        "client.auth_failed",
        "session.subscribed",
        "session.unsubscribed",
        "message.dropped",
        "bridge.state",
    ];

    pub(crate) fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    /// As it stands in `type`.
    pub fn word(self) -> &'static str {
        Self::WORDS.get(self as usize).unwrap_or(&"")
    }
}

/// Something that a service is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HookEvent {
    /// The same at every attempt, and another one for every other event.
    pub(super) id: String,
    pub(super) at: SystemTime,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Message(Published),
    News(News),
}

/// An Application Message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Who published it, if that is known.
    pub(super) client_id: Option<String>,
    pub(super) username: Option<String>,
}

/// Everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    pub(super) kind: EventKind,
    pub(super) fields: Map<String, Value>,
}

impl HookEvent {
    pub(super) const fn kind(&self) -> EventKind {
        match &self.what {
            What::Message(_) => EventKind::MessagePublished,
            What::News(news) => news.kind,
        }
    }
}

/// The name that a peer in the process has: what the broker does for itself is no news.
const OWN_PEER: &str = "in-process";

impl News {
    /// What an event of the broker is to a service; `None` if it is told nothing of such.
    pub(super) fn of(event: &Event) -> Option<Self> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "kinds of events may be added, and are none of these"
        )]
        let (kind, fields) = match event {
            Event::Connected { client_id, peer, is_resumed } if **peer != *OWN_PEER => (
                EventKind::ClientConnected,
                json!({ "client_id": client_id, "peer": peer, "session_present": is_resumed }),
            ),
            Event::Disconnected { client_id, peer, reason } if **peer != *OWN_PEER => (
                EventKind::ClientDisconnected,
                json!({ "client_id": client_id, "peer": peer, "reason": reason.to_string() }),
            ),
            Event::AuthenticationFailed { client_id, peer, user_name } => (
                EventKind::ClientAuthFailed,
                json!({ "client_id": client_id, "peer": peer, "username": user_name }),
            ),
            Event::Subscribed { client_id, filter, granted } if !is_own(client_id) => (
                EventKind::SessionSubscribed,
                json!({ "client_id": client_id, "filter": filter, "qos": granted.map(|qos| qos as u8) }),
            ),
            Event::Unsubscribed { client_id, filter } if !is_own(client_id) => {
                (EventKind::SessionUnsubscribed, json!({ "client_id": client_id, "filter": filter }))
            }
            Event::Dropped { client_id, dropped } | Event::Unreadable { client_id, dropped } => {
                (EventKind::MessageDropped, json!({ "client_id": client_id, "messages": dropped }))
            }
            _ => return None,
        };
        Some(Self { kind, fields: fields.as_object().cloned().unwrap_or_default() })
    }

    /// How an integration is from now on.
    pub(super) fn of_bridge(name: &str, state: &str, why: &str) -> Self {
        let fields = json!({ "bridge": name, "state": state, "why": why });
        Self { kind: EventKind::BridgeState, fields: fields.as_object().cloned().unwrap_or_default() }
    }
}

/// ClientIds of what the broker itself is made of.
fn is_own(client_id: &str) -> bool {
    client_id.starts_with("$culex/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_kinds_are_in_one_order() {
        for (index, kind) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!(EventKind::from_index(index), Some(kind));
            assert_eq!(EventKind::WORDS[index], kind.word());
        }
        assert_eq!(EventKind::WORDS.len(), EventKind::ALL.len());
    }

    #[test]
    fn what_the_broker_does_for_itself_is_no_news() {
        let connected =
            |peer: &str| Event::Connected { client_id: "a".into(), peer: peer.into(), is_resumed: false };
        assert_eq!(News::of(&connected("in-process")), None);
        let news = News::of(&connected("127.0.0.1:4711")).unwrap();
        assert_eq!(news.kind, EventKind::ClientConnected);
        assert_eq!(
            Value::from(news.fields),
            json!({ "client_id": "a", "peer": "127.0.0.1:4711", "session_present": false })
        );
        let subscribed =
            Event::Subscribed { client_id: "$culex/webhook/a".into(), filter: "#".into(), granted: None };
        assert_eq!(News::of(&subscribed), None);
    }
}
