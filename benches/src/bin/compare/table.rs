//! Figures by scenario and broker, and the table of them.

use std::fmt::Write as _;

use culex_benches::broker::Broker;
use culex_benches::scenario::{Goal, Scenario};

use crate::goal::verdict;
use crate::measure::Figures;

/// All measurements, in the order in which they first came.
pub(crate) struct Table {
    rows: Vec<Row>,
    /// Syncs per second of a single writer.
    syncs: Vec<f64>,
    brokers: Vec<Broker>,
}

/// A scenario, and the runs of each broker.
pub(crate) struct Row {
    pub(crate) scenario: Scenario,
    brokers: Vec<(String, Vec<Figures>)>,
}

/// What stands between × and faults: title, figure, digits. One without any figure is left out.
type Column = (&'static str, fn(&Figures) -> f64, usize);
const COLUMNS: &[Column] = &[
    ("taken before per second", |run| run.installed, 0),
    ("drained per second", |run| run.drain, 0),
    ("p99 µs", |run| run.p99_us, 0),
    ("CPU µs each: broker", |run| run.broker_cpu_us, 2),
    ("load generator", |run| run.own_cpu_us, 2),
    ("memory bytes each", |run| run.bytes, 0),
    ("cores", |run| run.cores, 2),
    ("bytes written each", |run| run.written, 0),
    ("memory bytes per session", |run| run.session, 0),
    ("disk bytes per message queued", |run| run.queued, 0),
];

impl Table {
    pub(crate) fn new(brokers: &[Broker]) -> Self {
        Self { rows: Vec::new(), syncs: Vec::new(), brokers: brokers.to_vec() }
    }

    pub(crate) fn add(&mut self, scenario: &Scenario, broker: &str, figures: Figures) {
        let row = entry(
            &mut self.rows,
            |row| row.scenario.run == scenario.run,
            || Row { scenario: scenario.clone(), brokers: Vec::new() },
        );
        let (_, runs) =
            entry(&mut row.brokers, |(name, _)| name == broker, || (broker.to_owned(), Vec::new()));
        runs.push(figures);
    }

    pub(crate) fn add_syncs(&mut self, per_second: f64) {
        self.syncs.push(per_second);
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Medians, with the range where it matters.
    pub(crate) fn markdown(&self, repeat: usize, seconds: f64) -> String {
        let runs = || self.rows.iter().flat_map(|row| &row.brokers).flat_map(|(_, runs)| runs);
        let columns: Vec<_> =
            COLUMNS.iter().filter(|(_, of, _)| runs().any(|run| of(run).is_finite())).collect();
        let titles: String = columns.iter().map(|(title, ..)| format!(" {title} |")).collect();
        let has_goals = self.rows.iter().any(|row| row.scenario.goal != Goal::default());
        let (goal_title, goal_rule) = if has_goals { (" goal |", " --- |") } else { ("", "") };
        let mut text = format!(
            "{repeat} interleaved runs of {seconds} s, median (range). Foreign: cores busy with something else, at most.\n{}\n\
             | scenario | broker | per second | × |{goal_title}{titles} faults | foreign |\n\
             | --- | --- | --- | --- |{goal_rule}{} --- | --- |\n",
            self.syncs_text(),
            " --- |".repeat(columns.len()),
        );
        for row in &self.rows {
            for (broker, runs) in &row.brokers {
                let (own, other) = (Figures::medians(runs), self.other(row, broker));
                let is_judged = self.broker(broker).is_some_and(|broker| broker.is_judged(&row.scenario.run));
                let goal = if is_judged { verdict(&row.scenario.goal, &own, &other) } else { String::new() };
                let goal = if has_goals { format!(" {goal} |") } else { String::new() };
                let faults: f64 = runs.iter().map(|run| run.faults).sum();
                let (_, foreign) = range(runs, |run| run.foreign_cores);
                let figures: String = columns
                    .iter()
                    .map(|(_, of, digits)| format!(" {} |", figure(of(&own), *digits)))
                    .collect();
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "| `{}` | {broker} | {} | {} |{goal}{figures} {faults:.0} | {foreign:.1} |",
                    row.scenario.run,
                    rate(runs, own.rate),
                    ratio(own.rate / other.rate),
                );
            }
        }
        text
    }

    fn broker(&self, name: &str) -> Option<&Broker> {
        self.brokers.iter().find(|broker| broker.name == name)
    }

    /// The medians that those of a broker are compared with.
    fn other(&self, row: &Row, broker: &str) -> Figures {
        let named = self.broker(broker).and_then(|broker| broker.against.as_ref());
        let other = row.brokers.iter().find(|(name, _)| Some(name) == named);
        let other = if named.is_some() { other } else { row.brokers.first() };
        other.map_or(Figures::NONE, |(_, runs)| Figures::medians(runs))
    }

    /// Each broker of a row, and its rate divided by that of the one it is compared with, where there are both.
    pub(crate) fn ratios<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = (&'a str, f64)> {
        let ratio = |(broker, runs): &'a (String, Vec<Figures>)| {
            (broker.as_str(), Figures::medians(runs).rate / self.other(row, broker).rate)
        };
        row.brokers.iter().map(ratio).filter(|(_, ratio)| ratio.is_finite() && *ratio > 0.0)
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

/// The median with its range.
fn rate(runs: &[Figures], median: f64) -> String {
    let (low, high) = range(runs, |run| run.rate);
    if median.is_finite() { format!("{median:.0} ({low:.0}–{high:.0})") } else { "–".to_owned() }
}

/// Three digits.
fn ratio(value: f64) -> String {
    match value {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => figure(value, 0),
    }
}

/// The one that is meant, or a new one.
fn entry<T>(list: &mut Vec<T>, is_meant: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let place = list.iter().position(is_meant).unwrap_or_else(|| {
        list.push(new());
        list.len() - 1
    });
    #[expect(clippy::indexing_slicing, reason = "found or pushed this moment")]
    &mut list[place]
}

fn figure(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "–".to_owned() }
}

fn range(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> (f64, f64) {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    (values.first().copied().unwrap_or(f64::NAN), values.last().copied().unwrap_or(f64::NAN))
}
