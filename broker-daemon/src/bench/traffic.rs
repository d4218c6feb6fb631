//! Messages from publishers to subscribers, in one thread.
//!
//! A turn is one wait, one read per ready connection, one write per connection that has something to say:
//!
//! ```text
//! WarmUp ─► Measuring ─► (all sent is received, or patience is over) ─► PINGREQ to each subscriber ─► PINGRESP ─► over
//! ```
//!
//! The last PINGREQ is for what comes too much: whatever the broker had queued for a subscriber comes before PINGRESP.
//! A message at QoS 0 costs a copy of the template, a parse and a look into a ledger, and its share of two system calls.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::bench::alarm::{ALARM, Alarm};
use crate::bench::frame::{Packets, kind};
use crate::bench::link::{Link, Received};
use crate::bench::pace::Pace;
use crate::bench::peers::{Publisher, Rules, Subscriber, Totals};
use crate::bench::plan::{Length, Plan};
use crate::bench::setup::wait;
use crate::bench::stopwatch::{Measured, Stopwatch};
use crate::bench::template::{DISCONNECT, PINGREQ, nanoseconds};
use crate::bench::{BenchError, Gauge};
use culex_codec::QoS;

/// Smallest read buffer, one for all connections of a thread.
const BUFFER_BYTES: usize = 256 * 1024;
/// Times that a publisher fills its buffer before others have their next.
const FILLS_MAX: usize = 4;

/// The connections of one thread. Tokens: the subscribers, then the publishers.
pub(super) struct Traffic<'a> {
    plan: &'a Plan,
    poll: Poll,
    rules: Rules,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    /// Tokens of connections with something to write.
    queue: Vec<usize>,
    buffer: Vec<u8>,
    totals: Totals,
    epoch: Instant,
    watch: Stopwatch,
    last_progress: Instant,
    next: Option<Round>,
}

/// Whose message is due next, where messages are due at a time.
struct Round {
    pace: Pace,
    alarm: Alarm,
    place: usize,
    sequence: u32,
}

/// What a run leaves.
pub(super) struct Outcome {
    pub(super) measured: Measured,
    pub(super) totals: Totals,
    /// Messages of each publisher.
    pub(super) sent: Vec<u32>,
    /// When the broker had taken them all.
    pub(super) ended: Instant,
}

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Not yet.
    Running,
    /// Waiting for what was sent.
    Draining,
    /// Waiting for PINGRESP.
    Quieting,
    Over,
}

impl<'a> Traffic<'a> {
    /// Takes connections that are subscribed. `is_first`: this thread reads the CPU time.
    pub(super) fn new(
        plan: &'a Plan,
        poll: Poll,
        rules: Rules,
        subscribers: Vec<Subscriber>,
        publishers: Vec<Publisher>,
        is_first: bool,
    ) -> Result<Self, BenchError> {
        let packet_bytes = publishers.first().map_or(0, |publisher| publisher.template.len());
        // First the epoch: the timetable ends before the watch does.
        let epoch = Instant::now();
        let watch = Stopwatch::start(plan, is_first)?;
        let next = match rules.pace {
            Some(pace) => {
                let alarm = Alarm::new(poll.registry()).map_err(BenchError::Io)?;
                Some(Round { pace, alarm, place: 0, sequence: 0 })
            }
            None => None,
        };
        Ok(Self {
            plan,
            poll,
            rules,
            subscribers,
            publishers,
            queue: Vec::new(),
            buffer: vec![0; BUFFER_BYTES.max(packet_bytes * 2)],
            totals: Totals::default(),
            epoch,
            watch,
            last_progress: epoch,
            next,
        })
    }

    /// Runs to the end.
    pub(super) fn run(mut self, gauge: &Gauge) -> Result<Outcome, BenchError> {
        let mut events = Events::with_capacity(1024);
        let mut ending = Ending::Running;
        (0..self.publishers.len()).for_each(|place| self.enqueue_publisher(place));
        while ending != Ending::Over {
            self.write_queued()?;
            let timeout = self.timeout()?;
            wait(&mut self.poll, &mut events, timeout)?;
            let before = self.totals;
            for event in &events {
                let token = event.token().0;
                if event.token() == ALARM {
                    continue;
                }
                if event.is_writable() {
                    self.enqueue(token);
                }
                if event.is_readable() {
                    self.read(token)?;
                }
            }
            gauge.add(self.done(&self.totals) - self.done(&before));
            // Nothing may come that would wake it between two phases.
            loop {
                let next = self.advance(ending, &before)?;
                if next == ending {
                    break;
                }
                ending = next;
            }
        }
        let ended = Instant::now();
        self.disconnect();
        self.count_unsent();
        for subscriber in &self.subscribers {
            self.totals.faults.add(&subscriber.faults(&self.publishers));
        }
        let done = self.done(&self.totals);
        Ok(Outcome {
            measured: self.watch.finish(self.totals.sent, done),
            totals: self.totals,
            sent: self.publishers.iter().map(|publisher| publisher.sent).collect(),
            ended,
        })
    }

    /// What the run is for: deliveries, or where nobody is there to be delivered to, acknowledgements, if there are any.
    fn done(&self, totals: &Totals) -> u64 {
        match (self.rules.fan, self.rules.qos) {
            (0, QoS::AtMostOnce) => totals.sent,
            (0, QoS::AtLeastOnce | QoS::ExactlyOnce) => totals.acked,
            _ => totals.delivered,
        }
    }

    fn timeout(&mut self) -> Result<Option<Duration>, BenchError> {
        // Nothing comes back at QoS 0 where nobody is there.
        if !self.queue.is_empty() || (self.is_all_sent() && self.is_settled()) {
            return Ok(Some(Duration::ZERO));
        }
        let alarm = self.set_alarm().map_err(BenchError::Io)?;
        let patience = self.plan.patience.saturating_sub(self.last_progress.elapsed());
        let phase = self.watch.until().map(|until| until.saturating_duration_since(Instant::now()));
        Ok([alarm, phase, Some(patience)].into_iter().flatten().min())
    }

    /// Wakes the poll when the next message is due.
    fn set_alarm(&self) -> io::Result<Option<Duration>> {
        let Some(Round { pace, alarm, place, sequence }) = &self.next else { return Ok(None) };
        let due = pace.due_ns(self.number(*place), *sequence).filter(|_| *sequence < self.rules.quota);
        let Some(due) = due else { return Ok(None) };
        alarm.set(Duration::from_nanos(due).saturating_sub(self.epoch.elapsed()))
    }

    /// Queues the publishers that have something due.
    fn enqueue_due(&mut self) {
        let Some(mut next) = self.next.take() else { return };
        let now_ns = nanoseconds(self.epoch.elapsed());
        while next.sequence < self.rules.quota
            && next.pace.due_ns(self.number(next.place), next.sequence).is_some_and(|due| due <= now_ns)
        {
            self.enqueue_publisher(next.place);
            next.place += 1;
            if next.place >= self.publishers.len() {
                (next.place, next.sequence) = (0, next.sequence + 1);
            }
        }
        self.next = Some(next);
    }

    /// What was due and never sent has waited until now, at least.
    fn count_unsent(&mut self) {
        let Some(Round { pace, .. }) = &self.next else { return };
        let now_ns = nanoseconds(self.epoch.elapsed());
        let quota = match self.plan.length {
            Length::Count(count) => count,
            Length::Time { .. } => u32::MAX,
        };
        for (number, publisher) in (self.rules.first..).zip(&self.publishers) {
            let due = (publisher.sent..quota).map_while(|sequence| pace.due_ns(number, sequence));
            for due_ns in due.take_while(|due| *due <= now_ns) {
                self.totals.unsent += 1;
                if pace.is_measured(due_ns) {
                    self.watch.record_measured(now_ns - due_ns);
                }
            }
        }
    }

    /// The number of the publisher at a place of this thread.
    fn number(&self, place: usize) -> u32 {
        self.rules.first.saturating_add(u32::try_from(place).unwrap_or(u32::MAX))
    }

    /// Goes on with the phases after a next.
    fn advance(&mut self, ending: Ending, before: &Totals) -> Result<Ending, BenchError> {
        let now = Instant::now();
        let Totals { sent, delivered, acked, pongs, .. } = self.totals;
        let is_waiting_for_none = self.next.is_some() && ending == Ending::Running && self.is_settled();
        if is_waiting_for_none
            || (sent, delivered, acked, pongs) != (before.sent, before.delivered, before.acked, before.pongs)
        {
            self.last_progress = now;
        }
        let is_stuck = now.duration_since(self.last_progress) >= self.plan.patience;
        let done = self.done(&self.totals);
        self.watch.tick(now, sent, done);
        Ok(match ending {
            Ending::Running => {
                if is_stuck || (self.is_all_sent() && self.is_settled()) {
                    self.watch.stop(now, sent, done);
                }
                if !self.watch.is_over() {
                    return Ok(Ending::Running);
                }
                // What is due by now.
                self.write_queued()?;
                // Nothing more is sent: each has reached its quota.
                self.rules.quota = 0;
                self.last_progress = now;
                Ending::Draining
            }
            Ending::Draining if is_stuck || self.is_settled() => {
                self.last_progress = now;
                self.ping();
                Ending::Quieting
            }
            Ending::Quieting if is_stuck || pongs >= self.pinged().len() => Ending::Over,
            Ending::Draining | Ending::Quieting | Ending::Over => ending,
        })
    }

    /// While it runs: each has reached its quota.
    fn is_all_sent(&self) -> bool {
        let Rules { quota, .. } = self.rules;
        (1..u32::MAX).contains(&quota) && self.totals.sent == u64::from(quota) * self.publishers.len() as u64
    }

    /// All that was sent is received, or known to be lost, and acknowledged.
    fn is_settled(&self) -> bool {
        let Totals { sent, acked, settled, .. } = self.totals;
        settled == sent * self.rules.fan && (self.rules.qos == QoS::AtMostOnce || acked == sent)
    }

    fn enqueue(&mut self, token: usize) {
        match self.subscribers.get_mut(token) {
            Some(subscriber) if !subscriber.is_queued => {
                subscriber.is_queued = true;
                self.queue.push(token);
            }
            Some(_) => {}
            None => self.enqueue_publisher(token - self.subscribers.len()),
        }
    }

    fn enqueue_publisher(&mut self, place: usize) {
        if let Some(publisher) = self.publishers.get_mut(place)
            && !publisher.is_queued
        {
            publisher.is_queued = true;
            self.queue.push(self.subscribers.len() + place);
        }
    }

    /// Reads all that is there and takes the packets.
    fn read(&mut self, token: usize) -> Result<(), BenchError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.read_into(token, &mut buffer);
        self.buffer = buffer;
        result
    }

    fn read_into(&mut self, token: usize, buffer: &mut [u8]) -> Result<(), BenchError> {
        loop {
            let Some(link) = self.link(token) else { return Ok(()) };
            let (len, is_more) = match link.read(buffer).map_err(|error| self.broken(token, error))? {
                Received::Bytes { len, is_more } => (len, is_more),
                Received::Nothing => return Ok(()),
                Received::End => return Err(self.broken(token, io::ErrorKind::UnexpectedEof.into())),
            };
            let mut packets = Packets::new(buffer.get(..len).unwrap_or_default());
            self.take(token, &mut packets)?;
            if let Some(link) = self.link(token) {
                link.keep(packets.rest());
            }
            if !is_more {
                return Ok(());
            }
        }
    }

    fn take(&mut self, token: usize, packets: &mut Packets<'_>) -> Result<(), BenchError> {
        // What is read together has come by now.
        let now_ns = nanoseconds(self.epoch.elapsed());
        let subscribers = self.subscribers.len();
        let Some(subscriber) = self.subscribers.get_mut(token) else {
            return self.take_acks(token - subscribers, packets);
        };
        let mut has_answers = false;
        while let Some(packet) = packets.next().map_err(|_| BenchError::Malformed)? {
            if packet.kind() != kind::PUBLISH {
                subscriber.on_packet(packet, &mut self.totals)?;
                has_answers = true;
                continue;
            }
            let settled =
                subscriber.on_publish(packet, &mut self.publishers, &self.rules, &mut self.totals)?;
            has_answers |= packet.qos() > 0;
            let Some((place, sent_ns)) = settled else { continue };
            let latency_ns = now_ns.saturating_sub(sent_ns);
            match &self.rules.pace {
                None => self.watch.record(latency_ns),
                Some(pace) if pace.is_measured(sent_ns) => self.watch.record_measured(latency_ns),
                Some(_) => {}
            }
            if let Some(publisher) = self.publishers.get_mut(place)
                && !publisher.is_queued
                && publisher.may_go_on(&self.rules)
            {
                publisher.is_queued = true;
                self.queue.push(subscribers + place);
            }
        }
        if has_answers {
            self.enqueue(token);
        }
        Ok(())
    }

    fn take_acks(&mut self, place: usize, packets: &mut Packets<'_>) -> Result<(), BenchError> {
        let Some(publisher) = self.publishers.get_mut(place) else { return Ok(()) };
        while let Some(packet) = packets.next().map_err(|_| BenchError::Malformed)? {
            publisher.on_packet(packet, &mut self.totals)?;
        }
        self.enqueue_publisher(place);
        Ok(())
    }

    /// Fills and writes each connection of the queue once.
    fn write_queued(&mut self) -> Result<(), BenchError> {
        self.enqueue_due();
        let mut queue = std::mem::take(&mut self.queue);
        for token in queue.drain(..) {
            let result = match self.subscribers.get_mut(token) {
                Some(subscriber) => {
                    subscriber.is_queued = false;
                    subscriber.link.flush()
                }
                None => self.write_publisher(token - self.subscribers.len()),
            };
            result.map_err(|error| self.broken(token, error))?;
        }
        // Those that had too much for one turn have been put into the new queue.
        queue.append(&mut self.queue);
        self.queue = queue;
        Ok(())
    }

    fn write_publisher(&mut self, place: usize) -> io::Result<()> {
        let number = self.number(place);
        let Some(publisher) = self.publishers.get_mut(place) else { return Ok(()) };
        publisher.is_queued = false;
        for _ in 0..FILLS_MAX {
            publisher.fill(&self.rules, number, nanoseconds(self.epoch.elapsed()), &mut self.totals);
            publisher.link.flush()?;
            if publisher.link.backlog() > 0 || !publisher.may_go_on(&self.rules) {
                return Ok(());
            }
        }
        self.enqueue_publisher(place);
        Ok(())
    }

    /// The connections behind whose PINGRESP nothing comes any more: of the subscribers, or where there are none, of the publishers,
    /// so that the broker has taken all that they sent.
    fn pinged(&self) -> Range<usize> {
        0..if self.subscribers.is_empty() { self.publishers.len() } else { self.subscribers.len() }
    }

    fn ping(&mut self) {
        for token in self.pinged() {
            if let Some(link) = self.link(token) {
                link.out().extend(PINGREQ);
            }
            self.enqueue(token);
        }
    }

    fn disconnect(&mut self) {
        for token in 0..self.subscribers.len() + self.publishers.len() {
            if let Some(link) = self.link(token) {
                link.out().extend(DISCONNECT);
                // The run is over; who has gone already is no matter.
                let _ = link.flush();
            }
        }
    }

    fn link(&mut self, token: usize) -> Option<&mut Link> {
        match token.checked_sub(self.subscribers.len()) {
            None => self.subscribers.get_mut(token).map(|subscriber| &mut subscriber.link),
            Some(place) => self.publishers.get_mut(place).map(|publisher| &mut publisher.link),
        }
    }

    fn broken(&self, token: usize, source: io::Error) -> BenchError {
        let (role, number) = match token.checked_sub(self.subscribers.len()) {
            None => ("subscriber", token),
            Some(place) => ("publisher", place),
        };
        BenchError::Broken { role, number, source }
    }
}
