//! Where a listener listens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and port; port 0 takes a free one.
    Ip(SocketAddr),
    /// A socket of the Unix domain, at this path.
    Unix(PathBuf),
}

impl Address {
    /// The IP address and port.
    pub const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Takes another port; a Unix socket has none.
    pub const fn set_port(&mut self, port: u16) {
        if let Self::Ip(address) = self {
            address.set_port(port);
        }
    }

    /// Whether only this computer can connect there.
    pub fn is_local(&self) -> bool {
        self.ip().is_none_or(|address| address.ip().is_loopback())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

/// `127.0.0.1:1883`, `unix:/run/culex/mqtt.sock`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
