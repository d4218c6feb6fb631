//! Where the HTTP API is, and who may use what of it.

use std::net::{Ipv4Addr, SocketAddr};

use culex_core::limits::Limit;

use crate::config::TlsSettings;

/// The port of the HTTP API.
pub const HTTP_PORT: u16 = 9883;

/// The listener of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpSettings {
    /// IP address and port.
    pub address: SocketAddr,
    /// Users who may do everything that the control socket can.
    pub admins: Vec<String>,
    /// Users who may see everything, and change nothing.
    pub viewers: Vec<String>,
    /// Names that requests may be meant for, beside `localhost` and IP addresses; `*` for all.
    pub allow_hosts: Vec<String>,
    /// Web pages of others that may use the API.
    pub allow_origins: Vec<String>,
    /// The largest body of a request, in bytes.
    pub body_bytes: u32,
    /// Connections at a time.
    pub max_connections: Limit,
    /// Streams of messages at a time.
    pub max_streams: u16,
    /// How connections are secured; `None` is plain HTTP.
    pub tls: Option<TlsSettings>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, HTTP_PORT).into(),
            admins: Vec::new(),
            viewers: Vec::new(),
            allow_hosts: Vec::new(),
            allow_origins: Vec::new(),
            body_bytes: 1 << 20,
            max_connections: Limit::at_most(256).unwrap_or(Limit::Unlimited),
            max_streams: 64,
            tls: None,
        }
    }
}
