//! The one FIFO of a session: messages in flight are its first part, those that wait the rest.
//!
//! ```text
//!   0          sent        in_flight                len
//!   ├── window ──┼─ to resend ─┼────── waiting ──────┤
//! ```
//!
//! What waits is nothing but messages, because many may. After a reconnect the window begins empty again.

use std::collections::VecDeque;

use culex_codec::{PacketId, QoS};

use super::super::fifo::Fifo;
use super::Awaits;
use super::packet_ids::{PACKET_IDS, id_of, latest_before};

/// A message on its way out.
pub trait Outgoing {
    /// 1 or 2. A message of QoS 0 has no place here; it would be sent with QoS 1.
    fn qos(&self) -> QoS;

    /// What it counts in [`Sender::queued_bytes`](super::Sender::queued_bytes), always the same.
    fn bytes(&self) -> usize;
}

/// A place in the window.
#[derive(Debug)]
pub(super) struct InFlight<M> {
    pub(super) ordinal: u64,
    pub(super) phase: Phase<M>,
}

/// How far a message in flight is.
#[derive(Debug)]
#[expect(clippy::enum_variant_names, reason = "the names of the states in the drawing")]
pub(super) enum Phase<M> {
    AwaitPuback(M),
    AwaitPubrec(M),
    /// The receiver has the message; only its Packet Identifier is left.
    AwaitPubcomp,
}

impl<M: Outgoing> Phase<M> {
    pub(super) fn sent(message: M) -> Self {
        match message.qos() {
            QoS::ExactlyOnce => Self::AwaitPubrec(message),
            QoS::AtMostOnce | QoS::AtLeastOnce => Self::AwaitPuback(message),
        }
    }
}

impl<M> Phase<M> {
    pub(super) const fn awaits(&self) -> Awaits {
        match self {
            Self::AwaitPuback(_) => Awaits::Puback,
            Self::AwaitPubrec(_) => Awaits::Pubrec,
            Self::AwaitPubcomp => Awaits::Pubcomp,
        }
    }

    pub(super) fn into_message(self) -> Option<M> {
        match self {
            Self::AwaitPuback(message) | Self::AwaitPubrec(message) => Some(message),
            Self::AwaitPubcomp => None,
        }
    }

    const fn message(&self) -> Option<&M> {
        match self {
            Self::AwaitPuback(message) | Self::AwaitPubrec(message) => Some(message),
            Self::AwaitPubcomp => None,
        }
    }

    const fn message_mut(&mut self) -> Option<&mut M> {
        match self {
            Self::AwaitPuback(message) | Self::AwaitPubrec(message) => Some(message),
            Self::AwaitPubcomp => None,
        }
    }
}

/// The FIFO and its boundaries; knows nothing of packets.
#[derive(Debug)]
pub(super) struct Window<M> {
    in_flight: VecDeque<InFlight<M>>,
    waiting: Fifo<M>,
    sent: usize,
}

impl<M: Outgoing> Window<M> {
    pub(super) const fn new() -> Self {
        Self { in_flight: VecDeque::new(), waiting: Fifo::new(), sent: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.in_flight.len() + self.waiting.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) const fn sent(&self) -> usize {
        self.sent
    }

    /// The Network Connection is new: all in flight is to be sent again.
    pub(super) const fn rewind(&mut self) {
        self.sent = 0;
    }

    /// The next message in flight that was not sent over this connection; it counts as sent now.
    pub(super) fn send_again(&mut self) -> Option<&InFlight<M>> {
        let next = self.in_flight.get(self.sent)?;
        self.sent += 1;
        Some(next)
    }

    /// The first message that waits goes in flight with `ordinal`, which is greater than all before. All in flight were
    /// sent.
    pub(super) fn send_first(&mut self, ordinal: u64) -> Option<&InFlight<M>> {
        let phase = Phase::sent(self.waiting.pop_front()?);
        self.in_flight.push_back(InFlight { ordinal, phase });
        self.sent += 1;
        self.in_flight.back()
    }

    pub(super) fn push(&mut self, message: M) {
        self.waiting.push_back(message);
    }

    /// A message that was in flight before a restart, behind the others in flight.
    pub(super) fn push_in_flight(&mut self, ordinal: u64, phase: Phase<M>) {
        self.in_flight.push_back(InFlight { ordinal, phase });
    }

    /// The place of a Packet Identifier, given that all ordinals are below `next`. Tries each ordinal that the identifier
    /// may have, the latest first; usually there is one.
    pub(super) fn find(&self, id: PacketId, next: u64) -> Option<usize> {
        let front = self.front()?;
        if id_of(front) == id {
            return Some(0);
        }
        if next.saturating_sub(front) / PACKET_IDS >= self.in_flight.len() as u64 {
            return self.in_flight.iter().position(|message| id_of(message.ordinal) == id);
        }
        let mut ordinal = latest_before(next, id);
        while ordinal > front {
            if let Ok(index) = self.in_flight.binary_search_by_key(&ordinal, |message| message.ordinal) {
                return Some(index);
            }
            ordinal -= PACKET_IDS;
        }
        None
    }

    /// The ordinal of the oldest message in flight.
    pub(super) fn front(&self) -> Option<u64> {
        self.in_flight.front().map(|message| message.ordinal)
    }

    pub(super) fn get(&self, index: usize) -> Option<&InFlight<M>> {
        self.in_flight.get(index)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut InFlight<M>> {
        self.in_flight.get_mut(index)
    }

    /// Ends a message in flight.
    pub(super) fn end(&mut self, index: usize) -> Option<InFlight<M>> {
        let ended = self.in_flight.remove(index)?;
        self.sent -= usize::from(index < self.sent);
        self.give_back();
        Some(ended)
    }

    pub(super) fn first_waiting(&self) -> Option<&M> {
        self.waiting.front()
    }

    pub(super) fn iter_waiting(&self) -> impl Iterator<Item = &M> {
        self.waiting.iter()
    }

    /// The message that is sent next, if it is not PUBREL.
    pub(super) fn next_message(&self) -> Option<&M> {
        match self.in_flight.get(self.sent) {
            Some(again) => again.phase.message(),
            None => self.first_waiting(),
        }
    }

    /// Drops that message.
    pub(super) fn drop_next(&mut self) -> Option<M> {
        match self.in_flight.get(self.sent) {
            Some(again) => {
                again.phase.message()?;
                self.end(self.sent)?.phase.into_message()
            }
            None => self.pop_first_waiting(),
        }
    }

    pub(super) fn pop_first_waiting(&mut self) -> Option<M> {
        self.waiting.pop_front()
    }

    pub(super) fn pop_last_waiting(&mut self) -> Option<M> {
        self.waiting.pop_back()
    }

    pub(super) fn iter_in_flight_mut(&mut self) -> impl Iterator<Item = &mut M> {
        self.in_flight.iter_mut().filter_map(|message| message.phase.message_mut())
    }

    pub(super) fn iter_in_flight(&self) -> impl Iterator<Item = &InFlight<M>> {
        self.in_flight.iter()
    }

    /// All messages that the receiver may not have.
    pub(super) fn take(&mut self) -> impl Iterator<Item = M> + use<M> {
        let Self { in_flight, waiting, .. } = std::mem::replace(self, Self::new());
        in_flight.into_iter().filter_map(|message| message.phase.into_message()).chain(waiting.into_iter())
    }

    /// A window that was large once does not stay so.
    fn give_back(&mut self) {
        let (len, room) = (self.in_flight.len(), self.in_flight.capacity());
        if len == 0 && room > SLOTS_KEPT_IDLE {
            self.in_flight = VecDeque::new();
        } else if room > SLOTS_KEPT && len < room / 8 {
            self.in_flight.shrink_to(len * 2);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.in_flight.capacity() + self.waiting.capacity()
    }
}

/// Room that an empty window keeps, so that one message at a time allocates nothing.
const SLOTS_KEPT_IDLE: usize = 4;
/// Room that a window keeps though most of it is empty.
const SLOTS_KEPT: usize = 32;
