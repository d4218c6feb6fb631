//! What comes back, cut into packets: as little of MQTT as a load generator needs, and nothing is copied.
//!
//! It does not use the codec of the broker: a fault there would hide itself. A PUBLISH costs a few comparisons.

use crate::bench::plan::Version;

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
        let Some((length, behind)) = variable(after) else {
            return if after.len() < 4 { Ok(None) } else { Err(Malformed) };
        };
        let Some((body, rest)) = behind.split_at_checked(length) else { return Ok(None) };
        self.rest = rest;
        Ok(Some(Packet { first: *first, body }))
    }

    /// What is left: the beginning of a packet, or nothing.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// A Variable Byte Integer of up to four bytes, and what is behind it.
#[inline]
fn variable(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (position, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(position + 1..)?));
        }
    }
    None
}

/// Properties, and what is behind them; before 5.0 there are none.
#[inline]
fn properties(bytes: &[u8], version: Version) -> Option<(&[u8], &[u8])> {
    match version {
        Version::V31 | Version::V311 => Some((&[], bytes)),
        Version::V5 => variable(bytes).and_then(|(length, behind)| behind.split_at_checked(length)),
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

    /// The Reason Code of an acknowledgement; those before 5.0 have none, which is success.
    pub(super) fn reason(&self) -> u8 {
        self.body.get(2).copied().unwrap_or_default()
    }

    /// The Packet Identifier of an acknowledgement.
    pub(super) fn packet_id(&self) -> Option<[u8; 2]> {
        self.body.first_chunk().copied()
    }
}

impl<'a> Packet<'a> {
    /// The packet as a PUBLISH.
    #[inline]
    pub(super) fn publish(&self, version: Version) -> Option<Publish<'a>> {
        let (length, rest) = self.body.split_first_chunk::<2>()?;
        let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (packet_id, rest) =
            if self.qos() == 0 { (&[0; 2], rest) } else { rest.split_first_chunk::<2>()? };
        let (_, payload) = properties(rest, version)?;
        Some(Publish { topic, packet_id: *packet_id, payload })
    }
}

/// The parts of a CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnAck {
    pub(super) is_present: bool,
    /// 0: accepted.
    pub(super) code: u8,
    /// Messages of QoS 1 and 2 that the broker takes at a time.
    pub(super) receive_maximum: u16,
}

impl Packet<'_> {
    /// The packet as a CONNACK.
    pub(super) fn connack(&self, version: Version) -> Option<ConnAck> {
        let [flags, code, rest @ ..] = self.body else { return None };
        let (properties, _) = properties(rest, version)?;
        let receive_maximum = receive_maximum(properties)?;
        Some(ConnAck { is_present: flags & 1 == 1, code: *code, receive_maximum })
    }

    /// Packet Identifier and first code of a SUBACK.
    pub(super) fn suback(&self, version: Version) -> Option<([u8; 2], u8)> {
        let (packet_id, rest) = self.body.split_first_chunk::<2>()?;
        let (_, codes) = properties(rest, version)?;
        Some((*packet_id, *codes.first()?))
    }
}

/// That of CONNACK, 65,535 if it has none. `None`: these are no properties of a CONNACK, 5.0 section 3.2.2.3.
fn receive_maximum(mut properties: &[u8]) -> Option<u16> {
    let mut maximum = u16::MAX;
    while let [id, value @ ..] = properties {
        let text = |bytes: &[u8]| Some(usize::from(u16::from_be_bytes(*bytes.first_chunk()?)) + 2);
        let length = match id {
            0x24 | 0x25 | 0x28..=0x2a => 1,
            0x13 | 0x21 | 0x22 => 2,
            0x11 | 0x27 => 4,
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => text(value)?,
            // A User Property is a pair.
            0x26 => text(value).and_then(|name| Some(name + text(value.get(name..)?)?))?,
            _ => return None,
        };
        let (value, rest) = value.split_at_checked(length)?;
        if *id == 0x21 {
            maximum = u16::from_be_bytes(*value.first_chunk()?);
        }
        properties = rest;
    }
    Some(maximum)
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
                    let publish = packet.publish(Version::V311).unwrap();
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
            assert_eq!(Packet { first: 0x32, body }.publish(Version::V311), None, "{body:?}");
        }
        for body in [&[0, 1, b'a', 0, 7][..], &[0, 1, b'a', 0, 7, 2, 1], &[0, 1, b'a', 0, 7, 0x80]] {
            assert_eq!(Packet { first: 0x32, body }.publish(Version::V5), None, "{body:?}");
        }
    }

    #[test]
    fn properties_are_passed_over() {
        let body = [0, 1, b'a', 0, 7, 5, 0x02, 0, 0, 0, 9, b'x'];
        let publish = Packet { first: 0x32, body: &body }.publish(Version::V5).unwrap();
        assert_eq!(publish, Publish { topic: b"a", packet_id: [0, 7], payload: b"x" });
        let body = [0, 7, 4, 0x1f, 0, 1, b'!', 1];
        assert_eq!(Packet { first: 0x90, body: &body }.suback(Version::V5), Some(([0, 7], 1)));
    }

    #[test]
    fn what_a_broker_takes_at_a_time_is_read() {
        let connack = |properties: &[u8]| {
            let length = u8::try_from(properties.len()).unwrap();
            let body = [&[1, 0, length][..], properties].concat();
            Packet { first: 0x20, body: &body }.connack(Version::V5)
        };
        let expected = |receive_maximum| Some(ConnAck { is_present: true, code: 0, receive_maximum });
        let others = [&[0x24, 1, 0x22, 0, 9, 0x11, 0, 0, 0, 1, 0x12, 0, 1, b'x', 0x26, 0, 1, b'a', 0, 0][..]];
        assert_eq!(connack(&[]), expected(65_535));
        assert_eq!(connack(&others.concat()), expected(65_535));
        assert_eq!(connack(&[others.concat(), vec![0x21, 0, 20]].concat()), expected(20));
        for wrong in [&[0x21, 0][..], &[0x00], &[0x12, 0, 9], &[0x26, 0, 0]] {
            assert_eq!(connack(wrong), None, "{wrong:?}");
        }
        let old = Packet { first: 0x20, body: &[0, 5] }.connack(Version::V311).unwrap();
        assert_eq!((old.is_present, old.code), (false, 5));
    }
}
