//! Whether something grows, or only goes up and down.

use std::fmt;

/// A straight line through what was measured, and how sure it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Growth {
    /// Per hour.
    slope: f64,
    /// Half of the interval that has the true slope with 95 %.
    uncertainty: f64,
    mean: f64,
    hours: f64,
}

/// Samples that follow each other are alike; means of long parts are not, so their scatter tells how sure the line is.
const PARTS: usize = 20;
/// Student's t for 95 %, two-sided, 18 degrees of freedom: 20 points, 2 parameters.
const T: f64 = 2.101;

impl Growth {
    /// The line through (seconds, value) behind the first quarter, in which caches fill. `None` for too few points.
    pub(crate) fn of(points: &[(f64, f64)]) -> Option<Self> {
        let late = points.get(points.len() / 4..)?;
        let means: Vec<_> = late.chunks_exact((late.len() / PARTS).max(1)).take(PARTS).map(mean).collect();
        if means.len() < PARTS {
            return None;
        }
        let (x, y) = mean(&means);
        let sum = |of: &dyn Fn(f64, f64) -> f64| means.iter().map(|(a, b)| of(*a - x, *b - y)).sum::<f64>();
        let spread = sum(&|a, _| a * a);
        let slope = sum(&|a, b| a * b) / spread;
        let rest = sum(&|a, b| (b - slope * a).powi(2));
        let error = (rest / (PARTS - 2) as f64 / spread).sqrt();
        let (first, last) = (late.first()?.0, late.last()?.0);
        Some(Self {
            slope: slope * 3600.0,
            uncertainty: T * error * 3600.0,
            mean: y,
            hours: (last - first) / 3600.0,
        })
    }

    /// Whether there is none: zero is within the noise, or below it is more than was measured.
    pub(crate) fn is_none(&self) -> bool {
        self.slope <= self.uncertainty || self.slope * self.hours < self.mean / 100.0
    }
}

fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    (sum.0 / points.len() as f64, sum.1 / points.len() as f64)
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        write!(
            f,
            "mean {:.1} MiB, slope {:+.2} ± {:.2} MiB per hour (95 %), {:+.2} MiB in the {:.0} s that were looked at",
            mib(self.mean),
            mib(self.slope),
            mib(self.uncertainty),
            mib(self.slope * self.hours),
            self.hours * 3600.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1000 s of 100 MB that go up and down by 10 MB in 70 s, and grow by so many bytes a second.
    fn growing(by: f64) -> Growth {
        let at = |second: u32| {
            let x = f64::from(second);
            (x, 1e8 + 1e7 * (x / 70.0 * std::f64::consts::TAU).sin() + by * x)
        };
        Growth::of(&(0..1000).map(at).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn up_and_down_is_no_growth() {
        assert!(growing(0.0).is_none(), "{}", growing(0.0));
        assert!(growing(-2e4).is_none());
    }

    #[test]
    fn growth_is_seen_behind_up_and_down() {
        assert!(!growing(2e4).is_none(), "{}", growing(2e4));
    }

    #[test]
    fn a_few_points_say_nothing() {
        assert!(Growth::of(&[(0.0, 1.0); 19]).is_none());
    }
}
