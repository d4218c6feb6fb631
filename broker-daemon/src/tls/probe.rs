//! A handshake that is looked at: what the server shows, what it asks for, and why it fails. For diagnoses; who only wants to
//! connect takes [`super::client`].

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, InconsistentKeys, InvalidMessage,
    SignatureScheme,
};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{Certificate, Seconds};
use super::client::{Chain, Roots, Settings, Verifier};
use super::files::{self, Fault as FileFault, fault};
use crate::config::problem::{Complaint, Problem};
use crate::config::{ConfigError, KeyPermissions, Place, TlsVersion};

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// `2026-11-21`.
    pub(crate) begins: String,
    pub(crate) ends: String,
    pub(crate) is_early: bool,
    pub(crate) is_over: bool,
    pub(crate) days_left: i64,
    pub(crate) is_ca: bool,
    pub(crate) has_sha1_signature: bool,
    /// SHA-256 of it in 64 hexadecimal digits: what AWS IoT calls it.
    pub(crate) id: String,
}

impl Facts {
    fn of(der: &[u8], now: SystemTime) -> Option<Self> {
        let certificate = Certificate::read(der)?;
        let now = Seconds::at(now);
        Some(Self {
            subject: certificate.title(),
            issuer: certificate.issuer.rfc2253().unwrap_or_default(),
            begins: certificate.not_before.date(),
            ends: certificate.not_after.date(),
            is_early: now < certificate.not_before,
            is_over: certificate.not_after < now,
            days_left: certificate.not_after.days_since(now),
            is_ca: certificate.is_ca,
            has_sha1_signature: has_sha1_signature(der),
            id: Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }
}

/// Our certificate, and whether the key is its own.
///
/// # Errors
/// A file that cannot be used; dates are left to the caller.
pub(crate) fn identity(
    (certificate, key): (&Path, &Path),
    permissions: KeyPermissions,
    now: SystemTime,
) -> Result<(Facts, bool), ConfigError> {
    let read = || {
        let chain = files::any_certificates(certificate)?;
        let facts = chain.first().and_then(|own| Facts::of(own, now));
        let facts = facts.ok_or_else(|| fault(certificate, Complaint::new("this certificate is damaged")))?;
        let key_der = files::key(key, permissions)?;
        match CertifiedKey::from_der(chain, key_der, &aws_lc_rs::default_provider()) {
            Ok(_) => Ok((facts, true)),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Ok((facts, false)),
            Err(error) => Err(fault(key, Complaint::new(error.to_string()))),
        }
    };
    read().map_err(alone)
}

/// The certificates of a file or folder of CAs.
///
/// # Errors
/// A file that cannot be used.
pub(crate) fn authorities(path: &Path, now: SystemTime) -> Result<Vec<Facts>, ConfigError> {
    let found = files::any_certificates(path).map_err(alone)?;
    Ok(found.iter().filter_map(|der| Facts::of(der, now)).collect())
}

fn alone((place, Complaint { message, help }): FileFault) -> ConfigError {
    ConfigError::alone(Problem { place, message, help })
}

/// What a server has shown so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Shown {
    chain: Vec<CertificateDer<'static>>,
    pub(crate) asks_for_certificate: bool,
}

impl Shown {
    /// Its own certificate.
    pub(crate) fn server(&self, now: SystemTime) -> Option<Facts> {
        self.chain.first().and_then(|own| Facts::of(own, now))
    }

    /// Who signed the last of its certificates.
    pub(crate) fn top_issuer(&self, now: SystemTime) -> Option<String> {
        self.chain.last().and_then(|last| Facts::of(last, now)).map(|facts| facts.issuer)
    }

    /// Whether its certificate leads to one of these CAs, whatever its name and dates.
    pub(crate) fn leads_to(&self, roots: Roots<'_>, host: &str, now: SystemTime) -> bool {
        let (Ok(roots), Ok(name), Some((own, rest))) =
            (roots.store(), ServerName::try_from(host.to_owned()), self.chain.split_first())
        else {
            return false;
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()
        else {
            return false;
        };
        let verified = verifier.verify_server_cert(own, rest, &name, &[], unix(now));
        !matches!(
            verified,
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature))
        )
    }
}

/// Handshakes with one server.
#[derive(Debug)]
pub(crate) struct Probe {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    chain: Chain,
    asks_for_certificate: Arc<AtomicBool>,
}

impl Probe {
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn new(settings: &Settings<'_>, now: Option<SystemTime>) -> Result<Self, ConfigError> {
        Self::build(settings, now).map_err(alone)
    }

    fn build(settings: &Settings<'_>, now: Option<SystemTime>) -> Result<Self, FileFault> {
        let wrong = |message: String| (Place::CommandLine, Complaint::new(message));
        let name = ServerName::try_from(settings.host.to_owned())
            .map_err(|_| wrong(format!("\"{}\" is not a host name", settings.host.escape_debug())))?;
        let versions =
            if settings.version == Some(TlsVersion::V1_3) { &[&TLS13][..] } else { &[&TLS13, &TLS12][..] };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = settings.roots.unwrap_or(Roots::Public).store()?;
        let chain = Chain::default();
        let verifier = Verifier::new(roots, &provider, settings.checks_name, Some(Arc::clone(&chain)))
            .map_err(|error| wrong(error.to_string()))?;
        let clock = Arc::new(Clock(now.map(unix)));
        let config = ClientConfig::builder_with_details(provider, clock)
            .with_protocol_versions(versions)
            .map_err(|error| wrong(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match settings.identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let own = files::any_certificates(certificate)?;
                let key_der = files::key(key, settings.key_permissions)?;
                config
                    .with_client_auth_cert(own, key_der)
                    .map_err(|error| fault(key, Complaint::new(error.to_string())))?
            }
        };
        let inner = Arc::clone(&config.client_auth_cert_resolver);
        let asks_for_certificate = Arc::<AtomicBool>::default();
        config.client_auth_cert_resolver =
            Arc::new(Asked { inner, asks_for_certificate: Arc::clone(&asks_for_certificate) });
        config.alpn_protocols = settings.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), name, chain, asks_for_certificate })
    }

    /// The handshake.
    pub(crate) async fn secure(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.chain.lock().clear();
        self.asks_for_certificate.store(false, Ordering::Relaxed);
        TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await
    }

    /// What the server has shown in the last one.
    pub(crate) fn shown(&self) -> Shown {
        Shown {
            chain: self.chain.lock().clone(),
            asks_for_certificate: self.asks_for_certificate.load(Ordering::Relaxed),
        }
    }
}

fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// What time it is, if it is not what the system says.
#[derive(Debug)]
struct Clock(Option<UnixTime>);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0.unwrap_or_else(UnixTime::now))
    }
}

/// Why a handshake failed, or what came behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// What is there speaks no TLS.
    NotTls,
    /// No version of TLS is common.
    Version,
    /// The server's certificate leads to none of the CAs.
    UnknownIssuer,
    /// It has other names than the one that was asked for.
    WrongName(Vec<String>),
    Expired,
    NotYetValid,
    /// The server knows no such application protocol.
    Alpn,
    /// The server does not know the name that it was asked for.
    NameUnknown,
    /// The server wants a certificate of us.
    CertificateWanted,
    /// It does not take ours, and says so by this alert.
    CertificateRefused(String),
    /// The connection is gone without a word.
    Closed,
    Other(String),
}

/// What an error of a secured stream means.
#[expect(clippy::wildcard_enum_match_arm, reason = "the texts of rustls are good enough for the others")]
pub(crate) fn fault_of(error: &io::Error, shown: &Shown) -> Fault {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Fault::Closed,
            _ => Fault::Other(crate::cli::human::io(error)),
        };
    };
    match tls {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => Fault::NotTls,
        Error::PeerIncompatible(_) => Fault::Version,
        Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Fault::UnknownIssuer,
            CertificateError::NotValidForNameContext { presented, .. } => Fault::WrongName(presented.clone()),
            CertificateError::NotValidForName => Fault::WrongName(Vec::new()),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Fault::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Fault::NotYetValid,
            other => Fault::Other(other.to_string()),
        },
        Error::AlertReceived(alert) => of_alert(*alert, shown),
        other => Fault::Other(other.to_string()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other alert is told as it is")]
fn of_alert(alert: AlertDescription, shown: &Shown) -> Fault {
    let said = format!("{alert:?}");
    match alert {
        AlertDescription::NoApplicationProtocol => Fault::Alpn,
        AlertDescription::ProtocolVersion => Fault::Version,
        AlertDescription::UnrecognisedName => Fault::NameUnknown,
        AlertDescription::CertificateRequired => Fault::CertificateWanted,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::DecryptError => Fault::CertificateRefused(said),
        // Before the server has shown itself it is about the name, behind that about us.
        AlertDescription::AccessDenied | AlertDescription::HandshakeFailure if shown.chain.is_empty() => {
            Fault::NameUnknown
        }
        AlertDescription::AccessDenied | AlertDescription::HandshakeFailure => {
            Fault::CertificateRefused(said)
        }
        _ => Fault::Other(format!("the alert {said}")),
    }
}

/// Whether one of the two signature algorithms with SHA-1 is named in the certificate.
fn has_sha1_signature(certificate: &[u8]) -> bool {
    const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
    const ECDSA: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
    [RSA, ECDSA].iter().any(|oid| certificate.windows(oid.len()).any(|bytes| bytes == *oid))
}

/// Remembers whether a certificate was asked for.
#[derive(Debug)]
struct Asked {
    inner: Arc<dyn ResolvesClientCert>,
    asks_for_certificate: Arc<AtomicBool>,
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, subjects: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asks_for_certificate.store(true, Ordering::Relaxed);
        self.inner.resolve(subjects, schemes)
    }

    fn has_certs(&self) -> bool {
        // Otherwise it is not asked at all.
        true
    }
}

/// `2026-11-21`.
pub(crate) fn date(time: SystemTime) -> String {
    Seconds::at(time).date()
}
