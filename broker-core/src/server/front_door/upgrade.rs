//! The request that opens a WebSocket connection, and CONNECT through it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::super::transport::{self, Transport};
use super::super::websocket::{End, Frames, Kind, Upgrade, WebSocket, server_head};
use super::connect::Beginning;
use super::turn_away::Turned;
use super::{FrontDoor, IntoTransport};

/// Bytes of one read.
const READ_BYTES: usize = 1024;

impl FrontDoor {
    /// Reads the request and answers it.
    pub(super) async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        settings: &WebSocket,
        beginning: &mut Beginning,
    ) -> Result<(), Turned> {
        let mut upgrade = Upgrade::default();
        loop {
            let mut bytes = [0; READ_BYTES];
            let came = match stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return Err(Turned::Gone),
                Ok(count) => bytes.get(..count).unwrap_or_default(),
            };
            self.reserve(beginning, came.len() as u64)?;
            if let Some(answer) = upgrade.take(came, settings).map_err(Turned::Upgrade)? {
                self.metrics.front_door.websocket_upgrades.fetch_add(1, Ordering::Relaxed);
                return stream.write_all(answer.as_bytes()).await.map_err(|_| Turned::Gone);
            }
        }
    }
}

/// A connection after its upgrade, for a task that waits for CONNECT.
pub(super) struct Upgraded<S> {
    stream: S,
    frames: Frames,
    /// Frames that have not been written, 16 KiB at most.
    outgoing: Vec<u8>,
}

/// Payload of one frame.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;

impl<S> Upgraded<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, frames: Frames::default(), outgoing: Vec::new() }
    }
}

impl<S: AsyncWrite + Unpin> Upgraded<S> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.outgoing.is_empty() {
                let Some(answer) = self.frames.next_answer() else { return Poll::Ready(Ok(())) };
                self.outgoing = answer;
            }
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.outgoing))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.drain(..sent);
        }
    }
}

impl<S: IntoTransport> IntoTransport for Upgraded<S> {
    fn into_transport(self) -> io::Result<Transport> {
        let below = self.stream.into_transport()?;
        Ok(Transport::WebSocket(Box::new(transport::WebSocket::new(below, self.frames, self.outgoing))))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Upgraded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while buffer.remaining() > 0 {
            match this.frames.end() {
                Some(end) => {
                    // The Close frame.
                    ready!(this.poll_send(context))?;
                    return Poll::Ready(match end {
                        End::Closed => Ok(()),
                        End::Failed(violation) => {
                            Err(io::Error::new(io::ErrorKind::InvalidData, violation.text()))
                        }
                    });
                }
                // It need not be through before the next read.
                None => {
                    if let Poll::Ready(Err(error)) = this.poll_send(context) {
                        return Poll::Ready(Err(error));
                    }
                }
            }
            let mut storage = [0; READ_BYTES];
            let room = buffer.remaining().min(READ_BYTES);
            let mut came = ReadBuf::new(storage.get_mut(..room).unwrap_or_default());
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut came))?;
            if came.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            let count = this.frames.unwrap(came.filled_mut());
            if count > 0 {
                buffer.put_slice(came.filled().get(..count).unwrap_or_default());
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Upgraded<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        if this.frames.has_taken_leave() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let (now, _) = bytes.split_at(bytes.len().min(PAYLOAD_BYTES_MAX));
        this.outgoing.extend_from_slice(&server_head(Kind::Binary, now.len()));
        this.outgoing.extend_from_slice(now);
        // What does not fit now goes before the next.
        match this.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(now.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.frames.take_leave();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}
