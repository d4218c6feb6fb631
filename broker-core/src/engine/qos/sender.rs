//! QoS 1 and 2 from the sender's side.

use culex_codec::{PacketId, QoS};

use super::packet_ids::{FIRST_ORDINAL, PACKET_IDS, Reserved, id_of};
use super::window::{InFlight, Outgoing, Phase, Window};
use super::{AckError, Awaits};

/// The QoS 1 and 2 messages of one Session towards its receiver: one FIFO, and a window of messages in flight at its
/// front. It outlives Network Connections.
///
/// Use: [`push`](Self::push) what is to be sent, [`resume`](Self::resume) when a connection begins, and after either, or
/// after an acknowledgement, call [`next_to_send`](Self::next_to_send) until it has nothing.
#[derive(Debug)]
pub struct Sender<M> {
    window: Window<M>,
    next_ordinal: u64,
    bytes: usize,
    reserved: Option<Box<Reserved>>,
    receive_maximum: u16,
}

/// A packet to send now.
#[derive(Debug, PartialEq, Eq)]
pub struct Sending<'a, M> {
    /// The message's Packet Identifier until it is acknowledged.
    pub packet_id: PacketId,
    /// Greater than that of every message sent before, also over a restart; sorts messages in flight.
    pub ordinal: u64,
    /// The packet.
    pub action: SendAction<'a, M>,
}

/// A packet of a [`Sender`].
#[derive(Debug, PartialEq, Eq)]
pub enum SendAction<'a, M> {
    /// PUBLISH.
    Publish {
        /// The message.
        message: &'a M,
        /// 1 or 2.
        qos: QoS,
        /// It was in flight when the last connection ended [MQTT-3.3.1-1].
        is_dup: bool,
    },
    /// PUBREL; the receiver has the message.
    PubRel,
}

/// A message whose receiver has it, or refused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked<M> {
    /// The message, no longer part of the queue.
    pub message: M,
    /// As in [`Sending`].
    pub ordinal: u64,
}

/// What a PUBREC means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PubrecOutcome<M> {
    /// The receiver has the message: send PUBREL. The Packet Identifier stays in use [MQTT-4.3.3-4].
    Release(Acked<M>),
    /// It had said so before: send PUBREL again.
    ReleaseAgain {
        /// As in [`Sending`].
        ordinal: u64,
    },
    /// The receiver refused the message (Reason Code 0x80 or more): no PUBREL, the Packet Identifier is free.
    Refused(Acked<M>),
}

/// A message in flight as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restore<M> {
    /// PUBLISH sent, not acknowledged.
    Publish(M),
    /// PUBREC received.
    PubRel,
}

/// Why [`Sender::restore`] did not take a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Another message in flight has the Packet Identifier.
    #[error("packet identifier {} is in flight twice", .0.get())]
    InUse(PacketId),
    /// It is not greater than that of a message restored before, or was never given out.
    #[error("send ordinal {0} is out of order")]
    OutOfOrder(u64),
}

impl<M: Outgoing> Sender<M> {
    /// No messages; allocates nothing. At most `receive_maximum` messages are in flight, with 0 none.
    pub const fn new(receive_maximum: u16) -> Self {
        Self { window: Window::new(), next_ordinal: FIRST_ORDINAL, bytes: 0, reserved: None, receive_maximum }
    }

    /// Messages in the queue, those in flight included, and those that only await PUBCOMP.
    pub fn queued_len(&self) -> usize {
        self.window.len()
    }

    /// Sum of [`Outgoing::bytes`] of the messages in the queue, those in flight included.
    pub const fn queued_bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that were sent and are not acknowledged for good.
    pub fn in_flight_len(&self) -> usize {
        self.window.in_flight()
    }

    /// Messages that were never sent.
    pub fn waiting_len(&self) -> usize {
        self.window.waiting()
    }

    /// Messages that were never sent, in their order.
    pub fn waiting(&self) -> impl Iterator<Item = &M> {
        self.window.iter_waiting()
    }

    /// The message that goes in flight next. Look at it, for example at its expiry, before it takes a Packet Identifier.
    pub fn first_waiting(&self) -> Option<&M> {
        self.window.first_waiting()
    }

    /// Whether a Packet Identifier is in use.
    pub fn is_in_use(&self, packet_id: PacketId) -> bool {
        self.window.find(packet_id, self.next_ordinal).is_some()
            || self.reserved.as_ref().is_some_and(|reserved| reserved.contains(packet_id))
    }

    /// All in flight, in the order in which they were sent first.
    pub fn in_flight(&self) -> impl Iterator<Item = Sending<'_, M>> {
        self.window.iter_in_flight().map(|message| sending(message, true))
    }

    /// A message to be sent after all others.
    pub fn push(&mut self, message: M) {
        debug_assert!(message.qos() != QoS::AtMostOnce, "QoS 0 needs no acknowledgement");
        self.bytes += message.bytes();
        self.window.push(message);
    }

    /// A message that was in flight before a restart, behind those restored before it. It is sent again with its old
    /// ordinal, and so under its old Packet Identifier, before all that wait.
    ///
    /// # Errors
    /// [`RestoreError`]; the message is not taken.
    pub fn restore(&mut self, ordinal: u64, message: Restore<M>) -> Result<(), RestoreError> {
        if !(self.next_ordinal..ORDINALS_MAX).contains(&ordinal) {
            return Err(RestoreError::OutOfOrder(ordinal));
        }
        let packet_id = id_of(ordinal);
        if self.is_in_use(packet_id) {
            return Err(RestoreError::InUse(packet_id));
        }
        let phase = match message {
            Restore::Publish(message) => {
                self.bytes += message.bytes();
                Phase::sent(message)
            }
            Restore::PubRel => Phase::AwaitPubcomp,
        };
        self.next_ordinal = ordinal + 1;
        self.window.push_in_flight(ordinal, phase);
        Ok(())
    }

    /// A Network Connection begins: [`next_to_send`](Self::next_to_send) gives all in flight once more, in the original
    /// order [MQTT-4.4.0-1] [MQTT-4.6.0-1], before new messages, and never more at a time than the Receive Maximum of
    /// this connection [MQTT-3.3.4-9]. Reserved Packet Identifiers are free: no SUBSCRIBE outlives its connection.
    pub fn resume(&mut self, receive_maximum: u16) {
        self.receive_maximum = receive_maximum;
        self.reserved = None;
        self.window.rewind();
    }

    /// Another Receive Maximum for this connection. What is in flight beyond it stays so.
    pub const fn set_receive_maximum(&mut self, receive_maximum: u16) {
        self.receive_maximum = receive_maximum;
    }

    /// The next packet to send, if the receiver has room for it: PUBLISH or PUBREL left from the last connection, then
    /// new messages. It counts as sent. O(1), unless 65,535 messages were sent since the oldest in flight.
    pub fn next_to_send(&mut self) -> Option<Sending<'_, M>> {
        if self.window.sent() >= usize::from(self.receive_maximum) {
            return None;
        }
        if self.window.sent() < self.window.in_flight() {
            return self.window.send_again().map(|message| sending(message, true));
        }
        self.window.first_waiting()?;
        let ordinal = self.take_ordinal()?;
        self.window.send_first(ordinal).map(|message| sending(message, false))
    }

    /// Messages in flight whose PUBLISH may have to be sent again, in the order in which they were sent first.
    pub fn in_flight_mut(&mut self) -> impl Iterator<Item = &mut M> {
        self.window.iter_in_flight_mut()
    }

    /// Whether [`next_to_send`](Self::next_to_send) has something.
    pub fn has_next(&self) -> bool {
        let sent = self.window.sent();
        sent < usize::from(self.receive_maximum) && sent < self.window.len()
    }

    /// PUBACK, with any Reason Code: an error code ends the message too.
    ///
    /// # Errors
    /// No QoS 1 message has the Packet Identifier.
    pub fn on_puback(&mut self, packet_id: PacketId) -> Result<Acked<M>, AckError> {
        let (index, _, awaits) = self.find(packet_id)?;
        match awaits {
            Awaits::Puback => self.end(index, packet_id),
            Awaits::Pubrec | Awaits::Pubcomp => Err(AckError::WrongPhase { packet_id, awaits }),
        }
    }

    /// PUBREC; `is_error` if its Reason Code is 0x80 or more.
    ///
    /// # Errors
    /// No QoS 2 message has the Packet Identifier, or it is refused after it was received.
    pub fn on_pubrec(&mut self, packet_id: PacketId, is_error: bool) -> Result<PubrecOutcome<M>, AckError> {
        let (index, ordinal, awaits) = self.find(packet_id)?;
        match (awaits, is_error) {
            (Awaits::Pubrec, true) => self.end(index, packet_id).map(PubrecOutcome::Refused),
            (Awaits::Pubrec, false) => self.release(index, packet_id).map(PubrecOutcome::Release),
            (Awaits::Pubcomp, false) => Ok(PubrecOutcome::ReleaseAgain { ordinal }),
            (Awaits::Puback, _) | (Awaits::Pubcomp, true) => Err(AckError::WrongPhase { packet_id, awaits }),
        }
    }

    /// PUBCOMP, with any Reason Code. Gives the ordinal of the message, whose Packet Identifier is free now.
    ///
    /// # Errors
    /// No message that was released has the Packet Identifier.
    pub fn on_pubcomp(&mut self, packet_id: PacketId) -> Result<u64, AckError> {
        let (index, ordinal, awaits) = self.find(packet_id)?;
        match awaits {
            Awaits::Pubcomp => {
                self.window.end(index);
                Ok(ordinal)
            }
            Awaits::Puback | Awaits::Pubrec => Err(AckError::WrongPhase { packet_id, awaits }),
        }
    }

    /// The message that [`next_to_send`](Self::next_to_send) would send, if it would be a PUBLISH and the receiver had
    /// room.
    pub fn next_message(&self) -> Option<&M> {
        self.window.next_message()
    }

    /// Drops what [`next_message`](Self::next_message) shows. If it was in flight when the last connection ended, its
    /// Packet Identifier is free, and an acknowledgement of it is one of an unknown Packet Identifier.
    pub fn drop_next(&mut self) -> Option<M> {
        let dropped = self.window.drop_next();
        self.dropped(dropped)
    }

    /// Drops the message that waits longest, for a full queue or because it has expired. None in flight is dropped.
    pub fn drop_oldest_waiting(&mut self) -> Option<M> {
        let dropped = self.window.pop_first_waiting();
        self.dropped(dropped)
    }

    /// Takes back the message that was pushed last, unless it is in flight.
    pub fn pop_waiting_back(&mut self) -> Option<M> {
        let dropped = self.window.pop_last_waiting();
        self.dropped(dropped)
    }

    fn dropped(&mut self, message: Option<M>) -> Option<M> {
        self.bytes -= message.as_ref().map_or(0, M::bytes);
        message
    }

    /// The end of the Session: all messages that the receiver may not have, in their order; those in flight first.
    pub fn drain(&mut self) -> impl Iterator<Item = M> + use<M> {
        self.bytes = 0;
        self.window.take()
    }

    /// A Packet Identifier for a SUBSCRIBE or UNSUBSCRIBE, which a client takes from the same numbers [MQTT-2.2.1-3].
    /// `None` if all are in use.
    pub fn reserve_packet_id(&mut self) -> Option<PacketId> {
        let packet_id = id_of(self.take_ordinal()?);
        self.reserved.get_or_insert_default().insert(packet_id);
        Some(packet_id)
    }

    /// Frees a reserved Packet Identifier; false if it was not reserved.
    pub fn release_packet_id(&mut self, packet_id: PacketId) -> bool {
        let Some(reserved) = &mut self.reserved else { return false };
        let found = reserved.remove(packet_id);
        if reserved.len() == 0 {
            self.reserved = None;
        }
        found
    }

    /// How many Packet Identifiers are reserved.
    pub fn reserved_len(&self) -> usize {
        self.reserved.as_ref().map_or(0, |reserved| reserved.len())
    }

    fn find(&self, packet_id: PacketId) -> Result<(usize, u64, Awaits), AckError> {
        let found = self.window.find(packet_id, self.next_ordinal).and_then(|index| {
            let InFlight { ordinal, phase } = self.window.get(index)?;
            Some((index, *ordinal, phase.awaits()))
        });
        found.ok_or(AckError::UnknownPacketId(packet_id))
    }

    fn end(&mut self, index: usize, packet_id: PacketId) -> Result<Acked<M>, AckError> {
        let ended = self.window.end(index);
        let ended = ended.and_then(|ended| Some((ended.ordinal, ended.phase.into_message()?)));
        self.acked(ended, packet_id)
    }

    fn release(&mut self, index: usize, packet_id: PacketId) -> Result<Acked<M>, AckError> {
        let released = self.window.get_mut(index).and_then(|InFlight { ordinal, phase }| {
            let message = std::mem::replace(phase, Phase::AwaitPubcomp).into_message()?;
            Some((*ordinal, message))
        });
        self.acked(released, packet_id)
    }

    fn acked(&mut self, found: Option<(u64, M)>, packet_id: PacketId) -> Result<Acked<M>, AckError> {
        let (ordinal, message) = found.ok_or(AckError::UnknownPacketId(packet_id))?;
        self.bytes -= message.bytes();
        Ok(Acked { message, ordinal })
    }

    /// The next ordinal whose Packet Identifier is free.
    fn take_ordinal(&mut self) -> Option<u64> {
        let reserved = self.reserved_len();
        if self.window.in_flight() + reserved >= usize::from(u16::MAX) {
            return None;
        }
        loop {
            let ordinal = self.next_ordinal;
            let is_far = self.window.front().is_some_and(|front| ordinal - front >= PACKET_IDS);
            let is_free = !(is_far || reserved > 0) || !self.is_in_use(id_of(ordinal));
            self.next_ordinal += 1;
            if is_free {
                return Some(ordinal);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn find_awaits(&self, packet_id: PacketId) -> Option<Awaits> {
        self.find(packet_id).ok().map(|(_, _, awaits)| awaits)
    }

    #[cfg(test)]
    pub(super) fn skip_ordinals(&mut self, count: u64) {
        self.next_ordinal += count;
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.window.capacity()
    }
}

/// At a million messages a second they last for longer than anything.
const ORDINALS_MAX: u64 = 1 << 62;

fn sending<M>(message: &InFlight<M>, is_dup: bool) -> Sending<'_, M> {
    let InFlight { ordinal, phase } = message;
    let action = match phase {
        Phase::AwaitPuback(message) => SendAction::Publish { message, qos: QoS::AtLeastOnce, is_dup },
        Phase::AwaitPubrec(message) => SendAction::Publish { message, qos: QoS::ExactlyOnce, is_dup },
        Phase::AwaitPubcomp => SendAction::PubRel,
    };
    Sending { packet_id: id_of(*ordinal), ordinal: *ordinal, action }
}
