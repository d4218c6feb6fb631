//! Figures by row, and the table of them.

use std::fmt::Write as _;

/// All measurements, in the order in which they first came.
pub(crate) struct Table {
    titles: &'static [&'static str],
    ratio: Option<Ratio>,
    rows: Vec<Row>,
}

/// What is compared within a group.
pub(crate) struct Ratio {
    /// The column.
    pub(crate) place: usize,
    /// The rows that others are compared with, by name.
    pub(crate) bases: &'static [&'static str],
    /// What a ratio should be at most.
    pub(crate) most: f64,
}

struct Row {
    group: String,
    name: String,
    runs: Vec<Vec<f64>>,
}

impl Table {
    /// With a figure under each title behind the first two, which are those of group and name.
    pub(crate) fn new(titles: &'static [&'static str], ratio: Option<Ratio>) -> Self {
        Self { titles, ratio, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, group: &str, name: &str, run: Vec<f64>) {
        match self.rows.iter_mut().find(|row| row.group == group && row.name == name) {
            Some(row) => row.runs.push(run),
            None => self.rows.push(Row { group: group.to_owned(), name: name.to_owned(), runs: vec![run] }),
        }
    }

    /// Medians, with the range.
    pub(crate) fn markdown(&self) -> String {
        let ratios = self.ratio.iter().flat_map(|ratio| {
            ratio.bases.iter().map(move |base| (format!("× {base} ≤ {}", ratio.most), (ratio, *base)))
        });
        let (ratio_titles, ratios): (Vec<String>, Vec<(&Ratio, &str)>) = ratios.unzip();
        let titles: Vec<String> =
            self.titles.iter().map(|title| (*title).to_owned()).chain(ratio_titles).collect();
        let rule = vec!["---"; titles.len()].join(" | ");
        let mut text = format!("| {} |\n| {rule} |\n", titles.join(" | "));
        for row in &self.rows {
            let cells = (0..self.titles.len().saturating_sub(2)).map(|place| row.cell(place));
            let verdicts = ratios.iter().map(|(ratio, base)| self.verdict(row, ratio, base));
            let cells: Vec<String> = cells.chain(verdicts).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {} | {} | {} |", row.group, row.name, cells.join(" | "));
        }
        text
    }

    fn verdict(&self, row: &Row, ratio: &Ratio, base: &str) -> String {
        let Some(base) = self.rows.iter().find(|other| other.group == row.group && other.name == base) else {
            return "–".into();
        };
        let times = row.median(ratio.place) / base.median(ratio.place);
        let mark = if times <= ratio.most { '✓' } else { '✗' };
        if std::ptr::eq(base, row) { "1".to_owned() } else { format!("{times:.2} {mark}") }
    }
}

impl Row {
    fn sorted(&self, place: usize) -> Vec<f64> {
        let mut values: Vec<f64> = self.runs.iter().filter_map(|run| run.get(place).copied()).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self, place: usize) -> f64 {
        let values = self.sorted(place);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn cell(&self, place: usize) -> String {
        let values = self.sorted(place);
        let (low, high) = (values.first(), values.last());
        let [low, high] = [low, high].map(|value| figure(value.copied().unwrap_or(f64::NAN)));
        let median = figure(self.median(place));
        if low == high { median } else { format!("{median} ({low}–{high})") }
    }
}

/// Three digits, or all before the point.
fn figure(value: f64) -> String {
    match value {
        _ if !value.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_median_its_range_and_its_ratio_to_others_of_its_group() {
        let ratio = Ratio { place: 0, bases: &["off", "on"], most: 1.25 };
        let mut table = Table::new(&["load", "bridge", "p99"], Some(ratio));
        for (name, p99) in
            [("off", 100.0), ("on", 120.0), ("off", 90.0), ("on", 7.0), ("off", 110.0), ("on", 130.0)]
        {
            table.add("carried", name, vec![p99]);
        }
        table.add("other", "off", vec![1.0]);
        table.add("other", "on", vec![2.0]);
        assert_eq!(
            table.markdown(),
            "| load | bridge | p99 | × off ≤ 1.25 | × on ≤ 1.25 |\n| --- | --- | --- | --- | --- |\n\
             | carried | off | 100 (90.0–110) | 1 | 0.83 ✓ |\n| carried | on | 120 (7.00–130) | 1.20 ✓ | 1 |\n\
             | other | off | 1.00 | 1 | 0.50 ✓ |\n| other | on | 2.00 | 2.00 ✗ | 1 |\n"
        );
    }
}
