//! Gauges and limits: what the broker holds is bounded, counted right, and gone when the sessions are.

use std::collections::BTreeSet;
use std::sync::Weak;

use culex_core::engine::stats::Stats;
use culex_core::limits::Limits;

use crate::sim::broker::Broker;
use crate::sim::report::Reach;

use super::Oracle;

impl Oracle {
    /// Between turns: no gauge is over its limit, and each agrees with what it counts.
    pub(in crate::sim) fn check_gauges(&mut self, broker: &Broker, limits: &Limits) {
        let mut persistent = 0;
        let mut subscriptions = 0;
        let mut wills = 0;
        for shard in &broker.shards {
            let stats = shard.borrow().stats();
            persistent += stats.sessions_persistent;
            subscriptions += stats.subscriptions;
            wills += stats.wills_published;
            self.check_shard(&stats, limits);
        }
        let open = broker.local.sessions_open();
        let routed = broker.local.subscription_count() as u64;
        let retained = broker.local.retained_count() as u64;
        if persistent != open || limits.sessions.is_exceeded_by(open) {
            self.fail(format!(
                "{persistent} persistent sessions, {open} counted, limit {:?}",
                limits.sessions
            ));
        }
        if subscriptions != routed {
            self.fail(format!("{subscriptions} subscriptions counted, {routed} in the routing table"));
        }
        if limits.retained_messages.is_exceeded_by(retained) {
            self.fail(format!("{retained} retained messages, limit {:?}", limits.retained_messages));
        }
        if wills != self.wills_due {
            self.fail(format!("{wills} wills published, {} were due", self.wills_due));
        }
    }

    fn check_shard(&mut self, stats: &Stats, limits: &Limits) {
        // One message always fits into an empty queue.
        let messages = limits.queue_messages.get().saturating_mul(stats.sessions);
        let bytes = limits.queue_bytes.get().saturating_add(1 << 14).saturating_mul(stats.sessions);
        let subscriptions = limits.subscriptions_per_session.get().saturating_mul(stats.sessions);
        if stats.queue_messages > messages || stats.queue_bytes > bytes || stats.subscriptions > subscriptions
        {
            self.fail(format!("over the limits: {stats:?}"));
        }
        if (stats.queue_messages == 0) != (stats.queue_bytes == 0) && stats.queue_messages == 0 {
            self.fail(format!("bytes without messages: {stats:?}"));
        }
    }

    /// All sessions have ended.
    pub(in crate::sim) fn check_end(&mut self, broker: &Broker) {
        let left = (broker.local.subscription_count(), broker.local.sessions_open());
        if left != (0, 0) {
            self.fail(format!("{} subscriptions and {} sessions are left", left.0, left.1));
        }
        for shard in &broker.shards {
            let stats = shard.borrow().stats();
            let gauges = [
                stats.connections,
                stats.sessions,
                stats.subscriptions,
                stats.queue_messages,
                stats.queue_bytes,
            ];
            if gauges != [0; 5] {
                self.fail(format!("a shard without clients has {stats:?}"));
            }
        }
        // Several records may name one body.
        let alive: BTreeSet<_> = {
            let host = broker.host.borrow();
            host.bodies.iter().filter(|body| body.strong_count() > 0).map(Weak::as_ptr).collect()
        };
        let alive = alive.len();
        let retained = broker.local.retained_count();
        if alive > retained {
            self.fail(format!("{alive} bodies are kept, {retained} are retained"));
        }
        self.reach(Reach::Ended);
    }
}
