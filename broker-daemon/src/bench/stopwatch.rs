//! Warm-up, measured part, and what was true at its two ends.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::bench::BenchError;
use crate::bench::plan::{Length, Plan};
use crate::bench::process::Usage;

/// What was counted at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    /// Messages sent so far.
    pub(super) sent: u64,
    /// Deliveries, or connections, so far.
    pub(super) done: u64,
    pub(super) own: Option<Usage>,
    pub(super) broker: Option<Usage>,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp {
        until: Instant,
    },
    /// Without an end: until everything is done.
    Measuring {
        until: Option<Instant>,
    },
    Over,
}

/// Measures one thread's part of a run.
#[derive(Debug)]
pub(super) struct Stopwatch {
    phase: Phase,
    measured: Duration,
    broker_pid: Option<u32>,
    /// CPU time is that of the whole process and of the broker: one thread reads it.
    is_first: bool,
    begin: Option<Snapshot>,
    end: Option<Snapshot>,
    latency: Histogram<u64>,
}

/// What came out.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) begin: Snapshot,
    pub(super) end: Snapshot,
    /// In nanoseconds.
    pub(super) latency: Histogram<u64>,
}

/// Two digits after the first: errors below 0.1 %.
const DIGITS: u8 = 3;
/// Longer latencies count as this.
const LATENCY_NS_MAX: u64 = 100_000_000_000;

/// A histogram of nanoseconds up to 100 s.
pub(super) fn histogram() -> Result<Histogram<u64>, BenchError> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS)
        .map_err(|_| BenchError::Plan { what: "the histogram cannot be made" })
}

impl Stopwatch {
    /// Starts now. With a number of messages there is no warm-up.
    pub(super) fn start(plan: &Plan, is_first: bool) -> Result<Self, BenchError> {
        let now = Instant::now();
        let (phase, measured) = match plan.length {
            Length::Count(_) => (Phase::Measuring { until: None }, Duration::ZERO),
            Length::Time { warm_up, measured } => (Phase::WarmUp { until: now + warm_up }, measured),
        };
        let (broker_pid, latency) = (plan.broker_pid, histogram()?);
        let mut watch = Self { phase, measured, broker_pid, is_first, begin: None, end: None, latency };
        if watch.is_measuring() {
            watch.begin = Some(watch.snapshot(now, 0, 0));
        }
        Ok(watch)
    }

    /// Begins anew: what came before does not count.
    pub(super) fn restart(&mut self, now: Instant) {
        self.begin = Some(self.snapshot(now, 0, 0));
    }

    /// Goes on to the next phase if it is time.
    pub(super) fn tick(&mut self, now: Instant, sent: u64, done: u64) {
        match self.phase {
            Phase::WarmUp { until } if now >= until => {
                self.begin = Some(self.snapshot(now, sent, done));
                self.phase = Phase::Measuring { until: Some(now + self.measured) };
            }
            Phase::Measuring { until: Some(until) } if now >= until => self.stop(now, sent, done),
            Phase::WarmUp { .. } | Phase::Measuring { .. } | Phase::Over => {}
        }
    }

    /// Everything is done.
    pub(super) fn stop(&mut self, now: Instant, sent: u64, done: u64) {
        if self.phase != Phase::Over {
            self.end = Some(self.snapshot(now, sent, done));
            self.phase = Phase::Over;
        }
    }

    /// Notes a latency, if it belongs to the measured part.
    #[inline]
    pub(super) fn record(&mut self, latency_ns: u64) {
        if self.is_measuring() {
            self.latency.saturating_record(latency_ns);
        }
    }

    /// Notes a latency of which the caller knows that it belongs to the measured part.
    #[inline]
    pub(super) fn record_measured(&mut self, latency_ns: u64) {
        self.latency.saturating_record(latency_ns);
    }

    fn is_measuring(&self) -> bool {
        matches!(self.phase, Phase::Measuring { .. })
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// When the phase ends, if time ends it.
    pub(super) fn until(&self) -> Option<Instant> {
        match self.phase {
            Phase::WarmUp { until } => Some(until),
            Phase::Measuring { until } => until,
            Phase::Over => None,
        }
    }

    fn snapshot(&self, at: Instant, sent: u64, done: u64) -> Snapshot {
        let own = self.is_first.then(Usage::own).flatten();
        let broker = self.broker_pid.filter(|_| self.is_first).and_then(Usage::of);
        Snapshot { at, sent, done, own, broker }
    }

    /// The result. A run that ended during its warm-up has measured nothing.
    pub(super) fn finish(mut self, sent: u64, done: u64) -> Measured {
        let now = Instant::now();
        self.stop(now, sent, done);
        let nothing = Snapshot { at: now, sent, done, own: None, broker: None };
        Measured {
            begin: self.begin.unwrap_or(nothing),
            end: self.end.unwrap_or(nothing),
            latency: self.latency,
        }
    }
}
