//! Where clients connect, and how those connections are secured.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use culex_codec::ProtocolVersion;
use culex_core::MountPoint;
use culex_core::limits::Limits;
use culex_core::tls::Tls;

use crate::config::PORT;

/// An address that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listener {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
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

impl Listener {
    /// Whether clients without a user name come in: if the user said so; or did not say, and there are no users to ask
    /// for.
    pub fn admits_anonymous(&self, has_users: bool) -> bool {
        self.allow_anonymous.unwrap_or(!has_users)
    }

    /// What the broker takes.
    pub(crate) fn build(&self, tls: Option<&Tls>) -> culex_core::Listener {
        let mut listener = culex_core::Listener::from(self.address);
        if let Some(tls) = tls {
            listener = listener.tls(tls.clone());
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
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
        Self {
            address,
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
