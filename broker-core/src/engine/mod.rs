//! The broker as deterministic sans-IO state machines.
pub mod keys;
pub mod outbox;
pub mod shard;
pub mod time;
