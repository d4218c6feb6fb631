//! The routing path as a whole, without sockets: bytes of packets in, bytes for every subscriber out.

use std::hint::black_box;

use culex_codec::{
    ClientId, Connect, Packet, PacketId, Properties, ProtocolVersion, Publish, QoS, Subscribe,
    SubscribeFiltersBuf, SubscriptionOptions, TopicFilter, TopicName,
};
use culex_core::engine::admit;
use culex_core::engine::commons::LocalCommons;
use culex_core::engine::keys::{ConnectionKey, ShardId};
use culex_core::engine::question::Asks;
use culex_core::engine::shard::{Effect, Shard, ShardConfig, Turn};
use culex_core::engine::time::Now;
use culex_core::limits::Limits;

pub(crate) const HASH_KEYS: (u64, u64) = (1, 2);
/// PUBLISH packets that one read brings.
pub(crate) const WINDOW: u16 = 20;

/// A shard with a publisher and subscribers.
pub(crate) struct World {
    pub(crate) shard: Shard,
    commons: LocalCommons,
    pub(crate) publisher: ConnectionKey,
    subscribers: Vec<ConnectionKey>,
}

impl World {
    /// `subscribers` with a subscription of this QoS each.
    pub(crate) fn new(subscribers: usize, qos: QoS) -> Self {
        let limits = Limits::default();
        let shard = Shard::new(ShardConfig {
            id: ShardId(0),
            limits: limits.clone(),
            hash_keys: HASH_KEYS,
            asks: Asks::default(),
        });
        let commons = LocalCommons::new(&limits, HASH_KEYS);
        let mut world = Self {
            shard,
            commons,
            publisher: ConnectionKey { slot: 0, generation: 0 },
            subscribers: Vec::new(),
        };
        world.publisher = world.connect("publisher", &limits);
        let mut filters = SubscribeFiltersBuf::new();
        filters.push(TopicFilter::new("bench/+").unwrap(), SubscriptionOptions::new(qos));
        let packet_id = PacketId::new(1).unwrap();
        let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters: filters.as_filters() };
        let subscribe = encode(&Packet::Subscribe(subscribe));
        for number in 0..subscribers {
            let key = world.connect(&format!("subscriber {number}"), &limits);
            world.input(key, &subscribe);
            world.subscribers.push(key);
        }
        world.drain();
        world
    }

    fn turn<R>(&mut self, input: impl FnOnce(&mut Shard, &mut Turn<'_>) -> R) -> R {
        let mut turn = Turn { now: Now::default(), commons: &self.commons, deliveries_left: u32::MAX };
        let result = input(&mut self.shard, &mut turn);
        self.shard.end_turn();
        while let Some(effect) = self.shard.poll_effect() {
            if let Effect::Store(batch) = effect {
                self.shard.handle_stored(&mut turn, batch.number);
            }
        }
        result
    }

    pub(crate) fn connect(&mut self, id: &str, limits: &Limits) -> ConnectionKey {
        let connect = Connect {
            version: ProtocolVersion::V311,
            is_bridge: false,
            clean_start: true,
            keep_alive: 60,
            client_id: ClientId::new(id).unwrap(),
            will: None,
            user_name: None,
            password: None,
            properties: Properties::EMPTY,
        };
        let admission = admit(&connect, || "".into(), limits, 1, "bench".into()).unwrap();
        self.turn(|shard, turn| shard.handle_attach(turn, admission)).unwrap()
    }

    pub(crate) fn input(&mut self, key: ConnectionKey, bytes: &[u8]) {
        let consumed = self.turn(|shard, turn| shard.handle_bytes(turn, key, bytes));
        assert_eq!(consumed.bytes, bytes.len());
    }

    /// Takes what waits for each connection, as a lane would write it.
    pub(crate) fn drain(&mut self) {
        while let Some(key) = self.shard.next_touched() {
            let outbox = self.shard.outbox(key).unwrap();
            let len = outbox.len();
            black_box(outbox.chunks().map(<[u8]>::len).sum::<usize>());
            outbox.advance(len);
            self.shard.handle_written(key, len);
        }
    }

    /// Publishes all of `bytes` and carries every handshake out: to whom `ids` are the Packet Identifiers of what is delivered.
    pub(crate) fn round(&mut self, qos: QoS, bytes: &[u8], ids: impl Iterator<Item = u16> + Clone) {
        self.input(self.publisher, bytes);
        self.drain();
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.acknowledge(&acks(0x40, ids)),
            QoS::ExactlyOnce => {
                self.input(self.publisher, &acks(0x62, 1..=WINDOW));
                self.acknowledge(&acks(0x50, ids.clone()));
                self.acknowledge(&acks(0x70, ids));
            }
        }
    }

    /// Every subscriber says this.
    fn acknowledge(&mut self, acks: &[u8]) {
        for index in 0..self.subscribers.len() {
            self.input(self.subscribers[index], acks);
        }
        self.drain();
    }
}

/// PUBACK 0x40, PUBREC 0x50, PUBREL 0x62, PUBCOMP 0x70
fn acks(first: u8, ids: impl Iterator<Item = u16>) -> Vec<u8> {
    ids.flat_map(|id| [first, 2, id.to_be_bytes()[0], id.to_be_bytes()[1]]).collect()
}

pub(crate) fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(ProtocolVersion::V311, &mut bytes).unwrap();
    bytes
}

/// PUBLISH packets with the Packet Identifiers 1 to [`WINDOW`].
pub(crate) fn publishes(qos: QoS) -> Vec<u8> {
    (1..=WINDOW)
        .flat_map(|id| {
            encode(&Packet::Publish(Publish {
                dup: false,
                qos,
                retain: false,
                topic: TopicName::new("bench/topic").ok(),
                packet_id: PacketId::new(id).filter(|_| qos != QoS::AtMostOnce),
                properties: Properties::EMPTY,
                payload: &[b'x'; 100],
            }))
        })
        .collect()
}
