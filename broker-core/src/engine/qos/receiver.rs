//! QoS 1 and 2 from the receiver's side: which QoS 2 messages were handed on and await their PUBREL.

use culex_codec::PacketId;

/// What the receiver of one Session's messages remembers. It outlives Network Connections, except for the count of
/// QoS 1 messages.
///
/// Memory: nothing without messages, 2 bytes for each up to 512, then 8 KiB at most.
#[derive(Debug)]
pub struct Receiver {
    ids: Ids,
    unacknowledged_qos1: u16,
    receive_maximum: u16,
}

/// What a QoS 2 PUBLISH means. Both are answered with PUBREC [MQTT-4.3.3-8].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PublishOutcome {
    /// A new message: hand it on.
    Fresh,
    /// The message was handed on before [MQTT-4.3.3-10].
    Duplicate,
}

/// What a PUBREL means. Both are answered with PUBCOMP [MQTT-4.3.3-11], in 5.0 with the Reason Code 0x92 if unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PubrelOutcome {
    /// The message is complete, its Packet Identifier free.
    Released,
    /// No message awaits it; a repeat.
    Unknown,
}

/// The peer has more messages in flight than it may [MQTT-3.3.4-7]: DISCONNECT with 0x93 (Receive Maximum exceeded).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {receive_maximum} messages in flight")]
pub struct ReceiveMaximumExceeded {
    /// The limit that the peer was told.
    pub receive_maximum: u16,
}

impl Receiver {
    /// Nothing received; allocates nothing. At most `receive_maximum` messages of QoS 1 and 2 may be in flight.
    pub const fn new(receive_maximum: u16) -> Self {
        Self { ids: Ids::Few(Vec::new()), unacknowledged_qos1: 0, receive_maximum }
    }

    /// QoS 2 messages that await PUBREL.
    pub const fn awaiting_pubrel_len(&self) -> usize {
        self.ids.len()
    }

    /// Messages that count against the Receive Maximum.
    pub const fn in_flight_len(&self) -> usize {
        self.ids.len() + self.unacknowledged_qos1 as usize
    }

    /// Whether a QoS 2 message with this Packet Identifier awaits PUBREL.
    pub fn is_awaiting_pubrel(&self, packet_id: PacketId) -> bool {
        self.ids.contains(packet_id.get())
    }

    /// The Packet Identifiers that await PUBREL, in increasing order.
    pub fn awaiting_pubrel(&self) -> impl Iterator<Item = PacketId> {
        self.ids.iter().filter_map(PacketId::new)
    }

    /// A Network Connection begins, with what the peer is told now. QoS 2 state stays [MQTT-4.1.0-1]; QoS 1 has none.
    pub const fn resume(&mut self, receive_maximum: u16) {
        self.receive_maximum = receive_maximum;
        self.unacknowledged_qos1 = 0;
    }

    /// A PUBLISH of QoS 2.
    ///
    /// # Errors
    /// It is new and one too many. Nothing changes.
    pub fn on_publish(&mut self, packet_id: PacketId) -> Result<PublishOutcome, ReceiveMaximumExceeded> {
        if self.ids.contains(packet_id.get()) {
            return Ok(PublishOutcome::Duplicate);
        }
        self.check_room()?;
        self.ids.insert(packet_id.get());
        Ok(PublishOutcome::Fresh)
    }

    /// A PUBREL.
    pub fn on_pubrel(&mut self, packet_id: PacketId) -> PubrelOutcome {
        if self.ids.remove(packet_id.get()) { PubrelOutcome::Released } else { PubrelOutcome::Unknown }
    }

    /// A PUBREC with a Reason Code of 0x80 or more was sent: the Packet Identifier is free, no PUBREL will come. False
    /// if it was not in use.
    pub fn on_pubrec_error_sent(&mut self, packet_id: PacketId) -> bool {
        self.ids.remove(packet_id.get())
    }

    /// A PUBLISH of QoS 1 whose PUBACK is not sent in the same turn.
    ///
    /// # Errors
    /// It is one too many. Nothing changes.
    pub fn on_publish_qos1(&mut self) -> Result<(), ReceiveMaximumExceeded> {
        self.check_room()?;
        self.unacknowledged_qos1 += 1;
        Ok(())
    }

    /// A PUBACK was sent.
    pub const fn on_puback_sent(&mut self) {
        self.unacknowledged_qos1 = self.unacknowledged_qos1.saturating_sub(1);
    }

    /// A Packet Identifier that awaited PUBREL before a restart; false if it does already.
    pub fn restore(&mut self, packet_id: PacketId) -> bool {
        self.ids.insert(packet_id.get())
    }

    fn check_room(&self) -> Result<(), ReceiveMaximumExceeded> {
        if self.in_flight_len() >= usize::from(self.receive_maximum) {
            return Err(ReceiveMaximumExceeded { receive_maximum: self.receive_maximum });
        }
        Ok(())
    }
}

/// A set of identifiers: a sorted list, or one bit for each when there are many.
#[derive(Debug)]
enum Ids {
    Few(Vec<u16>),
    Many { bits: Box<[u64]>, len: usize },
}

impl Ids {
    const fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many { bits: _, len } => *len,
        }
    }

    fn contains(&self, id: u16) -> bool {
        match self {
            Self::Few(list) => list.binary_search(&id).is_ok(),
            Self::Many { bits, len: _ } => bits.get(word(id)).is_some_and(|word| word & bit(id) != 0),
        }
    }

    fn insert(&mut self, id: u16) -> bool {
        match self {
            Self::Few(list) => {
                let Err(place) = list.binary_search(&id) else { return false };
                list.insert(place, id);
                if list.len() > LIST_MAX {
                    let mut many = Self::Many { bits: vec![0; WORDS].into(), len: 0 };
                    for id in list.iter() {
                        many.insert(*id);
                    }
                    *self = many;
                }
                true
            }
            Self::Many { bits, len } => {
                let Some(word) = bits.get_mut(word(id)).filter(|word| **word & bit(id) == 0) else {
                    return false;
                };
                *word |= bit(id);
                *len += 1;
                true
            }
        }
    }

    fn remove(&mut self, id: u16) -> bool {
        match self {
            Self::Few(list) => {
                let Ok(place) = list.binary_search(&id) else { return false };
                list.remove(place);
                if list.is_empty() {
                    *list = Vec::new();
                }
                true
            }
            Self::Many { bits, len } => {
                let Some(word) = bits.get_mut(word(id)).filter(|word| **word & bit(id) != 0) else {
                    return false;
                };
                *word &= !bit(id);
                *len -= 1;
                // Well below the limit, so that one peer at the limit cannot make every packet convert.
                if *len <= LIST_MAX / 8 {
                    *self = Self::Few(self.iter().collect());
                }
                true
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = u16> {
        let (list, bits): (&[u16], &[u64]) = match self {
            Self::Few(list) => (list, &[]),
            Self::Many { bits, len: _ } => (&[], bits),
        };
        let words = (0..=u16::MAX).step_by(64).zip(bits);
        let set =
            words.flat_map(|(base, word)| (0..64).filter(move |n| word >> n & 1 == 1).map(move |n| base + n));
        list.iter().copied().chain(set)
    }
}

const fn word(id: u16) -> usize {
    id as usize / 64
}

const fn bit(id: u16) -> u64 {
    1 << (id % 64)
}

/// A list of this length is 1 KiB.
const LIST_MAX: usize = 512;
const WORDS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(id: u16) -> PacketId {
        PacketId::new(id).unwrap()
    }

    #[test]
    fn duplicate_qos2_publish_is_not_handed_on_twice() {
        let mut receiver = Receiver::new(10);
        assert_eq!(receiver.on_publish(id(7)), Ok(PublishOutcome::Fresh));
        assert_eq!(receiver.on_publish(id(7)), Ok(PublishOutcome::Duplicate));
        receiver.resume(10);
        assert_eq!(receiver.on_publish(id(7)), Ok(PublishOutcome::Duplicate));
        assert_eq!(receiver.on_pubrel(id(7)), PubrelOutcome::Released);
        assert_eq!(receiver.on_pubrel(id(7)), PubrelOutcome::Unknown);
        assert_eq!(receiver.on_publish(id(7)), Ok(PublishOutcome::Fresh));
        assert!(receiver.on_pubrec_error_sent(id(7)));
        assert_eq!(receiver.on_publish(id(7)), Ok(PublishOutcome::Fresh));
    }

    #[test]
    fn the_receive_maximum_counts_qos_1_and_2() {
        let mut receiver = Receiver::new(2);
        let full = ReceiveMaximumExceeded { receive_maximum: 2 };
        receiver.on_publish_qos1().unwrap();
        receiver.on_publish(id(1)).unwrap();
        assert_eq!(receiver.on_publish_qos1(), Err(full));
        assert_eq!(receiver.on_publish(id(2)), Err(full));
        assert_eq!(receiver.on_publish(id(1)), Ok(PublishOutcome::Duplicate));
        receiver.on_puback_sent();
        assert_eq!(receiver.on_publish(id(2)), Ok(PublishOutcome::Fresh));
        assert_eq!(receiver.in_flight_len(), 2);
    }

    #[test]
    fn all_identifiers_fit() {
        let mut receiver = Receiver::new(u16::MAX);
        for n in 1..=u16::MAX {
            assert_eq!(receiver.on_publish(id(n)), Ok(PublishOutcome::Fresh));
        }
        assert!(receiver.awaiting_pubrel().map(PacketId::get).eq(1..=u16::MAX));
        for n in 1..=u16::MAX {
            assert_eq!(receiver.on_pubrel(id(n)), PubrelOutcome::Released);
        }
        assert_eq!(receiver.awaiting_pubrel_len(), 0);
        assert!(matches!(receiver.ids, Ids::Few(list) if list.capacity() == 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_set_is_a_set(
            steps in prop::collection::vec((0_u8..3, 1_u16..2000), 0..2000),
            receive_maximum in prop::sample::select(vec![0_u16, 5, 700, u16::MAX]),
        ) {
            let (mut receiver, mut model) = (Receiver::new(receive_maximum), BTreeSet::new());
            for (kind, n) in steps {
                if kind == 0 {
                    let expected = if model.remove(&n) { PubrelOutcome::Released } else { PubrelOutcome::Unknown };
                    prop_assert_eq!(receiver.on_pubrel(id(n)), expected);
                } else if model.contains(&n) {
                    prop_assert_eq!(receiver.on_publish(id(n)), Ok(PublishOutcome::Duplicate));
                } else if model.len() < usize::from(receive_maximum) {
                    model.insert(n);
                    prop_assert_eq!(receiver.on_publish(id(n)), Ok(PublishOutcome::Fresh));
                } else {
                    prop_assert_eq!(receiver.on_publish(id(n)), Err(ReceiveMaximumExceeded { receive_maximum }));
                }
                prop_assert_eq!(receiver.awaiting_pubrel_len(), model.len());
            }
            prop_assert!(receiver.awaiting_pubrel().map(PacketId::get).eq(model));
        }
    }
}
