//! Gauges and limits: what the broker holds is bounded, counted right, and gone when the sessions are.

use std::collections::BTreeSet;
use std::sync::Weak;

use culex_core::engine::shard::Shard;
use culex_core::engine::stats::Stats;
use culex_core::limits::Limits;

use crate::sim::broker::Broker;
use crate::sim::plan::Plan;
use crate::sim::report::Reach;

use super::Oracle;

/// Retained Messages that one step of a new subscription may bring, and one more.
const SLICE_MESSAGES: u64 = 4;
/// The largest message of the script, with what a queue adds.
const MESSAGE_BYTES_MAX: u64 = 5100;
/// The same without shared payloads.
const SMALL_MESSAGE_BYTES_MAX: u64 = 110;
/// Every so many steps each session is looked at.
const STEPS_PER_LOOK: u64 = 16;

impl Oracle {
    /// Between turns: no gauge is over its limit, and each agrees with what it counts.
    pub(in crate::sim) fn check_gauges(&mut self, broker: &Broker, plan: &Plan) {
        let limits = &plan.limits;
        self.gauge_checks += 1;
        let is_all_due = self.gauge_checks.is_multiple_of(STEPS_PER_LOOK);
        let mut persistent = 0;
        let mut subscriptions = 0;
        let mut wills = 0;
        let mut questions = 0;
        for shard in &broker.shards {
            let stats = shard.borrow().stats();
            persistent += stats.sessions_persistent;
            subscriptions += stats.subscriptions;
            wills += stats.wills_published;
            questions += stats.questions_open;
            self.check_stats(&stats, limits);
            if is_all_due {
                self.check_sessions(&shard.borrow(), limits);
            }
        }
        self.check_queues(broker, limits, plan.has_large_payloads);
        let open = broker.local.sessions_open();
        let routed = broker.local.subscription_count() as u64;
        let retained = broker.local.retained_count() as u64;
        // What a broker begins with is there, whatever the limits say.
        let (restored, restored_retained) = self.restored;
        if persistent != open || (limits.sessions.is_exceeded_by(open) && open > restored) {
            self.fail(format!(
                "{persistent} persistent sessions, {open} counted, limit {:?}",
                limits.sessions
            ));
        }
        if subscriptions != routed {
            self.fail(format!("{subscriptions} subscriptions counted, {routed} in the routing table"));
        }
        if limits.retained_messages.is_exceeded_by(retained) && retained > restored_retained {
            self.fail(format!("{retained} retained messages, limit {:?}", limits.retained_messages));
        }
        let waiting = {
            let host = broker.host.borrow();
            host.keys.values().filter(|link| host.links[**link].asked.is_some()).count()
        };
        if questions != waiting as u64 {
            self.fail(format!("{questions} questions are counted, {waiting} connections wait"));
        }
        if wills != self.wills_due {
            self.fail(format!("{wills} wills published, {} were due", self.wills_due));
        }
    }

    /// All queues together are within their limit, but for what whoever keeps up has in flight.
    fn check_queues(&mut self, broker: &Broker, limits: &Limits, has_large: bool) {
        let taken = broker.local.queue_room_taken();
        let stats = || broker.shards.iter().map(|shard| shard.borrow().stats());
        let used: u64 = stats().map(|stats| stats.queue_bytes + stats.queue_messages * 64).sum();
        let sessions: u64 = stats().map(|stats| stats.sessions).sum();
        let bytes_max = if has_large { MESSAGE_BYTES_MAX } else { SMALL_MESSAGE_BYTES_MAX };
        let beside = sessions * (u64::from(limits.in_flight) + SLICE_MESSAGES) * bytes_max;
        let is_unknown = used > taken + beside && self.crashes == 0;
        if limits.queue_total_bytes.is_exceeded_by(taken) || is_unknown {
            self.fail(format!(
                "queues of {used} bytes, room for {taken}, limit {:?}",
                limits.queue_total_bytes
            ));
        }
    }

    /// Every session and every connection on its own.
    fn check_sessions(&mut self, shard: &Shard, limits: &Limits) {
        let mut sessions = Vec::new();
        let rest = shard.sessions_from(0, usize::MAX, false, &mut sessions);
        debug_assert!(rest.is_none(), "a simulation has few sessions");
        let stats = shard.stats();
        let (mut messages, mut bytes, mut subscriptions) = (0, 0, 0);
        for session in &sessions {
            messages += session.queue_messages;
            bytes += session.queue_bytes;
            subscriptions += session.subscriptions;
            // One message always fits into an empty queue, and a slice of Retained Messages ends with one.
            let is_queue_over = limits.queue_messages.is_exceeded_by(session.queue_messages)
                || session.queue_bytes > limits.queue_bytes.get().saturating_add(MESSAGE_BYTES_MAX);
            let is_over = (is_queue_over && self.crashes == 0)
                || limits.subscriptions_per_session.is_exceeded_by(session.subscriptions)
                || session.in_flight > u64::from(limits.in_flight);
            if is_over {
                self.fail(format!("over the limits: {session:?}"));
            }
        }
        // Filters of sessions that have ended are counted as long as they are in the routing table.
        if subscriptions < stats.subscriptions {
            self.reach(Reach::EndedLater);
        } else if subscriptions > stats.subscriptions {
            self.fail(format!(
                "{subscriptions} subscriptions of sessions, {} are counted",
                stats.subscriptions
            ));
        }
        let counted = (stats.sessions, stats.queue_messages, stats.queue_bytes);
        if counted != (sessions.len() as u64, messages, bytes) {
            self.fail(format!("{counted:?} is counted, {messages} messages and {bytes} bytes are there"));
        }
    }

    fn check_stats(&mut self, stats: &Stats, limits: &Limits) {
        if limits.partial_total_bytes.is_exceeded_by(stats.partial_bytes)
            || limits.outbox_burst_bytes.is_exceeded_by(stats.outbox_burst_bytes)
        {
            self.fail(format!("over the limits: {stats:?}"));
        }
        let default = &self.defaults;
        let has_queue_limit =
            limits.queue_messages != default.queue_messages || limits.queue_bytes != default.queue_bytes;
        let is_needless = (stats.dropped_queue_full > 0 && !has_queue_limit)
            || (stats.dropped_queue_total > 0 && limits.queue_total_bytes == default.queue_total_bytes)
            || (stats.dropped_slow_reader > 0 && limits.outbox_bytes == default.outbox_bytes);
        if is_needless {
            self.fail(format!("dropped without need: {stats:?}"));
        }
        if stats.queue_messages == 0 && stats.queue_bytes > 0 {
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
                stats.partial_bytes,
                stats.questions_open,
            ];
            if gauges != [0; 7] {
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
