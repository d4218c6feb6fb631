//! Figures by row, and the table of them.

use std::fmt::Write as _;

/// All measurements, in the order in which they first came.
pub(crate) struct Table {
    titles: &'static [&'static str],
    /// The column whose ratio to the first row of its group is shown, and the most that it should be.
    ratio: Option<(usize, f64)>,
    rows: Vec<Row>,
}

struct Row {
    group: String,
    name: String,
    runs: Vec<Vec<f64>>,
}

impl Table {
    /// With a figure under each title behind the first two, which are those of group and name.
    pub(crate) fn new(titles: &'static [&'static str], ratio: Option<(usize, f64)>) -> Self {
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
        let ratio_title = self.ratio.map(|(_, most)| format!("× ≤ {most}"));
        let titles: Vec<String> =
            self.titles.iter().map(|title| (*title).to_owned()).chain(ratio_title).collect();
        let rule = vec!["---"; titles.len()].join(" | ");
        let mut text = format!("| {} |\n| {rule} |\n", titles.join(" | "));
        for row in &self.rows {
            let cells = (0..self.titles.len().saturating_sub(2)).map(|place| row.cell(place));
            let ratio = self.ratio.map(|(place, most)| self.verdict(row, place, most));
            let cells: Vec<String> = cells.chain(ratio).collect();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {} | {} | {} |", row.group, row.name, cells.join(" | "));
        }
        text
    }

    fn verdict(&self, row: &Row, place: usize, most: f64) -> String {
        let Some(base) = self.rows.iter().find(|other| other.group == row.group) else { return "–".into() };
        let ratio = row.median(place) / base.median(place);
        let mark = if ratio <= most { '✓' } else { '✗' };
        if std::ptr::eq(base, row) { "1".to_owned() } else { format!("{ratio:.2} {mark}") }
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
    fn a_row_has_its_median_its_range_and_its_ratio_to_the_first_of_its_group() {
        let mut table = Table::new(&["load", "bridge", "p99"], Some((0, 1.25)));
        for (name, p99) in
            [("off", 100.0), ("on", 120.0), ("off", 90.0), ("on", 7.0), ("off", 110.0), ("on", 130.0)]
        {
            table.add("carried", name, vec![p99]);
        }
        table.add("other", "off", vec![1.0]);
        table.add("other", "on", vec![2.0]);
        assert_eq!(
            table.markdown(),
            "| load | bridge | p99 | × ≤ 1.25 |\n| --- | --- | --- | --- |\n\
             | carried | off | 100 (90.0–110) | 1 |\n| carried | on | 120 (7.00–130) | 1.20 ✓ |\n\
             | other | off | 1.00 | 1 |\n| other | on | 2.00 | 2.00 ✗ |\n"
        );
    }
}
