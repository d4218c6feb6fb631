//! What surrounds the shards: mailboxes, the queue of the store, connections, the clock, chance.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use culex_core::engine::Admission;
use culex_core::engine::error::{CloseReason, Refusal};
use culex_core::engine::keys::{BatchNumber, ConnectionKey};
use culex_core::engine::publication::Publication;
use culex_core::engine::question::Verdict;
use culex_core::engine::shard::{Event, Fetched, ShardMessage};
use culex_core::engine::store::{Record, StoreBatch};
use culex_core::engine::time::{Now, Tick, WallTime};

use super::broker::Effort;
use super::hooks::{Fate, OpenQuestion};
use super::network::{Link, Stage};
use super::plan::{Pace, Plan};
use super::report::{Counts, Reach};
use super::rng::Rng;
use super::store::{Safety, Store};
use super::trace::Trace;

/// Into a mailbox.
pub(super) enum Mail {
    Attach {
        link: usize,
        admission: Box<Admission>,
    },
    Shard(ShardMessage),
    Answer {
        key: ConnectionKey,
        verdict: Verdict,
    },
    Fetched(Fetched),
    /// The first of a broker that was started again.
    LeftWills,
}

impl Mail {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Attach { .. } | Self::LeftWills => 0,
            Self::Shard(message) => message.bytes(),
            Self::Answer { verdict, .. } => verdict.bytes(),
            Self::Fetched(fetched) => fetched.bytes(),
        }
    }
}

/// What the oracles have to know of the broker.
#[derive(Debug)]
pub(super) enum Note {
    Attached { link: usize },
    Ending { link: usize },
    Refused { link: usize, refusal: Refusal },
    Closed { link: usize, reason: CloseReason, now: u64 },
    LeftWills { shard: u16, count: usize },
    Broken(String),
}

/// Everything but the shards.
pub(super) struct Host {
    pub(super) plan: Plan,
    pub(super) rng: Rng,
    pub(super) trace: Trace,
    pub(super) counts: Counts,
    pub(super) now: Now,
    pub(super) links: Vec<Link>,
    pub(super) mail: Vec<VecDeque<Mail>>,
    pub(super) keys: BTreeMap<(u16, ConnectionKey), usize>,
    pub(super) notes: VecDeque<Note>,
    /// Every body that a record named, to see whether it is ever freed.
    pub(super) bodies: Vec<Weak<Publication>>,
    /// What hooks have not answered, and what they make of the messages that do not go through as they are.
    pub(super) questions: Vec<OpenQuestion>,
    pub(super) fates: BTreeMap<usize, Fate>,
    /// Answers that each shard has taken.
    pub(super) answers: Vec<u64>,
    /// Grows when anything moves.
    pub(super) progress: u64,
    pub(super) store: Store,
    stored: Vec<Option<BatchNumber>>,
    /// A broker that starts does one thing after another.
    pub(super) is_starting: bool,
}

/// What a turn is about to do.
pub(super) struct Begun {
    pub(super) now: Now,
    pub(super) stored: Option<BatchNumber>,
    pub(super) mails: usize,
    pub(super) has_timers: bool,
    pub(super) is_cut: bool,
    pub(super) ready: Vec<usize>,
    pub(super) unblocked: Vec<ConnectionKey>,
}

impl Host {
    pub(super) fn new(plan: Plan, rng: Rng, trace: Trace) -> Self {
        let shards = usize::from(plan.shards);
        let (safety, fails_at) =
            plan.crashes.as_ref().map_or((Safety::Power, None), |crashes| (crashes.safety, crashes.fails_at));
        Self {
            plan,
            rng,
            trace,
            counts: Counts::default(),
            now: Now { tick: Tick(1_000), wall: WallTime(1_700_000_000_000) },
            links: Vec::new(),
            mail: (0..shards).map(|_| VecDeque::new()).collect(),
            keys: BTreeMap::new(),
            notes: VecDeque::new(),
            bodies: Vec::new(),
            questions: Vec::new(),
            fates: BTreeMap::new(),
            answers: vec![0; shards],
            progress: 0,
            store: Store::new(safety, fails_at),
            stored: vec![None; shards],
            is_starting: false,
        }
    }

    pub(super) fn advance(&mut self, millis: u64) {
        self.now.tick.0 += millis;
        self.now.wall.0 += millis;
        if self.plan.crashes.is_some() {
            self.store.tick(self.now);
        }
    }

    /// The store does something, if it has to.
    pub(super) fn work_store(&mut self) {
        let Some((idle_permille, commit_max_ms)) =
            self.plan.crashes.as_ref().map(|crashes| (crashes.idle_permille, crashes.commit_max_ms))
        else {
            let most = self.rng.index(self.store.waiting() + 1);
            return self.commit(most);
        };
        if self.rng.chance(500) && self.read_one() {
            return;
        }
        if self.rng.chance(idle_permille) {
            return;
        }
        if self.store.is_writing() {
            if self.store.is_due(self.now) {
                self.finish_commit();
            }
        } else {
            let most = 1 + self.rng.index(self.store.waiting());
            let due = self.now.tick.0 + self.rng.below(commit_max_ms + 1);
            self.store.begin(most, due, &mut self.counts);
        }
    }

    /// The store commits what it has begun, and so many batches in the order in which it got them.
    pub(super) fn commit(&mut self, most: usize) {
        self.finish_commit();
        self.store.begin(most, 0, &mut self.counts);
        self.finish_commit();
        while self.read_one() {}
    }

    /// The store answers one shard.
    fn read_one(&mut self) -> bool {
        let Some((shard, fetched)) = self.store.read() else { return false };
        self.progress += 1;
        self.counts.add(Reach::StoreRead);
        self.mail[usize::from(shard)].push_back(Mail::Fetched(fetched));
        true
    }

    fn finish_commit(&mut self) {
        for (shard, number) in self.store.finish(self.now) {
            self.progress += 1;
            self.stored[usize::from(shard)] = Some(number);
        }
    }

    /// Nothing is left of a broker but its store; the next one has so many shards.
    pub(super) fn reset(&mut self, shards: u16) {
        let shards = usize::from(shards);
        for link in self.links.iter_mut().filter(|link| !link.is_closed()) {
            link.stage = Stage::Closed;
            link.asked = None;
            link.up.reset();
            // The machine may still send what the process had written.
            if self.rng.chance(500) {
                link.down.finish();
            } else {
                link.down.reset();
            }
        }
        self.mail = (0..shards).map(|_| VecDeque::from([Mail::LeftWills])).collect();
        self.keys.clear();
        self.notes.clear();
        self.questions.clear();
        self.answers = vec![0; shards];
        self.stored = vec![None; shards];
        self.progress += 1;
    }

    pub(super) fn begin_turn(&mut self, number: u16, effort: Effort) -> Begun {
        let shard = usize::from(number);
        let is_all = effort == Effort::All;
        let full = self.plan.mailbox_bytes;
        let mut begun = Begun {
            now: self.now,
            stored: self.stored[shard].take(),
            mails: self.mail[shard].len(),
            has_timers: true,
            is_cut: false,
            ready: Vec::new(),
            unblocked: Vec::new(),
        };
        if !is_all {
            if begun.mails > 0 && self.rng.chance(500) {
                begun.mails = self.rng.index(begun.mails + 1);
            }
            // A lane takes its mailbox before it looks at the time, and this was there before anything else.
            if matches!(self.mail[shard].front(), Some(Mail::LeftWills)) {
                begun.mails = begun.mails.max(1);
            }
            begun.has_timers = self.rng.chance(700);
            begun.is_cut = self.rng.chance(self.plan.cut_permille);
        }
        if begun.stored.is_some() {
            self.progress += 1;
        }
        self.progress += begun.mails as u64;
        for (&(_, key), &index) in self.keys.range((number, FIRST)..=(number, LAST)) {
            let link = &mut self.links[index];
            if link.is_blocked && link.down.room() > 0 {
                link.is_blocked = false;
                self.progress += 1;
                begun.unblocked.push(key);
            }
            if link.has_news || link.up.is_finished() {
                link.has_news = true;
                begun.ready.push(index);
            }
        }
        let is_full = |mailbox: &VecDeque<Mail>| mailbox.iter().map(Mail::bytes).sum::<usize>() >= full;
        let mut others = self.mail.iter().enumerate().filter(|(other, _)| *other != shard);
        if !begun.ready.is_empty() && others.any(|(_, mailbox)| is_full(mailbox)) {
            self.counts.add(Reach::MailboxFull);
            begun.ready.clear();
        }
        if !is_all && begun.ready.len() > 1 {
            let first = self.rng.index(begun.ready.len());
            begun.ready.rotate_left(first);
            let most = 1 + self.rng.index(begun.ready.len());
            begun.ready.truncate(most);
        }
        begun
    }

    pub(super) fn pop_mail(&mut self, number: u16) -> Option<Mail> {
        self.mail[usize::from(number)].pop_front()
    }

    /// Payloads of the messages that other shards have sent to this one, and that it has not taken.
    pub(super) fn on_their_way(&self, number: u16) -> Vec<String> {
        let payload = |mail: &Mail| match mail {
            Mail::Attach { .. }
            | Mail::Answer { .. }
            | Mail::Fetched(_)
            | Mail::LeftWills
            | Mail::Shard(ShardMessage::Queue { .. }) => None,
            Mail::Shard(ShardMessage::Deliver { publication, .. }) => {
                Some(String::from_utf8_lossy(&publication.payload).into_owned())
            }
        };
        self.mail[usize::from(number)].iter().filter_map(payload).collect()
    }

    pub(super) fn keep(&mut self, number: u16, batch: StoreBatch) -> Pace {
        self.trace.note(format_args!("s{number} batch {} of {}", batch.number.0, batch.records.len()));
        for record in &batch.records {
            if let Record::Published { publication, .. } | Record::Queued { publication, .. } = record {
                self.bodies.push(Arc::downgrade(publication));
            }
        }
        match self.plan.pace {
            Pace::AtOnce => self.counts.add(Reach::StoreAtOnce),
            Pace::Late => {
                self.counts.add(Reach::StoreLate);
                self.store.push(number, batch);
            }
        }
        self.plan.pace
    }

    pub(super) fn event(&mut self, event: &Event) {
        if let Event::Dropped { client_id, .. } = event {
            let is_online = self.keys.values().any(|link| {
                let link = &self.links[*link];
                client_id.strip_prefix('c').and_then(|number| number.parse().ok()) == Some(link.client)
            });
            self.counts.add(if is_online { Reach::DroppedOnline } else { Reach::DroppedOffline });
        }
        if let Event::Disconnected { peer, reason, .. } = event {
            self.trace.note(format_args!("broker closed {peer}: {reason}"));
            if let Some(link) = peer.strip_prefix('L').and_then(|number| number.parse().ok()) {
                let now = self.now.tick.0;
                self.notes.push_back(Note::Closed { link, reason: *reason, now });
            }
        }
    }
}

const FIRST: ConnectionKey = ConnectionKey { slot: 0, generation: 0 };
const LAST: ConnectionKey = ConnectionKey { slot: u32::MAX, generation: u32::MAX };
