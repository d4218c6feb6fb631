//! A subscriber with a session, and what it must get.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use culex_benches::Result;
use culex_benches::client::{Client, Unreleased};
use culex_tests::wire::Publish;

use crate::cell::{Counts, TOPICS, sequence};

/// Messages that wait for somebody, each once.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    /// Size, and for how many it waits.
    waiting: HashMap<u64, (usize, u32)>,
    bytes: u64,
}

impl Bodies {
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn hold(&mut self, sequence: u64, size: usize) {
        let (_, holders) = self.waiting.entry(sequence).or_insert_with(|| {
            self.bytes += size as u64;
            (size, 0)
        });
        *holders += 1;
    }

    fn release(&mut self, sequence: u64) {
        let Some((size, holders)) = self.waiting.get_mut(&sequence) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.bytes -= *size as u64;
            self.waiting.remove(&sequence);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Member {
    id: String,
    /// What its topics begin with.
    base: String,
    client: Option<Client>,
    has_session: bool,
    /// The QoS of its subscription to each topic.
    subscriptions: [Option<u8>; TOPICS],
    /// What must come, with QoS 1 and with QoS 2: MQTT keeps their order each by itself [MQTT-4.6.0-6].
    expected: [VecDeque<u64>; 2],
    /// The last of QoS 1 that came: those up to there may come again on another connection.
    last: u64,
    /// When the connection was made, the last that had come.
    last_before: u64,
    unreleased: Unreleased,
}

impl Member {
    pub(crate) fn new(id: String, base: &str) -> Self {
        Self {
            id,
            base: base.to_owned(),
            client: None,
            has_session: false,
            subscriptions: [None; TOPICS],
            expected: Default::default(),
            last: 0,
            last_before: 0,
            unreleased: Unreleased::new(),
        }
    }

    pub(crate) const fn is_connected(&self) -> bool {
        self.client.is_some()
    }

    pub(crate) fn queue_len(&self) -> usize {
        self.expected.iter().map(VecDeque::len).sum()
    }

    /// A message is about to be published.
    pub(crate) fn expect(&mut self, topic: usize, qos: u8, sequence: u64, size: usize, bodies: &mut Bodies) {
        let granted = self.subscriptions.get(topic).copied().flatten().unwrap_or(0);
        if let Some(expected) = queue(&mut self.expected, qos.min(granted)) {
            expected.push_back(sequence);
            bodies.hold(sequence, size);
        }
    }

    /// Connects, unless it is.
    pub(crate) fn connect(&mut self, address: SocketAddr, counts: &mut Counts) -> Result<()> {
        if self.client.is_some() {
            return Ok(());
        }
        let unreleased = std::mem::take(&mut self.unreleased);
        let (client, is_present) = Client::connect(address, &self.id, false, unreleased)?;
        if is_present != self.has_session {
            return Err(format!("{}: session present is {is_present}", self.id).into());
        }
        counts.connections += 1;
        self.has_session = true;
        self.last_before = self.last;
        self.client = Some(client);
        Ok(())
    }

    pub(crate) fn leave(&mut self, in_order: bool) -> Result<()> {
        if let Some(client) = self.client.take() {
            self.unreleased = if in_order { client.disconnect()? } else { client.vanish() };
        }
        Ok(())
    }

    /// Takes all that must come.
    pub(crate) fn drain(&mut self, bodies: &mut Bodies, counts: &mut Counts) -> Result<()> {
        while self.queue_len() > 0 {
            let Some(client) = &mut self.client else { return Ok(()) };
            let message = client
                .receive()
                .map_err(|error| format!("{} waits for {} messages: {error}", self.id, self.queue_len()))?;
            self.take(&message, bodies, counts)?;
        }
        self.client.as_mut().map_or(Ok(()), Client::flush)
    }

    /// Nothing comes that must not, when everything has.
    pub(crate) fn expect_silence(&mut self, counts: &mut Counts) -> Result<()> {
        let Some(client) = &mut self.client else { return Ok(()) };
        for message in client.receive_until_pong()? {
            self.take(&message, &mut Bodies::default(), counts)?;
        }
        self.leave(true)
    }

    fn take(&mut self, message: &Publish, bodies: &mut Bodies, counts: &mut Counts) -> Result<()> {
        let number = sequence(message)?;
        counts.received += 1;
        let Some(expected) = queue(&mut self.expected, message.qos) else { return Ok(()) };
        if expected.front() == Some(&number) {
            expected.pop_front();
            bodies.release(number);
            if message.qos == 1 {
                self.last = number;
            }
            return Ok(());
        }
        // Its PUBACK did not get through before the connection ended [MQTT-4.4.0-1].
        if message.qos == 1 && message.dup && number <= self.last_before {
            return Ok(());
        }
        let (id, qos, dup, next) = (&self.id, message.qos, message.dup, expected.front());
        Err(format!("{id} got number {number} with QoS {qos}, DUP {dup}, when {next:?} was next").into())
    }

    /// Subscribes to a topic, or ends its subscription.
    pub(crate) fn change_subscription(
        &mut self,
        topic: usize,
        qos: u8,
        bodies: &mut Bodies,
        counts: &mut Counts,
    ) -> Result<()> {
        let filter = format!("{}/{topic}", self.base);
        let (Some(client), Some(subscription)) = (&mut self.client, self.subscriptions.get_mut(topic)) else {
            return Ok(());
        };
        if subscription.take().is_some() {
            client.unsubscribe(&filter)?;
        } else {
            client.subscribe(&filter, qos)?;
            *subscription = Some(qos);
        }
        counts.subscriptions += 1;
        while let Some(message) = self.client.as_mut().and_then(Client::set_aside) {
            self.take(&message, bodies, counts)?;
        }
        Ok(())
    }

    /// Connects with Clean Session: what waits is forgotten.
    pub(crate) fn end_session(
        &mut self,
        address: SocketAddr,
        bodies: &mut Bodies,
        counts: &mut Counts,
    ) -> Result<()> {
        self.leave(false)?;
        let (client, is_present) = Client::connect(address, &self.id, true, Unreleased::new())?;
        if is_present {
            return Err(format!("{}: session present after Clean Session", self.id).into());
        }
        client.disconnect()?;
        for number in self.expected.iter_mut().flat_map(|expected| expected.drain(..)) {
            bodies.release(number);
        }
        counts.connections += 1;
        counts.sessions_ended += 1;
        (self.has_session, self.subscriptions, self.unreleased) = (false, [None; TOPICS], Unreleased::new());
        Ok(())
    }
}

/// The queue of messages of this QoS; QoS 0 has none.
fn queue(expected: &mut [VecDeque<u64>; 2], qos: u8) -> Option<&mut VecDeque<u64>> {
    expected.get_mut(usize::from(qos).checked_sub(1)?)
}
