//! What an integration has done, in numbers that anybody may read at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

/// Upper bounds of the latency histogram, in milliseconds; one more bucket has the rest.
pub const LATENCY_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];
const BUCKETS: usize = LATENCY_BOUNDS_MS.len() + 1;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the broker to the other side.
    Out,
    /// From the other side to the broker.
    In,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Out, Self::In];

    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The other side has taken it.
    Delivered,
    /// It was refused for good, and is a dead letter.
    DeadLettered,
    /// It was dropped, as the configuration says.
    Dropped,
    /// An attempt failed, and another one follows.
    Retried,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::DeadLettered, Self::Dropped, Self::Retried];

    /// The word in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::DeadLettered => "dead_lettered",
            Self::Dropped => "dropped",
            Self::Retried => "retried",
        }
    }
}

/// How an integration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has not reached the other side yet.
    Starting,
    /// The other side answers.
    Up,
    /// The other side does not answer, or refuses; it is tried again.
    Down,
    /// It waits because the other side is to be spared for a while.
    Paused,
    /// It does nothing until somebody changes something.
    Disabled,
}

impl Standing {
    /// The word in lists and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Down => "down",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
        }
    }
}

/// An integration has another standing than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// Its kind and name.
    pub name: Box<str>,
    /// How it is.
    pub standing: Standing,
    /// Why.
    pub why: Box<str>,
}

/// How much there is to do for an integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Messages a second that came for the other side lately.
    pub offered_per_second: u64,
    /// Messages a second that its connections may carry; `None` if nothing bounds them. With more offered the queue grows.
    pub carried_per_second_max: Option<u64>,
    /// Messages that wait.
    pub queue_messages: u64,
    /// Bytes of their topics and payloads.
    pub queue_bytes: u64,
}

/// Counters and gauges of one integration. Counting costs an atomic addition, and waits for nobody.
#[derive(Debug)]
pub struct Meter {
    messages: [[AtomicU64; 4]; 2],
    bytes: [AtomicU64; 2],
    reconnects: AtomicU64,
    throttled: AtomicU64,
    in_flight: AtomicU64,
    load: ArcSwapOption<Load>,
    latency: [AtomicU64; BUCKETS],
    latency_us: AtomicU64,
    standing: ArcSwap<(Standing, Box<str>)>,
    announced: Option<(Box<str>, broadcast::Sender<StateChange>)>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            messages: Default::default(),
            bytes: Default::default(),
            reconnects: AtomicU64::default(),
            throttled: AtomicU64::default(),
            in_flight: AtomicU64::default(),
            load: ArcSwapOption::empty(),
            latency: Default::default(),
            latency_us: AtomicU64::default(),
            standing: ArcSwap::from_pointee((Standing::Starting, Box::default())),
            announced: None,
        }
    }
}

impl Meter {
    /// One whose changes of standing are told under this name.
    pub(super) fn announced(name: &str, changes: broadcast::Sender<StateChange>) -> Self {
        Self { announced: Some((name.into(), changes)), ..Self::default() }
    }

    /// A message of `bytes` payload came to this end. Bytes count when it was delivered.
    pub fn count(&self, direction: Direction, outcome: Outcome, bytes: usize) {
        if let Some(counter) = self.counter(direction, outcome) {
            counter.fetch_add(1, Relaxed);
        }
        if outcome == Outcome::Delivered
            && let Some(counter) = self.bytes.get(direction as usize)
        {
            counter.fetch_add(bytes as u64, Relaxed);
        }
    }

    /// Messages that came to this end.
    pub fn messages(&self, direction: Direction, outcome: Outcome) -> u64 {
        self.counter(direction, outcome).map_or(0, |counter| counter.load(Relaxed))
    }

    /// Payload bytes of what was delivered.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.bytes.get(direction as usize).map_or(0, |counter| counter.load(Relaxed))
    }

    /// The connection to the other side was lost and is made again.
    pub fn reconnected(&self) {
        self.reconnects.fetch_add(1, Relaxed);
    }

    /// The other side asked for less.
    pub fn throttled(&self) {
        self.throttled.fetch_add(1, Relaxed);
    }

    /// How often the connection was lost and made again, and how often the other side asked for less.
    pub fn setbacks(&self) -> (u64, u64) {
        (self.reconnects.load(Relaxed), self.throttled.load(Relaxed))
    }

    /// Messages that are sent and not answered, from now on.
    pub fn set_in_flight(&self, messages: u64) {
        self.in_flight.store(messages, Relaxed);
    }

    /// One more, or one less, is sent and not answered.
    pub fn add_in_flight(&self, change: i64) {
        self.in_flight.fetch_add(change.cast_unsigned(), Relaxed);
    }

    /// Messages that are sent and not answered.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// There is so much to do.
    pub fn set_load(&self, load: Load) {
        self.load.store(Some(Arc::new(load)));
    }

    /// How much there is to do, if that is known.
    pub fn load(&self) -> Option<Load> {
        self.load.load().as_deref().copied()
    }

    /// The other side took so long to answer.
    pub fn answered_in(&self, latency: Duration) {
        let ms = latency.as_millis();
        let place = LATENCY_BOUNDS_MS.iter().position(|bound| ms <= u128::from(*bound));
        if let Some(bucket) = self.latency.get(place.unwrap_or(BUCKETS - 1)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.latency_us.fetch_add(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Answers by how long they took: those up to each of [`LATENCY_BOUNDS_MS`] and above the one before it, then the
    /// rest; and the sum of all in microseconds.
    pub fn latency(&self) -> ([u64; BUCKETS], u64) {
        (
            std::array::from_fn(|n| self.latency.get(n).map_or(0, |bucket| bucket.load(Relaxed))),
            self.latency_us.load(Relaxed),
        )
    }

    /// How it is from now on, and why, for people. True if that is another standing than before.
    pub fn set_standing(&self, standing: Standing, why: &str) -> bool {
        let before = self.standing.swap(Arc::new((standing, why.into())));
        let is_change = before.0 != standing;
        if let Some((name, changes)) = self.announced.as_ref().filter(|_| is_change) {
            // Nobody has to listen.
            let _ = changes.send(StateChange { name: name.clone(), standing, why: why.into() });
        }
        is_change
    }

    /// How it is, and why.
    pub fn standing(&self) -> Arc<(Standing, Box<str>)> {
        self.standing.load_full()
    }

    /// Everything, for `api/`.
    pub fn to_json(&self) -> Value {
        let standing = self.standing();
        let mut view = Map::new();
        view.insert("state".into(), standing.0.word().into());
        view.insert("why".into(), (*standing.1).into());
        for direction in Direction::ALL {
            let mut way: Map<String, Value> = Outcome::ALL
                .iter()
                .map(|outcome| (outcome.word().to_owned(), self.messages(direction, *outcome).into()))
                .collect();
            way.insert("bytes".into(), self.bytes(direction).into());
            view.insert(direction.word().into(), way.into());
        }
        let (buckets, sum_us) = self.latency();
        let answers: u64 = buckets.iter().sum();
        view.insert("in_flight".into(), self.in_flight().into());
        let (reconnects, throttled) = self.setbacks();
        view.insert("reconnects".into(), reconnects.into());
        view.insert("throttled".into(), throttled.into());
        let mean_us = sum_us.checked_div(answers);
        view.insert("answers".into(), json!({ "count": answers, "mean_microseconds": mean_us }));
        view.into()
    }

    fn counter(&self, direction: Direction, outcome: Outcome) -> Option<&AtomicU64> {
        self.messages.get(direction as usize)?.get(outcome as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_counter() {
        let meter = Meter::default();
        for (n, outcome) in Outcome::ALL.into_iter().enumerate() {
            for _ in 0..=n {
                meter.count(Direction::Out, outcome, 10);
            }
        }
        meter.count(Direction::In, Outcome::Delivered, 7);
        let counted = Outcome::ALL.map(|outcome| meter.messages(Direction::Out, outcome));
        assert_eq!(counted, [1, 2, 3, 4]);
        assert_eq!((meter.bytes(Direction::Out), meter.bytes(Direction::In)), (10, 7));
        assert_eq!(meter.messages(Direction::In, Outcome::Retried), 0);
    }

    #[test]
    fn an_answer_is_in_the_bucket_of_its_time() {
        let meter = Meter::default();
        for ms in [0, 1, 2, 10_000, 10_001, 1_000_000] {
            meter.answered_in(Duration::from_millis(ms));
        }
        let (buckets, sum_us) = meter.latency();
        assert_eq!(buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(sum_us, 1_020_004_000);
    }

    #[test]
    fn a_change_of_standing_is_told_once() {
        let meter = Meter::default();
        assert!(meter.set_standing(Standing::Up, ""));
        assert!(!meter.set_standing(Standing::Up, "again"));
        assert!(meter.set_standing(Standing::Down, "refused"));
        assert_eq!(meter.to_json()["state"], "down");
        assert_eq!(meter.to_json()["why"], "refused");
        meter.add_in_flight(2);
        meter.add_in_flight(-1);
        assert_eq!(meter.in_flight(), 1);
    }
}
