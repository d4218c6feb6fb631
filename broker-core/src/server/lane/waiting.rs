//! Before a turn: how long the lane may sleep, and what its poll reports.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};

use crate::engine::keys::ShardId;
use crate::engine::time::Tick;

use super::super::mailbox::MAILBOX;
use super::{EVENTS_PER_POLL, Lane, Neighbours, Stage};

/// How soon a lane that waits for a full neighbour looks again.
const FULL_NEIGHBOUR_PAUSE: Duration = Duration::from_millis(1);
/// Tokens of guests lie below the mailbox's, counted down; those of connections are slots, counted up.
const FIRST_GUEST: usize = MAILBOX.0 - 1;

impl Lane {
    /// How long whoever drives the lane may sleep; `None` is until something happens. Unless it is zero, the mailbox
    /// wakes the lane's poll from now on.
    pub(crate) fn park(&mut self, now: Tick, neighbours: &Neighbours) -> Option<Duration> {
        let is_held_back = self.has_ready() && neighbours.is_one_behind(self.id);
        let may_sleep = self.mail.is_empty() && (!self.has_ready() || is_held_back) && self.mailbox.park();
        match self.next_timeout() {
            _ if !may_sleep => Some(Duration::ZERO),
            // Timers wait for what was not read.
            Some(at) if is_held_back && at > Tick(0) => Some(FULL_NEIGHBOUR_PAUSE),
            None if is_held_back => Some(FULL_NEIGHBOUR_PAUSE),
            Some(at) => Some(at.since(now)),
            None => None,
        }
    }

    /// Whether a turn would find something to do. Messages do not wake the lane from now on.
    pub(crate) fn has_work(&mut self, now: Tick) -> bool {
        self.has_mail() || self.has_ready() || self.next_timeout().is_some_and(|at| at <= now)
    }

    /// Whether there are messages. They do not wake the lane from now on.
    pub(crate) fn has_mail(&mut self) -> bool {
        if self.mail.is_empty() {
            self.mailbox.take(&mut self.mail);
        }
        !self.mail.is_empty()
    }

    fn has_ready(&self) -> bool {
        self.stage == Stage::Working && !self.ready.is_empty()
    }

    fn next_timeout(&self) -> Option<Tick> {
        if self.stage != Stage::Working {
            return None;
        }
        self.shard.poll_timeout().into_iter().chain(self.newcomers.next_timeout()).min()
    }

    /// Waits at most `timeout` and notes everything that the poll reports. `false` if there may be more already.
    pub(crate) fn poll(
        &mut self,
        mut timeout: Option<Duration>,
        mut on_guest: impl FnMut(ShardId),
    ) -> io::Result<bool> {
        // What was reported comes last next time, so after so many polls all that was there is noted: nobody is
        // silent because we have not looked, and a poll within another, which reports edges, is left empty.
        for _ in 0..=self.links.len() / EVENTS_PER_POLL {
            match self.poll.poll(&mut self.events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
                result => result?,
            }
            let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            let mut count = 0;
            for event in &events {
                count += 1;
                match event.token() {
                    MAILBOX => {}
                    token => match guest_of(token) {
                        Some(guest) => on_guest(guest),
                        None => self.note(event),
                    },
                }
            }
            self.events = events;
            if count < EVENTS_PER_POLL {
                return Ok(true);
            }
            timeout = Some(Duration::ZERO);
        }
        Ok(false)
    }

    /// Whether the last poll reported anything.
    pub(crate) fn has_reported(&self) -> bool {
        !self.events.is_empty()
    }

    fn note(&mut self, event: &Event) {
        let Some(Some(link)) = self.links.get_mut(event.token().0) else { return };
        let is_over = event.is_read_closed() || event.is_error();
        link.is_readable |= event.is_readable() || is_over;
        link.is_hung_up |= is_over;
        link.is_drained &= !event.is_readable();
        if event.is_writable() && link.is_blocked {
            link.is_blocked = false;
            self.shard.touch(link.key);
        }
        let key = link.key;
        self.queue(key);
    }

    /// From now on this lane's poll reports when the guest's has something. What it has already is reported too.
    pub(crate) fn nest(&self, guest: &Self) -> io::Result<()> {
        let token = Token(FIRST_GUEST - usize::from(guest.id.0));
        let fd = guest.poll.as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    /// The guest's poll is waited for by somebody else from now on.
    pub(crate) fn release(&self, guest: &Self) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&guest.poll.as_raw_fd()))
    }

    /// Forgets what was taken and not handled, for a lane that has failed.
    pub(super) fn drop_mail(&mut self) {
        self.mail = VecDeque::new();
    }
}

fn guest_of(token: Token) -> Option<ShardId> {
    u16::try_from(FIRST_GUEST.checked_sub(token.0)?).ok().map(ShardId)
}
