//! The socket that a listener accepts at.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::unix::{self, SocketFile};
use super::{Address, Listener};
use crate::server::peer::Peer;
use crate::server::socket;

/// Connections that the operating system keeps for us until we accept them.
pub(super) const BACKLOG: i32 = 4096;

/// Whether an accepted socket has TCP_NODELAY because its listener has it.
pub(crate) const INHERITS_NODELAY: bool = cfg!(target_os = "linux");

/// A listening socket. Its connections are accepted without registering them anywhere: most go on to their lane at
/// once.
pub(crate) enum ListeningSocket {
    Tcp(AsyncFd<mio::net::TcpListener>),
    Unix(
        AsyncFd<mio::net::UnixListener>,
        #[expect(dead_code, reason = "it goes with the listener")] SocketFile,
    ),
}

impl Listener {
    /// Opens it on the tokio runtime around the call, which must have an I/O driver: without one tokio panics.
    pub(crate) fn open(&self) -> io::Result<ListeningSocket> {
        Ok(match &self.address {
            Address::Ip(address) => {
                let socket = bind(*address, self.bind_device.as_deref())?;
                ListeningSocket::Tcp(register(mio::net::TcpListener::from_std(socket.into()))?)
            }
            Address::Unix(path) => {
                let (listener, file) = unix::bind(path, self.mode)?;
                ListeningSocket::Unix(register(listener)?, file)
            }
        })
    }
}

impl ListeningSocket {
    pub(crate) async fn accept(&self) -> io::Result<(socket::Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let accepted = listener.async_io(Interest::READABLE, mio::net::TcpListener::accept).await;
                accepted.map(|(stream, peer)| (socket::Socket::Tcp(stream), Peer::from(peer)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) =
                    listener.async_io(Interest::READABLE, mio::net::UnixListener::accept).await?;
                unix::identify(stream)
            }
        }
    }

    /// Where it is, if that is an IP address.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.get_ref().local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor has to be promised that the type keeps its descriptor, which these do"
)]
fn register<T: AsRawFd>(listener: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}

fn bind(address: SocketAddr, device: Option<&str>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Each address means itself; who wants both families names both.
        socket.set_only_v6(true)?;
    }
    // A restart need not wait for the connections of the last run to time out.
    socket.set_reuse_address(true)?;
    if let Some(device) = device {
        bind_device(&socket, device)?;
    }
    socket.bind(&address.into())?;
    if INHERITS_NODELAY {
        socket.set_tcp_nodelay(true)?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(target_os = "linux")]
fn bind_device(socket: &Socket, device: &str) -> io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn bind_device(_: &Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
