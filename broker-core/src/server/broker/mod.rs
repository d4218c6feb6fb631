//! The handle of a running broker.

mod builder;
mod changing;
mod error;
mod listening;
mod recovery;
mod runtime;
mod weak;

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task;

use super::client::KeptSessions;
use super::departure::Departure;
use super::events::EventHub;
use super::front_door::FrontDoor;
use super::lane::LaneMessage;
use super::mailbox::Mailbox;
use super::metrics::{Metrics, Snapshot};

use self::listening::Listening;
use self::runtime::Runtime;

pub use self::builder::{BrokerBuilder, Threads};
pub use self::error::{Failure, ShutdownError, StartError};
pub use self::listening::OpenedListeners;
pub use self::weak::WeakBroker;

/// A running broker. A cheap handle: clones mean the same broker, which runs until [`Broker::shutdown`] or until
/// the last handle is gone.
#[derive(Clone)]
pub struct Broker {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    /// Tells the front door to close; so does its end. Every task of the broker has a receiver until it ends.
    pub(super) closing: watch::Sender<bool>,
    /// Whether whoever connects is let in.
    accepting: watch::Sender<bool>,
    pub(super) front_door: Arc<FrontDoor>,
    /// Session State of persistent clients in this process.
    pub(super) kept: Arc<KeptSessions>,
    /// Where tasks run.
    pub(super) runtime: Handle,
    owned_runtime: Mutex<Option<Runtime>>,
    listening: Mutex<Listening>,
    pub(super) mailboxes: Vec<Arc<Mailbox<LaneMessage>>>,
    pub(super) hash_keys: (u64, u64),
    /// The lanes keep it; it ends with them.
    pub(super) events: Weak<EventHub>,
    departure: Arc<Departure>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Set by the first shutdown: whether all has ended.
    stopped: Mutex<Option<watch::Receiver<bool>>>,
    failure: watch::Receiver<Option<Failure>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Broker {
    /// A broker without listeners and with default limits, to be filled in.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// All counters and gauges. Each shard brings its own up to date at the end of a turn, and before it answers
    /// [`Admin`](super::Admin); so what an acknowledgement has just said may be counted a turn later.
    pub fn metrics(&self) -> Snapshot {
        self.inner.metrics.snapshot()
    }

    /// Resolves when the broker has given up on itself; never in a healthy broker.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.inner.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or_default(),
            // All lanes have ended in order.
            Err(_) => std::future::pending().await,
        }
    }

    /// Where the tasks of this broker run, for programs without a runtime of their own:
    /// `broker.runtime().block_on(…)`.
    pub fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    /// Stops accepting, then reading; writes what was on its way, closes every connection and joins every thread.
    /// Stopping goes on if the future is dropped, and may be waited for by several callers; when all has ended, a call
    /// finds nothing left to do.
    ///
    /// # Errors
    /// [`ShutdownError`].
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), ShutdownError> {
        let mut stopped = self.stop();
        if *stopped.borrow() {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        // On the broker's runtime, as there may be none around this call.
        let ended = self.inner.runtime.spawn(async move {
            let in_time =
                match tokio::time::timeout(deadline, stopped.wait_for(|is_stopped| *is_stopped)).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(_)) => Err(ShutdownError::NoRuntime),
                    Err(_) => Err(ShutdownError::Deadline(deadline)),
                };
            // Also if the front door did not close in time.
            inner.departure.begin();
            in_time
        });
        ended.await.unwrap_or_else(|_| {
            self.inner.departure.begin();
            Err(ShutdownError::NoRuntime)
        })
    }

    /// Begins to stop, once. What it answers becomes true when all has ended.
    fn stop(&self) -> watch::Receiver<bool> {
        let mut stopped = self.inner.stopped.lock();
        if let Some(stopped) = &*stopped {
            return stopped.clone();
        }
        let (tell, receiver) = watch::channel(false);
        *stopped = Some(receiver.clone());
        drop(stopped);
        let inner = Arc::clone(&self.inner);
        self.inner.runtime.spawn(async move {
            inner.end().await;
            tell.send_replace(true);
        });
        receiver
    }
}

impl Inner {
    async fn end(&self) {
        self.closing.send_replace(true);
        let accepting = self.listening.lock().take_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        for task in accepting {
            // It fails only if its runtime has ended, and the task with it.
            let _ = task.await;
        }
        self.departure.begin();
        let join = task::spawn_blocking(move || {
            for thread in threads {
                // A panic of a lane was reported as a failure already.
                let _ = thread.join();
            }
        });
        let _ = join.await;
        self.closing.closed().await;
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("addresses", &self.local_addrs()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The front door closes because `closing` is gone.
        self.departure.begin();
        if let Some(runtime) = self.owned_runtime.get_mut().take() {
            runtime.end();
        }
    }
}
