//! Session State: Subscriptions, and the messages at QoS 1 that wait for their client.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use culex_codec::QoS;
use tokio::time::Instant;

use super::rate::Window;

/// An Application Message. Properties are those that are passed on, as on the wire; AIC-V5-04.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) properties: Vec<u8>,
    pub(super) qos: QoS,
    pub(super) expires: Option<Instant>,
    pub(super) published: Instant,
    /// The connection, for No Local; 0 is the service itself.
    pub(super) publisher: u64,
}

impl Message {
    /// What the service says by itself, at QoS 1.
    pub(super) fn of_service(topic: String, payload: Bytes, now: Instant) -> Self {
        Self {
            topic,
            payload,
            properties: Vec::new(),
            qos: QoS::AtLeastOnce,
            expires: None,
            published: now,
            publisher: 0,
        }
    }

    /// What it costs in memory.
    pub(super) fn bytes(&self) -> usize {
        128 + self.wire_bytes()
    }

    /// About what it has as a packet.
    pub(super) fn wire_bytes(&self) -> usize {
        10 + self.topic.len() + self.payload.len() + self.properties.len()
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) qos: QoS,
    /// Messages that were published before are not for it. AIC-PUB-14
    pub(super) begins: Instant,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
}

/// A message on its way to a client.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) message: Arc<Message>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// It is of a Shared Subscription.
    pub(super) is_shared: bool,
    /// It was there when the client came back, so comes slowly. AIC-SES-04
    pub(super) is_stored: bool,
    /// It is the second of a message that comes twice.
    pub(super) is_copy: bool,
}

impl Outgoing {
    pub(super) fn new(message: Arc<Message>, qos: QoS, retain: bool) -> Self {
        Self { message, qos, retain, is_shared: false, is_stored: false, is_copy: false }
    }
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) outgoing: Outgoing,
    /// When it was sent over this connection; `None` if it was not yet.
    pub(super) sent: Option<Instant>,
    pub(super) order: u64,
}

#[derive(Debug)]
pub(super) struct Session {
    /// Sessions of 3.1.1 and 5.0 are not interchangeable. AIC-SES-03
    pub(super) is_v5: bool,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    queue: VecDeque<Outgoing>,
    queue_bytes: usize,
    pub(super) in_flight: BTreeMap<u16, InFlight>,
    next_id: u16,
    next_order: u64,
    /// The connection that has it.
    pub(super) connection: Option<u64>,
    /// How long it lives without.
    pub(super) expiry: Duration,
    /// When it is over, while there is none.
    pub(super) expires: Option<Instant>,
    /// When the next stored message may be sent.
    pub(super) next_stored: Option<Instant>,
    /// What was stored while its client was away, of late. AIC-SES-06
    pub(super) stored: Window,
}

impl Session {
    pub(super) fn new(is_v5: bool) -> Self {
        Self {
            is_v5,
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            in_flight: BTreeMap::new(),
            next_id: 1,
            next_order: 0,
            connection: None,
            expiry: Duration::ZERO,
            expires: None,
            next_stored: None,
            stored: Window::default(),
        }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.connection.is_none() && self.expires.is_none_or(|expires| expires <= now)
    }

    /// What waits is stored from now on, and what was sent is sent again.
    pub(super) fn resume(&mut self) {
        for in_flight in self.in_flight.values_mut() {
            in_flight.sent = None;
            in_flight.outgoing.is_stored = true;
        }
        for outgoing in &mut self.queue {
            outgoing.is_stored = true;
        }
        self.next_stored = None;
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// Gives false, and does nothing, if there is no room.
    pub(super) fn push(&mut self, outgoing: Outgoing, count_max: usize) -> bool {
        if self.queue.len() >= count_max {
            return false;
        }
        self.queue_bytes += outgoing.message.bytes();
        self.queue.push_back(outgoing);
        true
    }

    /// Lets the last overtake the one before. AIC-PUB-13
    pub(super) fn overtake(&mut self) {
        if let Some(before) = self.queue.len().checked_sub(2) {
            self.queue.swap(before, before + 1);
        }
    }

    pub(super) fn front(&self) -> Option<&Outgoing> {
        self.queue.front()
    }

    pub(super) fn pop(&mut self) -> Option<Outgoing> {
        let outgoing = self.queue.pop_front()?;
        self.queue_bytes -= outgoing.message.bytes();
        Some(outgoing)
    }

    /// The first in flight that is to be sent again: after a new connection, or after `interval` without an answer.
    pub(super) fn again(&self, interval: Option<Duration>, now: Instant) -> Option<u16> {
        let is_due = |in_flight: &InFlight| match (in_flight.sent, interval) {
            (None, _) => true,
            (Some(sent), Some(interval)) => now.duration_since(sent) >= interval,
            (Some(_), None) => false,
        };
        let due = self.in_flight.iter().filter(|(_, in_flight)| is_due(in_flight));
        due.min_by_key(|(_, in_flight)| in_flight.order).map(|(id, _)| *id)
    }

    /// When the first in flight has waited for `interval`.
    pub(super) fn next_again(&self, interval: Duration) -> Option<Instant> {
        self.in_flight.values().filter_map(|in_flight| in_flight.sent).min().map(|sent| sent + interval)
    }

    /// Puts a message into flight and gives its Packet Identifier. There must be fewer than 65,535.
    pub(super) fn launch(&mut self, outgoing: Outgoing, now: Instant) -> u16 {
        while self.in_flight.contains_key(&self.next_id) {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        }
        let id = self.next_id;
        self.next_id = id.checked_add(1).unwrap_or(1);
        self.next_order += 1;
        self.in_flight.insert(id, InFlight { outgoing, sent: Some(now), order: self.next_order });
        id
    }
}
