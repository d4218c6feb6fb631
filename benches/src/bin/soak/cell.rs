//! A publisher, its subscribers, and what each of them must get: all driven by one thread, so that is known exactly.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use culex_benches::Result;
use culex_benches::client::{Client, Unreleased};
use culex_tests::wire::Publish;

use crate::Shared;
use crate::member::{Bodies, Member};
use crate::random::Random;

const MEMBERS: usize = 8;
pub(crate) const TOPICS: usize = 4;
const RETAINED: usize = 200;
const BATCH: usize = 40;
const PAYLOAD_MAX: usize = 1500;
/// A queue that is longer is drained: below every limit of the broker.
const QUEUE_MAX: usize = 2000;

/// What happened.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) published: u64,
    pub(crate) received: u64,
    pub(crate) connections: u64,
    pub(crate) subscriptions: u64,
    pub(crate) sessions_ended: u64,
    pub(crate) retained_read: u64,
}

pub(crate) struct Cell {
    name: String,
    address: SocketAddr,
    random: Random,
    members: Vec<Member>,
    /// Sequence and size of each Retained Message.
    retained: HashMap<usize, (u64, usize)>,
    bodies: Bodies,
    sequence: u64,
    /// What of the sums of all is ours: bytes of live data, messages published and received.
    live: u64,
    told: (u64, u64),
    counts: Counts,
}

impl Cell {
    pub(crate) fn new(number: u64, address: SocketAddr, seed: u64) -> Self {
        let name = format!("soak/{number}");
        Self {
            members: (0..MEMBERS)
                .map(|member| Member::new(format!("soak-{number}-{member}"), &name))
                .collect(),
            name,
            address,
            random: Random::new(seed ^ number.rotate_left(32)),
            retained: HashMap::new(),
            bodies: Bodies::default(),
            sequence: 0,
            live: 0,
            told: (0, 0),
            counts: Counts::default(),
        }
    }

    /// Works until the time is over, then takes everything that waits.
    pub(crate) fn run(mut self, shared: &Shared) -> Result<Counts> {
        let name = self.name.clone();
        let run = |cell: &mut Self| -> Result<()> {
            let mut publisher = cell.connect_publisher()?;
            while !shared.is_over() {
                publisher = cell.step(publisher)?;
                cell.tell(shared);
            }
            publisher.disconnect()?;
            for member in &mut cell.members {
                member.connect(cell.address, &mut cell.counts)?;
                member.drain(&mut cell.bodies, &mut cell.counts)?;
                member.expect_silence(&mut cell.counts)?;
            }
            cell.check_retained()?;
            cell.tell(shared);
            Ok(())
        };
        run(&mut self).map_err(|error| format!("{name}: {error}"))?;
        Ok(self.counts)
    }

    fn tell(&mut self, shared: &Shared) {
        let kept: usize = self.retained.values().map(|(_, bytes)| bytes).sum();
        let live = self.bodies.bytes() + kept as u64;
        // Wraps around when it becomes less, and so does the sum.
        shared.live.fetch_add(live.wrapping_sub(self.live), Ordering::Relaxed);
        self.live = live;
        let Counts { published, received, .. } = self.counts;
        shared.published.fetch_add(published - self.told.0, Ordering::Relaxed);
        shared.received.fetch_add(received - self.told.1, Ordering::Relaxed);
        self.told = (published, received);
    }

    fn connect_publisher(&mut self) -> Result<Client> {
        self.counts.connections += 1;
        Ok(Client::connect(self.address, &self.name, true, Unreleased::new())?.0)
    }

    fn step(&mut self, mut publisher: Client) -> Result<Client> {
        let (what, done) = match self.random.below(24) {
            0..=11 => ("publishing", self.publish(&mut publisher)),
            12 | 13 => ("retaining", self.retain(&mut publisher)),
            14..=17 => ("coming or going", self.come_or_go()),
            18 | 19 => ("subscribing", self.change_subscription()),
            20 | 21 => ("draining", self.drain_somebody()),
            22 if self.random.once_in(4) => ("ending a session", self.end_session()),
            22 => {
                publisher.vanish();
                publisher = self.connect_publisher()?;
                ("connecting", Ok(()))
            }
            _ => ("looking at what is retained", self.check_retained()),
        };
        done.map_err(|error| format!("{what}: {error}"))?;
        for place in 0..self.members.len() {
            if let Some(member) = self.members.get_mut(place).filter(|member| member.queue_len() > QUEUE_MAX)
            {
                member.connect(self.address, &mut self.counts)?;
                member.drain(&mut self.bodies, &mut self.counts)?;
            }
        }
        Ok(publisher)
    }

    fn publish(&mut self, publisher: &mut Client) -> Result<()> {
        let mut batch = Vec::new();
        let qos_of_all = self.qos_of_all();
        for _ in 0..=self.random.below(BATCH) {
            let (topic, qos) = (self.random.below(TOPICS), qos_of_all.unwrap_or_else(|| self.qos()));
            let message = self.message(&format!("{}/{topic}", self.name), qos);
            let size = message.topic.len() + message.payload.len();
            for member in &mut self.members {
                member.expect(topic, qos, self.sequence, size, &mut self.bodies);
            }
            batch.push(message);
        }
        publisher.publish_all(batch)
    }

    fn retain(&mut self, publisher: &mut Client) -> Result<()> {
        let mut batch = Vec::new();
        let qos_of_all = self.qos_of_all();
        for _ in 0..=self.random.below(BATCH) {
            let (number, qos) = (self.random.below(RETAINED), qos_of_all.unwrap_or_else(|| self.qos()));
            let mut message = self.message(&format!("{}/kept/{number}", self.name), qos).retained();
            if self.random.once_in(3) {
                message.payload.clear();
                self.retained.remove(&number);
            } else {
                self.retained.insert(number, (self.sequence, message.topic.len() + message.payload.len()));
            }
            batch.push(message);
        }
        publisher.publish_all(batch)
    }

    fn qos(&mut self) -> u8 {
        self.random.below(3) as u8
    }

    /// Half of the batches are of one QoS, so that the last answer is not always that to PINGREQ.
    fn qos_of_all(&mut self) -> Option<u8> {
        self.random.once_in(2).then(|| self.qos())
    }

    /// A message with a number of its own.
    fn message(&mut self, topic: &str, qos: u8) -> Publish {
        self.sequence += 1;
        self.counts.published += 1;
        let mut payload = self.sequence.to_be_bytes().to_vec();
        payload.resize(payload.len() + self.random.below(PAYLOAD_MAX), b'x');
        let mut message = Publish::new(topic, payload);
        message.qos = qos;
        message
    }

    fn come_or_go(&mut self) -> Result<()> {
        let place = self.random.below(MEMBERS);
        let in_order = self.random.once_in(2);
        let Some(member) = self.members.get_mut(place) else { return Ok(()) };
        if member.is_connected() {
            member.leave(in_order)
        } else {
            member.connect(self.address, &mut self.counts)
        }
    }

    fn change_subscription(&mut self) -> Result<()> {
        let (place, topic) = (self.random.below(MEMBERS), self.random.below(TOPICS));
        let qos = self.qos();
        let Some(member) = self.members.get_mut(place) else { return Ok(()) };
        member.connect(self.address, &mut self.counts)?;
        member.change_subscription(topic, qos, &mut self.bodies, &mut self.counts)
    }

    fn drain_somebody(&mut self) -> Result<()> {
        let place = self.random.below(MEMBERS);
        let Some(member) = self.members.get_mut(place) else { return Ok(()) };
        member.connect(self.address, &mut self.counts)?;
        member.drain(&mut self.bodies, &mut self.counts)
    }

    fn end_session(&mut self) -> Result<()> {
        let place = self.random.below(MEMBERS);
        let Some(member) = self.members.get_mut(place) else { return Ok(()) };
        member.end_session(self.address, &mut self.bodies, &mut self.counts)
    }

    /// A newcomer gets exactly the Retained Messages that there are.
    fn check_retained(&mut self) -> Result<()> {
        self.counts.connections += 1;
        let id = format!("{} looks", self.name);
        let (mut client, _) = Client::connect(self.address, &id, true, Unreleased::new())?;
        client.subscribe(&format!("{}/kept/+", self.name), 1)?;
        let mut found = HashMap::new();
        for _ in 0..self.retained.len() {
            let message = client.receive()?;
            let number = message.topic.rsplit('/').next().and_then(|number| number.parse().ok());
            let (number, size) =
                (number.ok_or("a topic that is none")?, message.topic.len() + message.payload.len());
            if !message.retain || found.insert(number, (sequence(&message)?, size)).is_some() {
                return Err(format!("{} is not retained, or came twice", message.topic).into());
            }
        }
        if let Some(message) = client.receive_until_pong()?.first() {
            return Err(format!("{} has been cleared, or came twice", message.topic).into());
        }
        if found != self.retained {
            return Err("a Retained Message is not the last one".into());
        }
        self.counts.retained_read += found.len() as u64;
        client.disconnect().map(drop)
    }
}

/// The number in a payload.
pub(crate) fn sequence(message: &Publish) -> Result<u64> {
    let number = message.payload.first_chunk().ok_or("a payload without a number")?;
    Ok(u64::from_be_bytes(*number))
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.received += other.received;
        self.connections += other.connections;
        self.subscriptions += other.subscriptions;
        self.sessions_ended += other.sessions_ended;
        self.retained_read += other.retained_read;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "deliveries: {} published, {} received, {} Retained Messages read, {} connections, {} (un)subscriptions, {} sessions \
             ended: all as they must be",
            self.published,
            self.received,
            self.retained_read,
            self.connections,
            self.subscriptions,
            self.sessions_ended
        )
    }
}
