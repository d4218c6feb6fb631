//! A blocking test client over a plain socket: sends bytes, receives packets, never waits for time to pass.

#![expect(
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "an expectation that is not met, by whatever else, is a failed test; the place that called says which"
)]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::parse::{Received, parse};
use crate::wire::{self, Publish};

/// How long an expected answer may take before the case fails. A bound of failure, not a wait.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What came next on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A packet.
    Packet(Received),
    /// The end of the connection, orderly or not.
    Closed,
    /// Nothing within the bound.
    Silence,
}

/// One Network Connection to the broker under test.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// PUBLISH packets that came while another packet was waited for.
    pub(crate) publishes: VecDeque<Publish>,
    /// Only PUBLISH packets whose topic contains this are shown; the rest belongs to other cases.
    only: Option<String>,
    patience: Duration,
    pub(crate) last_id: u16,
}

impl Client {
    /// Opens a connection and sends nothing.
    ///
    /// # Panics
    ///
    /// When the broker cannot be reached.
    #[must_use]
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        let stream = match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => stream,
            Err(error) => panic!("no connection to {address}: {error}"),
        };
        let set = stream.set_nodelay(true).and(stream.set_read_timeout(Some(PATIENCE)));
        set.and(stream.set_write_timeout(Some(PATIENCE))).unwrap_or_else(|error| panic!("socket: {error}"));
        Self {
            stream,
            buffer: Vec::new(),
            publishes: VecDeque::new(),
            only: None,
            patience: PATIENCE,
            last_id: 0,
        }
    }

    /// Hides PUBLISH packets whose topic does not contain `part`: for filters that also match other cases.
    pub fn only(&mut self, part: &str) {
        self.only = Some(part.to_owned());
    }

    /// Waits this long instead of [`PATIENCE`]: for what the standard gives the broker time for.
    pub fn patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Sends bytes as they are. A connection that the broker has closed already is left to the next read.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// The next packet, the end of the connection, or silence within `bound`.
    ///
    /// # Panics
    ///
    /// When the broker sends what no Server may send.
    #[track_caller]
    pub fn next_within(&mut self, bound: Duration) -> Next {
        loop {
            match parse(&self.buffer) {
                Ok(Some((packet, used))) => {
                    self.buffer.drain(..used);
                    match (&packet, &self.only) {
                        (Received::Publish(publish), Some(part)) if !publish.topic.contains(part) => {}
                        _ => return Next::Packet(packet),
                    }
                }
                Ok(None) => {
                    if let Some(end) = self.fill(bound) {
                        return end;
                    }
                }
                Err(broken) => panic!("the broker sent a broken packet: {broken}"),
            }
        }
    }

    #[track_caller]
    fn fill(&mut self, bound: Duration) -> Option<Next> {
        let mut chunk = [0; 16 * 1024];
        if let Err(error) = self.stream.set_read_timeout(Some(bound)) {
            panic!("socket: {error}");
        }
        match self.stream.read(&mut chunk) {
            Ok(0) => Some(Next::Closed),
            Ok(n) => {
                self.buffer.extend(chunk.iter().take(n));
                None
            }
            Err(error) => match error.kind() {
                ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                    Some(Next::Closed)
                }
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Some(Next::Silence),
                ErrorKind::Interrupted => None,
                _ => panic!("read: {error}"),
            },
        }
    }

    /// What comes next, PUBLISH packets that were set aside first.
    #[track_caller]
    pub fn next_event(&mut self) -> Next {
        match self.publishes.pop_front() {
            Some(publish) => Next::Packet(Received::Publish(publish)),
            None => self.next_within(self.patience),
        }
    }

    /// The next packet.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn receive(&mut self) -> Received {
        match self.next_event() {
            Next::Packet(packet) => packet,
            end => panic!("a packet was expected, not {end:?}"),
        }
    }

    /// Takes exactly this packet next.
    ///
    /// # Panics
    ///
    /// When anything else comes.
    #[track_caller]
    pub fn expect(&mut self, expected: &Received) {
        let packet = self.receive();
        assert_eq!(&packet, expected, "another packet came");
    }

    /// Takes the answer to a request; PUBLISH packets before it are set aside for [`Client::receive`].
    ///
    /// # Panics
    ///
    /// When another packet comes.
    #[track_caller]
    pub fn answer(&mut self, expected: &Received) {
        let packet = self.next_answer();
        assert_eq!(&packet, expected, "another answer came");
    }

    #[track_caller]
    pub(crate) fn next_answer(&mut self) -> Received {
        loop {
            match self.next_within(self.patience) {
                Next::Packet(Received::Publish(publish)) => self.publishes.push_back(publish),
                Next::Packet(packet) => return packet,
                end => panic!("an answer was expected, not {end:?}"),
            }
        }
    }

    /// Takes the end of the connection, with no packet before it.
    ///
    /// # Panics
    ///
    /// When a packet comes or the connection stays.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let next = self.next_event();
        assert_eq!(next, Next::Closed, "the connection should have been closed");
    }

    /// PINGREQ and PINGRESP, and not one packet in between: nothing is waiting on this connection.
    ///
    /// # Panics
    ///
    /// When anything else comes.
    #[track_caller]
    pub fn quiet(&mut self) {
        self.send(wire::PINGREQ);
        self.expect(&Received::PingResp);
    }

    /// Ends the connection without DISCONNECT, and waits until the broker has noticed. Otherwise another client's
    /// message, which may go another way through the broker, could still be sent on it.
    #[track_caller]
    pub fn drop_connection(mut self) {
        self.finish_sending();
        while let Next::Packet(_) = self.next_within(self.patience) {}
    }

    /// Says that no more bytes will follow; the other direction stays open.
    pub fn finish_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}
