//! What comes back, cut into packets: as little of MQTT as a load generator needs, and nothing is copied.
//!
//! It does not use the codec of the broker: a fault there would hide itself. A PUBLISH costs a few comparisons.

/// A whole packet at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// Packet type in the upper four bits, flags in the lower.
    pub(super) first: u8,
    /// Everything behind the Remaining Length.
    pub(super) body: &'a [u8],
}

/// Bytes of a stream from which packets are taken.
#[derive(Debug)]
pub(super) struct Packets<'a> {
    rest: &'a [u8],
}

/// Remaining Length has more than four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> Packets<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next packet that is there as a whole.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'a>>, Malformed> {
        let [first, after @ ..] = self.rest else { return Ok(None) };
        let mut length = 0;
        for (position, byte) in after.iter().take(4).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                let packet = after.get(position + 1..).and_then(|body| body.split_at_checked(length));
                let Some((body, rest)) = packet else { return Ok(None) };
                self.rest = rest;
                return Ok(Some(Packet { first: *first, body }));
            }
        }
        if after.len() < 4 { Ok(None) } else { Err(Malformed) }
    }

    /// What is left: the beginning of a packet, or nothing.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// The parts of a PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Publish<'a> {
    pub(super) topic: &'a [u8],
    /// Zero at QoS 0.
    pub(super) packet_id: [u8; 2],
    pub(super) payload: &'a [u8],
}

impl Packet<'_> {
    /// Number of the packet type, 1 to 14 in valid packets.
    pub(super) fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// QoS bits of a PUBLISH.
    pub(super) fn qos(&self) -> u8 {
        (self.first >> 1) & 3
    }

    /// The Packet Identifier of an acknowledgement.
    pub(super) fn packet_id(&self) -> Option<[u8; 2]> {
        self.body.first_chunk().copied()
    }
}

impl<'a> Packet<'a> {
    /// The packet as a PUBLISH of 3.1 or 3.1.1.
    pub(super) fn publish(&self) -> Option<Publish<'a>> {
        let (length, rest) = self.body.split_first_chunk::<2>()?;
        let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        if self.qos() == 0 {
            return Some(Publish { topic, packet_id: [0; 2], payload: rest });
        }
        let (packet_id, payload) = rest.split_first_chunk::<2>()?;
        Some(Publish { topic, packet_id: *packet_id, payload })
    }
}

/// Packet types as they stand in the first byte.
pub(super) mod kind {
    pub(crate) const CONNECT: u8 = 1;
    pub(crate) const CONNACK: u8 = 2;
    pub(crate) const PUBLISH: u8 = 3;
    pub(crate) const PUBACK: u8 = 4;
    pub(crate) const PUBREC: u8 = 5;
    pub(crate) const PUBREL: u8 = 6;
    pub(crate) const PUBCOMP: u8 = 7;
    pub(crate) const SUBSCRIBE: u8 = 8;
    pub(crate) const SUBACK: u8 = 9;
    pub(crate) const UNSUBSCRIBE: u8 = 10;
    pub(crate) const PINGREQ: u8 = 12;
    pub(crate) const PINGRESP: u8 = 13;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_whole_however_they_are_split() {
        let mut long = vec![0x32, 0x84, 0x01, 0, 1, b'a', 0, 7];
        long.extend([9; 127]);
        let stream = [&[0xd0, 0][..], &[0x40, 2, 0, 1], &long].concat();
        for end in 0..=stream.len() {
            let mut packets = Packets::new(&stream[..end]);
            let mut taken = 0;
            while let Some(packet) = packets.next().unwrap() {
                taken += 1;
                if taken == 3 {
                    let publish = packet.publish().unwrap();
                    assert_eq!((publish.topic, publish.packet_id), (&b"a"[..], [0, 7]));
                    assert_eq!(publish.payload, [9; 127]);
                }
            }
            let expected = [2, 6, stream.len()].iter().filter(|&&limit| limit <= end).count();
            assert_eq!(taken, expected, "{end} bytes");
            let whole: usize = [2, 4, long.len()].iter().take(taken).sum();
            assert_eq!(packets.rest(), &stream[whole..end]);
        }
    }

    #[test]
    fn a_length_of_five_bytes_is_malformed() {
        assert_eq!(Packets::new(&[0x30, 0x80, 0x80, 0x80, 0x80]).next(), Err(Malformed));
        assert_eq!(Packets::new(&[0x30, 0x80, 0x80, 0x80]).next(), Ok(None));
    }

    #[test]
    fn a_publish_that_ends_early_is_none() {
        for body in [&[0][..], &[0, 2, b'a'], &[0, 1, b'a', 0]] {
            assert_eq!(Packet { first: 0x32, body }.publish(), None, "{body:?}");
        }
    }
}
