//! Spares a service that cannot take anything: all lanes wait, and one of them tries again.
//!
//! ```text
//!   Closed ──5 failures in a row, or a service that names a time──► Open until …
//!     ▲                                                              │ time is up
//!     └── taken ── Probing: one attempt, the others wait ◄───────────┘
//!                     └── failed ──► Open, for longer
//! ```

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::integration::Backoff;

/// Failures in a row that mean the service and not a request.
const FAILURES_MAX: u32 = 5;

#[derive(Debug)]
pub(super) struct Breaker {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    backoff: Backoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed { failures: u32 },
    Open { until: Instant },
    Probing,
}

/// Leave for one attempt; what becomes of it must be told, otherwise it counts as none.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            state: Mutex::new(State { phase: Phase::Closed { failures: 0 }, backoff }),
            changed: Notify::new(),
        }
    }

    /// Waits until an attempt is worth it.
    pub(super) async fn leave(&self) -> Leave<'_> {
        loop {
            // Before the look: a change in between is not missed.
            let changed = self.changed.notified();
            let wait_until = {
                let mut state = self.state.lock();
                match state.phase {
                    Phase::Closed { .. } => return Leave { breaker: self, is_probe: false },
                    Phase::Open { until } if until <= Instant::now() => {
                        state.phase = Phase::Probing;
                        return Leave { breaker: self, is_probe: true };
                    }
                    Phase::Open { until } => Some(until),
                    Phase::Probing => None,
                }
            };
            match wait_until {
                Some(until) => tokio::select! { () = sleep_until(until) => {}, () = changed => {} },
                None => changed.await,
            }
        }
    }

    /// Whether attempts are held back.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state.lock().phase, Phase::Closed { .. })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_waiters();
    }
}

impl Leave<'_> {
    /// The service answered as one that works.
    pub(super) fn worked(mut self) {
        self.is_probe = false;
        self.breaker.change(|state| {
            state.phase = Phase::Closed { failures: 0 };
            state.backoff.reset();
        });
    }

    /// It did not answer, or has no time. `asked` is how long it wants to be left alone, `entropy` a random number.
    pub(super) fn failed(mut self, asked: Option<Duration>, entropy: u64) {
        let was_probe = std::mem::take(&mut self.is_probe);
        self.breaker.change(|state| {
            let failures = match state.phase {
                Phase::Closed { failures } => failures + 1,
                // Other attempts were on their way when it opened; one more failure of them means nothing new.
                Phase::Open { .. } | Phase::Probing if !was_probe => return,
                Phase::Open { .. } | Phase::Probing => FAILURES_MAX,
            };
            let asked = asked.filter(|asked| !asked.is_zero());
            state.phase = if failures >= FAILURES_MAX || asked.is_some() {
                let delay = state.backoff.next_delay(entropy).max(asked.unwrap_or_default());
                Phase::Open { until: Instant::now() + delay }
            } else {
                Phase::Closed { failures }
            };
        });
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            // Somebody else may try.
            self.breaker.change(|state| state.phase = Phase::Open { until: Instant::now() });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(Backoff::new(Duration::from_secs(1), Duration::from_secs(60), Duration::ZERO))
    }

    /// Whether an attempt may be made now.
    async fn may_try(breaker: &Breaker) -> bool {
        timeout(Duration::ZERO, breaker.leave()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_open_it_and_a_success_closes_it() {
        let breaker = breaker();
        for _ in 0..2 {
            for _ in 0..4 {
                breaker.leave().await.failed(None, 0);
            }
            breaker.leave().await.worked();
        }
        for _ in 0..5 {
            breaker.leave().await.failed(None, 0);
        }
        assert!(breaker.is_open() && !may_try(&breaker).await);
        let began = Instant::now();
        let probe = breaker.leave().await;
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        assert!(!may_try(&breaker).await, "one at a time");
        probe.worked();
        assert!(may_try(&breaker).await && !breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn it_stays_open_for_as_long_as_the_service_asks() {
        let breaker = breaker();
        breaker.leave().await.failed(Some(Duration::from_secs(30)), 0);
        let began = Instant::now();
        breaker.leave().await.failed(Some(Duration::from_secs(90)), 0);
        assert_eq!(began.elapsed(), Duration::from_secs(30));
        breaker.leave().await.worked();
        assert_eq!(began.elapsed(), Duration::from_secs(120));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_never_ends_is_not_the_last_one() {
        let breaker = breaker();
        breaker.leave().await.failed(Some(Duration::from_secs(5)), 0);
        drop(breaker.leave().await);
        assert!(may_try(&breaker).await);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_attempts_that_were_on_their_way_do_not_make_it_longer() {
        let breaker = breaker();
        let (first, second) = (breaker.leave().await, breaker.leave().await);
        first.failed(Some(Duration::from_secs(10)), u64::MAX);
        second.failed(Some(Duration::from_secs(1000)), u64::MAX);
        let began = Instant::now();
        breaker.leave().await.worked();
        assert_eq!(began.elapsed(), Duration::from_secs(10));
    }
}
