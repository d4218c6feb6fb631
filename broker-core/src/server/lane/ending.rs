//! The end of a turn: what the shard wants done is done, then what it wrote is written.
//!
//! What is written to sockets goes first, and wakes clients that wait for it. To wake a thread of this process before may
//! take a core from them: on two cores a store that begins its transaction first costs a tenth of a millisecond.

use crate::engine::error::CloseReason;
use crate::engine::keys::ConnectionKey;
use crate::engine::outbox::Outbox;
use crate::engine::shard::{Effect, ShardMessage, Turn};

use super::super::link::WriteOutcome;
use super::super::transport::Transport;
use super::{Lane, LaneMessage, Neighbours, link_of};

/// A turn that writes to more connections lets the store begin meanwhile: each write takes some microseconds.
const WRITES_BEFORE_STORE: usize = 32;

impl Lane {
    pub(super) fn end_turn(&mut self, turn: &mut Turn<'_>, neighbours: &Neighbours) {
        loop {
            self.shard.end_turn();
            let mut is_done = true;
            while let Some(effect) = self.shard.poll_effect() {
                is_done &= !matches!(effect, Effect::Store(_));
                self.carry_out(turn, neighbours, effect);
            }
            if is_done {
                break;
            }
            self.is_store_waiting = true;
        }
        // Writing closes nothing, so nothing is left to be carried out after it.
        self.write_touched();
    }

    /// Lets the store begin with what was handed over, if it was not told yet.
    pub(crate) fn wake_store(&mut self) {
        if std::mem::take(&mut self.is_store_waiting) {
            self.store.wake();
        }
    }

    fn carry_out(&mut self, turn: &mut Turn<'_>, neighbours: &Neighbours, effect: Effect) {
        match effect {
            Effect::Store(batch) => {
                if let Some(through) = self.store.keep(batch) {
                    self.shard.handle_stored(turn, through);
                }
            }
            Effect::Fetch(fetch) => self.store.read(fetch),
            Effect::Send { to, messages } => {
                if let Some(mailbox) = neighbours.mailboxes.get(usize::from(to.0)) {
                    let bytes = messages.iter().map(ShardMessage::bytes).sum();
                    self.has_sent = true;
                    mailbox.send(messages.into_iter().map(LaneMessage::Shard), bytes);
                }
            }
            Effect::SendAll(message) => {
                self.has_sent = true;
                for mailbox in &neighbours.mailboxes {
                    mailbox.send([LaneMessage::Shard(message.clone())], message.bytes());
                }
            }
            Effect::Close { connection, outbox, reason } => self.close(connection, outbox, Some(reason)),
            Effect::Ask { connection, question } => self.ask(neighbours, connection, *question),
            Effect::Resume { connection } => self.queue(connection),
            Effect::Event(event) => neighbours.events.tell(event),
        }
    }

    pub(super) fn close(&mut self, key: ConnectionKey, mut outbox: Outbox, reason: Option<CloseReason>) {
        let link =
            self.links.get_mut(key.slot as usize).and_then(|place| place.take_if(|link| link.key == key));
        let link = link.or_else(|| {
            let place = self.leaving.iter().position(|link| link.key == key)?;
            Some(self.leaving.swap_remove(place))
        });
        if let Some(mut link) = link {
            if let Some(reason) = reason {
                link.transport.note_fate(reason);
            }
            let written = link.finish(&mut outbox, &mut self.shared);
            self.shard.handle_written(key, written);
        }
    }

    fn write_touched(&mut self) {
        let mut writes = 0;
        loop {
            while let Some(key) = self.shard.next_touched() {
                let Some(link) = link_of(&mut self.links, key) else { continue };
                if matches!(link.transport, Transport::Pipe(_)) {
                    self.pipes.push(key);
                    continue;
                }
                self.write(key);
                writes += 1;
                if writes == WRITES_BEFORE_STORE {
                    self.wake_store();
                }
            }
            let Some(key) = self.pipes.pop() else { break };
            self.write(key);
        }
    }

    fn write(&mut self, key: ConnectionKey) {
        let Some(link) = link_of(&mut self.links, key) else { return };
        if link.is_blocked {
            return;
        }
        let Some(outbox) = self.shard.outbox(key) else { return };
        let before = outbox.len();
        let outcome = link.write(outbox);
        let written = before - outbox.len();
        match outcome {
            WriteOutcome::Drained => {
                self.shard.handle_written(key, written);
                // It may have been left unread while it was blocked.
                if link.is_ready() {
                    self.queue(key);
                }
            }
            WriteOutcome::Blocked => self.shard.handle_written(key, written),
            WriteOutcome::Broken => {
                outbox.advance(before);
                self.shard.handle_written(key, 0);
                self.queue(key);
            }
        }
    }
}
