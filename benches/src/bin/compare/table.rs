//! Figures by scenario and broker, and the table of them.

use std::fmt::Write as _;

use crate::scenario::Figures;

type Named<T> = Vec<(String, T)>;

/// All measurements, in the order in which they first came.
#[derive(Default)]
pub(crate) struct Table {
    rows: Named<Named<Vec<Figures>>>,
    /// Syncs per second of a single writer.
    syncs: Vec<f64>,
}

/// What stands between rate and faults: title, figure, digits. One without any figure is left out.
type Column = (&'static str, fn(&Figures) -> f64, usize);
const COLUMNS: &[Column] = &[
    ("drained per second", |run| run.drain, 0),
    ("p99 µs", |run| run.p99_us, 0),
    ("CPU µs each: broker", |run| run.broker_cpu_us, 2),
    ("load generator", |run| run.own_cpu_us, 2),
    ("bytes written each", |run| run.written, 0),
    ("memory bytes per session", |run| run.session, 0),
    ("disk bytes per message queued", |run| run.queued, 0),
];

impl Table {
    pub(crate) fn add(&mut self, scenario: &str, broker: &str, figures: Figures) {
        entry(entry(&mut self.rows, scenario), broker).push(figures);
    }

    pub(crate) fn add_syncs(&mut self, per_second: f64) {
        self.syncs.push(per_second);
    }

    /// Medians, with the range where it matters. The first broker is what the others are compared with.
    pub(crate) fn markdown(&self, repeat: usize, seconds: f64) -> String {
        let runs = || self.rows.iter().flat_map(|(_, brokers)| brokers).flat_map(|(_, runs)| runs);
        let columns: Vec<_> =
            COLUMNS.iter().filter(|(_, of, _)| runs().any(|run| of(run).is_finite())).collect();
        let titles: String = columns.iter().map(|(title, ..)| format!(" {title} |")).collect();
        let mut text = format!(
            "{repeat} interleaved runs of {seconds} s, median (range). Foreign: cores busy with something else, at most.\n{}\n\
             | scenario | broker | per second (idle: bytes each) | × |{titles} faults | foreign |\n\
             | --- | --- | --- | --- |{} --- | --- |\n",
            self.syncs_text(),
            " --- |".repeat(columns.len()),
        );
        for (scenario, brokers) in &self.rows {
            let first = brokers.first().map_or(f64::NAN, |(_, runs)| median(runs, |run| run.rate));
            for (broker, runs) in brokers {
                let rate = median(runs, |run| run.rate);
                let (low, high) = range(runs, |run| run.rate);
                let faults: f64 = runs.iter().map(|run| run.faults).sum();
                let (_, foreign) = range(runs, |run| run.foreign_cores);
                let figures: String = columns
                    .iter()
                    .map(|(_, of, digits)| format!(" {} |", figure(median(runs, of), *digits)))
                    .collect();
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "| `{scenario}` | {broker} | {rate:.0} ({low:.0}–{high:.0}) | {} |{figures} {faults:.0} | {foreign:.1} |",
                    ratio(rate / first),
                );
            }
        }
        text
    }

    fn syncs_text(&self) -> String {
        if self.syncs.is_empty() {
            return String::new();
        }
        let mut syncs = self.syncs.clone();
        syncs.sort_by(f64::total_cmp);
        let at = |place: usize| syncs.get(place).copied().unwrap_or(f64::NAN);
        format!(
            "A single writer (4 KiB appended, fdatasync) gets {:.0} syncs per second ({:.0}–{:.0}).\n",
            at(syncs.len() / 2),
            at(0),
            at(syncs.len() - 1),
        )
    }
}

/// Three digits.
fn ratio(value: f64) -> String {
    match value {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn entry<'a, T: Default>(list: &'a mut Named<T>, name: &str) -> &'a mut T {
    let place = list.iter().position(|(own, _)| own == name).unwrap_or_else(|| {
        list.push((name.to_owned(), T::default()));
        list.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "found or pushed this moment")]
    &mut list[place].1
}

fn figure(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "–".to_owned() }
}

fn sorted(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let values = sorted(runs, of);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn range(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> (f64, f64) {
    let values = sorted(runs, of);
    (values.first().copied().unwrap_or(f64::NAN), values.last().copied().unwrap_or(f64::NAN))
}
