//! What a client wants to do with a topic.

use culex_codec::QoS;

use crate::engine::question::{FilterRequest, Identity, Message};

/// A client that wants to publish to a topic, or to subscribe to a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    identity: Identity,
    action: Action,
    topic: Box<str>,
    qos: QoS,
}

/// What it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Publish to the Topic Name.
    Publish {
        /// The message is to be retained, or to remove a Retained Message.
        is_retain: bool,
        /// It is the Will Message of a CONNECT.
        is_will: bool,
    },
    /// Subscribe to the Topic Filter, which may have wildcards.
    Subscribe,
}

impl Access {
    pub(super) fn to_publish(message: &Message) -> Self {
        Self {
            identity: message.identity().clone(),
            action: Action::Publish { is_retain: message.is_retain(), is_will: message.is_will() },
            topic: message.topic().into(),
            qos: message.qos(),
        }
    }

    pub(super) fn to_subscribe(identity: &Identity, request: &FilterRequest) -> Self {
        Self {
            identity: identity.clone(),
            action: Action::Subscribe,
            topic: request.filter.clone(),
            qos: request.qos,
        }
    }

    /// The ClientId.
    pub fn client_id(&self) -> &str {
        &self.identity.client_id
    }

    /// The user name of its CONNECT; `None` if there was none, which is not the empty name.
    pub fn user_name(&self) -> Option<&str> {
        self.identity.user_name.as_deref()
    }

    /// What it wants.
    pub const fn action(&self) -> Action {
        self.action
    }

    /// Whether it wants to subscribe; otherwise it wants to publish.
    pub fn is_subscribe(&self) -> bool {
        self.action == Action::Subscribe
    }

    /// The Topic Name it wants to publish to, or the Topic Filter it wants to subscribe to. A filter begins with what
    /// all its topics begin with up to its first wildcard, so a test of the beginning suits both.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The QoS of the message, or the one asked for.
    pub const fn qos(&self) -> QoS {
        self.qos
    }
}
