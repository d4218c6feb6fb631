//! Every bound in one place: what a peer can make grow, how far, and what happens then.
//!
//! A limit is a positive number or unlimited; zero does not exist, so nobody has to guess what it means.

use std::num::NonZeroU64;
use std::time::Duration;

/// A bound: a positive number, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// At most so many.
    AtMost(NonZeroU64),
    /// No bound of ours; memory is the bound.
    Unlimited,
}

impl Limit {
    /// At most `n`; `None` if `n` is zero.
    pub const fn at_most(n: u64) -> Option<Self> {
        match NonZeroU64::new(n) {
            Some(n) => Some(Self::AtMost(n)),
            None => None,
        }
    }

    /// The number to compare with; `u64::MAX` if unlimited.
    pub const fn get(self) -> u64 {
        match self {
            Self::AtMost(n) => n.get(),
            Self::Unlimited => u64::MAX,
        }
    }

    /// Whether `n` is more than allowed.
    pub const fn is_exceeded_by(self, n: u64) -> bool {
        n > self.get()
    }

    const fn default_of(n: u64) -> Self {
        match Self::at_most(n) {
            Some(limit) => limit,
            None => Self::Unlimited,
        }
    }
}

/// What a full queue of a session does with the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenFull {
    /// The message that arrives is dropped and counted (default, as in mosquitto).
    #[default]
    DropNewest,
    /// The oldest message that waits is dropped and counted; those in flight stay.
    DropOldest,
    /// Nothing is dropped: a connection whose next message would get into the queue is not read until an eighth of it is
    /// free, and its Keep Alive rests. What was on its way by then gets in beyond the limit: a turn or two of each shard,
    /// which read at most 1 MiB in one.
    ///
    /// Only for a queue with limits of its own ([`QueueLimits`](crate::engine::QueueLimits)); in [`Limits::when_full`] it
    /// is `DropNewest`. If all queues together are full (`queue_total_bytes`), its publishers wait too, until an eighth of
    /// what it holds is gone. It is `DropNewest` for who cannot wait: Will Messages, messages that a hook has given another
    /// topic, and what a client publishes whose own queue has such limits.
    Block,
}

/// All limits of a broker. [`Limits::default`] suits a machine with 1 GiB of memory or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest MQTT Control Packet that is accepted, in bytes. 1 … 268,435,455; default 16 MiB.
    /// A larger one closes its connection as soon as its length is known.
    pub packet_bytes: u32,
    /// Network Connections at a time. Default 100,000. One more is closed at once.
    pub connections: Limit,
    /// Network Connections at a time from one IP address. Default 20,000. One more is closed at once.
    pub connections_per_address: Limit,
    /// Subscriptions of one session. Default 20,000. One more is answered with the failure code.
    pub subscriptions_per_session: Limit,
    /// Topic filters of one packet that are looked at. Default 5,000. The others of a SUBSCRIBE are answered with the
    /// failure code; an UNSUBSCRIBE with more closes its connection, as its answer cannot say no.
    pub filters_per_packet: Limit,
    /// Levels of a topic name or filter. Default 200. A deeper PUBLISH closes its connection, a deeper filter is
    /// answered with the failure code.
    pub topic_levels: Limit,
    /// Bytes of a topic name or filter, 1 … 65,535. Default 65,535. Beyond it as for `topic_levels`.
    pub topic_bytes: u16,
    /// QoS 1 and 2 messages in flight towards one client, 1 … 65,535. Default 100. The others wait in the queue.
    pub in_flight: u16,
    /// QoS 2 messages in flight from one client, 1 … 65,535. Default 65,535. One more closes the connection.
    pub incoming_in_flight: u16,
    /// Messages that wait in a session, in flight included. Default 10,000. Beyond it `when_full` decides.
    pub queue_messages: Limit,
    /// Bytes that wait in a session (topic and payload). Default 16 MiB. Beyond it `when_full` decides.
    pub queue_bytes: Limit,
    /// The same for all sessions together, and 64 bytes for each message. Default 512 MiB. Beyond it `when_full`
    /// decides too, but a client that is connected and keeps up gets its next message all the same. Each shard may
    /// have up to 128 KiB of it in hand.
    pub queue_total_bytes: Limit,
    /// Bytes of these messages (topic and payload, counted per session) that are held in memory if there is a store. Default
    /// 64 MiB; each shard has an equal part. Beyond half of it a session without a connection has its messages in the
    /// store alone, beyond all of it every session has all but its next ones there, up to 32 KiB. Without a store it
    /// means nothing, and `queue_total_bytes` is what memory must bear.
    pub queue_memory_bytes: Limit,
    /// What a full queue does. Default: drop the newest. `Block` is the same here.
    pub when_full: WhenFull,
    /// Retained Messages. Default 1,000,000. One more is delivered but not retained.
    pub retained_messages: Limit,
    /// Bytes of all Retained Messages (topic, payload, and the names of who published them). Default 512 MiB. Beyond it as for `retained_messages`.
    pub retained_bytes: Limit,
    /// Seconds that a session outlives its connection. Default unlimited. Then it ends with its queue and subscriptions.
    /// Not for clients in the process, which say it themselves.
    pub session_expiry: Limit,
    /// Sessions that outlive their connection. Default 200,000. A new one is refused with 0x03 (server
    /// unavailable); none is evicted.
    pub sessions: Limit,
    /// Bytes that wait to be written to one connection. Default 1 MiB. Beyond it QoS 0 messages are dropped unless
    /// `outbox_burst_bytes` has room, QoS 1 and 2 stay in the session, and the connection is not read until it reads.
    pub outbox_bytes: Limit,
    /// Bytes that all connections together may have waiting beyond their own `outbox_bytes`, of QoS 0 messages. Default
    /// 64 MiB; each shard has an equal part, and one connection up to 15 × `outbox_bytes` of it. So a burst to a reader
    /// that keeps up is not dropped, and one that does not read takes little.
    pub outbox_burst_bytes: Limit,
    /// Bytes that a connection may send before its CONNECT is complete. Default 64 KiB. More closes it.
    pub pre_auth_bytes: u32,
    /// The same for all connections together. Default 64 MiB. A connection that needs more is closed.
    pub pre_auth_total_bytes: Limit,
    /// Bytes of packets whose rest has not come, of all connections after CONNECT. Default 256 MiB; each shard has an equal
    /// part, and room for one packet of `packet_bytes` at least. Beyond it the connections are closed whose packets
    /// take the most room for the longest time (bytes times time), until a sixteenth is free.
    pub partial_total_bytes: Limit,
    /// Time from accept to a complete CONNECT, 1 s … 30 s. Default 10 s. Later closes the connection. A hook that
    /// authenticates has what is left of it.
    pub connect_timeout: Duration,
    /// Longest Keep Alive, in seconds. Default unlimited, which is 65,535. A 3.x CONNECT that asks for a longer one, or
    /// for none (0), is refused with 0x02 (identifier rejected).
    pub max_keep_alive: Limit,
    /// PUBLISH packets in a second from one connection. Default unlimited. A client that has sent a second's worth is
    /// not read until it may send one more; nothing is dropped, and its Keep Alive rests. Not for clients in the process.
    pub messages_per_second: Limit,
    /// Bytes in a second from one connection, of all packets. Default unlimited. As `messages_per_second`; a packet is
    /// taken whole, and what it has too much delays the next.
    pub bytes_per_second: Limit,
    /// Time for the hooks to answer about one packet, 1 s … 10 min. Default 30 s. Later closes the connection; a
    /// CONNECT is refused with 0x03 (server unavailable), and for it `connect_timeout` holds too.
    pub hook_timeout: Duration,
    /// Time that a client waits for a full store, 1 s … 1 h. Default 60 s. Longer closes the connection; a CONNECT is
    /// refused with 0x03 (server unavailable). Its Keep Alive rests meanwhile.
    pub stall_max: Duration,
}

impl Limits {
    /// These, with what a running broker takes from `new`: see [`Broker::set_limits`](crate::Broker::set_limits).
    #[cfg(feature = "server")]
    pub(crate) fn followed_by(&self, new: &Self) -> Self {
        Self {
            sessions: self.sessions,
            queue_total_bytes: self.queue_total_bytes,
            retained_messages: self.retained_messages,
            retained_bytes: self.retained_bytes,
            outbox_bytes: self.outbox_bytes,
            outbox_burst_bytes: self.outbox_burst_bytes,
            hook_timeout: self.hook_timeout,
            stall_max: self.stall_max,
            ..new.clone()
        }
    }

    /// Seconds that a session outlives its connection at most; `u32::MAX` is for ever, as MQTT 5.0 has it.
    pub(crate) fn session_expiry_s(&self) -> u32 {
        u32::try_from(self.session_expiry.get()).unwrap_or(u32::MAX)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes: 16 << 20,
            connections: Limit::default_of(100_000),
            connections_per_address: Limit::default_of(20_000),
            subscriptions_per_session: Limit::default_of(20_000),
            filters_per_packet: Limit::default_of(5000),
            topic_levels: Limit::default_of(200),
            topic_bytes: u16::MAX,
            in_flight: 100,
            incoming_in_flight: u16::MAX,
            queue_messages: Limit::default_of(10_000),
            queue_bytes: Limit::default_of(16 << 20),
            queue_total_bytes: Limit::default_of(512 << 20),
            queue_memory_bytes: Limit::default_of(64 << 20),
            when_full: WhenFull::DropNewest,
            retained_messages: Limit::default_of(1_000_000),
            retained_bytes: Limit::default_of(512 << 20),
            session_expiry: Limit::Unlimited,
            sessions: Limit::default_of(200_000),
            outbox_bytes: Limit::default_of(1 << 20),
            outbox_burst_bytes: Limit::default_of(64 << 20),
            pre_auth_bytes: 64 << 10,
            pre_auth_total_bytes: Limit::default_of(64 << 20),
            partial_total_bytes: Limit::default_of(256 << 20),
            connect_timeout: Duration::from_secs(10),
            max_keep_alive: Limit::Unlimited,
            messages_per_second: Limit::Unlimited,
            bytes_per_second: Limit::Unlimited,
            hook_timeout: Duration::from_secs(30),
            stall_max: Duration::from_secs(60),
        }
    }
}
