//! The end of a connection: its Will, its session, and who hears of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use culex_codec::{Disconnect, Packet, PropertiesBuf, Property, ReasonCode};
use tokio::time::Instant;

use super::link::{Link, Stage, WillRequest, summary};
use super::observe::{DisconnectReason, Disconnected};
use super::registry::PeerIdentity;
use super::service::Service;
use super::session::Message;
use super::violations::Action;

impl Service {
    /// Closes it: with a DISCONNECT in 5.0, without a word in 3.1.1. AIC-CON-17
    pub(super) fn close(
        &mut self,
        link: &mut Link,
        reason: DisconnectReason,
        code: Option<ReasonCode>,
        now: Instant,
    ) {
        if link.is_over() {
            return;
        }
        link.drop_later(now);
        if let Some(code) = code
            && link.version.is_v5()
            && matches!(link.stage, Stage::Open(_))
        {
            link.put(Packet::Disconnect(Disconnect::new(code)), now);
        }
        self.end(link, reason, now);
        link.stage = Stage::Over { is_cut: false };
    }

    /// What follows from the end of a connection, however it came.
    pub(super) fn end(&mut self, link: &mut Link, reason: DisconnectReason, now: Instant) {
        if link.is_over() || matches!(link.stage, Stage::First) && link.client_id().is_empty() {
            return;
        }
        let client_id = link.client_id().to_owned();
        let seen = Disconnected { at: self.at(now), client_id: client_id.clone(), reason };
        self.observations.disconnects.push(seen, self.limits.records);
        self.news.notify_waiters();
        if !matches!(link.stage, Stage::Open(_)) {
            return;
        }
        if let Some(session) = self.sessions.get_mut(&client_id)
            && session.connection == Some(link.id)
        {
            session.connection = None;
            let expiry = if session.expiry.is_zero() {
                session.expiry
            } else {
                session.expiry + self.limits.session_expiry_extra
            };
            session.expires = Some(now + expiry);
            if expiry.is_zero() {
                self.sessions.remove(&client_id);
            }
        }
        // AIC-WIL-01
        if let Some(will) = link.will.take() {
            self.publish_will(link, will, now);
        }
        self.presence(link, "disconnected", Some(reason), now);
    }

    fn publish_will(&mut self, link: &Link, will: WillRequest, now: Instant) {
        let message = Arc::new(Message {
            topic: will.topic,
            payload: will.payload,
            properties: will.properties,
            qos: will.qos,
            expires: self.expiry(will.expiry, now),
            published: now,
            publisher: link.id,
        });
        if will.retain {
            self.retained.set(&message, self.limits.retained_messages);
        }
        self.route(&message, will.retain, now);
    }

    /// When a message with this Message Expiry Interval is over. AIC-V5-03
    pub(super) fn expiry(&self, seconds: Option<u32>, now: Instant) -> Option<Instant> {
        let seconds = seconds?.clamp(1, self.limits.message_expiry_seconds);
        Some(now + Duration::from_secs(seconds.into()))
    }

    pub(super) fn disconnect(&mut self, link: &mut Link, disconnect: &Disconnect<'_>, now: Instant) {
        if let Some(seconds) = disconnect.properties.session_expiry_interval() {
            // AIC-SES-02
            if link.session_expiry == 0 && seconds > 0 {
                self.violate(
                    link,
                    "AIC-SES-02",
                    summary(&Packet::Disconnect(*disconnect)),
                    Action::Closed,
                    now,
                );
                return self.close(link, DisconnectReason::ClientError, Some(ReasonCode::ProtocolError), now);
            }
            let expiry = Duration::from_secs(seconds.into()).min(self.limits.session_expiry);
            if let Some(session) = self.sessions.get_mut(link.client_id()) {
                session.expiry = expiry;
            }
        }
        if disconnect.reason_code != ReasonCode::DisconnectWithWillMessage {
            link.will = None;
        }
        self.close(link, DisconnectReason::ClientInitiated, None, now);
    }

    /// Tells of a connection on `$aws/events/presence`. AIC-TOP-07
    pub(super) fn presence(
        &mut self,
        link: &Link,
        event: &str,
        reason: Option<DisconnectReason>,
        now: Instant,
    ) {
        let mut body = self.event(link, event, now);
        if let Some(reason) = reason {
            let is_client = reason == DisconnectReason::ClientInitiated;
            body.push(("clientInitiatedDisconnect", is_client.into()));
            body.push(("disconnectReason", reason.name().into()));
        }
        self.tell(link, &format!("presence/{event}"), body, now);
    }

    pub(super) fn event(
        &self,
        link: &Link,
        event: &str,
        now: Instant,
    ) -> Vec<(&'static str, serde_json::Value)> {
        let principal = match &link.identity {
            PeerIdentity::Certificate(fingerprint) => fingerprint.to_string(),
            PeerIdentity::CustomAuthorizer => "custom".to_owned(),
            PeerIdentity::SigV4 => "user".to_owned(),
        };
        vec![
            ("clientId", link.client_id().into()),
            ("timestamp", self.unix_ms(now).into()),
            ("eventType", event.into()),
            ("sessionIdentifier", format!("{:08x}", link.id).into()),
            ("principalIdentifier", principal.into()),
            ("versionNumber", link.id.into()),
        ]
    }

    pub(super) fn tell(
        &mut self,
        link: &Link,
        what: &str,
        body: Vec<(&'static str, serde_json::Value)>,
        now: Instant,
    ) {
        // AIC-CON-04
        if link.client_id().contains(['+', '#']) {
            return;
        }
        let body: serde_json::Map<_, _> =
            body.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let body = Bytes::from(serde_json::Value::Object(body).to_string());
        let message = Message::of_service(format!("$aws/events/{what}/{}", link.client_id()), body, now);
        self.route(&Arc::new(message), false, now);
    }
}

/// The properties that a message keeps on its way, with the expiry that is left. AIC-V5-03, AIC-V5-04
pub(super) fn properties_out(message: &Message, now: Instant) -> PropertiesBuf {
    let mut out = PropertiesBuf::new();
    for property in culex_codec::Properties::from_trusted_bytes(&message.properties).iter() {
        let passes = matches!(
            property,
            Property::PayloadFormatIndicator(_)
                | Property::ContentType(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::UserProperty(..)
        );
        if passes {
            // It was in a packet before.
            let _ = out.push(property);
        }
    }
    if let Some(expires) = message.expires {
        let left = expires.saturating_duration_since(now).as_secs();
        let _ = out.push(Property::MessageExpiryInterval(u32::try_from(left.max(1)).unwrap_or(u32::MAX)));
    }
    out
}
