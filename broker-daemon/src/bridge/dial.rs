//! TCP to the other broker, from the local address that the configuration names, if it names one.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream, lookup_host};

/// Connects to the first address of `host` that can be reached. `own`: the local address of the connection, whose family that
/// of the other side must be then; the system chooses the port.
///
/// # Errors
/// What the last address said, or that this computer has no such address.
pub(super) async fn dial(own: Option<IpAddr>, host: &str, port: u16) -> io::Result<TcpStream> {
    let found: Vec<_> = lookup_host((host, port)).await?.collect();
    dial_one_of(own, host, &found).await
}

/// As [`dial`], to the addresses that were found for `host`.
///
/// # Errors
/// As of [`dial`].
pub(super) async fn dial_one_of(
    own: Option<IpAddr>,
    host: &str,
    found: &[SocketAddr],
) -> io::Result<TcpStream> {
    let Some(own) = own else { return TcpStream::connect(found).await };
    let mut last = None;
    for address in found.iter().copied().filter(|found| found.is_ipv4() == own.is_ipv4()) {
        let socket = if own.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(own, 0)).map_err(|error| {
            let why = culex_core::client::describe_io(&error);
            io::Error::new(error.kind(), format!("bind_address = \"{own}\" cannot be used: {why}"))
        })?;
        match socket.connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        let family = if own.is_ipv4() { "IPv4" } else { "IPv6" };
        let why = format!("bind_address = \"{own}\" is of {family}, and {host} has no address of that");
        io::Error::new(io::ErrorKind::AddrNotAvailable, why)
    }))
}
