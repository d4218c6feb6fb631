//! Operations of clients, network, clock and store on a broker of 1, 2 or 4 shards.
//!
//! Whatever comes: nobody panics, every byte that leaves is a packet that a Server may send, CONNACK first, a
//! connection that breaks a rule is closed alone, no limit is exceeded, and at the end nothing is left behind.

use std::collections::BTreeMap;

use culex_codec::{Decoded, Packet, ProtocolVersion, QoS, decode};
use culex_core::engine::question::{Asks, HookFailure, Question, Verdict};
use culex_core::limits::{Limit, Limits, WhenFull};

use super::Source;
use crate::wire::{self, Connect, Publish, Will};
use crate::world::{Peer, Store, World};

const OPERATIONS_MAX: usize = 400;
const CLIENTS: [&str; 5] = ["a", "b", "c", "d", "e"];
const TOPICS: [&str; 8] = ["a", "a/b", "a/b/c", "/", "b", "$x/y", "b/c", "a//c"];
const FILTERS: [&str; 10] = ["a", "a/b", "a/+", "a/#", "#", "+/+", "$x/#", "b/c", "/", "+"];

struct Run {
    world: World,
    /// Connections, and whether their CONNACK was seen.
    peers: BTreeMap<Peer, bool>,
}

/// Runs the operations that `data` spells.
pub fn shard(data: &[u8]) {
    let mut source = Source::new(data);
    let limits = limits(&mut source);
    let store = if source.flag() { Store::Open } else { Store::Held };
    let shards = 1 << (source.byte() % 3);
    let bits = source.byte();
    let asks = Asks { publish: bits & 3 == 3, subscribe: bits & 12 == 12 };
    let mut run = Run { world: World::asking(shards, &limits, store, asks), peers: BTreeMap::new() };
    for _ in 0..OPERATIONS_MAX {
        if source.is_empty() {
            break;
        }
        run.step(&mut source);
        run.check(&limits);
    }
    run.finish();
}

fn limits(source: &mut Source<'_>) -> Limits {
    let bits = source.byte();
    let at_most = |n: u64| Limit::at_most(n).unwrap();
    let small = bits & 1 == 1;
    Limits {
        packet_bytes: if small { 64 } else { 1 << 20 },
        in_flight: if bits & 2 == 2 { 2 } else { 100 },
        incoming_in_flight: if bits & 4 == 4 { 2 } else { 100 },
        queue_messages: if bits & 8 == 8 { at_most(3) } else { Limit::Unlimited },
        when_full: if bits & 16 == 16 { WhenFull::DropOldest } else { WhenFull::DropNewest },
        subscriptions_per_session: at_most(if bits & 32 == 32 { 2 } else { 100 }),
        retained_messages: at_most(if bits & 64 == 64 { 2 } else { 100 }),
        sessions: at_most(if bits & 128 == 128 { 2 } else { 100 }),
        ..Limits::default()
    }
}

impl Run {
    fn step(&mut self, source: &mut Source<'_>) {
        match source.byte() % 14 {
            0 | 1 => self.connect(source),
            2 => self.send(source, |source| source.bytes().to_vec()),
            3 | 4 => self.send(source, |source| {
                let filter = pick(&FILTERS, source);
                wire::subscribe(1 + source.short() % 10, &[(filter, source.byte() % 3)])
            }),
            5 => self
                .send(source, |source| wire::unsubscribe(1 + source.short() % 10, &[pick(&FILTERS, source)])),
            6 | 7 => self.send(source, publish),
            8 => self.send(source, |source| {
                let id = source.short() % 8;
                let packets = [wire::puback, wire::pubrec, wire::pubrel, wire::pubcomp];
                pick(&packets, source)(id)
            }),
            9 => {
                if let Some(peer) = self.peer(source) {
                    self.world.lose(peer);
                }
            }
            10 | 11 => self.answer(source),
            12 => self.world.advance(u64::from(source.short())),
            _ => self.world.store_all(),
        }
    }

    fn connect(&mut self, source: &mut Source<'_>) {
        let mut connect = Connect::new(pick(&CLIENTS, source));
        let bits = source.byte();
        connect.clean_session = bits & 1 == 1;
        connect.keep_alive = u16::from(bits >> 4);
        if bits & 2 == 2 {
            let will = Will::new(pick(&TOPICS, source), "will", (bits >> 2) & 1);
            connect.will = Some(if bits & 8 == 8 { will.retained() } else { will });
        }
        if let Ok(peer) = self.world.connect(&connect) {
            self.peers.insert(peer, false);
        }
    }

    fn peer(&self, source: &mut Source<'_>) -> Option<Peer> {
        let index = usize::from(source.byte());
        let count = self.peers.len().max(1);
        self.peers.keys().nth(index % count).copied()
    }

    fn send(&mut self, source: &mut Source<'_>, packet: impl FnOnce(&mut Source<'_>) -> Vec<u8>) {
        if let Some(peer) = self.peer(source) {
            let packet = packet(source);
            self.world.send(peer, &packet);
        }
    }

    /// Answers one of the open questions, or one that nobody waits for any more, sometimes with nonsense.
    fn answer(&mut self, source: &mut Source<'_>) {
        let Some((peer, question)) = self.world.questions.pop_front() else { return };
        let verdict = match (question, source.byte() % 8) {
            (_, 0) => Verdict::Failed(HookFailure::Panicked),
            (_, 1) => Verdict::Refused,
            (_, 2) => Verdict::Granted(vec![true]),
            (Question::Publish(_), 3) => Verdict::Dropped,
            (Question::Publish(mut message), bits) => {
                message.limit_qos(QoS::from_bits(bits % 3).unwrap());
                // A wildcard is refused, and the message stays as it is.
                let _ = message.set_topic(pick(&FILTERS, source));
                Verdict::Deliver(Box::new(message))
            }
            (Question::Subscribe { filters, .. }, bits) => Verdict::Granted(vec![bits > 4; filters.len()]),
        };
        self.world.answer(peer, verdict);
    }

    fn check(&mut self, limits: &Limits) {
        let mut closed = Vec::new();
        for (peer, has_connack) in &mut self.peers {
            let output = self.world.take_output(*peer);
            let mut rest: &[u8] = &output;
            while !rest.is_empty() {
                let Ok(Decoded::Packet { packet, len }) = decode(rest, ProtocolVersion::V311, u32::MAX)
                else {
                    panic!("the broker sent {rest:?}");
                };
                let is_connack = matches!(packet, Packet::ConnAck(_));
                assert_ne!(
                    is_connack, *has_connack,
                    "CONNACK is the first packet and comes once: {packet:?}"
                );
                *has_connack = true;
                rest = rest.get(len..).unwrap();
            }
            if self.world.is_closed(*peer) {
                closed.push(*peer);
            }
        }
        for peer in closed {
            self.peers.remove(&peer);
        }
        let retained = self.world.commons.retained_count() as u64;
        assert!(!limits.retained_messages.is_exceeded_by(retained));
        assert!(!limits.sessions.is_exceeded_by(self.world.commons.sessions_open()));
        for shard in &self.world.shards {
            let stats = shard.stats();
            let room = limits.queue_messages.get().saturating_mul(stats.sessions.max(1));
            assert!(stats.queue_messages <= room, "{stats:?}");
        }
    }

    /// Ends every session: nothing may stay.
    fn finish(&mut self) {
        for client in CLIENTS {
            self.world.store_all();
            let peer = self.world.connect(&Connect::new(client)).expect("a clean start is never refused");
            self.world.lose(peer);
        }
        assert_eq!((self.world.commons.subscription_count(), self.world.commons.sessions_open()), (0, 0));
        for shard in &self.world.shards {
            let stats = shard.stats();
            let queue = (stats.queue_messages, stats.queue_bytes);
            let left = (stats.sessions, stats.subscriptions, queue, stats.questions_open);
            assert_eq!(left, (0, 0, (0, 0), 0), "{stats:?}");
        }
    }
}

fn publish(source: &mut Source<'_>) -> Vec<u8> {
    let bits = source.byte();
    let publish = Publish::new(pick(&TOPICS, source), source.bytes());
    let qos = bits % 3;
    let publish = if qos == 0 { publish } else { publish.qos(qos, 1 + source.short() % 8) };
    let publish = if bits & 64 == 64 { publish.retained() } else { publish };
    if bits & 128 == 128 && qos > 0 { publish.again().encode() } else { publish.encode() }
}

fn pick<T: Copy>(from: &[T], source: &mut Source<'_>) -> T {
    *from.get(usize::from(source.byte()) % from.len()).unwrap()
}
