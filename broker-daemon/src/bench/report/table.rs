//! The report for people.

use std::fmt::Write as _;

use crate::bench::plan::Scenario;
use crate::bench::report::{Latency, Report, version};
use crate::bench::{Faults, Installed};

impl Report {
    /// A short table.
    pub fn table(&self) -> String {
        let mut text = self.title();
        if let Some(installed) = self.installed_line() {
            text.push_str(&installed);
        }
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
            if self.plan.scenario != Scenario::Retained {
                line("messages", per_second(self.rate(self.messages), self.messages_total));
            }
            line("deliveries", per_second(self.delivery_rate(), self.deliveries_total));
            let Faults { lost, duplicated, out_of_order, wrong } = self.faults;
            let wrong = if wrong > 0 { format!(", {wrong} wrong") } else { String::new() };
            line(
                "verified",
                format!("{lost} lost, {duplicated} duplicated, {out_of_order} out of order{wrong}"),
            );
        }
        if self.unsent > 0 {
            line("behind", format!("{} messages were due and not sent", grouped(self.unsent as f64)));
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
            Scenario::Retained => format!(
                "{name}: to one subscriber, QoS {}, {} bytes, MQTT {version}\n",
                plan.qos.bits(),
                plan.payload_bytes
            ),
            Scenario::Rate { per_second, .. } => format!(
                "{name}: {publishers} → {subscribers}, {}/s, QoS {}, {} bytes, MQTT {version}\n",
                grouped(f64::from(per_second)),
                plan.qos.bits(),
                plan.payload_bytes,
            ),
            Scenario::PubSub { .. }
            | Scenario::Subscriptions { .. }
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

    /// What the broker was given before.
    fn installed_line(&self) -> Option<String> {
        let Installed { count, took, .. } = self.installed?;
        let bytes = self
            .installed_bytes_each()
            .map(|bytes| format!(", {bytes:.0} bytes of the broker's memory each"));
        let rate = self.installed_per_second().map(|rate| format!(": {}/s", grouped(rate)));
        Some(format!(
            "  {:<13} {} in {:.2} s{}{}\n",
            "installed",
            grouped(count as f64),
            took.as_secs_f64(),
            rate.unwrap_or_default(),
            bytes.unwrap_or_default(),
        ))
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
