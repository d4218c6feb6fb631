//! The built binary as a user runs it, beside mosquitto's programs where they are installed.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::panic, reason = "a test program as a whole")]

#[cfg(feature = "store-sqlite")]
mod control;
mod harness;
mod options;
mod pub_sub;
mod serve;
#[cfg(feature = "store-sqlite")]
mod store;
mod users;
