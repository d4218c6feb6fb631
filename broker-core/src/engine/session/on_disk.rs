//! The part of a queue whose bodies only the store has.
//!
//! ```text
//!   sender:   in flight │ waiting, with bodies ║ tail: numbers and sizes, 16 bytes each
//! ```
//!
//! There is one boundary: while the tail has anything, what comes joins it, and only its front goes over into the sender.
//! So nothing can be sent past a message that was not read back yet. In flight to a client that is away a message stands
//! where it always does, without its body, because its Packet Identifier is known there.

use culex_codec::QoS;

use crate::engine::fifo::Fifo;
use crate::engine::keys::PublicationId;
use crate::engine::qos::Outgoing;

use super::Queued;

/// A message without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stub {
    /// Its number in this queue, by which the store finds the body.
    pub(crate) entry: PublicationId,
    /// Topic and payload; less than 256 MiB and 64 KiB.
    bytes: u32,
    /// 1 or 2.
    pub(crate) qos: QoS,
    /// RETAIN as this receiver sees it.
    pub(crate) is_retain: bool,
}

impl Stub {
    pub(crate) fn new(queued: &Queued) -> Self {
        let bytes = u32::try_from(queued.bytes()).unwrap_or(u32::MAX);
        Self { entry: queued.entry(), bytes, qos: queued.qos(), is_retain: queued.is_retain() }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes as usize
    }
}

/// What is asked of the store and has not come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// Bytes for which there is room.
    pub(crate) bytes: usize,
    /// How many of the first are in flight.
    pub(crate) in_flight: usize,
}

/// What of a queue only the store has.
#[derive(Debug, Default)]
pub(crate) struct OnDisk {
    tail: Fifo<Stub>,
    tail_bytes: usize,
    /// Messages in flight without a body.
    pub(crate) bare: usize,
    /// Their bytes.
    pub(crate) bare_bytes: usize,
    /// One read at a time.
    pub(crate) asked: Option<Asked>,
}

impl OnDisk {
    pub(crate) fn tail_len(&self) -> usize {
        self.tail.len()
    }

    pub(crate) const fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    pub(crate) fn front(&self) -> Option<&Stub> {
        self.tail.front()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stub> {
        self.tail.iter()
    }

    pub(crate) fn push_back(&mut self, stub: Stub) {
        self.tail_bytes += stub.bytes();
        self.tail.push_back(stub);
    }

    /// Before all that are there.
    pub(crate) fn push_front(&mut self, stub: Stub) {
        self.tail_bytes += stub.bytes();
        self.tail.push_front(stub);
    }

    pub(crate) fn pop_front(&mut self) -> Option<Stub> {
        let stub = self.tail.pop_front()?;
        self.tail_bytes -= stub.bytes();
        Some(stub)
    }

    /// Whether there is nothing, and nothing is expected.
    pub(crate) fn is_over(&self) -> bool {
        self.tail.len() == 0 && self.bare == 0 && self.asked.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stub(entry: u64) -> Stub {
        Stub::new(&Queued::bare(PublicationId(entry), 10, QoS::AtLeastOnce, false))
    }

    #[test]
    fn a_message_on_disk_costs_16_bytes() {
        assert_eq!(size_of::<Stub>(), 16);
    }

    #[test]
    fn bytes_are_those_of_what_is_there_and_memory_is_given_back() {
        let mut on_disk = OnDisk::default();
        for entry in 1..=10_000 {
            on_disk.push_back(stub(entry));
        }
        on_disk.push_front(stub(0));
        assert_eq!((on_disk.tail_len(), on_disk.tail_bytes()), (10_001, 100_010));
        for entry in 0..=10_000 {
            assert_eq!(on_disk.pop_front().map(|stub| stub.entry), Some(PublicationId(entry)));
        }
        assert_eq!((on_disk.pop_front(), on_disk.tail_bytes()), (None, 0));
        assert!(on_disk.is_over() && on_disk.tail.capacity() <= 4);
    }
}
