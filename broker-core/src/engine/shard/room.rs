//! Who waits while the store has no room.
//!
//! ```text
//!             too much waits for it            its disk is full
//!   Free ───────────────────────► Crowded ──────────────────────► Full
//!     ▲                              │                              │
//!     └──────── it caught up ────────┴──────── space is back ───────┘
//! ```
//!
//! A connection whose next packet would make the store keep something new is not read from that packet on; the bytes
//! stay where they are, its Keep Alive rests, and with the next change it is looked at again. Everything else goes on:
//! QoS 0, clean sessions, PINGREQ, and acknowledgements, which make room. So what still enters is bounded by what is
//! there: an end for each entry, session and will that exists.
//!
//! While the disk is full, nobody knows for how long. A 5.0 client is told so by 0x97 and may do something else. Whoever
//! has to wait longer than the limit `stall_max` for the answer to a packet of its own is closed.
//!
//! Who waits for a full queue stands here too: see [`full`](super::full).

use culex_codec::{Packet, ProtocolVersion, Publish, QoS, Subscribe, TopicName};

use crate::engine::connection::{Admission, Connection, State, WaitsFor};
use crate::engine::error::{CloseReason, Refusal};
use crate::engine::keys::ConnectionKey;
use crate::engine::question::Handshake;
use crate::engine::route::Target;
use crate::engine::session::Session;
use crate::engine::terms::Terms;
use crate::engine::time::Tick;
use crate::engine::timers::Timer;
use crate::engine::topics::is_reserved;

use super::answers::Answer;
use super::input::HELD_MAX;
use super::{Effect, Event, Shard, Turn};

/// How much the store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreRoom {
    /// Whatever comes.
    #[default]
    Free,
    /// Nothing new until it has caught up with what waits.
    Crowded,
    /// Nothing new until its disk has space.
    Full,
}

/// What a shard knows of it.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    room: StoreRoom,
    /// When it became [`StoreRoom::Full`].
    full_since: Tick,
    /// When the timer is armed that looks for who has waited too long.
    timer: Option<Tick>,
    /// Connections whose next packet waits, in the order in which they came to it; those that are gone among them.
    parked: Vec<ConnectionKey>,
}

/// What becomes of a packet that has come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Passage {
    /// It is handled.
    Open,
    /// It stays where it is.
    Waits(WaitsFor),
    /// It is answered, and nothing of it is taken.
    Refused(Handshake),
}

/// Looking through all connections is not done more often.
const LOOK_MS: u64 = 1000;

impl Shard {
    /// The store takes less or more than before. To be called whenever that may have changed, before bytes are handed
    /// in.
    pub fn handle_store_room(&mut self, turn: &mut Turn<'_>, room: StoreRoom) {
        let before = std::mem::replace(&mut self.waiting.room, room);
        if before == room {
            return;
        }
        let now = turn.now.tick;
        if let Some(at) = self.waiting.timer.take() {
            self.timers.disarm(at, Timer::Stalled);
        }
        if room == StoreRoom::Full {
            self.waiting.full_since = now;
            self.look_again_at(now.after(self.limits.stall_max));
        }
        self.unpark(now, WaitsFor::Store);
    }

    /// Whether this CONNECT has to wait until the store has room: [`Shard::handle_attach`] would make it keep something
    /// new.
    pub fn must_wait(&mut self, turn: &Turn<'_>, admission: &Admission) -> bool {
        if self.waiting.room == StoreRoom::Free {
            return false;
        }
        let old = self.by_client_id.get(&admission.client_id).and_then(|key| self.session(*key));
        let is_kept_as_it_is = old.is_some_and(|old| {
            let is_for_ever = old.expiry_s == u32::MAX && admission.session_expiry_s == u32::MAX;
            let is_as_before = is_for_ever && old.options() == admission.options;
            !admission.clean_start && old.belongs_to(admission) && is_as_before
        });
        let (is_stored, will) = (admission.session_expiry_s > 0, admission.will.as_ref());
        let is_news = is_stored && (!is_kept_as_it_is || will.is_some());
        is_news
            || will
                .is_some_and(|will| will.is_retain || self.has_stored_readers(turn, will.topic(), will.qos))
    }

    /// A CONNECT that is given up before it comes to its session.
    pub fn refuse(&mut self, admission: Admission, refusal: Refusal) {
        let Admission { client_id, peer, .. } = admission;
        self.event(Event::Refused { client_id, peer, refusal });
    }

    /// What becomes of a packet, before anything of it is taken. If it waits, the connection is not read from here on.
    pub(super) fn pass(&mut self, turn: &mut Turn<'_>, key: ConnectionKey, packet: &Packet<'_>) -> Passage {
        let is_store_free = self.waiting.room == StoreRoom::Free;
        if is_store_free && !self.full.is_any() {
            return Passage::Open;
        }
        let passage = match packet {
            Packet::Publish(publish) => self.pass_publish(turn, key, publish),
            Packet::Subscribe(subscribe)
                if !is_store_free && self.is_stored(key) && !self.is_again(key, subscribe) =>
            {
                Passage::Waits(WaitsFor::Store)
            }
            Packet::Subscribe(_)
            // Each of these ends something, or says that nothing is amiss.
            | Packet::Unsubscribe(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::PingReq
            | Packet::Disconnect(_)
            // And these are errors.
            | Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Auth(_) => Passage::Open,
        };
        if let Passage::Waits(what) = passage {
            self.park(turn, key, what);
        }
        passage
    }

    fn pass_publish(&mut self, turn: &Turn<'_>, key: ConnectionKey, publish: &Publish<'_>) -> Passage {
        let handshake = Handshake::new(publish.qos, publish.packet_id);
        if self.waiting.room == StoreRoom::Free || !self.would_be_kept(turn, key, publish, handshake) {
            let waits = self.waits_for_queue(turn, key, publish);
            return if waits { Passage::Waits(WaitsFor::Queue) } else { Passage::Open };
        }
        let version = self.connections.get(key).map(|connection| connection.version);
        let is_told = version == Some(ProtocolVersion::V5) && handshake != Handshake::Nothing;
        if is_told && self.waiting.room == StoreRoom::Full {
            return Passage::Refused(handshake);
        }
        Passage::Waits(WaitsFor::Store)
    }

    /// Whether the store would be given something new because of this message.
    fn would_be_kept(
        &mut self,
        turn: &Turn<'_>,
        key: ConnectionKey,
        publish: &Publish<'_>,
        handshake: Handshake,
    ) -> bool {
        let Some(topic) = publish.topic else { return false };
        if !self.is_delivered(key, topic) {
            return false;
        }
        match handshake {
            Handshake::PubRec(_) if self.is_repeat(key, handshake) => false,
            Handshake::PubRec(_) if self.is_stored(key) => true,
            Handshake::Nothing | Handshake::PubAck(_) | Handshake::PubRec(_) => {
                publish.retain || self.has_stored_readers(turn, topic, publish.qos)
            }
        }
    }

    /// Whether a topic is one that a connection may publish to at all.
    pub(super) fn is_delivered(&self, key: ConnectionKey, topic: TopicName<'_>) -> bool {
        !is_reserved(topic.as_str())
            && !self.is_of_another(key, topic)
            && self.topic_limits(key).check(topic.as_str()).is_ok()
    }

    /// Whether somebody has it queued who outlives a connection.
    fn has_stored_readers(&mut self, turn: &Turn<'_>, topic: TopicName<'_>, published: QoS) -> bool {
        let (_, routes) = self.routes_of(turn, topic);
        let is_queued = |target: &Target| target.receives_with(published) != QoS::AtMostOnce;
        routes.iter().any(|target| target.durable.is_some() && is_queued(target))
    }

    /// Whether the session of a connection outlives it.
    fn is_stored(&self, key: ConnectionKey) -> bool {
        self.connected_session(key).is_some_and(|session| session.id.is_some())
    }

    /// Whether a session has these subscriptions already and the store all that it said of them: consumers say what they
    /// want whenever they connect, and shall go on. Once, so that it cannot add up.
    fn is_again(&self, key: ConnectionKey, subscribe: &Subscribe<'_>) -> bool {
        let session = self.connected_session(key);
        let is_subscribed = |session: &Session| {
            let mount = Terms::mount_point(&session.terms);
            subscribe.filters.iter().all(|request| match mount {
                None => session.is_subscribed(request.filter.as_str()),
                Some(mount) => {
                    mount.join(request.filter.as_str()).is_ok_and(|full| session.is_subscribed(&full))
                }
            })
        };
        session.is_some_and(|session| self.gate.is_stored(session.subscribed_in) && is_subscribed(session))
    }

    fn park(&mut self, turn: &Turn<'_>, key: ConnectionKey, what: WaitsFor) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.parked = Some(what);
        let parked = match what {
            WaitsFor::Store => {
                connection.waits_since.get_or_insert(turn.now.tick);
                self.stats.store_waits += 1;
                &mut self.waiting.parked
            }
            WaitsFor::Queue => {
                self.stats.queue_waits += 1;
                self.stats.publishers_waiting += 1;
                &mut self.full.parked
            }
        };
        // Those that have gone meanwhile, and come again, must not add up.
        if parked.len() > 2 * self.connections.len() {
            let connections = &self.connections;
            parked.retain(|key| connections.get(*key).is_some_and(|other| other.parked == Some(what)));
        }
        parked.push(key);
    }

    /// Whoever waits for this is looked at again, in the order in which they came.
    pub(super) fn unpark(&mut self, now: Tick, what: WaitsFor) {
        let parked = match what {
            WaitsFor::Store => &mut self.waiting.parked,
            WaitsFor::Queue => &mut self.full.parked,
        };
        for key in std::mem::take(parked) {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if connection.parked != Some(what) {
                continue;
            }
            connection.parked = None;
            // The time was not the client's.
            connection.last_packet = now;
            connection.note_wait();
            if connection.is_reading() {
                self.effects.push_back(Effect::Resume { connection: key });
            }
        }
    }

    /// A 5.0 PUBLISH that was not taken because nothing can be kept, and its client is told.
    pub(super) fn refuse_publish(&mut self, turn: &mut Turn<'_>, key: ConnectionKey, handshake: Handshake) {
        self.stats.messages_received += 1;
        self.stats.messages_refused_full += 1;
        self.answer(turn, key, Answer::Refused(handshake), false);
    }

    /// Closes whoever has waited too long, and looks again when the next one will have.
    pub(super) fn on_stalled(&mut self, turn: &mut Turn<'_>) {
        self.waiting.timer = None;
        if self.waiting.room != StoreRoom::Full {
            return;
        }
        let (now, full_since) = (turn.now.tick, self.waiting.full_since);
        let stall_max = self.limits.stall_max;
        let mut next = now.after(stall_max);
        let mut late = Vec::new();
        for key in self.connections.keys() {
            let since = self.connections.get(key).and_then(|connection| connection.waits_since);
            let Some(deadline) = since.map(|since| since.max(full_since).after(stall_max)) else { continue };
            if deadline <= now {
                late.push(key);
            } else {
                next = next.min(deadline);
            }
        }
        for key in late {
            self.close(turn, key, CloseReason::StoreFull);
        }
        self.look_again_at(next.max(Tick(now.0 + LOOK_MS)));
    }

    fn look_again_at(&mut self, at: Tick) {
        self.waiting.timer = Some(at);
        self.timers.arm(at, Timer::Stalled);
    }
}

impl Connection {
    /// Not before CONNACK, nor while one of its packets waits for a verdict, for room in the store or in a queue, or very many
    /// of its answers for the store, nor while it has sent too fast.
    pub(super) fn is_reading(&self) -> bool {
        self.state == State::Open
            && self.pending.is_none()
            && self.parked.is_none()
            && self.held < HELD_MAX
            && self.pace.as_ref().is_none_or(|pace| pace.pause.is_none())
    }

    /// Something that it waited for is over.
    pub(super) fn note_wait(&mut self) {
        if self.held == 0 && self.parked != Some(WaitsFor::Store) {
            self.waits_since = None;
        }
    }
}
