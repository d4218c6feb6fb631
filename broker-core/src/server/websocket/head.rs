//! The head of a frame [RFC 6455 section 5.2]: kind, length, mask.

use smallvec::SmallVec;

use super::frames::Violation;

/// The longest head of a client's frame: two bytes, a length of eight, a mask of four.
const CLIENT_HEAD_BYTES_MAX: usize = 14;
/// The longest head of a Server's frame, which has no mask.
const SERVER_HEAD_BYTES_MAX: usize = 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A further fragment.
    Continuation,
    /// Text.
    Text,
    /// Bytes.
    Binary,
    /// The end.
    Close,
    /// Wants a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

impl Kind {
    const fn of(opcode: u8) -> Option<Self> {
        Some(match opcode {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    const fn opcode(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// The head of a client's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) is_final: bool,
    pub(crate) len: u64,
    pub(crate) mask: [u8; 4],
}

/// As much of a head as has come.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    bytes: [u8; CLIENT_HEAD_BYTES_MAX],
    len: usize,
}

impl Opening {
    /// Takes what a head needs of the next bytes of the stream: how many bytes it took, and the head if it is complete.
    pub(crate) fn take(&mut self, stream: &[u8]) -> (usize, Result<Option<Head>, Violation>) {
        let mut taken = 0;
        loop {
            let needed = match self.needed() {
                Ok(needed) => needed,
                Err(violation) => return (taken, Err(violation)),
            };
            if self.len >= needed {
                return (taken, self.head().map(Some));
            }
            let rest = stream.get(taken..).unwrap_or_default();
            let now = rest.len().min(needed - self.len);
            if now == 0 {
                return (taken, Ok(None));
            }
            let room = self.bytes.iter_mut().skip(self.len);
            room.zip(rest).take(now).for_each(|(to, from)| *to = *from);
            self.len += now;
            taken += now;
        }
    }

    /// How long the head is, by what has come. What is wrong in the first two bytes is seen at once.
    fn needed(&self) -> Result<usize, Violation> {
        let [first, second, ..] = self.bytes;
        if self.len >= 1 {
            if first & 0x70 != 0 {
                return Err(Violation::ReservedBits);
            }
            Kind::of(first & 0x0F).ok_or(Violation::ReservedOpcode)?;
        }
        if self.len < 2 {
            return Ok(2);
        }
        if second & 0x80 == 0 {
            return Err(Violation::Unmasked);
        }
        Ok(match second & 0x7F {
            126 => 8,
            127 => 14,
            _ => 6,
        })
    }

    fn head(&self) -> Result<Head, Violation> {
        let [first, second, a, b, c, d, e, f, g, h, i, j, k, l] = self.bytes;
        let (len, mask) = match second & 0x7F {
            126 => (u64::from(u16::from_be_bytes([a, b])), [c, d, e, f]),
            127 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), [i, j, k, l]),
            len => (u64::from(len), [a, b, c, d]),
        };
        let is_minimal = match second & 0x7F {
            126 => len > 125,
            127 => len > u64::from(u16::MAX) && len >> 63 == 0,
            _ => true,
        };
        let kind = Kind::of(first & 0x0F).filter(|_| is_minimal).ok_or(Violation::Length)?;
        Ok(Head { kind, is_final: first & 0x80 != 0, len, mask })
    }
}

/// The head of a frame of the Server's: a whole message of `len` bytes, without mask.
pub(crate) fn server_head(kind: Kind, len: usize) -> SmallVec<[u8; SERVER_HEAD_BYTES_MAX]> {
    let mut head = SmallVec::new();
    head.push(0x80 | kind.opcode());
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..126), _) => head.push(len),
        (_, Ok(len)) => {
            head.push(126);
            head.extend_from_slice(&len.to_be_bytes());
        }
        (_, Err(_)) => {
            head.push(127);
            head.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    head
}
