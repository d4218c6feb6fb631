//! `culex.toml`: from what the user wrote to what the program needs.
//!
//! One table (`keys`) names every key with its type, range, default and documentation. `raw` walks the parsed file
//! along that table and reports every mistake with its position, `environment` adds the `CULEX__…` overrides,
//! `validate` looks at the whole. A [`Config`] is correct by construction.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use culex_core::limits::Limits;
use culex_core::{Lanes, Threads};

#[cfg(test)]
mod border_tests;
mod bridge;
pub(crate) mod change;
mod environment;
mod format;
mod http;
mod keys;
mod listener;
mod mosquitto;
mod own_limits;
pub(crate) mod problem;
mod raw;
pub mod reference;
mod rules;
mod setting;
pub(crate) mod source;
mod suggest;
#[cfg(test)]
mod tests;
mod validate;
mod value;
mod webhook;
mod write;

pub use crate::config::bridge::{
    Bridge, BridgePace, BridgeProtocol, BridgeQueue, BridgeTls, Mapping, Preset, RemoteAddress,
};
pub use crate::config::change::{Change, Follows, Holds};
pub use crate::config::environment::Environment;
pub use crate::config::format::Format;
pub use crate::config::http::{HTTP_PORT, HttpSettings};
pub use crate::config::listener::{
    CertificateUser, KeyPermissions, Listener, Protocol, TlsSettings, TlsVersion,
};
pub use crate::config::problem::{ConfigError, Note, Place, Problem};
pub use crate::config::webhook::{BodyForm, Method, Webhook, WebhookRetry, WebhookTls};

use crate::acl::{Subscribing, WrittenRule};
pub(crate) use crate::config::problem::{Complaint, Report};
use crate::config::source::Source;

/// The port of MQTT without TLS.
pub const PORT: u16 = 1883;

/// The port of MQTT with TLS.
pub const TLS_PORT: u16 = 8883;

/// How often what the broker counts is published, where nobody says otherwise; as in mosquitto.
pub(crate) const SYS_INTERVAL: Duration = Duration::from_secs(10);

/// What the broker runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where it listens; at least one.
    pub listeners: Vec<Listener>,
    /// Other brokers that topics go to and come from.
    pub bridges: Vec<Bridge>,
    /// Web services that are told of messages and events.
    pub webhooks: Vec<Webhook>,
    /// All bounds.
    pub limits: Limits,
    /// Threads that serve connections.
    pub threads: Threads,
    /// When those threads share the work.
    pub lanes: Lanes,
    /// How often what the broker counts is published; zero is never.
    pub sys_interval: Duration,
    /// What is logged and how.
    pub log: LogSettings,
    /// What outlives the broker.
    pub store: StoreSettings,
    /// Who may publish and receive what.
    pub acl: AclSettings,
    /// Who may come in.
    pub auth: AuthSettings,
    /// The HTTP API; `None` if there is none.
    pub http: Option<HttpSettings>,
    /// Whom a start as root becomes once it listens; `None`: it stays root.
    pub user: Option<String>,
    /// A file that has the number of the process while it runs.
    pub pid_file: Option<PathBuf>,
}

/// A configuration as far as it could be read, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct WithFaults {
    /// Where a value is wrong it has the default.
    pub(crate) config: Config,
    /// What the user should know of a file in mosquitto's format.
    pub(crate) notes: Vec<Note>,
    /// All mistakes; `None` if it is correct.
    pub(crate) wrong: Option<ConfigError>,
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
    /// The list in mosquitto's format.
    pub file: Option<PathBuf>,
    /// The list itself. Without either everything is allowed; there are never both.
    pub rules: Vec<WrittenRule>,
    /// What SUBSCRIBE is told about a filter that can never deliver anything.
    pub subscribe: Subscribing,
    /// Whether a retained message reaches a new subscription only if who published it may still publish there; `None` is
    /// `true`.
    pub check_retain_source: Option<bool>,
}

impl AclSettings {
    /// See [`Self::check_retain_source`].
    pub fn checks_retain_source(&self) -> bool {
        self.check_retain_source.unwrap_or(true)
    }
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

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: vec![Listener::default()],
            bridges: Vec::new(),
            webhooks: Vec::new(),
            limits: Limits::default(),
            threads: Threads::default(),
            lanes: Lanes::default(),
            sys_interval: SYS_INTERVAL,
            log: LogSettings::default(),
            store: StoreSettings::default(),
            acl: AclSettings::default(),
            auth: AuthSettings::default(),
            http: None,
            user: None,
            pid_file: None,
        }
    }
}

impl WithFaults {
    fn correct(self) -> Result<(Config, Vec<Note>), ConfigError> {
        self.wrong.map_or(Ok((self.config, self.notes)), Err)
    }
}

impl Config {
    /// Reads a configuration, or takes the defaults without a `file`, which have the HTTP API, and applies the overrides of `environment`. The file
    /// is TOML or mosquitto's, see [`Format`].
    ///
    /// # Errors
    /// All mistakes at once; a file that cannot be read, is TOML with an error of syntax, or in neither format, is reported
    /// alone.
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        Self::load_with_notes(file, environment).map(|(config, _)| config)
    }

    /// The same, with what the user should know of a file in mosquitto's format: what is ignored, and what is otherwise.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with_notes(
        file: Option<&Path>,
        environment: &Environment,
    ) -> Result<(Self, Vec<Note>), ConfigError> {
        Self::load_with_faults(file, environment)?.correct()
    }

    /// As much of a configuration as can be read, for those who look for all mistakes and run nothing with it.
    ///
    /// # Errors
    /// If none of it can be read.
    pub(crate) fn load_with_faults(
        file: Option<&Path>,
        environment: &Environment,
    ) -> Result<WithFaults, ConfigError> {
        let Some(path) = file else {
            let mut draft = validate::Draft::default();
            draft.config.http = Some(HttpSettings::default());
            return Ok(Self::complete(draft, environment, Report::default()));
        };
        let source = Source::read(path).map_err(|complaint| {
            let place = Place::File { file: path.display().to_string() };
            ConfigError::alone(Problem { place, message: complaint.message, help: complaint.help })
        })?;
        Self::of_source(&source, environment, mosquitto::Machine::this)
    }

    #[cfg(test)]
    fn from_source(
        source: &Source,
        environment: &Environment,
        machine: impl FnOnce() -> mosquitto::Machine,
    ) -> Result<(Self, Vec<Note>), ConfigError> {
        Self::of_source(source, environment, machine)?.correct()
    }

    fn of_source(
        source: &Source,
        environment: &Environment,
        machine: impl FnOnce() -> mosquitto::Machine,
    ) -> Result<WithFaults, ConfigError> {
        let mut report = Report::default();
        let format = Format::of(source)?;
        let (draft, notes) = match format {
            Format::Toml => (raw::read(source, environment, &mut report)?, Vec::new()),
            Format::Mosquitto => mosquitto::read(source, machine(), &mut report),
        };
        let WithFaults { config, wrong, .. } = Self::complete(draft, environment, report);
        Ok(WithFaults { config, notes, wrong: wrong.map(|error| error.in_format(format)) })
    }

    fn complete(mut draft: validate::Draft, environment: &Environment, mut report: Report) -> WithFaults {
        environment.apply(&mut draft, &mut report);
        let config = validate::validate(draft, &mut report);
        WithFaults { config, notes: Vec::new(), wrong: report.finish(()).err() }
    }
}
