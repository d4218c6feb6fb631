//! What the programs that measure brokers share.

pub mod broker;
pub mod certificates;
pub mod client;
pub mod cpu;
pub mod disk;
pub mod scenario;

/// A figure, or why there is none.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
