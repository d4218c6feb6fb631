//! The conformance suite: MQTT 3.1.1 and 3.1, statement by statement, in bytes over TCP.
//!
//! `manifest.toml` says which case tests which statement; `differences.toml` what other brokers do otherwise.

#[cfg(test)]
mod manifest;
#[path = "suite.rs"]
mod suite;
