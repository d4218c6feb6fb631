//! What clients publish, and its PUBACK.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use culex_codec::{Ack, Packet, Publish, QoS, ReasonCode};
use tokio::time::Instant;

use super::link::{Link, summary};
use super::observe::{Acknowledgement, Delivery, DisconnectReason};
use super::rules::Fault;
use super::service::Service;
use super::session::Message;
use super::topic::{self, Kind};
use super::violations::Action;

/// So much later every other PUBACK comes in the scenario `reorder_acks`.
const REORDERED_BY: Duration = Duration::from_millis(100);

/// A message that a client wants to be published.
pub(super) struct Published {
    /// Empty over HTTPS.
    pub(super) client_id: String,
    /// The connection, for No Local.
    pub(super) publisher: u64,
    pub(super) topic: String,
    pub(super) payload: Bytes,
    /// As on the wire.
    pub(super) properties: Vec<u8>,
    /// Message Expiry Interval, in seconds.
    pub(super) expiry: Option<u32>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) packet_id: Option<u16>,
}

impl Published {
    fn over(link: &Link, publish: &Publish<'_>, topic: String) -> Self {
        Self {
            client_id: link.client_id().to_owned(),
            publisher: link.id,
            topic,
            payload: Bytes::copy_from_slice(publish.payload),
            properties: publish.properties.as_bytes().to_vec(),
            expiry: publish.properties.message_expiry_interval(),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.packet_id.map(|id| id.get()),
        }
    }
}

impl Service {
    pub(super) fn publish(&mut self, link: &mut Link, publish: &Publish<'_>, now: Instant) {
        self.observations.publishes_in += 1;
        link.publishes_in.add(1, now);
        let peak = &mut self.observations.peak_publishes_per_second;
        *peak = link.publishes_in.sum(now).max(*peak);
        let Some(topic) = self.topic_of(link, publish, now) else { return };
        if !self.is_well_formed(link, publish, &topic, now) || !self.is_authorised(link, publish, &topic, now)
        {
            return;
        }
        if let Some(packet_id) = publish.packet_id.map(|id| id.get())
            && !self.is_answerable(link, publish, packet_id, now)
        {
            return;
        }
        if !self.is_slow_enough(link, publish, &topic, now) {
            return;
        }
        self.accept(Published::over(link, publish, topic), now);
        if let Some(packet_id) = publish.packet_id {
            self.acknowledge(link, Ack::success(packet_id), now);
        }
    }

    /// The topic, of the alias too. AIC-V5-02
    fn topic_of(&mut self, link: &mut Link, publish: &Publish<'_>, now: Instant) -> Option<String> {
        let topic = publish.topic.map(|topic| topic.as_str().to_owned());
        let Some(alias) = publish.properties.topic_alias().map(u16::from) else { return topic };
        let found = match topic {
            _ if alias > self.limits.topic_aliases => None,
            Some(topic) => {
                link.aliases.insert(alias, topic.clone());
                Some(topic)
            }
            None => link.aliases.get(&alias).cloned(),
        };
        if found.is_none() {
            self.violate(link, "AIC-V5-02", summary(&Packet::Publish(*publish)), Action::Refused(0x94), now);
            self.close(link, DisconnectReason::ClientError, Some(ReasonCode::TopicAliasInvalid), now);
        }
        found
    }

    fn is_well_formed(&mut self, link: &mut Link, publish: &Publish<'_>, topic: &str, now: Instant) -> bool {
        let error = DisconnectReason::ClientError;
        let packet = || summary(&Packet::Publish(*publish));
        if publish.qos == QoS::ExactlyOnce {
            if self.scenario.qos2_ignored {
                self.violate(link, "AIC-PUB-02", packet(), Action::Discarded, now);
            } else {
                self.close_for(link, "AIC-PUB-02", packet(), (error, ReasonCode::QoSNotSupported), now);
            }
            return false;
        }
        if publish.properties.subscription_identifier().is_some() {
            self.close_for(link, "AIC-CON-09", packet(), (error, ReasonCode::ProtocolError), now);
            return false;
        }
        match self.fault(topic, publish.payload.len(), publish.retain) {
            None => true,
            Some(Fault { id, code, closes: true }) => {
                self.close_for(link, id, packet(), (error, code), now);
                false
            }
            Some(Fault { id, code, closes: false }) => {
                self.reject(link, publish, id, (error, code), now);
                false
            }
        }
    }

    fn is_authorised(&mut self, link: &mut Link, publish: &Publish<'_>, topic: &str, now: Instant) -> bool {
        let forbidden = (DisconnectReason::ForbiddenAccess, ReasonCode::NotAuthorized);
        let missing = self.missing_right(&link.policies, &link.principal, topic, publish.retain);
        if let Some(id) = missing {
            self.reject(link, publish, id, forbidden, now);
        }
        missing.is_none()
    }

    /// Whether there is room for one more without a PUBACK. AIC-PUB-09
    fn is_answerable(
        &mut self,
        link: &mut Link,
        publish: &Publish<'_>,
        packet_id: u16,
        now: Instant,
    ) -> bool {
        let packet = || summary(&Packet::Publish(*publish));
        if link.unanswered.contains(&packet_id) {
            if link.version.is_v5() {
                // In 5.0 a message is sent again over a new connection only. [MQTT-4.4.0-1]
                self.refuse(link, "AIC-CON-09", packet(), now);
                return false;
            }
            return true; // AIC-PUB-07: it is the way to be heard.
        }
        if link.unanswered.len() < self.limits.in_flight_in {
            link.unanswered.insert(packet_id);
            let peak = &mut self.observations.peak_in_flight_in;
            *peak = link.unanswered.len().max(*peak);
            return true;
        }
        let excess = (DisconnectReason::ClientError, ReasonCode::ReceiveMaximumExceeded);
        if link.version.is_v5() {
            self.close_for(link, "AIC-PUB-09", packet(), excess, now);
        } else {
            self.violate(link, "AIC-PUB-09", packet(), Action::Discarded, now);
        }
        false
    }

    /// Whether no limit of time is exceeded; if one is, the message is discarded without a PUBACK.
    fn is_slow_enough(&mut self, link: &mut Link, publish: &Publish<'_>, topic: &str, now: Instant) -> bool {
        let own = self.scenario.throttle.unwrap_or(u32::MAX);
        let limit = self.limits.publishes_in_per_second;
        let accepted = link.accepted_in.sum(now);
        let broken = if accepted >= limit {
            Some("AIC-PUB-06")
        } else {
            self.spent(topic, publish.retain, publish.payload.is_empty(), now)
        };
        if broken.is_none() && accepted < own {
            link.accepted_in.add(1, now);
            self.account_publishes.add(1, now);
            return true;
        }
        self.observations.throttled += 1;
        link.discarded += 1;
        if let Some(id) = broken {
            self.violate(link, id, summary(&Packet::Publish(*publish)), Action::Discarded, now);
        }
        if self.scenario.throttle_closes_after.is_some_and(|after| link.discarded >= after) {
            self.close(link, DisconnectReason::Throttled, Some(ReasonCode::QuotaExceeded), now);
        }
        false
    }

    /// Takes a message that breaks no rule.
    pub(super) fn accept(&mut self, published: Published, now: Instant) {
        let Published {
            client_id,
            publisher,
            topic,
            payload,
            properties,
            expiry,
            qos,
            retain,
            dup,
            packet_id,
        } = published;
        let delivery = Delivery {
            at: self.at(now),
            client_id: client_id.clone(),
            topic: topic.clone(),
            payload: payload.clone(),
            qos: qos.bits(),
            retain,
            dup,
            packet_id,
        };
        let Self { limits, deliveries, observations, .. } = self;
        observations.deliveries_forgotten +=
            deliveries.push(delivery, limits.deliveries, limits.delivery_bytes);
        self.news.notify_waiters();
        // AIC-TOP-02, AIC-TOP-03: taken, and seen by no subscriber.
        match topic::kind(&topic) {
            Kind::Plain => {}
            Kind::Thing => return self.ask_thing(&client_id, &topic, &payload, now),
            Kind::BasicIngest | Kind::Events | Kind::Reserved => return,
        }
        let expires = self.expiry(expiry, now);
        let message =
            Arc::new(Message { topic, payload, properties, qos, expires, published: now, publisher });
        if retain {
            self.retained.set(&message, self.limits.retained_messages);
        }
        self.route(&message, retain, now);
    }

    /// A message of the cloud itself.
    pub(super) fn publish_by_cloud(
        &mut self,
        topic: &str,
        payload: Bytes,
        qos: QoS,
        retain: bool,
        now: Instant,
    ) {
        let message = Arc::new(Message {
            topic: topic.to_owned(),
            payload,
            properties: Vec::new(),
            qos: qos.min(QoS::AtLeastOnce),
            expires: None,
            published: now,
            publisher: u64::MAX,
        });
        if retain {
            self.retained.set(&message, self.limits.retained_messages);
        }
        self.route(&message, retain, now);
    }

    /// Puts the PUBACK out, as the scenario has it.
    fn acknowledge(&mut self, link: &mut Link, ack: Ack<'_>, now: Instant) {
        if self.chance.hits(self.scenario.drop_puback) {
            return;
        }
        link.acks += 1;
        let reordered =
            if self.scenario.reorder_acks && link.acks % 2 == 1 { REORDERED_BY } else { Duration::ZERO };
        link.put(Packet::PubAck(ack), now + self.scenario.delay_puback + reordered);
    }

    /// A PUBACK leaves.
    pub(super) fn acknowledge_written(&mut self, link: &mut Link, packet_id: u16) {
        link.unanswered.remove(&packet_id);
        let seen = Acknowledgement { client_id: link.client_id().to_owned(), packet_id };
        self.observations.acks_sent.push(seen, self.limits.records);
    }

    /// In 3.1.1 the connection is closed; in 5.0 the message is, if it has a PUBACK to say so.
    fn reject(
        &mut self,
        link: &mut Link,
        publish: &Publish<'_>,
        id: &'static str,
        (reason, code): (DisconnectReason, ReasonCode),
        now: Instant,
    ) {
        let packet = summary(&Packet::Publish(*publish));
        match publish.packet_id {
            Some(packet_id) if link.version.is_v5() => {
                self.violate(link, id, packet, Action::Refused(code.as_u8()), now);
                link.put(Packet::PubAck(Ack::new(packet_id, code)), now);
            }
            Some(_) | None => self.close_for(link, id, packet, (reason, code), now),
        }
    }

    /// Closes the connection: in 5.0 with this code.
    pub(super) fn close_for(
        &mut self,
        link: &mut Link,
        id: &'static str,
        packet: String,
        (reason, code): (DisconnectReason, ReasonCode),
        now: Instant,
    ) {
        let action = if link.version.is_v5() { Action::Refused(code.as_u8()) } else { Action::Closed };
        self.violate(link, id, packet, action, now);
        self.close(link, reason, Some(code), now);
    }
}
