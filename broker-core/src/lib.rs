//! The Culex MQTT broker as a library.
#![forbid(unsafe_code)]

pub mod engine;
pub mod limits;
#[cfg(feature = "server")]
pub mod server;
