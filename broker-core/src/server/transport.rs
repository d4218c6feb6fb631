//! Non-blocking byte streams under a lane.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

/// A byte stream with a descriptor that a lane can poll.
pub(crate) enum Transport {
    /// A plain TCP connection.
    Tcp(mio::net::TcpStream),
}

impl Transport {
    /// Edge-triggered, both directions, once for the life of the connection: no system call in steady state.
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let Self::Tcp(stream) = self;
        registry.register(&mut SourceFd(&stream.as_raw_fd()), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Reads without waiting. A count below the buffer's length means that the socket was drained.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self::Tcp(stream) = self;
        retry_interrupted(|| stream.read(buffer))
    }

    /// Writes without waiting.
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Self::Tcp(stream) = self;
        retry_interrupted(|| match slices {
            [one] => stream.write(one),
            several => stream.write_vectored(several),
        })
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
        let Self::Tcp(stream) = self;
        // A stream that the peer has ended already cannot be shut down again; nothing is left to do then.
        let _ = stream.shutdown(Shutdown::Write);
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
