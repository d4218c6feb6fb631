//! QoS 1 and 2 towards a client: one queue per session, whose front is in flight, and whose end may be on disk alone: see
//! `paging`.

use culex_codec::{PacketId, QoS};

use crate::engine::connection::{Connections, Flags, Message, State};
use crate::engine::keys::{ConnectionKey, SessionKey};
use crate::engine::qos::{Outgoing, SendAction, Sending};
use crate::engine::session::{Queued, Stub};
use crate::engine::stats::Stats;
use crate::engine::store::Record;
use crate::engine::time::Tick;
use crate::limits::WhenFull;

use super::answers::Answer;
use super::{Event, Shard, Turn};

/// Drops are told once per session in this time.
const DROP_REPORT_INTERVAL_MS: u64 = 60_000;

/// Why a queue takes no more.
#[derive(Clone, Copy)]
enum Full {
    Session,
    /// All queues together.
    Total,
}

impl Shard {
    /// Puts a message at the end of a session's queue, or drops one by policy if it is full. `waits`: its publisher waits
    /// for full queues.
    pub(super) fn enqueue(&mut self, turn: &mut Turn<'_>, key: SessionKey, message: Queued, waits: bool) {
        if self.make_room(turn, key, &message, waits) {
            self.push(turn, key, message);
        }
    }

    /// Puts a message at the end of a session's queue, for which there is room.
    pub(super) fn push(&mut self, turn: &mut Turn<'_>, key: SessionKey, message: Queued) {
        let bytes = message.bytes();
        let stays = self.stays_in_memory(key, bytes);
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return };
        let makes_wait = session.makes_wait();
        self.stats.queue_messages += 1;
        self.stats.queue_bytes += bytes as u64;
        if stays {
            session.sender.push(message);
        } else {
            self.paging.note_out(&mut self.stats, 1, bytes);
            session.on_disk.get_or_insert_default().push_back(Stub::new(&message));
        }
        if makes_wait {
            self.note_length(turn.now.tick, key);
        }
        self.send_queued(turn, key);
    }

    /// Whether the queue takes one more.
    fn make_room(&mut self, turn: &Turn<'_>, key: SessionKey, newest: &Queued, waits: bool) -> bool {
        let mut freed = 0;
        loop {
            let Some(full) = self.full_for(turn, key, newest.bytes()) else { return true };
            if matches!(full, Full::Total) && freed > 0 && freed >= newest.bytes() {
                // It takes the place of what went for it. What others have beyond their room is not its debt.
                return true;
            }
            if self.drop_aged(turn, key) {
                continue;
            }
            let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return false };
            if waits && session.makes_wait() {
                // It was on its way when the queue became full.
                self.note_full(turn.now.tick, key);
                return true;
            }
            let oldest = match session.queue_limits(&self.limits).when_full {
                WhenFull::DropNewest | WhenFull::Block => None,
                WhenFull::DropOldest => session.drop_oldest_waiting(),
            };
            let is_done = oldest.is_none();
            let entry = oldest.map_or(newest.entry(), |(oldest, _)| oldest.entry);
            if let Some(session) = session.id {
                self.gate.record(Record::Done { session, entry });
            }
            if let Some((oldest, is_on_disk)) = oldest {
                freed += oldest.bytes();
                if is_on_disk {
                    self.paging.note_gone(&mut self.stats, 1, oldest.bytes());
                }
                self.note_dequeued(turn, 1, oldest.bytes());
            }
            match full {
                Full::Session => self.stats.dropped_queue_full += 1,
                Full::Total => self.stats.dropped_queue_total += 1,
            }
            self.note_drop(turn.now.tick, key);
            if is_done {
                return false;
            }
        }
    }

    /// The limit that is in the way of a message of `bytes`.
    fn full_for(&mut self, turn: &Turn<'_>, key: SessionKey, bytes: usize) -> Option<Full> {
        let session = self.sessions.get(key.slot, key.generation)?;
        let limits = session.queue_limits(&self.limits);
        // An empty queue takes any message that was accepted at all. So whoever keeps up is served, however much waits
        // for others.
        if session.queued_len() == 0 && session.connection.is_some() {
            return None;
        }
        let messages = session.queued_len() as u64 + 1;
        let total = session.queued_bytes() as u64 + bytes as u64;
        if messages > 1 && (limits.messages.is_exceeded_by(messages) || limits.bytes.is_exceeded_by(total)) {
            return Some(Full::Session);
        }
        (!self.queue_room.has_for(turn.commons, &self.stats, bytes)).then_some(Full::Total)
    }

    /// Drops what has waited for longer than its session wants, from the front; says whether there was any. None in flight
    /// is dropped.
    fn drop_aged(&mut self, turn: &Turn<'_>, key: SessionKey) -> bool {
        let mut has_dropped = false;
        while let Some(session) = self.sessions.get_mut(key.slot, key.generation)
            && session.has_aged(turn.now.wall)
            && let Some(aged) = session.sender.drop_oldest_waiting()
        {
            if let Some(session) = session.id {
                self.gate.record(Record::Done { session, entry: aged.entry() });
            }
            self.note_dequeued(turn, 1, aged.bytes());
            self.stats.dropped_aged += 1;
            self.note_drop(turn.now.tick, key);
            has_dropped = true;
        }
        has_dropped
    }

    /// A message to a session was dropped: tells it now or with the next ones.
    pub(super) fn note_drop(&mut self, now: Tick, key: SessionKey) {
        let Some(session) = self.session_mut(key) else { return };
        session.drops_unreported += 1;
        let is_due = session.drops_reported.is_none_or(|at| now.0 >= at.0 + DROP_REPORT_INTERVAL_MS);
        if is_due {
            session.drops_reported = Some(now);
            let dropped = std::mem::take(&mut session.drops_unreported);
            let client_id = session.client_id.clone();
            self.event(Event::Dropped { client_id, dropped });
        }
    }

    /// A session has `messages` and `bytes` fewer in its queue.
    pub(super) fn note_dequeued(&mut self, turn: &Turn<'_>, messages: usize, bytes: usize) {
        self.stats.queue_messages = self.stats.queue_messages.saturating_sub(messages as u64);
        self.stats.queue_bytes = self.stats.queue_bytes.saturating_sub(bytes as u64);
        self.queue_room.settle(turn.commons, &self.stats);
    }

    /// Sends as long as the window and the outbox have room, and fetches what comes next if only the store has it.
    pub(super) fn send_queued(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        self.drop_aged(turn, key);
        self.send_from_memory(turn, key);
        self.page_in(key);
    }

    /// First what was in flight when the last connection ended, in the original order [MQTT-4.4.0-1, MQTT-4.6.0-1], then
    /// what waits.
    fn send_from_memory(&mut self, turn: &mut Turn<'_>, key: SessionKey) {
        loop {
            let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return };
            let Some(connection_key) = session.connection.filter(|_| session.sender.has_next()) else {
                return;
            };
            let Some(connection) = self.connections.get(connection_key) else { return };
            if connection.state != State::Open
                || connection.outbox.len() as u64 >= self.limits.outbox_bytes.get()
            {
                return;
            }
            let session = if self.gatekeeper.looks_at(session) {
                self.drop_denied(turn, key);
                let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return };
                session
            } else {
                session
            };
            // Nothing overtakes a message whose body has to be fetched.
            if session.sender.next_message().is_some_and(|next| next.body().is_none()) {
                return;
            }
            let Some(Sending { packet_id, ordinal, action }) = session.sender.next_to_send() else { return };
            match (action, session.id) {
                (SendAction::Publish { message, qos: QoS::ExactlyOnce, is_dup }, Some(id)) => {
                    // It leaves only when message and Packet Identifier are stored: after a crash the same id must
                    // mean the same message.
                    let queued = message.clone();
                    if !is_dup {
                        self.gate.record(Record::InFlight { session: id, entry: queued.entry(), ordinal });
                    }
                    self.answer(turn, connection_key, Answer::Publish { packet_id, queued, is_dup }, true);
                }
                (SendAction::Publish { message, qos, is_dup }, _) => {
                    let flags =
                        Flags { qos, is_dup, is_retain: message.is_retain(), packet_id: Some(packet_id) };
                    send_publish(&mut self.connections, &mut self.stats, connection_key, message, flags);
                }
                (SendAction::PubRel, id) => {
                    self.answer(turn, connection_key, Answer::PubRel(packet_id), id.is_some());
                }
            }
        }
    }

    /// A QoS 2 message that waited for the store.
    pub(super) fn send_stored(
        &mut self,
        key: ConnectionKey,
        packet_id: PacketId,
        queued: &Queued,
        is_dup: bool,
    ) {
        let flags = Flags {
            qos: QoS::ExactlyOnce,
            is_dup,
            is_retain: queued.is_retain(),
            packet_id: Some(packet_id),
        };
        send_publish(&mut self.connections, &mut self.stats, key, queued, flags);
    }
}

fn send_publish(
    connections: &mut Connections,
    stats: &mut Stats,
    key: ConnectionKey,
    queued: &Queued,
    flags: Flags,
) {
    // What has no body is not sent.
    let Some(body) = queued.body() else { return };
    // A Retained Message has a number of its own in each queue.
    let message = Message { kept: Some((queued.entry(), &**body)), ..Message::from(&**body) };
    if connections.send_publish(key, &message, flags) {
        stats.note_sent(flags.qos);
        stats.payload_bytes_sent += message.payload.len() as u64;
    }
}
