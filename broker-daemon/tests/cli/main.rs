//! The built binary as a user runs it, beside mosquitto's programs where they are installed.

#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::panic, reason = "a test program as a whole")]

mod certificates;
#[cfg(feature = "store-sqlite")]
mod control;
mod harness;
mod init;
#[cfg(feature = "store-sqlite")]
mod listeners;
mod mosquitto_conf;
mod options;
mod pub_sub;
mod security_files;
mod serve;
#[cfg(feature = "store-sqlite")]
mod service;
#[cfg(feature = "store-sqlite")]
mod store;
mod users;
