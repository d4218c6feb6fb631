//! A place where clients connect: what an embedder says of it, its socket, and what its connections share.

mod socket;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use culex_codec::ProtocolVersion;

use crate::engine::{MountPoint, Terms};
use crate::limits::Limits;

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
    limits: Option<Limits>,
    mount_point: Option<MountPoint>,
}

impl From<SocketAddr> for Listener {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            #[cfg(feature = "tls")]
            tls: None,
            protocol_versions: None,
            limits: None,
            mount_point: None,
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
}

/// A listener that is open, as its connections see it.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// Its place in the order of all.
    pub(crate) number: usize,
    pub(crate) listener: Listener,
    /// What holds for its connections; `None` if that is what holds for everybody.
    pub(crate) terms: Option<Arc<Terms>>,
}

impl Entrance {
    /// Of a broker with these limits.
    pub(crate) fn new(number: usize, mut listener: Listener, limits: &Limits) -> Self {
        let (own, mount_point) = (listener.limits.take(), listener.mount_point.take());
        let is_other = own.is_some() || mount_point.is_some();
        let terms = is_other.then(|| {
            let limits = own.unwrap_or_else(|| limits.clone());
            Arc::new(Terms { limits, mount_point })
        });
        Self { number, listener, terms }
    }
}
