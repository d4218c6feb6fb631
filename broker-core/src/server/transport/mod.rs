//! Non-blocking byte streams under a lane. What a lane reads and writes is plaintext; a layer between it and the socket
//! has buffers only while something waits in them.

#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "websocket")]
mod websocket;

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::engine::error::CloseReason;

use super::pipe::PipeEnd;
use super::socket::Socket;

#[cfg(feature = "tls")]
pub(crate) use self::tls::Tls;
#[cfg(feature = "websocket")]
pub(crate) use self::websocket::WebSocket;

/// The least room for a read: a layer needs it to work in place.
pub(crate) const READ_ROOM_MIN: usize = 64 << 10;

/// A byte stream that a lane reads and writes without waiting.
pub(crate) enum Transport {
    /// A plain connection.
    Socket(Socket),
    /// Memory, with a tokio task on the other side.
    Pipe(PipeEnd),
    /// TLS over a socket, after its handshake.
    #[cfg(feature = "tls")]
    Tls(Box<Tls>),
    /// WebSocket over one of these, after its upgrade.
    #[cfg(feature = "websocket")]
    WebSocket(Box<WebSocket>),
}

impl Transport {
    /// Edge-triggered, both directions, once for the life of the connection: no system call in steady state.
    /// What has no descriptor calls `notify` instead, for both directions alike.
    pub(crate) fn register(
        &self,
        registry: &Registry,
        token: Token,
        notify: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<()> {
        let socket = match self {
            Self::Socket(socket) => socket,
            Self::Pipe(pipe) => {
                pipe.register(Box::new(notify));
                return Ok(());
            }
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.socket(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(websocket) => return websocket.below().register(registry, token, notify),
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, interest)
    }

    /// Whether the peer has ended its direction of a pipe. A socket says so with its event.
    pub(crate) fn is_hung_up(&self) -> bool {
        match self {
            Self::Socket(_) => false,
            Self::Pipe(pipe) => pipe.has_ended(),
            #[cfg(feature = "tls")]
            Self::Tls(_) => false,
            #[cfg(feature = "websocket")]
            Self::WebSocket(websocket) => websocket.below().is_hung_up(),
        }
    }

    /// Why the connection ends; only a peer in this process can be told.
    pub(crate) fn note_fate(&self, reason: CloseReason) {
        match self {
            Self::Socket(_) => {}
            Self::Pipe(pipe) => pipe.note_fate(reason),
            #[cfg(feature = "tls")]
            Self::Tls(_) => {}
            #[cfg(feature = "websocket")]
            Self::WebSocket(websocket) => websocket.below().note_fate(reason),
        }
    }

    /// What of a layer's rules the peer broke, after a read that failed.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        match self {
            Self::Socket(_) | Self::Pipe(_) => None,
            #[cfg(feature = "tls")]
            Self::Tls(_) => None,
            #[cfg(feature = "websocket")]
            Self::WebSocket(websocket) => websocket.fault(),
        }
    }

    /// Reads without waiting, into [`READ_ROOM_MIN`] bytes or more; 0 is the end of the stream. A count below the buffer's
    /// length, or `WouldBlock`, means that nothing is left, unless [`Self::has_more`].
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => retry_interrupted(|| socket.read(buffer)),
            Self::Pipe(pipe) => pipe.read(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.read(buffer),
            #[cfg(feature = "websocket")]
            Self::WebSocket(websocket) => websocket.read(buffer),
        }
    }

    /// Whether another read may bring something that no event will tell of.
    pub(crate) fn has_more(&self) -> bool {
        match self {
            Self::Socket(_) | Self::Pipe(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.has_more(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(websocket) => websocket.has_more(),
        }
    }

    /// Whether bytes that were taken, or that a layer adds of its own, wait for room in the socket.
    pub(crate) fn awaits_room(&self) -> bool {
        match self {
            Self::Socket(_) | Self::Pipe(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.awaits_room(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(websocket) => websocket.awaits_room(),
        }
    }

    /// Writes what waits for room, without waiting. `false` if not all has found it.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Socket(_) | Self::Pipe(_) => Ok(true),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.flush(),
            #[cfg(feature = "websocket")]
            Self::WebSocket(websocket) => websocket.flush(),
        }
    }

    /// Whether the end has to be said, because a close alone would not be one in order.
    pub(crate) fn takes_leave(&self) -> bool {
        match self {
            Self::Socket(_) | Self::Pipe(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(_) => true,
            #[cfg(feature = "websocket")]
            Self::WebSocket(_) => true,
        }
    }

    /// Writes without waiting. A count below the sum of the slices means that there is no more room now.
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => retry_interrupted(|| match slices {
                [one] => socket.write(one),
                several => socket.write_vectored(several),
            }),
            Self::Pipe(pipe) => pipe.write_vectored(slices),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.write_vectored(slices),
            #[cfg(feature = "websocket")]
            Self::WebSocket(websocket) => websocket.write_vectored(slices),
        }
    }

    /// Ends the stream in order: what was written is sent, then FIN. What came is read away first, up to a bound: a
    /// close with unread bytes would be a reset, which may destroy what was written last.
    pub(crate) fn finish(&mut self, buffer: &mut [u8]) {
        const READS_MAX: usize = 8;
        #[cfg(feature = "websocket")]
        if let Self::WebSocket(websocket) = self {
            websocket.take_leave();
            return websocket.below_mut().finish(buffer);
        }
        #[cfg(feature = "tls")]
        if let Self::Tls(tls) = self {
            tls.take_leave();
        }
        // A stream that the peer has ended already cannot be shut down again; nothing is left to do then.
        match self {
            Self::Socket(socket) => drop(socket.shutdown(Shutdown::Write)),
            Self::Pipe(pipe) => pipe.shutdown(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => drop(tls.socket().shutdown(Shutdown::Write)),
            #[cfg(feature = "websocket")]
            Self::WebSocket(_) => {}
        }
        for _ in 0..READS_MAX {
            let read = match self {
                Self::Socket(socket) => retry_interrupted(|| socket.read(buffer)),
                Self::Pipe(pipe) => pipe.read(buffer),
                #[cfg(feature = "tls")]
                Self::Tls(tls) => retry_interrupted(|| tls.socket_mut().read(buffer)),
                #[cfg(feature = "websocket")]
                Self::WebSocket(_) => return,
            };
            if !matches!(read, Ok(count) if count == buffer.len()) {
                return;
            }
        }
    }
}

fn retry_interrupted<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
