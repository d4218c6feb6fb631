//! From a message to its receivers, and from their queues to their connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use culex_codec::{PacketId, Properties, PropertyContext, Publish, QoS, TopicFilter, TopicName};
use tokio::time::Instant;

use super::close::properties_out;
use super::limits::Limits;
use super::link::{Frame, Link};
use super::observe::Acknowledgement;
use super::policy::Action as Right;
use super::service::Service;
use super::session::{Message, Outgoing};
use super::topic;

/// Somebody who has subscribed to a message.
struct Receiver {
    client_id: String,
    qos: QoS,
    retain: bool,
    is_connected: bool,
}

/// Everybody who has: by themselves, or as members of Shared Subscriptions.
#[derive(Default)]
struct Receivers {
    own: Vec<Receiver>,
    shared: BTreeMap<String, Vec<Receiver>>,
}

impl Service {
    /// Gives the message to everybody who has subscribed to it.
    pub(super) fn route(&mut self, message: &Arc<Message>, retain: bool, now: Instant) {
        let Receivers { own, shared } = self.receivers(message, retain, now);
        let chosen: Vec<_> =
            shared.into_iter().filter_map(|(filter, members)| self.whose_turn(filter, members)).collect();
        let own = own.into_iter().map(|receiver| (receiver, false));
        for (receiver, is_shared) in own.chain(chosen.into_iter().map(|receiver| (receiver, true))) {
            let outgoing = Outgoing::new(Arc::clone(message), receiver.qos, receiver.retain);
            self.give(&receiver.client_id, Outgoing { is_shared, ..outgoing }, now);
        }
    }

    fn receivers(&self, message: &Message, retain: bool, now: Instant) -> Receivers {
        let mut receivers = Receivers::default();
        let has_options = self.scenario.subscription_options;
        for (client_id, session) in self.sessions.iter().filter(|(_, session)| !session.is_over(now)) {
            let is_connected = session.connection.is_some();
            let mut own: Option<Receiver> = None;
            for (filter, subscription) in &session.subscriptions {
                let shared = TopicFilter::assume_valid(filter).shared();
                let proper = shared.map_or(filter.as_str(), |(_, filter)| filter.as_str());
                // AIC-PUB-14
                if subscription.begins > message.published || !topic::matches(proper, &message.topic) {
                    continue;
                }
                let is_local =
                    has_options && subscription.no_local && session.connection == Some(message.publisher);
                let retain = retain && has_options && subscription.retain_as_published;
                let qos = subscription.qos.min(message.qos);
                let receiver = Receiver { client_id: client_id.clone(), qos, retain, is_connected };
                if shared.is_some() {
                    receivers.shared.entry(filter.clone()).or_default().push(receiver);
                } else if !is_local {
                    let best = own.get_or_insert(receiver);
                    best.qos = best.qos.max(qos);
                    best.retain |= retain;
                }
            }
            receivers.own.extend(own);
        }
        receivers
    }

    /// One member after the other, those first that are connected.
    fn whose_turn(&mut self, filter: String, mut members: Vec<Receiver>) -> Option<Receiver> {
        if members.iter().any(|member| member.is_connected) {
            members.retain(|member| member.is_connected);
        }
        if self.turns.len() > self.limits.sessions {
            self.turns.clear();
        }
        let turn = self.turns.entry(filter).or_default();
        *turn = turn.wrapping_add(1);
        let at = turn.checked_rem(members.len())?;
        members.into_iter().nth(at)
    }

    /// Puts a message into the queue of a session.
    pub(super) fn give(&mut self, client_id: &str, outgoing: Outgoing, now: Instant) {
        let queued: usize = self.sessions.values().map(|session| session.queue_bytes()).sum();
        let Some(session) = self.sessions.get_mut(client_id) else { return };
        if session.connection.is_none() {
            // AIC-SES-04
            if outgoing.qos == QoS::AtMostOnce {
                return;
            }
            // AIC-SES-06, AIC-SES-05
            if !session.stored.take(1, self.limits.stored_per_second_session, now)
                || !self.account_stored.take(1, self.limits.stored_per_second_account, now)
            {
                self.observations.discarded_offline += 1;
                return;
            }
        }
        let has_room = queued + outgoing.message.bytes() <= self.limits.queue_bytes;
        if !has_room || !session.push(outgoing, self.limits.queue_messages) {
            self.observations.discarded_offline += 1;
            return;
        }
        if self.scenario.reorder_messages && self.chance.hits(500) {
            session.overtake();
        }
        if let Some(link) = session.connection.and_then(|id| self.links.get(&id)) {
            link.wake.notify_one();
        }
    }

    /// A message of the service itself, to which nobody has subscribed. AIC-TOP-06
    pub(super) fn send_unsolicited(&mut self, link: &Link, now: Instant) {
        let thing = link.principal.thing.as_deref().unwrap_or("thing");
        let topic = format!("$aws/things/{thing}/jobs/notify");
        let message = Arc::new(Message::of_service(topic, Bytes::from_static(b"{\"jobs\":{}}"), now));
        self.give(link.client_id(), Outgoing::new(message, QoS::AtLeastOnce, false), now);
    }

    /// PUBACK of a client.
    pub(super) fn acknowledged(&mut self, link: &Link, packet_id: u16, _now: Instant) {
        let seen = Acknowledgement { client_id: link.client_id().to_owned(), packet_id };
        self.observations.acks_received.push(seen, self.limits.records);
        if let Some(session) = self.sessions.get_mut(link.client_id()) {
            session.in_flight.remove(&packet_id);
        }
    }

    /// Sends what may be sent now, and gives the time when more may be.
    pub(super) fn pump(&mut self, link: &mut Link, now: Instant) -> Option<Instant> {
        let client_id = link.client_id().to_owned();
        // In 5.0 nothing is sent again over a living connection. [MQTT-4.4.0-1]
        let interval = (!link.version.is_v5()).then_some(self.limits.redelivery_interval);
        loop {
            if !link.has_room() {
                return None; // What is written makes room, and then this is asked again.
            }
            let session = self.sessions.get_mut(&client_id)?;
            let again = session.again(interval, now);
            let next = match again {
                Some(id) => session.in_flight.get(&id).map(|in_flight| in_flight.outgoing.clone()),
                None => session.front().cloned(),
            };
            let resend_at = interval.and_then(|interval| session.next_again(interval));
            let Some(outgoing) = next else { return resend_at };
            if again.is_none()
                && outgoing.qos != QoS::AtMostOnce
                && session.in_flight.len() >= link.receive_maximum
            {
                return resend_at; // AIC-PUB-10
            }
            if self.is_dropped(link, &outgoing, now) {
                self.drop_next(&client_id, again);
                continue;
            }
            if let Some(later) = self.later(link, &client_id, &outgoing, now) {
                return Some(later);
            }
            self.send(link, &client_id, again, &outgoing, now);
        }
    }

    /// Whether a message is not for this client after all, or any more.
    fn is_dropped(&mut self, link: &Link, outgoing: &Outgoing, now: Instant) -> bool {
        let message = &outgoing.message;
        // AIC-PUB-12
        let is_old = outgoing.qos != QoS::AtMostOnce
            && !outgoing.is_stored
            && now.duration_since(message.published) > self.limits.redelivery_time;
        if message.is_over(now) || (is_old && !outgoing.retain) {
            return true;
        }
        if u32::try_from(message.wire_bytes()).unwrap_or(u32::MAX) > link.packet_bytes_max {
            return true;
        }
        // What the service says by itself needs no right. AIC-TOP-06
        let is_own = message.publisher == 0;
        if !is_own && !self.is_allowed(link, Right::Receive, &message.topic) {
            self.observations.not_received += 1; // AIC-POL-07
            return true;
        }
        false
    }

    fn drop_next(&mut self, client_id: &str, again: Option<u16>) {
        if let Some(session) = self.sessions.get_mut(client_id) {
            match again {
                Some(id) => drop(session.in_flight.remove(&id)),
                None => drop(session.pop()),
            }
        }
    }

    /// When it may be sent, if not now. AIC-PUB-08, AIC-PUB-11, AIC-SES-04, AIC-ACC-01
    fn later(
        &mut self,
        link: &mut Link,
        client_id: &str,
        outgoing: &Outgoing,
        now: Instant,
    ) -> Option<Instant> {
        let stored = self.sessions.get(client_id).and_then(|session| session.next_stored);
        let stored = stored.filter(|at| outgoing.is_stored && *at > now);
        let bytes = u32::try_from(outgoing.message.wire_bytes()).unwrap_or(u32::MAX);
        let rate = link.publishes_out.when(1, self.limits.publishes_out_per_second, now);
        let size = link.bytes_out.when(bytes, self.byte_limit(), now);
        let account = self.account_publishes_out.when(1, self.limits.account_publishes_per_second, now);
        stored.into_iter().chain([rate, size, account]).filter(|at| *at > now).max()
    }

    fn send(
        &mut self,
        link: &mut Link,
        client_id: &str,
        again: Option<u16>,
        outgoing: &Outgoing,
        now: Instant,
    ) {
        let Some(session) = self.sessions.get_mut(client_id) else { return };
        let packet_id = match (again, outgoing.qos) {
            (Some(id), _) => {
                // AIC-PUB-13
                let is_renamed = self.scenario.duplicate_new_id;
                let moved = if is_renamed { session.in_flight.remove(&id) } else { None };
                match moved {
                    Some(in_flight) => Some(session.launch(in_flight.outgoing, now)),
                    None => {
                        if let Some(in_flight) = session.in_flight.get_mut(&id) {
                            in_flight.sent = Some(now);
                        }
                        Some(id)
                    }
                }
            }
            (None, QoS::AtMostOnce) => {
                session.pop();
                None
            }
            (None, QoS::AtLeastOnce | QoS::ExactlyOnce) => {
                session.pop();
                if self.scenario.duplicate_new_id && !outgoing.is_copy {
                    let copy = Outgoing { is_copy: true, ..outgoing.clone() };
                    session.push(copy, self.limits.queue_messages);
                }
                Some(session.launch(outgoing.clone(), now))
            }
        };
        if outgoing.is_stored {
            let Limits { stored_per_second, stored_shared_per_second, .. } = self.limits;
            let rate = if outgoing.is_shared { stored_shared_per_second } else { stored_per_second };
            session.next_stored = Some(now + Duration::from_secs(1) / rate.max(1));
        }
        let peak = &mut self.observations.peak_in_flight_out;
        *peak = session.in_flight.len().max(*peak);
        self.observations.publishes_out += 1;
        link.publishes_out.add(1, now);
        self.account_publishes_out.add(1, now);
        let bytes = encode(link, outgoing, packet_id, again.is_some(), now);
        link.bytes_out.add(u32::try_from(bytes.len()).unwrap_or(u32::MAX), now);
        link.put_frame(Frame { bytes, acknowledges: None }, now);
    }
}

fn encode(link: &Link, outgoing: &Outgoing, packet_id: Option<u16>, dup: bool, now: Instant) -> Vec<u8> {
    let message = &outgoing.message;
    let properties = properties_out(message, now);
    let publish = Publish {
        dup,
        qos: outgoing.qos,
        retain: outgoing.retain,
        topic: Some(TopicName::assume_valid(&message.topic)),
        packet_id: packet_id.and_then(PacketId::new),
        properties: properties.as_properties(PropertyContext::Publish).unwrap_or(Properties::EMPTY),
        payload: &message.payload,
    };
    let mut bytes = Vec::new();
    // The parts were in a packet before.
    let _ = publish.encode(link.version, &mut bytes);
    bytes
}
