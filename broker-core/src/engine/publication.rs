//! An Application Message that was accepted.

use std::sync::Arc;

use bytes::Bytes;
use culex_codec::{QoS, TopicName};

use super::keys::PublicationId;
use super::question::Identity;
use super::route::{Retained, RetainedMessage};
use super::store::RetainedChange;
use super::time::WallTime;

/// One Application Message, held once however many sessions queue it.
#[derive(Debug, PartialEq, Eq)]
pub struct Publication {
    /// Order of acceptance; zero for a message that nobody keeps.
    pub id: PublicationId,
    topic: Box<str>,
    /// The Application Message itself.
    pub payload: Bytes,
    /// The QoS it was published with.
    pub qos: QoS,
    /// Whether it was published with RETAIN.
    pub is_retain: bool,
    /// When it loses its value (5.0 Message Expiry Interval); never in 3.1.1.
    pub expires_at: Option<WallTime>,
    /// When it was accepted, if somebody wants to know: see
    /// [`SessionOptions::max_age_ms`](super::SessionOptions::max_age_ms).
    pub accepted_at: Option<WallTime>,
    /// Who published it, if that is not the host itself and it is retained, or somebody wants to know as with `accepted_at`.
    /// Nobody gets a Retained Message by a new subscription when that client may not publish there any more.
    pub author: Option<Arc<Identity>>,
}

impl Publication {
    /// Copies topic and payload: a slice would keep the whole read buffer alive.
    pub fn new(id: PublicationId, topic: TopicName<'_>, payload: &[u8], qos: QoS, is_retain: bool) -> Self {
        Self {
            id,
            topic: topic.as_str().into(),
            payload: Bytes::copy_from_slice(payload),
            qos,
            is_retain,
            expires_at: None,
            accepted_at: None,
            author: None,
        }
    }

    /// The topic it was published to.
    pub fn topic(&self) -> TopicName<'_> {
        TopicName::assume_valid(&self.topic)
    }

    /// What it counts towards limits in bytes: topic and payload.
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

impl RetainedMessage for Arc<Publication> {
    fn topic(&self) -> &str {
        &self.topic
    }

    fn bytes(&self) -> usize {
        Publication::bytes(self) + self.author.as_ref().map_or(0, |author| author.bytes())
    }
}

impl Retained<Arc<Publication>> {
    /// [`set`](Self::set)s the message, and hands out the one that it took away, to be dropped. Where the limits forbid
    /// that, what was there stays; but one with QoS 0 takes it away all the same [MQTT-3.3.1-7].
    pub fn keep(&mut self, message: &Arc<Publication>) -> (RetainedChange, Option<Arc<Publication>>) {
        let topic = message.topic.as_ref();
        match self.set(Arc::clone(message)) {
            Ok(outcome) => (RetainedChange::Set(outcome.version), outcome.replaced),
            Err(_) if message.qos == QoS::AtMostOnce && self.get(topic).is_some() => {
                let (version, removed) = self.clear(topic);
                (RetainedChange::Clear(version), removed)
            }
            Err(_) => (RetainedChange::None, None),
        }
    }
}
