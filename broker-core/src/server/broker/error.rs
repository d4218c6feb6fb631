//! What can go wrong with a broker as a whole.

use std::io;
use std::time::Duration;

use super::super::listener::Address;
use super::super::store::StoreError;
use crate::client::describe_io;

/// Why a broker did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no tokio runtime around the call.
    #[error(
        "no tokio runtime: call start() inside one, for example in #[tokio::main], or start_on_own_runtime()"
    )]
    NoRuntime,
    /// The tokio runtime around the call has no I/O or no time driver.
    #[error("the tokio runtime has no I/O or time driver: build it with enable_all()")]
    NoDrivers,
    /// Nobody could connect.
    #[error(
        "no listener: call listen(address), or without_listener() if clients in this process or streams are all"
    )]
    NoListener,
    /// A listener's address cannot be had.
    #[error(
        "cannot listen on {address}: {}; choose an address that is free and allowed (port 0 takes a free one)",
        describe_io(source)
    )]
    Bind {
        /// The address.
        address: Address,
        /// What the operating system says.
        source: io::Error,
    },
    /// More lanes than 1024.
    #[error("{0} threads are too many, at most 1024")]
    TooManyThreads(usize),
    /// What was to be done after binding failed, see [`BrokerBuilder::after_bind`](crate::BrokerBuilder::after_bind).
    #[error("{0}")]
    AfterBind(#[source] io::Error),
    /// The store cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Threads, polls or random numbers cannot be had.
    #[error("cannot start: {}", describe_io(.0))]
    System(#[source] io::Error),
}

/// Why a shutdown was not clean.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// It takes longer. The broker goes on stopping; another call waits again.
    #[error("the broker did not stop within {0:?}; it goes on stopping")]
    Deadline(Duration),
    /// The runtime of the broker ended first, and with it the front door. The lanes end by themselves.
    #[error("the runtime ended before the broker; shut the broker down first")]
    NoRuntime,
}

/// Why a running broker gave up.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    pub(super) why: String,
    pub(super) is_store: bool,
}

impl Failure {
    /// Whether the store cannot keep anything any more. What was acknowledged is kept; a new start reads it.
    pub const fn is_store(&self) -> bool {
        self.is_store
    }
}
