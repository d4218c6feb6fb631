//! Whether a goal is met.

use std::fmt::Write as _;

use culex_benches::scenario::Goal;

use crate::measure::Figures;

/// Which way a figure is good.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast,
    AtMost,
}

/// The medians of a broker beside those of another: each goal with a mark, and with what was reached where it was missed.
pub(crate) fn verdict(goal: &Goal, own: &Figures, other: &Figures) -> String {
    use Bound::{AtLeast, AtMost};
    let mut text = String::new();
    for (name, wanted, reached, bound) in [
        ("", goal.rate, own.rate / other.rate, AtLeast),
        ("drained ", goal.drain, own.drain / other.drain, AtLeast),
        ("taken ", goal.installed, own.installed / other.installed, AtLeast),
        ("p99 ", goal.p99, own.p99_us / other.p99_us, AtMost),
        ("CPU ", goal.cpu, own.broker_cpu_us / other.broker_cpu_us, AtMost),
        ("bytes ", goal.bytes, own.bytes, AtMost),
        ("cores ", goal.cores, own.cores, AtMost),
    ] {
        let Some(wanted) = wanted else { continue };
        let (sign, is_met) = match bound {
            AtLeast => ('≥', reached >= wanted),
            AtMost => ('≤', reached <= wanted),
        };
        let comma = if text.is_empty() { "" } else { ", " };
        let outcome = if is_met { "✓".to_owned() } else { format!("✗ {reached:.2}") };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{name}{sign} {wanted} {outcome}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rate: f64, p99_us: f64) -> Figures {
        Figures { rate, p99_us, ..Figures::NONE }
    }

    #[test]
    fn a_goal_is_met_or_missed_by_its_own_bound() {
        let goal = Goal { rate: Some(2.0), p99: Some(0.5), ..Goal::default() };
        let other = figures(100.0, 10.0);
        assert_eq!(verdict(&goal, &figures(200.0, 5.0), &other), "≥ 2 ✓, p99 ≤ 0.5 ✓");
        assert_eq!(verdict(&goal, &figures(150.0, 6.0), &other), "≥ 2 ✗ 1.50, p99 ≤ 0.5 ✗ 0.60");
        assert_eq!(verdict(&goal, &figures(f64::NAN, 5.0), &other), "≥ 2 ✗ NaN, p99 ≤ 0.5 ✓");
        assert_eq!(verdict(&Goal::default(), &other, &other), "");
    }
}
