//! What came out, for people and for programs.

use std::time::Duration;

use serde_json::{Map, Value, json};

mod table;

use crate::bench::plan::{Plan, Scenario, Version};
use crate::bench::runner::Part;
use crate::bench::stopwatch::histogram;
use crate::bench::{BenchError, Faults, Installed, Offline, Usage};

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Report {
    plan: Plan,
    /// Length of the measured part.
    pub measured: Duration,
    /// Messages sent in the measured part; with offline, those acknowledged.
    pub messages: u64,
    /// Deliveries in the measured part; connections with the scenario connect; with offline, all deliveries.
    pub deliveries: u64,
    /// Messages sent in all.
    pub messages_total: u64,
    /// Deliveries in all; connections with connect and idle.
    pub deliveries_total: u64,
    /// From sending to receiving; with rate, from the time at which a message was due; from connecting to CONNACK.
    pub latency: Latency,
    /// In the whole run.
    pub faults: Faults,
    /// Connections that the broker ended (idle).
    pub closed: u64,
    /// Messages that were due and never sent, because the broker did not take what came before (rate).
    pub unsent: u64,
    /// CPU time of the broker in the measured part.
    pub broker_cpu: Option<Duration>,
    /// Resident memory of the broker before the first connection, and at the end of the measured part.
    pub broker_bytes: Option<(u64, u64)>,
    /// Bytes that the broker wrote to disks in the measured part, and that it gave to write calls.
    pub broker_written: Option<(u64, u64)>,
    /// What the scenario offline has beside that.
    pub offline: Option<Offline>,
    /// What the broker was given before it was measured (subscriptions, retained).
    pub installed: Option<Installed>,
    /// CPU time of the load generator in the measured part.
    pub own_cpu: Option<Duration>,
}

/// Latencies in nanoseconds; all 0 if there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// The median.
    pub p50: u64,
    /// 99 %
    pub p99: u64,
    /// 99.9 %
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Report {
    pub(super) fn new(plan: &Plan, before: Option<Usage>, parts: Vec<Part>) -> Result<Self, BenchError> {
        let mut latency = histogram()?;
        let mut report = Self {
            plan: plan.clone(),
            measured: Duration::ZERO,
            messages: 0,
            deliveries: 0,
            messages_total: 0,
            deliveries_total: 0,
            latency: Latency::default(),
            faults: Faults::default(),
            closed: 0,
            unsent: 0,
            broker_cpu: None,
            broker_bytes: None,
            broker_written: None,
            offline: None,
            installed: None,
            own_cpu: None,
        };
        for part in parts {
            let (begin, end) = (part.measured.begin, part.measured.end);
            report.measured = report.measured.max(end.at.duration_since(begin.at));
            if let Some(offline) = part.offline {
                report.messages = end.done - begin.done;
                report.deliveries = part.totals.delivered;
                report.offline = Some(offline);
            } else {
                report.messages += end.sent - begin.sent;
                report.deliveries += end.done - begin.done;
            }
            report.messages_total += part.totals.sent;
            report.deliveries_total += part.totals.delivered;
            report.faults.add(&part.totals.faults);
            report.closed += part.closed;
            report.unsent += part.totals.unsent;
            report.installed = report.installed.or(part.installed);
            report.own_cpu = report.own_cpu.or(spent(begin.own, end.own));
            report.broker_cpu = report.broker_cpu.or(spent(begin.broker, end.broker));
            report.broker_written = report.broker_written.or(written(begin.broker, end.broker));
            if let (Some(before), Some(after)) = (before, end.broker) {
                report.broker_bytes = Some((before.resident_bytes, after.resident_bytes));
            }
            // The bounds are the same, so it cannot fail.
            let _ = latency.add(&part.measured.latency);
        }
        if !latency.is_empty() {
            let at = |quantile| latency.value_at_quantile(quantile);
            report.latency = Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: latency.max() };
        }
        Ok(report)
    }

    /// Whether each delivery was as it had to be, and no connection ended. `allow_loss`: at QoS 0, losses are not
    /// held against the broker.
    pub fn is_clean(&self, allow_loss: bool) -> bool {
        let Faults { lost, duplicated, out_of_order, wrong } = self.faults;
        let lost = if allow_loss && self.plan.qos == culex_codec::QoS::AtMostOnce { 0 } else { lost };
        lost + duplicated + out_of_order + wrong + self.closed == 0
    }

    /// One line of JSON, with its end.
    pub fn json(&self) -> String {
        let mut line = self.json_of_plan();
        line.extend(self.json_of_figures());
        format!("{}\n", Value::Object(line))
    }

    fn json_of_plan(&self) -> Map<String, Value> {
        let (name, publishers, subscribers) = self.names();
        let plan = &self.plan;
        object(json!({
            "scenario": name,
            "address": plan.address.to_string(),
            "publishers": publishers,
            "subscribers": subscribers,
            "connections": plan.connections(),
            "version": version(plan.version),
            "tls": plan.tls.is_some(),
            "qos": plan.qos.bits(),
            "payload_bytes": plan.payload_bytes,
            "window": plan.window,
            "rate": self.offered(),
            "threads": plan.threads_used(),
        }))
    }

    fn json_of_figures(&self) -> Map<String, Value> {
        let Latency { p50, p99, p999, max } = self.latency;
        let us = |ns: u64| ns as f64 / 1e3;
        let offline = self.offline.unwrap_or_default();
        object(json!({
            "measured_seconds": self.measured.as_secs_f64(),
            "messages": self.messages,
            "deliveries": self.deliveries,
            "messages_per_second": self.rate(self.messages),
            "deliveries_per_second": self.delivery_rate(),
            "messages_total": self.messages_total,
            "deliveries_total": self.deliveries_total,
            "latency_us": { "p50": us(p50), "p99": us(p99), "p99.9": us(p999), "max": us(max) },
            "lost": self.faults.lost,
            "duplicated": self.faults.duplicated,
            "out_of_order": self.faults.out_of_order,
            "wrong": self.faults.wrong,
            "closed": self.closed,
            "unsent": self.unsent,
            "installed": self.installed.map(|installed| installed.count),
            "installed_per_second": self.installed_per_second(),
            "installed_bytes_each": self.installed_bytes_each(),
            "broker_cpu_seconds": self.broker_cpu.map(|cpu| cpu.as_secs_f64()),
            "broker_cpu_us_each": self.each(self.broker_cpu),
            "broker_bytes_before": self.broker_bytes.map(|(before, _)| before),
            "broker_bytes_after": self.broker_bytes.map(|(_, after)| after),
            "broker_written_bytes_each": self.each_written(|(written, _)| written),
            "broker_passed_bytes_each": self.each_written(|(_, passed)| passed),
            "sessions": offline.sessions,
            "drain_seconds": self.offline.map(|offline| offline.drained_in.as_secs_f64()),
            "session_bytes_each": self.session_bytes_each(),
            "queued_bytes_each": self.queued_bytes_each(),
            "queued_memory_bytes_each": self.queued_memory_each(),
            "data_bytes_sessions": offline.data_bytes.map(|(sessions, _)| sessions),
            "data_bytes_filled": offline.data_bytes.map(|(_, filled)| filled),
            "bench_cpu_seconds": self.own_cpu.map(|cpu| cpu.as_secs_f64()),
            "bench_cpu_us_each": self.each(self.own_cpu),
        }))
    }

    fn names(&self) -> (&'static str, u32, u32) {
        let name = match self.plan.scenario {
            Scenario::PubSub { .. } => "pub-sub",
            Scenario::Rate { .. } => "rate",
            Scenario::FanOut { .. } => "fan-out",
            Scenario::FanIn { .. } => "fan-in",
            Scenario::Offline { .. } => "offline",
            Scenario::Subscriptions { .. } => "subscriptions",
            Scenario::Retained => "retained",
            Scenario::Idle { .. } => "idle",
            Scenario::Connect { clean_session: true, .. } => "connect",
            Scenario::Connect { clean_session: false, .. } => "connect-persistent",
        };
        let (publishers, subscribers) = self.plan.roles();
        (name, publishers, subscribers)
    }

    /// Deliveries per second; with offline, from the first session that came back on.
    fn delivery_rate(&self) -> f64 {
        match self.offline.map(|offline| offline.drained_in.as_secs_f64()) {
            None => self.rate(self.deliveries),
            Some(seconds) if seconds > 0.0 => self.deliveries as f64 / seconds,
            Some(_) => 0.0,
        }
    }

    /// Memory that a stored session takes, with its subscription.
    fn session_bytes_each(&self) -> Option<f64> {
        let (before, _) = self.broker_bytes?;
        let offline = self.offline?;
        Some(offline.session_bytes?.saturating_sub(before) as f64 / offline.sessions.max(1) as f64)
    }

    /// Bytes on disk for a message that waits, however many sessions it waits for.
    fn queued_bytes_each(&self) -> Option<f64> {
        let (sessions, filled) = self.offline?.data_bytes?;
        Some(filled.saturating_sub(sessions) as f64 / self.messages_total.max(1) as f64)
    }

    /// Memory for a message that waits, for each session that it waits for.
    fn queued_memory_each(&self) -> Option<f64> {
        let offline = self.offline?;
        let bytes = offline.filled_bytes?.saturating_sub(offline.session_bytes?);
        // With topics of their own each message waits for one.
        let has_one_topic = matches!(self.plan.scenario, Scenario::Offline { sessions: Some(_), .. });
        let each = if has_one_topic { offline.sessions } else { 1 };
        Some(bytes as f64 / (self.messages_total * each).max(1) as f64)
    }

    /// Messages per second that were due (rate).
    fn offered(&self) -> Option<u32> {
        if let Scenario::Rate { per_second, .. } = self.plan.scenario { Some(per_second) } else { None }
    }

    fn installed_per_second(&self) -> Option<f64> {
        let Installed { count, took, .. } = self.installed?;
        Some(count as f64 / took.as_secs_f64()).filter(|rate| rate.is_finite())
    }

    /// Memory that a subscription takes, or a Retained Message.
    fn installed_bytes_each(&self) -> Option<f64> {
        let Installed { count, resident, .. } = self.installed?;
        let (before, after) = resident?;
        Some(after.saturating_sub(before) as f64 / count.max(1) as f64)
    }

    fn rate(&self, count: u64) -> f64 {
        let seconds = self.measured.as_secs_f64();
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }

    /// Microseconds a delivery; with offline, a message that is put away.
    fn each(&self, cpu: Option<Duration>) -> Option<f64> {
        Some(cpu?.as_secs_f64() * 1e6 / self.done()?)
    }

    fn each_written(&self, of: impl Fn((u64, u64)) -> u64) -> Option<f64> {
        Some(of(self.broker_written?) as f64 / self.done()?)
    }

    /// What was done in the measured part; `None` for nothing.
    fn done(&self) -> Option<f64> {
        let done = if self.offline.is_some() { self.messages } else { self.deliveries };
        (done > 0).then_some(done as f64)
    }
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

fn spent(begin: Option<Usage>, end: Option<Usage>) -> Option<Duration> {
    Some(end?.cpu.saturating_sub(begin?.cpu))
}

fn written(begin: Option<Usage>, end: Option<Usage>) -> Option<(u64, u64)> {
    let (begin, end) = (begin?, end?);
    let written = end.written_bytes?.saturating_sub(begin.written_bytes?);
    Some((written, end.passed_bytes?.saturating_sub(begin.passed_bytes?)))
}

fn version(version: Version) -> &'static str {
    match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    }
}
