//! Bridges, and the stand-in for AWS IoT Core that they are tried against.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "these functions are tests, though clippy sees functions"
)]

mod command;
mod duties;
mod emulator;
mod forward;
mod hostile;
mod kit;
mod of_mosquitto;
