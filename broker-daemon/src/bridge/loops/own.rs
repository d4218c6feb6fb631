//! A bridge whose other broker is this one.

use std::net::{IpAddr, SocketAddr};

use culex_core::Admin;

/// Whether a connection that has just begun leads to this broker: a client of its ClientId is connected here from our own end
/// of it.
pub(in crate::bridge) async fn own_broker(admin: &Admin, client_id: &str, our_end: SocketAddr) -> bool {
    let Ok(Some(session)) = admin.session(client_id).await else { return false };
    let peer = session.connection.and_then(|connection| connection.peer.parse::<SocketAddr>().ok());
    peer.is_some_and(|peer| plain(peer) == plain(our_end))
}

/// A listener for both families sees IPv4 within IPv6.
fn plain(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}
