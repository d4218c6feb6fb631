//! A message that somebody is asked about, and may change.

use bytes::Bytes;
use culex_codec::{QoS, TopicError, TopicName};

use crate::engine::connection::Will;
use crate::engine::error::ProtocolError;
use crate::engine::topics::{TopicLimits, is_of_host, is_reserved};
use crate::limits::Limits;

use super::Identity;

/// An Application Message of a client, before anybody has it. Whatever is changed is checked at once, so that what
/// comes back can be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    identity: Identity,
    topic: Box<str>,
    payload: Bytes,
    qos: QoS,
    is_retain: bool,
    has_moved: bool,
    origin: Origin,
    bounds: MessageBounds,
}

/// What a message of this broker may be at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageBounds {
    topics: TopicLimits,
    packet_bytes: u32,
}

/// Which packet it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Publish,
    Will,
}

/// Why a message cannot be changed so. It is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Not a Topic Name, for example because of a wildcard [MQTT-3.3.2-2].
    #[error("not a topic name: {0}")]
    Topic(#[from] TopicError),
    /// The topic is over the limit `topic_levels` or `topic_bytes`.
    #[error("{0}")]
    Limit(ProtocolError),
    /// `$SYS` is the broker's own, `$CULEX` that of its host.
    #[error("only the broker publishes to $SYS and $CULEX")]
    Reserved,
    /// Topic and payload need a packet over the limit `packet_bytes`.
    #[error("a message of {bytes} bytes (limit packet_bytes {max})")]
    TooLarge {
        /// Topic, payload, and what a packet needs beside them.
        bytes: usize,
        /// The limit.
        max: u32,
    },
}

impl From<&Limits> for MessageBounds {
    fn from(limits: &Limits) -> Self {
        Self { topics: TopicLimits::from(limits), packet_bytes: limits.packet_bytes }
    }
}

impl MessageBounds {
    fn check_size(&self, topic: &str, payload: &[u8]) -> Result<(), MessageError> {
        /// Length of the topic, and a Packet Identifier.
        const BESIDE: usize = 4;
        let bytes = topic.len() + payload.len() + BESIDE;
        if bytes > self.packet_bytes as usize {
            return Err(MessageError::TooLarge { bytes, max: self.packet_bytes });
        }
        Ok(())
    }
}

impl Message {
    /// Copies topic and payload, which stand in a read buffer.
    pub(crate) fn new(
        identity: Identity,
        topic: TopicName<'_>,
        payload: &[u8],
        (qos, is_retain): (QoS, bool),
        bounds: MessageBounds,
    ) -> Self {
        let (topic, payload) = (topic.as_str().into(), Bytes::copy_from_slice(payload));
        Self { identity, topic, payload, qos, is_retain, has_moved: false, origin: Origin::Publish, bounds }
    }

    /// The Will Message of a CONNECT.
    pub fn of_will(identity: Identity, will: &Will, bounds: MessageBounds) -> Self {
        Self {
            identity,
            topic: will.topic().as_str().into(),
            payload: will.payload.clone(),
            qos: will.qos,
            is_retain: will.is_retain,
            has_moved: false,
            origin: Origin::Will,
            bounds,
        }
    }

    /// The ClientId of its publisher.
    pub fn client_id(&self) -> &str {
        &self.identity.client_id
    }

    /// The user name of its publisher; `None` if its CONNECT had none, which is not the empty name.
    pub fn user_name(&self) -> Option<&str> {
        self.identity.user_name.as_deref()
    }

    /// Its publisher.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The Topic Name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The Application Message itself; a clone shares it.
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The QoS it was published with, or less.
    pub const fn qos(&self) -> QoS {
        self.qos
    }

    /// Whether it becomes a Retained Message, or removes one if it is empty [MQTT-3.3.1-10].
    pub const fn is_retain(&self) -> bool {
        self.is_retain
    }

    /// Whether it is a Will Message. It is asked about when its client connects, and published when the connection
    /// ends without DISCONNECT, which may be never.
    pub fn is_will(&self) -> bool {
        self.origin == Origin::Will
    }

    /// Another topic.
    ///
    /// # Errors
    /// [`MessageError`]; the message is as it was.
    pub fn set_topic(&mut self, topic: &str) -> Result<(), MessageError> {
        TopicName::new(topic)?;
        self.bounds.topics.check(topic).map_err(MessageError::Limit)?;
        if is_reserved(topic) || is_of_host(topic) {
            return Err(MessageError::Reserved);
        }
        self.bounds.check_size(topic, &self.payload)?;
        self.has_moved |= *self.topic != *topic;
        self.topic = topic.into();
        Ok(())
    }

    /// Another payload.
    ///
    /// # Errors
    /// [`MessageError::TooLarge`]; the message is as it was.
    pub fn set_payload(&mut self, payload: impl Into<Bytes>) -> Result<(), MessageError> {
        let payload = payload.into();
        self.bounds.check_size(&self.topic, &payload)?;
        self.payload = payload;
        Ok(())
    }

    /// A lower QoS; a higher one changes nothing.
    pub fn limit_qos(&mut self, max: QoS) {
        self.qos = self.qos.min(max);
    }

    /// Whether it becomes a Retained Message.
    pub const fn set_retain(&mut self, is_retain: bool) {
        self.is_retain = is_retain;
    }

    /// Whether it was given another topic.
    pub(crate) const fn has_moved(&self) -> bool {
        self.has_moved
    }

    pub(crate) fn topic_name(&self) -> TopicName<'_> {
        TopicName::assume_valid(&self.topic)
    }

    pub(super) fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::limits::Limit;

    fn message() -> Message {
        let identity = Identity { client_id: "a".into(), user_name: None };
        let limits = Limits {
            packet_bytes: 20,
            topic_levels: NonZeroU64::new(3).map_or(Limit::Unlimited, Limit::AtMost),
            topic_bytes: 10,
            ..Limits::default()
        };
        let topic = TopicName::assume_valid("t");
        Message::new(identity, topic, b"x", (QoS::AtLeastOnce, false), MessageBounds::from(&limits))
    }

    #[test]
    fn what_cannot_be_delivered_is_refused_where_it_is_set() {
        let mut changed = message();
        for (topic, is_right) in [
            ("", false),
            ("a/+", false),
            ("#", false),
            ("a\0", false),
            ("$SYS/broker", false),
            ("$CULEX/a", false),
            ("a/b/c/d", false),
            ("0123456789x", false),
            ("a/b/c", true),
        ] {
            assert_eq!(changed.set_topic(topic).is_ok(), is_right, "{topic:?}");
        }
        assert_eq!(changed.topic(), "a/b/c");
        assert_eq!(changed.set_payload(vec![0; 12]), Err(MessageError::TooLarge { bytes: 21, max: 20 }));
        assert_eq!(changed.payload(), &b"x"[..]);
        changed.set_payload(vec![0; 11]).unwrap();
        assert!(changed.set_topic("0123456789").is_err(), "the longer topic leaves no room for the payload");
    }

    #[test]
    fn the_qos_only_falls() {
        let mut message = message();
        message.limit_qos(QoS::ExactlyOnce);
        assert_eq!(message.qos(), QoS::AtLeastOnce);
        message.limit_qos(QoS::AtMostOnce);
        assert_eq!(message.qos(), QoS::AtMostOnce);
    }
}
