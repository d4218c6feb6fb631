//! One Network Connection after its CONNECT was accepted.
//!
//! ```text
//!   handle_attach ──► Accepted ──stored through n──► Open ──DISCONNECT, error, take-over──► (gone)
//!                     CONNACK is held,               packets are read, but not
//!                     nothing is read                while one is pending or parked,
//!                                                    or it pauses
//! ```
//!
//! An idle connection owns no buffer; its state is about 200 bytes.

mod admission;
mod outbound;
mod pace;

use std::collections::VecDeque;
use std::sync::Arc;

use culex_codec::ProtocolVersion;

use super::keys::{ConnectionKey, SessionKey};
use super::outbox::{BufferPool, Outbox};
use super::question::Pending;
use super::slots::Slots;
use super::terms::Terms;
use super::time::{Now, Tick, WallTime};

pub use self::admission::{Admission, Will, admit};
pub(crate) use self::outbound::{Flags, Heads, Message, SHARED_PAYLOAD_MIN};
pub(crate) use self::pace::Pace;

/// Whether packets are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// CONNACK waits for the store.
    Accepted,
    /// CONNACK is sent.
    Open,
}

/// What the next packet of a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// Room in the store.
    Store,
    /// Room in a queue.
    Queue,
}

/// [MQTT-3.1.2-24]: one and a half times.
const SILENCE_MS_PER_KEEP_ALIVE_S: u32 = 1500;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) session: SessionKey,
    pub(crate) version: ProtocolVersion,
    pub(crate) state: State,
    is_touched: bool,
    /// It waits in the shard's queue of connections that may go on sending.
    pub(crate) is_resuming: bool,
    /// Its packets are the host's own: the host is not asked about them.
    pub(crate) is_trusted: bool,
    /// An [`Origin`](crate::engine::Origin) stands behind each payload that it gets.
    tells_origin: bool,
    /// The packet that waits for the host's verdict.
    pub(crate) pending: Option<Box<Pending>>,
    /// Answers that wait for the store.
    pub(crate) held: u32,
    /// Its next packet waits for this.
    pub(crate) parked: Option<WaitsFor>,
    /// It can wait for full queues, because none hangs on what it acknowledges.
    pub(crate) waits_for_queues: bool,
    /// What holds for it; `None` if that is what holds for everybody.
    pub(crate) terms: Option<Arc<Terms>>,
    /// How fast it may send; `None` if that is not limited.
    pub(crate) pace: Option<Box<Pace>>,
    /// Since when such a packet of it, or the answer to one, waits for the store.
    pub(crate) waits_since: Option<Tick>,
    /// 1.5 × Keep Alive in milliseconds; zero is off.
    pub(crate) silence_max_ms: u32,
    /// Bytes of the packet that is coming in, and when the last complete one came.
    pub(crate) partial_bytes: u32,
    pub(crate) partial_since: Tick,
    pub(crate) last_packet: Tick,
    /// When the keep-alive timer is armed for.
    pub(crate) timer: Option<Tick>,
    pub(crate) outbox: Outbox,
    /// Bytes in it that count against the limit `outbox_burst_bytes`.
    pub(crate) burst_bytes: u64,
    /// Order of accept() over the whole broker: a newer connection beats an older one.
    pub(crate) accept_number: u64,
    pub(crate) connected_at: WallTime,
    /// Who it is, for the log.
    pub(crate) peer: Box<str>,
}

impl Connection {
    pub(crate) fn new(admission: &Admission, session: SessionKey, now: Now) -> Self {
        Self {
            session,
            version: admission.version,
            state: State::Accepted,
            is_touched: false,
            is_resuming: false,
            is_trusted: admission.is_trusted,
            tells_origin: admission.tells_origin,
            pending: None,
            held: 0,
            parked: None,
            waits_for_queues: admission.options.queue.is_none(),
            terms: admission.terms.clone(),
            pace: None,
            waits_since: None,
            silence_max_ms: u32::from(admission.keep_alive) * SILENCE_MS_PER_KEEP_ALIVE_S,
            partial_bytes: 0,
            partial_since: now.tick,
            last_packet: now.tick,
            timer: None,
            outbox: Outbox::default(),
            burst_bytes: 0,
            accept_number: admission.accept_number,
            connected_at: now.wall,
            peer: admission.peer.clone(),
        }
    }

    /// Keep Alive in seconds; zero is off.
    pub(crate) fn keep_alive_s(&self) -> u16 {
        u16::try_from(self.silence_max_ms / SILENCE_MS_PER_KEEP_ALIVE_S).unwrap_or(u16::MAX)
    }

    /// When silence becomes a reason to close [MQTT-3.1.2-24]. Only a complete packet counts, but a large one on a
    /// thin line is given the time that it needs at 1 KiB/s.
    pub(crate) fn silence_deadline(&self) -> Option<Tick> {
        const BYTES_PER_SECOND_MIN: u64 = 1 << 10;
        let for_partial_ms = u64::from(self.partial_bytes) * 1000 / BYTES_PER_SECOND_MIN;
        (self.silence_max_ms > 0)
            .then(|| Tick(self.last_packet.0 + u64::from(self.silence_max_ms) + for_partial_ms))
    }
}

/// The connections of a shard and all that writing to them needs.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Slots<Connection>,
    /// Those that got bytes, in the order in which they did.
    touched: VecDeque<ConnectionKey>,
    pool: BufferPool,
    pub(crate) heads: Heads,
    pub(crate) packets_sent: u64,
}

impl Connections {
    pub(crate) fn get(&self, key: ConnectionKey) -> Option<&Connection> {
        self.slots.get(key.slot, key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: ConnectionKey) -> Option<&mut Connection> {
        self.slots.get_mut(key.slot, key.generation)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn insert(&mut self, connection: Connection) -> Option<ConnectionKey> {
        self.slots.insert(connection).map(|(slot, generation)| ConnectionKey { slot, generation })
    }

    pub(crate) fn remove(&mut self, key: ConnectionKey) -> Option<Connection> {
        self.slots.remove(key.slot, key.generation)
    }

    /// What unfinished packets cost, in bytes times milliseconds.
    pub(crate) fn partial_costs(&self, now: Tick) -> impl Iterator<Item = (u64, ConnectionKey)> {
        let holders = self.slots.iter().filter(|(_, _, connection)| connection.partial_bytes > 0);
        holders.map(move |(slot, generation, connection)| {
            let age_ms = now.0.saturating_sub(connection.partial_since.0) + 1;
            let cost = u64::from(connection.partial_bytes).saturating_mul(age_ms);
            (cost, ConnectionKey { slot, generation })
        })
    }

    pub(crate) fn keys(&self) -> Vec<ConnectionKey> {
        self.slots.iter().map(|(slot, generation, _)| ConnectionKey { slot, generation }).collect()
    }

    /// The next connection that got bytes since it was last asked for. Who got them first comes first: a message leaves before
    /// the acknowledgement for its publisher.
    pub(crate) fn next_touched(&mut self) -> Option<ConnectionKey> {
        loop {
            let key = self.touched.pop_front()?;
            if let Some(connection) = self.get_mut(key) {
                connection.is_touched = false;
                return Some(key);
            }
        }
    }

    /// After a write: gives the memory of an empty outbox back.
    pub(crate) fn recycle(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.slots.get_mut(key.slot, key.generation) {
            connection.outbox.recycle(&mut self.pool);
        }
    }
}
