//! What happens in a broker, told to everybody who listens: the log always, readers of the stream if there are any.
//!
//! Lanes and front door put events in and never wait: a reader that is too slow loses the oldest and is told how many.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::engine::shard::Event;

use super::broker::Broker;
use super::journal;

/// Events that a reader may be behind.
const EVENTS_BEHIND_MAX: usize = 4096;

/// Where events go in. It belongs to the lanes: when the last one ends, every stream ends.
#[derive(Default)]
pub(crate) struct EventHub {
    /// Made for the first reader.
    sender: Mutex<Option<broadcast::Sender<Arc<Event>>>>,
    readers: Arc<AtomicUsize>,
}

impl EventHub {
    pub(crate) fn tell(&self, event: Event) {
        journal::log(&event);
        if self.has_readers()
            && let Some(sender) = &*self.sender.lock()
        {
            // The last reader may have gone this moment.
            let _ = sender.send(Arc::new(event));
        }
    }

    /// Whether somebody wants the events that come with every SUBSCRIBE.
    pub(crate) fn wants_subscriptions(&self) -> bool {
        self.has_readers() || tracing::enabled!(target: journal::TARGET, tracing::Level::DEBUG)
    }

    fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Relaxed) > 0
    }

    fn subscribe(&self) -> Events {
        let mut sender = self.sender.lock();
        let sender = sender.get_or_insert_with(|| broadcast::channel(EVENTS_BEHIND_MAX).0);
        self.readers.fetch_add(1, Ordering::Relaxed);
        Events { receiver: sender.subscribe(), readers: Arc::clone(&self.readers), dropped: 0 }
    }
}

/// A stream of what happens in a broker, from the moment it was asked for. It ends when the broker has stopped.
///
/// A reader may be 4,096 events behind; then the oldest are dropped for it and counted. The broker never waits for a
/// reader, and events of one client come in their order.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Arc<Event>>,
    readers: Arc<AtomicUsize>,
    dropped: u64,
}

impl Events {
    fn of_a_stopped_broker() -> Self {
        let (_, receiver) = broadcast::channel(1);
        Self { receiver, readers: Arc::new(AtomicUsize::new(1)), dropped: 0 }
    }

    /// The next event; `None` when the broker has stopped and all were read. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(count)) => self.dropped += count,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Events that this reader has lost because it was too slow.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Broker {
    /// What happens from now on: connected, disconnected with the reason, refused, subscribed, dropped. See [`Events`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use culex_core::{Broker, Event};
    /// # use std::time::Duration;
    /// let broker = Broker::builder().without_listener().start().await?;
    /// let mut events = broker.events();
    /// tokio::spawn(async move {
    ///     while let Some(event) = events.next().await {
    ///         if let Event::Connected { client_id, peer, .. } = &*event {
    ///             println!("{client_id} connected from {peer}");
    ///         }
    ///     }
    /// });
    /// # broker.shutdown(Duration::from_secs(10)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn events(&self) -> Events {
        self.hub().upgrade().map_or_else(Events::of_a_stopped_broker, |hub| hub.subscribe())
    }

    pub(super) fn hub(&self) -> &Weak<EventHub> {
        &self.inner.events
    }
}
