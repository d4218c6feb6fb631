//! What a seed decides before anything happens: size, limits, pace and faults.

use std::time::Duration;

use culex_core::engine::question::Asks;
use culex_core::limits::{Limit, Limits, WhenFull};

use super::rng::Rng;
use super::store::Safety;

/// What happens to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Nothing: one process from beginning to end.
    Steady,
    /// It crashes twice or more, and is started again.
    Crashes,
    /// The transaction of this number fails, 1 is the first; then it is started again.
    FailingCommit(u64),
}

/// Operations of clients in one run; what settling does comes on top.
const OPERATIONS_MIN: u64 = 300;

/// When the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// In the turn that asks.
    AtOnce,
    /// Some time later; everything that waits for it waits.
    Late,
}

/// The conditions of one run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) shards: u16,
    pub(super) clients: usize,
    pub(super) operations: u64,
    /// Operations between two moments at which everything comes to rest and is checked.
    pub(super) operations_per_phase: u64,
    pub(super) limits: Limits,
    pub(super) pace: Pace,
    /// Chance that another shard runs before a call to `Commons` is answered.
    pub(super) preempt_permille: u64,
    /// Chance of a fault of the network in a step.
    pub(super) fault_permille: u64,
    /// Chance that a turn ends early.
    pub(super) cut_permille: u64,
    /// Chance that a client keeps its acknowledgements for later.
    pub(super) slow_acks_permille: u64,
    pub(super) delay_max_ms: u64,
    /// Bytes on the way to one client before the broker is blocked.
    pub(super) pipe_bytes: usize,
    /// Bytes from which on a mailbox is full, and the other shards read no connection.
    pub(super) mailbox_bytes: usize,
    pub(super) has_large_payloads: bool,
    /// What hooks are asked about.
    pub(super) asks: Asks,
    /// Chance that a hook changes, refuses or drops a message.
    pub(super) fate_permille: u64,
    /// `None`: the broker does not crash.
    pub(super) crashes: Option<Crashes>,
}

/// What a run with crashes has beside.
#[derive(Debug, Clone)]
pub(super) struct Crashes {
    /// When the broker may crash: so many operations are left. The next one is the last.
    pub(super) at: Vec<u64>,
    pub(super) safety: Safety,
    pub(super) fails_at: Option<u64>,
    /// How long a transaction takes.
    pub(super) commit_max_ms: u64,
    /// Chance that the store does nothing when it might.
    pub(super) idle_permille: u64,
    /// A start leaves the bodies of queues on the disk.
    pub(super) leaves_bodies: bool,
    /// Seconds that the sessions of some clients outlive their connections.
    pub(super) expiry_s: u32,
}

impl Plan {
    pub(super) fn new(rng: &mut Rng, family: Family) -> Self {
        let mut plan = Self::steady(rng);
        let fails_at = match family {
            Family::Steady => return plan,
            Family::Crashes => None,
            Family::FailingCommit(number) => Some(number),
        };
        let count = if fails_at.is_some() { 0 } else { 2 + rng.index(4) };
        let mut at: Vec<u64> = (0..count).map(|_| rng.below(plan.operations)).collect();
        at.sort_unstable();
        plan.pace = Pace::Late;
        if rng.chance(400) {
            plan.limits.queue_memory_bytes = at_most(1 + rng.below(200));
        }
        plan.crashes = Some(Crashes {
            at,
            safety: if fails_at.is_some() || rng.chance(600) { Safety::Power } else { Safety::Kill },
            fails_at,
            commit_max_ms: rng.pick(&[0, 5, 50]),
            idle_permille: rng.pick(&[0, 500, 900]),
            leaves_bodies: rng.chance(300),
            expiry_s: rng.pick(&[2, 10, 60]),
        });
        plan
    }

    /// Seconds that the sessions of a client outlive their connections, which is for ever for the watcher.
    pub(super) fn expiry_of(&self, client: usize) -> u32 {
        let is_mortal = client % 3 == 2 && client < self.clients;
        self.crashes.as_ref().filter(|_| is_mortal).map_or(u32::MAX, |crashes| crashes.expiry_s)
    }

    fn steady(rng: &mut Rng) -> Self {
        let has_large_payloads = rng.chance(60);
        let has_hooks = rng.chance(350);
        let publish = has_hooks && rng.chance(800);
        let asks = Asks { publish, subscribe: has_hooks && (!publish || rng.chance(600)) };
        Self {
            shards: 3 + u16::from(rng.chance(300)) + u16::from(rng.chance(200)),
            clients: 5 + rng.index(3),
            operations: OPERATIONS_MIN + rng.below(40),
            operations_per_phase: rng.pick(&[60, 100, 150]),
            limits: limits(rng, has_large_payloads),
            pace: if rng.chance(300) { Pace::AtOnce } else { Pace::Late },
            preempt_permille: rng.pick(&[0, 50, 200, 500]),
            fault_permille: rng.pick(&[0, 2, 6, 15]),
            cut_permille: rng.pick(&[0, 100, 400]),
            slow_acks_permille: rng.pick(&[0, 200, 700]),
            delay_max_ms: rng.pick(&[0, 5, 50, 400]),
            pipe_bytes: rng.pick(&[200, 2_000, 64 << 10]),
            mailbox_bytes: rng.pick(&[300, 3_000, 16 << 20]),
            has_large_payloads,
            asks,
            fate_permille: rng.pick(&[0, 200, 600]),
            crashes: None,
        }
    }
}

fn limits(rng: &mut Rng, has_large_payloads: bool) -> Limits {
    let mut limits = Limits { in_flight: rng.pick(&[1, 2, 3, 10, 100]), ..Limits::default() };
    limits.hook_timeout = Duration::from_millis(rng.pick(&[300, 3_000, 20_000]));
    limits.incoming_in_flight = rng.pick(&[1, 3, 20, 20]);
    if rng.chance(300) {
        limits.queue_messages = at_most(2 + rng.below(8));
    }
    if rng.chance(100) {
        limits.queue_bytes = at_most(100 + rng.below(400));
    }
    if rng.chance(150) {
        limits.queue_total_bytes = at_most(300 + rng.below(2000));
    }
    if rng.chance(500) {
        limits.when_full = WhenFull::DropOldest;
    }
    if rng.chance(250) && !has_large_payloads {
        limits.outbox_bytes = at_most(80 + rng.below(500));
        limits.outbox_burst_bytes = at_most(1 + rng.below(300));
    }
    if rng.chance(100) {
        limits.retained_messages = at_most(1 + rng.below(5));
    }
    if rng.chance(50) {
        limits.retained_bytes = at_most(10 + rng.below(100));
    }
    if rng.chance(100) {
        limits.filters_per_packet = at_most(1 + rng.below(2));
    }
    if rng.chance(100) {
        limits.partial_total_bytes = at_most(20 + rng.below(100));
    }
    if rng.chance(100) {
        limits.subscriptions_per_session = at_most(1 + rng.below(3));
    }
    if rng.chance(100) {
        limits.sessions = at_most(1 + rng.below(3));
    }
    limits
}

fn at_most(n: u64) -> Limit {
    Limit::at_most(n).unwrap_or(Limit::Unlimited)
}
