//! Crashes: everything but the store is lost, time goes on, and another broker begins with what the store has.

use super::client::Session;
use super::names::WILLS;
use super::report::Reach;
use super::rest::dropped_by;
use super::schedule::{Simulation, WATCHER};
use super::script;
use super::store::Crash;

/// Chance in a step that a crash that may come does.
const CRASH_PERMILLE: u64 = 30;

impl Simulation {
    /// In the middle of whatever happens.
    pub(super) fn crash_by_chance(&mut self) {
        let Some(crashes) = &self.plan.crashes else { return };
        let is_due = crashes.at.last().is_some_and(|at| self.operations_left <= *at);
        let mut host = self.broker.host.borrow_mut();
        let has_failed = host.store.has_failed;
        if !(is_due || has_failed) || !host.rng.chance(CRASH_PERMILLE) {
            return;
        }
        let crash = if has_failed || host.rng.chance(500) { Crash::Process } else { Crash::Power };
        drop(host);
        self.crash(crash);
    }

    /// Those that have not come yet, when nothing is on its way.
    pub(super) fn crash_in_the_end(&mut self) {
        while !self.has_failed() && self.plan.crashes.as_ref().is_some_and(|crashes| !crashes.at.is_empty()) {
            self.crash(Crash::Power);
        }
    }

    /// The broker ends, and another one begins.
    pub(super) fn crash(&mut self, crash: Crash) {
        self.after_step();
        if self.has_failed() {
            return;
        }
        if let Some(crashes) = &mut self.plan.crashes {
            crashes.at.pop();
        }
        let dropped: u64 = self.broker.shards.iter().map(|shard| dropped_by(&shard.borrow().stats())).sum();
        let (has_lost, stored, shards) = {
            let mut host = self.broker.host.borrow_mut();
            let host = &mut *host;
            let has_lost = host.store.crash(crash, host.now, &mut host.rng, &mut host.counts);
            host.store.has_synced = false;
            let mut stored = host.store.stored();
            if host.plan.crashes.as_ref().is_some_and(|crashes| crashes.leaves_bodies) {
                host.counts.add(Reach::CrashBare);
                let queues = stored.sessions.iter_mut().flat_map(|session| &mut session.queue);
                queues.for_each(|message| message.body = None);
            }
            let shards = 1 + u16::try_from(host.rng.index(5)).unwrap_or(0);
            host.trace.note(format_args!("== crash: {crash:?}, loses what was committed: {has_lost}"));
            host.trace.note(format_args!("{} Retained Messages, {shards} shards", stored.retained.len()));
            for session in &stored.sessions {
                host.trace.note(format_args!("{session:?}"));
            }
            host.counts.add(match crash {
                Crash::Process => Reach::CrashProcess,
                Crash::Power => Reach::CrashPower,
            });
            (has_lost, stored, shards)
        };
        let tick = self.broker.host.borrow().now.tick.0;
        self.oracle.on_crash(&self.clients, &stored, dropped, has_lost, tick);
        self.pass_downtime();
        let now = self.broker.host.borrow().now;
        self.oracle.on_start(&self.clients, &stored, shards, now);
        self.broker.restart(shards, stored);
        for client in &mut self.clients {
            client.shard = self.broker.shard_of(&client.id);
            self.oracle.move_reader(client.index, client.shard);
        }
        if has_lost {
            self.broker.reach(Reach::CrashRollback);
            for client in 0..self.clients.len() {
                self.doubt(client);
            }
        }
        if !self.is_ending {
            self.call_watcher();
        }
    }

    /// The wall clock is set meanwhile, now and then.
    fn pass_downtime(&self) {
        let mut host = self.broker.host.borrow_mut();
        let down = if host.rng.chance(100) { 100_000 } else { 2_000 };
        let down = host.rng.below(down);
        host.now.tick.0 += down;
        let jump = host.rng.below(3_600_000);
        match host.rng.below(10) {
            0 => {
                host.counts.add(Reach::CrashClockBack);
                host.now.wall.0 -= jump;
            }
            1 => host.now.wall.0 += down + jump,
            _ => host.now.wall.0 += down,
        }
    }

    /// The watcher comes back at once.
    fn call_watcher(&mut self) {
        self.with_client(WATCHER, |client, context| {
            if let Some(link) = client.go_offline() {
                context.broker.host.borrow_mut().hang_up(link);
            }
            if client.session == Session::Present && !client.must_clean {
                script::dial(client, context, false, 0, None, true);
            } else {
                script::dial(client, context, true, 0, None, true);
                script::send_subscribe(client, context, vec![(WILLS, 2)]);
            }
        });
    }
}
