//! Shards in one thread, without sockets, on a clock of the test's: bytes in, bytes out.
//!
//! Messages between shards travel when [`World::run`] is called; the store answers at once or when the test says so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use culex_codec::{ConnAck, Decoded, Packet, ProtocolVersion, TopicName, decode};
use culex_core::engine::commons::LocalCommons;
use culex_core::engine::error::Refusal;
use culex_core::engine::keys::{BatchNumber, ConnectionKey, ShardId};
use culex_core::engine::question::{Asks, Question, Verdict};
use culex_core::engine::shard::{
    DELIVERIES_PER_TURN, Effect, Event, Fetch, Fetched, Shard, ShardConfig, ShardMessage, StoreRoom, Turn,
    shard_of,
};
use culex_core::engine::stats::Stats;
use culex_core::engine::store::{Record, StoreBatch, Stored, Tables};
use culex_core::engine::time::{Now, Tick, WallTime};
use culex_core::engine::{Admission, SessionOptions, Terms, admit};
use culex_core::limits::{Limit, Limits};

use crate::wire;

/// A connection of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The number of its shard.
    pub shard: u16,
    /// Its name there.
    pub key: ConnectionKey,
}

/// When the store answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// At once.
    Open,
    /// When [`World::store_through`] is called.
    Held,
}

/// All of a broker but its sockets.
pub struct World {
    /// The shards, by number.
    pub shards: Vec<Shard>,
    /// What they share.
    pub commons: LocalCommons,
    /// Batches that were handed to the store, in order.
    pub batches: Vec<(u16, StoreBatch)>,
    /// What is to be read when so many of these batches are stored, and by which shard.
    pub fetches: VecDeque<(usize, u16, Fetch)>,
    /// What the shards told.
    pub events: Vec<Event>,
    /// What they asked, in order.
    pub questions: VecDeque<(Peer, Question)>,
    /// Most subscriptions that ended in one turn.
    pub left_in_one_turn: usize,
    limits: Limits,
    now: Now,
    store: Store,
    mail: VecDeque<(u16, ShardMessage)>,
    is_mail_held: bool,
    links: BTreeMap<Peer, Link>,
    accepted: u64,
}

/// A connection as the network sees it.
#[derive(Default)]
struct Link {
    unread: Vec<u8>,
    output: Vec<u8>,
    is_closed: bool,
}

const HASH_KEYS: (u64, u64) = (7, 11);

impl Peer {
    /// The shard that has it.
    pub const fn shard(self) -> u16 {
        self.shard
    }
}

impl World {
    /// So many shards with these limits.
    pub fn new(shards: u16, limits: &Limits, store: Store) -> Self {
        Self::asking(shards, limits, store, Asks::default())
    }

    /// The same, and the test is asked about these packets.
    pub fn asking(shards: u16, limits: &Limits, store: Store, asks: Asks) -> Self {
        let shard = |number| {
            let (id, limits) = (ShardId(number), limits.clone());
            Shard::new(ShardConfig { id, limits, hash_keys: HASH_KEYS, asks })
        };
        Self {
            shards: (0..shards).map(shard).collect(),
            commons: LocalCommons::new(limits, HASH_KEYS),
            batches: Vec::new(),
            fetches: VecDeque::new(),
            events: Vec::new(),
            questions: VecDeque::new(),
            left_in_one_turn: 0,
            limits: limits.clone(),
            now: Now { tick: Tick(1_000), wall: WallTime(1_700_000_000_000) },
            store,
            mail: VecDeque::new(),
            is_mail_held: false,
            links: BTreeMap::new(),
            accepted: 0,
        }
    }

    /// A broker that starts `millis` after another one stopped, with what a store has of it.
    pub fn restarted(&self, shards: u16, limits: &Limits, stored: Stored, millis: u64) -> Self {
        let mut world = Self::new(shards, limits, self.store);
        world.now.wall = WallTime(self.now.wall.0 + millis);
        world.commons = LocalCommons::restored(limits, HASH_KEYS, &stored);
        for session in stored.sessions {
            let owner = shard_of(&session.client_id, HASH_KEYS, shards).0;
            let is_new = world.turn(owner, |shard, turn| shard.restore(turn, session, stored.alive_at));
            assert!(is_new, "a ClientId is stored once");
        }
        // A session may have to end sooner now.
        let is_limited = limits.session_expiry != Limit::Unlimited;
        let is_news = |record: &Record| {
            let is_shorter = is_limited && matches!(record, Record::SessionBound { .. });
            is_shorter || matches!(record, Record::SessionLeft { .. })
        };
        let mut records = world.batches.iter().flat_map(|(_, batch)| &batch.records);
        assert!(records.all(is_news), "what was stored is not stored again");
        for shard in 0..shards {
            world.turn(shard, Shard::publish_left_wills);
        }
        world.run();
        world
    }

    /// The wall clock.
    pub const fn wall(&self) -> WallTime {
        self.now.wall
    }

    /// The number that the next connection takes at accept().
    pub const fn accept(&mut self) -> u64 {
        self.accepted += 1;
        self.accepted
    }

    /// A CONNECT that comes now.
    ///
    /// # Errors
    /// The broker refuses it.
    pub fn connect(&mut self, connect: &wire::Connect) -> Result<Peer, Refusal> {
        let number = self.accept();
        self.connect_accepted(connect, number)
    }

    /// A CONNECT of a connection that was accepted earlier.
    ///
    /// # Errors
    /// The broker refuses it.
    pub fn connect_accepted(&mut self, connect: &wire::Connect, number: u64) -> Result<Peer, Refusal> {
        self.attach(connect, number, false)
    }

    /// A CONNECT of the host itself.
    ///
    /// # Errors
    /// The broker refuses it.
    pub fn connect_trusted(&mut self, connect: &wire::Connect) -> Result<Peer, Refusal> {
        let number = self.accept();
        self.connect_trusted_accepted(connect, number)
    }

    /// A CONNECT of the host itself that began earlier.
    ///
    /// # Errors
    /// The broker refuses it.
    pub fn connect_trusted_accepted(
        &mut self,
        connect: &wire::Connect,
        number: u64,
    ) -> Result<Peer, Refusal> {
        self.attach(connect, number, true)
    }

    /// A CONNECT of a connection that speaks another version from here on.
    ///
    /// # Errors
    /// The broker refuses it.
    pub fn connect_with(
        &mut self,
        connect: &wire::Connect,
        version: ProtocolVersion,
    ) -> Result<Peer, Refusal> {
        let number = self.accept();
        let admission = Admission { version, ..self.admission(connect, number)? };
        self.bind(admission)
    }

    /// A CONNECT of the host itself, whose session wants something.
    ///
    /// # Errors
    /// The broker refuses it.
    pub fn connect_wanting(
        &mut self,
        connect: &wire::Connect,
        options: SessionOptions,
    ) -> Result<Peer, Refusal> {
        let number = self.accept();
        let admission = Admission { is_trusted: true, options, ..self.admission(connect, number)? };
        self.bind(admission)
    }

    /// Every shard has these limits from now on.
    pub fn set_limits(&mut self, limits: &Limits) {
        self.limits = limits.clone();
        for shard in 0..self.shards.len() {
            let (shard, limits) = (u16::try_from(shard).unwrap_or(u16::MAX), limits.clone());
            self.turn(shard, move |shard, _| shard.set_limits(limits));
        }
    }

    /// A CONNECT through a listener with terms of its own.
    ///
    /// # Errors
    /// The broker refuses it.
    pub fn connect_through(&mut self, connect: &wire::Connect, terms: &Arc<Terms>) -> Result<Peer, Refusal> {
        let number = self.accept();
        let mut admission = admission(connect, number, terms.limits_or(&self.limits))?;
        admission.enter(Arc::clone(terms), &self.limits)?;
        self.bind(admission)
    }

    /// Whether a CONNECT that comes now waits until the store has room.
    ///
    /// # Errors
    /// The broker refuses it.
    pub fn must_wait(&mut self, connect: &wire::Connect) -> Result<bool, Refusal> {
        let number = self.accept();
        let admission = self.admission(connect, number)?;
        Ok(self.turn(self.owner(&admission), |shard, turn| shard.must_wait(turn, &admission)))
    }

    /// The store takes less or more than before.
    pub fn store_room(&mut self, room: StoreRoom) {
        for shard in 0..self.shards.len() {
            let shard = u16::try_from(shard).unwrap_or(u16::MAX);
            self.turn(shard, |shard, turn| shard.handle_store_room(turn, room));
        }
        self.run();
    }

    fn attach(&mut self, connect: &wire::Connect, number: u64, is_trusted: bool) -> Result<Peer, Refusal> {
        let admission = Admission { is_trusted, ..self.admission(connect, number)? };
        self.bind(admission)
    }

    fn admission(&self, connect: &wire::Connect, number: u64) -> Result<Admission, Refusal> {
        admission(connect, number, &self.limits)
    }

    fn owner(&self, admission: &Admission) -> u16 {
        let count = u16::try_from(self.shards.len()).unwrap_or(u16::MAX);
        shard_of(&admission.client_id, HASH_KEYS, count).0
    }

    fn bind(&mut self, admission: Admission) -> Result<Peer, Refusal> {
        let shard = self.owner(&admission);
        let result = self.turn(shard, |shard, turn| shard.handle_attach(turn, admission));
        result.map(|key| {
            let peer = Peer { shard, key };
            self.links.entry(peer).or_default();
            self.run();
            peer
        })
    }

    /// Bytes of a connection come.
    pub fn send(&mut self, peer: Peer, bytes: &[u8]) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.unread.extend_from_slice(bytes);
        }
        self.run();
    }

    /// The broker publishes a value of its own.
    pub fn publish_system(&mut self, topic: &str, value: &str) {
        let topic = TopicName::assume_valid(topic);
        self.turn(0, |shard, turn| shard.publish_system(turn, topic, value.as_bytes()));
        self.run();
    }

    /// The peer is gone without DISCONNECT.
    pub fn lose(&mut self, peer: Peer) {
        self.turn(peer.shard, |shard, turn| shard.handle_lost(turn, peer.key));
        self.run();
    }

    /// The host's answer to a question.
    pub fn answer(&mut self, peer: Peer, verdict: Verdict) {
        self.turn(peer.shard, |shard, turn| shard.handle_answer(turn, peer.key, verdict));
        self.run();
    }

    /// Time passes.
    pub fn advance(&mut self, millis: u64) {
        self.now.tick.0 += millis;
        self.now.wall.0 += millis;
        self.run();
    }

    /// The store has everything of a shard through this batch.
    pub fn store_through(&mut self, shard: u16, through: BatchNumber) {
        self.turn(shard, |shard, turn| shard.handle_stored(turn, through));
        self.run();
    }

    /// The store, which has this many batches, reads what was asked for behind them.
    pub fn serve_fetches(&mut self, stored: usize, tables: &Tables) {
        while let Some((_, shard, fetch)) = self.fetches.pop_front_if(|(behind, ..)| *behind <= stored) {
            self.fetched(shard, fetch.answered(|session, entry| tables.read(session, entry)));
        }
    }

    /// The store has read something for a shard.
    pub fn fetched(&mut self, shard: u16, fetched: Fetched) {
        self.turn(shard, |shard, turn| shard.handle_fetched(turn, fetched));
        self.run();
    }

    /// The store has everything that it was given.
    pub fn store_all(&mut self) {
        for shard in 0..self.shards.len() {
            let shard = u16::try_from(shard).unwrap_or(u16::MAX);
            self.store_through(shard, BatchNumber(u64::MAX));
        }
    }

    /// A number of the shards' counters and gauges, over all shards.
    pub fn sum(&self, number: impl Fn(&Stats) -> u64) -> u64 {
        self.shards.iter().map(|shard| number(&shard.stats())).sum()
    }

    /// Messages between shards stay on their way until [`World::release_mail`].
    pub const fn hold_mail(&mut self) {
        self.is_mail_held = true;
    }

    /// Messages between shards arrive.
    pub fn release_mail(&mut self) {
        self.is_mail_held = false;
        self.run();
    }

    /// Whether the broker has closed the connection.
    pub fn is_closed(&self, peer: Peer) -> bool {
        self.links.get(&peer).is_none_or(|link| link.is_closed)
    }

    /// Bytes that the broker sent since the last call.
    pub fn take_output(&mut self, peer: Peer) -> Vec<u8> {
        self.links.get_mut(&peer).map(|link| std::mem::take(&mut link.output)).unwrap_or_default()
    }

    /// Packets that the broker sent to a 3.1.1 connection since the last call, as short lines.
    pub fn take_packets(&mut self, peer: Peer) -> Vec<String> {
        let bytes = self.take_output(peer);
        let mut rest: &[u8] = &bytes;
        let mut lines = Vec::new();
        while let Ok(Decoded::Packet { packet, len }) = decode(rest, ProtocolVersion::V311, u32::MAX) {
            lines.push(line(&packet));
            rest = rest.get(len..).unwrap_or_default();
        }
        if !rest.is_empty() {
            lines.push(format!("{} stray bytes", rest.len()));
        }
        lines
    }

    /// Runs all shards until nothing moves any more.
    pub fn run(&mut self) {
        loop {
            let mut has_moved = false;
            while !self.is_mail_held
                && let Some((to, message)) = self.mail.pop_front()
            {
                self.turn(to, |shard, turn| shard.handle_message(turn, message));
                has_moved = true;
            }
            for number in 0..self.shards.len() {
                let number = u16::try_from(number).unwrap_or(u16::MAX);
                let tick = self.now.tick;
                let is_due = self
                    .shards
                    .get(usize::from(number))
                    .and_then(Shard::poll_timeout)
                    .is_some_and(|at| at <= tick);
                if is_due {
                    self.turn(number, |shard, turn| shard.handle_timeout(turn));
                    has_moved = true;
                }
            }
            has_moved |= self.feed();
            if !has_moved {
                return;
            }
        }
    }

    fn feed(&mut self) -> bool {
        let mut has_moved = false;
        for peer in self.links.keys().copied().collect::<Vec<_>>() {
            let is_reading =
                self.shards.get(usize::from(peer.shard)).is_some_and(|shard| shard.is_reading(peer.key));
            let Some(link) = self.links.get_mut(&peer) else { continue };
            if !is_reading || link.unread.is_empty() {
                continue;
            }
            let bytes = std::mem::take(&mut link.unread);
            let consumed = self.turn(peer.shard, |shard, turn| shard.handle_bytes(turn, peer.key, &bytes));
            if let Some(link) = self.links.get_mut(&peer) {
                link.unread = bytes.get(consumed.bytes..).unwrap_or_default().to_vec();
            }
            has_moved |= consumed.bytes > 0;
        }
        has_moved
    }

    /// One turn of one shard, with its end.
    fn turn<R>(&mut self, number: u16, input: impl FnOnce(&mut Shard, &mut Turn<'_>) -> R) -> R {
        let count = u16::try_from(self.shards.len()).unwrap_or(u16::MAX);
        let subscriptions = self.commons.subscription_count();
        let mut turn = Turn { now: self.now, commons: &self.commons, deliveries_left: DELIVERIES_PER_TURN };
        #[expect(clippy::indexing_slicing, reason = "a test names its own shards")]
        let shard = &mut self.shards[usize::from(number)];
        let result = input(shard, &mut turn);
        loop {
            shard.end_turn();
            let mut is_done = true;
            while let Some(effect) = shard.poll_effect() {
                match effect {
                    Effect::Store(batch) => {
                        let through = batch.number;
                        self.batches.push((number, batch));
                        if self.store == Store::Open {
                            shard.handle_stored(&mut turn, through);
                            is_done = false;
                        }
                    }
                    Effect::Fetch(fetch) => {
                        self.fetches.push_back((self.batches.len(), number, fetch));
                    }
                    Effect::Send { to, messages } => {
                        self.mail.extend(messages.into_iter().map(|message| (to.0, message)));
                    }
                    Effect::SendAll(message) => {
                        self.mail.extend((0..count).map(|to| (to, message.clone())));
                    }
                    Effect::Close { connection, outbox, reason: _ } => {
                        let link = self.links.entry(Peer { shard: number, key: connection }).or_default();
                        link.output.extend(outbox.chunks().flatten());
                        link.is_closed = true;
                    }
                    Effect::Ask { connection, question } => {
                        self.questions.push_back((Peer { shard: number, key: connection }, *question));
                    }
                    Effect::Resume { .. } => {}
                    Effect::Event(event) => self.events.push(event),
                }
            }
            if is_done {
                break;
            }
        }
        let left = subscriptions.saturating_sub(self.commons.subscription_count());
        self.left_in_one_turn = self.left_in_one_turn.max(left);
        while let Some(key) = shard.next_touched() {
            let Some(outbox) = shard.outbox(key) else { continue };
            let bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
            outbox.advance(bytes.len());
            shard.handle_written(key, bytes.len());
            self.links.entry(Peer { shard: number, key }).or_default().output.extend(bytes);
        }
        result
    }
}

fn admission(connect: &wire::Connect, number: u64, limits: &Limits) -> Result<Admission, Refusal> {
    let bytes = connect.encode();
    let Ok(Decoded::Packet { packet: Packet::Connect(connect), .. }) =
        decode(&bytes, ProtocolVersion::V311, u32::MAX)
    else {
        return Err(Refusal::UnsupportedVersion);
    };
    let generated = || format!("auto-{number}").into();
    admit(&connect, generated, limits, number, "test".into())
}

fn line(packet: &Packet<'_>) -> String {
    match packet {
        Packet::ConnAck(ConnAck { session_present, reason_code, .. }) => {
            format!("CONNACK {reason_code:?} session={session_present}")
        }
        Packet::Publish(publish) => {
            let mut line = format!(
                "PUBLISH {} {}",
                publish.topic.map(|topic| topic.as_str()).unwrap_or_default(),
                String::from_utf8_lossy(publish.payload)
            );
            if let Some(id) = publish.packet_id {
                line += &format!(" q{} id={}", publish.qos.bits(), id.get());
            }
            if publish.dup {
                line += " dup";
            }
            if publish.retain {
                line += " retain";
            }
            line
        }
        Packet::PubAck(ack) => format!("PUBACK {}", ack.packet_id.get()),
        Packet::PubRec(ack) => format!("PUBREC {}", ack.packet_id.get()),
        Packet::PubRel(ack) => format!("PUBREL {}", ack.packet_id.get()),
        Packet::PubComp(ack) => format!("PUBCOMP {}", ack.packet_id.get()),
        Packet::SubAck(suback) => format!("SUBACK {} {:?}", suback.packet_id.get(), suback.reason_codes),
        Packet::UnsubAck(unsuback) => format!("UNSUBACK {}", unsuback.packet_id.get()),
        Packet::PingResp => "PINGRESP".to_owned(),
        Packet::Connect(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::PingReq
        | Packet::Disconnect(_)
        | Packet::Auth(_) => format!("{:?}", packet.packet_type()),
    }
}
