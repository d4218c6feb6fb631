//! The one FIFO of a session: messages in flight are its first part, those that wait the rest.
//!
//! ```text
//!   0          sent        in_flight                len
//!   ├── window ──┼─ to resend ─┼────── waiting ──────┤
//! ```
//!
//! Sending moves a boundary, no message. After a reconnect the window begins empty again.

use std::collections::VecDeque;

use culex_codec::{PacketId, QoS};

use super::Awaits;
use super::packet_ids::{PACKET_IDS, id_of, latest_before};

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing<M> {
    /// The message, with all that differs from receiver to receiver.
    pub message: M,
    /// 1 or 2. A message of QoS 0 has no place here; it would be sent with QoS 1.
    pub qos: QoS,
    /// What it counts in [`Sender::queued_bytes`](super::Sender::queued_bytes).
    pub bytes: usize,
}

/// A place in the FIFO.
#[derive(Debug)]
pub(super) enum Slot<M> {
    Waiting(Outgoing<M>),
    InFlight { ordinal: u64, phase: Phase<M> },
}

/// How far a message in flight is.
#[derive(Debug)]
#[expect(clippy::enum_variant_names, reason = "the names of the states in the drawing")]
pub(super) enum Phase<M> {
    AwaitPuback(Outgoing<M>),
    AwaitPubrec(Outgoing<M>),
    /// The receiver has the message; only its Packet Identifier is left.
    AwaitPubcomp,
}

impl<M> Phase<M> {
    pub(super) fn sent(message: Outgoing<M>) -> Self {
        match message.qos {
            QoS::ExactlyOnce => Self::AwaitPubrec(message),
            QoS::AtMostOnce | QoS::AtLeastOnce => Self::AwaitPuback(message),
        }
    }

    pub(super) const fn awaits(&self) -> Awaits {
        match self {
            Self::AwaitPuback(_) => Awaits::Puback,
            Self::AwaitPubrec(_) => Awaits::Pubrec,
            Self::AwaitPubcomp => Awaits::Pubcomp,
        }
    }

    pub(super) fn into_message(self) -> Option<Outgoing<M>> {
        match self {
            Self::AwaitPuback(message) | Self::AwaitPubrec(message) => Some(message),
            Self::AwaitPubcomp => None,
        }
    }
}

impl<M> Slot<M> {
    pub(super) fn into_message(self) -> Option<Outgoing<M>> {
        match self {
            Self::Waiting(message) => Some(message),
            Self::InFlight { ordinal: _, phase } => phase.into_message(),
        }
    }

    const fn message(&self) -> Option<&Outgoing<M>> {
        match self {
            Self::Waiting(message)
            | Self::InFlight { phase: Phase::AwaitPuback(message) | Phase::AwaitPubrec(message), .. } => {
                Some(message)
            }
            Self::InFlight { phase: Phase::AwaitPubcomp, .. } => None,
        }
    }

    const fn message_mut(&mut self) -> Option<&mut Outgoing<M>> {
        match self {
            Self::Waiting(message)
            | Self::InFlight { phase: Phase::AwaitPuback(message) | Phase::AwaitPubrec(message), .. } => {
                Some(message)
            }
            Self::InFlight { phase: Phase::AwaitPubcomp, .. } => None,
        }
    }

    const fn ordinal(&self) -> u64 {
        match self {
            Self::Waiting(_) => u64::MAX,
            Self::InFlight { ordinal, .. } => *ordinal,
        }
    }
}

/// The FIFO and its boundaries; knows nothing of packets.
#[derive(Debug)]
pub(super) struct Window<M> {
    slots: VecDeque<Slot<M>>,
    in_flight: usize,
    sent: usize,
}

impl<M> Window<M> {
    pub(super) const fn new() -> Self {
        Self { slots: VecDeque::new(), in_flight: 0, sent: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) const fn sent(&self) -> usize {
        self.sent
    }

    /// The Network Connection is new: all in flight is to be sent again.
    pub(super) const fn rewind(&mut self) {
        self.sent = 0;
    }

    /// The next message in flight that was not sent over this connection; it counts as sent now.
    pub(super) fn send_again(&mut self) -> Option<(u64, &Phase<M>)> {
        if self.sent >= self.in_flight {
            return None;
        }
        let index = self.sent;
        self.sent += 1;
        in_flight(self.slots.get(index)?)
    }

    /// The first message that waits goes in flight with `ordinal`, which is greater than all before. All in flight were
    /// sent.
    pub(super) fn send_first(&mut self, ordinal: u64) -> Option<(u64, &Phase<M>)> {
        let slot = self.slots.get_mut(self.in_flight)?;
        let placeholder = Slot::InFlight { ordinal, phase: Phase::AwaitPubcomp };
        if let Slot::Waiting(message) = std::mem::replace(slot, placeholder) {
            *slot = Slot::InFlight { ordinal, phase: Phase::sent(message) };
        }
        self.in_flight += 1;
        self.sent += 1;
        in_flight(slot)
    }

    pub(super) fn push(&mut self, message: Outgoing<M>) {
        self.slots.push_back(Slot::Waiting(message));
    }

    /// A message that was in flight before a restart, behind the others in flight.
    pub(super) fn push_in_flight(&mut self, ordinal: u64, phase: Phase<M>) {
        self.slots.insert(self.in_flight, Slot::InFlight { ordinal, phase });
        self.in_flight += 1;
    }

    /// The place of a Packet Identifier, given that all ordinals are below `next`. Tries each ordinal that the identifier
    /// may have, the latest first; usually there is one.
    pub(super) fn find(&self, id: PacketId, next: u64) -> Option<usize> {
        let front = self.front()?;
        if id_of(front) == id {
            return Some(0);
        }
        if next.saturating_sub(front) / PACKET_IDS >= self.in_flight as u64 {
            let mut all = self.slots.iter().take(self.in_flight);
            return all.position(|slot| id_of(slot.ordinal()) == id);
        }
        let mut ordinal = latest_before(next, id);
        while ordinal > front {
            let index = self.slots.partition_point(|slot| slot.ordinal() < ordinal);
            if self.slots.get(index).is_some_and(|slot| slot.ordinal() == ordinal) {
                return Some(index);
            }
            ordinal -= PACKET_IDS;
        }
        None
    }

    /// The ordinal of the oldest message in flight.
    pub(super) fn front(&self) -> Option<u64> {
        self.slots.front().filter(|_| self.in_flight > 0).map(Slot::ordinal)
    }

    pub(super) fn get(&self, index: usize) -> Option<(u64, &Phase<M>)> {
        in_flight(self.slots.get(index)?)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<(u64, &mut Phase<M>)> {
        match self.slots.get_mut(index)? {
            Slot::Waiting(_) => None,
            Slot::InFlight { ordinal, phase } => Some((*ordinal, phase)),
        }
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<Slot<M>> {
        let slot = self.slots.remove(index)?;
        self.in_flight -= usize::from(index < self.in_flight);
        self.sent -= usize::from(index < self.sent);
        self.give_back();
        Some(slot)
    }

    pub(super) fn first_waiting(&self) -> Option<&Outgoing<M>> {
        match self.slots.get(self.in_flight)? {
            Slot::Waiting(message) => Some(message),
            Slot::InFlight { .. } => None,
        }
    }

    pub(super) fn iter_waiting(&self) -> impl Iterator<Item = &Outgoing<M>> {
        self.slots.range(self.in_flight..).filter_map(Slot::message)
    }

    /// The message that is sent next, if it is not PUBREL.
    pub(super) fn next_message(&self) -> Option<&Outgoing<M>> {
        self.slots.get(self.sent).and_then(Slot::message)
    }

    pub(super) fn iter_in_flight_mut(&mut self) -> impl Iterator<Item = &mut Outgoing<M>> {
        self.slots.range_mut(..self.in_flight).filter_map(Slot::message_mut)
    }

    pub(super) fn pop_waiting(&mut self) -> Option<Slot<M>> {
        let last = self.slots.len().checked_sub(1).filter(|last| *last >= self.in_flight)?;
        self.remove(last)
    }

    pub(super) fn iter_in_flight(&self) -> impl Iterator<Item = (u64, &Phase<M>)> {
        self.slots.iter().take(self.in_flight).filter_map(in_flight)
    }

    pub(super) fn take(&mut self) -> VecDeque<Slot<M>> {
        std::mem::replace(self, Self::new()).slots
    }

    /// A queue that was long once does not stay large.
    fn give_back(&mut self) {
        let (len, room) = (self.slots.len(), self.slots.capacity());
        if len == 0 && room > SLOTS_KEPT_IDLE {
            self.slots = VecDeque::new();
        } else if room > SLOTS_KEPT && len < room / 8 {
            self.slots.shrink_to(len * 2);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}

fn in_flight<M>(slot: &Slot<M>) -> Option<(u64, &Phase<M>)> {
    match slot {
        Slot::Waiting(_) => None,
        Slot::InFlight { ordinal, phase } => Some((*ordinal, phase)),
    }
}

/// Room that an empty queue keeps, so that one message at a time allocates nothing.
const SLOTS_KEPT_IDLE: usize = 4;
/// Room that a queue keeps though most of it is empty.
const SLOTS_KEPT: usize = 32;
