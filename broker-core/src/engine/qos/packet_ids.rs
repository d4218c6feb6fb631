//! Packet Identifiers as the low part of a number that only grows.
//!
//! Every identifier that is given out, and every one that is passed over because it is in use, takes the next *send
//! ordinal*; the identifier is the ordinal modulo 65,535. So messages in flight are sorted by ordinal, an identifier has
//! one possible place among the last 65,535 ordinals, and a fresh one is certainly free if the oldest message in flight
//! is closer than that: nothing has to be scanned.

use std::num::NonZeroU16;

use culex_codec::PacketId;

/// Identifiers that exist: 1 … 65,535.
pub(super) const PACKET_IDS: u64 = 65_535;

/// The first ordinal, of identifier 1. Not 0, so that subtracting less than one round never wraps.
pub(super) const FIRST_ORDINAL: u64 = PACKET_IDS;

/// The Packet Identifier of an ordinal.
pub(super) fn id_of(ordinal: u64) -> PacketId {
    // The remainder is below 65,535.
    let id = u16::try_from(ordinal % PACKET_IDS + 1).ok().and_then(NonZeroU16::new);
    PacketId::from(id.unwrap_or(NonZeroU16::MIN))
}

/// The last ordinal before `next` that has the identifier. `next` is above [`FIRST_ORDINAL`]; ordinals below that were
/// never given out.
pub(super) fn latest_before(next: u64, id: PacketId) -> u64 {
    let rest = u64::from(id.get()) - 1;
    let last = next - 1;
    last - (last - rest) % PACKET_IDS
}

/// Packet Identifiers of SUBSCRIBE and UNSUBSCRIBE, which a client takes from the same numbers [MQTT-2.2.1-3]. They are
/// few: a list.
#[derive(Debug, Default)]
pub(super) struct Reserved(Vec<PacketId>);

impl Reserved {
    pub(super) fn contains(&self, id: PacketId) -> bool {
        self.0.contains(&id)
    }

    pub(super) fn insert(&mut self, id: PacketId) {
        self.0.push(id);
    }

    pub(super) fn remove(&mut self, id: PacketId) -> bool {
        let place = self.0.iter().position(|other| *other == id);
        place.map(|place| self.0.swap_remove(place)).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_count_from_1_to_65535_and_again() {
        let ids: Vec<_> = (FIRST_ORDINAL..).take(65_537).map(|ordinal| id_of(ordinal).get()).collect();
        assert_eq!((ids[0], ids[1], ids[65_534], ids[65_535], ids[65_536]), (1, 2, 65_535, 1, 2));
    }

    #[test]
    fn an_ordinal_is_found_again_by_its_identifier() {
        for ordinal in [FIRST_ORDINAL, FIRST_ORDINAL + 1, 131_069, 131_070, 9_999_999_999] {
            for distance in [1, 2, 65_534, 65_535] {
                assert_eq!(latest_before(ordinal + distance, id_of(ordinal)), ordinal);
            }
            assert_eq!(latest_before(ordinal + 65_536, id_of(ordinal)), ordinal + 65_535);
        }
    }
}
