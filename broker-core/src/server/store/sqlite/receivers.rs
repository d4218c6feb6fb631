//! Who receives a message: a few in the message's own row, many as a set that is written once and named by many messages.

use std::collections::HashMap;

use culex_codec::QoS;
use smallvec::SmallVec;

use crate::engine::keys::SessionId;
use crate::engine::store::{Recipient, Recipients};

use super::packed;

/// Lists up to this size stand in the message's row: a set saves nothing, and there may be as many as sessions.
pub(super) const INLINE_BYTES: usize = 12;
/// Sets that are known by their members, in number and bytes. Beyond it all are forgotten: a publication to one of them
/// writes it again.
const KNOWN_MAX: usize = if cfg!(test) { 4 } else { 4096 };
const KNOWN_BYTES: usize = 16 << 20;

/// Receivers of a message that are there, in the order of their sessions.
pub(super) type Members = Recipients;

/// The sets in the file.
#[derive(Debug, Default)]
pub(super) struct Sets {
    /// Their numbers by their members, so that the next publication can name them.
    known: HashMap<Box<[u8]>, u32>,
    known_bytes: usize,
    /// How many messages name each. One that no message names stays while it is known.
    uses: HashMap<u32, Uses>,
    last: u32,
}

#[derive(Debug, Default)]
struct Uses {
    messages: u64,
    is_known: bool,
}

/// The number of a set, and whether it must still be written.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) set: u32,
    pub(super) is_new: bool,
}

impl Sets {
    /// One more message names the set with these members. Sets that nobody needs any more because of it go to `unused`.
    pub(super) fn name(&mut self, members: &[u8], unused: &mut Vec<u32>) -> Named {
        if let Some(set) = self.known.get(members) {
            self.uses.entry(*set).or_default().messages += 1;
            return Named { set: *set, is_new: false };
        }
        if self.known.len() >= KNOWN_MAX || self.known_bytes + members.len() > KNOWN_BYTES {
            self.forget(unused);
        }
        let set = self.free_number();
        self.known.insert(members.into(), set);
        self.known_bytes += members.len();
        self.uses.insert(set, Uses { messages: 1, is_known: true });
        Named { set, is_new: true }
    }

    /// A message that was read names it.
    pub(super) fn found(&mut self, set: u32) {
        self.uses.entry(set).or_default().messages += 1;
        self.last = self.last.max(set);
    }

    /// One message less names it. True if it is not needed any more.
    pub(super) fn unname(&mut self, set: u32) -> bool {
        let Some(uses) = self.uses.get_mut(&set) else { return false };
        uses.messages = uses.messages.saturating_sub(1);
        let is_over = uses.messages == 0 && !uses.is_known;
        if is_over {
            self.uses.remove(&set);
        }
        is_over
    }

    pub(super) fn is_used(&self, set: u32) -> bool {
        self.uses.contains_key(&set)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.uses.len()
    }

    fn forget(&mut self, unused: &mut Vec<u32>) {
        self.known_bytes = 0;
        for (_, set) in self.known.drain() {
            if let Some(uses) = self.uses.get_mut(&set) {
                uses.is_known = false;
                if uses.messages == 0 {
                    self.uses.remove(&set);
                    unused.push(set);
                }
            }
        }
    }

    /// Zero is none.
    fn free_number(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            if !self.uses.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

/// For each its number, then QoS and RETAIN.
pub(super) fn encode(members: impl IntoIterator<Item = Recipient>) -> SmallVec<[u8; 32]> {
    let mut bytes = SmallVec::new();
    for member in members {
        packed::put(&mut bytes, member.session.0);
        bytes.push(member.qos.bits() | u8::from(member.is_retain) << 2);
    }
    bytes
}

/// Nothing if that is no list.
pub(super) fn decode(bytes: &[u8]) -> Option<Members> {
    let mut members = Members::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let session = packed::take(&mut rest)?;
        let flags = *rest.split_off_first()?;
        let qos = QoS::from_bits(flags & 3)?;
        members.push(Recipient { session: SessionId(session), qos, is_retain: flags & 4 != 0 });
    }
    Some(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(session: u64, qos: QoS, is_retain: bool) -> Recipient {
        Recipient { session: SessionId(session), qos, is_retain }
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let members = [
            member(0, QoS::AtLeastOnce, false),
            member(127, QoS::ExactlyOnce, true),
            member(128, QoS::AtLeastOnce, true),
            member(u64::MAX, QoS::ExactlyOnce, false),
        ];
        assert_eq!(decode(&encode(members)), Some(Members::from_slice(&members)));
        assert_eq!(decode(&[]), Some(Members::new()));
    }

    #[test]
    fn what_is_no_list_is_nothing() {
        for bytes in [
            &[0x80][..],
            &[1],
            &[1, 3],
            &[0xFF; 12],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2, 1],
        ] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_set_stays_while_it_is_named_or_known() {
        let (mut sets, mut unused) = (Sets::default(), Vec::new());
        let first = sets.name(b"first", &mut unused);
        assert!(first.is_new && !sets.unname(first.set));
        let again = sets.name(b"first", &mut unused);
        assert!(!again.is_new && again.set == first.set);
        for number in 0..KNOWN_MAX {
            sets.name(&number.to_be_bytes(), &mut unused);
        }
        // Forgotten, but a message still names it.
        assert!(unused.is_empty() && sets.is_used(first.set));
        assert!(sets.unname(first.set) && !sets.is_used(first.set));
    }

    #[test]
    fn a_forgotten_set_that_no_message_names_is_unused() {
        let (mut sets, mut unused) = (Sets::default(), Vec::new());
        let first = sets.name(b"first", &mut unused);
        sets.unname(first.set);
        sets.name(&vec![0; KNOWN_BYTES], &mut unused);
        assert_eq!(unused, [first.set]);
    }
}
