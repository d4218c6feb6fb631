//! Clients that connect, do something, and leave: any number of them, some at a time.
//!
//! ```text
//! connect() ─► CONNECT ─► CONNACK ─► what the visit is for ─► DISCONNECT ─► closed by the broker
//! ```
//!
//! A visit is over when the broker has closed the connection, so it has taken everything by then.

use std::io;
use std::time::Instant;

use mio::{Events, Poll, Token};

use crate::bench::frame::{Packet, Packets, kind};
use crate::bench::link::{Link, Received};
use crate::bench::setup::{OPENING_MAX, accepted, check_session, wait};
use crate::bench::template::{self, DISCONNECT};
use crate::bench::{BenchError, Gauge, Plan};

/// Connections at a time.
const OPEN_MAX: usize = 1000;
const BUFFER_BYTES: usize = 256 * 1024;

/// What a client does while it is there.
pub(super) trait Visit {
    /// Its Client Identifier.
    fn client_id(&self) -> &str;
    /// Clean Session.
    fn is_clean(&self) -> bool;
    /// Whether the broker must have a session of it.
    fn has_session(&self) -> bool;
    /// CONNACK has come.
    fn on_accepted(&mut self, out: &mut Vec<u8>) -> Stay;
    /// Any other packet has come.
    fn on_packet(&mut self, packet: Packet<'_>, out: &mut Vec<u8>) -> Result<Stay, BenchError>;
    /// Nobody got anything for as long as patience lasts. False if there is nothing left to try.
    fn on_silence(&mut self, _out: &mut Vec<u8>) -> bool {
        false
    }
}

/// Whether a client has to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    Here,
    Leaves,
}

/// The connection of a visit.
struct Guest {
    link: Link,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Opening,
    Accepted,
    /// DISCONNECT is sent.
    Leaving,
}

struct House<'a, V> {
    plan: &'a Plan,
    poll: Poll,
    visits: &'a mut [V],
    /// By place of the visit; those that have not begun are not in it.
    guests: Vec<Option<Guest>>,
    opening: usize,
    open: usize,
}

/// Carries all visits out. The gauge shows how many are over.
pub(super) fn visit_all<V: Visit>(plan: &Plan, visits: &mut [V], gauge: &Gauge) -> Result<(), BenchError> {
    let poll = Poll::new().map_err(BenchError::Io)?;
    let mut house = House { plan, poll, visits, guests: Vec::new(), opening: 0, open: 0 };
    let mut events = Events::with_capacity(1024);
    let packet_bytes = plan.payload_bytes + usize::from(u16::MAX);
    let mut buffer = vec![0; BUFFER_BYTES.max(packet_bytes * 2)];
    let mut progress = Instant::now();
    loop {
        house.open_more()?;
        if house.open == 0 {
            return Ok(());
        }
        wait(&mut house.poll, &mut events, Some(plan.patience.saturating_sub(progress.elapsed())))?;
        for event in &events {
            progress = Instant::now();
            house.on_event(event.token(), event.is_writable(), event.is_readable(), &mut buffer)?;
        }
        if progress.elapsed() >= plan.patience {
            house.on_silence()?;
            progress = Instant::now();
        }
        gauge.set_ready(house.guests.len() - house.open);
    }
}

impl<V: Visit> House<'_, V> {
    fn open_more(&mut self) -> Result<(), BenchError> {
        while self.opening < OPENING_MAX
            && self.open < OPEN_MAX
            && let Some(visit) = self.visits.get(self.guests.len())
        {
            let (plan, token) = (self.plan, Token(self.guests.len()));
            let mut link = Link::connect(plan, self.poll.registry(), token)
                .map_err(|source| BenchError::Connect { address: plan.address, source })?;
            link.out().extend(template::connect(
                plan.version,
                visit.client_id(),
                visit.is_clean(),
                plan.credentials.as_ref(),
            ));
            self.guests.push(Some(Guest { link, stage: Stage::Opening }));
            self.opening += 1;
            self.open += 1;
        }
        Ok(())
    }

    fn on_event(
        &mut self,
        token: Token,
        is_writable: bool,
        is_readable: bool,
        buffer: &mut [u8],
    ) -> Result<(), BenchError> {
        let failed = |source| BenchError::Connect { address: self.plan.address, source };
        // Else an event of a visit that ended in this turn.
        let Some(Some(guest)) = self.guests.get_mut(token.0) else { return Ok(()) };
        if is_writable {
            guest.link.opened().map_err(failed)?;
            guest.link.flush().map_err(failed)?;
        }
        while is_readable && self.read(token.0, buffer)? {}
        let Some(Some(guest)) = self.guests.get_mut(token.0) else { return Ok(()) };
        match guest.link.flush() {
            // It may close as soon as it has read DISCONNECT; the next read tells.
            Err(error) if guest.stage != Stage::Leaving => Err(failed(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Reads once and takes the packets; true if there may be more.
    fn read(&mut self, number: usize, buffer: &mut [u8]) -> Result<bool, BenchError> {
        let (Some(place), Some(visit)) = (self.guests.get_mut(number), self.visits.get_mut(number)) else {
            return Ok(false);
        };
        let Some(guest) = place else { return Ok(false) };
        let (len, is_more) = match guest.link.read(buffer) {
            Ok(Received::Bytes { len, is_more }) => (len, is_more),
            Ok(Received::Nothing) => return Ok(false),
            Ok(Received::End) | Err(_) if guest.stage == Stage::Leaving => {
                guest.link.close(self.poll.registry());
                *place = None;
                self.open -= 1;
                return Ok(false);
            }
            Ok(Received::End) => {
                let source = io::ErrorKind::UnexpectedEof.into();
                return Err(match guest.stage {
                    Stage::Opening => BenchError::Closed { client_id: visit.client_id().to_owned() },
                    Stage::Accepted | Stage::Leaving => {
                        BenchError::Broken { role: "session", number, source }
                    }
                });
            }
            Err(source) => return Err(BenchError::Connect { address: self.plan.address, source }),
        };
        let mut packets = Packets::new(buffer.get(..len).unwrap_or_default());
        while let Some(packet) = packets.next().map_err(|_| BenchError::Malformed)? {
            let stay = match guest.stage {
                Stage::Opening => {
                    accept(self.plan, visit, packet)?;
                    guest.stage = Stage::Accepted;
                    self.opening -= 1;
                    visit.on_accepted(guest.link.out())
                }
                Stage::Accepted => visit.on_packet(packet, guest.link.out())?,
                // What the broker sent before it read DISCONNECT.
                Stage::Leaving => continue,
            };
            if stay == Stay::Leaves {
                guest.link.out().extend(DISCONNECT);
                guest.stage = Stage::Leaving;
            }
        }
        guest.link.keep(packets.rest());
        Ok(is_more)
    }

    fn on_silence(&mut self) -> Result<(), BenchError> {
        let mut is_hopeful = false;
        for (guest, visit) in self.guests.iter_mut().zip(self.visits.iter_mut()) {
            let Some(guest) = guest.as_mut().filter(|guest| guest.stage == Stage::Accepted) else { continue };
            if visit.on_silence(guest.link.out()) {
                is_hopeful = true;
                // A connection that is broken says so when it is read.
                let _ = guest.link.flush();
            }
        }
        if is_hopeful {
            Ok(())
        } else {
            Err(BenchError::Silent { seconds: self.plan.patience.as_secs_f64() })
        }
    }
}

fn accept(plan: &Plan, visit: &impl Visit, packet: Packet<'_>) -> Result<(), BenchError> {
    match packet.kind() {
        kind::CONNACK => check_session(plan, accepted(plan, packet)?.is_present, visit.has_session()),
        kind => Err(BenchError::Unexpected { kind }),
    }
}

/// Ends a session: a connection with Clean Session, and nothing else.
pub(super) struct Removal(pub(super) String);

impl Visit for Removal {
    fn client_id(&self) -> &str {
        &self.0
    }

    fn is_clean(&self) -> bool {
        true
    }

    fn has_session(&self) -> bool {
        false
    }

    fn on_accepted(&mut self, _: &mut Vec<u8>) -> Stay {
        Stay::Leaves
    }

    fn on_packet(&mut self, packet: Packet<'_>, _: &mut Vec<u8>) -> Result<Stay, BenchError> {
        Err(BenchError::Unexpected { kind: packet.kind() })
    }
}

/// Ends the sessions of these clients.
pub(super) fn remove_sessions(
    plan: &Plan,
    client_ids: impl Iterator<Item = String>,
    gauge: &Gauge,
) -> Result<(), BenchError> {
    visit_all(plan, &mut client_ids.map(Removal).collect::<Vec<_>>(), gauge)
}
