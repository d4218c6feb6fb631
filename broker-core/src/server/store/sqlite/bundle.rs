//! Several messages in one row.
//!
//! A row costs SQLite as much as a small message, so those to the same receivers that follow each other in a transaction
//! share one: they arrived together, and mostly go together. A row is written once and deleted when nobody needs any of
//! its messages. A Retained Message, which may stay for ever, has a row of its own.
//!
//! The place of a message in the order of arrival says where it stands: its bundle's number, and its place in there.

use crate::engine::publication::Publication;
use crate::engine::store::Recipient;

use super::message;
use super::receivers::Members;

/// Messages in a bundle.
pub(super) const BUNDLE_MAX: u8 = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 4;
/// Bytes from which on it takes no other message. Four of them fill a page of SQLite, and nothing is left of it.
const FULL_BYTES: usize = 980;
/// What a buffer may keep.
const KEPT_BYTES: usize = 64 << 10;

/// What a message takes beside topic and payload, if it does not expire.
const HEAD_BYTES: usize = 16;

/// The bundle with this place in the order of arrival.
pub(super) const fn of(seq: u64) -> u64 {
    seq >> PLACE_BITS
}

/// The place of a message in the order of arrival. There is none in bundles that were never given out.
pub(super) fn seq(bundle: u64, place: u8) -> Option<u64> {
    let first = bundle << PLACE_BITS;
    (of(first) == bundle).then_some(first | u64::from(place))
}

/// A bundle that is being filled, or none.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    pub(super) number: u64,
    /// Who receives every message in it.
    pub(super) members: Members,
    /// The row of these, or zero.
    pub(super) set: u32,
    pub(super) messages: Vec<u8>,
    /// How many there are, and how many of them somebody needs.
    count: u8,
    pub(super) live: u8,
}

impl Bundle {
    /// Begins a bundle; the one before must be closed.
    pub(super) fn open(&mut self, number: u64, members: &[Recipient], set: u32) {
        (self.number, self.set) = (number, set);
        self.members = Members::from_slice(members);
    }

    pub(super) fn is_open(&self) -> bool {
        self.count > 0
    }

    /// Whether it is being filled and has room for a message to these.
    pub(super) fn takes(&self, publication: &Publication, members: &[Recipient]) -> bool {
        let bytes = self.messages.len() + publication.bytes() + HEAD_BYTES;
        self.is_open() && self.count < BUNDLE_MAX && bytes <= FULL_BYTES && self.members[..] == *members
    }

    /// Adds a message that somebody needs. Gives its place in the order of arrival.
    pub(super) fn push(&mut self, publication: &Publication) -> u64 {
        message::put(&mut self.messages, publication);
        let seq = self.number << PLACE_BITS | u64::from(self.count);
        self.count += 1;
        self.live += 1;
        seq
    }

    /// Whether a bundle is this one.
    pub(super) fn is(&self, number: u64) -> bool {
        self.is_open() && self.number == number
    }

    /// It is written, or not needed.
    pub(super) fn close(&mut self) {
        (self.count, self.live) = (0, 0);
        self.messages.clear();
        self.messages.shrink_to(KEPT_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use culex_codec::{QoS, TopicName};

    use super::*;
    use crate::engine::keys::{PublicationId, SessionId};

    fn publication(payload: &[u8]) -> Publication {
        let topic = TopicName::assume_valid("t");
        Publication::new(PublicationId(1 << 40), topic, payload, QoS::AtLeastOnce, false)
    }

    #[test]
    fn a_bundle_is_for_the_same_receivers_and_small_messages() {
        let member =
            |session| Recipient { session: SessionId(session), qos: QoS::AtLeastOnce, is_retain: false };
        let mut bundle = Bundle::default();
        assert!(!bundle.takes(&publication(b""), &[member(1)]));
        bundle.open(7, &[member(1)], 0);
        assert_eq!((bundle.push(&publication(b"")), bundle.push(&publication(b""))), (7 * 16, 7 * 16 + 1));
        assert!(bundle.takes(&publication(b""), &[member(1)]));
        assert!(!bundle.takes(&publication(b""), &[member(2)]));
        assert!(!bundle.takes(&publication(&[0; FULL_BYTES]), &[member(1)]));
        while bundle.takes(&publication(b""), &[member(1)]) {
            bundle.push(&publication(b""));
        }
        assert_eq!(bundle.live, BUNDLE_MAX);
        bundle.close();
        assert!(!bundle.is_open() && bundle.messages.is_empty());
    }

    #[test]
    fn a_place_that_no_message_has_is_none() {
        assert_eq!((seq(3, 5), of(53)), (Some(53), 3));
        assert_eq!(seq(u64::MAX >> 3, 0), None);
    }
}
