//! TLS, from the bytes of a connection to real clients of the real program.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "these functions are tests, though clippy sees functions"
)]

mod authority;
mod aws;
mod browser;
mod conformance;
mod daemon;
mod device;
mod flood;
mod handshake;
mod peer;
mod postgres;
mod program;
mod reload;
mod scanner;
mod stream;
