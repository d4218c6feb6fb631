//! The Culex daemon: everything that a service needs around the broker of [`culex_core`].
//!
//! [`cli`] is what a user types, [`config`] is `culex.toml`, [`client`] is an MQTT Client that `culex pub` and
//! `culex sub` are built on, [`mod@bench`] is the load generator of `culex bench`.

#![forbid(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod client;
pub mod config;
pub mod exit;
pub mod telemetry;
