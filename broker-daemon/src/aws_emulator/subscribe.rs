//! SUBSCRIBE and UNSUBSCRIBE.

use std::sync::Arc;

use culex_codec::{
    Packet, Properties, QoS, ReasonCode, RetainHandling, SubAck, Subscribe, Subscription as Wanted, UnsubAck,
    Unsubscribe,
};
use tokio::time::Instant;

use super::link::{Link, summary};
use super::observe::DisconnectReason;
use super::policy::Action as Right;
use super::service::Service;
use super::session::{Outgoing, Subscription};
use super::topic::{self, Kind};
use super::violations::Action;

/// Why a filter is refused: with a code in SUBACK, or by closing the connection.
struct Refusal {
    id: &'static str,
    code: ReasonCode,
    reason: DisconnectReason,
    /// In 5.0 too.
    closes: bool,
}

impl Service {
    pub(super) fn subscribe(&mut self, link: &mut Link, subscribe: &Subscribe<'_>, now: Instant) {
        self.observations.subscribes += 1;
        let packet = || summary(&Packet::Subscribe(*subscribe));
        let error = DisconnectReason::ClientError;
        if subscribe.filters.len() > self.limits.filters_per_subscribe {
            return self.close_for(link, "AIC-SUB-01", packet(), (error, ReasonCode::QuotaExceeded), now);
        }
        if subscribe.properties.subscription_identifier().is_some() {
            let code = ReasonCode::SubscriptionIdentifiersNotSupported;
            return self.close_for(link, "AIC-SUB-08", packet(), (error, code), now);
        }
        let mut codes = Vec::new();
        let mut retained = Vec::new();
        for wanted in subscribe.filters {
            match self.check_filter(link, &wanted, now) {
                Ok(()) => {
                    let is_new = self.add(link, &wanted, now);
                    codes.push(wanted.options.qos.bits());
                    if self.wants_retained(&wanted, is_new) {
                        retained.push((wanted.filter.as_str().to_owned(), wanted.options.qos));
                    }
                }
                Err(refusal) if refusal.closes || !link.version.is_v5() => {
                    return self.close_for(link, refusal.id, packet(), (refusal.reason, refusal.code), now);
                }
                Err(refusal) => {
                    self.violate(link, refusal.id, packet(), Action::Refused(refusal.code.as_u8()), now);
                    codes.push(refusal.code.as_u8());
                }
            }
        }
        if self.scenario.drop_suback {
            return;
        }
        let suback =
            SubAck { packet_id: subscribe.packet_id, properties: Properties::EMPTY, reason_codes: &codes };
        link.put(Packet::SubAck(suback), now);
        for (topic, qos) in retained {
            self.send_retained(link, &topic, qos, now);
        }
        let topics: Vec<_> = subscribe.filters.iter().map(|wanted| wanted.filter.as_str()).collect();
        let mut body = self.event(link, "subscribed", now);
        body.push(("topics", topics.into()));
        self.tell(link, "subscriptions/subscribed", body, now);
    }

    fn check_filter(&mut self, link: &Link, wanted: &Wanted<'_>, now: Instant) -> Result<(), Refusal> {
        let refusal = |id, code, reason, closes| Err(Refusal { id, code, reason, closes });
        let error = DisconnectReason::ClientError;
        if wanted.options.qos == QoS::ExactlyOnce {
            return refusal("AIC-PUB-02", ReasonCode::QoSNotSupported, error, true);
        }
        let whole = wanted.filter.as_str();
        let filter = match wanted.filter.parse_shared() {
            Ok(Some((name, _))) if name.as_str().len() > self.limits.share_name_bytes => {
                return refusal("AIC-SUB-07", ReasonCode::TopicFilterInvalid, error, false);
            }
            Ok(Some((_, filter))) => filter.as_str(),
            Ok(None) => whole,
            Err(_) => return refusal("AIC-SUB-07", ReasonCode::TopicFilterInvalid, error, false),
        };
        if !topic::fits(filter, &self.limits) {
            return refusal("AIC-PUB-05", ReasonCode::TopicFilterInvalid, error, false);
        }
        match topic::kind(filter) {
            Kind::Plain | Kind::Thing | Kind::Events => {}
            Kind::BasicIngest => return refusal("AIC-TOP-02", ReasonCode::TopicFilterInvalid, error, true),
            Kind::Reserved => return refusal("AIC-TOP-01", ReasonCode::TopicFilterInvalid, error, true),
        }
        // The policy sees the filter without `$share/<name>/`.
        if !self.is_allowed(link, Right::Subscribe, filter) {
            let forbidden = DisconnectReason::ForbiddenAccess;
            return refusal("AIC-POL-05", ReasonCode::NotAuthorized, forbidden, false);
        }
        let subscriptions = self.sessions.get(link.client_id()).map(|session| &session.subscriptions);
        let is_full = subscriptions
            .is_some_and(|all| all.len() >= self.limits.subscriptions && !all.contains_key(whole));
        if is_full {
            return refusal("AIC-SUB-02", ReasonCode::QuotaExceeded, error, false);
        }
        let all: usize = self.sessions.values().map(|session| session.subscriptions.len()).sum();
        if all >= self.limits.account_subscriptions
            || !self.subscriptions.take(1, self.limits.subscriptions_per_second, now)
        {
            return refusal("AIC-SUB-03", ReasonCode::QuotaExceeded, DisconnectReason::Throttled, false);
        }
        Ok(())
    }

    /// Gives whether the Subscription is new.
    fn add(&mut self, link: &Link, wanted: &Wanted<'_>, now: Instant) -> bool {
        let begins = now + self.scenario.subscribe_lag;
        let Some(session) = self.sessions.get_mut(link.client_id()) else { return false };
        let filter = wanted.filter.as_str().to_owned();
        let before = session.subscriptions.get(&filter).map(|before| before.begins);
        let subscription = Subscription {
            qos: wanted.options.qos,
            begins: before.unwrap_or(begins),
            no_local: wanted.options.no_local,
            retain_as_published: wanted.options.retain_as_published,
        };
        session.subscriptions.insert(filter, subscription);
        before.is_none()
    }

    /// Only exact filters bring Retained Messages. AIC-RET-02, AIC-SUB-07
    fn wants_retained(&self, wanted: &Wanted<'_>, is_new: bool) -> bool {
        let by_option = match wanted.options.retain_handling {
            RetainHandling::SendAtSubscribe => true,
            RetainHandling::SendAtSubscribeIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        !wanted.filter.has_wildcard()
            && wanted.filter.shared().is_none()
            && (by_option || !self.scenario.subscription_options)
    }

    fn send_retained(&mut self, link: &Link, topic: &str, qos: QoS, now: Instant) {
        if let Some(message) = self.retained.get(topic, now) {
            let outgoing = Outgoing::new(Arc::clone(&message), qos.min(message.qos), true);
            self.give(link.client_id(), outgoing, now);
        }
    }

    pub(super) fn unsubscribe(&mut self, link: &mut Link, unsubscribe: &Unsubscribe<'_>, now: Instant) {
        let mut codes = Vec::new();
        for filter in unsubscribe.filters {
            if let Some(session) = self.sessions.get_mut(link.client_id()) {
                session.subscriptions.remove(filter.as_str());
            }
            // AIC-SUB-06: 0x11 is not among the codes that the service uses.
            codes.push(ReasonCode::Success.as_u8());
        }
        let packet_id = unsubscribe.packet_id;
        link.put(
            Packet::UnsubAck(UnsubAck { packet_id, properties: Properties::EMPTY, reason_codes: &codes }),
            now,
        );
        let topics: Vec<_> = unsubscribe.filters.iter().map(|filter| filter.as_str()).collect();
        let mut body = self.event(link, "unsubscribed", now);
        body.push(("topics", topics.into()));
        self.tell(link, "subscriptions/unsubscribed", body, now);
    }
}
