//! A lane: one shard with its poll, its connections and its mailbox, driven by one thread at a time.
//!
//! ```text
//!   turn:  poll ─► mailbox ─► timers ─► read each ready connection once ─► shard
//!          end of turn, always in this order:
//!             store batch ─► one batch per neighbour ─► one vectored write per touched connection
//! ```
//!
//! Messages of other lanes, what was left over, and new bytes have a budget of deliveries each, so none keeps the others
//! waiting. While a neighbour's mailbox is full, no connection is read.
//!
//! The store knows a publication before anybody can acknowledge it, because its batch is handed over first. A turn
//! is bounded in connections, bytes and deliveries; what is left over stays in the queue of ready connections,
//! because an edge that was reported once is not reported again.
//!
//! Cost of a message in steady state: one poll, one read, one write; with many in a turn their share of each.

mod ending;
mod message;
mod reading;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token};

use crate::engine::chunks::Chunks;
use crate::engine::keys::{ConnectionKey, ShardId};
use crate::engine::shard::{DELIVERIES_PER_TURN, Shard, Turn};
use crate::engine::time::Tick;

use super::clock::Clock;
use super::commons::SharedCommons;
use super::events::EventHub;
use super::link::{Link, SHARED_BUFFER_BYTES};
use super::mailbox::{MAILBOX, Mailbox};
use super::metrics::LaneCells;
use super::refuse::refusal_bytes;
use super::store;

pub(crate) use self::message::{LaneMessage, Newcomer};

const BYTES_PER_TURN: usize = 1 << 20;
const EVENTS_PER_POLL: usize = 1024;
/// How soon a lane that waits for a full neighbour looks again.
const FULL_NEIGHBOUR_PAUSE: Duration = Duration::from_millis(1);

/// Why a lane gave up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    /// The operating system's poll failed.
    #[error("waiting for connections failed: {0}")]
    Poll(#[from] io::Error),
    /// The shard panicked twice within a minute.
    #[error("shard {0} panicked twice within a minute")]
    Panicked(u16),
}

/// What a lane has in common with the others.
pub(crate) struct Neighbours {
    pub(crate) mailboxes: Vec<Arc<Mailbox<LaneMessage>>>,
    pub(crate) commons: Arc<SharedCommons>,
    pub(crate) events: Arc<EventHub>,
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
    ready: VecDeque<ConnectionKey>,
    shared: Box<[u8]>,
    clock: Clock,
    cells: Arc<LaneCells>,
    store: store::Memory,
    last_panic: Option<Tick>,
    is_failed: bool,
    is_stopping: bool,
}

impl Lane {
    pub(crate) fn new(id: ShardId, shard: Shard, clock: Clock, cells: Arc<LaneCells>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mailbox = Mailbox::new(&poll)?;
        Ok(Self {
            id,
            shard,
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            mailbox,
            mail: VecDeque::new(),
            links: Chunks::default(),
            leaving: Vec::new(),
            ready: VecDeque::new(),
            shared: vec![0; SHARED_BUFFER_BYTES].into_boxed_slice(),
            clock,
            cells,
            store: store::Memory,
            last_panic: None,
            is_failed: false,
            is_stopping: false,
        })
    }

    pub(crate) fn mailbox(&self) -> Arc<Mailbox<LaneMessage>> {
        Arc::clone(&self.mailbox)
    }

    /// Drives the lane until it is told to stop.
    pub(crate) fn run(mut self, neighbours: &Neighbours) -> Result<(), LaneError> {
        while !self.is_stopping {
            self.wait(neighbours)?;
            self.turn(neighbours);
            if self.is_failed {
                return Err(LaneError::Panicked(self.id.0));
            }
        }
        for link in self.links.iter_from(0).flatten() {
            link.transport().shutdown();
        }
        Ok(())
    }

    fn wait(&mut self, neighbours: &Neighbours) -> io::Result<()> {
        let is_held_back = !self.ready.is_empty() && neighbours.is_one_behind(self.id);
        let may_sleep =
            self.mail.is_empty() && (self.ready.is_empty() || is_held_back) && self.mailbox.park();
        let timeout = match self.shard.poll_timeout() {
            _ if !may_sleep => Some(Duration::ZERO),
            Some(at) => Some(at.since(self.clock.now().tick)),
            None => None,
        };
        let timeout = match timeout {
            Some(timeout) if is_held_back => Some(timeout.min(FULL_NEIGHBOUR_PAUSE)),
            None if is_held_back => Some(FULL_NEIGHBOUR_PAUSE),
            timeout => timeout,
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    fn turn(&mut self, neighbours: &Neighbours) {
        let now = self.clock.now();
        let turn = &mut Turn { now, commons: &*neighbours.commons, deliveries_left: DELIVERIES_PER_TURN };
        self.shard.tell_subscriptions(neighbours.events.wants_subscriptions());
        self.note_events();
        self.take_mail(turn);
        turn.deliveries_left = DELIVERIES_PER_TURN;
        self.shard.handle_timeout(turn);
        if !neighbours.is_one_behind(self.id) {
            turn.deliveries_left = DELIVERIES_PER_TURN;
            self.read_ready(turn);
        }
        self.end_turn(turn, neighbours);
        self.cells.publish(&self.shard.stats());
    }

    fn note_events(&mut self) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in events.iter().filter(|event| event.token() != MAILBOX) {
            self.note(event);
        }
        self.events = events;
    }

    fn note(&mut self, event: &Event) {
        let Some(Some(link)) = self.links.get_mut(event.token().0) else { return };
        let is_over = event.is_read_closed() || event.is_error();
        link.is_readable |= event.is_readable() || is_over;
        link.is_hung_up |= is_over;
        if event.is_writable() && link.is_blocked {
            link.is_blocked = false;
            self.shard.touch(link.key);
        }
        let key = link.key;
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
        if self.mail.is_empty() {
            self.mailbox.take(&mut self.mail);
        }
        let mut bytes_left = BYTES_PER_TURN;
        while turn.deliveries_left > 0 && bytes_left > 0 {
            let Some(message) = self.mail.pop_front() else { break };
            bytes_left = bytes_left.saturating_sub(message.bytes());
            match message {
                LaneMessage::Attach(newcomer) => self.attach(turn, *newcomer),
                LaneMessage::Shard(message) => self.shard.handle_message(turn, message),
                LaneMessage::Visit(visit) => visit(&mut self.shard, turn),
                LaneMessage::Stop => self.is_stopping = true,
            }
        }
    }

    fn attach(&mut self, turn: &mut Turn<'_>, newcomer: Newcomer) {
        let Newcomer { mut transport, admission, unread, permit } = newcomer;
        let version = admission.version;
        let key = match self.shard.handle_attach(turn, admission) {
            Ok(key) => key,
            Err(refusal) => {
                if let Some(bytes) = refusal_bytes(version, refusal) {
                    // A new socket has room for four bytes; if it has not, the peer gets the close alone.
                    let _ = transport.write_vectored(&[io::IoSlice::new(&bytes)]);
                }
                transport.finish(&mut self.shared);
                return;
            }
        };
        let slot = key.slot as usize;
        while self.links.len() <= slot {
            self.links.push(None);
        }
        // Registering reports what is there already, so nothing that came meanwhile is missed.
        let is_registered = transport.register(self.poll.registry(), Token(slot)).is_ok();
        if let Some(place) = self.links.get_mut(slot) {
            // A take-over in this turn: the old connection is closed at its end.
            self.leaving.extend(place.replace(Link::new(key, transport, unread, permit)));
        }
        if !is_registered {
            self.shard.handle_lost(turn, key);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Nobody is left to take what comes: a connection on its way here is closed.
        self.mailbox.close();
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
