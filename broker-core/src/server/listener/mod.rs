//! A place where clients connect: what an embedder says of it, its socket, and what its connections share.

mod address;
mod network;
mod proxy;
mod socket;
mod unix;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use culex_codec::ProtocolVersion;

use crate::engine::{MountPoint, Terms};
use crate::limits::{Limit, Limits};

#[cfg(feature = "tls")]
use super::tls::Tls;
#[cfg(feature = "websocket")]
use super::websocket::WebSocket;

pub use self::address::Address;
pub use self::network::{Network, NetworkError};
pub(crate) use self::proxy::{Header, HeaderError, header};
pub(crate) use self::socket::{INHERITS_NODELAY, ListeningSocket};

/// A place where clients connect, with all that is particular to it. An address alone is one: plain TCP, port 0 takes a free
/// one.
///
/// ```no_run
/// # #[tokio::main] async fn main() -> Result<(), culex_core::StartError> {
/// use culex_core::codec::ProtocolVersion;
/// use culex_core::{Broker, Listener};
///
/// let broker = Broker::builder()
///     .listen(([127, 0, 0, 1], 1883))
///     .listen(Listener::from(([0, 0, 0, 0], 1884)).protocol_versions([ProtocolVersion::V311]))
///     .listen(Listener::unix("/run/culex/mqtt.sock").mode(0o666))
///     .start()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Listener {
    pub(crate) address: Address,
    /// Permissions of a Unix socket.
    mode: u32,
    bind_device: Option<Box<str>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    #[cfg(feature = "websocket")]
    pub(crate) websocket: Option<WebSocket>,
    /// Who begins with a header of the PROXY protocol; then nobody else may connect.
    proxies: Option<Box<[Network]>>,
    pub(crate) max_connections: Limit,
    /// `None` for all.
    protocol_versions: Option<Box<[ProtocolVersion]>>,
    limits: Option<Limits>,
    mount_point: Option<MountPoint>,
}

/// The owner of the broker, and its group.
const MODE: u32 = 0o660;

impl From<Address> for Listener {
    fn from(address: Address) -> Self {
        Self {
            address,
            mode: MODE,
            bind_device: None,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "websocket")]
            websocket: None,
            proxies: None,
            max_connections: Limit::Unlimited,
            protocol_versions: None,
            limits: None,
            mount_point: None,
        }
    }
}

impl From<SocketAddr> for Listener {
    fn from(address: SocketAddr) -> Self {
        Address::Ip(address).into()
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Listener {
    fn from(address: (I, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl Listener {
    /// A socket of the Unix domain at this path. What a broker that was killed has left there is replaced, anything else there
    /// is not touched; the file is removed when the broker ends. The log names clients by user and process.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Address::Unix(path.into()).into()
    }

    /// Permissions of a Unix socket; who may write may connect. `0o660` otherwise.
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Connections come through this network interface alone, such as `eth0`. Linux has that; elsewhere the listener cannot
    /// be had.
    pub fn bind_device(mut self, interface: impl Into<Box<str>>) -> Self {
        self.bind_device = Some(interface.into());
        self
    }

    /// Its connections are secured as `tls` says; plain otherwise.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Its clients speak MQTT over WebSocket, within TLS if there is that too; MQTT alone otherwise.
    #[cfg(feature = "websocket")]
    pub fn websocket(mut self, websocket: WebSocket) -> Self {
        self.websocket = Some(websocket);
        self
    }

    /// Its clients come through proxies of these networks, which say by the PROXY protocol, version 1 or 2, whom they speak
    /// for; the client's address is then that of logs, hooks and limits. Connections from elsewhere are closed, and so are
    /// those without the header. Without this a header is no CONNECT.
    pub fn proxy_protocol(mut self, proxies: impl IntoIterator<Item = Network>) -> Self {
        self.proxies = Some(proxies.into_iter().collect());
        self
    }

    /// Connections at a time through this listener; one more is closed at once. Unlimited otherwise, but for
    /// [`Limits::connections`](crate::limits::Limits::connections).
    pub const fn max_connections(mut self, connections: Limit) -> Self {
        self.max_connections = connections;
        self
    }

    /// Only clients of these versions come in; others are refused with 0x01 [MQTT-3.1.2-2]. All that the broker speaks
    /// otherwise.
    pub fn protocol_versions(mut self, versions: impl IntoIterator<Item = ProtocolVersion>) -> Self {
        self.protocol_versions = Some(versions.into_iter().collect());
        self
    }

    /// Limits of its connections and their sessions, where they are other than those of the broker: `packet_bytes`,
    /// `topic_levels`, `topic_bytes`, `subscriptions_per_session`, `in_flight`, `incoming_in_flight`, `queue_messages`,
    /// `queue_bytes`, `max_keep_alive`, `messages_per_second`, `bytes_per_second`, `pre_auth_bytes`, `connect_timeout`. The
    /// others mean nothing here. A session has those of the listener that its client came through last; after a restart
    /// those of the broker, until its client comes again.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Stands before every topic and filter of its clients, by their Will Messages too, and is taken away from what they
    /// receive, so they see what is below it and nothing else. Access control, hooks and events know the full topics.
    pub fn mount_point(mut self, mount_point: MountPoint) -> Self {
        self.mount_point = Some(mount_point);
        self
    }

    pub(crate) fn speaks(&self, version: ProtocolVersion) -> bool {
        self.protocol_versions.as_ref().is_none_or(|versions| versions.contains(&version))
    }

    pub(crate) const fn has_proxies(&self) -> bool {
        self.proxies.is_some()
    }

    /// Whether a connection may come from there.
    pub(crate) fn admits(&self, address: Option<IpAddr>) -> bool {
        self.proxies.as_ref().is_none_or(|proxies| {
            address.is_some_and(|address| proxies.iter().any(|proxy| proxy.contains(address)))
        })
    }

    /// Whether the first bytes of its connections are CONNECT.
    pub(crate) const fn is_plain(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return false;
        }
        #[cfg(feature = "websocket")]
        if self.websocket.is_some() {
            return false;
        }
        !self.has_proxies()
    }
}

/// A listener that is open, as its connections see it that come in now.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// Its place in the order of all.
    pub(crate) number: usize,
    pub(crate) listener: Listener,
    /// Connections that came through it and are open, also as it was before.
    pub(crate) connections: Arc<AtomicU64>,
    /// What holds for its connections; `None` if that is what holds for everybody.
    pub(crate) terms: Option<Arc<Terms>>,
}

impl Entrance {
    pub(crate) fn new(number: usize, mut listener: Listener) -> Self {
        let (own, mount_point) = (listener.limits.take(), listener.mount_point.take());
        let is_other = own.is_some() || mount_point.is_some();
        let terms = is_other.then(|| Arc::new(Terms { limits: own, mount_point }));
        Self { number, listener, connections: Arc::default(), terms }
    }

    /// The same place as this listener has it.
    pub(crate) fn changed(&self, listener: Listener) -> Self {
        Self { connections: Arc::clone(&self.connections), ..Self::new(self.number, listener) }
    }
}
