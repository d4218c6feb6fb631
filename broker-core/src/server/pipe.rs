//! A byte stream in memory between a lane and a tokio task, for connections that have no descriptor to poll: any
//! `AsyncRead + AsyncWrite` of an embedder, and clients in this process.
//!
//! ```text
//!   PipeStream (task)                     PipeEnd (lane)
//!     poll_write ──► inbound ≤ 48 KiB ──►   read            a byte more than fits: the task waits
//!     poll_read  ◄── outbound ≤ 48 KiB ◄──  write_vectored  a byte more than fits: the lane is `Blocked`
//! ```
//!
//! The lane is told like by an edge-triggered poll, and as rarely: only after a read that was short or a write that was
//! short, once, however often the task moves bytes meanwhile. So at most a handful of notices wait in its mailbox for
//! each pipe: bytes, room, the end, and the first look.
//!
//! Slower than a socket of the lane's own: a lock, a copy and possibly a wake-up more in each direction. An idle pipe
//! owns no buffer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::engine::error::CloseReason;

// Below 64 KiB, where glibc's `free` begins to tidy up its whole arena each time: with 64 KiB that was 15 % of a busy
// lane's time. And as much as a lane reads in a turn, nearly, so that a turn of a busy client is worth its wake-up.
const INBOUND_BYTES_MAX: usize = 48 << 10;
const OUTBOUND_BYTES_MAX: usize = 48 << 10;

/// The lane's side.
pub(crate) struct PipeEnd(Arc<Shared>);

/// The task's side.
pub(crate) struct PipeStream(Arc<Shared>);

/// Tells why a connection ended, also when its stream is gone.
#[derive(Clone)]
pub(crate) struct PipeFate(Arc<Shared>);

/// Tells the lane that its side may go on.
pub(crate) type Notify = Box<dyn Fn() + Send + Sync>;

struct Shared {
    inbound: Mutex<Half>,
    outbound: Mutex<Half>,
    /// Set once the lane has given the connection a key, until the lane lets go of it.
    notify: Mutex<Option<Notify>>,
    /// Why the broker ended the connection.
    fate: Mutex<Option<CloseReason>>,
}

#[derive(Default)]
struct Half {
    bytes: BytesMut,
    /// How many the reader found last time: the next ones get a buffer for as many at once, so that a busy pipe does not
    /// grow one step by step.
    expected: usize,
    /// The writer has ended it; what is there is still read.
    is_ended: bool,
    /// The reader is gone; nothing more is taken.
    is_broken: bool,
    /// The task that waits for bytes or for room.
    waker: Option<Waker>,
    /// The lane found no more bytes, or no room, and wants to be told.
    is_lane_waiting: bool,
}

/// Both sides of a new pipe.
pub(crate) fn pipe() -> (PipeEnd, PipeStream) {
    let shared = Arc::new(Shared {
        inbound: Mutex::default(),
        outbound: Mutex::default(),
        notify: Mutex::new(None),
        fate: Mutex::new(None),
    });
    (PipeEnd(Arc::clone(&shared)), PipeStream(shared))
}

impl PipeEnd {
    /// From now on `notify` is called when there are bytes, or room, that the lane was waiting for; and once now, as
    /// an edge is reported at registration.
    pub(crate) fn register(&self, notify: Notify) {
        *self.0.notify.lock() = Some(notify);
        self.0.tell_lane();
    }

    /// Reads without waiting. A count below the buffer's length means that nothing is left, and only then (or after
    /// `WouldBlock`) the next byte is announced.
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
        half.expected = count;
        half.bytes.copy_to_slice(into);
        half.forget_empty_buffer();
        half.is_lane_waiting = half.bytes.is_empty();
        let waker = half.waker.take();
        drop(half);
        wake(waker);
        Ok(count)
    }

    /// Writes without waiting. A short count, or `WouldBlock`, means that there is no room, and only then it is
    /// announced.
    pub(crate) fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut half = self.0.outbound.lock();
        if half.is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let before = half.bytes.len();
        let mut is_short = false;
        for slice in slices {
            let room = OUTBOUND_BYTES_MAX.saturating_sub(half.bytes.len());
            let taken = slice.get(..room);
            is_short |= taken.is_some_and(|taken| taken.len() < slice.len());
            half.append(taken.unwrap_or(slice));
        }
        half.is_lane_waiting = is_short;
        let written = half.bytes.len() - before;
        let waker = if written > 0 { half.waker.take() } else { None };
        drop(half);
        wake(waker);
        if written == 0 && is_short {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(written)
    }

    /// Whether the task has ended its direction. What it wrote is still read; no other notice will come.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.inbound.lock().is_ended
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

    /// Why the connection ends, for whoever asks the other side.
    pub(crate) fn note_fate(&self, reason: CloseReason) {
        *self.0.fate.lock() = Some(reason);
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.shutdown();
        let waker = {
            let mut half = self.0.inbound.lock();
            half.is_broken = true;
            half.bytes = BytesMut::new();
            half.waker.take()
        };
        wake(waker);
        *self.0.notify.lock() = None;
    }
}

impl PipeStream {
    pub(crate) fn fate(&self) -> PipeFate {
        PipeFate(Arc::clone(&self.0))
    }

    /// How many bytes the next write takes at once, never zero.
    pub(crate) fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.0.inbound.lock().poll_room(context)
    }

    /// Takes all bytes of the lane, up to 48 KiB; `None` at the end of the stream.
    pub(crate) fn poll_take(&self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.poll_outbound(context, |bytes| std::mem::take(bytes).freeze())
    }

    fn poll_outbound<T>(
        &self,
        context: &mut Context<'_>,
        take: impl FnOnce(&mut BytesMut) -> T,
    ) -> Poll<Option<T>> {
        let mut half = self.0.outbound.lock();
        if half.bytes.is_empty() {
            if half.is_ended {
                return Poll::Ready(None);
            }
            half.wait(context);
            return Poll::Pending;
        }
        half.expected = half.bytes.len();
        let taken = take(&mut half.bytes);
        half.forget_empty_buffer();
        let was_waiting = std::mem::take(&mut half.is_lane_waiting);
        drop(half);
        if was_waiting {
            self.0.tell_lane();
        }
        Poll::Ready(Some(taken))
    }

    fn end(&self) {
        self.0.inbound.lock().is_ended = true;
        self.0.tell_lane();
    }
}

impl PipeFate {
    /// Ready when the lane has ended the connection, with what it wrote read or not. Only for the task that reads:
    /// there is one waker.
    pub(crate) fn poll_end(&self, context: &Context<'_>) -> Poll<()> {
        let mut half = self.0.outbound.lock();
        if half.is_ended {
            return Poll::Ready(());
        }
        half.wait(context);
        Poll::Pending
    }

    /// Why the broker ended the connection; `None` if it did not, or if it has stopped.
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        *self.0.fate.lock()
    }
}

impl Drop for PipeStream {
    fn drop(&mut self) {
        {
            let mut half = self.0.outbound.lock();
            half.is_broken = true;
            half.bytes = BytesMut::new();
        }
        self.end();
    }
}

impl Half {
    fn wait(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }

    fn poll_room(&mut self, context: &Context<'_>) -> Poll<io::Result<usize>> {
        if self.is_broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match INBOUND_BYTES_MAX.saturating_sub(self.bytes.len()) {
            0 => {
                self.wait(context);
                Poll::Pending
            }
            room => Poll::Ready(Ok(room)),
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes.reserve(self.expected.max(bytes.len()));
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn forget_empty_buffer(&mut self) {
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
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
        let read = self.poll_outbound(context, |bytes| {
            let count = buffer.remaining().min(bytes.len());
            buffer.put_slice(bytes.get(..count).unwrap_or_default());
            bytes.advance(count);
        });
        read.map(|_| Ok(()))
    }
}

impl AsyncWrite for PipeStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut half = self.0.inbound.lock();
        let room = std::task::ready!(half.poll_room(context))?;
        let taken = bytes.get(..room).unwrap_or(bytes);
        half.append(taken);
        let was_waiting = std::mem::take(&mut half.is_lane_waiting);
        drop(half);
        if was_waiting {
            self.0.tell_lane();
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
#[path = "pipe_tests.rs"]
mod tests;
