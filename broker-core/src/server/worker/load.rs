//! When lanes move: what is measured, and the thresholds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::lane::Load;

/// The lead looks at its load so often.
pub(super) const SPREAD_WINDOW: Duration = Duration::from_millis(10);
/// It gives a lane away only if it slept less than this part of the window …
const SPREAD_SLEEP_BELOW: f64 = 0.1;
/// … and so many of its lanes …
const SPREAD_BUSY_LANES: usize = 2;
/// … had on average so many connections to read in a turn. A ping-pong keeps a thread awake too, with one.
const SPREAD_CONNECTIONS_PER_TURN: u64 = 4;
/// A home looks at its load so often.
pub(super) const GATHER_WINDOW: Duration = Duration::from_millis(500);
/// It gives its lane back if it slept more than this part of the window …
const GATHER_SLEEP_ABOVE: f64 = 0.8;
/// … and the lead more than this.
const GATHER_LEAD_SLEEP_ABOVE: f64 = 0.5;
/// A lane that has moved stays for so long.
pub(super) const MOVE_PAUSE: Duration = Duration::from_secs(1);

/// How much of a stretch of time a worker slept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    began: Duration,
    slept: Duration,
}

impl Window {
    pub(super) fn new(now: Duration) -> Self {
        Self { began: now, slept: Duration::ZERO }
    }

    pub(super) fn note_sleep(&mut self, slept: Duration) {
        self.slept += slept;
    }

    pub(super) fn length(&self, now: Duration) -> Duration {
        now.saturating_sub(self.began)
    }

    /// Whether little enough was slept to give lanes away.
    pub(super) fn is_busy(&self, now: Duration) -> bool {
        self.slept < self.length(now).mul_f64(SPREAD_SLEEP_BELOW)
    }

    /// Whether enough was slept, here and by the lead, to give the lane back.
    pub(super) fn is_quiet(&self, now: Duration, lead_slept: Duration) -> bool {
        let length = self.length(now);
        self.slept > length.mul_f64(GATHER_SLEEP_ABOVE)
            && lead_slept > length.mul_f64(GATHER_LEAD_SLEEP_ABOVE)
    }
}

/// Of the loads of the lead's lanes, its own first: which is to be given away. Not its own, and only if several are
/// busy.
pub(super) fn busiest(loads: &[Load]) -> Option<usize> {
    if loads.iter().filter(|load| is_busy(load)).count() < SPREAD_BUSY_LANES {
        return None;
    }
    let guests = loads.iter().enumerate().skip(1).filter(|(_, load)| is_busy(load));
    guests.max_by_key(|(_, load)| load.connections).map(|(place, _)| place)
}

fn is_busy(load: &Load) -> bool {
    load.turns > 0 && load.connections >= load.turns.saturating_mul(SPREAD_CONNECTIONS_PER_TURN)
}

/// How long the lead has slept, for others to read. Written by the lead alone. Readers may see the two numbers at
/// different moments and be wrong by one sleep: they decide about speed, not about right and wrong.
#[derive(Debug)]
pub(super) struct SleepCell {
    slept_us: AtomicU64,
    /// When the present sleep began, or `u64::MAX`.
    since_us: AtomicU64,
}

impl Default for SleepCell {
    fn default() -> Self {
        Self { slept_us: AtomicU64::new(0), since_us: AtomicU64::new(u64::MAX) }
    }
}

impl SleepCell {
    pub(super) fn begin(&self, now: Duration) {
        self.since_us.store(micros(now), Ordering::Relaxed);
    }

    pub(super) fn end(&self, slept: Duration) {
        self.since_us.store(u64::MAX, Ordering::Relaxed);
        let before = self.slept_us.load(Ordering::Relaxed);
        self.slept_us.store(before.saturating_add(micros(slept)), Ordering::Relaxed);
    }

    /// All sleep until now.
    pub(super) fn slept(&self, now: Duration) -> Duration {
        let present = micros(now).saturating_sub(self.since_us.load(Ordering::Relaxed));
        Duration::from_micros(self.slept_us.load(Ordering::Relaxed).saturating_add(present))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(turns: u64, connections: u64) -> Load {
        Load { turns, connections }
    }

    #[test]
    fn the_busiest_guest_goes_if_another_lane_is_busy_too() {
        for (loads, expected) in [
            (vec![load(10, 40), load(10, 40)], Some(1)),
            (vec![load(10, 40), load(10, 50), load(5, 60)], Some(2)),
            (vec![load(1, 1), load(10, 50), load(5, 60)], Some(2)),
            // A ping-pong, one busy lane, nothing at all.
            (vec![load(1000, 1000), load(1000, 1000)], None),
            (vec![load(10, 9000), load(10, 39)], None),
            (vec![load(0, 0), load(0, 0)], None),
            (vec![load(10, 40)], None),
        ] {
            assert_eq!(busiest(&loads), expected, "{loads:?}");
        }
    }

    #[test]
    fn a_window_is_busy_or_quiet_by_its_sleep() {
        let at = Duration::from_millis;
        let mut window = Window::new(at(100));
        window.note_sleep(at(9));
        assert!(window.is_busy(at(200)) && !window.is_quiet(at(200), at(100)));
        window.note_sleep(at(1));
        assert!(!window.is_busy(at(200)));
        window.note_sleep(at(71));
        assert!(window.is_quiet(at(200), at(51)) && !window.is_quiet(at(200), at(50)));
    }

    #[test]
    fn the_leads_sleep_counts_while_it_lasts() {
        let at = Duration::from_millis;
        let cell = SleepCell::default();
        cell.end(at(5));
        assert_eq!(cell.slept(at(1000)), at(5));
        cell.begin(at(100));
        assert_eq!(cell.slept(at(130)), at(35));
        cell.end(at(40));
        assert_eq!(cell.slept(at(1000)), at(45));
    }
}
