//! Connections that come in: bound to their sessions, or left waiting while the store has no room for what they bring.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use culex_codec::ProtocolVersion;
use mio::Token;

use crate::engine::error::{CloseReason, Refusal};
use crate::engine::shard::{StoreRoom, Turn};
use crate::engine::time::Tick;

use super::super::link::Link;
use super::super::refuse::refusal_bytes;
use super::super::transport::Transport;
use super::{Lane, LaneMessage, Newcomer};

/// CONNECT packets that wait for the store, oldest first, with the time until which they may. Each has its place among
/// all connections, so the limits on those bound them.
#[derive(Default)]
pub(super) struct Newcomers(VecDeque<(Tick, Box<Newcomer>)>);

impl Newcomers {
    /// When the first one has waited long enough.
    pub(super) fn next_timeout(&self) -> Option<Tick> {
        self.0.front().map(|(at, _)| *at)
    }

    /// Closes all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Lane {
    /// Looks at how much the store takes. When it takes everything again, those who waited come first.
    pub(super) fn look_at_store(&mut self, turn: &mut Turn<'_>) {
        let room = self.store.room();
        self.shard.handle_store_room(turn, room);
        if room == StoreRoom::Free {
            while let Some((_, newcomer)) = self.newcomers.0.pop_back() {
                self.mail.push_front(LaneMessage::Attach(newcomer));
            }
        }
    }

    /// Those who have waited too long are told that the server is unavailable.
    pub(super) fn refuse_late(&mut self, now: Tick) {
        while self.newcomers.next_timeout().is_some_and(|at| at <= now) {
            let Some((_, newcomer)) = self.newcomers.0.pop_front() else { return };
            let Newcomer { transport, admission, .. } = *newcomer;
            self.turn_away(transport, admission.version, Refusal::StoreFull);
            self.shard.refuse(admission, Refusal::StoreFull);
        }
    }

    pub(super) fn attach(&mut self, turn: &mut Turn<'_>, newcomer: Box<Newcomer>) {
        if self.shard.must_wait(turn, &newcomer.admission) {
            self.newcomers.0.push_back((turn.now.tick.after(self.stall_max), newcomer));
            return;
        }
        let Newcomer { transport, admission, unread, permit } = *newcomer;
        let version = admission.version;
        let key = match self.shard.handle_attach(turn, admission) {
            Ok(key) => key,
            Err(refusal) => return self.turn_away(transport, version, refusal),
        };
        let slot = key.slot as usize;
        while self.links.len() <= slot {
            self.links.push(None);
        }
        // Registering reports what is there already, so nothing that came meanwhile is missed.
        let mailbox = Arc::clone(&self.mailbox);
        let notify = move || mailbox.send([LaneMessage::PipeReady(key)], 0);
        let is_registered = transport.register(self.poll.registry(), Token(slot), notify).is_ok();
        if let Some(place) = self.links.get_mut(slot) {
            // A take-over in this turn: the old connection is closed at its end.
            self.leaving.extend(place.replace(Link::new(key, transport, unread, permit)));
        }
        if !is_registered {
            self.shard.handle_lost(turn, key);
        }
    }

    fn turn_away(&mut self, mut transport: Transport, version: ProtocolVersion, refusal: Refusal) {
        if let Some(bytes) = refusal_bytes(version, refusal) {
            // A new socket has room for four bytes; if it has not, the peer gets the close alone.
            let _ = transport.write_vectored(&[io::IoSlice::new(&bytes)]);
        }
        transport.note_fate(CloseReason::Refused(refusal));
        transport.finish(&mut self.shared);
    }
}
