//! A list as the broker asks it.

use std::sync::Arc;

use culex_core::access::{AccessControl, Identity, Rights as Asked};
use culex_core::codec::{TopicFilter, TopicName};

use super::{Acl, Action, Decision, Rights};

/// What SUBSCRIBE is told about a filter that can never deliver anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subscribing {
    /// That it failed (0x80).
    #[default]
    Honest,
    /// That it was granted, as mosquitto says it; nothing is delivered.
    AlwaysGranted,
}

/// A list at work.
#[derive(Debug)]
pub struct Rules {
    acl: Acl,
    subscribing: Subscribing,
    checks_retain_source: bool,
}

impl Rules {
    /// These rules. `checks_retain_source`: see [`AccessControl::checks_retain_source`].
    pub const fn new(acl: Acl, subscribing: Subscribing, checks_retain_source: bool) -> Self {
        Self { acl, subscribing, checks_retain_source }
    }
}

impl AccessControl for Rules {
    fn rights(&self, client: &Identity) -> Arc<dyn Asked> {
        let rights = self.acl.rights(client.user_name.as_deref(), &client.client_id);
        Arc::new(OfClient { client_id: Arc::clone(&client.client_id), rights, subscribing: self.subscribing })
    }

    fn checks_retain_source(&self) -> bool {
        self.checks_retain_source
    }
}

#[derive(Debug)]
struct OfClient {
    client_id: Arc<str>,
    rights: Rights,
    subscribing: Subscribing,
}

impl OfClient {
    fn told(&self, what: &str, topic: &str, decision: Decision<'_>) -> bool {
        let is_allowed = decision.is_allowed();
        if !is_allowed {
            tracing::debug!(client_id = %self.client_id, topic, "may not {what}: {decision}");
        }
        is_allowed
    }
}

impl Asked for OfClient {
    fn may_publish(&self, topic: TopicName<'_>) -> bool {
        self.told("publish", topic.as_str(), self.rights.decide(Action::Publish, topic))
    }

    fn may_receive(&self, topic: TopicName<'_>) -> bool {
        self.told("receive", topic.as_str(), self.rights.decide(Action::Receive, topic))
    }

    fn may_subscribe(&self, filter: TopicFilter<'_>) -> bool {
        self.subscribing == Subscribing::AlwaysGranted
            || self.told("subscribe", filter.as_str(), self.rights.decide_subscribe(filter.as_str()))
    }
}
