//! SUBSCRIBE and UNSUBSCRIBE.

use culex_codec::{PacketId, ProtocolVersion, QoS, Subscribe, TopicFilter, Unsubscribe};
use smallvec::SmallVec;

use crate::engine::error::{CloseReason, ProtocolError};
use crate::engine::keys::{ConnectionKey, SessionKey};
use crate::engine::question::{FilterRequest, PendingPacket};
use crate::engine::route::{RouteOptions, Subscriber};
use crate::engine::store::Record;
use crate::engine::terms::Terms;
use crate::engine::topics::{TopicLimits, is_of_host};

use super::answers::Answer;
use super::{Effect, Event, Shard, Turn};

const FAILURE: u8 = 0x80;
/// What a filter costs of the turn: one in the routing table is more work than a delivery.
pub(super) const DELIVERIES_PER_FILTER: u32 = 4;

impl Shard {
    pub(super) fn on_subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        subscribe: &Subscribe<'_>,
    ) -> Result<(), CloseReason> {
        // The rest of a packet of millions is refused without a look.
        let room = self.limits.filters_per_packet.get();
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let beyond = subscribe.filters.len().saturating_sub(room);
        let requests =
            subscribe.filters.iter().take(room).map(|request| (request.filter, request.options.qos));
        let connection = self.connections.get(key);
        let Some(mount) = connection.and_then(|connection| Terms::mount_point(&connection.terms)) else {
            self.request(turn, key, subscribe.packet_id, requests, beyond);
            return Ok(());
        };
        let full = requests.map(|(filter, qos)| Ok((mount.join(filter.as_str())?, qos)));
        let full = full.collect::<Result<Vec<_>, _>>().map_err(CloseReason::Protocol)?;
        let requests = full.iter().map(|(filter, qos)| (TopicFilter::assume_valid(filter), *qos));
        self.request(turn, key, subscribe.packet_id, requests, beyond);
        Ok(())
    }

    /// Asks the host about filters, or subscribes to them at once.
    fn request<'a>(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        packet_id: PacketId,
        requests: impl Iterator<Item = (TopicFilter<'a>, QoS)>,
        beyond: usize,
    ) {
        if self.is_asked(key, |shard| shard.asks.subscribe) {
            let filters = requests.map(|(filter, qos)| FilterRequest { filter: filter.as_str().into(), qos });
            let filters = filters.collect();
            let packet = PendingPacket::Subscribe { packet_id, filters, beyond };
            self.ask_subscribe(turn, key, packet);
        } else {
            let requests = requests.map(|(filter, qos)| (filter, qos, true));
            self.grant(turn, key, packet_id, requests, beyond);
        }
    }

    /// Subscribes to what is allowed and answers for all of it. `beyond` are filters of the packet behind `requests`.
    pub(super) fn grant<'a>(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        packet_id: PacketId,
        requests: impl Iterator<Item = (TopicFilter<'a>, QoS, bool)>,
        beyond: usize,
    ) {
        let Some(connection) = self.connections.get(key) else { return };
        let session_key = connection.session;
        // 3.1 has no code for a refusal; nothing is delivered to it that it may not receive.
        let can_refuse = connection.version != ProtocolVersion::V31;
        let is_trusted = connection.is_trusted;
        let mut codes = SmallVec::new();
        for (filter, qos, is_allowed) in requests {
            turn.deliveries_left = turn.deliveries_left.saturating_sub(DELIVERIES_PER_FILTER);
            let is_allowed = is_allowed && (is_trusted || !is_of_host(filter.as_str()));
            let is_allowed = is_allowed && (!can_refuse || self.may_subscribe(session_key, filter));
            let is_granted = self.subscribe(turn, session_key, filter, qos, is_allowed);
            codes.push(if is_granted { qos as u8 } else { FAILURE }); // [MQTT-3.8.4-5, MQTT-3.9.3-1]
        }
        self.stats.subscriptions_refused += beyond as u64;
        codes.resize(codes.len() + beyond, FAILURE);
        let is_promise = self.session(session_key).is_some_and(|session| session.id.is_some());
        self.answer(turn, key, Answer::SubAck(packet_id, codes), is_promise);
        self.send_more(turn, session_key);
    }

    fn may_subscribe(&mut self, key: SessionKey, filter: TopicFilter<'_>) -> bool {
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return false };
        self.gatekeeper.rights(session).is_none_or(|rights| rights.may_subscribe(filter))
    }

    fn subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        key: SessionKey,
        filter: TopicFilter<'_>,
        qos: QoS,
        is_allowed: bool,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return false };
        let limits = Terms::limits(&session.terms, &self.limits);
        let limits = (TopicLimits::from(limits), limits.subscriptions_per_session);
        let is_new = !session.is_subscribed(filter.as_str());
        let count = session.subscription_count() as u64 + u64::from(is_new);
        let is_granted =
            is_allowed && limits.0.check(filter.as_str()).is_ok() && !limits.1.is_exceeded_by(count);
        let is_told = self.tells_subscriptions || !is_granted;
        let client_id = is_told.then(|| session.client_id.clone());
        if is_granted {
            let options = RouteOptions { qos, no_local: false, retain_as_published: false };
            let subscriber = Subscriber {
                shard: self.id,
                session: key,
                durable: session.id,
                options,
                subscription_id: None,
            };
            turn.commons.subscribe(filter, subscriber);
            // After subscribe: see Commons.
            let floor = turn.commons.retained_version();
            session.subscribe(filter, qos, floor);
            if let Some(id) = session.id {
                let filter = filter.as_str().into();
                let record = Record::Subscribed { session: id, filter, qos, up_to: floor };
                session.subscribed_in = self.gate.record(record);
            }
            self.stats.subscriptions += u64::from(is_new);
        } else if is_allowed {
            self.stats.subscriptions_refused += 1;
        } else {
            self.stats.subscriptions_denied += 1;
        }
        if let Some(client_id) = client_id {
            let granted = is_granted.then_some(qos);
            self.event(Event::Subscribed { client_id, filter: filter.as_str().into(), granted });
        }
        is_granted
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Result<(), CloseReason> {
        // UNSUBACK of 3.1.1 cannot say no to a filter.
        let filters_max = self.limits.filters_per_packet.get();
        if usize::try_from(filters_max).is_ok_and(|max| unsubscribe.filters.iter().nth(max).is_some()) {
            return Err(CloseReason::Protocol(ProtocolError::TooManyFilters(filters_max)));
        }
        let Some(connection) = self.connections.get(key) else { return Ok(()) };
        let session_key = connection.session;
        let Some(session) = self.sessions.get_mut(session_key.slot, session_key.generation) else {
            return Ok(());
        };
        let mount = Terms::mount_point(&session.terms).cloned();
        let mut has_left = false;
        for filter in unsubscribe.filters.iter() {
            let full;
            let filter = match &mount {
                None => filter,
                Some(mount) => {
                    // One that is too long was never granted.
                    let Ok(joined) = mount.join(filter.as_str()) else { continue };
                    full = joined;
                    TopicFilter::assume_valid(&full)
                }
            };
            turn.deliveries_left = turn.deliveries_left.saturating_sub(DELIVERIES_PER_FILTER);
            if session.unsubscribe(filter) {
                has_left = true;
                turn.commons.unsubscribe(filter, self.id, session_key); // [MQTT-3.10.4-2]
                self.stats.subscriptions = self.stats.subscriptions.saturating_sub(1);
                if let Some(session) = session.id {
                    self.gate.record(Record::Unsubscribed { session, filter: filter.as_str().into() });
                }
                if self.tells_subscriptions {
                    let client_id = session.client_id.clone();
                    let event = Event::Unsubscribed { client_id, filter: filter.as_str().into() };
                    self.closing.push(Effect::Event(event));
                }
            }
        }
        if has_left {
            // After unsubscribe: what was routed earlier is on its way and no longer wanted.
            session.left_at = turn.commons.generation();
        }
        let is_promise = session.id.is_some();
        if has_left {
            self.note_moved(session_key);
        }
        self.answer(turn, key, Answer::UnsubAck(unsubscribe.packet_id), is_promise); // [MQTT-3.10.4-5]
        Ok(())
    }
}
