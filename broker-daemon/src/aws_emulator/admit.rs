//! Who may connect, and what CONNACK says.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use culex_codec::{
    ConnAck, Packet, Properties, PropertiesBuf, Property, PropertyContext, ProtocolVersion, QoS, ReasonCode,
};
use tokio::time::Instant;

use super::link::{Link, Request, Stage};
use super::observe::{Connected, DisconnectReason};
use super::policy::{Action as Right, Policy, Principal};
use super::registry::{PeerIdentity, Status};
use super::service::Service;
use super::session::Session;
use super::topic;
use super::violations::Action;

/// Why a CONNECT is refused.
struct Refusal {
    id: &'static str,
    code: ReasonCode,
    reason: DisconnectReason,
}

impl Refusal {
    const fn new(id: &'static str, code: ReasonCode, reason: DisconnectReason) -> Self {
        Self { id, code, reason }
    }

    /// Not by a rule that a client can keep: the policy, or the state of its certificate.
    const fn unauthorised(id: &'static str) -> Self {
        Self::new(id, ReasonCode::NotAuthorized, DisconnectReason::AuthError)
    }
}

impl Service {
    /// The time of CONNACK has come.
    pub(super) fn admit(&mut self, link: &mut Link, request: &Request, now: Instant) {
        let assigned = match self.client_id(link, request) {
            Ok(assigned) => assigned,
            Err(refusal) => return self.refuse_connect(link, request, &refusal, now),
        };
        if let Err(refusal) = self.check_connect(link, request, now) {
            return self.refuse_connect(link, request, &refusal, now);
        }
        if request.version.is_v5() && self.scenario.legacy_v3_connack_to_v5 {
            // AIC-V5-06
            link.version = ProtocolVersion::V311;
        }
        let session_present = self.bind(link, request, now);
        self.saw_connect(link, request, Some(session_present), now);
        let effective = self.keep_alive(request.keep_alive);
        link.keep_alive = Duration::from_secs(effective.into());
        link.last_packet = now; // AIC-CON-11
        link.receive_maximum = usize::from(request.receive_maximum).min(self.limits.in_flight_out);
        link.packet_bytes_max = request.packet_bytes_max;
        link.session_expiry = request.session_expiry;
        link.will = request.will.clone();
        link.stage = Stage::Open(now);
        let properties = self.announce(request, effective, assigned.then_some(link.client_id()));
        let properties = properties.as_properties(PropertyContext::ConnAck).unwrap_or(Properties::EMPTY);
        link.put(
            Packet::ConnAck(ConnAck { session_present, reason_code: ReasonCode::Success, properties }),
            now,
        );
        self.presence(link, "connected", None, now);
        if self.scenario.unsolicited_reply {
            self.send_unsolicited(link, now);
        }
    }

    /// Gives whether the id was assigned.
    fn client_id(&mut self, link: &mut Link, request: &Request) -> Result<bool, Refusal> {
        let invalid =
            |id| Refusal::new(id, ReasonCode::ClientIdentifierNotValid, DisconnectReason::ClientError);
        if request.client_id.len() > self.limits.client_id_bytes {
            return Err(invalid("AIC-CON-03"));
        }
        if request.client_id.starts_with('$') {
            return Err(invalid("AIC-CON-04"));
        }
        if !request.client_id.is_empty() {
            return Ok(false);
        }
        // AIC-CON-05
        let is_allowed = request.version.is_v5() || (self.scenario.empty_client_id && request.clean_start);
        if !is_allowed {
            return Err(invalid("AIC-CON-05"));
        }
        link.principal.client_id = format!("assigned-{:016x}", self.chance.next());
        Ok(true)
    }

    fn check_connect(&mut self, link: &mut Link, request: &Request, now: Instant) -> Result<(), Refusal> {
        let client_id = link.client_id().to_owned();
        let throttled = |id| Refusal::new(id, ReasonCode::QuotaExceeded, DisconnectReason::Throttled);
        let interval = self.limits.connect_interval;
        self.recent_connects.retain(|_, at| now.duration_since(*at) < interval);
        if self.recent_connects.insert(client_id.clone(), now).is_some() {
            return Err(throttled("AIC-CON-06"));
        }
        if !self.connects.take(1, self.limits.connects_per_second, now) {
            return Err(throttled("AIC-CON-07"));
        }
        self.authenticate(link, request)?;
        if !self.is_allowed(link, Right::Connect, &client_id) {
            // Whether it is for what the CONNECT asks beside the connection.
            link.principal.connect_attributes.clear();
            let is_by_attribute = self.is_allowed(link, Right::Connect, &client_id);
            return Err(Refusal::unauthorised(if is_by_attribute { "AIC-CON-15" } else { "AIC-CON-12" }));
        }
        if let Some(will) = &request.will {
            if will.qos == QoS::ExactlyOnce {
                return Err(Refusal::new(
                    "AIC-CON-14",
                    ReasonCode::QoSNotSupported,
                    DisconnectReason::ClientError,
                ));
            }
            let is_valid =
                topic::kind(&will.topic) == topic::Kind::Plain && topic::fits(&will.topic, &self.limits);
            let is_allowed = self.is_allowed(link, Right::Publish, &will.topic)
                && (!will.retain || self.is_allowed(link, Right::RetainPublish, &will.topic));
            if !is_valid || !is_allowed {
                return Err(Refusal::unauthorised("AIC-WIL-02"));
            }
        }
        self.sessions.retain(|_, session| !session.is_over(now));
        if self.sessions.len() >= self.limits.sessions && !self.sessions.contains_key(&client_id) {
            return Err(throttled("AIC-CON-07"));
        }
        Ok(())
    }

    /// Finds policies and thing.
    fn authenticate(&mut self, link: &mut Link, request: &Request) -> Result<(), Refusal> {
        if link.identity == PeerIdentity::CustomAuthorizer && !request.has_credentials {
            let code = ReasonCode::BadUserNameOrPassword;
            return Err(Refusal::new("AIC-NET-04", code, DisconnectReason::AuthError));
        }
        let (policies, thing) = self.rights_of(&link.identity).map_err(Refusal::unauthorised)?;
        link.policies = policies.into();
        link.principal = Principal {
            thing,
            connect_attributes: attributes(request),
            client_id: std::mem::take(&mut link.principal.client_id),
        };
        Ok(())
    }

    /// The policies and the thing of a peer, or the rule that keeps it out.
    pub(super) fn rights_of(
        &self,
        identity: &PeerIdentity,
    ) -> Result<(Vec<Policy>, Option<String>), &'static str> {
        match identity {
            PeerIdentity::Certificate(fingerprint) => match self.registry.get(fingerprint) {
                Some(found) if found.status == Status::PendingActivation => Err("AIC-TLS-10"),
                Some(found) if found.status == Status::Active && !self.is_unusable() => {
                    Ok((found.policies.clone(), found.thing.clone()))
                }
                Some(_) | None => Err("AIC-TLS-07"),
            },
            PeerIdentity::CustomAuthorizer => Ok((self.registry.custom.clone(), None)),
            PeerIdentity::SigV4 => Ok((self.registry.users.clone(), None)),
        }
    }

    /// Whether the scenario makes every certificate useless.
    fn is_unusable(&self) -> bool {
        self.scenario.cert_inactive || self.scenario.cert_unknown_late_alert
    }

    fn refuse_connect(&mut self, link: &mut Link, request: &Request, refusal: &Refusal, now: Instant) {
        self.saw_connect(link, request, None, now);
        let is_said = request.version.is_v5() || self.scenario.connack_on_refusal;
        let action = if is_said { Action::Refused(refusal.code.as_u8()) } else { Action::Closed };
        self.violate(link, refusal.id, request.summary.clone(), action, now);
        if is_said {
            let reason_code = if request.version.is_v5() { refusal.code } else { ReasonCode::NotAuthorized };
            let connack = ConnAck { session_present: false, reason_code, properties: Properties::EMPTY };
            link.put(Packet::ConnAck(connack), now);
        }
        self.close(link, refusal.reason, None, now);
    }

    fn saw_connect(&mut self, link: &Link, request: &Request, session_present: Option<bool>, now: Instant) {
        let seen = Connected {
            at: self.at(now),
            client_id: link.client_id().to_owned(),
            level: request.version.level(),
            clean_start: request.clean_start,
            keep_alive: request.keep_alive,
            session_present,
        };
        self.observations.connects.push(seen, self.limits.records);
        self.news.notify_waiters();
    }

    /// Takes the session over, from whoever has it. Gives Session Present.
    fn bind(&mut self, link: &Link, request: &Request, now: Instant) -> bool {
        let client_id = link.client_id().to_owned();
        // AIC-CON-08
        let holder = self.sessions.get(&client_id).and_then(|session| session.connection);
        if let Some(mut other) = holder.and_then(|holder| self.links.remove(&holder)) {
            self.close(
                &mut other,
                DisconnectReason::DuplicateClientId,
                Some(ReasonCode::SessionTakenOver),
                now,
            );
            other.wake.notify_one();
            self.links.insert(other.id, other);
        }
        let is_v5 = request.version.is_v5();
        let found = self.sessions.remove(&client_id).filter(|session| {
            // AIC-SES-01, AIC-SES-03
            !request.clean_start
                && session.is_v5 == is_v5
                && !session.is_over(now)
                && !self.scenario.expire_session
        });
        let is_present = found.is_some();
        let mut session = found.unwrap_or_else(|| Session::new(is_v5));
        session.resume();
        session.connection = Some(link.id);
        session.expires = None;
        session.expiry = self.session_expiry(request);
        self.sessions.insert(client_id, session);
        is_present
    }

    fn session_expiry(&self, request: &Request) -> Duration {
        if request.version.is_v5() {
            Duration::from_secs(request.session_expiry.into()).min(self.limits.session_expiry)
        } else if request.is_persistent() {
            self.limits.session_expiry
        } else {
            Duration::ZERO
        }
    }

    /// The effective Keep Alive in seconds. AIC-CON-10
    fn keep_alive(&self, asked: u16) -> u16 {
        let Self { limits, .. } = self;
        if asked == 0 {
            limits.keep_alive_max
        } else {
            asked.clamp(limits.keep_alive_min, limits.keep_alive_max)
        }
    }

    /// AIC-V5-01
    fn announce(&self, request: &Request, keep_alive: u16, assigned: Option<&str>) -> PropertiesBuf {
        let mut properties = PropertiesBuf::new();
        let limits = &self.limits;
        let in_flight = u16::try_from(limits.in_flight_in).ok().and_then(NonZeroU16::new);
        let expiry = u32::try_from(self.session_expiry(request).as_secs()).unwrap_or(u32::MAX);
        let all = [
            (request.session_expiry > 0).then_some(Property::SessionExpiryInterval(expiry)),
            in_flight.map(Property::ReceiveMaximum),
            Some(Property::MaximumQoS(QoS::AtLeastOnce)),
            Some(Property::RetainAvailable(true)),
            NonZeroU32::new(limits.packet_bytes).map(Property::MaximumPacketSize),
            assigned.map(Property::AssignedClientIdentifier),
            Some(Property::TopicAliasMaximum(limits.topic_aliases)),
            Some(Property::WildcardSubscriptionAvailable(true)),
            Some(Property::SubscriptionIdentifierAvailable(false)),
            Some(Property::SharedSubscriptionAvailable(true)),
            Some(Property::ServerKeepAlive(keep_alive)),
        ];
        for property in all.into_iter().flatten() {
            // None is too long.
            let _ = properties.push(property);
        }
        properties
    }
}

/// What of a CONNECT is authorised beside the client id. AIC-CON-15
fn attributes(request: &Request) -> Vec<&'static str> {
    let persistent = request.is_persistent().then_some("PersistentConnect");
    let will = request.will.is_some().then_some("LastWill");
    persistent.into_iter().chain(will).collect()
}
