//! Fixed header (section 2.2): where a packet ends, told from its first two to five bytes.

use std::fmt;

use crate::{error::DecodeError, types::ProtocolVersion, varint};

/// The type of a control packet: the upper four bits of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Client asks for a connection.
    Connect = 1,
    /// Server answers CONNECT.
    ConnAck = 2,
    /// Application Message, in both directions.
    Publish = 3,
    /// QoS 1: message taken.
    PubAck = 4,
    /// QoS 2, part 1: message taken.
    PubRec = 5,
    /// QoS 2, part 2: identifier can be released.
    PubRel = 6,
    /// QoS 2, part 3: identifier is released.
    PubComp = 7,
    /// Client subscribes.
    Subscribe = 8,
    /// Server answers SUBSCRIBE.
    SubAck = 9,
    /// Client unsubscribes.
    Unsubscribe = 10,
    /// Server answers UNSUBSCRIBE.
    UnsubAck = 11,
    /// Client is alive.
    PingReq = 12,
    /// Server answers PINGREQ.
    PingResp = 13,
    /// Last packet of a connection.
    Disconnect = 14,
    /// Enhanced authentication, 5.0 only.
    Auth = 15,
}

impl PacketType {
    /// The type in the upper four bits of `first_byte`; `None` for 0.
    pub const fn from_first_byte(first_byte: u8) -> Option<Self> {
        Some(match first_byte >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The name in the standard: `CONNECT`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    /// The flags of every packet of this type but PUBLISH, whose flags vary ([MQTT-2.2.2-1]).
    pub(crate) const fn fixed_flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            Self::Connect
            | Self::ConnAck
            | Self::Publish
            | Self::PubAck
            | Self::PubRec
            | Self::PubComp
            | Self::SubAck
            | Self::UnsubAck
            | Self::PingReq
            | Self::PingResp
            | Self::Disconnect
            | Self::Auth => 0,
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The fixed header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// Upper four bits of the first byte.
    pub packet_type: PacketType,
    /// Lower four bits of the first byte.
    pub flags: u8,
    /// Bytes after the fixed header, 0 to 268,435,455.
    pub remaining_length: u32,
}

/// What the front of a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole packet.
    Complete {
        /// Its fixed header.
        header: FixedHeader,
        /// The bytes after the fixed header, [`FixedHeader::remaining_length`] of them.
        body: &'a [u8],
        /// Size of the whole packet.
        len: usize,
    },
    /// The beginning of a packet.
    Incomplete {
        /// At least so many more bytes are needed; never 0.
        need: usize,
    },
}

/// Finds the packet at the front of `buf`, of whatever version. Nothing is allocated, whatever length is announced.
///
/// # Errors
/// As soon as the bytes there are show it: a type or flags that no version has (told from the first byte alone), a Remaining
/// Length of more than four bytes, a packet of more than `packet_bytes_max` bytes in all.
#[inline]
pub fn read_frame(buf: &[u8], packet_bytes_max: u32) -> Result<Frame<'_>, DecodeError> {
    // 3.1 forgives most.
    read(buf, ProtocolVersion::V31, true, packet_bytes_max)
}

/// As [`read_frame`], and checks type and flags by the rules of `version`; `auth` allows AUTH whatever the version.
#[inline]
pub(crate) fn read(
    buf: &[u8],
    version: ProtocolVersion,
    auth: bool,
    packet_bytes_max: u32,
) -> Result<Frame<'_>, DecodeError> {
    let Some((&first_byte, rest)) = buf.split_first() else {
        return Ok(Frame::Incomplete { need: 2 });
    };
    let flags = first_byte & 0x0f;
    let packet_type = match PacketType::from_first_byte(first_byte) {
        Some(PacketType::Auth) if !auth && !version.is_v5() => None,
        other => other,
    }
    .ok_or(DecodeError::ReservedPacketType { packet_type: first_byte >> 4 })?;
    check_flags(packet_type, flags, version)?;

    let Some((remaining_length, length_bytes)) = varint::parse_any(rest)? else {
        return Ok(Frame::Incomplete { need: 1 });
    };
    // A CONNECT goes by its own version, which is not known yet.
    if version.is_v5() && packet_type != PacketType::Connect {
        varint::check_minimal(remaining_length, length_bytes)?;
    }
    let body_len = remaining_length as usize;
    let len = 1 + length_bytes + body_len;
    if len > packet_bytes_max as usize {
        // At most 5 + 268,435,455.
        return Err(DecodeError::PacketTooLarge { bytes: len as u32, bytes_max: packet_bytes_max });
    }
    match rest.get(length_bytes..length_bytes + body_len) {
        Some(body) => {
            let header = FixedHeader { packet_type, flags, remaining_length };
            Ok(Frame::Complete { header, body, len })
        }
        None => Ok(Frame::Incomplete { need: len - buf.len() }),
    }
}

/// Flags by type ([MQTT-2.2.2-2]).
#[inline]
fn check_flags(packet_type: PacketType, flags: u8, version: ProtocolVersion) -> Result<(), DecodeError> {
    if packet_type == PacketType::Publish {
        if flags & 0b0110 == 0b0110 {
            return Err(DecodeError::PublishQoS); // [MQTT-3.3.1-4]
        }
        // 3.1 has no such rule: there DUP is "not used" with QoS 0.
        if flags & 0b1110 == 0b1000 && version != ProtocolVersion::V31 {
            return Err(DecodeError::PublishDupWithoutQoS); // [MQTT-3.3.1-2]
        }
        return Ok(());
    }
    // In 3.1 these three are messages with QoS 1, so may have DUP, and RETAIN is "not used".
    let any_flags = packet_type.fixed_flags() != 0 && version == ProtocolVersion::V31;
    if flags == packet_type.fixed_flags() || any_flags {
        Ok(())
    } else {
        Err(DecodeError::FixedHeaderFlags { packet_type, flags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = u32::MAX;

    #[test]
    fn type_and_flags_are_judged_from_the_first_byte() {
        use ProtocolVersion::{V5, V31, V311};
        for first_byte in 0..=u8::MAX {
            let (packet_type, flags) = (first_byte >> 4, first_byte & 0x0f);
            for version in [V31, V311, V5] {
                let expected = match packet_type {
                    0 => false,
                    3 => flags & 6 != 6 && (version == V31 || flags & 0b1110 != 0b1000),
                    6 | 8 | 10 => version == V31 || flags == 2,
                    15 => version == V5 && flags == 0,
                    _ => flags == 0,
                };
                let bytes = [first_byte];
                let frame = read(&bytes, version, false, MAX);
                assert_eq!(frame.is_ok(), expected, "{first_byte:08b} {version:?}");
                if expected {
                    assert_eq!(frame, Ok(Frame::Incomplete { need: 1 }));
                    assert!(read_frame(&[first_byte], MAX).is_ok());
                }
            }
        }
        assert!(read_frame(&[0xf0, 0], MAX).is_ok());
        assert_eq!(read_frame(&[0x0f], MAX), Err(DecodeError::ReservedPacketType { packet_type: 0 }));
    }

    #[test]
    fn need_is_exact_once_the_length_is_known() {
        assert_eq!(read_frame(&[], MAX), Ok(Frame::Incomplete { need: 2 }));
        assert_eq!(read_frame(&[0x30, 0x85], MAX), Ok(Frame::Incomplete { need: 1 }));
        assert_eq!(read_frame(&[0x30, 0x85, 0x01], MAX), Ok(Frame::Incomplete { need: 133 }));
        assert_eq!(read_frame(&[0x30, 3, 0, 1], MAX), Ok(Frame::Incomplete { need: 1 }));
        let header = FixedHeader { packet_type: PacketType::Publish, flags: 0, remaining_length: 2 };
        let complete = Frame::Complete { header, body: &[7, 8], len: 4 };
        assert_eq!(read_frame(&[0x30, 2, 7, 8, 9], MAX), Ok(complete));
    }

    #[test]
    fn the_limit_counts_the_whole_packet_and_needs_no_body() {
        assert!(read_frame(&[0x30, 8], 10).is_ok());
        assert_eq!(read_frame(&[0x30, 9], 10), Err(DecodeError::PacketTooLarge { bytes: 11, bytes_max: 10 }));
        let largest = [0x30, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(read_frame(&largest, 268_435_460), Ok(Frame::Incomplete { need: 268_435_455 }));
        let error = DecodeError::PacketTooLarge { bytes: 268_435_460, bytes_max: 268_435_459 };
        assert_eq!(read_frame(&largest, 268_435_459), Err(error));
    }

    #[test]
    fn a_fifth_length_byte_is_never_waited_for() {
        let error = Err(DecodeError::VariableByteIntegerTooLong);
        assert_eq!(read_frame(&[0x10, 0x80, 0x80, 0x80, 0x80], MAX), error);
        assert_eq!(read_frame(&[0x10, 0xff, 0xff, 0xff, 0xff, 0x7f], MAX), error);
    }

    #[test]
    fn a_length_longer_than_need_be_is_an_error_in_5_0_alone() {
        let ping = [0xc0, 0x80, 0x00];
        let error = Err(DecodeError::VariableByteIntegerNotMinimal { value: 0, bytes: 2 });
        assert_eq!(read(&ping, ProtocolVersion::V5, false, MAX), error);
        for version in [ProtocolVersion::V31, ProtocolVersion::V311] {
            assert!(matches!(read(&ping, version, false, MAX), Ok(Frame::Complete { len: 3, .. })));
        }
    }
}
