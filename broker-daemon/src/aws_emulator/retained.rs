//! Retained Messages. AIC-RET-01 to AIC-RET-04

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::session::Message;

#[derive(Debug, Default)]
pub(super) struct Retained {
    messages: BTreeMap<String, Arc<Message>>,
    /// When topics were written to, of late.
    writes: BTreeMap<String, Instant>,
}

impl Retained {
    /// Whether the topic may be written to again; if so, it counts as written. AIC-RET-04
    pub(super) fn may_write(&mut self, topic: &str, interval: Duration, now: Instant) -> bool {
        self.writes.retain(|_, at| now.duration_since(*at) < interval);
        if self.writes.contains_key(topic) {
            return false;
        }
        self.writes.insert(topic.to_owned(), now);
        true
    }

    /// Whether there is room for a message of this topic.
    pub(super) fn has_room(&self, topic: &str, is_clear: bool, count_max: usize) -> bool {
        is_clear || self.messages.len() < count_max || self.messages.contains_key(topic)
    }

    /// Sets the message of its topic, or clears it if it has no payload. Gives false if there is no room.
    pub(super) fn set(&mut self, message: &Arc<Message>, count_max: usize) -> bool {
        if message.payload.is_empty() {
            self.messages.remove(&message.topic);
            return true;
        }
        if self.messages.len() >= count_max && !self.messages.contains_key(&message.topic) {
            return false;
        }
        self.messages.insert(message.topic.clone(), Arc::clone(message));
        true
    }

    /// The message of a topic, for an exact filter. AIC-RET-02
    pub(super) fn get(&mut self, topic: &str, now: Instant) -> Option<Arc<Message>> {
        if self.messages.get(topic).is_some_and(|message| message.is_over(now)) {
            self.messages.remove(topic);
        }
        self.messages.get(topic).cloned()
    }
}
