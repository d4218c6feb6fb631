//! The TLS options of `culex pub`, `culex sub` and `culex bench`, with mosquitto's names.

use std::path::PathBuf;

use crate::config::{ConfigError, KeyPermissions, TlsVersion};
use crate::tls::client::{Connector, Roots, Settings};

/// Where the help lists them: said of each, or else what follows them would stand there too.
const TLS: &str = "TLS";

/// How the connection is secured; without any of these it is plain.
#[derive(Debug, clap::Args)]
#[group(id = "tls")]
pub(super) struct Arguments {
    /// CA of the broker's certificate (PEM file)
    #[arg(help_heading = TLS, long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// The same, a folder of PEM files
    #[arg(help_heading = TLS, long, value_name = "DIR", conflicts_with = "cafile")]
    capath: Option<PathBuf>,
    /// Certificate of this client (PEM file)
    #[arg(help_heading = TLS, long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM file)
    #[arg(help_heading = TLS, long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Accept a certificate of another host name, if the CA signed it
    #[arg(help_heading = TLS, long)]
    insecure: bool,
    /// Version of TLS: tlsv1.2 or tlsv1.3; both if it is not said
    #[arg(help_heading = TLS, long, value_name = "VERSION", value_parser = version)]
    tls_version: Option<TlsVersion>,
    /// Application protocol (ALPN)
    #[arg(help_heading = TLS, long, alias = "alpn", value_name = "PROTOCOL")]
    tls_alpn: Option<String>,
}

impl Arguments {
    /// Whether any of them was given.
    pub(super) const fn is_wanted(&self) -> bool {
        self.cafile.is_some()
            || self.capath.is_some()
            || self.cert.is_some()
            || self.insecure
            || self.tls_version.is_some()
            || self.tls_alpn.is_some()
    }

    /// What connects to `host`, with the tickets of earlier connections if it `resumes`.
    pub(super) fn connector(&self, host: &str, resumes: bool) -> Result<Connector, ConfigError> {
        Connector::new(&Settings {
            host,
            roots: self.cafile.as_deref().or(self.capath.as_deref()).map(Roots::Files),
            identity: self.cert.as_deref().zip(self.key.as_deref()),
            // Whose key it is decides who reads it; mosquitto's clients do not look either.
            key_permissions: KeyPermissions::Warn,
            checks_name: !self.insecure,
            version: self.tls_version,
            alpn: self.tls_alpn.as_deref().into_iter().collect(),
            resumes,
        })
    }
}

fn version(text: &str) -> Result<TlsVersion, String> {
    match text.trim_start_matches("tlsv") {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        _ => Err("a version is tlsv1.2 or tlsv1.3".to_owned()),
    }
}
