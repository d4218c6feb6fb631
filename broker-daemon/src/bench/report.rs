//! What came out, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::bench::plan::{Plan, Scenario, Version};
use crate::bench::runner::Part;
use crate::bench::stopwatch::histogram;
use crate::bench::{BenchError, Faults, Offline, Usage};

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
    /// From sending to receiving; from connecting to CONNACK.
    pub latency: Latency,
    /// In the whole run.
    pub faults: Faults,
    /// Connections that the broker ended (idle).
    pub closed: u64,
    /// CPU time of the broker in the measured part.
    pub broker_cpu: Option<Duration>,
    /// Resident memory of the broker before the first connection, and at the end of the measured part.
    pub broker_bytes: Option<(u64, u64)>,
    /// Bytes that the broker wrote to disks in the measured part, and that it gave to write calls.
    pub broker_written: Option<(u64, u64)>,
    /// What the scenario offline has beside that.
    pub offline: Option<Offline>,
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
            broker_cpu: None,
            broker_bytes: None,
            broker_written: None,
            offline: None,
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
        let (name, publishers, subscribers) = self.names();
        let plan = &self.plan;
        let Latency { p50, p99, p999, max } = self.latency;
        let us = |ns: u64| ns as f64 / 1e3;
        let offline = self.offline.unwrap_or_default();
        let line = json!({
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
            "threads": plan.threads_used(),
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
            "data_bytes_sessions": offline.data_bytes.map(|(sessions, _)| sessions),
            "data_bytes_filled": offline.data_bytes.map(|(_, filled)| filled),
            "bench_cpu_seconds": self.own_cpu.map(|cpu| cpu.as_secs_f64()),
            "bench_cpu_us_each": self.each(self.own_cpu),
        });
        format!("{line}\n")
    }

    /// A short table.
    pub fn table(&self) -> String {
        let mut text = self.title();
        let is_idle = matches!(self.plan.scenario, Scenario::Idle { .. });
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<13} {value}");
        };
        if matches!(self.plan.scenario, Scenario::Connect { .. }) {
            let rate = grouped(self.rate(self.deliveries));
            line("connections", format!("{rate}/s ({} in all)", grouped(self.deliveries_total as f64)));
        } else if is_idle {
            line("connections", format!("{}, {} ended by the broker", self.deliveries_total, self.closed));
        } else {
            let per_second =
                |rate, total: u64| format!("{}/s ({} in all)", grouped(rate), grouped(total as f64));
            line("messages", per_second(self.rate(self.messages), self.messages_total));
            line("deliveries", per_second(self.delivery_rate(), self.deliveries_total));
            let Faults { lost, duplicated, out_of_order, wrong } = self.faults;
            let wrong = if wrong > 0 { format!(", {wrong} wrong") } else { String::new() };
            line(
                "verified",
                format!("{lost} lost, {duplicated} duplicated, {out_of_order} out of order{wrong}"),
            );
        }
        if self.latency.max > 0 {
            let Latency { p50, p99, p999, max } = self.latency;
            let [p50, p99, p999, max] = [p50, p99, p999, max].map(time);
            line("latency", format!("p50 {p50}, p99 {p99}, p99.9 {p999}, max {max}"));
        }
        let each = |cpu| {
            self.each(cpu).filter(|_| !is_idle).map_or(String::new(), |us| format!(" ({us:.2} µs each)"))
        };
        for (name, cpu) in [("broker CPU", self.broker_cpu), ("bench CPU", self.own_cpu)] {
            if let Some(time) = cpu {
                line(
                    name,
                    format!(
                        "{:.2} s of {:.2} s{}",
                        time.as_secs_f64(),
                        self.measured.as_secs_f64(),
                        each(cpu)
                    ),
                );
            }
        }
        if let Some(bytes) = self.each_written(|(written, _)| written) {
            line("broker disk", format!("{bytes:.0} bytes written for each"));
        }
        for (name, what, bytes) in [
            ("session", "bytes of the broker's memory each", self.session_bytes_each()),
            ("queued", "bytes of the broker's files each", self.queued_bytes_each()),
        ] {
            if let Some(bytes) = bytes {
                line(name, format!("{bytes:.0} {what}"));
            }
        }
        if let Some((before, after)) = self.broker_bytes {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let mut value = format!("{:.1} MiB → {:.1} MiB", mib(before), mib(after));
            if is_idle {
                let bytes = after.saturating_sub(before) / u64::from(self.plan.connections()).max(1);
                let _ = write!(value, " ({bytes} bytes a connection)");
            }
            line("broker memory", value);
        }
        text
    }

    fn title(&self) -> String {
        let plan = &self.plan;
        let (name, publishers, subscribers) = self.names();
        let over = if plan.tls.is_some() { " over TLS" } else { "" };
        let version = format!("{}{over}", version(plan.version));
        match plan.scenario {
            Scenario::Idle { connections } => format!("{name}: {connections} connections, MQTT {version}\n"),
            Scenario::Connect { clients, clean_session } => {
                let kept = if clean_session { "clean" } else { "persistent" };
                format!("{name}: {clients} clients, {kept} sessions, MQTT {version}\n")
            }
            Scenario::PubSub { .. }
            | Scenario::FanOut { .. }
            | Scenario::FanIn { .. }
            | Scenario::Offline { .. } => format!(
                "{name}: {publishers} → {subscribers}{}, QoS {}, {} bytes, window {}, MQTT {version}\n",
                if plan.is_persistent { " persistent" } else { "" },
                plan.qos.bits(),
                plan.payload_bytes,
                plan.window,
            ),
        }
    }

    fn names(&self) -> (&'static str, u32, u32) {
        let name = match self.plan.scenario {
            Scenario::PubSub { .. } => "pub-sub",
            Scenario::FanOut { .. } => "fan-out",
            Scenario::FanIn { .. } => "fan-in",
            Scenario::Offline { .. } => "offline",
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
    }
}

/// 1,234,567
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three digits and a unit.
fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{:.2} µs", ns as f64 / 1e3),
        10_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,567"],
            [0.0, 999.0, 1000.0, 1_234_567.0].map(grouped).each_ref().map(String::as_str)
        );
        assert_eq!(time(1_500), "1.50 µs");
        assert_eq!(time(2_500_000), "2.50 ms");
    }
}
