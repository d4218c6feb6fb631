//! What one session wants that others do not: plain data, which is stored with the session, so that it holds for what
//! comes after a restart and before its client is there again.

use std::num::NonZeroU16;

use culex_codec::{QoS, TopicName};
use siphasher::sip::SipHasher13;

use crate::limits::{Limit, Limits, WhenFull};

/// Options of a session, from the [`Admission`](super::Admission) of its connection. They hold for all its
/// subscriptions, from then on until it connects with others. By default there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionOptions {
    /// What its client publishes is not delivered to it (5.0 No Local, for every subscription).
    pub no_local: bool,
    /// RETAIN of what it receives live is as it was published (5.0 Retain As Published, for every subscription).
    pub retain_as_published: bool,
    /// QoS 0 messages reach it as if they had been published with QoS 1 and subscribed to with QoS 1 at least: they wait
    /// in its queue.
    pub queue_qos0: bool,
    /// Limits of its queue; `None`: those that hold for everybody.
    pub queue: Option<QueueLimits>,
    /// Milliseconds by the wall clock after which a message that waits is dropped. `None`: it waits for ever, and when it
    /// was accepted is not kept.
    pub max_age_ms: Option<u64>,
    /// It gets a part of the topics that it has subscribed to; `None`: all of them.
    pub part: Option<TopicPart>,
}

/// Limits of one session's queue, in place of the limits of these names. The limit of all queues together holds too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// See [`Limits::queue_messages`].
    pub messages: Limit,
    /// See [`Limits::queue_bytes`].
    pub bytes: Limit,
    /// See [`Limits::when_full`].
    pub when_full: WhenFull,
}

impl From<&Limits> for QueueLimits {
    fn from(limits: &Limits) -> Self {
        let Limits { queue_messages, queue_bytes, when_full, .. } = *limits;
        Self { messages: queue_messages, bytes: queue_bytes, when_full }
    }
}

/// One of several parts of all topics: each topic is in one of them. Several sessions with the same subscriptions share
/// the work so, and what is published to one topic keeps its order.
///
/// A topic is where a hash of it says, which is the same after a restart. It has no secret, so whoever chooses topics can
/// choose those of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicPart {
    index: u16,
    count: NonZeroU16,
    seed: u32,
}

impl TopicPart {
    /// The part `index` (from 0) of `count`. With another `seed` topics fall into other parts. `None` if there is no such
    /// part.
    pub fn new(index: u16, count: u16, seed: u32) -> Option<Self> {
        let count = NonZeroU16::new(count).filter(|count| index < count.get())?;
        Some(Self { index, count, seed })
    }

    /// The one of `count` parts that has a topic. `None` if there are no parts. Cost: a hash of the topic.
    pub fn of(topic: TopicName<'_>, count: u16, seed: u32) -> Option<Self> {
        let count = NonZeroU16::new(count)?;
        let hash = SipHasher13::new_with_keys(seed.into(), 0).hash(topic.as_str().as_bytes());
        // The upper half of a 64 × 16 bit product: even, and without a division.
        let index = (u128::from(hash) * u128::from(count.get())) >> 64;
        Some(Self { index: u16::try_from(index).ok()?, count, seed })
    }

    /// Which part it is, of how many, and their seed.
    pub const fn parts(self) -> (u16, u16, u32) {
        (self.index, self.count.get(), self.seed)
    }

    /// Whether a topic is in it. Cost: a hash of the topic.
    pub fn has(self, topic: TopicName<'_>) -> bool {
        Self::of(topic, self.count.get(), self.seed) == Some(self)
    }
}

impl SessionOptions {
    /// With these a peer is a bridge and says so, as mosquitto has it.
    pub(crate) const BRIDGE: Self = Self {
        no_local: true,
        retain_as_published: true,
        queue_qos0: false,
        queue: None,
        max_age_ms: None,
        part: None,
    };

    /// The QoS that a message is received with, published with `published`, by a subscription with `granted`.
    pub(crate) fn received_with(&self, published: QoS, granted: QoS) -> QoS {
        received_with(self.queue_qos0, published, granted)
    }

    /// Whether a topic is one of its own.
    pub(crate) fn takes(&self, topic: TopicName<'_>) -> bool {
        self.part.is_none_or(|part| part.has(topic))
    }
}

/// See [`SessionOptions::received_with`].
pub(crate) fn received_with(queue_qos0: bool, published: QoS, granted: QoS) -> QoS {
    let qos = published.min(granted);
    if queue_qos0 { qos.max(QoS::AtLeastOnce) } else { qos }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_in_one_part_and_the_parts_are_about_even() {
        let topics: Vec<_> = (0..10_000).map(|number| format!("sensors/{number}/value")).collect();
        for count in [1, 3, 4, 16] {
            let parts: Vec<_> = (0..count).map(|index| TopicPart::new(index, count, 7).unwrap()).collect();
            let mut sizes = vec![0_usize; usize::from(count)];
            for topic in &topics {
                let topic = TopicName::new(topic).unwrap();
                let places: Vec<_> = (0..parts.len()).filter(|place| parts[*place].has(topic)).collect();
                assert_eq!(places.len(), 1, "{topic:?}");
                sizes[places[0]] += 1;
            }
            let even = topics.len() / usize::from(count);
            assert!(sizes.iter().all(|size| size.abs_diff(even) < even / 5), "{sizes:?}");
        }
        assert!(TopicPart::new(3, 3, 0).is_none() && TopicPart::new(0, 0, 0).is_none());
    }

    #[test]
    fn the_part_of_a_topic_never_changes() {
        // Stored queues depend on it.
        let topics = ["a", "a/b", "sensors/1", "ä/ö", "$SYS/x"];
        let index = |topic: &&str| {
            let topic = TopicName::new(topic).unwrap();
            (0..8).find(|index| TopicPart::new(*index, 8, 42).unwrap().has(topic)).unwrap()
        };
        assert_eq!(topics.iter().map(index).collect::<Vec<_>>(), PARTS);
    }

    const PARTS: [u16; 5] = [6, 2, 4, 6, 6];

    #[test]
    fn messages_of_qos_0_are_queued_where_that_is_wanted() {
        use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
        let queues = SessionOptions { queue_qos0: true, ..SessionOptions::default() };
        for (published, granted, with, without) in [
            (AtMostOnce, ExactlyOnce, AtLeastOnce, AtMostOnce),
            (AtMostOnce, AtMostOnce, AtLeastOnce, AtMostOnce),
            (ExactlyOnce, AtLeastOnce, AtLeastOnce, AtLeastOnce),
            (ExactlyOnce, ExactlyOnce, ExactlyOnce, ExactlyOnce),
        ] {
            assert_eq!(queues.received_with(published, granted), with);
            assert_eq!(SessionOptions::default().received_with(published, granted), without);
        }
    }
}
