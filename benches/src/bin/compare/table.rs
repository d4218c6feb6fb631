//! Figures by scenario and broker, and the table of them.

use std::fmt::Write as _;

use crate::scenario::Figures;

type Named<T> = Vec<(String, T)>;

/// All measurements, in the order in which they first came.
#[derive(Default)]
pub(crate) struct Table {
    rows: Named<Named<Vec<Figures>>>,
}

impl Table {
    pub(crate) fn add(&mut self, scenario: &str, broker: &str, figures: Figures) {
        entry(entry(&mut self.rows, scenario), broker).push(figures);
    }

    /// Medians, with the range where it matters. The first broker is what the others are compared with.
    pub(crate) fn markdown(&self, repeat: usize, seconds: u32) -> String {
        let mut text = format!(
            "{repeat} interleaved runs of {seconds} s, median (range). Foreign: cores busy with something else, at most.\n\n\
             | scenario | broker | per second (idle: bytes each) | × | p99 µs | CPU µs each: broker | load generator | faults | foreign |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        );
        for (scenario, brokers) in &self.rows {
            let first = brokers.first().map_or(f64::NAN, |(_, runs)| median(runs, |run| run.rate));
            for (broker, runs) in brokers {
                let rate = median(runs, |run| run.rate);
                let (low, high) = range(runs, |run| run.rate);
                let faults: f64 = runs.iter().map(|run| run.faults).sum();
                let (_, foreign) = range(runs, |run| run.foreign_cores);
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "| `{scenario}` | {broker} | {rate:.0} ({low:.0}–{high:.0}) | {:.1} | {} | {} | {} | {faults:.0} | {foreign:.1} |",
                    rate / first,
                    figure(median(runs, |run| run.p99_us), 0),
                    figure(median(runs, |run| run.broker_cpu_us), 2),
                    figure(median(runs, |run| run.own_cpu_us), 2),
                );
            }
        }
        text
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
