//! Moments at which everything has come to rest: what is owed must be there, what is asked must be answered, and at
//! the end nothing may be left.

use culex_core::engine::stats::Stats;
use culex_core::limits::Limits;

use super::broker::Effort;
use super::client::State;
use super::names::ALL;
use super::network::Stage;
use super::report::Reach;
use super::schedule::Simulation;
use super::script;
use super::store::Crash;

/// Steps without an end in sight are a failure too.
const STEPS_TO_REST_MAX: usize = 20_000;

impl Simulation {
    /// Lets everything happen that waits, without new operations and without faults.
    pub(super) fn rest(&mut self) {
        self.broker.note(format_args!("== rest"));
        for _ in 0..STEPS_TO_REST_MAX {
            let before = self.broker.host.borrow().progress;
            let links = self.broker.host.borrow().live_links();
            for link in links {
                self.broker.host.borrow_mut().arrive(link, true);
                self.broker.front_door(link);
            }
            self.broker.host.borrow_mut().commit(usize::MAX);
            if self.broker.host.borrow().store.has_failed {
                self.crash(Crash::Process);
            }
            self.broker.host.borrow_mut().answer_all();
            for shard in 0..u16::try_from(self.broker.shards.len()).unwrap_or(u16::MAX) {
                self.broker.turn(shard, Effort::All);
                self.after_step();
            }
            for client in 0..self.clients.len() {
                self.with_client(client, |client, context| {
                    client.is_reading = true;
                    client.work(context, false);
                });
            }
            self.after_step();
            if self.has_failed() {
                return;
            }
            let mut host = self.broker.host.borrow_mut();
            if host.progress == before {
                // Nothing but time ends the wait for an answer that never comes.
                let Some(deadline) = host.next_hook_deadline() else { return };
                let now = host.now.tick.0;
                if deadline < now {
                    drop(host);
                    return self.oracle.fail(format!("a connection waits since {deadline}, now {now}"));
                }
                host.advance((deadline - now).max(1));
            }
        }
        self.oracle.fail("it does not come to rest".to_owned());
    }

    pub(super) fn check_at_rest(&mut self) {
        if self.has_failed() {
            return;
        }
        for client in self.clients.iter().filter(|client| client.state == State::Online) {
            if let Some(text) = client.unsettled() {
                self.oracle.fail(format!("{} at rest: {text}", client.id));
            }
        }
        self.broker.reach(Reach::Settled);
        self.oracle.close_messages(&self.clients);
        let mut dropped = Vec::new();
        for shard in &self.broker.shards {
            let stats = shard.borrow().stats();
            dropped.push(dropped_by(&stats));
            for (count, what) in [
                (stats.dropped_queue_full, Reach::QueueDropped),
                (stats.dropped_queue_total, Reach::QueueTotalDropped),
                (stats.dropped_slow_reader, Reach::SlowReaderDropped),
                (stats.retained_refused, Reach::RetainedRefused),
            ] {
                if count > 0 {
                    self.broker.reach(what);
                }
            }
        }
        if self.plan.crashes.is_some() {
            let stored = self.broker.host.borrow().store.stored();
            self.oracle.check_emptied(&self.clients, &stored);
        }
        self.oracle.check_left_wills();
        self.oracle.check_expiry(&self.clients, &self.broker);
        self.oracle.check_feeds(&self.clients);
        self.oracle.check_misses(&self.clients, &dropped);
        let host = self.broker.host.borrow();
        self.oracle.check_silence(&host.links, host.now.tick.0);
        drop(host);
        self.probe();
    }

    /// A client of its own looks at the Retained Messages, undisturbed.
    fn probe(&mut self) {
        if self.has_failed() {
            return;
        }
        let (probe, crashes) = (self.plan.clients, self.oracle.crashes);
        self.with_client(probe, |client, context| {
            script::dial(client, context, true, 0, None, true);
            script::send_subscribe(client, context, vec![(ALL, 2)]);
        });
        self.rest();
        if crashes != self.oracle.crashes {
            return;
        }
        if self.plan.limits.outbox_bytes == Limits::default().outbox_bytes {
            self.oracle.check_store(&self.clients[probe]);
        }
        self.with_client(probe, script::disconnect);
        self.rest();
    }

    /// Everybody comes back for what is left, then leaves for good.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
        for index in 0..self.plan.clients {
            self.with_client(index, |client, context| {
                client.must_clean |= context.oracle.may_have_begun_anew(index);
                if client.state == State::Offline && !client.must_clean && !client.is_clean {
                    script::dial(client, context, false, 0, None, false);
                }
            });
        }
        if self.has_failed() {
            return;
        }
        self.rest();
        self.check_at_rest();
        // Connections that fell silent are found out, and those that nobody watches are taken over.
        self.broker.host.borrow_mut().advance(20_000);
        self.rest();
        for index in 0..self.clients.len() {
            if self.has_failed() {
                return;
            }
            let crashes = self.oracle.crashes;
            self.leave_for_good(index);
            if crashes != self.oracle.crashes {
                self.leave_for_good(index);
            }
        }
        let (open, keys) = {
            let host = self.broker.host.borrow();
            let is_open =
                |stage: &Stage| matches!(stage, Stage::Attached(_) | Stage::Mailed | Stage::Checking(_));
            (host.links.iter().filter(|link| is_open(&link.stage)).count(), host.keys.len())
        };
        if open > 0 || keys > 0 {
            self.oracle.fail(format!("{open} connections are left"));
        }
        if !self.has_failed() {
            self.broker.host.borrow_mut().store.sync();
            self.oracle.check_end(&self.broker);
            let left = self.broker.host.borrow().store.stored();
            if self.plan.crashes.is_some() && !left.sessions.is_empty() {
                self.oracle.fail(format!("left in the store: {:?}", left.sessions));
            }
        }
    }

    fn leave_for_good(&mut self, index: usize) {
        self.with_client(index, |client, context| {
            if let Some(link) = client.go_offline() {
                context.broker.host.borrow_mut().hang_up(link);
            }
            script::dial(client, context, true, 0, None, true);
        });
        self.rest();
        self.with_client(index, script::disconnect);
        self.rest();
    }
}

/// Messages that a shard has dropped because of a limit.
pub(super) const fn dropped_by(stats: &Stats) -> u64 {
    stats.dropped_queue_full + stats.dropped_queue_total + stats.dropped_slow_reader
}
