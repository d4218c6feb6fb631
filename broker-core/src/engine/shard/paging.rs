//! Queues longer than memory: bodies that only the store has.
//!
//! A body may be forgotten as soon as its message is in the queue, stored or not, because reading goes the way of
//! writing: whoever published handed the record to the store before the message came here, and a [`Fetch`] is handed over
//! later still. The store serves it when it has kept everything before it.
//!
//! | a message comes for a session | its body stays in memory |
//! | --- | --- |
//! | that does not outlive its connection | always: no store has it |
//! | part of whose queue is on disk | never: it goes behind that |
//! | with a connection | within `queue_memory_bytes`, or as one of the next ones |
//! | without a connection | within half of `queue_memory_bytes` |
//!
//! So sessions that nobody reads leave half of the memory to those that somebody does. When a connection ends and more than
//! half is in use, the bodies of its session are forgotten. A connected session fetches when less than half a window of
//! what waits is in memory, with one [`Fetch`] at a time.
//!
//! Cost: a message of a queue that is in memory a comparison or two; on disk 16 bytes, and one read of the store for up to
//! 512 messages.

use std::sync::Arc;

use culex_codec::QoS;

use crate::engine::keys::{PublicationId, SessionKey};
use crate::engine::publication::Publication;
use crate::engine::qos::{Outgoing, PubrecOutcome, SendAction};
use crate::engine::session::{Asked, OnDisk, Queued, Session, Stub};
use crate::engine::stats::Stats;
use crate::engine::store::Record;
use crate::limits::Limit;

use super::{Event, Fetch, Fetched, Shard, Turn};

/// How much of what waits is fetched at a time, and so held in memory beside what is in flight.
#[derive(Clone, Copy)]
struct Window {
    messages: usize,
    bytes: usize,
}

/// While there is memory. With a small limit it has fewer bytes.
const WINDOW: Window = Window { messages: 512, bytes: 256 << 10 };
/// One window takes this part of the limit at most.
const WINDOWS_MIN: u64 = 16;
/// Beyond the limit windows are so much smaller: everybody who is connected gets on, and very many of them take little.
const SHORTAGE: usize = 8;

/// What is asked of the store.
#[derive(Debug, Default)]
pub(super) struct Paging {
    fetches: Vec<Fetch>,
    /// Bytes that were asked for and have not come.
    asked_bytes: u64,
}

impl Window {
    /// At least one message of any size has room in it.
    const fn part(self, divisor: usize) -> Self {
        let Self { messages, bytes } = self;
        Self { messages: messages / divisor, bytes: if bytes < divisor { 1 } else { bytes / divisor } }
    }
}

impl Paging {
    pub(super) fn take_fetches(&mut self) -> impl Iterator<Item = Fetch> + use<> {
        std::mem::take(&mut self.fetches).into_iter()
    }

    /// Bodies of messages in the queues were forgotten.
    pub(super) const fn note_out(&self, stats: &mut Stats, messages: usize, bytes: usize) {
        stats.queue_disk_messages += messages as u64;
        stats.queue_disk_bytes += bytes as u64;
    }

    /// Messages without a body got one, or left their queue.
    pub(super) const fn note_gone(&self, stats: &mut Stats, messages: usize, bytes: usize) {
        stats.queue_disk_messages = stats.queue_disk_messages.saturating_sub(messages as u64);
        stats.queue_disk_bytes = stats.queue_disk_bytes.saturating_sub(bytes as u64);
    }

    /// A session has ended.
    pub(super) fn note_end(&mut self, stats: &mut Stats, on_disk: &OnDisk) {
        self.note_gone(stats, on_disk.tail_len() + on_disk.bare, on_disk.tail_bytes() + on_disk.bare_bytes);
        if let Some(asked) = on_disk.asked {
            self.asked_bytes = self.asked_bytes.saturating_sub(asked.bytes as u64);
        }
    }
}

impl Shard {
    /// Bytes of bodies that are in memory, or were asked for.
    pub(super) const fn queue_memory(&self) -> u64 {
        let Stats { queue_bytes, queue_disk_bytes, .. } = self.stats;
        queue_bytes.saturating_sub(queue_disk_bytes) + self.paging.asked_bytes
    }

    /// Whether `bytes` more exceed this part of the limit: 1 is all of it, 2 is half.
    const fn is_memory_short(&self, bytes: usize, part: u64) -> bool {
        match self.limits.queue_memory_bytes {
            Limit::AtMost(limit) => self.queue_memory() + bytes as u64 > limit.get() / part,
            Limit::Unlimited => false,
        }
    }

    /// The window of a session, while memory is short or not.
    fn window(&self, is_short: bool) -> Window {
        let part = self.limits.queue_memory_bytes.get() / WINDOWS_MIN;
        let bytes = usize::try_from(part).unwrap_or(usize::MAX).min(WINDOW.bytes);
        Window { bytes, ..WINDOW }.part(if is_short { SHORTAGE } else { 1 })
    }

    /// Whether a message that comes now keeps its body; see the table above.
    pub(super) fn stays_in_memory(&self, key: SessionKey, bytes: usize) -> bool {
        let Some(session) = self.session(key) else { return true };
        if session.id.is_none() {
            return true;
        }
        if session.tail_len() > 0 {
            return false;
        }
        match session.connection {
            Some(_) => !self.is_memory_short(bytes, 1) || has_room(session, self.window(true)),
            None => !self.is_memory_short(bytes, 2),
        }
    }

    /// A session was restored, with or without its bodies.
    pub(super) fn note_restored(&mut self, session: &mut Session) {
        if let Some(on_disk) = &session.on_disk {
            let messages = on_disk.tail_len() + on_disk.bare;
            self.paging.note_out(&mut self.stats, messages, on_disk.tail_bytes() + on_disk.bare_bytes);
        }
        settle(session);
    }

    /// A session has no connection any more, or was restored: nobody needs its bodies soon.
    pub(super) fn page_out(&mut self, key: SessionKey) {
        let is_short = self.is_memory_short(0, 2);
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return };
        let is_asking = session.on_disk.as_ref().is_some_and(|on_disk| on_disk.asked.is_some());
        // What was asked for comes in its order, so that is waited for.
        if !is_short || session.id.is_none() || session.connection.is_some() || is_asking {
            return;
        }
        let on_disk = session.on_disk.get_or_insert_default();
        let (mut messages, mut bytes) = (0, 0);
        while let Some(message) = session.sender.pop_waiting_back() {
            messages += 1;
            bytes += message.bytes();
            on_disk.push_front(Stub::new(&message));
        }
        for message in session.sender.in_flight_mut() {
            if message.forget_body() {
                messages += 1;
                bytes += message.bytes();
                on_disk.bare += 1;
                on_disk.bare_bytes += message.bytes();
            }
        }
        self.paging.note_out(&mut self.stats, messages, bytes);
        settle(session);
    }

    /// Asks for what a connected session sends next, if little of it is in memory.
    pub(super) fn page_in(&mut self, key: SessionKey) {
        if self.session(key).is_none_or(|session| session.on_disk.is_none()) {
            return;
        }
        let window = self.window(self.is_memory_short(0, 1));
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return };
        let Some(on_disk) = session.on_disk.as_deref() else { return };
        if on_disk.asked.is_some() || (on_disk.bare == 0 && !is_low(session, window)) {
            return;
        }
        let (Some(id), Some(_), Some(on_disk)) = (session.id, session.connection, &mut session.on_disk)
        else {
            return;
        };
        let mut asked = Asked { bytes: 0, in_flight: 0 };
        let mut entries = Vec::new();
        let bare = session.sender.in_flight_mut().filter(|message| message.body().is_none());
        for message in bare.take(on_disk.bare.min(window.messages)) {
            if asked.bytes >= window.bytes {
                break;
            }
            asked.bytes += message.bytes();
            asked.in_flight += 1;
            entries.push(message.entry());
        }
        if asked.in_flight == on_disk.bare {
            for stub in on_disk.iter().take(window.messages - entries.len()) {
                if asked.bytes >= window.bytes {
                    break;
                }
                asked.bytes += stub.bytes();
                entries.push(stub.entry);
            }
        }
        on_disk.asked = Some(asked);
        self.paging.asked_bytes += asked.bytes as u64;
        self.stats.queue_reads += 1;
        self.paging.fetches.push(Fetch { session: key, id, entries });
    }

    /// The answer to an [`Effect::Fetch`](super::Effect::Fetch). A message that cannot be had is dropped, and told.
    pub fn handle_fetched(&mut self, turn: &mut Turn<'_>, fetched: Fetched) {
        let Fetched { session: key, bodies } = fetched;
        let cost = u32::try_from(bodies.len()).unwrap_or(u32::MAX);
        turn.deliveries_left = turn.deliveries_left.saturating_sub(cost);
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return };
        let Some(asked) = session.on_disk.as_mut().and_then(|on_disk| on_disk.asked.take()) else { return };
        self.paging.asked_bytes = self.paging.asked_bytes.saturating_sub(asked.bytes as u64);
        if session.connection.is_none() {
            // Nobody to send it to any more.
            settle(session);
            return self.page_out(key);
        }
        let mut bodies = bodies.into_iter();
        let in_flight = bodies.by_ref().take(asked.in_flight).collect();
        let mut dropped = self.fill_in_flight(turn, key, in_flight);
        dropped += self.fill_waiting(turn, key, bodies);
        if dropped > 0 {
            self.stats.dropped_unreadable += dropped;
            if let Some(client_id) = self.session(key).map(|session| session.client_id.clone()) {
                self.event(Event::Unreadable { client_id, dropped });
            }
        }
        if let Some(session) = self.session_mut(key) {
            settle(session);
        }
        // If nothing of it is left, no acknowledgement comes that Retained Messages would go on with.
        self.send_more(turn, key);
    }

    /// Messages that were in flight get their bodies; says how many cannot be had.
    fn fill_in_flight(&mut self, turn: &Turn<'_>, key: SessionKey, bodies: Vec<Body>) -> u64 {
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return 0 };
        let Some(on_disk) = &mut session.on_disk else { return 0 };
        let mut missing = Vec::new();
        let mut bodies = bodies.into_iter();
        for message in session.sender.in_flight_mut().filter(|message| message.body().is_none()) {
            // One that was asked for may have been acknowledged since.
            let Some((entry, body)) = bodies.find(|(entry, _)| *entry == message.entry()) else {
                break;
            };
            let Some(body) = body else {
                missing.push(entry);
                continue;
            };
            message.fill(body);
            on_disk.bare -= 1;
            on_disk.bare_bytes -= message.bytes();
            self.paging.note_gone(&mut self.stats, 1, message.bytes());
        }
        for entry in &missing {
            self.give_up(turn, key, *entry);
        }
        missing.len() as u64
    }

    /// Ends a message in flight that cannot be sent again. One of QoS 2 may have been received: as after its PUBREC, PUBREL
    /// has to follow before its Packet Identifier is free.
    fn give_up(&mut self, turn: &Turn<'_>, key: SessionKey, entry: PublicationId) {
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return };
        let found = session.sender.in_flight().find_map(|sending| match sending.action {
            SendAction::Publish { message, qos, .. } if message.entry() == entry => {
                Some((sending.packet_id, qos))
            }
            SendAction::Publish { .. } | SendAction::PubRel => None,
        });
        let id = session.id;
        match found {
            Some((packet_id, QoS::ExactlyOnce)) => {
                if let Ok(PubrecOutcome::Release(acked)) = session.sender.on_pubrec(packet_id, false) {
                    self.note_acked(turn, key, 0, &acked);
                    if let Some(session) = id {
                        self.gate.record(Record::Received { session, entry, ordinal: acked.ordinal });
                    }
                }
            }
            Some((packet_id, QoS::AtMostOnce | QoS::AtLeastOnce)) => {
                if let Ok(acked) = session.sender.on_puback(packet_id) {
                    self.note_done(turn, key, &acked);
                }
            }
            None => {}
        }
    }

    /// The front of the tail gets its bodies and joins what waits in memory; says how many cannot be had.
    fn fill_waiting(&mut self, turn: &Turn<'_>, key: SessionKey, bodies: impl Iterator<Item = Body>) -> u64 {
        let mut dropped = 0;
        for (entry, body) in bodies {
            let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { break };
            let Some(on_disk) = &mut session.on_disk else { break };
            // A full queue may have dropped its oldest meanwhile.
            if on_disk.front().is_none_or(|front| front.entry != entry) {
                continue;
            }
            let Some(stub) = on_disk.pop_front() else { break };
            let Stub { qos, is_retain, .. } = stub;
            let bytes = stub.bytes();
            self.paging.note_gone(&mut self.stats, 1, bytes);
            if let Some(body) = body {
                session.sender.push(Queued::new(entry, body, qos, is_retain));
                continue;
            }
            dropped += 1;
            if let Some(session) = session.id {
                self.gate.record(Record::Done { session, entry });
            }
            self.note_dequeued(turn, 1, bytes);
        }
        dropped
    }

    /// A message in flight that had no body has left its queue.
    pub(super) fn note_bare_gone(&mut self, key: SessionKey, bytes: usize) {
        self.paging.note_gone(&mut self.stats, 1, bytes);
        let Some(session) = self.session_mut(key) else { return };
        if let Some(on_disk) = &mut session.on_disk {
            on_disk.bare = on_disk.bare.saturating_sub(1);
            on_disk.bare_bytes = on_disk.bare_bytes.saturating_sub(bytes);
        }
        settle(session);
    }
}

/// An entry with what the store has of it.
type Body = (PublicationId, Option<Arc<Publication>>);

/// Whether less than this waits in memory. Cost: at most `window.messages`.
fn has_room(session: &Session, window: Window) -> bool {
    let waiting = session.sender.waiting_len();
    waiting < window.messages && session.sender.waiting().map(Queued::bytes).sum::<usize>() < window.bytes
}

/// Whether more should be fetched to wait in memory.
fn is_low(session: &Session, window: Window) -> bool {
    session.tail_len() > 0 && has_room(session, window.part(2))
}

/// Gives back what a session needs only while part of its queue is on disk.
fn settle(session: &mut Session) {
    if session.on_disk.as_ref().is_some_and(|on_disk| on_disk.is_over()) {
        session.on_disk = None;
    }
}
