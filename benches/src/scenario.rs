//! What brokers are compared at.

use serde::Deserialize;

/// A scenario of the load generator.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Row")]
pub struct Scenario {
    /// Options of `culex bench`.
    pub run: String,
    /// What is to be reached, if anything is.
    pub goal: Goal,
}

/// What a broker is to reach; × is its figure divided by that of the one it is compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// Messages or connections per second, at least: ×.
    pub rate: Option<f64>,
    /// Messages per second when the sessions are back (offline), at least: ×.
    pub drain: Option<f64>,
    /// Subscriptions or Retained Messages taken per second, at least: ×.
    pub installed: Option<f64>,
    /// 99th percentile of the latency, at most: ×.
    pub p99: Option<f64>,
    /// CPU time for each message, at most: ×.
    pub cpu: Option<f64>,
    /// Bytes of memory, at most: of a connection (idle), a subscription, a Retained Message, an entry of a queue (offline).
    pub bytes: Option<f64>,
    /// Cores that are busy, at most (idle).
    pub cores: Option<f64>,
}

/// As it stands in a file: alone, or with a goal.
#[derive(Deserialize)]
#[serde(untagged)]
enum Row {
    Alone(String),
    WithGoal { run: String, goal: Goal },
}

impl From<Row> for Scenario {
    fn from(row: Row) -> Self {
        match row {
            Row::Alone(run) => Self { run, goal: Goal::default() },
            Row::WithGoal { run, goal } => Self { run, goal },
        }
    }
}
