//! A message in the queue of a session: 16 bytes, because there may be many.

use std::sync::Arc;

use culex_codec::QoS;

use crate::engine::keys::PublicationId;
use crate::engine::publication::Publication;
use crate::engine::qos::Outgoing;
use crate::engine::time::WallTime;

/// A QoS 1 or 2 message in a session's queue.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    what: What,
}

/// Bytes are those of topic and payload, less than 256 MiB and 64 KiB; RETAIN is as this receiver sees it. Both stand in each, where
/// there is room for them beside the name of the variant.
#[derive(Debug, Clone)]
enum What {
    /// With the number of the publication.
    Live { qos: QoS, is_retain: bool, bytes: u32, body: Arc<Publication> },
    /// With a number of its own, as it came as Retained Message.
    Numbered { qos: QoS, is_retain: bool, bytes: u32, numbered: Box<(PublicationId, Arc<Publication>)> },
    /// Only the store has the body, which is so of messages in flight to nobody alone.
    Bare { qos: QoS, is_retain: bool, bytes: u32, entry: PublicationId },
}

impl Queued {
    /// A message whose body is here.
    pub(crate) fn new(entry: PublicationId, body: Arc<Publication>, qos: QoS, is_retain: bool) -> Self {
        let bytes = size(body.bytes());
        let what = if body.id == entry {
            What::Live { qos, is_retain, bytes, body }
        } else {
            What::Numbered { qos, is_retain, bytes, numbered: Box::new((entry, body)) }
        };
        Self { what }
    }

    /// A message of which only the store has the body.
    pub(crate) fn bare(entry: PublicationId, bytes: usize, qos: QoS, is_retain: bool) -> Self {
        Self { what: What::Bare { qos, is_retain, bytes: size(bytes), entry } }
    }

    /// Its number in this queue, by which the store finds it.
    pub(crate) fn entry(&self) -> PublicationId {
        match &self.what {
            What::Live { body, .. } => body.id,
            What::Numbered { numbered, .. } => numbered.0,
            What::Bare { entry, .. } => *entry,
        }
    }

    /// The message, unless only the store has it.
    pub(crate) fn body(&self) -> Option<&Arc<Publication>> {
        match &self.what {
            What::Live { body, .. } => Some(body),
            What::Numbered { numbered, .. } => Some(&numbered.1),
            What::Bare { .. } => None,
        }
    }

    /// RETAIN as this receiver sees it.
    pub(crate) const fn is_retain(&self) -> bool {
        match &self.what {
            What::Live { is_retain, .. }
            | What::Numbered { is_retain, .. }
            | What::Bare { is_retain, .. } => *is_retain,
        }
    }

    /// Forgets the body, which the store has; says whether there was one.
    pub(crate) fn forget_body(&mut self) -> bool {
        let has_body = self.body().is_some();
        *self = Self::bare(self.entry(), self.bytes(), self.qos(), self.is_retain());
        has_body
    }

    /// The store has given the body back. Its size is what it was.
    pub(crate) fn fill(&mut self, body: Arc<Publication>) {
        debug_assert_eq!(body.bytes(), self.bytes(), "another message");
        *self = Self::new(self.entry(), body, self.qos(), self.is_retain());
    }

    /// When it came into the queue, if that is known.
    pub(crate) fn accepted_at(&self) -> Option<WallTime> {
        match &self.what {
            What::Live { body, .. } => body.accepted_at,
            What::Numbered { .. } | What::Bare { .. } => None,
        }
    }
}

impl Outgoing for Queued {
    fn qos(&self) -> QoS {
        match &self.what {
            What::Live { qos, .. } | What::Numbered { qos, .. } | What::Bare { qos, .. } => *qos,
        }
    }

    fn bytes(&self) -> usize {
        match &self.what {
            What::Live { bytes, .. } | What::Numbered { bytes, .. } | What::Bare { bytes, .. } => {
                *bytes as usize
            }
        }
    }
}

/// No packet is larger than 256 MiB.
fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use culex_codec::TopicName;

    use super::*;

    #[test]
    fn a_message_that_waits_costs_16_bytes() {
        assert_eq!(size_of::<Queued>(), 16);
    }

    #[test]
    fn a_message_keeps_all_but_its_body() {
        let topic = TopicName::new("a/b").unwrap();
        let body = Arc::new(Publication::new(PublicationId(7), topic, b"1234", QoS::ExactlyOnce, false));
        for (entry, is_retain) in [(7, false), (8, true)] {
            let mut queued =
                Queued::new(PublicationId(entry), Arc::clone(&body), QoS::AtLeastOnce, is_retain);
            let facts = |queued: &Queued| {
                (queued.entry().0, queued.bytes(), queued.qos(), queued.is_retain(), queued.body().is_some())
            };
            assert_eq!(facts(&queued), (entry, 7, QoS::AtLeastOnce, is_retain, true));
            assert!(queued.forget_body() && !queued.forget_body());
            assert_eq!(facts(&queued), (entry, 7, QoS::AtLeastOnce, is_retain, false));
            queued.fill(Arc::clone(&body));
            assert_eq!(facts(&queued), (entry, 7, QoS::AtLeastOnce, is_retain, true));
        }
    }
}
