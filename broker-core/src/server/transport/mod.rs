//! Non-blocking byte streams under a lane. What a lane reads and writes is plaintext; a layer between it and the socket
//! has buffers only while something waits in them.

#[cfg(feature = "tls")]
mod tls;

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::engine::error::CloseReason;

use super::pipe::PipeEnd;

#[cfg(feature = "tls")]
pub(crate) use self::tls::Tls;

/// The least room for a read: a layer needs it to work in place.
pub(crate) const READ_ROOM_MIN: usize = 64 << 10;

/// A byte stream that a lane reads and writes without waiting.
pub(crate) enum Transport {
    /// A plain TCP connection.
    Tcp(mio::net::TcpStream),
    /// Memory, with a tokio task on the other side.
    Pipe(PipeEnd),
    /// TLS over TCP, after its handshake.
    #[cfg(feature = "tls")]
    Tls(Box<Tls>),
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
            Self::Tcp(stream) => stream,
            Self::Pipe(pipe) => {
                pipe.register(Box::new(notify));
                return Ok(());
            }
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.socket(),
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, interest)
    }

    /// Whether the peer has ended its direction of a pipe. A socket says so with its event.
    pub(crate) fn is_hung_up(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Pipe(pipe) => pipe.has_ended(),
            #[cfg(feature = "tls")]
            Self::Tls(_) => false,
        }
    }

    /// Why the connection ends; only a peer in this process can be told.
    pub(crate) fn note_fate(&self, reason: CloseReason) {
        match self {
            Self::Tcp(_) => {}
            Self::Pipe(pipe) => pipe.note_fate(reason),
            #[cfg(feature = "tls")]
            Self::Tls(_) => {}
        }
    }

    /// Reads without waiting, into [`READ_ROOM_MIN`] bytes or more; 0 is the end of the stream. A count below the buffer's
    /// length, or `WouldBlock`, means that nothing is left, unless [`Self::has_more`].
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => retry_interrupted(|| stream.read(buffer)),
            Self::Pipe(pipe) => pipe.read(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Whether another read may bring something that no event will tell of.
    pub(crate) fn has_more(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Pipe(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.has_more(),
        }
    }

    /// Whether bytes that were taken, or that a layer adds of its own, wait for room in the socket.
    pub(crate) fn awaits_room(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Pipe(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.awaits_room(),
        }
    }

    /// Writes what waits for room, without waiting. `false` if not all has found it.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Tcp(_) | Self::Pipe(_) => Ok(true),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.flush(),
        }
    }

    /// Whether the end has to be said, because a close alone would not be one in order.
    pub(crate) fn takes_leave(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Pipe(_) => false,
            #[cfg(feature = "tls")]
            Self::Tls(_) => true,
        }
    }

    /// Writes without waiting. A count below the sum of the slices means that there is no more room now.
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => retry_interrupted(|| match slices {
                [one] => stream.write(one),
                several => stream.write_vectored(several),
            }),
            Self::Pipe(pipe) => pipe.write_vectored(slices),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.write_vectored(slices),
        }
    }

    /// Ends the stream in order: what was written is sent, then FIN. What came is read away first, up to a bound: a
    /// close with unread bytes would be a reset, which may destroy what was written last.
    pub(crate) fn finish(&mut self, buffer: &mut [u8]) {
        const READS_MAX: usize = 8;
        #[cfg(feature = "tls")]
        if let Self::Tls(tls) = self {
            tls.take_leave();
        }
        // A stream that the peer has ended already cannot be shut down again; nothing is left to do then.
        match self {
            Self::Tcp(stream) => drop(stream.shutdown(Shutdown::Write)),
            Self::Pipe(pipe) => pipe.shutdown(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => drop(tls.socket().shutdown(Shutdown::Write)),
        }
        for _ in 0..READS_MAX {
            let read = match self {
                Self::Tcp(stream) => retry_interrupted(|| stream.read(buffer)),
                Self::Pipe(pipe) => pipe.read(buffer),
                #[cfg(feature = "tls")]
                Self::Tls(tls) => retry_interrupted(|| tls.socket().read(buffer)),
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
