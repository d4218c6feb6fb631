//! The load generator of `culex bench`: clients in numbers, for any MQTT broker.
//!
//! Each message carries its publisher, its number and the time it was sent, and each delivery is verified. It has
//! an event loop of its own, because it must cost several times less per message than the broker it measures:
//! `traffic` is the loop, `template` what is sent, `frame` and `ledger` take and verify what comes back.
//! `relay` is the other end: a server that does nothing a broker must do, as the limit of the machine.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

mod alarm;
mod connect;
mod frame;
mod idle;
mod install;
mod ledger;
mod link;
mod offline;
mod pace;
mod peers;
mod plan;
mod process;
mod relay;
mod report;
mod retained;
mod runner;
mod secured;
mod setup;
mod spread;
mod stopwatch;
mod subscriptions;
mod template;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_tls;
mod traffic;
mod visit;

pub use self::install::Installed;
pub use self::ledger::Faults;
pub use self::offline::Offline;
pub use self::plan::{Credentials, Length, Plan, Scenario, Version};
pub use self::process::Usage;
pub use self::relay::Relay;
pub use self::report::{Latency, Report};
pub use self::runner::run;
pub use self::secured::Tls;

/// How far a run is, for another thread to show.
#[derive(Debug, Default)]
pub struct Gauge {
    ready: AtomicUsize,
    done: AtomicU64,
}

impl Gauge {
    /// Connections that are ready, of the thread that looked last.
    pub fn ready(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }

    /// Deliveries, subscriptions installed, or connections of the scenario connect, since the start.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    fn set_ready(&self, ready: usize) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    fn add(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }
}

/// Why a run has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The plan cannot be carried out.
    #[error("{what}")]
    Plan {
        /// What is wrong, as a sentence.
        what: &'static str,
    },
    /// No connection to the broker.
    #[error("cannot connect to {address}: {}", crate::cli::human::io(source))]
    Connect {
        /// The broker.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// CONNACK with a code.
    #[error("the broker refused a connection with code {code}: {}", refusal(*code))]
    Refused {
        /// The return code.
        code: u8,
    },
    /// SUBACK with a code.
    #[error("the broker did not grant the subscription: it answered {code:#04x}")]
    SubscriptionRefused {
        /// The return code, or the granted QoS.
        code: u8,
    },
    /// PUBACK, PUBREC or PUBCOMP with a code.
    #[error("the broker did not take a message: it answered {code:#04x}")]
    MessageRefused {
        /// The Reason Code.
        code: u8,
    },
    /// The broker closed a connection before it was ready.
    #[error("the broker closed the connection of {client_id} before it was subscribed")]
    Closed {
        /// Its Client Identifier.
        client_id: String,
    },
    /// A connection ended during the run.
    #[error("the connection of {role} {number} ended: {}", crate::cli::human::io(source))]
    Broken {
        /// "publisher" or "subscriber".
        role: &'static str,
        /// Its number in its thread.
        number: usize,
        /// Why.
        source: io::Error,
    },
    /// Nothing came for too long.
    #[error("the broker did not answer for {seconds} s")]
    Silent {
        /// How long, in seconds.
        seconds: f64,
    },
    /// Bytes that are no packet.
    #[error("the broker sent a malformed packet")]
    Malformed,
    /// A packet that has no place here.
    #[error("the broker sent a packet of type {kind} that nothing asked for")]
    Unexpected {
        /// Its packet type, 0 to 15.
        kind: u8,
    },
    /// A clean session was said to be present, or a kept one not to be.
    #[error("the broker said session present = {said} where it must not")]
    SessionPresent {
        /// What it said.
        said: bool,
    },
    /// There is no such process.
    #[error("there is no process {pid}, or the system does not tell its CPU time")]
    NoProcess {
        /// The number given.
        pid: u32,
    },
    /// The system refused something else.
    #[error("{}", crate::cli::human::io(.0))]
    Io(#[source] io::Error),
    /// Another thread failed first, or a thread panicked.
    #[error("the run was given up")]
    GivenUp,
}

fn refusal(code: u8) -> &'static str {
    match code {
        1 => "unacceptable protocol version",
        2 => "identifier rejected",
        3 => "server unavailable",
        4 | 0x86 => "bad user name or password",
        5 | 0x87 => "not authorized",
        0x84 => "unsupported protocol version",
        _ => "no such code",
    }
}
