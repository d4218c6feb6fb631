//! A lane: one shard with its poll, its connections and its mailbox, driven by one thread at a time.
//!
//! ```text
//!   turn:  poll ─► mailbox ─► timers ─► read each ready connection once ─► shard
//!          end of turn, always in this order:
//!             store batch ─► one batch per neighbour ─► one vectored write per touched connection
//! ```
//!
//! A turn is bounded in connections and bytes; what is left over stays in the queue of ready connections, because
//! an edge that was reported once is not reported again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token};

use crate::engine::keys::ConnectionKey;
use crate::engine::shard::Shard;

use super::clock::Clock;
use super::link::{Link, ReadOutcome, SHARED_BUFFER_BYTES, WriteOutcome};
use super::mailbox::{MAILBOX, Mailbox};
use super::transport::Transport;

const CONNECTIONS_PER_TURN: usize = 64;
const BYTES_PER_TURN: usize = 1 << 20;
const EVENTS_PER_POLL: usize = 1024;

/// What a lane is told from outside.
pub(crate) enum LaneMessage {
    /// A new connection.
    Attach(Transport),
    /// End.
    Stop,
}

/// A shard and its sockets.
pub(crate) struct Lane {
    shard: Shard,
    poll: Poll,
    events: Events,
    mailbox: Arc<Mailbox<LaneMessage>>,
    messages: Vec<LaneMessage>,
    links: Vec<Option<Link>>,
    ready: VecDeque<ConnectionKey>,
    shared: Box<[u8]>,
    clock: Clock,
    is_stopping: bool,
}

impl Lane {
    pub(crate) fn new(shard: Shard, clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mailbox = Mailbox::new(&poll)?;
        Ok(Self {
            shard,
            poll,
            events: Events::with_capacity(EVENTS_PER_POLL),
            mailbox,
            messages: Vec::new(),
            links: Vec::new(),
            ready: VecDeque::new(),
            shared: vec![0; SHARED_BUFFER_BYTES].into_boxed_slice(),
            clock,
            is_stopping: false,
        })
    }

    pub(crate) fn mailbox(&self) -> Arc<Mailbox<LaneMessage>> {
        Arc::clone(&self.mailbox)
    }

    /// Drives the lane until it is told to stop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        while !self.is_stopping {
            self.wait()?;
            self.turn();
        }
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let may_sleep = self.ready.is_empty() && self.mailbox.park();
        let timeout = if may_sleep { None } else { Some(Duration::ZERO) };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    fn turn(&mut self) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            if event.token() != MAILBOX {
                self.note(event);
            }
        }
        self.events = events;
        self.take_mail();
        self.read_ready();
        self.write_touched();
    }

    fn note(&mut self, event: &Event) {
        let Some(Some(link)) = self.links.get_mut(event.token().0) else { return };
        link.is_readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        link.is_hung_up |= event.is_read_closed() || event.is_error();
        if !link.is_queued {
            link.is_queued = true;
            self.ready.push_back(link.key);
        }
    }

    fn take_mail(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        self.mailbox.take(&mut messages);
        for message in messages.drain(..) {
            match message {
                LaneMessage::Attach(transport) => self.attach(transport),
                LaneMessage::Stop => self.is_stopping = true,
            }
        }
        self.messages = messages;
    }

    fn attach(&mut self, transport: Transport) {
        let key = self.shard.attach();
        let slot = key.slot as usize;
        if self.links.len() <= slot {
            self.links.resize_with(slot + 1, || None);
        }
        if transport.register(self.poll.registry(), Token(slot)).is_ok()
            && let Some(place) = self.links.get_mut(slot)
        {
            *place = Some(Link::new(key, transport));
        }
    }

    fn read_ready(&mut self) {
        let mut bytes_left = BYTES_PER_TURN;
        for _ in 0..self.ready.len().min(CONNECTIONS_PER_TURN) {
            let Some(key) = self.ready.pop_front() else { return };
            let Some(Some(link)) = self.links.get_mut(key.slot as usize) else { continue };
            link.is_queued = false;
            if link.is_blocked {
                self.shard.touch(key);
            }
            if !link.is_readable {
                continue;
            }
            let shard = &mut self.shard;
            match link.read(&mut self.shared, |bytes| shard.handle_bytes(key, bytes)) {
                ReadOutcome::Bytes(count) => bytes_left = bytes_left.saturating_sub(count),
                ReadOutcome::Nothing => {}
                ReadOutcome::Ended => {
                    self.shard.detach(key);
                    self.links[key.slot as usize] = None;
                    continue;
                }
            }
            if link.is_readable {
                link.is_queued = true;
                self.ready.push_back(key);
            }
            if bytes_left == 0 {
                return;
            }
        }
    }

    fn write_touched(&mut self) {
        while let Some(key) = self.shard.next_touched() {
            let Some(Some(link)) = self.links.get_mut(key.slot as usize) else { continue };
            let Some(outbox) = self.shard.outbox(key) else { continue };
            match link.write(outbox) {
                WriteOutcome::Drained => self.shard.drained(key),
                WriteOutcome::Blocked => {}
                WriteOutcome::Broken => {
                    self.shard.detach(key);
                    self.links[key.slot as usize] = None;
                }
            }
        }
    }
}
