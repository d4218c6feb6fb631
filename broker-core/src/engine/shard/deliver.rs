//! From an accepted message to its receivers.

use std::sync::Arc;

use culex_codec::{PacketId, QoS, TopicName};

use crate::engine::connection::{Flags, Message, SHARED_PAYLOAD_MIN, State};
use crate::engine::keys::{ConnectionKey, RetainedVersion, SessionId, SessionKey, ShardId};
use crate::engine::publication::Publication;
use crate::engine::question::Identity;
use crate::engine::route::{Routes, Target};
use crate::engine::session::Queued;
use crate::engine::store::{Recipient, Recipients, Record, RetainedChange};
use crate::engine::topics::is_reserved;

use super::{Shard, ShardMessage, Turn};

/// So many bytes of a payload that is copied count as another delivery.
const BYTES_PER_DELIVERY: usize = 512;

/// A message that was accepted, before anybody has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inbound<'a> {
    pub(super) message: Message<'a>,
    pub(super) qos: QoS,
    pub(super) is_retain: bool,
    /// `None` for a Will Message.
    pub(super) publisher: Option<(ShardId, SessionKey)>,
    /// The session whose client wrote it; `None` if that is the broker.
    pub(super) author: Option<SessionKey>,
    /// The publisher's stored session and the Packet Identifier of a QoS 2 message.
    pub(super) incoming: Option<(SessionId, PacketId)>,
    /// Its publisher waits for full queues, and was looked at.
    pub(super) waits: bool,
}

/// The message as one shard delivers it.
struct Copies<'a> {
    message: Message<'a>,
    qos: QoS,
    is_retain: bool,
    publisher: Option<(ShardId, SessionKey)>,
    waits: bool,
    retained: Option<RetainedVersion>,
    publication: Option<&'a Arc<Publication>>,
    /// The routes are not older than this.
    generation: u64,
}

/// Filters that may be looked at for the price of one delivery.
const FILTERS_PER_DELIVERY: usize = 16;

impl Shard {
    /// Hands a message to all who subscribed to it. Says whether the store was told to keep something of it that
    /// the answer promises.
    pub(super) fn route(&mut self, turn: &mut Turn<'_>, inbound: &Inbound<'_>) -> bool {
        // The Retained Message is set before the routes are read; see Commons.
        let (mut publication, change, retained) = self.retain(turn, inbound);
        let (generation, routes) = self.routes_of(turn, inbound.message.topic);
        if routes.is_empty() && !is_reserved(inbound.message.topic.as_str()) {
            self.stats.messages_unrouted += 1;
        }
        if publication.is_none() && self.must_be_shared(inbound, &routes) {
            let is_dated = routes.iter().any(|target| target.is_dated);
            let mut kept = self.publication(turn, inbound, is_dated);
            if is_dated {
                kept.author = self.author(inbound);
            }
            publication = Some(Arc::new(kept));
        }
        let is_promise = self.record_publication(inbound, publication.as_ref(), &routes, change);
        let copies = Copies {
            message: publication.as_deref().map_or(inbound.message, Message::from),
            qos: inbound.qos,
            is_retain: inbound.is_retain,
            publisher: inbound.publisher,
            waits: inbound.waits,
            retained,
            publication: publication.as_ref(),
            generation,
        };
        if publication.is_none() {
            self.connections.heads.clear();
        }
        for (shard, targets) in routes.by_shard() {
            if shard == self.id {
                self.deliver(turn, &copies, targets);
            } else if let Some(publication) = &publication {
                let (publication, routes) = (Arc::clone(publication), Arc::clone(&routes));
                let (publisher, waits) = (inbound.publisher, inbound.waits);
                let message =
                    ShardMessage::Deliver { publication, routes, generation, retained, publisher, waits };
                self.send_to(shard, message);
            }
        }
        is_promise
    }

    fn author(&mut self, inbound: &Inbound<'_>) -> Option<Arc<Identity>> {
        inbound.author.and_then(|key| self.session_mut(key)?.author())
    }

    fn publication(&self, turn: &Turn<'_>, inbound: &Inbound<'_>, is_dated: bool) -> Publication {
        let Message { topic, payload, .. } = inbound.message;
        let id = turn.commons.publication_id();
        let mut publication = Publication::new(id, topic, payload, inbound.qos, inbound.is_retain);
        publication.accepted_at = is_dated.then_some(turn.now.wall);
        publication
    }

    fn retain(
        &mut self,
        turn: &Turn<'_>,
        inbound: &Inbound<'_>,
    ) -> (Option<Arc<Publication>>, RetainedChange, Option<RetainedVersion>) {
        if !inbound.is_retain {
            return (None, RetainedChange::None, None); // [MQTT-3.3.1-12]
        }
        // Who gets it is not known yet, so it is dated.
        let mut publication = self.publication(turn, inbound, true);
        publication.author = self.author(inbound);
        let publication = Arc::new(publication);
        if inbound.message.payload.is_empty() {
            let version = turn.commons.clear_retained(inbound.message.topic); // [MQTT-3.3.1-10, -11]
            return (Some(publication), RetainedChange::Clear(version), Some(version));
        }
        match turn.commons.set_retained(&publication) {
            RetainedChange::Set(version) if is_reserved(inbound.message.topic.as_str()) => {
                // What the broker says of itself begins anew with it.
                (Some(publication), RetainedChange::None, Some(version))
            }
            change @ RetainedChange::Set(version) => (Some(publication), change, Some(version)),
            change @ (RetainedChange::None | RetainedChange::Clear(_)) => {
                self.stats.retained_refused += 1;
                // It is not retained, so no floor may hold it back.
                (Some(publication), change, None)
            }
        }
    }

    pub(super) fn routes_of(&mut self, turn: &Turn<'_>, topic: TopicName<'_>) -> (u64, Arc<Routes>) {
        // Before the routes are read: an entry may be newer than its number, never older.
        let generation = turn.commons.generation();
        if let Some(routes) = self.cache.get(topic, generation) {
            return (generation, Arc::clone(routes));
        }
        turn.commons.routes(topic, &mut self.routes);
        let routes = self.routes.to_shared();
        self.cache.insert(topic, generation, Arc::clone(&routes));
        (generation, routes)
    }

    /// Whether somebody needs the message beyond this turn, or more cheaply than by a copy.
    fn must_be_shared(&self, inbound: &Inbound<'_>, routes: &Routes) -> bool {
        let is_cheaper = inbound.message.payload.len() >= SHARED_PAYLOAD_MIN && !routes.is_empty();
        let mut targets = routes.iter();
        inbound.incoming.is_some()
            || is_cheaper
            || targets
                .any(|target| target.shard != self.id || target.receives_with(inbound.qos) != QoS::AtMostOnce)
    }

    fn record_publication(
        &mut self,
        inbound: &Inbound<'_>,
        publication: Option<&Arc<Publication>>,
        routes: &Routes,
        retained: RetainedChange,
    ) -> bool {
        let Some(publication) = publication else { return false };
        let recipient = |target: &Target| {
            let (session, qos) = (target.durable?, target.receives_with(inbound.qos));
            let is_retain = inbound.is_retain && target.retain_as_published;
            let queues = qos != QoS::AtMostOnce && !is_own(target, inbound.publisher);
            queues.then_some(Recipient { session, qos, is_retain })
        };
        // One piece of memory, which may be large; growing leaves its halves behind.
        let mut recipients = Recipients::with_capacity(routes.iter().filter_map(recipient).count());
        recipients.extend(routes.iter().filter_map(recipient));
        let incoming = inbound.incoming;
        if recipients.is_empty() && incoming.is_none() && retained == RetainedChange::None {
            return false;
        }
        let publication = Arc::clone(publication);
        self.gate.record(Record::Published { publication, incoming, recipients, retained });
        true
    }

    fn send_to(&mut self, to: ShardId, message: ShardMessage) {
        match self.outgoing.iter_mut().find(|(shard, _)| *shard == to) {
            Some((_, messages)) => messages.push(message),
            None => self.outgoing.push((to, vec![message])),
        }
    }

    /// A publication of another shard.
    pub(super) fn deliver_foreign(
        &mut self,
        turn: &mut Turn<'_>,
        publication: &Arc<Publication>,
        routes: &Routes,
        (generation, retained): (u64, Option<RetainedVersion>),
        (publisher, waits): (Option<(ShardId, SessionKey)>, bool),
    ) {
        let copies = Copies {
            message: Message::from(&**publication),
            qos: publication.qos,
            is_retain: publication.is_retain,
            publisher,
            waits,
            retained,
            publication: Some(publication),
            generation,
        };
        for (shard, targets) in routes.by_shard() {
            if shard == self.id {
                self.deliver(turn, &copies, targets);
            }
        }
    }

    fn deliver(&mut self, turn: &mut Turn<'_>, copies: &Copies<'_>, targets: &[Target]) {
        let copied = copies.message.payload.len().min(SHARED_PAYLOAD_MIN);
        let cost = targets.len().saturating_mul(1 + copied / BYTES_PER_DELIVERY);
        turn.deliveries_left = turn.deliveries_left.saturating_sub(u32::try_from(cost).unwrap_or(u32::MAX));
        for target in targets {
            if is_own(target, copies.publisher) {
                continue;
            }
            let key = target.session;
            let Some(session) = self.sessions.get_mut(key.slot, key.generation) else {
                // It has ended since the routes were read, or its filters have not all left the routing table.
                self.end_record(target.durable, copies, target);
                continue;
            };
            let id = session.id;
            if session.must_match_again(copies.generation, copies.retained) {
                // A session may have very many filters, so this is work too.
                let looks = session.subscription_count() / FILTERS_PER_DELIVERY;
                turn.deliveries_left =
                    turn.deliveries_left.saturating_sub(u32::try_from(looks).unwrap_or(u32::MAX));
                if !session.takes_live(copies.message.topic, copies.retained) {
                    self.end_record(id, copies, target);
                    continue;
                }
            }
            if !self.gatekeeper.lets_receive(session, copies.message.topic) {
                self.stats.deliveries_denied += 1;
                self.end_record(id, copies, target);
                continue;
            }
            // [MQTT-3.3.1-9]: 3.1.1 never sets RETAIN for an established subscription.
            let is_retain = copies.is_retain && target.retain_as_published;
            match (target.receives_with(copies.qos), copies.publication) {
                (QoS::AtMostOnce, _) => self.send_at_most_once(turn, key, &copies.message, is_retain),
                (qos, Some(publication)) => {
                    let body = Arc::clone(publication);
                    let queued = Queued::new(publication.id, body, qos, is_retain);
                    self.enqueue(turn, key, queued, copies.waits);
                }
                // route() makes a publication for every target that needs one.
                (QoS::AtLeastOnce | QoS::ExactlyOnce, None) => debug_assert!(false, "nothing to queue"),
            }
        }
    }

    /// A stored session does not get a message that was recorded for it. If it comes as a Retained Message, that has a
    /// record of its own.
    fn end_record(&mut self, session: Option<SessionId>, copies: &Copies<'_>, target: &Target) {
        if let (Some(session), Some(publication)) = (session, copies.publication)
            && target.receives_with(copies.qos) != QoS::AtMostOnce
        {
            self.gate.record(Record::Done { session, entry: publication.id });
        }
    }

    /// QoS 0: now or never.
    fn send_at_most_once(
        &mut self,
        turn: &Turn<'_>,
        key: SessionKey,
        message: &Message<'_>,
        is_retain: bool,
    ) {
        let Some(connection_key) = self.session(key).and_then(|session| session.connection) else { return };
        let Some(connection) = self.connections.get(connection_key) else { return };
        // [MQTT-3.2.0-1]: nothing before CONNACK.
        if connection.state != State::Open {
            return;
        }
        if (connection.outbox.len() as u64) < self.limits.outbox_bytes.get() {
            self.send_unacknowledged(connection_key, message, is_retain);
        } else if !self.send_burst(connection_key, message, is_retain) {
            self.stats.dropped_slow_reader += 1;
            self.note_drop(turn.now.tick, key);
        }
    }

    /// QoS 0 to an open connection with room.
    pub(super) fn send_unacknowledged(
        &mut self,
        connection_key: ConnectionKey,
        message: &Message<'_>,
        is_retain: bool,
    ) {
        let flags = Flags { qos: QoS::AtMostOnce, is_dup: false, is_retain, packet_id: None };
        if self.connections.send_publish(connection_key, message, flags) {
            self.stats.note_sent(QoS::AtMostOnce);
            self.stats.payload_bytes_sent += message.payload.len() as u64;
        }
    }
}

/// Whether a target is the publisher itself and does not want its own messages (5.0 No Local).
pub(super) fn is_own(target: &Target, publisher: Option<(ShardId, SessionKey)>) -> bool {
    target.no_local && publisher == Some((target.shard, target.session))
}
