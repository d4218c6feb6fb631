//! A lane: one shard with its poll, its connections and its mailbox, driven by one thread at a time.
//!
//! ```text
//!   turn:  poll ─► mailbox ─► read each ready connection once ─► timers ─► shard
//!          end of turn, always in this order:
//!             store batch ─► one batch per neighbour ─► one vectored write per touched connection
//! ```
//!
//! Messages of other lanes, what was left over, and new bytes have a budget of deliveries each, so none keeps the others
//! waiting. While a neighbour's mailbox is full, no connection is read; while the store has no room, only those are not
//! whose next packet needs it.
//!
//! Timers see no later time than that up to which everything was read: a client is not silent because the process was
//! stopped for a while, or because the lane has not come round to it.
//!
//! The store knows a publication before anybody can acknowledge it, because its batch is handed over first. A turn
//! is bounded in connections, bytes and deliveries; what is left over stays in the queue of ready connections,
//! because an edge that was reported once is not reported again.
//!
//! Cost of a message in steady state: one poll, one read, one write; with many in a turn their share of each.

mod asking;
mod ending;
mod message;
mod newcomers;
mod reading;
mod stopping;
#[cfg(test)]
pub(crate) mod tests;
mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll};

use crate::engine::chunks::Chunks;
use crate::engine::keys::{ConnectionKey, ShardId};
use crate::engine::shard::{DELIVERIES_PER_TURN, Shard, Turn};
use crate::engine::time::Tick;

use super::clock::Clock;
use super::commons::SharedCommons;
use super::departure::Departure;
use super::events::EventHub;
use super::hooks::Hooks;
use super::link::{Link, SHARED_BUFFER_BYTES};
use super::mailbox::Mailbox;
use super::metrics::LaneCells;
use super::store::Door;

use self::newcomers::Newcomers;

pub(crate) use self::message::{LaneMessage, Newcomer};

const BYTES_PER_TURN: usize = 1 << 20;
/// In tests so few that polls are full all the time.
const EVENTS_PER_POLL: usize = if cfg!(test) { 4 } else { 1024 };

/// What a lane has in common with the others.
pub(crate) struct Neighbours {
    pub(crate) mailboxes: Vec<Arc<Mailbox<LaneMessage>>>,
    pub(crate) commons: Arc<SharedCommons>,
    pub(crate) events: Arc<EventHub>,
    pub(crate) hooks: Arc<Hooks>,
}

/// A shard and its sockets.
pub(crate) struct Lane {
    id: ShardId,
    shard: Shard,
    poll: Poll,
    events: Events,
    mailbox: Arc<Mailbox<LaneMessage>>,
    /// What was taken from the mailbox and is not handled yet.
    mail: VecDeque<LaneMessage>,
    links: Chunks<Option<Link>>,
    /// Links whose slot has a new connection already, until the end of the turn.
    leaving: Vec<Link>,
    /// Connections without a socket that are written last; empty between turns.
    pipes: Vec<ConnectionKey>,
    ready: VecDeque<ConnectionKey>,
    shared: Box<[u8]>,
    clock: Clock,
    cells: Arc<LaneCells>,
    store: Door,
    newcomers: Newcomers,
    /// How long they may wait.
    stall_max: Duration,
    last_panic: Option<Tick>,
    is_failed: bool,
    /// Everything that had come by then was read.
    read_through: Tick,
    /// When the poll was last asked for all, and how many of those it reported are not read yet.
    catching_up: (Tick, usize),
    stage: Stage,
    /// `Settle` was handled in this turn.
    is_settling: bool,
    /// The store does not know yet of what it was handed.
    is_store_waiting: bool,
    /// Something was sent to another lane since this one settled last.
    has_sent: bool,
    departure: Arc<Departure>,
    pub(crate) load: Load,
    pub(crate) partners: Partners,
    /// When it last changed hands, since the start of the broker.
    pub(crate) moved_at: Option<Duration>,
}

/// How far a lane is with ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Working,
    /// Nobody is read any more.
    Stopping,
    /// This turn is the last.
    Leaving,
    /// Ended or failed.
    Gone,
}

/// What a lane had to do lately; reset by whoever drives it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    pub(crate) turns: u64,
    /// Connections that were read, summed over the turns.
    pub(crate) connections: u64,
}

/// The last two connections that were read, as a client and one that answers it are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Partners {
    last: [Option<ConnectionKey>; 2],
    strangers: u64,
}

impl Partners {
    fn note(&mut self, key: ConnectionKey) {
        if !self.last.contains(&Some(key)) {
            self.last = [self.last[1], Some(key)];
            self.strangers += 1;
        }
    }

    /// How often another one than the last two was read.
    pub(crate) fn strangers(&self) -> u64 {
        self.strangers
    }
}

impl Lane {
    /// `poll` is what `mailbox` wakes.
    pub(crate) fn new(
        shard: (ShardId, Shard),
        (poll, mailbox): (Poll, Arc<Mailbox<LaneMessage>>),
        departure: Arc<Departure>,
        clock: Clock,
        cells: Arc<LaneCells>,
        (store, stall_max): (Door, Duration),
    ) -> Self {
        let (id, shard) = shard;
        Self {
            id,
            shard,
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            mailbox,
            mail: VecDeque::new(),
            links: Chunks::default(),
            leaving: Vec::new(),
            pipes: Vec::new(),
            ready: VecDeque::new(),
            shared: vec![0; SHARED_BUFFER_BYTES].into_boxed_slice(),
            clock,
            cells,
            store,
            newcomers: Newcomers::default(),
            stall_max,
            last_panic: None,
            is_failed: false,
            read_through: Tick(0),
            catching_up: (Tick(0), 0),
            stage: Stage::Working,
            is_settling: false,
            is_store_waiting: false,
            has_sent: false,
            departure,
            load: Load::default(),
            partners: Partners::default(),
            moved_at: None,
        }
    }

    pub(crate) fn id(&self) -> ShardId {
        self.id
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether the shard has panicked too often to go on.
    pub(crate) fn is_failed(&self) -> bool {
        self.is_failed
    }

    /// Does what there is to do, up to the bounds of a turn. What came until `polled` was reported by the poll.
    pub(crate) fn turn(&mut self, polled: Tick, neighbours: &Neighbours) {
        let began = self.clock.elapsed();
        let now = self.clock.now_at(began);
        let turn = &mut Turn { now, commons: &*neighbours.commons, deliveries_left: DELIVERIES_PER_TURN };
        self.shard.tell_subscriptions(neighbours.events.wants_subscriptions());
        self.look_at_store(turn);
        self.take_mail(turn);
        if self.stage == Stage::Working {
            if self.catching_up.1 == 0 {
                self.catching_up = (polled.max(self.read_through), self.ready.len());
            }
            if !neighbours.is_one_behind(self.id) {
                turn.deliveries_left = DELIVERIES_PER_TURN;
                self.read_ready(turn);
            }
            self.run_timers(turn);
            self.refuse_late(now.tick);
        }
        self.end_turn(turn, neighbours);
        self.load.turns += 1;
        self.cells.publish(&self.shard.stats());
        self.cells.note_turn(self.clock.elapsed().saturating_sub(began));
        self.end_stage();
    }

    fn run_timers(&mut self, turn: &mut Turn<'_>) {
        if self.catching_up.1 == 0 {
            self.read_through = self.catching_up.0;
        }
        let now = turn.now;
        turn.now.tick = self.read_through;
        turn.deliveries_left = DELIVERIES_PER_TURN;
        self.shard.handle_timeout(turn);
        turn.now = now;
    }

    /// As [`Self::note`] for a connection without a descriptor.
    fn note_pipe(&mut self, key: ConnectionKey) {
        let Some(link) = link_of(&mut self.links, key) else { return };
        link.is_readable = true;
        link.is_drained = false;
        link.is_hung_up |= link.transport.is_hung_up();
        if std::mem::take(&mut link.is_blocked) {
            self.shard.touch(key);
        }
        self.queue(key);
    }

    fn queue(&mut self, key: ConnectionKey) {
        if let Some(link) = link_of(&mut self.links, key)
            && !link.is_queued
        {
            link.is_queued = true;
            self.ready.push_back(key);
        }
    }

    fn take_mail(&mut self, turn: &mut Turn<'_>) {
        let mut bytes_left = BYTES_PER_TURN;
        while turn.deliveries_left > 0 && bytes_left > 0 {
            let Some(message) = self.mail.pop_front() else { break };
            bytes_left = bytes_left.saturating_sub(message.bytes());
            match message {
                LaneMessage::Attach(newcomer) if self.stage == Stage::Working => self.attach(turn, newcomer),
                // Too late: it is closed.
                LaneMessage::Attach(_) => {}
                LaneMessage::Answer { connection, verdict } if self.stage == Stage::Working => {
                    self.take_answer(turn, connection, verdict);
                }
                // Nothing new begins any more; its client was not told that it was taken.
                LaneMessage::Answer { .. } => {}
                LaneMessage::Stored(through) => self.shard.handle_stored(turn, through),
                LaneMessage::Fetched(fetched) => self.shard.handle_fetched(turn, fetched),
                // Every turn looks at it.
                LaneMessage::StoreRoom => {}
                LaneMessage::Shard(message) => self.shard.handle_message(turn, message),
                LaneMessage::PipeReady(key) => self.note_pipe(key),
                LaneMessage::Visit(visit) => {
                    // Whoever has the answer finds what came before it in the metrics.
                    self.cells.publish(&self.shard.stats());
                    visit(&mut self.shard, turn);
                }
                LaneMessage::Settle => {
                    self.settle();
                    // What follows belongs to the next round.
                    return;
                }
                LaneMessage::Leave => self.stage = Stage::Leaving,
            }
        }
    }
}

impl Neighbours {
    /// Whether the mailbox of another lane than `own` is full.
    fn is_one_behind(&self, own: ShardId) -> bool {
        let mut others = self.mailboxes.iter().zip(0_u16..).filter(|(_, number)| *number != own.0);
        others.any(|(mailbox, _)| mailbox.is_full())
    }
}

fn link_of(links: &mut Chunks<Option<Link>>, key: ConnectionKey) -> Option<&mut Link> {
    links.get_mut(key.slot as usize)?.as_mut().filter(|link| link.key == key)
}
