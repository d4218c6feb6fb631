//! Whether it pays that lanes are spread: it is tried, and taken back if less is carried than before.
//!
//! A second thread is worth while where there is a core for it. If other programs need the cores, or if each message
//! comes by itself and has to wake another thread first, one thread alone carries more. Nothing tells that beforehand.
//!
//! ```text
//!               busy most of MEASURED                no less than before
//!    ┌─► Gathered ─────────────────► Trying ──────────────────────────────► Kept ─┐
//!    │      ▲  not within the pause     │ less: all lanes back, a longer pause    │
//!    │      └───────────────────────────┘                                         │
//!    └────────────────────── quiet, until all lanes have come back ───────────────┘
//! ```

use std::time::Duration;

/// What lanes carry is measured for so long, gathered and spread: within it threads have their turn on a core many times.
const MEASURED: Duration = Duration::from_millis(100);
/// A trial begins if there was too much to do for one thread for so long of that: a thread that waits for its turn on a core seems to
/// sleep.
const BUSY_MIN: Duration = Duration::from_millis(50);
/// What is carried while lanes begin to move says nothing yet.
const SETTLING: Duration = Duration::from_millis(30);
/// Lanes come back if they carry less than this part of what they did gathered. As much is enough: a load that comes by the
/// clock is carried either way, and may grow.
const CARRIED_MIN: f64 = 0.95;
/// They come back too if all of them together work for less than this part of the time: then one thread can do it, and was
/// kept from it by something else.
const WORKED_MIN: f64 = 0.7;
/// After a trial that brought nothing the next one has to wait for so long, then for twice as long each time …
const PAUSE_MIN: Duration = Duration::from_secs(4);
/// … up to this.
const PAUSE_MAX: Duration = Duration::from_secs(16);

/// What the lead knows about spreading.
#[derive(Debug)]
pub(super) struct Trial {
    state: State,
    /// No trial begins before.
    not_before: Duration,
    /// How long the next trial has to wait if this one brings nothing.
    pause: Duration,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// There may be too much to do for one thread.
    Gathered(Option<Busy>),
    /// From `began` on lanes go home. `settled` is the first look after [`SETTLING`].
    Trying { gathered: Speed, began: Duration, settled: Option<Reading> },
    /// Lanes go home as the load demands, and come back by themselves.
    Kept,
}

/// What a trial may begin with.
#[derive(Debug, Clone, Copy)]
struct Busy {
    since: Reading,
    /// Until the look before.
    until: Duration,
    /// How long of that there was too much to do.
    time: Duration,
}

/// What all lanes had done at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Since the start of the broker.
    pub(super) at: Duration,
    /// MQTT Control Packets, in and out.
    pub(super) packets: u64,
    /// Time that their turns have taken.
    pub(super) worked: Duration,
}

/// What they did in a second.
#[derive(Debug, Clone, Copy)]
struct Speed {
    packets: f64,
    /// Cores that they had.
    worked: f64,
}

/// What the lead is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Stay,
    /// Send its busiest lane home.
    Send,
    /// Have all lanes back.
    Recall,
}

impl Default for Trial {
    fn default() -> Self {
        Self { state: State::Gathered(None), not_before: Duration::ZERO, pause: PAUSE_MIN }
    }
}

impl Trial {
    /// At the end of each of the lead's windows: whether it `has_excess`, a lane that would go home by the load of this
    /// window, and whether it holds all lanes.
    pub(super) fn look(&mut self, now: Reading, has_excess: bool, is_gathered: bool) -> Step {
        match self.state {
            State::Gathered(busy) => {
                let busy = busy.filter(|_| now.at >= self.not_before).map(|busy| busy.go_on(now, has_excess));
                self.state = match busy.and_then(|busy| Some((busy, now.speed_since(busy.since)?))) {
                    Some((busy, gathered)) if has_excess && busy.time >= BUSY_MIN => {
                        State::Trying { gathered, began: now.at, settled: None }
                    }
                    Some(_) => State::Gathered(None),
                    None => State::Gathered(busy.or_else(|| has_excess.then(|| Busy::new(now)))),
                };
            }
            State::Trying { gathered, began, settled } => {
                let settled = settled.or((now.at.saturating_sub(began) >= SETTLING).then_some(now));
                match settled.and_then(|since| now.speed_since(since)) {
                    None => self.state = State::Trying { gathered, began, settled },
                    Some(spread) if spread.is_worth_while(gathered) => {
                        self.state = State::Kept;
                        self.pause = PAUSE_MIN;
                    }
                    Some(_) => {
                        self.state = State::Gathered(None);
                        self.not_before = now.at + self.pause;
                        self.pause = (self.pause * 2).min(PAUSE_MAX);
                        return Step::Recall;
                    }
                }
            }
            State::Kept if is_gathered => self.state = State::Gathered(None),
            State::Kept => {}
        }
        match self.state {
            State::Trying { .. } | State::Kept if has_excess => Step::Send,
            State::Gathered(_) | State::Trying { .. } | State::Kept => Step::Stay,
        }
    }

    /// Whether the lead must not sleep for long, because what the lanes do is to be compared.
    pub(super) fn is_on(&self) -> bool {
        matches!(self.state, State::Trying { .. })
    }
}

impl Busy {
    fn new(now: Reading) -> Self {
        Self { since: now, until: now.at, time: Duration::ZERO }
    }

    fn go_on(self, now: Reading, has_excess: bool) -> Self {
        let more = if has_excess { now.at.saturating_sub(self.until) } else { Duration::ZERO };
        Self { until: now.at, time: self.time + more, ..self }
    }
}

impl Reading {
    /// If `earlier` is long enough ago.
    fn speed_since(self, earlier: Self) -> Option<Speed> {
        let time = self.at.saturating_sub(earlier.at);
        (time >= MEASURED).then(|| Speed {
            packets: self.packets.saturating_sub(earlier.packets) as f64 / time.as_secs_f64(),
            worked: self.worked.saturating_sub(earlier.worked).as_secs_f64() / time.as_secs_f64(),
        })
    }
}

impl Speed {
    /// Whether lanes that are spread do better than they did `gathered`.
    fn is_worth_while(self, gathered: Self) -> bool {
        self.packets >= gathered.packets * CARRIED_MIN && self.worked >= WORKED_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(10);
    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Two lanes, which go home when they are sent.
    struct Lanes {
        trial: Trial,
        now: Reading,
        is_spread: bool,
        tries: u32,
        spread_for: Duration,
    }

    /// Packets in a second and cores, gathered and spread.
    type Load = [(u64, f64); 2];

    const NOTHING: Load = [(0, 0.0); 2];
    const BETTER: Load = [(100_000, 0.98), (130_000, 1.4)];

    impl Lanes {
        fn new() -> Self {
            let now = Reading { at: Duration::ZERO, packets: 0, worked: Duration::ZERO };
            Self { trial: Trial::default(), now, is_spread: false, tries: 0, spread_for: Duration::ZERO }
        }

        fn run(&mut self, time: Duration, load: Load) {
            let end = self.now.at + time;
            while self.now.at < end {
                let (packets, cores) = load[usize::from(self.is_spread)];
                self.now.at += LOOK;
                self.now.packets += packets / 100;
                self.now.worked += LOOK.mul_f64(cores);
                self.spread_for += if self.is_spread { LOOK } else { Duration::ZERO };
                match self.trial.look(self.now, packets > 0 && !self.is_spread, !self.is_spread) {
                    Step::Stay => {}
                    Step::Send => {
                        self.tries += 1;
                        self.is_spread = true;
                    }
                    Step::Recall => self.is_spread = false,
                }
            }
        }
    }

    #[test]
    fn lanes_that_carry_no_less_stay_spread() {
        for load in [BETTER, [(100_000, 0.98), (100_000, 1.1)], [(100_000, 0.98), (96_000, 0.8)]] {
            let mut lanes = Lanes::new();
            lanes.run(MINUTE, load);
            assert_eq!((lanes.is_spread, lanes.tries), (true, 1), "{load:?}");
            assert!(MINUTE - lanes.spread_for < MEASURED * 2, "{load:?}");
        }
    }

    #[test]
    fn lanes_that_carry_less_or_have_little_to_do_come_back_and_are_tried_ever_less_often() {
        for load in [[(100_000, 0.98), (60_000, 1.2)], [(100_000, 0.98), (100_000, 0.5)]] {
            let mut lanes = Lanes::new();
            lanes.run(MINUTE * 10, load);
            // After 4 and 8 s, then each 16 s.
            assert_eq!(lanes.tries, 3 + (600 - 12) / 16, "{load:?}");
            assert!(lanes.spread_for < MINUTE * 10 / 100, "{load:?}: {:?}", lanes.spread_for);
        }
    }

    #[test]
    fn lanes_are_spread_when_it_begins_to_pay_and_the_next_disappointment_is_the_first_again() {
        let worse = [(100_000, 0.98), (60_000, 1.2)];
        let mut lanes = Lanes::new();
        lanes.run(MINUTE, worse);
        lanes.run(PAUSE_MAX + SECOND, BETTER);
        assert!(lanes.is_spread);
        // Quiet: they come back by themselves.
        lanes.is_spread = false;
        lanes.run(SECOND, NOTHING);
        lanes.run(SECOND, worse);
        let tries = lanes.tries;
        lanes.run(PAUSE_MIN, worse);
        assert_eq!((lanes.is_spread, lanes.tries), (false, tries + 1));
    }

    #[test]
    fn a_load_that_does_not_last_moves_nothing() {
        let mut lanes = Lanes::new();
        for _ in 0..100 {
            lanes.run(BUSY_MIN, BETTER);
            lanes.run(MEASURED, NOTHING);
        }
        assert_eq!(lanes.tries, 0);
    }

    #[test]
    fn a_thread_that_had_to_wait_for_its_core_is_busy_all_the_same() {
        let mut lanes = Lanes::new();
        for _ in 0..4 {
            lanes.run(LOOK * 2, BETTER);
            lanes.run(LOOK, NOTHING);
        }
        assert_eq!(lanes.tries, 1);
    }

    #[test]
    fn a_trial_ends_although_nothing_is_left_to_do() {
        let mut lanes = Lanes::new();
        lanes.run(MEASURED + LOOK, BETTER);
        assert!(lanes.is_spread && lanes.trial.is_on());
        lanes.run(SETTLING + MEASURED + LOOK, NOTHING);
        assert!(!lanes.is_spread && !lanes.trial.is_on());
    }
}
