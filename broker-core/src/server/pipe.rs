//! A byte stream in memory between a lane and a tokio task, for connections that have no descriptor to poll: any
//! `AsyncRead + AsyncWrite` of an embedder, and clients in this process.
//!
//! ```text
//!   PipeStream (tokio)                    PipeEnd (lane)
//!     poll_write ──► inbound ≤ 16 KiB ──►   read            a byte more than fits: the task waits
//!     poll_read  ◄── outbound ≤ 64 KiB ◄──  write_vectored  a byte more than fits: the lane is told `Blocked`
//! ```
//!
//! Slower than a socket of the lane's own: a lock, a copy and possibly a wake-up more in each direction.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const INBOUND_BYTES_MAX: usize = 16 << 10;
const OUTBOUND_BYTES_MAX: usize = 64 << 10;

/// The lane's side.
pub(crate) struct PipeEnd(Arc<Shared>);

/// The task's side.
pub(crate) struct PipeStream(Arc<Shared>);

/// Tells the lane that its side may go on.
pub(crate) type Notify = Box<dyn Fn() + Send + Sync>;

struct Shared {
    inbound: Mutex<Half>,
    outbound: Mutex<Half>,
    /// Set once the lane has given the connection a key.
    notify: Mutex<Option<Notify>>,
}

#[derive(Default)]
struct Half {
    bytes: BytesMut,
    /// The writer has ended it; what is there is still read.
    is_ended: bool,
    /// The reader is gone; nothing more is taken.
    is_broken: bool,
    /// The task that waits for bytes or for room.
    waker: Option<Waker>,
    /// The lane found no bytes, or no room, and wants to be told.
    is_lane_waiting: bool,
}

/// Both sides of a new pipe.
pub(crate) fn pipe() -> (PipeEnd, PipeStream) {
    let half = || Mutex::new(Half { is_lane_waiting: true, ..Half::default() });
    let shared = Arc::new(Shared { inbound: half(), outbound: half(), notify: Mutex::new(None) });
    (PipeEnd(Arc::clone(&shared)), PipeStream(shared))
}

impl PipeEnd {
    /// From now on `notify` is called when there are bytes, or room, that the lane was waiting for.
    pub(crate) fn register(&self, notify: Notify) {
        *self.0.notify.lock() = Some(notify);
        // What came before is announced like an edge at registration.
        self.0.tell_lane();
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut half = self.0.inbound.lock();
        if half.bytes.is_empty() {
            if half.is_ended {
                return Ok(0);
            }
            half.is_lane_waiting = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(half.bytes.len());
        let (into, _) = buffer.split_at_mut(count);
        half.bytes.copy_to_slice(into);
        // A short read tells the lane that nothing is left, so it has to hear of what comes.
        half.is_lane_waiting = half.bytes.is_empty();
        let waker = half.waker.take();
        drop(half);
        wake(waker);
        Ok(count)
    }

    pub(crate) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut half = self.0.outbound.lock();
        if half.is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut room = OUTBOUND_BYTES_MAX.saturating_sub(half.bytes.len());
        let mut written = 0;
        let mut is_short = false;
        for slice in slices {
            let count = slice.len().min(room);
            half.bytes.extend_from_slice(slice.get(..count).unwrap_or_default());
            written += count;
            room -= count;
            is_short |= count < slice.len();
        }
        half.is_lane_waiting = is_short;
        let waker = half.waker.take();
        drop(half);
        wake(waker);
        if written == 0 && is_short {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(written)
    }

    /// What was written is read, then the stream ends.
    pub(crate) fn shutdown(&self) {
        let waker = {
            let mut half = self.0.outbound.lock();
            half.is_ended = true;
            half.waker.take()
        };
        wake(waker);
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.shutdown();
        let waker = {
            let mut half = self.0.inbound.lock();
            half.is_broken = true;
            half.waker.take()
        };
        wake(waker);
        *self.0.notify.lock() = None;
    }
}

impl Drop for PipeStream {
    fn drop(&mut self) {
        self.0.inbound.lock().is_ended = true;
        self.0.outbound.lock().is_broken = true;
        self.0.tell_lane();
    }
}

impl Shared {
    fn tell_lane(&self) {
        if let Some(notify) = &*self.notify.lock() {
            notify();
        }
    }
}

impl AsyncRead for PipeStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut half = self.0.outbound.lock();
        if half.bytes.is_empty() {
            if half.is_ended {
                return Poll::Ready(Ok(()));
            }
            half.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = buffer.remaining().min(half.bytes.len());
        buffer.put_slice(&half.bytes.split_to(count));
        if half.bytes.is_empty() {
            // An idle pipe owns no memory.
            half.bytes = BytesMut::new();
        }
        let was_waiting = std::mem::take(&mut half.is_lane_waiting);
        drop(half);
        if was_waiting {
            self.0.tell_lane();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PipeStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut half = self.0.inbound.lock();
        if half.is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(INBOUND_BYTES_MAX.saturating_sub(half.bytes.len()));
        if count == 0 && !bytes.is_empty() {
            half.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        half.bytes.extend_from_slice(bytes.get(..count).unwrap_or_default());
        let was_waiting = std::mem::take(&mut half.is_lane_waiting);
        drop(half);
        if was_waiting {
            self.0.tell_lane();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.inbound.lock().is_ended = true;
        self.0.tell_lane();
        Poll::Ready(Ok(()))
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
