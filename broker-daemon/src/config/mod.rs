//! `culex.toml`: from what the user wrote to what the program needs.
//!
//! One table (`keys`) names every key with its type, range, default and documentation. `raw` walks the parsed file
//! along that table and reports every mistake with its position, `environment` adds the `CULEX__…` overrides,
//! `validate` looks at the whole. A [`Config`] is correct by construction.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use culex_core::limits::Limits;
use culex_core::{Lanes, Threads};

mod change;
mod environment;
mod keys;
pub(crate) mod problem;
mod raw;
pub mod reference;
mod setting;
pub(crate) mod source;
mod suggest;
#[cfg(test)]
mod tests;
mod validate;
mod value;

pub use crate::config::change::Change;
pub use crate::config::environment::Environment;
pub use crate::config::problem::{ConfigError, Place, Problem};

use crate::acl::Subscribing;
pub(crate) use crate::config::problem::{Complaint, Report};
use crate::config::source::Source;

/// The port of MQTT without TLS.
pub const PORT: u16 = 1883;

/// The port of MQTT with TLS.
pub const TLS_PORT: u16 = 8883;

/// What the broker runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where it listens; at least one.
    pub listeners: Vec<Listener>,
    /// All bounds.
    pub limits: Limits,
    /// Threads that serve connections.
    pub threads: Threads,
    /// When those threads share the work.
    pub lanes: Lanes,
    /// What is logged and how.
    pub log: LogSettings,
    /// What outlives the broker.
    pub store: StoreSettings,
    /// Who may publish and receive what.
    pub acl: AclSettings,
    /// Who may come in.
    pub auth: AuthSettings,
}

/// An address that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listener {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether clients need no user name and password; `None` if the user did not say.
    pub allow_anonymous: Option<bool>,
    /// How connections are secured; `None` is plain TCP.
    pub tls: Option<TlsSettings>,
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

impl Listener {
    /// Whether clients without a user name come in: if the user said so; or did not say, and there are no users to ask
    /// for.
    pub fn admits_anonymous(&self, has_users: bool) -> bool {
        self.allow_anonymous.unwrap_or(!has_users)
    }
}

/// Who may come in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AuthSettings {
    /// The users and their passwords; `None` if there are none, and then any user name and password will do.
    pub password_file: Option<PathBuf>,
}

/// What is logged and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LogSettings {
    /// How much.
    pub level: LogLevel,
    /// For whom.
    pub format: LogFormat,
}

/// What outlives the broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreSettings {
    /// Where it is kept; `None` if the user did not say.
    pub directory: Option<PathBuf>,
    /// What may be lost.
    pub durability: StoreMode,
}

/// Who may publish and receive what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AclSettings {
    /// The list; `None` allows everything.
    pub file: Option<PathBuf>,
    /// What SUBSCRIBE is told about a filter that can never deliver anything.
    pub subscribe: Subscribing,
}

/// What may be lost of what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreMode {
    /// Nothing (default).
    #[default]
    Power,
    /// In a power cut the last second.
    Kill,
    /// Everything with the end of the broker.
    None,
}

impl StoreMode {
    pub(crate) const WORDS: &'static [&'static str] = &["power", "kill", "none"];

    pub(crate) fn from_index(index: usize) -> Self {
        [Self::Power, Self::Kill, Self::None].get(index).copied().unwrap_or_default()
    }
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// What an operator must act on.
    Error,
    /// And what may become so.
    Warn,
    /// And what is usual (default).
    #[default]
    Info,
    /// And each decision.
    Debug,
    /// And each packet.
    Trace,
}

impl LogLevel {
    pub(crate) const WORDS: &'static [&'static str] = &["error", "warn", "info", "debug", "trace"];

    pub(crate) fn from_index(index: usize) -> Self {
        [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace]
            .get(index)
            .copied()
            .unwrap_or_default()
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people (default).
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl LogFormat {
    pub(crate) const WORDS: &'static [&'static str] = &["text", "json"];

    pub(crate) fn from_index(index: usize) -> Self {
        if index == 0 { Self::Text } else { Self::Json }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::WORDS.get(*self as usize).unwrap_or(&"info"))
    }
}

impl Default for Listener {
    fn default() -> Self {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);
        Self { address, allow_anonymous: None, tls: None }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: vec![Listener::default()],
            limits: Limits::default(),
            threads: Threads::default(),
            lanes: Lanes::default(),
            log: LogSettings::default(),
            store: StoreSettings::default(),
            acl: AclSettings::default(),
            auth: AuthSettings::default(),
        }
    }
}

impl Config {
    /// Reads a configuration, or takes the defaults without a `file`, and applies the overrides of `environment`.
    ///
    /// # Errors
    /// All mistakes at once; a file that cannot be read or is not TOML is reported alone.
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let Some(path) = file else {
            let mut report = Report::default();
            let draft = validate::Draft::default();
            return Self::complete(draft, environment, &mut report);
        };
        let source = Source::read(path).map_err(|complaint| {
            let place = Place::File { file: path.display().to_string() };
            ConfigError::alone(Problem { place, message: complaint.message, help: complaint.help })
        })?;
        Self::from_source(&source, environment)
    }

    fn from_source(source: &Source, environment: &Environment) -> Result<Self, ConfigError> {
        let mut report = Report::default();
        let draft = raw::read(source, environment, &mut report)?;
        Self::complete(draft, environment, &mut report)
    }

    fn complete(
        mut draft: validate::Draft,
        environment: &Environment,
        report: &mut Report,
    ) -> Result<Self, ConfigError> {
        environment.apply(&mut draft, report);
        let config = validate::validate(draft, report);
        std::mem::take(report).finish(config)
    }
}
