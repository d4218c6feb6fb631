//! A server that does nothing a broker must do: the limit of the machine.
//!
//! One thread. It says yes to every CONNECT and SUBSCRIBE, answers acknowledgements at once, and copies the bytes of
//! a PUBLISH to the connections that asked for exactly its topic: no wildcards, sessions, windows, stored messages,
//! limits or checks. A reader that does not read stops everybody.
//!
//! With a [`Log`] it also keeps what it acknowledges: all messages of QoS 1 and 2 of a turn are appended and synced by one call each,
//! before anything of that turn is written to a connection.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::net::SocketAddr;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use crate::bench::frame::{Packet, Packets, kind};
use crate::bench::link::{Link, Received};
use crate::bench::plan::Version;
use crate::bench::runner::raise_file_limit;
use crate::bench::template::ack;

/// The relay, listening.
#[derive(Debug)]
pub struct Relay {
    poll: Poll,
    listener: TcpListener,
    address: SocketAddr,
    /// Their tokens are their places; a place is used again.
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Who asked for a topic.
    topics: HashMap<Vec<u8>, Vec<usize>>,
    /// Client Identifiers with a session that is kept.
    sessions: HashSet<Vec<u8>>,
    /// Places of connections with something to write.
    queue: Vec<usize>,
    /// Places that may have something to read, from the last turn on.
    unread: Vec<usize>,
    /// Connections that have not read for long.
    congested: usize,
    buffer: Vec<u8>,
    log: Option<Log>,
}

/// Where messages are kept: appended, never read.
#[derive(Debug)]
struct Log {
    file: File,
    /// Of this turn.
    new: Vec<u8>,
    /// Written since the file began.
    len: usize,
}

/// A log begins anew beyond this, so that a long run does not fill the disk.
const LOG_BYTES_MAX: usize = 1 << 30;

impl Log {
    fn sync(&mut self) -> io::Result<()> {
        if self.new.is_empty() {
            return Ok(());
        }
        if self.len > LOG_BYTES_MAX {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.len = 0;
        }
        self.file.write_all(&self.new)?;
        self.file.sync_data()?;
        self.len += self.new.len();
        self.new.clear();
        Ok(())
    }
}

#[derive(Debug)]
struct Connection {
    link: Link,
    is_queued: bool,
    is_subscribed: bool,
    /// More waits than may.
    is_congested: bool,
}

const LISTENER: Token = Token(usize::MAX);
/// Also the largest packet.
const BUFFER_BYTES: usize = 1 << 20;
/// Read at once, if the packets are not larger.
const READ_BYTES: usize = 64 * 1024;
/// While more than this waits for some connection, nothing is read.
const BACKLOG_MAX: usize = 4 << 20;

impl Relay {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let address = listener.local_addr()?;
        Ok(Self {
            poll,
            listener,
            address,
            connections: Vec::new(),
            free: Vec::new(),
            topics: HashMap::new(),
            sessions: HashSet::new(),
            queue: Vec::new(),
            unread: Vec::new(),
            congested: 0,
            buffer: vec![0; BUFFER_BYTES],
            log: None,
        })
    }

    /// The same, which appends messages of QoS 1 and 2 to this file and syncs it before it acknowledges them.
    #[must_use]
    pub fn with_log(mut self, file: File) -> Self {
        self.log = Some(Log { file, new: Vec::new(), len: 0 });
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// If waiting for events, accepting, or writing the log fails.
    pub fn run(mut self) -> io::Result<()> {
        raise_file_limit(u64::MAX);
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => {}
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept()?;
                    continue;
                }
                if event.is_writable() {
                    self.enqueue(event.token().0);
                }
                if event.is_readable() {
                    self.unread.push(event.token().0);
                }
            }
            self.turn()?;
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // It has gone before it came.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let place = self.free.pop().unwrap_or(self.connections.len());
            let link = Link::accepted(stream, self.poll.registry(), Token(place))?;
            let connection =
                Some(Connection { link, is_queued: false, is_subscribed: false, is_congested: false });
            match self.connections.get_mut(place) {
                Some(slot) => *slot = connection,
                None => self.connections.push(connection),
            }
        }
    }

    /// Reads each ready connection once and writes what came of it, until nothing is ready. While someone does not
    /// read, the rest waits for the event that tells that there is room again.
    fn turn(&mut self) -> io::Result<()> {
        self.write_queued();
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut unread = std::mem::take(&mut self.unread);
        while self.congested == 0 && !unread.is_empty() {
            for place in unread.drain(..) {
                self.read(place, &mut buffer);
            }
            if let Some(log) = &mut self.log {
                log.sync()?;
            }
            self.write_queued();
            unread.append(&mut self.unread);
        }
        self.unread = unread;
        self.buffer = buffer;
        Ok(())
    }

    fn read(&mut self, place: usize, buffer: &mut [u8]) {
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        // A small read bounds what a fan-out copies at once; a packet that is larger gets more.
        let size = READ_BYTES.max(connection.link.kept() * 2).min(buffer.len());
        let space = buffer.get_mut(..size).unwrap_or_default();
        let (len, is_more) = match connection.link.read(space) {
            Ok(Received::Bytes { len, is_more }) => (len, is_more),
            Ok(Received::Nothing) => return,
            Ok(Received::End) | Err(_) => return self.remove(place),
        };
        let mut packets = Packets::new(space.get(..len).unwrap_or_default());
        loop {
            let before = packets.rest();
            match packets.next() {
                Ok(Some(packet)) => {
                    let bytes = before.get(..before.len() - packets.rest().len()).unwrap_or_default();
                    self.on_packet(place, packet, bytes);
                }
                Ok(None) => break,
                Err(_) => return self.remove(place),
            }
        }
        let Some(Some(connection)) = self.connections.get_mut(place) else { return };
        connection.link.keep(packets.rest());
        if is_more {
            self.unread.push(place);
        }
    }

    fn on_packet(&mut self, place: usize, packet: Packet<'_>, bytes: &[u8]) {
        let packet_id = packet.packet_id().unwrap_or_default();
        match packet.kind() {
            kind::PUBLISH => self.on_publish(place, packet, bytes),
            kind::CONNECT => self.on_connect(place, packet.body),
            kind::PUBREC => self.answer(place, &ack(0x62, packet_id)),
            kind::PUBREL => self.answer(place, &ack(0x70, packet_id)),
            kind::SUBSCRIBE => self.on_subscribe(place, packet.body),
            kind::UNSUBSCRIBE => self.answer(place, &ack(0xb0, packet_id)),
            kind::PINGREQ => self.answer(place, &[0xd0, 0]),
            kind::PUBACK | kind::PUBCOMP => {}
            // DISCONNECT, and what no client sends.
            _ => self.remove(place),
        }
    }

    /// Remembers the names of sessions that are kept, so that they are present the next time.
    fn on_connect(&mut self, place: usize, body: &[u8]) {
        let Some((level, flags, client_id)) = connect_parts(body) else { return self.remove(place) };
        if level == 5 {
            // Unsupported Protocol Version, with no properties.
            return self.answer(place, &[0x20, 3, 0, 0x84, 0]);
        }
        let is_clean = flags & 2 != 0;
        let is_present = if is_clean {
            self.sessions.remove(client_id);
            false
        } else {
            !self.sessions.insert(client_id.to_vec())
        };
        self.answer(place, &[0x20, 2, u8::from(is_present), 0]);
    }

    fn on_publish(&mut self, place: usize, packet: Packet<'_>, bytes: &[u8]) {
        let Some(publish) = packet.publish(Version::V311) else { return self.remove(place) };
        if let Some(log) = self.log.as_mut().filter(|_| packet.qos() > 0) {
            log.new.extend_from_slice(bytes);
        }
        match packet.qos() {
            0 => {}
            1 => self.answer(place, &ack(0x40, publish.packet_id)),
            _ => self.answer(place, &ack(0x50, publish.packet_id)),
        }
        let Some(places) = self.topics.get(publish.topic) else { return };
        for place in places {
            send(&mut self.connections, &mut self.queue, *place, bytes);
        }
    }

    /// Grants what is asked. 3.1.1 section 3.8: Packet Identifier, then filters with the QoS asked for.
    fn on_subscribe(&mut self, place: usize, body: &[u8]) {
        let Some(([high, low], mut rest)) = body.split_first_chunk::<2>() else { return self.remove(place) };
        let mut codes = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<2>()
            && let Some((topic, [qos, after @ ..])) =
                after.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        {
            if let Some(Some(connection)) = self.connections.get_mut(place) {
                connection.is_subscribed = true;
            }
            let places = self.topics.entry(topic.to_vec()).or_default();
            if !places.contains(&place) {
                places.push(place);
            }
            codes.push(*qos);
            rest = after;
        }
        // A few filters are enough for a load generator.
        let Some(length) = u8::try_from(codes.len() + 2).ok().filter(|length| *length < 0x80) else {
            return self.remove(place);
        };
        let answer = [&[0x90, length, *high, *low][..], &codes].concat();
        self.answer(place, &answer);
    }

    fn answer(&mut self, place: usize, bytes: &[u8]) {
        send(&mut self.connections, &mut self.queue, place, bytes);
    }

    fn enqueue(&mut self, place: usize) {
        send(&mut self.connections, &mut self.queue, place, &[]);
    }

    fn write_queued(&mut self) {
        let mut queue = std::mem::take(&mut self.queue);
        for place in queue.drain(..) {
            let Some(Some(connection)) = self.connections.get_mut(place) else { continue };
            connection.is_queued = false;
            let result = connection.link.flush();
            let is_congested = connection.link.backlog() > BACKLOG_MAX;
            if is_congested != connection.is_congested {
                connection.is_congested = is_congested;
                self.congested =
                    if is_congested { self.congested + 1 } else { self.congested.saturating_sub(1) };
            }
            if result.is_err() {
                self.remove(place);
            }
        }
        self.queue = queue;
    }

    fn remove(&mut self, place: usize) {
        let Some(mut connection) = self.connections.get_mut(place).and_then(Option::take) else { return };
        connection.link.close(self.poll.registry());
        if connection.is_congested {
            self.congested = self.congested.saturating_sub(1);
        }
        if connection.is_subscribed {
            for places in self.topics.values_mut() {
                places.retain(|other| *other != place);
            }
            self.topics.retain(|_, places| !places.is_empty());
        }
        self.free.push(place);
    }
}

/// The level, the Connect Flags and, before 5.0, the Client Identifier. 3.1.1 section 3.1: protocol name, level, flags, Keep Alive, payload.
fn connect_parts(body: &[u8]) -> Option<(u8, u8, &[u8])> {
    let text = |bytes: &'_ [u8]| -> Option<usize> {
        Some(usize::from(u16::from_be_bytes(*bytes.first_chunk()?)) + 2)
    };
    let [level, flags, _, _, payload @ ..] = body.get(text(body)?..)? else { return None };
    let client_id = if *level == 5 { &[][..] } else { payload.get(2..text(payload)?)? };
    Some((*level, *flags, client_id))
}

/// Appends bytes for a connection and notes that it has something to write.
fn send(connections: &mut [Option<Connection>], queue: &mut Vec<usize>, place: usize, bytes: &[u8]) {
    let Some(Some(connection)) = connections.get_mut(place) else { return };
    connection.link.out().extend_from_slice(bytes);
    if !connection.is_queued {
        connection.is_queued = true;
        queue.push(place);
    }
}
