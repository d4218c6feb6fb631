//! SUBSCRIBE and UNSUBSCRIBE.

use culex_codec::{QoS, Subscribe, TopicFilter, Unsubscribe};
use smallvec::SmallVec;

use crate::engine::error::CloseReason;
use crate::engine::keys::{ConnectionKey, SessionKey};
use crate::engine::route::{RouteOptions, Subscriber};
use crate::engine::store::Record;

use super::answers::Answer;
use super::{Event, Shard, Turn};

const FAILURE: u8 = 0x80;
/// So many filters of one packet are always looked at, and more only if a session may have more.
const FILTERS_EXAMINED_MIN: u64 = 1024;

impl Shard {
    pub(super) fn on_subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        key: ConnectionKey,
        subscribe: &Subscribe<'_>,
    ) -> Result<(), CloseReason> {
        let Some(connection) = self.connections.get(key) else { return Ok(()) };
        let session_key = connection.session;
        let mut codes = SmallVec::new();
        let mut room = self.limits.subscriptions_per_session.get().max(FILTERS_EXAMINED_MIN);
        for subscription in subscribe.filters.iter() {
            let qos = subscription.options.qos;
            // No session has room for more, so the rest of a packet of millions is refused without a look.
            let Some(left) = room.checked_sub(1) else {
                self.stats.subscriptions_refused += 1;
                codes.push(FAILURE);
                continue;
            };
            room = left;
            let is_granted = self.subscribe(turn, session_key, subscription.filter, qos);
            codes.push(if is_granted { qos as u8 } else { FAILURE }); // [MQTT-3.8.4-5, MQTT-3.9.3-1]
        }
        let is_promise = self.session(session_key).is_some_and(|session| session.id.is_some());
        self.answer(turn, key, Answer::SubAck(subscribe.packet_id, codes), is_promise);
        self.send_more(turn, session_key);
        Ok(())
    }

    fn subscribe(&mut self, turn: &mut Turn<'_>, key: SessionKey, filter: TopicFilter<'_>, qos: QoS) -> bool {
        let limits = (self.topic_limits, self.limits.subscriptions_per_session);
        let Some(session) = self.sessions.get_mut(key.slot, key.generation) else { return false };
        let is_new = !session.is_subscribed(filter.as_str());
        let count = session.subscription_count() as u64 + u64::from(is_new);
        let is_granted = limits.0.check(filter.as_str()).is_ok() && !limits.1.is_exceeded_by(count);
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
            if let Some(session) = session.id {
                self.gate.record(Record::Subscribed { session, filter: filter.as_str().into(), qos });
            }
            self.stats.subscriptions += u64::from(is_new);
        } else {
            self.stats.subscriptions_refused += 1;
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
        let Some(connection) = self.connections.get(key) else { return Ok(()) };
        let session_key = connection.session;
        let Some(session) = self.sessions.get_mut(session_key.slot, session_key.generation) else {
            return Ok(());
        };
        for filter in unsubscribe.filters.iter() {
            if session.unsubscribe(filter) {
                turn.commons.unsubscribe(filter, self.id, session_key); // [MQTT-3.10.4-2]
                self.stats.subscriptions = self.stats.subscriptions.saturating_sub(1);
                if let Some(session) = session.id {
                    self.gate.record(Record::Unsubscribed { session, filter: filter.as_str().into() });
                }
            }
        }
        let is_promise = session.id.is_some();
        self.answer(turn, key, Answer::UnsubAck(unsubscribe.packet_id), is_promise); // [MQTT-3.10.4-5]
        Ok(())
    }
}
