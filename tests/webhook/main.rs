//! Messages that leave as HTTP requests: the real broker, real Flask, and receivers that are down, slow, wrong or hostile.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "these functions are tests, though clippy sees functions"
)]

mod block;
mod configuration;
mod crash;
mod events;
mod example;
mod flask;
mod hostile;
mod memory;
mod program;
mod rebinding;
mod receiver;
mod signature;
mod tls;
mod trial;
