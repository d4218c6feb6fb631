//! A client that waits: for programs whose load is made of many threads, or of messages sent in batches.
//!
//! It writes and reads packets as the conformance tests do, not with the broker's codec.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an answer that was not asked for is wrong, whatever it is"
)]

use std::collections::{HashSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use culex_tests::parse::{Received, parse};
use culex_tests::wire::{self, Connect, Publish};

use crate::Result;

/// How long a broker may take for any answer.
const PATIENCE: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 64 << 10;

/// What a client remembers of its session from one connection to the next: Packet Identifiers of QoS 2 messages that it
/// has, and whose PUBREL has not come.
pub type Unreleased = HashSet<u16>;

/// A Network Connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// Where in `bytes` the first packet that was not taken begins.
    taken: usize,
    /// Answers that wait to be written.
    out: Vec<u8>,
    next_id: u16,
    unreleased: Unreleased,
    inbox: VecDeque<Publish>,
}

impl Client {
    /// Connects; gives whether there was a session.
    ///
    /// # Errors
    /// If there is no connection, or no acceptance.
    pub fn connect(
        address: SocketAddr,
        client_id: &str,
        is_clean: bool,
        unreleased: Unreleased,
    ) -> Result<(Self, bool)> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (bytes, out, inbox) = (Vec::new(), Vec::new(), VecDeque::new());
        let mut client = Self { stream, bytes, taken: 0, out, next_id: 0, unreleased, inbox };
        let mut connect = Connect::new(client_id);
        connect.clean_session = is_clean;
        client.stream.write_all(&connect.encode())?;
        match client.packet()? {
            Received::ConnAck { session_present, code: 0 } => Ok((client, session_present)),
            other => Err(format!("{client_id}: {other:?} in answer to CONNECT").into()),
        }
    }

    /// Subscribes to a filter with this QoS.
    ///
    /// # Errors
    /// If it is not granted.
    pub fn subscribe(&mut self, filter: &str, qos: u8) -> Result<()> {
        let id = self.id();
        self.stream.write_all(&wire::subscribe(id, &[(filter, qos)]))?;
        self.answer(&Received::SubAck(id, vec![qos]))
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn unsubscribe(&mut self, filter: &str) -> Result<()> {
        let id = self.id();
        self.stream.write_all(&wire::unsubscribe(id, &[filter]))?;
        self.answer(&Received::UnsubAck(id))
    }

    /// Publishes all, and waits until all are acknowledged, and those of QoS 0 taken. They are in flight together.
    ///
    /// # Errors
    /// If one is not acknowledged.
    pub fn publish_all(&mut self, messages: Vec<Publish>) -> Result<()> {
        let (mut bytes, mut awaited) = (Vec::new(), 0);
        let is_answered = messages.iter().all(|message| message.qos > 0);
        for mut message in messages {
            if message.qos > 0 {
                message.id = Some(self.id());
                awaited += 1;
            }
            bytes.extend(message.encode());
        }
        if !is_answered {
            bytes.extend(wire::PINGREQ);
            awaited += 1;
        }
        self.stream.write_all(&bytes)?;
        while awaited > 0 {
            match self.next_answer()? {
                Received::PubAck(_) | Received::PubComp(_) | Received::PingResp => awaited -= 1,
                Received::PubRec(id) => self.out.extend(wire::pubrel(id)),
                other => return Err(format!("{other:?} in answer to PUBLISH").into()),
            }
        }
        Ok(())
    }

    /// The next message, acknowledged. A QoS 2 message that comes again is left out.
    ///
    /// # Errors
    /// If none comes.
    pub fn receive(&mut self) -> Result<Publish> {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return Ok(message);
            }
            let packet = self.packet()?;
            if let Some(other) = self.take(packet) {
                return Err(format!("{other:?} instead of a message").into());
            }
        }
    }

    /// A message that came while an answer was waited for.
    pub fn set_aside(&mut self) -> Option<Publish> {
        self.inbox.pop_front()
    }

    /// Writes the acknowledgements of what was received, which otherwise waits until something is waited for.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// The next message, left unacknowledged.
    ///
    /// # Errors
    /// If none comes.
    pub fn look(&mut self) -> Result<Publish> {
        match self.packet()? {
            Received::Publish(message) => Ok(message),
            other => Err(format!("{other:?} instead of a message").into()),
        }
    }

    /// What the broker has sent by the time it answers PINGREQ, in the order in which it came.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn receive_until_pong(&mut self) -> Result<Vec<Publish>> {
        self.stream.write_all(wire::PINGREQ)?;
        self.answer(&Received::PingResp)?;
        Ok(self.inbox.drain(..).collect())
    }

    /// Leaves in order: when this returns, the broker knows.
    ///
    /// # Errors
    /// If the broker does not close the connection.
    pub fn disconnect(mut self) -> Result<Unreleased> {
        self.flush()?;
        self.stream.write_all(wire::DISCONNECT)?;
        while self.stream.read(&mut [0; 4096])? > 0 {}
        Ok(self.unreleased)
    }

    /// Leaves without a word.
    pub fn vanish(self) -> Unreleased {
        self.unreleased
    }

    fn id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }

    fn answer(&mut self, expected: &Received) -> Result<()> {
        let answer = self.next_answer()?;
        if answer == *expected { Ok(()) } else { Err(format!("{answer:?} instead of {expected:?}").into()) }
    }

    /// The next packet that is not about a message for us.
    fn next_answer(&mut self) -> Result<Received> {
        loop {
            let packet = self.packet()?;
            if let Some(answer) = self.take(packet) {
                return Ok(answer);
            }
        }
    }

    /// Takes what is about a message for us; gives back what is not.
    fn take(&mut self, packet: Received) -> Option<Received> {
        match packet {
            Received::Publish(message) => {
                let id = message.id.unwrap_or_default();
                let is_new = match message.qos {
                    0 => true,
                    1 => {
                        self.out.extend(wire::puback(id));
                        true
                    }
                    _ => {
                        self.out.extend(wire::pubrec(id));
                        self.unreleased.insert(id)
                    }
                };
                if is_new {
                    self.inbox.push_back(message);
                }
            }
            Received::PubRel(id) => {
                self.unreleased.remove(&id);
                self.out.extend(wire::pubcomp(id));
            }
            Received::ConnAck { .. }
            | Received::ConnAck5 { .. }
            | Received::PubAck(_)
            | Received::PubRec(_)
            | Received::PubComp(_)
            | Received::SubAck(..)
            | Received::UnsubAck(_)
            | Received::PingResp => return Some(packet),
        }
        None
    }

    /// The next packet. What waits to be written is written before anything is waited for.
    fn packet(&mut self) -> Result<Received> {
        loop {
            let rest = self.bytes.get(self.taken..).unwrap_or_default();
            if let Some((packet, len)) = parse(rest)? {
                self.taken += len;
                return Ok(packet);
            }
            self.bytes.drain(..std::mem::take(&mut self.taken));
            self.flush()?;
            self.read()?;
        }
    }

    fn read(&mut self) -> Result<()> {
        let kept = self.bytes.len();
        self.bytes.resize(kept + READ_BYTES, 0);
        let space = self.bytes.get_mut(kept..).unwrap_or_default();
        let read = match self.stream.read(space) {
            Ok(0) => Err("the broker closed the connection".into()),
            Ok(read) => Ok(read),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(format!("the broker was silent for {PATIENCE:?}").into())
            }
            Err(error) => Err(error.into()),
        };
        self.bytes.truncate(kept + read.as_ref().copied().unwrap_or(0));
        read.map(drop)
    }
}
