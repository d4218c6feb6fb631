//! The rules of a message, whoever sends it: over MQTT or HTTPS.

use culex_codec::ReasonCode;
use tokio::time::Instant;

use super::limits::Limits;
use super::policy::{Action as Right, Policy, Principal};
use super::service::Service;
use super::thing::Request;
use super::topic::{self, Kind};

/// A rule that a message breaks by itself, and how 5.0 says so.
pub(super) struct Fault {
    pub(super) id: &'static str,
    pub(super) code: ReasonCode,
    /// The connection is closed, and not the message refused.
    pub(super) closes: bool,
}

impl Service {
    /// The rule that a message breaks by itself, if any.
    pub(super) fn fault(&self, topic: &str, payload_bytes: usize, retain: bool) -> Option<Fault> {
        let fault = |id, code, closes| Some(Fault { id, code, closes });
        if payload_bytes > self.limits.payload_bytes {
            return fault("AIC-PUB-03", ReasonCode::QuotaExceeded, true);
        }
        if topic.contains(['+', '#']) {
            return fault("AIC-CON-09", ReasonCode::ProtocolError, true);
        }
        if !topic::fits(topic, &self.limits) {
            return fault("AIC-PUB-05", ReasonCode::TopicNameInvalid, false);
        }
        match topic::kind(topic) {
            Kind::Plain => None,
            Kind::BasicIngest | Kind::Thing if retain => {
                fault("AIC-RET-03", ReasonCode::TopicNameInvalid, false)
            }
            Kind::BasicIngest => None,
            Kind::Thing if Request::of(topic).is_some() => None,
            Kind::Thing | Kind::Events | Kind::Reserved => {
                fault("AIC-TOP-01", ReasonCode::TopicNameInvalid, true)
            }
        }
    }

    /// The rule that keeps somebody from publishing to a topic, if any.
    pub(super) fn missing_right(
        &self,
        policies: &[Policy],
        principal: &Principal,
        topic: &str,
        retain: bool,
    ) -> Option<&'static str> {
        if !self.may(policies, principal, Right::Publish, topic) {
            return Some("AIC-POL-04");
        }
        (retain && !self.may(policies, principal, Right::RetainPublish, topic)).then_some("AIC-POL-06")
    }

    /// The limit of the account that has no room for one more message, if any.
    pub(super) fn spent(
        &mut self,
        topic: &str,
        retain: bool,
        is_clear: bool,
        now: Instant,
    ) -> Option<&'static str> {
        let Limits { retained_messages, retained_interval, account_publishes_per_second, .. } = self.limits;
        if retain
            && !(self.retained.has_room(topic, is_clear, retained_messages)
                && self.retained.may_write(topic, retained_interval, now))
        {
            return Some("AIC-RET-04");
        }
        (self.account_publishes.sum(now) >= account_publishes_per_second).then_some("AIC-ACC-01")
    }
}
