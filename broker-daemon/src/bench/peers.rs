//! Publishers and subscribers: what each does with a packet.

use crate::bench::BenchError;
use crate::bench::frame::{Packet, kind};
use crate::bench::ledger::{Faults, Ledger};
use crate::bench::link::Link;
use crate::bench::pace::Pace;
use crate::bench::plan::{Version, WINDOW_MAX};
use crate::bench::spread::Spread;
use crate::bench::template::{Stamp, Template, ack};
use culex_codec::QoS;
use std::sync::Arc;

/// What all publishers of a thread have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) version: Version,
    pub(super) qos: QoS,
    pub(super) payload_bytes: usize,
    /// 0 for none.
    pub(super) window: u64,
    /// Room in the window from which on a publisher goes on: see [`batch`].
    pub(super) batch: u64,
    /// Subscribers that get each message.
    pub(super) fan: u64,
    /// Messages of each publisher; `u32::MAX` for no end.
    pub(super) quota: u32,
    /// The number of the first publisher of this thread.
    pub(super) first: u32,
    /// When messages are due, where that is not as soon as there is room: then the window is all Packet Identifiers.
    pub(super) pace: Option<Pace>,
}

/// A publisher goes on when a quarter of its window is free: one by one, each message would cost a system call here
/// and in the broker. A window of up to 7 is refilled at once.
pub(super) fn batch(window: u32) -> u64 {
    u64::from(window / 4).max(1)
}

/// Sums over all of a thread, so that a turn need not walk through them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) sent: u64,
    /// PUBACK or PUBCOMP.
    pub(super) acked: u64,
    pub(super) delivered: u64,
    /// Deliveries that need not be waited for any more: received, or jumped over.
    pub(super) settled: u64,
    pub(super) pongs: usize,
    /// Due, and not sent, because the broker did not take what came before.
    pub(super) unsent: u64,
    pub(super) faults: Faults,
}

/// A client that publishes to one topic.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) link: Link,
    pub(super) template: Template,
    pub(super) sent: u32,
    acked: u32,
    settled: u64,
    /// It stands in the list of those with something to write.
    pub(super) is_queued: bool,
}

/// Bytes that may wait in a publisher's buffer before it is written.
const BACKLOG_MAX: usize = 64 * 1024;

impl Publisher {
    pub(super) fn new(link: Link, template: Template) -> Self {
        Self { link, template, sent: 0, acked: 0, settled: 0, is_queued: false }
    }

    /// Whether the window lets `count` more go.
    #[inline]
    fn has_room(&self, rules: &Rules, count: u64) -> bool {
        if self.sent >= rules.quota {
            return false;
        }
        let sent = u64::from(self.sent) + count;
        if rules.pace.is_some() {
            return false;
        }
        let has_room = rules.window == 0 || sent * rules.fan - self.settled <= rules.window * rules.fan;
        has_room
            && (rules.qos == QoS::AtMostOnce
                || sent - u64::from(self.acked) <= rules.window.min(self.link.in_flight_max.into()))
    }

    /// Whether there is enough to send for going on.
    #[inline]
    pub(super) fn may_go_on(&self, rules: &Rules) -> bool {
        // [MQTT-4.9.0-2]: of a window that the broker makes smaller, the same part.
        let batch = if rules.qos == QoS::AtMostOnce {
            rules.batch
        } else {
            rules.batch.min(batch(self.link.in_flight_max.into()))
        };
        self.has_room(rules, batch)
    }

    /// Appends messages until the window or the buffer is full, if it is worth while.
    pub(super) fn fill(&mut self, rules: &Rules, number: u32, now_ns: u64, totals: &mut Totals) {
        if let Some(pace) = &rules.pace {
            return self.fill_due(pace, rules, number, now_ns, totals);
        }
        if !self.may_go_on(rules) {
            return;
        }
        while self.has_room(rules, 1) && self.link.backlog() < BACKLOG_MAX {
            self.template.append(self.link.out(), self.sent, now_ns);
            self.sent += 1;
            totals.sent += 1;
        }
    }

    /// Appends what is due, with the time at which it was.
    fn fill_due(&mut self, pace: &Pace, rules: &Rules, number: u32, now_ns: u64, totals: &mut Totals) {
        while self.sent < rules.quota
            && let Some(due_ns) = pace.due_ns(number, self.sent).filter(|due| *due <= now_ns)
            && (rules.qos == QoS::AtMostOnce
                || self.sent - self.acked < WINDOW_MAX.min(self.link.in_flight_max.into()))
            && self.link.backlog() < BACKLOG_MAX
        {
            self.template.append(self.link.out(), self.sent, due_ns);
            self.sent += 1;
            totals.sent += 1;
        }
    }

    /// Takes an acknowledgement.
    pub(super) fn on_packet(&mut self, packet: Packet<'_>, totals: &mut Totals) -> Result<(), BenchError> {
        let packet_id = packet.packet_id().unwrap_or_default();
        match packet.kind() {
            kind::PUBACK | kind::PUBREC | kind::PUBCOMP if packet.reason() >= 0x80 => {
                return Err(BenchError::MessageRefused { code: packet.reason() });
            }
            kind::PUBACK | kind::PUBCOMP if self.acked < self.sent => {
                self.acked += 1;
                totals.acked += 1;
            }
            kind::PUBREC => self.link.out().extend(ack(0x62, packet_id)),
            kind::PINGRESP => totals.pongs += 1,
            kind => return Err(BenchError::Unexpected { kind }),
        }
        Ok(())
    }
}

/// What a subscriber is sent.
#[derive(Debug)]
enum Hears {
    /// All of one topic.
    Topic(Vec<u8>),
    /// What a single publisher sends to the topics of this client.
    Own(Arc<Spread>, u32),
}

impl Hears {
    /// The how-manieth message for this subscriber that is, if it is one.
    #[inline]
    fn place(&self, sequence: u32, topic: &[u8]) -> Option<u32> {
        match self {
            Self::Topic(own) => (own == topic).then_some(sequence),
            Self::Own(spread, client) => spread.place(*client, sequence, topic),
        }
    }

    /// Messages for it, of `sent` in all.
    fn expected(&self, sent: u32) -> u32 {
        match self {
            Self::Topic(_) => sent,
            Self::Own(spread, client) => spread.expected(*client, sent),
        }
    }
}

/// A client that subscribes.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) link: Link,
    hears: Hears,
    /// The place, among this thread's publishers, of the one that the first ledger is about.
    first: usize,
    ledgers: Vec<Ledger>,
    pub(super) is_queued: bool,
}

impl Subscriber {
    /// A subscriber of `publishers`.
    pub(super) fn new(link: Link, topic: String, publishers: std::ops::Range<usize>) -> Self {
        let first = publishers.start;
        let ledgers = publishers.map(|_| Ledger::default()).collect();
        Self { link, hears: Hears::Topic(topic.into_bytes()), first, ledgers, is_queued: false }
    }

    /// Client `number` of a spread, to which one publisher publishes.
    pub(super) fn of(spread: Arc<Spread>, number: u32, link: Link) -> Self {
        let hears = Hears::Own(spread, number);
        Self { link, hears, first: 0, ledgers: vec![Ledger::default()], is_queued: false }
    }

    /// Verifies and acknowledges a PUBLISH; gives the publisher that may go on, and when it sent.
    #[inline]
    pub(super) fn on_publish(
        &mut self,
        packet: Packet<'_>,
        publishers: &mut [Publisher],
        rules: &Rules,
        totals: &mut Totals,
    ) -> Result<Option<(usize, u64)>, BenchError> {
        let publish = packet.publish(rules.version).ok_or(BenchError::Malformed)?;
        match packet.qos() {
            0 => {}
            1 => self.link.out().extend(ack(0x40, publish.packet_id)),
            _ => self.link.out().extend(ack(0x50, publish.packet_id)),
        }
        totals.delivered += 1;
        let is_as_sent = publish.payload.len() == rules.payload_bytes && packet.qos() == rules.qos.bits();
        let stamp = Stamp::read(publish.payload).filter(|_| is_as_sent);
        let own = stamp.and_then(|stamp| self.hears.place(stamp.sequence, publish.topic));
        let (Some(stamp), Some(own)) = (stamp, own) else {
            totals.faults.wrong += 1;
            return Ok(None);
        };
        let place = (stamp.publisher.wrapping_sub(rules.first)) as usize;
        let publisher = publishers.get_mut(place).filter(|publisher| stamp.sequence < publisher.sent);
        let ledger = self.ledgers.get_mut(place.wrapping_sub(self.first));
        let (Some(publisher), Some(ledger)) = (publisher, ledger) else {
            totals.faults.wrong += 1;
            return Ok(None);
        };
        let forward = u64::from(ledger.receive(own));
        publisher.settled += forward;
        totals.settled += forward;
        Ok(Some((place, stamp.sent_ns)))
    }

    /// Takes what is not a PUBLISH.
    pub(super) fn on_packet(&mut self, packet: Packet<'_>, totals: &mut Totals) -> Result<(), BenchError> {
        match packet.kind() {
            kind::PUBREL => {
                self.link.out().extend(ack(0x70, packet.packet_id().unwrap_or_default()));
            }
            kind::PINGRESP => totals.pongs += 1,
            kind => return Err(BenchError::Unexpected { kind }),
        }
        Ok(())
    }

    /// What did not come as it should.
    pub(super) fn faults(&self, publishers: &[Publisher]) -> Faults {
        let mut sum = Faults::default();
        for (ledger, publisher) in self.ledgers.iter().zip(publishers.iter().skip(self.first)) {
            sum.add(&ledger.faults(self.hears.expected(publisher.sent)));
        }
        sum
    }
}
