//! The Culex daemon: everything that a service needs around the broker of [`culex_core`].
//!
//! [`acl`] decides who may publish and receive what, [`users`] are those with a password, [`cli`] is what a user types, [`config`] is `culex.toml`, [`mod@bench`] is the load generator of `culex bench`.

#![forbid(unsafe_code)]

pub mod acl;
pub mod api;
pub mod aws_emulator;
pub mod bench;
pub mod bridge;
pub mod cli;
mod clock;
pub mod config;
pub mod control;
pub mod exit;
pub mod http;
pub mod init;
pub mod integration;
pub mod reload;
pub mod service;
pub mod telemetry;
pub mod tls;
pub mod users;
pub mod webhook;
