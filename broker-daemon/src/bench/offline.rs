//! Messages for those who are not there: sessions subscribe and leave, publishers fill their queues, the sessions come
//! back and take everything.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::bench::frame::{Packet, kind};
use crate::bench::ledger::{Faults, Ledger};
use crate::bench::runner::{Part, Share};
use crate::bench::setup::granted;
use crate::bench::template::{self, PINGREQ, Stamp, ack};
use crate::bench::visit::{Stay, Visit, remove_sessions, visit_all};
use crate::bench::{BenchError, Gauge, Plan};

/// What is known beside the filling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offline {
    /// Sessions that left and came back.
    pub sessions: u64,
    /// From the first that came back until the last that lost nothing had everything.
    pub drained_in: Duration,
    /// Resident memory of the broker with the sessions, before the first message.
    pub session_bytes: Option<u64>,
    /// Resident memory of the broker with the queues full.
    pub filled_bytes: Option<u64>,
    /// Size of the broker's files with the sessions, and with the queues full.
    pub data_bytes: Option<(u64, u64)>,
}

pub(super) fn run(share: &Share<'_>, sessions: u32, has_own_topics: bool) -> Result<Part, BenchError> {
    let plan = share.plan;
    let publishers = share.numbers.len();
    let ids = || (0..sessions).map(|number| share.client_id('s', number));
    let heard =
        |number: u32| if has_own_topics { number as usize..number as usize + 1 } else { 0..publishers };
    let topic = |number| share.topic(if has_own_topics { number } else { 0 });
    let size = || plan.broker_data.as_deref().map(bytes_in);

    let mut arrivals: Vec<_> =
        ids().zip(0..).map(|(id, number)| Arrival { id, topic: topic(number), plan }).collect();
    visit_all(plan, &mut arrivals, share.gauge)?;
    let (session_bytes, data_before) = (share.resident(), size());

    let filled = share.fill(|number| share.template(if has_own_topics { number } else { 0 }, number))?;
    let (filled_bytes, data_after) = (share.resident(), size());

    let mut offline = Offline {
        sessions: u64::from(sessions),
        drained_in: Duration::ZERO,
        session_bytes,
        filled_bytes,
        data_bytes: data_before.zip(data_after),
    };
    let (measured, mut totals) = (filled.measured, filled.totals);
    if !plan.drains {
        return Ok(Part { offline: Some(offline), ..Part::new(measured, totals) });
    }
    let mut returns: Vec<_> = arrivals
        .into_iter()
        .zip(0..)
        .map(|(arrival, number)| {
            let heard = heard(number);
            let sent = filled.sent.get(heard.clone()).unwrap_or_default();
            Return::new(arrival, heard.start, sent, share.gauge)
        })
        .collect();
    let began = Instant::now();
    visit_all(plan, &mut returns, share.gauge)?;
    let last = returns.iter().filter_map(|visit| visit.last_at).max().unwrap_or(began);
    remove_sessions(plan, ids(), share.gauge)?;

    for visit in &returns {
        totals.delivered += visit.delivered;
        totals.faults.add(&visit.faults());
    }
    offline.drained_in = last.duration_since(began);
    Ok(Part { offline: Some(offline), ..Part::new(measured, totals) })
}

/// Subscribes and leaves.
struct Arrival<'a> {
    id: String,
    topic: String,
    plan: &'a Plan,
}

impl Visit for Arrival<'_> {
    fn client_id(&self) -> &str {
        &self.id
    }

    fn is_clean(&self) -> bool {
        false
    }

    fn has_session(&self) -> bool {
        false
    }

    fn on_accepted(&mut self, out: &mut Vec<u8>) -> Stay {
        out.extend(template::subscribe(self.plan.version, [0, 1], &self.topic, self.plan.qos));
        Stay::Here
    }

    fn on_packet(&mut self, packet: Packet<'_>, _: &mut Vec<u8>) -> Result<Stay, BenchError> {
        match packet.kind() {
            kind::SUBACK => granted(self.plan, packet).map(|_| Stay::Leaves),
            kind => Err(BenchError::Unexpected { kind }),
        }
    }
}

/// Comes back and takes what waited.
struct Return<'a> {
    arrival: Arrival<'a>,
    gauge: &'a Gauge,
    /// The number of the first publisher that it hears; one ledger for each.
    first: usize,
    ledgers: Vec<Ledger>,
    sent: &'a [u32],
    /// Messages that need not be waited for: all that were sent, in the end.
    settled: u64,
    expected: u64,
    delivered: u64,
    wrong: u64,
    /// QoS 2 messages that await PUBREL.
    unreleased: u64,
    is_pinged: bool,
    last_at: Option<Instant>,
}

impl<'a> Return<'a> {
    fn new(arrival: Arrival<'a>, first: usize, sent: &'a [u32], gauge: &'a Gauge) -> Self {
        Self {
            arrival,
            gauge,
            first,
            ledgers: sent.iter().map(|_| Ledger::default()).collect(),
            sent,
            settled: 0,
            expected: sent.iter().map(|sent| u64::from(*sent)).sum(),
            delivered: 0,
            wrong: 0,
            unreleased: 0,
            is_pinged: false,
            last_at: None,
        }
    }

    /// When everything has come, PINGRESP comes behind whatever the broker has too much.
    fn ping_if_done(&mut self, out: &mut Vec<u8>) {
        if self.settled == self.expected && self.unreleased == 0 && !self.is_pinged {
            self.is_pinged = true;
            out.extend(PINGREQ);
        }
    }

    fn on_publish(&mut self, packet: Packet<'_>, out: &mut Vec<u8>) -> Result<(), BenchError> {
        let plan = self.arrival.plan;
        let publish = packet.publish(plan.version).ok_or(BenchError::Malformed)?;
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
        let is_as_sent = publish.payload.len() == plan.payload_bytes
            && packet.qos() == plan.qos.bits()
            && publish.topic == self.arrival.topic.as_bytes();
        let stamp = Stamp::read(publish.payload).filter(|_| is_as_sent);
        let ledger = stamp.and_then(|stamp| {
            let place = (stamp.publisher as usize).wrapping_sub(self.first);
            let sent = self.sent.get(place).filter(|sent| stamp.sequence < **sent);
            sent.and(self.ledgers.get_mut(place)).map(|ledger| ledger.receive(stamp.sequence))
        });
        match ledger {
            Some(forward) => self.settled += u64::from(forward),
            None => self.wrong += 1,
        }
        if self.settled == self.expected && self.last_at.is_none() {
            self.last_at = Some(Instant::now());
        }
        Ok(())
    }

    fn faults(&self) -> Faults {
        let mut sum = Faults { wrong: self.wrong, ..Faults::default() };
        for (ledger, sent) in self.ledgers.iter().zip(self.sent) {
            sum.add(&ledger.faults(*sent));
        }
        sum
    }
}

impl Visit for Return<'_> {
    fn client_id(&self) -> &str {
        &self.arrival.id
    }

    fn is_clean(&self) -> bool {
        false
    }

    fn has_session(&self) -> bool {
        true
    }

    fn on_accepted(&mut self, out: &mut Vec<u8>) -> Stay {
        self.ping_if_done(out);
        Stay::Here
    }

    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<u8>) -> Result<Stay, BenchError> {
        match packet.kind() {
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

/// Bytes of the files in a directory and those below. What cannot be read is nothing.
fn bytes_in(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}
