//! Who is at the other end, before it has said its name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// What the log and the operator see of the other end of a connection, and its address if it has one: limits per address
/// apply to that.
///
/// Made from a [`SocketAddr`], or from any text for a stream without an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub(crate) label: Box<str>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) listener: Option<usize>,
}

impl Peer {
    /// Says which listener it came through, for [`Login::listener`](crate::hooks::Login::listener); a stream that is
    /// handed over has none otherwise. Listeners of the broker count from 0 in the order of
    /// [`BrokerBuilder::listen`](crate::BrokerBuilder::listen); an embedder's own may go on from there.
    #[must_use]
    pub fn through(mut self, listener: usize) -> Self {
        self.listener = Some(listener);
        self
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self { label: address.to_string().into(), address: Some(address.ip()), listener: None }
    }
}

impl From<&str> for Peer {
    fn from(label: &str) -> Self {
        Self { label: label.into(), address: None, listener: None }
    }
}

impl From<String> for Peer {
    fn from(label: String) -> Self {
        Self { label: label.into(), address: None, listener: None }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}
