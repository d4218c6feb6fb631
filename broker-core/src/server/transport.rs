//! Non-blocking byte streams under a lane.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::engine::error::CloseReason;

use super::pipe::PipeEnd;

/// A byte stream that a lane reads and writes without waiting.
pub(crate) enum Transport {
    /// A plain TCP connection.
    Tcp(mio::net::TcpStream),
    /// Memory, with a tokio task on the other side.
    Pipe(PipeEnd),
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
        match self {
            Self::Tcp(stream) => {
                let interest = Interest::READABLE | Interest::WRITABLE;
                registry.register(&mut SourceFd(&stream.as_raw_fd()), token, interest)
            }
            Self::Pipe(pipe) => {
                pipe.register(Box::new(notify));
                Ok(())
            }
        }
    }

    /// Whether the peer has ended its direction of a pipe. A socket says so with its event.
    pub(crate) fn is_hung_up(&self) -> bool {
        match self {
            Self::Tcp(_) => false,
            Self::Pipe(pipe) => pipe.has_ended(),
        }
    }

    /// Why the connection ends; only a peer in this process can be told.
    pub(crate) fn note_fate(&self, reason: CloseReason) {
        match self {
            Self::Tcp(_) => {}
            Self::Pipe(pipe) => pipe.note_fate(reason),
        }
    }

    /// Reads without waiting. A count below the buffer's length means that nothing is left.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => retry_interrupted(|| stream.read(buffer)),
            Self::Pipe(pipe) => pipe.read(buffer),
        }
    }

    /// Writes without waiting.
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => retry_interrupted(|| match slices {
                [one] => stream.write(one),
                several => stream.write_vectored(several),
            }),
            Self::Pipe(pipe) => pipe.write_vectored(slices),
        }
    }

    /// Ends the stream after what came was read away, up to a bound: a close with unread bytes would be a reset, which
    /// may destroy what was written last.
    pub(crate) fn finish(&mut self, buffer: &mut [u8]) {
        const READS_MAX: usize = 8;
        self.shutdown();
        for _ in 0..READS_MAX {
            if !matches!(self.read(buffer), Ok(count) if count == buffer.len()) {
                return;
            }
        }
    }

    /// Ends the stream in order: what was written is sent, then FIN.
    pub(crate) fn shutdown(&self) {
        match self {
            // A stream that the peer has ended already cannot be shut down again; nothing is left to do then.
            Self::Tcp(stream) => drop(stream.shutdown(Shutdown::Write)),
            Self::Pipe(pipe) => pipe.shutdown(),
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
