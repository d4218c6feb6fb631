//! What a connection is to do next, and what ends it by time.

use std::time::Duration;

use culex_codec::ReasonCode;
use tokio::time::Instant;

use super::link::{Link, Request, Stage};
use super::observe::DisconnectReason;
use super::service::Service;

/// What a connection is to do next.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) bytes: Vec<u8>,
    pub(super) reads: bool,
    /// When to ask again, if nothing happens.
    pub(super) wake: Option<Instant>,
    pub(super) end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// What was written arrives, then the connection is closed.
    Closed,
    /// In the middle of whatever it was.
    Cut,
}

/// The most that is given to a connection at once.
const STEP_BYTES: usize = 64 << 10;

impl Service {
    /// What the connection is to do now. Nothing is to be written unless it has room for that.
    pub(super) fn poll(&mut self, id: u64, has_room: bool, now: Instant) -> Step {
        let Some(mut link) = self.links.remove(&id) else {
            return Step { end: Some(End::Cut), ..Step::default() };
        };
        if self.scenario.half_open && !link.is_over() {
            self.links.insert(id, link);
            return Step::default();
        }
        self.decide(&mut link, now);
        self.enforce(&mut link, now);
        let mut wake = None;
        if matches!(link.stage, Stage::Open(_)) {
            wake = self.pump(&mut link, now);
        }
        let mut step = Step { wake, ..Step::default() };
        if has_room || link.is_over() {
            self.write(&mut link, &mut step, now);
        }
        if let Stage::Over { is_cut } = link.stage {
            // Forgotten: whatever was to be done was done when it was closed.
            step.end = Some(if is_cut { End::Cut } else { End::Closed });
            return step;
        }
        step.reads = link.has_room() && link.read_at <= now;
        let due = link.next_due().filter(|_| has_room);
        let later = [due, Some(link.read_at).filter(|at| *at > now), self.deadline(&link)];
        step.wake = later.into_iter().flatten().chain(step.wake).min();
        self.links.insert(id, link);
        step
    }

    fn decide(&mut self, link: &mut Link, now: Instant) {
        if let Stage::Waiting(request, until) = &link.stage
            && *until <= now
        {
            let request = Request::clone(request);
            self.admit(link, &request, now);
        }
    }

    /// What ends a connection by time.
    fn enforce(&mut self, link: &mut Link, now: Instant) {
        if self.deadline(link).is_none_or(|deadline| deadline > now) {
            return;
        }
        match link.stage {
            Stage::First => self.close(link, DisconnectReason::ClientError, None, now),
            Stage::Open(since) => {
                let is_after = |time: Option<Duration>| time.is_some_and(|time| since + time <= now);
                let (reason, code) = if link.until.is_some_and(|until| until <= now) {
                    (DisconnectReason::WebSocketTtl, ReasonCode::AdministrativeAction)
                } else if is_after(self.scenario.kick_duplicate) {
                    (DisconnectReason::DuplicateClientId, ReasonCode::SessionTakenOver)
                } else if is_after(self.scenario.server_initiated_disconnect) {
                    (DisconnectReason::ServerInitiated, ReasonCode::AdministrativeAction)
                } else {
                    (DisconnectReason::KeepAliveTimeout, ReasonCode::KeepAliveTimeout)
                };
                self.close(link, reason, Some(code), now);
            }
            Stage::Waiting(..) | Stage::Over { .. } => {}
        }
    }

    /// When the connection ends, or goes on, by itself.
    fn deadline(&self, link: &Link) -> Option<Instant> {
        match link.stage {
            Stage::First => Some(link.opened + self.limits.connect_timeout),
            Stage::Waiting(_, until) => Some(until),
            Stage::Open(since) => {
                let scenario = [self.scenario.kick_duplicate, self.scenario.server_initiated_disconnect];
                // AIC-CON-10
                let silence = link.last_packet + link.keep_alive.mul_f32(1.5);
                let by_scenario = scenario.into_iter().flatten().map(|time| since + time);
                by_scenario.chain([silence]).chain(link.until).min()
            }
            Stage::Over { .. } => None,
        }
    }

    fn write(&mut self, link: &mut Link, step: &mut Step, now: Instant) {
        while step.bytes.len() < STEP_BYTES
            && let Some(frame) = link.take_due(now)
        {
            if !link.is_over() && self.chance.hits(self.scenario.rst_mid_packet) {
                step.bytes.extend(frame.bytes.iter().take(frame.bytes.len() / 2));
                self.end(link, DisconnectReason::ConnectionLost, now);
                link.stage = Stage::Over { is_cut: true };
                return;
            }
            if let Some(packet_id) = frame.acknowledges {
                self.acknowledge_written(link, packet_id);
            }
            self.observations.bytes_out += frame.bytes.len() as u64;
            step.bytes.extend_from_slice(&frame.bytes);
        }
        if step.bytes.len() >= STEP_BYTES && !link.is_over() {
            step.wake = Some(now);
        }
    }
}
