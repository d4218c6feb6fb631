//! The header of the PROXY protocol, before anything of the client's.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use tokio::io::AsyncReadExt;
use tracing::warn;

use super::super::admit::Permit;
use super::super::listener::{Header, header};
use super::super::peer::Peer;
use super::super::socket::Waiting;
use super::connect::Beginning;
use super::turn_away::Turned;
use super::{Caller, FrontDoor};

impl FrontDoor {
    /// Reads whom the proxy speaks for: from now on the caller is that client, and counts as one of its address.
    pub(super) async fn introduce(
        &self,
        stream: &mut Waiting,
        caller: &mut Caller,
        permit: &mut Permit,
        beginning: &mut Beginning,
    ) -> Result<(), Turned> {
        let client = self.read_header(stream, beginning).await?;
        if let Some(client) = client {
            let listener = caller.peer.listener;
            caller.peer = Peer { listener, ..Peer::from(client) };
        }
        let Some(address) = caller.peer.address else { return Ok(()) };
        permit.count_address(address).map_err(|limit| {
            self.metrics.front_door.sockets_refused.fetch_add(1, Ordering::Relaxed);
            warn!(peer = %caller.peer, limit, "connection closed: too many");
            Turned::Gone
        })
    }

    /// Nothing is read behind the header.
    async fn read_header(
        &self,
        stream: &mut Waiting,
        beginning: &mut Beginning,
    ) -> Result<Option<SocketAddr>, Turned> {
        let mut bytes = Vec::new();
        loop {
            match header(&bytes).map_err(Turned::Proxy)? {
                Header::Complete(client) => return Ok(client),
                Header::Needs(count) => {
                    self.reserve(beginning, count as u64)?;
                    let begin = bytes.len();
                    bytes.resize(begin + count, 0);
                    let room = bytes.get_mut(begin..).unwrap_or_default();
                    stream.read_exact(room).await.map_err(|_| Turned::Gone)?;
                }
            }
        }
    }
}
