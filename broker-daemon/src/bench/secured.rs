//! A connection through TLS: rustls over a socket that does not block.
//!
//! rustls has a buffer of its own behind the one of a link, so what a link has written may still be here.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::ClientConnection;

use crate::tls::client::Connector;

/// How connections are secured. Clones share tickets, if there are any.
#[derive(Debug, Clone)]
pub struct Tls(Arc<Connector>);

impl Tls {
    pub(crate) fn new(connector: Connector) -> Self {
        Self(Arc::new(connector))
    }

    pub(super) fn secure(&self, socket: TcpStream) -> io::Result<Secured> {
        let session = self.0.session().map_err(io::Error::other)?;
        Ok(Secured { session, socket })
    }
}

/// The client's end.
#[derive(Debug)]
pub(super) struct Secured {
    session: ClientConnection,
    pub(super) socket: TcpStream,
}

impl Secured {
    /// Whether something waits that [`flush`](Self::flush) would send.
    pub(super) fn has_backlog(&self) -> bool {
        self.session.wants_write()
    }

    /// Reads until nothing more comes or there is no more room; the second says whether there may be more.
    ///
    /// What the handshake wants to say is said. `Ok((0, _))` is the end.
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<(usize, bool)> {
        let mut filled = 0;
        while let Some(room) = space.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.session.reader().read(room) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => match self.receive() {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) if error.kind() == ErrorKind::WouldBlock && filled > 0 => {
                        return Ok((filled, false));
                    }
                    Err(error) => return Err(error),
                },
                // Without close_notify: the brokers that do so have said all that they had to.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        Ok((filled, true))
    }

    /// Takes what the socket has; false at its end.
    fn receive(&mut self) -> io::Result<bool> {
        let read = self.session.read_tls(&mut self.socket)?;
        let processed = self.session.process_new_packets();
        // Also an alert that tells the broker what is wrong with it.
        self.flush()?;
        processed.map_err(|error| {
            let error = io::Error::new(ErrorKind::InvalidData, error);
            crate::tls::client::explain(&error).map_or(error, io::Error::other)
        })?;
        Ok(read > 0)
    }

    /// Takes bytes if nothing waits, and sends what the socket takes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if self.has_backlog() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let taken = self.session.writer().write(bytes)?;
        self.flush()?;
        // During the handshake it waits here, and only so much of it.
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Sends what waits, as much as the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
