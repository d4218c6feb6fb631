//! The socket that a listener accepts at.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Listener;

/// Connections that the operating system keeps for us until we accept them.
const BACKLOG: i32 = 4096;

/// Whether an accepted socket has TCP_NODELAY because its listener has it.
pub(crate) const INHERITS_NODELAY: bool = cfg!(target_os = "linux");

/// A listening socket. Its connections are accepted without registering them anywhere: most go on to their lane at
/// once.
pub(crate) type ListeningSocket = AsyncFd<mio::net::TcpListener>;

impl Listener {
    /// Opens it on the tokio runtime around the call, which must have an I/O driver: without one tokio panics.
    pub(crate) fn open(&self) -> io::Result<ListeningSocket> {
        let listener = mio::net::TcpListener::from_std(bind(self.address)?.into());
        #[expect(
            deprecated,
            reason = "its successor has to be promised that the type keeps its descriptor, which this one does"
        )]
        AsyncFd::with_interest(listener, Interest::READABLE)
    }
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Each address means itself; who wants both families names both.
        socket.set_only_v6(true)?;
    }
    // A restart need not wait for the connections of the last run to time out.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    if INHERITS_NODELAY {
        socket.set_tcp_nodelay(true)?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
