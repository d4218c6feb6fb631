//! A place where clients connect: what an embedder says of it, its socket, and what its connections share.

mod socket;

use std::net::{IpAddr, SocketAddr};

use culex_codec::ProtocolVersion;

#[cfg(feature = "tls")]
use super::tls::Tls;

pub(crate) use self::socket::{INHERITS_NODELAY, ListeningSocket};

/// A place where clients connect, with all that is particular to it. An address alone is one: plain TCP, port 0 takes a free
/// one.
///
/// ```no_run
/// # #[tokio::main] async fn main() -> Result<(), culex_core::StartError> {
/// use culex_core::{Broker, Listener};
/// use std::net::Ipv6Addr;
///
/// let broker = Broker::builder()
///     .listen(([127, 0, 0, 1], 1883))
///     .listen(Listener::from((Ipv6Addr::LOCALHOST, 1883)))
///     .start()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Listener {
    pub(crate) address: SocketAddr,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    /// `None` for all.
    protocol_versions: Option<Box<[ProtocolVersion]>>,
}

impl From<SocketAddr> for Listener {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            #[cfg(feature = "tls")]
            tls: None,
            protocol_versions: None,
        }
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Listener {
    fn from(address: (I, u16)) -> Self {
        SocketAddr::from(address).into()
    }
}

impl Listener {
    /// Its connections are secured as `tls` says; plain otherwise.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Only clients of these versions come in; others are refused with 0x01 [MQTT-3.1.2-2]. All that the broker speaks
    /// otherwise.
    pub fn protocol_versions(mut self, versions: impl IntoIterator<Item = ProtocolVersion>) -> Self {
        self.protocol_versions = Some(versions.into_iter().collect());
        self
    }

    pub(crate) fn speaks(&self, version: ProtocolVersion) -> bool {
        self.protocol_versions.as_ref().is_none_or(|versions| versions.contains(&version))
    }
}

/// A listener that is open, as its connections see it.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// Its place in the order of all.
    pub(crate) number: usize,
    pub(crate) listener: Listener,
}
