//! Test support.

pub mod broker;
pub mod client;
pub mod conformance;
mod exchange;
pub mod fuzz_targets;
pub mod manifest;
pub mod parse;
pub mod report;
pub mod sim;
pub mod wire;
pub mod world;
