//! Opens connections, some at a time, until each is connected and subscribed.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::bench::frame::{ConnAck, Packet, Packets, kind};
use crate::bench::link::{Link, Received};
use crate::bench::plan::{Plan, Version};
use crate::bench::template;
use crate::bench::{BenchError, Gauge};

/// Connections that are being opened at a time: below the usual backlog of a listener, 128.
pub(super) const OPENING_MAX: usize = 64;

/// One connection to open. Its place in the list is its token.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) client_id: String,
    pub(super) is_clean: bool,
    /// Topic to subscribe to.
    pub(super) subscribe: Option<String>,
}

/// A connection on its way.
#[derive(Debug)]
struct Half {
    link: Link,
    is_ready: bool,
}

/// Opens all; gives the connections in the order of the list.
pub(super) fn open_all(
    plan: &Plan,
    poll: &mut Poll,
    openings: &[Opening],
    gauge: &Gauge,
) -> Result<Vec<Link>, BenchError> {
    let mut setup = Setup { plan, openings, halves: Vec::with_capacity(openings.len()), ready: 0 };
    let mut events = Events::with_capacity(OPENING_MAX * 2);
    let mut buffer = vec![0; 4096];
    let mut progress = Instant::now();
    while setup.ready < openings.len() {
        setup.open_more(poll)?;
        wait(poll, &mut events, Some(plan.patience.saturating_sub(progress.elapsed())))?;
        if events.is_empty() && progress.elapsed() >= plan.patience {
            return Err(BenchError::Silent { seconds: plan.patience.as_secs_f64() });
        }
        for event in &events {
            progress = Instant::now();
            setup.on_event(event.token(), event.is_writable(), event.is_readable(), &mut buffer)?;
        }
        gauge.set_ready(setup.ready);
    }
    let links = setup.halves.into_iter().map(|mut half| {
        half.link.shrink();
        half.link
    });
    Ok(links.collect())
}

struct Setup<'a> {
    plan: &'a Plan,
    openings: &'a [Opening],
    halves: Vec<Half>,
    ready: usize,
}

impl Setup<'_> {
    fn open_more(&mut self, poll: &Poll) -> Result<(), BenchError> {
        while self.halves.len() - self.ready < OPENING_MAX
            && let Some(opening) = self.openings.get(self.halves.len())
        {
            let token = Token(self.halves.len());
            let mut link = Link::connect(self.plan, poll.registry(), token).map_err(|e| self.failed(e))?;
            link.out().extend(template::connect(
                self.plan.version,
                &opening.client_id,
                opening.is_clean,
                self.plan.credentials.as_ref(),
            ));
            self.halves.push(Half { link, is_ready: false });
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> BenchError {
        BenchError::Connect { address: self.plan.address, source }
    }

    fn on_event(
        &mut self,
        token: Token,
        is_writable: bool,
        is_readable: bool,
        buffer: &mut [u8],
    ) -> Result<(), BenchError> {
        let address = self.plan.address;
        let failed = |source| BenchError::Connect { address, source };
        let (Some(half), Some(opening)) = (self.halves.get_mut(token.0), self.openings.get(token.0)) else {
            return Ok(());
        };
        if is_writable {
            half.link.opened().map_err(failed)?;
            half.link.flush().map_err(failed)?;
        }
        if !is_readable {
            return Ok(());
        }
        let len = match half.link.read(buffer).map_err(failed)? {
            Received::Bytes { len, .. } => len,
            Received::Nothing => return Ok(()),
            Received::End => return Err(BenchError::Closed { client_id: opening.client_id.clone() }),
        };
        let mut packets = Packets::new(buffer.get(..len).unwrap_or_default());
        while let Some(packet) = packets.next().map_err(|_| BenchError::Malformed)? {
            if accept(half, opening, self.plan, packet)? {
                half.is_ready = true;
                self.ready += 1;
            }
        }
        half.link.keep(packets.rest());
        half.link.flush().map_err(failed)
    }
}

/// Takes CONNACK and SUBACK; true when the connection became ready.
fn accept(half: &mut Half, opening: &Opening, plan: &Plan, packet: Packet<'_>) -> Result<bool, BenchError> {
    match (packet.kind(), &opening.subscribe) {
        _ if half.is_ready => Err(BenchError::Unexpected { kind: packet.kind() }),
        (kind::CONNACK, subscribe) => {
            half.link.in_flight_max = accepted(plan, packet)?.receive_maximum;
            let Some(topic) = subscribe else { return Ok(true) };
            half.link.out().extend(template::subscribe(plan.version, [0, 1], topic, plan.qos));
            Ok(false)
        }
        (kind::SUBACK, Some(_)) => granted(plan, packet).map(|_| true),
        _ => Err(BenchError::Unexpected { kind: packet.kind() }),
    }
}

/// A CONNACK that says yes.
pub(super) fn accepted(plan: &Plan, packet: Packet<'_>) -> Result<ConnAck, BenchError> {
    match packet.connack(plan.version).ok_or(BenchError::Malformed)? {
        connack @ ConnAck { code: 0, .. } => Ok(connack),
        ConnAck { code, .. } => Err(BenchError::Refused { code }),
    }
}

/// The Packet Identifier of a SUBACK that grants what was asked for.
pub(super) fn granted(plan: &Plan, packet: Packet<'_>) -> Result<[u8; 2], BenchError> {
    match packet.suback(plan.version).ok_or(BenchError::Malformed)? {
        (packet_id, code) if code == plan.qos.bits() => Ok(packet_id),
        (_, code) => Err(BenchError::SubscriptionRefused { code }),
    }
}

/// [MQTT-3.2.2-1] to [MQTT-3.2.2-3]; 3.1 has no such flag.
pub(super) fn check_session(plan: &Plan, said: bool, expected: bool) -> Result<(), BenchError> {
    match plan.version {
        Version::V311 | Version::V5 if said != expected => Err(BenchError::SessionPresent { said }),
        Version::V311 | Version::V5 | Version::V31 => Ok(()),
    }
}

/// Waits for events; an interruption by a signal is none.
pub(super) fn wait(
    poll: &mut Poll,
    events: &mut Events,
    timeout: Option<Duration>,
) -> Result<(), BenchError> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(BenchError::Io(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
