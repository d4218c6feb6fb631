//! Many Retained Messages: how fast a broker takes them, what they cost it, and how fast one subscriber gets all of them. They are
//! removed after the run.

use std::sync::Arc;

use crate::bench::frame::{Packet, kind};
use crate::bench::ledger::Faults;
use crate::bench::runner::{Part, Share};
use crate::bench::setup::granted;
use crate::bench::spread::Spread;
use crate::bench::stopwatch::Stopwatch;
use crate::bench::template::{self, PINGREQ, Stamp, Template, ack};
use crate::bench::visit::{Stay, Visit, visit_all};
use crate::bench::{BenchError, Gauge, Installed, Length, Plan, Version};

pub(super) fn run(share: &Share<'_>) -> Result<Part, BenchError> {
    let plan = share.plan;
    let Length::Count(messages) = plan.length else {
        return Err(BenchError::Plan { what: "retained messages have a number, not a time" });
    };
    let spread = Arc::new(Spread::new(share.tag, messages, 1));
    let before = share.resident();
    let set = share.fill(|_| {
        Template::to_many(plan.version, Arc::clone(&spread), plan.qos, plan.payload_bytes).retained()
    })?;
    let resident = before.zip(share.resident());
    let took = set.ended.duration_since(set.measured.begin.at);
    let installed = Installed { count: set.totals.sent, took, resident };

    let mut takers = [Taker::new(share, &spread, messages)?];
    visit_all(plan, &mut takers, share.gauge)?;
    let [taker] = takers;
    let (measured, mut totals) = (taker.watch.finish(0, taker.delivered), set.totals);
    totals.delivered = taker.delivered;
    totals.faults.add(&Faults { lost: u64::from(taker.missing), ..taker.faults });
    visit_all(
        plan,
        &mut [Clearer { id: share.client_id('p', 0), version: plan.version, spread: &spread, next: 0 }],
        share.gauge,
    )?;
    Ok(Part { installed: Some(installed), ..Part::new(measured, totals) })
}

/// Subscribes to all and takes what comes.
struct Taker<'a> {
    id: String,
    plan: &'a Plan,
    gauge: &'a Gauge,
    spread: &'a Spread,
    /// From SUBSCRIBE until the last message.
    watch: Stopwatch,
    /// By number of the topic.
    has_come: Vec<bool>,
    missing: u32,
    delivered: u64,
    faults: Faults,
    /// QoS 2 messages that await PUBREL.
    unreleased: u64,
    is_granted: bool,
    is_pinged: bool,
}

impl<'a> Taker<'a> {
    fn new(share: &Share<'a>, spread: &'a Spread, messages: u32) -> Result<Self, BenchError> {
        Ok(Self {
            id: share.client_id('s', 0),
            plan: share.plan,
            gauge: share.gauge,
            spread,
            watch: Stopwatch::start(share.plan, true)?,
            has_come: vec![false; usize::try_from(messages).unwrap_or_default()],
            missing: messages,
            delivered: 0,
            faults: Faults::default(),
            unreleased: 0,
            is_granted: false,
            is_pinged: false,
        })
    }

    fn on_publish(&mut self, packet: Packet<'_>, out: &mut Vec<u8>) -> Result<(), BenchError> {
        let publish = packet.publish(self.plan.version).ok_or(BenchError::Malformed)?;
        match packet.qos() {
            0 => {}
            1 => out.extend(ack(0x40, publish.packet_id)),
            _ => {
                self.unreleased += 1;
                out.extend(ack(0x50, publish.packet_id));
            }
        }
        self.delivered += 1;
        self.gauge.add(1);
        // [MQTT-3.3.1-8]: what is sent because of a new subscription has RETAIN.
        let is_as_sent = packet.first & 1 == 1
            && publish.payload.len() == self.plan.payload_bytes
            && packet.qos() == self.plan.qos.bits();
        let number = Stamp::read(publish.payload)
            .filter(|stamp| is_as_sent && stamp.sequence < self.count())
            .and_then(|stamp| self.spread.place(0, stamp.sequence, publish.topic))
            .map(|sequence| self.spread.number(sequence));
        let place = number.and_then(|number| self.has_come.get_mut(usize::try_from(number).ok()?));
        match place {
            None => self.faults.wrong += 1,
            Some(has_come) if *has_come => self.faults.duplicated += 1,
            Some(has_come) => {
                *has_come = true;
                self.missing -= 1;
            }
        }
        Ok(())
    }

    fn count(&self) -> u32 {
        u32::try_from(self.has_come.len()).unwrap_or(u32::MAX)
    }

    /// When everything has come, PINGRESP comes behind whatever the broker has too much.
    fn ping_if_done(&mut self, out: &mut Vec<u8>) {
        if self.missing == 0 {
            self.watch.stop(std::time::Instant::now(), 0, self.delivered);
            if self.unreleased == 0 && self.is_granted && !self.is_pinged {
                self.is_pinged = true;
                out.extend(PINGREQ);
            }
        }
    }
}

impl Visit for Taker<'_> {
    fn client_id(&self) -> &str {
        &self.id
    }

    fn is_clean(&self) -> bool {
        true
    }

    fn has_session(&self) -> bool {
        false
    }

    fn on_accepted(&mut self, out: &mut Vec<u8>) -> Stay {
        self.watch.restart(std::time::Instant::now());
        out.extend(template::subscribe(self.plan.version, [0, 1], &self.spread.all(), self.plan.qos));
        Stay::Here
    }

    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<u8>) -> Result<Stay, BenchError> {
        match packet.kind() {
            kind::SUBACK => self.is_granted = granted(self.plan, packet).map(|_| true)?,
            kind::PUBLISH => self.on_publish(packet, out)?,
            kind::PUBREL => {
                self.unreleased = self.unreleased.saturating_sub(1);
                out.extend(ack(0x70, packet.packet_id().unwrap_or_default()));
            }
            kind::PINGRESP => return Ok(Stay::Leaves),
            kind => return Err(BenchError::Unexpected { kind }),
        }
        self.ping_if_done(out);
        Ok(Stay::Here)
    }

    /// What has not come by now is lost.
    fn on_silence(&mut self, out: &mut Vec<u8>) -> bool {
        let is_first = !self.is_pinged;
        if is_first {
            self.is_pinged = true;
            out.extend(PINGREQ);
        }
        is_first
    }
}

/// Removes them, some at a time.
struct Clearer<'a> {
    id: String,
    version: Version,
    spread: &'a Spread,
    next: u32,
}

/// Messages between two PINGREQ packets.
const CLEARED_MAX: usize = 1000;

impl Clearer<'_> {
    fn clear(&mut self, out: &mut Vec<u8>) -> Stay {
        let some: Vec<_> = self.spread.of(0).skip(self.next as usize).take(CLEARED_MAX).collect();
        let Some(last) = some.last() else { return Stay::Leaves };
        self.next = last + 1;
        for number in some {
            out.extend(template::clear(self.version, &self.spread.topic(number)));
        }
        out.extend(PINGREQ);
        Stay::Here
    }
}

impl Visit for Clearer<'_> {
    fn client_id(&self) -> &str {
        &self.id
    }

    fn is_clean(&self) -> bool {
        true
    }

    fn has_session(&self) -> bool {
        false
    }

    fn on_accepted(&mut self, out: &mut Vec<u8>) -> Stay {
        self.clear(out)
    }

    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<u8>) -> Result<Stay, BenchError> {
        match packet.kind() {
            kind::PINGRESP => Ok(self.clear(out)),
            kind => Err(BenchError::Unexpected { kind }),
        }
    }
}
