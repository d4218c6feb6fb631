//! The service as a state machine: no socket, no task. Connections give it bytes and times, and ask what is next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use culex_codec::{Connect, DecodeError, Decoded, Packet, ProtocolVersion, ReasonCode, decode};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::limits::Limits;
use super::link::{Link, Request, Stage, summary};
use super::observe::{Deliveries, DisconnectReason, Observations};
use super::policy::{self, Action as Right, Policy, Principal};
use super::rate::{Chance, Window};
use super::registry::{PeerIdentity, Registry};
use super::retained::Retained;
use super::scenario::Scenario;
use super::session::Session;
use super::shadow::Shadows;
use super::violations::{Action, Violation, Violations};

#[derive(Debug)]
pub(super) struct Service {
    pub(super) limits: Limits,
    pub(super) scenario: Scenario,
    pub(super) registry: Registry,
    pub(super) started: Instant,
    /// The time of day at `started`, in milliseconds since 1970.
    pub(super) started_unix_ms: u64,
    pub(super) links: BTreeMap<u64, Link>,
    next_link: u64,
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) retained: Retained,
    pub(super) shadows: Shadows,
    /// Whose turn it is in each Shared Subscription.
    pub(super) turns: BTreeMap<String, usize>,
    /// When client ids have sent CONNECT, of late.
    pub(super) recent_connects: BTreeMap<String, Instant>,
    pub(super) connects: Window,
    pub(super) account_publishes: Window,
    pub(super) account_publishes_out: Window,
    pub(super) subscriptions: Window,
    pub(super) account_stored: Window,
    pub(super) chance: Chance,
    pub(super) violations: Violations,
    pub(super) observations: Observations,
    pub(super) deliveries: Deliveries,
    /// Whoever waits for news of the log.
    pub(super) news: Arc<Notify>,
}

impl Service {
    pub(super) fn new(
        limits: Limits,
        scenario: Scenario,
        registry: Registry,
        seed: u64,
        unix_ms: u64,
    ) -> Self {
        Self {
            limits,
            scenario,
            registry,
            started: Instant::now(),
            started_unix_ms: unix_ms,
            links: BTreeMap::new(),
            next_link: 0,
            sessions: BTreeMap::new(),
            retained: Retained::default(),
            turns: BTreeMap::new(),
            recent_connects: BTreeMap::new(),
            connects: Window::default(),
            account_publishes: Window::default(),
            account_publishes_out: Window::default(),
            subscriptions: Window::default(),
            shadows: Shadows::default(),
            account_stored: Window::default(),
            chance: Chance::new(seed),
            violations: Violations::default(),
            observations: Observations::default(),
            deliveries: Deliveries::default(),
            news: Arc::new(Notify::new()),
        }
    }

    /// A new connection; `None` if there is none to be had.
    pub(super) fn open(&mut self, identity: PeerIdentity, wake: Arc<Notify>, now: Instant) -> Option<u64> {
        if self.scenario.outage || self.links.len() >= self.limits.connections {
            return None;
        }
        self.next_link += 1;
        let mut link = Link::new(self.next_link, identity, wake, now);
        if link.identity == PeerIdentity::SigV4 {
            link.until = Some(now + self.limits.websocket_time);
        }
        self.links.insert(self.next_link, link);
        Some(self.next_link)
    }

    pub(super) fn saw_handshake(&mut self, is_complete: bool) {
        let Observations { handshakes, failed_handshakes, .. } = &mut self.observations;
        *(if is_complete { handshakes } else { failed_handshakes }) += 1;
        self.news.notify_waiters();
    }

    /// The peer has gone, or its stream failed. Nothing is known of the connection then.
    pub(super) fn lost(&mut self, id: u64, now: Instant) {
        if let Some(mut link) = self.links.remove(&id) {
            self.end(&mut link, DisconnectReason::ConnectionLost, now);
        }
    }

    /// Bytes have come.
    pub(super) fn receive(&mut self, id: u64, bytes: &[u8], now: Instant) {
        let Some(mut link) = self.links.remove(&id) else { return };
        self.measure(&mut link, bytes.len(), now);
        let mut input = std::mem::take(&mut link.input);
        input.extend_from_slice(bytes);
        let mut rest = input.as_slice();
        while !link.is_over() && !rest.is_empty() {
            if let Stage::Waiting(request, _) = &link.stage {
                let packet = format!("bytes behind {}", request.summary);
                self.refuse(&mut link, "AIC-CON-02", packet, now);
                break;
            }
            match decode(rest, link.version, self.limits.packet_bytes) {
                Ok(Decoded::Packet { packet, len }) => {
                    link.last_packet = now;
                    self.handle(&mut link, &packet, now);
                    rest = rest.get(len..).unwrap_or_default();
                }
                Ok(Decoded::Incomplete { .. }) => break,
                Err(error) => self.refuse_malformed(&mut link, &error, now),
            }
        }
        if !link.is_over() {
            link.input = rest.to_vec();
        }
        self.links.insert(id, link);
    }

    /// What comes is counted; beyond the limit the next is read later. AIC-PUB-08
    fn measure(&mut self, link: &mut Link, bytes: usize, now: Instant) {
        self.observations.bytes_in += bytes as u64;
        link.bytes_in.add(u32::try_from(bytes).unwrap_or(u32::MAX), now);
        let sum = link.bytes_in.sum(now);
        let peak = &mut self.observations.peak_bytes_per_second;
        *peak = sum.max(*peak);
        let limit = self.byte_limit();
        if sum > limit {
            link.read_at = link.bytes_in.when(0, limit, now);
            if self.scenario.slow.is_none() {
                self.violate(link, "AIC-PUB-08", format!("{sum} bytes in a second"), Action::Delayed, now);
            }
        }
    }

    pub(super) fn byte_limit(&self) -> u32 {
        self.scenario
            .slow
            .map_or(self.limits.bytes_per_second, |slow| slow.clamp(1, self.limits.bytes_per_second))
    }

    fn handle(&mut self, link: &mut Link, packet: &Packet<'_>, now: Instant) {
        match (&link.stage, packet) {
            (Stage::First, Packet::Connect(connect)) => self.connect(link, connect, now),
            (Stage::First, _) => self.refuse(link, "AIC-CON-09", summary(packet), now),
            (Stage::Open(_), Packet::Publish(publish)) => self.publish(link, publish, now),
            (Stage::Open(_), Packet::PubAck(ack)) => self.acknowledged(link, ack.packet_id.get(), now),
            (Stage::Open(_), Packet::Subscribe(subscribe)) => self.subscribe(link, subscribe, now),
            (Stage::Open(_), Packet::Unsubscribe(unsubscribe)) => self.unsubscribe(link, unsubscribe, now),
            (Stage::Open(_), Packet::PingReq) => {
                self.observations.pings += 1;
                if !self.scenario.no_pingresp {
                    link.put(Packet::PingResp, now);
                }
            }
            (Stage::Open(_), Packet::Disconnect(disconnect)) => self.disconnect(link, disconnect, now),
            (Stage::Open(_), Packet::PubRec(_) | Packet::PubRel(_) | Packet::PubComp(_)) => {
                self.violate(link, "AIC-PUB-02", summary(packet), Action::Closed, now);
                self.close(link, DisconnectReason::ClientError, Some(ReasonCode::QoSNotSupported), now);
            }
            (Stage::Open(_), Packet::Auth(_)) => self.refuse(link, "AIC-CON-18", summary(packet), now),
            (
                Stage::Open(_),
                Packet::Connect(_)
                | Packet::ConnAck(_)
                | Packet::SubAck(_)
                | Packet::UnsubAck(_)
                | Packet::PingResp,
            ) => self.refuse(link, "AIC-CON-09", summary(packet), now),
            // Nothing is read then.
            (Stage::Waiting(..) | Stage::Over { .. }, _) => {}
        }
    }

    fn connect(&mut self, link: &mut Link, connect: &Connect<'_>, now: Instant) {
        link.principal.client_id = connect.client_id.as_str().to_owned();
        link.version = connect.version;
        if connect.is_bridge || connect.version == ProtocolVersion::V31 {
            return self.refuse_level(link, summary(&Packet::Connect(*connect)), now);
        }
        if self.scenario.close_before_connack {
            return self.close(link, DisconnectReason::ServerInitiated, None, now);
        }
        let request = Request::new(connect);
        link.stage = Stage::Waiting(Box::new(request), now + self.scenario.connack_delay);
    }

    /// AIC-CON-01
    fn refuse_level(&mut self, link: &mut Link, packet: String, now: Instant) {
        if self.scenario.refuse_bridge_level {
            self.violate(link, "AIC-CON-01", packet, Action::Refused(1), now);
            link.put_frame(super::link::Frame { bytes: vec![0x20, 2, 0, 1], acknowledges: None }, now);
        } else {
            self.violate(link, "AIC-CON-01", packet, Action::Closed, now);
        }
        self.close(link, DisconnectReason::ClientError, None, now);
    }

    fn refuse_malformed(&mut self, link: &mut Link, error: &DecodeError, now: Instant) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "all other errors are one: a malformed packet")]
        let id = match error {
            DecodeError::UnsupportedProtocolLevel { .. } => {
                link.version = ProtocolVersion::V311;
                return self.refuse_level(link, error.to_string(), now);
            }
            DecodeError::PacketTooLarge { .. } => "AIC-PUB-04",
            _ => "AIC-CON-09",
        };
        self.violate(link, id, error.to_string(), Action::Closed, now);
        // AIC-CON-17: the service has fewer codes than the standard.
        let code = match (id, error.reason_code()) {
            ("AIC-PUB-04", _) => ReasonCode::QuotaExceeded,
            (_, ReasonCode::MalformedPacket) => ReasonCode::MalformedPacket,
            (_, _) => ReasonCode::ProtocolError,
        };
        self.close(link, DisconnectReason::ClientError, Some(code), now);
    }

    /// A packet that may not be: the connection is closed.
    pub(super) fn refuse(&mut self, link: &mut Link, id: &'static str, packet: String, now: Instant) {
        self.violate(link, id, packet, Action::Closed, now);
        self.close(link, DisconnectReason::ClientError, Some(ReasonCode::ProtocolError), now);
    }

    pub(super) fn violate(
        &mut self,
        link: &Link,
        id: &'static str,
        packet: String,
        action: Action,
        now: Instant,
    ) {
        self.violate_as(link.client_id().to_owned(), id, packet, action, now);
    }

    pub(super) fn violate_as(
        &mut self,
        client_id: String,
        id: &'static str,
        packet: String,
        action: Action,
        now: Instant,
    ) {
        let violation = Violation { at: self.at(now), id, client_id, packet, action };
        self.violations.push(violation, self.limits.records);
        self.news.notify_waiters();
    }

    /// A time as it is told: since the start.
    pub(super) fn at(&self, now: Instant) -> Duration {
        now.duration_since(self.started)
    }

    pub(super) fn is_allowed(&self, link: &Link, right: Right, name: &str) -> bool {
        self.may(&link.policies, &link.principal, right, name)
    }

    pub(super) fn may(&self, policies: &[Policy], principal: &Principal, right: Right, name: &str) -> bool {
        let is_without =
            self.scenario.policy_none || (self.scenario.policy_without_receive && right == Right::Receive);
        !is_without && policy::allows(policies, principal, right, name)
    }

    /// Another scenario from now on.
    pub(super) fn set_scenario(&mut self, scenario: Scenario, now: Instant) {
        self.scenario = scenario;
        if self.scenario.outage {
            self.cut_all(now);
        }
        self.links.values().for_each(|link| link.wake.notify_one());
    }

    /// Every connection breaks.
    pub(super) fn cut_all(&mut self, now: Instant) {
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            if let Some(mut link) = self.links.remove(&id) {
                self.end(&mut link, DisconnectReason::ConnectionLost, now);
                link.stage = Stage::Over { is_cut: true };
                link.wake.notify_one();
            }
        }
    }

    /// The service closes every connection. AIC-CON-16
    pub(super) fn disconnect_all(&mut self, now: Instant) {
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            if let Some(mut link) = self.links.remove(&id) {
                self.close(
                    &mut link,
                    DisconnectReason::ServerInitiated,
                    Some(ReasonCode::AdministrativeAction),
                    now,
                );
                link.wake.notify_one();
                self.links.insert(id, link);
            }
        }
    }
}
