//! Frames of WebSocket [RFC 6455 section 5], the Server's side, as a state machine over buffers.
//!
//! ```text
//!   Head ── data ──► Data ── its last byte ──► Head
//!     └──── control ► Control ── its last byte: pong, or the end ──► Head
//! ```
//!
//! MQTT packets need not be aligned on frames [MQTT-6.0.0-2], so a payload passes through as it comes. Nothing of a frame is
//! ever kept but an unfinished head and an unfinished control frame, whatever length it announces.

use super::head::{Head, Kind, Opening};

/// The longest payload of a control frame [RFC 6455 section 5.5].
const CONTROL_BYTES_MAX: usize = 125;
/// Nothing more to say [RFC 6455 section 7.4.1].
const NORMAL_CLOSURE: u16 = 1000;
/// A Close frame without a code.
const NO_STATUS: u16 = 1005;

/// What a client sends, and what control frames want to be answered.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    state: State,
    /// A message was begun, and its last fragment has not come.
    is_fragmented: bool,
    /// The payload of the last ping that was not answered. Older ones need no answer [RFC 6455 section 5.5.3].
    ping: Option<Vec<u8>>,
    /// The code of the Close frame that is to be sent.
    close: Option<u16>,
    is_close_sent: bool,
    end: Option<End>,
}

#[derive(Debug)]
enum State {
    Head(Opening),
    Data { left: u64, mask: [u8; 4] },
    Control { kind: Kind, left: usize, mask: [u8; 4], payload: Vec<u8> },
}

/// Why nothing more is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client has said so.
    Closed,
    /// It broke a rule.
    Failed(Violation),
}

/// A rule that a client broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A text frame [MQTT-6.0.0-1].
    Text,
    /// A frame that is not masked [RFC 6455 section 5.1].
    Unmasked,
    /// Reserved bits: no extension was agreed on, compression neither.
    ReservedBits,
    /// An opcode that has no meaning.
    ReservedOpcode,
    /// A length that is written longer than needed, or beyond 63 bits.
    Length,
    /// A control frame over 125 bytes, or in fragments.
    Control,
    /// A fragment without a beginning, or a message within another.
    Fragments,
    /// A Close frame with a code that must not be sent.
    CloseCode,
}

impl Violation {
    /// What the log says of it.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Text => "a WebSocket text frame; MQTT needs binary ones [MQTT-6.0.0-1]",
            Self::Unmasked => "a WebSocket frame without mask",
            Self::ReservedBits => {
                "a WebSocket frame with an extension, such as compression, that was not agreed on"
            }
            Self::ReservedOpcode => "a WebSocket frame of an unknown kind",
            Self::Length => "a WebSocket frame with a malformed length",
            Self::Control => "a WebSocket control frame that is too long or in fragments",
            Self::Fragments => "WebSocket fragments in the wrong order",
            Self::CloseCode => "a WebSocket Close frame with a malformed code",
        }
    }

    /// The code of the Close frame [RFC 6455 section 7.4.1].
    const fn code(self) -> u16 {
        match self {
            Self::Text => 1003,
            Self::Unmasked
            | Self::ReservedBits
            | Self::ReservedOpcode
            | Self::Length
            | Self::Control
            | Self::Fragments
            | Self::CloseCode => 1002,
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Head(Opening::default())
    }
}

impl Frames {
    /// Why nothing more is read; the last bytes before the end may have brought payload.
    pub(crate) const fn end(&self) -> Option<End> {
        self.end
    }

    /// Takes in all of `buffer`, the next bytes of the stream, and leaves at its front what the payloads of data frames
    /// have. Returns how many bytes that are.
    pub(crate) fn unwrap(&mut self, buffer: &mut [u8]) -> usize {
        let (mut at, mut filled) = (0, 0);
        while at < buffer.len() && self.end.is_none() {
            at += match &mut self.state {
                State::Head(opening) => {
                    let rest = buffer.get(at..).unwrap_or_default();
                    let (taken, head) = opening.take(rest);
                    match head {
                        Ok(Some(head)) => self.begin(head),
                        Ok(None) => {}
                        Err(violation) => self.fail(violation),
                    }
                    taken
                }
                State::Data { left, mask } => {
                    let rest = buffer.len() - at;
                    let count = usize::try_from(*left).map_or(rest, |left| left.min(rest));
                    buffer.copy_within(at..at + count, filled);
                    unmask(mask, buffer.get_mut(filled..filled + count).unwrap_or_default());
                    *left -= count as u64;
                    filled += count;
                    if *left == 0 {
                        self.state = State::default();
                    }
                    count
                }
                State::Control { kind, left, mask, payload } => {
                    let rest = buffer.get(at..).unwrap_or_default();
                    let (now, _) = rest.split_at(rest.len().min(*left));
                    let begin = payload.len();
                    payload.extend_from_slice(now);
                    unmask(mask, payload.get_mut(begin..).unwrap_or_default());
                    *left -= now.len();
                    if *left == 0 {
                        let (kind, payload) = (*kind, std::mem::take(payload));
                        self.state = State::default();
                        self.control(kind, payload);
                    }
                    now.len()
                }
            };
        }
        filled
    }

    /// A head is complete.
    fn begin(&mut self, head: Head) {
        self.state = State::default();
        match head.kind {
            Kind::Binary | Kind::Text | Kind::Continuation => {
                if (head.kind == Kind::Continuation) != self.is_fragmented {
                    return self.fail(Violation::Fragments);
                }
                if head.kind == Kind::Text {
                    // [MQTT-6.0.0-1]
                    return self.fail(Violation::Text);
                }
                self.is_fragmented = !head.is_final;
                if head.len > 0 {
                    self.state = State::Data { left: head.len, mask: head.mask };
                }
            }
            Kind::Close | Kind::Ping | Kind::Pong => match usize::try_from(head.len) {
                Ok(0) if head.is_final => self.control(head.kind, Vec::new()),
                Ok(left @ 1..=CONTROL_BYTES_MAX) if head.is_final => {
                    self.state =
                        State::Control { kind: head.kind, left, mask: head.mask, payload: Vec::new() };
                }
                Ok(_) | Err(_) => self.fail(Violation::Control),
            },
        }
    }

    /// A control frame is complete; it may stand between the fragments of a message.
    fn control(&mut self, kind: Kind, payload: Vec<u8>) {
        match kind {
            Kind::Ping => self.ping = Some(payload),
            Kind::Close => match close_code(&payload) {
                Some(code) => {
                    self.close = Some(if code == NO_STATUS { NORMAL_CLOSURE } else { code });
                    self.end = Some(End::Closed);
                }
                None => self.fail(Violation::CloseCode),
            },
            // Nobody has asked for one.
            Kind::Pong | Kind::Binary | Kind::Text | Kind::Continuation => {}
        }
    }

    fn fail(&mut self, violation: Violation) {
        self.close = Some(violation.code());
        self.end = Some(End::Failed(violation));
    }

    /// The Server has nothing more to say: a Close frame follows, if none was sent.
    pub(crate) fn take_leave(&mut self) {
        self.close.get_or_insert(NORMAL_CLOSURE);
    }

    /// Whether the Close frame is on its way, which is the last frame.
    pub(crate) const fn has_taken_leave(&self) -> bool {
        self.is_close_sent
    }

    /// The next control frame to send. It may stand between two frames, not within one.
    pub(crate) fn next_answer(&mut self) -> Option<Vec<u8>> {
        if self.is_close_sent {
            return None;
        }
        if let Some(code) = self.close {
            // The last frame: a pong behind it would be one too many.
            self.is_close_sent = true;
            return Some(control_frame(Kind::Close, &code.to_be_bytes()));
        }
        self.ping.take().map(|payload| control_frame(Kind::Pong, &payload))
    }
}

/// The code of a Close frame; `None` for one that must not be sent [RFC 6455 section 7.4].
fn close_code(payload: &[u8]) -> Option<u16> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return payload.is_empty().then_some(NO_STATUS);
    };
    let code = u16::from_be_bytes(*code);
    let is_allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    (is_allowed && std::str::from_utf8(reason).is_ok()).then_some(code)
}

fn control_frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut frame = super::head::server_head(kind, payload.len()).to_vec();
    frame.extend_from_slice(payload);
    frame
}

/// Takes the mask off, and turns it to where the next byte needs it.
fn unmask(mask: &mut [u8; 4], bytes: &mut [u8]) {
    let [a, b, c, d] = *mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    mask.rotate_left(rest.len() % 4);
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
