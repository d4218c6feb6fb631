//! A shard with one connection, as a lane drives it, on [`SharedCommons`].

use std::sync::Arc;

use culex_codec::{Decoded, Packet, ProtocolVersion, decode};

use crate::engine::admit;
use crate::engine::keys::{ConnectionKey, ShardId};
use crate::engine::question::Asks;
use crate::engine::shard::{DELIVERIES_PER_TURN, Effect, Shard, ShardConfig, ShardMessage, Turn};
use crate::engine::store::Stored;
use crate::engine::time::{Now, Tick, WallTime};
use crate::limits::Limits;
use crate::server::commons::SharedCommons;

const HASH_KEYS: (u64, u64) = (1, 2);

pub(super) fn commons() -> Arc<SharedCommons> {
    Arc::new(SharedCommons::new(&Limits::default(), HASH_KEYS, &Stored::default()))
}

pub(super) struct Side {
    shard: Shard,
    commons: Arc<SharedCommons>,
    connection: ConnectionKey,
    /// Messages to the other shard, in order.
    sent: Vec<ShardMessage>,
    /// Payloads of the PUBLISH packets that left.
    payloads: Vec<String>,
}

impl Side {
    /// A shard of this number with one connected client.
    pub(super) fn new(number: u16, commons: &Arc<SharedCommons>) -> Self {
        let limits = Limits::default();
        let bytes = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, b'0' + number as u8];
        let Ok(Decoded::Packet { packet: Packet::Connect(connect), .. }) =
            decode(&bytes, ProtocolVersion::V311, u32::MAX)
        else {
            panic!("not a CONNECT")
        };
        let admission = admit(&connect, || "".into(), &limits, 1, "peer".into()).unwrap();
        let mut shard = Shard::new(ShardConfig {
            id: ShardId(number),
            limits,
            hash_keys: HASH_KEYS,
            asks: Asks::default(),
        });
        let connection = shard.handle_attach(&mut turn(commons), admission).unwrap();
        let commons = Arc::clone(commons);
        let mut side = Self { shard, commons, connection, sent: Vec::new(), payloads: Vec::new() };
        side.turn(|_, _| {});
        side
    }

    pub(super) fn commons(&self) -> &Arc<SharedCommons> {
        &self.commons
    }

    pub(super) fn subscribe(&mut self, filter: &str) {
        let mut packet = vec![0x82, filter.len() as u8 + 5, 0, 1, 0, filter.len() as u8];
        packet.extend_from_slice(filter.as_bytes());
        packet.push(0);
        self.receive(&packet);
    }

    pub(super) fn publish(&mut self, topic: &str, payload: &str, is_retain: bool) {
        let length = 2 + topic.len() + payload.len();
        let mut packet = vec![0x30 | u8::from(is_retain), length as u8, 0, topic.len() as u8];
        packet.extend_from_slice(topic.as_bytes());
        packet.extend_from_slice(payload.as_bytes());
        self.receive(&packet);
    }

    /// The messages that the other shard has sent to this one; then everything that left for the client.
    pub(super) fn finish(mut self, other: Self) -> Vec<String> {
        for message in other.sent {
            self.turn(|shard, turn| shard.handle_message(turn, message));
        }
        while self.shard.poll_timeout() == Some(Tick(0)) {
            self.turn(Shard::handle_timeout);
        }
        self.payloads
    }

    fn receive(&mut self, bytes: &[u8]) {
        let key = self.connection;
        let consumed = self.turn(|shard, turn| shard.handle_bytes(turn, key, bytes));
        assert_eq!(consumed.bytes, bytes.len());
    }

    /// A turn with its end.
    fn turn<R>(&mut self, input: impl FnOnce(&mut Shard, &mut Turn<'_>) -> R) -> R {
        let mut turn = turn(&self.commons);
        let result = input(&mut self.shard, &mut turn);
        self.shard.end_turn();
        while let Some(effect) = self.shard.poll_effect() {
            match effect {
                Effect::Send { messages, .. } => self.sent.extend(messages),
                // Clean sessions wait for nothing that is stored.
                Effect::Store(_) | Effect::Event(_) | Effect::Resume { .. } => {}
                Effect::Close { .. } | Effect::Ask { .. } | Effect::Fetch(_) | Effect::SendAll(_) => {
                    panic!("nothing closes, asks, reads or is full here")
                }
            }
        }
        while let Some(key) = self.shard.next_touched() {
            let outbox = self.shard.outbox(key).unwrap();
            let bytes: Vec<u8> = outbox.chunks().flatten().copied().collect();
            outbox.advance(bytes.len());
            self.shard.handle_written(key, bytes.len());
            self.note(&bytes);
        }
        result
    }

    fn note(&mut self, mut bytes: &[u8]) {
        while let Ok(Decoded::Packet { packet, len }) = decode(bytes, ProtocolVersion::V311, u32::MAX) {
            if let Packet::Publish(publish) = packet {
                self.payloads.push(String::from_utf8(publish.payload.to_vec()).unwrap());
            }
            bytes = &bytes[len..];
        }
        assert!(bytes.is_empty());
    }
}

fn turn(commons: &Arc<SharedCommons>) -> Turn<'_> {
    let now = Now { tick: Tick(1_000), wall: WallTime(1_000) };
    Turn { now, commons: &**commons, deliveries_left: DELIVERIES_PER_TURN }
}
