//! The simulator: shards, `Commons`, clients and a network in one thread, on virtual time, in an order that a seed
//! decides. What one seed finds, the same seed finds again.
//!
//! ```text
//!   script ─► clients ─► network ─► front door ─► mailboxes ─► shards ─► Commons
//!                ▲          │                         ▲           │         │
//!                └──────────┘◄────────────────────────┼───────────┤         └─ may run another shard first
//!                                                     └───────────┴─► store (late)
//!   crashes: all of it but the store is lost, and another broker begins with what that has
//!   hooks: what shards ask about is answered later, changed, refused, or never
//!   oracles: see what clients sent and got, which connections the broker closed, and its gauges
//! ```

#![expect(
    clippy::indexing_slicing,
    reason = "indices are the simulator's own; a panic here is a finding about it"
)]

mod answer;
mod broker;
mod client;
mod commons;
mod crash;
mod hooks;
mod host;
mod links;
mod mailboxes;
mod names;
mod network;
mod oracle;
mod plan;
pub mod program;
mod report;
mod rest;
mod rng;
mod schedule;
mod script;
mod store;
mod trace;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::plan::Family;
pub use self::report::Counts;

/// What became of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// Hash over every line of the trace.
    pub hash: u64,
    /// What did not hold.
    pub violation: Option<String>,
    /// The last lines of the trace, or all of them.
    pub trace: Vec<String>,
    /// What was reached.
    pub counts: Counts,
    /// Times that the broker was started again.
    pub crashes: u32,
    /// Transactions of the store.
    pub commits: u64,
}

/// Runs one seed of a family; `keeps_all` keeps the whole trace. A panic of the engine is a violation.
pub fn run(seed: u64, family: Family, keeps_all: bool) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| schedule::run(seed, family, keeps_all))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        Outcome {
            hash: 0,
            violation: Some(format!("panic: {text}")),
            trace: Vec::new(),
            counts: Counts::default(),
            crashes: 0,
            commits: 0,
        }
    })
}
