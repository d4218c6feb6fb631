//! A handshake that is looked at: what the server shows, what it asks for, and why it fails. For diagnoses; who only wants to
//! connect takes [`super::client`].

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, InconsistentKeys,
    InvalidMessage, SignatureScheme,
};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{Certificate, Seconds};
use super::client::{Roots, Settings};
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
    shown: Arc<Mutex<Shown>>,
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
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let shown = Arc::<Mutex<Shown>>::default();
        let watcher = Watcher { inner, checks_name: settings.checks_name, shown: Arc::clone(&shown) };
        let clock = Arc::new(Clock(now.map(unix)));
        let config = ClientConfig::builder_with_details(provider, clock)
            .with_protocol_versions(versions)
            .map_err(|error| wrong(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(watcher));
        let mut config = match settings.identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = files::any_certificates(certificate)?;
                let key_der = files::key(key, settings.key_permissions)?;
                config
                    .with_client_auth_cert(chain, key_der)
                    .map_err(|error| fault(key, Complaint::new(error.to_string())))?
            }
        };
        let inner = Arc::clone(&config.client_auth_cert_resolver);
        config.client_auth_cert_resolver = Arc::new(Asked { inner, shown: Arc::clone(&shown) });
        config.alpn_protocols = settings.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), name, shown })
    }

    /// The handshake.
    pub(crate) async fn secure(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        *self.shown.lock() = Shown::default();
        TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), stream).await
    }

    /// What the server has shown in the last one.
    pub(crate) fn shown(&self) -> Shown {
        self.shown.lock().clone()
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

/// Asks webpki, and remembers what it was asked about.
#[derive(Debug)]
struct Watcher {
    inner: Arc<WebPkiServerVerifier>,
    checks_name: bool,
    shown: Arc<Mutex<Shown>>,
}

impl ServerCertVerifier for Watcher {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        self.shown.lock().chain = chain.map(|der| der.clone().into_owned()).collect();
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // webpki looks at the name last, so everything else is right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Remembers whether a certificate was asked for.
#[derive(Debug)]
struct Asked {
    inner: Arc<dyn ResolvesClientCert>,
    shown: Arc<Mutex<Shown>>,
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, subjects: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.shown.lock().asks_for_certificate = true;
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
