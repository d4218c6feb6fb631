//! Clients that connect, disconnect, and connect again: how fast a broker takes them.
//!
//! ```text
//! connect() ─► CONNECT ─► CONNACK (counted) ─► DISCONNECT ─► closed by the broker ─► again
//! ```
//!
//! Persistent sessions must be present from the second time on. They are removed after the run, by a last
//! connection with Clean Session.

use std::time::Instant;

use mio::{Events, Poll, Token};

use crate::bench::frame::{Packets, kind};
use crate::bench::link::{Link, Received};
use crate::bench::peers::Totals;
use crate::bench::runner::{Part, Share};
use crate::bench::setup::{accepted, check_session, wait};
use crate::bench::stopwatch::Stopwatch;
use crate::bench::template::{self, DISCONNECT, nanoseconds};
use crate::bench::visit::remove_sessions;
use crate::bench::{BenchError, Length};

/// One client, which keeps its Client Identifier.
#[derive(Debug)]
struct Client {
    number: u32,
    client_id: String,
    /// None when it has done all it had to.
    link: Option<Link>,
    started: Instant,
    /// CONNACK has come, DISCONNECT is sent.
    is_accepted: bool,
    /// Connections it had.
    count: u32,
}

struct Storm<'a> {
    share: &'a Share<'a>,
    poll: Poll,
    clients: Vec<Client>,
    clean_session: bool,
    quota: u32,
    /// Connections accepted.
    done: u64,
    /// Clients that have a connection.
    open: usize,
}

pub(super) fn run(share: &Share<'_>, clean_session: bool) -> Result<Part, BenchError> {
    let poll = share.ready(Poll::new().map_err(BenchError::Io))?;
    let quota = match share.plan.length {
        Length::Count(count) => count,
        Length::Time { .. } => u32::MAX,
    };
    let started = Instant::now();
    let clients = share.numbers.clone().map(|number| {
        let client_id = share.client_id('c', number);
        Client { number, client_id, link: None, started, is_accepted: false, count: 0 }
    });
    let clients = clients.collect();
    let mut storm = Storm { share, poll, clients, clean_session, quota, done: 0, open: 0 };
    let mut watch = Stopwatch::start(share.plan, share.is_first)?;
    storm.start_all()?;
    storm.drive(&mut watch)?;
    let measured = watch.finish(storm.done, storm.done);
    if !clean_session {
        let client_ids = storm.clients.into_iter().map(|client| client.client_id);
        remove_sessions(share.plan, client_ids, share.gauge)?;
    }
    let totals = Totals { sent: measured.end.done, delivered: measured.end.done, ..Totals::default() };
    Ok(Part::new(measured, totals))
}

impl Storm<'_> {
    fn start_all(&mut self) -> Result<(), BenchError> {
        (0..self.clients.len()).try_for_each(|place| self.start(place))
    }

    /// Connects a client that is not, if it has to.
    fn start(&mut self, place: usize) -> Result<(), BenchError> {
        let plan = self.share.plan;
        let Some(client) = self.clients.get_mut(place).filter(|client| client.count < self.quota) else {
            return Ok(());
        };
        let mut link = Link::connect(plan, self.poll.registry(), Token(place))
            .map_err(|source| BenchError::Connect { address: plan.address, source })?;
        link.out().extend(template::connect(
            plan.version,
            &client.client_id,
            self.clean_session,
            plan.credentials.as_ref().map(|credentials| credentials.of(client.number)).as_deref(),
        ));
        client.link = Some(link);
        client.is_accepted = false;
        client.started = Instant::now();
        self.open += 1;
        Ok(())
    }

    /// Until each client has had its connections, or the time is over; then those that are open are ended.
    fn drive(&mut self, watch: &mut Stopwatch) -> Result<(), BenchError> {
        let patience = self.share.plan.patience;
        let mut events = Events::with_capacity(1024);
        let mut progress = Instant::now();
        while self.open > 0 {
            let left = patience.saturating_sub(progress.elapsed());
            let phase = watch.until().map(|until| until.saturating_duration_since(Instant::now()));
            wait(&mut self.poll, &mut events, Some(phase.map_or(left, |phase| phase.min(left))))?;
            let before = self.done;
            for event in &events {
                progress = Instant::now();
                self.on_event(event.token().0, event.is_writable(), event.is_readable(), watch)?;
            }
            self.share.gauge.add(self.done - before);
            let now = Instant::now();
            watch.tick(now, self.done, self.done);
            if watch.is_over() {
                self.quota = 0;
            }
            if now.duration_since(progress) >= patience {
                return Err(BenchError::Silent { seconds: patience.as_secs_f64() });
            }
        }
        Ok(())
    }

    fn on_event(
        &mut self,
        place: usize,
        is_writable: bool,
        is_readable: bool,
        watch: &mut Stopwatch,
    ) -> Result<(), BenchError> {
        let address = self.share.plan.address;
        let failed = |source| BenchError::Connect { address, source };
        let Some(client) = self.clients.get_mut(place) else { return Ok(()) };
        // An event of a connection that has ended in this turn.
        let Some(link) = &mut client.link else { return Ok(()) };
        if is_writable {
            link.opened().map_err(failed)?;
            link.flush().map_err(failed)?;
        }
        let mut buffer = [0; 1024];
        while is_readable && let Some(link) = &mut client.link {
            let len = match link.read(&mut buffer) {
                Ok(Received::Bytes { len, .. }) => len,
                Ok(Received::Nothing) => return Ok(()),
                Ok(Received::End) | Err(_) if client.is_accepted => {
                    link.close(self.poll.registry());
                    client.link = None;
                    self.open -= 1;
                    return self.start(place);
                }
                Ok(Received::End) => return Err(BenchError::Closed { client_id: client.client_id.clone() }),
                Err(error) => return Err(failed(error)),
            };
            let mut packets = Packets::new(buffer.get(..len).unwrap_or_default());
            while let Some(packet) = packets.next().map_err(|_| BenchError::Malformed)? {
                if packet.kind() != kind::CONNACK || client.is_accepted {
                    return Err(BenchError::Unexpected { kind: packet.kind() });
                }
                let is_present = accepted(self.share.plan, packet)?.is_present;
                check_session(self.share.plan, is_present, !self.clean_session && client.count > 0)?;
                watch.record(nanoseconds(client.started.elapsed()));
                client.is_accepted = true;
                client.count += 1;
                self.done += 1;
                link.out().extend(DISCONNECT);
            }
            link.keep(packets.rest());
            // The broker may have gone, which the next read tells.
            let _ = link.flush();
        }
        Ok(())
    }
}
