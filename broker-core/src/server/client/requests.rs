//! What the handles of a client ask of its driver: bounded in bytes, and taken all at once.
//!
//! A QoS 0 message is encoded by whoever publishes it, behind the last one, so that a run of them is one buffer that goes
//! into the pipe as it is: one lock and one copy a message, and at most one wake-up for all that the driver then finds.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use culex_codec::{Packet, QoS};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, TryAcquireError, oneshot};

use crate::client::Publication;

use super::VERSION;
use super::inbox::{register, wake};

/// Bytes of requests that wait for the driver; one that is larger goes alone.
const BYTES_MAX: usize = 1 << 20;
/// What a request counts beside its packet.
const OVERHEAD: usize = 256;

/// What a handle asks the driver to do. An answer that never comes says that the client has ended.
#[derive(Debug)]
pub(super) enum Request {
    /// QoS 0 messages, encoded.
    Packets(BytesMut),
    /// A message of QoS 1 or 2.
    Publish {
        publication: Publication,
        taken: oneshot::Sender<()>,
    },
    Subscribe {
        filter: Box<str>,
        qos: QoS,
        answer: oneshot::Sender<u8>,
    },
    Unsubscribe {
        filter: Box<str>,
        answer: oneshot::Sender<()>,
    },
    Disconnect {
        done: oneshot::Sender<()>,
    },
}

/// The client has ended.
#[derive(Debug)]
pub(super) struct Ended;

/// Requests on their way to the driver.
#[derive(Debug)]
pub(super) struct Requests {
    queue: Mutex<Queue>,
    /// Bytes that are free; closed at the end.
    room: Semaphore,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Request>,
    /// What they count.
    bytes: usize,
    /// What they counted last time: a buffer for as many is made at once.
    expected: usize,
    driver: Option<Waker>,
    /// No handle is left.
    is_forsaken: bool,
    has_ended: bool,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { queue: Mutex::default(), room: Semaphore::new(BYTES_MAX) }
    }

    /// Hands over a QoS 0 message of so many bytes, when there is room.
    pub(super) async fn send_packet(&self, packet: &Packet<'_>, bytes: usize) -> Result<(), Ended> {
        self.enqueue(bytes, |queue| {
            if !matches!(queue.waiting.back(), Some(Request::Packets(_))) {
                let packets = BytesMut::with_capacity(queue.expected.max(bytes));
                queue.waiting.push_back(Request::Packets(packets));
            }
            if let Some(Request::Packets(packets)) = queue.waiting.back_mut() {
                // It has a length, so it can be encoded.
                let _ = packet.encode(VERSION, packets);
            }
        })
        .await
    }

    /// Hands over a request that counts so many bytes, when there is room.
    pub(super) async fn send(&self, request: Request, bytes: usize) -> Result<(), Ended> {
        self.enqueue(bytes.saturating_add(OVERHEAD), |queue| queue.waiting.push_back(request)).await
    }

    async fn enqueue(&self, bytes: usize, add: impl FnOnce(&mut Queue)) -> Result<(), Ended> {
        let bytes = bytes.min(BYTES_MAX);
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = match self.room.try_acquire_many(wanted) {
            Ok(room) => room,
            // Those who wait already come first.
            Err(TryAcquireError::NoPermits) => self.room.acquire_many(wanted).await.map_err(|_| Ended)?,
            Err(TryAcquireError::Closed) => return Err(Ended),
        };
        let driver = {
            let mut queue = self.queue.lock();
            if queue.has_ended {
                return Err(Ended);
            }
            add(&mut queue);
            queue.bytes += bytes;
            queue.driver.take()
        };
        room.forget();
        wake(driver);
        Ok(())
    }

    /// No handle is left, so nothing will come.
    pub(super) fn forsake(&self) {
        let driver = {
            let mut queue = self.queue.lock();
            queue.is_forsaken = true;
            queue.driver.take()
        };
        wake(driver);
    }

    /// Takes all that waits into `into`, which must be empty; `false` if nothing more will come. Only for the driver:
    /// there is one waker.
    pub(super) fn poll_take(&self, context: &Context<'_>, into: &mut VecDeque<Request>) -> Poll<bool> {
        let bytes = {
            let mut queue = self.queue.lock();
            if queue.waiting.is_empty() {
                if queue.is_forsaken {
                    return Poll::Ready(false);
                }
                register(&mut queue.driver, context);
                return Poll::Pending;
            }
            // The two share their memory by turns.
            std::mem::swap(&mut queue.waiting, into);
            queue.expected = queue.bytes;
            std::mem::take(&mut queue.bytes)
        };
        self.room.add_permits(bytes);
        Poll::Ready(true)
    }

    /// The client has ended: drops what waits, and refuses what still comes.
    pub(super) fn end(&self) {
        self.room.close();
        let waiting = {
            let mut queue = self.queue.lock();
            queue.has_ended = true;
            queue.driver = None;
            std::mem::take(&mut queue.waiting)
        };
        drop(waiting);
    }
}
