//! Any byte stream as a connection: the front door reads its CONNECT, then a task carries bytes between the stream and
//! the pipe of its lane.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::broker::Broker;
use super::peer::Peer;
use super::pipe::{PipeStream, pipe};
use super::transport::Transport;

/// How long the peer of a connection that has ended has to read what was written last.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes carried to the lane at a time, on the stack: an idle stream costs no buffer.
const CHUNK: usize = 4 << 10;
/// Chunks until other tasks have their turn.
const CHUNKS_PER_POLL: usize = 16;

/// Why a stream, or a client in this process, did not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A limit of [`Limits`](crate::limits::Limits) leaves no room.
    #[error("too many connections (limit {0}); raise it, or close connections first")]
    TooMany(&'static str),
    /// The broker was shut down.
    #[error("the broker was shut down; start another one")]
    Stopped,
}

impl Broker {
    /// Serves MQTT over a stream: whatever an embedder accepted itself, TLS, a serial line, memory. It is a connection
    /// like any other, with the same limits, deadline and rules; `peer` stands for it in the log, and if that is an
    /// address, the limit `connections_per_address` applies too.
    ///
    /// Returns at once; a task of the broker's runtime carries the bytes, at most 48 KiB in and 96 KiB out, and ends
    /// with the connection or with the broker. A stream that stalls is treated as a socket that does: what has no room
    /// waits in the session or is dropped, by its limits. A peer that ends its direction ends the connection.
    ///
    /// Cost over a socket that the broker accepts itself: a task, and per burst in each direction a copy, a lock and a
    /// wake-up.
    ///
    /// # Errors
    /// [`ServeError`]; the stream is closed then.
    pub fn serve<S>(&self, stream: S, peer: impl Into<Peer>) -> Result<(), ServeError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let peer = peer.into();
        // The task lives as long as it has this: `shutdown` waits for the last one.
        let mut closing = self.inner.closing.subscribe();
        if *closing.borrow() {
            return Err(ServeError::Stopped);
        }
        let front_door = Arc::clone(&self.inner.front_door);
        let (number, permit) = front_door.number_and_permit(&peer, None).map_err(ServeError::TooMany)?;
        self.inner.runtime.spawn(async move {
            let entered = tokio::select! {
                entered = front_door.receive(stream, &peer, number) => entered,
                _ = closing.wait_for(|is_closing| *is_closing) => None,
            };
            let Some((stream, admission, unread)) = entered else { return };
            let (end, pipe) = pipe();
            front_door.hand_over(Transport::Pipe(end), admission, unread, permit);
            drop(front_door);
            carry(stream, pipe).await;
            drop(closing);
        });
        Ok(())
    }
}

/// Carries bytes both ways until the lane ends the connection, and what it wrote last within a second.
async fn carry<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, mut pipe: PipeStream) {
    let fate = pipe.fate();
    let carried = async {
        let mut carrier = Carrier::default();
        poll_fn(|context| carrier.poll(context, &mut stream, &mut pipe)).await;
        // The peer may have gone already.
        let _ = stream.shutdown().await;
    };
    let overdue = async {
        poll_fn(|context| fate.poll_end(context)).await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        () = carried => {}
        () = overdue => {}
    }
}

/// What is on its way between a stream and a pipe.
#[derive(Default)]
struct Carrier {
    has_input_ended: bool,
    output: Bytes,
    is_flush_due: bool,
}

impl Carrier {
    /// Ready when nothing more is to be written to the stream.
    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
        pipe: &mut PipeStream,
    ) -> Poll<()> {
        let mut chunks = 0;
        while !self.has_input_ended && self.poll_input(context, stream, pipe).is_ready() {
            chunks += 1;
            if chunks == CHUNKS_PER_POLL {
                context.waker().wake_by_ref();
                break;
            }
        }
        self.poll_output(context, stream, pipe)
    }

    fn poll_input<S: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
        pipe: &mut PipeStream,
    ) -> Poll<()> {
        let Ok(room) = std::task::ready!(pipe.poll_room(context)) else {
            self.has_input_ended = true;
            return Poll::Ready(());
        };
        let mut storage = [const { MaybeUninit::uninit() }; CHUNK];
        let mut buffer = ReadBuf::uninit(storage.get_mut(..room.min(CHUNK)).unwrap_or_default());
        let read = std::task::ready!(Pin::new(stream).poll_read(context, &mut buffer));
        let mut lane = Pin::new(pipe);
        let is_taken = match read {
            Ok(()) if !buffer.filled().is_empty() => {
                // Nobody else writes into the pipe, so it has the room that it had.
                lane.as_mut().poll_write(context, buffer.filled()).map(|written| written.is_ok())
            }
            Ok(()) | Err(_) => Poll::Ready(false),
        };
        if is_taken != Poll::Ready(true) {
            // What was read before is still handled, then the lane finds the end.
            self.has_input_ended = true;
            let _ = lane.poll_shutdown(context);
        }
        Poll::Ready(())
    }

    fn poll_output<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
        pipe: &PipeStream,
    ) -> Poll<()> {
        loop {
            if self.output.is_empty() {
                self.output = match pipe.poll_take(context) {
                    Poll::Ready(Some(bytes)) => bytes,
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Pending if self.is_flush_due => {
                        match std::task::ready!(Pin::new(&mut *stream).poll_flush(context)) {
                            Ok(()) => self.is_flush_due = false,
                            Err(_) => return Poll::Ready(()),
                        }
                        continue;
                    }
                    Poll::Pending => return Poll::Pending,
                };
            }
            match std::task::ready!(Pin::new(&mut *stream).poll_write(context, &self.output)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(count) => self.output.advance(count),
            }
            self.is_flush_due = true;
        }
    }
}
