//! The numbers of the broker in Prometheus' text format, version 0.0.4.
//!
//! Names follow its conventions: base units, `_total` for counters, one family with labels where numbers add up. The core's
//! registry ([`culex_core::Snapshot`]) says what there is; here it only gets its names.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use culex_core::engine::stats::MetricKind;
use culex_core::{AdminError, Snapshot};

use super::{Api, slowest};
use crate::integration::meter::{Direction, LATENCY_BOUNDS_MS, Load, Meter, Outcome, Standing};

/// A histogram of the broker's.
struct Histogram {
    name: &'static str,
    help: &'static str,
    count: &'static str,
    /// The number with the sum, and how many of them are a second.
    sum: (&'static str, f64),
    /// Upper bounds in seconds, and their numbers.
    buckets: &'static [(&'static str, &'static str)],
}

const HISTOGRAMS: [Histogram; 2] = [
    Histogram {
        name: "culex_store_commit_seconds",
        help: "Time of a transaction of the store.",
        count: "store_commits",
        sum: ("store_commit_microseconds", 1e6),
        buckets: &[
            ("0.001", "store_commits_within_1ms"),
            ("0.01", "store_commits_within_10ms"),
            ("0.1", "store_commits_within_100ms"),
            ("1", "store_commits_within_1s"),
        ],
    },
    Histogram {
        name: "culex_turn_seconds",
        help: "Time of a turn of a lane; nobody else of that lane is served meanwhile.",
        count: "turns",
        sum: ("turn_nanoseconds", 1e9),
        buckets: &[
            ("0.00001", "turns_within_10us"),
            ("0.0001", "turns_within_100us"),
            ("0.001", "turns_within_1ms"),
            ("0.01", "turns_within_10ms"),
            ("0.1", "turns_within_100ms"),
            ("1", "turns_within_1s"),
        ],
    },
];

/// The page.
///
/// # Errors
/// [`AdminError::Stopped`].
pub(super) async fn page(api: &Api) -> Result<String, AdminError> {
    let mut page = Page::default();
    let snapshot = api.broker.metrics();
    page.broker(&snapshot);
    let version = || vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    page.family("culex_build_info", "The program.", MetricKind::Gauge, [(version(), 1.0)]);
    let uptime = api.started.elapsed().as_secs_f64();
    page.family("culex_uptime_seconds", "Time since the start.", MetricKind::Gauge, [(Vec::new(), uptime)]);
    let slow = api.slowest.list(&api.admin).await?;
    let labelled = |of: fn(&culex_core::SessionInfo) -> u64| {
        let name = |id: &str| vec![("client_id", id.to_owned())];
        slow.iter().map(move |session| (name(&session.client_id), of(session) as f64)).collect::<Vec<_>>()
    };
    page.family(
        "culex_slowest_queue_messages",
        "Messages that wait for the ten sessions with the longest queues.",
        MetricKind::Gauge,
        labelled(|session| session.queue_messages),
    );
    page.family(
        "culex_slowest_queue_bytes",
        "Bytes that wait for them, in the session and to be written.",
        MetricKind::Gauge,
        labelled(slowest::waiting),
    );
    let listeners = api.reloader.listeners().await;
    let expiries = listeners.iter().filter_map(|(listener, expires)| {
        Some((vec![("listener", listener.address.to_string())], (*expires)? as f64))
    });
    let of_http = api.live.tls().map(|tls| (vec![("listener", "http".to_owned())], tls.expires as f64));
    page.family(
        "culex_tls_certificate_not_after_timestamp_seconds",
        "When the first certificate of a listener expires.",
        MetricKind::Gauge,
        expiries.chain(of_http).collect::<Vec<_>>(),
    );
    page.http(api);
    page.integrations(&api.integrations.list());
    Ok(page.0)
}

/// Messages that were dropped, whatever the reason.
pub(super) fn dropped(snapshot: &Snapshot) -> u64 {
    snapshot.iter().filter(|(metric, _)| metric.name.starts_with("dropped_")).map(|(_, value)| value).sum()
}

impl Histogram {
    /// Whether one of the broker's numbers is told by it.
    fn has(&self, name: &str) -> bool {
        let Self { count, sum: (sum, _), buckets, .. } = self;
        name == *count || name == *sum || buckets.iter().any(|(_, within)| name == *within)
    }
}

/// The page as it grows.
#[derive(Debug, Default)]
struct Page(String);

type Labels = Vec<(&'static str, String)>;

impl Page {
    fn broker(&mut self, snapshot: &Snapshot) {
        let number = |name: &str| snapshot.get(name).unwrap_or_default();
        for (name, help, total, of) in [
            (
                "culex_messages_received_total",
                "PUBLISH packets received.",
                "messages_received",
                ["messages_received_qos1", "messages_received_qos2"],
            ),
            (
                "culex_messages_sent_total",
                "PUBLISH packets sent.",
                "messages_sent",
                ["messages_sent_qos1", "messages_sent_qos2"],
            ),
        ] {
            let [one, two] = of.map(number);
            let zero = number(total).saturating_sub(one + two);
            let qos = |qos: u8, value: u64| (vec![("qos", qos.to_string())], value as f64);
            self.family(name, help, MetricKind::Counter, [qos(0, zero), qos(1, one), qos(2, two)]);
        }
        let reasons = snapshot.iter().filter_map(|(metric, value)| {
            let reason = metric.name.strip_prefix("dropped_")?;
            Some((vec![("reason", reason.to_owned())], value as f64))
        });
        let help = "Messages that did not reach a receiver.";
        self.family("culex_messages_dropped_total", help, MetricKind::Counter, reasons.collect::<Vec<_>>());
        HISTOGRAMS.iter().for_each(|histogram| self.histogram(snapshot, histogram));
        let is_told = |name: &str| {
            name.starts_with("messages_received")
                || name.starts_with("messages_sent")
                || name.starts_with("dropped_")
                || HISTOGRAMS.iter().any(|histogram| histogram.has(name))
        };
        for (metric, value) in snapshot.iter().filter(|(metric, _)| !is_told(metric.name)) {
            // `x_total` beside a gauge `x` would be two families of one name.
            let name = match (metric.kind, metric.name.strip_suffix("_total")) {
                (MetricKind::Counter, Some(what)) => format!("culex_{what}_accepted_total"),
                (MetricKind::Counter, None) => format!("culex_{}_total", metric.name),
                (MetricKind::Gauge, _) => format!("culex_{}", metric.name),
            };
            self.family(&name, metric.help, metric.kind, [(Labels::new(), value as f64)]);
        }
    }

    /// A histogram, if the broker has what it counts.
    fn histogram(&mut self, snapshot: &Snapshot, histogram: &Histogram) {
        let Histogram { name, help, count, sum: (sum, per_second), buckets } = *histogram;
        let Some(count) = snapshot.get(count) else { return };
        let number = |name: &str| snapshot.get(name).unwrap_or_default() as f64;
        self.head(name, help, "histogram");
        for (bound, within) in buckets {
            self.line(&format!("{name}_bucket"), &[("le", (*bound).to_owned())], number(within));
        }
        self.line(&format!("{name}_bucket"), &[("le", "+Inf".to_owned())], count as f64);
        self.line(&format!("{name}_sum"), &[], number(sum) / per_second);
        self.line(&format!("{name}_count"), &[], count as f64);
    }

    fn http(&mut self, api: &Api) {
        let counts = &api.live.counts;
        let answers =
            counts.answers.iter().zip(1..).map(|(cell, digit)| {
                (vec![("code", format!("{digit}xx"))], cell.load(Ordering::Relaxed) as f64)
            });
        let name = "culex_http_requests_total";
        self.family(
            name,
            "Requests of the HTTP API that were answered.",
            MetricKind::Counter,
            answers.collect::<Vec<_>>(),
        );
        for (name, help, kind, cell) in [
            (
                "culex_http_connections",
                "Connections of the HTTP API.",
                MetricKind::Gauge,
                &counts.connections,
            ),
            (
                "culex_http_connections_refused_total",
                "Connections closed at once (max_connections under [http]).",
                MetricKind::Counter,
                &counts.connections_refused,
            ),
            (
                "culex_http_connections_stalled_total",
                "Connections closed because the other side did not read.",
                MetricKind::Counter,
                &counts.connections_stalled,
            ),
            (
                "culex_http_unauthorized_total",
                "Requests without credentials, or with wrong ones.",
                MetricKind::Counter,
                &counts.unauthorized,
            ),
            ("culex_http_streams", "Streams of messages that are open.", MetricKind::Gauge, &counts.streams),
            (
                "culex_http_stream_events_total",
                "Messages that went to streams.",
                MetricKind::Counter,
                &counts.stream_events,
            ),
            (
                "culex_http_stream_dropped_total",
                "Messages dropped because the reader of a stream was too slow.",
                MetricKind::Counter,
                &counts.stream_dropped,
            ),
        ] {
            self.family(name, help, kind, [(Labels::new(), cell.load(Ordering::Relaxed) as f64)]);
        }
    }

    /// What bridges and webhooks have done.
    fn integrations(&mut self, all: &[(Box<str>, Arc<Meter>)]) {
        use MetricKind::{Counter, Gauge};
        let label = |name: &str| vec![("integration", name.to_owned())];
        let each =
            |of: fn(&Meter) -> u64| all.iter().map(move |(name, meter)| (label(name), of(meter) as f64));
        let messages = all.iter().flat_map(|(name, meter)| {
            Direction::ALL.into_iter().flat_map(move |direction| {
                Outcome::ALL.into_iter().map(move |outcome| {
                    let mut labels = label(name);
                    labels.extend([
                        ("direction", direction.word().to_owned()),
                        ("outcome", outcome.word().to_owned()),
                    ]);
                    (labels, meter.messages(direction, outcome) as f64)
                })
            })
        });
        let name = "culex_integration_messages_total";
        self.family(name, "Messages of bridges and webhooks, by what became of them.", Counter, messages);
        let bytes = all.iter().flat_map(|(name, meter)| {
            Direction::ALL.into_iter().map(move |direction| {
                let mut labels = label(name);
                labels.push(("direction", direction.word().to_owned()));
                (labels, meter.bytes(direction) as f64)
            })
        });
        let name = "culex_integration_payload_bytes_total";
        self.family(name, "Payload bytes of those that were delivered.", Counter, bytes);
        let name = "culex_integration_reconnects_total";
        self.family(
            name,
            "Connections to the other side that were made again.",
            Counter,
            each(|meter| meter.setbacks().0),
        );
        let name = "culex_integration_throttled_total";
        self.family(
            name,
            "Times that the other side asked for less.",
            Counter,
            each(|meter| meter.setbacks().1),
        );
        let name = "culex_integration_in_flight";
        self.family(name, "Messages that are sent and not answered.", Gauge, each(Meter::in_flight));
        let name = "culex_integration_up";
        let is_up = each(|meter| u64::from(meter.standing().0 == Standing::Up));
        self.family(name, "1 while the other side answers.", Gauge, is_up);
        let loads: Vec<_> =
            all.iter().filter_map(|(name, meter)| Some((label(name), meter.load()?))).collect();
        let loads = |of: fn(&Load) -> Option<u64>| {
            loads.iter().filter_map(move |(label, load)| Some((label.clone(), of(load)? as f64)))
        };
        let name = "culex_integration_queue_messages";
        self.family(name, "Messages that wait.", Gauge, loads(|load| Some(load.queue_messages)));
        let name = "culex_integration_queue_bytes";
        self.family(name, "Their topics and payloads.", Gauge, loads(|load| Some(load.queue_bytes)));
        let name = "culex_integration_offered_per_second";
        let help = "Messages that came for the other side lately.";
        self.family(name, help, Gauge, loads(|load| Some(load.offered_per_second)));
        let name = "culex_integration_carried_per_second_max";
        let help = "Messages that may be carried; with more offered the queue grows.";
        self.family(name, help, Gauge, loads(|load| load.carried_per_second_max));
        let name = "culex_integration_answer_seconds";
        self.head(name, "Time that the other side took to answer.", "histogram");
        for (integration, meter) in all {
            let (buckets, sum_us) = meter.latency();
            let bounds = LATENCY_BOUNDS_MS.iter().map(|ms| (*ms as f64 / 1e3).to_string());
            let mut count = 0;
            for (bound, bucket) in bounds.chain(["+Inf".to_owned()]).zip(buckets) {
                count += bucket;
                let labels = [("integration", integration.to_string()), ("le", bound)];
                self.line(&format!("{name}_bucket"), &labels, count as f64);
            }
            self.line(&format!("{name}_sum"), &label(integration), sum_us as f64 / 1e6);
            self.line(&format!("{name}_count"), &label(integration), count as f64);
        }
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricKind,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let word = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        self.head(name, help, word);
        for (labels, value) in values {
            self.line(name, &labels, value);
        }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&'static str, String)], value: f64) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", Escaped(text));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// The value of a label; a ClientId may be any text.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_be_any_text() {
        let mut page = Page::default();
        let labels = vec![("client_id", "a\"b\\c\nd} 1".to_owned())];
        page.family("x", "what\nit is", MetricKind::Gauge, [(labels, 1.5)]);
        assert_eq!(
            page.0,
            "# HELP x what\\nit is\n# TYPE x gauge\nx{client_id=\"a\\\"b\\\\c\\nd} 1\"} 1.5\n"
        );
    }
}
