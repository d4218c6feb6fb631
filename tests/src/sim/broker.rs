//! All of a broker but its threads and sockets: shards, mailboxes, store, front door, and one turn of a shard at a
//! time, in the order that a lane has.
//!
//! A shard in a turn is borrowed. Whoever wants to run it meanwhile finds it busy, as a thread would find its lane.

use std::cell::RefCell;

use culex_codec::{Decoded, Packet, ProtocolVersion, decode};
use culex_core::engine::commons::LocalCommons;
use culex_core::engine::error::Refusal;
use culex_core::engine::keys::{ConnectionKey, ShardId};
use culex_core::engine::shard::{DELIVERIES_PER_TURN, Effect, Shard, ShardConfig, Turn, shard_of};
use culex_core::engine::store::Stored;
use culex_core::engine::time::Tick;
use culex_core::engine::{Admission, admit};

use super::host::{Host, Mail, Note};
use super::network::Stage;
use super::plan::{Pace, Plan};
use super::report::Reach;
use super::rng::Rng;
use super::trace::Trace;

/// Keys of the hash that spreads ClientIds over shards.
const HASH_KEYS: (u64, u64) = (7, 11);

/// Shards and what is around them.
pub(super) struct Broker {
    pub(super) shards: Vec<RefCell<Shard>>,
    pub(super) local: LocalCommons,
    /// Borrowed for a moment at a time, never while a shard works.
    pub(super) host: RefCell<Host>,
}

fn new_shard(number: u16, plan: &Plan) -> RefCell<Shard> {
    let (id, limits) = (ShardId(number), plan.limits.clone());
    RefCell::new(Shard::new(ShardConfig { id, limits, hash_keys: HASH_KEYS, asks: plan.asks }))
}

/// How much of what waits a turn takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// Some of it, as chance has it.
    Some,
    /// All of it.
    All,
}

impl Broker {
    pub(super) fn new(plan: Plan, rng: Rng, trace: Trace) -> Self {
        Self {
            shards: (0..plan.shards).map(|number| new_shard(number, &plan)).collect(),
            local: LocalCommons::new(&plan.limits, HASH_KEYS),
            host: RefCell::new(Host::new(plan, rng, trace)),
        }
    }

    /// Another broker, with so many shards and what the store has of the one before. Its first turns publish the Will
    /// Messages that are left.
    pub(super) fn restart(&mut self, shards: u16, stored: Stored) {
        self.host.get_mut().reset(shards);
        let plan = self.host.get_mut().plan.clone();
        self.shards = (0..shards).map(|number| new_shard(number, &plan)).collect();
        self.local = LocalCommons::restored(&plan.limits, HASH_KEYS, &stored);
        self.host.get_mut().is_starting = true;
        for session in stored.sessions {
            let owner = self.shard_of(&session.client_id);
            let now = self.host.borrow().now;
            let mut turn = Turn { now, commons: &*self, deliveries_left: DELIVERIES_PER_TURN };
            let mut shard = self.shards[usize::from(owner)].borrow_mut();
            if !shard.restore(&mut turn, session, stored.alive_at) {
                let text = "a ClientId is stored twice".to_owned();
                self.host.borrow_mut().notes.push_back(Note::Broken(text));
            }
        }
        self.host.get_mut().is_starting = false;
    }

    pub(super) fn shard_of(&self, client_id: &str) -> u16 {
        shard_of(client_id, HASH_KEYS, u16::try_from(self.shards.len()).unwrap_or(1)).0
    }

    /// The front door goes on with one connection: reads its CONNECT, checks its password, or sends it to its shard.
    pub(super) fn front_door(&self, link: usize) {
        let mut host = self.host.borrow_mut();
        let host = &mut *host;
        let Some(found) = host.links.get_mut(link) else { return };
        if matches!(found.stage, Stage::Dialing | Stage::Checking(_)) && found.up.is_reset() {
            found.stage = Stage::Closed;
            host.progress += 1;
            return;
        }
        match std::mem::replace(&mut found.stage, Stage::Dialing) {
            Stage::Dialing => {
                let Ok(Decoded::Packet { packet: Packet::Connect(connect), len }) =
                    decode(&found.up.received, ProtocolVersion::V311, u32::MAX)
                else {
                    return;
                };
                let number = link as u64 + 1;
                let admission = admit(
                    &connect,
                    || "generated".into(),
                    &host.plan.limits,
                    number,
                    format!("L{link}").into(),
                );
                found.up.received.drain(..len);
                found.handled += len;
                found.stage = match admission {
                    Ok(mut admission) => {
                        // MQTT 3.1.1 cannot say it.
                        if !admission.clean_start {
                            admission.session_expiry_s = host.plan.expiry_of(found.client);
                        }
                        Stage::Checking(Box::new(admission))
                    }
                    Err(_) => Stage::Closed,
                };
            }
            Stage::Checking(admission) => {
                found.stage = Stage::Mailed;
                let shard = usize::from(found.shard);
                host.mail[shard].push_back(Mail::Attach { link, admission });
            }
            other @ (Stage::Mailed | Stage::Attached(_) | Stage::Closed) => {
                found.stage = other;
                return;
            }
        }
        host.progress += 1;
    }

    /// A turn of one shard, unless it is in one.
    pub(super) fn turn(&self, number: u16, effort: Effort) {
        let Ok(mut shard) = self.shards[usize::from(number)].try_borrow_mut() else { return };
        let shard = &mut *shard;
        let mut begun = self.host.borrow_mut().begin_turn(number, effort);
        let taken = self.host.borrow().taken(number, shard);
        let deliveries_left = if begun.is_cut { 1 } else { DELIVERIES_PER_TURN };
        let mut turn = Turn { now: begun.now, commons: self, deliveries_left };
        for key in begun.unblocked {
            shard.touch(key);
        }
        if let Some(through) = begun.stored {
            self.note(format_args!("s{number} stored through {}", through.0));
            shard.handle_stored(&mut turn, through);
        }
        for _ in 0..begun.mails {
            let mail = self.host.borrow_mut().pop_mail(number);
            match mail {
                Some(Mail::Attach { link, admission }) => {
                    self.attach(shard, &mut turn, number, link, *admission);
                }
                Some(Mail::Shard(message)) => {
                    self.note(format_args!("s{number} takes a message"));
                    self.reach(Reach::TurnMail);
                    shard.handle_message(&mut turn, message);
                }
                Some(Mail::Answer { key, verdict }) => {
                    self.note(format_args!("s{number} takes an answer"));
                    self.host.borrow_mut().on_answer(number, key, &verdict);
                    shard.handle_answer(&mut turn, key, verdict);
                    if shard.outbox(key).is_none() {
                        self.host.borrow_mut().note_ending(number, key);
                    }
                }
                Some(Mail::Fetched(fetched)) => {
                    self.note(format_args!("s{number} takes {} messages of the store", fetched.bodies.len()));
                    shard.handle_fetched(&mut turn, fetched);
                }
                Some(Mail::LeftWills) => {
                    let count = shard.publish_left_wills(&mut turn);
                    self.note(format_args!("s{number} publishes {count} wills that were left"));
                    self.host.borrow_mut().notes.push_back(Note::LeftWills { shard: number, count });
                }
                None => break,
            }
        }
        if begun.has_timers && shard.poll_timeout().is_some_and(|at| at <= begun.now.tick) {
            self.note(format_args!("s{number} timers"));
            let mut host = self.host.borrow_mut();
            host.counts.add(Reach::TurnTimeout);
            host.progress += 1;
            drop(host);
            shard.handle_timeout(&mut turn);
        }
        for link in begun.ready.drain(..) {
            self.read(shard, &mut turn, number, link);
        }
        self.end_turn(shard, &mut turn, number, taken);
    }

    fn attach(&self, shard: &mut Shard, turn: &mut Turn<'_>, number: u16, link: usize, admission: Admission) {
        self.note(format_args!("s{number} attaches L{link} of {}", admission.client_id));
        let result = shard.handle_attach(turn, admission);
        let mut host = self.host.borrow_mut();
        let host = &mut *host;
        let found = &mut host.links[link];
        match result {
            Ok(key) => {
                found.stage = Stage::Attached(key);
                found.heard = turn.now.tick.0;
                host.keys.insert((number, key), link);
                host.notes.push_back(Note::Attached { link });
            }
            Err(refusal) => {
                found.stage = Stage::Closed;
                if refusal == Refusal::TooManySessions {
                    found.down.write(&[0x20, 2, 0, 3], turn.now.tick.0);
                }
                found.down.finish();
                host.notes.push_back(Note::Refused { link, refusal });
            }
        }
    }

    fn read(&self, shard: &mut Shard, turn: &mut Turn<'_>, number: u16, link: usize) {
        let (key, bytes) = {
            let mut host = self.host.borrow_mut();
            let found = &mut host.links[link];
            let Some(key) = found.key() else { return };
            if found.up.is_reset() {
                found.has_news = false;
                host.progress += 1;
                drop(host);
                self.note(format_args!("s{number} L{link} is lost"));
                return shard.handle_lost(turn, key);
            }
            // Who does not read is not read; and nobody before CONNACK.
            if found.is_blocked || !found.has_news || !shard.is_reading(key) {
                return;
            }
            found.has_news = false;
            (key, std::mem::take(&mut found.up.received))
        };
        let consumed = shard.handle_bytes(turn, key, &bytes);
        self.note(format_args!("s{number} reads {} of {} from L{link}", consumed.bytes, bytes.len()));
        let mut host = self.host.borrow_mut();
        host.progress += consumed.bytes as u64;
        if consumed.is_cut_short {
            host.counts.add(Reach::TurnCut);
        }
        let found = &mut host.links[link];
        let rest = bytes.get(consumed.bytes..).unwrap_or_default();
        found.has_news = consumed.is_cut_short && !rest.is_empty();
        found.up.received.splice(0..0, rest.iter().copied());
        found.handled += consumed.bytes;
        if consumed.bytes > 0 {
            found.heard = turn.now.tick.0;
        }
        // Who is not read is not seen to have ended.
        if found.up.is_finished() && !found.has_news && (shard.is_reading(key) || found.asked.is_none()) {
            host.progress += 1;
            drop(host);
            self.note(format_args!("s{number} L{link} has ended"));
            shard.handle_lost(turn, key);
        }
    }

    fn end_turn(&self, shard: &mut Shard, turn: &mut Turn<'_>, number: u16, taken: u64) {
        self.carry_out(shard, turn, number, taken);
        while let Some(key) = shard.next_touched() {
            self.write(shard, turn.now.tick, number, key);
        }
        self.carry_out(shard, turn, number, taken);
        // What was held and left with a store that answers at once.
        while let Some(key) = shard.next_touched() {
            self.write(shard, turn.now.tick, number, key);
        }
    }

    fn carry_out(&self, shard: &mut Shard, turn: &mut Turn<'_>, number: u16, taken: u64) {
        loop {
            shard.end_turn();
            let mut is_done = true;
            while let Some(effect) = shard.poll_effect() {
                match effect {
                    Effect::Store(batch) => {
                        let through = batch.number;
                        let pace = self.host.borrow_mut().keep(number, batch);
                        if pace == Pace::AtOnce {
                            shard.handle_stored(turn, through);
                            is_done = false;
                        }
                    }
                    Effect::Fetch(fetch) => {
                        self.note(format_args!(
                            "s{number} fetches {} of {:?}",
                            fetch.entries.len(),
                            fetch.id
                        ));
                        self.host.borrow_mut().store.fetch(number, fetch);
                    }
                    Effect::Send { to, messages } => {
                        // The server pushes to one mailbox after another.
                        if self.preempt() {
                            self.reach(Reach::PreemptedSend);
                        }
                        self.note(format_args!("s{number} sends {} to s{}", messages.len(), to.0));
                        let mut host = self.host.borrow_mut();
                        let taken = host.taken(number, shard) - taken;
                        host.post(number, to.0, messages, taken);
                    }
                    Effect::SendAll(message) => {
                        let mut host = self.host.borrow_mut();
                        for to in (0..).take(self.shards.len()) {
                            host.post(number, to, vec![message.clone()], 0);
                        }
                    }
                    Effect::Close { connection, outbox, reason: _ } => {
                        let bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
                        self.host.borrow_mut().close(number, connection, &bytes);
                    }
                    Effect::Resume { connection } => self.host.borrow_mut().resume(number, connection),
                    Effect::Ask { connection, question } => {
                        self.host.borrow_mut().ask(number, connection, *question);
                    }
                    Effect::Event(event) => self.host.borrow_mut().event(&event),
                }
            }
            if is_done {
                return;
            }
        }
    }

    fn write(&self, shard: &mut Shard, now: Tick, number: u16, key: ConnectionKey) {
        let Some(outbox) = shard.outbox(key) else { return };
        self.host.borrow_mut().check_outbox(number, key, outbox.len());
        let bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
        let Some(written) = self.host.borrow_mut().write(number, key, &bytes, now) else { return };
        outbox.advance(written);
        shard.handle_written(key, written);
    }

    /// Now and then another shard runs before this one goes on.
    pub(super) fn preempt(&self) -> bool {
        let other = {
            let mut host = self.host.borrow_mut();
            let permille = host.plan.preempt_permille;
            if host.is_starting || !host.rng.chance(permille) {
                return false;
            }
            u16::try_from(host.rng.index(self.shards.len())).unwrap_or(0)
        };
        let busy = self.shards.iter().filter(|shard| shard.try_borrow_mut().is_err()).count();
        if self.shards[usize::from(other)].try_borrow_mut().is_err() {
            return false;
        }
        self.reach(if busy > 1 { Reach::PreemptedDeep } else { Reach::Preempted });
        self.note(format_args!("-- s{other} runs meanwhile"));
        self.turn(other, Effort::Some);
        self.note(format_args!("-- s{other} is done"));
        true
    }

    pub(super) fn note(&self, line: std::fmt::Arguments<'_>) {
        self.host.borrow_mut().trace.note(line);
    }

    pub(super) fn reach(&self, what: Reach) {
        self.host.borrow_mut().counts.add(what);
    }
}
