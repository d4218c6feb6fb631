//! Bridges, and the stand-in for AWS IoT Core that they are tried against.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "these functions are tests, though clippy sees functions"
)]

#[path = "../tls/authority.rs"]
#[expect(dead_code, reason = "the tests of TLS need more of it")]
mod authority;
mod bind;
mod block;
mod command;
mod diagnosis;
mod duties;
mod emulator;
mod forward;
mod hostile;
mod kills;
mod kit;
mod mosquitto;
mod network;
mod of_mosquitto;
mod rings;
mod scripted;
mod secured;
