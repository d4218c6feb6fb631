//! The broker as deterministic sans-IO state machines: no socket, file, clock, lock, thread or source of random
//! numbers. Bytes, messages and the time go in, bytes and effects come out; the same inputs give the same outputs.
//!
//! [`shard::Shard`] is the whole of it: it owns sessions and connections. All that shards share is behind
//! [`commons::Commons`]. [`route`] and [`qos`] are its building blocks and usable on their own.
//!
//! **Who embeds a broker needs none of this**: what they meet of it stands at the root of the crate. It is public for
//! programs that drive shards themselves, as the simulator and the benchmarks of this repository do, and may change with
//! any minor version.

pub mod access;
pub(crate) mod chunks;
pub mod commons;
mod connection;
pub mod error;
mod fifo;
pub mod keys;
mod options;
mod origin;
pub mod outbox;
pub mod publication;
pub mod qos;
pub mod question;
pub mod route;
mod session;
pub mod shard;
mod slots;
pub mod stats;
pub mod store;
mod terms;
pub mod time;
mod timers;
mod topics;

pub use connection::{Admission, Will, admit};
pub use options::{QueueLimits, SessionOptions, TopicPart};
pub use origin::Origin;
pub use terms::{MountPoint, MountPointError, Terms};
#[cfg(feature = "server")]
pub(crate) use topics::is_reserved;
pub use topics::{TopicLimits, is_of_host};
