//! The scheduler: chance picks what happens next, until the script is over; now and then everything comes to rest
//! and is checked.

use culex_core::engine::error::CloseReason;

use super::broker::{Broker, Effort};
use super::client::{Client, Context, State};
use super::names::WILLS;
use super::oracle::Oracle;
use super::plan::{Family, Plan};
use super::report::{Counts, Reach};
use super::rng::Rng;
use super::script;
use super::trace::Trace;
use super::{Outcome, host::Note};

/// The first client has a good connection from the first moment to the last.
pub(super) const WATCHER: usize = 0;

/// A broker, its clients, and what must hold.
pub(super) struct Simulation {
    pub(super) broker: Broker,
    pub(super) clients: Vec<Client>,
    pub(super) oracle: Oracle,
    pub(super) plan: Plan,
    pub(super) operations_left: u64,
    /// Everybody leaves for good.
    pub(super) is_ending: bool,
}

/// Runs one seed.
pub(super) fn run(seed: u64, family: Family, keeps_all: bool) -> Outcome {
    let mut rng = Rng::new(seed);
    let plan = Plan::new(&mut rng, family);
    let mut trace = Trace::new(keeps_all);
    trace.note(format_args!("seed {seed}: {plan:?}"));
    let mut simulation = Simulation::new(plan, rng, trace);
    simulation.play();
    simulation.finish()
}

impl Simulation {
    fn new(plan: Plan, rng: Rng, trace: Trace) -> Self {
        let broker = Broker::new(plan.clone(), rng, trace);
        // One more than the script has: it looks at the Retained Messages from outside.
        let clients: Vec<Client> = (0..=plan.clients).map(|index| Client::new(index, &broker)).collect();
        let shards: Vec<u16> = clients.iter().map(|client| client.shard).collect();
        let mut oracle = Oracle::new(&shards, usize::from(plan.shards), plan.limits.in_flight);
        let default = culex_core::limits::Limits::default();
        oracle.may_refuse_retained = plan.limits.retained_messages != default.retained_messages
            || plan.limits.retained_bytes != default.retained_bytes;
        oracle.may_close_partial = plan.limits.partial_total_bytes != default.partial_total_bytes;
        for client in &clients {
            oracle.set_expiry(client.index, plan.expiry_of(client.index));
        }
        let operations_left = plan.operations;
        Self { broker, clients, oracle, plan, operations_left, is_ending: false }
    }

    fn finish(self) -> Outcome {
        let host = self.broker.host.into_inner();
        let mut counts: Counts = host.counts;
        counts.merge(&self.oracle.counts);
        Outcome {
            hash: host.trace.hash(),
            violation: self.oracle.violations.into_iter().next(),
            trace: host.trace.into_lines(),
            counts,
            crashes: self.oracle.crashes,
            commits: host.store.commits(),
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        !self.oracle.violations.is_empty()
    }

    fn play(&mut self) {
        self.welcome_watcher();
        while self.operations_left > 0 && !self.has_failed() {
            let phase = self.operations_left.saturating_sub(self.plan.operations_per_phase);
            while self.operations_left > phase && !self.has_failed() {
                self.step();
                self.after_step();
                self.crash_by_chance();
            }
            self.rest();
            self.check_at_rest();
        }
        self.crash_in_the_end();
        self.end();
    }

    fn welcome_watcher(&mut self) {
        let is_clean = self.plan.crashes.is_none();
        self.with_client(WATCHER, |client, context| script::dial(client, context, is_clean, 0, None, true));
        if !is_clean {
            self.rest();
        }
        self.with_client(WATCHER, |client, context| {
            script::send_subscribe(client, context, vec![(WILLS, 2)]);
        });
    }

    fn step(&mut self) {
        let what = self.broker.host.borrow_mut().rng.below(100);
        match what {
            0..34 => {
                let shard = self.pick(self.broker.shards.len());
                self.broker.turn(u16::try_from(shard).unwrap_or(0), Effort::Some);
            }
            34..58 => {
                let mut host = self.broker.host.borrow_mut();
                if what < 40 && host.answer_one() {
                    return;
                }
                if let Some(link) = host.pick_due() {
                    host.arrive(link, false);
                }
            }
            58..75 => {
                let client = self.pick(self.clients.len());
                let slow = self.plan.slow_acks_permille;
                let holds = client != WATCHER && self.broker.host.borrow_mut().rng.chance(slow);
                self.with_client(client, |client, context| client.work(context, holds));
            }
            75..81 => self.operate(),
            81..86 => {
                let link = self.broker.host.borrow_mut().pick_newcomer();
                if let Some(link) = link {
                    self.broker.front_door(link);
                }
            }
            86..93 => {
                self.broker.host.borrow_mut().work_store();
            }
            93..99 => self.pass_time(),
            _ => self.disturb(),
        }
    }

    fn operate(&mut self) {
        self.operations_left -= 1;
        let client = self.pick(self.plan.clients);
        self.with_client(client, |client, context| {
            script::operate(client, context, client_is_watcher(client))
        });
    }

    fn pass_time(&mut self) {
        let (now, millis) = {
            let mut host = self.broker.host.borrow_mut();
            let millis = if host.rng.chance(60) { host.rng.below(3000) } else { host.rng.below(30) };
            host.advance(millis);
            (host.now.tick.0, millis)
        };
        if millis > 1000 {
            self.broker.note(format_args!("time is {now}"));
        }
        for client in 0..self.clients.len() {
            self.with_client(client, |client, context| {
                let due = client.last_sent + u64::from(client.keep_alive) * 700;
                // One in eight forgets.
                if client.keep_alive > 0
                    && client.state == State::Online
                    && now >= due
                    && !now.is_multiple_of(8)
                {
                    script::ping(client, context);
                }
            });
        }
    }

    fn disturb(&mut self) {
        let permille = self.plan.fault_permille * 10;
        if !self.broker.host.borrow_mut().rng.chance(permille) {
            return;
        }
        if let Some(link) = self.pick_link() {
            let mut host = self.broker.host.borrow_mut();
            if host.links[link].client != WATCHER && !host.links[link].is_closed() {
                host.break_link(link);
            }
        }
    }

    pub(super) fn pick(&self, len: usize) -> usize {
        self.broker.host.borrow_mut().rng.index(len)
    }

    fn pick_link(&self) -> Option<usize> {
        let mut host = self.broker.host.borrow_mut();
        let links = host.live_links();
        (!links.is_empty()).then(|| host.rng.pick(&links))
    }

    pub(super) fn with_client(&mut self, index: usize, act: impl FnOnce(&mut Client, &mut Context<'_>)) {
        let mut context = Context { broker: &self.broker, oracle: &mut self.oracle };
        act(&mut self.clients[index], &mut context);
    }

    /// Tells the oracles what the broker did.
    pub(super) fn after_step(&mut self) {
        let mut has_notes = false;
        if std::mem::take(&mut self.broker.host.borrow_mut().store.has_synced) {
            self.oracle.on_sync();
        }
        loop {
            let Some(note) = self.broker.host.borrow_mut().notes.pop_front() else { break };
            has_notes = true;
            match note {
                Note::Attached { link } => {
                    let now = self.broker.host.borrow().now.tick.0;
                    let is_stale = self.oracle.on_attached(link, now);
                    let client = self.broker.host.borrow().links[link].client;
                    let is_current = self.clients[client].link == Some(link);
                    if is_stale || (self.oracle.may_have_expired(Some(link)) && !is_current) {
                        self.doubt(client);
                    }
                }
                Note::Ending { link } => self.oracle.on_ending(link),
                Note::Refused { link, refusal } => {
                    self.broker.reach(Reach::SlowAttempt);
                    self.oracle.on_refused(link, refusal);
                }
                Note::Closed { link, reason, now } => {
                    if reason == CloseReason::TakenOver {
                        self.broker.reach(Reach::OwnerChanged);
                    }
                    let host = self.broker.host.borrow();
                    self.oracle.on_closed(link, &host.links[link], reason, now);
                }
                Note::LeftWills { shard, count } => self.oracle.on_left_wills(shard, count),
                Note::Broken(text) => self.oracle.fail(text),
            }
        }
        if has_notes {
            self.oracle.check_owners(self.clients.len());
        }
        self.oracle.check_gauges(&self.broker, &self.plan);
    }

    /// An old attempt got in late and may have replaced the session: only a clean start helps.
    pub(super) fn doubt(&mut self, client: usize) {
        self.with_client(client, |client, context| {
            client.must_clean = true;
            client.forget(context);
            if let Some(link) = client.go_offline() {
                context.broker.host.borrow_mut().hang_up(link);
            }
        });
    }
}

const fn client_is_watcher(client: &Client) -> bool {
    client.index == WATCHER
}
