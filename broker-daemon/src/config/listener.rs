//! Where clients connect, and how those connections are secured.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use culex_codec::ProtocolVersion;
use culex_core::limits::{Limit, Limits};
use culex_core::tls::Tls;
use culex_core::{Address, MountPoint, Network, WebSocket};

use crate::config::PORT;

/// An address that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listener {
    /// IP address and port, or a socket of the Unix domain.
    pub address: Address,
    /// What its clients speak.
    pub protocol: Protocol,
    /// The only path of WebSocket requests; `None` for any.
    pub websocket_path: Option<String>,
    /// Origins of web pages that may connect; empty for pages of the same host.
    pub websocket_origins: Vec<String>,
    /// Permissions of a Unix socket.
    pub socket_mode: u32,
    /// The only network interface of its connections; `None` for any.
    pub bind_device: Option<String>,
    /// Proxies that say by the PROXY protocol whom they speak for; where there are some, nobody else may connect.
    pub proxy_protocol: Vec<Network>,
    /// Connections at a time.
    pub max_connections: Limit,
    /// Whether clients need no user name and password; `None` if the user did not say.
    pub allow_anonymous: Option<bool>,
    /// Versions of MQTT that its clients may have; empty for all.
    pub protocol_versions: Vec<ProtocolVersion>,
    /// What stands before every topic of its clients.
    pub mount_point: Option<MountPoint>,
    /// Limits of its clients; `None` for those of the broker.
    pub limits: Option<Limits>,
    /// How connections are secured; `None` is plain TCP.
    pub tls: Option<TlsSettings>,
}

/// What the clients of a listener speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// MQTT (default).
    #[default]
    Mqtt,
    /// MQTT over WebSocket.
    WebSockets,
}

impl Listener {
    /// Whether clients without a user name come in: if the user said so; or did not say, and there are no users to ask
    /// for.
    pub fn admits_anonymous(&self, has_users: bool) -> bool {
        self.allow_anonymous.unwrap_or(!has_users)
    }

    /// Whether who has no certificate stays out.
    pub fn requires_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(TlsSettings::requires_certificate)
    }

    /// What the broker takes.
    pub(crate) fn build(&self, tls: Option<&Tls>) -> culex_core::Listener {
        let mut listener = culex_core::Listener::from(self.address.clone())
            .mode(self.socket_mode)
            .max_connections(self.max_connections);
        if let Some(tls) = tls {
            listener = listener.tls(tls.clone());
        }
        if self.protocol == Protocol::WebSockets {
            let websocket = WebSocket::default().origins(self.websocket_origins.iter().map(String::as_str));
            listener = listener.websocket(match &self.websocket_path {
                Some(path) => websocket.path(path.as_str()),
                None => websocket,
            });
        }
        if let Some(device) = &self.bind_device {
            listener = listener.bind_device(device.as_str());
        }
        if !self.proxy_protocol.is_empty() {
            listener = listener.proxy_protocol(self.proxy_protocol.iter().copied());
        }
        if !self.protocol_versions.is_empty() {
            listener = listener.protocol_versions(self.protocol_versions.iter().copied());
        }
        if let Some(mount_point) = &self.mount_point {
            listener = listener.mount_point(mount_point.clone());
        }
        if let Some(limits) = &self.limits {
            listener = listener.limits(limits.clone());
        }
        listener
    }
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            address: Address::Ip((Ipv4Addr::LOCALHOST, PORT).into()),
            protocol: Protocol::default(),
            websocket_path: None,
            websocket_origins: Vec::new(),
            socket_mode: 0o660,
            bind_device: None,
            proxy_protocol: Vec::new(),
            max_connections: Limit::Unlimited,
            allow_anonymous: None,
            protocol_versions: Vec::new(),
            mount_point: None,
            limits: None,
            tls: None,
        }
    }
}

/// How the connections of a listener are secured.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsSettings {
    /// Files with the server's certificates, each with its chain.
    pub certificates: Vec<PathBuf>,
    /// Files with their keys, in the same order.
    pub keys: Vec<PathBuf>,
    /// What becomes of a key that others can read.
    pub key_permissions: KeyPermissions,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Application protocols.
    pub alpn: Vec<String>,
    /// The most bytes of content in a record, 512 to 16,384.
    pub max_fragment_size: u16,
    /// File or folder with the authorities of client certificates; `None` asks nobody for one.
    pub client_ca: Option<PathBuf>,
    /// Whether who has no certificate stays out; `None` if the user did not say.
    pub require_certificate: Option<bool>,
    /// Files with revoked client certificates.
    pub crl: Vec<PathBuf>,
    /// Whether the common name of the certificate is the user name.
    pub use_identity_as_username: Option<bool>,
    /// Whether the whole subject of the certificate is the user name.
    pub use_subject_as_username: Option<bool>,
}

/// What becomes of a private key that every user of the computer can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyPermissions {
    /// It is not used (default).
    #[default]
    Strict,
    /// It is used, with a warning.
    Warn,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// 1.2 (default).
    #[default]
    V1_2,
    /// 1.3.
    V1_3,
}

/// What of a client's certificate is its user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateUser {
    /// Nothing: CONNECT says it.
    None,
    /// The common name.
    CommonName,
    /// The whole subject, in the form of RFC 2253.
    Subject,
}

impl TlsSettings {
    /// Whether who has no certificate stays out: where there is a CA, unless the user said otherwise.
    pub fn requires_certificate(&self) -> bool {
        self.client_ca.is_some() && self.require_certificate != Some(false)
    }

    /// What of a client's certificate is its user name.
    pub fn user_name(&self) -> CertificateUser {
        if self.use_identity_as_username == Some(true) {
            CertificateUser::CommonName
        } else if self.use_subject_as_username == Some(true) {
            CertificateUser::Subject
        } else {
            CertificateUser::None
        }
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            keys: Vec::new(),
            key_permissions: KeyPermissions::default(),
            min_version: TlsVersion::default(),
            alpn: ["mqtt", "x-amzn-mqtt-ca"].map(str::to_owned).into(),
            max_fragment_size: 16 << 10,
            client_ca: None,
            require_certificate: None,
            crl: Vec::new(),
            use_identity_as_username: None,
            use_subject_as_username: None,
        }
    }
}
