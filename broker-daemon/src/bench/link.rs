//! One connection: a non-blocking socket, what waits to be written, and the beginning of a packet that has come.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::bench::plan::Plan;
use crate::bench::secured::Secured;

/// One connection. An idle one holds no buffer.
#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    /// False until the socket says that it is connected.
    is_open: bool,
    /// To be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// The beginning of a packet.
    partial: Vec<u8>,
    /// Messages of QoS 1 and 2 that the peer takes at a time: its Receive Maximum.
    pub(super) in_flight_max: u16,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Secured(Box<Secured>),
}

/// Result of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes are at the start of the buffer; `is_more` if the socket may have more.
    Bytes { len: usize, is_more: bool },
    /// Nothing for now.
    Nothing,
    /// The peer has closed.
    End,
}

impl Link {
    /// Starts to connect. Events come edge-triggered.
    pub(super) fn connect(plan: &Plan, registry: &Registry, token: Token) -> io::Result<Self> {
        let socket = TcpStream::connect(plan.address)?;
        let stream = match &plan.tls {
            None => Stream::Plain(socket),
            Some(tls) => Stream::Secured(Box::new(tls.secure(socket)?)),
        };
        Self::register(stream, registry, token, false)
    }

    /// A connection that was accepted.
    pub(super) fn accepted(stream: TcpStream, registry: &Registry, token: Token) -> io::Result<Self> {
        Self::register(Stream::Plain(stream), registry, token, true)
    }

    fn register(stream: Stream, registry: &Registry, token: Token, is_open: bool) -> io::Result<Self> {
        let (out, partial) = (Vec::new(), Vec::new());
        let mut link = Self { stream, is_open, out, written: 0, partial, in_flight_max: u16::MAX };
        registry.register(link.stream.socket(), token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(link)
    }

    /// The socket is connected or has failed, which this tells.
    pub(super) fn opened(&mut self) -> io::Result<()> {
        if !self.is_open {
            let socket = self.stream.socket();
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
            socket.set_nodelay(true)?;
            self.is_open = true;
        }
        Ok(())
    }

    /// Where to append what shall be written.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Bytes that wait.
    pub(super) fn backlog(&self) -> usize {
        self.out.len() - self.written + usize::from(self.stream.has_backlog())
    }

    /// Writes as much as the socket takes; the rest goes when the socket is writable again.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.is_open {
            return Ok(());
        }
        self.stream.flush()?;
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.forget_written();
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Moves the rest to the front once it is the smaller part, so that moving costs less than writing did.
    fn forget_written(&mut self) {
        if self.written > self.out.len() / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Reads once. The bytes in `buffer` begin with what was left over the last time.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let kept = self.partial.len();
        let Some((front, space)) = buffer.split_at_mut_checked(kept) else {
            return Err(ErrorKind::FileTooLarge.into());
        };
        if space.is_empty() {
            return Err(ErrorKind::FileTooLarge.into());
        }
        loop {
            return match self.stream.read(space) {
                Ok((0, _)) => Ok(Received::End),
                Ok((read, is_more)) => {
                    front.copy_from_slice(&self.partial);
                    self.partial.clear();
                    Ok(Received::Bytes { len: kept + read, is_more })
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Nothing),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// Keeps the beginning of a packet for the next read.
    pub(super) fn keep(&mut self, rest: &[u8]) {
        self.partial.extend_from_slice(rest);
    }

    /// Bytes of the beginning that is kept.
    pub(super) fn kept(&self) -> usize {
        self.partial.len()
    }

    /// Gives the memory of buffers back, where nothing waits in them.
    pub(super) fn shrink(&mut self) {
        if self.backlog() == 0 {
            self.out = Vec::new();
            self.written = 0;
        }
        self.partial.shrink_to_fit();
    }

    /// Takes the socket out of the poll, before it is closed by dropping.
    pub(super) fn close(&mut self, registry: &Registry) {
        // The system forgets it anyway when it is closed.
        let _ = registry.deregister(self.stream.socket());
    }
}

impl Stream {
    fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Secured(secured) => &mut secured.socket,
        }
    }

    /// Whether something waits that the link has written.
    fn has_backlog(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Secured(secured) => secured.has_backlog(),
        }
    }

    /// Bytes read, 0 at the end, and whether there may be more.
    fn read(&mut self, space: &mut [u8]) -> io::Result<(usize, bool)> {
        match self {
            Self::Plain(socket) => {
                let read = socket.read(space)?;
                Ok((read, read == space.len()))
            }
            Self::Secured(secured) => secured.read(space),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Secured(secured) => secured.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Secured(secured) => secured.flush(),
        }
    }
}
